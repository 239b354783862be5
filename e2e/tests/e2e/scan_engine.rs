//! The node of the harness under the real kube-bench: what it sees there is one control plane, as kubeadm lays it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use drover_e2e::control_plane::client_from;
use drover_e2e::node::{NodeSettings, ProcessNode};
use drover_e2e::objects::{api, apply_to, find};
use drover_e2e::pool::{Pool, Shape};
use drover_e2e::wait::{becomes, patiently};
use drover_e2e::{Components, ControlPlane, Program, Tools, require_or_skip};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

drover_e2e::tests![
    kube_bench_sees_the_control_plane_of_its_node_and_no_other,
    a_pod_without_the_processes_of_the_host_sees_none_of_them,
];

const IMAGE: &str = "drover-bench:test";
const NODE: &str = "control-plane-1";
/// As in Jobs of Drover, all of which are there, or made.
const FOLDERS: [&str; 9] = [
    "/etc/kubernetes",
    "/var/lib/etcd",
    "/var/lib/kubelet",
    "/etc/systemd",
    "/lib/systemd",
    "/etc/cni/net.d",
    "/opt/cni/bin",
    "/var/lib/cni",
    "/srv/kubernetes",
];
/// A user that owns nothing.
const COLLECTOR: i64 = 64918;

const BENCH: &str = "ls /var/lib/kubelet/pods > /results/pods
/kube-bench run --config-dir /cfg --config /cfg/config.yaml --benchmark cis-1.12 --targets master,controlplane,etcd,node \
    --json --noremediations > /results/partial.json && mv /results/partial.json /results/all.json";
