//! Parts of `make soak`, each of which goes on where it was broken off.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use clap::ValueEnum as _;

use super::{Soak, Test};
use crate::Tools;
use crate::error::{FileContext, Result};
use crate::process::{Process, Specification};

/// How often each test is run under load.
const ROUNDS: [&str; 3] = ["first round", "second round", "third round"];

/// The tests of a part.
pub(super) fn of(tests: &[Test], part: Soak) -> Vec<Test> {
    if part != Soak::Load {
        return tests.iter().filter(|test| test.soak == Some(part)).copied().collect();
    }
    let usual = tests.iter().filter(|test| test.soak.is_none());
    ROUNDS.iter().flat_map(|round| usual.clone().map(|test| Test { round: Some(round), ..*test })).collect()
}

/// Which tests of a part have passed since it was begun: a line each, written when it passes, so that a part that was broken
/// off, however that happened, goes on from there.
#[derive(Debug)]
pub(super) struct Progress {
    part: Soak,
    path: PathBuf,
    before: BTreeSet<String>,
}

impl Progress {
    pub(super) fn of(part: Soak) -> Result<Self> {
        let path = Tools::from_environment()?.soak_file(&name(part));
        let text = fs::read_to_string(&path).unwrap_or_default();
        Ok(Self { part, path, before: text.lines().map(str::to_owned).collect() })
    }

    /// Whether the test passed in a run before this one.
    pub(super) fn has_passed(&self, test: &str) -> bool {
        self.before.contains(test)
    }

    pub(super) fn passed(&self, test: &str) -> Result<()> {
        let file = OpenOptions::new().create(true).append(true).open(&self.path);
        file.and_then(|mut file| writeln!(file, "{test}")).on("write", &self.path)
    }

    /// Says how far it is. Once everything has passed, the next run begins anew.
    pub(super) fn end(&self, all: bool) -> String {
        if !all {
            return format!(
                "soak {}: not all of it has passed; the same command goes on with the rest",
                name(self.part)
            );
        }
        // There is none if nothing had to be run.
        let _ = fs::remove_file(&self.path);
        format!("soak {}: all of it has passed, with {}", name(self.part), revision())
    }
}

/// Other work for one core, for as long as it lives; none for the other parts.
pub(super) fn load(part: Soak) -> Result<Option<Process>> {
    if part != Soak::Load {
        return Ok(None);
    }
    let specification = Specification {
        name: "a busy loop".to_owned(),
        program: "sh".into(),
        arguments: ["-c", "while :; do :; done"].map(str::to_owned).to_vec(),
        environment: Vec::new(),
        log: "/dev/null".into(),
    };
    Process::start(&specification).map(Some)
}

fn name(part: Soak) -> String {
    part.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// What was tested, as far as git knows.
fn revision() -> String {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    if text.is_empty() { "an unknown revision".to_owned() } else { text }
}
