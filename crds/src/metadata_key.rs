//! Whose the keys of labels and annotations are: some of them mean something to the cluster, whoever sets them.

/// Owners of keys that are the cluster owner's, by the domain before the slash, subdomains included: Kubernetes itself (pod
/// security, admission and schedulers among it), service meshes, cloud identities and `OpenShift`.
const DOMAINS: [&str; 19] = [
    "kubernetes.io",
    "k8s.io",
    "x-k8s.io",
    "istio.io",
    "linkerd.io",
    "kuma.io",
    "cilium.io",
    "consul.hashicorp.com",
    "openservicemesh.io",
    "volcano.sh",
    "koordinator.sh",
    "amazonaws.com",
    "k8s.aws",
    "gke.io",
    "cloud.google.com",
    "workload.identity",
    "openshift.io",
    "gatekeeper.sh",
    "kyverno.io",
];

/// The same for keys without a domain.
const BARE: [&str; 4] = ["istio-injection", "aadpodidbinding", "control-plane", "olm"];

/// Labels that Kubernetes recommends and that mean something to people only.
const FOR_PEOPLE: &str = "app.kubernetes.io";

/// Whether labels `key` are always allowed: `app.kubernetes.io/*`.
#[must_use]
pub fn is_for_people(key: &str) -> bool {
    domain(key) == Some(FOR_PEOPLE)
}

/// Whether `key` is the cluster owner's: no tenant may set it, whatever a tenant entry says.
#[must_use]
pub fn is_the_cluster_owners(key: &str) -> bool {
    let is_in =
        |domain: &str, of: &str| domain.strip_suffix(of).is_some_and(|sub| sub.is_empty() || sub.ends_with('.'));
    match domain(key) {
        Some(FOR_PEOPLE) => false,
        Some(domain) => DOMAINS.iter().any(|of| is_in(domain, of)),
        None => BARE.contains(&key),
    }
}

/// The same as [`is_the_cluster_owners`] in CEL, where `key` is an expression.
#[must_use]
pub fn is_the_cluster_owners_in_cel(key: &str) -> String {
    let domains = DOMAINS.map(|domain| domain.replace('.', "[.]")).join("|");
    let bare = BARE.map(|name| format!("'{name}'")).join(", ");
    format!("(({key}.matches('^([^/]*[.])?({domains})/') && !{key}.startsWith('{FOR_PEOPLE}/')) || {key} in [{bare}])")
}

fn domain(key: &str) -> Option<&str> {
    key.split_once('/').map(|(domain, _)| domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_mean_something_to_the_cluster_are_its_owners() {
        for key in [
            "pod-security.kubernetes.io/enforce",
            "kubernetes.io/metadata.name",
            "scheduler.alpha.kubernetes.io/node-selector",
            "kueue.x-k8s.io/queue-name",
            "istio-injection",
            "istio.io/rev",
            "topology.istio.io/network",
            "linkerd.io/inject",
            "config.linkerd.io/proxy-cpu-limit",
            "iam.amazonaws.com/permitted",
            "eks.amazonaws.com/role-arn",
            "services.k8s.aws/owner-account-id",
            "iam.gke.io/gcp-service-account",
            "cnrm.cloud.google.com/project-id",
            "azure.workload.identity/use",
            "aadpodidbinding",
            "openshift.io/sa.scc.uid-range",
            "security.openshift.io/scc.podSecurityLabelSync",
        ] {
            assert!(is_the_cluster_owners(key), "{key}");
            assert!(!is_for_people(key), "{key}");
        }
        for key in
            ["team", "example.com/owner", "notistio.io/a", "istio.io.example.com/a", "istio", "app.kubernetes.io/name"]
        {
            assert!(!is_the_cluster_owners(key), "{key}");
        }
        assert!(is_for_people("app.kubernetes.io/part-of") && !is_for_people("app.kubernetes.io.example.com/a"));
    }
}
