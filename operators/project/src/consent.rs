//! Whether the owner of a cluster lets a Project in, and which of two Projects comes first there. Pure.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use drover_crds::{Cluster, ClusterSelection, DeletionPolicy, Project, Tenant};
use drover_runtime::{ClusterName, ClusterView, FleetView, Link, Place, cache::Lookup, place::leaving};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
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
/// as well, since one that left the selection may still hold something. One that is somebody else's by now is not waited for.
///
/// A Cluster that cannot be read may be any cluster: who is named there waits for it, and so does every deletion.
///
/// A Cluster that is being deleted with `Orphan` is nobody's place any more. One that goes with `Delete` is, as long as it
/// can be worked on, everybody's: all that is held there is let go of.
#[must_use]
pub fn places(project: &Project, fleet: &FleetView) -> BTreeSet<Place> {
    let deleting = project.metadata.deletion_timestamp.is_some();
    let targets = fleet.iter().filter(|(name, view)| is_target(project, name, view, fleet)).map(|(name, _)| name);
    let named = |name: &&ClusterName| match &project.spec.clusters {
        ClusterSelection::Names(names) => names.iter().any(|wanted| wanted == name.as_str()),
        ClusterSelection::Selector(_) | ClusterSelection::All(_) => false,
    };
    let unread = fleet.unread().filter(|name| deleting || named(name));
    targets.chain(unread).cloned().map(Place::Cluster).collect()
}

/// Whether [`places`] has this cluster.
fn is_target(project: &Project, name: &ClusterName, view: &ClusterView, fleet: &FleetView) -> bool {
    let deleting = project.metadata.deletion_timestamp.is_some();
    let selected = project.spec.clusters.selects(name.as_str(), view.object.labels());
    let named = matches!(project.spec.clusters, ClusterSelection::Names(_));
    let usual = (selected && (named || lets_in(project, view, fleet)) && !(deleting && view.link.is_anothers()))
        || (deleting && !matches!(view.link, Link::Disconnected(_)));
    match leaving(&view.object) {
        None => usual,
        Some(DeletionPolicy::Orphan) => false,
        Some(DeletionPolicy::Delete) => matches!(view.link, Link::Connected(_)) || (deleting && usual),
    }
}

/// How many clusters `project` selects, without naming them, that do not let it in. They are no targets, only counted.
#[must_use]
pub fn without_consent(project: &Project, fleet: &FleetView) -> usize {
    let named = matches!(project.spec.clusters, ClusterSelection::Names(_));
    if named || project.metadata.deletion_timestamp.is_some() {
        return 0;
    }
    let is_closed = |name: &ClusterName, view: &ClusterView| {
        let selected = project.spec.clusters.selects(name.as_str(), view.object.labels());
        selected && leaving(&view.object).is_none() && !lets_in(project, view, fleet)
    };
    fleet.iter().filter(|(name, view)| is_closed(name, view)).count()
}

/// Whether the owner of a cluster names the namespace of `project` as tenant.
fn lets_in(project: &Project, view: &ClusterView, fleet: &FleetView) -> bool {
    !tenancies_of(project, view, fleet).is_empty()
}

/// The tenant entries of a cluster that let `project` in; nothing of a tenant is accepted in Drover's own namespace.
fn tenancies_of<'a>(project: &Project, view: &'a ClusterView, fleet: &FleetView) -> Vec<&'a Tenant> {
    let namespace = project.namespace().unwrap_or_default();
    if fleet.is_vault(&namespace) {
        return Vec::new();
    }
    tenancies(&view.object, &namespace, fleet.namespace_labels(&namespace))
}

/// Whether the Project that is recorded at `place` does not hold anything there any more: it does not exist, or it does not
/// select the cluster. One that is being deleted still lets go by itself, and what cannot be told (none) is not gone.
#[must_use]
pub fn has_left(holder: Option<&Lookup<Project>>, place: &Place, fleet: &FleetView) -> bool {
    match holder {
        None | Some(Lookup::Undecodable(_)) => false,
        Some(Lookup::Absent) => true,
        Some(Lookup::Found(holder)) => {
            holder.metadata.deletion_timestamp.is_none() && !places(holder, fleet).contains(place)
        }
    }
}

/// Who comes first where both want a namespace that nobody has: the older Project does, then by name. What has no date yet
/// is the youngest.
#[must_use]
pub fn by_age(one: &Project, other: &Project) -> Ordering {
    fn age(project: &Project) -> (bool, Option<&Time>, Option<&String>, Option<&String>) {
        let meta = &project.metadata;
        let created = meta.creation_timestamp.as_ref();
        (created.is_none(), created, meta.namespace.as_ref(), meta.name.as_ref())
    }
    age(one).cmp(&age(other))
}

