//! Puts everything together and runs it.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use drover_fleet::{Fleet, Management, PrepareError, RequiredPermissions, connect};
use drover_process::{
    admin::{AdminServer, AdminState, Readiness},
    lease::{Election, LeaseError, LeaseSettings},
    shutdown::stop_on_signal,
    telemetry::{self, TelemetryError, TelemetrySettings},
};
use drover_runtime::{
    Cache, DialPolicy, DriveSettings,
    cache::{CacheSettings, ProcessBudget},
    events::EventSink,
    metrics::Meters,
    request::request,
};
use drover_stores::Stores;
use drover_zones::Zones;
use kube::{
    Client, Config,
    config::{InClusterError, KubeConfigOptions, KubeconfigError},
};
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    backups_metric, clusters_metric,
    command_line::{LogFormat, RunArguments, TimerArguments},
    identity::cluster_uid,
    kubeconfig,
    registry::{Operators, Wiring, open_once},
    rendering::Rendering,
    rights::rights,
    role_templates::built_in,
    scans_metric,
};

/// What keeps `drover run` from doing its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("the kubeconfig of the management cluster cannot be used: {0}")]
    Kubeconfig(#[from] KubeconfigError),
    #[error("the management cluster is not known: {0}, and {1}; set --kubeconfig, or run in a cluster")]
    NoCluster(InClusterError, KubeconfigError),
    #[error("the connection to the management cluster cannot be prepared: {0}")]
    Client(#[from] PrepareError),
    #[error("the admin port {0} cannot be used: {1}; choose another with --admin-address")]
    Admin(SocketAddr, io::Error),
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error("leadership was lost; another replica takes over, and a restart makes this one a standby")]
    LeadershipLost,
    #[error("a task of Drover ended by itself, which is a defect; see the log")]
    TaskEnded,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Between two attempts to reach the management API server at the start.
const CONNECT_PAUSE: Duration = Duration::from_secs(2);
/// How long the rest of the process may take to end.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(1);

/// What the command line says, by who needs it.
struct Settings {
    kubeconfig: Option<PathBuf>,
    namespace: String,
    installation: Option<String>,
    operators: Operators,
    admin_address: SocketAddr,
    lease: LeaseSettings,
    addresses: DialPolicy,
    caches: CacheSettings,
    drive: DriveSettings,
    management_roles: BTreeSet<String>,
    built_in_role_templates: bool,
    rendering: Rendering,
    etcd_image: Option<String>,
    scan_image: Option<String>,
}

/// Taken apart without `..`, so that a flag that nothing reads does not compile.
fn settings(arguments: RunArguments) -> (Settings, TelemetrySettings) {
    let RunArguments {
        kubeconfig,
        namespace,
        installation,
        operators,
        admin_address,
        identity,
        log,
        log_format,
        otlp_endpoint,
        workers,
        workers_per_cluster,
        cache_memory_mib,
        management_roles,
        built_in_role_templates,
        helm,
        scratch_folder,
        etcd_image,
        scan_image,
        addresses,
        timers,
    } = arguments;
    let TimerArguments {
        watch_timeout,
        resync_interval,
        warm_up,
        leader_elect_lease_duration,
        leader_elect_renew_deadline,
        leader_elect_retry_period,
    } = timers;
    let operators = Operators::of(&operators);
    let lease = LeaseSettings {
        namespace: namespace.clone(),
        name: operators.process_name(),
        identity: identity.unwrap_or_else(own_identity),
        duration: leader_elect_lease_duration,
        renew_deadline: leader_elect_renew_deadline,
        retry_period: leader_elect_retry_period,
    };
    let drive = DriveSettings {
        workers: workers.into(),
        workers_per_place: workers_per_cluster.into(),
        warm_up,
        resync_interval,
    };
    let process_budget = ProcessBudget::new(usize::from(cache_memory_mib) << 20);
    let caches = CacheSettings { watch_timeout, process_budget };
    let format = match log_format {
        LogFormat::Auto => telemetry::LogFormat::Auto,
        LogFormat::Text => telemetry::LogFormat::Text,
        LogFormat::Json => telemetry::LogFormat::Json,
    };
    let installation = installation.filter(|name| !name.is_empty());
    let addresses = addresses.policy();
    let management_roles = management_roles.into_iter().filter(|name| !name.is_empty()).collect();
    let settings = Settings {
        kubeconfig,
        namespace,
        installation,
        operators,
        admin_address,
        lease,
        addresses,
        caches,
        drive,
        management_roles,
        built_in_role_templates,
        rendering: Rendering { helm, scratch_folder },
        etcd_image: etcd_image.filter(|image| !image.is_empty()),
        scan_image: scan_image.filter(|image| !image.is_empty()),
    };
    (settings, TelemetrySettings { filter: log, format, otlp_endpoint })
}

/// The host name is the pod's name; the process id tells replicas on one host apart.
fn own_identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), process::id())
}

/// Runs until a signal asks to stop.
pub(crate) fn run(arguments: RunArguments) -> Result<(), RunError> {
    let (settings, telemetry) = settings(arguments);
    settings.lease.check()?;
    let _telemetry = telemetry::init(&telemetry)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(serve(settings));
    // What still runs holds no state that matters: every action may be cut off anywhere.
    runtime.shutdown_timeout(SHUTDOWN_LIMIT);
    outcome
}

