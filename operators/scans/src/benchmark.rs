//! By which benchmark a cluster is judged, and what of it on which node. Pure.
//!
//! The tables are those of kube-bench 0.15.6: folders of its configuration, `version_mapping` and `target_mapping` of its `config.yaml`.

use std::collections::BTreeMap;

use drover_crds::{CisProfileSpec, Unmapped};

/// What judges, with the version of the pinned module: the tables here are of that version.
pub const ENGINE: &str = "kube-bench 0.15.6";

/// The benchmark of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// As kube-bench names it.
    pub name: String,
    /// Why this one.
    pub why: String,
}

/// Why there is no benchmark for a cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBenchmark {
    /// kube-bench has none of this name.
    #[error("kube-bench has no benchmark {0}; correct spec.benchmark of the CisProfile")]
    Unknown(String),
    /// There is none for this version.
    #[error(
        "there is no benchmark for {distribution} with Kubernetes {version}; name one in spec.benchmark of the CisProfile, or set its spec.unmapped to Nearest"
    )]
    Unmapped {
        /// What the cluster was made with.
        distribution: String,
        /// Its version.
        version: String,
    },
    /// The version is none.
    #[error(
        "{0} is no version of Kubernetes; look at status.kubernetesVersion of the Cluster, or name a benchmark in the CisProfile"
    )]
    NoVersion(String),
}

/// Benchmarks by the minor versions of Kubernetes, from one to another.
type Mapped = &'static [(u64, u64, &'static str)];

const GENERIC: Mapped = &[
    (15, 15, "cis-1.5"),
    (16, 18, "cis-1.6"),
    (19, 21, "cis-1.20"),
    (22, 23, "cis-1.23"),
    (24, 24, "cis-1.24"),
    (25, 25, "cis-1.7"),
    (26, 26, "cis-1.8"),
    (27, 27, "cis-1.9"),
    (28, 28, "cis-1.10"),
    (29, 31, "cis-1.11"),
    (32, 34, "cis-1.12"),
];
const K3S: Mapped = &[
    (22, 23, "k3s-cis-1.23"),
    (24, 24, "k3s-cis-1.24"),
    (25, 25, "k3s-cis-1.7"),
    (26, 26, "k3s-cis-1.8"),
    (27, 29, "k3s-cis-1.9"),
];
const RKE2: Mapped =
    &[(22, 23, "rke2-cis-1.23"), (24, 24, "rke2-cis-1.24"), (25, 25, "rke2-cis-1.7"), (26, 28, "rke2-cis-1.8")];
const OPENSHIFT: Mapped = &[(16, 23, "rh-1.0"), (24, 25, "rh-1.4"), (26, 29, "rh-1.8")];
/// Managed control planes have one benchmark for all versions that their providers run.
const MANAGED: [(&str, &str); 3] = [("EKS", "eks-1.8.0"), ("GKE", "gke-1.9.0"), ("AKS", "aks-1.8")];
/// Other folders of kube-bench 0.15.6, which a profile may name.
const OTHERS: [&str; 20] = [
    "ack-1.0",
    "aks-1.0",
    "aks-1.7",
    "cis-1.24-microk8s",
    "cis-1.6-k3s",
    "eks-1.0.1",
    "eks-1.1.0",
    "eks-1.2.0",
    "eks-1.5.0",
    "eks-1.7.0",
    "eks-stig-kubernetes-v1r6",
    "gke-1.0",
    "gke-1.2.0",
    "gke-1.6.0",
    "gke-1.8.0",
    "rh-0.7",
    "rke-cis-1.23",
    "rke-cis-1.24",
    "rke-cis-1.7",
    "tkgi-1.2.53",
];

