//! What one look at a connected cluster says. Pure.

use std::sync::Arc;

use drover_crds::NodeSummary;
use drover_fleet::{Facts, Report};
use drover_runtime::{Failure, Next, operator::Plan};

use crate::{ClusterOperator, SlimNode};

/// What a pass knows of the cluster.
#[derive(Clone, Debug)]
pub struct World {
    /// What the fleet reports of the connection.
    pub report: Report,
    /// All nodes.
    pub nodes: Vec<Arc<SlimNode>>,
}

/// What the cluster contributes to the status.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Who it is.
    pub facts: Option<Facts>,
    /// The URL of its API server.
    pub endpoint: Option<String>,
    /// Its nodes.
    pub nodes: NodeSummary,
    /// Why a changed credential was not taken.
    pub rejected: Option<Failure>,
}

pub(crate) fn plan(world: &World) -> Plan<ClusterOperator> {
    let part = Part {
        facts: world.report.facts.clone(),
        endpoint: world.report.endpoint.clone(),
        nodes: summarise_nodes(&world.nodes),
        rejected: world.report.rejected.clone(),
    };
    Plan { part, actions: Vec::new(), next: Next::Watch }
}

fn summarise_nodes(nodes: &[Arc<SlimNode>]) -> NodeSummary {
    let count = |wanted: fn(&SlimNode) -> bool| {
        i64::try_from(nodes.iter().filter(|node| wanted(node)).count()).unwrap_or(i64::MAX)
    };
    let (total, ready) = (count(|_| true), count(SlimNode::is_ready));
    NodeSummary { total, ready, unschedulable: count(SlimNode::is_unschedulable), summary: format!("{ready}/{total}") }
}
