//! Puts everything together and runs it.

use std::{
    collections::BTreeSet,
    io,
    path::Path,
    process,
    sync::{Arc, Mutex},
    time::Duration,
};

use clap::ValueEnum as _;
use drover_cluster::ClusterOperator;
use drover_fleet::{Fleet, Management, Needs};
use drover_process::{
    admin::{AdminServer, AdminState, Gate, Readiness},
    lease::{LeaderLease, LeaseError, LeaseSettings},
    shutdown::stop_on_signal,
    telemetry::{self, TelemetryError, TelemetrySettings},
};
use drover_project::ProjectOperator;
use drover_runtime::{
    Cache, Context, DriveSettings, Driver, LabelQuery, Operator, events::EventSink, metrics::Meters, request::request,
};
use kube::{
    Client, Config,
    config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    command_line::{LogFormat, OperatorName, RunArguments},
    identity::cluster_uid,
    rights::rights,
};

/// What keeps `drover run` from doing its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("the kubeconfig of the management cluster cannot be used: {0}")]
    Kubeconfig(#[from] KubeconfigError),
    #[error("the management cluster is not known: {0}; set --kubeconfig, or run in a cluster")]
    NoCluster(#[from] InferConfigError),
    #[error("the connection to the management cluster cannot be prepared: {0}")]
    Client(#[from] kube::Error),
    #[error("the admin port {0} cannot be used: {1}; choose another with --admin-address")]
    Admin(std::net::SocketAddr, io::Error),
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error("leadership was lost; another replica takes over, and a restart makes this one a standby")]
    LeadershipLost,
    #[error("a part of Drover ended by itself, which is a defect; see the log")]
    TaskEnded,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Between two attempts to reach the management API server at the start.
const CONTACT_PAUSE: Duration = Duration::from_secs(2);
/// How long the rest of the process may take to end.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(1);

/// Runs until a signal asks to stop.
pub(crate) fn run(arguments: &RunArguments) -> Result<(), RunError> {
    let _telemetry = telemetry::init(&telemetry_settings(arguments))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(serve(arguments));
    // What still runs holds no state that matters: every action may be cut off anywhere.
    runtime.shutdown_timeout(SHUTDOWN_LIMIT);
    outcome
}

async fn serve(arguments: &RunArguments) -> Result<(), RunError> {
    let stop = stop_on_signal()?;
    let registry = Arc::new(Mutex::new(Registry::default()));
    let readiness = Readiness::default();
    let contact = readiness.wait_for("the management API server");
    let mut tasks = JoinSet::new();
    serve_admin(arguments, &registry, &readiness, &stop, &mut tasks)?;

    let management = management(arguments.kubeconfig.as_deref()).await?;
    let client = management.client.clone();
    if stop.run_until_cancelled(first_contact(&client)).await.is_none() {
        return Ok(());
    }
    contact.open();
    let Some(installation) = stop.run_until_cancelled(installation(arguments, &client)).await else {
        return Ok(());
    };
    let Some(mut leadership) = LeaderLease::acquire(client.clone(), lease(arguments), stop.clone()).await? else {
        return Ok(());
    };

    start(management, arguments, &installation, &registry, &readiness, &mut tasks);
    tracing::info!(operators = ?arguments.operators, namespace = arguments.namespace, "leading");
    let outcome = tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        () = leadership.lost() => Err(RunError::LeadershipLost),
        _ = tasks.join_next() => Err(RunError::TaskEnded),
    };
    // Nobody may act any more when the next leader begins.
    tasks.shutdown().await;
    // What was lost is not ours to give back, and who tries may still be there when the next leader begins.
    if !matches!(outcome, Err(RunError::LeadershipLost)) {
        leadership.release().await;
    }
    outcome
}

fn lease(arguments: &RunArguments) -> LeaseSettings {
    let timers = &arguments.timers;
    LeaseSettings {
        duration: timers.leader_elect_lease_duration,
        renew_deadline: timers.leader_elect_renew_deadline,
        retry_period: timers.leader_elect_retry_period,
        ..LeaseSettings::new(&arguments.namespace, part_name(&arguments.operators), identity(arguments))
    }
}

fn telemetry_settings(arguments: &RunArguments) -> TelemetrySettings {
    let format = match arguments.log_format {
        LogFormat::Auto => telemetry::LogFormat::Auto,
        LogFormat::Text => telemetry::LogFormat::Text,
        LogFormat::Json => telemetry::LogFormat::Json,
    };
    TelemetrySettings { filter: arguments.log.clone(), format, otlp_endpoint: arguments.otlp_endpoint.clone() }
}

fn serve_admin(
    arguments: &RunArguments,
    registry: &Arc<Mutex<Registry>>,
    readiness: &Readiness,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Result<(), RunError> {
    let failed = |error| RunError::Admin(arguments.admin_address, error);
    let server = AdminServer::bind(arguments.admin_address).map_err(failed)?;
    tracing::info!(address = %server.local_addr()?, "admin port");
    let state = AdminState { readiness: readiness.clone(), registry: Arc::clone(registry) };
    let stop = stop.clone();
    tasks.spawn(async move {
        if let Err(error) = server.serve(state, stop).await {
            tracing::error!(%error, "the admin port failed");
        }
    });
    Ok(())
}

async fn management(kubeconfig: Option<&Path>) -> Result<Management, RunError> {
    let mut config = match kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path)?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?
        }
        None => Config::infer().await?,
    };
    config.default_retry = false;
    Ok(Management::connect(&config)?)
}

