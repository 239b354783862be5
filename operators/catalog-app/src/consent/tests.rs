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

fn of_platform() -> CatalogApp {
    let mut app = app();
    app.spec.project_name = None;
    app
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
        holder: None,
    }
}

fn with_template(spec: &serde_json::Value) -> Facts {
    Facts { templates: [template("deployer", spec)].into_iter().collect(), ..facts() }
}

/// The reason, and what becomes of the rights that there are.
fn judged(facts: &Facts) -> (&'static str, &'static str) {
    verdict(&app(), facts)
}

fn verdict(app: &CatalogApp, facts: &Facts) -> (&'static str, &'static str) {
    match Verdict::of(app, facts) {
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
        (Facts { hold: Hold::Ending, ..facts() }, ("NamespaceTerminating", "held")),
        (Facts { templates: Templates::default(), ..facts() }, ("RoleTemplateNotFound", "withdrawn")),
        (with_template(&of_cluster), ("ContextMismatch", "withdrawn")),
        (with_template(&of_nobody), ("RoleTemplateNotBindable", "withdrawn")),
        (Facts { grants: frozen.clone(), ..facts() }, ("GrantsFrozen", "held")),
        (Facts { holder: Some("other".to_owned()), ..facts() }, ("ReleaseTaken", "held")),
        (Facts { admitted: Admitted::No, ..facts() }, ("NotAdmitted", "held")),
        (Facts { admitted: Admitted::Unjudged, ..facts() }, ("NotYetGranted", "held")),
        // What is withdrawn goes, whatever else is not known.
        (Facts { grants: frozen, admission: Admission::NoTenant, ..facts() }, ("NotATenant", "withdrawn")),
    ] {
        assert_eq!(judged(&facts), expected);
    }
}

#[test]
fn an_app_without_a_project_needs_the_consent_of_the_cluster_and_a_role_for_whole_clusters() {
    let mut of_cluster = deployer();
    of_cluster["context"] = json!("Cluster");
    let facts = || Facts { project: ProjectState::Unnamed, hold: Hold::No, ..with_template(&of_cluster) };
    let mut of_nobody = of_cluster.clone();
    of_nobody.as_object_mut().unwrap().remove("bindableFrom");
    let with = |spec: &serde_json::Value| Facts { templates: with_template(spec).templates, ..facts() };
    for (facts, expected) in [
        (facts(), ("", "granted")),
        (Facts { admission: Admission::NoTenant, ..facts() }, ("NotATenant", "withdrawn")),
        (Facts { admission: Admission::NoClusterApps, ..facts() }, ("ClusterAppsNotAllowed", "withdrawn")),
        (Facts { admission: Admission::OtherNamespaces, ..facts() }, ("NamespaceNotAllowed", "withdrawn")),
        (with(&deployer()), ("ContextMismatch", "withdrawn")),
        (with(&of_nobody), ("RoleTemplateNotBindable", "withdrawn")),
        (Facts { hold: Hold::Unguarded, ..facts() }, ("NamespaceOfProject", "held")),
        (Facts { admitted: Admitted::No, ..facts() }, ("NotAdmitted", "held")),
        (Facts { holder: Some("other".to_owned()), ..facts() }, ("ReleaseTaken", "held")),
    ] {
        assert_eq!(verdict(&of_platform(), &facts), expected);
    }
}

#[test]
fn one_entry_of_the_cluster_allows_both_the_operation_and_the_namespace() {
    let entry = |name: &str, patterns: &[&str], operations: &[&str]| -> Tenant {
        let from = json!({"names": ["team-a"]});
        serde_json::from_value(
            json!({"name": name, "from": from, "namespacePatterns": patterns, "operations": operations}),
        )
        .unwrap()
    };
    let cluster = facts().cluster;
    let with = |app: &CatalogApp, tenants: &[Tenant]| Admission::of(app, &cluster, tenants.iter().collect());
    let (here, elsewhere) = (&["team-a-*"][..], &["ops-*"][..]);
    let may = &["ClusterApps"][..];
    let platform = of_platform();
    for (what, tenants, expected) in [
        ("nobody", vec![], Admission::NoTenant),
        ("no operation", vec![entry("a", here, &[])], Admission::NoClusterApps),
        ("others", vec![entry("a", here, &["Backup", "Restore", "Scan"])], Admission::NoClusterApps),
        ("two entries", vec![entry("a", here, &[]), entry("b", elsewhere, may)], Admission::OtherNamespaces),
        ("one entry", vec![entry("a", elsewhere, &[]), entry("b", here, may)], Admission::Admitted),
    ] {
        assert_eq!(with(&platform, &tenants), expected, "{what}");
    }
    assert_eq!(with(&app(), &[entry("a", here, &[])]), Admission::Admitted, "an app of a Project needs no operation");
    for protected in ["drover-system", "kube-system", "default"] {
        let mut app = of_platform();
        app.spec.namespace = protected.to_owned();
        assert_eq!(with(&app, &[entry("a", &["*"], may)]), Admission::OtherNamespaces, "{protected}");
    }
}

