//! The process of one test.

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use futures::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};

use super::Test;
use crate::existing::{missed, skipped};
use crate::pool::{Outcome, give_back};

/// The argument before the name of the only test to run.
pub(super) const IN_PROCESS: &str = "--in-process";
/// The exit code of a test that could not run, after a line that says why.
pub(super) const SKIPPED: u8 = 77;
const FAILED: u8 = 101;

pub(super) fn run(tests: &[Test], name: &str) -> ExitCode {
    let Some(test) = tests.iter().find(|test| test.name() == name) else {
        println!("there is no test {name}");
        return ExitCode::from(FAILED);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run_and_clean_up(test)),
        Err(error) => Err(error.to_string()),
    };
    match outcome {
        Ok(()) if missed() => {
            println!("it was skipped, and CI=true or E2E_REQUIRE=1 requires it");
            ExitCode::from(FAILED)
        }
        Ok(()) if skipped() => ExitCode::from(SKIPPED),
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            println!("{reason}");
            ExitCode::from(FAILED)
        }
    }
}

/// What the test holds is dropped before its control planes go back.
async fn run_and_clean_up(test: &Test) -> Result<(), String> {
    let mut terminated = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let outcome = tokio::select! {
        outcome = AssertUnwindSafe((test.run)()).catch_unwind() => outcome.unwrap_or_else(|_| Err("it panicked".to_owned())),
        _ = terminated.recv() => Err("it was told to end: its time was over".to_owned()),
    };
    let returned = give_back(if outcome.is_ok() { Outcome::Passed } else { Outcome::Failed }).await;
    outcome.and(returned.map_err(|error| format!("its control planes could not be given back: {error}")))
}
