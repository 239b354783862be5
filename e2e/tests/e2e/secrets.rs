//! Secrets of a Project on real API servers: from beside the Project into its namespaces, and gone when they are withdrawn. What they
//! hold shows nowhere.

use std::time::Duration;

use drover_e2e::installation::{Installation, chart, kubectl_on};
use drover_e2e::objects::{apply_to, delete_from, patch_on};
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, soon};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

drover_e2e::tests![secrets_reach_every_namespace_of_their_project_and_nothing_else,];

/// What no text may show.
const CANARY: &str = "canary-9f27c1";

/// A Secret beside Projects that names `shop`.
fn a_secret(name: &str, kind: &str, data: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": kind, "stringData": data,
        "metadata": {"name": name, "namespace": TEAM, "labels": {"drover.dev/project": "shop", "team": "a"}},
    })
}

fn opaque(value: &str) -> Value {
    a_secret("registry", "Opaque", &json!({"password": format!("{CANARY}-{value}")}))
}

/// As the API has it.
fn encoded(value: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(format!("{CANARY}-{value}"))
}

fn shop(secrets: &[&str]) -> Value {
    let mut shop = a_project("shop", &NAMESPACES);
    shop["spec"]["secrets"] = secrets.iter().map(|name| json!({"name": name})).collect();
    shop
}

async fn copy_becomes(
    installation: &Installation,
    namespace: &str,
    name: &str,
    what: &str,
    wanted: impl Fn(Option<&Value>) -> bool,
) {
    for cluster in ["eu", "us"] {
        downstream_becomes(installation, cluster, "secret", namespace, name, what, &wanted).await;
    }
}

/// Every namespace of the Project has the Secret `registry` with this value and nothing else.
async fn holds(installation: &Installation, value: &str) {
    let data = json!({"password": encoded(value)});
    for namespace in NAMESPACES {
        let is_it =
            |found: Option<&Value>| found.is_some_and(|found| found["data"] == data && found["type"] == "Opaque");
        copy_becomes(installation, namespace, "registry", value, is_it).await;
    }
}

async fn gone(installation: &Installation, name: &str) {
    for namespace in NAMESPACES {
        copy_becomes(installation, namespace, name, "it is gone", |found| found.is_none()).await;
    }
}

async fn says_secrets(installation: &Installation, expected: &str) {
    reads(installation, "project", "shop", "SecretsReady", expected).await;
}

async fn secrets_reach_every_namespace_of_their_project_and_nothing_else() {
    let Some(mut installation) = prepared_restful("secrets", &["eu", "us"]).await else { return };
    let environment = [("DROVER_LOG", "trace")];
    installation.environment.extend(environment.map(|(name, value)| (name.to_owned(), value.to_owned())));
    may_read_secrets(&installation, false);
    installation.start_drover().await.unwrap();

    installation.apply(&opaque("one")).await.unwrap();
    installation.apply(&shop(&["registry"])).await.unwrap();
    says_secrets(&installation, "False/SecretsNotPermitted").await;
    reads(&installation, "project", "shop", "NamespacesReady", "True/Ready").await;
    may_read_secrets(&installation, true);
    holds(&installation, "one").await;
    says_secrets(&installation, "True/Ready").await;
    converged(&installation, "shop").await;
    only_type_and_data_are_copied(&installation).await;
    quiet(&installation, "the Secret is everywhere").await;

    installation.apply(&opaque("two")).await.unwrap();
    holds(&installation, "two").await;
    what_a_tenant_changes_is_refused_or_restored(&installation).await;
    what_may_not_be_copied_is_told(&installation).await;
    what_is_withdrawn_goes(&installation).await;
    quiet(&installation, "everything was withdrawn").await;
    a_foreign_secret_stays(&installation).await;
    a_refusal_quotes_nothing(&installation).await;
    a_deleted_project_leaves_none(&installation).await;
    nothing_shows_the_canary(&mut installation).await;
}

/// By the chart, and by nothing else: as the Cluster `local` the management cluster would give it, too.
fn may_read_secrets(installation: &Installation, may: bool) {
    let values = format!("replicaCount=0,local.enabled=false,projectSecrets.enabled={may}");
    installation.helm(&["upgrade", "drover", &chart("drover"), "--set", &values]).unwrap();
}

async fn only_type_and_data_are_copied(installation: &Installation) {
    let copy = downstream(installation, "eu", "secret", "team-web", "registry").await.unwrap().unwrap();
    let labels = copy["metadata"]["labels"].as_object().unwrap();
    assert!(!labels.contains_key("team") && !labels.contains_key("drover.dev/project"), "{labels:?}");
    assert_eq!(labels["drover.dev/owner-name"], "shop");
    let annotations = copy["metadata"]["annotations"].as_object().unwrap();
    assert!(annotations.keys().all(|key| key.starts_with("drover.dev/")), "{annotations:?}");
}

