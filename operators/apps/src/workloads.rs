//! Whether the workloads of releases are ready. They are watched, so that an app that was deployed says soon when it is not any more.

use drover_releases::{
    object::{MANAGED_BY, Object},
    readiness::{self, Readiness},
};
use drover_runtime::{LabelQuery, ObjectKey, cache::Index};
use kube::Resource;
use serde_json::Value;

use crate::projection::{FromWhole, Projection};

/// A workload that makes Pods, as far as it is kept.
pub type Workload<K> = Projection<K, Health>;

/// How a workload is, and of which release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Namespace and name of its release, as its annotations say. Anybody may have written them.
    release: Option<ObjectKey>,
    /// Why it is not ready; none if it is.
    not_ready: Option<&'static str>,
}

impl FromWhole for Health {
    fn from_whole(whole: Value) -> serde_json::Result<Self> {
        let not_ready = match readiness::of(Some(&whole)) {
            Readiness::Ready | Readiness::NotFound => None,
            Readiness::InProgress(why) | Readiness::Failed(why) => Some(why),
            Readiness::Terminating => Some("it is being deleted"),
        };
        let object = Object::new(whole);
        let release = object.as_ref().and_then(Object::release);
        Ok(Self { release: release.map(|(namespace, name)| ObjectKey::namespaced(namespace, name)), not_ready })
    }
}

impl<K> Projection<K, Health> {
    /// How it is, and of which release.
    #[must_use]
    pub const fn health(&self) -> &Health {
        self.kept()
    }

    /// The release in its own namespace of which it is; none if it says so of no release, or of one elsewhere.
    #[must_use]
    pub fn release(&self) -> Option<&ObjectKey> {
        let release = self.kept().release.as_ref();
        release.filter(|release| self.metadata().namespace.as_ref() == Some(&release.namespace))
    }
}

impl<K: Resource<DynamicType = ()> + 'static> Projection<K, Health> {
    /// Why it is not ready, such as Deployment shop: replicas are not available yet.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        let why = self.kept().not_ready?;
        Some(format!("{} {}: {why}", K::kind(&()), self.metadata().name.as_deref().unwrap_or_default()))
    }
}

/// Workloads by the release of which they are, for a look-up in a cache.
#[derive(Clone, Copy, Debug)]
pub struct OfRelease;

impl<K: Resource<DynamicType = ()> + 'static> Index<Workload<K>> for OfRelease {
    fn key(workload: &Workload<K>) -> Option<ObjectKey> {
        workload.release().cloned()
    }
}

/// Selects what helm, or Drover as helm does, released.
#[must_use]
pub fn query() -> LabelQuery {
    LabelQuery::equals(MANAGED_BY.0, MANAGED_BY.1)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;
    use serde_json::json;

    use super::*;

    fn workload(ready: i64, namespace: &str) -> Workload<Deployment> {
        // As the item of a list: it does not say of which kind it is.
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "generation": 2, "annotations": {
                "meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": namespace,
            }},
            "spec": {"replicas": 2},
            "status": {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": ready,
                "availableReplicas": ready, "conditions": [
                    {"type": "Available", "status": "True"},
                    {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
                ]},
        }))
        .unwrap()
    }

    #[test]
    fn a_workload_says_of_which_release_it_is_and_whether_it_is_ready() {
        let (well, ill) = (workload(2, "shop"), workload(1, "shop"));
        assert_eq!(well.not_ready(), None);
        assert!(ill.not_ready().unwrap().starts_with("Deployment web: "), "{:?}", ill.not_ready());
        assert_eq!(OfRelease::key(&well), Some(ObjectKey::namespaced("shop", "web")));
        assert_eq!(OfRelease::key(&workload(2, "other")), None, "it says so of a release that is not there");
        assert_eq!(format!("{well:?}"), r#"Projection { name: Some("web"), .. }"#);
    }
}
