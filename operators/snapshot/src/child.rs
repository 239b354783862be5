//! Programs of etcd as children of this process: in a group of their own, which ends with it.
//!
//! Rust sets nothing for a child without unsafe code, so the child is this program itself: [`become_child`] asks the kernel to end it
//! with its parent, and becomes the other program. It belongs into a hidden command, before any thread is started.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{self, ExitCode, Stdio},
};

use drover_backups::FailureCause;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use rustix::process::{Signal as DeathSignal, getppid, set_parent_process_death_signal};
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, Command},
};

use crate::SnapshotError;

/// Exit code where the program cannot be started.
const NOT_STARTED: u8 = 127;
/// Most bytes that are kept of what a program says.
const MOST_OUTPUT: u64 = 64 * 1024;
/// Most letters of it in a message.
const SHOWN: usize = 300;

/// The programs, and how they are started.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The server.
    pub etcd: PathBuf,
    /// What restores.
    pub etcdutl: PathBuf,
    /// This program and its hidden command, which leads to [`become_child`].
    pub child: Vec<OsString>,
}

/// Becomes the program that the arguments name, after the process id of the parent. Returns only where that fails.
pub fn become_child(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let parent = arguments.next().and_then(|id| id.to_str()?.parse::<i32>().ok());
    let (Some(parent), Some(program)) = (parent, arguments.next()) else { return NOT_STARTED.into() };
    let is_set = set_parent_process_death_signal(Some(DeathSignal::KILL)).is_ok();
    // The parent may have ended before that.
    if !is_set || getppid().is_none_or(|found| found.as_raw_nonzero().get() != parent) {
        return NOT_STARTED.into();
    }
    let error = process::Command::new(program).args(arguments).exec();
    failed(&error)
}

#[expect(clippy::print_stderr, reason = "the parent reads it")]
fn failed(error: &std::io::Error) -> ExitCode {
    eprintln!("{error}");
    NOT_STARTED.into()
}

impl Programs {
    /// Starts `program` in `folder`. What it says on standard error is kept.
    pub(crate) fn start(
        &self,
        program: &Path,
        folder: &Path,
        arguments: &[OsString],
    ) -> Result<Running, SnapshotError> {
        let missing = |error: &dyn std::fmt::Display| {
            let message = format!(
                "{} cannot be started ({error}): use the image drover-etcd, or name the program",
                program.display()
            );
            SnapshotError::new(FailureCause::ToolFailed, message)
        };
        let (own, hidden) = self.child.split_first().ok_or_else(|| missing(&"no hidden command"))?;
        let mut command = Command::new(own);
        command.args(hidden).arg(process::id().to_string()).arg(program).args(arguments);
        // Nothing of the environment is meant for it, least of all a variable ETCD_….
        command.env_clear().env("GOMAXPROCS", "2").env("HOME", folder);
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        command.spawn().map(Running).map_err(|error| missing(&error))
    }
}

/// A program that runs. It ends, with all that it started, when this is dropped.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // After the process was waited for, its number can be that of another one.
        if let Some(id) = self.0.id().and_then(|id| i32::try_from(id).ok()) {
            killpg(Pid::from_raw(id), Signal::SIGKILL).ok();
        }
    }
}

impl Running {
    /// Waits until it has ended: whether it says that all is well, and the end of what it said.
    pub(crate) async fn end(&mut self) -> Result<(bool, String), SnapshotError> {
        let failed = |error: std::io::Error| SnapshotError::storage("a program of etcd", &error);
        let mut said = Vec::new();
        if let Some(stderr) = self.0.stderr.take() {
            let mut stderr = stderr;
            // The rest is read as well, so that the program does not wait for a reader.
            (&mut stderr).take(MOST_OUTPUT).read_to_end(&mut said).await.map_err(failed)?;
            tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await.map_err(failed)?;
        }
        let status = self.0.wait().await.map_err(failed)?;
        Ok((status.success(), shown(&said)))
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

/// The last line of what a program said, which is where Go programs say why they end.
fn shown(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    line.chars().filter(|letter| !letter.is_control()).take(SHOWN).collect()
}
