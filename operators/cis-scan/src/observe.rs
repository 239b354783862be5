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
use drover_runtime::{
    ApiError, ClusterName, Failure, ObjectKey, Owner, OwnerRecord, Place, PlaceContext, Title,
    cache::{Lookup, list_page},
    operator::record_of,
    owned::Owned,
};
use drover_scan_jobs::{
    answer::AnswerSecret,
    job::{self, is_of_scans},
    node::Nodes,
};
use drover_scans::{
    kept::{self, KeptReport, Reported},
    turn::{Candidate, Turns},
};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{Api, ResourceExt as _, api::ListParams};

use crate::{CisScanOperator, ScanError, consent::Consent};

/// So long a list of the nodes of a cluster is good enough: they come and go slowly.
const NODES_FRESH: Duration = Duration::from_secs(30);
/// So many bytes a Pod counts at least while a page is read.
const LEAST_POD: usize = 64 << 10;
/// Most scans that are gone through for a report to compare with.
const MOST_BASELINES: usize = 10;
/// Most Pods that are read to tell why one does not run.
const MOST_PODS: u32 = 100;

/// The nodes of a cluster as they were seen last.
#[derive(Clone, Debug)]
pub(crate) struct SeenNodes {
    at: Instant,
    nodes: Arc<Nodes>,
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

/// With which report the one of a cluster is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Baseline {
    /// With none, as the scan names no other one.
    #[default]
    NotAsked,
    /// There is none of this cluster.
    Missing,
    /// The one of this name.
    Report(String),
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
    /// In a cluster: with what its report is compared.
    pub baseline: Baseline,
    /// The Jobs.
    pub jobs: Vec<Owned<Job>>,
    /// The Secrets for answers.
    pub answers: Vec<Owned<AnswerSecret>>,
    /// The nodes, while they are needed.
    pub nodes: Arc<Nodes>,
    /// The scan of this cluster before which this one has no turn.
    pub waits_for: Option<ObjectKey>,
    /// The Pods that have not succeeded, where they were asked for.
    pub pods: Vec<Pod>,
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
        return Ok(in_management(operator, owner, place));
    };
    let mut world = World { jobs: jobs(place, &record), answers: Owned::at(place, &record), ..World::default() };
    world.answers.retain(|found| is_of_scans(found.meta()));
    world.cluster.name = name.as_str().to_owned();
    let Owner::Present(scan) = owner else { return Ok(world) };
    world.report = report_on(place, scan, name.as_str()).map_or(ReportState::Open, ReportState::Done);
    if world.report != ReportState::Open || !is_open(scan) {
        return Ok(world);
    }
    gather(operator, scan, name, place, &mut world);
    world.refused = refused(place);
    world.waits_for = turns(name, place).first().filter(|first| *first != owner.key());
    if world.refused.is_none() && world.consent == Consent::Given && world.waits_for.is_none() {
        world.nodes = operator.nodes(name, place).await?;
        world.pods = pods(&world, place).await;
    }
    Ok(world)
}

/// Whether the scan has begun and has not ended.
pub(crate) fn is_open(scan: &CisScan) -> bool {
    scan.status.as_ref().is_some_and(|status| status.started_at.is_some() && status.completed_at.is_none())
}

/// The Jobs of a scan in Drover's namespace: what carries its labels elsewhere says nothing.
fn jobs(place: &PlaceContext, record: &OwnerRecord) -> Vec<Owned<Job>> {
    let mut jobs = Owned::at(place, record);
    jobs.retain(|found| is_of_scans(found.meta()));
    jobs
}

/// All scans that may look at a cluster now, and do not yet have its report.
fn turns(name: &ClusterName, place: &PlaceContext) -> Turns {
    let Some(view) = place.fleet.get(name) else { return Turns::default() };
    let wants = |scan: &CisScan| {
        let is_selected = scan.spec.clusters.selects(name.as_str(), view.object.labels());
        is_open(scan)
            && is_selected
            && Consent::of(&tenancies_of(scan, view, &place.fleet)) == Consent::Given
            && profile(scan, place).is_some()
            && report_on(place, scan, name.as_str()).is_none()
    };
    let waiting = place.related::<CisScan>().all().into_iter().filter(|scan| wants(scan));
    let candidates = waiting.map(|scan| {
        let key = ObjectKey::of(&scan.metadata);
        let is_under_way = !jobs(place, &record_of::<CisScanOperator>(key.clone())).is_empty();
        Candidate { key, is_under_way, created: scan.metadata.creation_timestamp.as_ref().map(|time| time.0) }
    });
    Turns::of(candidates.collect())
}

fn in_management(operator: &CisScanOperator, owner: Owner<'_, CisScan>, place: &PlaceContext) -> World {
    let mut world = World { is_management: true, image: operator.image.clone(), ..World::default() };
    let Owner::Present(scan) = owner else { return world };
    world.reports = reports(place, scan);
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
    world.baseline = baseline(scan, name.as_str(), place);
    world.waivers = place.related::<CisWaiver>().all();
    world.image.clone_from(&operator.image);
}

