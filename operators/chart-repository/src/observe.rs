//! What is known of a repository. Decides nothing.

use std::{fmt::Write as _, time::Duration};

use drover_crds::{ChartRepository, names::ANNOTATION_RECONCILE_AT};
use drover_runtime::{ObjectKey, Owner, PlaceContext};
use drover_sources::{
    Attempt, SourceCause, SourceError,
    secret::{self, RepositorySecret, not_found},
};
use kube::ResourceExt as _;

use crate::ChartRepositoryOperator;

/// What a reconcile knows.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Why it cannot be read now, as a Secret is missing.
    pub missing: Option<SourceError>,
    /// What is asked for: another spec, another Secret or another request is tried at once.
    pub asked: String,
    /// The request of a person in it.
    pub request: Option<String>,
    /// What came of the last attempt of this process.
    pub attempt: Option<Attempt>,
    /// How long ago it ended.
    pub age: Duration,
    /// Whether this process has a folder for what it reads.
    pub has_folder: bool,
}

pub(crate) fn observe(
    operator: &ChartRepositoryOperator,
    owner: Owner<'_, ChartRepository>,
    place: &PlaceContext,
) -> World {
    let Owner::Present(repository) = owner else {
        if let Some(sources) = &operator.sources {
            sources.forget(&owner.key());
        }
        return World::default();
    };
    let secrets = place.management.informer::<RepositorySecret>(&secret::query());
    let namespace = repository.namespace().unwrap_or_default();
    let request = repository.annotations().get(ANNOTATION_RECONCILE_AT).cloned();
    let generation = repository.metadata.generation.unwrap_or_default();
    let mut asked = format!("{generation}/{}", request.as_deref().unwrap_or_default());
    let mut missing = None;
    for name in secret::names(repository) {
        match secrets.get(&ObjectKey::namespaced(&namespace, name)) {
            Some(found) => {
                let (uid, version) = (found.uid().unwrap_or_default(), found.resource_version().unwrap_or_default());
                let _ = write!(asked, "/{uid}/{version}");
            }
            None if secrets.refusal().is_some() => missing = Some(not_permitted(&namespace, name)),
            None => missing = Some(not_found(&namespace, name)),
        }
    }
    let attempt = operator.sources.as_ref().and_then(|sources| sources.attempt(repository));
    let age = attempt.as_ref().map(|attempt| attempt.ended.elapsed()).unwrap_or_default();
    World { missing, asked, request, attempt, age, has_folder: operator.sources.is_some() }
}

fn not_permitted(namespace: &str, name: &str) -> SourceError {
    let message = format!(
        "Drover may not read Secrets for repositories in the management cluster, such as {name} in namespace {namespace}; set projectSecrets.enabled of the chart, or use a repository without credentials"
    );
    SourceError::new(SourceCause::SecretsNotPermitted, message)
}
