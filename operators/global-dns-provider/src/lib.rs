//! The operator of providers of DNS: it tries at their interval whether the domains are there and may be written.
//!
//! 1. [`observe`] looks at what came of the last try.
//! 2. [`plan`] says whether it is time for another one. A provider that is as before writes nothing.
//! 3. [`act`] asks the server for the zone of each domain, and sends it an update that changes nothing.
//! 4. [`summary`] says what came of it in the status.
//!
//! It converges in the management cluster only.

pub mod act;
pub mod observe;
pub mod plan;
mod summary;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use drover_crds::{GlobalDNSProvider, GlobalDNSProviderStatus};
use drover_runtime::{
    Cause, Inputs, ObjectKey, Operator, Owner, Place, PlaceContext, PlaceStatuses, Plan, Rights, Rule, Targets,
    Watches, rights::READ,
};
use drover_zones::{OpenError, ProviderCause, Zones};
use k8s_openapi::jiff::Timestamp;

/// The operator of the kind [`GlobalDNSProvider`].
#[derive(Clone, Debug)]
pub struct GlobalDNSProviderOperator {
    zones: Zones,
    attempts: Arc<Mutex<BTreeMap<ObjectKey, observe::Attempt>>>,
}

impl GlobalDNSProviderOperator {
    /// Which reaches the providers by `zones`.
    #[must_use]
    pub fn new(zones: Zones) -> Self {
        Self { zones, attempts: Arc::default() }
    }

    fn attempt(&self, key: &ObjectKey) -> Option<observe::Attempt> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn keep(&self, key: ObjectKey, attempt: Option<observe::Attempt>) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        match attempt {
            Some(attempt) => drop(attempts.insert(key, attempt)),
            None => drop(attempts.remove(&key)),
        }
    }
}

impl Operator for GlobalDNSProviderOperator {
    const NAME: &'static str = "global-dns-provider";
    const CAUSES: &'static [&'static [Cause]] = &[ProviderCause::TABLE];
    const FINALIZER: bool = false;
    /// What this operator needs: the providers, and their Secrets, which lie in Drover's own namespace.
    const RIGHTS: Rights = Rights {
        management: &[
            Rule::on("drover.dev", &["globaldnsproviders"], READ),
            Rule::on("drover.dev", &["globaldnsproviders/status"], &["patch"]),
        ],
        own_namespace: &[Rule::on("", &["secrets"], &["get"])],
        ..Rights::NONE
    };

    type Kind = GlobalDNSProvider;
    type World = observe::World;
    type Action = act::Try;
    type PlaceStatus = plan::PlaceStatus;
    type Error = OpenError;

    fn targets(_: &GlobalDNSProvider, _: &Inputs<'_>) -> Targets {
        BTreeSet::from([Place::Management]).into()
    }

    fn watches(_: &mut Watches<'_, Self>) {}

    async fn observe(
        &self,
        owner: Owner<'_, GlobalDNSProvider>,
        _: &PlaceContext,
    ) -> Result<observe::World, OpenError> {
        Ok(observe::observe(self, owner))
    }

    fn plan(provider: &GlobalDNSProvider, world: &observe::World, now: Timestamp) -> Plan<Self> {
        plan::plan(provider, world, now)
    }

    fn clean_up(_: Owner<'_, GlobalDNSProvider>, _: &observe::World, _: Timestamp) -> Plan<Self> {
        plan::clean_up()
    }

    async fn act(
        &self,
        owner: Owner<'_, GlobalDNSProvider>,
        place: &PlaceContext,
        action: act::Try,
    ) -> Result<(), OpenError> {
        action.carry_out(self, owner, place).await;
        Ok(())
    }

    fn summarise(
        provider: &GlobalDNSProvider,
        statuses: &PlaceStatuses<plan::PlaceStatus>,
        _: Timestamp,
    ) -> GlobalDNSProviderStatus {
        summary::summarise(provider, statuses)
    }
}

#[cfg(test)]
mod tests;