/// The policy in the cluster refuses what changes a copy; without the policy it is restored.
async fn what_a_tenant_changes_is_refused_or_restored(installation: &Installation) {
    let eu = installation.cluster("eu").unwrap();
    let tenant = "--as=tenant";
    let grants = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "tenant", "namespace": "team-web"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"kind": "User", "name": "tenant", "apiGroup": "rbac.authorization.k8s.io"}],
    });
    apply_to(eu, &grants).await.unwrap();
    for change in [
        r#"{"stringData":{"password":"mine"}}"#,
        r#"{"immutable":true}"#,
        r#"{"metadata":{"labels":{"drover.dev/owner-kind":null}}}"#,
    ] {
        let arguments = ["patch", "secret", "registry", "-n", "team-web", "--type=merge", "-p", change, tenant];
        let refused = kubectl_on(eu, &arguments).unwrap_err();
        assert!(format!("{refused:?}").contains("Drover writes secrets registry"), "{refused:?}");
    }
    let own = ["create", "secret", "generic", "own", "--from-literal=a=b", "-n", "team-web", tenant];
    kubectl_on(eu, &own).unwrap();

    // As an administrator: a value, a key more, and the whole Secret.
    patch_on(eu, "secret", "team-web", "registry", json!({"stringData": {"password": "mine", "more": "mine"}}))
        .await
        .unwrap();
    holds(installation, "two").await;
    delete_from(eu, "secret", "team-db", "registry").await.unwrap();
    holds(installation, "two").await;
    patch_on(eu, "secret", "team-web", "registry", json!({"immutable": true})).await.unwrap();
    installation.apply(&opaque("three")).await.unwrap();
    holds(installation, "three").await;
}

async fn what_may_not_be_copied_is_told(installation: &Installation) {
    let mut token = a_secret("token", "kubernetes.io/service-account-token", &json!({}));
    token["metadata"]["annotations"] = json!({"kubernetes.io/service-account.name": "default"});
    let mut unlabelled = a_secret("unlabelled", "Opaque", &json!({"password": CANARY}));
    unlabelled["metadata"]["labels"] = Value::Null;
    let mut anothers = a_secret("anothers", "Opaque", &json!({"password": CANARY}));
    anothers["metadata"]["labels"]["drover.dev/project"] = json!("store");
    let large = a_secret("large", "Opaque", &json!({"password": "x".repeat((256 << 10) + 1)}));
    let release = a_secret("release", "helm.sh/release.v1", &json!({"release": CANARY}));
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": TEAM}});
    for object in [&account, &token, &unlabelled, &anothers, &large, &release] {
        installation.apply(object).await.unwrap();
    }
    for (name, reason) in [
        ("token", "SecretTypeNotAllowed"),
        ("release", "SecretTypeNotAllowed"),
        ("unlabelled", "SecretNotFound"),
        ("missing", "SecretNotFound"),
        ("anothers", "SecretOfAnotherProject"),
        ("large", "SecretTooLarge"),
    ] {
        installation.apply(&shop(&["registry", name])).await.unwrap();
        says_secrets(installation, &format!("False/{reason}")).await;
        for namespace in NAMESPACES {
            assert_eq!(downstream(installation, "eu", "secret", namespace, name).await.unwrap(), None, "{name}");
        }
    }
    // Named by its label it is offered at once; the type of a copy cannot be changed, so it goes and comes again.
    let tls = a_secret("anothers", "kubernetes.io/basic-auth", &json!({"username": "a", "password": CANARY}));
    installation.apply(&shop(&["registry", "anothers"])).await.unwrap();
    anothers["metadata"]["labels"]["drover.dev/project"] = json!("shop");
    installation.apply(&anothers).await.unwrap();
    let is_of = |kind: &'static str| move |found: Option<&Value>| found.is_some_and(|found| found["type"] == kind);
    copy_becomes(installation, "team-db", "anothers", "opaque", is_of("Opaque")).await;
    delete(installation, "secret", "anothers").await;
    installation.apply(&tls).await.unwrap();
    copy_becomes(installation, "team-db", "anothers", "of the other type", is_of("kubernetes.io/basic-auth")).await;
    says_secrets(installation, "True/Ready").await;
}

