//! The Secrets of repositories: the label says which ones Drover may read for them. Caches know them by their versions only.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use drover_crds::{
    ChartRepository,
    names::{ANNOTATION_HOSTS, LABEL_USABLE_BY, USABLE_BY_REPOSITORIES},
};
use drover_runtime::{ApiError, LabelQuery, request::request};
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::Deserialize;

use crate::{SourceCause, SourceError};

/// A Secret that repositories may use, as far as it is kept: without its data.
#[derive(Clone, Debug, Deserialize)]
pub struct RepositorySecret {
    metadata: ObjectMeta,
}

impl Resource for RepositorySecret {
    type DynamicType = ();
    type Scope = <Secret as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        Secret::kind(&())
    }
    fn group((): &()) -> Cow<'_, str> {
        Secret::group(&())
    }
    fn version((): &()) -> Cow<'_, str> {
        Secret::version(&())
    }
    fn plural((): &()) -> Cow<'_, str> {
        Secret::plural(&())
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Selects the Secrets that repositories may use.
#[must_use]
pub fn query() -> LabelQuery {
    LabelQuery::equals(LABEL_USABLE_BY, USABLE_BY_REPOSITORIES)
}

/// The names of the Secrets that a repository refers to: that of its credentials, and that of its certificates.
pub fn names(repository: &ChartRepository) -> impl Iterator<Item = &str> {
    let spec = &repository.spec;
    [&spec.secret_ref, &spec.cert_secret_ref].into_iter().flatten().map(|secret| secret.name.as_str())
}

/// What the Secrets of a repository hold. Nothing here shows it.
#[derive(Clone, Default)]
pub struct Secrets {
    pub(crate) credentials: Option<Content>,
    pub(crate) certificates: Option<Content>,
}

/// What one Secret holds.
#[derive(Clone, Default)]
pub(crate) struct Content {
    pub(crate) data: BTreeMap<String, Vec<u8>>,
    /// The hosts that may get it.
    pub(crate) hosts: Option<String>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secrets(…)")
    }
}

impl Secrets {
    /// Reads those that a repository names, with the rights of whoever `client` is.
    pub async fn of(client: &Client, repository: &ChartRepository) -> Result<Self, SourceError> {
        let spec = &repository.spec;
        let namespace = repository.namespace().unwrap_or_default();
        let mut secrets = Self::default();
        if let Some(secret) = &spec.secret_ref {
            secrets.credentials = Some(read(client, &namespace, &secret.name).await?);
        }
        if let Some(secret) = &spec.cert_secret_ref {
            secrets.certificates = Some(read(client, &namespace, &secret.name).await?);
        }
        Ok(secrets)
    }
}

/// What is said where a Secret is not there, or is not meant for repositories.
#[must_use]
pub fn not_found(namespace: &str, name: &str) -> SourceError {
    let message = format!(
        "there is no Secret {name} with the label {LABEL_USABLE_BY}: {USABLE_BY_REPOSITORIES} in namespace {namespace}; create it, or correct the spec"
    );
    SourceError::new(SourceCause::SecretNotFound, message)
}

async fn read(client: &Client, namespace: &str, name: &str) -> Result<Content, SourceError> {
    let api = Api::<Secret>::namespaced(client.clone(), namespace);
    let found = request(format!("read Secret {namespace}/{name}"), api.get_opt(name)).await;
    let found = found.map_err(ApiError::unquoted).map_err(|error| {
        let refused = matches!(error.code(), Some(401 | 403));
        let cause = if refused { SourceCause::SecretsNotPermitted } else { SourceCause::FetchFailed };
        SourceError { is_transient: !refused, ..SourceError::new(cause, error.to_string()) }
    })?;
    let is_usable =
        |secret: &Secret| secret.labels().get(LABEL_USABLE_BY).is_some_and(|value| value == USABLE_BY_REPOSITORIES);
    let secret = found.filter(is_usable).ok_or_else(|| not_found(namespace, name))?;
    let hosts = secret.annotations().get(ANNOTATION_HOSTS).cloned();
    let data = secret.data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, bytes.0));
    Ok(Content { data: data.collect(), hosts })
}
