//! The control plane of a node, as what checks a node sees it: files as kubeadm lays them, and processes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::root::Mount;
use crate::ControlPlane;
use crate::control_plane::Component;
use crate::error::{Error, FileContext, Result};

const SCRIPT: &str = include_str!("ps.sh");
const PS: &str = "/usr/bin/ps";
/// What every process of a control plane has in its container.
const VARIABLES: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\0SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt\0";
/// Where kubeadm has what a control plane is configured by.
const KUBERNETES: &str = "/etc/kubernetes";
const KUBELET: &str = "/var/lib/kubelet";
const ETCD: &str = "/var/lib/etcd";
const MANIFESTS: &str = "manifests";
const KUBELET_CONFIG: &str = "config.yaml";

/// Files of a control plane of the harness, what kubeadm calls them, and with which mode.
const FILES: [(&str, &str, u32); 9] = [
    ("certificates/ca.crt", "pki/ca.crt", 0o644),
    ("certificates/ca.key", "pki/ca.key", 0o600),
    ("certificates/apiserver.crt", "pki/apiserver.crt", 0o644),
    ("certificates/apiserver.key", "pki/apiserver.key", 0o600),
    ("certificates/service-account.key", "pki/sa.key", 0o600),
    ("certificates/service-account.pub", "pki/sa.pub", 0o600),
    ("admin.kubeconfig", "admin.conf", 0o600),
    ("kube-controller-manager.kubeconfig", "controller-manager.conf", 0o600),
    ("kube-scheduler.kubeconfig", "scheduler.conf", 0o600),
];

/// What a node of kubeadm runs, and a control plane of the harness may not: there is never a kubelet.
const MADE_UP: [&str; 3] = [
    "kube-controller-manager --bind-address=127.0.0.1 --kubeconfig=/etc/kubernetes/controller-manager.conf --leader-elect=true \
     --root-ca-file=/etc/kubernetes/pki/ca.crt --service-account-private-key-file=/etc/kubernetes/pki/sa.key \
     --use-service-account-credentials=true",
    "kube-scheduler --bind-address=127.0.0.1 --kubeconfig=/etc/kubernetes/scheduler.conf --leader-elect=true",
    "/usr/bin/kubelet --config=/var/lib/kubelet/config.yaml --kubeconfig=/etc/kubernetes/kubelet.conf",
];
/// Process ids of Linux are below.
const FIRST_MADE_UP: i32 = 1 << 22;

/// The processes of one control plane, and its files as kubeadm lays them.
#[derive(Debug, Clone)]
pub struct Components {
    folder: Arc<TempDir>,
    etcd: PathBuf,
    processes: Vec<Listed>,
}

/// A process, as `ps` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    pid: i32,
    name: String,
    words: Vec<String>,
}

impl Components {
    /// Those of a control plane as it runs now, on a node of this name.
    pub fn of(plane: &ControlPlane, node: &str) -> Result<Self> {
        let folder = tempfile::tempdir().on("create a folder in", std::env::temp_dir())?;
        let processes = processes(plane)?;
        let etcd = plane.directory().join("etcd");
        let etcd = if etcd.is_dir() { etcd } else { self::folder(&folder.path().join("etcd"), 0o700)? };
        let this = Self { folder: Arc::new(folder), etcd, processes };
        this.lay_kubernetes(plane, node)?;
        this.lay_kubelet()?;
        Ok(this)
    }

    /// Which folder here a path of the host is.
    pub(super) fn host(&self) -> BTreeMap<String, PathBuf> {
        let own = [KUBERNETES, KUBELET].map(|path| (path.to_owned(), self.at(path)));
        own.into_iter().chain([(ETCD.to_owned(), self.etcd.clone())]).collect()
    }

