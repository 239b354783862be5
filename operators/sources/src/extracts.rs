//! The rows of indexes that apps asked for, in memory up to a bound. What is not here is read from the index on disk again.

use std::{collections::BTreeMap, sync::Arc};

use drover_charts::IndexRow;
use drover_runtime::ObjectKey;

/// Most bytes that are kept, as estimated.
const BYTES: usize = 16 << 20;
/// Most bytes of one chart that are kept.
const CHART_BYTES: usize = 4 << 20;
/// What a row costs besides its texts.
const ROW_BYTES: usize = 256;

/// The versions of charts, by repository and name.
#[derive(Debug, Default)]
pub(crate) struct Extracts {
    kept: BTreeMap<(ObjectKey, String), Extract>,
    bytes: usize,
    /// Counts uses: what was not used for longest goes first.
    uses: u64,
}

#[derive(Debug)]
struct Extract {
    /// Tells the index, or the list of tags, that it is out of.
    of: String,
    rows: Arc<Vec<IndexRow>>,
    bytes: usize,
    used: u64,
}

impl Extracts {
    /// The versions of a chart, if they are out of this index.
    pub(crate) fn get(&mut self, repository: &ObjectKey, chart: &str, of: &str) -> Option<Arc<Vec<IndexRow>>> {
        self.uses += 1;
        let found = self.kept.get_mut(&(repository.clone(), chart.to_owned())).filter(|found| found.of == of)?;
        found.used = self.uses;
        Some(Arc::clone(&found.rows))
    }

    /// Keeps them.
    pub(crate) fn put(&mut self, repository: &ObjectKey, chart: &str, of: String, rows: &Arc<Vec<IndexRow>>) {
        let bytes = rows.iter().map(weight).sum();
        let key = (repository.clone(), chart.to_owned());
        self.remove(&key);
        if bytes > CHART_BYTES {
            return;
        }
        self.uses += 1;
        self.bytes += bytes;
        self.kept.insert(key, Extract { of, rows: Arc::clone(rows), bytes, used: self.uses });
        while self.bytes > BYTES {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { break };
            self.remove(&oldest);
        }
    }

    /// Forgets all of a repository.
    pub(crate) fn forget(&mut self, repository: &ObjectKey) {
        let gone: Vec<_> = self.kept.keys().filter(|(key, _)| key == repository).cloned().collect();
        for key in &gone {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: &(ObjectKey, String)) {
        if let Some(gone) = self.kept.remove(key) {
            self.bytes = self.bytes.saturating_sub(gone.bytes);
        }
    }
}

fn weight(row: &IndexRow) -> usize {
    let texts = [&row.app_version, &row.created, &row.description];
    let texts: usize = texts.into_iter().chain(&row.urls).map(String::len).sum();
    ROW_BYTES + texts + row.version.as_str().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize, text: usize) -> Arc<Vec<IndexRow>> {
        let row = |number: usize| IndexRow {
            version: format!("1.0.{number}").parse().unwrap(),
            app_version: "x".repeat(text),
            digest: None,
            urls: Vec::new(),
            is_deprecated: false,
            created: String::new(),
            description: String::new(),
        };
        Arc::new((0..count).map(row).collect())
    }

    #[test]
    fn memory_stays_within_its_bound_whatever_is_asked_for() {
        let mut extracts = Extracts::default();
        let key = |number: usize| ObjectKey::namespaced("team", &format!("r{number}"));
        let large = rows(1_000, 3_000);
        for number in 0..20 {
            extracts.put(&key(number), "web", "a".to_owned(), &large);
            assert!(extracts.get(&key(0), "web", "a").is_some(), "what is in use stays");
        }
        assert!(extracts.bytes <= BYTES && extracts.kept.len() < 20);
        assert!(extracts.get(&key(1), "web", "a").is_none(), "what was not used for longest went");
        extracts.put(&key(0), "huge", "a".to_owned(), &rows(1_000, 6_000));
        assert!(extracts.get(&key(0), "huge", "a").is_none(), "too large to be kept");
        assert!(extracts.get(&key(0), "web", "b").is_none(), "another index");
        extracts.forget(&key(0));
        assert!(extracts.get(&key(0), "web", "a").is_none());
        (0..20).for_each(|number| extracts.forget(&key(number)));
        assert_eq!((extracts.bytes, extracts.kept.len()), (0, 0));
    }
}
