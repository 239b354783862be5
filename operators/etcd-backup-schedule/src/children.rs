//! The backups of a schedule: what each is to be, and what is seen of it. Pure.

use std::collections::BTreeMap;

use drover_backups::{Uid, retention::Candidate};
use drover_crds::{
    DeletionPolicy, EtcdBackup, EtcdBackupSchedule,
    condition::{AVAILABLE, StatusConditions as _, VERIFIED},
    names::ANNOTATION_APPLIED,
};
use drover_runtime::{
    Title,
    owned::{Change, Owned},
    write::desired_hash,
};
use drover_schedule::{missed::Fate, runs::tick_of};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Map, Value};

/// How far a backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It was created while policies were missing or altered, and never begins.
    NotAdmitted,
    /// It waits for something.
    Waiting,
    /// It is being taken.
    Running,
    /// It is there.
    Succeeded,
    /// There is none.
    Failed,
}

impl Stage {
    pub(crate) fn fate(self) -> Fate {
        match self {
            Self::Waiting | Self::Running => Fate::Open,
            Self::Succeeded => Fate::Succeeded,
            Self::NotAdmitted | Self::Failed => Fate::Failed,
        }
    }
}

/// A backup of the schedule.
#[derive(Clone, Copy, Debug)]
pub struct Child<'a> {
    /// As it is.
    pub live: &'a EtcdBackup,
    /// The time of its run.
    pub tick: Timestamp,
    /// How far it is.
    pub stage: Stage,
    /// Whether this installation created it for this schedule, so that it may be deleted.
    pub is_ours: bool,
    /// Whether it is being deleted.
    pub is_deleting: bool,
}

impl<'a> Child<'a> {
    fn of(found: &'a Owned<EtcdBackup>) -> Option<Self> {
        let live = found.live.as_deref().ok()?;
        // Others only carry the labels.
        let is_ours = match found.title {
            Title::Created => true,
            Title::Adopted => false,
            Title::Another | Title::Unfounded => return None,
        };
        let tick = tick_of(live.metadata.name.as_deref()?)?;
        let is_deleting = live.metadata.deletion_timestamp.is_some();
        Some(Self { live, tick, stage: stage(live), is_ours, is_deleting })
    }

    /// Whether it had not ended yet at this time.
    #[must_use]
    pub fn was_under_way(&self, at: Timestamp) -> bool {
        match self.stage {
            Stage::NotAdmitted => false,
            Stage::Waiting | Stage::Running => true,
            Stage::Succeeded | Stage::Failed => {
                let completed = self.live.status.as_ref().and_then(|status| status.completed_at.as_ref());
                completed.is_some_and(|completed| completed.0 > at)
            }
        }
    }

    /// When it was taken, if it succeeded.
    #[must_use]
    pub fn taken_at(&self) -> Option<Timestamp> {
        let status = self.live.status.as_ref().filter(|_| self.stage == Stage::Succeeded)?;
        status.started_at.as_ref().map(|time| time.0)
    }

    /// Whether it was restored and compared, and its data are there as far as was seen.
    #[must_use]
    pub fn can_be_restored(&self) -> bool {
        self.stage == Stage::Succeeded && self.is_verified() && self.is_available()
    }

    /// Whether it was restored and compared.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.condition(VERIFIED) == Some("True")
    }

    /// What was not looked at is there; what cannot be told is not, so that nothing goes on account of it.
    fn is_available(&self) -> bool {
        self.condition(AVAILABLE).is_none_or(|status| status == "True")
    }

    fn condition(&self, kind: &str) -> Option<&str> {
        let conditions = self.live.status.as_ref()?.conditions();
        conditions.iter().find(|condition| condition.type_ == kind).map(|condition| condition.status.as_str())
    }

    /// As retention looks at it: a backup of the cluster with this UID, with a manifest. None where the object does not say that it is
    /// one, by a UID of its own.
    #[must_use]
    pub fn candidate(&self, cluster: &str) -> Option<Candidate> {
        let uid: Uid = self.live.uid()?.parse().ok()?;
        let status = self.live.status.as_ref().filter(|_| self.stage == Stage::Succeeded && !self.is_deleting)?;
        let is_of_it = status.cluster.as_ref().is_some_and(|found| found.uid == cluster);
        let is_itself = status.attempt.as_ref().is_some_and(|attempt| attempt.id.starts_with(&format!("{uid}-")));
        if !is_of_it || !is_itself || status.stores.is_empty() {
            return None;
        }
        Some(Candidate {
            uid,
            taken_at: self.taken_at()?,
            revision: u64::try_from(status.snapshot.as_ref()?.revision).ok()?,
            is_verified: self.is_verified(),
            is_available: self.is_available(),
            is_held: !self.is_ours || self.live.spec.pinned,
        })
    }
}

