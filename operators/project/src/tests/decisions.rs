//! What `plan` decides, one rule per test: a cluster, a Project and what is there go in as YAML; actions and obstacles come
//! out as lines.

use std::collections::BTreeMap;

use drover_crds::{Cluster, Project};
use drover_runtime::{Requeue, model::decide, operator::Plan, owned::Change};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    strategies::{deleted, project},
    world::{Foreign, Held, ModelCluster},
};
use crate::{ProjectOperator, act::Action};

pub(super) const NOW: Timestamp = Timestamp::UNIX_EPOCH;
/// A cluster that allows team-a to hold what begins with its name.
pub(super) const OPEN: &str =
    "tenants: [{name: a, from: {names: [team-a]}, namespacePatterns: ['team-a-*'], metadataKeys: ['*']}]";
/// A cluster that allows team-a to adopt what exists, too.
pub(super) const ADOPTING: &str = "tenants: [{name: a, from: {names: [team-a]}, namespacePatterns: ['team-a-*'], metadataKeys: ['*'], adopt: Allowed}]";
const WANT_WEB: &str = "namespaces: [{name: team-a-web, labels: {tier: front}}]";

/// What is there before: held by a Project, or foreign.
#[derive(Deserialize)]
#[serde(untagged)]
enum There {
    Held(Held),
    Foreign(Foreign),
}

/// By way of JSON, in which "exactly one of" is a member, as the API server takes it; YAML alone would want a tag.
fn yaml<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_value(serde_yaml::from_str(text).unwrap()).unwrap()
}

pub(super) fn cluster_of(cluster: &str, there: &str) -> ModelCluster {
    let connection = "connection: {kubeconfig: {secretRef: {name: eu}}}";
    let spec = yaml(&format!("{connection}\n{cluster}"));
    let mut model = ModelCluster::new(Cluster::new("eu", spec), None);
    let there: BTreeMap<String, There> = yaml(there);
    for (name, there) in there {
        match there {
            There::Held(held) => model.add_held(&name, held),
            There::Foreign(foreign) => model.add_foreign(&name, foreign),
        }
    }
    model
}

pub(super) fn shop(spec: &str) -> Project {
    project("team-a", "shop", yaml(&format!("clusters: {{all: {{}}}}\n{spec}")))
}

pub(super) fn plan(project: &Project, model: &ModelCluster) -> Plan<ProjectOperator> {
    decide::<ProjectOperator>(project, model, NOW)
}

pub(super) fn lines(project: &Project, model: &ModelCluster) -> Vec<String> {
    let plan = plan(project, model);
    let (place_status, actions) = (&plan.place_status, plan.actions());
    let action = |action: &Action| match action {
        Action::Namespace(Change::Apply { reverted, .. })
        | Action::Quota(Change::Apply { reverted, .. })
        | Action::Limits(Change::Apply { reverted, .. })
        | Action::Isolation(Change::Apply { reverted, .. })
            if !reverted.is_empty() =>
        {
            format!("{action:?}: restores {}", reverted.join(", "))
        }
        _ => format!("{action:?}"),
    };
    let ready = (place_status.ready > 0).then(|| format!("{} ready", place_status.ready));
    actions
        .map(action)
        .chain(place_status.problems.iter().map(|o| format!("! {}", o.cause.reason())))
        .chain(ready)
        .collect()
}

/// The lines for a Project that lives.
fn decided(cluster: &str, spec: &str, there: &str) -> Vec<String> {
    lines(&shop(spec), &cluster_of(cluster, there))
}

/// The lines for a Project that is being deleted.
fn torn_down(cluster: &str, spec: &str, there: &str) -> Vec<String> {
    lines(&deleted(shop(spec)), &cluster_of(cluster, there))
}

/// The only obstacle's message.
pub(super) fn only_message(project: &Project, model: &ModelCluster) -> String {
    let [obstacle] = plan(project, model).place_status.problems.try_into().unwrap();
    obstacle.message
}

fn message(cluster: &str, spec: &str, there: &str) -> String {
    only_message(&shop(spec), &cluster_of(cluster, there))
}

#[test]
fn what_is_absent_is_created() {
    assert_eq!(decided(OPEN, WANT_WEB, "{}"), ["create Namespace team-a-web"]);
}

#[test]
fn what_is_ours_and_as_wanted_is_left_alone() {
    let there = "team-a-web: {heldBy: team-a/shop, applied: {tier: front}, changed: {theirs: stays}}";
    assert_eq!(decided(OPEN, WANT_WEB, there), ["1 ready"]);
}

