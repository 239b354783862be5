//! Drift conflicts: a field that another client keeps reverting is reported and left alone.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// So many times within [`WINDOW`], then we stop.
const LIMIT: usize = 3;
/// How long a revert counts.
pub const WINDOW: Duration = Duration::from_mins(10);

/// Counts how often the same desired state had to be applied to the same object lately. In memory: after a restart the count begins
/// again.
#[derive(Debug, Default)]
pub struct DriftConflicts(Mutex<HashMap<String, Repeats>>);

/// The latest desired state for one object, and when it had to be applied once more.
#[derive(Debug)]
struct Repeats {
    desired_hash: String,
    applied: Instant,
    times: VecDeque<Instant>,
}

impl DriftConflicts {
    /// Notes that the desired state with this hash was applied to the object with this `uid`. `restoring` says that it had
    /// been fulfilled before: then already the first time is one too many.
    pub fn record(&self, uid: &str, desired_hash: &str, restoring: bool) {
        let mut all = self.lock();
        all.retain(|_, repeats| repeats.applied.elapsed() < WINDOW);
        match all.get_mut(uid) {
            Some(repeats) if repeats.desired_hash == desired_hash => repeats.again(),
            _ => {
                let mut repeats =
                    Repeats { desired_hash: desired_hash.to_owned(), applied: Instant::now(), times: VecDeque::new() };
                if restoring {
                    repeats.again();
                }
                all.insert(uid.to_owned(), repeats);
            }
        }
    }

    /// The hash of the desired state that another client keeps reverting: it had to be applied once more three times within ten
    /// minutes.
    #[must_use]
    pub fn drift_conflict(&self, uid: &str) -> Option<String> {
        let all = self.lock();
        let repeats = all.get(uid)?;
        let lately = repeats.times.iter().filter(|time| time.elapsed() < WINDOW).count();
        (lately >= LIMIT).then(|| repeats.desired_hash.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Repeats>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Repeats {
    fn again(&mut self) {
        self.applied = Instant::now();
        self.times.push_back(self.applied);
        // Only the latest ones can make a conflict.
        while self.times.len() > LIMIT {
            self.times.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn three_reverts_in_ten_minutes_are_a_drift_conflict_and_rest_ends_it() {
        let conflicts = DriftConflicts::default();
        for _ in 0..LIMIT {
            assert_eq!(conflicts.drift_conflict("uid"), None);
            conflicts.record("uid", "desired_hash", true);
            tokio::time::advance(Duration::from_mins(1)).await;
        }
        assert_eq!(conflicts.drift_conflict("uid").as_deref(), Some("desired_hash"));
        assert_eq!(conflicts.drift_conflict("another"), None);
        tokio::time::advance(WINDOW).await;
        assert_eq!(conflicts.drift_conflict("uid"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_desired_state_is_no_revert_and_a_new_one_ends_the_drift_conflict() {
        let conflicts = DriftConflicts::default();
        for _ in 0..LIMIT {
            conflicts.record("uid", "desired_hash", false);
            assert_eq!(conflicts.drift_conflict("uid"), None);
        }
        conflicts.record("uid", "desired_hash", false);
        assert!(
            conflicts.drift_conflict("uid").is_some(),
            "the same desired state again and again is a conflict, whatever was taken away"
        );
        conflicts.record("uid", "new desired_hash", false);
        assert_eq!(conflicts.drift_conflict("uid"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_is_forgotten() {
        let conflicts = DriftConflicts::default();
        conflicts.record("old", "desired_hash", true);
        tokio::time::advance(WINDOW).await;
        conflicts.record("new", "desired_hash", true);
        assert_eq!(conflicts.lock().len(), 1);
    }
}
