//! A rollout to thousands of clusters: the real operator of `MultiClusterApp`s, on a real management cluster with the admission policies and
//! the rights that the chart gives it, over links that are made up. What stands for the operator of `CatalogApp`s makes the app of each
//! target ready after a random delay, and one of a hundred never.
//!
//! `cargo bench -p drover-e2e --bench rollouts -- --targets 5000`

#![recursion_limit = "256"]

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser as _;
use drover_crds::{CatalogApp, Cluster, MultiClusterApp, MultiClusterAppStatus};
use drover_e2e::bench::{Table, Usage, usage};
use drover_e2e::charts::ChartFiles;
use drover_e2e::control_plane::Components;
use drover_e2e::installation::{DROVER_USER, Installation, Plan};
use drover_e2e::process::{Process, Specification};
use drover_e2e::story::{TEAM, a_cluster, a_deployer, a_namespace, a_packaged_chart, digest};
use drover_e2e::wait::eventually;
use drover_multi_cluster_app::MultiClusterAppOperator;
use drover_runtime::events::EventSink;
use drover_runtime::metrics::Meters;
use drover_runtime::{Cache, ClusterName, ClusterView, Context, DriveSettings, Driver, FleetView, LabelQuery, Link};
use futures::StreamExt as _;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use rand::RngExt as _;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::AbortOnDropHandle;

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

const OPERATOR_NAMESPACE: &str = "drover-system";
const NAME: &str = "web";
/// Of the first ones.
const CANARIES: usize = 50;
const NEVER_READY: usize = 100;
const LATEST: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_mins(30);
const REST: Duration = Duration::from_secs(20);
/// Of the statuses that stand for another operator.
const AT_ONCE: usize = 16;

#[derive(clap::Parser)]
struct Arguments {
    /// Clusters.
    #[arg(long, default_value = "5000")]
    targets: NonZeroUsize,
    /// Runs the operator with this kubeconfig, and measures nothing.
    #[arg(long, hide = true)]
    operator: Option<PathBuf>,
    /// `cargo bench` says so.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match &arguments.operator {
            Some(kubeconfig) => operator(kubeconfig, arguments.targets.get()).await,
            None => measure(arguments.targets).await,
        }
    })
}

fn cluster_name(number: usize) -> String {
    format!("c-{number:05}")
}

fn is_never_ready(name: &str) -> bool {
    name.rsplit('-')
        .next()
        .and_then(|number| number.parse().ok())
        .is_some_and(|number: usize| number % NEVER_READY == 99)
}

/// The operator, until it is killed. All its links are up.
async fn operator(kubeconfig: &Path, targets: usize) -> Result<()> {
    let config = kube::config::Kubeconfig::read_from(kubeconfig)?;
    let client = Client::try_from(
        kube::Config::from_custom_kubeconfig(config, &kube::config::KubeConfigOptions::default()).await?,
    )?;
    let management = Arc::new(Cache::ungated(client.clone()));
    let link = Link::Connected(Arc::new(Cache::ungated(client.clone())));
    let view = |number: usize| -> Result<_> {
        let mut object: Cluster = serde_json::from_value(a_cluster(&cluster_name(number)))?;
        let stage = if number < CANARIES { "canary" } else { "everywhere" };
        object.labels_mut().insert("stage".to_owned(), stage.to_owned());
        object.metadata.uid = Some(number.to_string());
        let name = ClusterName::from(&*object.name_any());
        Ok((name, ClusterView { object: Arc::new(object), link: link.clone(), reports: 1 }))
    };
    let clusters = (0..targets).map(view).collect::<Result<BTreeMap<_, _>>>()?;
    let namespaces = BTreeMap::from([(TEAM.to_owned(), BTreeMap::new())]);
    let fleet = FleetView::new(clusters, namespaces, true)
        .with_operator_namespace(OPERATOR_NAMESPACE)
        .with_installation("bench");
    let (_fleet, fleet) = watch::channel(fleet);
    let context = Context {
        management: Arc::clone(&management),
        fleet,
        events: EventSink::start(client, "drover"),
        meters: Meters::register(&mut prometheus_client::registry::Registry::default()),
        settings: DriveSettings::default(),
    };
    let objects = management.informer::<MultiClusterApp>(&LabelQuery::everything());
    Driver::new(MultiClusterAppOperator::new(None, None), objects, context).run().await;
    Ok(())
}

