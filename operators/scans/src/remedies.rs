//! What to do about a check that fails, in our own words. Pure.
//!
//! The numbers are those of the generic benchmarks of kube-bench 0.15.6, and the files lie where kubeadm puts them. A number means something
//! else in another benchmark, so only those are here that were compared number by number.

/// A number and what to do, of one target.
type Remedies = &'static [(&'static str, &'static str)];

const MASTER: Remedies = &[
    ("1.1.1", "Run chmod 600 /etc/kubernetes/manifests/kube-apiserver.yaml."),
    ("1.1.2", "Run chown root:root /etc/kubernetes/manifests/kube-apiserver.yaml."),
    ("1.1.3", "Run chmod 600 /etc/kubernetes/manifests/kube-controller-manager.yaml."),
    ("1.1.4", "Run chown root:root /etc/kubernetes/manifests/kube-controller-manager.yaml."),
    ("1.1.5", "Run chmod 600 /etc/kubernetes/manifests/kube-scheduler.yaml."),
    ("1.1.6", "Run chown root:root /etc/kubernetes/manifests/kube-scheduler.yaml."),
    ("1.1.7", "Run chmod 600 /etc/kubernetes/manifests/etcd.yaml."),
    ("1.1.8", "Run chown root:root /etc/kubernetes/manifests/etcd.yaml."),
    ("1.1.9", "Run chmod 600 on the files in /etc/cni/net.d, and have the installer of the network keep that."),
    ("1.1.10", "Run chown root:root on the files in /etc/cni/net.d."),
    ("1.1.11", "Run chmod 700 on the data folder of etcd, /var/lib/etcd."),
    ("1.1.12", "Let etcd run as a user etcd that owns /var/lib/etcd, or waive it: kubeadm runs etcd as root."),
    ("1.1.13", "Run chmod 600 on /etc/kubernetes/admin.conf, and on super-admin.conf beside it if there is one."),
    ("1.1.14", "Run chown root:root on /etc/kubernetes/admin.conf, and on super-admin.conf if there is one."),
    ("1.1.15", "Run chmod 600 /etc/kubernetes/scheduler.conf."),
    ("1.1.16", "Run chown root:root /etc/kubernetes/scheduler.conf."),
    ("1.1.17", "Run chmod 600 /etc/kubernetes/controller-manager.conf."),
    ("1.1.18", "Run chown root:root /etc/kubernetes/controller-manager.conf."),
    ("1.1.19", "Run chown -R root:root /etc/kubernetes/pki."),
    ("1.1.20", "Run chmod 644 on the certificates (*.crt) in /etc/kubernetes/pki and the folders in it."),
    ("1.1.21", "Run chmod 600 on the keys (*.key) in /etc/kubernetes/pki and the folders in it."),
    ("1.2.1", "Set --anonymous-auth=false in the kube-apiserver manifest, unless health checks need it."),
    ("1.2.2", "Remove --token-auth-file from the kube-apiserver manifest, once its users log in another way."),
    ("1.2.3", "Add DenyServiceExternalIPs to --enable-admission-plugins in the kube-apiserver manifest."),
    ("1.2.4", "Set --kubelet-client-certificate and --kubelet-client-key in the kube-apiserver manifest."),
    (
        "1.2.5",
        "Set --kubelet-certificate-authority in the kube-apiserver manifest to the CA of the kubelets' serving certificates.",
    ),
    ("1.2.6", "Set --authorization-mode=Node,RBAC in the kube-apiserver manifest."),
    ("1.2.7", "Add Node to --authorization-mode in the kube-apiserver manifest."),
    ("1.2.8", "Add RBAC to --authorization-mode in the kube-apiserver manifest."),
    (
        "1.2.9",
        "Enable the admission plugin EventRateLimit in the kube-apiserver manifest, with limits in --admission-control-config-file.",
    ),
    ("1.2.10", "Remove AlwaysAdmit from --enable-admission-plugins in the kube-apiserver manifest."),
    (
        "1.2.11",
        "Add AlwaysPullImages to --enable-admission-plugins in the kube-apiserver manifest, if the registries are always there.",
    ),
    ("1.2.12", "Remove ServiceAccount from --disable-admission-plugins in the kube-apiserver manifest."),
    ("1.2.13", "Remove NamespaceLifecycle from --disable-admission-plugins in the kube-apiserver manifest."),
    ("1.2.14", "Add NodeRestriction to --enable-admission-plugins in the kube-apiserver manifest."),
    ("1.2.15", "Set --profiling=false in the kube-apiserver manifest."),
    (
        "1.2.16",
        "Set --audit-log-path in the kube-apiserver manifest to a file in a folder that is mounted from the node.",
    ),
    ("1.2.17", "Set --audit-log-maxage in the kube-apiserver manifest to at least 30 days."),
    ("1.2.18", "Set --audit-log-maxbackup in the kube-apiserver manifest to at least 10 files."),
    ("1.2.19", "Set --audit-log-maxsize in the kube-apiserver manifest to at least 100 megabytes."),
    ("1.2.20", "See whether the default of 1m suits; else set --request-timeout in the kube-apiserver manifest."),
    ("1.2.21", "Remove --service-account-lookup=false from the kube-apiserver manifest."),
    (
        "1.2.22",
        "Set --service-account-key-file in the kube-apiserver manifest to the public key that tokens are checked with.",
    ),
    (
        "1.2.23",
        "Set --etcd-certfile and --etcd-keyfile in the kube-apiserver manifest to its client certificate for etcd.",
    ),
    ("1.2.24", "Set --tls-cert-file and --tls-private-key-file in the kube-apiserver manifest."),
    ("1.2.25", "Set --client-ca-file in the kube-apiserver manifest to the CA of client certificates."),
    ("1.2.26", "Set --etcd-cafile in the kube-apiserver manifest to the CA of etcd."),
    (
        "1.2.27",
        "Write an EncryptionConfiguration for Secrets, and set --encryption-provider-config in the kube-apiserver manifest.",
    ),
    (
        "1.2.28",
        "Put kms, secretbox or aescbc before identity in the EncryptionConfiguration, and write all Secrets again.",
    ),
    (
        "1.2.29",
        "List only ciphers with forward secrecy and AEAD in --tls-cipher-suites of the kube-apiserver manifest.",
    ),
    (
        "1.2.30",
        "Set --service-account-extend-token-expiration=false in the kube-apiserver manifest, once clients renew their tokens.",
    ),
    (
        "1.3.1",
        "Set --terminated-pod-gc-threshold in the kube-controller-manager manifest to what the nodes have room for.",
    ),
    ("1.3.2", "Set --profiling=false in the kube-controller-manager manifest."),
    ("1.3.3", "Set --use-service-account-credentials=true in the kube-controller-manager manifest."),
    ("1.3.4", "Set --service-account-private-key-file in the kube-controller-manager manifest."),
    ("1.3.5", "Set --root-ca-file in the kube-controller-manager manifest to the CA of the API server."),
    (
        "1.3.6",
        "Remove RotateKubeletServerCertificate=false from --feature-gates in the kube-controller-manager manifest.",
    ),
    (
        "1.3.7",
        "Set --bind-address=127.0.0.1 in the kube-controller-manager manifest; its metrics are then for the node only.",
    ),
    ("1.4.1", "Set --profiling=false in the kube-scheduler manifest."),
    ("1.4.2", "Set --bind-address=127.0.0.1 in the kube-scheduler manifest; its metrics are then for the node only."),
];

