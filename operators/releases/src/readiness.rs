//! When an object is ready, by the rules of kstatus, which Helm 4 waits by. Pure: it judges what the API server shows.

use serde_json::Value;

/// Where an object is on its way to what its spec says. Reasons are fixed texts: nothing of a cluster is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It is as its spec says.
    Ready,
    /// It is on its way, or what it shows is too old to tell.
    InProgress(&'static str),
    /// It will not come to be without a change.
    Failed(&'static str),
    /// It is being deleted.
    Terminating,
    /// It does not exist.
    NotFound,
}

use Readiness::{Failed, InProgress, NotFound, Ready, Terminating};

const NOT_OBSERVED: Readiness = InProgress("its controller has not observed the latest spec");
const FEWER: Readiness = InProgress("it has fewer replicas than its spec says");
const OUTDATED: Readiness = InProgress("replicas of an older spec are still there");
const UNAVAILABLE: Readiness = InProgress("replicas are not available yet");
/// Of `progressDeadlineSeconds`: none.
const NO_DEADLINE: i64 = i32::MAX as i64;
/// Why a container waits for good, as the kubelet spells it.
const BROKEN_CONTAINER: [&str; 5] =
    ["CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "CreateContainerConfigError"];

/// Judges an object as the API server shows it; none where it has none.
#[must_use]
pub fn of(live: Option<&Value>) -> Readiness {
    let Some(live) = live else { return NotFound };
    if live.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null()) {
        return Terminating;
    }
    let object = Live(live);
    object.outdated().or_else(|| object.by_conditions_of_all_kinds()).unwrap_or_else(|| object.by_kind())
}

/// Whether an object of this kind is ready by being there: nothing in its status says otherwise. It may be what is applied, or what is live.
#[must_use]
pub fn is_ready_once_applied(object: &Value) -> bool {
    match Live(object).group_and_kind() {
        ("", "ConfigMap" | "Secret" | "ServiceAccount" | "LimitRange")
        | ("networking.k8s.io", "NetworkPolicy")
        | ("rbac.authorization.k8s.io", "Role" | "RoleBinding" | "ClusterRole" | "ClusterRoleBinding") => true,
        ("", "Service") => Live(object).text("/spec/type") != "LoadBalancer",
        _ => false,
    }
}

/// Judges the object of a hook: Jobs and Pods have to end, definitions to be served; anything else is done once it exists.
#[must_use]
pub fn of_hook(live: Option<&Value>) -> Readiness {
    let Some(value) = live else { return NotFound };
    let object = Live(value);
    match object.group_and_kind() {
        ("batch", "Job") if object.condition("Complete") == Some("True") => Ready,
        ("batch", "Job") if object.condition("Failed") == Some("True") => Failed("the Job failed"),
        ("batch", "Job") => InProgress("the Job has not ended"),
        ("", "Pod") => match object.text("/status/phase") {
            "Succeeded" => Ready,
            "Failed" => Failed("the Pod failed"),
            _ => InProgress("the Pod has not ended"),
        },
        ("apiextensions.k8s.io", "CustomResourceDefinition") => of(live),
        _ => Ready,
    }
}

#[derive(Clone, Copy)]
struct Live<'a>(&'a Value);

impl<'a> Live<'a> {
    fn number(self, pointer: &str) -> Option<i64> {
        self.0.pointer(pointer).and_then(Value::as_i64)
    }

    /// A count in the status; none is 0.
    fn count(self, field: &str) -> i64 {
        self.0.get("status").and_then(|status| status.get(field)?.as_i64()).unwrap_or_default()
    }

