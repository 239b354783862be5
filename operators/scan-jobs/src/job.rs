//! The Job that scans a node. Pure.
//!
//! kube-bench runs as root without capabilities, sees the processes of the node and of its folders those that the benchmark reads, and has
//! no token. Beside it a collector under a user of its own has a token for one thing: to write one Secret. Image, commands and mounts are
//! Drover's: whoever creates a `CisScan` chooses none of them.

use std::time::Duration;

use drover_admission::downstream::OF_SCANS;
use drover_crds::names::DROVER_NAMESPACE;
use drover_fetch::Digest;
use drover_scans::benchmark;
use k8s_openapi::{api::batch::v1::Job, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde_json::{Value, json};

/// The container that runs kube-bench.
pub const BENCH: &str = "bench";
/// The container that hands over what it found.
pub const COLLECTOR: &str = "collector";
/// The user of the collector: nobody else's on a node.
const COLLECTOR_USER: u32 = 64_918;
/// How long the Job stays after it ended, if Drover is not there to delete it: longer than any scan, as a node without one is scanned.
const KEPT_SECONDS: i32 = 24 * 60 * 60;
/// How long the token of the collector is valid, which is the least that Kubernetes gives.
const TOKEN_SECONDS: u32 = 600;
/// Most that kube-bench may leave on the node.
const RESULTS: &str = "256Mi";
/// The Pods of a node keep their tokens below this folder.
const PODS: &str = "/var/lib/kubelet/pods";
/// From the time of a node so much is for the Pod to start and for the collector to hand over.
const MARGIN: Duration = Duration::from_secs(20);

/// What is scanned, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeScan {
    /// UID of the scan.
    pub scan: String,
    /// Name of the node.
    pub node: String,
    /// Name of the benchmark.
    pub benchmark: String,
    /// Its targets on this node.
    pub targets: Vec<&'static str>,
    /// How long it may take.
    pub timeout: Duration,
}

/// The name of the Job of a node, and of all that goes with it. The same for the same scan and node, and for no others.
#[must_use]
pub fn name(scan: &str, node: &str) -> String {
    let digest = Digest::of(format!("{scan}/{node}").as_bytes());
    let hex = digest.hex();
    format!("{OF_SCANS}{}", hex.get(..32).unwrap_or(&hex))
}

/// Whether it has not ended, and does not say that its Pod runs.
#[must_use]
pub fn is_waiting(job: &Job) -> bool {
    ended(job).is_none() && job.status.as_ref().is_none_or(|status| status.ready.unwrap_or_default() == 0)
}

/// Whether no Pod was ever made for it, as far as it says.
#[must_use]
pub fn has_no_pod(job: &Job) -> bool {
    let Some(status) = &job.status else { return true };
    let counts = [status.active, status.succeeded, status.failed, status.terminating];
    let uncounted = status.uncounted_terminated_pods.as_ref();
    let ended = uncounted.into_iter().flat_map(|pods| [&pods.succeeded, &pods.failed]).flatten().flatten();
    counts.iter().flatten().all(|count| *count == 0) && ended.count() == 0
}

/// Whether an object with these metadata lies where those of scans lie, and is named as they are. Whoever may write in another namespace may
/// put Drover's labels on what is there, and says nothing by that.
#[must_use]
pub fn is_of_scans(meta: &ObjectMeta) -> bool {
    let is_named = meta.name.as_deref().is_some_and(|name| name.starts_with(OF_SCANS));
    is_named && meta.namespace.as_deref() == Some(DROVER_NAMESPACE)
}

/// The Job, as far as it can be changed.
#[must_use]
pub fn desired(scan: &NodeScan) -> Job {
    let (name, namespace) = (Some(name(&scan.scan, &scan.node)), Some(DROVER_NAMESPACE.to_owned()));
    Job { metadata: ObjectMeta { name, namespace, ..ObjectMeta::default() }, ..Job::default() }
}

