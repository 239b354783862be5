//! Does what the plan for a Cluster that is being deleted asks for.

use drover_crds::names::DROVER_NAMESPACE;
use drover_fleet::claim;
use drover_runtime::{
    Classify as _, ClusterName, Link, PlaceContext, act::AT_A_TIME, operator::field_manager, request::request,
    write::release_labels,
};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};

use crate::{ClusterOperator, error::ClusterError, observe::LeftBehind, teardown::Action};

/// Does one action through the connection of the cluster itself.
pub(crate) async fn act(
    cluster: &str,
    context: &PlaceContext,
    installation: &str,
    action: Action,
) -> Result<(), ClusterError> {
    let name = ClusterName::from(cluster);
    let Some(Link::Connected(cache)) = context.fleet.get(&name).map(|view| &view.link) else {
        return Err(ClusterError::Away);
    };
    match action {
        Action::ReleaseLeftBehind(all) => {
            // Not one action each: the runtime tries again what was refused after minutes, and here the deadline runs.
            let (client, by) = (cache.client(), &field_manager::<ClusterOperator>());
            let release = |LeftBehind { live, holder }: LeftBehind| {
                let client = client.clone();
                async move { release_labels::<Namespace>(client, &live, &holder, by).await }
            };
            let mut answers = stream::iter(all.into_iter().map(release)).buffered(AT_A_TIME);
            let mut outcome = Ok(());
            while let Some(answer) = answers.next().await {
                match answer {
                    Err(error) if !error.class().is_about_one_thing() => return Err(error.into()),
                    answer => outcome = outcome.and(answer),
                }
            }
            Ok(outcome?)
        }
        Action::ReleaseClaim => {
            claim::release(&cache.client(), installation, name.as_str()).await?;
            Ok(())
        }
        Action::DeleteNamespace { uid } => {
            let preconditions = Some(Preconditions { uid: Some(uid), resource_version: None });
            let parameters = DeleteParams { preconditions, ..DeleteParams::background() };
            let api = Api::<Namespace>::all(cache.client());
            match request("delete Namespace drover-system", api.delete(DROVER_NAMESPACE, &parameters)).await {
                Err(error) if error.code() == Some(404) => Ok(()),
                answer => Ok(answer.map(|_| ())?),
            }
        }
    }
}
