//! The operator of [`CisScan`]s: each judges the nodes of clusters once by a CIS benchmark, and tells what was and what was not looked at.
//!
//! 1. [`observe`] gathers the nodes of a cluster, and the Jobs and answers that a scan has there.
//! 2. [`consent`] says whether it may begin; that is noted in the status first. [`plan`] gives every node a Secret for its answer, an
//!    account that may write nothing else, and a [Job](drover_scan_jobs::job), so many at a time.
//! 3. Once every node has answered or cannot, or the time of the scan is over, the [`report`] reads the answers one by one, and
//!    writes the report of the cluster, compared with the one before where that is asked for. Then everything that was made in the cluster goes.
//! 4. [`summary`] counts over all reports. The scan ends when every cluster has one, or its time is over: then what is missing is told, and
//!    the verdict is no pass.
//!
//! Nothing is remembered but in the objects: what a cluster has left to do follows from its Jobs, its answers, and whether the report is
//! there.

pub mod act;
mod cause;
pub mod consent;
mod error;
pub mod observe;
pub mod plan;
pub mod report;
mod summary;
mod wakes;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use act::Action;
pub use cause::ScanCause;
use drover_crds::{CisProfile, CisScan, CisScanStatus, CisWaiver, Cluster};
use drover_fleet::{cause::TenancyCause, targets};
use drover_grants::GrantCause;
use drover_runtime::{
    Cause, ClusterName, Inputs, Operator, Owner, Place, PlaceContext, PlaceStatuses, Plan, Related, Rights, Rule,
    Targets, Watches, known::KnownKeys, rights::READ,
};
use drover_scan_jobs::answer::AnswerSecret;
use drover_scans::kept::KeptReport;
pub use error::ScanError;
use k8s_openapi::{
    api::{
        admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
        batch::v1::Job,
    },
    jiff::Timestamp,
};
use wakes::{note_open, noted_something_else};

/// Why nothing new may begin.
const OF_GRANTS: &[Cause] =
    &[GrantCause::NotAdmitted.cause(), GrantCause::GrantsFrozen.cause(), GrantCause::NotYetGranted.cause()];

/// The operator of the kind [`CisScan`].
#[derive(Clone, Debug)]
pub struct CisScanOperator {
    image: Option<String>,
    nodes: Arc<Mutex<BTreeMap<ClusterName, observe::SeenNodes>>>,
}

impl CisScanOperator {
    /// Which scans by `image`; without one every scan says so.
    #[must_use]
    pub fn new(image: Option<String>) -> Self {
        Self { image, nodes: Arc::default() }
    }
}

impl Operator for CisScanOperator {
    const NAME: &'static str = "cis-scan";
    const CAUSES: &'static [&'static [Cause]] = &[ScanCause::TABLE, TenancyCause::TABLE, OF_GRANTS];
    const FINALIZER: bool = false;
    /// What this operator needs: the scans with their profiles and waivers, their reports, and the locks of clusters; in a cluster its
    /// nodes, and in Drover's namespace Jobs, each with a Secret, and an account that may change that Secret.
    const RIGHTS: Rights = Rights {
        management: &[
            Rule::on("drover.dev", &["cisprofiles", "cisreports", "cisscans", "ciswaivers", "clusters"], READ),
            Rule::on("drover.dev", &["cisscans/status", "cisreports/status"], &["patch"]),
            Rule::on("drover.dev", &["cisreports"], &["create", "delete", "patch"]),
            // Nobody else writes what a scan found.
            Rule::on("drover.dev", &["cisscans"], &["manage"]),
        ],
        // Informers look in all namespaces.
        downstream: &[
            Rule::on("batch", &["jobs"], READ),
            Rule::on("", &["secrets"], READ),
            Rule::on("", &["nodes"], &["list"]),
        ],
        downstream_namespace: &[
            Rule::on("batch", &["jobs"], &["create", "delete", "patch"]),
            Rule::on("", &["secrets"], &["create", "delete", "get", "patch"]),
            Rule::on("", &["serviceaccounts"], &["create", "delete"]),
            Rule::on("rbac.authorization.k8s.io", &["rolebindings", "roles"], &["create", "delete"]),
            Rule::on("", &["pods"], &["list"]),
        ],
        ..Rights::NONE
    };

    type Kind = CisScan;
    type World = observe::World;
    type Action = Action;
    type PlaceStatus = plan::PlaceStatus;
    type Error = ScanError;

    fn related(related: &mut Related<'_>) {
        let all = KnownKeys::default();
        let [of_profiles, of_policies, of_policy_bindings] = std::array::from_fn(|_| all.clone());
        related.on::<CisScan>(move |change| {
            note_open(&all, change);
            // What is noted in the status is waited for before anything is done.
            noted_something_else(change).then(|| change.key.clone()).into_iter().collect()
        });
        related.on::<CisProfile>(move |_| of_profiles.all());
        // These are read when a report is written, and what waits for a version looks again.
        related.on::<CisWaiver>(|_| Vec::new());
        related.on::<Cluster>(|_| Vec::new());
        related.on::<ValidatingAdmissionPolicy>(move |_| of_policies.all());
        related.on::<ValidatingAdmissionPolicyBinding>(move |_| of_policy_bindings.all());
    }

    fn targets(scan: &CisScan, inputs: &Inputs<'_>) -> Targets {
        // Of one that ended nothing is anywhere: what a cluster that was away still has goes once it is back.
        if scan.status.as_ref().is_some_and(|status| status.completed_at.is_some()) {
            return Targets::default();
        }
        let mut targets = targets::of(scan, inputs.fleet);
        if scan.metadata.deletion_timestamp.is_none() {
            targets.places.insert(Place::Management);
        }
        targets
    }

    fn watches(watches: &mut Watches<'_, Self>) {
        if watches.context().place == Place::Management {
            watches.owned::<KeptReport>();
        } else {
            watches.optional(Watches::owned::<Job>);
            watches.optional(Watches::owned::<AnswerSecret>);
        }
    }

    async fn observe(&self, owner: Owner<'_, CisScan>, place: &PlaceContext) -> Result<observe::World, ScanError> {
        observe::observe(self, owner, place).await
    }

    fn plan(scan: &CisScan, world: &observe::World, now: Timestamp) -> Plan<Self> {
        plan::plan(scan, world, now)
    }

    fn clean_up(_: Owner<'_, CisScan>, world: &observe::World, _: Timestamp) -> Plan<Self> {
        plan::clean_up(world)
    }

    async fn act(&self, owner: Owner<'_, CisScan>, place: &PlaceContext, action: Action) -> Result<(), ScanError> {
        action.carry_out(owner, place).await
    }

    fn summarise(scan: &CisScan, statuses: &PlaceStatuses<plan::PlaceStatus>, now: Timestamp) -> CisScanStatus {
        summary::summarise(scan, statuses, now)
    }
}
