mod existing;
mod hostile;

use std::sync::Arc;

use drover_backup_jobs::{job, task::TaskSecret};
use drover_backups::{Check, Content, ETag, Encryption, EtcdFacts, EtcdId, Snapshot, Success};
use drover_crds::{BackedUpCluster, BackupFailure, BackupPhase, StoredBackup};
use drover_fetch::Digest;
use drover_fleet::cause::TenancyCause;
use drover_grants::{Admitted, Grants};
use drover_runtime::Failure;
use drover_stored_backups::{
    audit::Look,
    status::{is_verified, snapshot_status},
};
use k8s_openapi::{
    api::batch::v1::{Job, JobCondition, JobStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::*;
use crate::{
    consent::{Admission, StoreState},
    notes::phase,
    observe::ClusterState,
};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn backup() -> EtcdBackup {
    serde_json::from_value(serde_json::json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "EtcdBackup",
        "metadata": {"name": "nightly", "namespace": "team", "uid": "u", "generation": 1},
        "spec": {"clusterName": "eu", "storeNames": ["main"]},
    }))
    .unwrap()
}

fn world() -> World {
    World {
        cluster: Some(BackedUpCluster {
            uid: "c".to_owned(),
            kubernetes_version: "v1.37.1".to_owned(),
            distribution: "kubeadm".to_owned(),
        }),
        admission: Admission::Admitted,
        store: StoreState::Ready { prefix: "drover".to_owned(), recipients: Vec::new() },
        grants: Grants::Allowed,
        admitted: Some(Admitted::Yes),
        image: Some("drover-etcd".to_owned()),
        ..World::default()
    }
}

/// What the runtime does with a status: the next reconcile sees it.
fn noted(mut backup: EtcdBackup, plan: &Decided) -> EtcdBackup {
    let mut status = backup.status.unwrap_or_default();
    plan.place_status.notes.iter().cloned().for_each(|note| note.keep(&mut status));
    backup.status = Some(EtcdBackupStatus { observed_generation: 1, ..status });
    backup
}

/// The same backup, in the management cluster.
fn management() -> World {
    World { is_management: true, ..world() }
}

fn failure(backup: &EtcdBackup) -> Option<(String, String)> {
    let failure = backup.status.as_ref()?.attempt.as_ref()?.failure.as_ref()?;
    Some((failure.reason.clone(), failure.message.clone()))
}

fn names(plan: &Decided) -> Vec<String> {
    plan.actions().map(|action| format!("{action:?}")).collect()
}

fn reason(plan: &Decided) -> Option<&'static str> {
    plan.place_status.ready.as_ref().map(|ready| ready.cause.reason())
}

fn job(uid: &str, ended: bool) -> Owned<Job> {
    let mut job = job::desired(&"u-1".parse().unwrap());
    job.metadata.uid = Some(uid.to_owned());
    let end = JobCondition {
        type_: "Complete".to_owned(),
        status: "True".to_owned(),
        last_transition_time: Some(Time(NOW)),
        ..JobCondition::default()
    };
    job.status = ended.then(|| JobStatus { conditions: Some(vec![end]), ..JobStatus::default() });
    Owned { live: Ok(Arc::new(job)), drift_conflict: None, title: Title::Created }
}

fn task() -> Owned<TaskSecret> {
    let task = TaskSecret::of(&"u-1".parse().unwrap());
    Owned { live: Ok(Arc::new(task)), drift_conflict: None, title: Title::Created }
}

fn success(verified: Vec<Check>) -> Box<Success> {
    let content = |bytes| Content { bytes, sha256: Digest::of(b"x") };
    let etcd = EtcdFacts {
        version: "3.7.1".to_owned(),
        cluster_id: EtcdId(1),
        member_id: EtcdId(0xab),
        member: String::new(),
        quorum: true,
        revision: 42,
        compact_revision: None,
        total_keys: Some(7),
        hash_kv: None,
    };
    let snapshot =
        Snapshot { plain: content(10_000), stored: content(1 << 20), encryption: Encryption::None, etcd, verified };
    Box::new(Success {
        attempt: "u-1".parse().unwrap(),
        snapshot,
        parts: vec![ETag::from_header("\"e\"").unwrap()],
        config: None,
        tool: "0.1.0".to_owned(),
    })
}

