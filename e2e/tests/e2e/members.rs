//! Members of a Project, judged by the real API servers of its clusters: they say who may do what in which namespace.

#![expect(clippy::disallowed_methods, reason = "a test may read the clock")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use drover_e2e::installation::Installation;
use drover_e2e::objects::{apply_to, delete_from, patch_on};
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, soon};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::jiff::SignedDuration;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

drover_e2e::tests![members_have_what_bindings_give_and_nothing_else,];

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    User(&'static str),
    Group(&'static str),
    /// Of a namespace.
    Account(&'static str, &'static str),
}
use Who::{Account, Group, User};

/// Whether the API server of `eu` lets somebody list pods in a namespace.
pub(crate) async fn may(installation: &Installation, who: Who, namespace: &str) -> bool {
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

fn users(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"kind": "User", "name": name})).collect()
}

const BINDING: &str = "projectroletemplatebinding";

async fn members_have_what_bindings_give_and_nothing_else() {
    let Some(installation) = restful_story("members", &["eu"]).await else { return };
    what_comes_later_is_waited_for(&installation).await;
    every_kind_of_subject_is_judged(&installation).await;
    a2_what_an_administrator_writes_past_admission_is_judged_again(&installation).await;
    what_is_withdrawn_goes(&installation).await;
    a_tenant_changes_nothing(&installation).await;
    quiet(&installation, "everybody has what bindings give").await;
    a_namespace_is_handed_over(&installation).await;
    quiet(&installation, "the namespace was handed over").await;
    deleted(&installation, "project", "shop").await;
    may_only(&installation, User("bob"), &[]).await;
}

/// The binding comes first, then the Project, then the role.
async fn what_comes_later_is_waited_for(installation: &Installation) {
    installation.apply(&a_binding("ada", "shop", "viewer", &users(&["ada"]))).await.unwrap();
    reads(installation, BINDING, "ada", "Ready", "False/ProjectNotFound").await;
    installation.apply(&a_project("shop", &NAMESPACES)).await.unwrap();
    reads(installation, BINDING, "ada", "Ready", "False/RoleTemplateNotFound").await;
    reads(installation, "project", "shop", "RBACReady", "False/RoleTemplateNotFound").await;
    may_only(installation, User("ada"), &[]).await;
    installation.apply(&a_role("viewer")).await.unwrap();
    may_only(installation, User("ada"), &NAMESPACES).await;
    reads(installation, BINDING, "ada", "Ready", "True/Ready").await;
    reads(installation, "project", "shop", "RBACReady", "True/Ready").await;
    converged(installation, "shop").await;
}

async fn every_kind_of_subject_is_judged(installation: &Installation) {
    let subjects = json!([
        {"kind": "Group", "name": "auditors"},
        {"kind": "User", "name": "bob"},
        {"kind": "ServiceAccount", "name": "ci", "namespace": "team-web"},
        {"kind": "ServiceAccount", "name": "ci", "namespace": "kube-system"},
    ]);
    installation.apply(&a_binding("all-kinds", "shop", "viewer", &subjects)).await.unwrap();
    for who in [Group("auditors"), User("bob"), Account("team-web", "ci")] {
        may_only(installation, who, &NAMESPACES).await;
    }
    reads(installation, BINDING, "all-kinds", "Ready", "False/ServiceAccountOfAnotherProject").await;
    may_only(installation, Account("kube-system", "ci"), &[]).await;
    for name in ["system:masters", "SYSTEM:Masters"] {
        let masters = json!([{"kind": "Group", "name": name}]);
        let refused = installation.apply(&a_binding("masters", "shop", "viewer", &masters)).await.unwrap_err();
        assert!(format!("{refused:?}").contains("system:masters stands above"), "{refused:?}");
    }
    installation.apply(&a_binding("all-kinds", "shop", "viewer", &users(&["bob"]))).await.unwrap();
    may_only(installation, Group("auditors"), &[]).await;
    may_only(installation, Account("team-web", "ci"), &[]).await;
    may_only(installation, User("bob"), &NAMESPACES).await;
}

