//! How a repository is reached, out of its spec and its Secrets. Pure.

use drover_charts::{
    IndexLimits, Repository, Source, Url,
    fetch::{SecretError, UrlError},
};
use drover_crds::ChartRepository;
use drover_runtime::{AddressNotAllowed, DialPolicy};
use kube::ResourceExt as _;

use crate::{SourceCause, SourceError, secret::Secrets};

/// How a repository is reached.
#[derive(Clone, Debug)]
pub(crate) enum Reach {
    /// It has an index.
    Index(Repository),
    /// It is a folder of a registry.
    Registry(Registry),
}

/// A folder of a registry.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    /// Such as `oci://registry.example.org/charts`.
    pub(crate) url: String,
    /// How it is reached.
    pub(crate) source: Source,
    /// Whether it is reached without TLS: on loopback, as other clients of registries do it.
    pub(crate) is_plain: bool,
    /// Most bytes of a packed chart.
    pub(crate) chart_bytes: usize,
}

impl Reach {
    pub(crate) fn of(repository: &ChartRepository, secrets: &Secrets) -> Result<Self, SourceError> {
        let spec = &repository.spec;
        let source = source(repository, secrets)?;
        let chart_bytes = spec.limits.most_chart_bytes();
        if let Some(http) = &spec.http {
            let index = IndexLimits { bytes: spec.limits.most_index_bytes(), ..IndexLimits::default() };
            let url = http.url.parse().map_err(|error: UrlError| invalid("spec.http.url", error))?;
            return Ok(Self::Index(Repository { url, source, index, chart_bytes }));
        }
        let url = spec.oci.as_ref().map(|oci| oci.url.clone()).unwrap_or_default();
        let is_plain = is_loopback(&url);
        Ok(Self::Registry(Registry { url, source, is_plain, chart_bytes }))
    }
}

fn source(repository: &ChartRepository, secrets: &Secrets) -> Result<Source, SourceError> {
    let spec = &repository.spec;
    let mut source = Source { timeout: spec.timeout(), ..Source::default() };
    if let Some(proxy) = &spec.proxy_url {
        proxy.parse::<Url>().map_err(|error| invalid("spec.proxyURL", error))?;
        source.proxy = Some(proxy.clone().into());
    }
    let bad = |reference: &Option<drover_crds::SecretName>| {
        let name = reference.as_ref().map(|secret| secret.name.clone()).unwrap_or_default();
        let namespace = repository.namespace().unwrap_or_default();
        move |error: SecretError| {
            SourceError::new(SourceCause::CredentialsInvalid, format!("Secret {name} in namespace {namespace} {error}"))
        }
    };
    if let Some(content) = &secrets.credentials {
        source = source.with_credentials(&content.data, content.hosts.as_deref()).map_err(bad(&spec.secret_ref))?;
    }
    if let Some(content) = &secrets.certificates {
        source =
            source.with_certificates(&content.data, content.hosts.as_deref()).map_err(bad(&spec.cert_secret_ref))?;
    }
    Ok(source)
}

pub(crate) fn invalid(field: &str, error: UrlError) -> SourceError {
    SourceError::new(SourceCause::UrlInvalid, format!("{field} {error}"))
}

fn is_loopback(url: &str) -> bool {
    let authority = url.trim_start_matches("oci://").split('/').next().unwrap_or_default();
    let url = format!("http://{authority}").parse::<Url>();
    url.is_ok_and(|url| DialPolicy::RefuseLocal.check_host(url.host()) == Err(AddressNotAllowed::Loopback))
}