fn stored() -> StoredBackup {
    let manifest_digest = Digest::of(b"m").to_string();
    let manifest = "drover/c/u/manifest.json".to_owned();
    StoredBackup { store_name: "main".to_owned(), manifest, manifest_digest, etag: None }
}

/// A backup with its attempt and its upload noted.
fn under_way() -> EtcdBackup {
    let begun = noted(backup(), &plan(&backup(), &world(), NOW));
    let mut opened = management();
    opened.memory.opened = Some("upload".to_owned());
    noted(begun.clone(), &plan(&begun, &opened, NOW))
}

/// With the answer of its Job noted as well.
fn answered() -> EtcdBackup {
    let all = vec![Check::Sha256, Check::Revision, Check::Keys];
    let ended = World { jobs: vec![job("j", true)], report: Some((Ok(success(all)), Time(NOW))), ..world() };
    noted(under_way(), &plan(&under_way(), &ended, NOW))
}

fn failed() -> EtcdBackup {
    let failure = BackupFailure { reason: "MemberUnreachable".to_owned(), message: "no member answers".to_owned() };
    let ended = World { jobs: vec![job("j", true)], report: Some((Err(failure), Time(NOW))), ..world() };
    noted(under_way(), &plan(&under_way(), &ended, NOW))
}

fn later(minutes: i64) -> Timestamp {
    NOW + SignedDuration::from_mins(minutes)
}

#[test]
fn nothing_is_done_before_the_attempt_and_the_upload_are_noted() {
    let first = plan(&backup(), &world(), NOW);
    assert!(first.is_idle(), "{first:?}");
    assert!(plan(&backup(), &management(), NOW).is_idle(), "nothing has begun");
    let begun = noted(backup(), &first);
    let status = begun.status.as_ref().unwrap();
    assert_eq!(status.attempt.as_ref().map(|attempt| attempt.id.as_str()), Some("u-1"));
    assert_eq!((phase(status), &status.started_at), (BackupPhase::Running, &None), "its time begins with its turn");

    assert!(plan(&begun, &world(), NOW).is_idle(), "the cluster waits for the upload");
    let second = plan(&begun, &management(), NOW);
    assert_eq!(names(&second), ["take the lock", "open an upload"]);
    assert_eq!(second.groups.len(), 1, "an upload is opened only by whoever has the lock");
    let mut opened = management();
    opened.memory.opened = Some("upload".to_owned());
    let third = plan(&begun, &opened, NOW);
    assert!(third.is_idle(), "the upload is noted first");
    let opened_at = noted(begun, &third);
    assert_eq!(opened_at.status.as_ref().unwrap().started_at, Some(Time(NOW)));
    assert_eq!(names(&plan(&opened_at, &world(), NOW)), ["take the lock", "write the task"]);
}

#[test]
fn a_job_gets_one_task_and_is_waited_for() {
    let backup = under_way();
    let mut running = World { tasks: vec![task()], ..world() };
    assert_eq!(names(&plan(&backup, &running, NOW)), ["create Job drover-system/etcd-backup-u-1"]);
    running.jobs.push(job("j", false));
    assert!(plan(&backup, &running, NOW).is_idle());
    let waiting = plan(&backup, &management(), NOW);
    assert_eq!((waiting.is_idle(), waiting.requeue), (true, Requeue::At(later(35))));
}

