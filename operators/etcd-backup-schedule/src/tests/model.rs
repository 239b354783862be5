//! A schedule with what the API servers hold of it, in memory: every plan is carried out at once, and backups end when they are told to.

use std::{collections::BTreeSet, sync::Arc};

use drover_crds::{
    BackedUpCluster, BackupAttempt, BackupFailure, EtcdBackup, EtcdBackupSchedule, EtcdBackupScheduleStatus,
    EtcdBackupStatus, SnapshotStatus, StoredBackup,
    condition::{AVAILABLE, READY, StatusConditions as _, VERIFIED},
};
use drover_grants::Admitted;
use drover_runtime::{
    Place, PlaceState, PlaceStatuses, Requeue, StatusCause, Title,
    owned::{Change, Owned},
    place_status::PlaceEntry,
    status::{condition, finish},
    write::desired_hash,
};
use drover_schedule::runs::tick_of;
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::{
    Action,
    observe::{Selected, World},
    plan::plan,
    summary::summarise,
};

pub(super) fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

pub(super) fn minutes(count: i64) -> SignedDuration {
    SignedDuration::from_mins(count)
}

pub(super) struct Model {
    pub(super) schedule: EtcdBackupSchedule,
    pub(super) world: World,
    pub(super) now: Timestamp,
    /// How often the status was written.
    pub(super) writes: usize,
    /// The names of all backups that were ever created.
    pub(super) created: Vec<String>,
    uids: u32,
}

