//! Chart repositories on real servers: an app takes new versions within its policy, and no server that is away, asks for a login or lies
//! disturbs what is released.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use drover_e2e::charts::{ChartFiles, LOGIN, Registry, Repository, Trouble};
use drover_e2e::installation::{Installation, drover_binary};
use drover_e2e::story::*;
use drover_e2e::{Program, Tools, require_or_skip};
use serde_json::{Value, json};

use crate::apps::{an_app, condition_message, deployer, digest, history};

drover_e2e::tests![
    an_app_takes_versions_of_a_repository_within_its_policy,
    charts_come_from_a_registry_that_wants_a_login => limit(FIRST_BUILD),
];

/// The registry is built by the first test that takes it.
const FIRST_BUILD: Duration = Duration::from_mins(15);

const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-config\ndata:\n  version: {{ .Chart.Version | quote }}\n";

fn chart(version: &str) -> ChartFiles {
    let metadata = format!("apiVersion: v2\nname: shop\nversion: {version}\n");
    ChartFiles::default().with_file("Chart.yaml", metadata).with_file("templates/config.yaml", CONFIG)
}

fn a_repository(name: &str, namespace: &str, spec: &Value) -> Value {
    let metadata = json!({"name": name, "namespace": namespace});
    json!({"apiVersion": "drover.dev/v1alpha1", "kind": "ChartRepository", "metadata": metadata, "spec": spec})
}

fn login(hosts: &str, (user, password): (&str, &str)) -> Value {
    let metadata = json!({
        "name": "login", "namespace": TEAM, "labels": {"drover.dev/usable-by": "chart-repository"},
        "annotations": {"drover.dev/hosts": hosts},
    });
    let data = json!({"username": user, "password": password});
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})
}

/// An app whose chart is in a repository.
fn out_of(repository: &str, version: &str, spec: &Value) -> Value {
    let (namespace, name) = repository.split_once('/').unwrap_or((TEAM, repository));
    let source = json!({"name": name, "namespace": namespace, "chart": "shop", "version": version});
    let mut app = an_app("web", &[], spec);
    app["spec"]["chart"] = json!({"repository": source});
    app
}

