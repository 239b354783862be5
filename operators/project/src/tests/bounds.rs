//! How many namespaces a tenant holds, and what it sets on them.

use std::{collections::BTreeSet, sync::Arc};

use drover_crds::{Cluster, Tenant};
use drover_runtime::{Requeue, fan_out::MESSAGE_LIMIT, model::until_quiet};
use k8s_openapi::jiff::SignedDuration;

use super::{
    decisions::{NOW, OPEN, cluster_of, lines, only_message, plan, shop},
    strategies::deleted,
    world::ModelCluster,
};
use crate::ProjectOperator;

const THREE: &str = "namespaces: [{name: team-a-web}, {name: team-a-log}, {name: team-a-db}]";

/// A cluster that lets team-a hold so many.
fn limited(most: usize, there: &str) -> ModelCluster {
    let tenants = format!(
        "tenants: [{{name: a, from: {{names: [team-a]}}, namespacePatterns: ['team-a-*'], maxNamespaces: {most}}}]"
    );
    cluster_of(&tenants, there)
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_tenant_gets_no_more_namespaces_than_its_entry_allows_and_is_told() {
    let expected = ["create Namespace team-a-db", "create Namespace team-a-log", "! NamespaceLimitReached"];
    assert_eq!(lines(&shop(THREE), &limited(2, "{}")), expected, "by name, however the list is written");
    let message = only_message(&shop(THREE), &limited(2, "{}"));
    assert!(message.contains("no room for team-a-web") && message.contains("raise maxNamespaces"), "{message}");
    let again = Requeue::At(NOW + SignedDuration::from_secs(60));
    assert_eq!(plan(&shop(THREE), &limited(2, "{}")).requeue, again, "no watch tells when there is room");
}

#[test]
fn what_is_held_stays_and_counts_whichever_project_of_the_tenant_holds_it() {
    let there = "{team-a-web: {heldBy: team-a/shop, applied: {}}, team-a-mail: {heldBy: team-a/other}, team-a-x: {heldBy: team-b/shop}}";
    let refused = ["! NamespaceLimitReached", "! NamespaceLimitReached", "1 ready"];
    assert_eq!(lines(&shop(THREE), &limited(2, there)), refused);
    assert_eq!(lines(&shop(THREE), &limited(0, there)), refused, "a lower limit takes nothing away");
    let one_more = ["create Namespace team-a-db", "! NamespaceLimitReached", "1 ready"];
    assert_eq!(lines(&shop(THREE), &limited(3, there)), one_more);
}

#[test]
fn what_is_about_to_make_way_takes_its_room_already() {
    let there = "{team-a-db: {terminating: true}}";
    let expected = ["! NamespaceLimitReached", "! NamespaceLimitReached", "! Terminating"];
    let mut lines = lines(&shop(THREE), &limited(1, there));
    lines.sort();
    assert_eq!(lines, expected);
}

#[test]
fn what_older_projects_want_comes_first() {
    let mut model = limited(3, "{}");
    model.bounds.wanted_before = names(&["team-a-mail", "team-a-old"]);
    let expected = ["create Namespace team-a-db", "! NamespaceLimitReached", "! NamespaceLimitReached"];
    assert_eq!(lines(&shop(THREE), &model), expected);
}

#[test]
fn what_was_released_needs_room_as_well() {
    let mut model = limited(3, "{}");
    until_quiet::<ProjectOperator>(&shop(THREE), &mut model, NOW).unwrap();
    until_quiet::<ProjectOperator>(&deleted(shop(THREE)), &mut model, NOW).unwrap();
    assert_eq!(lines(&shop(THREE), &model).len(), 3);
    lower(&mut model, 1);
    let expected = ["adopt Namespace team-a-db", "! NamespaceLimitReached", "! NamespaceLimitReached"];
    assert_eq!(lines(&shop(THREE), &model), expected);
}

fn lower(model: &mut ModelCluster, most: i32) {
    Arc::make_mut(&mut model.cluster).spec.tenants[0].max_namespaces = Some(most);
}

#[test]
fn an_entry_that_is_full_takes_nothing_from_another_one() {
    let tenants = "tenants:
    - {name: a, from: {names: [team-a]}, namespacePatterns: ['team-a-*'], maxNamespaces: 1}
    - {name: b, from: {names: [team-a]}, namespacePatterns: [team-a-web]}";
    let expected = ["create Namespace team-a-db", "create Namespace team-a-web", "! NamespaceLimitReached"];
    assert_eq!(lines(&shop(THREE), &cluster_of(tenants, "{}")), expected);
}

/// A cluster whose entry allows these keys.
fn with_keys(keys: &str) -> ModelCluster {
    let tenants = format!(
        "tenants: [{{name: a, from: {{names: [team-a]}}, namespacePatterns: ['team-a-*'], metadataKeys: [{keys}]}}]"
    );
    cluster_of(&tenants, "{}")
}

fn web(metadata: &str) -> String {
    format!("namespaces: [{{name: team-a-web, {metadata}}}]")
}

#[test]
fn only_keys_that_an_entry_allows_are_set_and_no_namespace_is_made_with_a_part_missing() {
    let (made, refused) = ("create Namespace team-a-web", "! MetadataNotAllowed");
    for (keys, metadata, expected) in [
        ("", "labels: {app.kubernetes.io/part-of: shop}", made),
        ("", "annotations: {app.kubernetes.io/part-of: shop}", refused),
        ("", "labels: {team: a}", refused),
        ("team", "labels: {team: a}", made),
        ("team", "labels: {team: a, tier: web}", refused),
        ("team", "annotations: {team: a}", made),
        ("'example.com/*'", "annotations: {example.com/owner: a}", made),
        ("'example.com/*'", "annotations: {other.example.com/owner: a}", refused),
        ("'*'", "labels: {anything: a}", made),
    ] {
        assert_eq!(lines(&shop(&web(metadata)), &with_keys(keys)), [expected], "{keys}: {metadata}");
    }
    let message = only_message(&shop(&web("labels: {tier: web}")), &with_keys("team"));
    assert!(message.contains("team-a to set the label tier") && message.contains("to metadataKeys"), "{message}");
    let common = shop("namespaceMetadata: {labels: {tier: web}}\nnamespaces: [{name: team-a-web}]");
    assert_eq!(lines(&common, &with_keys("team")), [refused], "those for all namespaces as well");
}

#[test]
fn keys_that_mean_something_to_the_cluster_are_refused_whatever_an_entry_says() {
    for metadata in [
        "labels: {istio-injection: disabled}",
        "labels: {topology.istio.io/network: other}",
        "annotations: {linkerd.io/inject: disabled}",
        "annotations: {scheduler.alpha.kubernetes.io/node-selector: pool=control}",
        "annotations: {iam.amazonaws.com/permitted: admin}",
        "annotations: {cnrm.cloud.google.com/project-id: other}",
        "annotations: {openshift.io/sa.scc.uid-range: 0/1}",
    ] {
        let shop = shop(&web(metadata));
        assert_eq!(lines(&shop, &with_keys("'*', 'istio*', 'openshift.io/*'")), ["! MetadataNotAllowed"], "{metadata}");
        let message = only_message(&shop, &with_keys("'*'"));
        assert!(message.starts_with("only the owner of cluster eu sets the"), "{message}");
    }
}

#[test]
fn in_the_management_cluster_no_project_makes_tenants() {
    let mut model = with_keys("'*'");
    model.bounds.tenant_labels = names(&["grade", "app.kubernetes.io/part-of"]);
    for label in ["grade", "app.kubernetes.io/part-of"] {
        let shop = shop(&web(&format!("labels: {{{label}: gold}}")));
        assert_eq!(lines(&shop, &model), ["! MetadataNotAllowed"], "{label}");
        let message = only_message(&shop, &model);
        assert!(message.contains(&format!("label {label} decides which namespaces are tenants")), "{message}");
    }
    assert_eq!(lines(&shop(&web("annotations: {grade: gold}")), &model), ["create Namespace team-a-web"]);
}

#[test]
fn a_held_namespace_is_left_as_it_is_while_a_key_is_refused() {
    let there = "team-a-web: {heldBy: team-a/shop, applied: {tier: front}}";
    let tenants = OPEN.replace("'*'", "team");
    let spec = web("labels: {tier: back}");
    assert_eq!(lines(&shop(&spec), &cluster_of(&tenants, there)), ["! MetadataNotAllowed"]);
    let deleting = deleted(shop(&format!("deletionPolicy: Delete\n{spec}")));
    assert_eq!(lines(&deleting, &cluster_of(&tenants, there)), ["delete Namespace team-a-web"]);
}

/// No message of ours is cut: the remedy comes last.
#[test]
fn messages_about_bounds_fit_with_the_longest_names() {
    let long = "x".repeat(63);
    let key = format!("{}/{long}", ["d".repeat(63), "d".repeat(63), "d".repeat(63)].join("."));
    let tenants: Vec<Tenant> =
        serde_json::from_value(serde_json::json!([{"name": "a", "from": {"all": {}}, "namespacePatterns": ["*"]}]))
            .unwrap();
    let model = |most: Option<i32>, tenant_labels: &[&str]| {
        let mut model = limited(0, "{}");
        let cluster: &mut Cluster = Arc::make_mut(&mut model.cluster);
        cluster.metadata.name = Some(long.clone());
        cluster.spec.tenants.clone_from(&tenants);
        cluster.spec.tenants[0].max_namespaces = most;
        model.bounds.tenant_labels = names(tenant_labels);
        model
    };
    for (model, labels) in [
        (model(Some(0), &[]), "{}".to_owned()),
        (model(None, &[]), format!("{{{key}: a}}")),
        (model(None, &[&key]), format!("{{{key}: a}}")),
        (model(None, &[]), format!("{{{}.istio.io/{long}: a}}", "d".repeat(63))),
    ] {
        let mut project = shop(&format!("namespaces: [{{name: {long}, labels: {labels}}}]"));
        project.metadata.namespace = Some(long.clone());
        let message = only_message(&project, &model);
        assert!(message.len() <= MESSAGE_LIMIT, "{} bytes: {message}", message.len());
    }
}