    /// What lies over the programs and processes of this machine in a container, in `folder`: its `ps`, and what it reads of the
    /// variables of each process, which are those of the test here. Without the process ids of the host it sees no process.
    pub(super) fn mounts(&self, sees_host: bool, folder: &Path) -> Result<Vec<Mount>> {
        if !Path::new(PS).exists() {
            let source = std::io::Error::other(format!("there is no {PS} in whose place it could be: install procps"));
            return Err(Error::Start { name: "ps".to_owned(), source });
        }
        let seen: Vec<&Listed> = self.processes.iter().filter(|_| sees_host).collect();
        let lines: Vec<_> =
            seen.iter().map(|seen| format!("{}\t{}\t{}", seen.pid, seen.name, seen.words.join(" "))).collect();
        let (ps, variables) = (folder.join("ps"), folder.join("environ"));
        write(&ps, &SCRIPT.replace("@PROCESSES@", &lines.join("\n")), 0o755)?;
        write(&variables, VARIABLES, 0o400)?;
        let of_processes = seen.iter().map(|seen| format!("/proc/{}/environ", seen.pid));
        let of_processes = of_processes.map(|file| Mount::read_only(&variables, Path::new(&file)));
        Ok(of_processes.chain([Mount::read_only(&ps, Path::new(PS))]).collect())
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path.strip_prefix('/').unwrap_or(path))
    }

    fn lay_kubernetes(&self, plane: &ControlPlane, node: &str) -> Result<()> {
        let target = self.at(KUBERNETES);
        for part in [MANIFESTS, "pki"] {
            folder(&target.join(part), 0o755)?;
        }
        for (from, to, mode) in FILES {
            let from = plane.directory().join(from);
            let text = fs::read_to_string(&from).on("read", &from)?;
            write(&target.join(to), &text, mode)?;
        }
        let kubelet = plane.kubeconfig_for(&format!("system:node:{node}"), &["system:nodes"])?;
        write(&target.join("kubelet.conf"), &kubelet, 0o600)?;
        for process in self.processes.iter().filter(|process| process.name != "kubelet") {
            let manifest = yaml(&static_pod(process));
            write(&target.join(MANIFESTS).join(format!("{}.yaml", process.name)), &manifest, 0o600)?;
        }
        Ok(())
    }

    fn lay_kubelet(&self) -> Result<()> {
        let target = self.at(KUBELET);
        // Those of Pods, which a container that looks at the node does not see.
        folder(&target.join("pods"), 0o755)?;
        write(&target.join(KUBELET_CONFIG), &yaml(&kubelet()), 0o644)
    }
}

/// What kubeadm gives a kubelet.
fn kubelet() -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true, "cacheTTL": "0s"},
            "x509": {"clientCAFile": "/etc/kubernetes/pki/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "systemd",
        "clusterDNS": ["10.0.0.10"],
        "clusterDomain": "cluster.local",
        "readOnlyPort": 0,
        "rotateCertificates": true,
        "staticPodPath": "/etc/kubernetes/manifests",
    })
}

fn static_pod(process: &Listed) -> Value {
    let container = json!({
        "name": process.name, "image": format!("registry.k8s.io/{}", process.name), "command": process.words,
    });
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": process.name, "namespace": "kube-system", "labels": {"component": process.name, "tier": "control-plane"}},
        "spec": {"hostNetwork": true, "priorityClassName": "system-node-critical", "containers": [container]},
    })
}

/// Those that run, and those that kubeadm would have besides.
fn processes(plane: &ControlPlane) -> Result<Vec<Listed>> {
    let directory = plane.directory();
    let running = plane.pids().into_iter().filter(|(component, _)| *component != Component::Kwok);
    let mut all = running.map(|(_, pid)| running_process(pid, &directory)).collect::<Result<Vec<_>>>()?;
    for (pid, command) in (FIRST_MADE_UP..).zip(MADE_UP) {
        let made_up = listed(pid, command.split_whitespace().map(str::to_owned).collect());
        if all.iter().all(|process| process.name != made_up.name) {
            all.push(made_up);
        }
    }
    Ok(all)
}

