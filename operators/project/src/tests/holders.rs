//! Namespaces that another Project holds, or held until it was gone; and the story of a Project that gets a new name.

use drover_crds::{DeletionPolicy, Project};
use drover_runtime::fan_out::MESSAGE_LIMIT;
use drover_runtime::{
    ObjectKey, Owner, Plan, Requeue,
    model::{End, ModelWorld, until_quiet},
};
use k8s_openapi::jiff::SignedDuration;

use super::{
    decisions::{ADOPTING, NOW, OPEN, cluster_of, lines, only_message, plan, shop},
    safety::{held_by, key},
    strategies::{deleted, project},
    world::ModelCluster,
};
use crate::{ProjectOperator, observe::Seen};

const HELD: &str = "team-a-web: {heldBy: team-b/shop, applied: {tier: front, old: label}, changed: {theirs: stays}}";
const ASKS: &str = "namespaces: [{name: team-a-web, labels: {tier: back}, onExisting: Adopt}]";
const ASKS_NOT: &str = "namespaces: [{name: team-a-web, labels: {tier: back}}]";

fn rest(project: &Project, model: &mut ModelCluster) -> End {
    until_quiet::<ProjectOperator>(project, model, NOW).unwrap()
}

/// A cluster of which `team-b/shop` was the holder, and which it left or not.
fn once_held(cluster: &str, there: &str, left: bool) -> ModelCluster {
    let mut model = cluster_of(cluster, there);
    if left {
        model.left.insert("team-b/shop".to_owned());
    }
    model
}

fn holder(model: &ModelCluster) -> Option<(String, String)> {
    held_by(&model.namespaces["team-a-web"])
}

#[test]
fn what_another_project_left_needs_the_consent_of_both_sides() {
    for (cluster, spec, left, expected) in [
        (ADOPTING, ASKS, false, "! WaitingForRelease"),
        (OPEN, ASKS_NOT, false, "! NamespaceTaken"),
        (OPEN, ASKS, false, "! NamespaceTaken"),
        (OPEN, ASKS_NOT, true, "! NamespaceExists"),
        (OPEN, ASKS, true, "! AdoptionNotAllowed"),
        (ADOPTING, ASKS_NOT, true, "! NamespaceExists"),
        (ADOPTING, ASKS, true, "disown Namespace team-a-web"),
    ] {
        let model = once_held(cluster, HELD, left);
        assert_eq!(lines(&shop(spec), &model), [expected], "{cluster} {spec} left: {left}");
    }
}

#[test]
fn what_a_project_of_the_same_tenant_left_needs_no_consent_of_the_cluster() {
    for (cluster, spec, expected) in
        [(OPEN, ASKS_NOT, "! NamespaceExists"), (OPEN, ASKS, "disown Namespace team-a-web")]
    {
        let mut model = cluster_of(cluster, "team-a-web: {heldBy: team-a/old}");
        model.left.insert("team-a/old".to_owned());
        assert_eq!(lines(&shop(spec), &model), [expected], "{spec}");
        if spec == ASKS {
            rest(&shop(spec), &mut model);
            assert_eq!(holder(&model), Some(("team-a".to_owned(), "shop".to_owned())));
        }
    }
}

#[test]
fn what_does_not_exist_is_left_to_an_older_project_that_wants_it() {
    let mut model = cluster_of(OPEN, "{}");
    model.older_project = Some(ObjectKey::namespaced("team-b", "shop"));
    assert_eq!(lines(&shop(ASKS), &model), ["! NamespaceTaken"]);
    let message = only_message(&shop(ASKS), &model);
    assert!(message.contains("on cluster eu to Project team-b/shop, which is older and wants it as well"), "{message}");
    assert_eq!(plan(&shop(ASKS), &model).requeue, Requeue::Watch, "a change of the other one tells when it drops it");
}

#[test]
fn who_may_not_take_over_is_told_who_left_and_what_to_do() {
    let model = once_held(OPEN, HELD, true);
    let message = only_message(&shop(ASKS_NOT), &model);
    for text in [
        "Project team-b/shop left namespace team-a-web behind on cluster eu",
        "onExisting: Adopt here",
        "adopt: Allowed",
    ] {
        assert!(message.contains(text), "{message}");
    }
    let again = Requeue::At(NOW + SignedDuration::from_secs(60));
    assert_eq!(plan(&shop(ASKS_NOT), &model).requeue, again, "no watch tells what becomes of it");
}

/// The holder goes, or does not list the namespace any more: it releases it within seconds, whoever may have it then.
#[test]
fn what_its_holder_is_about_to_release_is_waited_for() {
    for (cluster, spec) in [(ADOPTING, ASKS), (OPEN, ASKS_NOT)] {
        let (model, project) = (once_held(cluster, HELD, false), shop(spec));
        let mut world = ModelWorld::<ProjectOperator>::observe(&model, Owner::of(&project));
        let Some(Seen::Foreign { holder: Some(holder), .. }) = world.namespaces.get_mut("team-a-web") else { panic!() };
        holder.releases = true;
        let Plan { place_status, requeue, .. } = crate::plan::plan(&project, &world, NOW);
        let [obstacle] = &place_status.problems[..] else { panic!("{place_status:?}") };
        assert_eq!((obstacle.cause.reason(), obstacle.cause.needs_action()), ("WaitingForRelease", false));
        assert!(obstacle.message.contains("held by Project team-b/shop, which releases it"), "{}", obstacle.message);
        assert_eq!(requeue, Requeue::At(NOW + SignedDuration::from_secs(5)));
    }
}

