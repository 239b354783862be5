//! Parts of `make soak`, each of which goes on where it was broken off.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum as _;

use super::{Soak, Test};
use crate::Tools;
use crate::error::{FileContext, Result};
use crate::installation::repository;
use crate::process::{Process, Specification};
use crate::tools::{say, short_digest};

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

/// Which tests of a part have passed since it was begun, with one revision: a line for that, and one for each test, written when
/// it passes, so that a part that was broken off, however that happened, goes on from there.
#[derive(Debug)]
pub(super) struct Progress {
    part: Soak,
    path: PathBuf,
    revision: String,
    titles: BTreeSet<String>,
    before: BTreeSet<String>,
}

impl Progress {
    /// `tests` are all of the part. With another revision it begins anew, and says so.
    pub(super) fn of(part: Soak, tests: &[Test]) -> Result<Self> {
        let path = Tools::from_environment()?.soak_file(&name(part));
        let revision = revision();
        let (begun_with, before) = read(&path);
        let is_same = begun_with == revision;
        if !is_same {
            if !begun_with.is_empty() {
                say(&format!("soak {}: begun with {begun_with}; with {revision} it begins anew", name(part)));
            }
            fs::write(&path, format!("{revision}\n")).on("write", &path)?;
        }
        let titles = tests.iter().map(Test::title).collect();
        Ok(Self { part, path, revision, titles, before: if is_same { before } else { BTreeSet::new() } })
    }

    /// Whether the test passed in a run before this one.
    pub(super) fn has_passed(&self, test: &str) -> bool {
        self.before.contains(test)
    }

    pub(super) fn passed(&self, test: &str) -> Result<()> {
        let file = OpenOptions::new().create(true).append(true).open(&self.path);
        file.and_then(|mut file| writeln!(file, "{test}")).on("write", &self.path)
    }

    /// Says how far it is. Once everything has passed, the next run begins anew; a run that was to leave something out does not
    /// say that.
    pub(super) fn end(&self, leaves_out: bool) -> String {
        let (part, revision, all) = (name(self.part), &self.revision, self.titles.len());
        let passed = self.titles.intersection(&read(&self.path).1).count();
        if leaves_out || passed < all {
            return format!(
                "soak {part}: {passed} of {all} tests have passed, with {revision}; `make soak PART={part}` goes on from there"
            );
        }
        let _ = fs::remove_file(&self.path);
        format!("soak {part}: all of it has passed, with {revision}")
    }
}

/// With which revision a part was begun, and what has passed.
fn read(path: &Path) -> (String, BTreeSet<String>) {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut lines = text.lines().map(str::to_owned);
    (lines.next().unwrap_or_default(), lines.collect())
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

pub(super) fn name(part: Soak) -> String {
    part.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// What is tested, as far as git knows. Other changes that are not committed make another one of it.
fn revision() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(repository()).args(arguments).output();
        output.ok().filter(|output| output.status.success()).map(|output| output.stdout).unwrap_or_default()
    };
    let commit = git(&["describe", "--always", "--abbrev=12", "--exclude=*"]);
    let commit = String::from_utf8_lossy(&commit).trim().to_owned();
    let changes = [git(&["diff", "HEAD"]), git(&["status", "--porcelain"])].concat();
    match (commit.is_empty(), changes.is_empty()) {
        (true, _) => "an unknown revision".to_owned(),
        (false, true) => commit,
        (false, false) => format!("{commit} and changes ({})", short_digest(&changes)),
    }
}
