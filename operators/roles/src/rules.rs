//! The one way to write a rule: lower case, sorted, without duplicates.

use std::collections::{BTreeMap, BTreeSet};

use drover_crds::RoleRule;
use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::atoms::{Atom, atoms};

/// The rules of all templates together, each once.
pub(crate) fn canonical<'a>(rules: impl IntoIterator<Item = &'a RoleRule>) -> Vec<PolicyRule> {
    let unique: BTreeSet<Canonical> = rules.into_iter().filter_map(Canonical::of).collect();
    unique.into_iter().map(PolicyRule::from).collect()
}

/// A rule in an order that sorts.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Canonical {
    groups: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
    urls: Vec<String>,
    verbs: Vec<String>,
}

impl Canonical {
    /// None for a rule that allows nothing. The schema refuses `*` as a verb; should one get past it, it allows nothing either.
    fn of(rule: &RoleRule) -> Option<Self> {
        let verbs = sorted(rule.verbs.iter().map(|verb| verb.to_lowercase()).filter(|verb| !verb.contains('*')));
        let names_objects = !rule.api_groups.is_empty() && !rule.resources.is_empty();
        let either = names_objects == rule.non_resource_urls.is_empty();
        (either && !verbs.is_empty()).then(|| Self {
            groups: sorted(rule.api_groups.iter().cloned()),
            resources: sorted(rule.resources.iter().map(|resource| resource.to_lowercase())),
            names: sorted(rule.resource_names.iter().cloned()),
            urls: sorted(rule.non_resource_urls.iter().cloned()),
            verbs,
        })
    }

    /// The rule about what a single right is about.
    fn without_verbs(atom: Atom<'_>) -> Self {
        let one = |text: &str| vec![text.to_owned()];
        let (groups, resources, names, urls) = match atom {
            Atom::Object { group, resource, name, .. } => {
                (one(group), one(resource), name.map(one).unwrap_or_default(), Vec::new())
            }
            Atom::Path { path, .. } => (Vec::new(), Vec::new(), Vec::new(), one(path)),
        };
        Self { groups, resources, names, urls, verbs: Vec::new() }
    }
}

impl From<Canonical> for PolicyRule {
    fn from(Canonical { groups, resources, names, urls, verbs }: Canonical) -> Self {
        let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
        Self {
            api_groups: some(groups),
            resources: some(resources),
            resource_names: some(names),
            non_resource_urls: some(urls),
            verbs,
        }
    }
}

/// What `wanted` and `live` both allow: what is left of the rights that are there when nothing may be added. Of rules with too many
/// rights to count them, only those count that are written alike.
#[must_use]
pub fn narrowed(wanted: &[PolicyRule], live: &[PolicyRule]) -> Vec<PolicyRule> {
    let Some((wanted_atoms, live_atoms)) = atoms(wanted).zip(atoms(live)) else {
        return wanted.iter().filter(|rule| live.contains(rule)).cloned().collect();
    };
    if wanted_atoms.is_subset(&live_atoms) {
        return wanted.to_vec();
    }
    let mut verbs: BTreeMap<Canonical, Vec<String>> = BTreeMap::new();
    for atom in wanted_atoms.intersection(&live_atoms) {
        verbs.entry(Canonical::without_verbs(*atom)).or_default().push(atom.verb().to_owned());
    }
    verbs.into_iter().map(|(rule, verbs)| PolicyRule::from(Canonical { verbs, ..rule })).collect()
}

fn sorted(texts: impl Iterator<Item = String>) -> Vec<String> {
    texts.collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rules(rules: &Value) -> Value {
        let rules: Vec<RoleRule> = serde_json::from_value(rules.clone()).unwrap();
        serde_json::to_value(canonical(&rules)).unwrap()
    }

    #[test]
    fn rules_are_spelled_in_one_way() {
        let pods = json!({"apiGroups": [""], "resources": ["pods", "Pods/log"], "verbs": ["List", "get", "GET"]});
        let again = json!({"apiGroups": [""], "resources": ["pods/log", "pods"], "verbs": ["get", "list"]});
        let one = json!([{"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]}]);
        assert_eq!(rules(&json!([pods, again])), one);
        let named = json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["Tls"], "verbs": ["get"]}]);
        assert_eq!(rules(&named), named, "names of objects and groups keep their case");
    }

    #[test]
    fn t08_no_verb_stands_for_every_verb() {
        let every = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
        assert_eq!(rules(&every), json!([]));
        let with_get = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*", "get"]}]);
        assert_eq!(rules(&with_get)[0]["verbs"], json!(["get"]));
    }

    /// A resource is one of its group: `namespaces` of metrics are not those of the cluster.
    #[test]
    fn t04_t05_a_right_is_about_a_resource_of_its_group_and_of_no_other() {
        let of = |group: &str, resource: &str| json!({"apiGroups": [group], "resources": [resource], "verbs": ["get"]});
        let granted = json!([of("", "pods"), of("apps", "deployments"), of("metrics.k8s.io", "namespaces")]);
        assert_eq!(rules(&granted), granted);
        let canonical = |rules: Value| canonical(&serde_json::from_value::<Vec<RoleRule>>(rules).unwrap());
        let live = canonical(granted);
        let mixed = json!([{"apiGroups": ["", "apps"], "resources": ["deployments", "namespaces"], "verbs": ["get"]}]);
        let left = serde_json::to_value(narrowed(&canonical(mixed), &live)).unwrap();
        assert_eq!(left, json!([of("apps", "deployments")]));
        let crossed = canonical(json!([of("", "namespaces"), of("", "deployments"), of("apps", "pods")]));
        assert_eq!(narrowed(&crossed, &live), []);
    }

    #[test]
    fn a_rule_without_objects_allows_nothing() {
        assert_eq!(rules(&json!([{"resources": ["pods"], "verbs": ["get"]}, {"verbs": ["get"]}])), json!([]));
    }
}
