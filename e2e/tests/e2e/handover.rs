//! A release goes from hand to hand: what Drover released a person handles with Helm 4 or Helm 3, and what either installed Drover takes
//! over, without a restart of a Pod and without a field that nobody wants any more.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use drover_e2e::charts::ChartFiles;
use drover_e2e::installation::Installation;
use drover_e2e::objects::api;
use drover_e2e::story::*;
use drover_e2e::{Program, require_or_skip};
use kube::api::ListParams;
use serde_json::{Value, json};

drover_e2e::tests![i04_both_helms_and_drover_take_over_from_each_other,];

const NAMESPACE: &str = "team-web";
/// A field that a chart has and then does not have any more.
const EXTRA: &str = "apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-fields
data:
  always: there
  {{- if .Values.extra }}
  extra: {{ .Values.extra | quote }}
  {{- end }}
";

#[derive(Clone, Copy, Debug)]
enum Helm {
    Four,
    Three,
}

struct Hands {
    installation: Installation,
    chart: ChartFiles,
    package: PathBuf,
}

async fn i04_both_helms_and_drover_take_over_from_each_other() {
    let Some(hands) = Hands::prepared().await else { return };
    for helm in [Helm::Four, Helm::Three] {
        hands.a_person_handles_what_drover_released(helm).await;
        hands.drover_takes_over_what_a_person_installed(helm).await;
    }
}

impl Hands {
    async fn prepared() -> Option<Self> {
        let programs = [Program::Helm, Program::Helm3, Program::Kwok, Program::KubeScheduler];
        if !require_or_skip("handover", &programs).await.unwrap() {
            return None;
        }
        let mut installation = story("handover", &["eu"]).await?;
        installation.cluster_mut("eu").unwrap().start_pods(1).await.unwrap();
        let chart = ChartFiles::of("tiny").unwrap().with_file("templates/extra.yaml", EXTRA);
        let package = installation.directory().join("tiny.tgz");
        fs::write(&package, chart.package().unwrap()).unwrap();
        for object in [a_deployer(), a_packaged_chart("tiny", &chart)] {
            installation.apply(&object).await.unwrap();
        }
        with_shop(&installation).await;
        Some(Self { installation, chart, package })
    }

    fn app(&self, name: &str, values: &Value, spec: &Value) -> Value {
        let mut app = an_app(name, "eu", ("tiny", &self.chart), spec);
        app["spec"]["values"] = values.clone();
        app
    }

