use drover_crds::RoleTemplate;
use serde_json::json;

use super::*;

fn app() -> CatalogApp {
    serde_json::from_value(json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "CatalogApp", "metadata": {"name": "web", "namespace": "team-a"},
        "spec": {
            "clusterName": "eu", "namespace": "team-a-web", "projectName": "shop", "roleTemplateName": "deployer",
            "chart": {"configMap": {"name": "c", "key": "c.tgz", "digest": format!("sha256:{}", "0".repeat(64))}},
        },
    }))
    .unwrap()
}

fn template(name: &str, spec: &serde_json::Value) -> RoleTemplate {
    serde_json::from_value(json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": {"name": name}, "spec": spec,
    }))
    .unwrap()
}

fn deployer() -> serde_json::Value {
    let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]);
    json!({"context": "Project", "rules": rules, "bindableFrom": {"names": ["team-a"]}})
}

fn facts() -> Facts {
    let cluster = json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "eu"},
        "spec": {"connection": {"kubeconfig": {"secretRef": {"name": "eu"}}}},
    });
    Facts {
        cluster: Arc::new(serde_json::from_value(cluster).unwrap()),
        admission: Admission::Admitted,
        project: ProjectState::Present,
        hold: Hold::Guarded,
        templates: [template("deployer", &deployer())].into_iter().collect(),
        labels: BTreeMap::new(),
        grants: Grants::Allowed,
        admitted: Admitted::Yes,
    }
}

fn with_template(spec: &serde_json::Value) -> Facts {
    Facts { templates: [template("deployer", spec)].into_iter().collect(), ..facts() }
}

/// The reason, and what becomes of the rights that there are.
fn judged(facts: &Facts) -> (&'static str, &'static str) {
    match Verdict::of(&app(), facts) {
        Verdict::Granted(_) => ("", "granted"),
        Verdict::Held(cause, _) => (cause.reason(), "held"),
        Verdict::Withdrawn(cause, _) => (cause.reason(), "withdrawn"),
    }
}

#[test]
fn an_app_has_a_role_only_where_cluster_project_and_template_say_so() {
    let frozen = Grants::Frozen { cause: GrantCause::GrantsFrozen, message: String::new() };
    let mut of_cluster = deployer();
    of_cluster["context"] = json!("Cluster");
    let mut of_nobody = deployer();
    of_nobody["bindableFrom"] = json!({"names": ["team-b"]});
    for (facts, expected) in [
        (facts(), ("", "granted")),
        (Facts { admission: Admission::NoTenant, ..facts() }, ("NotATenant", "withdrawn")),
        (Facts { admission: Admission::OtherNamespaces, ..facts() }, ("NamespaceNotAllowed", "withdrawn")),
        (Facts { project: ProjectState::Absent, ..facts() }, ("ProjectNotFound", "withdrawn")),
        (Facts { project: ProjectState::Unsettled, ..facts() }, ("NamespaceNotGuarded", "held")),
        (Facts { hold: Hold::No, ..facts() }, ("NamespaceNotOfProject", "withdrawn")),
        (Facts { hold: Hold::Unguarded, ..facts() }, ("NamespaceNotGuarded", "held")),
        (Facts { templates: Templates::default(), ..facts() }, ("RoleTemplateNotFound", "withdrawn")),
        (with_template(&of_cluster), ("ContextMismatch", "withdrawn")),
        (with_template(&of_nobody), ("RoleTemplateNotBindable", "withdrawn")),
        (Facts { grants: frozen.clone(), ..facts() }, ("GrantsFrozen", "held")),
        (Facts { admitted: Admitted::No, ..facts() }, ("NotAdmitted", "held")),
        (Facts { admitted: Admitted::Unjudged, ..facts() }, ("NotYetGranted", "held")),
        // What is withdrawn goes, whatever else is not known.
        (Facts { grants: frozen, admission: Admission::NoTenant, ..facts() }, ("NotATenant", "withdrawn")),
    ] {
        assert_eq!(judged(&facts), expected);
    }
}

#[test]
fn the_management_cluster_takes_no_apps() {
    let mut local = (*facts().cluster).clone();
    local.metadata.name = Some(LOCAL_CLUSTER.to_owned());
    assert_eq!(judged(&Facts { cluster: Arc::new(local), ..facts() }), ("NotOnManagementCluster", "withdrawn"));
}