fn stage(live: &EtcdBackup) -> Stage {
    let Some(status) = &live.status else { return Stage::Waiting };
    let has_failed = status.attempt.as_ref().is_some_and(|attempt| attempt.failure.is_some());
    match (&status.completed_at, &status.attempt) {
        (Some(_), _) if has_failed || status.snapshot.is_none() => Stage::Failed,
        (Some(_), _) => Stage::Succeeded,
        (None, Some(_)) => Stage::Running,
        (None, None) if status.admission.as_ref().is_some_and(|record| !record.admitted) => Stage::NotAdmitted,
        (None, None) => Stage::Waiting,
    }
}

/// The backups of each cluster, from the oldest run to the newest. All names that are taken are known beside them: one that cannot be
/// decoded is there as well.
#[derive(Debug, Default)]
pub struct Children<'a> {
    by_cluster: BTreeMap<&'a str, Vec<Child<'a>>>,
    names: std::collections::BTreeSet<&'a str>,
}

impl<'a> Children<'a> {
    /// Of what carries the labels of a schedule.
    #[must_use]
    pub fn of(found: &'a [Owned<EtcdBackup>]) -> Self {
        let mut all = Self::default();
        for one in found {
            all.names.extend(one.meta().name.as_deref());
            if let Some(child) = Child::of(one) {
                all.by_cluster.entry(&child.live.spec.cluster_name).or_default().push(child);
            }
        }
        for children in all.by_cluster.values_mut() {
            children.sort_by_key(|child| child.tick);
        }
        all
    }

    /// Those of a cluster, from the oldest run to the newest.
    #[must_use]
    pub fn of_cluster(&self, name: &str) -> &[Child<'a>] {
        self.by_cluster.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// All of them that are not being deleted.
    pub fn iter(&self) -> impl Iterator<Item = &Child<'a>> {
        self.by_cluster.values().flatten().filter(|child| !child.is_deleting)
    }

    /// Whether there is one of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }
}

/// The backup of a run on a cluster.
#[must_use]
pub fn wanted(schedule: &EtcdBackupSchedule, name: &str, cluster: &str) -> EtcdBackup {
    let mut wanted = EtcdBackup::new(name, schedule.spec.template.of_cluster(cluster));
    wanted.metadata.namespace = schedule.namespace();
    wanted
}

/// What of a backup besides metadata is written, all at once.
#[must_use]
pub fn content(wanted: &EtcdBackup) -> Map<String, Value> {
    Map::from_iter([("spec".to_owned(), serde_json::to_value(&wanted.spec).unwrap_or_default())])
}

/// The end of a backup, in order: its data are to go with it, and it goes. The data of one that was pinned in between stay.
#[must_use]
pub fn ended_with_data(live: &EtcdBackup) -> Vec<Change<EtcdBackup>> {
    let end = Change::Delete(Box::new(live.metadata.clone()));
    if live.spec.deletion_policy == DeletionPolicy::Delete {
        return vec![end];
    }
    vec![apply(live, DeletionPolicy::Delete), end]
}

/// One that was about to end, and is kept after all as the spec changed before it did: its data stay with it as the template says.
#[must_use]
pub fn kept_after_all(live: &EtcdBackup, policy: DeletionPolicy) -> Option<Change<EtcdBackup>> {
    let is_about_to_end = live.spec.deletion_policy == DeletionPolicy::Delete && policy != DeletionPolicy::Delete;
    // A person may have written the same.
    let applied = live.annotations().get(ANNOTATION_APPLIED).filter(|_| is_about_to_end)?;
    (*applied == desired_hash(&with_policy(live, DeletionPolicy::Delete))).then(|| apply(live, policy))
}

fn apply(live: &EtcdBackup, policy: DeletionPolicy) -> Change<EtcdBackup> {
    let (desired, live) = (Box::new(with_policy(live, policy)), Box::new(live.metadata.clone()));
    Change::Apply { desired, live, reverted: Vec::new() }
}

fn with_policy(live: &EtcdBackup, policy: DeletionPolicy) -> EtcdBackup {
    let mut wanted = EtcdBackup::new(&live.name_any(), live.spec.clone());
    wanted.metadata.namespace = live.namespace();
    wanted.spec.deletion_policy = policy;
    wanted
}
