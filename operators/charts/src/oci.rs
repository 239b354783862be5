//! Charts in OCI registries: a small client of the distribution specification, over the same fetches as everything else here.
//!
//! oci-client would bring reqwest, a second HTTP stack that follows redirects by its own rules.
//!
//! A registry may name another server that gives tokens, and redirect to a third one that has the blobs. Credentials go to
//! their hosts only, the token to the registry only.

mod challenge;

use std::str::FromStr;

use bytes::Bytes;
use http::{
    HeaderValue, StatusCode,
    header::{LINK, WWW_AUTHENTICATE},
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{limits::MIB, version::Version};
use challenge::Challenge;
use drover_fetch::{
    Answer, Digest, FetchError, FetchFailure, Fetcher, Proof, Request, Source, Url, UrlError, secret_header,
};

/// Most bytes of a manifest.
const MANIFEST_BYTES: usize = MIB;
/// Most bytes of a page of tags.
const PAGE_BYTES: usize = 4 * MIB;
/// Most pages of tags.
const PAGES: usize = 100;
/// Most tags of one chart.
const TAGS: usize = 20_000;
/// Most bytes of the answer with a token.
const TOKEN_BYTES: usize = 64 * 1024;
/// Most bytes of a tag.
const TAG_BYTES: usize = 128;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The layer that is the packed chart; Helm 3.7 wrote the second one.
const CHART_LAYERS: [&str; 2] = ["application/vnd.cncf.helm.chart.content.v1.tar+gzip", "application/tar+gzip"];

/// A chart in a registry, such as `oci://registry.example.com/charts/web`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciChart {
    registry: Url,
    name: String,
}

/// A version of a chart, frozen: what a tag pointed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciManifest {
    /// Digest of the manifest, which names the version whatever its tag points to later.
    pub digest: Digest,
    /// Digest of the packed chart.
    pub chart: Digest,
}

impl OciChart {
    /// The chart `chart` in the folder that `url` is. With `plain_http`, without TLS.
    pub fn new(url: &str, chart: &str, plain_http: bool) -> Result<Self, UrlError> {
        let rest = url.strip_prefix("oci://").ok_or(UrlError::Invalid)?;
        let (host, folder) = rest.split_once('/').unwrap_or((rest, ""));
        let scheme = if plain_http { "http" } else { "https" };
        let name = format!("{}/{chart}", folder.trim_matches('/'));
        let name = name.trim_start_matches('/').to_owned();
        let registry = Url::from_str(&format!("{scheme}://{host}"))?;
        if is_name(&name) { Ok(Self { registry, name }) } else { Err(UrlError::Invalid) }
    }

    fn url(&self, what: &str) -> Result<Url, FetchError> {
        let path = format!("/v2/{}/{what}", self.name);
        self.registry.join(&path).map_err(|_| FetchFailure::Unexpected.at(self.registry.host()))
    }

    fn failed(&self, failure: FetchFailure) -> FetchError {
        failure.at(self.registry.host())
    }
}

/// Lower case, digits and separators between them, as the specification wants.
fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let ends = [part.bytes().next(), part.bytes().next_back()];
        ends.iter().all(|byte| byte.is_some_and(is_inner))
            && part.bytes().all(|byte| is_inner(byte) || matches!(byte, b'-' | b'_' | b'.'))
    };
    name.len() <= 255 && name.split('/').all(is_part)
}

/// A version in the tag that Helm gives it, which may have no `+`.
fn tag_of(version: &str) -> Option<String> {
    let tag = version.replace('+', "_");
    let is_tag = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_good = (1..=TAG_BYTES).contains(&tag.len()) && tag.bytes().all(is_tag) && !tag.starts_with(['-', '.']);
    is_good.then_some(tag)
}

/// One chart in a registry, and the token for it.
#[derive(Debug)]
pub struct OciClient<'a> {
    fetcher: &'a Fetcher,
    source: &'a Source,
    chart: &'a OciChart,
    token: Option<HeaderValue>,
}

