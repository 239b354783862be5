//! The container that runs kube-bench.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    BenchmarkName, TargetName,
    child::scan,
    files,
    outcome::{Outcome, last_words},
};

/// The file that is written last.
pub(crate) const DONE: &str = "done";

/// What is run, and where.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// The benchmark.
    pub benchmark: BenchmarkName,
    /// Its targets, in the order in which they are looked at.
    pub targets: Vec<TargetName>,
    /// The folder for what comes of it.
    pub results: PathBuf,
    /// The program kube-bench.
    pub engine: PathBuf,
    /// The folder with its configuration.
    pub config: PathBuf,
    /// How long all targets may take together.
    pub timeout: Duration,
    /// Tells in the log how it goes.
    pub log: fn(&str),
}

/// Why the results were not written.
#[derive(Debug, thiserror::Error)]
#[error("{path} cannot be written: {error}; is the folder of the results there, and is space left?", path = .path.display())]
pub struct RunError {
    path: PathBuf,
    error: io::Error,
}

/// Looks at one target after the other, and writes what came of each. A target that fails keeps no other from being looked at.
pub async fn run(settings: &RunSettings) -> Result<(), RunError> {
    let deadline = Instant::now() + settings.timeout;
    let mut failed = None;
    for target in &settings.targets {
        let (printed, outcome) = scan(settings, target, deadline).await;
        (settings.log)(&format!("{target}: {}", told(&outcome, printed.len())));
        if let Err(error) = write(&settings.results, target, &printed, &outcome) {
            failed.get_or_insert(error);
        }
    }
    // Whoever waits for it need not wait longer, also where something could not be written.
    let done = write_file(&settings.results, DONE, &[]);
    failed.map_or(done, Err)
}

/// The outcome comes last: where it is, all of what was printed is.
fn write(results: &Path, target: &TargetName, printed: &[u8], outcome: &Outcome) -> Result<(), RunError> {
    let name = target.outcome();
    let text =
        serde_json::to_vec(outcome).map_err(|error| RunError { path: results.join(&name), error: error.into() })?;
    write_file(results, &target.printed(), printed)?;
    write_file(results, &name, &text)
}

fn write_file(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), RunError> {
    files::write(folder, name, bytes).map_err(|error| RunError { path: folder.join(name), error })
}

fn told(outcome: &Outcome, printed: usize) -> String {
    match outcome {
        Outcome::Exited { code: Some(0), .. } => format!("kube-bench printed {printed} bytes"),
        Outcome::Exited { code, said } => {
            let code = code.map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
            format!("kube-bench ended with {code}: {}", last_words(said))
        }
        Outcome::TimedOut => "kube-bench had no time left and was ended".to_owned(),
        Outcome::TooLarge => "kube-bench printed too much and was ended".to_owned(),
        Outcome::NotStarted { message } => format!("kube-bench cannot be started: {message}"),
    }
}

#[cfg(test)]
mod tests;
