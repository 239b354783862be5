//! Which cluster it is.

use drover_runtime::{ApiError, request::request};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};

/// The UID of the namespace kube-system: what a cluster is known by.
pub(crate) async fn cluster_uid(client: &Client) -> Result<String, ApiError> {
    let namespaces = Api::<Namespace>::all(client.clone());
    let found = request("get the namespace kube-system", namespaces.get_metadata("kube-system")).await?;
    Ok(found.metadata.uid.unwrap_or_default())
}
