//! The guards inside a namespace: there from the first moment, restored, and never in anybody's way afterwards.

use drover_crds::{
    Project,
    names::{ANNOTATION_CREATED, LABEL_OWNER_NAME},
};
use drover_runtime::{
    ObjectKey, Requeue, Title,
    model::{End, Field, Manager, ModelObject, ModelWorld as _, decide, until_quiet},
    operator::{owner_of, record_of},
};
use k8s_openapi::{
    api::{
        core::v1::{LimitRange, ResourceQuota},
        networking::v1::NetworkPolicy,
    },
    jiff::SignedDuration,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    decisions::{ADOPTING, NOW, OPEN, cluster_of, lines, only_message, plan, shop},
    strategies::{any_cluster, any_project, deleted, project},
    world::ModelCluster,
};
use crate::{
    ProjectOperator,
    guards::{Guard, Unlabelled},
};

const LIMITED: &str = "containerDefaults: {limits: {memory: 256Mi}}
namespaces: [{name: team-a-web}]";
const HELD: &str = "team-a-web: {heldBy: team-a/shop, applied: {}}";
const GUARD: &str = "team-a-web/drover";

fn rest(project: &Project, model: &mut ModelCluster) -> End {
    until_quiet::<ProjectOperator>(project, model, NOW).unwrap()
}

/// A cluster in which the Project is at rest.
fn converged(project: &Project) -> ModelCluster {
    let mut model = cluster_of(OPEN, "{}");
    assert_eq!(rest(project, &mut model), End::Quiet);
    model
}

/// What the limit range of the namespace `team-a-web` says of containers.
fn limits(spec: &str) -> Option<Value> {
    let (project, model) = (shop(spec), cluster_of(OPEN, "{}"));
    let wanted = LimitRange::wanted(&project, &model.cluster, &project.spec.namespaces[0]).unwrap()?;
    Some(json!(wanted.spec.unwrap().limits))
}

#[test]
fn a_new_namespace_gets_its_guards_in_one_go() {
    let (project, model) = (shop(LIMITED), cluster_of(OPEN, "{}"));
    let groups = plan(&project, &model).groups;
    assert_eq!(format!("{groups:?}"), "[[create Namespace team-a-web, create LimitRange team-a-web/drover]]");
    assert_eq!(lines(&project, &converged(&project)), ["1 ready"]);
}

#[test]
fn a_namespace_that_is_there_is_ready_once_it_has_its_guards() {
    let (project, model) = (shop(LIMITED), cluster_of(OPEN, HELD));
    assert_eq!(lines(&project, &model), ["create LimitRange team-a-web/drover"]);
}

#[test]
fn guards_do_not_wait_for_one_another_nor_for_the_labels_of_the_namespace() {
    let spec = format!("namespaceMetadata: {{labels: {{tier: front}}}}\n{LIMITED}");
    let contested = "team-a-web: {heldBy: team-a/shop, applied: {tier: front}, changed: {tier: back}, reverts: 3}";
    let found = lines(&shop(&spec), &cluster_of(OPEN, contested));
    assert_eq!(found, ["create LimitRange team-a-web/drover", "! DriftConflict"]);
}

#[test]
fn what_the_server_would_fill_in_is_written_and_spelled_as_it_is_stored() {
    let spec = "containerDefaults: {requests: {cpu: 0.1}, limits: {memory: 0.25Gi}, min: {cpu: 10m, ephemeral-storage: 1000}, max: {cpu: 2000m}}
namespaces: [{name: team-a-web}]";
    let expected = json!([{
        "type": "Container",
        "default": {"cpu": "2", "memory": "256Mi"},
        "defaultRequest": {"cpu": "100m", "memory": "256Mi", "ephemeral-storage": "1k"},
        "min": {"cpu": "10m", "ephemeral-storage": "1k"},
        "max": {"cpu": "2"},
    }]);
    assert_eq!(limits(spec), Some(expected));
}

#[test]
fn the_defaults_of_a_namespace_stand_in_for_those_of_the_project() {
    let with = |own: &str| {
        format!(
            "containerDefaults: {{limits: {{cpu: 1}}}}\nnamespaces: [{{name: team-a-web, containerDefaults: {own}}}]"
        )
    };
    let of = |own: &str| limits(&with(own)).map(|items| items[0]["default"].clone());
    assert_eq!(of("{limits: {memory: 1Gi}}"), Some(json!({"memory": "1Gi"})));
    assert_eq!(of("{}"), None, "none at all");
    assert_eq!(limits("containerDefaults: {}\nnamespaces: [{name: team-a-web}]"), None);
}

