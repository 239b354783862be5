//! The container that hands over what kube-bench found.

use std::{fmt, path::PathBuf, time::Duration};

use drover_scans::answer::{AnswerError, NodeAnswer};
use kube::Client;
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    BenchmarkName, MAX_PRINTED, SendError, TargetName,
    files::{self, Content},
    gather::{self, Found},
    outcome::MOST_BYTES,
    run::DONE,
    send::send,
};

/// How often the folder is looked at.
const PAUSE: Duration = Duration::from_millis(250);
/// So much of its time is kept for handing over, or a quarter of it if that is less.
const RESERVE: Duration = Duration::from_secs(10);

/// What is handed over, and where to.
#[derive(Clone, Debug)]
pub struct CollectSettings {
    /// The folder with what came of each target.
    pub results: PathBuf,
    /// Which attempt it is, as the manager named it.
    pub attempt: String,
    /// The node.
    pub node: String,
    /// The benchmark.
    pub benchmark: BenchmarkName,
    /// The targets that were asked for.
    pub targets: Vec<TargetName>,
    /// The Secret for the answer.
    pub secret: String,
    /// Its namespace.
    pub namespace: String,
    /// How long it may take, until the answer is accepted.
    pub timeout: Duration,
}

/// What was handed over, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handed(String);

impl fmt::Display for Handed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Why nothing was handed over.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The answer cannot be packed.
    #[error("the answer cannot be packed: {0}")]
    Answer(#[from] AnswerError),
    /// The answer cannot be sent.
    #[error("the answer was not handed over: {0}")]
    Send(#[from] SendError),
}

/// Waits for what kube-bench finds, and writes it into the Secret. It waits no longer than there is time, nor after `stop`; then it hands
/// over what there is.
pub async fn collect(
    settings: &CollectSettings,
    client: Client,
    stop: impl Future<Output = ()>,
) -> Result<Handed, CollectError> {
    let (wait_until, deadline) = ends(Instant::now(), settings.timeout);
    let is_done = wait(settings, wait_until, stop).await;
    let mut answer = answer(settings, is_done);
    let packed = gather::packed(&mut answer)?;
    let handed = handed(&answer, packed.len());
    send(client, (&settings.namespace, &settings.secret), packed, deadline).await?;
    Ok(handed)
}

/// Until when it waits, and until when the answer must be accepted.
fn ends(now: Instant, timeout: Duration) -> (Instant, Instant) {
    (now + timeout.saturating_sub(RESERVE.min(timeout / 4)), now + timeout)
}

/// Whether kube-bench was through with all targets in time.
async fn wait(settings: &CollectSettings, until: Instant, stop: impl Future<Output = ()>) -> bool {
    let done = settings.results.join(DONE);
    let is_done = || files::read(&done, 0) != Content::Missing;
    let looking = async {
        while !is_done() {
            sleep(PAUSE).await;
        }
    };
    tokio::select! {
        _ = timeout_at(until, looking) => (),
        () = stop => (),
    }
    is_done()
}

fn answer(settings: &CollectSettings, is_done: bool) -> NodeAnswer {
    let CollectSettings { results, attempt, node, benchmark, targets, .. } = settings;
    let of = |target: &TargetName| {
        // The outcome first: it is written after what was printed.
        let outcome = files::read(&results.join(target.outcome()), MOST_BYTES);
        let printed = files::read(&results.join(target.printed()), MAX_PRINTED);
        gather::target(target, &Found { outcome, printed }, is_done)
    };
    NodeAnswer {
        attempt: attempt.clone(),
        node: node.clone(),
        engine: drover_scans::benchmark::ENGINE.to_owned(),
        benchmark: benchmark.to_string(),
        targets: targets.iter().map(of).collect(),
    }
}

fn handed(answer: &NodeAnswer, bytes: usize) -> Handed {
    let NodeAnswer { node, engine, benchmark, targets, .. } = answer;
    let checks: usize = targets.iter().map(|target| target.checks.len()).sum();
    let failed = targets.iter().filter_map(|target| {
        let failure = target.failure.as_ref()?;
        Some(format!("; {}: {:?}: {}", target.target, failure.reason, failure.message))
    });
    let (count, failed) = (targets.len(), failed.collect::<String>());
    Handed(format!(
        "handed over {checks} checks of {count} targets of node {node} by {benchmark} ({engine}), {bytes} bytes{failed}"
    ))
}

#[cfg(test)]
mod tests;