impl Model {
    /// A schedule that was created at this time.
    pub(super) fn new(spec: &Value, clusters: &[&str], created: &str) -> Self {
        let mut whole = json!({"clusters": {"all": {}}, "template": {"storeNames": ["main"]}, "schedule": "0 3 * * *"});
        whole.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap());
        let metadata = json!({
            "name": "nightly", "namespace": "team", "uid": "1", "generation": 1, "creationTimestamp": created,
        });
        let schedule = serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "EtcdBackupSchedule", "metadata": metadata, "spec": whole,
        }));
        let world = World {
            is_complete: true,
            selected: clusters.iter().map(|name| selected(name)).collect(),
            admitted: Some(Admitted::Yes),
            policies: Some(drover_admission::PoliciesState { id: "a".to_owned(), since: None }),
            ..World::default()
        };
        let now = at(created);
        let created = Vec::new();
        Self { schedule: schedule.unwrap(), world, now, writes: 0, created, uids: 1 }
    }

    /// Changes the spec, as a person does.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut drover_crds::EtcdBackupScheduleSpec)) {
        change(&mut self.schedule.spec);
        self.schedule.metadata.generation = self.schedule.metadata.generation.map(|generation| generation + 1);
    }

    pub(super) fn status(&self) -> EtcdBackupScheduleStatus {
        self.schedule.status.clone().unwrap_or_default()
    }

    pub(super) fn says(&self, kind: &str) -> String {
        let status = self.status();
        let found = status.conditions().iter().find(|condition| condition.type_ == kind);
        found.map(|found| format!("{}/{}", found.status, found.reason)).unwrap_or_default()
    }

    /// Plans once, does what is planned, and writes the status.
    pub(super) fn step(&mut self) -> (Vec<String>, Requeue) {
        self.step_and_crash(usize::MAX)
    }

    /// The same of a process that ends after so many requests; the status is written last.
    pub(super) fn step_and_crash(&mut self, requests: usize) -> (Vec<String>, Requeue) {
        let plan = plan(&self.schedule, &self.world, self.now);
        let told: Vec<_> = plan.actions().map(|action| format!("{:?}", action.0)).collect();
        let count = plan.actions().count();
        for Action(change) in plan.groups.into_iter().flatten().take(requests) {
            self.carry_out(change);
        }
        if requests > count {
            let entry = PlaceEntry { known: Some(plan.place_status), state: PlaceState::Current };
            let statuses = PlaceStatuses::from_iter([(Place::Management, entry)]);
            let fresh = summarise(&self.schedule, &statuses);
            let generation = self.schedule.metadata.generation.unwrap();
            let fresh = finish(self.schedule.status.as_ref(), fresh, generation, self.now);
            let size = serde_json::to_string(&fresh).unwrap().len();
            assert!(size <= 16 << 10, "the status has {size} bytes");
            if self.schedule.status.as_ref() != Some(&fresh) {
                self.writes += 1;
                self.schedule.status = Some(fresh);
            }
        }
        (told, plan.requeue)
    }

    /// Steps until nothing is left to do now.
    pub(super) fn rest(&mut self) -> Requeue {
        for _ in 0..10 {
            let writes = self.writes;
            let (told, requeue) = self.step();
            if told.is_empty() && self.writes == writes {
                return requeue;
            }
        }
        panic!("it does not come to rest");
    }

    /// Lets time go by; whenever the schedule wants to be looked at, it is. New backups end as `end` does it.
    pub(super) fn until(&mut self, time: &str, mut end: impl FnMut(&mut EtcdBackup)) {
        let time = at(time);
        loop {
            self.rest();
            let known = self.world.backups.len();
            self.world.backups.iter_mut().for_each(|found| {
                let live = Arc::make_mut(found.live.as_mut().unwrap());
                if live.status.is_none() {
                    end(live);
                }
            });
            assert_eq!(known, self.world.backups.len());
            let next = match self.rest() {
                Requeue::At(next) => next,
                Requeue::Watch | Requeue::Released => time,
            };
            assert!(next > self.now, "at {} it asks for {next}", self.now);
            if next >= time {
                self.now = time;
                return;
            }
            self.now = next;
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.world.backups.iter().map(|found| found.meta().name.clone().unwrap()).collect()
    }

    /// The times of the backups that there are of a cluster, such as 27T03:00.
    pub(super) fn ticks(&self, cluster: &str) -> BTreeSet<String> {
        let live = self.world.backups.iter().map(|found| found.live.as_ref().unwrap());
        let of_it = live.filter(|live| live.spec.cluster_name == cluster);
        of_it.map(|live| tick_of(&live.name_any()).unwrap().strftime("%dT%H:%M").to_string()).collect()
    }

    pub(super) fn backup(&mut self, cluster: &str, tick: &str) -> &mut EtcdBackup {
        let is_meant = |live: &EtcdBackup| {
            let found = tick_of(&live.name_any()).unwrap().strftime("%dT%H:%M").to_string();
            live.spec.cluster_name == cluster && found == tick
        };
        let found = self.world.backups.iter_mut().find(|found| is_meant(found.live.as_ref().unwrap()));
        Arc::make_mut(found.unwrap().live.as_mut().unwrap())
    }

    fn carry_out(&mut self, change: Change<EtcdBackup>) {
        match change {
            Change::Create { desired, .. } => {
                let name = desired.name_any();
                assert!(!self.names().contains(&name), "{name} is there");
                let hash = desired_hash(&*desired);
                let mut live = *desired;
                self.uids += 1;
                live.metadata.uid = Some(format!("uid-{}", self.uids));
                live.annotations_mut().insert("drover.dev/applied".to_owned(), hash);
                self.created.push(name);
                self.world.backups.push(owned(live));
            }
            Change::Apply { desired, live, .. } => {
                let hash = desired_hash(&*desired);
                let found = self.world.backups.iter_mut().find(|found| found.meta().name == live.name).unwrap();
                let object = Arc::make_mut(found.live.as_mut().unwrap());
                object.spec = desired.spec;
                object.annotations_mut().insert("drover.dev/applied".to_owned(), hash);
            }
            Change::Delete(live) => self.world.backups.retain(|found| found.meta().uid != live.uid),
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn selected(name: &str) -> Selected {
    Selected { name: name.to_owned(), uid: Some(format!("{name}-uid")), is_online: true }
}

pub(super) fn owned(live: EtcdBackup) -> Owned<EtcdBackup> {
    Owned { live: Ok(Arc::new(live)), drift_conflict: None, title: Title::Created }
}

fn tick(live: &EtcdBackup) -> Timestamp {
    tick_of(&live.name_any()).unwrap()
}

fn begun(live: &EtcdBackup) -> EtcdBackupStatus {
    let cluster = &live.spec.cluster_name;
    EtcdBackupStatus {
        started_at: Some(Time(tick(live))),
        cluster: Some(BackedUpCluster {
            uid: format!("{cluster}-uid"),
            kubernetes_version: "v1.37.1".to_owned(),
            distribution: "kubeadm".to_owned(),
        }),
        attempt: Some(BackupAttempt { id: format!("{}-1", live.uid().unwrap()), ..BackupAttempt::default() }),
        ..EtcdBackupStatus::default()
    }
}

/// It waits, and says why.
pub(super) fn waits(live: &mut EtcdBackup) {
    let ready = condition(READY, false, StatusCause::Progressing, "store main is not ready");
    live.status = Some(EtcdBackupStatus { conditions: vec![ready], ..EtcdBackupStatus::default() });
}

/// It is being taken.
pub(super) fn runs(live: &mut EtcdBackup) {
    live.status = Some(begun(live));
}

/// It succeeded after five minutes.
pub(super) fn succeeds(live: &mut EtcdBackup) {
    let mut status = begun(live);
    let number = tick(live).as_second();
    status.completed_at = Some(Time(tick(live) + minutes(5)));
    let checks = ["Sha256", "Revision", "Keys"].map(str::to_owned).to_vec();
    status.snapshot = Some(SnapshotStatus {
        member: "m".to_owned(),
        etcd_version: "3.7.1".to_owned(),
        revision: number,
        total_keys: Some(1),
        bytes: 1,
        stored_bytes: 1,
        digest: String::new(),
        verified: checks,
        quorum: true,
        encrypted: false,
    });
    status.stores = vec![StoredBackup {
        store_name: "main".to_owned(),
        manifest: "m".to_owned(),
        manifest_digest: String::new(),
        etag: None,
    }];
    status.conditions.push(condition(VERIFIED, true, StatusCause::Ready, ""));
    live.status = Some(status);
}

/// It failed after five minutes.
pub(super) fn fails(live: &mut EtcdBackup) {
    let mut status = begun(live);
    status.completed_at = Some(Time(tick(live) + minutes(5)));
    let failure = BackupFailure { reason: "NoAnswer".to_owned(), message: "no answer".to_owned() };
    status.attempt.as_mut().unwrap().failure = Some(failure);
    status.conditions.push(condition(READY, false, StatusCause::Failed, "there is no backup: no answer"));
    live.status = Some(status);
}

/// Its data are gone from the store.
pub(super) fn loses_its_data(live: &mut EtcdBackup) {
    succeeds(live);
    let gone = condition(AVAILABLE, false, StatusCause::Failed, "");
    live.status.as_mut().unwrap().conditions.push(gone);
}