/// What it is created with, and keeps.
#[must_use]
pub fn seed(scan: &NodeScan, image: &str) -> Value {
    json!({"spec": {
        "backoffLimit": 0,
        "activeDeadlineSeconds": scan.timeout.as_secs(),
        "ttlSecondsAfterFinished": KEPT_SECONDS,
        "template": {
            "metadata": {"labels": {"app.kubernetes.io/name": "cis-scan", "app.kubernetes.io/part-of": "drover"}},
            "spec": pod(scan, image),
        },
    }})
}

fn pod(scan: &NodeScan, image: &str) -> Value {
    let folders = benchmark::host_folders(&scan.benchmark);
    let host = |(position, folder): (usize, &&str)| {
        let name = format!("host-{position}");
        (
            json!({"name": name, "hostPath": {"path": folder}}),
            json!({"name": name, "mountPath": folder, "readOnly": true}),
        )
    };
    let (mut volumes, mut mounts): (Vec<_>, Vec<_>) = folders.iter().enumerate().map(host).unzip();
    volumes.extend([
        json!({"name": "results", "emptyDir": {"sizeLimit": RESULTS}}),
        json!({"name": "scratch", "emptyDir": {"sizeLimit": "16Mi"}}),
        token(),
    ]);
    mounts
        .extend([json!({"name": "results", "mountPath": "/results"}), json!({"name": "scratch", "mountPath": "/tmp"})]);
    if folders.iter().any(|folder| PODS.starts_with(folder)) {
        volumes.push(json!({"name": "pods", "emptyDir": {"sizeLimit": "1Mi"}}));
        mounts.push(json!({"name": "pods", "mountPath": PODS, "readOnly": true}));
    }
    json!({
        "nodeName": scan.node,
        "restartPolicy": "Never",
        "automountServiceAccountToken": false,
        "serviceAccountName": name(&scan.scan, &scan.node),
        "enableServiceLinks": false,
        // It looks for the processes of the control plane and of the kubelet.
        "hostPID": true,
        "tolerations": [{"operator": "Exists"}],
        "terminationGracePeriodSeconds": 5,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [bench(scan, image, &mounts), collector(scan, image)],
        "volumes": volumes,
    })
}

/// The token is bound to the Pod, and is for the collector alone.
fn token() -> Value {
    json!({"name": "token", "projected": {"defaultMode": 0o444, "sources": [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_SECONDS}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]}})
}

fn bench(scan: &NodeScan, image: &str, mounts: &[Value]) -> Value {
    let timeout = scan.timeout.saturating_sub(MARGIN).max(MARGIN);
    json!({
        "name": BENCH,
        "image": image,
        "command": [
            "/drover", "bench-run", "--benchmark", scan.benchmark, "--targets", scan.targets.join(","),
            "--results", "/results", "--engine", "/kube-bench", "--config", "/cfg", "--timeout", format!("{}s", timeout.as_secs()),
        ],
        // Only root may read what is checked.
        "securityContext": {
            "runAsUser": 0, "runAsGroup": 0,
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        },
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        "volumeMounts": mounts,
    })
}

fn collector(scan: &NodeScan, image: &str) -> Value {
    let name = name(&scan.scan, &scan.node);
    json!({
        "name": COLLECTOR,
        "image": image,
        "command": [
            "/drover", "bench-collect", "--results", "/results", "--attempt", scan.scan, "--node", scan.node,
            "--benchmark", scan.benchmark, "--targets", scan.targets.join(","), "--secret", name,
            "--namespace", DROVER_NAMESPACE, "--timeout", format!("{}s", scan.timeout.as_secs()),
        ],
        "securityContext": {
            "runAsUser": COLLECTOR_USER, "runAsGroup": COLLECTOR_USER, "runAsNonRoot": true,
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        },
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
        "volumeMounts": [
            {"name": "results", "mountPath": "/results", "readOnly": true},
            {"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true},
        ],
    })
}

/// How a Job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Both containers did what they should.
    Complete,
    /// It took too long.
    DeadlineExceeded,
    /// A container failed, or the cluster took the Pod.
    Failed,
}

/// How a Job ended, if it did.
#[must_use]
pub fn ended(job: &Job) -> Option<Ended> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().filter(|condition| condition.status == "True").find_map(|condition| {
        match (condition.type_.as_str(), condition.reason.as_deref()) {
            ("Complete", _) => Some(Ended::Complete),
            ("Failed", Some("DeadlineExceeded")) => Some(Ended::DeadlineExceeded),
            ("Failed", _) => Some(Ended::Failed),
            _ => None,
        }
    })
}

