//! `drover etcd-snapshot`: one attempt at a backup, on a node. It reports in a file, and its exit code says only whether it succeeded.

use std::{error::Error, fs, io::Read as _, path::Path};

use drover_backups::{AttemptId, Failure, FailureCause, Report, Success, Task};
use drover_snapshot::{Settings, SnapshotError, take};
use tokio::signal::unix::{SignalKind, signal};

use super::{arguments::EtcdSnapshotArguments, programs};

/// Most bytes that are read of a task.
const TASK_BYTES: u64 = 2 << 20;

/// Does what the task says, and reports.
pub(crate) fn snapshot(arguments: &EtcdSnapshotArguments) -> Result<(), Box<dyn Error>> {
    let (attempt, result) = match read(&arguments.task) {
        Ok(task) => (Some(task.attempt.clone()), attempt(&task, arguments)?),
        Err(error) => (None, Err(error)),
    };
    let report = report(attempt, &result);
    fs::write(&arguments.report, report.to_message())
        .map_err(|error| format!("the report cannot be written to {}: {error}", arguments.report.display()))?;
    result.map(drop).map_err(Into::into)
}

fn report(attempt: Option<AttemptId>, result: &Result<Success, SnapshotError>) -> Report {
    match result {
        Ok(success) => Report::Success(Box::new(success.clone())),
        Err(SnapshotError { cause, message }) => {
            Report::Failure(Failure { attempt, cause: *cause, message: message.clone() })
        }
    }
}

fn read(path: &Path) -> Result<Task, SnapshotError> {
    let failed = |why: String| SnapshotError { cause: FailureCause::TaskInvalid, message: why };
    let mut text = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(TASK_BYTES).read_to_end(&mut text));
    read.map_err(|error| failed(format!("the task {} cannot be read: {error}", path.display())))?;
    Task::parse(&text).map_err(|error| failed(error.to_string()))
}

fn attempt(task: &Task, arguments: &EtcdSnapshotArguments) -> Result<Result<Success, SnapshotError>, Box<dyn Error>> {
    let settings = Settings {
        spool: arguments.spool.clone(),
        programs: programs(&arguments.programs)?,
        tool: concat!("drover ", env!("CARGO_PKG_VERSION")).to_owned(),
        log: |text| say!("{text}"),
    };
    // Two threads: one reads and sends while the other compresses and encrypts.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = take(task, &settings) => result,
            error = ended() => Err(error),
        }
    });
    // What still compresses is of no use any more, and a Pod that is evicted has little time for its report.
    runtime.shutdown_background();
    Ok(result)
}

/// Waits until this process is ended, so that what it started ends with it and its folder is removed.
async fn ended() -> SnapshotError {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => (),
        _ = interrupt.recv() => (),
    }
    let message =
        "the Job was ended from outside, as by an eviction or a drain of its node; create another backup".to_owned();
    SnapshotError { cause: FailureCause::Ended, message }
}
