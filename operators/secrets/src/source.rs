//! A Secret beside Projects, in the management cluster.

use std::borrow::Cow;

use drover_crds::names::LABEL_PROJECT;
use drover_runtime::{Cache, Informer, LabelQuery, ObjectKey, cache::Change};
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Resource;
use serde::Deserialize;

use crate::content::{Content, Digest, SecretType};

/// A Secret that names a Project, as far as it is kept: which one it is, and not what it holds.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Whole")]
pub struct SourceSecret {
    metadata: ObjectMeta,
    /// None for a type that is not copied.
    pub(crate) kind: Option<SecretType>,
    /// In bytes.
    pub(crate) size: usize,
    pub(crate) digest: Digest,
}

/// A Secret while it is read. It has no debug output: annotations of kubectl hold the content, too.
#[derive(Deserialize)]
pub(crate) struct Whole {
    metadata: ObjectMeta,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    data: Content,
}

impl From<Whole> for SourceSecret {
    fn from(whole: Whole) -> Self {
        whole.split().0
    }
}

impl Whole {
    /// What is kept, and what is not.
    pub(crate) fn split(self) -> (SourceSecret, Content) {
        let Self { metadata, kind, data } = self;
        let ObjectMeta { name, namespace, uid, resource_version, deletion_timestamp, mut labels, .. } = metadata;
        if let Some(labels) = &mut labels {
            labels.retain(|key, _| key == LABEL_PROJECT);
        }
        let metadata =
            ObjectMeta { name, namespace, uid, resource_version, deletion_timestamp, labels, ..ObjectMeta::default() };
        let kept =
            SourceSecret { metadata, kind: SecretType::of(kind.as_deref()), size: data.size(), digest: data.digest() };
        (kept, data)
    }
}

impl SourceSecret {
    /// The Project that may use it.
    #[must_use]
    pub fn project(&self) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(LABEL_PROJECT).map(String::as_str)
    }

    /// The digest of its content as it may be shown.
    pub(crate) fn revision(&self) -> String {
        self.digest.keyed_by(self.metadata.uid.as_deref().unwrap_or_default())
    }
}

/// The Secrets that name a Project, out of the cache of the management cluster.
#[must_use]
pub fn sources(management: &Cache) -> Informer<SourceSecret> {
    management.informer(&query())
}

/// Selects them.
#[must_use]
pub fn query() -> LabelQuery {
    LabelQuery::has(LABEL_PROJECT)
}

/// The Projects that a change of one concerns: those that it names, or named before.
#[must_use]
pub fn concerned(change: &Change<SourceSecret>) -> Vec<ObjectKey> {
    let named = change.sides().filter_map(SourceSecret::project);
    named.map(|project| ObjectKey::namespaced(&change.key.namespace, project)).collect()
}

/// The kind Secret, of which only a part is kept.
macro_rules! kept_of_secrets {
    ($kept:ty) => {
        impl Resource for $kept {
            type DynamicType = ();
            type Scope = <Secret as Resource>::Scope;

            fn kind((): &()) -> Cow<'_, str> {
                Secret::kind(&())
            }
            fn group((): &()) -> Cow<'_, str> {
                Secret::group(&())
            }
            fn version((): &()) -> Cow<'_, str> {
                Secret::version(&())
            }
            fn plural((): &()) -> Cow<'_, str> {
                Secret::plural(&())
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
pub(crate) use kept_of_secrets;

kept_of_secrets!(SourceSecret);
