//! Parts of `make soak`, each of which goes on where it was broken off.

use std::collections::BTreeSet;
use std::fs;
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

/// Which tests of a part have passed since it was begun, in a file, so that a part that was broken off goes on from there.
#[derive(Debug)]
pub(super) struct Progress {
    part: Soak,
    path: PathBuf,
    passed: BTreeSet<String>,
}

impl Progress {
    pub(super) fn of(part: Soak) -> Result<Self> {
        let path = Tools::from_environment()?.soak_file(&name(part));
        let text = fs::read_to_string(&path).unwrap_or_default();
        Ok(Self { part, path, passed: text.lines().map(str::to_owned).collect() })
    }

    pub(super) fn has_passed(&self, test: &str) -> bool {
        self.passed.contains(test)
    }

    /// Remembers what passed; forgets all of it once everything has.
    pub(super) fn end(mut self, passed: impl Iterator<Item = String>, all: bool) -> Result<String> {
        if all {
            // There is none after the first run.
            let _ = fs::remove_file(&self.path);
            return Ok(format!("soak {}: all of it has passed, with {}", name(self.part), revision()));
        }
        self.passed.extend(passed);
        let text: Vec<&str> = self.passed.iter().map(String::as_str).collect();
        fs::write(&self.path, text.join("\n")).on("write", &self.path)?;
        Ok(format!("soak {}: {} have passed; the same command goes on with the rest", name(self.part), text.len()))
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
