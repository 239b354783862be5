//! Reads, applies, changes and deletes objects of any kind, with one client instead of a kubectl for each.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use drover_crds::names::LABEL_OWNER_KIND;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{GroupVersionKind, TypeMeta};
use kube::discovery::{ApiCapabilities, ApiGroup, ApiResource, Discovery, Scope, pinned_kind, verbs};
use kube::{Api, Client};
use serde::Deserialize as _;
use serde_json::Value;

use crate::ControlPlane;
use crate::error::{Error, Result};
use crate::wait::as_json;

/// What `kubectl apply --server-side` calls itself.
const FIELD_MANAGER: &str = "kubectl";
/// What `kubectl patch` calls itself.
const PATCH_MANAGER: &str = "kubectl-patch";
/// An API server that does nothing else answers so many lists at a time as fast as one.
const LISTS_AT_ONCE: usize = 8;

/// What one kind is, as an API server tells.
type Resource = (ApiResource, Scope);

/// Our own kinds, by their singular names: a control plane may not serve them yet.
static OUR_KINDS: LazyLock<BTreeMap<String, Resource>> = LazyLock::new(|| {
    drover_crds::all().iter().map(|definition| (singular(definition), resource(definition))).collect()
});

/// What was learned by discovery. Kubernetes' own kinds are the same on every control plane.
static DISCOVERED: Mutex<BTreeMap<String, Resource>> = Mutex::new(BTreeMap::new());

fn singular(definition: &CustomResourceDefinition) -> String {
    definition.spec.names.kind.to_lowercase()
}

fn resource(definition: &CustomResourceDefinition) -> Resource {
    let spec = &definition.spec;
    let version = spec.versions.first().map_or(drover_crds::VERSION, |version| &version.name);
    let kind = GroupVersionKind::gvk(&spec.group, version, &spec.names.kind);
    let scope = if spec.scope == "Cluster" { Scope::Cluster } else { Scope::Namespaced };
    (ApiResource::from_gvk_with_plural(&kind, &spec.names.plural), scope)
}

/// Objects of one kind, as `kubectl get KIND` names it: a kind of ours, or else what the control plane serves under this name.
/// For a namespaced kind those of `namespace`. A kind that nobody knows is an error at once, whoever waits.
pub async fn api(client: Client, kind: &str, namespace: &str) -> Result<Api<DynamicObject>> {
    let kind = kind.to_lowercase();
    let known = OUR_KINDS.get(&kind).cloned().or_else(|| discovered().get(&kind).cloned());
    let (resource, scope) = if let Some(known) = known {
        known
    } else {
        let found = discover(&client, &kind).await?;
        discovered().insert(kind, found.clone());
        found
    };
    Ok(api_of(client, &resource, &scope, namespace))
}

fn discovered() -> std::sync::MutexGuard<'static, BTreeMap<String, Resource>> {
    DISCOVERED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a control plane serves, the core group first.
async fn served(client: &Client) -> Result<Vec<(ApiResource, ApiCapabilities)>> {
    let discovery = Discovery::new(client.clone()).run_aggregated().await?;
    Ok(discovery.groups_alphabetical().into_iter().flat_map(ApiGroup::recommended_resources).collect())
}

async fn discover(client: &Client, kind: &str) -> Result<Resource> {
    let all = served(client).await?.into_iter();
    let mut named = all.filter(|(resource, _)| resource.kind.to_lowercase() == kind || resource.plural == kind);
    let found = named.next().ok_or_else(|| Error::UnknownKind(kind.to_owned()))?;
    Ok((found.0, found.1.scope))
}

fn api_of(client: Client, resource: &ApiResource, scope: &Scope, namespace: &str) -> Api<DynamicObject> {
    match scope {
        Scope::Cluster => Api::all_with(client, resource),
        Scope::Namespaced => Api::namespaced_with(client, namespace, resource),
    }
}

/// Every object of a control plane that belongs to an object of Drover, of whatever kind: those with the label
/// `drover.dev/owner-kind`.
pub async fn owned(plane: &ControlPlane) -> Result<Vec<Value>> {
    let all = listed(plane, None, &ListParams::default().labels(LABEL_OWNER_KIND)).await?;
    Ok(all.iter().map(as_json).collect())
}

/// Every object in a namespace, of whatever kind, and who manages its fields.
pub async fn all_in(plane: &ControlPlane, namespace: &str) -> Result<Vec<Value>> {
    let all = listed(plane, Some(namespace), &ListParams::default()).await?;
    Ok(all.iter().map(|object| serde_json::to_value(object).unwrap_or_default()).collect())
}

