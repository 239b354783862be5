//! Whether the credential has the rights in a cluster that this version of Drover needs there.

use std::{collections::BTreeSet, time::Duration};

use drover_crds::names::{DROVER_NAMESPACE, LOCAL_CLUSTER};
use drover_runtime::{
    ApiError, Rights,
    request::request,
    rights::{Right, Thing},
};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
    SelfSubjectRulesReview, SelfSubjectRulesReviewSpec, SubjectRulesReviewStatus,
};
use kube::{Api, Client, api::PostParams};

use crate::connection_guard;

/// What Drover needs in a downstream cluster.
#[derive(Clone, Debug, Default)]
pub struct RequiredPermissions(BTreeSet<(Scope, Right)>);

/// What a person does where the credential of this cluster lacks rights.
#[must_use]
pub fn remedy_of_missing_rights(cluster: &str) -> String {
    if cluster == LOCAL_CLUSTER {
        return "set local.enabled in the values of the chart".to_owned();
    }
    format!(
        "import it again (`drover import --context CONTEXT --name {cluster} --apply`), or grant what config/rbac/downstream.yaml says"
    )
}

/// Where a right is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    /// In the whole cluster.
    Everywhere,
    /// In the namespace `drover-system`.
    Namespace,
}

impl RequiredPermissions {
    /// What the crates with these `rights` need together.
    #[must_use]
    pub fn of(rights: &[Rights]) -> Self {
        let everywhere = rights.iter().flat_map(|rights| rights.downstream).map(|rule| (Scope::Everywhere, rule));
        let own = rights.iter().flat_map(|rights| rights.downstream_namespace).map(|rule| (Scope::Namespace, rule));
        Self(everywhere.chain(own).flat_map(|(scope, rule)| rule.rights().map(move |right| (scope, right))).collect())
    }

    /// The rights that the credential behind `client` lacks; none where the cluster does not say in time.
    ///
    /// It asks the server that the probe identified, and no other one. One question answers for all of them. What seems to be missing is asked for once more, one by one: clusters with an
    /// authorizer besides RBAC, as hosted ones have, do not tell everything in the first answer.
    pub(crate) async fn missing(&self, client: &Client, limit: Duration) -> Option<BTreeSet<Right>> {
        let lacking = connection_guard::without_dialling(self.lacking(client));
        match tokio::time::timeout(limit, lacking).await {
            Ok(Ok(missing)) => Some(missing),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the cluster does not say which rights there are");
                None
            }
            Err(_) => None,
        }
    }

    async fn lacking(&self, client: &Client) -> Result<BTreeSet<Right>, ApiError> {
        let found = rules(client).await?;
        let mut missing = BTreeSet::new();
        for (scope, right) in self.0.iter().filter(|(_, right)| !is_granted(right, &found)) {
            if !is_allowed(client, *scope, right).await? {
                missing.insert(*right);
            }
        }
        Ok(missing)
    }
}

/// What the cluster says of the rights of whoever asks, in the namespace `drover-system` and everywhere.
async fn rules(client: &Client) -> Result<SubjectRulesReviewStatus, ApiError> {
    let spec = SelfSubjectRulesReviewSpec { namespace: Some(DROVER_NAMESPACE.to_owned()) };
    let review = SelfSubjectRulesReview { spec, ..SelfSubjectRulesReview::default() };
    let api = Api::<SelfSubjectRulesReview>::all(client.clone());
    let answer = request("create a SelfSubjectRulesReview", api.create(&PostParams::default(), &review)).await?;
    Ok(answer.status.unwrap_or_default())
}

/// Whether these rules grant `right`. Pure.
fn is_granted(right: &Right, found: &SubjectRulesReviewStatus) -> bool {
    let has =
        |given: Option<&Vec<String>>, text: &str| given.into_iter().flatten().any(|one| one == "*" || one == text);
    match right.thing {
        Thing::Path(path) => found.non_resource_rules.iter().any(|rule| {
            let covers = |given: &String| match given.strip_suffix('*') {
                Some(beginning) => path.starts_with(beginning),
                None => given == path,
            };
            has(Some(&rule.verbs), right.verb) && rule.non_resource_urls.iter().flatten().any(covers)
        }),
        Thing::Resource { group, resource, names } => found.resource_rules.iter().any(|rule| {
            let only = rule.resource_names.as_deref().unwrap_or_default();
            let is_named = |name: &&str| only.iter().any(|one| one == name);
            has(Some(&rule.verbs), right.verb)
                && has(rule.api_groups.as_ref(), group)
                && has(rule.resources.as_ref(), resource)
                && (only.is_empty() || (!names.is_empty() && names.iter().all(is_named)))
        }),
    }
}

