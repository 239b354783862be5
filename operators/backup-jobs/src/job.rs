//! The Job that takes a snapshot. Pure.
//!
//! It runs on a node with a member of etcd, and has no token of the cluster. Of that node it sees the certificates of a client of etcd and,
//! where backups are encrypted, the folders with the configuration that a restore needs. Image, command and mounts are Drover's: whoever creates an `EtcdBackup` chooses none of them.

use std::time::Duration;

use drover_backups::{AttemptId, Layout};
use drover_crds::names::DROVER_NAMESPACE;
use k8s_openapi::{
    api::batch::v1::Job,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use serde_json::{Value, json};

/// The container of the Job.
pub const CONTAINER: &str = "etcd-backup";
/// The file with the task, in the Secret of the name of the Job.
pub const TASK: &str = "task.json";
/// How long the Job stays after it ended, if Drover is not there to delete it.
const KEPT_SECONDS: i32 = 24 * 60 * 60;
/// Most bytes of the snapshot, and of the etcd into which it is restored, on the node.
const SPOOL: &str = "20Gi";

/// The name of the Job of an attempt, and of its Secret.
#[must_use]
pub fn name(attempt: &AttemptId) -> String {
    format!("etcd-backup-{attempt}")
}

/// The Job, as far as it can be changed.
#[must_use]
pub fn desired(attempt: &AttemptId) -> Job {
    let (name, namespace) = (Some(name(attempt)), Some(DROVER_NAMESPACE.to_owned()));
    Job { metadata: ObjectMeta { name, namespace, ..ObjectMeta::default() }, ..Job::default() }
}

/// What it is created with, and keeps.
#[must_use]
pub fn seed(attempt: &AttemptId, layout: &Layout, image: &str, timeout: Duration, has_config: bool) -> Value {
    json!({"spec": {
        "backoffLimit": 0,
        "activeDeadlineSeconds": timeout.as_secs(),
        "ttlSecondsAfterFinished": KEPT_SECONDS,
        "template": {
            "metadata": {"labels": {"app.kubernetes.io/name": CONTAINER, "app.kubernetes.io/part-of": "drover"}},
            "spec": pod(attempt, layout, image, has_config),
        },
    }})
}

fn pod(attempt: &AttemptId, layout: &Layout, image: &str, has_config: bool) -> Value {
    let certificates = layout.certificates;
    let mut mounts = vec![
        json!({"name": "task", "mountPath": "/task", "readOnly": true}),
        json!({"name": "spool", "mountPath": "/spool"}),
    ];
    let mut volumes = vec![
        json!({"name": "task", "secret": {"secretName": name(attempt), "defaultMode": 0o400}}),
        json!({"name": "spool", "emptyDir": {"sizeLimit": SPOOL}}),
    ];
    let folders = layout.config_folders.iter().filter(|_| has_config);
    for (position, folder) in [certificates].iter().chain(folders).enumerate() {
        let name = format!("host-{position}");
        mounts.push(json!({"name": name, "mountPath": folder, "readOnly": true}));
        volumes.push(json!({"name": name, "hostPath": {"path": folder, "type": "Directory"}}));
    }
    json!({
        "restartPolicy": "Never",
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        // The member listens on the loopback of the node.
        "hostNetwork": true,
        "dnsPolicy": "Default",
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": layout.node_label, "operator": "Exists"}]},
        ]}}},
        // Only root may read the keys of etcd.
        "securityContext": {"runAsUser": 0, "runAsGroup": 0, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
            "name": CONTAINER,
            "image": image,
            "command": ["/drover", "etcd-snapshot", "--task", format!("/task/{TASK}"), "--spool", "/spool"],
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
            "securityContext": {
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": mounts,
        }],
        "volumes": volumes,
    })
}

/// When a Job ended, if it did.
#[must_use]
pub fn ended(job: &Job) -> Option<Time> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let is_end = |kind: &str| matches!(kind, "Complete" | "Failed");
    let end = conditions.iter().find(|condition| is_end(&condition.type_) && condition.status == "True")?;
    let completed = job.status.as_ref().and_then(|status| status.completion_time.clone());
    completed.or_else(|| end.last_transition_time.clone()).or_else(|| job.metadata.creation_timestamp.clone())
}