async fn measure(targets: NonZeroUsize) -> Result<()> {
    let plan =
        Plan { clusters: Vec::new(), components: Components::ApiserverOnly, nodes: 0, audit: true, shared_etcd: true };
    let bench = Bench::start(Installation::start(&plan).await?, targets).await?;
    let _fakes = bench.make_ready();
    let mut table = Table::new(format!(
        "A MultiClusterApp on {targets} clusters in two stages; the app of each is ready after 0 to {} s, one of {NEVER_READY} never",
        LATEST.as_secs()
    ));
    let mut process = bench.operator()?;
    bench.settled().await;
    let idle = usage(&process)?;
    bench.installs(&mut table, &process, idle).await?;
    bench.rests(&mut table, &process).await?;
    bench.upgrades_with_a_restart(&mut table, &mut process).await?;
    table.print();
    Ok(())
}

struct Bench {
    installation: Installation,
    targets: NonZeroUsize,
    client: Client,
    chart: ChartFiles,
}

impl Bench {
    async fn start(installation: Installation, targets: NonZeroUsize) -> Result<Self> {
        let (client, chart) = (installation.management.client(), ChartFiles::of("tiny")?);
        installation.apply(&a_namespace(TEAM)).await?;
        installation.apply(&a_deployer()).await?;
        installation.apply(&a_packaged_chart("charts", &chart)).await?;
        Ok(Self { installation, targets, client, chart })
    }

    /// The policies are in force, and the operator knows them.
    async fn settled(&self) {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }

    fn operator(&self) -> Result<Process> {
        let kubeconfig = self.installation.directory().join("operator.kubeconfig");
        std::fs::write(&kubeconfig, self.installation.management.kubeconfig_for(DROVER_USER, &[])?)?;
        let arguments = vec![
            "--targets".to_owned(),
            self.targets.to_string(),
            "--operator".to_owned(),
            kubeconfig.display().to_string(),
        ];
        let log = self.installation.directory().join("operator.log");
        let program = std::env::current_exe()?;
        Ok(Process::start(&Specification {
            name: "operator".to_owned(),
            program,
            arguments,
            environment: Vec::new(),
            log,
        })?)
    }

