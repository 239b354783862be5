//! The status of a Cluster. Pure.

use drover_crds::{
    Cluster, ClusterStatus,
    condition::{API_AVAILABLE, CONNECTED, CREDENTIAL_VALID, NODES_HEALTHY},
};
use drover_runtime::{
    Class, ClusterName, Failure, Parts, Place, Standing,
    parts::{PartEntry, Readiness},
    status::{Activity, State, condition, ready_conditions},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::plan::Part;

pub(crate) fn summarise(cluster: &Cluster, parts: &Parts<Part>) -> ClusterStatus {
    let place = Place::Cluster(ClusterName::from(cluster));
    let unknown = PartEntry { known: None, standing: Standing::Pending };
    let entry = parts.get(&place).unwrap_or(&unknown);
    // What was seen last stays, also over a restart: an unreachable cluster's version is stale, not gone.
    let mut status = cluster.status.clone().unwrap_or_default();
    if let Some(part) = &entry.known {
        show(&mut status, part);
    }
    let readiness = readiness(cluster, entry);
    status.conditions = ready_conditions(readiness.state, &readiness.reason, &readiness.message, readiness.activity);
    status.conditions.extend(connection_conditions(entry));
    status.conditions.push(nodes_healthy(entry, &status));
    status
}

fn show(status: &mut ClusterStatus, part: &Part) {
    if let Some(facts) = &part.facts {
        status.cluster_uid = Some(facts.uid.clone());
        status.distribution = Some(distribution(&facts.version).to_owned());
        status.kubernetes_version = Some(facts.version.clone());
        status.platform = Some(facts.platform.clone());
    }
    status.endpoint.clone_from(&part.endpoint);
    status.nodes = Some(part.nodes.clone());
}

/// Vendors mark their builds in the version; a plain version says nothing.
fn distribution(version: &str) -> &'static str {
    let marks = [("+k3s", "k3s"), ("+rke2", "rke2"), ("-eks-", "EKS"), ("-gke.", "GKE")];
    marks.iter().find(|(mark, _)| version.contains(mark)).map_or("unknown", |(_, name)| name)
}

fn readiness(cluster: &Cluster, entry: &PartEntry<Part>) -> Readiness {
    let unimplemented = cluster.spec.unimplemented();
    if !unimplemented.is_empty() {
        let message =
            format!("this version does not act on {} yet; remove it, or upgrade Drover", unimplemented.join(", "));
        return Readiness::no("NotYetImplemented", message, Activity::Stalled);
    }
    match &entry.standing {
        Standing::Pending => {
            Readiness::no("Connecting", "the first contact is being made".into(), Activity::Reconciling)
        }
        Standing::Failed(failure) | Standing::Unreachable(failure) => {
            Readiness::no(failure.reason, failure.message.clone(), activity(failure))
        }
        Standing::Current | Standing::Suspended | Standing::Released if cluster.spec.suspend => {
            Readiness::yes("Suspended", "connected; spec.suspend is set, so nothing is written to it".into())
        }
        Standing::Current | Standing::Suspended | Standing::Released => {
            Readiness::yes("Connected", "the cluster is reachable and its API server is ready".into())
        }
    }
}

/// What waits for a person is stalled; what may come by itself, or by a Secret that arrives later, is not.
fn activity(failure: &Failure) -> Activity {
    const NEEDS_A_PERSON: [&str; 4] = ["Unauthorized", "Forbidden", "IdentityMismatch", "UnsupportedVersion"];
    if failure.class == Class::Invalid || NEEDS_A_PERSON.contains(&failure.reason) {
        Activity::Stalled
    } else {
        Activity::Reconciling
    }
}

fn connection_conditions(entry: &PartEntry<Part>) -> [Condition; 3] {
    const LOST: (State, &str, &str) = (State::Unknown, "ConnectionLost", "the cluster cannot be reached");
    const NONE_YET: (State, &str, &str) = (State::Unknown, "Connecting", "no verdict yet");
    let rejected = entry.known.as_ref().and_then(|part| part.rejected.as_ref());
    let (connected, available, credential) = match &entry.standing {
        Standing::Pending => (NONE_YET, NONE_YET, NONE_YET),
        Standing::Unreachable(failure) => {
            let own = (State::False, failure.reason, failure.message.as_str());
            match failure.reason {
                "APIServerNotReady" => ((State::True, "Connected", "the API server answers"), own, LOST),
                "Unauthorized" | "InvalidKubeconfig" | "UnsafeKubeconfig" | "SecretMissing" => (own, LOST, own),
                _ => (own, LOST, LOST),
            }
        }
        Standing::Current | Standing::Failed(_) | Standing::Suspended | Standing::Released => (
            (State::True, "Connected", "the API server answers"),
            (State::True, "Available", "the API server is ready"),
            match rejected {
                Some(failure) => (State::False, "NewCredentialRejected", failure.message.as_str()),
                None => (State::True, "Accepted", "the credential is accepted"),
            },
        ),
    };
    [(CONNECTED, connected), (API_AVAILABLE, available), (CREDENTIAL_VALID, credential)]
        .map(|(kind, (state, reason, message))| condition(kind, state, reason, message))
}

