//! Whether policies are in place as they should be: in full, but for their metadata.

use std::borrow::Borrow;

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use kube::ResourceExt as _;
use serde_json::Value;

use crate::Policy;

/// What stands between requests and an API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guarded {
    /// Every policy is as it should be.
    Intact,
    /// It cannot be seen, for now or for want of rights.
    Unknown,
    /// Policies of these names, or what puts them into force, do not exist.
    Absent(Vec<&'static str>),
    /// Policies of these names, or what puts them into force, are others than they should be.
    Altered(Vec<&'static str>),
}

impl Guarded {
    /// How `expected` policies are, by what there is.
    #[must_use]
    pub fn of(
        expected: &[Policy],
        policies: &[impl Borrow<ValidatingAdmissionPolicy>],
        bindings: &[impl Borrow<ValidatingAdmissionPolicyBinding>],
    ) -> Self {
        let (mut absent, mut altered) = (Vec::new(), Vec::new());
        for policy in expected {
            let live = policies.iter().map(Borrow::borrow).find(|live| live.name_any() == policy.name);
            let binding = bindings.iter().map(Borrow::borrow).find(|live| live.name_any() == policy.name);
            match (live, binding) {
                (Some(live), Some(binding)) if is_intact(policy, live, binding) => {}
                (Some(_), Some(_)) => altered.push(policy.name),
                (None, _) | (_, None) => absent.push(policy.name),
            }
        }
        match (absent.is_empty(), altered.is_empty()) {
            (true, true) => Self::Intact,
            (false, _) => Self::Absent(absent),
            (true, false) => Self::Altered(altered),
        }
    }

    /// Both at once: what is missing at either, before what is altered, before what is unknown.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Absent(names), other) | (other, Self::Absent(names)) => Self::Absent(joined(names, other)),
            (Self::Altered(names), other) | (other, Self::Altered(names)) => Self::Altered(joined(names, other)),
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Intact, Self::Intact) => Self::Intact,
        }
    }

    /// Why nothing new is granted; none while everything is in place.
    #[must_use]
    pub fn frozen(&self) -> Option<String> {
        let (names, how) = match self {
            Self::Intact => return None,
            Self::Unknown => {
                return Some(
                    "Drover does not see its admission policies, and grants nothing new; see the conditions of the Cluster"
                        .to_owned(),
                );
            }
            Self::Absent(names) => (names, "are absent"),
            Self::Altered(names) => (names, "are altered"),
        };
        let names = names.join(", ");
        Some(format!(
            "admission policies {names} {how}, and Drover grants nothing new until they are restored; the chart brings those of \
             the management cluster, Drover itself those of a cluster"
        ))
    }
}