/// The newest report of a cluster that looked at all of its nodes, from the scan on that `scan` is compared with; without any, the newest
/// one.
fn baseline(scan: &CisScan, cluster: &str, place: &PlaceContext) -> Baseline {
    let namespace = scan.namespace().unwrap_or_default();
    let (mut next, mut partial) = (scan.spec.baseline_name.clone(), None);
    if next.is_none() {
        return Baseline::NotAsked;
    }
    for _ in 0..MOST_BASELINES {
        let Some(name) = next.take() else { break };
        let Some(found) = place.related::<CisScan>().get(&ObjectKey::namespaced(&namespace, &name)) else { break };
        if let Some(reported) = report_on(place, &found, cluster) {
            let report = kept::name(&name, cluster);
            if reported.is_whole() {
                return Baseline::Report(report);
            }
            partial.get_or_insert(report);
        }
        next.clone_from(&found.spec.baseline_name);
    }
    partial.map_or(Baseline::Missing, Baseline::Report)
}

fn profile(scan: &CisScan, place: &PlaceContext) -> Option<Arc<CisProfile>> {
    match place.related::<CisProfile>().lookup(&ObjectKey::cluster_scoped(&scan.spec.profile_name)) {
        Lookup::Found(profile) if profile.metadata.deletion_timestamp.is_none() => Some(profile),
        _ => None,
    }
}

/// The reports of a scan that are finished, by cluster.
fn reports(place: &PlaceContext, scan: &CisScan) -> BTreeMap<String, Reported> {
    let record = record_of::<CisScanOperator>(ObjectKey::of(&scan.metadata));
    let found = place.management.informer::<KeptReport>(&OwnerRecord::query(record.kind)).owned(&record);
    let finished = found.into_iter().filter_map(Result::ok).filter(|found| is_of(place, &record, scan, found));
    finished.filter_map(|found| Some((found.spec.cluster_name.clone(), found.reported()?))).collect()
}

/// The one of a cluster, if it is finished.
fn report_on(place: &PlaceContext, scan: &CisScan, cluster: &str) -> Option<Reported> {
    let record = record_of::<CisScanOperator>(ObjectKey::of(&scan.metadata));
    let key = ObjectKey::namespaced(&record.key.namespace, &kept::name(&record.key.name, cluster));
    let found = place.management.informer::<KeptReport>(&OwnerRecord::query(record.kind)).get(&key)?;
    is_of(place, &record, scan, &found).then(|| found.reported())?
}

/// What others made counts for nothing, and neither does a report of another scan of this name.
fn is_of(place: &PlaceContext, record: &OwnerRecord, scan: &CisScan, found: &KeptReport) -> bool {
    let title = record.title(kube::Resource::meta(found), place.fleet.installation());
    title == Title::Created && found.is_of(scan)
}

/// What the credential of the cluster lacks, as far as the server was asked.
fn refused(place: &PlaceContext) -> Option<Failure> {
    let query = OwnerRecord::query("CisScan");
    let (jobs, answers) = (place.cache.informer::<Job>(&query), place.cache.informer::<AnswerSecret>(&query));
    jobs.refusal().or_else(|| answers.refusal())
}

/// The Pods of Jobs, while one of these does not say that its Pod runs. A cluster that does not answer this holds up nothing.
async fn pods(world: &World, place: &PlaceContext) -> Vec<Pod> {
    let waits = world.jobs.iter().any(|found| found.live.as_deref().is_ok_and(job::is_waiting));
    if waits { list_pods(place).await.unwrap_or_default() } else { Vec::new() }
}

async fn list_pods(place: &PlaceContext) -> Result<Vec<Pod>, ApiError> {
    let pods = Api::<Pod>::namespaced(place.cache.client(), DROVER_NAMESPACE);
    let wanted = ListParams::default().labels("app.kubernetes.io/name=cis-scan").fields("status.phase!=Succeeded");
    let what = format!("list Pods of scans in {DROVER_NAMESPACE}");
    Ok(list_page(what, &pods, &wanted.limit(MOST_PODS), LEAST_POD).await?.0)
}

impl CisScanOperator {
    /// The nodes of a cluster, as they were seen within the last moments or are now.
    async fn nodes(&self, name: &ClusterName, place: &PlaceContext) -> Result<Arc<Nodes>, ScanError> {
        let seen = self.nodes.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(seen) = seen.filter(|seen| seen.at.elapsed() < NODES_FRESH) {
            return Ok(seen.nodes);
        }
        let nodes = Arc::new(Nodes::list(&place.cache.client()).await?);
        let mut all = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, seen| seen.at.elapsed() < NODES_FRESH);
        all.insert(name.clone(), SeenNodes { at: Instant::now(), nodes: Arc::clone(&nodes) });
        Ok(nodes)
    }
}