async fn what_is_withdrawn_goes(installation: &Installation) {
    installation.apply(&shop(&["registry"])).await.unwrap();
    gone(installation, "anothers").await;
    patch(installation, "project", "shop", json!({"spec": {"suspend": true}})).await;
    reads(installation, "project", "shop", "Ready", "True/Suspended").await;
    let mut unlabelled = opaque("three");
    unlabelled["metadata"]["labels"] = json!({"drover.dev/project": "store"});
    installation.apply(&unlabelled).await.unwrap();
    gone(installation, "registry").await;
    patch(installation, "project", "shop", json!({"spec": {"suspend": false}})).await;
    says_secrets(installation, "False/SecretOfAnotherProject").await;
}

/// A Secret of that name that is not ours is left alone and told; the other namespaces have theirs.
async fn a_foreign_secret_stays(installation: &Installation) {
    let eu = installation.cluster("eu").unwrap();
    let foreign = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "registry", "namespace": "team-web"},
        "stringData": {"password": "theirs"},
    });
    apply_to(eu, &foreign).await.unwrap();
    installation.apply(&opaque("four")).await.unwrap();
    downstream_becomes(installation, "eu", "secret", "team-db", "registry", "it is there", |found| {
        found.is_some_and(|found| found["data"]["password"] == encoded("four"))
    })
    .await;
    reads(installation, "project", "shop", "Ready", "False/AlreadyExists").await;
    let found = downstream(installation, "eu", "secret", "team-web", "registry").await.unwrap().unwrap();
    assert_eq!((&found["data"]["password"], found["metadata"].get("labels")), (&json!("dGhlaXJz"), None));
    delete_from(eu, "secret", "team-web", "registry").await.unwrap();
    patch(installation, "project", "shop", json!({"metadata": {"annotations": {"look": "again"}}})).await;
    holds(installation, "four").await;
}

/// Whoever refuses a Secret may quote what it holds.
async fn a_refusal_quotes_nothing(installation: &Installation) {
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "quotes"},
        "spec": {
            "matchConstraints": {"resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["secrets"],
            }]},
            "validations": [{
                "expression": "!has(object.data) || !('refused' in object.data)",
                "messageExpression": "'no: ' + string(object.data.refused)",
            }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "quotes"}, "spec": {"policyName": "quotes", "validationActions": ["Deny"]},
    });
    let eu = installation.cluster("eu").unwrap();
    for object in [&policy, &binding] {
        apply_to(eu, object).await.unwrap();
    }
    let probe = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "probe", "namespace": "team-web"}, "stringData": {"refused": "x"},
    });
    let refuses =
        eventually("the policy refuses", soon(), async || Ok(apply_to(eu, &probe).await.is_err().then_some(()))).await;
    refuses.unwrap();
    installation.apply(&a_secret("refused", "Opaque", &json!({"refused": CANARY}))).await.unwrap();
    installation.apply(&shop(&["registry", "refused"])).await.unwrap();
    reads(installation, "project", "shop", "Ready", "False/Rejected").await;
    assert!(problem(installation, "project", "shop").await.contains("the admission policy quotes refuses it"));
    installation.apply(&shop(&["registry"])).await.unwrap();
    converged(installation, "shop").await;
}

/// With `Orphan` the namespaces stay, and what was copied into them goes.
async fn a_deleted_project_leaves_none(installation: &Installation) {
    deleted(installation, "project", "shop").await;
    gone(installation, "registry").await;
    assert!(downstream_namespace(installation, "eu", "team-web").await.unwrap().is_some());
    tokio::time::sleep(Duration::from_millis(500)).await;
}

/// Not in any object but the Secrets, nor in events, logs at their finest, and metrics.
async fn nothing_shows_the_canary(installation: &mut Installation) {
    // Three bytes of the canary are four characters of Base64, and what follows differs.
    let coded = &encoded("one")[..CANARY.len() / 3 * 4];
    let shows = |text: &str| [CANARY, coded].iter().any(|canary| text.contains(canary));
    let ours = "projects.drover.dev,clusters.drover.dev,leases.coordination.k8s.io,";
    for plane in std::iter::once(&installation.management).chain(installation.downstream.values()) {
        let kinds = if plane.name() == "management" { ours } else { "" };
        let arguments = ["get", &format!("{kinds}events,configmaps"), "--all-namespaces", "-o", "yaml"];
        let text = kubectl_on(plane, &arguments).unwrap();
        assert!(text.contains("kind: ConfigMap") && !shows(&text), "{}", plane.name());
    }
    let log = std::fs::read_to_string(installation.replica(0).unwrap().log()).unwrap();
    assert!(log.contains(" TRACE "), "the log is not at its finest");
    assert_eq!(log.lines().find(|line| shows(line)), None);
    let address =
        log.lines().find_map(|line| Some(line.split_once("admin port address=")?.1.trim().to_owned())).unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
    let mut metrics = String::new();
    stream.read_to_string(&mut metrics).await.unwrap();
    assert!(metrics.contains("drover_") && !shows(&metrics), "{metrics}");
}