#[test]
fn the_management_cluster_takes_no_apps() {
    let mut local = (*facts().cluster).clone();
    local.metadata.name = Some(LOCAL_CLUSTER.to_owned());
    let facts = Facts { cluster: Arc::new(local), ..facts() };
    assert_eq!(judged(&facts), ("NotOnManagementCluster", "withdrawn"));
    assert_eq!(verdict(&of_platform(), &facts), ("NotOnManagementCluster", "withdrawn"));
}

fn created(name: &str, second: i64, spec: &serde_json::Value) -> CatalogApp {
    let mut app = app();
    app.metadata.name = Some(name.to_owned());
    let time = k8s_openapi::jiff::Timestamp::from_second(second).unwrap();
    app.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time));
    let mut whole = serde_json::to_value(&app.spec).unwrap();
    whole.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap_or_default());
    CatalogApp { spec: serde_json::from_value(whole).unwrap(), ..app }
}

#[test]
fn a_release_belongs_to_the_oldest_app_of_the_namespace_that_names_it() {
    let named = json!({"releaseName": "web"});
    let (first, second) = (created("web", 1, &json!({})), created("rival", 2, &named));
    let third = created("a-rival", 2, &named);
    let all = [&first, &second, &third];
    let of = |app: &CatalogApp| holder(app, all).map(kube::ResourceExt::name_any);
    assert_eq!(of(&first), None);
    assert_eq!(of(&second).as_deref(), Some("web"));
    assert_eq!(
        holder(&second, [&second, &third]).map(kube::ResourceExt::name_any).as_deref(),
        Some("a-rival"),
        "by name"
    );
    let elsewhere = created("old", 0, &json!({"releaseName": "web", "namespace": "team-a-db"}));
    let mut stranger = created("old", 0, &named);
    stranger.metadata.namespace = Some("team-b".to_owned());
    assert_eq!(holder(&first, [&elsewhere, &stranger]), None, "no other tenant holds it up");
    let platform = |app: &CatalogApp| {
        let mut app = app.clone();
        app.spec.project_name = None;
        app
    };
    let (ours, theirs) = (platform(&first), platform(&stranger));
    assert!(holder(&ours, [&theirs]).is_some(), "namespaces of apps of the platform are nobody's");
    assert_eq!(holder(&ours, [&stranger]), None);
}

#[test]
fn a_namespace_is_guarded_where_the_project_says_so_of_its_present_spec() {
    let project = |observed: i64, quota: &str, problems: serde_json::Value| -> Project {
        let conditions = json!([{
            "type": "QuotaReady", "status": quota, "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]);
        serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "Project",
            "metadata": {"name": "shop", "namespace": "team-a", "generation": 2}, "spec": {"clusters": {"all": {}}},
            "status": {"observedGeneration": observed, "conditions": conditions, "problems": problems},
        }))
        .unwrap()
    };
    let at = |cluster: &str, namespace: Option<&str>| json!({"cluster": cluster, "namespace": namespace, "reason": "QuotaExhausted", "message": ""});
    let full: Vec<_> = (0..MAX_PROBLEMS).map(|_| at("us", None)).collect();
    for (what, project, expected) in [
        ("all is well", project(2, "True", json!([])), true),
        ("of an older spec", project(1, "True", json!([])), false),
        ("it is on its way", project(2, "False", json!([])), false),
        ("here", project(2, "False", json!([at("eu", Some("team-a-web"))])), false),
        ("here as a whole", project(2, "False", json!([at("eu", None)])), false),
        ("in another namespace", project(2, "False", json!([at("eu", Some("team-a-db"))])), true),
        ("at another cluster", project(2, "False", json!([at("us", None)])), true),
        ("there may be more", project(2, "False", json!(full)), false),
    ] {
        assert_eq!(is_guarded(&project, "eu", "team-a-web"), expected, "{what}");
    }
}