const COLLECT: &str = r#"until [ -e /results/all.json ]; do sleep 0.1; done
account=/var/run/secrets/kubernetes.io/serviceaccount
cp /results/* $account/token $account/ca.crt /out/
if touch /results/mine 2>/dev/null ; then exit 3; fi
echo "$(id -u):$(id -g) $(cat $account/namespace) $KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT" > /dev/termination-log"#;

/// A Pod of the shape that scans have. The one container writes, the other takes it from there.
fn a_scan(name: &str, bench: &str, collect: &str, sees_host: bool) -> Value {
    let host = |(position, folder): (usize, &&str)| {
        let name = format!("host-{position}");
        (
            json!({"name": name, "hostPath": {"path": folder}}),
            json!({"name": name, "mountPath": folder, "readOnly": true}),
        )
    };
    let (mut volumes, mut mounts): (Vec<_>, Vec<_>) = FOLDERS.iter().enumerate().map(host).unzip();
    for volume in ["results", "scratch", "pods"] {
        volumes.push(json!({"name": volume, "emptyDir": {}}));
    }
    volumes.extend([
        json!({"name": "out", "hostPath": {"path": "/out"}}),
        json!({"name": "token", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 600}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
        ]}}),
    ]);
    mounts.extend([
        json!({"name": "results", "mountPath": "/results"}),
        json!({"name": "scratch", "mountPath": "/tmp"}),
        json!({"name": "pods", "mountPath": "/var/lib/kubelet/pods", "readOnly": true}),
    ]);
    let of_collector = json!([
        {"name": "results", "mountPath": "/results", "readOnly": true},
        {"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true},
        {"name": "out", "mountPath": "/out"},
    ]);
    let user = |id: i64| json!({"runAsUser": id, "runAsGroup": id});
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "nodeName": NODE, "restartPolicy": "Never", "hostPID": sees_host, "automountServiceAccountToken": false,
            "serviceAccountName": "default", "volumes": volumes,
            "containers": [
                {
                    "name": "bench", "image": IMAGE, "command": ["/bin/sh", "-ec", bench], "securityContext": user(0),
                    "volumeMounts": mounts,
                },
                {
                    "name": "collector", "image": IMAGE, "command": ["/bin/sh", "-ec", collect],
                    "securityContext": user(COLLECTOR), "volumeMounts": of_collector,
                },
            ],
        },
    })
}

/// A control plane, its node, and the folder in which containers leave what the test reads.
struct Scene {
    plane: ControlPlane,
    out: PathBuf,
    _folder: tempfile::TempDir,
    _node: ProcessNode,
}

impl Scene {
    async fn begin(test: &str) -> Option<Self> {
        let mut programs = Components::WithControllerManager.programs();
        programs.push(Program::KubeBench);
        if !require_or_skip(test, &programs).await.unwrap() {
            return None;
        }
        let plane = Pool::from_environment().unwrap().take(Shape::Bare, "scanned").await.unwrap();
        let tools = Tools::from_environment().unwrap();
        let mut settings = NodeSettings::kubeadm_with_components(NODE, &plane).unwrap();
        let files = [
            ("/kube-bench", tools.path(Program::KubeBench).unwrap()),
            ("/cfg", tools.kube_bench_configuration().unwrap()),
        ];
        let files = files.map(|(inside, file)| (PathBuf::from(inside), file));
        settings.images.insert(IMAGE.to_owned(), files.to_vec());
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        std::fs::create_dir(&out).unwrap();
        std::fs::set_permissions(&out, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        settings.host.insert("/out".to_owned(), out.clone());
        let node = ProcessNode::start(&plane, settings).await.unwrap();
        Some(Self { plane, out, _folder: folder, _node: node })
    }

    /// Runs it to its end, and returns the Pod.
    async fn run(&self, pod: &Value) -> Value {
        apply_to(&self.plane, pod).await.unwrap();
        let name = pod["metadata"]["name"].as_str().unwrap();
        let pods = api(self.plane.client(), "pod", "default").await.unwrap();
        let limit = patiently(std::time::Duration::from_secs(90));
        let is_over = |found: Option<&Value>| {
            found.is_some_and(|found| ["Succeeded", "Failed"].iter().any(|end| found["status"]["phase"] == *end))
        };
        becomes(&pods, name, "its containers have ended", limit, is_over).await.unwrap();
        find(self.plane.client(), "pod", "default", name).await.unwrap().unwrap()
    }

    fn text(&self, file: &str) -> String {
        std::fs::read_to_string(self.out.join(file)).unwrap()
    }
}

fn end_of<'a>(pod: &'a Value, container: &str) -> &'a Value {
    let mut statuses = pod["status"]["containerStatuses"].as_array().unwrap().iter();
    &statuses.find(|status| status["name"] == container).unwrap()["state"]["terminated"]
}

async fn kube_bench_sees_the_control_plane_of_its_node_and_no_other() {
    let Some(scene) = Scene::begin("scan_engine").await else { return };
    let other = Pool::from_environment().unwrap().take(Shape::Bare, "other").await.unwrap();
    let pod = scene.run(&a_scan("scan", BENCH, COLLECT, true)).await;
    assert_eq!(pod["status"]["phase"], "Succeeded", "{}", pod["status"]);
    let port = scene.plane.port();
    let told = format!("{COLLECTOR}:{COLLECTOR} default 127.0.0.1:{port}\n");
    assert_eq!(end_of(&pod, "collector")["message"], told, "{}", pod["status"]);
    assert_eq!(scene.text("pods"), "", "an empty folder lies over the Pods of the node");
    assert_eq!(scene.text("ca.crt").trim(), scene.plane.authority_certificate().trim());
    the_token_is_of_the_pod(&scene).await;
    let text = scene.text("all.json");
    the_report_is_of(&scene.plane, &serde_json::from_str(&text).unwrap());
    for foreign in [other.directory(), scene.plane.directory()].map(|folder| folder.display().to_string()) {
        assert!(!text.contains(&foreign), "{text}");
    }
    for port in [other.port(), other.etcd_port()] {
        assert!(!text.contains(&format!(":{port}")) && !text.contains(&format!("={port}")), "{text}");
    }
}

async fn the_token_is_of_the_pod(scene: &Scene) {
    let client = client_from(&scene.plane.kubeconfig_with_token(&scene.text("token"))).await.unwrap();
    let reviews: Api<SelfSubjectReview> = Api::all(client);
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await.unwrap();
    let user = review.status.unwrap().user_info.unwrap();
    assert_eq!(user.username.as_deref(), Some("system:serviceaccount:default:default"));
    assert_eq!(user.extra.unwrap()["authentication.kubernetes.io/pod-name"], ["scan"]);
}

/// What kube-bench found is what this control plane is: its flags, and the files of its node.
fn the_report_is_of(plane: &ControlPlane, report: &Value) {
    let controls = report["Controls"].as_array().unwrap();
    let targets = controls.iter().map(|control| control["node_type"].as_str().unwrap());
    assert_eq!(targets.collect::<BTreeSet<_>>(), BTreeSet::from(["controlplane", "etcd", "master", "node"]));
    let groups = controls.iter().flat_map(|control| control["tests"].as_array().unwrap());
    let checks: Vec<&Value> = groups.flat_map(|group| group["results"].as_array().unwrap()).collect();
    let of_master = checks.iter().filter(|check| check["test_number"].as_str().unwrap().starts_with("1."));
    assert!(of_master.count() >= 30, "{report}");
    let check = |number: &str| *checks.iter().find(|check| check["test_number"] == number).unwrap();
    let about = |flag: &str| *checks.iter().find(|check| check["test_desc"].as_str().unwrap().contains(flag)).unwrap();
    let modes = about("--authorization-mode argument is not set to AlwaysAllow");
    let line = modes["actual_value"].as_str().unwrap();
    assert_eq!(modes["status"], "PASS", "{modes}");
    assert!(line.contains(" kube-apiserver ") && line.contains(" --authorization-mode=Node,RBAC "), "{line}");
    assert!(line.contains(&format!(" --secure-port={} ", plane.port())), "{line}");
    assert!(line.contains(" --client-ca-file=/etc/kubernetes/pki/ca.crt "), "{line}");
    // It is neither set, nor is etcd behind TLS: a real node would be told the same.
    let anonymous = about("--anonymous-auth argument");
    assert!(!anonymous["actual_value"].as_str().unwrap().contains("anonymous-auth"), "{anonymous}");
    for (number, status) in [
        // Modes and owners of manifests, and of the data of etcd, which belong to root.
        ("1.1.1", "PASS"),
        ("1.1.2", "PASS"),
        ("1.1.7", "PASS"),
        ("1.1.11", "PASS"),
        ("1.1.12", "FAIL"),
        ("1.1.13", "PASS"),
        ("1.1.19", "PASS"),
        ("2.1", "FAIL"),
        // The kubelet: its configuration, and its flag.
        ("4.1.5", "PASS"),
        ("4.1.9", "FAIL"),
        ("4.2.1", "PASS"),
        ("4.2.2", "PASS"),
        ("4.2.4", "PASS"),
    ] {
        let check = check(number);
        assert_eq!(check["status"], status, "{check}");
    }
    let cannot_run =
        checks.iter().filter(|check| check["reason"].as_str().is_some_and(|why| why.contains("failed to run")));
    let cannot_run: Vec<&Value> = cannot_run.map(|check| &check["test_number"]).collect();
    assert_eq!(cannot_run, ["4.3.1"], "there is no kube-proxy");
    let of_etcd = check("2.1").to_string();
    assert!(
        of_etcd.contains("SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt") && !of_etcd.contains("CARGO"),
        "{of_etcd}"
    );
    assert!(!report.to_string().contains("not found\\n"), "every program of every check is there: {report}");
}

/// Kube-bench then finds no control plane; and a Pod of which one container fails has failed, once the other ended.
async fn a_pod_without_the_processes_of_the_host_sees_none_of_them() {
    let Some(scene) = Scene::begin("scan_engine").await else { return };
    let collect = "until [ -e /results/ended ]; do sleep 0.1; done; cp /results/* /out/";
    let bench = "/bin/ps -ef > /results/processes || true; touch /results/ended; exit 7";
    let pod = scene.run(&a_scan("blind", bench, collect, false)).await;
    assert_eq!(pod["status"]["phase"], "Failed", "{}", pod["status"]);
    assert_eq!((&end_of(&pod, "bench")["exitCode"], &end_of(&pod, "collector")["exitCode"]), (&json!(7), &json!(0)));
    assert_eq!(scene.text("processes").lines().count(), 1, "only the header");
}
