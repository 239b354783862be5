//! What is rendered and not in a cluster yet, within a bound in bytes. Pure.

use std::{collections::BTreeMap, sync::Arc};

use drover_runtime::ObjectKey;

/// Most bytes that all of it takes. One render is at most 32 MiB, so that a few of the largest fit.
const MOST_BYTES: usize = 256 << 20;

/// Something that takes room in memory.
pub(crate) trait Weighed {
    /// How many bytes.
    fn bytes(&self) -> usize;
}

/// What is kept of each app. Whatever exceeds the bound goes, the oldest first; it is rendered again when its app has its turn.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    all: BTreeMap<ObjectKey, (u64, Arc<T>)>,
    count: u64,
    most: usize,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { all: BTreeMap::new(), count: 0, most: MOST_BYTES }
    }
}

impl<T: Weighed> Kept<T> {
    pub(crate) fn get(&self, app: &ObjectKey) -> Option<&Arc<T>> {
        self.all.get(app).map(|(_, found)| found)
    }

    pub(crate) fn forget(&mut self, app: &ObjectKey) {
        self.all.remove(app);
    }

    /// Keeps what is new, whatever its size. What another reconcile holds at this moment stays: it takes the memory all the same.
    pub(crate) fn keep(&mut self, app: &ObjectKey, new: Arc<T>) {
        self.count = self.count.saturating_add(1);
        self.all.insert(app.clone(), (self.count, new));
        let mut bytes: usize = self.all.values().map(|(_, found)| found.bytes()).sum();
        let others = self.all.iter().filter(|(key, (_, found))| *key != app && Arc::strong_count(found) == 1);
        let mut by_age: Vec<_> = others.map(|(key, (age, found))| (*age, found.bytes(), key.clone())).collect();
        by_age.sort();
        for (_, size, key) in by_age {
            if bytes <= self.most {
                return;
            }
            bytes = bytes.saturating_sub(size);
            self.all.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weighed for usize {
        fn bytes(&self) -> usize {
            *self
        }
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::namespaced("team-a", name)
    }

    fn names(kept: &Kept<usize>) -> Vec<&str> {
        kept.all.keys().map(|key| &*key.name).collect()
    }

    #[test]
    fn what_is_rendered_takes_so_many_bytes_in_all_and_the_oldest_goes_first() {
        let mut kept = Kept { most: 100, ..Kept::default() };
        let mut keep = |name: &str, bytes: usize| {
            kept.keep(&key(name), Arc::new(bytes));
            names(&kept).join(" ")
        };
        assert_eq!(keep("d", 40), "d");
        assert_eq!(keep("a", 40), "a d");
        assert_eq!(keep("d", 30), "a d", "it is newer by now");
        assert_eq!(keep("b", 40), "b d", "the oldest goes, whatever its name");
        assert_eq!(keep("c", 30), "b c d");
        assert_eq!(keep("e", 300), "e", "what is new stays");
        assert_eq!(keep("f", 0), "f", "and goes for the next one");
    }

    #[test]
    fn what_is_in_use_stays() {
        let mut kept = Kept { most: 100, ..Kept::default() };
        kept.keep(&key("a"), Arc::new(60));
        let in_use = Arc::clone(kept.get(&key("a")).unwrap());
        kept.keep(&key("b"), Arc::new(30));
        kept.keep(&key("c"), Arc::new(60));
        assert_eq!(names(&kept), ["a", "c"]);
        drop(in_use);
        kept.keep(&key("b"), Arc::new(30));
        assert_eq!(names(&kept), ["b", "c"]);
        kept.forget(&key("c"));
        assert_eq!(names(&kept), ["b"]);
    }
}
