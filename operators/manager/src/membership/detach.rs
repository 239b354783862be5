//! `drover detach`: takes clusters out of the fleet, and what an import made for them. It may be repeated: what an earlier run
//! left is found by name, also when the Cluster is gone.

use std::{collections::BTreeSet, time::Duration};

use drover_cluster::ClusterOperator;
use drover_crds::{Cluster, Connection, condition::DELETING, names::DROVER_NAMESPACE};
use drover_runtime::operator::finalizer;
use k8s_openapi::api::{
    core::v1::{Secret, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use kube::{Api, ResourceExt as _, api::ListParams};
use tokio::time::{Instant, sleep};

use super::{
    MembershipError, force,
    objects::{LABEL, Names},
    side::Side,
};
use crate::command_line::{DetachArguments, MembershipArguments};

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
pub(crate) async fn detach(arguments: &DetachArguments) -> Result<(), MembershipError> {
    let DetachArguments { names, all, force, timeout, context, membership, .. } = arguments;
    if context.is_some() && names.len() > 1 {
        return Err(MembershipError::Input("--context is for one Cluster at a time".to_owned()));
    }
    let management = Side::management(&membership.management).await?;
    let installation = installation(&management, membership).await?;
    if *force {
        force::refuse_while_drover_runs(&management).await?;
    }
    let clusters = Api::<Cluster>::all(management.client.clone());
    let (chosen, others): (Vec<_>, Vec<_>) = list(&management, &clusters)
        .await?
        .into_iter()
        .partition(|cluster| *all || names.contains(&cluster.name_any()));
    let downstream = match context {
        Some(context) => Some(downstream_of(membership, context, &chosen, &others).await?),
        None => None,
    };
    for name in names.iter().filter(|name| !chosen.iter().any(|cluster| cluster.name_any() == **name)) {
        say!("there is no Cluster {name}");
    }

    for cluster in &chosen {
        announce(cluster);
        management.delete(&clusters, &cluster.name_any()).await?;
    }
    if *force {
        Box::pin(force::force_detach(&management, arguments, &installation, &chosen, downstream.as_ref())).await?;
    }
    wait(&management, &clusters, &chosen, *timeout).await?;
    delete_secrets(&management, arguments, &others).await?;
    let Some(downstream) = downstream else {
        for cluster in &chosen {
            let name = cluster.name_any();
            say!("`drover detach {name} --context CONTEXT` removes what an import created in the cluster itself");
        }
        return Ok(());
    };
    delete_downstream_half(&downstream, &Names::of(&installation).map_err(MembershipError::Input)?).await
}

/// The name under which clusters are claimed, and after which objects in them are named.
async fn installation(management: &Side, membership: &MembershipArguments) -> Result<String, MembershipError> {
    match membership.installation.clone().filter(|name| !name.is_empty()) {
        Some(name) => Ok(name),
        None => management.uid().await,
    }
}

async fn list(management: &Side, clusters: &Api<Cluster>) -> Result<Vec<Cluster>, MembershipError> {
    Ok(management.ask("list the Clusters", clusters.list(&ListParams::default())).await?.items)
}

/// The cluster behind `context`. It must be the chosen one, and no other may need its credential: a name with a typing error
/// must not cost another cluster its credential.
async fn downstream_of(
    membership: &MembershipArguments,
    context: &str,
    chosen: &[Cluster],
    others: &[Cluster],
) -> Result<Side, MembershipError> {
    let (downstream, _) = Side::downstream(membership, context).await?;
    let found = downstream.uid().await?;
    for cluster in chosen {
        if let Some(known) = known_uid(cluster).filter(|known| **known != found) {
            return Err(MembershipError::AnotherCluster { name: cluster.name_any(), known: known.clone(), found });
        }
    }
    match others.iter().find(|cluster| known_uid(cluster) == Some(&found)) {
        Some(cluster) => {
            Err(MembershipError::StaysInTheFleet { context: context.to_owned(), name: cluster.name_any() })
        }
        None => Ok(downstream),
    }
}

fn known_uid(cluster: &Cluster) -> Option<&String> {
    cluster.status.as_ref()?.cluster_uid.as_ref()
}

fn announce(cluster: &Cluster) {
    let name = cluster.name_any();
    say!("the Cluster {name} is deleted with the policy {:?}", cluster.spec.deletion_policy);
    if let Some(tool) = gitops(cluster) {
        say!("{tool} applied the Cluster {name} and may create it again: remove it from Git as well");
    }
}

/// Which of these tools applied the object, if one did.
fn gitops(cluster: &Cluster) -> Option<&'static str> {
    let has = |key: &str| cluster.labels().contains_key(key) || cluster.annotations().contains_key(key);
    GITOPS.iter().find(|(key, _)| has(key)).map(|(_, tool)| *tool)
}

/// Waits until the Clusters are gone.
async fn wait(
    management: &Side,
    clusters: &Api<Cluster>,
    chosen: &[Cluster],
    limit: Duration,
) -> Result<(), MembershipError> {
    let started = Instant::now();
    for cluster in chosen {
        let name = cluster.name_any();
        let mut reported = None;
        loop {
            let found = management.ask(format!("get the Cluster {name}"), clusters.get_opt(&name)).await?;
            let Some(found) = found else { break };
            if found.uid() != cluster.uid() {
                return Err(MembershipError::MadeAgain(name));
            }
            if started.elapsed() > limit {
                return Err(MembershipError::StillThere { name, why: deleting(&found) });
            }
            let others = others_only(&found);
            if let Some(others) = others.as_ref().filter(|_| reported != others) {
                say!("the Cluster {name} is still there: {others}");
            }
            reported = others;
            sleep(PAUSE).await;
        }
        say!("the Cluster {name} is gone");
    }
    Ok(())
}

/// What keeps a Cluster that Drover is done with.
fn others_only(cluster: &Cluster) -> Option<String> {
    let others = force::others(&cluster.metadata, &finalizer::<ClusterOperator>());
    let only = !others.is_empty() && others.len() == cluster.finalizers().len();
    only.then(|| format!("it waits for finalizers that are not Drover's: {}", others.join(", ")))
}

fn deleting(cluster: &Cluster) -> String {
    if let Some(others) = others_only(cluster) {
        return others;
    }
    let mut conditions = cluster.status.iter().flat_map(|status| &status.conditions);
    conditions.find(|condition| condition.type_ == DELETING).map_or_else(
        || "its status has no condition Deleting; is Drover running?".to_owned(),
        |condition| condition.message.clone(),
    )
}

/// The kubeconfigs that imports stored for what was named, unless a Cluster that stays uses one of them.
async fn delete_secrets(
    management: &Side,
    arguments: &DetachArguments,
    others: &[Cluster],
) -> Result<(), MembershipError> {
    let secrets = Api::<Secret>::namespaced(management.client.clone(), &arguments.membership.namespace);
    let names = if arguments.all {
        let imported = ListParams::default().labels(&format!("{}={}", LABEL.0, LABEL.1));
        let found = management.ask("list the Secrets of imports", secrets.list_metadata(&imported)).await?;
        found.items.iter().map(kube::ResourceExt::name_any).collect()
    } else {
        arguments.names.clone()
    };
    let needed: BTreeSet<_> = others.iter().filter_map(secret_of).collect();
    for name in names.iter().filter(|name| !needed.contains(name.as_str())) {
        management.delete_imported(&secrets, name).await?;
    }
    Ok(())
}

pub(super) fn secret_of(cluster: &Cluster) -> Option<&str> {
    match &cluster.spec.connection {
        Connection::Kubeconfig(kubeconfig) => Some(&kubeconfig.secret_ref.name),
        Connection::Local(_) => None,
    }
}

async fn delete_downstream_half(downstream: &Side, names: &Names) -> Result<(), MembershipError> {
    let Names { account } = names;
    let client = || downstream.client.clone();
    // The bindings first: a role without a binding grants nothing.
    downstream.delete_imported(&Api::<ClusterRoleBinding>::all(client()), account).await?;
    downstream.delete_imported(&Api::<RoleBinding>::namespaced(client(), DROVER_NAMESPACE), account).await?;
    downstream.delete_imported(&Api::<ClusterRole>::all(client()), account).await?;
    downstream.delete_imported(&Api::<Role>::namespaced(client(), DROVER_NAMESPACE), account).await?;
    downstream.delete_imported(&Api::<Secret>::namespaced(client(), DROVER_NAMESPACE), account).await?;
    downstream.delete_imported(&Api::<ServiceAccount>::namespaced(client(), DROVER_NAMESPACE), account).await
}
