//! `drover detach`: takes clusters out of the fleet, and what an import made for them.

use std::time::Duration;

use drover_crds::Cluster;
use drover_runtime::{ApiError, request::request};
use k8s_openapi::{
    api::{
        core::v1::{Secret, ServiceAccount},
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    },
    serde::de::DeserializeOwned,
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DeleteParams, ListParams},
};
use tokio::time::{Instant, sleep};

use crate::{
    command_line::DetachArguments,
    import::{HERE, ImportError, LABEL, Names, THERE, client, read_kubeconfig, uid},
};

/// Between two looks at what is still there.
const PAUSE: Duration = Duration::from_secs(1);

/// By these labels and annotations Argo CD and Flux say that they applied an object.
const GITOPS: [(&str, &str); 4] = [
    ("argocd.argoproj.io/tracking-id", "Argo CD"),
    ("argocd.argoproj.io/instance", "Argo CD"),
    ("kustomize.toolkit.fluxcd.io/name", "Flux"),
    ("helm.toolkit.fluxcd.io/name", "Flux"),
];

/// Takes the clusters out that were named, or all.
pub(crate) async fn detach(arguments: &DetachArguments) -> Result<(), ImportError> {
    if arguments.context.is_some() && arguments.names.len() > 1 {
        return Err(ImportError::Input("--context is for one Cluster at a time".to_owned()));
    }
    let kubeconfig = read_kubeconfig(arguments.management_kubeconfig.as_deref(), HERE)?;
    let here = client(kubeconfig, arguments.management_context.as_deref(), HERE).await?;
    let there = match &arguments.context {
        Some(context) => {
            Some(client(read_kubeconfig(arguments.kubeconfig.as_deref(), THERE)?, Some(context), THERE).await?)
        }
        None => None,
    };
    let clusters = Api::<Cluster>::all(here.clone());
    let chosen = chosen(&clusters, arguments).await?;
    if let (Some(there), [cluster]) = (&there, chosen.as_slice()) {
        refuse_another(there, cluster).await?;
    }
    for cluster in &chosen {
        announce(cluster);
        delete(&clusters, HERE, &cluster.name_any()).await?;
    }
    wait(&clusters, &chosen, arguments.timeout).await?;
    let secrets = Api::<Secret>::namespaced(here.clone(), &arguments.namespace);
    for cluster in &chosen {
        delete_imported(&secrets, HERE, &cluster.name_any()).await?;
    }
    let Some(there) = there else {
        if !chosen.is_empty() {
            eprintln!(
                "drover: `drover detach NAME --context CONTEXT` also removes what an import made in that cluster"
            );
        }
        return Ok(());
    };
    let installation = match &arguments.installation {
        Some(name) => name.clone(),
        None => uid(&here, HERE).await?,
    };
    delete_downstream_half(&there, &Names::of(&installation).map_err(ImportError::Input)?).await
}

/// The Clusters to take out. One that is gone already is none: its other half may still be there.
async fn chosen(clusters: &Api<Cluster>, arguments: &DetachArguments) -> Result<Vec<Cluster>, ImportError> {
    let all = request("list the Clusters", clusters.list(&ListParams::default())).await;
    let all = all.map_err(|error| ImportError::Request(HERE, error))?.items;
    for name in &arguments.names {
        if !all.iter().any(|cluster| cluster.name_any() == *name) {
            eprintln!("drover: there is no Cluster {name}");
        }
    }
    Ok(all.into_iter().filter(|cluster| arguments.all || arguments.names.contains(&cluster.name_any())).collect())
}

/// The context must lead to the cluster that is taken out.
async fn refuse_another(there: &Client, cluster: &Cluster) -> Result<(), ImportError> {
    let known = cluster.status.as_ref().and_then(|status| status.cluster_uid.clone());
    let found = uid(there, THERE).await?;
    match known.filter(|known| *known != found) {
        Some(known) => Err(ImportError::AnotherCluster { name: cluster.name_any(), known, found }),
        None => Ok(()),
    }
}