fn running_process(pid: i32, directory: &Path) -> Result<Listed> {
    let file = PathBuf::from(format!("/proc/{pid}/cmdline"));
    let text = fs::read_to_string(&file).on("read", &file)?;
    let words = text.split('\0').filter(|word| !word.is_empty());
    let mut words: Vec<String> = words.map(|word| as_of_kubeadm(word, directory)).collect();
    if let Some(program) = words.first_mut() {
        *program = base_name(program);
    }
    Ok(listed(pid, words))
}

fn listed(pid: i32, words: Vec<String>) -> Listed {
    let name = words.first().map(|program| base_name(program)).unwrap_or_default();
    Listed { pid, name, words }
}

fn base_name(program: &str) -> String {
    program.rsplit('/').next().unwrap_or_default().to_owned()
}

/// A word of a command line with the paths that kubeadm has for the files of a control plane in `directory`.
fn as_of_kubeadm(word: &str, directory: &Path) -> String {
    let here = |name: &str| directory.join(name).display().to_string();
    let mut word = word.to_owned();
    for (from, to, _) in FILES {
        word = word.replace(&here(from), &format!("{KUBERNETES}/{to}"));
    }
    let rest =
        [("etcd", ETCD), ("logs", "/var/log/kubernetes"), ("audit-policy.json", "/etc/kubernetes/audit-policy.json")];
    rest.iter().fold(word, |word, (from, to)| word.replace(&here(from), to))
}

fn yaml(value: &Value) -> String {
    serde_yaml::to_string(value).unwrap_or_else(|_| value.to_string())
}

fn folder(path: &Path, mode: u32) -> Result<PathBuf> {
    fs::create_dir_all(path).on("create", path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).on("set the mode of", path)?;
    Ok(path.to_owned())
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    fs::write(path, text).on("write", path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).on("set the mode of", path)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn command_lines_name_the_files_of_kubeadm() {
        let directory = Path::new("/cache/planes/plane-1");
        for (word, expected) in [
            (
                "--client-ca-file=/cache/planes/plane-1/certificates/ca.crt",
                "--client-ca-file=/etc/kubernetes/pki/ca.crt",
            ),
            (
                "--kubeconfig=/cache/planes/plane-1/kube-scheduler.kubeconfig",
                "--kubeconfig=/etc/kubernetes/scheduler.conf",
            ),
            ("--data-dir=/cache/planes/plane-1/etcd", "--data-dir=/var/lib/etcd"),
            ("--authorization-mode=Node,RBAC", "--authorization-mode=Node,RBAC"),
            ("--data-dir=/cache/planes/plane-2/etcd", "--data-dir=/cache/planes/plane-2/etcd"),
        ] {
            assert_eq!(as_of_kubeadm(word, directory), expected);
        }
    }

    /// With the forms in which kube-bench asks.
    #[test]
    fn ps_answers_as_that_of_procps_on_a_node_with_only_these_processes() {
        let lines = "12\tetcd\tetcd --name=a\n15\tkube-controller-manager\tkube-controller-manager --profiling=false";
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ps");
        write(&file, &SCRIPT.replace("@PROCESSES@", lines), 0o755).unwrap();
        let ask = |words: &str| {
            let output = Command::new("sh").arg(&file).args(words.split(' ')).output().unwrap();
            (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
        };
        let told = |text: &str| (0, format!("{text}\n"));
        assert_eq!(ask("-C etcd -o cmd --no-headers"), told("etcd --name=a"));
        assert_eq!(ask("-C etcd -o cmd"), told("CMD\netcd --name=a"));
        assert_eq!(ask("-o command= -C etcd"), told("etcd --name=a"));
        assert_eq!(ask("-C kube-controller -o pid="), told("15"));
        assert_eq!(ask("-C kubelet -o cmd --no-headers"), (1, String::new()));
        assert_eq!(ask("--forest").0, 2);
        for words in ["-ef", "ax", "-fC etcd"] {
            let (code, text) = ask(words);
            assert_eq!((code, text.lines().count()), (0, if words == "-fC etcd" { 2 } else { 3 }), "{text}");
            assert!(text.lines().nth(1).unwrap().ends_with("CMD") || text.contains(" etcd --name=a\n"), "{text}");
        }
    }
}