#[test]
fn no_job_begins_once_its_time_is_over_and_one_that_begins_late_has_what_is_left() {
    let backup = under_way();
    let running = World { tasks: vec![task()], ..world() };
    assert!(plan(&backup, &running, later(30)).is_idle());
    assert!(plan(&backup, &world(), later(30)).is_idle());
    let plan = plan(&backup, &running, later(20));
    let Some(Action::Job(Change::Create { seed, .. })) = plan.actions().next() else { panic!("{plan:?}") };
    assert_eq!(seed["spec"]["activeDeadlineSeconds"], 600);
}

#[test]
fn the_answer_of_a_job_is_noted_before_anything_is_made_of_it() {
    let all = vec![Check::Sha256, Check::Revision, Check::Keys];
    let ended = World {
        jobs: vec![job("j", true)],
        tasks: vec![task()],
        report: Some((Ok(success(all)), Time(NOW))),
        ..world()
    };
    let told = plan(&under_way(), &ended, NOW);
    assert!(told.is_idle(), "{told:?}");
    assert!(plan(&under_way(), &management(), NOW).is_idle());
    let backup = answered();
    // From here on no process and no cluster is needed that saw the Job.
    for state in [ClusterState::Gone, ClusterState::Deleting, ClusterState::Suspended, ClusterState::Unreachable] {
        let plan = plan(&backup, &World { state, ..management() }, NOW);
        assert_eq!(names(&plan), ["complete the upload"], "{state:?}");
    }
    let both = ["delete Job drover-system/etcd-backup-u-1", "delete Secret drover-system/etcd-backup-u-1"];
    assert_eq!(names(&plan(&backup, &World { report: None, ..ended }, NOW)), both);
}

#[test]
fn a_success_is_completed_noted_and_ended_in_this_order() {
    let backup = answered();
    let mut done = management();
    let snapshot = snapshot_status(&success(vec![Check::Sha256, Check::Revision, Check::Keys]).snapshot);
    done.memory.completed = Some((Box::new(snapshot), stored()));
    let completed = plan(&backup, &done, NOW);
    assert!(completed.is_idle(), "what was stored is noted before the lock is released");
    let backup = noted(backup, &completed);
    let status = backup.status.as_ref().unwrap();
    let snapshot = status.snapshot.clone().unwrap();
    assert_eq!((snapshot.revision, snapshot.total_keys, snapshot.member.as_str()), (42, Some(7), "ab"));
    assert!(is_verified(&snapshot) && status.attempt.as_ref().unwrap().answer.is_none());

    // A process that knows nothing of before goes on.
    let mut end = management();
    assert_eq!(names(&plan(&backup, &end, NOW)), ["release the lock"]);
    end.memory.is_unlocked = true;
    let ended = plan(&backup, &end, NOW);
    assert!(ended.is_idle());
    let backup = noted(backup, &ended);
    assert_eq!(phase(backup.status.as_ref().unwrap()), BackupPhase::Succeeded);
    let after = plan(&backup, &management(), later(900));
    assert!(after.place_status.notes.is_empty(), "what is over changes no more");
    let left = World { jobs: vec![job("j", true)], ..world() };
    assert_eq!(names(&plan(&backup, &left, NOW)).len(), 1, "what a cluster that was away still has goes");
}

#[test]
fn what_is_stored_is_a_backup_whatever_came_after() {
    let mut late = management();
    let snapshot = snapshot_status(&success(vec![Check::Sha256]).snapshot);
    late.memory.completed = Some((Box::new(snapshot), stored()));
    for backup in [answered(), failed()] {
        let told = noted(backup.clone(), &plan(&backup, &late, later(900)));
        assert!(told.status.as_ref().unwrap().snapshot.is_some() && failure(&told).is_none());
    }
}

#[test]
fn a_job_that_ended_is_asked_again_until_its_answer_is_there() {
    let silent = World { jobs: vec![job("j", true)], tasks: vec![task()], ..world() };
    let told = plan(&under_way(), &silent, NOW);
    assert_eq!((told.is_idle(), told.requeue), (true, Requeue::At(NOW + LOOK_AGAIN)));
    let mut foreign = silent;
    foreign.jobs[0].title = Title::Unfounded;
    assert!(plan(&under_way(), &foreign, NOW).is_idle(), "what a Job of others answers counts for nothing");
}

