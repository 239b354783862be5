//! Does what the plan for a Cluster that is being deleted asks for.

use drover_crds::names::DROVER_NAMESPACE;
use drover_fleet::claim;
use drover_runtime::{
    Classify as _, ClusterName, Link, PlaceContext, operator::field_manager, request::request, write::release_labels,
};
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
            let mut outcome = Ok(());
            for LeftBehind { live, holder } in all {
                let by = field_manager::<ClusterOperator>();
                match release_labels::<Namespace>(cache.client(), &live, &holder, by).await {
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
