//! `drover`: the only binary. Wiring and command line, nothing else.

// These macros panic when a reader closes the pipe: see `output`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

#[macro_use]
mod output;
mod access;
mod backup;
mod backups_metric;
mod charts;
mod clusters_metric;
mod command_line;
mod generate;
mod identity;
mod kubeconfig;
mod membership;
mod reasons;
mod reference;
mod registry;
mod rendering;
mod rights;
mod role_templates;
mod rollout;
mod run;
mod scan;
mod scans_metric;

use std::{error::Error, process::ExitCode};

use clap::Parser;
use command_line::{Command, CommandLine};
use output::print;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|command| command == rendering::CHILD) {
        return drover_releases::confine::run(arguments);
    }
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|command| command == backup::CHILD) {
        return drover_snapshot::become_child(arguments);
    }
    let outcome: Result<(), Box<dyn Error>> = match CommandLine::parse().command {
        Command::Run(arguments) => run::run(arguments).map_err(Into::into),
        Command::Import(arguments) => wait_for(membership::import(&arguments)),
        Command::Detach(arguments) => wait_for(membership::detach(&arguments)),
        Command::Access(arguments) => wait_for(access::access(&arguments)),
        Command::Charts(arguments) => wait_for(charts::charts(&arguments)),
        Command::Rollout(arguments) => wait_for(rollout::rollout(&arguments)),
        Command::EtcdSnapshot(arguments) => backup::snapshot(&arguments),
        Command::Backup(arguments) => wait_for(backup::backup(&arguments)),
        Command::Scan(arguments) => wait_for(scan::scan(&arguments)),
        Command::BenchRun(arguments) => scan::bench_run(&arguments),
        Command::BenchCollect(arguments) => scan::bench_collect(&arguments),
        Command::Crds(arguments) => generate::crds(&arguments),
        Command::Rbac(arguments) => generate::rbac(&arguments),
        Command::Admission(arguments) => generate::admission(&arguments),
        Command::ChartFiles { output, kustomization } => generate::charts(&output)
            .and_then(|()| generate::kustomization(&kustomization))
            .and_then(|()| generate::role_templates(&output, &kustomization)),
        Command::Docs(arguments) => generate::docs(&arguments),
        Command::Version => print(concat!("drover ", env!("CARGO_PKG_VERSION"), "\n")).map_err(Into::into),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say!("{}", with_cause(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// Runs a command that makes requests.
fn wait_for<E: Error + 'static>(work: impl Future<Output = Result<(), E>>) -> Result<(), Box<dyn Error>> {
    Ok(tokio::runtime::Runtime::new()?.block_on(work)?)
}

/// The error, and what is at the bottom of it if it does not say so itself: whoever sits at a terminal has no log to look at.
fn with_cause(error: &(dyn Error + 'static)) -> String {
    let text = error.to_string();
    let mut deepest = error;
    while let Some(inner) = deepest.source() {
        deepest = inner;
    }
    let cause = deepest.to_string();
    if text.contains(&cause) { text } else { format!("{text}: {cause}") }
}