    fn person(&self, helm: Helm, arguments: &[&str]) -> String {
        let plane = self.installation.cluster("eu").unwrap();
        let mut command: Command = match helm {
            Helm::Four => plane.helm().unwrap(),
            Helm::Three => plane.helm3().unwrap(),
        };
        let output = command.args(arguments).args(["--namespace", NAMESPACE]).output().unwrap();
        assert!(output.status.success(), "{helm:?} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn history(&self, helm: Helm, release: &str) -> Vec<String> {
        let all: Value = serde_json::from_str(&self.person(helm, &["history", release, "--output=json"])).unwrap();
        let entry = |entry: &Value| format!("{} {}", entry["revision"], entry["status"].as_str().unwrap());
        all.as_array().unwrap().iter().map(entry).collect()
    }

    async fn find(&self, kind: &str, name: &str) -> Option<Value> {
        downstream(&self.installation, "eu", kind, NAMESPACE, name).await.unwrap()
    }

    async fn data(&self, release: &str) -> Value {
        self.find("configmap", &format!("{release}-fields")).await.unwrap()["data"].take()
    }

    /// Which Pods of a release run, and by which template.
    async fn running(&self, release: &str) -> Value {
        let pods = api(self.installation.cluster("eu").unwrap().client(), "pod", NAMESPACE).await.unwrap();
        let selected = ListParams::default().labels(&format!("app.kubernetes.io/instance={release}"));
        let pods = pods.list(&selected).await.unwrap().items;
        let told = pods.iter().map(|pod| json!([pod.metadata.uid, pod.metadata.labels])).collect::<Vec<_>>();
        let deployment = self.find("deployment", release).await.unwrap();
        assert!(!told.is_empty(), "{deployment:#}");
        json!([told, deployment["metadata"]["uid"], deployment["metadata"]["generation"]])
    }

    async fn a_person_handles_what_drover_released(&self, helm: Helm) {
        let release = format!("ours-{helm:?}").to_lowercase();
        let release = release.as_str();
        ready_with(&self.installation, &self.app(release, &json!({"extra": "one"}), &json!({}))).await;
        ready_with(&self.installation, &self.app(release, &json!({"message": "two"}), &json!({}))).await;
        assert_eq!(self.history(helm, release), ["1 superseded", "2 deployed"]);
        let list: Value = serde_json::from_str(&self.person(helm, &["list", "--output=json"])).unwrap();
        let listed = list.as_array().unwrap().iter().find(|listed| listed["name"] == release).unwrap();
        assert_eq!((&listed["chart"], &listed["status"]), (&json!("tiny-1.0.0"), &json!("deployed")));
        assert_eq!(self.person(helm, &["get", "values", release, "--output=json"]).trim(), r#"{"message":"two"}"#);
        assert!(self.person(helm, &["get", "values", release, "--all"]).contains("replicas: 1"));
        assert!(self.person(helm, &["get", "manifest", release]).contains("message: \"two\""));
        assert!(self.person(helm, &["get", "notes", release]).contains("says two."));
        assert_eq!(self.data(release).await, json!({"always": "there"}), "the upgrade took the field away");

        self.person(helm, &["rollback", release, "1"]);
        assert_eq!(self.data(release).await["extra"], "one");
        let package = self.package.display().to_string();
        self.person(helm, &["upgrade", release, &package, "--reuse-values", "--set=message=three"]);
        assert_eq!(self.data(release).await["extra"], "one");
        assert_eq!(self.find("configmap", release).await.unwrap()["data"]["message"], "three");
        assert_eq!(self.history(helm, release)[2..], ["3 superseded", "4 deployed"]);

        // What the person added goes again, whichever way that helm writes.
        ready_with(&self.installation, &self.app(release, &json!({"message": "four"}), &json!({}))).await;
        assert_eq!(self.data(release).await, json!({"always": "there"}));
        assert_eq!(self.history(helm, release)[3..], ["4 superseded", "5 deployed"]);
        self.a_person_uninstalls(helm, release).await;
    }

    /// It stays so until the app wants something else.
    async fn a_person_uninstalls(&self, helm: Helm, release: &str) {
        self.person(helm, &["uninstall", release]);
        assert_eq!(self.find("deployment", release).await, None);
        ready_with(&self.installation, &self.app(release, &json!({"message": "five"}), &json!({}))).await;
        assert_eq!(self.history(helm, release), ["1 deployed"]);
        deleted(&self.installation, "catalogapp", release).await;
        assert_eq!(self.find("deployment", release).await, None);
    }

    async fn drover_takes_over_what_a_person_installed(&self, helm: Helm) {
        let release = format!("theirs-{helm:?}").to_lowercase();
        let release = release.as_str();
        let package = self.package.display().to_string();
        self.person(helm, &["install", release, &package, "--set=extra=one", "--wait", "--timeout=30s"]);
        let before = self.running(release).await;
        let takes = json!({"takeOwnership": true});
        self.installation.apply(&self.app(release, &json!({"extra": "one"}), &json!({}))).await.unwrap();
        reads(&self.installation, "catalogapp", release, "Ready", "False/ObjectExists").await;
        // At once with the take-over a field goes.
        ready_with(&self.installation, &self.app(release, &json!({"message": "hello"}), &takes)).await;
        assert_eq!(self.data(release).await, json!({"always": "there"}), "{helm:?}");
        assert_eq!(self.running(release).await, before, "{helm:?}: Pods were restarted");
        assert_eq!(self.history(helm, release), ["1 superseded", "2 deployed"]);
        ready_with(&self.installation, &self.app(release, &json!({"message": "two"}), &takes)).await;
        assert_ne!(self.running(release).await, before, "a change is a change");
        deleted(&self.installation, "catalogapp", release).await;
        assert_eq!(self.find("deployment", release).await, None);
    }
}
