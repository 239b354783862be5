//! What others do to a bucket, to a Cluster, and beside a backup.

use drover_crds::DeletionPolicy;

use super::*;

#[test]
fn a_manifest_of_another_client_ends_the_backup_and_the_answer_tells_whose_it_is() {
    let mut world = management();
    world.memory.taken = Some("store main has another manifest".to_owned());
    let told = noted(answered(), &plan(&answered(), &world, NOW));
    assert_eq!(failure(&told).unwrap(), ("ManifestTaken".to_owned(), "store main has another manifest".to_owned()));
    let attempt = told.status.as_ref().unwrap().attempt.clone().unwrap();
    assert!(answer(&attempt).is_some_and(|answer| answer.is_ok()), "it says which manifest would be Drover's");
    let mut tidy = management();
    (tidy.memory.is_unlocked, tidy.memory.is_abandoned) = (true, true);
    let cleared = noted(told.clone(), &plan(&told, &super::world(), NOW));
    let end = noted(cleared.clone(), &plan(&cleared, &tidy, NOW)).status.unwrap();
    assert_eq!((phase(&end), end.attempt.unwrap().answer), (BackupPhase::Failed, None));
    let of_a_failure = failed().status.unwrap().attempt.unwrap();
    assert!(answer(&of_a_failure).is_none(), "without an answer no manifest is Drover's");
}

#[test]
fn no_job_begins_once_the_owner_of_the_cluster_does_not_consent_any_more() {
    for (admission, reason) in [(Admission::NoTenant, "NotATenant"), (Admission::NoBackups, "BackupsNotAllowed")] {
        let withdrawn = World { admission, state: ClusterState::Connected, ..world() };
        for state in [ClusterState::Gone, ClusterState::Deleting] {
            let told = plan(&under_way(), &World { state, ..withdrawn.clone() }, NOW);
            assert!(told.place_status.notes.is_empty(), "the management cluster says that the Cluster goes: {told:?}");
        }
        let told = plan(&under_way(), &withdrawn, NOW);
        assert!(told.is_idle(), "{told:?}");
        assert_eq!(failure(&noted(under_way(), &told)).unwrap().0, reason);
    }
}

#[test]
fn data_go_only_where_it_was_judged_who_says_so() {
    let mut deleting = answered();
    deleting.spec.deletion_policy = DeletionPolicy::Delete;
    let status = deleting.status.as_mut().unwrap();
    status.completed_at = Some(Time(NOW));
    deleting.metadata.deletion_timestamp = Some(Time(NOW));
    let outcome = |admitted| {
        let world = World { admitted, ..management() };
        let decided = clean_up(Owner::Deleting(&deleting), &world);
        (names(&decided), decided.requeue)
    };
    assert_eq!(outcome(Some(Admitted::Yes)), (vec!["delete the data".to_owned()], Requeue::Watch));
    assert_eq!(outcome(Some(Admitted::No)), (Vec::new(), Requeue::Released));
    for unknown in [Some(Admitted::Unjudged), None] {
        assert_eq!(outcome(unknown), (Vec::new(), Requeue::Watch), "it waits for the policies");
    }
}

#[test]
fn data_of_two_objects_stay_until_the_last_one_goes() {
    let of = |uid: &str, store: &str, manifest: &str| {
        let mut backup = backup();
        backup.metadata.uid = Some(uid.to_owned());
        let stored = StoredBackup { store_name: store.to_owned(), manifest: manifest.to_owned(), ..stored() };
        backup.status = Some(EtcdBackupStatus { stores: vec![stored], ..EtcdBackupStatus::default() });
        backup
    };
    let own = of("a", "main", "c/u/manifest.json");
    let mut other = of("b", "main", "c/u/manifest.json");
    assert!(shares_data(&own, &other) && !shares_data(&own, &own));
    assert!(!shares_data(&own, &of("b", "main", "c/v/manifest.json")));
    assert!(!shares_data(&own, &of("b", "second", "c/u/manifest.json")));
    assert!(!shares_data(&backup(), &backup()), "nothing is stored");
    other.metadata.deletion_timestamp = Some(Time(NOW));
    assert!(!shares_data(&own, &other), "it goes as well");
}