#[test]
fn no_namespace_is_created_whose_guard_cannot_be_had_and_what_is_there_is_left() {
    let invalid = "containerDefaults: {limits: {memory: 1e39}}\nnamespaces: [{name: team-a-web}]";
    assert_eq!(lines(&shop(invalid), &cluster_of(OPEN, "{}")), ["! InvalidQuantity"]);
    let message = only_message(&shop(invalid), &cluster_of(OPEN, "{}"));
    assert!(message.starts_with("containerDefaults.limits of memory for namespace team-a-web"), "{message}");
    let mut model = converged(&shop(LIMITED));
    let before = model.limits.clone();
    assert_eq!(lines(&shop(invalid), &model), ["! InvalidQuantity"]);
    rest(&shop(invalid), &mut model);
    assert_eq!(model.limits, before);
}

/// An import of before, which lacks the rights on limit ranges.
fn outdated(mut model: ModelCluster) -> ModelCluster {
    model.refused.insert("LimitRange");
    model
}

#[test]
fn without_the_right_to_a_guard_no_namespace_is_created_that_wants_it_and_the_others_are() {
    let spec = LIMITED.replace("team-a-web}", "team-a-web}, {name: team-a-db, containerDefaults: {}}");
    let (project, mut model) = (shop(&spec), outdated(cluster_of(OPEN, "{}")));
    assert_eq!(lines(&project, &model), ["create Namespace team-a-db", "! GuardNotPermitted"]);
    let message = only_message(&project, &model);
    assert!(
        message.starts_with("the credential of cluster eu lacks rights on objects of the kind LimitRange"),
        "{message}"
    );
    assert!(message.contains("`drover import --context CONTEXT --name eu --apply`"), "{message}");
    assert_eq!(rest(&project, &mut model), End::Quiet);
    assert!(model.namespaces.contains_key("team-a-db") && !model.namespaces.contains_key("team-a-web"));
    assert_eq!(plan(&project, &model).requeue, Requeue::Watch, "its watch tells when the right is there");

    model.refused.clear();
    assert_eq!(rest(&project, &mut model), End::Quiet);
    assert_eq!(lines(&project, &model), ["2 ready"]);
}

#[test]
fn without_the_right_to_create_a_guard_no_namespace_is_created_and_a_guard_that_is_there_is_kept_in_order() {
    let mut model = cluster_of(OPEN, "{}");
    model.uncreatable.insert("LimitRange");
    assert_eq!(lines(&shop(LIMITED), &model), ["! GuardNotPermitted"]);
    let mut model = converged(&shop(LIMITED));
    model.uncreatable.insert("LimitRange");
    let more = LIMITED.replace("256Mi", "1Gi");
    assert_eq!(rest(&shop(&more), &mut model), End::Quiet);
    assert_eq!(lines(&shop(&more), &model), ["1 ready"]);
    model.limits.remove(GUARD);
    assert_eq!(lines(&shop(&more), &model), ["! GuardNotPermitted"]);
}

#[test]
fn without_the_right_to_quotas_nothing_is_said_of_what_is_granted() {
    let spec = "quota: {perCluster: {pods: 20}, namespaceDefault: {pods: 10}}\nnamespaces: [{name: team-a-web}]";
    let mut model = converged(&shop(spec));
    assert!(plan(&shop(spec), &model).place_status.granted.is_some());
    model.refused.insert("ResourceQuota");
    assert_eq!(lines(&shop(spec), &model), ["! GuardNotPermitted"]);
    assert_eq!(plan(&shop(spec), &model).place_status.granted, None);
}

