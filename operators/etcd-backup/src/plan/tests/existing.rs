//! Of backups that are in a store already, and of those that came there: what is looked at.

use drover_crds::{BackupAttempt, StoredBackup};
use drover_runtime::{PlaceState, PlaceStatuses, place_status::PlaceEntry};
use drover_stored_backups::{Finding, Imported, audit::Outcome};

use super::*;
use crate::summary::summarise;

/// What the spec names.
fn existing() -> EtcdBackup {
    let existing = serde_json::json!({
        "storeName": "main", "key": "drover/c/b-1/manifest.json", "backupUID": "b-1",
        "manifestSHA256": Digest::of(b"m").to_string(),
    });
    serde_json::from_value(serde_json::json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "EtcdBackup",
        "metadata": {"name": "nightly", "namespace": "team", "uid": "u", "generation": 1},
        "spec": {"clusterName": "eu", "existing": existing},
    }))
    .unwrap()
}

fn there() -> World {
    World { cluster_uid: Some("c".to_owned()), ..management() }
}

fn imported() -> Box<Imported> {
    Box::new(Imported {
        cluster: world().cluster.unwrap(),
        attempt: BackupAttempt { id: "b-1-1".to_owned(), prefix: "drover".to_owned(), ..BackupAttempt::default() },
        snapshot: snapshot_status(&success(vec![Check::Sha256, Check::Revision, Check::Keys]).snapshot),
        stored: StoredBackup { manifest: "drover/c/b-1/manifest.json".to_owned(), ..stored() },
        taken_at: Time(NOW),
        completed_at: Time(later(1)),
    })
}

fn read() -> World {
    let mut read = there();
    read.memory.imported = Some(imported());
    read
}

/// The conditions of a status, by what was seen in the management cluster.
fn told(backup: &EtcdBackup, plan: &Decided) -> EtcdBackup {
    let entry = PlaceEntry { known: Some(plan.place_status.clone()), state: PlaceState::Current };
    let statuses: PlaceStatuses<_> = [(drover_runtime::Place::Management, entry)].into_iter().collect();
    let mut told = backup.clone();
    told.status = Some(summarise(backup, &statuses));
    told
}

fn condition(backup: &EtcdBackup, kind: &str) -> Option<(String, String)> {
    let conditions = &backup.status.as_ref()?.conditions;
    let found = conditions.iter().find(|found| found.type_ == kind)?;
    Some((found.status.clone(), found.reason.clone()))
}

