//! The variables of a container.

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, PodSpec};
use kube::ResourceExt as _;

use super::Host;

/// All of them, as `NAME=VALUE`: those that every container has, those by which a kubelet says where the API server is, and its own.
pub(super) fn of(host: &Host, pod: &Pod, spec: &PodSpec, container: &Container) -> Vec<String> {
    let port = host.port;
    let mut all = vec![
        "PATH=/:/usr/bin:/usr/sbin".to_owned(),
        "HOME=/tmp".to_owned(),
        "KUBERNETES_SERVICE_HOST=127.0.0.1".to_owned(),
        format!("KUBERNETES_SERVICE_PORT={port}"),
        format!("KUBERNETES_SERVICE_PORT_HTTPS={port}"),
    ];
    all.extend(container.env.iter().flatten().map(|own| format!("{}={}", own.name, value(pod, spec, own))));
    all
}

fn value(pod: &Pod, spec: &PodSpec, own: &EnvVar) -> String {
    let field = own.value_from.as_ref().and_then(|from| from.field_ref.as_ref());
    match field {
        Some(field) => self::field(pod, spec, &field.field_path),
        None => own.value.clone().unwrap_or_default(),
    }
}

/// What a field of a Pod says; nothing for a field that Drover's Pods do not ask for.
pub(super) fn field(pod: &Pod, spec: &PodSpec, path: &str) -> String {
    match path {
        "metadata.name" => pod.name_any(),
        "metadata.namespace" => pod.namespace().unwrap_or_default(),
        "metadata.uid" => pod.uid().unwrap_or_default(),
        "spec.nodeName" => spec.node_name.clone().unwrap_or_default(),
        "spec.serviceAccountName" => spec.service_account_name.clone().unwrap_or_default(),
        _ => String::new(),
    }
}
