//! `drover bench-run` and `drover bench-collect`: what the two containers of the Job of a node run.

use std::{error::Error, fs, io::Write as _, path::Path};

use drover_bench::{CollectError, CollectSettings, Handed, RunSettings, collect, in_cluster, run};
use drover_runtime::error::legible;
use tokio::signal::unix::{SignalKind, signal};

use super::arguments::{BenchCollectArguments, BenchRunArguments};
use crate::output::print;

/// Most bytes of the message of a container that ended.
const MOST_BYTES: usize = 4 << 10;

/// Runs kube-bench on this node.
pub(crate) fn bench_run(arguments: &BenchRunArguments) -> Result<(), Box<dyn Error>> {
    let BenchRunArguments { benchmark, targets, results, engine, config, timeout } = arguments;
    let settings = RunSettings {
        benchmark: benchmark.clone(),
        targets: targets.clone(),
        results: results.clone(),
        engine: engine.clone(),
        config: config.clone(),
        timeout: *timeout,
        log: |text| say!("{text}"),
    };
    runtime()?.block_on(async {
        tokio::select! {
            result = run(&settings) => result.map_err(Into::into),
            // What it started ends with it.
            () = ended() => Err("the Job was ended from outside, as by its deadline or a drain of the node".into()),
        }
    })
}

/// Hands over what kube-bench found on this node.
pub(crate) fn bench_collect(arguments: &BenchCollectArguments) -> Result<(), Box<dyn Error>> {
    let result = runtime()?.block_on(collected(arguments));
    let line = match &result {
        Ok(handed) => handed.to_string(),
        Err(error) => error.to_string(),
    };
    let line = legible(&line, MOST_BYTES - 1) + "\n";
    tell(&arguments.report, &line);
    print(&line)?;
    result.map(drop).map_err(Into::into)
}

async fn collected(arguments: &BenchCollectArguments) -> Result<Handed, CollectError> {
    let settings = CollectSettings {
        results: arguments.results.clone(),
        attempt: arguments.attempt.clone(),
        node: arguments.node.clone(),
        benchmark: arguments.benchmark.clone(),
        targets: arguments.targets.clone(),
        secret: arguments.secret.clone(),
        namespace: arguments.namespace.clone(),
        timeout: arguments.timeout,
    };
    // Within its context: the client starts a task.
    collect(&settings, in_cluster()?, ended()).await
}

/// One thread: there is nothing to do at the same time.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Writes the message of the container, where there is a file for it.
fn tell(path: &Path, line: &str) {
    let file = fs::OpenOptions::new().write(true).truncate(true).open(path);
    // The log has it as well.
    let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
}

/// Waits until this process is ended.
async fn ended() {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => (),
        _ = interrupt.recv() => (),
    }
}
