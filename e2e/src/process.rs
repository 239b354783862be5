//! Child processes that end with us, even when we are killed with SIGKILL.
//!
//! Each child has a small `sh` as supervisor that waits for a line or the end of a pipe which only we hold. When we end,
//! however that happens, the system closes the pipe and the supervisor kills the child. A line hands the child over: to
//! nobody, or to whoever holds the lock of a file, with whom it ends then.
//!
//! A child has a process group of its own, which ends with it: what it started in passing and did not wait for.

mod detached;

use std::fs;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{Error, Result};
use crate::wait::patiently;
pub use detached::DetachedProcess;

/// How long a process may take to end on SIGTERM before it gets SIGKILL.
pub const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
const LOG_LINES: usize = 20;

/// How long a process may take to end on SIGKILL.
fn kill_patience() -> Duration {
    patiently(Duration::from_secs(5))
}

/// `$1` is the log, the rest is the command. The process group of its own keeps Ctrl-C away from the supervisor. The watcher
/// is there before we are told of the child: nobody may read that, and then the supervisor ends by SIGPIPE.
const SUPERVISOR: &str = r#"
log=$1; shift
trap '' HUP
exec 3<&0 2>>"$log"
setsid "$@" >>"$log" 2>&1 </dev/null 3<&- &
child=$!
end() {
    # It has no group yet for a moment after its start; then it is alone.
    kill -9 "$child" 2>/dev/null
    kill -s KILL -- "-$child" 2>/dev/null
}
(
    if read -r heir <&3; then
        if [ "$heir" = nobody ]; then kill -9 $$; exit; fi
        flock --shared "$heir" true
    fi
    end
) >/dev/null &
watcher=$!
echo "$child"
exec >&-
wait "$child"
code=$?
end
kill -9 "$watcher" 2>/dev/null
exit "$code"
"#;

/// What to start.
#[derive(Debug, Clone)]
pub struct Specification {
    /// The name in messages.
    pub name: String,
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables that it has besides ours, as names and values.
    pub environment: Vec<(String, String)>,
    /// Where its output is appended.
    pub log: PathBuf,
}

/// A running child process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: PathBuf,
    log: PathBuf,
    pid: Pid,
    /// None once the process was handed over.
    supervisor: Option<Child>,
    hold: Option<ChildStdin>,
}

impl Process {
    /// Starts the process.
    pub fn start(specification: &Specification) -> Result<Self> {
        let failed = |source| Error::Start { name: specification.name.clone(), source };
        let mut command = Command::new("sh");
        command.args(["-c", SUPERVISOR, "drover-e2e-supervisor"]);
        command.arg(&specification.log).arg(&specification.program).args(&specification.arguments);
        command.envs(specification.environment.iter().cloned());
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut supervisor = command.spawn().map_err(failed)?;
        let hold = supervisor.stdin.take();
        let Some(pid) = read_pid(&mut supervisor).map_err(failed)? else {
            let _ = supervisor.wait();
            return Err(ended(&specification.name, &specification.log));
        };
        let Specification { name, program, log, .. } = specification.clone();
        Ok(Self { name, program, log, pid: Pid::from_raw(pid), supervisor: Some(supervisor), hold })
    }

