use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::{PATIENCE, POLL, kill_patience};
use crate::error::{Error, FileContext, Result};
use crate::wait::patiently;

/// How long a process may take from fork to exec.
const EXEC_PATIENCE: Duration = Duration::from_secs(1);

/// A process that outlives the one that started it, as written to a state file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetachedProcess {
    name: String,
    pid: i32,
    program: PathBuf,
    log: PathBuf,
    /// When it started, in clock ticks since boot: tells it from a later process with the same id.
    started: u64,
}

impl DetachedProcess {
    pub(super) fn observe(name: &str, pid: i32, program: &Path, log: &Path) -> Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).on("read", &path)?;
        let started = parse_stat(&stat).map(|(_, started)| started).unwrap_or_default();
        let (program, log) = (program.to_owned(), log.to_owned());
        let process = Self { name: name.to_owned(), pid, program, log, started };
        // Between fork and exec it still shows the command of its supervisor.
        let asked = Instant::now();
        while !process.command_matches() && asked.elapsed() < EXEC_PATIENCE {
            std::thread::sleep(POLL);
        }
        Ok(process)
    }

    /// The process with this id, if it runs this program.
    pub(crate) fn running(pid: i32, program: &Path) -> Option<Self> {
        let name = program.display().to_string();
        Self::observe(&name, pid, program, Path::new("/dev/null")).ok().filter(Self::is_running)
    }

    /// The name in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether this very process runs, and not another one that got its id.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok();
        let Some((state, started)) = stat.as_deref().and_then(parse_stat) else { return false };
        state != 'Z' && state != 'X' && started == self.started && self.command_matches()
    }

    /// The program that it runs.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The file that has its output.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// An error with the end of the log when the process has ended.
    pub fn check(&self) -> Result<()> {
        if self.is_running() { Ok(()) } else { Err(super::ended(&self.name, &self.log)) }
    }

    /// Asks it to end, and kills it when it does not.
    pub async fn terminate(&self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        self.signal(Signal::SIGCONT)?;
        if self.ended_within(patiently(PATIENCE)).await {
            return Ok(());
        }
        self.kill().await
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub async fn kill(&self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        if self.ended_within(kill_patience()).await {
            Ok(())
        } else {
            Err(Error::WillNotDie { name: self.name.clone(), pid: self.pid })
        }
    }

    /// As [`super::Process::pause`].
    pub async fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)?;
        until_it_stands_still(&self.name, self.pid).await
    }

    /// Lets a paused process go on.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Sends it this signal, if it still runs.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        if !self.is_running() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(nix::Error::ESRCH) => Ok(()),
            Err(source) => Err(Error::Signal { name: self.name.clone(), pid: self.pid, source }),
        }
    }

    fn command_matches(&self) -> bool {
        let command = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let program = command.split(|byte| *byte == 0).next().unwrap_or_default();
        program == self.program.as_os_str().as_encoded_bytes()
    }

    /// Whether it is gone with all that it had. A process that was killed has neither command nor main thread while its
    /// other threads still hold its ports, which on a busy machine takes its time.
    fn has_ended(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok();
        let is_another = stat.as_deref().and_then(parse_stat).is_none_or(|(_, started)| started != self.started);
        is_another || every_thread(self.pid, |state| matches!(state, 'Z' | 'X'))
    }

    pub(super) async fn ended_within(&self, patience: Duration) -> bool {
        let started = Instant::now();
        while !self.has_ended() {
            if started.elapsed() >= patience {
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
        true
    }
}

/// Waits until a process that was stopped stands still, which on a busy machine is later than the signal.
pub(super) async fn until_it_stands_still(name: &str, pid: i32) -> Result<()> {
    let started = Instant::now();
    while !stands_still(pid) {
        if started.elapsed() >= kill_patience() {
            return Err(Error::WillNotPause { name: name.to_owned(), pid });
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Whether no thread of a process runs: all are stopped, or it has ended.
fn stands_still(pid: i32) -> bool {
    every_thread(pid, |state| matches!(state, 'T' | 'Z' | 'X'))
}

/// Whether all threads of a process that are left are in such a state.
fn every_thread(pid: i32, is_in: impl Fn(char) -> bool) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).ok();
        stat.as_deref().and_then(parse_stat).is_none_or(|(state, _)| is_in(state))
    })
}

/// State and start time of `/proc/PID/stat`. The command name before them is in parentheses and can contain anything.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some((state, started))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_spaces_and_parentheses_does_not_confuse() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 2000";
        assert_eq!(parse_stat(stat), Some(('S', 987_654)));
    }

    #[tokio::test]
    async fn a_process_is_gone_once_none_of_its_threads_runs() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let process = DetachedProcess::observe("test", pid, Path::new("sleep"), Path::new("")).unwrap();
        assert!(process.is_running() && !process.has_ended());
        // Its command says nothing: a process that is being killed loses that first.
        let nameless = DetachedProcess { program: PathBuf::from("other"), ..process.clone() };
        assert!(!nameless.is_running() && !nameless.has_ended());
        process.kill().await.unwrap();
        assert!(process.has_ended(), "a zombie holds nothing");
        child.wait().unwrap();
        assert!(process.has_ended());
    }

    #[test]
    fn another_process_with_the_same_id_is_not_ours() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let mut process = DetachedProcess::observe("test", pid, Path::new("not-this-program"), Path::new("")).unwrap();
        assert!(!process.is_running());
        process.program = PathBuf::from(std::env::args().next().unwrap());
        assert!(process.is_running());
        process.started += 1;
        assert!(!process.is_running());
    }
}