#[test]
fn a_cluster_that_is_another_one_by_now_gets_no_job() {
    let mut other = world();
    other.cluster.as_mut().unwrap().uid = "other".to_owned();
    assert!(plan(&under_way(), &other, NOW).is_idle());
    let told = plan(&under_way(), &World { is_management: true, ..other.clone() }, NOW);
    let (reason, message) = failure(&noted(under_way(), &told)).unwrap();
    assert_eq!(reason, "AnotherCluster");
    assert!(message.contains("Cluster eu is another cluster by now"), "{message}");
    other.cluster = None;
    assert!(!plan(&under_way(), &other, NOW).is_idle(), "what is not known is not another one");
}

#[test]
fn a_snapshot_counts_as_verified_only_with_all_that_was_compared() {
    for (checks, expected) in [
        (vec![Check::Sha256, Check::Revision, Check::Keys], true),
        (vec![Check::Sha256, Check::Revision, Check::Keys, Check::HashKv], true),
        (vec![Check::Sha256], false),
        (vec![Check::Revision, Check::Keys, Check::HashKv], false),
        (vec![], false),
    ] {
        let status = snapshot_status(&success(checks.clone()).snapshot);
        assert_eq!(is_verified(&status), expected, "{checks:?}");
    }
}

#[test]
fn a_failure_is_noted_and_tells_why_and_all_of_it_goes() {
    let backup = failed();
    assert_eq!(failure(&backup).unwrap().1, "no member answers");
    assert!(plan(&backup, &management(), NOW).is_idle(), "the Job may still run");
    assert_eq!(plan(&backup, &management(), NOW).requeue, Requeue::At(later(35)));
    let left = World { jobs: vec![job("j", true)], ..world() };
    let removing = plan(&backup, &left, NOW);
    assert_eq!((names(&removing).len(), noted(backup.clone(), &removing)), (1, backup.clone()));
    let cleared = noted(backup.clone(), &plan(&backup, &world(), NOW));
    let mut tidy = management();
    assert_eq!(names(&plan(&cleared, &tidy, NOW)), ["release the lock", "abandon the upload"]);
    tidy.memory.is_unlocked = true;
    assert_eq!(names(&plan(&cleared, &tidy, NOW)), ["abandon the upload"]);
    tidy.memory.is_abandoned = true;
    let end = noted(cleared.clone(), &plan(&cleared, &tidy, NOW));
    assert_eq!(phase(end.status.as_ref().unwrap()), BackupPhase::Failed);
}

/// Nothing that a cluster or a store does, or does not do any more, keeps a backup from ending.
#[test]
fn a_backup_always_ends() {
    let links = [
        ClusterState::Unknown,
        ClusterState::Gone,
        ClusterState::Deleting,
        ClusterState::Suspended,
        ClusterState::Unreachable,
        ClusterState::Connected,
    ];
    for (state, is_unlocked, is_abandoned) in
        links.iter().flat_map(|state| [(*state, true, true), (*state, true, false)])
    {
        for start in [under_way(), answered(), failed()] {
            let mut world = World { state, ..management() };
            (world.memory.is_unlocked, world.memory.is_abandoned) = (is_unlocked, is_abandoned);
            let mut backup = start;
            for minutes in [0, 35, 36, 46, 47] {
                backup = noted(backup.clone(), &plan(&backup, &world, later(minutes)));
            }
            let status = backup.status.as_ref().unwrap();
            assert_eq!(phase(status), BackupPhase::Failed, "{state:?} {status:?}");
        }
    }
}