fn joined(mut names: Vec<&'static str>, other: Guarded) -> Vec<&'static str> {
    match other {
        Guarded::Absent(more) | Guarded::Altered(more) => names.extend(more),
        Guarded::Intact | Guarded::Unknown => {}
    }
    names
}

fn is_intact(policy: &Policy, live: &ValidatingAdmissionPolicy, binding: &ValidatingAdmissionPolicyBinding) -> bool {
    is_same(&policy.policy().spec, &live.spec) && is_same(&policy.binding().spec, &binding.spec)
}

/// Whether two specs say the same.
#[must_use]
pub fn is_same(one: &impl serde::Serialize, other: &impl serde::Serialize) -> bool {
    content(one) == content(other)
}

/// What a part of an object says: nothing said is the same as an empty list or selector.
fn content(spec: &impl serde::Serialize) -> Value {
    serde_json::to_value(spec).map(without_empties).unwrap_or_default()
}

fn without_empties(value: Value) -> Value {
    let is_said = |value: &Value| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    };
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(without_empties).collect()),
        Value::Object(members) => {
            let said = members.into_iter().map(|(key, value)| (key, without_empties(value)));
            Value::Object(said.filter(|(_, value)| is_said(value)).collect())
        }
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

    use super::*;
    use crate::{downstream, management};

    type Live = (Vec<ValidatingAdmissionPolicy>, Vec<ValidatingAdmissionPolicyBinding>);
    type Change = fn(&mut Live);

    fn installed(policies: &[Policy]) -> Live {
        (policies.iter().map(Policy::policy).collect(), policies.iter().map(Policy::binding).collect())
    }

    fn judged(change: impl FnOnce(&mut Live)) -> Guarded {
        let expected = management::policies();
        let mut live = installed(&expected);
        live.0.extend(installed(&downstream::policies()).0);
        change(&mut live);
        Guarded::of(&expected, &live.0, &live.1)
    }

    #[test]
    fn what_is_installed_is_intact_whatever_its_metadata_and_the_rest_are() {
        assert_eq!(judged(|_| {}), Guarded::Intact);
        let relabelled = judged(|(policies, bindings)| {
            policies[0].metadata.labels = Some([("helm.sh/chart".to_owned(), "drover".to_owned())].into());
            bindings[0].metadata.generation = Some(7);
            let constraints = policies[0].spec.as_mut().unwrap().match_constraints.as_mut().unwrap();
            constraints.namespace_selector = None;
            constraints.exclude_resource_rules = Some(Vec::new());
        });
        assert_eq!(relabelled, Guarded::Intact);
    }

    #[test]
    fn what_is_absent_is_named_with_policy_or_binding_gone() {
        let name = management::policies()[1].name;
        assert_eq!(judged(|(policies, _)| drop(policies.remove(1))), Guarded::Absent(vec![name]));
        assert_eq!(judged(|(_, bindings)| drop(bindings.remove(1))), Guarded::Absent(vec![name]));
        assert!(
            matches!(judged(|(policies, _)| policies.clear()), Guarded::Absent(names) if names.len() == management::policies().len())
        );
    }

    #[test]
    fn every_change_that_weakens_a_policy_is_seen() {
        let name = management::policies()[0].name;
        let changes: [(&str, Change); 9] = [
            ("fails open", |(policies, _)| {
                policies[0].spec.as_mut().unwrap().failure_policy = Some("Ignore".to_owned());
            }),
            ("a condition more", |(policies, _)| {
                let conditions = policies[0].spec.as_mut().unwrap().match_conditions.as_mut().unwrap();
                conditions[0].name = "never".to_owned();
            }),
            ("a namespace exempt", |(policies, _)| {
                let selector =
                    LabelSelector { match_labels: Some([("a".into(), "b".into())].into()), ..Default::default() };
                let constraints = policies[0].spec.as_mut().unwrap().match_constraints.as_mut().unwrap();
                constraints.namespace_selector = Some(selector);
            }),
            ("a kind exempt", |(policies, _)| {
                let constraints = policies[0].spec.as_mut().unwrap().match_constraints.as_mut().unwrap();
                constraints.exclude_resource_rules.clone_from(&constraints.resource_rules);
            }),
            ("a rule less", |(policies, _)| {
                policies[0].spec.as_mut().unwrap().validations.as_mut().unwrap().pop();
            }),
            ("an expression that is true", |(policies, _)| {
                policies[0].spec.as_mut().unwrap().validations.as_mut().unwrap()[0].expression = "true".to_owned();
            }),
            ("told only", |(_, bindings)| bindings[0].spec.validation_actions = vec!["Audit".to_owned()]),
            ("another one in force", |(_, bindings)| bindings[0].spec.policy_name = "other".to_owned()),
            ("in force somewhere", |(_, bindings)| {
                bindings[0].spec.match_resources =
                    Some(management::policies()[1].policy().spec.unwrap().match_constraints.unwrap());
            }),
        ];
        for (what, change) in changes {
            assert_eq!(judged(change), Guarded::Altered(vec![name]), "{what}");
        }
        assert_eq!(judged(|(policies, _)| policies[0].spec = None), Guarded::Altered(vec![name]), "no spec at all");
    }

    #[test]
    fn two_places_are_judged_by_the_worse() {
        let (absent, altered) = (Guarded::Absent(vec!["a"]), Guarded::Altered(vec!["b"]));
        assert_eq!(Guarded::Intact.and(Guarded::Intact), Guarded::Intact);
        assert_eq!(Guarded::Unknown.and(Guarded::Intact), Guarded::Unknown);
        assert_eq!(altered.clone().and(Guarded::Unknown), altered);
        assert_eq!(altered.clone().and(absent), Guarded::Absent(vec!["a", "b"]));
        assert!(altered.frozen().unwrap().contains("policies b are altered"));
        assert_eq!(Guarded::Intact.frozen(), None);
    }
}
