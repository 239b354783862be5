//! Writes claims and records.

use std::fmt;

use drover_crds::GlobalDNS;
use drover_names::NameChange;
use drover_runtime::{Owner, PlaceContext, owned::Change};
use drover_zones::Driver as _;
use k8s_openapi::api::core::v1::ConfigMap;

use crate::{DNSError, GlobalDNSOperator, observe::open, plan::LIMITS};

/// One idempotent change.
pub enum Action {
    /// Of a claim.
    Claim(Change<ConfigMap>),
    /// Of the records of a name. Done twice, the second time is refused, as something else is there by then.
    Write {
        /// Name of the `GlobalDNSProvider`.
        provider: String,
        /// What changes.
        change: Box<NameChange>,
        /// How many addresses go on account of failures.
        removed: usize,
    },
}

impl fmt::Debug for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim(change) => change.fmt(formatter),
            Self::Write { provider, change, .. } => write!(formatter, "write {} at {provider}", change.name),
        }
    }
}

impl Action {
    pub(crate) async fn carry_out(
        self,
        operator: &GlobalDNSOperator,
        owner: Owner<'_, GlobalDNS>,
        place: &PlaceContext,
    ) -> Result<(), DNSError> {
        match self {
            Self::Claim(change) => Ok(change.carry_out::<GlobalDNSOperator>(owner, place).await?),
            Self::Write { provider, change, removed } => {
                // One that is gone is seen by the next reconcile.
                let Some(driver) = open(operator, &provider, place).await? else { return Ok(()) };
                // Noted before, as an answer may be lost; what the provider refuses was not removed.
                let (key, name) = (owner.key(), &change.name);
                operator.remember(&key, name, |memory, age| memory.guard.note(removed, age, &LIMITS));
                let outcome = driver.apply(&change).await;
                operator.remember(&key, name, |memory, _| match &outcome {
                    Ok(()) => memory.ttl = change.ttl(),
                    Err(error) if !error.is_silence() => memory.guard.take_back(removed),
                    Err(_) => {}
                });
                Ok(outcome?)
            }
        }
    }
}
