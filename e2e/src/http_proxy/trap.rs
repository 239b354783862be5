//! Kills a process at one of its writes.

use std::sync::{Mutex, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Counts requests that change something, and kills whoever makes the one that it was set for: after the server has done
/// it, before the answer. One trap can watch several servers.
#[derive(Debug, Default)]
pub struct WriteTrap(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    writes: usize,
    set: Option<(usize, Pid)>,
    sprung: bool,
}

impl WriteTrap {
    /// Kills the process `pid` at the write `number` from now, the first being 1.
    pub fn set(&self, number: usize, pid: i32) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.set = Some((state.writes + number, Pid::from_raw(pid)));
    }

    /// Whether it has killed since this was asked last.
    pub fn take_sprung(&self) -> bool {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).sprung)
    }

    /// Counts one more write; true when it killed for it.
    pub(super) fn springs(&self) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.writes += 1;
        let due = state.writes;
        let Some((_, pid)) = state.set.take_if(|(number, _)| *number == due) else { return false };
        state.sprung = true;
        // The process that was to be killed may have ended by itself.
        let _ = kill(pid, Signal::SIGKILL);
        true
    }
}