#[test]
fn it_ends_when_its_time_is_over_or_its_cluster_is_gone_or_its_owner_withdraws() {
    let ends = |world: World, now| failure(&noted(under_way(), &plan(&under_way(), &world, now)));
    let of = |state| World { state, ..management() };
    for (state, words) in [
        (ClusterState::Suspended, "cluster eu is suspended"),
        (ClusterState::Unreachable, "cluster eu cannot be reached"),
        (ClusterState::Connected, "gave no answer"),
        (ClusterState::Unknown, "gave no answer"),
    ] {
        assert_eq!(ends(of(state), later(35) - SignedDuration::from_secs(1)), None);
        let (reason, message) = ends(of(state), later(35)).unwrap();
        assert!(reason == "DeadlineExceeded" && message.contains(words), "{message}");
    }
    let ends_now = |world: World| ends(world, NOW).map(|(reason, _)| reason);
    assert_eq!(ends_now(of(ClusterState::Gone)).as_deref(), Some("ClusterNotFound"));
    assert_eq!(ends_now(of(ClusterState::Deleting)).as_deref(), Some("ClusterDeleting"));
    let withdrawn = World { admission: Admission::NoBackups, state: ClusterState::Connected, ..management() };
    assert_eq!(ends_now(withdrawn).as_deref(), Some("BackupsNotAllowed"));
    let unknown = World { admission: Admission::NoTenant, ..of(ClusterState::Unknown) };
    assert_eq!(ends_now(unknown), None, "what is not known is not withdrawn");
}

#[test]
fn the_words_of_a_pod_are_told_while_it_does_not_run_and_at_the_end() {
    let waiting = serde_json::json!({"metadata": {}, "status": {"phase": "Pending", "containerStatuses": [{
        "name": "etcd-backup", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}},
    }]}});
    let pods = |pods: &[&serde_json::Value]| {
        Some(pods.iter().map(|pod| serde_json::from_value((*pod).clone()).unwrap()).collect())
    };
    let mut stuck = World { jobs: vec![job("j", false)], tasks: vec![task()], pods: pods(&[&waiting]), ..world() };
    let told = plan(&under_way(), &stuck, NOW);
    let ready = told.place_status.ready.clone().unwrap();
    assert_eq!(ready.cause.reason(), "JobNotRunning");
    assert!(ready.message.ends_with("its Pod waits (ImagePullBackOff): no such image"), "{}", ready.message);
    assert_eq!(told.requeue, Requeue::At(NOW + SignedDuration::from_secs(15)));

    stuck.pods = pods(&[]);
    assert_eq!(reason(&plan(&under_way(), &stuck, later(1))), None, "when it was made is not known");
    let Ok(live) = &mut stuck.jobs[0].live else { panic!() };
    Arc::make_mut(live).metadata.creation_timestamp = Some(Time(NOW));
    assert_eq!(reason(&plan(&under_way(), &stuck, NOW)), None, "its Pod is about to be made");
    assert_eq!(reason(&plan(&under_way(), &stuck, later(1))), Some("JobNotRunning"));

    let mut backup = under_way();
    let told_before = drover_runtime::status::condition("Ready", false, ready.cause, ready.message.clone());
    backup.status.as_mut().unwrap().conditions.push(told_before);
    let message =
        |backup: &EtcdBackup, world: &World| plan(backup, world, later(1)).place_status.ready.unwrap().message;
    assert_eq!(message(&backup, &stuck), ready.message, "the deadline of a Job takes its Pod before the Job has ended");
    let Ok(live) = &mut stuck.jobs[0].live else { panic!() };
    Arc::make_mut(live).metadata.name = Some("etcd-backup-u-2".to_owned());
    assert!(
        message(&backup, &stuck).contains("it has no Pod"),
        "what was told of another Job says nothing of this one"
    );
    let silent = BackupFailure { reason: "NoAnswer".to_owned(), message: "no answer".to_owned() };
    let ended = World { jobs: vec![job("j", true)], report: Some((Err(silent), Time(NOW))), ..world() };
    assert_eq!(failure(&noted(backup.clone(), &plan(&backup, &ended, NOW))).unwrap().1, ready.message);
}

