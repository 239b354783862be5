//! Which `ClusterRoles` of a cluster Drover may bind besides its own: those that its code names, and those that an import names.

use std::collections::BTreeSet;

use drover_admission::verbs::BIND_EXTERNAL;
use k8s_openapi::api::rbac::v1::PolicyRule;

const GROUP: &str = "rbac.authorization.k8s.io";

/// The right to bind what the command line names; none if it names nothing.
pub(super) fn rule(names: &[String]) -> Option<PolicyRule> {
    let names: BTreeSet<&String> = names.iter().collect();
    (!names.is_empty()).then(|| PolicyRule {
        api_groups: Some(vec![GROUP.to_owned()]),
        resources: Some(vec!["clusterroles".to_owned()]),
        resource_names: Some(names.into_iter().cloned().collect()),
        verbs: vec![BIND_EXTERNAL.to_owned()],
        ..PolicyRule::default()
    })
}

/// What the rules of an earlier import let Drover bind, and those of this one do not.
pub(super) fn withdrawn(before: &[PolicyRule], now: &[PolicyRule]) -> BTreeSet<String> {
    bindable(before).difference(&bindable(now)).map(|name| (*name).to_owned()).collect()
}

fn bindable(rules: &[PolicyRule]) -> BTreeSet<&str> {
    let about = rules.iter().filter(|rule| rule.verbs.iter().any(|verb| verb == BIND_EXTERNAL));
    about.flat_map(|rule| rule.resource_names.iter().flatten()).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Vec<PolicyRule> {
        rule(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).into_iter().collect()
    }

    #[test]
    fn only_what_is_named_may_be_bound_and_each_once() {
        assert_eq!(of(&[]), []);
        let rules = of(&["cluster-admin", "auditor", "auditor"]);
        assert_eq!(rules[0].resource_names, Some(vec!["auditor".to_owned(), "cluster-admin".to_owned()]));
        assert_eq!(rules[0].verbs, [BIND_EXTERNAL]);
    }

    #[test]
    fn what_a_later_import_does_not_name_is_withdrawn() {
        let (both, one) = (of(&["auditor", "cluster-admin"]), of(&["auditor"]));
        assert_eq!(withdrawn(&both, &one), BTreeSet::from(["cluster-admin".to_owned()]));
        assert_eq!(withdrawn(&one, &both), BTreeSet::new());
        let read = PolicyRule { verbs: vec!["get".to_owned()], ..both[0].clone() };
        assert_eq!(withdrawn(&[read], &[]), BTreeSet::new());
    }
}