const ETCD: Remedies = &[
    ("2.1", "Set --cert-file and --key-file in the etcd manifest to its serving certificate."),
    ("2.2", "Set --client-cert-auth=true in the etcd manifest."),
    ("2.3", "Remove --auto-tls from the etcd manifest, and give etcd a certificate of your own CA."),
    ("2.4", "Set --peer-cert-file and --peer-key-file in the etcd manifest."),
    ("2.5", "Set --peer-client-cert-auth=true in the etcd manifest."),
    ("2.6", "Remove --peer-auto-tls from the etcd manifest, and give its members certificates of your own CA."),
    ("2.7", "Give etcd a CA that signs nothing else, and set --trusted-ca-file in its manifest to it."),
];

const CONTROLPLANE: Remedies = &[
    ("3.1.1", "Let people log in through OIDC or a proxy that authenticates, and give them no client certificates."),
    ("3.1.2", "Let people log in through OIDC or a proxy that authenticates, and leave service accounts to programs."),
    (
        "3.1.3",
        "Let people log in through OIDC or a proxy that authenticates, and delete bootstrap tokens after a node joined.",
    ),
    ("3.2.1", "Write an audit policy, and set --audit-policy-file in the kube-apiserver manifest to it."),
    (
        "3.2.2",
        "Let the audit policy log access to Secrets by metadata only, and changes of Pods, exec, port-forward and proxy.",
    ),
];

