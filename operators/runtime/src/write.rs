//! How Drover writes: create first, then server-side apply with the UID; only on difference; never capture, never resurrect.

mod bodies;
mod server;

use std::sync::Arc;

use drover_crds::names::{ANNOTATION_ADOPTED, ANNOTATION_APPLIED};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    cache::{Cache, Kept, ObjectKey, OwnerRecord},
    cause::{Cause, WriteCause},
    difference::lacks,
    error::{ApiError, Classify, MESSAGE_LIMIT, legible},
};

pub(crate) use bodies::Author;
pub(crate) use server::api;
pub use server::{ApiServer, Request, Server, Written};

use bodies::{disclaimed, released, replaced};

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
        Self::between_whole(desired, live, &[])
    }

    /// The same where the fields at the JSON pointers `whole` are ours alone: what another client added to them counts as changed.
    pub(crate) fn between_whole<K: Kept + Serialize>(desired: &K, live: Option<&K>, whole: &[&str]) -> Self {
        let Some(live) = live else { return Self::Create };
        let wanted = to_json(desired);
        if annotation(live.meta(), ANNOTATION_APPLIED) != Some(&hash(&wanted)) {
            return Self::Apply { reverted: Vec::new() };
        }
        let live = to_json(live);
        let mut reverted = lacks(&wanted, &live);
        let at = |value: &Value, pointer: &str| value.pointer(pointer).cloned().unwrap_or_default();
        let grew = whole.iter().filter(|pointer| !lacks(&at(&live, pointer), &at(&wanted, pointer)).is_empty());
        reverted.extend(grew.map(|pointer| pointer.trim_start_matches('/').replace('/', ".")));
        reverted.sort();
        reverted.dedup();
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

impl WriteError {
    /// The same without anything that may quote what was written.
    #[must_use]
    pub fn unquoted(self) -> Self {
        match self {
            Self::Api(error) => Self::Api(error.unquoted()),
            Self::FieldConflict { what, .. } => {
                Self::FieldConflict { what, conflict: "another field manager owns a field of it".to_owned() }
            }
            taken @ Self::Taken { .. } => taken,
        }
    }
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

    fn refuser(&self) -> Option<String> {
        match self {
            Self::Api(error) => error.refuser(),
            Self::Taken { .. } | Self::FieldConflict { .. } => None,
        }
    }
}

/// Writes on behalf of one object: to an API server, with one field manager per operator.
#[derive(Clone, Debug)]
pub struct Writer<S = ApiServer> {
    server: S,
    author: Author,
}

impl Writer {
    /// A writer for `owner`. Its UID goes into an annotation for diagnosis.
    #[must_use]
    pub fn new(cache: Arc<Cache>, field_manager: String, owner: OwnerRecord, owner_uid: &str) -> Self {
        let author = Author { owner, uid: owner_uid.to_owned(), installation: String::new() };
        Self::to(ApiServer::new(cache, field_manager), author)
    }
}

impl<S: Server> Writer<S> {
    pub(crate) fn to(server: S, author: Author) -> Self {
        Self { server, author }
    }

    /// Writes in the name of `holder`, of the same kind, to release what it left when it went: the annotation that the release
    /// writes records `holder`, which may come back.
    #[must_use]
    pub fn in_the_name_of(self, holder: ObjectKey) -> Self {
        let owner = OwnerRecord { key: holder, ..self.author.owner };
        Self { author: Author { owner, uid: String::new(), ..self.author }, ..self }
    }

    /// The same in the name of this installation of Drover.
    #[must_use]
    pub fn of_installation(self, installation: &str) -> Self {
        Self { author: Author { installation: installation.to_owned(), ..self.author }, ..self }
    }

    /// Creates `desired` with its name, owner labels and marks only, then applies the rest. A crash in between leaves an object
    /// that is recognisably ours. An object of that name that exists already is reported, never captured.
    pub async fn create<K: Kept + Serialize>(&self, desired: &K) -> Result<(), WriteError> {
        self.create_from(desired, Value::Null).await
    }

    /// The same for a kind with required and immutable fields, such as `roleRef`: `seed` has them for the first request.
    pub async fn create_from<K: Kept + Serialize>(&self, desired: &K, seed: Value) -> Result<(), WriteError> {
        let key = ObjectKey::of(desired.meta());
        let bare = self.author.created(desired, seed);
        let created = match self.server.send::<K>(&key, Request::Create(&bare)).await {
            Err(error) if error.code() == Some(409) && error.refuser().is_none() => {
                return Err(WriteError::Taken { what: named::<K>(&key) });
            }
            answer => answer?,
        };
        // Should the apply fail, the next look must still find what was created, and not create it again.
        self.server.expect::<K>(&self.author.owner, key, Written::Created(&created));
        self.apply(desired, &created, &[]).await
    }

    /// Applies `desired` to the live object described by `live`. `reverted` are the fields that another client changed back.
    ///
    /// The UID goes along, so an object that was deleted meanwhile is not resurrected, and so does the version, so that
    /// nothing is captured that changed hands meanwhile. What we created we own: conflicts are forced. On everything else
    /// they are reported.
    pub async fn apply<K: Kept + Serialize>(
        &self,
        desired: &K,
        live: &ObjectMeta,
        reverted: &[String],
    ) -> Result<(), WriteError> {
        let key = ObjectKey::of(desired.meta());
        let created = self.author.has_created(live);
        let body = self.author.applied(desired, live, created);
        match self.server.send::<K>(&key, Request::Apply { body: &body, force: created }).await {
            Ok(applied) => {
                self.server.count_applied(&key, live, &desired_hash(desired), !reverted.is_empty());
                self.server.expect::<K>(&self.author.owner, key, Written::Ours(&applied));
                Ok(())
            }
            Err(error) => match field_conflict(&error) {
                Some(conflict) => Err(WriteError::FieldConflict { what: named::<K>(&key), conflict }),
                None => Err(error.into()),
            },
        }
    }

    /// Creates `desired` with its annotations and `content`, the fields besides its metadata, in one request: there is no moment at which it
    /// is there without.
    pub async fn create_with<K: Kept + Serialize>(
        &self,
        desired: &K,
        content: &Map<String, Value>,
    ) -> Result<(), WriteError> {
        let key = ObjectKey::of(desired.meta());
        let mut whole = self.author.created(desired, Value::Object(content.clone()));
        let applied = (ANNOTATION_APPLIED.to_owned(), desired_hash(desired));
        let own = desired.meta().annotations.clone().into_iter().flatten();
        whole.metadata.annotations.get_or_insert_default().extend(own.chain([applied]));
        match self.server.send::<K>(&key, Request::Create(&whole)).await {
            Err(error) if error.code() == Some(409) && error.refuser().is_none() => {
                Err(WriteError::Taken { what: named::<K>(&key) })
            }
            answer => {
                self.server.expect::<K>(&self.author.owner, key, Written::Created(&answer?));
                Ok(())
            }
        }
    }

    /// Replaces each field of `content` in the live object described by `live`: nobody else adds anything to them. The rest is as
    /// [`Writer::apply`] does it, and forced.
    pub async fn replace_with<K: Kept + Serialize>(
        &self,
        desired: &K,
        live: &ObjectMeta,
        reverted: &[String],
        content: &Map<String, Value>,
    ) -> Result<(), WriteError> {
        let key = ObjectKey::of(desired.meta());
        let body = replaced(&self.author.applied(desired, live, self.author.has_created(live)), content);
        let written = self.server.send::<K>(&key, Request::Replace { body: &body, live }).await?;
        self.server.count_applied(&key, live, &desired_hash(desired), !reverted.is_empty());
        self.server.expect::<K>(&self.author.owner, key, Written::Ours(&written));
        Ok(())
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
        self.give_up::<K>(live, &released(live, &self.author.owner.key)).await
    }

    /// Takes only our labels off an object that was created for another owner: its marks stay, by which that owner knows it.
    pub async fn disclaim<K: Kept>(&self, live: &ObjectMeta) -> Result<(), WriteError> {
        self.give_up::<K>(live, &disclaimed(live)).await
    }

    async fn give_up<K: Kept>(&self, live: &ObjectMeta, body: &Value) -> Result<(), WriteError> {
        let key = ObjectKey::of(live);
        unless_gone(self.server.send::<K>(&key, Request::Release(body)).await)?;
        self.server.expect::<K>(&self.author.owner, key, Written::Lost(live));
        Ok(())
    }

    /// Deletes exactly the object that was seen: another one of the same name stays.
    pub async fn delete<K: Kept>(&self, live: &ObjectMeta) -> Result<(), WriteError> {
        let key = ObjectKey::of(live);
        unless_gone(self.server.send::<K>(&key, Request::Delete(live.uid.as_deref())).await)?;
        self.server.expect::<K>(&self.author.owner, key, Written::Lost(live));
        Ok(())
    }
}

/// Takes the labels and annotations of `owner` off an object that stays, and notes who released it. The mark of who created it stays, so
/// that this owner may take it up again. One that is gone already is no error; one that changed since it was seen is left as it is.
pub async fn release_labels<K: Kept>(
    client: Client,
    live: &ObjectMeta,
    owner: &ObjectKey,
    field_manager: &str,
) -> Result<(), ApiError> {
    let body = released(live, owner);
    unless_gone(server::send::<K>(client, field_manager, &ObjectKey::of(live), Request::Release(&body)).await)
}

fn unless_gone(answer: Result<ObjectMeta, ApiError>) -> Result<(), ApiError> {
    match answer {
        Err(error) if error.code() == Some(404) => Ok(()),
        answer => answer.map(|_| ()),
    }
}

fn named<K: Kept>(key: &ObjectKey) -> String {
    format!("{} {key}", K::kind(&()))
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

/// What the server says of a field that another manager owns. It refuses an apply to an object that is gone with the same
/// code, hence the look at the causes.
fn field_conflict(error: &ApiError) -> Option<String> {
    let ApiError::Refused { status, .. } = error else { return None };
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    let found = causes.any(|cause| cause.reason == "FieldManagerConflict");
    found.then(|| legible(&status.message, MESSAGE_LIMIT))
}
