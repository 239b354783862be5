//! Which of two Projects comes first at a cluster, and whether a holder is gone. Pure.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use drover_crds::Project;
use drover_fleet::targets::{self, is_target, tenancies_of};
use drover_runtime::{
    FleetView, ObjectKey, Place,
    cache::{Change, Lookup},
};
use drover_self_service::Rival;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::self_service::is_allowed;

/// Whether the Project that is recorded at `place` does not hold anything there any more: it does not exist, or it does not
/// select the cluster. One that is being deleted releases it by itself, and what cannot be told (none) is not gone.
#[must_use]
pub fn is_gone_from(holder: Option<&Lookup<Project>>, place: &Place, fleet: &FleetView) -> bool {
    match holder {
        None | Some(Lookup::Undecodable(_)) => false,
        Some(Lookup::Absent) => true,
        Some(Lookup::Found(holder)) => {
            holder.metadata.deletion_timestamp.is_none() && !targets::of(&**holder, fleet).places.contains(place)
        }
    }
}

/// Whether the Project that is recorded on the namespace `name` is about to release it: it is being deleted, or neither lists it any
/// more nor lets members create namespaces of such names. A suspended one releases nothing while it lives.
#[must_use]
pub fn is_releasing(holder: Option<&Lookup<Project>>, name: &str) -> bool {
    let Some(Lookup::Found(holder)) = holder else { return false };
    let keeps = lists(holder, name) || prefixes(holder).any(|prefix| name.starts_with(prefix)) || holder.spec.suspend;
    holder.metadata.deletion_timestamp.is_some() || !keeps
}

/// What the names of namespaces begin with that members of the Project create themselves.
fn prefixes(project: &Project) -> impl Iterator<Item = &str> {
    project.spec.self_service.iter().flat_map(|spec| &spec.name_prefixes).map(String::as_str)
}

fn lists(project: &Project, name: &str) -> bool {
    project.spec.namespaces.iter().any(|wanted| wanted.name == name)
}

/// Who comes first where both want a namespace that does not exist: the older Project does, then by name. What has no date yet
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
    if !lists(project, name) || project.metadata.deletion_timestamp.is_some() {
        return false;
    }
    let Place::Cluster(cluster) = place else { return false };
    let allows = |tenant: &&drover_crds::Tenant| tenant.allows_namespace(name);
    fleet.get(cluster).is_some_and(|view| {
        is_target(project, cluster, view, fleet)
            && !view.object.spec.protects(name)
            && tenancies_of(project, view, fleet).iter().any(allows)
    })
}

/// What `other` wants at `place` of the names that `project` lets its members create there; none if it wants nothing of them.
#[must_use]
pub fn rival(project: &Project, other: &Project, place: &Place, fleet: &FleetView) -> Option<Rival> {
    let Place::Cluster(cluster) = place else { return None };
    let key = ObjectKey::of(&other.metadata);
    let begins = |name: &str| prefixes(project).any(|prefix| name.starts_with(prefix));
    let meet = |own: &str, theirs: &str| own.starts_with(theirs) || theirs.starts_with(own);
    let meets = |theirs: &str| prefixes(project).any(|own| meet(own, theirs));
    // Most Projects have nothing to do with each other, and their names alone tell that.
    let is_near = other.spec.namespaces.iter().any(|wanted| begins(&wanted.name)) || prefixes(other).any(meets);
    if !is_near || other.metadata.deletion_timestamp.is_some() || key == ObjectKey::of(&project.metadata) {
        return None;
    }
    let view = fleet.get(cluster)?;
    let tenancies = tenancies_of(other, view, fleet);
    if tenancies.is_empty() || !is_target(other, cluster, view, fleet) {
        return None;
    }
    let named = other.spec.namespaces.iter().map(|wanted| &wanted.name).filter(|name| begins(name));
    let listed: BTreeSet<_> = named.filter(|name| claims(other, name, place, fleet)).cloned().collect();
    // Prefixes that the cluster gives to neither are in nobody's way, and no tenant learns those of others by them.
    let own_tenancies = tenancies_of(project, view, fleet);
    let overlaps = |theirs: &&str| {
        let mut own = prefixes(project).filter(|own| is_allowed(&view.object, &own_tenancies, own));
        is_allowed(&view.object, &tenancies, theirs) && own.any(|own| meet(own, theirs))
    };
    let prefixes: Vec<_> = prefixes(other).filter(overlaps).map(str::to_owned).collect();
    (!(listed.is_empty() && prefixes.is_empty())).then_some(Rival { key, prefixes, listed })
}

