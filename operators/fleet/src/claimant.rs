//! Makes sure that a cluster is ours before anything is written to it.

use std::{fmt, sync::Arc};

use drover_crds::{Cluster, names::LOCAL_CLUSTER};
use drover_dial::ConnectionError;
use drover_runtime::{ApiError, Classify as _};
use kube::{Client, ResourceExt as _};

use crate::{
    claim::{self, Claim, Decision, Question, decide},
    source::recorded_uid,
};

/// Which Clusters of this installation may stand for the cluster with a UID, the one that wins first. The second argument
/// is the one that the claim names: it counts unless it is known to be another cluster.
type Rivals = dyn Fn(&str, Option<&str>) -> Vec<String> + Send + Sync;

/// Who claims clusters.
#[derive(Clone)]
pub(crate) struct Claimant {
    pub(crate) installation: Arc<str>,
    pub(crate) rivals: Arc<Rivals>,
    /// UID of the management cluster, which is reached as the Cluster `local` only.
    pub(crate) own_uid: Arc<dyn Fn() -> Option<String> + Send + Sync>,
}

impl fmt::Debug for Claimant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Claimant").field("installation", &self.installation).finish_non_exhaustive()
    }
}

/// Another client may write the claim between a read and a write; then it is read again, so many times.
const ATTEMPTS: usize = 3;
const WHAT: &str = "read and write the ConfigMap drover-system/drover-claim";

impl Claimant {
    /// Claims the cluster with this `uid` for `cluster`, or says who holds the claim. False where there is no claim and
    /// `cluster` says that nothing is to be written.
    pub(crate) async fn ensure_claimed(
        &self,
        client: &Client,
        cluster: &Cluster,
        uid: &str,
    ) -> Result<bool, ConnectionError> {
        let name = cluster.name_any();
        if name != LOCAL_CLUSTER && (self.own_uid)().as_deref() == Some(uid) {
            return Err(ConnectionError::DuplicateOf(LOCAL_CLUSTER.to_owned()));
        }
        for _ in 0..ATTEMPTS {
            let claim = claim::read(client).await.map_err(|error| connection_error(&error))?;
            let done = match self.decide(cluster, uid, claim.as_ref()) {
                Decision::Held => true,
                Decision::DuplicateOf(other) => return Err(ConnectionError::DuplicateOf(other)),
                Decision::ClaimedByOther(installation) => return Err(ConnectionError::ClaimedByOther(installation)),
                Decision::Make | Decision::Move(_) | Decision::TakeOver(_) if !may_claim(cluster, uid) => {
                    return Ok(false);
                }
                Decision::Make => {
                    tracing::info!(cluster = name, "claiming the cluster");
                    claim::make(client, &self.installation, &name).await.map_err(|error| connection_error(&error))?
                }
                Decision::Move(from) => self.take(client, &from, &name, None).await?,
                Decision::TakeOver(from) => self.take(client, &from, &name, Some(&takeover_request(cluster))).await?,
            };
            if done {
                return Ok(true);
            }
        }
        Err(ConnectionError::ApiServer(409, WHAT))
    }

    async fn take(
        &self,
        client: &Client,
        from: &Claim,
        name: &str,
        takeover_request: Option<&str>,
    ) -> Result<bool, ConnectionError> {
        let (installation, named) = (&from.installation, &from.cluster_name);
        tracing::info!(cluster = name, installation, named, "taking the cluster over");
        claim::take(client, from, &self.installation, name, takeover_request)
            .await
            .map_err(|error| connection_error(&error))
    }

    fn decide(&self, cluster: &Cluster, uid: &str, claim: Option<&Claim>) -> Decision {
        let named = claim.filter(|claim| *claim.installation == *self.installation);
        let rivals = || (self.rivals)(uid, named.map(|claim| claim.cluster_name.as_str()));
        decide(&Question {
            installation: &self.installation,
            cluster_name: &cluster.name_any(),
            take_from: cluster.spec.claim.as_ref().and_then(|claim| claim.take_from.as_deref()),
            takeover_request: &takeover_request(cluster),
            claim,
            rivals: &rivals,
        })
    }
}

/// What tells the takeover request of this Cluster's spec from all others: a person who changes the spec has a new one.
fn takeover_request(cluster: &Cluster) -> String {
    let (uid, generation) = (cluster.metadata.uid.as_deref(), cluster.metadata.generation);
    format!("{}/{}", uid.unwrap_or_default(), generation.unwrap_or_default())
}

/// Whether anything new is written to `cluster`.
pub(crate) fn writes(cluster: &Cluster) -> bool {
    !cluster.spec.suspend && cluster.metadata.deletion_timestamp.is_none()
}

/// Whether the cluster with this UID may be claimed for `cluster`: once its status records the UID. So a Cluster whose status records none
/// never left a claim anywhere, whenever Drover was killed.
fn may_claim(cluster: &Cluster, uid: &str) -> bool {
    writes(cluster) && recorded_uid(cluster) == Some(uid)
}

fn connection_error(error: &ApiError) -> ConnectionError {
    tracing::debug!(%error, cause = ?error, "the claim could not be read or written");
    match error {
        ApiError::Refused { .. } if error.refuser().is_some() => ConnectionError::ClaimRefused(error.to_string()),
        ApiError::Refused { status, .. } => ConnectionError::of_status(WHAT, status.code),
        ApiError::Unquoted { code, .. } => ConnectionError::of_status(WHAT, *code),
        ApiError::Timeout { .. } => ConnectionError::Timeout,
        ApiError::TooLarge { .. } => ConnectionError::TooLarge,
        ApiError::Broken { source, .. } => ConnectionError::of(WHAT, source),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    /// One request that is refused does not mean that the API server is not ready, nor that rights are missing.
    #[test]
    fn whoever_refuses_the_claim_is_named() {
        let told = |code: u16, message: &str| {
            let status = Status { code, message: message.to_owned(), ..Status::default() };
            let error =
                ApiError::new("create the ConfigMap drover-system/drover-claim", kube::Error::Api(Box::new(status)));
            let error = connection_error(&error);
            format!("{}: {error}", error.reason())
        };
        assert_eq!(
            told(500, r#"Internal error occurred: failed calling webhook "w.example.com": no route"#),
            "ClaimRefused: Drover cannot create the ConfigMap drover-system/drover-claim: the admission webhook w.example.com does not answer; look at the service behind it"
        );
        let denied = r#"configmaps "drover-claim" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"#;
        assert!(told(422, denied).starts_with("ClaimRefused") && told(422, denied).contains("the admission policy p"));
        assert!(told(500, "etcdserver: request timed out").starts_with("APIServerNotReady"));
        let no_right = r#"configmaps "drover-claim" is forbidden: User "u" cannot create resource "configmaps""#;
        assert!(told(403, no_right).starts_with("Forbidden"));
    }

    #[test]
    fn a_cluster_is_claimed_only_once_its_status_records_which_one_it_is() {
        let cluster = |status: serde_json::Value, suspend: bool| -> Cluster {
            serde_json::from_value(json!({
                "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "eu"},
                "spec": {"connection": {"kubeconfig": {"secretRef": {"name": "eu"}}}, "suspend": suspend},
                "status": status,
            }))
            .unwrap()
        };
        for (status, suspend, may) in [
            (json!(null), false, false),
            (json!({}), false, false),
            (json!({"clusterUID": "other"}), false, false),
            (json!({"clusterUID": "uid"}), true, false),
            (json!({"clusterUID": "uid"}), false, true),
        ] {
            assert_eq!(may_claim(&cluster(status.clone(), suspend), "uid"), may, "{status} {suspend}");
        }
    }
}