async fn is_allowed(client: &Client, scope: Scope, right: &Right) -> Result<bool, ApiError> {
    let api = Api::<SelfSubjectAccessReview>::all(client.clone());
    for spec in questions(scope, right) {
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let answer = request("create a SelfSubjectAccessReview", api.create(&PostParams::default(), &review)).await?;
        if !answer.status.unwrap_or_default().allowed {
            return Ok(false);
        }
    }
    Ok(true)
}

/// One question, or one for each name that the right is about. Pure.
fn questions(scope: Scope, right: &Right) -> Vec<SelfSubjectAccessReviewSpec> {
    let verb = Some(right.verb.to_owned());
    match right.thing {
        Thing::Path(path) => {
            let attributes = NonResourceAttributes { path: Some(path.to_owned()), verb };
            vec![SelfSubjectAccessReviewSpec { non_resource_attributes: Some(attributes), resource_attributes: None }]
        }
        Thing::Resource { group, resource, names } => {
            let (resource, subresource) = match resource.split_once('/') {
                Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
                None => (resource, None),
            };
            let names: Vec<_> = if names.is_empty() { vec![None] } else { names.iter().map(Some).collect() };
            let question = |name: Option<&&str>| ResourceAttributes {
                group: Some(group.to_owned()),
                name: name.map(|name| (*name).to_owned()),
                namespace: (scope == Scope::Namespace).then(|| DROVER_NAMESPACE.to_owned()),
                resource: Some(resource.to_owned()),
                subresource: subresource.clone(),
                verb: verb.clone(),
                ..ResourceAttributes::default()
            };
            let asked = names.into_iter().map(|name| SelfSubjectAccessReviewSpec {
                resource_attributes: Some(question(name)),
                non_resource_attributes: None,
            });
            asked.collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use drover_runtime::Rule;
    use serde_json::json;

    use super::*;

    const NAMED: Rule = Rule::on("apps", &["deployments/scale"], &["update"]).named(&["one", "two"]);

    fn found(rules: &serde_json::Value) -> SubjectRulesReviewStatus {
        let status = json!({"resourceRules": rules, "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/livez", "/read*"]}], "incomplete": false});
        serde_json::from_value(status).unwrap()
    }

    fn lacking(needed: Rule, rules: &serde_json::Value) -> Vec<String> {
        let found = found(rules);
        needed.rights().filter(|right| !is_granted(right, &found)).map(|right| right.to_string()).collect()
    }

    #[test]
    fn what_is_granted_is_not_missing() {
        let needed = Rule::on("", &["nodes", "namespaces"], &["get", "list"]);
        let everything = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
        assert_eq!(lacking(needed, &everything), Vec::<String>::new());
        let some = json!([
            {"verbs": ["get"], "apiGroups": [""], "resources": ["namespaces", "nodes"]},
            {"verbs": ["list"], "apiGroups": ["apps"], "resources": ["nodes"]},
            {"verbs": ["list"], "apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["one"]},
        ]);
        assert_eq!(lacking(needed, &some), ["list nodes", "list namespaces"], "another group's, and one by name");
        assert_eq!(lacking(Rule::read_paths(&["/livez", "/readyz", "/version"]), &some), ["get /version"]);
    }

    #[test]
    fn a_right_on_names_needs_all_of_them() {
        let granted = |names: &[&str]| json!([{"verbs": ["update"], "apiGroups": ["apps"], "resources": ["deployments/scale"], "resourceNames": names}]);
        assert_eq!(lacking(NAMED, &granted(&["two", "one", "three"])), Vec::<String>::new());
        assert_eq!(lacking(NAMED, &granted(&["one"])), ["update deployments/scale.apps"]);
        assert_eq!(lacking(NAMED, &granted(&[])), Vec::<String>::new(), "no names are all names");
    }

    #[test]
    fn what_seems_to_be_missing_is_asked_for_by_name() {
        let right = NAMED.rights().next().unwrap();
        let asked: Vec<_> =
            questions(Scope::Namespace, &right).into_iter().map(|spec| spec.resource_attributes).collect();
        let expected = |name: &str| {
            json!({"group": "apps", "resource": "deployments", "subresource": "scale", "name": name,
                "namespace": "drover-system", "verb": "update"})
        };
        assert_eq!(serde_json::to_value(asked).unwrap(), json!([expected("one"), expected("two")]));
        let path = Rule::read_paths(&["/readyz"]).rights().next().unwrap();
        let asked = serde_json::to_value(questions(Scope::Everywhere, &path)).unwrap();
        assert_eq!(asked, json!([{"nonResourceAttributes": {"path": "/readyz", "verb": "get"}}]));
    }
}