/// The objects of all kinds that a control plane lists, in this namespace or anywhere.
async fn listed(plane: &ControlPlane, namespace: Option<&str>, params: &ListParams) -> Result<Vec<DynamicObject>> {
    let client = plane.client();
    let listable = served(&client).await?.into_iter().filter(|(_, capabilities)| {
        capabilities.supports_operation(verbs::LIST) && (namespace.is_none() || capabilities.scope == Scope::Namespaced)
    });
    let lists = listable.map(|(resource, _)| {
        let objects: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        async move {
            let list = objects.list(params).await?;
            // Items of a list do not say what they are.
            let kind = TypeMeta { api_version: resource.api_version, kind: resource.kind };
            let items = list.items.into_iter().map(|item| DynamicObject { types: Some(kind.clone()), ..item });
            Ok::<_, Error>(items.collect::<Vec<_>>())
        }
    });
    Ok(stream::iter(lists).buffered(LISTS_AT_ONCE).try_collect::<Vec<_>>().await?.concat())
}

/// Deletes everything in a namespace, of whatever kind.
pub async fn empty(client: &Client, namespace: &str) -> Result<()> {
    let kinds = served(client).await?.into_iter().filter(|(_, capabilities)| {
        capabilities.scope == Scope::Namespaced && capabilities.supports_operation(verbs::DELETE_COLLECTION)
    });
    let deletions = kinds.map(|(resource, _)| {
        let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        async move { objects.delete_collection(&DeleteParams::default(), &ListParams::default()).await }
    });
    stream::iter(deletions).buffered(LISTS_AT_ONCE).try_collect::<Vec<_>>().await?;
    Ok(())
}

/// Applies an object to a control plane, as `kubectl apply --server-side` does.
pub async fn apply_to(plane: &ControlPlane, object: &Value) -> Result<()> {
    let client = plane.client();
    let yaml = |source: serde_json::Error| Error::Yaml(source.to_string());
    let types: TypeMeta = serde_json::from_value(object.clone()).map_err(yaml)?;
    let kind = GroupVersionKind::try_from(&types).map_err(|source| Error::Yaml(source.to_string()))?;
    let (resource, capabilities) = pinned_kind(&client, &kind).await?;
    let namespace = namespace_of(object).unwrap_or("default");
    let params = PatchParams::apply(FIELD_MANAGER).validation_strict();
    let objects = api_of(client, &resource, &capabilities.scope, namespace);
    objects.patch(name_of(object), &params, &Patch::Apply(object)).await?;
    Ok(())
}

/// Applies the objects of a YAML or JSON text to a control plane, one after the other.
pub async fn apply_text_to(plane: &ControlPlane, text: &str) -> Result<()> {
    for document in serde_yaml::Deserializer::from_str(text) {
        let object = Value::deserialize(document).map_err(|source| Error::Yaml(source.to_string()))?;
        if !object.is_null() {
            apply_to(plane, &object).await?;
        }
    }
    Ok(())
}

/// The name of an object; empty if it has none.
#[must_use]
pub fn name_of(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

/// The namespace of an object; none if it names none.
#[must_use]
pub fn namespace_of(object: &Value) -> Option<&str> {
    object.pointer("/metadata/namespace").and_then(Value::as_str)
}

/// `NAMESPACE/NAME` of an object, or its name if it names no namespace.
#[must_use]
pub fn key_of(object: &Value) -> String {
    namespace_of(object)
        .map_or_else(|| name_of(object).to_owned(), |namespace| format!("{namespace}/{}", name_of(object)))
}

/// One object as kubectl shows it; none if it is not there.
pub async fn find(client: Client, kind: &str, namespace: &str, name: &str) -> Result<Option<Value>> {
    Ok(api(client, kind, namespace).await?.get_opt(name).await?.as_ref().map(as_json))
}

/// Changes an object: an array is a JSON patch, everything else a merge patch.
pub async fn patch_on(plane: &ControlPlane, kind: &str, namespace: &str, name: &str, change: Value) -> Result<()> {
    let params = PatchParams { field_manager: Some(PATCH_MANAGER.to_owned()), ..PatchParams::default() };
    let change: Patch<Value> = if change.is_array() {
        Patch::Json(serde_json::from_value(change).map_err(|source| Error::Yaml(source.to_string()))?)
    } else {
        Patch::Merge(change)
    };
    api(plane.client(), kind, namespace).await?.patch(name, &params, &change).await?;
    Ok(())
}

/// Asks for the deletion of an object, and does not wait for it.
pub async fn delete_from(plane: &ControlPlane, kind: &str, namespace: &str, name: &str) -> Result<()> {
    api(plane.client(), kind, namespace).await?.delete(name, &DeleteParams::default()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_of_ours_are_known_without_a_request() {
        let (cluster, scope) = &OUR_KINDS["cluster"];
        assert_eq!((cluster.plural.as_str(), cluster.api_version.as_str()), ("clusters", "drover.dev/v1alpha1"));
        assert!(matches!(scope, Scope::Cluster));
        assert!(matches!(OUR_KINDS["project"].1, Scope::Namespaced));
        assert_eq!(OUR_KINDS.len(), drover_crds::all().len());
    }
}
