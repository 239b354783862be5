//! Objects of which a cache keeps little.

use std::{borrow::Cow, fmt, marker::PhantomData};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

/// A `K` of which a cache keeps its name and `T`. Its debug output has nothing but the name.
pub struct Projection<K, T> {
    metadata: ObjectMeta,
    kept: T,
    kind: PhantomData<fn() -> K>,
}

/// What is kept of an object.
pub trait FromWhole: Sized {
    /// Out of the whole object.
    fn from_whole(whole: Value) -> serde_json::Result<Self>;
}

impl<K, T> Projection<K, T> {
    /// Names, UID, version and deletion.
    pub(crate) const fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    /// What is kept of the object.
    pub(crate) const fn kept(&self) -> &T {
        &self.kept
    }
}

impl<'de, K: Resource<DynamicType = ()>, T: FromWhole> Deserialize<'de> for Projection<K, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Metadata {
            metadata: ObjectMeta,
        }
        let mut whole = Value::deserialize(deserializer)?;
        // The items of a list do not say of which kind they are.
        if let Some(fields) = whole.as_object_mut() {
            fields.insert("apiVersion".to_owned(), K::api_version(&()).into());
            fields.insert("kind".to_owned(), K::kind(&()).into());
        }
        let Metadata { metadata } = Metadata::deserialize(&whole).map_err(D::Error::custom)?;
        let ObjectMeta { name, namespace, uid, resource_version, deletion_timestamp, .. } = metadata;
        let metadata =
            ObjectMeta { name, namespace, uid, resource_version, deletion_timestamp, ..ObjectMeta::default() };
        let kept = T::from_whole(whole).map_err(D::Error::custom)?;
        Ok(Self { metadata, kept, kind: PhantomData })
    }
}

impl<K, T: Clone> Clone for Projection<K, T> {
    fn clone(&self) -> Self {
        Self { metadata: self.metadata.clone(), kept: self.kept.clone(), kind: PhantomData }
    }
}

impl<K, T> fmt::Debug for Projection<K, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Projection").field("name", &self.metadata.name).finish_non_exhaustive()
    }
}

impl<K: Resource<DynamicType = ()> + 'static, T> Resource for Projection<K, T> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }
    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }
    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }
    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
