//! The rights that Drover needs at API servers: written down beside the code that needs them, and generated into roles.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::rbac::v1::PolicyRule;

/// Reading as a [`crate::Cache`] does.
pub const READ: &[&str] = &["get", "list", "watch"];

/// What one crate needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rights {
    /// Everywhere in the management cluster.
    pub management: &'static [Rule],
    /// In Drover's own namespace of the management cluster.
    pub own_namespace: &'static [Rule],
    /// Everywhere in a downstream cluster.
    pub downstream: &'static [Rule],
    /// In Drover's namespace of a downstream cluster.
    pub downstream_namespace: &'static [Rule],
}

/// What the shell itself needs: the leader Lease, and telling what happened.
pub const RIGHTS: Rights = Rights {
    management: &[Rule::on("events.k8s.io", &["events"], &["create", "patch"])],
    own_namespace: &[Rule::on("coordination.k8s.io", &["leases"], &["create", "get", "update"])],
    downstream: &[],
    downstream_namespace: &[],
};

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

/// What `needed` asks for and `granted` does not give, as `get configmaps` or `patch projects.drover.dev`, sorted.
#[must_use]
pub fn missing(needed: &[PolicyRule], granted: &[PolicyRule]) -> Vec<String> {
    let mut missing = BTreeSet::new();
    for rule in needed {
        let group = rule.api_groups.iter().flatten().next().map_or("", String::as_str);
        for verb in &rule.verbs {
            let wanted = |kind, what| Wanted { verb, kind, what, names: rule.resource_names.as_deref() };
            let resources = rule.resources.iter().flatten().map(|resource| wanted(Kind::Resource(group), resource));
            let paths = rule.non_resource_urls.iter().flatten().map(|path| wanted(Kind::Path, path));
            missing.extend(
                resources
                    .chain(paths)
                    .filter(|wanted| !granted.iter().any(|rule| wanted.is_given_by(rule)))
                    .map(|wanted| wanted.to_string()),
            );
        }
    }
    missing.into_iter().collect()
}

/// One verb on one thing.
struct Wanted<'rule> {
    verb: &'rule str,
    kind: Kind<'rule>,
    what: &'rule str,
    names: Option<&'rule [String]>,
}

/// What a rule is about.
#[derive(Clone, Copy)]
enum Kind<'rule> {
    /// A resource of this API group.
    Resource(&'rule str),
    Path,
}

impl Wanted<'_> {
    fn is_given_by(&self, rule: &PolicyRule) -> bool {
        let has =
            |texts: &Option<Vec<String>>, text: &str| texts.iter().flatten().any(|given| given == "*" || given == text);
        let verb = rule.verbs.iter().any(|given| given == "*" || given == self.verb);
        verb && match self.kind {
            Kind::Resource(group) => {
                has(&rule.api_groups, group) && has(&rule.resources, self.what) && self.names_are_in(rule)
            }
            Kind::Path => rule.non_resource_urls.iter().flatten().any(|given| match given.strip_suffix('*') {
                Some(beginning) => self.what.starts_with(beginning),
                None => given == self.what,
            }),
        }
    }

    fn names_are_in(&self, rule: &PolicyRule) -> bool {
        match rule.resource_names.as_deref() {
            None | Some([]) => true,
            Some(given) => self.names.is_some_and(|names| names.iter().all(|name| given.contains(name))),
        }
    }
}

impl std::fmt::Display for Wanted<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.verb, self.what)?;
        match self.kind {
            Kind::Resource(group) if !group.is_empty() => write!(formatter, ".{group}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDED: [Rule; 4] = [
        Rule::on("", &["namespaces"], READ),
        Rule::on("", &["namespaces"], &["create"]),
        Rule::on("apps", &["deployments"], &["delete"]).named(&["drover"]),
        Rule::read_paths(&["/readyz"]),
    ];

    fn granted(rules: &[Rule]) -> Vec<String> {
        missing(&role(NEEDED), &role(rules.iter().copied()))
    }

    #[test]
    fn a_role_names_each_resource_once() {
        let rules = role(NEEDED);
        assert_eq!(rules.len(), 3);
        assert_eq!(rules[0].verbs, ["create", "get", "list", "watch"]);
        assert_eq!(rules[1].resource_names.as_deref(), Some(&["drover".to_owned()][..]));
        assert_eq!(rules[2].non_resource_urls.as_deref(), Some(&["/readyz".to_owned()][..]));
    }

    #[test]
    fn a_role_has_what_it_has() {
        assert_eq!(granted(&NEEDED), Vec::<String>::new());
        let all = [Rule::on("*", &["*"], &["*"]), Rule::read_paths(&["*"])];
        assert_eq!(granted(&all), Vec::<String>::new());
        assert_eq!(granted(&NEEDED[1..]), ["get namespaces", "list namespaces", "watch namespaces"]);
        assert_eq!(granted(&NEEDED[..3]), ["get /readyz"]);
    }

    #[test]
    fn a_right_on_some_names_is_no_right_on_all() {
        let named = |names| [NEEDED[0], NEEDED[1].named(names), NEEDED[2].named(names), NEEDED[3]];
        assert_eq!(granted(&named(&["drover"])), ["create namespaces"]);
        assert_eq!(granted(&named(&["another"])), ["create namespaces", "delete deployments.apps"]);
    }
}
