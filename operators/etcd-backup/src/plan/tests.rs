use std::sync::Arc;

use drover_backups::{Content, ETag, Encryption, EtcdFacts, EtcdId, Snapshot};
use drover_crds::BackedUpCluster;
use drover_fetch::Digest;
use drover_fleet::cause::TenancyCause;
use drover_grants::{Admitted, Grants};
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};

use super::*;
use crate::{consent::Admission, task::TaskSecret};

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
    backup.status = Some(EtcdBackupStatus { observed_generation: 1, ..(*plan.place_status.noted).clone() });
    backup
}

fn names(plan: &Decided) -> Vec<String> {
    plan.actions().map(|action| format!("{action:?}")).collect()
}

fn ready(plan: &Decided) -> (&str, bool) {
    (plan.place_status.ready.cause.reason(), plan.place_status.ready.state == drover_runtime::status::State::True)
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
    StoredBackup { store_name: "main".to_owned(), manifest: "drover/c/u/manifest.json".to_owned(), manifest_digest }
}

/// A backup with its attempt and its upload noted.
fn under_way() -> EtcdBackup {
    let begun = noted(backup(), &plan(&backup(), &world(), NOW));
    let mut opened = world();
    opened.memory.opened = Some("upload".to_owned());
    noted(begun.clone(), &plan(&begun, &opened, NOW))
}

#[test]
fn nothing_is_done_before_the_attempt_and_the_upload_are_noted() {
    let first = plan(&backup(), &world(), NOW);
    assert!(first.is_idle(), "{first:?}");
    let begun = noted(backup(), &first);
    let status = begun.status.as_ref().unwrap();
    assert_eq!(status.attempt.as_ref().map(|attempt| attempt.id.as_str()), Some("u-1"));
    assert_eq!(
        (status.phase, &status.started_at),
        (Some(BackupPhase::Running), &None),
        "its time begins with its turn"
    );

    let second = plan(&begun, &world(), NOW);
    assert_eq!(names(&second), ["take the lock", "open an upload"]);
    assert_eq!(second.groups.len(), 1, "an upload is opened only by whoever has the lock");
    let mut opened = world();
    opened.memory.opened = Some("upload".to_owned());
    let third = plan(&begun, &opened, NOW);
    assert!(third.is_idle(), "the upload is noted first");
    assert_eq!(third.place_status.noted.started_at, Some(Time(NOW)));
    assert_eq!(names(&plan(&noted(begun, &third), &opened, NOW)), ["take the lock", "write the task"]);
}

#[test]
fn a_job_gets_one_task_and_is_waited_for() {
    let backup = under_way();
    let mut running = World { tasks: vec![task()], ..world() };
    assert_eq!(names(&plan(&backup, &running, NOW)), ["create Job drover-system/etcd-backup-u-1"]);
    running.jobs.push(job("j", false));
    let waiting = plan(&backup, &running, NOW);
    assert!(waiting.is_idle());
    assert_eq!(waiting.requeue, Requeue::At(NOW + SignedDuration::from_mins(35)));
    assert_eq!(ready(&waiting), ("BackingUp", false));

    let mut foreign = running.clone();
    foreign.jobs = vec![job("j", true)];
    foreign.jobs[0].title = Title::Unfounded;
    foreign.report = Some(Ok(success(vec![])));
    assert!(plan(&backup, &foreign, NOW).is_idle(), "what a Job of others answers counts for nothing");
}

