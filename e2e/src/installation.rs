//! Drover itself, running against a management control plane and a few downstream ones.

mod killer;
mod rights;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use drover_crds::names::{DROVER_NAMESPACE, LABEL_CLUSTER};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::control_plane::Storage;
use crate::error::{Error, FileContext, Result};
use crate::http_proxy::HttpProxy;
use crate::objects::{apply_text_to, apply_to};
use crate::pool::{POOL, Pool, Shape};
use crate::process::{Process, Specification};
use crate::story::PROBE_SECONDS;
use crate::tools::variable;
use crate::{Components, ControlPlane, Options};
pub use killer::KILL_AT;
use killer::Killer;
use rights::token;
pub use rights::{administrator_token, downstream_roles, downstream_token, grant_downstream_roles};

/// The user that `drover` is in audit logs: on the management cluster the chart's `ServiceAccount`, with the chart's rights and
/// no others; downstream a certificate of the same name, with the rights of `config/rbac/downstream.yaml` and no others.
pub const DROVER_USER: &str = "system:serviceaccount:drover-system:drover";

/// What the harness says of the chart: nothing runs Pods here, some stories have the Cluster `local`, and each has roles of its own.
pub const CHART_VALUES: &str = "replicaCount=0,local.enabled=true,roleTemplates.create=false";

/// The same as charts of before know it.
const CHART_VALUES_BEFORE: &str = "replicaCount=0,local.enabled=true";

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
    source: Source,
    replicas: Vec<Process>,
    started: usize,
    /// What drover logs and reads.
    scratch: TempDir,
    /// With which clocks `drover` runs; none: with those that it has by default.
    pub timers: Option<Timers>,
    /// Through which `drover` reaches the management cluster; without one, directly.
    pub way: Option<HttpProxy>,
    /// Whether `drover` connects to clusters at addresses of this machine, where all of them are.
    pub allow_local_addresses: bool,
    /// Variables that `drover` is started with besides ours, as names and values.
    pub environment: Vec<(String, String)>,
    killer: Option<Killer>,
    /// Under which clusters are claimed. It outlives the management cluster. Empty: `drover` is given none.
    pub name: String,
}

impl Installation {
    /// Starts the control planes, a few at once, and installs the definitions and Drover's namespace.
    pub async fn start(plan: &Plan) -> Result<Self> {
        let management = tokio::spawn(ControlPlane::start(plan.options("management")));
        let downstream = start_clusters(plan).await?;
        let management = management.await.map_err(|_| Error::TaskEnded)??;
        install_charts(&management, &charts())?;
        Self::of(management, downstream, Source::Started(plan.options("management")))
    }

    /// Takes the control planes from the pool. For other charts than those of this tree they are installed anew.
    pub async fn take(charts: &Path, clusters: &[&str]) -> Result<Self> {
        let pool = Pool::from_environment()?;
        let shape = if charts == self::charts() { Shape::Management } else { Shape::Bare };
        let management = pool.take(shape, "management");
        let downstream = clusters.iter().map(|name| pool.take(Shape::Bare, name));
        let (management, downstream) = futures::try_join!(management, futures::future::try_join_all(downstream))?;
        if shape == Shape::Bare {
            install_charts(&management, charts)?;
        }
        let downstream = downstream.into_iter().map(|plane| (plane.name().to_owned(), plane)).collect();
        let mut installation = Self::of(management, downstream, Source::Pool)?;
        let killer = Killer::from_environment(installation.downstream.values(), installation.directory()).await?;
        if let Some(killer) = &killer {
            installation.way = Some(killer.way_to(&installation.management).await?);
        }
        installation.killer = killer;
        Ok(installation)
    }

    fn of(management: ControlPlane, downstream: BTreeMap<String, ControlPlane>, source: Source) -> Result<Self> {
        Ok(Self {
            management,
            downstream,
            source,
            replicas: Vec::new(),
            started: 0,
            scratch: scratch()?,
            timers: None,
            way: None,
            allow_local_addresses: true,
            environment: Vec::new(),
            killer: None,
            name: DEFAULT_NAME.to_owned(),
        })
    }

