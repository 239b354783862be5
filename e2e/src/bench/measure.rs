//! Clocks and meters.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use tokio::task::JoinHandle;

use crate::error::{Error, FileContext, Result};
use crate::installation::Installation;
use crate::process::Process;
use crate::story::{Marks, condition, requests_since};
use crate::wait::eventually;

/// The longest that anything measured here may take.
const PATIENCE: Duration = Duration::from_mins(40);
/// The kernel counts CPU time for programs in hundredths of a second (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Rows of a measurement.
#[derive(Debug)]
pub struct Table {
    title: String,
    rows: Vec<(String, String)>,
}

impl Table {
    /// An empty one.
    #[must_use]
    pub fn new(title: String) -> Self {
        Self { title, rows: Vec::new() }
    }

    /// What was measured in the row whose first words are these.
    #[must_use]
    pub fn value(&self, what: &str) -> Option<&str> {
        self.rows.iter().find(|(row, _)| row.starts_with(what)).map(|(_, value)| value.as_str())
    }

    /// Adds a row.
    pub fn row(&mut self, what: impl Into<String>, value: impl Into<String>) {
        self.rows.push((what.into(), value.into()));
    }

    /// Writes it to standard output, as Markdown.
    pub fn print(&self) {
        let mut text = format!("\n### {}\n\n| What | Measured |\n| --- | --- |\n", self.title);
        for (what, value) in &self.rows {
            let _ = writeln!(text, "| {what} | {value} |");
        }
        let _ = std::io::stdout().write_all(text.as_bytes());
    }
}

/// What a process holds and has used.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Resident memory that is not a mapped file, in bytes.
    pub anonymous: f64,
    /// The most resident memory of any kind so far, in bytes.
    pub peak: f64,
    /// CPU time so far, in seconds.
    pub cpu: f64,
}

/// Reads `/proc` of a process.
///
/// # Errors
///
/// If the process has ended.
pub fn usage(process: &Process) -> Result<Usage> {
    let folder = std::path::PathBuf::from(format!("/proc/{}", process.pid()));
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).on("read", folder.join(name));
    let status = read("status")?;
    let bytes = |field: &'static str| -> Result<f64> {
        let value = status.lines().find_map(|line| line.strip_prefix(field)?.split_whitespace().nth(1)?.parse().ok());
        let kibibytes: f64 = value.ok_or_else(|| Error::NoFigure { what: field, path: folder.join("status") })?;
        Ok(kibibytes * 1024.0)
    };
    let stat = read("stat")?;
    let cpu = cpu_ticks(&stat).ok_or_else(|| Error::NoFigure { what: "CPU time", path: folder.join("stat") })?;
    Ok(Usage { anonymous: bytes("RssAnon")?, peak: bytes("VmHWM")?, cpu: cpu / TICKS_PER_SECOND })
}

/// User and system time are the 14th and the 15th field (proc(5)); the second is the program's name in parentheses.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// When each object of a kind was last seen to become Ready.
pub(super) struct ReadyTimes {
    seen: Arc<Mutex<HashMap<String, Instant>>>,
    watching: JoinHandle<()>,
}

impl ReadyTimes {
    /// Watches all objects of a kind.
    pub(super) fn of<K: Resource<DynamicType = ()>>(client: Client) -> Self {
        let seen = Arc::new(Mutex::new(HashMap::new()));
        let (api, noted) = (Api::<DynamicObject>::all_with(client, &ApiResource::erase::<K>(&())), seen.clone());
        let watching = tokio::spawn(async move {
            let objects = watcher(api, watcher::Config::default()).default_backoff().applied_objects();
            // The watcher goes on after an error by itself.
            let noting = objects.for_each(|object| {
                if let Ok(object) = object {
                    note(&noted, &object);
                }
                std::future::ready(())
            });
            noting.await;
        });
        Self { seen, watching }
    }

    /// Waits until `name` is Ready; returns how long after `applied` that was.
    pub(super) async fn wait(&self, name: &str, applied: Instant) -> Result<Duration> {
        let what = format!("{name} is Ready");
        eventually(&what, PATIENCE, async || {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(seen.get(name).map(|at| at.saturating_duration_since(applied)))
        })
        .await
    }
}

impl Drop for ReadyTimes {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

fn note(seen: &Mutex<HashMap<String, Instant>>, object: &DynamicObject) {
    let value = serde_json::to_value(object).unwrap_or_default();
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    if condition(&value, "Ready").is_some_and(|state| state.starts_with("True/")) {
        seen.entry(object.name_any()).or_insert_with(Instant::now);
    } else {
        seen.remove(&object.name_any());
    }
}

/// What drover asked the clusters for, by verb; what changes something is bold.
pub(super) fn requests(installation: &Installation, from: &Marks) -> Result<String> {
    let mut counts = BTreeMap::<String, usize>::new();
    for (_, event) in requests_since(installation, from)? {
        let verb = if event.changes() { format!("**{}**", event.verb) } else { event.verb };
        let resource = if event.resource.is_empty() { "(no resource)".to_owned() } else { event.resource };
        *counts.entry(format!("{verb} {resource}")).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
    Ok(if counts.is_empty() { "none".to_owned() } else { counts.join(", ") })
}

/// `p50 / p99 (n samples)` of durations by nearest rank; with fewer than a hundred samples the second is the largest.
pub(super) fn percentiles(mut samples: Vec<Duration>) -> String {
    samples.sort_unstable();
    let at = |percent: usize| samples.get((samples.len() * percent).div_ceil(100).saturating_sub(1));
    let told = |percent: usize| at(percent).map_or_else(|| "none".to_owned(), |sample| seconds(*sample));
    format!("{} / {} ({} samples)", told(50), told(99), samples.len())
}

/// For people.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// For people.
pub(super) fn mebibytes(bytes: f64) -> String {
    format!("{:.2} MiB", bytes / f64::from(1 << 20))
}

/// How an amount of memory grew, for people.
pub(super) fn growth(before: f64, after: f64) -> String {
    format!("{} → {}", mebibytes(before), mebibytes(after))
}

/// Memory at rest and its peak, for people.
pub(super) fn both(rest: f64, peak: f64) -> String {
    format!("{}, {}", mebibytes(rest), mebibytes(peak))
}

/// CPU time as a share of one core.
pub(super) fn share(used: f64, during: Duration) -> String {
    format!("{:.2} % of a core", 100.0 * used / during.as_secs_f64())
}

/// An amount per object.
#[expect(clippy::cast_precision_loss, reason = "counts of at most some thousands")]
pub(super) fn per(amount: f64, count: NonZeroUsize) -> f64 {
    amount / count.get() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_by_nearest_rank() {
        let samples = (1..=100).rev().map(Duration::from_secs).collect();
        assert_eq!(percentiles(samples), "50.00 s / 99.00 s (100 samples)");
        assert_eq!(percentiles(vec![Duration::from_secs(1), Duration::from_secs(2)]), "1.00 s / 2.00 s (2 samples)");
        assert_eq!(percentiles(Vec::new()), "none / none (0 samples)");
    }

    #[test]
    fn the_name_of_a_program_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0";
        assert_eq!(cpu_ticks(stat), Some(42.0));
        assert_eq!(cpu_ticks("7 (a"), None);
    }
}
