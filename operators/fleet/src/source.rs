//! How a cluster is to be reached, from its `Cluster` and its Secret. Pure.

use std::sync::Arc;

use drover_crds::{Cluster, Connection, SecretKeyReference, names::LABEL_CLUSTER};
use drover_dial::encoding;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

/// How a cluster is to be reached, as its `Cluster` and the Secret say now.
#[derive(Clone, PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) enum Source {
    /// The management cluster itself.
    Local,
    /// A kubeconfig and the context in it.
    Kubeconfig { text: Arc<str>, context: Option<String> },
    /// The Secret or its key is not there (yet).
    Missing { secret: String, key: String, cluster: String },
    /// The Secret is for another Cluster.
    NotAllowed { secret: String, cluster: String },
    /// What the Secret holds is no text.
    Unreadable,
}

#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) source: Source,
}

impl Target {
    /// Whether both ask for the same. A status change is none, unless it records which cluster this is: only then it is claimed.
    pub(crate) fn asks_for_the_same(&self, other: &Self) -> bool {
        self.reaches_the_same(other) && recorded_uid(&self.cluster) == recorded_uid(&other.cluster)
    }

    /// Whether both say the same of how a cluster is reached.
    pub(crate) fn reaches_the_same(&self, other: &Self) -> bool {
        let generation = |target: &Self| target.cluster.metadata.generation;
        self.source == other.source && generation(self) == generation(other)
    }
}

/// The UID of the cluster that `cluster` met, as its status records it.
pub(crate) fn recorded_uid(cluster: &Cluster) -> Option<&str> {
    cluster.status.as_ref()?.cluster_uid.as_deref()
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
    if secret.is_some_and(|secret| !is_for(cluster, secret)) {
        return Source::NotAllowed { secret: name.clone(), cluster: cluster.name_any() };
    }
    let content = secret.and_then(|secret| secret.data.as_ref()?.get(key));
    match content.map(|bytes| encoding::text(&bytes.0)) {
        Some(Some(text)) => Source::Kubeconfig { text: text.into(), context: kubeconfig.context.clone() },
        Some(None) => Source::Unreadable,
        None => Source::Missing { secret: name.clone(), key: key.clone(), cluster: cluster.name_any() },
    }
}

/// Whether a Secret names `cluster`: in its label, or else by having its name. Whoever may write Clusters must not be able to
/// use the credential of any other one.
fn is_for(cluster: &Cluster, secret: &Secret) -> bool {
    secret.labels().get(LABEL_CLUSTER).unwrap_or(&secret.name_any()) == &cluster.name_any()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{ByteString, apimachinery::pkg::apis::meta::v1::ObjectMeta};
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
        let metadata = ObjectMeta { name: Some("eu".to_owned()), ..ObjectMeta::default() };
        Secret { data: Some(data), metadata, ..Secret::default() }
    }

    /// A Secret of this name with the label that names a Cluster, or without it.
    fn secret_for(name: &str, label: Option<&str>) -> Secret {
        let mut secret = secret("kubeconfig", b"text");
        secret.metadata.name = Some(name.to_owned());
        secret.metadata.labels = label.map(|label| [(LABEL_CLUSTER.to_owned(), label.to_owned())].into());
        secret
    }

    #[test]
    fn a_secret_is_for_the_cluster_that_it_names_and_for_no_other() {
        for (name, label, is_allowed) in [
            ("eu", None, true),
            ("eu", Some("eu"), true),
            ("shared-name", Some("eu"), true),
            ("retired", None, false),
            ("retired", Some("retired"), false),
            ("eu", Some("retired"), false),
            ("eu", Some(""), false),
        ] {
            let eu = cluster(&json!({"kubeconfig": {"secretRef": {"name": name}}}));
            let found = source(&eu, Some(&secret_for(name, label)));
            assert_eq!(matches!(found, Source::Kubeconfig { .. }), is_allowed, "{name} {label:?}");
            assert_eq!(found == Source::NotAllowed { secret: name.into(), cluster: "eu".into() }, !is_allowed);
        }
    }

    #[test]
    fn the_secret_says_how_a_cluster_is_reached_or_why_not() {
        let eu = cluster(&json!({"kubeconfig": {"secretRef": {"name": "eu"}, "context": "c"}}));
        let missing = Source::Missing { secret: "eu".into(), key: "kubeconfig".into(), cluster: "eu".into() };
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