/// Which Projects want which namespaces.
#[derive(Debug, Default)]
pub(crate) struct ProjectIndex {
    listed: NamespaceIndex,
    prefixes: PrefixIndex,
}

impl ProjectIndex {
    /// Notes a change of a Project, and names the others that want a namespace of it, or may do so.
    pub(crate) fn concerned(&self, change: &Change<Project>) -> Vec<ObjectKey> {
        let is_going = |project: &Project| project.metadata.deletion_timestamp.is_some();
        if let (Some(old), Some(new)) = (&change.old, &change.new)
            && old.spec == new.spec
            && is_going(old) == is_going(new)
        {
            return Vec::new(); // A change of the status alone.
        }
        let others: BTreeSet<_> =
            self.listed.concerned(change).into_iter().chain(self.prefixes.concerned(change)).collect();
        others.into_iter().collect()
    }
}

/// Which Projects let members create namespaces, and how their names begin.
#[derive(Debug, Default)]
struct PrefixIndex(Mutex<BTreeMap<ObjectKey, Vec<String>>>);

impl PrefixIndex {
    /// Notes a change of a Project, and names those with a prefix that overlaps one of it, or begins a namespace that it lists.
    fn concerned(&self, change: &Change<Project>) -> Vec<ObjectKey> {
        let mut index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let concerns = |theirs: &String| {
            change.sides().any(|project| {
                prefixes(project).any(|own| own.starts_with(&**theirs) || theirs.starts_with(own))
                    || project.spec.namespaces.iter().any(|wanted| wanted.name.starts_with(&**theirs))
            })
        };
        let others = index.iter().filter(|(key, theirs)| **key != change.key && theirs.iter().any(concerns));
        let others = others.map(|(key, _)| key.clone()).collect();
        index.remove(&change.key);
        let new: Vec<_> = change.new.iter().flat_map(|project| prefixes(project)).map(str::to_owned).collect();
        if !new.is_empty() {
            index.insert(change.key.clone(), new);
        }
        others
    }
}

/// Which Projects list a namespace of which name.
#[derive(Debug, Default)]
struct NamespaceIndex(Mutex<BTreeMap<String, BTreeSet<ObjectKey>>>);

impl NamespaceIndex {
    /// Notes a change of a Project, and names the others that list a namespace of it.
    fn concerned(&self, change: &Change<Project>) -> Vec<ObjectKey> {
        let listed = |project: Option<&Arc<Project>>| {
            let namespaces = project.into_iter().flat_map(|project| &project.spec.namespaces);
            namespaces.map(|namespace| namespace.name.clone()).collect::<BTreeSet<_>>()
        };
        let (old, new) = (listed(change.old.as_ref()), listed(change.new.as_ref()));
        let mut index = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let others = old.union(&new).filter_map(|name| index.get(name)).flatten();
        let others: BTreeSet<ObjectKey> = others.filter(|other| **other != change.key).cloned().collect();
        for name in old.difference(&new) {
            let is_empty = index.get_mut(name).is_some_and(|keys| keys.remove(&change.key) && keys.is_empty());
            if is_empty {
                index.remove(name);
            }
        }
        for name in new {
            index.entry(name).or_default().insert(change.key.clone());
        }
        others.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use drover_crds::Cluster;
    use drover_runtime::{ClusterName, ClusterView, Link, cache::Undecodable};
    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::ObjectMeta, jiff::Timestamp};
    use serde_json::json;

    use super::*;

