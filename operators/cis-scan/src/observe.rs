//! What there is of a scan: in the management cluster its reports, in a cluster its nodes, Jobs and answers. Decides nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use drover_admission::PoliciesState;
use drover_crds::{CisProfile, CisScan, CisWaiver, Cluster, names::DROVER_NAMESPACE};
use drover_fleet::{
    admission::{guarded_in_management, state_in_management},
    targets::tenancies_of,
};
use drover_grants::{Admitted, Grants, Judged as _, admitted::Evidence};
use drover_operations::pods;
use drover_runtime::{
    ApiError, ClusterName, Failure, ObjectKey, Owner, OwnerRecord, Place, PlaceContext, Title, cache::Lookup,
    operator::record_of, owned::Owned, request::request,
};
use drover_scan_jobs::{
    answer::AnswerSecret,
    job::{self, BENCH, COLLECTOR},
    node::ScannedNode,
};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{Api, ResourceExt as _, api::ListParams};

use crate::{
    CisScanOperator, ScanError,
    consent::Consent,
    report::{self, KeptReport, Reported},
};

/// So long a list of the nodes of a cluster is good enough: they come and go slowly.
const NODES_FRESH: Duration = Duration::from_secs(30);
/// Most nodes of a cluster that are scanned.
pub(crate) const MOST_NODES: usize = 20_000;
/// Nodes of one request.
const PAGE: u32 = 500;
/// Most Pods that are read to tell why one does not run.
const MOST_PODS: u32 = 100;

/// The nodes of a cluster as they were seen last.
#[derive(Clone, Debug)]
pub(crate) struct SeenNodes {
    at: Instant,
    nodes: Arc<Vec<ScannedNode>>,
}

/// What there is of the report of a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ReportState {
    /// None, or none that is finished.
    #[default]
    Open,
    /// It is there.
    Done(Reported),
}

/// What is known of the cluster that is scanned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScannedCluster {
    /// Its name.
    pub name: String,
    /// The labels of its Cluster.
    pub labels: BTreeMap<String, String>,
    /// Its version and its distribution, once they are known.
    pub made_with: Option<(String, String)>,
}

/// What a reconcile knows.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Whether this is the management cluster, where the scan begins and ends.
    pub is_management: bool,
    /// The cluster.
    pub cluster: ScannedCluster,
    /// Whether its owner lets the scan onto its nodes.
    pub consent: Consent,
    /// Whether anything new may begin.
    pub grants: Grants,
    /// Whether the spec was written under the admission policies.
    pub admitted: Option<Admitted>,
    /// The state of the admission policies, while they are in place.
    pub policies: Option<PoliciesState>,
    /// What is known of the time before, where the scan has no record of its own.
    pub evidence: Evidence,
    /// The image that scans.
    pub image: Option<String>,
    /// The profile.
    pub profile: Option<Arc<CisProfile>>,
    /// All waivers.
    pub waivers: Vec<Arc<CisWaiver>>,
    /// In the management cluster: the reports of all clusters.
    pub reports: BTreeMap<String, Reported>,
    /// In a cluster: its report.
    pub report: ReportState,
    /// The Jobs.
    pub jobs: Vec<Owned<Job>>,
    /// The Secrets for answers.
    pub answers: Vec<Owned<AnswerSecret>>,
    /// The nodes, while they are needed.
    pub nodes: Arc<Vec<ScannedNode>>,
    /// What its Pods say of why they do not run, where they were asked.
    pub trouble: Option<String>,
    /// What the cluster does not let Drover read.
    pub refused: Option<Failure>,
}

pub(crate) async fn observe(
    operator: &CisScanOperator,
    owner: Owner<'_, CisScan>,
    place: &PlaceContext,
) -> Result<World, ScanError> {
    let record = record_of::<CisScanOperator>(owner.key());
    let Place::Cluster(name) = &place.place else {
        return Ok(in_management(operator, owner, place, &record));
    };
    let (jobs, answers) = (Owned::at(place, &record), Owned::at(place, &record));
    let mut world = World { jobs, answers, ..World::default() };
    world.cluster.name = name.as_str().to_owned();
    let Owner::Present(scan) = owner else { return Ok(world) };
    world.report = reports(place, &record).remove(name.as_str()).map_or(ReportState::Open, ReportState::Done);
    if world.report != ReportState::Open || !is_open(scan) {
        return Ok(world);
    }
    gather(operator, scan, name, place, &mut world);
    world.refused = refused(place);
    if world.refused.is_none() && world.consent == Consent::Given {
        world.nodes = operator.nodes(name, place).await?;
        world.trouble = trouble(&world, place).await;
    }
    Ok(world)
}

/// Whether the scan has begun and has not ended.
pub(crate) fn is_open(scan: &CisScan) -> bool {
    scan.status.as_ref().is_some_and(|status| status.started_at.is_some() && status.completed_at.is_none())
}

fn in_management(
    operator: &CisScanOperator,
    owner: Owner<'_, CisScan>,
    place: &PlaceContext,
    record: &OwnerRecord,
) -> World {
    let mut world = World { is_management: true, image: operator.image.clone(), ..World::default() };
    let Owner::Present(scan) = owner else { return world };
    world.reports = reports(place, record);
    let policies = state_in_management(place);
    let unknown = policies.as_ref().filter(|_| scan.admission().is_none());
    let evidence = unknown.map(|policies| {
        let others = place.related::<CisScan>().all();
        Evidence::of(others.iter().filter_map(|other| other.admission()), policies)
    });
    world.profile = profile(scan, place);
    world.grants = Grants::by(&guarded_in_management(place));
    world.admitted = Some(Admitted::of(scan, || policies.clone()));
    world.evidence = evidence.unwrap_or_default();
    world.policies = policies;
    world
}

