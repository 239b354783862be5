//! Puts everything together and runs it.

use std::{io, path::Path, sync::Arc, time::Duration};

use drover_cluster::ClusterOperator;
use drover_fleet::Fleet;
use drover_project::ProjectOperator;
use drover_runtime::{Cache, Context, DriveSettings, Driver, LabelQuery, Operator, events::EventSink, metrics::Meters};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::task::JoinSet;

use crate::command_line::{OperatorName, RunArguments};

/// What keeps `drover` from doing what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("the kubeconfig of the management cluster cannot be used: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    #[error("the management cluster is not known: {0}; set --kubeconfig, or run in a cluster")]
    NoCluster(#[from] kube::config::InferConfigError),
    #[error("the connection to the management cluster cannot be prepared: {0}")]
    Client(#[from] kube::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
}

pub(crate) fn run(arguments: RunArguments) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(arguments))?;
    // What still runs holds no state that matters: every action may be cut off anywhere.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

async fn serve(arguments: RunArguments) -> Result<(), RunError> {
    let client = management_client(arguments.kubeconfig.as_deref()).await?;
    let mut tasks = JoinSet::new();
    start(&client, &arguments, &mut tasks);
    tokio::signal::ctrl_c().await?;
    Ok(())
}

async fn management_client(kubeconfig: Option<&Path>) -> Result<Client, RunError> {
    let mut config = match kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path)?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?
        }
        None => Config::infer().await?,
    };
    config.default_retry = false;
    Ok(drover_fleet::connect(&config)?)
}

/// Starts the fleet and the chosen operators.
fn start(client: &Client, arguments: &RunArguments, tasks: &mut JoinSet<()>) {
    let management = Arc::new(Cache::ungated(client.clone()));
    let fleet = Fleet::new(Arc::clone(&management), &arguments.namespace);
    let mut registry = prometheus_client::registry::Registry::default();
    let meters = Meters::register(&mut registry);
    let context = || Context {
        management: Arc::clone(&management),
        fleet: fleet.view(),
        events: EventSink::start(client.clone(), "drover"),
        meters: meters.clone(),
        settings: DriveSettings {
            workers: arguments.workers.into(),
            workers_per_place: arguments.workers_per_cluster.into(),
            ..DriveSettings::default()
        },
    };
    for operator in &arguments.operators {
        match operator {
            OperatorName::Cluster => drive(ClusterOperator::new(fleet.clone()), context(), tasks),
            OperatorName::Project => drive(ProjectOperator, context(), tasks),
        }
    }
    tasks.spawn(fleet.run());
}

fn drive<O: Operator>(operator: O, context: Context, tasks: &mut JoinSet<()>) {
    let objects = context.management.view::<O::Kind>(&LabelQuery::everything());
    tasks.spawn(Driver::new(operator, objects, context).run());
}