fn nodes_healthy(entry: &PartEntry<Part>, status: &ClusterStatus) -> Condition {
    match (&entry.standing, &status.nodes) {
        (Standing::Current, Some(nodes)) if nodes.ready == nodes.total => {
            condition(NODES_HEALTHY, true, "AllReady", format!("{} nodes are ready", nodes.summary))
        }
        (Standing::Current, Some(nodes)) => {
            condition(NODES_HEALTHY, false, "NodesNotReady", format!("{} nodes are ready", nodes.summary))
        }
        (Standing::Pending, _) => condition(NODES_HEALTHY, State::Unknown, "Connecting", "no verdict yet"),
        (Standing::Failed(failure), _) => condition(NODES_HEALTHY, State::Unknown, failure.reason, &*failure.message),
        _ => condition(NODES_HEALTHY, State::Unknown, "ConnectionLost", "the cluster cannot be reached"),
    }
}

#[cfg(test)]
mod tests {
    use drover_fleet::Facts;
    use serde_json::json;

    use super::*;

    fn cluster(spec: &serde_json::Value) -> Cluster {
        let mut spec_with_connection = json!({"connection": {"kubeconfig": {"secretRef": {"name": "eu"}}}});
        spec_with_connection.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "eu"}, "spec": spec_with_connection,
        }))
        .unwrap()
    }

    fn part() -> Part {
        let facts = Facts { uid: "u".into(), version: "v1.37.1+k3s1".into(), platform: "linux/amd64".into() };
        let nodes = drover_crds::NodeSummary { total: 3, ready: 2, unschedulable: 0, summary: "2/3".into() };
        Part { facts: Some(facts), endpoint: None, nodes, rejected: None }
    }

    fn failure(class: Class, reason: &'static str) -> Failure {
        Failure { class, reason, message: format!("{reason} happened") }
    }

    fn status(cluster: &Cluster, known: Option<Part>, standing: Standing) -> ClusterStatus {
        let entry = (Place::cluster("eu"), PartEntry { known, standing });
        summarise(cluster, &[entry].into_iter().collect())
    }

    /// `Type=Status/Reason`, in order.
    fn shown(status: &ClusterStatus) -> String {
        let show = |condition: &Condition| format!("{}={}/{}", condition.type_, condition.status, condition.reason);
        status.conditions.iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_standing_has_its_conditions() {
        let plain = cluster(&json!({}));
        let refused = failure(Class::Unreachable, "DialFailed");
        for (standing, expected) in [
            (
                Standing::Pending,
                "Ready=False/Connecting Reconciling=True/Connecting Connected=Unknown/Connecting APIAvailable=Unknown/Connecting CredentialValid=Unknown/Connecting NodesHealthy=Unknown/Connecting",
            ),
            (
                Standing::Current,
                "Ready=True/Connected Connected=True/Connected APIAvailable=True/Available CredentialValid=True/Accepted NodesHealthy=False/NodesNotReady",
            ),
            (
                Standing::Unreachable(refused),
                "Ready=False/DialFailed Reconciling=True/DialFailed Connected=False/DialFailed APIAvailable=Unknown/ConnectionLost CredentialValid=Unknown/ConnectionLost NodesHealthy=Unknown/ConnectionLost",
            ),
            (
                Standing::Unreachable(failure(Class::Unreachable, "Unauthorized")),
                "Ready=False/Unauthorized Stalled=True/Unauthorized Connected=False/Unauthorized APIAvailable=Unknown/ConnectionLost CredentialValid=False/Unauthorized NodesHealthy=Unknown/ConnectionLost",
            ),
            (
                Standing::Unreachable(failure(Class::Blocked, "SecretMissing")),
                "Ready=False/SecretMissing Reconciling=True/SecretMissing Connected=False/SecretMissing APIAvailable=Unknown/ConnectionLost CredentialValid=False/SecretMissing NodesHealthy=Unknown/ConnectionLost",
            ),
            (
                Standing::Unreachable(failure(Class::Unreachable, "APIServerNotReady")),
                "Ready=False/APIServerNotReady Reconciling=True/APIServerNotReady Connected=True/Connected APIAvailable=False/APIServerNotReady CredentialValid=Unknown/ConnectionLost NodesHealthy=Unknown/ConnectionLost",
            ),
        ] {
            assert_eq!(shown(&status(&plain, Some(part()), standing)), expected);
        }
    }

    #[test]
    fn what_was_seen_stays_while_a_cluster_is_away_also_over_a_restart() {
        let mut seen = cluster(&json!({}));
        seen.status = Some(status(&seen, Some(part()), Standing::Current));
        let away = status(&seen, None, Standing::Unreachable(failure(Class::Unreachable, "Timeout")));
        assert_eq!(away.kubernetes_version.as_deref(), Some("v1.37.1+k3s1"));
        assert_eq!(away.nodes.unwrap().summary, "2/3");
    }

    #[test]
    fn a_rejected_new_credential_leaves_the_cluster_connected() {
        let rejected = Part { rejected: Some(failure(Class::Invalid, "UnsafeKubeconfig")), ..part() };
        let status = status(&cluster(&json!({})), Some(rejected), Standing::Current);
        assert!(shown(&status).contains("Ready=True/Connected"), "{}", shown(&status));
        assert!(shown(&status).contains("CredentialValid=False/NewCredentialRejected"));
    }

    #[test]
    fn a_field_that_is_not_acted_on_is_never_silent() {
        let status = status(&cluster(&json!({"claim": {"takeFrom": "other"}})), Some(part()), Standing::Current);
        assert!(shown(&status).starts_with("Ready=False/NotYetImplemented Stalled=True/NotYetImplemented"));
    }
}