/// The node of a Job.
#[must_use]
pub fn node_of(job: &Job) -> Option<&str> {
    job.spec.as_ref()?.template.spec.as_ref()?.node_name.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(node: &str) -> NodeScan {
        NodeScan {
            scan: "3f2a91c0-0000-4000-8000-000000000000".to_owned(),
            node: node.to_owned(),
            benchmark: "cis-1.12".to_owned(),
            targets: vec!["master", "node"],
            timeout: Duration::from_mins(5),
        }
    }

    #[test]
    fn a_name_is_of_one_scan_and_one_node() {
        assert_ne!(name("a", "b"), name("a", "c"));
        assert_ne!(name("a", "b"), name("b", "b"));
        assert_eq!(name("a", &"n".repeat(253)).len(), 41);
    }

    #[test]
    fn what_is_created_is_a_job_that_an_api_server_knows() {
        let mut whole = seed(&scan("n1"), "image");
        whole["apiVersion"] = "batch/v1".into();
        whole["kind"] = "Job".into();
        whole["metadata"] = serde_json::to_value(desired(&scan("n1")).metadata).unwrap();
        let job: Job = serde_json::from_value(whole.clone()).unwrap();
        assert_eq!(serde_json::to_value(&job).unwrap(), whole, "every field is one of a Job");
        assert_eq!(node_of(&job), Some("n1"));
    }

    #[test]
    fn kube_bench_has_no_token_and_writes_nowhere_but_to_its_results() {
        let seed = seed(&scan("n1"), "image");
        let pod = &seed["spec"]["template"]["spec"];
        let containers = pod["containers"].as_array().unwrap();
        let mounts = |name: &str| {
            let container = containers.iter().find(|container| container["name"] == name).unwrap();
            container["volumeMounts"].as_array().unwrap().clone()
        };
        let of = |mounts: &[Value], is_wanted: &dyn Fn(&Value) -> bool| {
            let names =
                mounts.iter().filter(|mount| is_wanted(mount)).map(|mount| mount["name"].as_str().unwrap().to_owned());
            names.collect::<Vec<_>>()
        };
        assert_eq!(of(&mounts(BENCH), &|mount| mount["readOnly"] != true), ["results", "scratch"]);
        assert!(!of(&mounts(BENCH), &|_| true).contains(&"token".to_owned()));
        assert_eq!(of(&mounts(COLLECTOR), &|_| true), ["results", "token"]);
        assert!(
            of(&mounts(BENCH), &|mount| mount["mountPath"] == PODS).contains(&"pods".to_owned()),
            "no tokens of other Pods"
        );
        assert_eq!(pod["automountServiceAccountToken"], false);
        for container in containers {
            assert_eq!(container["securityContext"]["capabilities"]["drop"][0], "ALL");
            assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
            assert!(container.get("env").is_none());
        }
        for absent in ["hostNetwork", "hostIPC", "initContainers"] {
            assert!(pod.get(absent).is_none(), "{absent}");
        }
        for forbidden in ["/", "/root", "/home", "/proc", "/usr"] {
            assert!(!benchmark::host_folders("cis-1.12").contains(&forbidden), "{forbidden}");
        }
    }

    #[test]
    fn a_job_ends_once() {
        let job = |conditions: Value| {
            let whole = json!({"metadata": {}, "status": {"conditions": conditions}});
            serde_json::from_value::<Job>(whole).unwrap()
        };
        let of = |kind: &str, reason: &str| job(json!([{"type": kind, "status": "True", "reason": reason}]));
        assert_eq!(ended(&of("Complete", "")), Some(Ended::Complete));
        assert_eq!(ended(&of("Failed", "DeadlineExceeded")), Some(Ended::DeadlineExceeded));
        assert_eq!(ended(&of("Failed", "BackoffLimitExceeded")), Some(Ended::Failed));
        assert_eq!(ended(&of("FailureTarget", "")), None);
        assert_eq!(ended(&job(json!([]))), None);
    }
}