/// Admission refuses these to everybody else. Nobody has anything by them, and the status says why.
async fn a2_what_an_administrator_writes_past_admission_is_judged_again(installation: &Installation) {
    let template = |name: &str, spec: Value| json!({"apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": {"name": name}, "spec": spec});
    let all = json!({"all": {}});
    for (name, spec) in [
        ("of-clusters", json!({"context": "Cluster", "externalClusterRoles": ["view"]})),
        (
            "not-here",
            json!({"context": "Project", "externalClusterRoles": ["view"], "bindableFrom": {"names": ["other"]}}),
        ),
        ("sly", json!({"context": "Project", "externalClusterRoles": ["drover:viewer"], "bindableFrom": all})),
    ] {
        installation.apply(&template(name, spec)).await.unwrap();
    }
    installation.apply(&a_namespace("other")).await.unwrap();
    let eve = users(&["eve"]);
    let group = |name: &str| json!([{"kind": "Group", "name": name}]);
    for (name, namespace, role, subjects, reason) in [
        ("foreign", "other", "viewer", &eve, "ProjectNotFound"),
        ("context", TEAM, "of-clusters", &eve, "ContextMismatch"),
        ("consent", TEAM, "not-here", &eve, "RoleTemplateNotBindable"),
        ("everybody", TEAM, "viewer", &group("system:authenticated"), "ServiceAccountOfAnotherProject"),
        ("accounts", TEAM, "viewer", &group("system:serviceaccounts"), "ServiceAccountOfAnotherProject"),
        ("account", TEAM, "viewer", &users(&["system:serviceaccount:kube-system:ci"]), "SubjectRefused"),
    ] {
        let mut binding = a_binding(name, "shop", role, subjects);
        binding["metadata"]["namespace"] = json!(namespace);
        installation.apply(&binding).await.unwrap();
        reads(installation, BINDING, &format!("{namespace}/{name}"), "Ready", &format!("False/{reason}")).await;
    }
    installation.apply(&a_binding("sly", "shop", "sly", &eve)).await.unwrap();
    reads(installation, "roletemplate", "sly", "Resolved", "False/ExternalRoleRefused").await;
    // Downstream, labels alone make no namespace one of the Project.
    let eu = installation.cluster("eu").unwrap();
    let mut forged = a_namespace("team-log");
    forged["metadata"]["labels"] = json!({
        "drover.dev/owner-kind": "Project", "drover.dev/owner-namespace": TEAM, "drover.dev/owner-name": "shop",
    });
    apply_to(eu, &forged).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    may_only(installation, User("bob"), &NAMESPACES).await;
    for who in [User("eve"), Account("kube-system", "ci"), Account("default", "default")] {
        may_only(installation, who, &[]).await;
    }
    installation.kubectl(&["delete", "roletemplates.drover.dev", "of-clusters", "not-here", "sly"]).unwrap();
    let bindings = ["context", "consent", "everybody", "accounts", "account", "sly"];
    let arguments =
        [&["delete", "projectroletemplatebindings.drover.dev", "--namespace", TEAM], &bindings[..]].concat();
    installation.kubectl(&arguments).unwrap();
    deleted(installation, BINDING, "other/foreign").await;
}

/// Two bindings give `ada` the role; only without both is it gone, at once, and also while the Project is suspended.
async fn what_is_withdrawn_goes(installation: &Installation) {
    installation.apply(&a_binding("again", "shop", "viewer", &users(&["ada"]))).await.unwrap();
    reads(installation, BINDING, "again", "Ready", "True/Ready").await;
    deleted(installation, BINDING, "ada").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(may(installation, User("ada"), "team-web").await && may(installation, User("ada"), "team-db").await);
    deleted(installation, BINDING, "again").await;
    let since = Instant::now();
    may_only(installation, User("ada"), &[]).await;
    println!("a member that was removed is denied after {:?}", since.elapsed());

    let mut contractor = a_binding("contractor", "shop", "viewer", &users(&["carl"]));
    let end = k8s_openapi::jiff::Timestamp::now() + SignedDuration::from_secs(3);
    contractor["spec"]["expiresAt"] = json!(end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    installation.apply(&contractor).await.unwrap();
    reads(installation, BINDING, "contractor", "Ready", "True/Expired").await;
    may_only(installation, User("carl"), &[]).await;

    installation.apply(&a_binding("dora", "shop", "viewer", &users(&["dora"]))).await.unwrap();
    may_only(installation, User("dora"), &NAMESPACES).await;
    patch(installation, "project", "shop", json!({"spec": {"suspend": true}})).await;
    reads(installation, "project", "shop", "Ready", "True/Suspended").await;
    installation.apply(&a_binding("eve", "shop", "viewer", &users(&["eve"]))).await.unwrap();
    deleted(installation, BINDING, "dora").await;
    may_only(installation, User("dora"), &[]).await;
    assert!(!may(installation, User("eve"), "team-web").await, "a suspended Project gives nothing");
    patch(installation, "project", "shop", json!({"spec": {"suspend": false}})).await;
    may_only(installation, User("eve"), &NAMESPACES).await;
    deleted(installation, BINDING, "eve").await;
    deleted(installation, BINDING, "contractor").await;
    may_only(installation, User("eve"), &[]).await;
}

/// Whoever may edit role bindings in a namespace cannot add a subject to those of Drover for long, and gets them back.
async fn a_tenant_changes_nothing(installation: &Installation) {
    let (eu, name) = (installation.cluster("eu").unwrap(), "drover:viewer:external:view");
    let mallory = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "mallory"});
    let adds = json!([{"op": "add", "path": "/subjects/-", "value": mallory}]);
    patch_on(eu, "rolebinding", "team-web", name, adds).await.unwrap();
    may_only(installation, User("mallory"), &[]).await;
    delete_from(eu, "rolebinding", "team-db", name).await.unwrap();
    may_only(installation, User("bob"), &NAMESPACES).await;
}

/// From `shop` to `store`: its members lose what they had there before others get anything.
async fn a_namespace_is_handed_over(installation: &Installation) {
    let mut store = a_project("store", &["team-db"]);
    store["spec"]["namespaces"][0]["onExisting"] = json!("Adopt");
    installation.apply(&a_binding("frank", "store", "viewer", &users(&["frank"]))).await.unwrap();
    installation.apply(&store).await.unwrap();
    reads(installation, "project", "store", "Ready", "False/WaitingForRelease").await;
    installation.apply(&a_project("shop", &["team-web"])).await.unwrap();
    may_only(installation, User("bob"), &["team-web"]).await;
    may_only(installation, User("frank"), &["team-db"]).await;
    converged(installation, "store").await;
    converged(installation, "shop").await;
    reads(installation, BINDING, "frank", "Ready", "True/Ready").await;
}
