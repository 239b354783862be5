//! The quota of a namespace, as its clusters report it.

use std::collections::BTreeMap;

use drover_crds::{Cluster, Connection};
use drover_runtime::{Failure, request::request};
use futures::{StreamExt as _, stream};
use k8s_openapi::{
    api::core::v1::{ResourceQuota, Secret},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use serde::Serialize;

use super::answer::{Inventory, Question, clusters_of, holders};
use crate::{
    command_line::AccessArguments,
    membership::{MembershipError, Side},
};

/// Clusters that are asked at a time.
const AT_A_TIME: usize = 8;

/// A `ResourceQuota` of a namespace on one cluster, or why nothing is known of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Quota {
    cluster: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    granted: BTreeMap<String, Quantity>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    used: BTreeMap<String, Quantity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<String>,
}

impl Quota {
    fn of(cluster: &str, quota: ResourceQuota) -> Self {
        let name = Some(quota.name_any());
        let status = quota.status.unwrap_or_default();
        let granted = quota.spec.and_then(|spec| spec.hard).unwrap_or_default();
        Self { cluster: cluster.to_owned(), name, granted, used: status.used.unwrap_or_default(), unknown: None }
    }

    fn unknown(cluster: &str, why: String) -> Self {
        let (granted, used) = (BTreeMap::new(), BTreeMap::new());
        Self { cluster: cluster.to_owned(), name: None, granted, used, unknown: Some(why) }
    }

    /// A row for every resource: cluster, quota, resource, granted, used.
    pub(super) fn rows(&self) -> Vec<[String; 5]> {
        let unknown = || "-".to_owned();
        if let Some(why) = &self.unknown {
            return vec![[self.cluster.clone(), format!("unknown: {why}"), unknown(), unknown(), unknown()]];
        }
        let name = self.name.clone().unwrap_or_default();
        let row = |(resource, granted): (&String, &Quantity)| {
            let used = self.used.get(resource).map_or_else(unknown, |used| used.0.clone());
            [self.cluster.clone(), name.clone(), resource.clone(), granted.0.clone(), used]
        };
        self.granted.iter().map(row).collect()
    }
}

/// The quotas of `namespace` on the clusters whose Projects hold it.
pub(super) async fn in_clusters(
    management: &Side,
    arguments: &AccessArguments,
    inventory: &Inventory,
    question: &Question,
    namespace: &str,
) -> Result<Vec<Quota>, MembershipError> {
    let mut clusters: Vec<&Cluster> =
        holders(inventory, namespace).flat_map(|project| clusters_of(inventory, project)).collect();
    clusters.sort_by_key(|cluster| cluster.name_any());
    clusters.dedup_by_key(|cluster| cluster.name_any());
    clusters.retain(|cluster| question.cluster.as_ref().is_none_or(|asked| *asked == cluster.name_any()));
    let asked = stream::iter(clusters).map(|cluster| async move {
        let name = cluster.name_any();
        match on(management, arguments, cluster, namespace).await {
            Ok(quotas) => quotas.into_iter().map(|quota| Quota::of(&name, quota)).collect(),
            Err(why) => vec![Quota::unknown(&name, why)],
        }
    });
    Ok(asked.buffered(AT_A_TIME).collect::<Vec<_>>().await.concat())
}

/// The quotas in a namespace of `cluster`, reached with the kubeconfig that Drover uses, if whoever asks may read that.
async fn on(
    management: &Side,
    arguments: &AccessArguments,
    cluster: &Cluster,
    namespace: &str,
) -> Result<Vec<ResourceQuota>, String> {
    let secret = match &cluster.spec.connection {
        Connection::Kubeconfig(kubeconfig) => {
            let secrets = Api::<Secret>::namespaced(management.client.clone(), &arguments.operator_namespace);
            let what = format!("get the Secret {}/{}", arguments.operator_namespace, kubeconfig.secret_ref.name);
            let found = management.ask(what, secrets.get_opt(&kubeconfig.secret_ref.name)).await;
            found.map_err(|error| error.to_string())?
        }
        Connection::Local(_) => None,
    };
    let here = management.client.clone().into();
    let list = async |client: &Client| {
        let quotas = Api::<ResourceQuota>::namespaced(client.clone(), namespace);
        let what = format!("list the ResourceQuotas of namespace {namespace}");
        let found = request(what, quotas.list(&ListParams::default())).await;
        found.map(|found| found.items).map_err(|error| Failure::of(&error))
    };
    let policy = arguments.addresses.policy();
    let answer = drover_fleet::ask_stored(cluster, secret.as_ref(), &here, policy, list).await;
    answer.map_err(|failure| failure.message)
}