#[test]
fn what_was_created_and_not_applied_before_a_crash_is_applied() {
    assert_eq!(decided(OPEN, WANT_WEB, "team-a-web: {heldBy: team-a/shop}"), ["apply Namespace team-a-web"]);
}

#[test]
fn a_new_desired_state_is_applied_and_reverts_nothing() {
    let there = "team-a-web: {heldBy: team-a/shop, applied: {tier: back, old: label}}";
    assert_eq!(decided(OPEN, WANT_WEB, there), ["apply Namespace team-a-web"]);
}

#[test]
fn what_another_client_changed_is_restored_and_named() {
    let there = "team-a-web: {heldBy: team-a/shop, applied: {tier: front}, changed: {tier: back}}";
    let expected = "apply Namespace team-a-web: restores metadata.labels.tier";
    assert_eq!(decided(OPEN, WANT_WEB, there), [expected]);
}

#[test]
fn what_another_client_keeps_changing_back_is_left_alone_and_reported() {
    let there = "team-a-web: {heldBy: team-a/shop, applied: {tier: front}, changed: {tier: back}, reverts: 3}";
    assert_eq!(decided(OPEN, WANT_WEB, there), ["! DriftConflict"]);
    assert!(message(OPEN, WANT_WEB, there).contains("metadata.labels.tier of namespace team-a-web"));
}

#[test]
fn a_new_desired_state_for_a_namespace_with_a_drift_conflict_is_applied_all_the_same() {
    let there = "team-a-web: {heldBy: team-a/shop, applied: {tier: old}, changed: {tier: back}, reverts: 3}";
    assert_eq!(decided(OPEN, WANT_WEB, there), ["apply Namespace team-a-web"]);
}

#[test]
fn what_is_ours_and_terminating_is_named_and_waited_for() {
    let there = "team-a-web: {heldBy: team-a/shop, terminating: true}";
    assert_eq!(decided(OPEN, WANT_WEB, there), ["! Terminating"]);
    assert_eq!(plan(&shop(WANT_WEB), &cluster_of(OPEN, there)).requeue, Requeue::Watch);
}

#[test]
fn what_is_foreign_and_terminating_is_reported_and_looked_at_again() {
    let there = "team-a-web: {terminating: true}";
    assert_eq!(decided(OPEN, WANT_WEB, there), ["! Terminating"]);
    let again = Requeue::At(NOW + SignedDuration::from_secs(60));
    assert_eq!(plan(&shop(WANT_WEB), &cluster_of(OPEN, there)).requeue, again);
}

#[test]
fn what_exists_is_refused_with_the_remedy() {
    assert_eq!(decided(OPEN, WANT_WEB, "team-a-web: {}"), ["! NamespaceExists"]);
    let message = message(OPEN, WANT_WEB, "team-a-web: {}");
    for remedy in ["choose another name", "onExisting: Adopt", "adopt: Allowed in the tenant entry of Cluster eu"] {
        assert!(message.contains(remedy), "{message}");
    }
}

#[test]
fn what_another_project_holds_is_refused_and_the_holder_named() {
    let there = "team-a-web: {heldBy: team-b/shop}";
    assert_eq!(decided(ADOPTING, WANT_WEB, there), ["! NamespaceTaken"]);
    assert!(message(ADOPTING, WANT_WEB, there).contains("held by Project team-b/shop"));
}

#[test]
fn adopting_needs_both_sides() {
    let (asks, refuses) = ("namespaces: [{name: team-a-web, onExisting: Adopt}]", "namespaces: [{name: team-a-web}]");
    for (cluster, spec, expected) in [
        (OPEN, refuses, "! NamespaceExists"),
        (OPEN, asks, "! AdoptionNotAllowed"),
        (ADOPTING, refuses, "! NamespaceExists"),
        (ADOPTING, asks, "adopt Namespace team-a-web"),
    ] {
        assert_eq!(decided(cluster, spec, "team-a-web: {}"), [expected], "{cluster} {spec}");
    }
}

#[test]
fn the_consent_to_adopt_counts_only_for_the_names_it_was_given_for() {
    let cluster = "tenants:
    - {name: a, from: {names: [team-a]}, namespacePatterns: ['team-a-*']}
    - {name: b, from: {names: [team-a]}, namespacePatterns: [shared], adopt: Allowed}";
    let spec = "namespaces: [{name: team-a-web, onExisting: Adopt}, {name: shared, onExisting: Adopt}]";
    let there = "{team-a-web: {}, shared: {}}";
    assert_eq!(decided(cluster, spec, there), ["adopt Namespace shared", "! AdoptionNotAllowed"]);
}