    fn project(clusters: &serde_json::Value) -> Project {
        let project = json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "Project",
            "metadata": {"name": "shop", "namespace": "team-a"}, "spec": {"clusters": clusters},
        });
        serde_json::from_value(project).unwrap()
    }

    fn deleted(mut project: Project) -> Project {
        project.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        project
    }

    /// Two clusters that admit team-a, and one without tenants.
    fn fleet() -> FleetView {
        fleet_with(&json!([{"name": "a", "from": {"names": ["team-a"]}, "namespacePatterns": ["*"]}]))
    }

    /// The same with these tenants of the first two.
    fn fleet_with(open: &serde_json::Value) -> FleetView {
        let views = [("eu", open), ("us", open), ("closed", &json!([]))].map(|(name, tenants)| {
            let cluster: Cluster = serde_json::from_value(json!({
                "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": name},
                "spec": {"connection": {"kubeconfig": {"secretRef": {"name": name}}}, "tenants": tenants},
            }))
            .unwrap();
            (ClusterName::from(name), ClusterView { object: Arc::new(cluster), link: Link::Connecting, reports: 0 })
        });
        FleetView::new(BTreeMap::from(views), BTreeMap::new(), true)
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
        assert!(!claims(&all(), "web", &closed), "not admitted");
        assert!(!claims(&lists(json!({"names": ["closed"]})), "web", &closed), "named, and not admitted");
        assert!(!claims(&lists(json!({"names": ["us"]})), "web", &eu), "converged elsewhere");
        assert!(!claims(&deleted(all()), "web", &eu), "goes");
        let mut stranger = all();
        stranger.metadata.namespace = Some("team-b".into());
        assert!(!claims(&stranger, "web", &eu), "another namespace");
    }

    #[test]
    fn a_holder_is_gone_only_when_that_is_known_for_certain() {
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
            assert_eq!(is_gone_from(holder.as_ref(), &Place::cluster("eu"), &fleet()), left, "{what}");
        }
        let closed = Place::cluster("closed");
        assert!(
            is_gone_from(Some(&found(project(&json!({"all": {}})))), &closed, &fleet()),
            "not admitted, so not selected"
        );
        assert!(
            !is_gone_from(Some(&found(project(&json!({"names": ["closed"]})))), &closed, &fleet()),
            "named all the same"
        );
    }

    #[test]
    fn a_holder_that_goes_or_dropped_the_namespace_is_about_to_release_it() {
        let holds = |namespaces: serde_json::Value, suspend: bool| {
            let mut project = project(&json!({"all": {}}));
            project.spec.namespaces = serde_json::from_value(namespaces).unwrap();
            project.spec.suspend = suspend;
            project
        };
        let (lists, dropped) = (json!([{"name": "web"}]), json!([{"name": "db"}]));
        for (what, holder, releases) in [
            ("it keeps it", holds(lists.clone(), false), false),
            ("it dropped it", holds(dropped.clone(), false), true),
            ("it is suspended", holds(dropped, true), false),
            ("it goes", deleted(holds(lists.clone(), false)), true),
            ("it goes while suspended", deleted(holds(lists, true)), true),
        ] {
            assert_eq!(is_releasing(Some(&Lookup::Found(Arc::new(holder))), "web"), releases, "{what}");
        }
        assert!(!is_releasing(None, "web") && !is_releasing(Some(&Lookup::Absent), "web"), "that is another question");
    }

    /// A Project of this name that lists these namespaces and lets members create some with these prefixes.
    fn serving(name: &str, namespaces: &[&str], prefixes: &[&str]) -> Project {
        let mut project = project(&json!({"all": {}}));
        project.metadata.name = Some(name.to_owned());
        let namespaces: Vec<_> = namespaces.iter().map(|name| json!({"name": name})).collect();
        project.spec.namespaces = serde_json::from_value(json!(namespaces)).unwrap();
        let spec = json!({"namePrefixes": prefixes, "maxNamespaces": 1});
        project.spec.self_service = (!prefixes.is_empty()).then(|| serde_json::from_value(spec).unwrap());
        project
    }

    #[test]
    fn a_holder_keeps_what_its_members_may_create() {
        let releases = |holder: Project, name: &str| is_releasing(Some(&Lookup::Found(Arc::new(holder))), name);
        assert!(!releases(serving("shop", &[], &["shop-"]), "shop-web"));
        assert!(releases(serving("shop", &[], &["shop-"]), "web"));
        assert!(releases(deleted(serving("shop", &[], &["shop-"])), "shop-web"));
    }

    #[test]
    fn a_rival_wants_what_members_may_create() {
        let shop = serving("shop", &[], &["shop-"]);
        let rival = |other: &Project, place: &str| {
            let found = rival(&shop, other, &Place::cluster(place), &fleet())?;
            Some(format!("{} {:?} {:?}", found.key, found.prefixes, found.listed))
        };
        let bank = || serving("bank", &["bank-web", "shop-web"], &["shop-eu-", "bank-", "s-"]);
        assert_eq!(rival(&bank(), "eu").as_deref(), Some(r#"team-a/bank ["shop-eu-"] {"shop-web"}"#));
        assert_eq!(rival(&bank(), "closed"), None, "not admitted there");
        assert_eq!(rival(&deleted(bank()), "eu"), None, "it goes");
        assert_eq!(rival(&shop, "eu"), None, "itself");
        assert_eq!(rival(&serving("mail", &["mail-web"], &["mail-"]), "eu"), None);
        let narrow = json!([
            {"name": "a", "from": {"names": ["team-a"]}, "namespacePatterns": ["shop-*"]},
            {"name": "b", "from": {"names": ["team-b"]}, "namespacePatterns": ["b-*"]},
        ]);
        let mut stranger = serving("spy", &[], &["shop-", "b-"]);
        stranger.metadata.namespace = Some("team-b".to_owned());
        let of_both =
            |one: &Project, other: &Project| super::rival(one, other, &Place::cluster("eu"), &fleet_with(&narrow));
        assert_eq!(of_both(&shop, &stranger), None, "the cluster lets nobody create shop-* for it");
        assert_eq!(of_both(&stranger, &shop), None, "so it learns of nobody who may");
        let mut elsewhere = bank();
        elsewhere.spec.clusters = serde_json::from_value(json!({"names": ["us"]})).unwrap();
        assert_eq!(rival(&elsewhere, "eu"), None, "it selects others");
    }

    #[test]
    fn a_change_concerns_whose_members_may_create_the_same_namespaces() {
        let index = ProjectIndex::default();
        let concerned = |old: Option<Project>, new: Option<Project>| {
            let key = ObjectKey::of(&old.as_ref().or(new.as_ref()).unwrap().metadata);
            let found = index.concerned(&Change { old: old.map(Arc::new), new: new.map(Arc::new), key });
            found.into_iter().map(|key| key.name).collect::<Vec<_>>()
        };
        let (wide, narrow) = (|| serving("wide", &[], &["shop-"]), || serving("narrow", &[], &["shop-eu-"]));
        assert_eq!(concerned(None, Some(wide())), [""; 0]);
        assert_eq!(concerned(None, Some(narrow())), ["wide"]);
        assert_eq!(concerned(None, Some(serving("lists", &["shop-eu-a"], &[]))), ["narrow", "wide"]);
        assert_eq!(concerned(None, Some(serving("other", &["mail-a"], &["mail-"]))), [""; 0]);
        assert_eq!(concerned(Some(narrow()), None), ["wide"]);
        assert_eq!(concerned(Some(wide()), Some(serving("wide", &[], &["mail-"]))), ["other"]);
    }

    #[test]
    fn a_change_concerns_who_lists_the_same_namespace() {
        let index = NamespaceIndex::default();
        let lists = |name: &str, namespaces: &[&str]| {
            let mut project = project(&json!({"all": {}}));
            project.metadata.name = Some(name.to_owned());
            let namespaces: Vec<_> = namespaces.iter().map(|name| json!({"name": name})).collect();
            project.spec.namespaces = serde_json::from_value(json!(namespaces)).unwrap();
            Arc::new(project)
        };
        let concerned = |old: Option<&Arc<Project>>, new: Option<&Arc<Project>>| {
            let key = ObjectKey::of(&old.or(new).unwrap().metadata);
            let found = index.concerned(&Change { old: old.cloned(), new: new.cloned(), key });
            found.into_iter().map(|key| key.name).collect::<Vec<_>>()
        };
        let (one, two, other) = (lists("one", &["web", "db"]), lists("two", &["web"]), lists("other", &["mail"]));
        assert_eq!(concerned(None, Some(&one)), [""; 0]);
        assert_eq!(concerned(None, Some(&other)), [""; 0]);
        assert_eq!(concerned(None, Some(&two)), ["one"]);
        let without_web = lists("one", &["db"]);
        assert_eq!(concerned(Some(&one), Some(&without_web)), ["two"], "what it released");
        assert_eq!(concerned(Some(&without_web), None), [""; 0]);
        assert_eq!(concerned(Some(&two), None), [""; 0]);
        assert_eq!(
            concerned(None, Some(&lists("new", &["web", "mail"]))),
            ["other"],
            "nothing is left of those that went"
        );
    }
}
