//! Does what the plan for a Cluster asks for.

use std::collections::BTreeMap;

use drover_admission::{Policy, downstream, guarded::is_same};
use drover_crds::names::{DROVER_NAMESPACE, LABEL_MANAGED_BY, LABEL_OWNER_KIND, LABEL_OWNER_NAME, MANAGED_BY};
use drover_fleet::{admission::OWNER_KIND, claim};
use drover_runtime::{
    Answer, ApiError, Classify as _, ClusterName, Link, PlaceContext, act::AT_A_TIME, cache::Kept,
    operator::field_manager, request::request, write::release_labels,
};
use futures::{StreamExt as _, stream};
use k8s_openapi::{
    ClusterResourceScope,
    api::{
        admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
        core::v1::Namespace,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde::Serialize;
use serde_json::{Value, json};

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
        Action::WritePolicy(policy) => Ok(write_policy(&cache.client(), cluster, policy).await?),
        Action::RemovePolicies(names) => Ok(remove_policies(&cache.client(), &names).await?),
        Action::ReleaseClaim => {
            claim::release(&cache.client(), installation, name.as_str()).await?;
            Ok(())
        }
        Action::DeleteNamespace { uid } => {
            let preconditions = Some(Preconditions { uid: Some(uid), resource_version: None });
            let parameters = DeleteParams { preconditions, ..DeleteParams::background() };
            let api = Api::<Answer<Namespace>>::all(cache.client());
            match request("delete Namespace drover-system", api.delete(DROVER_NAMESPACE, &parameters)).await {
                Err(error) if error.code() == Some(404) => Ok(()),
                answer => Ok(answer.map(|_| ())?),
            }
        }
    }
}

/// Writes the policy `name`, and then what puts it into force. The names are fixed, and the holder of the claim owns them: they are
/// applied by name, whatever became of them.
async fn write_policy(client: &Client, cluster: &str, name: &str) -> Result<(), ApiError> {
    let Some(policy) = downstream::policies().into_iter().find(|policy| policy.name == name) else { return Ok(()) };
    let (mut own, mut binding) = (policy.policy(), policy.binding());
    own.metadata = metadata(&policy, cluster);
    binding.metadata = metadata(&policy, cluster);
    apply(client, &own).await?;
    apply(client, &binding).await
}

fn metadata(policy: &Policy, cluster: &str) -> ObjectMeta {
    let labels = [(LABEL_MANAGED_BY, MANAGED_BY), (LABEL_OWNER_KIND, OWNER_KIND), (LABEL_OWNER_NAME, cluster)];
    let labels: BTreeMap<_, _> = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    ObjectMeta { name: Some(policy.name.to_owned()), labels: Some(labels), ..ObjectMeta::default() }
}

async fn apply<K>(client: &Client, object: &K) -> Result<(), ApiError>
where
    K: Kept + Resource<Scope = ClusterResourceScope> + Serialize,
{
    let (name, what) = (object.name_any(), format!("apply {} {}", K::kind(&()), object.name_any()));
    let parameters = PatchParams::apply(&field_manager::<ClusterOperator>()).force();
    let api = Api::<Answer<K>>::all(client.clone());
    let Answer(live) = request(what.clone(), api.patch(&name, &parameters, &Patch::Apply(object))).await?;
    let spec = spec_of(object);
    if is_same(&spec_of(&live), &spec) {
        return Ok(());
    }
    // What others add to its lists and maps stays through an apply.
    let whole = json!([{"op": "add", "path": "/spec", "value": spec}]);
    let whole = Patch::Json::<Answer<K>>(serde_json::from_value(whole).unwrap_or_default());
    let parameters = PatchParams { field_manager: Some(field_manager::<ClusterOperator>()), ..PatchParams::default() };
    request(what, api.patch(&name, &parameters, &whole)).await.map(drop)
}

fn spec_of(object: &impl Serialize) -> Value {
    let object = serde_json::to_value(object).unwrap_or_default();
    object.get("spec").cloned().unwrap_or_default()
}

/// Removes the policies of these names.
async fn remove_policies(client: &Client, names: &[String]) -> Result<(), ApiError> {
    for name in names {
        delete::<ValidatingAdmissionPolicyBinding>(client, name).await?;
        delete::<ValidatingAdmissionPolicy>(client, name).await?;
    }
    Ok(())
}

async fn delete<K: Kept + Resource<Scope = ClusterResourceScope>>(client: &Client, name: &str) -> Result<(), ApiError> {
    let api = Api::<Answer<K>>::all(client.clone());
    let what = format!("delete {} {name}", K::kind(&()));
    match request(what, api.delete(name, &DeleteParams::default())).await {
        Err(error) if error.code() == Some(404) => Ok(()),
        answer => answer.map(drop),
    }
}
