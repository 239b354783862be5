//! How Drover writes: create first, then server-side apply with the UID; only on difference; never capture, never resurrect.

use std::{fmt, sync::Arc};

use drover_crds::names::{
    ANNOTATION_ADOPTED, ANNOTATION_APPLIED, ANNOTATION_CREATED, ANNOTATION_OWNER_UID, ANNOTATION_RELEASED_BY,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::{DynamicObject, TypeMeta},
    discovery::ApiResource,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    cache::{Cache, Kept, ObjectKey, OwnerRecord},
    cause::{Cause, WriteCause},
    difference::lacks,
    error::{ApiError, Classify, MESSAGE_LIMIT, truncate},
    request::request,
};

/// What has to be done so that a live object shows what is wanted. Pure: decided before any request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It does not exist.
    Create,
    /// It lacks something of what is wanted, or carries something that we wanted before and want no longer.
    Apply {
        /// The fields that another client changed back; empty when the desired state is new.
        reverted: Vec<String>,
    },
    /// Nothing to do.
    Keep,
}

impl Step {
    /// The step from `live` (ours, or none) to `desired`.
    pub fn between<K: Kept + Serialize>(desired: &K, live: Option<&K>) -> Self {
        let Some(live) = live else { return Self::Create };
        let wanted = to_json(desired);
        if annotation(live.meta(), ANNOTATION_APPLIED) != Some(&hash(&wanted)) {
            return Self::Apply { reverted: Vec::new() };
        }
        let reverted = lacks(&wanted, &to_json(live));
        if reverted.is_empty() { Self::Keep } else { Self::Apply { reverted } }
    }
}

/// A write that did not happen.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// An object of that name exists and is foreign.
    #[error(
        "{what} exists and does not belong to this object, so Drover leaves it as it is; rename or remove one of the two"
    )]
    Taken {
        /// Kind and name.
        what: String,
    },
    /// Another field manager owns a field that we want otherwise, on an object that we only adopted.
    #[error("{what}: {conflict}; remove the field from one of the two sides")]
    FieldConflict {
        /// Kind and name.
        what: String,
        /// The server's words: which field, which manager.
        conflict: String,
    },
    /// The request failed.
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl Classify for WriteError {
    fn cause(&self) -> Cause {
        match self {
            // The next reconcile may find out that it is ours. It may also never do so, as our informers show only what carries our labels.
            Self::Taken { .. } => WriteCause::AlreadyExists.into(),
            Self::FieldConflict { .. } => WriteCause::FieldConflict.into(),
            Self::Api(error) => error.cause(),
        }
    }
}

/// Writes to one API server on behalf of one object, with one field manager per operator.
#[derive(Clone)]
pub struct Writer {
    cache: Arc<Cache>,
    manager: String,
    owner: OwnerRecord,
    owner_uid: String,
}

