//! Which cluster a Cluster stands for: always the same one. Pure.

use drover_crds::Cluster;
use drover_dial::ConnectionError;

use crate::source::recorded_uid;

/// Whether the cluster with the UID `found` is the one that `cluster` stands for: the one it is `connected` to, the one it met
/// first, and the one that its spec expects. No change of a spec moves a Cluster, and all that it holds, to another cluster.
pub(crate) fn check(cluster: &Cluster, connected: Option<&str>, found: &str) -> Result<(), ConnectionError> {
    let known = [connected, recorded_uid(cluster), cluster.spec.expected_uid.as_deref()];
    match known.into_iter().flatten().find(|known| *known != found) {
        Some(expected) => {
            Err(ConnectionError::IdentityMismatch { expected: expected.to_owned(), found: found.to_owned() })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cluster(expected: Option<&str>, met: Option<&str>) -> Cluster {
        let status = met.map(|uid| json!({"clusterUID": uid}));
        serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "eu"},
            "spec": {"connection": {"kubeconfig": {"secretRef": {"name": "eu"}}}, "expectedUID": expected},
            "status": status,
        }))
        .unwrap()
    }

    fn expected_instead(cluster: &Cluster, connected: Option<&str>, found: &str) -> Option<String> {
        match check(cluster, connected, found) {
            Err(ConnectionError::IdentityMismatch { expected, .. }) => Some(expected),
            _ => None,
        }
    }

    #[test]
    fn no_change_of_the_spec_moves_a_cluster_to_another_one() {
        for (expected, met, found, instead) in [
            (None, None, "a", None),
            (Some("a"), None, "a", None),
            (Some("a"), None, "b", Some("a")),
            (None, Some("a"), "b", Some("a")),
            (Some("a"), Some("a"), "a", None),
            (Some("b"), Some("a"), "b", Some("a")),
            (Some("b"), Some("a"), "a", Some("b")),
        ] {
            let found = expected_instead(&cluster(expected, met), None, found);
            assert_eq!(found.as_deref(), instead, "{expected:?} {met:?}");
        }
        let fresh = cluster(Some("b"), None);
        assert_eq!(expected_instead(&fresh, Some("a"), "b").as_deref(), Some("a"), "its status was not written yet");
    }
}