/// What `drover charts` prints.
fn drover(kubeconfig: &Path, arguments: &[&str]) -> Result<String, String> {
    let management = format!("--management-kubeconfig={}", kubeconfig.display());
    let mut command = Command::new(drover_binary().unwrap());
    let output = command.args(["charts", "--allow-local-addresses", &management]).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

struct Shop {
    installation: Installation,
    repository: Repository,
}

impl Shop {
    /// Asks for another look at the repository, as a person does.
    async fn look(&self, when: &str) {
        let annotations = json!({"metadata": {"annotations": {"drover.dev/reconcile-at": when}}});
        patch(&self.installation, "chartrepository", "stable", annotations).await;
    }

    async fn says(&self, expected: &str) {
        reads(&self.installation, "chartrepository", "stable", "Ready", expected).await;
    }

    async fn has(&self, what: &str, versions: i64) {
        let is_so = |found: Option<&Value>| found.is_some_and(|found| found["status"]["versions"] == versions);
        object_becomes(&self.installation, "chartrepository", "stable", what, is_so).await;
    }

    async fn app(&self) -> Value {
        get(&self.installation, "catalogapp", "web").await.unwrap()
    }

    async fn is_at(&self, version: &str, available: Option<&str>) {
        let what = format!("version {version} is released, and {available:?} is available");
        let is_so = |found: Option<&Value>| {
            let status = found.map(|found| &found["status"]);
            status.is_some_and(|status| {
                status["applied"]["chartVersion"] == version
                    && status["pending"].is_null()
                    && status["chart"]["availableVersion"].as_str() == available
            })
        };
        object_becomes(&self.installation, "catalogapp", "web", &what, is_so).await;
        reads(&self.installation, "catalogapp", "web", "Ready", "True/Ready").await;
    }
}

async fn an_app_takes_versions_of_a_repository_within_its_policy() {
    let Some(installation) = restful_story("repositories", &["eu"]).await else { return };
    let repository = Repository::start().await.unwrap();
    let shop = Shop { installation, repository };
    shop.repository.add(&chart("1.0.0")).unwrap();
    let at = |url: &str| a_repository("stable", TEAM, &json!({"http": {"url": url}}));
    for object in [deployer(), at(shop.repository.url()), a_project("shop", &NAMESPACES)] {
        shop.installation.apply(&object).await.unwrap();
    }
    let policy = json!({"upgradePolicy": {"automatic": "Patch"}});
    ready_with(&shop.installation, &out_of("stable", "^1.0", &policy)).await;
    shop.is_at("1.0.0", None).await;
    let asked = shop.repository.all_requests();
    quiet(&shop.installation, "an app is released out of a repository").await;
    assert_eq!(shop.repository.all_requests(), asked, "at rest the repository is not asked");
    shop.a_new_version_is_taken_within_the_policy_only().await;
    shop.a_repository_in_trouble_disturbs_nobody().await;
    shop.people_look_at_charts_with_their_own_rights().await;
    shop.a_repository_of_others_is_as_none().await;
    shop.a_chart_at_a_url_is_the_one_of_its_digest().await;
}

impl Shop {
    async fn a_new_version_is_taken_within_the_policy_only(&self) {
        self.repository.add(&chart("1.0.1")).unwrap();
        self.look("one").await;
        self.is_at("1.0.1", None).await;
        self.repository.add(&chart("1.1.0")).unwrap();
        self.look("two").await;
        self.is_at("1.0.1", Some("1.1.0")).await;
        let revisions = [(1, "superseded".to_owned()), (2, "deployed".to_owned())];
        assert_eq!(history(&self.installation), revisions, "one upgrade for one version");
        let chosen = &self.app().await["status"]["chart"];
        assert_eq!(chosen["digest"], digest(&chart("1.0.1").package().unwrap()));
    }

    async fn a_repository_in_trouble_disturbs_nobody(&self) {
        self.repository.set(Trouble::Status(500));
        self.look("three").await;
        self.says("False/FetchFailed").await;
        self.repository.set(Trouble::None);
        self.repository.put("/index.yaml", "<html>Sign in</html>");
        self.look("four").await;
        self.says("False/IndexInvalid").await;
        self.repository.require("ann", "s3cr3t");
        self.repository.add(&chart("1.2.0")).unwrap();
        self.look("five").await;
        self.says("False/CredentialsRefused").await;
        reads(&self.installation, "catalogapp", "web", "Ready", "True/Ready").await;
        let elsewhere = login("other.example.org", ("ann", "s3cr3t"));
        self.installation.apply(&elsewhere).await.unwrap();
        let spec = json!({"http": {"url": self.repository.url()}, "secretRef": {"name": "login"}});
        self.installation.apply(&a_repository("stable", TEAM, &spec)).await.unwrap();
        self.says("False/CredentialsRefused").await;
        let here = login(self.repository.url().trim_start_matches("http://"), ("ann", "s3cr3t"));
        self.installation.apply(&here).await.unwrap();
        self.says("True/Ready").await;
        self.has("the new index was read", 4).await;
        self.is_at("1.0.1", Some("1.2.0")).await;
        assert_eq!(history(&self.installation).len(), 2, "nothing was released meanwhile");
    }

    async fn people_look_at_charts_with_their_own_rights(&self) {
        let kubeconfig = self.installation.management.kubeconfig_path();
        let list = drover(&kubeconfig, &["list", "--namespace", TEAM]).unwrap();
        assert!(list.lines().any(|line| line.starts_with("team/stable") && line.contains("1.2.0")), "{list}");
        let of = |command: &str, more: &[&str]| {
            let arguments = [&[command, "shop", "--repository=team/stable"], more].concat();
            drover(&kubeconfig, &arguments).unwrap()
        };
        assert_eq!(of("versions", &[]).lines().count(), 5);
        assert!(of("show", &["--version=1.0.0"]).contains("version: 1.0.0"));
        assert_eq!(of("questions", &[]), "");
        // Who may see repositories and no Secrets.
        let reader = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"});
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "drover-view"});
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "readers", "namespace": TEAM}, "roleRef": role, "subjects": [reader],
        });
        self.installation.apply(&binding).await.unwrap();
        let mut of_ann: Value = serde_yaml::from_str(&std::fs::read_to_string(&kubeconfig).unwrap()).unwrap();
        of_ann["users"][0]["user"]["as"] = "ann".into();
        let path = self.installation.directory().join("ann.json");
        std::fs::write(&path, of_ann.to_string()).unwrap();
        let refused = drover(&path, &["versions", "shop", "--repository=team/stable"]).unwrap_err();
        assert!(refused.contains("read with your own rights, which do not allow it"), "{refused}");
        assert!(!refused.contains("s3cr3t"), "{refused}");
    }

    async fn a_repository_of_others_is_as_none(&self) {
        self.installation.apply(&a_namespace("others")).await.unwrap();
        let open = Repository::start().await.unwrap();
        open.add(&chart("1.0.1")).unwrap();
        let spec = |usable: Value| json!({"http": {"url": open.url()}, "usableFrom": usable});
        let there = |usable| a_repository("theirs", "others", &spec(usable));
        self.installation.apply(&there(json!({"names": ["others"]}))).await.unwrap();
        self.installation.apply(&out_of("others/theirs", "1.0.1", &json!({}))).await.unwrap();
        reads(&self.installation, "catalogapp", "web", "Ready", "False/RepositoryNotUsable").await;
        let hidden = condition_message(&self.app().await);
        self.installation.apply(&out_of("others/nothing", "1.0.1", &json!({}))).await.unwrap();
        reads(&self.installation, "catalogapp", "web", "Ready", "False/RepositoryNotUsable").await;
        let absent = condition_message(&self.app().await);
        assert_eq!(hidden.replace("theirs", "nothing"), absent, "nobody learns what there is");
        self.installation.apply(&there(json!({"names": [TEAM]}))).await.unwrap();
        ready_with(&self.installation, &out_of("others/theirs", "1.0.1", &json!({}))).await;
    }

    async fn a_chart_at_a_url_is_the_one_of_its_digest(&self) {
        let open = Repository::start().await.unwrap();
        open.add(&chart("3.0.0")).unwrap();
        let url = format!("{}/charts/shop-3.0.0.tgz", open.url());
        let mut app = an_app("web", &[], &json!({}));
        app["spec"]["chart"] = json!({"url": {"url": url, "digest": digest(b"another chart")}});
        self.installation.apply(&app).await.unwrap();
        reads(&self.installation, "catalogapp", "web", "Ready", "False/ChartChanged").await;
        app["spec"]["chart"]["url"]["digest"] = digest(&chart("3.0.0").package().unwrap()).into();
        ready_with(&self.installation, &app).await;
        let config =
            downstream(&self.installation, "eu", "configmap", "team-web", "web-config").await.unwrap().unwrap();
        assert_eq!(config["data"]["version"], "3.0.0");
        assert!(self.app().await["status"]["chart"].is_null());
        drop(open);
        deleted(&self.installation, "catalogapp", "web").await;
    }
}

