//! Objects of kinds that are known at run time only: get, list, create, apply, update and delete.

use drover_client::{ApiError, LabelQuery, ObjectKey};
use kube::{
    api::{DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy},
    core::Request,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    account::{AccountClient, Answer},
    answer,
    error::{AccountError, Asked, Verb},
    kinds::Resource,
};

/// Under which name an app's objects are written: Helm's own, so that either takes over from the other without a conflict.
pub const FIELD_MANAGER: &str = "helm";

/// Longest object in an answer, in bytes. etcd stores 1.5 MiB at most by default, which may double as JSON.
const OBJECT_LIMIT: usize = 4 << 20;
/// How many objects of a list are asked for at a time …
const PAGE: u32 = 20;
/// … and the longest list, in bytes.
pub(crate) const LIST_LIMIT: usize = 32 << 20;

/// How an object is applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Apply {
    /// Whether fields of other field managers become ours. Otherwise they are a conflict.
    pub force: bool,
    /// Whether nothing is stored.
    pub dry_run: bool,
}

/// What becomes of the dependents of an object that is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted after it.
    Background,
    /// They are deleted before it.
    Foreground,
    /// They stay.
    Orphan,
}

/// How much of the objects of a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Whole,
    Metadata,
}

impl AccountClient {
    /// The object, or none if there is none.
    pub async fn get(&self, resource: &Resource, key: &ObjectKey) -> Result<Option<Value>, AccountError> {
        let asked = Asked::of(Verb::Get, resource, key)?;
        let request = path(resource, key).get(&key.name, &GetParams::default());
        match self.object(&asked, request, OBJECT_LIMIT).await {
            Err(AccountError::Api(ApiError::Refused { status, .. })) if is_absent(&status, key) => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    /// The objects in `namespace` that `labels` select, or everywhere if it is empty, at most 32 MiB.
    pub async fn list(
        &self,
        resource: &Resource,
        namespace: &str,
        labels: &LabelQuery,
    ) -> Result<Vec<Value>, AccountError> {
        self.pages(resource, namespace, labels, Shape::Whole).await
    }

    /// The same with nothing but the metadata of each.
    pub async fn list_metadata(
        &self,
        resource: &Resource,
        namespace: &str,
        labels: &LabelQuery,
    ) -> Result<Vec<Value>, AccountError> {
        self.pages(resource, namespace, labels, Shape::Metadata).await
    }

    /// Creates an object that does not exist, and answers it as it is stored.
    pub async fn create(&self, resource: &Resource, key: &ObjectKey, body: &Value) -> Result<Value, AccountError> {
        let asked = Asked::of(Verb::Create, resource, key)?;
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        self.object(&asked, path(resource, key).create(&params, body.to_string().into_bytes()), OBJECT_LIMIT).await
    }

    /// Applies an object by server-side apply, and answers it as it is, or would be, stored.
    pub async fn apply(
        &self,
        resource: &Resource,
        key: &ObjectKey,
        body: &Value,
        Apply { force, dry_run }: Apply,
    ) -> Result<Value, AccountError> {
        let asked = Asked::of(Verb::Apply, resource, key)?;
        let field_manager = Some(FIELD_MANAGER.to_owned());
        let params = PatchParams { field_manager, force, dry_run, ..PatchParams::default() };
        let request = path(resource, key).patch(&key.name, &params, &Patch::Apply(body));
        self.object(&asked, request, OBJECT_LIMIT).await
    }

    /// Says who manages the fields of an object, if it is as it was read. Nothing else of it changes.
    pub async fn set_managers(
        &self,
        resource: &Resource,
        key: &ObjectKey,
        read: &Value,
        managers: Vec<Value>,
    ) -> Result<Value, AccountError> {
        let asked = Asked::of(Verb::Apply, resource, key)?;
        let version = read.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
        let body = json!({"metadata": {"resourceVersion": version, "managedFields": managers}});
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let request = path(resource, key).patch(&key.name, &params, &Patch::Merge(body));
        self.object(&asked, request, OBJECT_LIMIT).await
    }

    /// Replaces an object. Where `body` names a resource version, it must be the one that is stored.
    pub async fn update(&self, resource: &Resource, key: &ObjectKey, body: &Value) -> Result<Value, AccountError> {
        let asked = Asked::of(Verb::Update, resource, key)?;
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let request = path(resource, key).replace(&key.name, &params, body.to_string().into_bytes());
        self.object(&asked, request, OBJECT_LIMIT).await
    }

    /// Deletes the object, if it is the one with this UID where there is one. Whether there was one; its finalizers may keep it.
    pub async fn delete(
        &self,
        resource: &Resource,
        key: &ObjectKey,
        propagation: Propagation,
        uid: Option<&str>,
    ) -> Result<bool, AccountError> {
        let asked = Asked::of(Verb::Delete, resource, key)?;
        let preconditions = uid.map(|uid| Preconditions { uid: Some(uid.to_owned()), resource_version: None });
        let propagation_policy = Some(propagation.into());
        let params = DeleteParams { preconditions, propagation_policy, ..DeleteParams::default() };
        match self.answer(&asked, path(resource, key).delete(&key.name, &params), OBJECT_LIMIT).await {
            Err(AccountError::Api(ApiError::Refused { status, .. })) if is_absent(&status, key) => Ok(false),
            outcome => outcome.map(|_| true),
        }
    }

    async fn pages(
        &self,
        resource: &Resource,
        namespace: &str,
        labels: &LabelQuery,
        shape: Shape,
    ) -> Result<Vec<Value>, AccountError> {
        let asked = Asked::of_list(resource, namespace)?;
        let too_large = || ApiError::TooLarge { what: asked.to_string() };
        let mut params = ListParams::default().labels(labels.as_str()).limit(PAGE);
        let (mut objects, mut room) = (Vec::new(), LIST_LIMIT);
        loop {
            let pages = path(resource, &asked.key);
            let page = match shape {
                Shape::Whole => pages.list(&params),
                Shape::Metadata => pages.list_metadata(&params),
            };
            let body = self.answer(&asked, page, room).await?;
            let Page { metadata, items } = decode(&asked, &body)?;
            room = room.checked_sub(body.len()).filter(|room| *room > 0).ok_or_else(too_large)?;
            objects.extend(items.into_iter().map(|item| of_kind(resource, item)));
            match metadata.continue_token.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(objects),
            }
        }
    }

    async fn object(&self, asked: &Asked, request: Built, limit: usize) -> Result<Value, AccountError> {
        decode(asked, &self.answer(asked, request, limit).await?)
    }

    /// The body of an answer that says yes.
    async fn answer(&self, asked: &Asked, request: Built, limit: usize) -> Result<Vec<u8>, AccountError> {
        let what = asked.to_string();
        let failed = |error| AccountError::of(asked.clone(), ApiError::new(&*what, error));
        let request = request.map_err(|_| AccountError::InvalidName { asked: asked.clone() })?;
        let answer: Answer = self.send(&what, request, limit).await?;
        answer::successful(answer).map_err(failed)
    }
}

type Built = Result<http::Request<Vec<u8>>, kube::core::request::Error>;

/// A page of a list.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMetadata,
    items: Vec<Value>,
}