/// Why a Job failed, in words of Kubernetes that are no free text; none if it did not.
#[must_use]
pub fn failed_as(job: &Job) -> Option<&'static str> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let failed = conditions.iter().find(|condition| condition.type_ == "Failed" && condition.status == "True")?;
    Some(match failed.reason.as_deref() {
        Some("DeadlineExceeded") => "it did not end within spec.timeout",
        Some("BackoffLimitExceeded") => "its Pod failed",
        _ => "the cluster ended it",
    })
}

#[cfg(test)]
mod tests {
    use drover_backups::LayoutOf;

    use super::*;

    fn attempt() -> AttemptId {
        "3f2a91c0-0000-4000-8000-000000000000-1".parse().unwrap()
    }

    #[test]
    fn a_job_sees_of_the_node_what_it_needs_and_nothing_else() {
        for layout in [LayoutOf::Kubeadm, LayoutOf::K3s, LayoutOf::Rke2].map(LayoutOf::layout) {
            let host_folders = |has_config| {
                let seed = seed(&attempt(), layout, "drover-etcd@sha256:0", Duration::from_mins(30), has_config);
                let volumes = seed["spec"]["template"]["spec"]["volumes"].as_array().unwrap().clone();
                let paths =
                    volumes.into_iter().filter_map(|volume| Some(volume.get("hostPath")?["path"].as_str()?.to_owned()));
                paths.collect::<Vec<_>>()
            };
            assert_eq!(host_folders(false), [layout.certificates]);
            assert_eq!(host_folders(true), [&[layout.certificates], layout.config_folders].concat());
            let seed = seed(&attempt(), layout, "drover-etcd@sha256:0", Duration::from_mins(30), true);
            let pod = &seed["spec"]["template"]["spec"];
            assert!(layout.certificates.ends_with("/etcd"));
            let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
            assert!(mounts.iter().all(|mount| mount["name"] == "spool" || mount["readOnly"] == true));
            assert_eq!(pod["automountServiceAccountToken"], false);
            assert_eq!(pod["containers"][0]["securityContext"]["capabilities"]["drop"][0], "ALL");
            for absent in ["hostPID", "hostIPC", "serviceAccountName", "initContainers"] {
                assert!(pod.get(absent).is_none(), "{absent}");
            }
            assert!(pod["containers"][0].get("env").is_none() && pod["containers"][0].get("args").is_none());
        }
    }

    #[test]
    fn what_is_created_is_a_job_that_an_api_server_knows() {
        let mut whole = seed(&attempt(), LayoutOf::Kubeadm.layout(), "image", Duration::from_mins(30), true);
        whole["apiVersion"] = "batch/v1".into();
        whole["kind"] = "Job".into();
        whole["metadata"] = serde_json::to_value(desired(&attempt()).metadata).unwrap();
        let job: Job = serde_json::from_value(whole.clone()).unwrap();
        assert_eq!(serde_json::to_value(&job).unwrap(), whole, "every field is one of a Job");
        assert!(job.metadata.name.unwrap().len() <= 63);
        assert_eq!(job.spec.unwrap().active_deadline_seconds, Some(1800));
    }

    #[test]
    fn a_job_ends_once() {
        let job = |status: Value| serde_json::from_value::<Job>(json!({"metadata": {}, "status": status})).unwrap();
        assert_eq!(ended(&job(json!({"active": 1}))), None);
        let time = "2026-01-02T03:04:05Z";
        let of = |kind: &str, reason: &str| {
            let condition = json!({"type": kind, "status": "True", "reason": reason, "lastTransitionTime": time});
            job(json!({"conditions": [{"type": "FailureTarget", "status": "True"}, condition]}))
        };
        assert_eq!(ended(&of("Complete", "")).unwrap().0.to_string(), time);
        assert_eq!(failed_as(&of("Complete", "")), None);
        assert!(ended(&of("Failed", "DeadlineExceeded")).is_some());
        assert_eq!(failed_as(&of("Failed", "DeadlineExceeded")), Some("it did not end within spec.timeout"));
        assert_eq!(ended(&job(json!({"conditions": [{"type": "Suspended", "status": "True"}]}))), None);
    }
}
