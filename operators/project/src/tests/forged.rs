//! Records that another client changed: nothing is captured, and nothing is deleted that Drover did not create.

use drover_crds::names::{
    ANNOTATION_ADOPTED, ANNOTATION_CREATED, ANNOTATION_OWNER_UID, LABEL_OWNER_NAME, LABEL_OWNER_NAMESPACE,
};
use drover_runtime::{
    Requeue,
    model::{Field, Manager, ModelObject, until_quiet},
};
use k8s_openapi::jiff::SignedDuration;

use super::{
    decisions::{ADOPTING, NOW, OPEN, cluster_of, lines, plan, shop},
    safety::{held_by, key},
    strategies::{deleted, project},
    world::{ModelCluster, created_mark},
};
use crate::ProjectOperator;

const LISTS: &str = "deletionPolicy: Delete\nnamespaces: [{name: team-a-web}]";
const LISTS_AND_ASKS: &str = "deletionPolicy: Delete\nnamespaces: [{name: team-a-web, onExisting: Adopt}]";
const LISTS_NOTHING: &str = "deletionPolicy: Delete";
const CREATED: &str = "team-a-web: {heldBy: team-a/shop, applied: {}}";
const ADOPTED: &str = "team-a-web: {heldBy: team-a/shop, applied: {}, adopted: true}";

fn web(model: &mut ModelCluster) -> &mut ModelObject {
    model.namespaces.get_mut("team-a-web").unwrap()
}

fn set(annotation: &str, value: &str, model: &mut ModelCluster) {
    let value = Field::by(Manager::Other, value.to_owned());
    web(model).annotations.insert(annotation.to_owned(), value);
}

fn relabel(project: &str, model: &mut ModelCluster) {
    let (namespace, name) = project.split_once('/').unwrap();
    for (label, value) in [(LABEL_OWNER_NAMESPACE, namespace), (LABEL_OWNER_NAME, name)] {
        web(model).labels.insert(label.to_owned(), Field::by(Manager::Other, value.to_owned()));
    }
}

#[test]
fn a_removed_adopted_mark_makes_nothing_deletable_and_comes_back_by_consent_only() {
    let without_mark = |cluster: &str| {
        let mut model = cluster_of(cluster, ADOPTED);
        web(&mut model).annotations.remove(ANNOTATION_ADOPTED);
        model
    };
    let model = without_mark(ADOPTING);
    assert_eq!(lines(&shop(LISTS_AND_ASKS), &model), ["adopt Namespace team-a-web"]);
    assert_eq!(lines(&shop(LISTS), &model), ["release Namespace team-a-web"]);
    assert_eq!(lines(&shop(LISTS_AND_ASKS), &without_mark(OPEN)), ["release Namespace team-a-web"]);
    assert_eq!(lines(&deleted(shop(LISTS_AND_ASKS)), &model), ["release Namespace team-a-web"]);
}

#[test]
fn a_forged_adopted_mark_only_keeps_what_was_created_from_being_deleted() {
    let mut model = cluster_of(OPEN, CREATED);
    set(ANNOTATION_ADOPTED, "true", &mut model);
    assert_eq!(lines(&shop(LISTS), &model), ["1 ready"]);
    assert_eq!(lines(&deleted(shop(LISTS)), &model), ["release Namespace team-a-web"]);
}

#[test]
fn a_changed_uid_blocks_nothing_and_captures_nothing() {
    for uid in ["", "of-an-older-shop"] {
        let mut model = cluster_of(OPEN, CREATED);
        model.left.insert("of-an-older-shop".to_owned());
        model.left.insert(String::new());
        set(ANNOTATION_OWNER_UID, uid, &mut model);
        assert_eq!(lines(&shop(LISTS), &model), ["1 ready"], "{uid:?}");
        assert_eq!(lines(&deleted(shop(LISTS)), &model), ["delete Namespace team-a-web"], "{uid:?}");
    }
    let mut foreign = cluster_of(OPEN, "team-a-web: {}");
    set(ANNOTATION_OWNER_UID, "uid-of-team-a/shop", &mut foreign);
    assert_eq!(lines(&shop(LISTS), &foreign), ["! NamespaceExists"], "anybody may read the UID of a Project");
}