/// The name under which clusters are claimed: the one that was given, else the identity of the management cluster.
async fn installation(arguments: &RunArguments, client: &Client) -> String {
    if let Some(name) = arguments.installation.clone().filter(|name| !name.is_empty()) {
        return name;
    }
    loop {
        match cluster_uid(client).await {
            Ok(uid) => return uid,
            Err(error) => {
                tracing::warn!(%error, cause = ?error, "the name of this installation is not known yet");
                tokio::time::sleep(CONTACT_PAUSE).await;
            }
        }
    }
}

/// Waits for the management API server: a replica that cannot reach it is not ready, and says so.
async fn first_contact(client: &Client) {
    while let Err(error) = request("ask the management API server for its version", client.apiserver_version()).await {
        tracing::warn!(%error, cause = ?error, "the management API server does not answer");
        tokio::time::sleep(CONTACT_PAUSE).await;
    }
}

/// What runs these operators is called so, its Lease and its roles: replicas that run the same operators compete for one Lease,
/// Deployments that run a part each do not.
pub(crate) fn part_name(operators: &[OperatorName]) -> String {
    let all: BTreeSet<OperatorName> = OperatorName::value_variants().iter().copied().collect();
    let chosen: BTreeSet<OperatorName> = operators.iter().copied().collect();
    let names = chosen.iter().map(ToString::to_string);
    if chosen == all {
        "drover".to_owned()
    } else {
        std::iter::once("drover".to_owned()).chain(names).collect::<Vec<_>>().join("-")
    }
}

/// The host name is the pod's name; the process id tells replicas on one host apart.
fn identity(arguments: &RunArguments) -> String {
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    arguments.identity.clone().unwrap_or_else(|| format!("{}-{}", host().trim(), process::id()))
}

/// Starts the fleet and the chosen operators.
fn start(
    local: Management,
    arguments: &RunArguments,
    installation: &str,
    registry: &Mutex<Registry>,
    readiness: &Readiness,
    tasks: &mut JoinSet<()>,
) {
    let client = local.client.clone();
    let management = Arc::new(Cache::ungated(client.clone()).with_watch_timeout(arguments.timers.watch_timeout));
    let needs = Needs::of(&rights(&arguments.operators));
    let fleet = Fleet::new(&management, local, &arguments.namespace, installation, needs);
    let meters = Meters::register(&mut registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    let events = EventSink::start(client, "drover");
    let context = || Context {
        management: Arc::clone(&management),
        fleet: fleet.view(),
        events: events.clone(),
        meters: meters.clone(),
        settings: DriveSettings {
            workers: arguments.workers.into(),
            workers_per_place: arguments.workers_per_cluster.into(),
            warm_up: arguments.timers.warm_up,
            resync_interval: arguments.timers.resync_interval,
        },
    };
    let projects = || management.view(&LabelQuery::everything());
    let operators: BTreeSet<OperatorName> = arguments.operators.iter().copied().collect();
    for operator in operators {
        match operator {
            OperatorName::Cluster => {
                drive(ClusterOperator::new(fleet.clone(), projects()), context(), readiness, tasks);
            }
            OperatorName::Project => drive(ProjectOperator::new(projects()), context(), readiness, tasks),
        }
    }
    let gate = readiness.wait_for("the lists of Clusters, Secrets and namespaces");
    let listed = fleet.clone();
    tasks.spawn(open_once(gate, async move { listed.listed().await }, fleet.run()));
}

fn drive<O: Operator>(operator: O, context: Context, readiness: &Readiness, tasks: &mut JoinSet<()>) {
    let objects = context.management.view::<O::Kind>(&LabelQuery::everything());
    let gate = readiness.wait_for(format!("the list of {}s", O::NAME));
    let driver = Driver::new(operator, objects.clone(), context);
    tasks.spawn(open_once(gate, async move { objects.live().await }, driver.run()));
}

/// Does `work`, and opens `gate` once `ready` says so.
async fn open_once(gate: Gate, ready: impl Future<Output = ()>, work: impl Future<Output = ()>) {
    let open = async {
        ready.await;
        gate.open();
        std::future::pending::<()>().await;
    };
    tokio::select! { () = open => {}, () = work => {} }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_compete_for_a_lease_only_when_they_run_the_same_operators() {
        use OperatorName::{Cluster, Project};
        for (operators, lease) in [
            (OperatorName::value_variants().to_vec(), "drover"),
            ([&[Project], OperatorName::value_variants()].concat(), "drover"),
            (vec![Project], "drover-project"),
            (vec![Cluster, Cluster], "drover-cluster"),
        ] {
            assert_eq!(part_name(&operators), lease, "{operators:?}");
        }
    }
}