    /// A folder for files of this installation, which goes with it.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// Throws the management cluster away and starts an empty one. Drover has to be stopped before.
    pub async fn rebuild_management(&mut self) -> Result<()> {
        self.management = match &self.source {
            Source::Pool => Pool::from_environment()?.take(Shape::Management, "management").await?,
            Source::Started(options) => {
                let management = ControlPlane::start(options.clone()).await?;
                install_charts(&management, &charts())?;
                management
            }
        };
        Ok(())
    }

    /// Puts the kubeconfig of the downstream cluster `name` into a Secret of the same name. Its user may do there what Drover
    /// asks for and nothing else; rights that it lost meanwhile are granted again.
    pub async fn store_kubeconfig(&self, name: &str) -> Result<()> {
        let plane = self.cluster(name)?;
        if let Some(way) = self.killer.as_ref().and_then(|killer| killer.way(name)) {
            let token = downstream_token(plane, DROVER_NAMESPACE, "drover").await?;
            return self.store_secret(name, &way.kubeconfig(&token)).await;
        }
        grant_downstream_roles(plane, DROVER_USER).await?;
        self.store_secret(name, &plane.kubeconfig_for(DROVER_USER, &[])?).await
    }

    /// Puts any text into the Secret `name`, as a kubeconfig of the Cluster of this name.
    pub async fn store_secret(&self, name: &str, kubeconfig: &str) -> Result<()> {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {
                "name": name, "namespace": DROVER_NAMESPACE, "labels": {LABEL_CLUSTER: name},
            },
            "stringData": {"kubeconfig": kubeconfig},
        });
        self.apply(&secret).await
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

    /// Applies an object to the management cluster, as `kubectl apply --server-side` does.
    pub async fn apply(&self, object: &Value) -> Result<()> {
        apply_to(&self.management, object).await
    }

    /// Applies the objects of a YAML or JSON text to the management cluster.
    pub async fn apply_text(&self, text: &str) -> Result<()> {
        apply_text_to(&self.management, text).await
    }

    /// Runs kubectl on the management cluster and returns what it prints.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        kubectl_on(&self.management, arguments)
    }

    /// Runs helm on the management cluster, in Drover's namespace, and returns what it prints.
    pub fn helm(&self, arguments: &[&str]) -> Result<String> {
        helm_on(&self.management, arguments)
    }

    /// Starts one more `drover`, which is [`Installation::replica`] with the next number.
    pub async fn start_drover(&mut self) -> Result<()> {
        self.start_drover_as(&format!("drover-{}", self.started + 1)).await
    }

    /// Starts one more `drover` with this name in the leader Lease.
    pub async fn start_drover_as(&mut self, identity: &str) -> Result<()> {
        let kubeconfig = self.directory().join("drover.kubeconfig");
        let token = token(&self.management, DROVER_NAMESPACE, "drover").await?;
        let direct = || self.management.kubeconfig_with_token(&token);
        let text = self.way.as_ref().map_or_else(direct, |proxy| proxy.kubeconfig(&token));
        std::fs::write(&kubeconfig, text).on("write", &kubeconfig)?;
        self.started += 1;
        let mut arguments = vec!["run".to_owned(), "--kubeconfig".to_owned(), kubeconfig.display().to_string()];
        arguments.extend(["--admin-address=127.0.0.1:0", "--log-format=text"].map(str::to_owned));
        arguments.push(format!("--identity={identity}"));
        if self.allow_local_addresses {
            arguments.push("--allow-local-addresses".to_owned());
        }
        arguments.extend(self.timers.iter().flat_map(Timers::arguments));
        if !self.name.is_empty() {
            arguments.push(format!("--installation={}", self.name));
        }
        let specification = Specification {
            name: "drover".to_owned(),
            program: drover_binary()?,
            arguments,
            environment: self.environment.iter().cloned().chain(self.rendering()).collect(),
            log: self.directory().join(format!("drover-{}.log", self.started)),
        };
        let specification = match &mut self.killer {
            Some(killer) => killer.revived(specification),
            None => specification,
        };
        self.replicas.push(Process::start(&specification)?);
        Ok(())
    }

    /// Where `drover` finds helm, and the folder in which it renders.
    fn rendering(&self) -> Vec<(String, String)> {
        let folder = self.directory().join(format!("render-{}", self.started));
        let helm = self.management.helm().ok().map(|command| command.get_program().to_string_lossy().into_owned());
        let folder = ("DROVER_SCRATCH_FOLDER".to_owned(), folder.display().to_string());
        helm.map(|helm| ("DROVER_HELM".to_owned(), helm)).into_iter().chain([folder]).collect()
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

/// Where the control planes of an installation come from.
enum Source {
    Pool,
    /// Started for it, the management cluster with these options.
    Started(Options),
}

/// The slow clocks of `drover`, as flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// `--watch-timeout`
    pub watch: Duration,
    /// `--resync-interval`
    pub resync: Duration,
    /// Of the leader election: the durations of the Lease, until a leader gives up, and between two attempts.
    pub election: [Duration; 3],
}