fn is(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[test]
fn of_an_existing_backup_nothing_is_taken_and_the_manifest_fills_the_status() {
    let backup = existing();
    assert!(plan(&backup, &world(), NOW).place_status.notes.is_empty(), "the cluster has no part in it");
    assert_eq!(names(&plan(&backup, &there(), NOW)), ["read the manifest"]);
    let first = plan(&backup, &read(), NOW);
    assert!(first.is_idle(), "{first:?}");
    let backup = told(&backup, &first);
    let status = backup.status.as_ref().unwrap();
    assert_eq!((status.phase, &status.started_at), (Some(BackupPhase::Succeeded), &Some(Time(NOW))));
    assert_eq!(status.stores[0].manifest, "drover/c/b-1/manifest.json");
    assert_eq!(condition(&backup, "Ready").unwrap(), is("True", "Ready"));
    assert_eq!(condition(&backup, "Verified").unwrap(), is("True", "RestoreVerified"));
    assert_eq!(condition(&backup, "Available").unwrap(), is("True", "DataAvailable"));
    let message = |kind| status.conditions.iter().find(|found| found.type_ == kind).map(|found| &found.message);
    assert!(message("Ready").unwrap().contains("imported"));
    assert!(message("Verified").unwrap().contains("as its manifest says"));
    assert!(plan(&backup, &World::default(), NOW).is_idle(), "no cluster is asked");
}

#[test]
fn an_existing_backup_needs_the_same_consent_as_one_that_is_taken() {
    let unknown = |state| World { cluster_uid: None, state, ..read() };
    for (world, expected) in [
        (World { admission: Admission::NoTenant, ..read() }, TenancyCause::NotATenant.reason()),
        (World { admission: Admission::NoBackups, ..read() }, "BackupsNotAllowed"),
        (World { admitted: Some(Admitted::No), ..read() }, "NotAdmitted"),
        (World { grants: Grants::Unjudged, ..read() }, "NotYetGranted"),
        (World { state: ClusterState::Gone, ..read() }, "ClusterNotFound"),
        (unknown(ClusterState::Unknown), "Progressing"),
        (unknown(ClusterState::Unreachable), "Progressing"),
        (World { store: StoreState::NotFound, ..read() }, "StoreNotFound"),
    ] {
        let plan = plan(&existing(), &world, NOW);
        assert!(plan.is_idle() && plan.place_status.notes.is_empty(), "{expected}");
        assert_eq!(reason(&plan), Some(expected));
        assert_eq!(condition(&told(&existing(), &plan), "Ready").unwrap().1, expected);
    }
    for state in [ClusterState::Unreachable, ClusterState::Suspended, ClusterState::Deleting] {
        let plan = plan(&existing(), &World { state, ..there() }, NOW);
        assert_eq!(names(&plan), ["read the manifest"], "{state:?}: nothing is asked of the cluster");
    }
}

#[test]
fn an_existing_backup_goes_as_one_that_was_taken() {
    let mut backup = existing();
    assert_eq!(clean_up(Owner::Deleting(&backup), &there()).requeue, Requeue::Released, "nothing was read");
    backup = told(&backup, &plan(&backup, &read(), NOW));
    assert_eq!(clean_up(Owner::Deleting(&backup), &there()).requeue, Requeue::Released, "Orphan is the default");
    backup.spec.deletion_policy = drover_crds::DeletionPolicy::Delete;
    assert_eq!(names(&clean_up(Owner::Deleting(&backup), &there())), ["delete the data"]);
}

/// What was seen just now.
fn seen(finding: Finding, at: Timestamp) -> World {
    let look = Look { at, request: String::new(), outcome: Outcome::Answered, finding: Some(finding) };
    World { look: Some(look), ..there() }
}

#[test]
fn what_is_gone_is_told_and_so_is_that_it_is_back() {
    let backup = told(&existing(), &plan(&existing(), &read(), NOW));
    let key = "drover/c/b-1/snapshot.b-1-1.db.zst".to_owned();
    let gone = told(&backup, &plan(&backup, &seen(Finding::Missing { key: key.clone() }, NOW), NOW));
    assert_eq!(condition(&gone, "Available").unwrap(), is("False", "DataMissing"));
    assert_eq!(condition(&gone, "Ready").unwrap(), is("False", "DataMissing"));
    assert_eq!(condition(&gone, "Stalled").unwrap(), is("True", "DataMissing"));
    let message = &gone.status.as_ref().unwrap().conditions[0].message;
    assert!(message.contains(&key), "{message}");
    assert_eq!(
        condition(&gone, "Verified").unwrap(),
        is("True", "RestoreVerified"),
        "that it restored is as true as before"
    );

    let changed = told(&backup, &plan(&backup, &seen(Finding::Changed { key }, NOW), NOW));
    assert_eq!(condition(&changed, "Available").unwrap(), is("False", "DataChanged"));

    // A process that knows nothing of it looks at once, and says nothing before.
    let started = plan(&gone, &there(), NOW);
    assert_eq!(names(&started), ["look at the data"]);
    assert_eq!(told(&gone, &started).status, gone.status);
    let back = told(&gone, &plan(&gone, &seen(Finding::Available, NOW), NOW));
    assert_eq!(back.status, backup.status);
    assert_eq!(told(&back, &plan(&back, &seen(Finding::Available, NOW), NOW)).status, back.status, "nothing differs");
}

#[test]
fn what_is_there_is_looked_at_once_a_day_and_what_failed_never() {
    let backup = told(&existing(), &plan(&existing(), &read(), NOW));
    let looks = (0..48).filter(|half| !plan(&backup, &there(), later(half * 30)).is_idle()).count();
    assert!((1..=2).contains(&looks), "{looks}");
    let mut failed = super::failed();
    failed.status.as_mut().unwrap().completed_at = Some(Time(NOW));
    assert!((0..48).all(|half| plan(&failed, &there(), later(half * 30)).is_idle()));
    let mut asked = backup;
    asked.metadata.annotations = Some([("drover.dev/reconcile-at".to_owned(), "1".to_owned())].into());
    assert_eq!(names(&plan(&asked, &seen(Finding::Available, NOW), NOW)), ["look at the data"]);
}