#[test]
fn what_this_project_released_is_taken_up_again_without_being_asked() {
    for (released_by, created_for, expected) in [
        ("team-a/shop", "team-a/shop", "adopt Namespace team-a-web"),
        ("team-b/shop", "team-a/shop", "! NamespaceExists"),
        ("team-a/shop", "team-b/shop", "! NamespaceExists"),
    ] {
        let there = format!("team-a-web: {{releasedBy: {released_by}, createdFor: {created_for}}}");
        assert_eq!(decided(OPEN, WANT_WEB, &there), [expected], "{there}");
    }
}

#[test]
fn projects_of_one_tenant_hand_a_namespace_on_without_the_owner_of_the_cluster() {
    let asks = "namespaces: [{name: team-a-web, onExisting: Adopt}]";
    for (what, there, refuses, moves) in [
        (
            "a sibling released it",
            "releasedBy: team-a/old, createdFor: team-a/old",
            "! NamespaceExists",
            "adopt Namespace team-a-web",
        ),
        (
            "for the second time",
            "releasedBy: team-a/mid, createdFor: team-a/old",
            "! NamespaceExists",
            "adopt Namespace team-a-web",
        ),
        (
            "another tenant did",
            "releasedBy: team-b/old, createdFor: team-b/old",
            "! NamespaceExists",
            "! AdoptionNotAllowed",
        ),
        ("it says so itself", "releasedBy: team-a/old", "! NamespaceExists", "! AdoptionNotAllowed"),
        (
            "made for another tenant",
            "releasedBy: team-a/old, createdFor: team-b/old",
            "! NamespaceExists",
            "! AdoptionNotAllowed",
        ),
        ("nobody released it", "createdFor: team-a/old", "! NamespaceExists", "! AdoptionNotAllowed"),
        ("a sibling holds it", "heldBy: team-a/old", "! NamespaceTaken", "! WaitingForRelease"),
        ("another tenant holds it", "heldBy: team-b/old", "! NamespaceTaken", "! NamespaceTaken"),
    ] {
        let there = format!("team-a-web: {{{there}}}");
        assert_eq!(decided(OPEN, WANT_WEB, &there), [refuses], "{what}, and it is not asked for");
        assert_eq!(decided(OPEN, asks, &there), [moves], "{what}");
    }
}

#[test]
fn released_by_is_no_consent_to_take_what_drover_did_not_create_where_adopt_is_never() {
    let there = "team-a-web: {releasedBy: team-a/shop}";
    let asks = "namespaces: [{name: team-a-web, onExisting: Adopt}]";
    for (spec, refusal) in [(WANT_WEB, "! NamespaceExists"), (asks, "! AdoptionNotAllowed")] {
        assert_eq!(decided(OPEN, spec, there), [refusal], "whoever may edit it may write that");
    }
    assert_eq!(decided(ADOPTING, asks, there), ["adopt Namespace team-a-web"]);
}

#[test]
fn what_is_not_listed_any_more_is_released_and_stays() {
    let there = "{team-a-old: {heldBy: team-a/shop}, team-a-theirs: {}, team-a-other: {heldBy: team-a/other}}";
    for policy in ["Orphan", "Delete"] {
        let spec = format!("deletionPolicy: {policy}");
        assert_eq!(decided(OPEN, &spec, there), ["release Namespace team-a-old"], "{policy}");
    }
}

#[test]
fn who_is_no_tenant_writes_nothing_not_even_releases() {
    let there = "team-a-old: {heldBy: team-a/shop}";
    for cluster in ["tenants: []", "tenants: [{name: b, from: {names: [team-b]}, namespacePatterns: ['*']}]"] {
        assert_eq!(decided(cluster, WANT_WEB, there), ["! NotATenant"], "{cluster}");
    }
    assert!(message("tenants: []", WANT_WEB, there).contains("spec.tenants of Cluster eu"));
}

#[test]
fn what_no_pattern_allows_is_refused_and_left_as_it_is() {
    let spec = "namespaces: [{name: payments}]";
    for there in ["{}", "payments: {heldBy: team-a/shop}", "payments: {releasedBy: team-a/shop}"] {
        assert_eq!(decided(OPEN, spec, there), ["! NamespaceNotAllowed"], "{there}");
    }
    assert!(message(OPEN, spec, "{}").contains("namespacePatterns"));
}

#[test]
fn what_is_protected_is_refused_whatever_the_patterns_say() {
    let cluster = "protectedNamespaces: [vault-*]
tenants: [{name: a, from: {all: {}}, namespacePatterns: ['*'], adopt: Allowed}]";
    for name in ["kube-system", "default", "drover-system", "vault-1"] {
        let spec = format!("namespaces: [{{name: {name}, onExisting: Adopt}}]");
        assert_eq!(decided(cluster, &spec, &format!("{name}: {{}}")), ["! NamespaceProtected"]);
    }
}