/// Whether `project` would create the namespace of this name at `place` if there was no other Project.
#[must_use]
pub fn claims(project: &Project, name: &str, place: &Place, fleet: &FleetView) -> bool {
    let lists = project.spec.namespaces.iter().any(|wanted| wanted.name == name);
    if !lists || project.metadata.deletion_timestamp.is_some() {
        return false;
    }
    let Place::Cluster(cluster) = place else { return false };
    let allows = |tenant: &&Tenant| tenant.allows_namespace(name);
    fleet.get(cluster).is_some_and(|view| {
        is_target(project, cluster, view, fleet) && tenancies_of(project, view, fleet).iter().any(allows)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use drover_runtime::{Cache, Cause, Failure, StatusCause, cache::Undecodable};
    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::ObjectMeta, jiff::Timestamp};
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
        let count = |project: &Project| without_consent(project, &fleet);
        assert_eq!(count(&project(&json!({"all": {}}))), 1);
        assert_eq!(count(&project(&json!({"selector": {"matchLabels": {"env": "prod"}}}))), 1);
        assert_eq!(count(&project(&json!({"selector": {"matchLabels": {"env": "test"}}}))), 0);
        assert_eq!(count(&project(&json!({"names": ["closed"]}))), 0, "that is a problem of its own");
        assert_eq!(count(&deleted(project(&json!({"all": {}})))), 0);
        let going = without_consent(&project(&json!({"all": {}})), &going("Delete", away()));
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
    fn a_deletion_does_not_wait_for_a_cluster_that_is_somebody_elses() {
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
                assert_eq!(places(&project(&selection), &fleet(cause)).len(), 1, "it is told while the Project lives");
            }
        }
    }

    #[test]
    fn the_older_project_comes_first_and_then_the_name_decides() {
        let aged = |name: &str, second: Option<i64>| {
            let mut project = project(&json!({"all": {}}));
            project.metadata.name = Some(name.into());
            project.metadata.creation_timestamp = second.map(|second| Time(Timestamp::from_second(second).unwrap()));
            project
        };
        for (first, second) in [
            (aged("z", Some(1)), aged("a", Some(2))),
            (aged("a", Some(2)), aged("z", Some(2))),
            (aged("z", Some(2)), aged("a", None)),
        ] {
            assert_eq!(by_age(&first, &second), Ordering::Less, "{first:?} {second:?}");
            assert_eq!(by_age(&second, &first), Ordering::Greater, "{first:?} {second:?}");
            assert_eq!(by_age(&first, &first), Ordering::Equal);
        }
    }

    #[test]
    fn a_project_claims_what_it_lists_and_may_hold_where_it_is_converged() {
        let lists = |clusters: serde_json::Value| {
            let mut project = project(&clusters);
            project.spec.namespaces = serde_json::from_value(json!([{"name": "web"}])).unwrap();
            project
        };
        let all = || lists(json!({"all": {}}));
        let (eu, closed) = (Place::cluster("eu"), Place::cluster("closed"));
        let claims = |project: &Project, name, place| claims(project, name, place, &fleet());
        assert!(claims(&all(), "web", &eu));
        assert!(!claims(&all(), "other", &eu), "not listed");
        assert!(!claims(&all(), "web", &closed), "not let in");
        assert!(!claims(&lists(json!({"names": ["closed"]})), "web", &closed), "named, and not let in");
        assert!(!claims(&lists(json!({"names": ["us"]})), "web", &eu), "converged elsewhere");
        assert!(!claims(&deleted(all()), "web", &eu), "goes");
        let mut stranger = all();
        stranger.metadata.namespace = Some("team-b".into());
        assert!(!claims(&stranger, "web", &eu), "another namespace");
    }

    #[test]
    fn a_holder_has_left_only_when_that_is_known_for_certain() {
        let found = |project: Project| Lookup::Found(Arc::new(project));
        let undecodable = Undecodable { meta: ObjectMeta::default(), error: "nonsense".into() };
        let elsewhere = || project(&json!({"names": ["us"]}));
        for (what, holder, left) in [
            ("the list cannot be told", None, false),
            ("it cannot be decoded", Some(Lookup::Undecodable(Arc::new(undecodable))), false),
            ("it selects the cluster", Some(found(project(&json!({"all": {}})))), false),
            ("it is being deleted", Some(found(deleted(elsewhere()))), false),
            ("it selects others", Some(found(elsewhere())), true),
            ("it does not exist", Some(Lookup::Absent), true),
        ] {
            assert_eq!(has_left(holder.as_ref(), &Place::cluster("eu"), &fleet()), left, "{what}");
        }
        let closed = Place::cluster("closed");
        assert!(has_left(Some(&found(project(&json!({"all": {}})))), &closed, &fleet()), "not let in, so not selected");
        assert!(
            !has_left(Some(&found(project(&json!({"names": ["closed"]})))), &closed, &fleet()),
            "named all the same"
        );
    }
}
