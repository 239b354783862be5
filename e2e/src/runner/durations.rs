//! How long each test took the last time, so that the longest begin first and none is waited for alone at the end.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::Tools;

/// What nobody has run yet counts as this long.
const UNKNOWN: Duration = Duration::from_secs(30);

/// By the names of tests.
#[derive(Debug, Default)]
pub(super) struct Durations(BTreeMap<String, f64>);

impl Durations {
    /// As last written; empty if they cannot be read, which costs only time.
    pub(super) fn read() -> Self {
        let text = path().and_then(|path| fs::read(path).ok()).unwrap_or_default();
        Self(serde_json::from_slice(&text).unwrap_or_default())
    }

    pub(super) fn of(&self, test: &str) -> Duration {
        let known = self.0.get(test).and_then(|seconds| Duration::try_from_secs_f64(*seconds).ok());
        known.unwrap_or(UNKNOWN)
    }

    /// Remembers these; a failure costs only time.
    pub(super) fn remember<'a>(mut self, taken: impl Iterator<Item = (&'a str, Duration)>) {
        self.0.extend(taken.map(|(name, duration)| (name.to_owned(), duration.as_secs_f64())));
        if let (Some(path), Ok(text)) = (path(), serde_json::to_string_pretty(&self.0)) {
            let _ = fs::write(path, text);
        }
    }
}

fn path() -> Option<PathBuf> {
    Tools::from_environment().ok().map(|tools| tools.durations_file())
}
