//! A copy in a namespace of a Project, against what it should be. Pure.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use drover_crds::names::{ANNOTATION_APPLIED, LABEL_MANAGED_BY, PREFIX};
use drover_runtime::{
    owned::{Change, Restored},
    write::desired_hash,
};
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Resource;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::json;

use crate::{
    content::{Content, Digest, SecretType},
    offers::Offer,
    source::kept_of_secrets,
};

/// A copy, as far as it is kept: which one it is, and not what it holds.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "Whole")]
pub struct SecretCopy {
    metadata: ObjectMeta,
    /// None for a type that Drover does not write.
    kind: Option<SecretType>,
    digest: Digest,
    /// Whether an API server refuses to change it.
    immutable: bool,
    /// What tells the content that is wanted from another one; none of a copy as it is.
    revision: Option<String>,
}

/// A Secret while it is read.
#[derive(Deserialize)]
struct Whole {
    metadata: ObjectMeta,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    data: Content,
    #[serde(default)]
    immutable: bool,
}

impl From<Whole> for SecretCopy {
    fn from(Whole { metadata, kind, data, immutable }: Whole) -> Self {
        let ours = |key: &String| key.starts_with(PREFIX) || key == LABEL_MANAGED_BY;
        let kept = |texts: Option<BTreeMap<String, String>>| {
            texts.map(|texts| texts.into_iter().filter(|(key, _)| ours(key)).collect())
        };
        let ObjectMeta { name, namespace, uid, resource_version, .. } = metadata;
        let metadata = ObjectMeta {
            name,
            namespace,
            uid,
            resource_version,
            creation_timestamp: metadata.creation_timestamp,
            deletion_timestamp: metadata.deletion_timestamp,
            labels: kept(metadata.labels),
            annotations: kept(metadata.annotations),
            ..ObjectMeta::default()
        };
        Self { metadata, kind: SecretType::of(kind.as_deref()), digest: data.digest(), immutable, revision: None }
    }
}

/// What the hash of the desired state covers.
impl Serialize for SecretCopy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kind = self.kind.map(SecretType::as_str);
        json!({"metadata": self.metadata, "type": kind, "revision": self.revision}).serialize(serializer)
    }
}

kept_of_secrets!(SecretCopy);

impl SecretCopy {
    /// The copy of what is offered, in this namespace.
    pub(crate) fn of(offer: &Offer, namespace: &str) -> Self {
        let metadata = ObjectMeta {
            name: Some(offer.name.clone()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        };
        let Offer { kind, digest, revision, .. } = offer;
        Self { metadata, kind: Some(*kind), digest: *digest, immutable: false, revision: Some(revision.clone()) }
    }

    pub(crate) fn is_like(&self, desired: &Self) -> bool {
        self.kind == desired.kind && self.digest == desired.digest
    }

    /// Whether it has to go, as no API server changes it to what is desired.
    pub(crate) fn is_in_the_way_of(&self, desired: &Self) -> bool {
        self.kind != desired.kind || (self.immutable && self.digest != desired.digest)
    }
}

/// What becomes of a copy that is there.
pub(crate) fn restored(
    desired: SecretCopy,
    live: &Arc<SecretCopy>,
    drift_conflict: Option<&str>,
) -> Restored<SecretCopy> {
    if live.is_like(&desired) {
        return Restored::AsWanted;
    }
    let wanted = desired_hash(&desired);
    let content = || vec!["data".to_owned()];
    if drift_conflict == Some(&*wanted) {
        return Restored::Conflict(content());
    }
    let applied = live.metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION_APPLIED));
    let reverted = if applied == Some(&wanted) { content() } else { Vec::new() };
    Restored::Differs(Change::Apply { desired: Box::new(desired), live: Box::new(live.metadata.clone()), reverted })
}
