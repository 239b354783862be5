//! Which clusters an object selects, and which of them admit it. Pure, and the same for every kind that fans out.

use std::collections::{BTreeMap, BTreeSet};

use drover_crds::{Cluster, ClusterSelection, DeletionPolicy, SelectsClusters, Tenant, condition::CLUSTERS_ALLOWED};
use drover_runtime::{
    ClusterName, ClusterView, FleetView, Link, Place, PlaceContext, StatusCause, Targets,
    fan_out::{Contribution, FanOut},
    place::deletion_of,
    status::condition,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Resource, ResourceExt as _, core::NamespaceResourceScope};

use crate::cause::TenancyCause;

/// An object in a namespace of the management cluster, which is the tenant that a Cluster admits.
pub trait Namespaced: Resource<Scope = NamespaceResourceScope> {}

impl<K: Resource<Scope = NamespaceResourceScope>> Namespaced for K {}

/// The tenant entries of `cluster` that admit the management namespace `namespace` with these labels.
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

/// The clusters on which `object` is reconciled.
///
/// A cluster that is named is a target even without consent: that is an error to report. A cluster that is only selected
/// without consent is no target. While the object is being deleted, every cluster that is not known to be away is a target as
/// well, since one that left the selection may still hold something; it gets one try. A foreign one is not waited for.
///
/// A Cluster that cannot be read may be any cluster: who is named there waits for it, and so does every deletion.
///
/// A Cluster that is being deleted with `Orphan` is nobody's target any more. One that goes with `Delete` is, as long as it
/// can be worked on, everybody's: all that is owned there is released.
pub fn of<K: SelectsClusters + Namespaced>(object: &K, fleet: &FleetView) -> Targets {
    let mut targets = selected_by(object, fleet, |name, view| choice(object, name, view, fleet));
    if let ClusterSelection::Names(names) = object.clusters() {
        let named = fleet.unread().filter(|name| names.iter().any(|wanted| wanted == name.as_str()));
        targets.places.extend(named.cloned().map(Place::Cluster));
    }
    targets
}

/// Whether an object is to be on a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It does not select the cluster.
    NotSelected,
    /// It selects the cluster without its name, and the owner of the cluster does not admit it: no target, only counted.
    NotAdmitted,
    /// It selects the cluster, which admits it or is to be told of as a problem.
    Selected,
}

/// The clusters on which `object`, of any scope, is reconciled if it selects clusters by a rule of its own, `choice`. Deletions,
/// foreign clusters and Clusters that cannot be read are handled as by [`of`]; a living object that knows a Cluster by name has
/// to add it itself while it cannot be read.
pub fn selected_by<K: Resource>(
    object: &K,
    fleet: &FleetView,
    choice: impl Fn(&ClusterName, &ClusterView) -> Choice,
) -> Targets {
    let deleting = object.meta().deletion_timestamp.is_some();
    let mut targets = Targets::default();
    for (name, view) in fleet.iter() {
        let choice = choice(name, view);
        if is_place(view, deleting, choice) {
            targets.places.insert(Place::Cluster(name.clone()));
            if deleting && choice == Choice::NotSelected {
                targets.only_tried.insert(Place::Cluster(name.clone()));
            }
        } else if choice == Choice::NotAdmitted && !deleting && deletion_of(&view.object).is_none() {
            targets.refused += 1;
        }
    }
    targets.places.extend(fleet.unread().filter(|_| deleting).cloned().map(Place::Cluster));
    targets
}

/// Whether [`of`] has this cluster.
pub fn is_target<K: SelectsClusters + Namespaced>(
    object: &K,
    name: &ClusterName,
    view: &ClusterView,
    fleet: &FleetView,
) -> bool {
    is_place(view, object.meta().deletion_timestamp.is_some(), choice(object, name, view, fleet))
}