impl fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Writer")
            .field("manager", &self.manager)
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// A writer for `owner`. Its UID goes into an annotation for diagnosis.
    #[must_use]
    pub fn new(cache: Arc<Cache>, manager: String, owner: OwnerRecord, owner_uid: &str) -> Self {
        Self { cache, manager, owner, owner_uid: owner_uid.to_owned() }
    }

    /// Creates `desired` with its name, owner labels and marks only, then applies the rest. A crash in between leaves an object
    /// that is recognisably ours. An object of that name that exists already is reported, never captured.
    pub async fn create<K: Kept + Serialize>(&self, desired: &K) -> Result<(), WriteError> {
        self.create_from(desired, Value::Null).await
    }

    /// The same for a kind with required and immutable fields, such as `roleRef`: `seed` has them for the first request.
    pub async fn create_from<K: Kept + Serialize>(&self, desired: &K, seed: Value) -> Result<(), WriteError> {
        let key = ObjectKey::of(desired.meta());
        let what = format!("{} {key}", K::kind(&()));
        let mut bare = DynamicObject { types: Some(types::<K>()), metadata: ObjectMeta::default(), data: json!({}) };
        if seed.is_object() {
            bare.data = seed;
        }
        bare.metadata.name.clone_from(&desired.meta().name);
        bare.metadata.namespace.clone_from(&desired.meta().namespace);
        bare.metadata.labels = Some(self.owner.labels());
        let marks =
            [(ANNOTATION_OWNER_UID, self.owner_uid.clone()), (ANNOTATION_CREATED, self.owner.created_mark(&key))];
        bare.metadata.annotations = Some(marks.map(|(name, value)| (name.to_owned(), value)).into());
        let params = PostParams { field_manager: Some(self.manager.clone()), ..PostParams::default() };
        let api = self.api::<K>(&key);
        let created = match request(format!("create {what}"), api.create(&params, &bare)).await {
            Err(error) if error.code() == Some(409) => return Err(WriteError::Taken { what }),
            answer => answer?,
        };
        // Should the apply fail, the next look must still find what was created, and not create it again.
        self.expect_seen::<K>(key, &created.metadata);
        self.apply(desired, &created.metadata, &[]).await
    }

    /// Applies `desired` to the live object described by `live`. `reverted` are the fields that another client changed back.
    ///
    /// The UID goes along, so an object that was deleted meanwhile is not resurrected, and so does the version, so that
    /// nothing is captured that changed hands meanwhile. What we created we own: conflicts are forced. On what we adopted
    /// they are reported.
    pub async fn apply<K: Kept + Serialize>(
        &self,
        desired: &K,
        live: &ObjectMeta,
        reverted: &[String],
    ) -> Result<(), WriteError> {
        let key = ObjectKey::of(desired.meta());
        let what = format!("{} {key}", K::kind(&()));
        let adopted = annotation(live, ANNOTATION_ADOPTED).is_some();
        let body = self.body(desired, live, adopted);
        let params = PatchParams { force: !adopted, ..PatchParams::apply(&self.manager) };
        let api = self.api::<K>(&key);
        let name = key.name.clone();
        match request(format!("apply {what}"), api.patch(&name, &params, &Patch::Apply(&body))).await {
            Ok(applied) => {
                if let Some(uid) = &live.uid {
                    self.cache.drift_conflicts().record(uid, &desired_hash(desired), !reverted.is_empty());
                }
                self.expect_seen::<K>(key, &applied.metadata);
                Ok(())
            }
            Err(error) => match field_conflict(&error) {
                Some(conflict) => Err(WriteError::FieldConflict { what, conflict }),
                None => Err(error.into()),
            },
        }
    }

    /// Adopts an existing foreign object: our labels go on it, and the mark that it was there before us. The
    /// consent for that was checked by the plan.
    pub async fn adopt<K: Kept + Serialize>(&self, desired: &K, live: &ObjectMeta) -> Result<(), WriteError> {
        let mut marked = live.clone();
        marked.annotations.get_or_insert_default().insert(ANNOTATION_ADOPTED.to_owned(), "true".to_owned());
        self.apply(desired, &marked, &[]).await
    }

    /// Releases an object: it stays, without our labels, and the next owner may adopt it.
    pub async fn release<K: Kept>(&self, live: &ObjectMeta) -> Result<(), WriteError> {
        release_labels::<K>(self.cache.client(), live, &self.owner.key, self.manager.clone()).await?;
        self.expect_lost::<K>(ObjectKey::of(live), live);
        Ok(())
    }

    /// Deletes exactly the object that was seen: another one of the same name stays.
    pub async fn delete<K: Kept>(&self, live: &ObjectMeta) -> Result<(), WriteError> {
        let key = ObjectKey::of(live);
        let preconditions = Preconditions { uid: live.uid.clone(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        let (api, name) = (self.api::<K>(&key), key.name.clone());
        match request(format!("delete {} {key}", K::kind(&())), api.delete(&name, &params)).await {
            Err(error) if error.code() == Some(404) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => {
                self.expect_lost::<K>(key, live);
                Ok(())
            }
        }
    }

    /// What is sent: the wanted fields, their owner, and the desired hash by which a later reconcile knows that it was sent.
    fn body<K: Kept + Serialize>(&self, desired: &K, live: &ObjectMeta, adopted: bool) -> Value {
        let mut body = to_json(desired);
        let hash = hash(&body);
        merge(
            &mut body,
            json!({
                "apiVersion": K::api_version(&()), "kind": K::kind(&()),
                "metadata": {
                    "uid": live.uid,
                    "resourceVersion": live.resource_version,
                    "labels": self.owner.labels(),
                    "annotations": {ANNOTATION_OWNER_UID: self.owner_uid, ANNOTATION_APPLIED: hash},
                },
            }),
        );
        if adopted {
            merge(&mut body, json!({"metadata": {"annotations": {ANNOTATION_ADOPTED: "true"}}}));
        }
        body
    }

    fn api<K: Kept>(&self, key: &ObjectKey) -> Api<DynamicObject> {
        api::<K>(self.cache.client(), key)
    }

    fn expect_seen<K: Kept>(&self, key: ObjectKey, written: &ObjectMeta) {
        let informer = self.cache.informer::<K>(&OwnerRecord::query(self.owner.kind));
        let (uid, version) = (written.uid.clone(), written.resource_version.clone());
        self.cache.expect(self.owner.clone(), move || informer.has_seen(&key, uid.as_deref(), version.as_deref()));
    }

    fn expect_lost<K: Kept>(&self, key: ObjectKey, live: &ObjectMeta) {
        let informer = self.cache.informer::<K>(&OwnerRecord::query(self.owner.kind));
        let uid = live.uid.clone();
        self.cache.expect(self.owner.clone(), move || informer.has_lost(&key, uid.as_deref()));
    }
}

/// Takes the labels and annotations of `owner` off an object that stays, and notes who released it. One that is gone already is
/// no error; one that changed since it was seen is left as it is.
pub async fn release_labels<K: Kept>(
    client: Client,
    live: &ObjectMeta,
    owner: &ObjectKey,
    field_manager: String,
) -> Result<(), ApiError> {
    let key = ObjectKey::of(live);
    let gone = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), Value::Null)).collect::<Value>();
    let mut patch = json!({"metadata": {
        "uid": live.uid, "resourceVersion": live.resource_version,
        "labels": gone(&OwnerRecord::LABELS),
        "annotations": gone(&[ANNOTATION_OWNER_UID, ANNOTATION_APPLIED, ANNOTATION_ADOPTED, ANNOTATION_CREATED]),
    }});
    merge(&mut patch, json!({"metadata": {"annotations": {ANNOTATION_RELEASED_BY: owner.to_string()}}}));
    let params = PatchParams { field_manager: Some(field_manager), ..PatchParams::default() };
    let (api, patch) = (api::<K>(client, &key), Patch::Merge(&patch));
    match request(format!("release {} {key}", K::kind(&())), api.patch(&key.name, &params, &patch)).await {
        Err(error) if error.code() == Some(404) => Ok(()),
        answer => answer.map(|_| ()),
    }
}