#[test]
fn without_the_right_to_a_guard_what_is_there_stays_and_everything_else_goes_on() {
    let both =
        format!("networkIsolation: {{mode: Project}}\nnamespaceMetadata: {{labels: {{tier: front}}}}\n{LIMITED}");
    let mut model = outdated(converged(&shop(LIMITED)));
    let before = model.limits.clone();
    assert_eq!(rest(&shop(&both), &mut model), End::Quiet);
    assert_eq!(lines(&shop(&both), &model), ["! GuardNotPermitted"]);
    assert!(model.policies.contains_key(GUARD) && model.namespaces["team-a-web"].labels.contains_key("tier"));

    // Wanted no more, released, deleted: what Drover does not see holds up nothing.
    assert_eq!(lines(&shop("namespaces: [{name: team-a-web}]"), &outdated(converged(&shop(LIMITED)))), ["1 ready"]);
    assert_eq!(rest(&deleted(shop(&both)), &mut model), End::Released);
    assert_eq!(model.limits, before);
}

#[test]
fn what_is_wanted_no_more_goes() {
    let model = converged(&shop(LIMITED));
    let without = shop("namespaces: [{name: team-a-web}]");
    assert_eq!(lines(&without, &model), ["delete LimitRange team-a-web/drover"]);
}

fn guard(model: &mut ModelCluster) -> &mut ModelObject {
    model.limits.get_mut(GUARD).unwrap()
}

#[test]
fn what_a_tenant_changes_is_restored() {
    let project = shop(LIMITED);
    let mut model = converged(&project);
    let before = model.shape();
    let path = vec!["spec".to_owned(), "limits".to_owned()];
    for changed in [json!([]), json!([{"type": "Container", "default": {"memory": "1Ti"}}])] {
        guard(&mut model).fields.get_mut(&path).unwrap().value = changed;
        let found = lines(&project, &model);
        assert!(found[0].starts_with(&format!("apply LimitRange {GUARD}: restores spec.limits")), "{found:?}");
        rest(&project, &mut model);
        assert_eq!(model.shape(), before);
    }
    let added = &mut guard(&mut model).fields.get_mut(&path).unwrap().value[0];
    added["maxLimitRequestRatio"] = json!({"cpu": "1"});
    assert_eq!(
        lines(&project, &model),
        [format!("apply LimitRange {GUARD}: restores spec.limits")],
        "what is added, too"
    );
    model.limits.remove(GUARD);
    assert_eq!(lines(&project, &model), [format!("create LimitRange {GUARD}")]);
}

#[test]
fn a_guard_whose_labels_a_tenant_takes_off_is_found_again() {
    let project = shop(LIMITED);
    let mut model = converged(&project);
    let labels = guard(&mut model).labels.clone();
    guard(&mut model).labels.clear();
    assert_eq!(lines(&project, &model), [format!("apply LimitRange {GUARD}: restores metadata.labels")]);
    rest(&project, &mut model);
    let names = |labels: &drover_runtime::model::Fields| labels.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&guard(&mut model).labels), names(&labels));
    assert_eq!(lines(&project, &model), ["1 ready"]);
}

#[test]
fn a_guard_without_labels_and_annotations_is_the_projects_if_it_was_when_last_seen_and_is_nobody_elses() {
    let project = shop(LIMITED);
    let found = |annotations: Value, labels: Value, held| {
        let meta = json!({"name": "drover", "namespace": "team-a-web", "annotations": annotations, "labels": labels});
        Unlabelled::of(serde_json::from_value(meta).unwrap(), &project, "", None, held, |_| false)
    };
    for title in [Title::Created, Title::Adopted] {
        let Unlabelled::Ours { meta, .. } = found(json!({}), json!({}), Some(title)) else { panic!("{title:?}") };
        assert_eq!(owner_of::<ProjectOperator>(&project).title(&meta, ""), title, "its mark comes back");
    }
    assert_eq!(found(json!({}), json!({}), None), Unlabelled::Foreign, "it only has the name");
    let another = record_of::<ProjectOperator>(ObjectKey::namespaced("team-a", "store")).labels();
    assert_eq!(found(json!({}), json!(another), Some(Title::Created)), Unlabelled::Foreign, "another one is recorded");
}

#[test]
fn what_has_the_name_of_a_guard_and_is_not_drovers_is_told_and_left_alone() {
    let project = shop(LIMITED);
    let mut model = cluster_of(OPEN, HELD);
    let key = ObjectKey::namespaced("team-a-web", "drover");
    model.limits.add(&key, ModelObject::by_another([("a".to_owned(), "b".to_owned())].into(), [].into()));
    assert_eq!(lines(&project, &model), ["! GuardTaken"]);
    assert!(only_message(&project, &model).contains("LimitRange drover in namespace team-a-web on cluster eu"));
    assert_eq!(plan(&project, &model).requeue, Requeue::At(NOW + SignedDuration::from_secs(60)));
    let before = model.clone();
    rest(&project, &mut model);
    assert_eq!(model, before);
}

