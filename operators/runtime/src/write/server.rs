//! Who takes the requests by which objects change: an API server, or the model world.

use std::{fmt, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::DynamicObject,
    discovery::ApiResource,
};
use serde_json::Value;

use super::bodies::as_json_patch;
use crate::{
    cache::{Cache, Kept, ObjectKey, OwnerRecord, keep_annotations},
    error::ApiError,
    request::request,
};

/// One request that changes an object.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// A POST.
    Create(&'a DynamicObject),
    /// A server-side apply.
    Apply {
        /// What is applied.
        body: &'a Value,
        /// Whether fields of other managers become ours.
        force: bool,
    },
    /// A patch that replaces fields as a whole, whoever owns what is in them.
    Replace {
        /// As a strategic merge patch.
        body: &'a Value,
        /// What it is about.
        live: &'a ObjectMeta,
    },
    /// A merge patch that gives the object up.
    Release(&'a Value),
    /// A DELETE of the object with this UID, and of no other.
    Delete(Option<&'a str>),
}

/// What a request left behind.
#[derive(Clone, Copy, Debug)]
pub enum Written<'a> {
    /// A new object of ours, as the server answered.
    Created(&'a ObjectMeta),
    /// An object of ours, as the server answered.
    Ours(&'a ObjectMeta),
    /// Nothing of ours: the object, as it was seen before, is released or deleted.
    Lost(&'a ObjectMeta),
}

/// Takes the requests of a [`Writer`](super::Writer).
pub trait Server: Sync {
    /// Sends a request about the object with this key. The answer describes the object as it is then, unless it is deleted.
    fn send<K: Kept>(
        &self,
        key: &ObjectKey,
        request: Request<'_>,
    ) -> impl Future<Output = Result<ObjectMeta, ApiError>> + Send;

    /// The next decision about what belongs to `owner` waits until it can see what was written.
    fn expect<K: Kept>(&self, owner: &OwnerRecord, key: ObjectKey, written: Written<'_>);

    /// Counts, for drift conflicts, that this desired state was applied. `restoring` says that another client had changed it back.
    fn count_applied(&self, key: &ObjectKey, live: &ObjectMeta, desired_hash: &str, restoring: bool);
}

/// An API server, the cache of which shows what was written there.
#[derive(Clone)]
pub struct ApiServer {
    cache: Arc<Cache>,
    field_manager: String,
}

impl ApiServer {
    pub(super) fn new(cache: Arc<Cache>, field_manager: String) -> Self {
        Self { cache, field_manager }
    }
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ApiServer").field("field_manager", &self.field_manager).finish_non_exhaustive()
    }
}

impl Server for ApiServer {
    async fn send<K: Kept>(&self, key: &ObjectKey, request: Request<'_>) -> Result<ObjectMeta, ApiError> {
        send::<K>(self.cache.client(), &self.field_manager, key, request).await
    }

    fn expect<K: Kept>(&self, owner: &OwnerRecord, key: ObjectKey, written: Written<'_>) {
        let informer = self.cache.informer::<K>(&OwnerRecord::query(owner.kind));
        if let Written::Created(meta) = written {
            self.cache.held().note_created::<K>(owner, meta);
        }
        match written {
            Written::Created(meta) | Written::Ours(meta) => {
                let (uid, version) = (meta.uid.clone(), meta.resource_version.clone());
                self.cache.expect(owner.clone(), move || informer.has_seen(&key, uid.as_deref(), version.as_deref()));
            }
            Written::Lost(meta) => {
                self.cache.held().forget::<K>(owner, &key);
                let uid = meta.uid.clone();
                self.cache.expect(owner.clone(), move || informer.has_lost(&key, uid.as_deref()));
            }
        }
    }

    fn count_applied(&self, _: &ObjectKey, live: &ObjectMeta, desired_hash: &str, restoring: bool) {
        if let Some(uid) = &live.uid {
            self.cache.drift_conflicts().record(uid, desired_hash, restoring);
        }
    }
}

/// Sends one request under this field manager.
pub(super) async fn send<K: Kept>(
    client: Client,
    field_manager: &str,
    key: &ObjectKey,
    change: Request<'_>,
) -> Result<ObjectMeta, ApiError> {
    let what = format!("{} {} {key}", verb(change), K::kind(&()));
    let (api, name) = (api::<K>(client, key), &key.name);
    let params = PatchParams { field_manager: Some(field_manager.to_owned()), ..PatchParams::default() };
    let answered = async {
        let object = match change {
            Request::Create(body) => {
                let params = PostParams { field_manager: params.field_manager, ..PostParams::default() };
                api.create(&params, &crate::Answer(body.clone())).await?
            }
            Request::Apply { body, force } => {
                api.patch(name, &PatchParams { force, ..params }, &Patch::Apply(body)).await?
            }
            Request::Replace { body, live } if K::group(&()) == drover_crds::GROUP => {
                let patch = serde_json::from_value(as_json_patch(body, live)).map_err(kube::Error::SerdeError)?;
                api.patch(name, &params, &Patch::<Value>::Json(patch)).await?
            }
            Request::Replace { body, .. } => api.patch(name, &params, &Patch::Strategic(body)).await?,
            Request::Release(body) => api.patch(name, &params, &Patch::Merge(body)).await?,
            Request::Delete(uid) => {
                let preconditions = Preconditions { uid: uid.map(ToOwned::to_owned), resource_version: None };
                let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
                return api.delete(name, &params).await.map(|_| ObjectMeta::default());
            }
        };
        Ok(used(object.0.metadata))
    };
    request(what, answered).await
}

/// What of an answer is used while the next request is made.
fn used(meta: ObjectMeta) -> ObjectMeta {
    let ObjectMeta { name, namespace, uid, resource_version, generation, labels, mut annotations, .. } = meta;
    if let Some(annotations) = &mut annotations {
        keep_annotations(annotations);
    }
    ObjectMeta { name, namespace, uid, resource_version, generation, labels, annotations, ..ObjectMeta::default() }
}

fn verb(change: Request<'_>) -> &'static str {
    match change {
        Request::Create(_) => "create",
        Request::Apply { .. } | Request::Replace { .. } => "apply",
        Request::Release(_) => "release",
        Request::Delete(_) => "delete",
    }
}

/// The API of a kind, of which only metadata and what is asked for is decoded.
pub(crate) fn api<K: Kept>(client: Client, key: &ObjectKey) -> Api<crate::Answer<DynamicObject>> {
    let resource = ApiResource::erase::<K>(&());
    if key.namespace.is_empty() {
        Api::all_with(client, &resource)
    } else {
        Api::namespaced_with(client, &key.namespace, &resource)
    }
}

#[cfg(test)]
mod tests {
    use drover_crds::names::ANNOTATION_OWNER_UID;
    use k8s_openapi::api::core::v1::Namespace;
    use serde_json::json;

    use super::*;
    use crate::{owner::Title, testing::MockServer};

    #[tokio::test]
    async fn what_was_created_is_held_before_anybody_has_looked_at_it() {
        let cache = Arc::new(Cache::ungated(MockServer::of::<Namespace>().client()));
        let owner = OwnerRecord { kind: "Project", key: ObjectKey::namespaced("team", "shop") };
        let (uid, another) = ("of-shop".to_owned(), "of-store".to_owned());
        let meta = json!({"name": "web", "uid": "1", "annotations": {ANNOTATION_OWNER_UID: uid}});
        let created: ObjectMeta = serde_json::from_value(meta).unwrap();
        cache.held().note::<Namespace>(&owner, Some(&uid), [], |_| true);
        let server = ApiServer::new(Arc::clone(&cache), "drover-project".to_owned());
        server.expect::<Namespace>(&owner, ObjectKey::of(&created), Written::Created(&created));

        let wiped = ObjectMeta { annotations: None, ..created };
        assert_eq!(cache.held().title::<Namespace>(&owner, Some(&uid), &wiped), Some(Title::Created));
        assert_eq!(cache.held().title::<Namespace>(&owner, Some(&another), &wiped), None);
    }
}
