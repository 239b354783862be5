//! Reads and applies objects of any kind, with one client instead of a kubectl for each.

use drover_crds::{Cluster, Project};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{GroupVersionKind, TypeMeta};
use kube::discovery::{ApiResource, Scope, pinned_kind};
use kube::{Api, Client};
use serde::Deserialize as _;
use serde_json::Value;

use crate::ControlPlane;
use crate::error::{Error, Result};
use crate::wait::as_json;

/// What `kubectl apply --server-side` calls itself.
const FIELD_MANAGER: &str = "kubectl";

/// Objects of one kind, as `kubectl get KIND` names it; for a namespaced kind those of `namespace`. Costs no request.
pub fn api(client: Client, kind: &str, namespace: &str) -> Result<Api<DynamicObject>> {
    let (resource, scope) = match kind {
        "cluster" => (ApiResource::erase::<Cluster>(&()), Scope::Cluster),
        "project" => (ApiResource::erase::<Project>(&()), Scope::Namespaced),
        "namespace" => (ApiResource::erase::<Namespace>(&()), Scope::Cluster),
        "secret" => (ApiResource::erase::<Secret>(&()), Scope::Namespaced),
        "configmap" => (ApiResource::erase::<ConfigMap>(&()), Scope::Namespaced),
        "lease" => (ApiResource::erase::<Lease>(&()), Scope::Namespaced),
        other => return Err(Error::UnknownKind(other.to_owned())),
    };
    Ok(api_of(client, &resource, &scope, namespace))
}

fn api_of(client: Client, resource: &ApiResource, scope: &Scope, namespace: &str) -> Api<DynamicObject> {
    match scope {
        Scope::Cluster => Api::all_with(client, resource),
        Scope::Namespaced => Api::namespaced_with(client, namespace, resource),
    }
}

/// Applies YAML or JSON to a control plane, as `kubectl apply --server-side` does.
pub async fn apply_to(plane: &ControlPlane, text: &str) -> Result<()> {
    for document in serde_yaml::Deserializer::from_str(text) {
        let object = Value::deserialize(document).map_err(|source| Error::Yaml(source.to_string()))?;
        if !object.is_null() {
            apply_one(plane.client(), object).await?;
        }
    }
    Ok(())
}

async fn apply_one(client: Client, object: Value) -> Result<()> {
    let yaml = |source: serde_json::Error| Error::Yaml(source.to_string());
    let types: TypeMeta = serde_json::from_value(object.clone()).map_err(yaml)?;
    let kind = GroupVersionKind::try_from(&types).map_err(|source| Error::Yaml(source.to_string()))?;
    let (resource, capabilities) = pinned_kind(&client, &kind).await?;
    let text = |path: &str| object.pointer(path).and_then(Value::as_str);
    let namespace = text("/metadata/namespace").unwrap_or("default").to_owned();
    let name = text("/metadata/name").unwrap_or_default().to_owned();
    let params = PatchParams::apply(FIELD_MANAGER).validation_strict();
    api_of(client, &resource, &capabilities.scope, &namespace).patch(&name, &params, &Patch::Apply(object)).await?;
    Ok(())
}

/// One object as kubectl shows it; none if it is not there.
pub async fn find(client: Client, kind: &str, namespace: &str, name: &str) -> Result<Option<Value>> {
    Ok(api(client, kind, namespace)?.get_opt(name).await?.as_ref().map(as_json))
}
