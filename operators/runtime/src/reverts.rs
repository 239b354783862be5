//! A field that somebody else keeps reverting is reported and left alone.

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

/// Counts how often the same wish had to be applied to the same object lately. In memory: after a restart the count begins
/// again.
#[derive(Debug, Default)]
pub struct Reverts(Mutex<HashMap<String, Repeats>>);

/// The latest wish for one object, and when it had to be applied once more.
#[derive(Debug)]
struct Repeats {
    wish: String,
    applied: Instant,
    times: VecDeque<Instant>,
}

impl Reverts {
    /// Notes that the wish with this fingerprint was applied to the object with this `uid`. `restoring` says that it had
    /// been fulfilled before: then already the first time is one too many.
    pub fn record(&self, uid: &str, wish: &str, restoring: bool) {
        let mut all = self.lock();
        all.retain(|_, repeats| repeats.applied.elapsed() < WINDOW);
        match all.get_mut(uid) {
            Some(repeats) if repeats.wish == wish => repeats.again(),
            _ => {
                let mut repeats = Repeats { wish: wish.to_owned(), applied: Instant::now(), times: VecDeque::new() };
                if restoring {
                    repeats.again();
                }
                all.insert(uid.to_owned(), repeats);
            }
        }
    }

    /// The fingerprint of the wish over which somebody fights us: it had to be applied once more three times within ten
    /// minutes.
    #[must_use]
    pub fn contested(&self, uid: &str) -> Option<String> {
        let all = self.lock();
        let repeats = all.get(uid)?;
        let lately = repeats.times.iter().filter(|time| time.elapsed() < WINDOW).count();
        (lately >= LIMIT).then(|| repeats.wish.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Repeats>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Repeats {
    fn again(&mut self) {
        self.applied = Instant::now();
        self.times.push_back(self.applied);
        // Only the latest ones can make a fight.
        while self.times.len() > LIMIT {
            self.times.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn three_reverts_in_ten_minutes_are_a_fight_and_peace_ends_it() {
        let reverts = Reverts::default();
        for _ in 0..LIMIT {
            assert_eq!(reverts.contested("uid"), None);
            reverts.record("uid", "wish", true);
            tokio::time::advance(Duration::from_mins(1)).await;
        }
        assert_eq!(reverts.contested("uid").as_deref(), Some("wish"));
        assert_eq!(reverts.contested("another"), None);
        tokio::time::advance(WINDOW).await;
        assert_eq!(reverts.contested("uid"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_wish_is_no_revert_and_a_new_one_ends_the_fight() {
        let reverts = Reverts::default();
        for _ in 0..LIMIT {
            reverts.record("uid", "wish", false);
            assert_eq!(reverts.contested("uid"), None);
        }
        reverts.record("uid", "wish", false);
        assert!(
            reverts.contested("uid").is_some(),
            "the same wish again and again is a fight, whatever was taken away"
        );
        reverts.record("uid", "new wish", false);
        assert_eq!(reverts.contested("uid"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_is_forgotten() {
        let reverts = Reverts::default();
        reverts.record("old", "wish", true);
        tokio::time::advance(WINDOW).await;
        reverts.record("new", "wish", true);
        assert_eq!(reverts.lock().len(), 1);
    }
}