#[test]
fn forged_labels_are_taken_off_and_make_nothing_ours() {
    let mut model = cluster_of(OPEN, "team-a-web: {labels: {drover.dev/owner-kind: Project, theirs: stays}}");
    relabel("team-a/shop", &mut model);
    for spec in [LISTS, LISTS_AND_ASKS, LISTS_NOTHING] {
        assert_eq!(lines(&shop(spec), &model), ["release Namespace team-a-web"], "{spec}");
        assert_eq!(lines(&deleted(shop(spec)), &model), ["release Namespace team-a-web"], "{spec}");
    }
    until_quiet::<ProjectOperator>(&shop(LISTS), &mut model, NOW).unwrap();
    assert_eq!(lines(&shop(LISTS), &model), ["! NamespaceExists"], "that it was released is no consent");
    assert_eq!(web(&mut model).labels.keys().collect::<Vec<_>>(), ["theirs"]);
}

#[test]
fn a_mark_of_another_namespace_or_project_makes_nothing_deletable() {
    for mark in [created_mark("team-a/shop", "team-a-db"), created_mark("team-b/shop", "team-a-web"), "true".to_owned()]
    {
        let mut model = cluster_of(OPEN, CREATED);
        set(ANNOTATION_CREATED, &mark, &mut model);
        let lines = lines(&deleted(shop(LISTS)), &model);
        assert!(!lines.contains(&"delete Namespace team-a-web".to_owned()), "{mark}: {lines:?}");
    }
}

/// Whoever may edit the namespace gives it to another Project of the tenant.
#[test]
fn what_is_relabelled_to_another_project_goes_back_to_the_one_that_has_it() {
    let other = |spec: &str| project("team-a", "other", shop(spec).spec);
    for (there, is_back) in [(CREATED, true), (ADOPTED, false)] {
        for spec in [LISTS, LISTS_AND_ASKS, LISTS_NOTHING] {
            let mut model = cluster_of(ADOPTING, there);
            relabel("team-a/other", &mut model);
            let other = other(spec);
            assert_eq!(lines(&other, &model), ["disclaim Namespace team-a-web"], "{there} {spec}");
            assert_eq!(lines(&deleted(other.clone()), &model), ["disclaim Namespace team-a-web"], "{there} {spec}");
            until_quiet::<ProjectOperator>(&deleted(other), &mut model, NOW).unwrap();
            until_quiet::<ProjectOperator>(&shop(LISTS), &mut model, NOW).unwrap();
            let holder = held_by(&model.namespaces["team-a-web"]);
            assert_eq!(holder, is_back.then(|| key(&shop(LISTS))), "{there} {spec}: memory knows of what was adopted");
        }
    }
}

/// A cluster that was taken over, or a management cluster that was built anew without a name of its own.
#[test]
fn what_another_installation_created_is_released_when_it_is_not_listed_any_more() {
    let mark = created_mark("team-a/shop", "team-a-web");
    let mut model = cluster_of(OPEN, CREATED);
    set(ANNOTATION_CREATED, &format!("another{mark}"), &mut model);
    assert_eq!(lines(&shop(LISTS), &model), ["1 ready"]);
    assert_eq!(lines(&shop(LISTS_NOTHING), &model), ["release Namespace team-a-web"]);
    web(&mut model).created_at = Some(NOW - SignedDuration::from_mins(5));
    assert_eq!(lines(&shop(LISTS_NOTHING), &model), ["release Namespace team-a-web"]);
    web(&mut model).created_at = Some(NOW - SignedDuration::from_secs(5));
    assert_eq!(
        lines(&shop(LISTS_NOTHING), &model),
        [""; 0],
        "it may be the work of whoever took the cluster over just now"
    );
    let due = NOW + SignedDuration::from_secs(2 * (30 + 10) - 5);
    assert_eq!(plan(&shop(LISTS_NOTHING), &model).requeue, Requeue::At(due));
}
