//! `drover import`: brings a cluster in with the rights of the person who asks, whatever that person's authentication is.
//!
//! Downstream it makes a `ServiceAccount` with exactly the rights that Drover's crates state, and a token for it; in the
//! management cluster a kubeconfig Secret with that token, and the Cluster. It may be repeated: that refreshes the rights.

mod objects;

use std::{path::Path, time::Duration};

use drover_crds::Cluster;
use drover_runtime::{ApiError, request::request};
use k8s_openapi::{
    ByteString,
    api::core::v1::{Namespace, Secret},
};
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
    core::gvk::ParseGroupVersionError,
};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::command_line::ImportArguments;
use objects::Access;
pub(crate) use objects::{LABEL, Names};

/// Who applies what an import makes.
const FIELD_MANAGER: &str = "drover-import";
/// How long the token controller of the cluster may take.
const TOKEN_LIMIT: Duration = Duration::from_secs(30);
const TOKEN_PAUSE: Duration = Duration::from_millis(300);

/// What keeps a cluster from being imported or detached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error("{0}: {1}")]
    Kubeconfig(&'static str, KubeconfigError),
    #[error("{0}: the connection cannot be prepared: {1}")]
    Client(&'static str, kube::Error),
    #[error("{0}: {1}")]
    Request(&'static str, ApiError),
    #[error(
        "the context {0} leads to the management cluster itself: apply a Cluster named `local` with `connection: {{local: {{}}}}` instead"
    )]
    ManagementCluster(String),
    #[error(
        "the Cluster {name} stands for another cluster (UID {known}, this one has {found}): choose another --name, or detach that one first"
    )]
    AnotherCluster { name: String, known: String, found: String },
    #[error(
        "the Secret {namespace}/{name} was not made by an import: choose another --name, or delete it if nobody needs it"
    )]
    ForeignSecret { namespace: String, name: String },
    #[error("{0}")]
    Input(String),
    #[error(
        "the Secret drover-system/{0} in the cluster got no token within 30 s: its kube-controller-manager makes it; is that running?"
    )]
    NoToken(String),
    #[error("the Cluster {name} is not gone in time: {why}")]
    StillThere { name: String, why: String },
    #[error(
        "somebody made the Cluster {0} again: remove it from where it comes from, for example from Git, and detach it again"
    )]
    MadeAgain(String),
    #[error(transparent)]
    Object(#[from] serde_json::Error),
    #[error(transparent)]
    Kind(#[from] ParseGroupVersionError),
    #[error(transparent)]
    Yaml(#[from] serde_yaml::Error),
}

/// Words for the two clusters in messages.
pub(crate) const HERE: &str = "management cluster";
pub(crate) const THERE: &str = "cluster to import";

/// Imports one cluster.
pub(crate) async fn import(arguments: &ImportArguments) -> Result<(), ImportError> {
    let person = read_kubeconfig(arguments.kubeconfig.as_deref(), THERE)?;
    let there = client(person.clone(), Some(&arguments.context), THERE).await?;
    let here = read_kubeconfig(arguments.management_kubeconfig.as_deref(), HERE)?;
    let here = client(here, arguments.management_context.as_deref(), HERE).await?;
    let (uid, own_uid) = (uid(&there, THERE).await?, uid(&here, HERE).await?);
    if uid == own_uid {
        return Err(ImportError::ManagementCluster(arguments.context.clone()));
    }
    refuse_another(&here, arguments, &uid).await?;

    let names = Names::of(arguments.installation.as_deref().unwrap_or(&own_uid)).map_err(ImportError::Input)?;
    apply_downstream(&there, &names).await?;
    let (token, authority) = token(&there, &names).await?;
    let access =
        Access::of(&person, &arguments.context, arguments.server.as_deref(), authority).map_err(ImportError::Input)?;
    let half =
        objects::management_half(&arguments.name, &arguments.namespace, &access.kubeconfig(&arguments.name, &token));
    if !arguments.apply {
        eprintln!("drover: what follows holds a credential of the cluster; `--apply` applies it without showing it");
        for object in &half {
            print!("---\n{}", serde_yaml::to_string(object)?);
        }
        return Ok(());
    }
    for object in half {
        apply(&here, HERE, &object).await?;
    }
    eprintln!("drover: the Cluster {0} is applied; see `kubectl get cluster.drover.dev {0}`", arguments.name);
    Ok(())
}

pub(crate) fn read_kubeconfig(path: Option<&Path>, which: &'static str) -> Result<Kubeconfig, ImportError> {
    path.map_or_else(Kubeconfig::read, Kubeconfig::read_from).map_err(|error| ImportError::Kubeconfig(which, error))
}

pub(crate) async fn client(
    kubeconfig: Kubeconfig,
    context: Option<&str>,
    which: &'static str,
) -> Result<Client, ImportError> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let config = config.map_err(|error| ImportError::Kubeconfig(which, error))?;
    Client::try_from(config).map_err(|error| ImportError::Client(which, error))
}

pub(crate) async fn uid(client: &Client, which: &'static str) -> Result<String, ImportError> {
    let namespaces = Api::<Namespace>::all(client.clone());
    let found = request("get the namespace kube-system", namespaces.get("kube-system")).await;
    Ok(found.map_err(|error| ImportError::Request(which, error))?.uid().unwrap_or_default())
}

/// What stands under these names already must be an earlier import of the same cluster.
async fn refuse_another(here: &Client, arguments: &ImportArguments, found: &str) -> Result<(), ImportError> {
    let failed = |error| ImportError::Request(HERE, error);
    let ImportArguments { name, namespace, .. } = arguments;
    let clusters = Api::<Cluster>::all(here.clone());
    let cluster = request(format!("get the Cluster {name}"), clusters.get_opt(name)).await.map_err(failed)?;
    let known = cluster.and_then(|cluster| cluster.spec.expected_uid.or(cluster.status?.cluster_uid));
    if let Some(known) = known.filter(|known| known != found) {
        return Err(ImportError::AnotherCluster { name: name.clone(), known, found: found.to_owned() });
    }
    let secrets = Api::<Secret>::namespaced(here.clone(), namespace);
    let secret = request(format!("get the Secret {namespace}/{name}"), secrets.get_metadata_opt(name)).await;
    if secret.map_err(failed)?.is_some_and(|secret| secret.labels().get(LABEL.0).is_none_or(|value| value != LABEL.1)) {
        return Err(ImportError::ForeignSecret { namespace: namespace.clone(), name: name.clone() });
    }
    Ok(())
}

async fn apply_downstream(there: &Client, names: &Names) -> Result<(), ImportError> {
    let (namespace, others) = objects::downstream_half(names);
    // Only made, never applied: it may be somebody's whose labels are to stay.
    let namespaces = Api::<Namespace>::all(there.clone());
    match namespaces
        .create(&PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }, &namespace)
        .await
    {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        Err(error) => {
            return Err(ImportError::Request(THERE, ApiError::new("create the namespace drover-system", error)));
        }
    }
    for object in others {
        apply(there, THERE, &object).await?;
    }
    Ok(())
}

