//! Drover itself, running against a management control plane and a few downstream ones.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use drover_crds::names::DROVER_NAMESPACE;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use crate::control_plane::Storage;
use crate::error::{Error, FileContext, Result};
use crate::http_proxy::HttpProxy;
use crate::process::{Process, Specification};
use crate::tools::variable;
use crate::{Components, ControlPlane, Options};

/// The user that `drover` is in audit logs: on the management cluster the chart's `ServiceAccount`, with the chart's rights and
/// no others; downstream a certificate of the same name.
pub const DROVER_USER: &str = "system:serviceaccount:drover-system:drover";

/// What the harness says of the chart: nothing runs Pods here, and some stories have the Cluster `local`.
pub const CHART_VALUES: &str = "replicaCount=0,local.enabled=true";

/// The name of an installation that was given none.
const DEFAULT_NAME: &str = "e2e";

/// More at once do not become ready sooner on two cores, and miss the time that each has for it.
const STARTS_AT_ONCE: usize = 4;

/// What to start.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Names of the downstream clusters.
    pub clusters: Vec<String>,
    /// Processes of every control plane.
    pub components: Components,
    /// Fake nodes in every downstream cluster.
    pub nodes: usize,
    /// Whether requests are counted.
    pub audit: bool,
    /// Whether the downstream clusters keep their objects in the etcd of the first of them.
    pub shared_etcd: bool,
}

impl Plan {
    fn options(&self, name: &str) -> Options {
        Options { components: self.components, audit: self.audit, ..Options::new(name) }
    }
}

/// One management cluster, downstream clusters by name, and `drover` processes.
pub struct Installation {
    /// The management cluster.
    pub management: ControlPlane,
    /// The downstream clusters.
    pub downstream: BTreeMap<String, ControlPlane>,
    charts: PathBuf,
    replicas: Vec<Process>,
    started: usize,
    components: Components,
    audit: bool,
    /// Through which `drover` reaches the management cluster; without one, directly.
    pub way: Option<HttpProxy>,
    /// Variables that `drover` is started with besides ours, as names and values.
    pub environment: Vec<(String, String)>,
    /// Under which clusters are claimed. It outlives the management cluster. Empty: `drover` is given none.
    pub name: String,
}

impl Installation {
    /// Starts the control planes, a few at once, and installs the definitions and Drover's namespace.
    pub async fn start(plan: &Plan) -> Result<Self> {
        Self::start_from(&charts(), plan).await
    }

    /// The same with the charts of another folder.
    pub async fn start_from(charts: &Path, plan: &Plan) -> Result<Self> {
        let management = tokio::spawn(ControlPlane::start(plan.options("management")));
        let downstream = start_clusters(plan).await?;
        let management = management.await.map_err(|_| Error::TaskEnded)??;
        let Plan { components, audit, .. } = *plan;
        let name = DEFAULT_NAME.to_owned();
        let installation = Self {
            management,
            downstream,
            charts: charts.to_owned(),
            replicas: Vec::new(),
            started: 0,
            components,
            audit,
            way: None,
            environment: Vec::new(),
            name,
        };
        installation.install()?;
        Ok(installation)
    }

    fn install(&self) -> Result<()> {
        let chart = |name| self.charts.join(name).display().to_string();
        self.helm(&["install", "drover-crds", &chart("drover-crds"), "--create-namespace"])?;
        self.helm(&["install", "drover", &chart("drover"), "--set", CHART_VALUES])?;
        self.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"]).map(drop)
    }

    /// Throws the management cluster away and starts an empty one. Drover has to be stopped before.
    pub async fn rebuild_management(&mut self) -> Result<()> {
        let components = self.components;
        let audit = self.audit;
        self.management = ControlPlane::start(Options { components, audit, ..Options::new("management") }).await?;
        self.install()
    }

    /// Puts the kubeconfig of the downstream cluster `name` into a Secret of the same name.
    pub fn store_kubeconfig(&self, name: &str) -> Result<()> {
        let plane = self.cluster(name)?;
        self.store_secret(name, &plane.kubeconfig_for(DROVER_USER, &["system:masters"])?)
    }

