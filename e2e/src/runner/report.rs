//! What is printed when all tests are over.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many of the slowest are named, of tests and of modules.
const SLOWEST: usize = 10;

/// How one test went.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    /// The name, and which round it was.
    pub(super) title: String,
    pub(super) took: Duration,
    pub(super) ending: Ending,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    Passed,
    Failed,
    /// And why.
    Skipped(String),
}

/// Gathers what tests tell.
#[derive(Debug)]
pub(super) struct Report {
    started: Instant,
    busy_at_start: Option<Ticks>,
    entries: Mutex<Vec<Entry>>,
}

impl Report {
    pub(super) fn begin() -> Self {
        Self { started: Instant::now(), busy_at_start: Ticks::now(), entries: Mutex::default() }
    }

    pub(super) fn add(&self, entry: Entry) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn passed(&self) -> impl Iterator<Item = Entry> {
        self.entries().into_iter().filter(|entry| entry.ending == Ending::Passed)
    }

    /// As text for people. `soaks` is how many tests are run by `make soak` only, `slots` how many ran at a time.
    pub(super) fn text(&self, soaks: usize, slots: u32) -> String {
        let mut entries = self.entries();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.took));
        let sum: Duration = entries.iter().map(|entry| entry.took).sum();
        let wall = self.started.elapsed();
        let mut text = format!(
            "{} tests ran in {} s, {} s one after the other, up to {slots} at a time{}\n",
            entries.len(),
            wall.as_secs(),
            sum.as_secs(),
            self.busy().map(|share| format!("; the cores were {share} % busy")).unwrap_or_default(),
        );
        for entry in &entries {
            if let Ending::Skipped(reason) = &entry.ending {
                let _ = writeln!(text, "skipped {}: {reason}", entry.title);
            }
        }
        if soaks > 0 {
            let _ = writeln!(text, "not run here: {soaks} tests that need minutes by their nature (make soak)");
        }
        text.push_str("slowest:\n");
        for entry in entries.iter().take(SLOWEST) {
            let _ = writeln!(text, "{:>8.1} s  {}", entry.took.as_secs_f64(), entry.title);
        }
        text.push_str("by module:\n");
        for (module, took) in by_module(&entries).into_iter().take(SLOWEST) {
            let _ = writeln!(text, "{:>8.1} s  {module}", took.as_secs_f64());
        }
        text
    }

    /// In percent, of all cores and since the beginning.
    fn busy(&self) -> Option<u64> {
        let (from, to) = (self.busy_at_start?, Ticks::now()?);
        let all = to.all.checked_sub(from.all).filter(|all| *all > 0)?;
        Some(100 * to.busy.checked_sub(from.busy)? / all)
    }
}

/// What the tests of each module took one after the other, the slowest first.
fn by_module(entries: &[Entry]) -> Vec<(&'static str, Duration)> {
    let mut modules = BTreeMap::<_, Duration>::new();
    for entry in entries {
        let module = entry.name.split_once("::").map_or(entry.name, |(module, _)| module);
        *modules.entry(module).or_default() += entry.took;
    }
    let mut modules: Vec<_> = modules.into_iter().collect();
    modules.sort_by_key(|(_, took)| std::cmp::Reverse(*took));
    modules
}

/// What the cores of this machine did since it started.
#[derive(Debug, Clone, Copy)]
struct Ticks {
    busy: u64,
    all: u64,
}

impl Ticks {
    fn now() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    /// The first line: user, nice, system, idle, iowait and others.
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let fields: Vec<u64> = line.split_whitespace().take(8).map_while(|field| field.parse().ok()).collect();
        let idle = fields.get(3)? + fields.get(4)?;
        let all = fields.iter().sum();
        Some(Self { busy: all - idle, all })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_names_the_slowest_and_what_was_skipped_and_why() {
        let report = Report::begin();
        for (name, seconds, ending) in [
            ("a::quick", 1, Ending::Passed),
            ("a::slow", 70, Ending::Failed),
            ("b::absent", 0, Ending::Skipped("no etcd".to_owned())),
        ] {
            report.add(Entry { name, title: name.to_owned(), took: Duration::from_secs(seconds), ending });
        }
        let text = report.text(3, 6);
        assert!(text.contains("3 tests ran") && text.contains("71 s one after the other"), "{text}");
        assert!(text.contains("skipped b::absent: no etcd") && text.contains("not run here: 3 tests"), "{text}");
        let place = |name: &str| text.rfind(name).unwrap();
        assert!(place("a::slow") < place("a::quick"), "{text}");
        assert!(text.ends_with("by module:\n    71.0 s  a\n     0.0 s  b\n"), "{text}");
    }

    #[test]
    fn waiting_for_a_disk_is_not_being_busy() {
        let ticks = Ticks::parse("cpu  10 0 5 70 15 0 0 0 0 0\ncpu0 1 2 3").unwrap();
        assert_eq!((ticks.busy, ticks.all), (15, 100));
    }
}
