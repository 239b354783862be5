//! The rights of all crates together, as the roles that grant them.

use std::collections::BTreeSet;

use drover_admission::verbs;
use drover_crds::names::DROVER_NAMESPACE;
use drover_runtime::{
    Rights, Rule,
    rights::{READ, role},
};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::api::ObjectMeta;

use crate::registry::{Entry, Operators, Writers};

/// What `operators` need, and everything under them.
pub(crate) fn rights(operators: &Operators) -> Vec<Rights> {
    let base = [drover_process::RIGHTS, drover_runtime::rights::RIGHTS, drover_fleet::RIGHTS];
    base.into_iter().chain(operators.iter().map(|operator| operator.rights)).collect()
}

/// The rules of the roles that `operators` need.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rules {
    /// Everywhere in the management cluster.
    pub(crate) management: Vec<PolicyRule>,
    /// On Secrets everywhere in the management cluster, where whoever installs Drover gives it.
    pub(crate) management_secrets: Vec<PolicyRule>,
    /// In the operator namespace of the management cluster.
    pub(crate) own_namespace: Vec<PolicyRule>,
    /// Everywhere in a downstream cluster.
    pub(crate) downstream: Vec<PolicyRule>,
    /// In the namespace `drover-system` of a downstream cluster.
    pub(crate) downstream_namespace: Vec<PolicyRule>,
}

impl Rules {
    /// What `operators` need.
    pub(crate) fn of(operators: &Operators) -> Self {
        let rights = rights(operators);
        let all = |part: fn(&Rights) -> &'static [Rule]| role(rights.iter().flat_map(part).copied());
        Self {
            management: all(|rights| rights.management),
            management_secrets: all(|rights| rights.management_secrets),
            own_namespace: all(|rights| rights.own_namespace),
            downstream: all(|rights| rights.downstream),
            downstream_namespace: all(|rights| rights.downstream_namespace),
        }
    }
}

/// The `ClusterRoles` that role templates may give beside a Project, unless the installation says otherwise.
pub(crate) const MANAGEMENT_ROLES: [&str; 3] = ["drover-admin", "drover-edit", "drover-view"];

/// The right to bind them, also as the Cluster `local`, where a policy asks for it too. The chart has them in a value.
pub(crate) fn binding_of_management_roles() -> PolicyRule {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    PolicyRule {
        api_groups: Some(owned(&["rbac.authorization.k8s.io"])),
        resources: Some(owned(&["clusterroles"])),
        resource_names: Some(owned(&MANAGEMENT_ROLES)),
        verbs: owned(&["bind", verbs::BIND_EXTERNAL]),
        ..PolicyRule::default()
    }
}

/// The rules of the roles that ship for people.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PeopleRules {
    /// Those who view in a namespace.
    pub(crate) view: Vec<PolicyRule>,
    /// Those who edit in a namespace.
    pub(crate) edit: Vec<PolicyRule>,
    /// Those who administer a namespace.
    pub(crate) admin: Vec<PolicyRule>,
    /// The platform team.
    pub(crate) platform: Vec<PolicyRule>,
    /// Those who look at everything of Drover.
    pub(crate) global_view: Vec<PolicyRule>,
    /// Those who bring clusters in.
    pub(crate) clusters_create: Vec<PolicyRule>,
    /// Those who define roles.
    pub(crate) roles_manage: Vec<PolicyRule>,
    /// Those who own apps on many clusters: they write and approve them.
    pub(crate) app_owner: Vec<PolicyRule>,
    /// Those who change apps on many clusters.
    pub(crate) app_member: Vec<PolicyRule>,
    /// Those who look at apps on many clusters.
    pub(crate) app_viewer: Vec<PolicyRule>,
}

/// To change what is there, and neither create nor delete it.
const CHANGE: &[&str] = &["get", "list", "patch", "update", "watch"];

