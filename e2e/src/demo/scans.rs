//! What a scan of the clusters of the demo needs besides Drover: what its Jobs run, and a node of the control plane of each cluster.

use std::path::PathBuf;

use crate::error::Result;
use crate::installation::{Installation, drover_binary};
use crate::node::{NodeSettings, ProcessNode};
use crate::{Program, Tools};

/// The image of Jobs, as Drover and the nodes know it.
pub(super) const IMAGE: &str = "drover-bench:demo";
/// The cluster that has no such node yet: the other one has that of its backup.
const CLUSTER: &str = "us-1";

/// A node of the control plane of a cluster, with the image of scans.
pub(super) async fn settings(installation: &Installation, cluster: &str) -> Result<NodeSettings> {
    let tools = Tools::from_environment()?;
    tools.ensure_all(&[Program::KubeBench]).await?;
    let files = [
        ("/drover", drover_binary()?),
        ("/kube-bench", tools.path(Program::KubeBench)?),
        ("/cfg", tools.kube_bench_configuration()?),
    ];
    let mut settings = NodeSettings::kubeadm_with_components("control-plane-1", installation.cluster(cluster)?)?;
    let files = files.map(|(inside, file)| (PathBuf::from(inside), file));
    settings.images.insert(IMAGE.to_owned(), files.to_vec());
    Ok(settings)
}

/// Starts it where it is missing.
pub(super) async fn start(installation: &Installation) -> Result<ProcessNode> {
    let settings = settings(installation, CLUSTER).await?;
    ProcessNode::start(installation.cluster(CLUSTER)?, settings).await
}