fn choice<K: SelectsClusters + Namespaced>(
    object: &K,
    name: &ClusterName,
    view: &ClusterView,
    fleet: &FleetView,
) -> Choice {
    if !object.clusters().selects(name.as_str(), view.object.labels()) {
        Choice::NotSelected
    } else if matches!(object.clusters(), ClusterSelection::Names(_)) || admits(view, object, fleet) {
        Choice::Selected
    } else {
        Choice::NotAdmitted
    }
}

/// Whether an object, which may be `deleting`, is reconciled at a cluster.
fn is_place(view: &ClusterView, deleting: bool, choice: Choice) -> bool {
    let usual = (choice == Choice::Selected && !(deleting && view.link.is_foreign()))
        || (deleting && !matches!(view.link, Link::Disconnected(_)));
    match deletion_of(&view.object) {
        None => usual,
        Some(DeletionPolicy::Orphan) => false,
        Some(DeletionPolicy::Delete) => matches!(view.link, Link::Connected(_)) || (deleting && usual),
    }
}

/// Whether the owner of a cluster names the namespace of `object` as tenant.
fn admits<K: Namespaced>(view: &ClusterView, object: &K, fleet: &FleetView) -> bool {
    !tenancies_of(object, view, fleet).is_empty()
}

/// The tenant entries of a cluster that admit `object`; nothing of a tenant is accepted in Drover's own namespace.
pub fn tenancies_of<'a, K: Namespaced>(object: &K, view: &'a ClusterView, fleet: &FleetView) -> Vec<&'a Tenant> {
    let namespace = object.meta().namespace.as_deref().unwrap_or_default();
    if fleet.is_operator_namespace(namespace) {
        return Vec::new();
    }
    tenancies(&view.object, namespace, fleet.namespace_labels(namespace))
}

/// The labels of namespaces of the management cluster by which Clusters name their tenants. Who sets them makes tenants.
#[must_use]
pub fn tenant_label_keys(fleet: &FleetView) -> BTreeSet<String> {
    let tenants = fleet.iter().flat_map(|(_, view)| &view.object.spec.tenants);
    tenants.flat_map(|tenant| tenant.from.label_keys()).map(str::to_owned).collect()
}

/// Whether the owner of the cluster at `place` allows `object` to have something in the namespace of this name there.
#[must_use]
pub fn admits_namespace<K: Namespaced>(object: &K, place: &PlaceContext, namespace: &str) -> bool {
    let Place::Cluster(cluster) = &place.place else { return false };
    place.fleet.get(cluster).is_some_and(|view| view_admits_namespace(object, view, &place.fleet, namespace))
}

/// The same of a cluster as the management cluster knows it, also while it cannot be reached.
#[must_use]
pub fn view_admits_namespace<K: Namespaced>(
    object: &K,
    view: &ClusterView,
    fleet: &FleetView,
    namespace: &str,
) -> bool {
    let allows = |tenant: &&Tenant| tenant.allows_namespace(namespace);
    tenancies_of(object, view, fleet).iter().any(allows) && !view.object.spec.protects(namespace)
}

