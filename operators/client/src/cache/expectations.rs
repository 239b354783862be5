//! Read your writes: what was written and is not visible in the cache yet.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::ObjectKey;

/// The object on behalf of which something is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnerRecord {
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace and name in the management cluster.
    pub key: ObjectKey,
}

type Seen = Box<dyn Fn() -> bool + Send>;

/// A write that stays invisible for longer is forgotten: the informer is broken, which the cache's health says, or the server
/// was restored from a backup.
pub const SHOWN_WITHIN: Duration = Duration::from_secs(15);

#[derive(Default)]
pub(super) struct Expectations(Mutex<HashMap<OwnerRecord, Vec<(Instant, Seen)>>>);

impl Expectations {
    pub(super) fn add(&self, owner: OwnerRecord, seen: Seen) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(owner).or_default().push((Instant::now(), seen));
    }

    pub(super) fn settled(&self, owner: &OwnerRecord) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(waiting) = all.get_mut(owner) else { return true };
        waiting.retain(|(since, seen)| since.elapsed() < SHOWN_WITHIN && !seen());
        if waiting.is_empty() {
            all.remove(owner);
            return true;
        }
        false
    }
}