#[derive(Default, Deserialize)]
struct PageMetadata {
    #[serde(rename = "continue")]
    continue_token: Option<String>,
}

impl Asked {
    /// Where the name and namespace may be those of an object of this kind, and nothing else in a path.
    fn of(verb: Verb, resource: &Resource, key: &ObjectKey) -> Result<Self, AccountError> {
        let asked = Self { verb, kind: resource.kind.clone(), key: key.clone() };
        let fits = resource.namespaced != key.namespace.is_empty();
        let is_valid = fits && is_segment(&key.name) && (key.namespace.is_empty() || is_segment(&key.namespace));
        if is_valid { Ok(asked) } else { Err(AccountError::InvalidName { asked }) }
    }

    fn of_list(resource: &Resource, namespace: &str) -> Result<Self, AccountError> {
        let key = ObjectKey::namespaced(namespace, "");
        let asked = Self { verb: Verb::List, kind: resource.kind.clone(), key };
        let is_valid = namespace.is_empty() || (resource.namespaced && is_segment(namespace));
        if is_valid { Ok(asked) } else { Err(AccountError::InvalidName { asked }) }
    }
}

/// Whether the text can be a name, as Kubernetes has them; names of roles have colons.
fn is_segment(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    (1..=253).contains(&text.len()) && text.bytes().all(allowed) && text != "." && text != ".."
}

/// The path of the objects of this kind that are where `key` is.
fn path(resource: &Resource, key: &ObjectKey) -> Request {
    let Resource { group, version, plural, .. } = resource;
    let root = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
    let namespace = &key.namespace;
    let namespace = if namespace.is_empty() { String::new() } else { format!("/namespaces/{namespace}") };
    Request::new(format!("{root}/{version}{namespace}/{plural}"))
}

/// An object of a list, which does not say its kind there.
fn of_kind(resource: &Resource, mut item: Value) -> Value {
    if let Value::Object(fields) = &mut item {
        fields.entry("apiVersion").or_insert_with(|| resource.api_version().into());
        fields.entry("kind").or_insert_with(|| resource.kind.clone().into());
    }
    item
}

/// Whether this says that there is no such object, and not that there is no such kind or namespace.
fn is_absent(status: &kube::core::Status, key: &ObjectKey) -> bool {
    let named = status.details.as_ref().map(|details| details.name.as_str());
    status.code == 404 && named == Some(key.name.as_str())
}

fn decode<T: serde::de::DeserializeOwned>(asked: &Asked, body: &[u8]) -> Result<T, AccountError> {
    // What cannot be decoded is quoted by whoever tried, and may be a secret.
    let unreadable = |_| ApiError::new(asked.to_string(), kube::Error::Service("the answer cannot be read".into()));
    serde_json::from_slice(body).map_err(|error| unreadable(error).into())
}

impl From<Propagation> for PropagationPolicy {
    fn from(propagation: Propagation) -> Self {
        match propagation {
            Propagation::Background => Self::Background,
            Propagation::Foreground => Self::Foreground,
            Propagation::Orphan => Self::Orphan,
        }
    }
}
