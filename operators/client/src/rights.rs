//! The rights that Drover needs at API servers: written down beside the code that needs them, and generated into roles.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::Resource;

/// Reading as a [`crate::Cache`] does.
pub const READ: &[&str] = &["get", "list", "watch"];

/// What one crate needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rights {
    /// Everywhere in the management cluster.
    pub management: &'static [Rule],
    /// On Secrets everywhere in the management cluster: whoever installs Drover gives it or not, and all else goes on without.
    pub management_secrets: &'static [Rule],
    /// In Drover's own namespace of the management cluster.
    pub own_namespace: &'static [Rule],
    /// Everywhere in a downstream cluster.
    pub downstream: &'static [Rule],
    /// In Drover's namespace of a downstream cluster.
    pub downstream_namespace: &'static [Rule],
}

impl Rights {
    /// No rights: `Rights { management: &[...], ..Rights::NONE }` states only what there is.
    pub const NONE: Self = Self {
        management: &[],
        management_secrets: &[],
        own_namespace: &[],
        downstream: &[],
        downstream_namespace: &[],
    };
}

/// One rule of a role, as [RBAC](https://kubernetes.io/docs/reference/access-authn-authz/rbac/) spells it.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    group: &'static str,
    resources: &'static [&'static str],
    names: &'static [&'static str],
    paths: &'static [&'static str],
    verbs: &'static [&'static str],
}

impl Rule {
    /// `verbs` on `resources` of the API group `group`, which is empty for the core group.
    #[must_use]
    pub const fn on(group: &'static str, resources: &'static [&'static str], verbs: &'static [&'static str]) -> Self {
        Self { group, resources, names: &[], paths: &[], verbs }
    }

    /// The same, but only on the objects `names`. RBAC cannot restrict `create` and `list` in this way.
    #[must_use]
    pub const fn named(self, names: &'static [&'static str]) -> Self {
        Self { names, ..self }
    }

    /// Reading `paths` that are no resources, such as `/readyz`.
    #[must_use]
    pub const fn read_paths(paths: &'static [&'static str]) -> Self {
        Self { group: "", resources: &[], names: &[], paths, verbs: &["get"] }
    }

    /// The rule taken apart.
    pub fn rights(self) -> impl Iterator<Item = Right> {
        let Self { group, resources, names, paths, verbs } = self;
        let resources = resources.iter().map(move |&resource| Thing::Resource { group, resource, names });
        let things = resources.chain(paths.iter().map(|&path| Thing::Path(path)));
        things.flat_map(move |thing| verbs.iter().map(move |&verb| Right { verb, thing }))
    }
}

/// One verb on one thing: what a [`Rule`] consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// For example `get`.
    pub verb: &'static str,
    /// On what.
    pub thing: Thing,
}

/// What a right is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// A resource of an API group, which is empty for the core group; all of its objects if no names are given.
    Resource {
        /// The API group.
        group: &'static str,
        /// The resource, with its subresource if it is about that: `pods` or `pods/status`.
        resource: &'static str,
        /// The objects that it is restricted to.
        names: &'static [&'static str],
    },
    /// A path that is no resource, such as `/readyz`.
    Path(&'static str),
}

impl fmt::Display for Right {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.thing {
            Thing::Resource { group: "", resource, .. } => write!(formatter, "{} {resource}", self.verb),
            Thing::Resource { group, resource, .. } => write!(formatter, "{} {resource}.{group}", self.verb),
            Thing::Path(path) => write!(formatter, "{} {path}", self.verb),
        }
    }
}

/// The rights that a credential lacks at one server, as far as the server has told.
#[derive(Debug, Default)]
pub struct MissingRights(Mutex<BTreeSet<Right>>);

impl MissingRights {
    /// Notes what the server told last.
    pub fn set(&self, missing: &BTreeSet<Right>) {
        self.lock().clone_from(missing);
    }

    /// Whether the credential lacks the right to do this to objects of the kind `K`.
    #[must_use]
    pub fn lacks<K: Resource<DynamicType = ()>>(&self, verb: &str) -> bool {
        let (group_of_kind, plural) = (K::group(&()), K::plural(&()));
        let is_it = |right: &Right| match right.thing {
            Thing::Resource { group, resource, .. } => {
                right.verb == verb && group == group_of_kind && resource == plural
            }
            Thing::Path(_) => false,
        };
        self.lock().iter().any(is_it)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Right>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rules of one role that holds everything in `rules`: each resource once per set of names, in a stable order.
#[must_use]
pub fn role(rules: impl IntoIterator<Item = Rule>) -> Vec<PolicyRule> {
    let mut on_resources = BTreeMap::<(&str, &str, &[&str]), BTreeSet<&str>>::new();
    let mut paths = BTreeSet::<&str>::new();
    for rule in rules {
        paths.extend(rule.paths);
        for resource in rule.resources {
            on_resources.entry((rule.group, resource, rule.names)).or_default().extend(rule.verbs);
        }
    }
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let mut role: Vec<_> = on_resources
        .into_iter()
        .map(|((group, resource, names), verbs)| PolicyRule {
            api_groups: Some(vec![group.to_owned()]),
            resources: Some(vec![resource.to_owned()]),
            resource_names: (!names.is_empty()).then(|| owned(names)),
            verbs: verbs.into_iter().map(str::to_owned).collect(),
            ..PolicyRule::default()
        })
        .collect();
    role.extend((!paths.is_empty()).then(|| PolicyRule {
        non_resource_urls: Some(paths.into_iter().map(str::to_owned).collect()),
        verbs: vec!["get".to_owned()],
        ..PolicyRule::default()
    }));
    role
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::{apps::v1::Deployment, core::v1::Namespace};

    use super::*;

    const NEEDED: [Rule; 4] = [
        Rule::on("", &["namespaces"], READ),
        Rule::on("", &["namespaces"], &["create"]),
        Rule::on("apps", &["deployments"], &["delete"]).named(&["drover"]),
        Rule::read_paths(&["/readyz"]),
    ];

    #[test]
    fn a_role_names_each_resource_once() {
        let rules = role(NEEDED);
        assert_eq!(rules.len(), 3);
        assert_eq!(rules[0].verbs, ["create", "get", "list", "watch"]);
        assert_eq!(rules[1].resource_names.as_deref(), Some(&["drover".to_owned()][..]));
        assert_eq!(rules[2].non_resource_urls.as_deref(), Some(&["/readyz".to_owned()][..]));
    }

    #[test]
    fn what_is_missing_is_told_by_kind_and_verb() {
        let missing = MissingRights::default();
        missing.set(&Rule::on("apps", &["deployments"], &["create"]).rights().collect());
        assert!(missing.lacks::<Deployment>("create") && !missing.lacks::<Deployment>("patch"));
        assert!(!missing.lacks::<Namespace>("create"));
        missing.set(&BTreeSet::new());
        assert!(!missing.lacks::<Deployment>("create"), "it was granted since");
    }

    #[test]
    fn a_rule_is_taken_apart_and_told() {
        let told: Vec<_> = NEEDED[1..].iter().flat_map(|rule| rule.rights()).map(|right| right.to_string()).collect();
        assert_eq!(told, ["create namespaces", "delete deployments.apps", "get /readyz"]);
    }
}
