//! One shot at a cluster that no fleet keeps connected.

use std::sync::Arc;

use drover_crds::Cluster;
use drover_dial::Parsed;
use drover_runtime::{DialPolicy, Failure};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;

use crate::{
    claim::{self, Claim},
    cluster_client::{ClusterClient, ConnectError},
    connection_guard, identity,
    management::Management,
    probe,
    source::source,
};

/// Releases the claim on the cluster of `cluster` as [`claim::release`] does, reached as by [`ask_stored`].
pub async fn release_stored(
    cluster: &Cluster,
    secret: Option<&Secret>,
    management: &Management,
    installation: &str,
    policy: DialPolicy,
) -> Result<Option<Claim>, Failure> {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let release =
        async |client: &Client| claim::release(client, installation, name).await.map_err(|error| Failure::of(&error));
    ask_stored(cluster, secret, management, policy, release).await
}

/// Makes the requests of `ask` to the cluster of `cluster`, reached as its `secret` says, or through `management` if it is that
/// itself, at an address that `policy` allows. All rules of the fleet hold: of the kubeconfig nothing is run, the identity must be
/// the one that is known, and no answer may be large.
pub async fn ask_stored<T>(
    cluster: &Cluster,
    secret: Option<&Secret>,
    management: &Management,
    policy: DialPolicy,
    ask: impl AsyncFnOnce(&Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let failed = |error: ConnectError| Failure::of(&error);
    let (source, parsed, wanted) = (source(cluster, secret), Parsed::default(), Arc::default());
    let cluster_client = ClusterClient::prepare(&source, management, policy, &wanted, &parsed).await.map_err(failed)?;
    connection_guard::probing(async {
        let introduced = probe::identify(&cluster_client.client, cluster.spec.health_timeout()).await;
        let introduced = introduced.and_then(|facts| identity::check(cluster, None, &facts.uid));
        introduced.map_err(|error| failed(error.into()))?;
        connection_guard::without_dialling(ask(&cluster_client.client)).await
    })
    .await
}
