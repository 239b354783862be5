//! kube-bench for one target, as a child: within its time, and gone with all that it started.

use std::{
    ffi::OsString,
    io,
    process::{ExitStatus, Stdio},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    time::{Instant, timeout_at},
};

use crate::{
    MAX_PRINTED, RunSettings, TargetName,
    outcome::{MOST_SAID, Outcome},
};

/// Where the programs that a benchmark calls are, if the environment does not say.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The one folder beside the results that can be written.
const HOME: &str = "/tmp";

/// What kube-bench printed for a target, and how it ended. Where it did not end by itself, nothing of what it printed counts.
pub(crate) async fn scan(settings: &RunSettings, target: &TargetName, deadline: Instant) -> (Vec<u8>, Outcome) {
    if Instant::now() >= deadline {
        return (Vec::new(), Outcome::TimedOut);
    }
    let failed = |error: io::Error| Outcome::NotStarted { message: error.to_string() };
    let mut group = match command(settings, target).spawn() {
        Ok(child) => Group(child),
        Err(error) => return (Vec::new(), failed(error)),
    };
    match timeout_at(deadline, group.end()).await {
        Err(_) => (Vec::new(), Outcome::TimedOut),
        Ok(Err(Stopped::Unreadable(error))) => (Vec::new(), failed(error)),
        Ok(Err(Stopped::TooLarge)) => (Vec::new(), Outcome::TooLarge),
        Ok(Ok(Ended { status, printed, said })) => {
            let said = String::from_utf8_lossy(&said).into_owned();
            (printed, Outcome::Exited { code: status.code(), said })
        }
    }
}

fn command(settings: &RunSettings, target: &TargetName) -> Command {
    let mut command = Command::new(&settings.engine);
    command.arg("run").arg("--config-dir").arg(&settings.config);
    command.arg("--config").arg(settings.config.join("config.yaml"));
    command.args(["--benchmark", settings.benchmark.as_str(), "--targets", target.as_str()]);
    command.args(["--json", "--noremediations"]);
    // Variables KUBE_BENCH_… would change what it does, and a kubeconfig is not its business.
    let path = std::env::var_os("PATH").filter(|path| !path.is_empty());
    command.env_clear().env("HOME", HOME).env("PATH", path.unwrap_or_else(|| OsString::from(USUAL_PATH)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    command
}

/// A process with all that it started, which end when this is dropped.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // After the process was waited for, its number can be that of another one.
        if let Some(number) = self.0.id().and_then(|id| i32::try_from(id).ok()) {
            killpg(Pid::from_raw(number), Signal::SIGKILL).ok();
        }
    }
}

/// How a process ended by itself.
struct Ended {
    status: ExitStatus,
    printed: Vec<u8>,
    said: Vec<u8>,
}

/// Why a process is not waited for any longer.
enum Stopped {
    /// It prints too much.
    TooLarge,
    /// It cannot be read.
    Unreadable(io::Error),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

impl Group {
    /// Waits until the process has ended.
    async fn end(&mut self) -> Result<Ended, Stopped> {
        let (stdout, stderr) = (self.0.stdout.take(), self.0.stderr.take());
        let (printed, said) = tokio::try_join!(all_of(stdout), end_of(stderr))?;
        Ok(Ended { status: self.0.wait().await?, printed, said })
    }
}

/// Reads all, unless it is too much.
async fn all_of(pipe: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, Stopped> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(MAX_PRINTED as u64 + 1).read_to_end(&mut bytes).await?;
    }
    if bytes.len() > MAX_PRINTED { Err(Stopped::TooLarge) } else { Ok(bytes) }
}

/// Reads all, and keeps the end of it.
async fn end_of(pipe: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, Stopped> {
    let mut kept = Vec::new();
    if let Some(mut pipe) = pipe {
        while pipe.read_buf(&mut kept).await? > 0 {
            let surplus = kept.len().saturating_sub(MOST_SAID);
            kept.drain(..surplus);
        }
    }
    Ok(kept)
}