const NODE: Remedies = &[
    ("4.1.1", "Run chmod 600 on the unit of the kubelet and its drop-ins, such as 10-kubeadm.conf."),
    ("4.1.2", "Run chown root:root on the unit of the kubelet and its drop-ins, such as 10-kubeadm.conf."),
    ("4.1.3", "Run chmod 600 on the kubeconfig of kube-proxy, if the node has it as a file."),
    ("4.1.4", "Run chown root:root on the kubeconfig of kube-proxy, if the node has it as a file."),
    ("4.1.5", "Run chmod 600 /etc/kubernetes/kubelet.conf."),
    ("4.1.6", "Run chown root:root /etc/kubernetes/kubelet.conf."),
    ("4.1.7", "Run chmod 644 on the CA file of the kubelet, /etc/kubernetes/pki/ca.crt."),
    ("4.1.8", "Run chown root:root on the CA file of the kubelet, /etc/kubernetes/pki/ca.crt."),
    ("4.1.9", "Run chmod 600 /var/lib/kubelet/config.yaml."),
    ("4.1.10", "Run chown root:root /var/lib/kubelet/config.yaml."),
    ("4.2.1", "Set authentication.anonymous.enabled to false in /var/lib/kubelet/config.yaml."),
    ("4.2.2", "Set authorization.mode to Webhook in /var/lib/kubelet/config.yaml."),
    ("4.2.3", "Set authentication.x509.clientCAFile in /var/lib/kubelet/config.yaml to the CA of the cluster."),
    ("4.2.4", "Set readOnlyPort to 0 in /var/lib/kubelet/config.yaml."),
    ("4.2.5", "Set streamingConnectionIdleTimeout in /var/lib/kubelet/config.yaml to more than 0, such as 5m."),
    ("4.2.6", "Set makeIPTablesUtilChains to true in /var/lib/kubelet/config.yaml, or remove it."),
    ("4.2.7", "Remove --hostname-override from the flags of the kubelet; a cloud provider may need it."),
    ("4.2.8", "Set eventRecordQPS in /var/lib/kubelet/config.yaml so high that no events get lost, or remove it."),
    (
        "4.2.9",
        "Set tlsCertFile and tlsPrivateKeyFile in /var/lib/kubelet/config.yaml, or serverTLSBootstrap and waive this.",
    ),
    ("4.2.10", "Set rotateCertificates to true in /var/lib/kubelet/config.yaml, or remove it."),
    ("4.2.11", "Remove RotateKubeletServerCertificate: false from featureGates in /var/lib/kubelet/config.yaml."),
    ("4.2.12", "List only ECDHE ciphers with GCM or ChaCha20 in tlsCipherSuites of /var/lib/kubelet/config.yaml."),
    ("4.2.13", "Set podPidsLimit in /var/lib/kubelet/config.yaml to what one Pod may need, such as 4096."),
    ("4.2.14", "Set seccompDefault to true in /var/lib/kubelet/config.yaml, after a try with what runs there."),
    (
        "4.2.15",
        "Set IPAddressDeny=any, and in IPAddressAllow what it needs, in the unit of the kubelet; kube-bench may not see that.",
    ),
    ("4.3.1", "Remove metricsBindAddress from the configuration of kube-proxy, so that it stays at 127.0.0.1."),
];

/// Where a benchmark differs from the tables: a number that it does not have, or means otherwise.
const DIFFERENT: [(&str, &str, &str, Option<&str>); 6] = [
    ("cis-1.12", "node", "4.2.15", None),
    ("cis-1.10", "node", "4.2.15", None),
    ("cis-1.10", "node", "4.2.14", None),
    ("cis-1.10", "master", "1.2.30", None),
    (
        "cis-1.10",
        "master",
        "1.1.20",
        Some("Run chmod 600 on the certificates (*.crt) in /etc/kubernetes/pki and the folders in it."),
    ),
    ("cis-1.10", "node", "4.1.7", Some("Run chmod 600 on the CA file of the kubelet, /etc/kubernetes/pki/ca.crt.")),
];

