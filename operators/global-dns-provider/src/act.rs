//! Asks a provider for all that names need of it.

use std::time::Instant;

use drover_crds::{GlobalDNSProvider, names::DROVER_NAMESPACE};
use drover_names::Fqdn;
use drover_runtime::{Failure, Owner, PlaceContext};
use drover_zones::{Driver as _, OpenError, ProviderCause};
use kube::ResourceExt as _;

use crate::{GlobalDNSProviderOperator, observe::Attempt};

/// Tries it now. What comes of it is seen by the next reconcile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Try {
    /// What is asked for.
    pub asked: String,
}

impl Try {
    pub(crate) async fn carry_out(
        self,
        operator: &GlobalDNSProviderOperator,
        owner: Owner<'_, GlobalDNSProvider>,
        place: &PlaceContext,
    ) {
        let Some(provider) = owner.object() else { return };
        let outcome = check(operator, provider, place).await.map_err(|error| Failure::of(&error));
        operator.keep(owner.key(), Some(Attempt { asked: self.asked, ended: Instant::now(), outcome }));
    }
}

async fn check(
    operator: &GlobalDNSProviderOperator,
    provider: &GlobalDNSProvider,
    place: &PlaceContext,
) -> Result<(), OpenError> {
    let namespace = place.fleet.operator_namespace().unwrap_or(DROVER_NAMESPACE);
    let driver = operator.zones.open(&place.management.client(), namespace, provider).await?;
    let invalid = |text: &str, why: String| {
        let message = format!("{text} in the spec of GlobalDNSProvider {} {why}", provider.name_any());
        OpenError::new(ProviderCause::ProviderInvalid, message)
    };
    let suffixes = provider.spec.grants.iter().flat_map(|grant| &grant.suffixes);
    for text in provider.spec.domains.iter().chain(suffixes) {
        let _: Fqdn = text.parse().map_err(|error| invalid(text, format!("{error}")))?;
    }
    for text in &provider.spec.domains {
        let domain: Fqdn = text.parse().map_err(|error| invalid(text, format!("{error}")))?;
        driver.check(&domain).await?;
    }
    Ok(())
}
