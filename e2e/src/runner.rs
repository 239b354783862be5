//! Runs the tests of this crate, each in a process of its own, as many at a time as cores and memory allow.
//!
//! libtest-mimic reads the arguments and prints the closing lines, as `cargo test` has them. The rest is here: the weights of
//! tests, a time limit after which a test and all that it started is ended, output that is kept apart and shown only when a
//! test fails, the pool of control planes, and the closing report.

mod child;
mod durations;
mod parent;
mod pinned;
mod report;
mod soak;

use std::fmt::Debug;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum as _;

use crate::tools::{say, variable};
pub use pinned::static_program;

/// What a test does.
pub type Run = fn() -> Pin<Box<dyn Future<Output = Result<(), String>>>>;

/// Long tests that are run apart, in parts that can be run one by one: `make soak`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Soak {
    /// Watches that fall silent for as long as they may by default.
    Watches,
    /// A cluster that is away for an hour.
    Away,
    /// The benches in full size.
    Bench,
    /// Stories in which drover is killed at each of its writes.
    Kills,
    /// Every test that is not in another part, three times, beside a core's worth of other work.
    Load,
}

/// A test, and what it takes.
#[derive(Debug, Clone, Copy)]
pub struct Test {
    name: &'static str,
    run: Run,
    weight: u32,
    limit: Duration,
    soak: Option<Soak>,
    is_story: bool,
    /// Why drover cannot be killed in this story.
    unkillable: Option<&'static str>,
    /// Which of several runs of it.
    round: Option<&'static str>,
}

/// More than any test needs on a machine that runs several of them.
const USUAL_LIMIT: Duration = Duration::from_mins(4);
/// Before its limit nothing ends a soak test but itself.
const SOAK_LIMIT: Duration = Duration::from_mins(90);

impl Test {
    /// A test that takes one slot. `path` is that of its function.
    #[must_use]
    pub const fn new(path: &'static str, run: Run) -> Self {
        Self {
            name: path,
            run,
            weight: 1,
            limit: USUAL_LIMIT,
            soak: None,
            is_story: false,
            unkillable: None,
            round: None,
        }
    }

    /// So many slots: for tests that keep a core busy, or run more than four control planes.
    #[must_use]
    pub const fn weight(self, slots: u32) -> Self {
        Self { weight: slots, ..self }
    }

    /// Ended when it takes longer.
    #[must_use]
    pub const fn limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Belongs to this part of `make soak`.
    #[must_use]
    pub const fn soak(self, part: Soak) -> Self {
        Self { soak: Some(part), limit: SOAK_LIMIT, ..self }
    }

    /// What people do and what comes of it, which has to end the same wherever drover is killed meanwhile.
    #[must_use]
    pub const fn story(self) -> Self {
        Self { is_story: true, ..self }
    }

    /// A story whose own words would be disturbed if drover were killed, not drover; says why.
    #[must_use]
    pub const fn unkillable(self, why: &'static str) -> Self {
        Self { unkillable: Some(why), ..self }
    }

    /// Whether it is a story in which drover may be killed.
    #[must_use]
    pub const fn is_killable(&self) -> bool {
        self.is_story && self.unkillable.is_none()
    }

    /// The module and the name of the function.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name.split_once("::").map_or(self.name, |(_, name)| name)
    }

    /// The same, and which round it is.
    fn title(&self) -> String {
        self.round.map_or_else(|| self.name().to_owned(), |round| format!("{} ({round})", self.name()))
    }
}

/// How a test ends: well, or with something to say.
pub trait Ending {
    /// What went wrong.
    fn told(self) -> Result<(), String>;
}

impl Ending for () {
    fn told(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: Debug> Ending for Result<(), E> {
    fn told(self) -> Result<(), String> {
        self.map_err(|error| format!("{error:?}"))
    }
}

/// Lists the tests of a module, in a function `tests` for [`main`]: names of asynchronous functions, and after an arrow what
/// is special about one. `stories:` before the first says that all are stories ([`Test::story`]). A function that is not
/// listed is dead code, which does not compile here.
#[macro_export]
macro_rules! tests {
    (stories: $($tests:tt)*) => {
        $crate::tests!(@function [.story()] $($tests)*);
    };
    (@function $marks:tt $($name:ident $(=> $special:ident($value:expr))*),* $(,)?) => {
        pub(crate) fn tests() -> Vec<$crate::runner::Test> {
            vec![$($crate::tests!(@test $marks $name $(.$special($value))*)),*]
        }
    };
    (@test [$($marks:tt)*] $name:ident $($special:tt)*) => {
        $crate::runner::Test::new(
            concat!(module_path!(), "::", stringify!($name)),
            || Box::pin(async { $crate::runner::Ending::told($name().await) }),
        )
        $($marks)*
        $($special)*
    };
    ($($tests:tt)*) => {
        $crate::tests!(@function [] $($tests)*);
    };
}

/// Set to a part, only that part of `make soak` is run.
const SOAK: &str = "DROVER_E2E_SOAK";
/// Set, a filter that selects no test is an error: for whoever asks for tests of this crate by name, not of all crates.
const MUST_MATCH: &str = "DROVER_E2E_MUST_MATCH";
/// Set, nothing is run: for whoever runs all other tests.
const SKIP: &str = "DROVER_E2E_SKIP";

/// Runs what the command line and the environment ask for: one test in this process, or many in others.
#[must_use]
pub fn main(tests: &[Test]) -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if let (Some(child::IN_PROCESS), Some(name)) = (arguments.next().as_deref(), arguments.next()) {
        return child::run(tests, &name);
    }
    let part = variable(SOAK);
    if variable(SKIP).is_some() {
        if part.is_some() {
            say(&format!("{SKIP} runs nothing and {SOAK} a part of it: unset one of them"));
            return ExitCode::FAILURE;
        }
        return parent::run_nothing();
    }
    match part.map(|part| Soak::from_str(&part, true)) {
        None => parent::run(tests, None),
        Some(Ok(part)) => parent::run(&soak::of(tests, part), Some(part)),
        Some(Err(error)) => {
            say(&format!("{SOAK}: {error}"));
            ExitCode::FAILURE
        }
    }
}
