//! Why the Pod of a Job does not run, in the words of the cluster: filtered and cut, as a cluster may say anything. Pure.

use drover_runtime::error::{MESSAGE_LIMIT, legible};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// What a container waits for while all is well.
const ON_ITS_WAY: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// Why none of these Pods of a Job runs, or why they ended without an answer; none if one does, or nothing is told.
#[must_use]
pub fn trouble(pods: &[Pod], container: &str) -> Option<String> {
    let all: Vec<_> = pods.iter().map(|pod| of_pod(pod, container)).collect();
    if all.iter().any(Option::is_none) {
        return None;
    }
    all.into_iter().flatten().next()
}

fn of_pod(pod: &Pod, name: &str) -> Option<String> {
    let status = pod.status.as_ref()?;
    let told = |what: &str, reason: &str, message: Option<&str>| {
        let reason = legible(reason, 64);
        let words = message.filter(|words| !words.trim().is_empty()).map(|words| format!(": {}", words.trim()));
        Some(legible(&format!("its Pod {what} ({reason}){}", words.unwrap_or_default()), MESSAGE_LIMIT))
    };
    if status.phase.as_deref() == Some("Failed") {
        return told("failed", status.reason.as_deref().unwrap_or("Failed"), status.message.as_deref());
    }
    let mut conditions = status.conditions.iter().flatten();
    if let Some(found) = conditions.find(|found| found.type_ == "PodScheduled" && found.status == "False") {
        let reason = found.reason.as_deref().unwrap_or("Unscheduled");
        return told("is not scheduled", reason, found.message.as_deref());
    }
    let waiting = container(pod, name)?.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().filter(|reason| !ON_ITS_WAY.contains(reason))?;
    told("waits", reason, waiting.message.as_deref())
}

/// The container of this name.
fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == name)
}

/// What the container said at its end.
#[must_use]
pub fn termination_message<'a>(pods: &'a [Pod], container: &str) -> Option<&'a str> {
    pods.iter().find_map(|pod| self::container(pod, container)?.state.as_ref()?.terminated.as_ref()?.message.as_deref())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: &Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "etcd-backup-u-1-x"}, "status": status})).unwrap()
    }

    fn waiting(reason: &str, message: &str) -> Value {
        let state = json!({"waiting": {"reason": reason, "message": message}});
        let container = json!({"name": "etcd-backup", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
        json!({"phase": "Pending", "containerStatuses": [container]})
    }

    #[test]
    fn a_pod_that_does_not_run_says_why_in_the_words_of_its_cluster() {
        let unscheduled = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"});
        for (status, expected) in [
            (
                json!({"phase": "Pending", "conditions": [unscheduled]}),
                "its Pod is not scheduled (Unschedulable): 0/3 nodes are available",
            ),
            (
                waiting("ImagePullBackOff", "Back-off pulling image"),
                "its Pod waits (ImagePullBackOff): Back-off pulling image",
            ),
            (waiting("CreateContainerConfigError", ""), "its Pod waits (CreateContainerConfigError)"),
            (
                json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory. "}),
                "its Pod failed (Evicted): The node was low on resource: memory.",
            ),
            (json!({"phase": "Failed"}), "its Pod failed (Failed)"),
        ] {
            assert_eq!(trouble(&[pod(&status)], "etcd-backup").as_deref(), Some(expected));
        }
        for well in
            [json!({}), json!({"phase": "Running"}), json!({"phase": "Pending"}), waiting("ContainerCreating", "")]
        {
            assert_eq!(trouble(&[pod(&well)], "etcd-backup"), None, "{well}");
            assert_eq!(
                trouble(&[pod(&json!({"phase": "Failed"})), pod(&well)], "etcd-backup"),
                None,
                "another one runs"
            );
        }
        assert_eq!(trouble(&[], "etcd-backup"), None);
    }

    #[test]
    fn what_a_cluster_says_is_filtered_and_cut() {
        let told =
            trouble(&[pod(&waiting(&"R\u{1b}[2J".repeat(100), &"é\n\u{202e}".repeat(10_000)))], "etcd-backup").unwrap();
        assert!(told.len() <= MESSAGE_LIMIT && !told.contains(['\u{1b}', '\n', '\u{202e}']), "{told}");
    }

    #[test]
    fn what_the_container_said_at_its_end_is_found() {
        let of = |name: &str| {
            let state = json!({"terminated": {"exitCode": 0, "message": "{}"}});
            let container =
                json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
            termination_message(&[pod(&json!({})), pod(&json!({"containerStatuses": [container]}))], "etcd-backup")
                .map(str::to_owned)
        };
        assert_eq!((of("etcd-backup").as_deref(), of("sidecar")), (Some("{}"), None));
    }
}
