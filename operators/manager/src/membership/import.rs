//! `drover import`: brings a cluster in, whatever the person's authentication is.
//!
//! Downstream it makes a `ServiceAccount` with exactly the rights that Drover's crates state, and a token for it; in the
//! management cluster a kubeconfig Secret with that token, and the Cluster. It may be repeated: that refreshes the rights.

use std::time::Duration;

use drover_crds::{Cluster, names::DROVER_NAMESPACE};
use drover_runtime::{ApiError, request::request};
use k8s_openapi::{
    ByteString,
    api::{
        core::v1::{Namespace, Secret},
        rbac::v1::{ClusterRole, PolicyRule},
    },
};
use kube::{Api, api::PostParams};
use tokio::time::{Instant, sleep};

use super::{
    MembershipError, bindable,
    objects::{self, Access, Names},
    side::{FIELD_MANAGER, Side},
};
use crate::{command_line::ImportArguments, output::print, rights::Rules};

/// How long the token controller of the cluster may take.
const TOKEN_LIMIT: Duration = Duration::from_secs(30);
const TOKEN_PAUSE: Duration = Duration::from_millis(300);

/// Imports one cluster.
pub(crate) async fn import(arguments: &ImportArguments) -> Result<(), MembershipError> {
    let ImportArguments { context, name, server, membership, .. } = arguments;
    let (downstream, person) = Side::downstream(membership, context).await?;
    let management = Side::management(&membership.management).await?;
    let (uid, own_uid) = (downstream.uid().await?, management.uid().await?);
    if uid == own_uid {
        return Err(MembershipError::ManagementCluster(context.clone()));
    }
    refuse_another(&management, arguments, &uid).await?;

    let names = Names::of(membership.installation.as_deref().unwrap_or(&own_uid)).map_err(MembershipError::Input)?;
    let rules = objects::rules(&arguments.bindable_cluster_roles);
    let before = rules_of_before(&downstream, &names).await?;
    apply_downstream(&downstream, &names, &rules).await?;
    for role in bindable::withdrawn(&before, &rules.downstream) {
        say!(
            "Drover binds the ClusterRole {role} in this cluster no more, as this import does not name it; what it bound before stays until it is withdrawn"
        );
    }
    let (token, authority) = token(&downstream, &names).await?;
    let access = Access::of(&person, context, server.as_deref(), authority).map_err(MembershipError::Input)?;
    if let Some(warning) = access.warning() {
        say!("{warning}");
    }
    let half = objects::management_half(name, &membership.namespace, &access.kubeconfig(name, &token));
    if !arguments.apply {
        say!("what follows contains a credential of the cluster; `--apply` applies it without showing it");
        for object in &half {
            print(&format!("---\n{}", serde_yaml::to_string(object)?)).map_err(MembershipError::Print)?;
        }
        return Ok(());
    }
    for object in half {
        management.apply(&object).await?;
    }
    say!("see its state with `kubectl get cluster.drover.dev {name}`");
    Ok(())
}

/// What stands under these names already must be an earlier import of the same cluster.
async fn refuse_another(management: &Side, arguments: &ImportArguments, found: &str) -> Result<(), MembershipError> {
    let (name, namespace) = (&arguments.name, &arguments.membership.namespace);
    let clusters = Api::<Cluster>::all(management.client.clone());
    let cluster = management.ask(format!("get the Cluster {name}"), clusters.get_opt(name)).await?;
    let known =
        cluster.and_then(|cluster| cluster.status.and_then(|status| status.cluster_uid).or(cluster.spec.expected_uid));
    if let Some(known) = known.filter(|known| known != found) {
        return Err(MembershipError::AnotherCluster { name: name.clone(), known, found: found.to_owned() });
    }
    let secrets = Api::<Secret>::namespaced(management.client.clone(), namespace);
    let what = format!("get the Secret {namespace}/{name}");
    let secret = management.ask(what, secrets.get_metadata_opt(name)).await?;
    if secret.is_some_and(|secret| !objects::is_imported(&secret.metadata)) {
        return Err(MembershipError::ForeignSecret { namespace: namespace.clone(), name: name.clone() });
    }
    Ok(())
}

/// What an earlier import lets Drover do in the whole cluster.
async fn rules_of_before(downstream: &Side, names: &Names) -> Result<Vec<PolicyRule>, MembershipError> {
    let cluster_roles = Api::<ClusterRole>::all(downstream.client.clone());
    let what = format!("get the ClusterRole {}", names.account);
    let found = downstream.ask(what, cluster_roles.get_opt(&names.account)).await?;
    Ok(found.and_then(|role| role.rules).unwrap_or_default())
}

async fn apply_downstream(downstream: &Side, names: &Names, rules: &Rules) -> Result<(), MembershipError> {
    let (namespace, others) = objects::downstream_half(names, rules);
    // Only created, never applied: it may exist already, and its labels are to stay.
    let namespaces = Api::<Namespace>::all(downstream.client.clone());
    let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match request("create the namespace drover-system", namespaces.create(&parameters, &namespace)).await {
        Ok(_) => {}
        Err(ApiError::Refused { status, .. }) if status.is_already_exists() => {}
        Err(error) => return downstream.said(Err(error)),
    }
    for object in others {
        downstream.apply(&object).await?;
    }
    Ok(())
}

/// The token that the cluster made for the `ServiceAccount`, and the authority that signs its API server, in base64.
async fn token(downstream: &Side, names: &Names) -> Result<(String, Option<String>), MembershipError> {
    let account = &names.account;
    let secrets = Api::<Secret>::namespaced(downstream.client.clone(), DROVER_NAMESPACE);
    let started = Instant::now();
    loop {
        let secret = downstream.ask(format!("get the Secret drover-system/{account}"), secrets.get(account)).await?;
        let data = secret.data.unwrap_or_default();
        if let Some(ByteString(token)) = data.get("token") {
            let authority = data.get("ca.crt").map(objects::base64).transpose()?;
            return Ok((String::from_utf8_lossy(token).into_owned(), authority));
        }
        if started.elapsed() > TOKEN_LIMIT {
            return Err(MembershipError::NoToken(account.clone()));
        }
        sleep(TOKEN_PAUSE).await;
    }
}
