//! Members of a Project, judged by the real API servers of its clusters: they say who may do what in which namespace.

use std::collections::BTreeMap;

use drover_e2e::installation::Installation;
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, soon};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

drover_e2e::tests![members_have_what_bindings_give_and_nothing_else,];

/// Who asks.
#[derive(Clone, Copy, Debug)]
enum Who {
    User(&'static str),
    Group(&'static str),
    /// Of a namespace.
    Account(&'static str, &'static str),
}
use Who::{Account, Group, User};

/// Whether the API server of `eu` lets somebody list pods in a namespace.
async fn may(installation: &Installation, who: Who, namespace: &str) -> bool {
    let (user, groups) = match who {
        User(name) => (name.to_owned(), vec!["system:authenticated".to_owned()]),
        Group(name) => ("somebody".to_owned(), vec!["system:authenticated".to_owned(), name.to_owned()]),
        Account(namespace, name) => {
            let groups = ["system:authenticated".to_owned(), "system:serviceaccounts".to_owned()];
            (format!("system:serviceaccount:{namespace}:{name}"), groups.to_vec())
        }
    };
    let asked = ResourceAttributes {
        namespace: Some(namespace.to_owned()),
        verb: Some("list".to_owned()),
        resource: Some("pods".to_owned()),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: Some(user),
        groups: Some(groups),
        resource_attributes: Some(asked),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let reviews: Api<SubjectAccessReview> = Api::all(installation.cluster("eu").unwrap().client());
    let answer = reviews.create(&PostParams::default(), &review).await.unwrap();
    answer.status.is_some_and(|status| status.allowed)
}

/// Waits until somebody may list pods in these namespaces and in no other one.
async fn may_only(installation: &Installation, who: Who, namespaces: &[&str]) {
    let all = ["team-web", "team-db", "team-log", "kube-system", "default"];
    let expected: BTreeMap<&str, bool> = all.into_iter().map(|name| (name, namespaces.contains(&name))).collect();
    let what = format!("{who:?} may list pods in {namespaces:?} only");
    let outcome = eventually(&what, soon(), async || {
        let mut told = BTreeMap::new();
        for namespace in all {
            told.insert(namespace, may(installation, who, namespace).await);
        }
        Ok((told == expected).then_some(()))
    })
    .await;
    assert!(outcome.is_ok(), "{outcome:?}\ndrover:\n{}", installation.drover_log());
}

fn a_role(name: &str) -> Value {
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": {"name": name},
        "spec": {"context": "Project", "externalClusterRoles": ["view"], "bindableFrom": {"names": [TEAM]}},
    })
}

fn a_binding(name: &str, project: &str, role: &str, subjects: &Value) -> Value {
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "ProjectRoleTemplateBinding",
        "metadata": {"name": name, "namespace": TEAM},
        "spec": {"projectName": project, "roleTemplateName": role, "subjects": subjects},
    })
}

async fn members_have_what_bindings_give_and_nothing_else() {
    let Some(installation) = restful_story("members", &["eu"]).await else { return };
    // The binding comes first, then the role, then the Project.
    let ada = json!([{"kind": "User", "name": "ada"}]);
    installation.apply(&a_binding("ada", "shop", "viewer", &ada)).await.unwrap();
    reads(&installation, "projectroletemplatebinding", "ada", "Ready", "False/ProjectNotFound").await;
    installation.apply(&a_project("shop", &NAMESPACES)).await.unwrap();
    reads(&installation, "projectroletemplatebinding", "ada", "Ready", "False/RoleTemplateNotFound").await;
    reads(&installation, "project", "shop", "RBACReady", "False/RoleTemplateNotFound").await;
    may_only(&installation, User("ada"), &[]).await;
    installation.apply(&a_role("viewer")).await.unwrap();
    may_only(&installation, User("ada"), &NAMESPACES).await;
    reads(&installation, "projectroletemplatebinding", "ada", "Ready", "True/Ready").await;
    reads(&installation, "project", "shop", "RBACReady", "True/Ready").await;
    converged(&installation, "shop").await;
    may_only(&installation, User("bob"), &[]).await;
    deleted(&installation, "projectroletemplatebinding", "ada").await;
    may_only(&installation, User("ada"), &[]).await;
    let _ = (Group("g"), Account("a", "b"));
}
