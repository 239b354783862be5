use std::time::Duration;

const KUBERNETES_VERSION: &str = "v1.37.1";
const HELM_VERSION: &str = "v4.3.1";
const HELM3_VERSION: &str = "v3.22.0";
const REGISTRY_VERSION: &str = "v3.1.1";
const KUBE_BENCH_VERSION: &str = "v0.15.6";
const KUBERNETES_COMMIT: &str = "f78e722310e50bcaca9276be22276d9e91d91308";
const KUBERNETES_BUILD_DATE: &str = "2026-09-23T17:06:22Z";

/// A program that the harness starts or calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Program {
    /// The store of a control plane.
    Etcd,
    /// The client of etcd: snapshots, compaction.
    Etcdctl,
    /// Works on etcd's files: restores snapshots.
    Etcdutl,
    /// The API server.
    KubeApiserver,
    /// The controllers of Kubernetes itself.
    KubeControllerManager,
    /// The scheduler.
    KubeScheduler,
    /// The command-line client.
    Kubectl,
    /// Fakes kubelets.
    Kwok,
    /// Installs charts.
    Helm,
    /// Checks a node against a CIS benchmark.
    KubeBench,
    /// The same of the major version before. Only built when a test takes it, as is [`Program::Registry`].
    Helm3,
    /// An OCI registry.
    Registry,
}

impl Program {
    /// All that control planes and their nodes need and `make tools` finds or builds, in the order in which a cold build is fastest.
    pub const ALL: [Self; 10] = [
        Self::Etcd,
        Self::Etcdctl,
        Self::Etcdutl,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kubectl,
        Self::Kwok,
        Self::Helm,
        Self::KubeBench,
    ];

    /// The name of the executable.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Etcdctl => "etcdctl",
            Self::Etcdutl => "etcdutl",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubectl => "kubectl",
            Self::Kwok => "kwok",
            Self::Helm => "helm",
            Self::Helm3 => "helm3",
            Self::Registry => "registry",
            Self::KubeBench => "kube-bench",
        }
    }

    /// The environment variable that names a ready binary, as envtest calls it.
    #[must_use]
    pub fn variable(self) -> String {
        format!("TEST_ASSET_{}", self.name().to_uppercase().replace('-', "_"))
    }

    /// The directory below `e2e/tools` whose go.mod pins it.
    pub(super) fn module(self) -> &'static str {
        match self {
            Self::Etcd | Self::Etcdctl | Self::Etcdutl => "etcd",
            Self::KubeApiserver | Self::KubeControllerManager | Self::KubeScheduler | Self::Kubectl => "kubernetes",
            Self::Kwok => "kwok",
            Self::Helm => "helm",
            Self::Helm3 => "helm3",
            Self::Registry => "registry",
            Self::KubeBench => "kube-bench",
        }
    }

    pub(super) fn package(self) -> String {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3".to_owned(),
            Self::Etcdctl | Self::Etcdutl => format!("go.etcd.io/etcd/{}/v3", self.name()),
            Self::Kwok => "sigs.k8s.io/kwok/cmd/kwok".to_owned(),
            Self::Helm => "helm.sh/helm/v4/cmd/helm".to_owned(),
            Self::Helm3 => "helm.sh/helm/v3/cmd/helm".to_owned(),
            Self::Registry => "github.com/distribution/distribution/v3/cmd/registry".to_owned(),
            Self::KubeBench => "github.com/aquasecurity/kube-bench".to_owned(),
            _ => format!("k8s.io/kubernetes/cmd/{}", self.name()),
        }
    }

    /// The flags of `go build`; a change of one makes a new place in the cache.
    pub(super) fn build_flags(self) -> Vec<String> {
        let mut flags = vec!["-trimpath".to_owned()];
        if self.module() == "kubernetes" {
            flags.extend(["-tags".to_owned(), "selinux,notest,grpcnotrace".to_owned()]);
        }
        let version = match self {
            Self::Helm => format!(" -X helm.sh/helm/v4/internal/version.version={HELM_VERSION}"),
            Self::Helm3 => format!(" -X helm.sh/helm/v3/internal/version.version={HELM3_VERSION}"),
            Self::Registry => {
                format!(" -X github.com/distribution/distribution/v3/version.version={REGISTRY_VERSION}")
            }
            Self::KubeBench => {
                format!(" -X github.com/aquasecurity/kube-bench/cmd.KubeBenchVersion={KUBE_BENCH_VERSION}")
            }
            _ if self.module() == "kubernetes" => format!(" {}", kubernetes_version_flags()),
            _ => String::new(),
        };
        flags.extend(["-ldflags".to_owned(), format!("-s -w{version}")]);
        flags
    }

    /// How long a cold build took on two cores, after the programs before it in [`Program::ALL`].
    pub(super) fn expected_build_time(self) -> Duration {
        Duration::from_secs(match self {
            Self::Etcd | Self::Kubectl => 15,
            Self::Etcdctl | Self::Etcdutl => 3,
            Self::KubeApiserver => 198,
            Self::KubeControllerManager => 60,
            Self::KubeScheduler => 6,
            Self::Kwok => 45,
            Self::Helm | Self::Helm3 => 72,
            Self::KubeBench => 138,
            Self::Registry => 41,
        })
    }
}

/// Without these, `/version` says `v0.0.0-master` and Helm's capabilities and skew checks go wrong.
fn kubernetes_version_flags() -> String {
    ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"]
        .map(|package| {
            format!(
                " -X {package}.gitVersion={KUBERNETES_VERSION} -X {package}.gitMajor=1 -X {package}.gitMinor=37 \
                 -X {package}.gitTreeState=clean -X {package}.gitCommit={KUBERNETES_COMMIT} \
                 -X {package}.buildDate={KUBERNETES_BUILD_DATE}"
            )
        })
        .concat()
}
