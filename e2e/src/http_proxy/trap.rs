//! Kills a process at one of its writes.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use nix::sys::signal::Signal;

use crate::process::DetachedProcess;

/// Counts requests that change something, and kills whoever makes the one that it was set for: after the server has done
/// it, before the answer. One trap can watch several servers.
#[derive(Debug, Default)]
pub struct WriteTrap(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    writes: usize,
    set: Option<(usize, Victim)>,
    sprung: bool,
}

/// Who is killed.
#[derive(Debug, Clone)]
pub enum Victim {
    /// This process.
    Process(DetachedProcess),
    /// The process whose id is in a file then, and which runs this program; nobody if there is none.
    InFile {
        /// The file.
        pid: PathBuf,
        /// The program.
        program: PathBuf,
    },
}

impl Victim {
    fn kill(&self) {
        let process = match self {
            Self::Process(process) => Some(process.clone()),
            Self::InFile { pid, program } => {
                let pid = std::fs::read_to_string(pid).ok().and_then(|text| text.trim().parse().ok());
                pid.and_then(|pid| DetachedProcess::running(pid, program))
            }
        };
        if let Some(process) = process {
            // It may have ended by itself.
            let _ = process.signal(Signal::SIGKILL);
        }
    }
}

impl WriteTrap {
    /// Kills at the write `number` from now, the first being 1.
    pub fn set(&self, number: usize, victim: Victim) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.set = Some((state.writes + number, victim));
    }

    /// Whether it has killed since this was asked last.
    pub fn take_sprung(&self) -> bool {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).sprung)
    }

    /// Counts one more write; true when it killed for it.
    pub(crate) fn springs(&self) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.writes += 1;
        let due = state.writes;
        let Some((_, victim)) = state.set.take_if(|(number, _)| *number == due) else { return false };
        state.sprung = true;
        victim.kill();
        true
    }
}