#[test]
fn one_refusal_does_not_keep_the_others_waiting() {
    let spec = "namespaces: [{name: payments}, {name: team-a-web}, {name: team-a-db}]";
    let expected = ["create Namespace team-a-db", "! NamespaceNotAllowed", "1 ready"];
    let there = "team-a-web: {heldBy: team-a/shop, applied: {}}";
    assert_eq!(decided(OPEN, spec, there), expected);
}

#[test]
fn a_suspended_project_writes_nothing_and_still_tells() {
    let there = "{team-a-old: {heldBy: team-a/shop}, team-a-db: {}}";
    let spec = "suspend: true\nnamespaces: [{name: team-a-web}, {name: team-a-db}]";
    assert_eq!(decided(OPEN, spec, there), ["! NamespaceExists"]);
}

#[test]
fn a_suspended_project_that_is_deleted_goes_as_with_orphan() {
    let there = "{team-a-web: {heldBy: team-a/shop}, team-a-db: {}, team-a-old: {heldBy: team-a/shop}}";
    let expected = ["release Namespace team-a-old", "release Namespace team-a-web"];
    for policy in ["Orphan", "Delete"] {
        let spec = format!("suspend: true\ndeletionPolicy: {policy}\n{WANT_WEB}");
        assert_eq!(torn_down(OPEN, &spec, there), expected, "{policy}");
    }
}

#[test]
fn labels_of_one_namespace_win_over_those_for_all() {
    let spec = "namespaceMetadata: {labels: {team: all, common: yes-please}, annotations: {note: all}}
namespaces: [{name: team-a-web, labels: {team: own}}]";
    let actions = plan(&shop(spec), &cluster_of(OPEN, "{}")).groups.concat();
    let [Action::Namespace(Change::Create { desired, .. })] = &actions[..] else { panic!("{actions:?}") };
    let labels = desired.metadata.labels.as_ref().unwrap();
    assert_eq!((labels["team"].as_str(), labels["common"].as_str()), ("own", "yes-please"));
    assert_eq!(desired.metadata.annotations.as_ref().unwrap()["note"], "all");
}

#[test]
fn deletion_with_orphan_releases_everything() {
    let there = "{team-a-web: {heldBy: team-a/shop}, team-a-db: {heldBy: team-a/shop, adopted: true}, team-a-x: {}}";
    let expected = ["release Namespace team-a-db", "release Namespace team-a-web"];
    assert_eq!(torn_down(OPEN, WANT_WEB, there), expected);
}

#[test]
fn deletion_with_delete_deletes_what_was_created_and_releases_what_was_adopted() {
    let there = "{team-a-web: {heldBy: team-a/shop}, team-a-db: {heldBy: team-a/shop, adopted: true}, team-a-x: {}}";
    let expected = ["release Namespace team-a-db", "delete Namespace team-a-web"];
    assert_eq!(torn_down(OPEN, "deletionPolicy: Delete", there), expected);
}

#[test]
fn deletion_waits_for_what_is_terminating_and_then_releases_the_object() {
    let (spec, going) = ("deletionPolicy: Delete", "team-a-web: {heldBy: team-a/shop, terminating: true}");
    let waiting = plan(&deleted(shop(spec)), &cluster_of(OPEN, going));
    assert_eq!((waiting.actions().count(), waiting.requeue), (0, Requeue::Watch));
    assert_eq!(torn_down(OPEN, spec, going), ["! Terminating"]);
    let told = only_message(&deleted(shop(spec)), &cluster_of(OPEN, going));
    assert!(
        told.contains("namespace team-a-web on cluster eu") && told.contains("kubectl get namespace team-a-web"),
        "{told}"
    );
    let done = plan(&deleted(shop(spec)), &cluster_of(OPEN, "team-a-theirs: {}"));
    assert_eq!((done.actions().count(), done.requeue), (0, Requeue::Released));
}

#[test]
fn without_the_consent_of_the_cluster_deletion_deletes_nothing() {
    let there = "team-a-web: {heldBy: team-a/shop}";
    for withdrawn in ["tenants: []", "tenants: [{name: a, from: {names: [team-a]}, namespacePatterns: [other]}]"] {
        assert_eq!(torn_down(withdrawn, "deletionPolicy: Delete", there), ["release Namespace team-a-web"]);
    }
    let protected = format!("{OPEN}\nprotectedNamespaces: [team-a-web]");
    assert_eq!(torn_down(&protected, "deletionPolicy: Delete", there), ["release Namespace team-a-web"]);
}