    /// Puts any text into the Secret `name`, as a kubeconfig.
    pub fn store_secret(&self, name: &str, kubeconfig: &str) -> Result<()> {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": DROVER_NAMESPACE},
            "stringData": {"kubeconfig": kubeconfig},
        });
        self.apply(&secret.to_string())
    }

    /// The management cluster and the downstream ones.
    pub fn planes(&self) -> impl Iterator<Item = &ControlPlane> {
        std::iter::once(&self.management).chain(self.downstream.values())
    }

    /// The downstream cluster `name`.
    pub fn cluster(&self, name: &str) -> Result<&ControlPlane> {
        self.downstream.get(name).ok_or_else(|| Error::NoSuchCluster { name: name.to_owned() })
    }

    /// The downstream cluster `name`, to do harm to it.
    pub fn cluster_mut(&mut self, name: &str) -> Result<&mut ControlPlane> {
        self.downstream.get_mut(name).ok_or_else(|| Error::NoSuchCluster { name: name.to_owned() })
    }

    /// Applies YAML or JSON to the management cluster, as a person would.
    pub fn apply(&self, text: &str) -> Result<()> {
        apply_to(&self.management, text)
    }

    /// Runs kubectl on the management cluster and returns what it prints.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        kubectl_on(&self.management, arguments)
    }

    /// Runs helm on the management cluster, in Drover's namespace, and returns what it prints.
    pub fn helm(&self, arguments: &[&str]) -> Result<String> {
        let what = || format!("helm {}", arguments.join(" "));
        let mut command = self.management.helm()?;
        let output = command.args(arguments).args(["--namespace", DROVER_NAMESPACE]).output();
        finished(&what(), &output.map_err(|source| Error::Start { name: what(), source })?)
    }

    /// Starts one more `drover`, which is [`Installation::replica`] with the next number.
    pub fn start_drover(&mut self) -> Result<()> {
        self.start_drover_as(&format!("drover-{}", self.started + 1))
    }

    /// Starts one more `drover` with this name in the leader Lease.
    pub fn start_drover_as(&mut self, identity: &str) -> Result<()> {
        let directory = self.management.directory();
        let kubeconfig = directory.join("drover.kubeconfig");
        let token = self.kubectl(&["create", "token", "drover", "--namespace", DROVER_NAMESPACE, "--duration=2h"])?;
        let direct = || self.management.kubeconfig_with_token(token.trim());
        let text = self.way.as_ref().map_or_else(direct, |proxy| proxy.kubeconfig(token.trim()));
        std::fs::write(&kubeconfig, text).on("write", &kubeconfig)?;
        self.started += 1;
        let mut arguments = vec!["run".to_owned(), "--kubeconfig".to_owned(), kubeconfig.display().to_string()];
        arguments.extend(["--admin-address=127.0.0.1:0", "--log-format=text"].map(str::to_owned));
        arguments.push(format!("--identity={identity}"));
        if !self.name.is_empty() {
            arguments.push(format!("--installation={}", self.name));
        }
        let specification = Specification {
            name: "drover".to_owned(),
            program: drover_binary()?,
            arguments,
            environment: self.environment.clone(),
            log: directory.join(format!("drover-{}.log", self.started)),
        };
        self.replicas.push(Process::start(&specification)?);
        Ok(())
    }

    /// A `drover` process that was started.
    pub fn replica(&mut self, number: usize) -> Result<&mut Process> {
        self.replicas.get_mut(number).ok_or_else(|| Error::NoSuchCluster { name: format!("drover {number}") })
    }

    /// Ends the newest `drover` as Kubernetes does, or kills it.
    pub async fn stop_drover(&mut self, how: End) -> Result<()> {
        let Some(mut process) = self.replicas.pop() else { return Ok(()) };
        match how {
            End::Terminate => process.terminate().await,
            End::Kill => process.kill().await,
        }
    }

    /// Splits it up, for those who leave it running.
    pub(crate) fn into_parts(self) -> (Vec<ControlPlane>, Vec<Process>) {
        let planes = std::iter::once(self.management).chain(self.downstream.into_values());
        (planes.collect(), self.replicas)
    }

    /// The log of the newest `drover`, for messages of failed tests.
    #[must_use]
    pub fn drover_log(&self) -> String {
        self.replicas.last().map(Process::log_tail).unwrap_or_default()
    }
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}

