//! The network policy that isolates a namespace: who may send traffic to its pods. Pure.

use drover_crds::{Cluster, IsolationMode, Project, ProjectNamespace};
use drover_runtime::{fan_out::Obstacle, operator::owner_of};
use k8s_openapi::{
    api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicySpec},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use serde_json::{Value, json};

use crate::{
    ProjectOperator,
    guards::{Guard, meta},
};

impl Guard for NetworkPolicy {
    const WHOLE: &'static [&'static str] = &["/spec/podSelector", "/spec/ingress", "/spec/policyTypes"];

    fn wanted(project: &Project, cluster: &Cluster, namespace: &ProjectNamespace) -> Result<Option<Self>, Obstacle> {
        let asked = namespace.network_isolation.as_ref().or(project.spec.network_isolation.as_ref());
        let Some(asked) = asked.filter(|asked| asked.mode == IsolationMode::Project) else { return Ok(None) };
        let mut peers = vec![same_namespace(), from_namespaces(same_project(project))];
        peers.extend(asked.allow_from.iter().cloned().map(from_namespaces));
        peers.extend(cluster.spec.node_ranges.iter().map(|range| from_range(range)));
        let spec = NetworkPolicySpec {
            pod_selector: Some(LabelSelector::default()),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![NetworkPolicyIngressRule { from: Some(peers), ports: None }]),
            egress: None,
        };
        Ok(Some(Self { metadata: meta(&namespace.name), spec: Some(spec) }))
    }

    /// Without rules it would close the namespace against everything until they come.
    fn seed(&self) -> Value {
        json!({"spec": self.spec})
    }
}

/// A namespace that is released has no labels of the Project any more, and its pods still reach each other.
fn same_namespace() -> NetworkPolicyPeer {
    NetworkPolicyPeer { pod_selector: Some(LabelSelector::default()), ..NetworkPolicyPeer::default() }
}

fn same_project(project: &Project) -> LabelSelector {
    let labels = owner_of::<ProjectOperator>(project).record();
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}

fn from_namespaces(selector: LabelSelector) -> NetworkPolicyPeer {
    NetworkPolicyPeer { namespace_selector: Some(selector), ..NetworkPolicyPeer::default() }
}

fn from_range(range: &str) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        ip_block: Some(IPBlock { cidr: range.to_owned(), except: None }),
        ..NetworkPolicyPeer::default()
    }
}