impl Timers {
    /// Short enough that a test can wait for all of them twice, and long enough for a machine with more to do.
    pub const SHORT: Self = Self {
        watch: Duration::from_secs(2),
        resync: Duration::from_secs(2),
        // A leader that cannot renew in time ends, and nothing starts it again here: a slow machine holds a request up for seconds.
        election: [Duration::from_secs(12), Duration::from_secs(10), Duration::from_secs(1)],
    };

    /// The period of the slowest of those that make drover look again. Stories probe every [`PROBE_SECONDS`].
    #[must_use]
    pub fn slowest(&self) -> Duration {
        self.watch.max(self.resync).max(Duration::from_secs(PROBE_SECONDS))
    }

    fn arguments(&self) -> Vec<String> {
        let [lease, deadline, retry] = self.election;
        let flags = [
            ("watch-timeout", self.watch),
            ("resync-interval", self.resync),
            ("leader-elect-lease-duration", lease),
            ("leader-elect-renew-deadline", deadline),
            ("leader-elect-retry-period", retry),
        ];
        flags.map(|(name, value)| format!("--{name}={}ms", value.as_millis())).to_vec()
    }
}

/// What a story says at its end in which drover was to be killed at a write: see [`KILL_AT`].
pub const KILLED: &str = "drover was killed at a write";
/// The same when it made fewer writes.
pub const NOT_KILLED: &str = "drover made fewer writes";

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// A folder that goes with the installation, or in a test with the test, so that logs can be shown when it fails.
fn scratch() -> Result<TempDir> {
    let mut folder = TempDir::new().on("create", std::env::temp_dir())?;
    folder.disable_cleanup(variable(POOL).is_some());
    Ok(folder)
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

/// Runs helm on a control plane, in Drover's namespace, and returns what it prints.
fn helm_on(plane: &ControlPlane, arguments: &[&str]) -> Result<String> {
    let what = || format!("helm {}", arguments.join(" "));
    let output = plane.helm()?.args(arguments).args(["--namespace", DROVER_NAMESPACE]).output();
    finished(&what(), &output.map_err(|source| Error::Start { name: what(), source })?)
}

/// Installs the charts of a folder, and waits until the API server serves their kinds.
pub(crate) fn install_charts(plane: &ControlPlane, folder: &Path) -> Result<()> {
    let chart = |name| folder.join(name).display().to_string();
    let values = if folder == charts() { CHART_VALUES } else { CHART_VALUES_BEFORE };
    helm_on(plane, &["install", "drover-crds", &chart("drover-crds"), "--create-namespace"])?;
    helm_on(plane, &["install", "drover", &chart("drover"), "--set", values])?;
    kubectl_on(plane, &["wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"]).map(drop)
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
