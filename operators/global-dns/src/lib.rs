//! The operator of [`GlobalDNS`]: names that answer with the addresses of an app on many clusters.
//!
//! 1. Each selected cluster is a place that writes nothing: [`observe`] finds which of its objects offer a name, as [`sources`] keeps them,
//!    and [`offers`] says which of their addresses may be published.
//! 2. The management cluster is the place that puts these together. It reads there what the provider has of each name, and what each server
//!    answers.
//! 3. `choose` says which of the addresses a name is to answer with. [`plan`] bounds what failures remove, compares with what is there, and decides. A name is claimed by a [`claim`] before
//!    anything of it is written, and the claim goes after its records: whatever has a claim is found again.
//! 4. [`act`] writes. The provider checks in the same transaction that it still has what was read.
//! 5. [`summary`] says who answers, and why others do not.
//!
//! A cluster that cannot be looked at is unknown: its addresses stay. A deletion goes by the claims, not by the spec.

mod act;
mod cause;
mod choose;
pub mod claim;
mod error;
pub mod observe;
pub mod offers;
pub mod plan;
pub mod sources;
mod summary;
mod wakes;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

pub use act::Action;
pub use cause::DNSCause;
use drover_crds::{GlobalDNS, GlobalDNSProvider, GlobalDNSStatus};
use drover_fleet::{cause::TenancyCause, targets};
use drover_names::Fqdn;
use drover_runtime::{
    Cause, Inputs, LabelQuery, ObjectKey, Operator, Owner, Place, PlaceContext, PlaceStatuses, Plan, Related, Rights,
    Rule, Targets, Watches, rights::READ,
};
use drover_zones::{ProviderCause, Zones};
pub use error::DNSError;
use k8s_openapi::{api::core::v1::ConfigMap, jiff::Timestamp};
use kube::ResourceExt as _;
use observe::Memory;
use plan::PlaceStatus;
use sources::{SlimIngress, SlimService};
use wakes::Everyone;

/// What was done lately, by object and name.
type Memories = Arc<Mutex<BTreeMap<(ObjectKey, Fqdn), Memory>>>;

/// The operator of the kind [`GlobalDNS`].
#[derive(Clone, Debug)]
pub struct GlobalDNSOperator {
    zones: Zones,
    memories: Memories,
    started: Instant,
}

impl GlobalDNSOperator {
    /// Which reaches providers by `zones`.
    #[must_use]
    pub fn new(zones: Zones) -> Self {
        Self { zones, memories: Arc::default(), started: Instant::now() }
    }

    /// Since this process began.
    fn age(&self) -> Duration {
        self.started.elapsed()
    }

    fn memory(&self, key: &ObjectKey, name: &Fqdn) -> Memory {
        let memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        memories.get(&(key.clone(), name.clone())).cloned().unwrap_or_default()
    }

    fn remember(&self, key: &ObjectKey, name: &Fqdn, note: impl FnOnce(&mut Memory, Duration)) {
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        note(memories.entry((key.clone(), name.clone())).or_default(), self.age());
    }

    fn forget(&self, key: &ObjectKey) {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner).retain(|(known, _), _| known != key);
    }
}

impl Operator for GlobalDNSOperator {
    const NAME: &'static str = "global-dns";
    const CAUSES: &'static [&'static [Cause]] = &[DNSCause::TABLE, ProviderCause::TABLE, TenancyCause::TABLE];
    const FINALIZER: bool = true;
    const REDUCES: bool = true;
    /// What this operator needs: the names and their providers, with the Secrets of these and the claims of names in Drover's own
    /// namespace; in a cluster to read what offers addresses.
    const RIGHTS: Rights = Rights {
        management: &[
            Rule::on("drover.dev", &["globaldnses", "globaldnsproviders"], READ),
            Rule::on("drover.dev", &["globaldnses", "globaldnses/status"], &["patch"]),
            // Informers look in all namespaces.
            Rule::on("", &["configmaps"], READ),
        ],
        own_namespace: &[
            Rule::on("", &["secrets"], &["get"]),
            Rule::on("", &["configmaps"], &["create", "delete", "patch"]),
        ],
        downstream: &[Rule::on("networking.k8s.io", &["ingresses"], READ), Rule::on("", &["services"], READ)],
        ..Rights::NONE
    };

    type Kind = GlobalDNS;
    type World = observe::World;
    type Action = Action;
    type PlaceStatus = PlaceStatus;
    type Error = DNSError;

    fn related(related: &mut Related<'_>) {
        let all = Everyone::default();
        let of_providers = all.clone();
        related.on::<GlobalDNS>(move |change| {
            all.note(change);
            Vec::new()
        });
        related.on::<GlobalDNSProvider>(move |change| of_providers.of_provider(change));
    }

    fn deletion_timeout(names: &GlobalDNS) -> Option<Duration> {
        Some(names.spec.deletion_timeout())
    }

    /// Records are found by the claims of names in the management cluster, so a deletion looks at no cluster.
    fn targets(names: &GlobalDNS, inputs: &Inputs<'_>) -> Targets {
        if names.metadata.deletion_timestamp.is_some() {
            return BTreeSet::from([Place::Management]).into();
        }
        let mut targets = targets::of(names, inputs.fleet);
        targets.places.insert(Place::Management);
        targets
    }

    fn watches(watches: &mut Watches<'_, Self>) {
        if watches.context().place == Place::Management {
            watches.owned::<ConfigMap>();
            return;
        }
        watches.optional(|watches| {
            let all = watches.context().management.informer::<GlobalDNS>(&LabelQuery::everything());
            let others = all.clone();
            watches.on::<SlimIngress>(&LabelQuery::everything(), move |change, enqueuer| {
                wakes::offered(change, &all, enqueuer);
            });
            watches.on::<SlimService>(&LabelQuery::everything(), move |change, enqueuer| {
                wakes::offered(change, &others, enqueuer);
            });
        });
    }

    async fn observe(&self, owner: Owner<'_, GlobalDNS>, place: &PlaceContext) -> Result<observe::World, DNSError> {
        observe::observe(self, owner, place).await
    }

    fn reduce(world: &mut observe::World, places: &PlaceStatuses<PlaceStatus>) {
        world.reduce(places);
    }

    fn plan(names: &GlobalDNS, world: &observe::World, now: Timestamp) -> Plan<Self> {
        plan::plan(names, world, now)
    }

    fn clean_up(owner: Owner<'_, GlobalDNS>, world: &observe::World, now: Timestamp) -> Plan<Self> {
        plan::clean_up(owner, world, now)
    }

    async fn act(&self, owner: Owner<'_, GlobalDNS>, place: &PlaceContext, action: Action) -> Result<(), DNSError> {
        action.carry_out(self, owner, place).await
    }

    fn summarise(names: &GlobalDNS, statuses: &PlaceStatuses<PlaceStatus>, _: Timestamp) -> GlobalDNSStatus {
        summary::summarise(names, statuses)
    }
}

/// The name of the Cluster of a place.
fn cluster_of(place: &PlaceContext) -> String {
    place.cluster.as_ref().map(|cluster| cluster.name_any()).unwrap_or_default()
}
