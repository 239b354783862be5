//! A policy, and the objects that it consists of.

use drover_crds::GROUP;
use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, NamedRuleWithOperations, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicyBindingSpec, ValidatingAdmissionPolicySpec, Validation,
    Variable,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::ObjectMeta;

/// An admission policy that holds for every request that it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Of the policy and of its binding.
    pub name: &'static str,
    /// Which requests it is about, and what has to hold for them; all that the API server would fill in is filled in.
    pub spec: ValidatingAdmissionPolicySpec,
}

impl Policy {
    /// One about `operations` on what `rules` names; nothing is required yet.
    pub(crate) fn on(name: &'static str, operations: &[&str], rules: &[(&str, &[&str])]) -> Self {
        let rule = |(group, resources): &(&str, &[&str])| NamedRuleWithOperations {
            api_groups: Some(vec![(*group).to_owned()]),
            api_versions: Some(vec!["*".to_owned()]),
            operations: Some(owned(operations)),
            resources: Some(owned(resources)),
            resource_names: None,
            scope: Some("*".to_owned()),
        };
        let constraints = MatchResources {
            match_policy: Some("Equivalent".to_owned()),
            namespace_selector: Some(LabelSelector::default()),
            object_selector: Some(LabelSelector::default()),
            resource_rules: Some(rules.iter().map(rule).collect()),
            exclude_resource_rules: None,
        };
        let spec = ValidatingAdmissionPolicySpec {
            failure_policy: Some("Fail".to_owned()),
            match_constraints: Some(constraints),
            ..ValidatingAdmissionPolicySpec::default()
        };
        Self { name, spec }
    }

    /// Only requests for which this is true.
    pub(crate) fn only(mut self, name: &str, expression: impl Into<String>) -> Self {
        let condition = MatchCondition { name: name.to_owned(), expression: expression.into() };
        self.spec.match_conditions.get_or_insert_default().push(condition);
        self
    }

    /// `variables.name` from now on.
    pub(crate) fn with(mut self, name: &str, expression: impl Into<String>) -> Self {
        let variable = Variable { name: name.to_owned(), expression: expression.into() };
        self.spec.variables.get_or_insert_default().push(variable);
        self
    }

    /// Requires that `expression` is true; else the request is refused with what the expression `message` says.
    pub(crate) fn require(mut self, expression: impl Into<String>, message: impl Into<String>) -> Self {
        let validation = Validation {
            expression: expression.into(),
            message: None,
            message_expression: Some(message.into()),
            reason: Some("Forbidden".to_owned()),
        };
        self.spec.validations.get_or_insert_default().push(validation);
        self
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> ValidatingAdmissionPolicy {
        ValidatingAdmissionPolicy { metadata: self.metadata(), spec: Some(self.spec.clone()), status: None }
    }

    /// What puts it into force.
    #[must_use]
    pub fn binding(&self) -> ValidatingAdmissionPolicyBinding {
        let spec = ValidatingAdmissionPolicyBindingSpec {
            policy_name: self.name.to_owned(),
            validation_actions: vec!["Deny".to_owned()],
            ..ValidatingAdmissionPolicyBindingSpec::default()
        };
        ValidatingAdmissionPolicyBinding { metadata: self.metadata(), spec }
    }

    fn metadata(&self) -> ObjectMeta {
        ObjectMeta { name: Some(self.name.to_owned()), ..ObjectMeta::default() }
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// A question to the authorizer: whether whoever sends the request has a verb. Each costs so much that two of them fill an
/// expression.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) verb: &'a str,
    pub(crate) group: &'a str,
    pub(crate) resource: &'a str,
    /// Expressions of the namespace and the name that it is about; none: all of them.
    pub(crate) namespace: Option<&'a str>,
    pub(crate) name: Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// Whether it is had on a resource of ours, everywhere.
    pub(crate) fn ours(verb: &'a str, resource: &'a str) -> Self {
        Self::on(GROUP, resource, verb)
    }

    /// Whether it is had everywhere on a resource of this API group.
    pub(crate) fn on(group: &'a str, resource: &'a str, verb: &'a str) -> Self {
        Self { verb, group, resource, namespace: None, name: None }
    }

    pub(crate) fn in_namespace(self, expression: &'a str) -> Self {
        Self { namespace: Some(expression), ..self }
    }

    pub(crate) fn named(self, expression: &'a str) -> Self {
        Self { name: Some(expression), ..self }
    }

    /// As an expression.
    pub(crate) fn cel(self) -> String {
        let Self { verb, group, resource, namespace, name } = self;
        let namespace = namespace.map(|expression| format!(".namespace({expression})")).unwrap_or_default();
        let name = name.map(|expression| format!(".name({expression})")).unwrap_or_default();
        format!("authorizer.group('{group}').resource('{resource}'){namespace}{name}.check('{verb}').allowed()")
    }
}
