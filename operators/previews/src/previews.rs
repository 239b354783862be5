//! Looks at targets beside the rollout, one at a time, and keeps what came of it until it is written.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use drover_apps::{prepare::Preparations, release::Recall, seal::Seal};
use drover_releases::render::Pool;
use drover_runtime::{
    ObjectKey, PlaceContext, StatusCause,
    request::{Sender, Urgency},
};
use k8s_openapi::jiff::Timestamp;
use tokio::{task::JoinHandle, time::timeout};

use crate::{
    OfStage, Outcome, Subject, Target,
    look::{Means, look},
};

/// After so long a look at one target is given up. A chart is fetched and rendered within it.
const LIMIT: Duration = Duration::from_mins(3);
/// Apps of which something is kept that was found: some MiB at most.
const MOST_APPS: usize = 64;
/// Apps of one namespace that are looked at, or wait for that. Others ask again.
const MOST_AT_ONCE: usize = 16;

/// What is to be looked at for an app.
#[derive(Clone, Debug)]
pub struct Look {
    /// Name of the revision.
    pub revision: String,
    /// The targets.
    pub subjects: Vec<Subject>,
    /// When that was decided.
    pub at: Timestamp,
}

/// What is known of the last look for an app.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// Name of the revision.
    pub revision: String,
    /// The targets that were to be looked at.
    pub asked: Vec<Target>,
    /// When that was decided; none if nothing was.
    pub at: Option<Timestamp>,
    /// Whether it is not over.
    pub is_running: bool,
    /// What came of it.
    pub found: Vec<OfStage>,
}

/// Looks at targets. Clones share what they know.
#[derive(Clone, Debug)]
pub struct Previews {
    preparations: Preparations,
    recall: Recall,
    turn: Arc<Pool>,
    of: Arc<Mutex<BTreeMap<ObjectKey, Entry>>>,
}

#[derive(Debug)]
struct Entry {
    looked: Looked,
    task: JoinHandle<()>,
}

/// Whoever asks for something else ends what is under way.
impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Previews {
    /// Which renders by these.
    #[must_use]
    pub fn new(preparations: Preparations) -> Self {
        Self { preparations, recall: Recall::default(), turn: Pool::new(1), of: Arc::default() }
    }

    /// What is known for an app.
    #[must_use]
    pub fn get(&self, app: &ObjectKey) -> Looked {
        let known = self.lock();
        let looked = |entry: &Entry| Looked { is_running: !entry.task.is_finished(), ..entry.looked.clone() };
        known.get(app).map(looked).unwrap_or_default()
    }

    /// Forgets an app, and ends what is under way for it.
    pub fn forget(&self, app: &ObjectKey) {
        self.lock().remove(app);
    }

    /// Begins to look for an app, in the name of `operator`, and waits for nothing.
    pub fn begin(&self, app: &ObjectKey, what: Look, place: &PlaceContext, (seal, operator): (&Seal, &'static str)) {
        let mut looked = Looked { revision: what.revision.clone(), at: Some(what.at), ..Looked::default() };
        looked.asked = what.subjects.iter().map(|subject| subject.target.clone()).collect();
        let (this, key, place, seal) = (self.clone(), app.clone(), place.clone(), seal.clone());
        let all = async move { Box::pin(this.look_at_all(&key, what, &place, &seal)).await };
        // What comes of it at once is not lost: it waits for this lock.
        let mut of = self.lock();
        if is_full(of.iter().filter(|(_, entry)| !entry.task.is_finished()).map(|(key, _)| key), app) {
            return;
        }
        if let Some(former) = of.get(app).filter(|former| former.looked.revision == looked.revision) {
            let others = former.looked.found.iter().filter(|found| !looked.asked.contains(&found.target));
            looked.found = others.cloned().collect();
            looked.asked.extend(looked.found.iter().map(|found| found.target.clone()).collect::<Vec<_>>());
        }
        let task = tokio::spawn(Sender { operator, urgency: Urgency::Rest }.sends(all));
        of.insert(app.clone(), Entry { looked, task });
        let over = of.iter().filter(|(_, entry)| entry.task.is_finished());
        let over: Vec<_> = over.map(|(key, entry)| (key.clone(), entry.looked.at)).collect();
        for key in superfluous(over) {
            of.remove(&key);
        }
    }

    async fn look_at_all(&self, app: &ObjectKey, what: Look, place: &PlaceContext, seal: &Seal) {
        let means = Means { preparations: &self.preparations, recall: &self.recall, seal };
        let mut found = Vec::new();
        for subject in what.subjects {
            // One after the other, whatever their apps: releases have room beside it.
            let _turn = self.turn.slot(&app.namespace).await;
            let outcome = timeout(LIMIT, look(&means, &subject, place)).await.unwrap_or_else(|_| Outcome::Unknown {
                reason: StatusCause::Progressing.cause().reason().to_owned(),
                message: format!("to look at cluster {} took too long; Drover looks again", subject.target.cluster),
            });
            found.push(OfStage { target: subject.target, outcome });
        }
        let mut of = self.lock();
        let is_it = |entry: &&mut Entry| entry.looked.revision == what.revision && entry.looked.at == Some(what.at);
        if let Some(entry) = of.get_mut(app).filter(is_it) {
            entry.looked.found.extend(found);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Entry>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the namespace of an app has as many others under way as it may.
fn is_full<'a>(running: impl Iterator<Item = &'a ObjectKey>, app: &ObjectKey) -> bool {
    running.filter(|other| other.namespace == app.namespace && *other != app).count() >= MOST_AT_ONCE
}

/// Of what was found at these times, what is kept no longer: the oldest of the namespace that has most.
fn superfluous(mut found: Vec<(ObjectKey, Option<Timestamp>)>) -> Vec<ObjectKey> {
    let mut held = BTreeMap::<String, usize>::new();
    for (key, _) in &found {
        *held.entry(key.namespace.clone()).or_default() += 1;
    }
    let mut gone = Vec::new();
    while found.len() > MOST_APPS {
        let share = |(key, at): &(ObjectKey, Option<Timestamp>)| (held.get(&key.namespace).copied(), Reverse(*at));
        let Some((position, _)) = found.iter().enumerate().max_by_key(|(_, entry)| share(entry)) else { break };
        let (key, _) = found.swap_remove(position);
        held.entry(key.namespace.clone()).and_modify(|count| *count = count.saturating_sub(1));
        gone.push(key);
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: &str, number: usize) -> ObjectKey {
        ObjectKey::namespaced(namespace, &format!("app-{number}"))
    }

    #[test]
    fn a_tenant_with_many_apps_drops_its_own_results_and_no_others() {
        let at = |second: usize| Timestamp::from_second(i64::try_from(second).unwrap()).ok();
        let quiet = (0..3).map(|number| (key("quiet", number), at(0)));
        let found: Vec<_> = quiet.chain((0..MOST_APPS).map(|number| (key("busy", number), at(100 + number)))).collect();
        assert_eq!(superfluous(found.clone()), [0, 1, 2].map(|number| key("busy", number)));
        assert_eq!(superfluous(found.into_iter().take(MOST_APPS).collect()), []);
    }

    #[test]
    fn a_tenant_has_so_many_looks_under_way_and_its_others_wait() {
        let running: Vec<_> = (0..MOST_AT_ONCE).map(|number| key("busy", number)).collect();
        assert!(is_full(running.iter(), &key("busy", 99)));
        assert!(!is_full(running.iter(), &key("quiet", 99)));
        assert!(!is_full(running.iter(), &key("busy", 0)), "it takes the place of its own");
    }
}