/// The benchmark for a cluster of this distribution and version, as its status has them.
pub fn choose(distribution: &str, kubernetes_version: &str, profile: &CisProfileSpec) -> Result<Chosen, NoBenchmark> {
    if let Some(name) = &profile.benchmark {
        if !is_known(name) {
            return Err(NoBenchmark::Unknown(name.clone()));
        }
        return Ok(Chosen { name: name.clone(), why: "the CisProfile names it".to_owned() });
    }
    if let Some((_, name)) = MANAGED.iter().find(|(managed, _)| *managed == distribution) {
        return Ok(Chosen { name: (*name).to_owned(), why: format!("it is the newest one for {distribution}") });
    }
    let minor = minor(kubernetes_version).ok_or_else(|| NoBenchmark::NoVersion(kubernetes_version.to_owned()))?;
    let mapped = table(distribution);
    if let Some((_, _, name)) = mapped.iter().find(|(from, to, _)| (*from..=*to).contains(&minor)) {
        let why = format!("it is the one for {distribution} with Kubernetes 1.{minor}");
        return Ok(Chosen { name: (*name).to_owned(), why });
    }
    let distance = |(from, to, _): &&(u64, u64, &str)| from.saturating_sub(minor).max(minor.saturating_sub(*to));
    match mapped.iter().min_by_key(distance) {
        Some((from, to, name)) if profile.unmapped == Unmapped::Nearest => {
            let why = format!(
                "there is none for {distribution} with Kubernetes 1.{minor}, and the CisProfile allows the nearest one, which is for 1.{from} to 1.{to}"
            );
            Ok(Chosen { name: (*name).to_owned(), why })
        }
        _ => {
            Err(NoBenchmark::Unmapped { distribution: distribution.to_owned(), version: kubernetes_version.to_owned() })
        }
    }
}

fn table(distribution: &str) -> Mapped {
    match distribution {
        "k3s" => K3S,
        "rke2" => RKE2,
        "OpenShift" => OPENSHIFT,
        _ => GENERIC,
    }
}

/// Whether kube-bench has a benchmark of this name.
#[must_use]
pub fn is_known(name: &str) -> bool {
    let mut mapped = [GENERIC, K3S, RKE2, OPENSHIFT].into_iter().flatten().map(|(_, _, name)| *name);
    let managed = MANAGED.iter().any(|(_, managed)| *managed == name);
    managed || OTHERS.contains(&name) || mapped.any(|known| known == name)
}

fn minor(version: &str) -> Option<u64> {
    let mut parts = version.trim_start_matches('v').split('.');
    let (major, minor) = (parts.next()?, parts.next()?);
    let digits: String = minor.chars().take_while(char::is_ascii_digit).collect();
    if major == "1" { digits.parse().ok() } else { None }
}

/// What runs on a node besides Pods of people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// The components of the control plane.
    pub control_plane: bool,
    /// A member of etcd.
    pub etcd: bool,
}

impl Roles {
    /// By the labels that distributions put on their nodes. Where a label for etcd is no habit, every node of the control plane has a
    /// member.
    #[must_use]
    pub fn of(labels: &BTreeMap<String, String>, distribution: &str) -> Self {
        let has = |role: &str| labels.contains_key(&format!("node-role.kubernetes.io/{role}"));
        let control_plane = has("control-plane") || has("master");
        let is_labelled = matches!(distribution, "k3s" | "rke2");
        Self { control_plane, etcd: has("etcd") || (control_plane && !is_labelled) }
    }
}

/// Why a benchmark says nothing of the control plane of a cluster with nodes of these roles, if it does not. A node chooses its own labels, and
/// what they say of the distribution chooses the benchmark: without this a cluster could get a verdict without its control plane.
#[must_use]
pub fn unseen_control_plane(benchmark: &str, mut roles: impl Iterator<Item = Roles>) -> Option<String> {
    let is_looked_at = !is_managed(benchmark);
    let has_nodes = roles.any(|roles| roles.control_plane);
    match (is_looked_at, has_nodes) {
        (true, true) | (false, false) => None,
        (true, false) => Some(format!(
            "no node that was scanned has the label node-role.kubernetes.io/control-plane, so what {benchmark} says of control planes was not looked at; where the control plane runs elsewhere, name a benchmark of managed clusters in the CisProfile"
        )),
        (false, true) => Some(format!(
            "some nodes have the label node-role.kubernetes.io/control-plane, and {benchmark} is for clusters with a control plane that runs elsewhere; name another benchmark in the CisProfile, or find out who labels the nodes"
        )),
    }
}

fn is_managed(benchmark: &str) -> bool {
    ["eks-", "gke-", "aks-"].iter().any(|managed| benchmark.starts_with(managed))
}