/// No message of ours is cut: the remedy comes last.
#[test]
fn messages_about_holders_fit_with_the_longest_names() {
    let long = "x".repeat(63);
    let there = format!("{long}: {{heldBy: {long}/{long}}}");
    let open = "tenants: [{name: all, from: {all: {}}, namespacePatterns: ['*']}]";
    for left in [false, true] {
        let mut model = cluster_of(open, &there);
        std::sync::Arc::make_mut(&mut model.cluster).metadata.name = Some(long.clone());
        if left {
            model.left.insert(format!("{long}/{long}"));
        }
        for on_existing in ["Refuse", "Adopt"] {
            let spec = format!("namespaces: [{{name: {long}, onExisting: {on_existing}}}]");
            let message = only_message(&shop(&spec), &model);
            assert!(message.len() <= MESSAGE_LIMIT, "{} bytes: {message}", message.len());
        }
    }
}

#[test]
fn what_is_terminating_is_waited_for_whoever_held_it() {
    let model = once_held(ADOPTING, "team-a-web: {heldBy: team-b/shop, terminating: true}", true);
    assert_eq!(lines(&shop(ASKS), &model), ["! Terminating"]);
}

/// That this Project released it once is no consent: another Project held it since.
#[test]
fn what_this_project_released_and_another_held_since_is_not_taken_up_without_being_asked() {
    let spec = "namespaces: [{name: team-a-web}]";
    let other = project("team-b", "shop", shop("namespaces: [{name: team-a-web, onExisting: Adopt}]").spec);
    let both = "tenants: [{name: all, from: {all: {}}, namespacePatterns: ['*'], adopt: Allowed}]";
    let mut model = cluster_of(both, "{}");
    rest(&shop(spec), &mut model);
    rest(&deleted(shop(spec)), &mut model);
    rest(&other, &mut model);
    assert_eq!(holder(&model), Some(key(&other)));
    model.left.insert("team-b/shop".to_owned());
    assert_eq!(lines(&shop(spec), &model), ["! NamespaceExists"]);
}

#[test]
fn what_was_left_is_taken_over_with_its_labels_and_never_deleted() {
    let mut model = once_held(ADOPTING, HELD, true);
    let store = shop(&format!("deletionPolicy: Delete\n{ASKS}"));
    assert_eq!(rest(&store, &mut model), End::Quiet);
    assert_eq!(lines(&store, &model), ["1 ready"]);
    assert_eq!(holder(&model), Some(key(&store)));
    let labels = &model.namespaces["team-a-web"].labels;
    assert_eq!((&*labels["tier"].value, &*labels["theirs"].value), ("back", "stays"));
    assert!(!labels.contains_key("old"), "what only the former holder wanted goes");
    assert_eq!(rest(&deleted(store), &mut model), End::Released);
    assert_eq!(holder(&model), None, "it was there before, so it stays");
}

/// The Project `shop` under its new name, which asks for the same namespaces.
fn renamed(on_existing: &str) -> Project {
    let spec = format!("namespaces: [{{name: team-a-web, onExisting: {on_existing}}}]");
    project("team-a", "store", shop(&spec).spec)
}

/// `team-a/shop` at rest in a cluster that lets team-a take over what exists, or not.
fn before_the_rename(cluster: &str) -> (Project, ModelCluster) {
    let shop = shop("namespaces: [{name: team-a-web}]");
    assert_eq!(shop.spec.deletion_policy, DeletionPolicy::Orphan);
    let mut model = cluster_of(cluster, "{}");
    rest(&shop, &mut model);
    (shop, model)
}

#[test]
fn a_renamed_project_takes_over_what_its_old_name_released_where_it_asks() {
    for (cluster, on_existing, taken) in [(ADOPTING, "Adopt", true), (OPEN, "Adopt", true), (ADOPTING, "Refuse", false)]
    {
        let (shop, mut model) = before_the_rename(cluster);
        assert_eq!(rest(&deleted(shop), &mut model), End::Released);
        let uid = model.namespaces["team-a-web"].uid.clone();
        let store = renamed(on_existing);
        rest(&store, &mut model);
        let expected = if taken { "1 ready" } else { "! NamespaceExists" };
        assert_eq!(lines(&store, &model), [expected], "{cluster} {on_existing}");
        assert_eq!(holder(&model), taken.then(|| key(&store)), "{cluster} {on_existing}");
        assert_eq!(model.namespaces["team-a-web"].uid, uid, "it is the same namespace");
    }
}

#[test]
fn a_new_name_that_comes_before_the_old_one_goes_waits_and_then_converges() {
    let (shop, mut model) = before_the_rename(ADOPTING);
    let store = renamed("Adopt");
    rest(&store, &mut model);
    assert_eq!(lines(&store, &model), ["! WaitingForRelease"]);
    assert!(only_message(&store, &model).contains("held by Project team-a/shop"));
    let again = Requeue::At(NOW + SignedDuration::from_secs(60));
    assert_eq!(plan(&store, &model).requeue, again, "nothing else enqueues it");
    assert_eq!(holder(&model), Some(key(&shop)));

    rest(&deleted(shop), &mut model);
    rest(&store, &mut model);
    assert_eq!((lines(&store, &model), holder(&model)), (vec!["1 ready".to_owned()], Some(key(&store))));
}

/// Its finalizer was taken away by hand, so nothing was released.
#[test]
fn an_old_name_that_went_by_force_is_replaced_as_well() {
    let (_, mut model) = before_the_rename(ADOPTING);
    model.left.insert("team-a/shop".to_owned());
    let store = renamed("Adopt");
    assert_eq!(rest(&store, &mut model), End::Quiet);
    assert_eq!((lines(&store, &model), holder(&model)), (vec!["1 ready".to_owned()], Some(key(&store))));
    let refused = renamed("Refuse");
    assert_eq!(lines(&refused, &model), ["1 ready"], "once it is ours, no consent is needed again");
}