async fn charts_come_from_a_registry_that_wants_a_login() {
    if !require_or_skip("registry", &[Program::Registry, Program::Helm]).await.unwrap() {
        return;
    }
    let Some(installation) = story("registry", &["eu"]).await else { return };
    let registry = Registry::start_with_login(&Tools::from_environment().unwrap()).await.unwrap();
    registry.push("charts", &chart("1.0.0")).unwrap();
    registry.push("charts", &chart("2.0.0")).unwrap();
    let url = registry.url("charts");
    let host = url.trim_start_matches("oci://").split('/').next().unwrap();
    let spec = json!({"oci": {"url": url}, "secretRef": {"name": "login"}});
    for object in [deployer(), a_repository("registry", TEAM, &spec), a_project("shop", &NAMESPACES)] {
        installation.apply(&object).await.unwrap();
    }
    reads(&installation, "chartrepository", "registry", "Ready", "False/SecretNotFound").await;
    installation.apply(&login(host, (LOGIN.0, "wrong"))).await.unwrap();
    reads(&installation, "chartrepository", "registry", "Ready", "False/CredentialsRefused").await;
    installation.apply(&login(host, LOGIN)).await.unwrap();
    reads(&installation, "chartrepository", "registry", "Ready", "True/Ready").await;
    ready_with(&installation, &out_of("registry", "^1", &json!({}))).await;
    let status = &get(&installation, "catalogapp", "web").await.unwrap()["status"];
    assert_eq!(status["applied"]["chartVersion"], "1.0.0");
    assert_eq!(status["chart"]["availableVersion"], "2.0.0");
    new_tags_are_found_when_it_is_asked_for_them(&installation, &registry).await;
}

/// Long before the interval of the repository is over.
async fn new_tags_are_found_when_it_is_asked_for_them(installation: &Installation, registry: &Registry) {
    registry.push("charts", &chart("3.0.0")).unwrap();
    let asked = json!({"metadata": {"annotations": {"drover.dev/reconcile-at": "now"}}});
    patch(installation, "chartrepository", "registry", asked).await;
    object_becomes(installation, "chartrepository", "registry", "it did what it was asked", |found| {
        found.is_some_and(|found| found["status"]["lastHandledReconcileAt"] == "now")
    })
    .await;
    object_becomes(installation, "catalogapp", "web", "the new version is available", |found| {
        found.is_some_and(|found| found["status"]["chart"]["availableVersion"] == "3.0.0")
    })
    .await;
}
