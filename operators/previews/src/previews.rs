//! Looks at targets beside the rollout, one at a time, and keeps what came of it until it is written.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use drover_apps::{prepare::Preparations, release::Recall, seal::Seal};
use drover_runtime::{
    ObjectKey, PlaceContext, StatusCause,
    request::{Sender, Urgency},
};
use k8s_openapi::jiff::Timestamp;
use tokio::{sync::Semaphore, task::JoinHandle, time::timeout};

use crate::{
    OfStage, Outcome, Subject, Target,
    look::{Means, look},
};

/// After so long a look at one target is given up. A chart is fetched and rendered within it.
const LIMIT: Duration = Duration::from_mins(3);
/// Apps of which something is kept: some MiB at most.
const MOST_APPS: usize = 64;

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
    turn: Arc<Semaphore>,
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
        let turn = Arc::new(Semaphore::new(1));
        Self { preparations, recall: Recall::default(), turn, of: Arc::default() }
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
        if let Some(former) = of.get(app).filter(|former| former.looked.revision == looked.revision) {
            let others = former.looked.found.iter().filter(|found| !looked.asked.contains(&found.target));
            looked.found = others.cloned().collect();
            looked.asked.extend(looked.found.iter().map(|found| found.target.clone()).collect::<Vec<_>>());
        }
        let task = tokio::spawn(Sender { operator, urgency: Urgency::Rest }.sends(all));
        of.insert(app.clone(), Entry { looked, task });
        let oldest = |of: &BTreeMap<ObjectKey, Entry>| {
            let others = of.iter().filter(|(key, entry)| *key != app && entry.task.is_finished());
            others.min_by_key(|(_, entry)| entry.looked.at).map(|(key, _)| key.clone())
        };
        while of.len() > MOST_APPS
            && let Some(oldest) = oldest(&of)
        {
            of.remove(&oldest);
        }
    }

    async fn look_at_all(&self, app: &ObjectKey, what: Look, place: &PlaceContext, seal: &Seal) {
        let means = Means { preparations: &self.preparations, recall: &self.recall, seal };
        let mut found = Vec::new();
        for subject in what.subjects {
            // One after the other, whatever their apps: releases have room beside it.
            let Ok(_turn) = self.turn.acquire().await else { return };
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