/// What there is to know of a cluster without a request.
fn gather(operator: &CisScanOperator, scan: &CisScan, name: &ClusterName, place: &PlaceContext, world: &mut World) {
    if let Some(view) = place.fleet.get(name) {
        world.consent = Consent::of(&tenancies_of(scan, view, &place.fleet));
        world.cluster.labels = view.object.labels().clone();
    }
    let found = place.related::<Cluster>().get(&ObjectKey::cluster_scoped(name.as_str()));
    let status = found.as_ref().and_then(|cluster| cluster.status.as_ref());
    world.cluster.made_with =
        status.and_then(|status| Some((status.kubernetes_version.clone()?, status.distribution.clone()?)));
    world.profile = profile(scan, place);
    world.waivers = place.related::<CisWaiver>().all();
    world.image.clone_from(&operator.image);
}

fn profile(scan: &CisScan, place: &PlaceContext) -> Option<Arc<CisProfile>> {
    match place.related::<CisProfile>().lookup(&ObjectKey::cluster_scoped(&scan.spec.profile_name)) {
        Lookup::Found(profile) if profile.metadata.deletion_timestamp.is_none() => Some(profile),
        _ => None,
    }
}

/// The reports of a scan that are finished, by cluster. What others made counts for nothing.
fn reports(place: &PlaceContext, record: &OwnerRecord) -> BTreeMap<String, Reported> {
    let found = place.management.informer::<KeptReport>(&OwnerRecord::query(record.kind)).owned(record);
    let ours = found.into_iter().filter_map(Result::ok).filter(|found| {
        let meta = kube::Resource::meta(&**found);
        let has_its_name = meta.name.as_deref() == Some(&report::name(&record.key.name, &found.spec.cluster_name));
        let is_beside = meta.namespace.as_deref() == Some(&record.key.namespace);
        is_beside && has_its_name && record.title(meta, place.fleet.installation()) == Title::Created
    });
    ours.filter_map(|found| Some((found.spec.cluster_name.clone(), found.reported()?))).collect()
}

/// What the credential of the cluster lacks, as far as the server was asked.
fn refused(place: &PlaceContext) -> Option<Failure> {
    let query = OwnerRecord::query("CisScan");
    let (jobs, answers) = (place.cache.informer::<Job>(&query), place.cache.informer::<AnswerSecret>(&query));
    jobs.refusal().or_else(|| answers.refusal())
}

/// What the Pods of Jobs that do not run say. A cluster that does not answer this holds up nothing.
async fn trouble(world: &World, place: &PlaceContext) -> Option<String> {
    let waits = |found: &Owned<Job>| {
        let job = found.live.as_deref().ok();
        job.is_some_and(|job| {
            job::ended(job).is_none() && job.status.as_ref().is_none_or(|status| status.ready.unwrap_or_default() == 0)
        })
    };
    if !world.jobs.iter().any(waits) {
        return None;
    }
    let pods = list_pods(place).await.ok()?;
    let of = |pod: &Pod| {
        let words =
            [BENCH, COLLECTOR].iter().find_map(|container| pods::trouble(std::slice::from_ref(pod), container))?;
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        Some(format!("on node {node}, {words}"))
    };
    pods.iter().find_map(of)
}

async fn list_pods(place: &PlaceContext) -> Result<Vec<Pod>, ApiError> {
    let pods = Api::<Pod>::namespaced(place.cache.client(), DROVER_NAMESPACE);
    let wanted = ListParams::default().labels("app.kubernetes.io/name=cis-scan").limit(MOST_PODS);
    Ok(request(format!("list Pods of scans in {DROVER_NAMESPACE}"), pods.list(&wanted)).await?.items)
}

impl CisScanOperator {
    /// The nodes of a cluster, as they were seen within the last moments or are now.
    async fn nodes(&self, name: &ClusterName, place: &PlaceContext) -> Result<Arc<Vec<ScannedNode>>, ScanError> {
        let seen = self.nodes.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(seen) = seen.filter(|seen| seen.at.elapsed() < NODES_FRESH) {
            return Ok(seen.nodes);
        }
        let nodes = Arc::new(list_nodes(place).await?);
        let mut all = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, seen| seen.at.elapsed() < NODES_FRESH);
        all.insert(name.clone(), SeenNodes { at: Instant::now(), nodes: Arc::clone(&nodes) });
        Ok(nodes)
    }
}

async fn list_nodes(place: &PlaceContext) -> Result<Vec<ScannedNode>, ScanError> {
    let api = Api::<ScannedNode>::all(place.cache.client());
    let (mut nodes, mut next): (Vec<ScannedNode>, Option<String>) = (Vec::new(), None);
    loop {
        let mut wanted = ListParams::default().limit(PAGE);
        if let Some(token) = &next {
            wanted = wanted.continue_token(token);
        }
        let page = request("list Nodes", api.list(&wanted)).await?;
        nodes.extend(page.items.into_iter().filter(|node| is_a_name(node.name())));
        next = page.metadata.continue_.filter(|token| !token.is_empty());
        if next.is_none() || nodes.len() >= MOST_NODES {
            break;
        }
    }
    nodes.truncate(MOST_NODES);
    nodes.sort_by(|one, other| one.name().cmp(other.name()));
    nodes.dedup_by(|one, other| one.name() == other.name());
    Ok(nodes)
}

/// As nodes are named: what a cluster says is no input to trust.
fn is_a_name(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_part)
}