/// The API of a kind, of which only metadata and what is asked for is decoded.
pub(crate) fn api<K: Kept>(client: Client, key: &ObjectKey) -> Api<DynamicObject> {
    let resource = ApiResource::erase::<K>(&());
    if key.namespace.is_empty() {
        Api::all_with(client, &resource)
    } else {
        Api::namespaced_with(client, &key.namespace, &resource)
    }
}

fn types<K: Kept>() -> TypeMeta {
    TypeMeta { api_version: K::api_version(&()).into_owned(), kind: K::kind(&()).into_owned() }
}

pub(crate) fn to_json<K: Serialize>(object: &K) -> Value {
    // Our own types have string keys only, so this cannot fail; null would show as a difference, not as an agreement.
    serde_json::to_value(object).unwrap_or(Value::Null)
}

fn annotation<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a String> {
    meta.annotations.as_ref()?.get(name)
}

/// Tells one desired state from another: the value of the annotation `drover.dev/applied` once `desired` was applied.
pub fn desired_hash(desired: &impl Serialize) -> String {
    hash(&to_json(desired))
}

/// SHA-256 of what is wanted, shortened to 64 bits: it only has to differ when the desired state differs.
fn hash(desired: &Value) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, desired.to_string().as_bytes());
    let (head, _) = digest.as_ref().split_first_chunk().unwrap_or((&[0; 8], &[]));
    format!("{:016x}", u64::from_be_bytes(*head))
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// What the server says of a field that another manager owns. It refuses an apply to an object that is gone with the same
/// code, hence the look at the causes.
fn field_conflict(error: &ApiError) -> Option<String> {
    let ApiError::Refused { status, .. } = error else { return None };
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    let found = causes.any(|cause| cause.reason == "FieldManagerConflict");
    found.then(|| truncate(&status.message, MESSAGE_LIMIT))
}