/// The token that the cluster made for the `ServiceAccount`, and the authority that signs its API server, in base64.
async fn token(there: &Client, names: &Names) -> Result<(String, Option<String>), ImportError> {
    let secrets = Api::<Secret>::namespaced(there.clone(), drover_crds::names::DROVER_NAMESPACE);
    let started = Instant::now();
    loop {
        let what = format!("get the Secret drover-system/{}", names.account);
        let secret = request(what, secrets.get(&names.account)).await;
        let data = secret.map_err(|error| ImportError::Request(THERE, error))?.data.unwrap_or_default();
        if let Some(ByteString(token)) = data.get("token") {
            let authority = data.get("ca.crt").map(objects::base64).transpose()?;
            return Ok((String::from_utf8_lossy(token).into_owned(), authority));
        }
        if started.elapsed() > TOKEN_LIMIT {
            return Err(ImportError::NoToken(names.account.clone()));
        }
        sleep(TOKEN_PAUSE).await;
    }
}

/// Applies an object without force: a field that somebody else set differently is theirs, and named in the error.
async fn apply(client: &Client, which: &'static str, object: &Value) -> Result<(), ImportError> {
    let object: DynamicObject = serde_json::from_value(object.clone())?;
    let Some(types) = object.types.clone() else { return Ok(()) };
    let kind = ApiResource::from_gvk(&(&types).try_into()?);
    let api = match object.namespace() {
        Some(namespace) => Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &kind),
        None => Api::all_with(client.clone(), &kind),
    };
    let name = object.name_any();
    let (parameters, patch) = (PatchParams::apply(FIELD_MANAGER), Patch::Apply(&object));
    let call = api.patch(&name, &parameters, &patch);
    request(format!("apply {} {name}", types.kind), call).await.map_err(|error| ImportError::Request(which, error))?;
    eprintln!("drover: {which}: {} {name} applied", types.kind);
    Ok(())
}
