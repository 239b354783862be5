//! Kubeconfigs for tests.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{CertificateParams, KeyPair};

/// An authority, which is a client certificate as well, and its key, in base64.
pub(crate) static PAIR: LazyLock<[String; 2]> = LazyLock::new(|| {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
    [certificate.pem(), key.serialize_pem()].map(|pem| STANDARD.encode(pem))
});

/// A kubeconfig with these fields of its one cluster and its one user.
#[must_use]
pub fn kubeconfig(cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
         clusters: [{{name: k, cluster: {{{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
    )
}

/// The fields of a cluster that nothing is wrong with.
#[must_use]
pub fn good_cluster() -> String {
    format!("server: 'https://127.0.0.1:6443', certificate-authority-data: {}", PAIR[0])
}