/// `ClustersAllowed`, for every namespaced kind that fans out.
#[must_use]
pub fn allowed<P: Contribution>(fan_out: &FanOut<'_, P>) -> Condition {
    let denials =
        [TenancyCause::NotATenant.cause(), StatusCause::ClusterNotFound.cause(), StatusCause::ClusterDeleting.cause()];
    let (refused, total) = (fan_out.tally.refused, fan_out.tally.total);
    match fan_out.findings.iter().find(|finding| finding.cause().is_any(&denials)) {
        Some(finding) => condition(CLUSTERS_ALLOWED, false, finding.cause(), finding.problem().message),
        None if total == 0 && refused > 0 => {
            let message = format!(
                "none of the {refused} selected clusters admits this namespace; their owners decide that in spec.tenants of the Clusters, and none admits Drover's own namespace"
            );
            condition(CLUSTERS_ALLOWED, false, TenancyCause::NotATenant, message)
        }
        None if refused > 0 => {
            let message = format!(
                "{refused} of the selected clusters do not admit this namespace and are left out; their owners decide that in spec.tenants of the Clusters"
            );
            condition(CLUSTERS_ALLOWED, true, TenancyCause::Allowed, message)
        }
        None => {
            condition(CLUSTERS_ALLOWED, true, TenancyCause::Allowed, "every selected cluster admits this namespace")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use drover_crds::Project;
    use drover_runtime::{Cache, Cause, Failure, StatusCause};
    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
    use kube::Client;
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

    #[test]
    fn a_rule_of_its_own_selects_and_the_rest_is_as_for_every_kind() {
        let fleet = fleet().with_unread(BTreeSet::from([ClusterName::from("broken")]));
        let only_us = |name: &ClusterName, _: &ClusterView| match name.as_str() {
            "us" => Choice::Selected,
            "closed" => Choice::NotAdmitted,
            _ => Choice::NotSelected,
        };
        let lives = selected_by(&project(&json!({"all": {}})), &fleet, only_us);
        assert_eq!(
            (names(&lives.places), names(&lives.only_tried), lives.refused),
            (vec!["cluster us".to_owned()], vec![], 1)
        );
        let deleting = deleted(project(&json!({"all": {}})));
        let going_away = selected_by(&deleting, &fleet, only_us);
        assert_eq!(names(&going_away.places), ["cluster broken", "cluster closed", "cluster eu", "cluster us"]);
        assert_eq!((names(&going_away.only_tried), going_away.refused), (vec!["cluster eu".to_owned()], 0));
        assert!(selected_by(&deleting, &going("Orphan", Link::Connecting), only_us).places.is_empty());
        let node: k8s_openapi::api::core::v1::Node =
            serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
        assert_eq!(names(&selected_by(&node, &fleet, only_us).places), ["cluster us"], "of any scope");
    }

    fn places(project: &Project, fleet: &FleetView) -> BTreeSet<Place> {
        of(project, fleet).places
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
    fn selected_clusters_without_consent_are_counted() {
        let fleet = fleet();
        let count = |project: &Project| of(project, &fleet).refused;
        assert_eq!(count(&project(&json!({"all": {}}))), 1);
        assert_eq!(count(&project(&json!({"selector": {"matchLabels": {"env": "prod"}}}))), 1);
        assert_eq!(count(&project(&json!({"selector": {"matchLabels": {"env": "test"}}}))), 0);
        assert_eq!(count(&project(&json!({"names": ["closed"]}))), 0, "that is a problem of its own");
        assert_eq!(count(&deleted(project(&json!({"all": {}})))), 0);
        let going = of(&project(&json!({"all": {}})), &going("Delete", away())).refused;
        assert_eq!(going, 0);
    }

    #[test]
    fn a_cluster_that_cannot_be_read_is_waited_for() {
        let fleet = FleetView::default().with_unread(BTreeSet::from([ClusterName::from("broken")]));
        let all = || project(&json!({"all": {}}));
        assert!(places(&all(), &fleet).is_empty());
        assert_eq!(names(&places(&project(&json!({"names": ["broken", "absent"]})), &fleet)), ["cluster broken"]);
        assert_eq!(names(&places(&deleted(all()), &fleet)), ["cluster broken"]);
    }

    #[test]
    fn an_unset_tenant_list_lets_nobody_in() {
        assert!(tenancies(&cluster("c", &json!([])), "team-a", None).is_empty());
    }

    #[test]
    fn labels_that_make_tenants_are_known_from_all_clusters() {
        let by_expression = json!([{"name": "b", "from": {"selector": {"matchExpressions": [
            {"key": "team", "operator": "Exists"}]}}}]);
        let view =
            |tenants| ClusterView { object: Arc::new(cluster("b", tenants)), link: Link::Connecting, reports: 0 };
        let mut views: BTreeMap<_, _> = fleet().iter().map(|(name, view)| (name.clone(), view.clone())).collect();
        views.insert(ClusterName::from("b"), view(&by_expression));
        let keys = tenant_label_keys(&FleetView::new(views, BTreeMap::new(), true));
        assert_eq!(keys, BTreeSet::from(["team".to_owned(), "tier".to_owned()]));
    }

    /// A link that nothing is ever sent over.
    fn connected() -> Link {
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        Link::Connected(Arc::new(Cache::ungated(Client::try_from(config).unwrap())))
    }

    fn away() -> Link {
        disconnected(StatusCause::Unreachable.cause())
    }

    fn disconnected(cause: Cause) -> Link {
        Link::Disconnected(Failure::new(cause, "refused"))
    }

    /// A fleet of one Cluster that is being deleted and is open to team-a.
    fn going(policy: &str, link: Link) -> FleetView {
        let tenants = json!([{"name": "a", "from": {"names": ["team-a"]}, "namespacePatterns": ["*"]}]);
        let mut object = serde_json::to_value(cluster("eu", &tenants)).unwrap();
        object["metadata"]["deletionTimestamp"] = json!("2026-11-21T10:00:00Z");
        object["spec"]["deletionPolicy"] = json!(policy);
        let object = Arc::new(serde_json::from_value(object).unwrap());
        let views = BTreeMap::from([(ClusterName::from("eu"), ClusterView { object, link, reports: 0 })]);
        FleetView::new(views, BTreeMap::new(), true)
    }

    fn deleted(mut project: Project) -> Project {
        project.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        project
    }

    #[tokio::test]
    async fn a_cluster_that_goes_with_orphan_is_no_place_and_one_with_delete_is_everybodys_while_it_is_connected() {
        let selects = || project(&json!({"all": {}}));
        let names = || project(&json!({"names": ["eu"]}));
        let other = || project(&json!({"names": ["us"]}));
        for project in [selects(), names(), other(), deleted(selects()), deleted(names()), deleted(other())] {
            for link in [connected(), Link::Connecting, away()] {
                assert!(places(&project, &going("Orphan", link)).is_empty());
            }
            assert_eq!(places(&project, &going("Delete", connected())).len(), 1);
        }
        for project in [selects(), names(), other()] {
            for link in [Link::Connecting, away()] {
                assert!(places(&project, &going("Delete", link)).is_empty());
            }
        }
        for (project, link, waits) in [
            (selects(), away(), true),
            (names(), away(), true),
            (other(), away(), false),
            (selects(), Link::Connecting, true),
            (other(), Link::Connecting, true),
        ] {
            assert_eq!(places(&deleted(project), &going("Delete", link)).len(), usize::from(waits));
        }
    }

    #[test]
    fn a_deletion_waits_for_what_it_selected_and_tries_the_rest() {
        let found = of(&deleted(project(&json!({"names": ["eu", "us"]}))), &fleet());
        assert_eq!(names(&found.places), ["cluster closed", "cluster eu", "cluster us"]);
        assert_eq!(names(&found.only_tried), ["cluster closed"]);
        assert!(of(&project(&json!({"names": ["eu", "us"]})), &fleet()).only_tried.is_empty());
    }

    #[test]
    fn a_deletion_does_not_wait_for_a_cluster_that_is_another_owner() {
        let to_team_a = json!([{"name": "a", "from": {"names": ["team-a"]}, "namespacePatterns": ["*"]}]);
        let fleet = |cause| {
            let (object, link) = (Arc::new(cluster("eu", &to_team_a)), disconnected(cause));
            let views = BTreeMap::from([(ClusterName::from("eu"), ClusterView { object, link, reports: 0 })]);
            FleetView::new(views, BTreeMap::new(), true)
        };
        let lost = StatusCause::Unreachable.cause();
        for (cause, waits) in [(lost.foreign(), false), (lost, true)] {
            for selection in [json!({"all": {}}), json!({"names": ["eu"]})] {
                assert_eq!(places(&deleted(project(&selection)), &fleet(cause)).len(), usize::from(waits));
                assert_eq!(
                    places(&project(&selection), &fleet(cause)).len(),
                    1,
                    "it is reported while the Project lives"
                );
            }
        }
    }
}