    /// The process id of the program itself, not of its supervisor.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// The name in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that has its output.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its output.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail_of(&self.log, LOG_LINES)
    }

    /// Whether it still runs; a paused process runs.
    pub fn is_running(&mut self) -> bool {
        self.supervisor.as_mut().is_some_and(|supervisor| matches!(supervisor.try_wait(), Ok(None)))
    }

    /// With which code it ended; none while it runs.
    pub fn exit_code(&mut self) -> Option<i32> {
        self.supervisor.as_mut()?.try_wait().ok().flatten()?.code()
    }

    /// An error with the end of the log when the process has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        if self.is_running() { Ok(()) } else { Err(ended(&self.name, &self.log)) }
    }

    /// Asks it to end, and kills it when it has not after [`PATIENCE`].
    pub async fn terminate(&mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        self.signal(Signal::SIGCONT)?;
        if !self.ended_within(patiently(PATIENCE)).await {
            self.kill().await?;
        }
        Ok(())
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub async fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        if self.ended_within(kill_patience()).await {
            Ok(())
        } else {
            Err(Error::WillNotDie { name: self.name.clone(), pid: self.pid() })
        }
    }

    /// Stops it in its tracks: connections stay open and nobody answers. Returns when all its threads stand still, which
    /// on a busy machine is later than the signal.
    pub async fn pause(&mut self) -> Result<()> {
        self.signal(Signal::SIGSTOP)?;
        detached::until_it_stands_still(&self.name, self.pid()).await
    }

    /// Lets a paused process go on.
    pub fn resume(&mut self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Lets it outlive us.
    pub fn detach(self) -> Result<DetachedProcess> {
        self.hand_over("nobody").map(|(process, mut supervisor)| {
            let _ = supervisor.wait();
            process
        })
    }

    /// Lets it outlive us, but not the process that holds the lock of this file.
    pub fn tie_to(self, lock: &Path) -> Result<DetachedProcess> {
        self.hand_over(&lock.to_string_lossy()).map(|(process, _supervisor)| process)
    }

    /// What tells it from any other process, for a file.
    pub fn observe(&self) -> Result<DetachedProcess> {
        DetachedProcess::observe(&self.name, self.pid(), &self.program, &self.log)
    }

    fn hand_over(mut self, heir: &str) -> Result<(DetachedProcess, Child)> {
        self.check()?;
        let detached = self.observe()?;
        let failed = |source| Error::Start { name: self.name.clone(), source };
        if let Some(mut hold) = self.hold.take() {
            hold.write_all(format!("{heir}\n").as_bytes()).map_err(failed)?;
        }
        let supervisor = self.supervisor.take().ok_or_else(|| ended(&self.name, &self.log))?;
        Ok((detached, supervisor))
    }

    /// The supervisor ends right after its child, so while it runs the child's id has not been given to another process.
    fn signal(&mut self, signal: Signal) -> Result<()> {
        if !self.is_running() {
            return Ok(());
        }
        match kill(self.pid, signal) {
            Ok(()) | Err(nix::Error::ESRCH) => Ok(()),
            Err(source) => Err(Error::Signal { name: self.name.clone(), pid: self.pid(), source }),
        }
    }

    async fn ended_within(&mut self, patience: Duration) -> bool {
        let started = Instant::now();
        while self.is_running() {
            if started.elapsed() >= patience {
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
        true
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.signal(Signal::SIGKILL);
        drop(self.hold.take());
        let started = Instant::now();
        while self.is_running() && started.elapsed() < kill_patience() {
            std::thread::sleep(POLL);
        }
    }
}

fn read_pid(supervisor: &mut Child) -> std::io::Result<Option<i32>> {
    let mut line = String::new();
    if let Some(output) = supervisor.stdout.take() {
        BufReader::new(output).read_line(&mut line)?;
    }
    Ok(line.trim().parse().ok())
}

fn ended(name: &str, log: &Path) -> Error {
    Error::Ended { name: name.to_owned(), log: log.to_owned(), tail: tail_of(log, LOG_LINES) }
}

/// The last lines of a file, or why it cannot be read.
pub(crate) fn tail_of(path: &Path, lines: usize) -> String {
    match read_end(path) {
        Ok(text) => {
            let all: Vec<&str> = text.lines().collect();
            all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
        }
        Err(error) => format!("(cannot read {}: {error})", path.display()),
    }
}

fn read_end(path: &Path) -> std::io::Result<String> {
    const MOST: u64 = 32 * 1024;
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(directory: &Path, script: &str) -> Result<Process> {
        Process::start(&Specification {
            name: "test".to_owned(),
            program: PathBuf::from("/bin/sh"),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            environment: vec![("MOOD".to_owned(), "good".to_owned())],
            log: directory.join("log"),
        })
    }

    #[tokio::test]
    async fn terminate_and_kill_end_even_a_paused_process() {
        let directory = tempfile::tempdir().unwrap();
        for kill in [false, true] {
            let mut process = start(directory.path(), "exec sleep 60").unwrap();
            process.pause().await.unwrap();
            assert!(process.is_running());
            if kill {
                process.kill().await.unwrap();
            } else {
                process.terminate().await.unwrap();
            }
            assert!(!process.is_running());
        }
    }

    #[tokio::test]
    async fn an_early_end_is_told_with_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let mut process = start(directory.path(), "echo the $MOOD reason >&2; exit 3").unwrap();
        assert!(process.ended_within(kill_patience()).await);
        let error = process.check().unwrap_err().to_string();
        assert!(error.contains("the good reason"), "{error}");
        assert_eq!(process.exit_code(), Some(3));
    }

    #[tokio::test]
    async fn a_detached_process_lives_on_until_terminated() {
        let directory = tempfile::tempdir().unwrap();
        let detached = start(directory.path(), "while true; do sleep 0.1; done").unwrap().detach().unwrap();
        assert!(detached.is_running());
        detached.terminate().await.unwrap();
        assert!(!detached.is_running());
    }

    #[tokio::test]
    async fn a_process_that_is_tied_to_a_lock_ends_with_its_holder() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a lock");
        let lock = fs::File::create(&path).unwrap();
        lock.lock().unwrap();
        let tied = start(directory.path(), "while true; do sleep 0.1; done").unwrap().tie_to(&path).unwrap();
        tokio::time::sleep(10 * POLL).await;
        assert!(tied.is_running());
        drop(lock);
        assert!(tied.ended_within(kill_patience()).await);
    }

    #[test]
    fn a_child_ends_although_its_owner_was_gone_before_it_was_told() {
        let directory = tempfile::tempdir().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let pid_file = directory.path().join("pid");
        let script = format!("echo $$ >{}; exec sleep 60", pid_file.display());
        let mut supervisor = Command::new("sh");
        supervisor.args(["-c", SUPERVISOR, "supervisor"]).arg(directory.path().join("log")).args(["sh", "-c", &script]);
        supervisor.process_group(0).stdin(Stdio::piped()).stdout(writer).stderr(Stdio::null());
        // Its standard input is closed here as well.
        supervisor.spawn().unwrap().wait().unwrap();
        // It may end before it has written its id.
        let pid = || fs::read_to_string(&pid_file).ok()?.trim().parse().ok();
        let is_running = || pid().is_some_and(|pid| DetachedProcess::running(pid, Path::new("sleep")).is_some());
        std::thread::sleep(10 * POLL);
        let started = Instant::now();
        while is_running() && started.elapsed() < kill_patience() {
            std::thread::sleep(POLL);
        }
        assert!(!is_running());
    }

    #[test]
    fn only_the_end_of_a_log_is_shown() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        fs::write(&log, "one\ntwo\nthree\n").unwrap();
        assert_eq!(tail_of(&log, 2), "two\nthree");
    }
}