impl<'a> OciClient<'a> {
    /// Reads `chart`, without a token yet.
    #[must_use]
    pub fn new(fetcher: &'a Fetcher, source: &'a Source, chart: &'a OciChart) -> Self {
        Self { fetcher, source, chart, token: None }
    }

    /// The versions that have a tag, the newest first. Other tags are left out. [`Source::timeout`] bounds all pages together.
    pub async fn versions(&mut self) -> Result<Vec<Version>, FetchError> {
        let (source, chart) = (self.source, self.chart);
        source.in_time(&chart.registry, self.pages()).await
    }

    async fn pages(&mut self) -> Result<Vec<Version>, FetchError> {
        let mut next = Some(self.chart.url("tags/list?n=1000")?);
        let mut found: Vec<Version> = Vec::new();
        for _ in 0..PAGES {
            let Some(url) = next else { break };
            let (page, link): (TagPage, _) = self.json(&url, "application/json", PAGE_BYTES).await?;
            let tags = page.tags.unwrap_or_default();
            found.extend(tags.iter().filter_map(|tag| tag.replace('_', "+").parse().ok()));
            if found.len() > TAGS {
                return Err(self.chart.failed(FetchFailure::TooLarge { limit: PAGE_BYTES }));
            }
            next = self.next_page(&url, link.as_deref())?;
        }
        found.sort_by(|a, b| b.cmp(a));
        found.dedup();
        Ok(found)
    }

    /// Whether the registry answers who asks. It says nothing of the chart.
    pub async fn check(&mut self) -> Result<(), FetchError> {
        let registry = &self.chart.registry;
        let url = registry.join("/v2/").map_err(|_| FetchFailure::Unexpected.at(registry.host()))?;
        self.get(Request::new(&url, PAGE_BYTES)).await.map(drop)
    }

    /// What `version` points to now.
    pub async fn resolve(&mut self, version: &Version) -> Result<OciManifest, FetchError> {
        let tag = tag_of(version.as_str()).ok_or_else(|| self.chart.failed(FetchFailure::NotFound))?;
        self.manifest(&tag, None).await
    }

    /// The manifest with this digest.
    pub async fn resolve_digest(&mut self, digest: Digest) -> Result<OciManifest, FetchError> {
        self.manifest(&digest.to_string(), Some(digest)).await
    }

    /// The packed chart of `manifest`, of at most `limit` bytes.
    pub async fn packed(&mut self, manifest: &OciManifest, limit: usize) -> Result<Bytes, FetchError> {
        let url = self.chart.url(&format!("blobs/{}", manifest.chart))?;
        let (bytes, _) = self.get(Request::new(&url, limit)).await?;
        if Digest::of(&bytes) == manifest.chart {
            Ok(bytes)
        } else {
            Err(self.chart.failed(FetchFailure::DigestMismatch))
        }
    }

    async fn manifest(&mut self, reference: &str, expected: Option<Digest>) -> Result<OciManifest, FetchError> {
        let url = self.chart.url(&format!("manifests/{reference}"))?;
        let (bytes, _) = self.get(Request { accept: MANIFEST, ..Request::new(&url, MANIFEST_BYTES) }).await?;
        let digest = Digest::of(&bytes);
        if expected.is_some_and(|expected| expected != digest) {
            return Err(self.chart.failed(FetchFailure::DigestMismatch));
        }
        let layers = serde_json::from_slice(&bytes).map_or_else(|_| Vec::new(), |manifest: Manifest| manifest.layers);
        let layer = layers.iter().find(|layer| CHART_LAYERS.contains(&layer.media_type.as_str()));
        let chart = layer.and_then(|layer| layer.digest.parse().ok());
        chart.map(|chart| OciManifest { digest, chart }).ok_or_else(|| self.chart.failed(FetchFailure::Unexpected))
    }