#[test]
fn a_success_is_completed_noted_and_tidied_in_this_order() {
    let backup = under_way();
    let all = vec![Check::Sha256, Check::Revision, Check::Keys];
    let success = success(all);
    let mut done =
        World { jobs: vec![job("j", true)], tasks: vec![task()], report: Some(Ok(success.clone())), ..world() };
    assert_eq!(names(&plan(&backup, &done, NOW)), ["complete the upload"]);
    done.memory.completed = Some((success, stored()));
    let completed = plan(&backup, &done, NOW);
    assert!(completed.is_idle(), "what was stored is noted before the Job goes");
    let backup = noted(backup, &completed);
    let snapshot = backup.status.as_ref().unwrap().snapshot.clone().unwrap();
    assert_eq!((snapshot.revision, snapshot.total_keys, snapshot.member.as_str()), (42, Some(7), "ab"));
    assert!(is_verified(&snapshot));

    // A process that knows nothing of before goes on.
    let mut tidy = World { jobs: vec![job("j", true)], tasks: vec![task()], ..world() };
    let both = ["delete Job drover-system/etcd-backup-u-1", "delete Secret drover-system/etcd-backup-u-1"];
    assert_eq!(names(&plan(&backup, &tidy, NOW)), both);
    tidy.jobs.clear();
    assert_eq!(names(&plan(&backup, &tidy, NOW)), both[1..]);
    tidy.tasks.clear();
    assert_eq!(names(&plan(&backup, &tidy, NOW)), ["release the lock"]);
    tidy.memory.is_released = true;
    let end = plan(&backup, &tidy, NOW);
    assert!(end.is_idle());
    assert_eq!(ready(&end), ("Ready", true));
    let backup = noted(backup, &end);
    assert_eq!(backup.status.as_ref().unwrap().phase, Some(BackupPhase::Succeeded));
    let after = plan(&backup, &world(), NOW + SignedDuration::from_hours(9));
    assert!(after.is_idle() && after.place_status == end.place_status, "what is over changes no more");
}

#[test]
fn what_is_stored_is_a_backup_whatever_came_after() {
    let failure = BackupFailure { reason: "NoAnswer".to_owned(), message: "the Pod is gone".to_owned() };
    let mut late = World { jobs: vec![job("j", true)], report: Some(Err(failure)), ..world() };
    late.memory.completed = Some((success(vec![Check::Sha256]), stored()));
    let told = plan(&under_way(), &late, NOW + SignedDuration::from_hours(9)).place_status.noted;
    assert!(told.snapshot.is_some() && told.attempt.is_some_and(|attempt| attempt.failure.is_none()));
}

#[test]
fn a_job_that_ended_is_asked_again_until_its_answer_is_there() {
    let silent = World { jobs: vec![job("j", true)], tasks: vec![task()], ..world() };
    let told = plan(&under_way(), &silent, NOW);
    assert_eq!((told.is_idle(), told.requeue), (true, Requeue::At(NOW + LOOK_AGAIN)));
    let over = plan(&under_way(), &silent, NOW + SignedDuration::from_mins(35));
    assert_eq!(over.place_status.noted.attempt.unwrap().failure.unwrap().reason, "DeadlineExceeded");
}

#[test]
fn a_cluster_that_is_another_one_by_now_gets_no_job() {
    let mut other = world();
    other.cluster.as_mut().unwrap().uid = "other".to_owned();
    let told = plan(&under_way(), &other, NOW);
    assert!(told.is_idle());
    let failure = told.place_status.noted.attempt.unwrap().failure.unwrap();
    assert!(failure.message.contains("Cluster eu is another cluster by now"), "{failure:?}");
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
        let mut status = under_way().status.unwrap();
        note_success(&mut status, &success(checks.clone()), &stored());
        assert_eq!(is_verified(&status.snapshot.unwrap()), expected, "{checks:?}");
    }
}

#[test]
fn a_failure_is_noted_and_tells_why_and_all_of_it_goes() {
    let failure = BackupFailure { reason: "MemberUnreachable".to_owned(), message: "no member answers".to_owned() };
    let failed = World { jobs: vec![job("j", true)], report: Some(Err(failure)), ..world() };
    let told = plan(&under_way(), &failed, NOW);
    assert!(told.is_idle());
    assert_eq!(told.place_status.ready.message, "there is no backup of cluster eu: no member answers");
    let backup = noted(under_way(), &told);
    let mut tidy = World { memory: failed.memory.clone(), ..world() };
    assert_eq!(names(&plan(&backup, &tidy, NOW)), ["release the lock"]);
    tidy.memory.is_released = true;
    let end = plan(&backup, &tidy, NOW);
    assert_eq!((ready(&end), end.place_status.noted.phase), (("BackupFailed", false), Some(BackupPhase::Failed)));
}

