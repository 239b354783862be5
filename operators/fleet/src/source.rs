//! How a cluster is to be reached, from its `Cluster` and its Secret. Pure.

use std::sync::Arc;

use drover_crds::{Cluster, Connection, SecretKeyReference};
use k8s_openapi::api::core::v1::Secret;

use crate::encoding;

/// How a cluster is to be reached, as its `Cluster` and the Secret say now.
#[derive(Clone, PartialEq)]
pub(crate) enum Source {
    /// The management cluster itself.
    Local,
    /// A kubeconfig and the context in it.
    Kubeconfig { text: Arc<str>, context: Option<String> },
    /// The Secret or its key is not there (yet).
    Missing { secret: String, key: String },
    /// What the Secret holds is no text.
    Unreadable,
}

#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) source: Source,
}

impl Target {
    /// Whether both ask for the same. A status change is none.
    pub(crate) fn asks_for_the_same(&self, other: &Self) -> bool {
        let generation = |target: &Self| target.cluster.metadata.generation;
        self.source == other.source && generation(self) == generation(other)
    }
}

/// The Secret that says how `cluster` is to be reached, by name.
pub(crate) fn secret_name(cluster: &Cluster) -> Option<&str> {
    match &cluster.spec.connection {
        Connection::Local(_) => None,
        Connection::Kubeconfig(kubeconfig) => Some(&kubeconfig.secret_ref.name),
    }
}

/// How `cluster` is to be reached, given that Secret.
pub(crate) fn source(cluster: &Cluster, secret: Option<&Secret>) -> Source {
    let Connection::Kubeconfig(kubeconfig) = &cluster.spec.connection else { return Source::Local };
    let SecretKeyReference { name, key } = &kubeconfig.secret_ref;
    let content = secret.and_then(|secret| secret.data.as_ref()?.get(key));
    match content.map(|bytes| encoding::text(&bytes.0)) {
        Some(Some(text)) => Source::Kubeconfig { text: text.into(), context: kubeconfig.context.clone() },
        Some(None) => Source::Unreadable,
        None => Source::Missing { secret: name.clone(), key: key.clone() },
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::*;

    fn cluster(connection: &serde_json::Value) -> Cluster {
        serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "eu"},
            "spec": {"connection": connection},
        }))
        .unwrap()
    }

    fn secret(key: &str, content: &[u8]) -> Secret {
        let data = [(key.to_owned(), ByteString(content.to_vec()))].into();
        Secret { data: Some(data), ..Secret::default() }
    }

    #[test]
    fn the_secret_says_how_a_cluster_is_reached_or_why_not() {
        let eu = cluster(&json!({"kubeconfig": {"secretRef": {"name": "eu"}, "context": "c"}}));
        let missing = Source::Missing { secret: "eu".into(), key: "kubeconfig".into() };
        let found = Source::Kubeconfig { text: "text".into(), context: Some("c".into()) };
        assert!(source(&eu, None) == missing);
        assert!(source(&eu, Some(&secret("other", b"text"))) == missing);
        assert!(source(&eu, Some(&secret("kubeconfig", b"text"))) == found);
        // As Windows PowerShell writes a file.
        assert!(source(&eu, Some(&secret("kubeconfig", b"\xff\xfet\0e\0x\0t\0"))) == found);
        // Not missing, and no reason to drop a connection that works.
        assert!(source(&eu, Some(&secret("kubeconfig", b"\xff\xfet\0e"))) == Source::Unreadable);
        assert!(source(&cluster(&json!({"local": {}})), None) == Source::Local);
        assert_eq!(secret_name(&eu), Some("eu"));
    }
}