    /// The page after `url`: on the same server only.
    fn next_page(&self, url: &Url, link: Option<&str>) -> Result<Option<Url>, FetchError> {
        let Some(link) = link.filter(|link| link.contains("rel=\"next\"") || link.contains("rel=next")) else {
            return Ok(None);
        };
        let target = link.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(target, _)| target);
        let next = url.join(target).ok().filter(|next| next.is_same_server(&self.chart.registry));
        next.map(Some).ok_or_else(|| self.chart.failed(FetchFailure::BadRedirect))
    }

    async fn json<T: DeserializeOwned>(
        &mut self,
        url: &Url,
        accept: &'static str,
        limit: usize,
    ) -> Result<(T, Option<String>), FetchError> {
        let (bytes, link) = self.get(Request { accept, ..Request::new(url, limit) }).await?;
        let read = serde_json::from_slice(&bytes).map_err(|_| FetchFailure::Unexpected.at(url.host()))?;
        Ok((read, link))
    }

    /// Fetches from the registry, with a token if it wants one. Also gives the header `Link`.
    async fn get(&mut self, request: Request<'_>) -> Result<(Bytes, Option<String>), FetchError> {
        let source = self.source;
        let fetching = async {
            let mut answer = self.ask(request).await?;
            if answer.status() == StatusCode::UNAUTHORIZED {
                self.token = self.authorization(&answer).await?;
                answer = self.ask(request).await?;
            }
            read(request, answer).await
        };
        source.in_time(request.url, fetching).await
    }

    async fn ask(&self, request: Request<'_>) -> Result<Answer, FetchError> {
        // The token first: a server takes one header only.
        let proof = self.token.as_ref().map_or(Proof::Nobody, Proof::Header);
        self.fetcher.send(self.source, request, proof).await
    }

    /// What the registry wants to see, which is told only to its host.
    async fn authorization(&self, refused: &Answer) -> Result<Option<HeaderValue>, FetchError> {
        let registry = &self.chart.registry;
        let unauthorized = || self.chart.failed(FetchFailure::Unauthorized);
        if !refused.url().is_same_server(registry) {
            return Err(unauthorized());
        }
        let mut headers = refused.headers().get_all(WWW_AUTHENTICATE).iter();
        let challenge = headers.find_map(|header| Challenge::read(header.to_str().ok()?)).ok_or_else(unauthorized)?;
        match challenge {
            Challenge::Bearer { realm, service } if !self.source.has_token(registry) => {
                self.token(&realm, &service).await.map(Some)
            }
            _ => self.source.authorization(registry).map(Some).ok_or_else(unauthorized),
        }
    }

    async fn token(&self, realm: &Url, service: &str) -> Result<HeaderValue, FetchError> {
        let unauthorized = || self.chart.failed(FetchFailure::Unauthorized);
        if self.chart.registry.is_https() && !realm.is_https() {
            return Err(unauthorized());
        }
        let url = Challenge::token_url(realm, service, &self.chart.name).ok_or_else(unauthorized)?;
        let request = Request { accept: "application/json", ..Request::new(&url, TOKEN_BYTES) };
        let (bytes, _) = read(request, self.fetcher.send(self.source, request, Proof::Source).await?).await?;
        let answer: Token = serde_json::from_slice(&bytes).map_err(|_| FetchFailure::Unexpected.at(url.host()))?;
        let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty()).ok_or_else(unauthorized)?;
        secret_header(&format!("Bearer {token}")).ok_or_else(unauthorized)
    }
}

async fn read(request: Request<'_>, answer: Answer) -> Result<(Bytes, Option<String>), FetchError> {
    let link = answer.headers().get(LINK).and_then(|link| link.to_str().ok()).map(str::to_owned);
    let mut bytes = Vec::new();
    answer.read(request, &mut bytes).await?;
    Ok((bytes.into(), link))
}

#[derive(Deserialize)]
struct TagPage {
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

#[cfg(test)]
mod tests;
