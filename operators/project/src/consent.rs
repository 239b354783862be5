//! Whether the owner of a cluster lets a Project in. Pure.

use std::collections::{BTreeMap, BTreeSet};

use drover_crds::{Cluster, ClusterSelection, Project, Tenant};
use drover_runtime::{ClusterName, ClusterView, FleetView, Link, Place};
use kube::ResourceExt;

/// The tenant entries of `cluster` that let the management namespace `namespace` with these labels in.
#[must_use]
pub fn tenancies<'a>(
    cluster: &'a Cluster,
    namespace: &str,
    labels: Option<&BTreeMap<String, String>>,
) -> Vec<&'a Tenant> {
    let none = BTreeMap::new();
    let labels = labels.unwrap_or(&none);
    cluster.spec.tenants.iter().filter(|tenant| tenant.from.selects(namespace, labels)).collect()
}

/// The clusters on which `project` is converged.
///
/// A cluster that is named is a target even without consent: that is an error to report. A cluster that is only selected
/// without consent is no target. While the Project is being deleted, every cluster that is not known to be away is looked at
/// as well, since one that left the selection may still hold something.
#[must_use]
pub fn places(project: &Project, fleet: &FleetView) -> BTreeSet<Place> {
    let deleting = project.metadata.deletion_timestamp.is_some();
    let namespace = project.namespace().unwrap_or_default();
    let labels = fleet.namespace_labels(&namespace);
    let is_target = |name: &ClusterName, view: &ClusterView| {
        let selected = project.spec.clusters.selects(name.as_str(), view.object.labels());
        let named = matches!(project.spec.clusters, ClusterSelection::Names(_));
        let consents = || !tenancies(&view.object, &namespace, labels).is_empty();
        (selected && (named || consents())) || (deleting && !matches!(view.link, Link::Disconnected(_)))
    };
    let targets = fleet.iter().filter(|(name, view)| is_target(name, view));
    targets.map(|(name, _)| Place::Cluster(name.clone())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cluster(name: &str, tenants: &serde_json::Value) -> Cluster {
        let spec = json!({"connection": {"kubeconfig": {"secretRef": {"name": name}}}, "tenants": tenants});
        let labels = json!({"env": "prod"});
        serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": name, "labels": labels}, "spec": spec,
        }))
        .unwrap()
    }

    fn project(clusters: &serde_json::Value) -> Project {
        serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "Project",
            "metadata": {"name": "shop", "namespace": "team-a"}, "spec": {"clusters": clusters},
        }))
        .unwrap()
    }

    fn fleet() -> FleetView {
        let to_team_a = json!([{"name": "a", "from": {"names": ["team-a"]}, "namespacePatterns": ["*"]}]);
        let by_label =
            json!([{"name": "a", "from": {"selector": {"matchLabels": {"tier": "gold"}}}, "namespacePatterns": ["*"]}]);
        let clusters = [cluster("eu", &to_team_a), cluster("us", &by_label), cluster("closed", &json!([]))];
        let views = clusters.into_iter().map(|cluster| {
            let link = Link::Connecting;
            (ClusterName::from(&cluster), ClusterView { object: cluster.into(), link, reports: 0 })
        });
        let gold = BTreeMap::from([("tier".to_owned(), "gold".to_owned())]);
        FleetView::new(views.collect(), BTreeMap::from([("team-a".to_owned(), gold)]), true)
    }

    fn names(places: &BTreeSet<Place>) -> Vec<String> {
        places.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_selected_cluster_without_consent_is_no_target_and_a_named_one_is() {
        let selected = places(&project(&json!({"selector": {"matchLabels": {"env": "prod"}}})), &fleet());
        assert_eq!(names(&selected), ["cluster eu", "cluster us"]);
        assert_eq!(names(&places(&project(&json!({"all": {}})), &fleet())), ["cluster eu", "cluster us"]);
        let named = places(&project(&json!({"names": ["closed", "eu", "absent"]})), &fleet());
        assert_eq!(names(&named), ["cluster closed", "cluster eu"]);
    }

    #[test]
    fn an_unset_tenant_list_lets_nobody_in() {
        assert!(tenancies(&cluster("c", &json!([])), "team-a", None).is_empty());
    }
}
