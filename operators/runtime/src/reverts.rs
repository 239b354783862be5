//! A field that somebody else keeps reverting is reported and left alone.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// So many times within [`WINDOW`], then we stop.
const LIMIT: usize = 3;
/// How long a revert counts.
pub const WINDOW: Duration = Duration::from_mins(10);

/// Counts how often the same object had to be restored lately. In memory: after a restart the count begins again.
#[derive(Debug, Default)]
pub struct Reverts(Mutex<HashMap<String, VecDeque<Instant>>>);

impl Reverts {
    /// Notes that the object with this `uid` had to be restored although we wanted nothing new.
    pub fn record(&self, uid: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, times| {
            forget_old(times);
            !times.is_empty()
        });
        all.entry(uid.to_owned()).or_default().push_back(Instant::now());
    }

    /// Whether somebody fights us over this object: it was restored three times in ten minutes.
    #[must_use]
    pub fn contested(&self, uid: &str) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get_mut(uid).is_some_and(|times| {
            forget_old(times);
            times.len() >= LIMIT
        })
    }
}

fn forget_old(times: &mut VecDeque<Instant>) {
    while times.front().is_some_and(|time| time.elapsed() >= WINDOW) {
        times.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn three_reverts_in_ten_minutes_are_a_fight_and_peace_ends_it() {
        let reverts = Reverts::default();
        for _ in 0..LIMIT {
            assert!(!reverts.contested("uid"));
            reverts.record("uid");
            tokio::time::advance(Duration::from_mins(1)).await;
        }
        assert!(reverts.contested("uid"));
        assert!(!reverts.contested("another"));
        tokio::time::advance(WINDOW).await;
        assert!(!reverts.contested("uid"));
    }
}