impl PeopleRules {
    /// For the kinds of these operators.
    pub(crate) fn of(operators: &Operators) -> Self {
        let crds = drover_crds::all();
        let namespaced: BTreeSet<&str> = crds
            .iter()
            .filter(|crd| crd.spec.scope == "Namespaced")
            .map(|crd| crd.spec.names.plural.as_str())
            .collect();
        let plurals = |is_meant: &dyn Fn(&Entry, &str) -> bool| {
            let kinds = operators.iter().map(|entry| (entry, entry.resource().plural));
            kinds.filter(|(entry, plural)| is_meant(entry, plural)).map(|(_, plural)| plural).collect::<Vec<_>>()
        };
        let records: Vec<String> =
            operators.iter().flat_map(|entry| entry.records).map(|plural| (*plural).to_owned()).collect();
        let readable = |kinds: Vec<String>| may(READ, [kinds, records.clone()].concat());
        let writable_by = |writers: Writers| write(plurals(&|entry, _| entry.writers == writers));
        let rollouts = || plurals(&|_, plural| plural == "multiclusterapps");
        let of_rollouts = || [may(READ, plurals(&|_, plural| plural == "catalogapps")), see_revisions()].concat();
        Self {
            view: readable(plurals(&|_, plural| namespaced.contains(plural))),
            edit: writable_by(Writers::Editors),
            admin: [writable_by(Writers::Admins), verbs::of_admins()].concat(),
            platform: [
                write(plurals(&|_, _| true)),
                may(READ, records.clone()),
                verbs::of_platform(),
                see_namespaces(),
                see_revisions(),
            ]
            .concat(),
            global_view: [readable(plurals(&|_, _| true)), see_namespaces(), see_revisions()].concat(),
            clusters_create: may(&["create", "get", "list", "watch"], plurals(&|_, plural| plural == "clusters")),
            roles_manage: [write(plurals(&|_, plural| plural == "roletemplates")), verbs::of_role_managers()].concat(),
            app_owner: [write(rollouts()), verbs::of_app_owners(), of_rollouts()].concat(),
            app_member: [may(CHANGE, rollouts()), of_rollouts()].concat(),
            app_viewer: [may(READ, rollouts()), of_rollouts()].concat(),
        }
    }
}

/// Which Clusters admit a Project depends on the labels of its namespace: `drover access` asks for them.
fn see_namespaces() -> Vec<PolicyRule> {
    see("", "namespaces")
}

/// The history of an app on many clusters.
fn see_revisions() -> Vec<PolicyRule> {
    see("apps", "controllerrevisions")
}

fn see(group: &str, resource: &str) -> Vec<PolicyRule> {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let rule = PolicyRule {
        api_groups: Some(owned(&[group])),
        resources: Some(owned(&[resource])),
        verbs: owned(READ),
        ..PolicyRule::default()
    };
    vec![rule]
}

fn write(plurals: Vec<String>) -> Vec<PolicyRule> {
    may(&["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"], plurals)
}

fn may(verbs: &[&str], plurals: Vec<String>) -> Vec<PolicyRule> {
    let rule = PolicyRule {
        api_groups: Some(vec![drover_crds::GROUP.to_owned()]),
        resources: Some(plurals).filter(|plurals| !plurals.is_empty()),
        verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        ..PolicyRule::default()
    };
    if rule.resources.is_some() { vec![rule] } else { Vec::new() }
}

/// A `ClusterRole` with `rules`.
pub(crate) fn cluster_role(name: &str, rules: Vec<PolicyRule>) -> ClusterRole {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    ClusterRole { metadata, rules: Some(rules), aggregation_rule: None }
}