#[test]
fn what_is_in_the_way_is_named_and_nothing_begins() {
    let mut unknown = world();
    unknown.cluster.as_mut().unwrap().distribution = "unknown".to_owned();
    let refused = Some(Failure::new(drover_runtime::ApiCause::Forbidden, "pods is forbidden"));
    for (world, expected) in [
        (World { admission: Admission::NoTenant, ..world() }, TenancyCause::NotATenant.reason()),
        (World { admission: Admission::NoBackups, ..world() }, "BackupsNotAllowed"),
        (World { admitted: Some(Admitted::No), ..world() }, "NotAdmitted"),
        (World { admitted: Some(Admitted::Unjudged), ..world() }, "NotYetGranted"),
        (World { state: ClusterState::Suspended, ..world() }, "ClusterSuspended"),
        (World { refused, ..world() }, "Forbidden"),
        (World { unsupported: Some("its provider has it".to_owned()), ..world() }, "NotSupported"),
        (unknown, "Progressing"),
        (World { cluster: None, ..world() }, "Progressing"),
        (World { store: StoreState::NotFound, ..world() }, "StoreNotFound"),
        (World { store: StoreState::NotReady("it answers 403".to_owned()), ..world() }, "StoreNotReady"),
        (World { image: None, ..world() }, "NoBackupImage"),
    ] {
        let plan = plan(&backup(), &world, NOW);
        assert!(plan.is_idle() && plan.place_status.notes.is_empty(), "{expected}");
        assert_eq!(reason(&plan), Some(expected));
        assert_eq!(plan.requeue, Requeue::At(NOW + LOOK_AGAIN));
    }
}

#[test]
fn a_deleted_backup_leaves_its_data_unless_it_is_told_to_delete_them() {
    let delete = |policy: &str, pinned: bool, memory: &dyn Fn(&mut World)| {
        let mut backup = under_way();
        backup.spec.deletion_policy = serde_json::from_value(policy.into()).unwrap();
        backup.spec.pinned = pinned;
        backup.status.as_mut().unwrap().completed_at = Some(Time(NOW));
        let mut world = World { is_management: true, admitted: Some(Admitted::Yes), ..World::default() };
        memory(&mut world);
        let plan = clean_up(Owner::Deleting(&backup), &world);
        (names(&plan), plan.requeue)
    };
    let nothing = |_: &mut World| {};
    assert_eq!(delete("Orphan", false, &nothing), (vec![], Requeue::Released));
    assert_eq!(delete("Delete", true, &nothing), (vec![], Requeue::Released));
    assert_eq!(delete("Delete", false, &nothing), (vec!["delete the data".to_owned()], Requeue::Watch));
    assert_eq!(delete("Delete", false, &|world| world.memory.has_deleted = true), (vec![], Requeue::Released));
    assert_eq!(delete("Delete", false, &|world| world.is_shared = true), (vec![], Requeue::Released));
}

#[test]
fn what_is_under_way_is_ended_when_it_is_deleted() {
    let backup = under_way();
    let mut management = World { is_management: true, ..World::default() };
    let both = ["release the lock", "abandon the upload"];
    assert_eq!(names(&clean_up(Owner::Deleting(&backup), &management)), both);
    management.memory.is_unlocked = true;
    management.memory.is_abandoned = true;
    assert_eq!(clean_up(Owner::Deleting(&backup), &management).requeue, Requeue::Released);
    let mut cluster = World { jobs: vec![job("j", false)], ..World::default() };
    let plan = clean_up(Owner::Deleting(&backup), &cluster);
    assert_eq!((names(&plan).len(), plan.requeue), (1, Requeue::Watch));
    cluster.jobs.clear();
    assert_eq!(clean_up(Owner::Present(&backup), &cluster).requeue, Requeue::Released);
}