/// The targets of a benchmark on a node, by the names of kube-bench. Those that ask the API server (policies and managedservices) are none:
/// kube-bench has no token.
#[must_use]
pub fn targets(benchmark: &str, roles: Roles) -> Vec<&'static str> {
    let is_managed = is_managed(benchmark);
    let of_control_plane = roles.control_plane && !is_managed;
    let all = [
        ("master", of_control_plane),
        ("controlplane", of_control_plane && benchmark != "rh-0.7"),
        ("etcd", roles.etcd && !is_managed && benchmark != "rh-0.7"),
        ("node", true),
    ];
    all.into_iter().filter(|(_, is_there)| *is_there).map(|(target, _)| target).collect()
}

const OF_KUBEADM: &[&str] = &[
    "/etc/kubernetes",
    "/var/lib/etcd",
    "/var/lib/kubelet",
    "/etc/systemd",
    "/lib/systemd",
    "/etc/cni/net.d",
    "/opt/cni/bin",
    "/var/lib/cni",
    "/srv/kubernetes",
];
const OF_K3S: &[&str] =
    &["/etc/rancher", "/var/lib/rancher/k3s", "/etc/systemd", "/lib/systemd", "/var/lib/kubelet", "/var/lib/cni"];
const OF_RKE2: &[&str] = &[
    "/etc/rancher",
    "/var/lib/rancher/rke2",
    "/etc/systemd",
    "/lib/systemd",
    "/var/lib/kubelet",
    "/etc/cni/net.d",
    "/var/lib/cni",
];
const OF_EKS: &[&str] = &["/etc/kubernetes", "/var/lib/kubelet", "/etc/systemd", "/lib/systemd", "/etc/eksctl"];
/// The kubelet has its configuration in its home …
const OF_GKE: &[&str] = &["/etc/kubernetes", "/var/lib/kubelet", "/etc/systemd", "/lib/systemd", "/home/kubernetes"];
/// … or where Debian has that of services.
const OF_AKS: &[&str] = &["/etc/kubernetes", "/var/lib/kubelet", "/etc/systemd", "/lib/systemd", "/etc/default"];