/// A Role with `rules` in the namespace `drover-system`.
pub(crate) fn namespaced_role(name: &str, rules: Vec<PolicyRule>) -> Role {
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(DROVER_NAMESPACE.to_owned()),
        ..ObjectMeta::default()
    };
    Role { metadata, rules: Some(rules) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_role_that_ships_has_a_wildcard() {
        let Rules { management, management_secrets, own_namespace, downstream, downstream_namespace } =
            Rules::of(&Operators::all());
        for rule in [management, management_secrets, own_namespace, downstream, downstream_namespace].concat() {
            let PolicyRule { api_groups, non_resource_urls, resource_names, resources, verbs } = rule;
            let optional = [api_groups, non_resource_urls, resource_names, resources];
            for text in optional.into_iter().flatten().flatten().chain(verbs) {
                assert!(!text.contains('*'), "{text}");
            }
        }
    }

    #[test]
    fn people_view_what_is_namespaced_and_the_platform_team_writes_every_kind() {
        let PeopleRules { view, edit, admin, platform, global_view, clusters_create, roles_manage, .. } =
            PeopleRules::of(&Operators::all());
        let names = |rules: &[PolicyRule]| {
            let of_objects = rules.iter().filter(|rule| rule.verbs.iter().any(|verb| verb == "get"));
            of_objects.flat_map(|rule| rule.resources.clone().unwrap_or_default()).collect::<BTreeSet<_>>()
        };
        for crd in drover_crds::all() {
            let (plural, is_namespaced) = (&crd.spec.names.plural, crd.spec.scope == "Namespaced");
            assert!(names(&platform).contains(plural), "{plural}");
            assert_eq!(names(&view).contains(plural), is_namespaced, "{plural}");
            for rules in [&edit, &admin] {
                assert!(is_namespaced || !names(rules).contains(plural), "{plural} is the platform team's");
            }
        }
        for rule in [view, global_view.clone()].concat() {
            assert_eq!(rule.verbs, READ);
        }
        assert_eq!(names(&global_view), names(&platform));
        assert_eq!(names(&clusters_create), BTreeSet::from(["clusters".to_owned()]));
        assert_eq!(names(&roles_manage), BTreeSet::from(["roletemplates".to_owned()]));
    }

    #[test]
    fn only_owners_approve_an_app_on_many_clusters_and_nobody_who_shares_one_writes_anything_else() {
        let PeopleRules { app_owner, app_member, app_viewer, .. } = PeopleRules::of(&Operators::all());
        let verbs = |rules: &[PolicyRule], resource: &str| {
            let about = |rule: &&PolicyRule| rule.resources.iter().flatten().any(|each| each == resource);
            rules.iter().filter(about).flat_map(|rule| rule.verbs.clone()).collect::<BTreeSet<_>>()
        };
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<BTreeSet<_>>();
        let write = ["approve", "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
        for (rules, expected) in [(app_owner, &write[..]), (app_member, CHANGE), (app_viewer, READ)] {
            assert_eq!(verbs(&rules, "multiclusterapps"), owned(expected));
            for (group, resource) in [("drover.dev", "catalogapps"), ("apps", "controllerrevisions")] {
                assert_eq!(verbs(&rules, resource), owned(READ), "{resource}");
                let is_of_group = |rule: &PolicyRule| rule.api_groups == Some(vec![group.to_owned()]);
                let about = |rule: &&PolicyRule| rule.resources.iter().flatten().any(|each| each == resource);
                assert!(rules.iter().filter(about).all(is_of_group), "{resource}");
            }
            let all: BTreeSet<_> = rules.into_iter().flat_map(|rule| rule.resources.unwrap_or_default()).collect();
            assert_eq!(all, owned(&["catalogapps", "controllerrevisions", "multiclusterapps"]));
        }
    }

    #[test]
    fn a_part_has_the_rights_of_its_own_operators_only() {
        let may = |rules: &[PolicyRule], verb: &str, resource: &str| {
            let all = |rule: &&PolicyRule| rule.resource_names.is_none() && rule.verbs.iter().any(|each| each == verb);
            rules.iter().filter(all).any(|rule| rule.resources.iter().flatten().any(|each| each == resource))
        };
        let of = |name: &str| {
            Rules::of(&Operators::of(&Operators::all().iter().filter(|entry| entry.name == name).collect::<Vec<_>>()))
        };
        let (cluster, project) = (of("cluster"), of("project"));
        let (verb, resource) = ("patch", "projects/status");
        assert!(may(&project.management, verb, resource) && !may(&cluster.management, verb, resource));
        for verb in ["delete", "watch"] {
            assert!(may(&project.downstream, verb, "namespaces") && !may(&cluster.downstream, verb, "namespaces"));
        }
        assert!(may(&cluster.downstream, "list", "nodes") && !may(&project.downstream, "list", "nodes"));
        assert!(may(&cluster.own_namespace, "update", "leases") && may(&project.own_namespace, "update", "leases"));
    }

    /// In the management cluster Drover reads Secrets of its own namespace, unless its installer gives it more; in a cluster it reads
    /// what it copied there, and RBAC knows no labels.
    #[test]
    fn secrets_are_in_the_role_of_the_own_namespace_in_that_for_copies_and_in_one_that_is_given_or_not() {
        let rules = Rules::of(&Operators::all());
        let about_secrets = |rules: &[PolicyRule]| -> Vec<String> {
            let about = |rule: &&PolicyRule| rule.resources.iter().flatten().any(|resource| resource == "secrets");
            rules.iter().filter(about).flat_map(|rule| rule.verbs.clone()).collect()
        };
        assert!(!about_secrets(&rules.own_namespace).is_empty());
        assert_eq!(about_secrets(&rules.management), [""; 0]);
        assert_eq!(about_secrets(&rules.management_secrets), READ);
        assert_eq!(about_secrets(&rules.downstream), ["create", "delete", "get", "list", "patch", "watch"]);
        assert_eq!(
            about_secrets(&rules.downstream_namespace),
            ["create", "delete", "get", "patch"],
            "tasks and answers of Jobs"
        );
    }
}