/// What to do about a check, as far as it is known what it means in this benchmark. After a change of a kubelet's configuration it has to
/// be restarted.
#[must_use]
pub fn remedy(benchmark: &str, target: &str, id: &str) -> Option<&'static str> {
    if !["cis-1.10", "cis-1.11", "cis-1.12"].contains(&benchmark) {
        return None;
    }
    let different = DIFFERENT.iter().find(|(by, of, number, _)| (*by, *of, *number) == (benchmark, target, id));
    if let Some((_, _, _, remedy)) = different {
        return *remedy;
    }
    let remedies = match target {
        "master" => MASTER,
        "etcd" => ETCD,
        "controlplane" => CONTROLPLANE,
        "node" => NODE,
        _ => return None,
    };
    remedies.iter().find(|(number, _)| *number == id).map(|(_, remedy)| *remedy)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The sections of each benchmark, with how many checks they have, as its files say.
    const SECTIONS: [(&str, &str, [usize; 3]); 11] = [
        ("master", "1.1", [21, 21, 21]),
        ("master", "1.2", [29, 30, 30]),
        ("master", "1.3", [7, 7, 7]),
        ("master", "1.4", [2, 2, 2]),
        ("etcd", "2", [7, 7, 7]),
        ("controlplane", "3.1", [3, 3, 3]),
        ("controlplane", "3.2", [2, 2, 2]),
        ("node", "4.1", [10, 10, 10]),
        ("node", "4.2", [13, 15, 14]),
        ("node", "4.3", [1, 1, 1]),
        ("policies", "5.1", [0, 0, 0]),
    ];
    const BENCHMARKS: [&str; 3] = ["cis-1.10", "cis-1.11", "cis-1.12"];

    #[test]
    fn every_check_of_each_benchmark_has_a_remedy_and_nothing_else_has() {
        for (target, section, counts) in SECTIONS {
            for (benchmark, count) in BENCHMARKS.into_iter().zip(counts) {
                for number in 1..=40 {
                    let id = format!("{section}.{number}");
                    let is_there = remedy(benchmark, target, &id).is_some();
                    assert_eq!(is_there, number <= count, "{benchmark} {target} {id}");
                }
            }
        }
        let in_sections: usize = SECTIONS.iter().map(|(_, _, counts)| counts[1]).sum();
        let known = [MASTER, ETCD, CONTROLPLANE, NODE].map(<[_]>::len).iter().sum::<usize>();
        assert_eq!(in_sections, known, "cis-1.11 has every number of the tables, and none stands there twice");
    }

    #[test]
    fn no_other_benchmark_gets_a_remedy() {
        for benchmark in ["cis-1.9", "cis-1.13", "cis-1.1", "k3s-cis-1.9", "rke2-cis-1.8", "eks-1.8.0", ""] {
            assert_eq!(remedy(benchmark, "master", "1.2.1"), None, "{benchmark}");
        }
        assert_eq!(remedy("cis-1.12", "node", "1.2.1"), None, "the number is of another target");
        assert_eq!(remedy("cis-1.12", "own", "1.2.1"), None);
    }

    /// What some numbers are about, read from the files of each benchmark by hand.
    #[test]
    fn a_remedy_is_about_its_check() {
        for (target, id, about) in [
            ("master", "1.1.7", "etcd.yaml"),
            ("master", "1.1.12", "/var/lib/etcd"),
            ("master", "1.1.17", "controller-manager.conf"),
            ("master", "1.2.1", "--anonymous-auth=false"),
            ("master", "1.2.5", "--kubelet-certificate-authority"),
            ("master", "1.2.9", "EventRateLimit"),
            ("master", "1.2.14", "NodeRestriction"),
            ("master", "1.2.19", "--audit-log-maxsize"),
            ("master", "1.2.22", "--service-account-key-file"),
            ("master", "1.2.26", "--etcd-cafile"),
            ("master", "1.2.29", "--tls-cipher-suites"),
            ("master", "1.3.5", "--root-ca-file"),
            ("master", "1.4.2", "--bind-address"),
            ("etcd", "2.7", "--trusted-ca-file"),
            ("controlplane", "3.2.1", "--audit-policy-file"),
            ("node", "4.1.5", "kubelet.conf"),
            ("node", "4.1.10", "chown root:root /var/lib/kubelet/config.yaml"),
            ("node", "4.2.4", "readOnlyPort"),
            ("node", "4.2.8", "eventRecordQPS"),
            ("node", "4.2.13", "podPidsLimit"),
            ("node", "4.3.1", "metricsBindAddress"),
        ] {
            for benchmark in BENCHMARKS {
                let remedy = remedy(benchmark, target, id).unwrap();
                assert!(remedy.contains(about), "{benchmark} {id}: {remedy}");
            }
        }
        for (benchmark, mode) in [("cis-1.10", "600"), ("cis-1.11", "644"), ("cis-1.12", "644")] {
            for (target, id) in [("master", "1.1.20"), ("node", "4.1.7")] {
                assert!(remedy(benchmark, target, id).unwrap().contains(&format!("chmod {mode}")), "{benchmark} {id}");
            }
        }
    }

    #[test]
    fn each_remedy_is_one_short_sentence() {
        let mut seen = BTreeSet::new();
        for (id, remedy) in [MASTER, ETCD, CONTROLPLANE, NODE].into_iter().flatten() {
            assert!(remedy.ends_with('.') && remedy.len() <= 130 && remedy.is_ascii(), "{id}: {remedy}");
            assert!(seen.insert(remedy), "{id} says the same as another one");
        }
    }
}