#[test]
fn what_only_carries_the_labels_of_the_project_is_given_up() {
    let project = shop(LIMITED);
    let mut model = converged(&project);
    let mut forged = model.limits[GUARD].clone();
    forged.annotations.remove(ANNOTATION_CREATED);
    model.limits.insert("team-a-web/forged".to_owned(), forged.clone());
    model.limits.insert("elsewhere/drover".to_owned(), forged);
    let expected = ["release LimitRange elsewhere/drover", "release LimitRange team-a-web/forged"];
    assert_eq!(lines(&project, &model), expected);
}

#[test]
fn a_namespace_that_is_released_keeps_its_guards_and_they_are_given_up_before_it() {
    let mut model = converged(&shop(LIMITED));
    let spec = model.limits[GUARD].fields.clone();
    let groups = plan(&shop(""), &model).groups;
    assert_eq!(format!("{groups:?}"), format!("[[release LimitRange {GUARD}, release Namespace team-a-web]]"));
    assert_eq!(rest(&shop(""), &mut model), End::Quiet);
    let values = |fields: &drover_runtime::model::Fields<Vec<String>, Value>| {
        fields.iter().map(|(path, field)| (path.clone(), field.value.clone())).collect::<Vec<_>>()
    };
    assert_eq!(values(&model.limits[GUARD].fields), values(&spec));
    assert!(!model.limits[GUARD].labels.contains_key(LABEL_OWNER_NAME));

    // Taken up again it is as before: what Drover created it may delete.
    assert_eq!(rest(&shop(LIMITED), &mut model), End::Quiet);
    assert_eq!(lines(&shop(LIMITED), &model), ["1 ready"]);
    let without = shop("namespaces: [{name: team-a-web}]");
    assert_eq!(lines(&without, &model), [format!("delete LimitRange {GUARD}")]);
}

#[test]
fn a_namespace_that_moves_is_never_without_its_guards() {
    let mut model = converged(&shop(LIMITED));
    model.cluster = cluster_of(ADOPTING, "{}").cluster;
    rest(&deleted(shop(LIMITED)), &mut model);
    let spec = "containerDefaults: {limits: {memory: 1Gi}}\nnamespaces: [{name: team-a-web, onExisting: Adopt}]";
    let next = project("team-a", "store", shop(spec).spec);
    assert_eq!(rest(&next, &mut model), End::Quiet);
    assert_eq!(lines(&next, &model), ["1 ready"]);
    let told = &model.limits[GUARD].fields[&vec!["spec".to_owned(), "limits".to_owned()]].value;
    assert_eq!(told[0]["default"]["memory"], "1Gi");
}

#[test]
fn what_a_project_that_is_gone_left_behind_is_taken_over_with_the_namespace() {
    let mut model = converged(&shop(LIMITED));
    model.cluster = cluster_of(ADOPTING, "{}").cluster;
    model.left.insert("team-a/shop".to_owned());
    let spec = LIMITED.replace("team-a-web", "team-a-web, onExisting: Adopt");
    let next = project("team-a", "store", shop(&spec).spec);
    assert_eq!(rest(&next, &mut model), End::Quiet);
    assert_eq!(lines(&next, &model), ["1 ready"]);
}

