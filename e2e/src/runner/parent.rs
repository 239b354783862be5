//! The process that runs the others.

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Semaphore;

use super::child::{IN_PROCESS, SKIPPED};
use super::durations::Durations;
use super::pinned::Pinned;
use super::report::{self, Report};
use super::soak::{self, Progress};
use super::{MUST_MATCH, Soak, Test};
use crate::error::{Error, FileContext, Result};
use crate::existing;
use crate::pool::{OwnedPool, PLANE_LINK, POOL, Pool};
use crate::process::{Process, Specification, tail_of};
use crate::run_directory::RunDirectory;
use crate::tools::{Tools, say, variable};
use crate::wait::patiently;

/// A test waits more than it works: three at a time keep two cores busy. Four are over hardly sooner, and each of them takes longer.
const SLOTS_OF_TWO_CORES: u32 = 3;
/// What a test with three control planes takes.
const KIB_PER_SLOT: u64 = 1536 * 1024;
/// Between two looks whether a test has ended.
const LOOK: Duration = Duration::from_millis(20);
/// How much of each log a failed test shows.
const LOG_LINES: usize = 25;

/// How much of what a failed test said is shown at once.
const FIRST_LINES: usize = 12;
const FIRST_LETTERS: usize = 400;

/// What all tests share.
struct Shared {
    handle: Handle,
    slots: Arc<Semaphore>,
    slot_count: u32,
    report: Report,
    /// Of a part of `make soak`.
    progress: Option<Progress>,
    /// The folder of the pool.
    pool: String,
    programs: Pinned,
    /// Where tests have their folders: the next run removes what a killed one left.
    scratch: RunDirectory,
    shows_output: bool,
}

/// As whoever reads the closing lines expects it.
pub(super) fn run_nothing() -> ExitCode {
    libtest_mimic::run(&Arguments::from_args(), Vec::new()).exit_code()
}

/// `part` says that these tests are one of `make soak`.
pub(super) fn run(tests: &[Test], part: Option<Soak>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    let outcome = Runtime::new().map_err(|source| Error::Start { name: "the runner".to_owned(), source });
    let outcome = outcome.and_then(|runtime| {
        if arguments.list {
            let trials = tests.iter().map(|test| trial(*test, part, None)).collect();
            return Ok(libtest_mimic::run(&arguments, trials).exit_code());
        }
        run_all(tests, part, &mut arguments, &runtime)
    });
    outcome.unwrap_or_else(|error| {
        say(&error.to_string());
        ExitCode::FAILURE
    })
}

fn run_all(tests: &[Test], part: Option<Soak>, arguments: &mut Arguments, runtime: &Runtime) -> Result<ExitCode> {
    check_selection(tests, part, arguments)?;
    let slot_count = arguments.test_threads.map_or_else(slots, |threads| u32::try_from(threads).unwrap_or(1)).max(1);
    arguments.test_threads = usize::try_from(slot_count).ok();
    let kept = Pool::kept()?;
    // Those that are kept are for single tests: all of them would leave them as many as they need themselves.
    let takes_kept = kept.exists() && arguments.filter.is_some();
    let owned = if takes_kept { None } else { Some(OwnedPool::create()?) };
    let progress = part.map(|part| Progress::of(part, tests)).transpose()?;
    let scratch = RunDirectory::temporary(&Tools::from_environment()?.run_directory(), "tests")?;
    let durations = Durations::read();
    let mut tests = tests.to_vec();
    tests.retain(|test| progress.as_ref().is_none_or(|progress| !progress.has_passed(&test.title())));
    tests.sort_by_key(|test| (test.round, Reverse((test.weight, durations.of(test.name())))));
    let shared = Arc::new(Shared {
        handle: runtime.handle().clone(),
        slots: Arc::new(Semaphore::new(usize::try_from(slot_count).unwrap_or(1))),
        slot_count,
        report: Report::begin(),
        progress,
        programs: Pinned::in_folder(&scratch.path().join("programs"))?,
        scratch,
        pool: owned.as_ref().map_or(&kept, OwnedPool::pool).directory().display().to_string(),
        shows_output: arguments.nocapture || arguments.show_output,
    });
    let _load = part.map(soak::load).transpose()?;
    let trials = tests.iter().map(|test| trial(*test, part, Some(Arc::clone(&shared)))).collect();
    let conclusion = libtest_mimic::run(arguments, trials);
    let soaks = tests.iter().filter(|test| test.soak.is_some() && part.is_none() && is_wanted(test, arguments)).count();
    finish(&shared, durations, soaks);
    if let Some(progress) = &shared.progress {
        say(&progress.end(arguments.filter.is_some() || !arguments.skip.is_empty()));
    }
    if let Some(owned) = owned {
        runtime.block_on(owned.end())?;
    }
    Ok(conclusion.exit_code())
}

/// A run of nothing proves nothing. Only whoever runs the tests of all crates by a name need not have one here.
fn check_selection(tests: &[Test], part: Option<Soak>, arguments: &Arguments) -> Result<()> {
    let is_required = existing::is_required() && arguments.filter.is_none();
    if variable(MUST_MATCH).is_none() && part.is_none() && !is_required {
        return Ok(());
    }
    let selected = tests.iter().filter(|test| !arguments.is_filtered_out(&trial(**test, part, None)));
    let mut for_later = None;
    for test in selected {
        match test.soak.filter(|_| part.is_none() && !arguments.include_ignored && !arguments.ignored) {
            None => return Ok(()),
            later => for_later = later,
        }
    }
    Err(for_later.map_or(Error::NoTest, |part| Error::OnlySoak { part: soak::name(part) }))
}

