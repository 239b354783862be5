//! Charts in registries: there is no index, so tags are listed for each chart that an app or a person names, at the interval of the repository.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use drover_charts::{Digest, Fetcher, IndexRow, OciChart, OciClient, Version};
use drover_crds::ChartRepository;
use drover_runtime::ObjectKey;
use kube::Client;
use tokio::time::Instant;

use crate::{
    Chosen, SourceCause, SourceError, Sources, Wanted,
    kept::{lock, not_suspended},
    reach::{Reach, Registry, invalid},
    secret::Secrets,
};

/// Most charts of a registry of which is kept when they were listed.
const CHARTS: usize = 1_000;

/// When the tags of charts were listed, and what they pointed to.
#[derive(Debug, Default)]
pub(crate) struct Tags(BTreeMap<String, Listed>);

#[derive(Clone, Debug)]
struct Listed {
    at: Instant,
    /// The request of a person that the status of the repository noted then. What was listed before another one is listed anew.
    handled: Option<String>,
    failure: Option<SourceError>,
    digests: BTreeMap<String, Digest>,
}

/// Whether the registry answers who asks with these credentials.
pub(crate) async fn check(fetcher: &Fetcher, registry: &Registry) -> Result<(), SourceError> {
    // No name of a chart is known here; what registries judge is who asks.
    let chart = chart_of(registry, "charts")?;
    Ok(OciClient::new(fetcher, &registry.source, &chart).check().await?)
}

/// Chooses a version by the tags of a chart.
pub(crate) async fn choose(
    sources: &Sources,
    client: &Client,
    repository: &ChartRepository,
    wanted: &Wanted,
) -> Result<Chosen, SourceError> {
    let (rows, again) = rows(sources, client, repository, &wanted.chart).await?;
    let picked = wanted.pick(&rows)?;
    let available = picked.available.map(ToString::to_string);
    let Some(row) = picked.row else {
        let version = wanted.current.clone().unwrap_or_default();
        return Ok(Chosen { version, digest: None, available, again: Some(again) });
    };
    let known = sources.known(repository);
    let version = row.version.to_string();
    let found = lock(&known.tags).0.get(&wanted.chart).and_then(|listed| listed.digests.get(&version).copied());
    let digest = if let Some(digest) = found {
        digest
    } else {
        let digest = resolve(sources, client, repository, &wanted.chart, &row.version).await?;
        if let Some(listed) = lock(&known.tags).0.get_mut(&wanted.chart) {
            listed.digests.insert(version.clone(), digest);
        }
        digest
    };
    Ok(Chosen { version, digest: Some(digest), available, again: Some(again) })
}

/// The versions of a chart as rows of an index, and when they are listed again.
pub(crate) async fn rows(
    sources: &Sources,
    client: &Client,
    repository: &ChartRepository,
    chart: &str,
) -> Result<(Arc<Vec<IndexRow>>, Duration), SourceError> {
    let (known, key) = (sources.known(repository), ObjectKey::of(&repository.metadata));
    let of = repository.spec.oci.as_ref().map(|oci| oci.url.clone()).unwrap_or_default();
    let interval = repository.spec.interval();
    let handled = repository.status.as_ref().and_then(|status| status.last_handled_reconcile_at.clone());
    let listed = lock(&known.tags).0.get(chart).filter(|listed| listed.handled == handled).cloned();
    if let Some(Listed { at, failure, .. }) = listed {
        let left = interval.saturating_sub(at.elapsed());
        let kept = lock(&sources.shared().extracts).get(&key, chart, &of);
        match (failure, kept) {
            (None, Some(rows)) if !left.is_zero() => return Ok((rows, left)),
            (Some(failure), _) if at.elapsed() < Duration::from_secs(30).min(interval) => return Err(failure),
            _ => {}
        }
    }
    not_suspended(repository)?;
    let outcome = list(sources, client, repository, chart).await;
    let mut tags = lock(&known.tags);
    if tags.0.len() >= CHARTS {
        tags.0.clear();
    }
    let failure = outcome.as_ref().err().cloned();
    tags.0.insert(chart.to_owned(), Listed { at: Instant::now(), handled, failure, digests: BTreeMap::new() });
    let rows = Arc::new(outcome?);
    lock(&sources.shared().extracts).put(&key, chart, of, &rows);
    Ok((rows, interval))
}

async fn list(
    sources: &Sources,
    client: &Client,
    repository: &ChartRepository,
    chart: &str,
) -> Result<Vec<IndexRow>, SourceError> {
    let registry = reach(client, repository).await?;
    let _slot = sources.begin(repository)?;
    let chart = chart_of(&registry, chart)?;
    let versions = OciClient::new(&sources.shared().fetcher, &registry.source, &chart).versions().await?;
    Ok(versions.into_iter().map(row).collect())
}

fn row(version: Version) -> IndexRow {
    IndexRow {
        version,
        app_version: String::new(),
        digest: None,
        urls: Vec::new(),
        is_deprecated: false,
        created: String::new(),
        description: String::new(),
    }
}

async fn resolve(
    sources: &Sources,
    client: &Client,
    repository: &ChartRepository,
    chart: &str,
    version: &Version,
) -> Result<Digest, SourceError> {
    let registry = reach(client, repository).await?;
    let _slot = sources.begin(repository)?;
    let chart = chart_of(&registry, chart)?;
    Ok(OciClient::new(&sources.shared().fetcher, &registry.source, &chart).resolve(version).await?.chart)
}

/// The packed chart that a tag points to, if it is the one with this digest.
pub(crate) async fn packed(
    fetcher: &Fetcher,
    registry: &Registry,
    chart: &str,
    version: &str,
    digest: Digest,
) -> Result<Bytes, SourceError> {
    let chart = chart_of(registry, chart)?;
    let version: Version =
        version.parse().map_err(|_| SourceError::new(SourceCause::VersionNotFound, "what was chosen is no version"))?;
    let mut client = OciClient::new(fetcher, &registry.source, &chart);
    let manifest = client.resolve(&version).await?;
    if manifest.chart != digest {
        let message = format!("the tag of version {version} points to another chart now; it is chosen anew");
        return Err(SourceError { is_transient: true, ..SourceError::new(SourceCause::ChartChanged, message) });
    }
    Ok(client.packed(&manifest, registry.chart_bytes).await?)
}

async fn reach(client: &Client, repository: &ChartRepository) -> Result<Registry, SourceError> {
    match Reach::of(repository, &Secrets::of(client, repository).await?)? {
        Reach::Registry(registry) => Ok(registry),
        Reach::Index(_) => Err(SourceError::new(SourceCause::RepositoryNotRead, "it changed at the same time")),
    }
}

fn chart_of(registry: &Registry, chart: &str) -> Result<OciChart, SourceError> {
    OciChart::new(&registry.url, chart, registry.is_plain).map_err(|error| invalid("spec.oci.url", error))
}
