//! The records of releases that are under way, as they were read or written last, so that a step does not read again what the one before
//! wrote. Each write of a record names the version that is meant, so what is kept can be old, and nothing is lost by it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use drover_crds::CatalogApp;
use drover_runtime::{ObjectKey, accounts::Accounts};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::records::Found;

/// After that long records are read again: another client may have changed them.
const KEPT: SignedDuration = SignedDuration::from_secs(10);
/// Most bytes that the records of one release may take to be kept …
const MOST_OF_ONE: usize = 4 << 20;
/// … and those of all of them.
const MOST: usize = 32 << 20;

/// What was read or written last of each release. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Recall(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    of: BTreeMap<ObjectKey, Entry>,
    /// What was kept, the oldest first; one that was kept again since stands here twice.
    order: VecDeque<(Timestamp, ObjectKey)>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    uid: Option<String>,
    /// Of which connection.
    connection: Weak<Accounts>,
    at: Timestamp,
    records: Vec<Arc<Found>>,
    bytes: usize,
}

impl Recall {
    /// What is known of the records of an app by this connection.
    pub(super) fn get(&self, app: &CatalogApp, by: &Arc<Accounts>, now: Timestamp) -> Option<Vec<Arc<Found>>> {
        let kept = self.lock();
        let entry = kept.of.get(&ObjectKey::of(&app.metadata))?;
        let is_it = entry.uid == app.uid() && Weak::ptr_eq(&entry.connection, &Arc::downgrade(by));
        (is_it && !is_old(entry.at, now)).then(|| entry.records.clone())
    }

    /// Keeps what was read or written now.
    pub(super) fn keep(&self, app: &CatalogApp, by: &Arc<Accounts>, records: &[Arc<Found>], now: Timestamp) {
        let bytes = records.iter().map(|found| found.weight).fold(0, usize::saturating_add);
        let key = ObjectKey::of(&app.metadata);
        let mut kept = self.lock();
        kept.remove(&key);
        if bytes <= MOST_OF_ONE {
            kept.bytes = kept.bytes.saturating_add(bytes);
            let (uid, connection) = (app.uid(), Arc::downgrade(by));
            kept.of.insert(key.clone(), Entry { uid, connection, at: now, records: records.to_vec(), bytes });
            kept.order.push_back((now, key));
        }
        kept.trim(now);
    }

    /// Forgets the records of an app, which are not as they were, or are not needed any more.
    pub fn forget(&self, app: &ObjectKey) {
        self.lock().remove(app);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn remove(&mut self, app: &ObjectKey) {
        if let Some(entry) = self.of.remove(app) {
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
    }

    /// Forgets what is old, and the oldest as long as it is too much.
    fn trim(&mut self, now: Timestamp) {
        while let Some((at, key)) = self.order.front().cloned() {
            let is_last = self.of.get(&key).is_some_and(|entry| entry.at == at);
            if is_last && !is_old(at, now) && self.bytes <= MOST {
                return;
            }
            self.order.pop_front();
            if is_last {
                self.remove(&key);
            }
        }
    }
}

/// A time that is yet to come is as old: the clock was set back.
fn is_old(at: Timestamp, now: Timestamp) -> bool {
    let age = now.duration_since(at);
    age.is_negative() || age > KEPT
}

#[cfg(test)]
mod tests {
    use drover_releases::record::Record;
    use kube::{Client, Config};
    use serde_json::json;

    use super::*;

    fn app(name: &str, uid: &str) -> CatalogApp {
        let app = json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "CatalogApp",
            "metadata": {"name": name, "namespace": "team-a", "uid": uid},
            "spec": {"clusterName": "eu", "namespace": "shop", "roleTemplateName": "r", "chart": {}},
        });
        serde_json::from_value(app).unwrap()
    }

    fn accounts() -> Arc<Accounts> {
        let config = Config::new("http://127.0.0.1:1".parse().unwrap());
        Arc::new(Accounts::new(Client::try_from(config).unwrap(), || Err(kube::Error::LinesCodecMaxLineLengthExceeded)))
    }

    fn records(weight: usize) -> Vec<Arc<Found>> {
        vec![Arc::new(Found { record: Record::default(), version: None, is_ours: true, chart: None, weight })]
    }

    fn second(at: i64) -> Timestamp {
        Timestamp::from_second(at).unwrap()
    }

    #[tokio::test]
    async fn records_are_known_for_a_while_and_by_one_connection_to_one_app() {
        let (recall, by, web) = (Recall::default(), accounts(), app("web", "1"));
        recall.keep(&web, &by, &records(1), second(100));
        let is_known = |app: &CatalogApp, by: &Arc<Accounts>, at| recall.get(app, by, second(at)).is_some();
        assert!(is_known(&web, &by, 100) && is_known(&web, &by, 110));
        assert!(!is_known(&web, &by, 111), "another client may have changed them since");
        assert!(!is_known(&web, &by, 99), "the clock was set back");
        assert!(!is_known(&web, &accounts(), 100), "another cluster");
        assert!(!is_known(&app("web", "2"), &by, 100) && !is_known(&app("other", "1"), &by, 100));
        recall.forget(&ObjectKey::of(&web.metadata));
        assert!(!is_known(&web, &by, 100));
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_for_one_and_for_all() {
        let (recall, by) = (Recall::default(), accounts());
        recall.keep(&app("large", "1"), &by, &records(MOST_OF_ONE + 1), second(100));
        assert!(recall.get(&app("large", "1"), &by, second(100)).is_none());
        for number in 0..20 {
            recall.keep(&app(&format!("app-{number}"), "1"), &by, &records(MOST_OF_ONE), second(100));
        }
        let known = |number: i32| recall.get(&app(&format!("app-{number}"), "1"), &by, second(100)).is_some();
        assert_eq!((0..20).filter(|number| known(*number)).collect::<Vec<_>>(), (12..20).collect::<Vec<_>>());
        assert!(recall.lock().bytes <= MOST);
        recall.keep(&app("later", "1"), &by, &records(1), second(200));
        let kept = recall.lock();
        assert_eq!((kept.of.len(), kept.order.len(), kept.bytes), (1, 1, 1), "what is old goes");
    }

    #[tokio::test]
    async fn what_is_kept_again_stays_as_long_as_that() {
        let (recall, by, web) = (Recall::default(), accounts(), app("web", "1"));
        recall.keep(&web, &by, &records(1), second(100));
        recall.keep(&web, &by, &records(2), second(108));
        recall.keep(&app("other", "1"), &by, &records(1), second(112));
        assert_eq!(recall.get(&web, &by, second(112)).unwrap().first().unwrap().weight, 2);
        assert_eq!(recall.lock().bytes, 3);
    }
}
