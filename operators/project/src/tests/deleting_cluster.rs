//! Clusters that are being deleted: nothing is created or adopted there, and what is held is released or left as it is.

use std::collections::BTreeSet;

use drover_crds::DeletionPolicy;
use drover_runtime::{ObjectKey, Owner, Requeue, model::ModelWorld as _};

use super::{
    decisions::{ADOPTING, OPEN, cluster_of, lines, plan, shop},
    strategies::{deleted, going},
};
use crate::leave::clean_up;

const THERE: &str = "{
    team-a-web: {heldBy: team-a/shop, applied: {}}, team-a-db: {heldBy: team-a/shop, adopted: true},
    team-a-log: {}, team-a-other: {heldBy: team-a/other}, team-a-old: {releasedBy: team-a/shop}}";
const WANTS: &str = "namespaces: [{name: team-a-web}, {name: team-a-new}, {name: team-a-old}]";
const RELEASED: [&str; 2] = ["release Namespace team-a-db", "release Namespace team-a-web"];

#[test]
fn with_delete_a_project_that_lives_lets_go_of_everything_and_deletes_nothing() {
    for (cluster, policy) in [(OPEN, "Orphan"), (OPEN, "Delete"), (ADOPTING, "Delete"), ("tenants: []", "Delete")] {
        let project = shop(&format!("deletionPolicy: {policy}\n{WANTS}"));
        let model = going(cluster_of(cluster, THERE), DeletionPolicy::Delete);
        assert_eq!(lines(&project, &model), RELEASED, "{cluster} {policy}");
        assert_eq!(plan(&project, &model).requeue, Requeue::Watch);
    }
}

#[test]
fn with_delete_a_namespace_stays_guarded_until_the_apps_in_it_are_uninstalled() {
    let project = shop(WANTS);
    let mut model = going(cluster_of(OPEN, THERE), DeletionPolicy::Delete);
    model.with_apps = BTreeSet::from(["team-a-web".to_owned(), "team-a-log".to_owned()]);
    assert_eq!(lines(&project, &model), ["release Namespace team-a-db"]);
    model.with_apps = BTreeSet::from(["team-a-web".to_owned(), "team-a-db".to_owned()]);
    let waiting = plan(&project, &model);
    assert_eq!((waiting.actions().count(), waiting.requeue), (0, Requeue::Watch));
    model.with_apps.clear();
    assert_eq!(lines(&project, &model), RELEASED);
    // Who goes together with the Project needs nothing of it.
    model.with_apps = BTreeSet::from(["team-a-web".to_owned()]);
    assert_eq!(lines(&deleted(shop(WANTS)), &model), RELEASED);
}

#[test]
fn with_delete_a_project_that_is_being_deleted_does_as_usual() {
    let model = going(cluster_of(OPEN, THERE), DeletionPolicy::Delete);
    assert_eq!(lines(&deleted(shop(WANTS)), &model), RELEASED);
    let delete = deleted(shop(&format!("deletionPolicy: Delete\n{WANTS}")));
    assert_eq!(lines(&delete, &model), ["release Namespace team-a-db", "delete Namespace team-a-web"]);
}

#[test]
fn who_holds_nothing_is_done_at_once_and_has_nothing_to_tell() {
    let there = "{team-a-web: {}, team-a-new: {heldBy: team-a/other}}";
    let done = plan(&shop(WANTS), &going(cluster_of(OPEN, there), DeletionPolicy::Delete));
    assert_eq!((done.actions().count(), done.place_status.problems.len(), done.requeue), (0, 0, Requeue::Released));
}

#[test]
fn a_suspended_project_holds_on_to_what_it_has() {
    let model = going(cluster_of(OPEN, THERE), DeletionPolicy::Delete);
    let waiting = plan(&shop("suspend: true"), &model);
    assert_eq!((waiting.actions().count(), waiting.requeue), (0, Requeue::Watch));
}

#[test]
fn with_orphan_nothing_is_written_or_waited_for() {
    let model = going(cluster_of(OPEN, THERE), DeletionPolicy::Orphan);
    for project in [shop(WANTS), deleted(shop(WANTS)), deleted(shop("deletionPolicy: Delete"))] {
        let plan = plan(&project, &model);
        assert_eq!((plan.actions().count(), plan.place_status.problems.len(), plan.requeue), (0, 0, Requeue::Released));
    }
}

#[test]
fn what_a_deletion_did_not_wait_for_is_released_and_never_deleted() {
    let there = "{team-a-web: {heldBy: team-a/shop}, team-a-db: {heldBy: team-a/shop, terminating: true}, team-a-x: {heldBy: team-b/shop}}";
    let shop = deleted(shop("deletionPolicy: Delete\nnamespaces: [{name: team-a-web}]"));
    let key = ObjectKey::of(&shop.metadata);
    let world = cluster_of(OPEN, there).observe(Owner::of(&shop));
    let actions = |owner| format!("{:?}", clean_up(owner, &world).groups.concat());
    assert_eq!(actions(Owner::Abandoned(&key)), "[release Namespace team-a-db, release Namespace team-a-web]");
    assert_eq!(actions(Owner::Gone(&key)), "[]", "it may only not be there yet");
    let nothing = cluster_of(OPEN, "{}").observe(Owner::of(&shop));
    assert_eq!(clean_up(Owner::Abandoned(&key), &nothing).requeue, Requeue::Released);
}