    fn text(self, pointer: &str) -> &'a str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    fn group_and_kind(self) -> (&'a str, &'a str) {
        let group = self.text("/apiVersion").split_once('/').map_or("", |(group, _)| group);
        (group, self.text("/kind"))
    }

    fn list(self, pointer: &str) -> impl Iterator<Item = &'a Value> {
        self.0.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
    }

    fn condition_of(self, type_: &str) -> Option<&'a Value> {
        self.list("/status/conditions").find(|condition| condition.get("type").and_then(Value::as_str) == Some(type_))
    }

    /// The status of a condition.
    fn condition(self, type_: &str) -> Option<&'a str> {
        self.condition_of(type_)?.get("status")?.as_str()
    }

    fn reason(self, type_: &str) -> &'a str {
        let reason = self.condition_of(type_).and_then(|condition| condition.get("reason")?.as_str());
        reason.unwrap_or_default()
    }

    fn outdated(self) -> Option<Readiness> {
        let (observed, wanted) = (self.number("/status/observedGeneration")?, self.number("/metadata/generation")?);
        (observed != wanted).then_some(NOT_OBSERVED)
    }

    fn by_conditions_of_all_kinds(self) -> Option<Readiness> {
        if self.condition("Stalled") == Some("True") {
            return Some(Failed("it is stalled"));
        }
        (self.condition("Reconciling") == Some("True")).then_some(InProgress("it is being reconciled"))
    }

    fn by_kind(self) -> Readiness {
        match self.group_and_kind() {
            ("apps", "Deployment") => self.deployment(),
            ("apps", "StatefulSet") => self.stateful_set(),
            ("apps", "DaemonSet") => self.daemon_set(),
            ("apps", "ReplicaSet") | ("", "ReplicationController") => self.replica_set(),
            ("batch", "Job") => self.job(),
            ("", "Pod") => self.pod(),
            ("", "PersistentVolumeClaim") => self.claim(),
            ("", "Service") => self.service(),
            ("", "Namespace") if self.text("/status/phase") == "Terminating" => Terminating,
            ("policy", "PodDisruptionBudget") if self.number("/status/observedGeneration").is_none() => NOT_OBSERVED,
            ("apiextensions.k8s.io", "CustomResourceDefinition") => self.definition(),
            ("apiregistration.k8s.io", "APIService") if self.condition("Available") != Some("True") => {
                InProgress("the API server that it names does not answer yet")
            }
            _ => self.by_ready_condition(),
        }
    }

    fn by_ready_condition(self) -> Readiness {
        match self.condition("Ready") {
            None | Some("True") => Ready,
            Some(_) => InProgress("its condition Ready is not True"),
        }
    }

    fn deployment(self) -> Readiness {
        let has_deadline = self.number("/spec/progressDeadlineSeconds") != Some(NO_DEADLINE);
        if self.reason("Progressing") == "ProgressDeadlineExceeded" {
            return Failed("its progress deadline is exceeded");
        }
        if self.number("/status/observedGeneration").is_none() {
            return NOT_OBSERVED;
        }
        let wanted = self.number("/spec/replicas").unwrap_or(1);
        if wanted > self.count("replicas") || wanted > self.count("updatedReplicas") {
            return FEWER;
        }
        if self.count("replicas") > wanted {
            return OUTDATED;
        }
        let is_available = self.count("availableReplicas") >= self.count("updatedReplicas")
            && self.count("readyReplicas") >= wanted
            && self.condition("Available") == Some("True");
        let has_progressed =
            self.condition("Progressing") == Some("True") && self.reason("Progressing") == "NewReplicaSetAvailable";
        if is_available && (has_progressed || !has_deadline) { Ready } else { UNAVAILABLE }
    }

    fn stateful_set(self) -> Readiness {
        if self.text("/spec/updateStrategy/type") == "OnDelete" {
            return Ready;
        }
        if self.number("/status/observedGeneration").is_none() {
            return NOT_OBSERVED;
        }
        let wanted = self.number("/spec/replicas").unwrap_or(1);
        if wanted > self.count("replicas") {
            return FEWER;
        }
        if wanted > self.count("readyReplicas") {
            return UNAVAILABLE;
        }
        if self.count("replicas") > wanted {
            return OUTDATED;
        }
        let partition = self.number("/spec/updateStrategy/rollingUpdate/partition").unwrap_or_default();
        if partition > 0 {
            let is_updated = self.count("updatedReplicas") >= wanted.saturating_sub(partition);
            return if is_updated { Ready } else { OUTDATED };
        }
        let is_current = self.text("/status/currentRevision") == self.text("/status/updateRevision");
        if wanted > self.count("currentReplicas") || !is_current { OUTDATED } else { Ready }
    }

    fn daemon_set(self) -> Readiness {
        if self.number("/status/observedGeneration").is_none() {
            return NOT_OBSERVED;
        }
        let wanted = self.count("desiredNumberScheduled");
        if wanted > self.count("currentNumberScheduled") {
            return FEWER;
        }
        let updates = self.text("/spec/updateStrategy/type") != "OnDelete";
        if updates && wanted > self.count("updatedNumberScheduled") {
            return OUTDATED;
        }
        if wanted > self.count("numberAvailable") || wanted > self.count("numberReady") { UNAVAILABLE } else { Ready }
    }

    fn replica_set(self) -> Readiness {
        if self.condition("ReplicaFailure") == Some("True") {
            return InProgress("Pods cannot be created");
        }
        if self.number("/status/observedGeneration").is_none() {
            return NOT_OBSERVED;
        }
        let wanted = self.number("/spec/replicas").unwrap_or(1);
        if wanted > self.count("fullyLabeledReplicas") {
            return FEWER;
        }
        if wanted > self.count("availableReplicas") || wanted > self.count("readyReplicas") {
            return UNAVAILABLE;
        }
        if self.count("replicas") > wanted { OUTDATED } else { Ready }
    }

    /// A Job that has begun is as its spec says, as Helm waits by default.
    fn job(self) -> Readiness {
        if self.condition("Failed") == Some("True") {
            return Failed("the Job failed");
        }
        let has_begun = self.condition("Complete") == Some("True") || !self.text("/status/startTime").is_empty();
        let is_suspended = self.0.pointer("/spec/suspend") == Some(&Value::Bool(true));
        if has_begun || is_suspended { Ready } else { InProgress("the Job has not begun") }
    }

    fn pod(self) -> Readiness {
        let waits_for_good = |status: &Value| {
            let reason = status.pointer("/state/waiting/reason").and_then(Value::as_str).unwrap_or_default();
            BROKEN_CONTAINER.contains(&reason)
        };
        match self.text("/status/phase") {
            "Succeeded" => Ready,
            "Failed" => Failed("the Pod failed"),
            "Running" if self.condition("Ready") == Some("True") => Ready,
            _ if self.list("/status/containerStatuses").any(waits_for_good) => {
                InProgress("a container cannot start or crashes")
            }
            _ if self.condition("PodScheduled") == Some("False") => InProgress("the Pod cannot be scheduled"),
            _ => InProgress("the Pod is not ready"),
        }
    }

    fn claim(self) -> Readiness {
        match self.text("/status/phase") {
            "Bound" => Ready,
            "Lost" => Failed("the volume of the claim is lost"),
            _ => InProgress("the claim is not bound to a volume"),
        }
    }

    fn service(self) -> Readiness {
        let is_balanced = self.text("/spec/type") == "LoadBalancer";
        if is_balanced && self.text("/spec/clusterIP").is_empty() {
            return InProgress("the Service has no address");
        }
        Ready
    }

    fn definition(self) -> Readiness {
        if self.condition("NamesAccepted") == Some("False") {
            return Failed("the names of the definition conflict with other ones");
        }
        match self.condition("Established") {
            Some("True") => Ready,
            Some("False") if self.reason("Established") != "Installing" => Failed("the definition is not served"),
            _ => InProgress("the definition is not served yet"),
        }
    }
}

#[cfg(test)]
mod tests;