fn announce(cluster: &Cluster) {
    let name = cluster.name_any();
    eprintln!("drover: the Cluster {name} is deleted with the policy {:?}", cluster.spec.deletion_policy);
    if let Some(tool) = gitops(cluster) {
        eprintln!("drover: {tool} applied the Cluster {name} and may make it again: remove it from Git as well");
    }
}

/// Which of these tools applied the object, if one did.
fn gitops(cluster: &Cluster) -> Option<&'static str> {
    let has = |key: &str| cluster.labels().contains_key(key) || cluster.annotations().contains_key(key);
    GITOPS.iter().find(|(key, _)| has(key)).map(|(_, tool)| *tool)
}

/// Waits until the Clusters are gone.
async fn wait(clusters: &Api<Cluster>, chosen: &[Cluster], limit: Duration) -> Result<(), ImportError> {
    let started = Instant::now();
    for cluster in chosen {
        let name = cluster.name_any();
        loop {
            let found = request(format!("get the Cluster {name}"), clusters.get_opt(&name)).await;
            let Some(found) = found.map_err(|error| ImportError::Request(HERE, error))? else { break };
            if found.uid() != cluster.uid() {
                return Err(ImportError::MadeAgain(name));
            }
            if started.elapsed() > limit {
                return Err(ImportError::StillThere { name, why: deleting(&found) });
            }
            sleep(PAUSE).await;
        }
        eprintln!("drover: the Cluster {name} is gone");
    }
    Ok(())
}

fn deleting(cluster: &Cluster) -> String {
    let conditions = cluster.status.iter().flat_map(|status| &status.conditions);
    conditions
        .filter(|condition| condition.type_ == "Deleting")
        .map(|condition| condition.message.clone())
        .next()
        .unwrap_or_else(|| "it says nothing of its deletion: is Drover running?".to_owned())
}

async fn delete_downstream_half(there: &Client, names: &Names) -> Result<(), ImportError> {
    let (account, namespace) = (&names.account, drover_crds::names::DROVER_NAMESPACE);
    // The bindings first: a role without a binding grants nothing.
    delete_imported(&Api::<ClusterRoleBinding>::all(there.clone()), THERE, account).await?;
    delete_imported(&Api::<RoleBinding>::namespaced(there.clone(), namespace), THERE, account).await?;
    delete_imported(&Api::<ClusterRole>::all(there.clone()), THERE, account).await?;
    delete_imported(&Api::<Role>::namespaced(there.clone(), namespace), THERE, account).await?;
    delete_imported(&Api::<Secret>::namespaced(there.clone(), namespace), THERE, account).await?;
    delete_imported(&Api::<ServiceAccount>::namespaced(there.clone(), namespace), THERE, account).await
}

/// Deletes an object if an import made it.
async fn delete_imported<K>(api: &Api<K>, which: &'static str, name: &str) -> Result<(), ImportError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let found = request(format!("get the {} {name}", K::kind(&())), api.get_metadata_opt(name)).await;
    let found = found.map_err(|error| ImportError::Request(which, error))?;
    let Some(found) = found else { return Ok(()) };
    if found.labels().get(LABEL.0).is_none_or(|value| value != LABEL.1) {
        eprintln!("drover: {which}: {} {name} was not made by an import, and stays", K::kind(&()));
        return Ok(());
    }
    delete(api, which, name).await
}

async fn delete<K>(api: &Api<K>, which: &'static str, name: &str) -> Result<(), ImportError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    match request(format!("delete the {} {name}", K::kind(&())), api.delete(name, &DeleteParams::default())).await {
        Ok(_) => {
            eprintln!("drover: {which}: {} {name} deleted", K::kind(&()));
            Ok(())
        }
        Err(ApiError::Refused { status, .. }) if status.is_not_found() => Ok(()),
        Err(error) => Err(ImportError::Request(which, error)),
    }
}