/// The folders of a node that the audits of a benchmark read, parents before what is in them.
#[must_use]
pub fn host_folders(benchmark: &str) -> &'static [&'static str] {
    if benchmark.contains("k3s") {
        OF_K3S
    } else if benchmark.starts_with("rke2") {
        OF_RKE2
    } else {
        let of_managed = [("eks-", OF_EKS), ("gke-", OF_GKE), ("aks-", OF_AKS)];
        of_managed.iter().find(|(start, _)| benchmark.starts_with(start)).map_or(OF_KUBEADM, |(_, folders)| *folders)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(distribution: &str, version: &str, unmapped: Unmapped) -> Result<String, NoBenchmark> {
        let profile = CisProfileSpec { unmapped, ..CisProfileSpec::default() };
        choose(distribution, version, &profile).map(|chosen| chosen.name)
    }

    #[test]
    fn every_version_has_its_benchmark_or_says_that_it_has_none() {
        for (distribution, version, expected) in [
            ("kubeadm", "v1.34.2", "cis-1.12"),
            ("kind", "v1.29.0", "cis-1.11"),
            ("unknown", "v1.28.3", "cis-1.10"),
            ("k3s", "v1.27.4+k3s1", "k3s-cis-1.9"),
            ("rke2", "v1.26.1+rke2r1", "rke2-cis-1.8"),
            ("EKS", "v1.37.1-eks-1", "eks-1.8.0"),
            ("OpenShift", "v1.27.0", "rh-1.8"),
        ] {
            assert_eq!(chosen(distribution, version, Unmapped::Refuse).as_deref(), Ok(expected));
        }
        assert!(matches!(chosen("kubeadm", "v1.37.1", Unmapped::Refuse), Err(NoBenchmark::Unmapped { .. })));
        assert_eq!(chosen("kubeadm", "v1.37.1", Unmapped::Nearest).as_deref(), Ok("cis-1.12"));
        assert_eq!(chosen("k3s", "v1.9.1", Unmapped::Nearest).as_deref(), Ok("k3s-cis-1.23"));
        assert!(matches!(chosen("kubeadm", "main", Unmapped::Nearest), Err(NoBenchmark::NoVersion(_))));
        let named = |name: &str| {
            let profile = CisProfileSpec { benchmark: Some(name.to_owned()), ..CisProfileSpec::default() };
            choose("kubeadm", "v1.37.1", &profile).map(|chosen| chosen.name)
        };
        assert_eq!(named("cis-1.24").as_deref(), Ok("cis-1.24"));
        assert_eq!(named("../x"), Err(NoBenchmark::Unknown("../x".to_owned())));
    }

    #[test]
    fn a_profile_may_name_what_kube_bench_has() {
        let folders = "ack-1.0 aks-1.0 aks-1.7 aks-1.8 cis-1.10 cis-1.11 cis-1.12 cis-1.20 cis-1.23 cis-1.24 cis-1.24-microk8s cis-1.5 \
            cis-1.6 cis-1.6-k3s cis-1.7 cis-1.8 cis-1.9 eks-1.0.1 eks-1.1.0 eks-1.2.0 eks-1.5.0 eks-1.7.0 eks-1.8.0 \
            eks-stig-kubernetes-v1r6 gke-1.0 gke-1.2.0 gke-1.6.0 gke-1.8.0 gke-1.9.0 k3s-cis-1.23 k3s-cis-1.24 k3s-cis-1.7 k3s-cis-1.8 \
            k3s-cis-1.9 rh-0.7 rh-1.0 rh-1.4 rh-1.8 rke-cis-1.23 rke-cis-1.24 rke-cis-1.7 rke2-cis-1.23 rke2-cis-1.24 rke2-cis-1.7 \
            rke2-cis-1.8 tkgi-1.2.53";
        for folder in folders.split_whitespace() {
            assert!(is_known(folder), "{folder}");
        }
        assert_eq!(targets("rh-0.7", Roles { control_plane: true, etcd: true }), ["master", "node"]);
    }

    #[test]
    fn a_node_has_the_targets_of_its_roles() {
        let labels = |roles: &[&str]| {
            roles
                .iter()
                .map(|role| (format!("node-role.kubernetes.io/{role}"), String::new()))
                .collect::<BTreeMap<_, _>>()
        };
        let of = |benchmark: &str, roles: &[&str], distribution: &str| {
            targets(benchmark, Roles::of(&labels(roles), distribution))
        };
        assert_eq!(of("cis-1.12", &["control-plane"], "kubeadm"), ["master", "controlplane", "etcd", "node"]);
        assert_eq!(of("cis-1.12", &[], "kubeadm"), ["node"]);
        assert_eq!(of("k3s-cis-1.9", &["control-plane"], "k3s"), ["master", "controlplane", "node"]);
        assert_eq!(of("rke2-cis-1.8", &["etcd"], "rke2"), ["etcd", "node"]);
        assert_eq!(of("eks-1.8.0", &["control-plane"], "EKS"), ["node"]);
    }

    #[test]
    fn c6_a_benchmark_that_does_not_look_at_the_control_plane_is_told() {
        let (worker, control_plane) = (Roles::default(), Roles { control_plane: true, etcd: true });
        let unseen = |benchmark: &str, roles: &[Roles]| unseen_control_plane(benchmark, roles.iter().copied());
        assert_eq!(unseen("cis-1.12", &[worker, control_plane]), None);
        assert_eq!(unseen("eks-1.8.0", &[worker]), None);
        assert!(unseen("cis-1.12", &[worker]).unwrap().contains("no node that was scanned has the label"));
        assert!(unseen("eks-1.8.0", &[worker, control_plane]).unwrap().contains("find out who labels the nodes"));
    }

    #[test]
    fn nothing_of_a_node_is_shown_that_holds_all_of_it() {
        for benchmark in ["cis-1.12", "k3s-cis-1.9", "rke2-cis-1.8", "eks-1.8.0", "gke-1.9.0", "aks-1.8", "rh-1.8"] {
            let folders = host_folders(benchmark);
            assert!(
                folders.iter().all(|folder| folder.matches('/').count() > 1 && !folder.starts_with("/root")),
                "{folders:?}"
            );
        }
    }
}
