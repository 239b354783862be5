//! The order in which Helm installs kinds, and the one in which it uninstalls them.

use crate::object::Object;

/// What others need comes first.
const INSTALL: &str = "PriorityClass Namespace NetworkPolicy ResourceQuota LimitRange PodSecurityPolicy PodDisruptionBudget \
    ServiceAccount Secret SecretList ConfigMap StorageClass PersistentVolume PersistentVolumeClaim \
    CustomResourceDefinition ClusterRole ClusterRoleList ClusterRoleBinding ClusterRoleBindingList Role RoleList \
    RoleBinding RoleBindingList Service DaemonSet Pod ReplicationController ReplicaSet Deployment \
    HorizontalPodAutoscaler StatefulSet Job CronJob IngressClass Ingress APIService MutatingWebhookConfiguration \
    ValidatingWebhookConfiguration";

/// Not quite the reverse: a Service goes before what serves it.
const UNINSTALL: &str = "ValidatingWebhookConfiguration MutatingWebhookConfiguration APIService Ingress IngressClass Service CronJob \
    Job StatefulSet HorizontalPodAutoscaler Deployment ReplicaSet ReplicationController Pod DaemonSet \
    RoleBindingList RoleBinding RoleList Role ClusterRoleBindingList ClusterRoleBinding ClusterRoleList \
    ClusterRole CustomResourceDefinition PersistentVolumeClaim PersistentVolume StorageClass ConfigMap SecretList \
    Secret ServiceAccount PodDisruptionBudget PodSecurityPolicy LimitRange ResourceQuota NetworkPolicy Namespace \
    PriorityClass";

/// Sorts objects for their installation; kinds that Helm does not know come last, by name. Equal kinds keep their order.
pub fn for_install(objects: &mut [Object]) {
    objects.sort_by_cached_key(|object| rank(INSTALL, object.kind().kind));
}

/// Sorts objects for their deletion; kinds that Helm does not know come last, by name. Equal kinds keep their order.
pub fn for_uninstall(objects: &mut [Object]) {
    objects.sort_by_cached_key(|object| rank(UNINSTALL, object.kind().kind));
}

/// The position of a kind, and its name where it has none.
fn rank(order: &str, kind: String) -> (usize, String) {
    match order.split(' ').position(|known| known == kind) {
        Some(position) => (position, String::new()),
        None => (usize::MAX, kind),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    fn sorted(kinds: &[&str], sort: fn(&mut [Object])) -> Vec<String> {
        let object =
            |kind: &&str| Object::new(json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "a"}})).unwrap();
        let mut objects: Vec<_> = kinds.iter().map(object).collect();
        sort(&mut objects);
        objects.iter().map(|object| object.kind().kind).collect()
    }

    #[test]
    fn what_others_need_is_installed_first_and_unknown_kinds_last() {
        let kinds = ["Widget", "Deployment", "Service", "Gadget", "ConfigMap", "Namespace", "CustomResourceDefinition"];
        assert_eq!(
            sorted(&kinds, for_install),
            ["Namespace", "ConfigMap", "CustomResourceDefinition", "Service", "Deployment", "Gadget", "Widget"]
        );
    }

    #[test]
    fn a_service_is_uninstalled_before_what_serves_it() {
        let kinds = ["Namespace", "Service", "Deployment", "Widget", "Ingress", "Secret"];
        assert_eq!(
            sorted(&kinds, for_uninstall),
            ["Ingress", "Service", "Deployment", "Secret", "Namespace", "Widget"]
        );
    }

    #[test]
    fn both_orders_have_the_same_kinds() {
        let [install, uninstall] = [INSTALL, UNINSTALL].map(|order| order.split(' ').collect::<BTreeSet<_>>());
        assert_eq!((install.len(), &install), (38, &uninstall));
    }
}