async fn serve(settings: Settings) -> Result<(), RunError> {
    let stop = stop_on_signal()?;
    let registry = Arc::new(Mutex::new(Registry::default()));
    let readiness = Readiness::default();
    let connected = readiness.wait_for("the management API server");
    let mut tasks = JoinSet::new();
    serve_admin(settings.admin_address, &registry, &readiness, &stop, &mut tasks)?;

    let config = management(settings.kubeconfig.as_deref()).await?;
    let management = Management::connect(&config)?;
    let client = management.client.clone();
    if stop.run_until_cancelled(first_connection(&client)).await.is_none() {
        return Ok(());
    }
    connected.open();
    let installation = installation(settings.installation.as_deref(), &client);
    let Some(installation) = stop.run_until_cancelled(installation).await else {
        return Ok(());
    };
    let connect = || connect(&config, None).map_err(RunError::from);
    let mut election = Election::begin(connect, settings.lease.clone(), stop.clone(), || process::exit(1))?;
    if !election.won().await? {
        return Ok(());
    }

    start(management, &settings, &installation, &registry, &readiness, &mut tasks);
    tracing::info!(operators = ?settings.operators, namespace = settings.namespace, "leading");
    let outcome = tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        () = election.lost() => Err(RunError::LeadershipLost),
        _ = tasks.join_next() => Err(RunError::TaskEnded),
    };
    // No task may act any more when the next leader begins.
    tasks.shutdown().await;
    // A lost Lease is not released, and a process that tries may still run when the next leader begins.
    if !matches!(outcome, Err(RunError::LeadershipLost)) {
        election.release().await;
    }
    outcome
}

fn serve_admin(
    address: SocketAddr,
    registry: &Arc<Mutex<Registry>>,
    readiness: &Readiness,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Result<(), RunError> {
    let failed = |error| RunError::Admin(address, error);
    let server = AdminServer::bind(address).map_err(failed)?;
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

async fn management(path: Option<&Path>) -> Result<Config, RunError> {
    let mut config = match (kubeconfig::read(path), path) {
        (Ok(kubeconfig), _) => Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?,
        (Err(error), Some(_)) => return Err(error.into()),
        (Err(error), None) => Config::incluster().map_err(|in_cluster| RunError::NoCluster(in_cluster, error))?,
    };
    config.default_retry = false;
    Ok(config)
}

/// The name under which clusters are claimed: the one that was given, else the identity of the management cluster.
async fn installation(given: Option<&str>, client: &Client) -> String {
    if let Some(name) = given {
        return name.to_owned();
    }
    loop {
        match cluster_uid(client).await {
            Ok(uid) => return uid,
            Err(error) => {
                tracing::warn!(%error, cause = ?error, "the name of this installation is not known yet");
                tokio::time::sleep(CONNECT_PAUSE).await;
            }
        }
    }
}

/// Waits for the management API server: a replica that cannot reach it is not ready, and says so.
async fn first_connection(client: &Client) {
    while let Err(error) = request("ask the management API server for its version", client.apiserver_version()).await {
        tracing::warn!(%error, cause = ?error, "the management API server does not answer");
        tokio::time::sleep(CONNECT_PAUSE).await;
    }
}

/// Starts the fleet and the chosen operators.
fn start(
    local: Management,
    settings: &Settings,
    installation: &str,
    registry: &Mutex<Registry>,
    readiness: &Readiness,
    tasks: &mut JoinSet<()>,
) {
    let client = local.client.clone();
    let management = Arc::new(Cache::ungated(client.clone()).with_settings(settings.caches.clone()));
    let required = RequiredPermissions::of(&rights(&settings.operators));
    let fleet = Fleet::new(&management, local, &settings.namespace, installation, required, settings.addresses);
    let mut registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
    let meters = Meters::register(&mut registry);
    clusters_metric::register(&mut registry, &management);
    backups_metric::register(&mut registry, &management, &settings.operators);
    scans_metric::register(&mut registry, &management, &settings.operators);
    drop(registry);
    let events = EventSink::start(client, "drover");
    let (drive, management_roles) = (settings.drive.clone(), settings.management_roles.clone());
    let shipped = if settings.built_in_role_templates { built_in() } else { Vec::new() };
    let (renderer, sources) = (settings.rendering.renderer(), settings.rendering.sources(settings.addresses));
    let (stores, etcd_image) = (Stores::new(settings.addresses), settings.etcd_image.clone());
    let wiring = Wiring {
        management,
        fleet,
        events,
        meters,
        settings: drive,
        management_roles,
        shipped,
        renderer,
        sources,
        stores,
        zones: Zones::new(settings.addresses),
        etcd_image,
        scan_image: settings.scan_image.clone(),
    };
    for operator in settings.operators.iter() {
        operator.start(&wiring, readiness, tasks);
    }
    let fleet = wiring.fleet;
    let gate = readiness.wait_for("the lists of Clusters, Secrets and namespaces");
    let listed = fleet.clone();
    tasks.spawn(open_once(gate, async move { listed.listed().await }, fleet.run()));
}