#[test]
fn it_ends_when_its_time_is_over_or_the_owner_of_the_cluster_withdraws() {
    let late = NOW + SignedDuration::from_mins(35);
    let reason =
        |plan: &Decided| plan.place_status.noted.attempt.clone().unwrap().failure.map(|failure| failure.reason);
    assert_eq!(reason(&plan(&under_way(), &world(), late)).as_deref(), Some("DeadlineExceeded"));
    assert_eq!(reason(&plan(&under_way(), &world(), late - SignedDuration::from_secs(1))), None);
    let withdrawn = World { admission: Admission::NoBackups, ..world() };
    assert_eq!(reason(&plan(&under_way(), &withdrawn, NOW)).as_deref(), Some("BackupsNotAllowed"));
}

#[test]
fn what_is_in_the_way_is_named_and_nothing_begins() {
    let mut unknown = world();
    unknown.cluster.as_mut().unwrap().distribution = "unknown".to_owned();
    for (world, reason) in [
        (World { admission: Admission::NoTenant, ..world() }, TenancyCause::NotATenant.reason()),
        (World { admission: Admission::NoBackups, ..world() }, "BackupsNotAllowed"),
        (World { admitted: Some(Admitted::No), ..world() }, "NotAdmitted"),
        (World { admitted: Some(Admitted::Unjudged), ..world() }, "NotYetGranted"),
        (World { unsupported: Some("its provider has it".to_owned()), ..world() }, "NotSupported"),
        (unknown, "Progressing"),
        (World { cluster: None, ..world() }, "Progressing"),
        (World { store: StoreState::NotFound, ..world() }, "StoreNotFound"),
        (World { store: StoreState::NotReady("it answers 403".to_owned()), ..world() }, "StoreNotReady"),
        (World { image: None, ..world() }, "NoBackupImage"),
    ] {
        let plan = plan(&backup(), &world, NOW);
        assert!(plan.is_idle() && plan.place_status.noted.attempt.is_none(), "{reason}");
        assert_eq!(ready(&plan), (reason, false));
        assert_eq!(plan.place_status.noted.phase, Some(BackupPhase::Pending));
    }
}

#[test]
fn a_deleted_backup_leaves_its_data_unless_it_is_told_to_delete_them() {
    let delete = |policy: &str, pinned: bool, memory: &dyn Fn(&mut World)| {
        let mut backup = under_way();
        backup.spec.deletion_policy = serde_json::from_value(policy.into()).unwrap();
        backup.spec.pinned = pinned;
        backup.status.as_mut().unwrap().completed_at = Some(Time(NOW));
        let mut world = World { is_management: true, ..World::default() };
        memory(&mut world);
        let plan = clean_up(Owner::Deleting(&backup), &world);
        (names(&plan), plan.requeue)
    };
    let nothing = |_: &mut World| {};
    assert_eq!(delete("Orphan", false, &nothing), (vec![], Requeue::Released));
    assert_eq!(delete("Delete", true, &nothing), (vec![], Requeue::Released));
    assert_eq!(delete("Delete", false, &nothing), (vec!["delete the data".to_owned()], Requeue::Watch));
    assert_eq!(delete("Delete", false, &|world| world.memory.has_deleted = true), (vec![], Requeue::Released));
}

#[test]
fn what_is_under_way_is_ended_when_it_is_deleted() {
    let backup = under_way();
    let mut management = World { is_management: true, ..World::default() };
    assert_eq!(names(&clean_up(Owner::Deleting(&backup), &management)), ["release the lock"]);
    management.memory.is_released = true;
    assert_eq!(clean_up(Owner::Deleting(&backup), &management).requeue, Requeue::Released);
    let mut cluster = World { jobs: vec![job("j", false)], ..World::default() };
    let plan = clean_up(Owner::Deleting(&backup), &cluster);
    assert_eq!((names(&plan).len(), plan.requeue), (1, Requeue::Watch));
    cluster.jobs.clear();
    assert_eq!(clean_up(Owner::Present(&backup), &cluster).requeue, Requeue::Released);
}