async fn start_clusters(plan: &Plan) -> Result<BTreeMap<String, ControlPlane>> {
    let mut names = plan.clusters.iter();
    let first = if plan.shared_etcd { names.next() } else { None };
    let mut started = Vec::new();
    if let Some(name) = first {
        started.push(start_downstream(plan.options(name), plan.nodes).await?);
    }
    let storage = |name: &str| started.first().map_or(Storage::Own, |first| first.shared_storage(name));
    let others: Vec<_> = names.map(|name| Options { storage: storage(name), ..plan.options(name) }).collect();
    let nodes = plan.nodes;
    let others: Vec<ControlPlane> =
        stream::iter(others)
            .map(|options| async move {
                tokio::spawn(start_downstream(options, nodes)).await.map_err(|_| Error::TaskEnded)?
            })
            .buffer_unordered(STARTS_AT_ONCE)
            .try_collect()
            .await?;
    started.extend(others);
    Ok(started.into_iter().map(|plane| (plane.name().to_owned(), plane)).collect())
}

async fn start_downstream(options: Options, nodes: usize) -> Result<ControlPlane> {
    let mut plane = ControlPlane::start(options).await?;
    if nodes > 0 {
        plane.start_kwok(nodes).await?;
    }
    Ok(plane)
}

/// Applies YAML or JSON to a control plane.
pub fn apply_to(plane: &ControlPlane, text: &str) -> Result<()> {
    let mut command = plane.kubectl()?;
    command.args(["apply", "--server-side", "--filename=-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let failed = |source| Error::Start { name: "kubectl apply".to_owned(), source };
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(text.as_bytes()).map_err(failed)?;
    }
    finished("kubectl apply", &child.wait_with_output().map_err(failed)?).map(drop)
}

/// Makes the service account `account` in a namespace of a control plane a cluster administrator, and returns a new token of
/// it. Both are created when they are not there.
pub fn administrator_token(plane: &ControlPlane, namespace: &str, account: &str) -> Result<String> {
    let metadata = json!({"name": account, "namespace": namespace});
    let subject = json!({"kind": "ServiceAccount", "name": account, "namespace": namespace});
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"});
    for object in [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": account},
            "subjects": [subject], "roleRef": role,
        }),
    ] {
        apply_to(plane, &object.to_string())?;
    }
    let token = kubectl_on(plane, &["create", "token", account, "--namespace", namespace, "--duration=2h"])?;
    Ok(token.trim().to_owned())
}

/// Runs kubectl on a control plane and returns what it prints.
pub fn kubectl_on(plane: &ControlPlane, arguments: &[&str]) -> Result<String> {
    let what = || format!("kubectl {}", arguments.join(" "));
    let output = plane.kubectl()?.args(arguments).output().map_err(|source| Error::Start { name: what(), source })?;
    finished(&what(), &output)
}

pub(crate) fn finished(what: &str, output: &std::process::Output) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Error::Command { command: what.to_owned(), status: output.status.to_string(), output: text })
}

/// The folder of the charts.
#[must_use]
pub fn charts() -> PathBuf {
    repository().join("charts")
}

/// The folder that all of this lies in.
#[must_use]
pub fn repository() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// The folder of the chart `name`.
#[must_use]
pub fn chart(name: &str) -> String {
    charts().join(name).display().to_string()
}

/// The file `name` of the folder `examples`.
pub fn example(name: &str) -> Result<String> {
    let path = repository().join("examples").join(name);
    std::fs::read_to_string(&path).on("read", &path)
}

/// `DROVER_BINARY`, or what this very build made.
pub fn drover_binary() -> Result<PathBuf> {
    if let Some(path) = variable("DROVER_BINARY") {
        return Ok(path.into());
    }
    let own = std::env::current_exe().map_err(|source| Error::Start { name: "drover".to_owned(), source })?;
    let beside = own.ancestors().skip(1).take(2).map(|folder| folder.join("drover"));
    beside.into_iter().find(|path| path.is_file()).ok_or(Error::NoDrover)
}

/// Asks again until there is an answer, for at most `limit`.
pub async fn eventually<T>(what: &str, limit: Duration, mut ask: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    const PAUSE: Duration = Duration::from_millis(100);
    let started = Instant::now();
    loop {
        let answer = ask().await;
        match answer {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) | Err(_) if started.elapsed() < limit => tokio::time::sleep(PAUSE).await,
            Ok(None) => return Err(Error::NeverHappened { what: what.to_owned(), seconds: limit.as_secs() }),
            Err(error) => return Err(error),
        }
    }
}