    async fn apply(&self, message: &str) -> Result<()> {
        let stages = json!([
            {"name": "canary", "selector": {"matchLabels": {"stage": "canary"}}, "minReady": "1s"},
            {"name": "everywhere", "minReady": "1s", "maxUnavailable": "20%"},
        ]);
        let spec = json!({
            "clusters": {"all": {}},
            "template": {
                "namespace": "team-web", "projectName": "shop", "roleTemplateName": "deployer",
                "chart": {"configMap": {"name": "charts", "key": "chart.tgz", "digest": digest(&self.chart.package()?)}},
                "values": {"message": message, "text": "x".repeat(1_000)},
            },
            "rollout": {"stages": stages},
        });
        let app = json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "MultiClusterApp", "metadata": {"name": NAME, "namespace": TEAM}, "spec": spec,
        });
        Ok(self.installation.apply(&app).await?)
    }

    async fn status(&self) -> Result<MultiClusterAppStatus> {
        let app = Api::<MultiClusterApp>::namespaced(self.client.clone(), TEAM).get(NAME).await?;
        Ok(app.status.unwrap_or_default())
    }

    /// All targets have the revision and are ready that ever will be.
    async fn rolled_out(&self, revision: i64) -> Result<()> {
        let ready = self.targets.get() - self.targets.get() / NEVER_READY;
        self.until(revision, ready, ready).await
    }

    async fn until(&self, revision: i64, updated: usize, ready: usize) -> Result<()> {
        let what = format!("{updated} targets have revision {revision}, and {ready} are ready");
        let is_so = async || {
            let Ok(status) = self.status().await else { return Ok(None) };
            let is_revision = status.target_revision.is_some_and(|target| target.number == revision);
            let [has, are] = status.counts.map_or([0, 0], |counts| [counts.updated, counts.ready]);
            let at_least = |count: i64, least: usize| usize::try_from(count).is_ok_and(|count| count >= least);
            let is_so = is_revision && at_least(has, updated) && at_least(are, ready);
            Ok(is_so.then_some(()))
        };
        Ok(eventually(&what, PATIENCE, is_so).await?)
    }

    /// What stands for the operator of `CatalogApp`s.
    fn make_ready(&self) -> AbortOnDropHandle<()> {
        let client = self.client.clone();
        let fakes = async move {
            let apps = Api::<CatalogApp>::namespaced(client.clone(), TEAM);
            let (mut given, slots) = (HashMap::new(), Arc::new(Semaphore::new(AT_ONCE)));
            let mut changes =
                std::pin::pin!(watcher(apps.clone(), watcher::Config::default()).default_backoff().applied_objects());
            while let Some(change) = changes.next().await {
                let Ok(app) = change else { continue };
                let (name, generation) = (app.name_any(), app.metadata.generation);
                if given.insert(name.clone(), generation) == Some(generation) || is_never_ready(&app.spec.cluster_name)
                {
                    continue;
                }
                let (apps, slots) = (apps.clone(), Arc::clone(&slots));
                let delay = rand::rng().random_range(Duration::ZERO..LATEST);
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    let Ok(_slot) = slots.acquire().await else { return };
                    let status = json!({"status": ready(&app)});
                    let _ = apps.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await;
                });
            }
        };
        AbortOnDropHandle::new(tokio::spawn(fakes))
    }

    /// What the operator wrote since then, by kind.
    fn writes(&self, from: drover_e2e::audit::AuditMark) -> Result<BTreeMap<String, usize>> {
        let mut counts = BTreeMap::new();
        for event in self.installation.management.audit_events_since(from)? {
            if event.user == DROVER_USER && event.changes() {
                let kind = event.kind();
                let refused = if event.code < 300 { String::new() } else { format!(" ({})", event.code) };
                *counts.entry(format!("{} {}{refused}", kind.verb, kind.resource)).or_default() += 1;
            }
        }
        Ok(counts)
    }

    async fn installs(&self, table: &mut Table, process: &Process, idle: Usage) -> Result<()> {
        let (from, started) = (self.installation.management.audit_mark()?, Instant::now());
        self.apply("one").await?;
        self.rolled_out(1).await?;
        let took = started.elapsed();
        let used = usage(process)?;
        let events = 3.0 * as_float(self.targets.get());
        table.row("install: until all are ready that ever will be", seconds(took));
        table.row("install: writes of the operator", told(&self.writes(from)?));
        table.row("install: CPU of the operator", format!("{:.2} s", used.cpu - idle.cpu));
        let each = 1_000.0 * (used.cpu - idle.cpu) / events;
        table.row("install: CPU for each event of an app (created, marked as ours, ready)", format!("{each:.2} ms"));
        table.row("status of the app", format!("{} bytes", serde_json::to_string(&self.status().await?)?.len()));
        let grown = (used.anonymous - idle.anonymous) / as_float(self.targets.get());
        table.row(
            "memory of the operator, and its peak",
            format!("{:.1} MiB, {:.1} MiB", mebibytes(used.anonymous), mebibytes(used.peak)),
        );
        table.row("memory for a target", format!("{:.1} KiB", grown / 1024.0));
        Ok(())
    }

    async fn rests(&self, table: &mut Table, process: &Process) -> Result<()> {
        tokio::time::sleep(REST).await;
        let (from, before) = (self.installation.management.audit_mark()?, usage(process)?);
        tokio::time::sleep(REST).await;
        table.row(format!("writes at rest, in {} s", REST.as_secs()), told(&self.writes(from)?));
        let share = 100.0 * (usage(process)?.cpu - before.cpu) / REST.as_secs_f64();
        table.row("CPU at rest", format!("{share:.2} % of a core"));
        Ok(())
    }

    async fn upgrades_with_a_restart(&self, table: &mut Table, process: &mut Process) -> Result<()> {
        let (from, started) = (self.installation.management.audit_mark()?, Instant::now());
        self.apply("two").await?;
        self.until(2, self.targets.get() / 3, 0).await?;
        process.kill().await?;
        *process = self.operator()?;
        self.rolled_out(2).await?;
        table.row("upgrade with a kill -9 in the middle: until all are ready", seconds(started.elapsed()));
        table.row("upgrade with a kill -9 in the middle: writes", told(&self.writes(from)?));
        Ok(())
    }
}

/// The status of an app that is released as its spec says, and ready.
fn ready(app: &CatalogApp) -> Value {
    let now = drover_runtime::clock::now();
    let now = k8s_openapi::jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string();
    json!({
        "observedGeneration": app.metadata.generation,
        "observedInputs": app.annotations().get("drover.dev/inputs"),
        "applied": {
            "revision": 1, "chartVersion": "1", "chartDigest": "", "inputHash": "", "manifestDigest": "", "objects": 4, "at": now,
        },
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": now,
            "observedGeneration": app.metadata.generation,
        }],
    })
}

fn told(counts: &BTreeMap<String, usize>) -> String {
    let told: Vec<_> = counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn mebibytes(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

#[expect(clippy::cast_precision_loss, reason = "counts of at most some thousands")]
fn as_float(count: usize) -> f64 {
    count as f64
}