fn is_wanted(test: &Test, arguments: &Arguments) -> bool {
    arguments.filter.as_ref().is_none_or(|filter| test.name().contains(filter))
}

fn finish(shared: &Shared, durations: Durations, soaks: usize) {
    durations.remember(shared.report.passed().map(|entry| (entry.name, entry.took)));
    println!("{}", shared.report.text(soaks, shared.slot_count));
}

fn trial(test: Test, part: Option<Soak>, shared: Option<Arc<Shared>>) -> Trial {
    let kind = if test.soak.is_some() { "soak" } else { "" };
    let run = move || match shared {
        Some(shared) => shared.run_in_its_slots(test),
        None => Ok(Completion::Completed),
    };
    let is_for_later = test.soak.is_some() && test.soak != part;
    Trial::ignorable_test(test.title(), run).with_kind(kind).with_ignored_flag(is_for_later)
}

/// As many as cores and memory allow.
fn slots() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
    let by_memory = available_memory().map_or(u32::MAX, |kib| u32::try_from(kib / KIB_PER_SLOT).unwrap_or(u32::MAX));
    (SLOTS_OF_TWO_CORES * cores / 2).max(1).min(by_memory)
}

/// In KiB.
fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse().ok()
}

impl Shared {
    fn run_in_its_slots(&self, test: Test) -> std::result::Result<Completion, Failed> {
        let weight = test.weight.min(self.slot_count);
        let _slots = self.handle.block_on(self.slots.acquire_many(weight))?;
        let started = Instant::now();
        let outcome = self.handle.block_on(self.run(test));
        let (ending, completion) = match outcome {
            Ok(Ended::Well) => (report::Ending::Passed, Ok(Completion::Completed)),
            Ok(Ended::Skipped(reason)) => {
                (report::Ending::Skipped(reason.clone()), Ok(Completion::ignored_with(reason)))
            }
            Ok(Ended::Badly(shown)) => (report::Ending::Failed, Err(Failed::from(shown))),
            Err(error) => (report::Ending::Failed, Err(Failed::from(error.to_string()))),
        };
        if let (report::Ending::Passed, Some(progress)) = (&ending, &self.progress) {
            progress.passed(&test.title())?;
        }
        self.report.add(report::Entry { name: test.name(), title: test.title(), took: started.elapsed(), ending });
        completion
    }

    async fn run(&self, test: Test) -> Result<Ended> {
        let folder = tempfile::tempdir_in(self.scratch.path()).on("create in", self.scratch.path())?;
        let output = folder.path().join("output");
        let mut process = self.start(test, folder.path(), &output)?;
        let ended = ended_within(&mut process, patiently(test.limit)).await;
        if !ended {
            // It says so, and ends what it started; if it does not, that ends with it.
            process.terminate().await?;
        }
        let said = std::fs::read_to_string(&output).unwrap_or_default();
        if self.shows_output {
            println!("---- {} ----\n{said}", test.name());
        }
        Ok(match process.exit_code() {
            Some(0) if ended => Ended::Well,
            Some(code) if code == i32::from(SKIPPED) => Ended::Skipped(reason_in(&said)),
            code => {
                let limit = if ended { String::new() } else { format!("not over after {:?}\n", patiently(test.limit)) };
                // At once, as a run that is ended shows nothing of this at its end.
                say(&format!("{} failed: {limit}{}", test.name(), beginning(&said)));
                Ended::Badly(format!("{limit}exit code {code:?}\n{said}\n{}", logs(folder.path())))
            }
        })
    }

    fn start(&self, test: Test, folder: &Path, output: &Path) -> Result<Process> {
        // What it makes for a while lies in its folder, and goes with it however it ends.
        let folder = folder.display().to_string();
        let environment = [("TMPDIR", folder.as_str()), (POOL, &self.pool), ("RUST_BACKTRACE", "0")];
        let mut environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        environment.extend(self.programs.variables.iter().cloned());
        Process::start(&Specification {
            name: test.name().to_owned(),
            program: self.programs.executable.clone(),
            arguments: vec![IN_PROCESS.to_owned(), test.name().to_owned()],
            environment,
            log: output.to_owned(),
        })
    }
}

/// How the process of a test ended.
enum Ended {
    Well,
    /// And why.
    Skipped(String),
    /// With what it said.
    Badly(String),
}

async fn ended_within(process: &mut Process, limit: Duration) -> bool {
    let started = Instant::now();
    while process.is_running() {
        if started.elapsed() >= limit {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
    true
}

/// What a test says first is why it failed.
fn beginning(said: &str) -> String {
    let lines = said.lines().take(FIRST_LINES).map(|line| line.chars().take(FIRST_LETTERS).collect::<String>());
    lines.collect::<Vec<_>>().join("\n")
}

fn reason_in(said: &str) -> String {
    said.lines().rev().find(|line| line.contains("SKIPPED")).unwrap_or_default().to_owned()
}

/// The ends of all logs that a test left in its folder.
fn logs(folder: &Path) -> String {
    let mut text = String::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == PLANE_LINK) {
                folders.push(path.join("logs"));
            } else if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "log") {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let _ = writeln!(text, "--- the end of {name}\n{}", tail_of(&path, LOG_LINES));
            }
        }
    }
    text
}
