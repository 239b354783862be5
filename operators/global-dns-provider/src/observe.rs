//! What is known of a provider. Decides nothing.

use std::time::{Duration, Instant};

use drover_crds::{GlobalDNSProvider, names::ANNOTATION_RECONCILE_AT};
use drover_runtime::{Failure, Owner};
use kube::ResourceExt as _;

use crate::GlobalDNSProviderOperator;

/// What came of a try.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// What was asked for: another spec or another request is tried at once.
    pub asked: String,
    /// When it ended.
    pub ended: Instant,
    /// Why it cannot be used, if it cannot.
    pub outcome: Result<(), Failure>,
}

/// What a reconcile knows.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// What is asked for.
    pub asked: String,
    /// What came of the last try of this process.
    pub attempt: Option<Attempt>,
    /// How long ago it ended.
    pub age: Duration,
}

pub(crate) fn observe(operator: &GlobalDNSProviderOperator, owner: Owner<'_, GlobalDNSProvider>) -> World {
    let Owner::Present(provider) = owner else {
        operator.keep(owner.key(), None);
        return World::default();
    };
    let request = provider.annotations().get(ANNOTATION_RECONCILE_AT).cloned().unwrap_or_default();
    let uid = provider.uid().unwrap_or_default();
    let asked = format!("{uid}/{}/{request}", provider.metadata.generation.unwrap_or_default());
    let attempt = operator.attempt(&owner.key());
    let age = attempt.as_ref().map(|attempt| attempt.ended.elapsed()).unwrap_or_default();
    World { asked, attempt, age }
}