/// The Project of the same name of an installation that took the cluster over, which the probe has not told yet.
#[test]
fn what_another_installation_put_into_a_namespace_lately_is_given_up_once_the_probe_has_told_who_holds_the_cluster() {
    let without = shop("namespaces: [{name: team-a-web}]");
    let mut model = converged(&shop(LIMITED));
    let mark = &mut guard(&mut model).annotations.get_mut(ANNOTATION_CREATED).unwrap().value;
    *mark = format!("another{mark}");
    for (age, expected) in [(5, "1 ready".to_owned()), (300, format!("release LimitRange {GUARD}"))] {
        guard(&mut model).created_at = Some(NOW - SignedDuration::from_secs(age));
        assert_eq!(lines(&without, &model), [expected], "{age} s old");
    }
    guard(&mut model).created_at = Some(NOW - SignedDuration::from_secs(5));
    let due = Requeue::At(NOW + SignedDuration::from_secs(2 * (30 + 10) - 5));
    assert_eq!(plan(&without, &model).requeue, due);
    assert_eq!(lines(&shop(""), &model), ["release Namespace team-a-web"], "nor with a namespace that is not listed");
    let mut forged = model.clone();
    let mark = &mut guard(&mut forged).annotations.get_mut(ANNOTATION_CREATED).unwrap().value;
    *mark = mark.replace("shop", "store");
    assert_eq!(
        lines(&shop(LIMITED), &forged),
        [format!("disclaim LimitRange {GUARD}")],
        "what is wanted is not left as it is"
    );

    let mut stray = model.limits.remove(GUARD).unwrap();
    let mark = &mut stray.annotations.get_mut(ANNOTATION_CREATED).unwrap().value;
    *mark = mark.replace("team-a-web", "elsewhere");
    model.limits.insert("elsewhere/drover".to_owned(), stray);
    assert_eq!(lines(&without, &model), ["1 ready"]);
    assert_eq!(plan(&without, &model).requeue, due);
}

#[test]
fn a_namespace_that_is_deleted_takes_its_guards_along() {
    let spec = format!("deletionPolicy: Delete\n{LIMITED}");
    let mut model = converged(&shop(&spec));
    assert_eq!(lines(&deleted(shop(&spec)), &model), ["delete Namespace team-a-web"]);
    assert_eq!(rest(&deleted(shop(&spec)), &mut model), End::Released);
    assert!(model.limits.is_empty() && model.namespaces.is_empty());
}

#[test]
fn a_terminating_namespace_gets_nothing_more() {
    let mut model = converged(&shop(LIMITED));
    model.limits.remove(GUARD);
    model.namespaces.get_mut("team-a-web").unwrap().terminating = true;
    assert_eq!(lines(&shop(LIMITED), &model), ["! Terminating"]);
}

#[test]
fn a_suspended_project_changes_no_guard() {
    let mut model = converged(&shop(LIMITED));
    guard(&mut model).fields.insert(vec!["spec".to_owned(), "limits".to_owned()], Field::by(Manager::Other, json!([])));
    let suspended = shop(&format!("suspend: true\n{LIMITED}"));
    assert!(plan(&suspended, &model).is_idle());
}

proptest! {
    #[test]
    fn what_is_ready_has_its_guards(mut project in any_project(), mut model in any_cluster()) {
        project.spec.suspend = false;
        until_quiet::<ProjectOperator>(&project, &mut model, NOW)?;
        let place_status = decide::<ProjectOperator>(&project, &model, NOW).place_status;
        if place_status.ready == place_status.wanted {
            for wanted in &project.spec.namespaces {
                let guard = LimitRange::wanted(&project, &model.cluster, wanted).unwrap();
                let found = model.limits.get(&format!("{}/drover", wanted.name)).map(|found| {
                    found.fields[&vec!["spec".to_owned(), "limits".to_owned()]].value.clone()
                });
                prop_assert_eq!(found, guard.map(|guard| json!(guard.spec.unwrap().limits)));
            }
        }
    }

    /// A namespace is never there without its guards for longer than one request, wherever the process dies.
    #[test]
    fn nothing_is_created_but_with_its_guards(project in any_project(), model in any_cluster()) {
        for group in decide::<ProjectOperator>(&project, &model, NOW).groups {
            let created = group.iter().find_map(|action| match action {
                crate::act::Action::Namespace(drover_runtime::owned::Change::Create { desired, .. }) => desired.metadata.name.clone(),
                _ => None,
            });
            let Some(name) = created else { continue };
            let wanted = project.spec.namespaces.iter().find(|wanted| wanted.name == name).unwrap();
            let limited = LimitRange::wanted(&project, &model.cluster, wanted).unwrap().is_some();
            let isolated = NetworkPolicy::wanted(&project, &model.cluster, wanted).unwrap().is_some();
            let bounded = ResourceQuota::wanted(&project, &model.cluster, wanted).unwrap().is_some();
            let first = group.iter().take_while(|action| !matches!(action, crate::act::Action::Members(_) | crate::act::Action::Secrets(_))).count();
            let expected = [true, limited, isolated, bounded].into_iter().filter(|is_there| *is_there).count();
            prop_assert_eq!(first, expected, "members and Secrets come last");
        }
    }
}
