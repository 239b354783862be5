//! Fetches from HTTP servers within bounds of size, time and redirects, and tells credentials to no other server.

mod exchange;

use std::{fmt, io::Write, time::Duration};

use drover_client::DialPolicy;
use flate2::write::GzDecoder;
use http::{
    HeaderMap, HeaderValue, Request as HttpRequest, Response, StatusCode,
    header::{
        ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HOST, HeaderName,
        IF_NONE_MATCH, LOCATION, RETRY_AFTER, USER_AGENT,
    },
};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use tokio::{task::yield_now, time::timeout};

pub use self::exchange::{Exchange, Exchanged};
use crate::{
    dial::Dialler,
    digest::{Digest, Digester},
    fetch_error::{FetchError, FetchFailure},
    source::Source,
    url::Url,
};

/// Most redirects of one request.
const REDIRECTS: usize = 5;
/// Most time that a server may ask for before it is asked again.
const RETRY_LIMIT: Duration = Duration::from_hours(1);
/// Most bytes of the headers of an answer.
const HEADER_BYTES: usize = 64 * 1024;
/// Compressed bytes that are expanded before other tasks get their turn.
const PIECE: usize = 8 * 1024;
/// Most bytes of an `ETag` that is kept.
const ETAG_BYTES: usize = 256;

const AGENT: HeaderValue = HeaderValue::from_static(concat!("drover/", env!("CARGO_PKG_VERSION")));

/// What to fetch.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Where it is.
    pub url: &'a Url,
    /// The kinds of content that do, as in the header `Accept`.
    pub accept: &'static str,
    /// The `ETag` of what is there already.
    pub etag: Option<&'a str>,
    /// Whether it may be sent in gzip, which is expanded within `limit`. Otherwise gzip is what was asked for.
    pub may_compress: bool,
    /// Most bytes, expanded.
    pub limit: usize,
}

impl<'a> Request<'a> {
    /// Anything at `url` of at most `limit` bytes.
    #[must_use]
    pub fn new(url: &'a Url, limit: usize) -> Self {
        Self { url, accept: "*/*", etag: None, may_compress: false, limit }
    }
}

/// What was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// What is there already is current.
    NotModified,
    /// Its bytes are in the sink.
    Body(Received),
}

/// What arrived in the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// How many bytes, expanded.
    pub bytes: usize,
    /// Their digest.
    pub digest: Digest,
    /// The `ETag`, if the server gave one of at most 256 bytes.
    pub etag: Option<String>,
}

/// Fetches from HTTP servers. Clones share what they know of this machine.
#[derive(Clone)]
pub struct Fetcher {
    dialler: Dialler,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Fetcher").finish_non_exhaustive()
    }
}

/// An answer, of which the body was not read yet.
#[derive(Debug)]
pub struct Answer {
    url: Url,
    response: Response<Incoming>,
}

/// How a request proves who asks.
#[derive(Clone, Copy, Debug)]
pub enum Proof<'a> {
    /// Not at all.
    Nobody,
    /// By the credentials of the source.
    Source,
    /// By this header, on the server of the request only.
    Header(&'a HeaderValue),
}

impl Fetcher {
    /// Dials the addresses that `policy` allows, and trusts the authorities of this machine where a source names no others.
    /// Reads their files.
    #[must_use]
    pub fn new(policy: DialPolicy) -> Self {
        Self::trusting(policy, rustls_native_certs::load_native_certs().certs)
    }

    fn trusting(policy: DialPolicy, authorities: Vec<CertificateDer<'static>>) -> Self {
        Self { dialler: Dialler::new(policy, authorities) }
    }

    /// Fetches into `sink`. What is in it after an error is of no use.
    pub async fn fetch(
        &self,
        source: &Source,
        request: Request<'_>,
        sink: impl Write + Send,
    ) -> Result<Fetched, FetchError> {
        let fetching = async {
            let answer = self.send(source, request, Proof::Source).await?;
            if answer.status() == StatusCode::NOT_MODIFIED && request.etag.is_some() {
                return Ok(Fetched::NotModified);
            }
            answer.read(request, sink).await.map(Fetched::Body)
        };
        source.in_time(request.url, fetching).await
    }

    /// Fetches into memory.
    pub async fn bytes(&self, source: &Source, request: Request<'_>) -> Result<Bytes, FetchError> {
        let mut bytes = Vec::new();
        match self.fetch(source, request, &mut bytes).await? {
            Fetched::Body(_) => Ok(bytes.into()),
            Fetched::NotModified => Err(FetchFailure::Unexpected.at(request.url.host())),
        }
    }

    /// Sends a request, and follows redirects. It has no limit of time: [`Source::in_time`] gives it one.
    pub async fn send(&self, source: &Source, request: Request<'_>, proof: Proof<'_>) -> Result<Answer, FetchError> {
        let mut url = request.url.clone();
        for _ in 0..=REDIRECTS {
            let failed = |failure: FetchFailure| failure.at(url.host());
            let authorization = match proof {
                Proof::Nobody => None,
                Proof::Source => source.authorization(&url),
                Proof::Header(header) => url.is_same_server(request.url).then(|| header.clone()),
            };
            let response = self.send_once(source, &url, request, authorization).await.map_err(failed)?;
            match redirect(&url, &response).map_err(failed)? {
                Some(next) => url = next,
                None => return Ok(Answer { url, response }),
            }
        }
        Err(FetchFailure::TooManyRedirects.at(url.host()))
    }

    async fn send_once(
        &self,
        source: &Source,
        url: &Url,
        request: Request<'_>,
        authorization: Option<HeaderValue>,
    ) -> Result<Response<Incoming>, FetchFailure> {
        let stream = self.dialler.connect(source, url).await?;
        let mut builder = http1::Builder::new();
        let handshake = builder.max_buf_size(HEADER_BYTES).handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(|_| FetchFailure::Interrupted)?;
        // It ends with the answer, or once nobody waits for it.
        tokio::spawn(connection);
        let sent = sender.send_request(http_request(url, request, authorization)?).await;
        sent.map_err(|error| if error.is_parse() { FetchFailure::Unexpected } else { FetchFailure::Interrupted })
    }
}

impl Answer {
    /// Who answers: after redirects, another server than was asked.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Reads the body into `sink`, if the status says that there is one.
    pub async fn read(self, request: Request<'_>, sink: impl Write + Send) -> Result<Received, FetchError> {
        let failed = |failure: FetchFailure| failure.at(self.url.host());
        check_status(self.response.status(), self.response.headers()).map_err(failed)?;
        receive(request, self.response, sink).await.map_err(failed)
    }
}

impl Source {
    /// Gives `fetching` from `url` the time that there is for one request.
    pub async fn in_time<T>(
        &self,
        url: &Url,
        fetching: impl Future<Output = Result<T, FetchError>>,
    ) -> Result<T, FetchError> {
        timeout(self.timeout, Box::pin(fetching)).await.unwrap_or_else(|_| Err(FetchFailure::Timeout.at(url.host())))
    }
}

fn http_request(
    url: &Url,
    request: Request<'_>,
    authorization: Option<HeaderValue>,
) -> Result<HttpRequest<Empty<Bytes>>, FetchFailure> {
    let authority = url.uri().authority().map_or("", |authority| authority.as_str());
    let encoding = if request.may_compress { "gzip" } else { "identity" };
    let mut built = HttpRequest::get(url.path_and_query())
        .header(HOST, authority)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, request.accept)
        .header(ACCEPT_ENCODING, encoding);
    if let Some(authorization) = authorization {
        built = built.header(AUTHORIZATION, authorization);
    }
    if let Some(etag) = request.etag {
        built = built.header(IF_NONE_MATCH, etag);
    }
    built.body(Empty::new()).map_err(|_| FetchFailure::Unexpected)
}

/// Where `response` redirects to.
fn redirect(url: &Url, response: &Response<Incoming>) -> Result<Option<Url>, FetchFailure> {
    let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    if !is_redirect {
        return Ok(None);
    }
    let location = text(response.headers(), &LOCATION).ok_or(FetchFailure::BadRedirect)?;
    let next = url.join(location).map_err(|_| FetchFailure::BadRedirect)?;
    // What comes without TLS may come from anybody.
    if url.is_https() && !next.is_https() { Err(FetchFailure::BadRedirect) } else { Ok(Some(next)) }
}

/// Whether there is a body to read.
fn check_status(status: StatusCode, headers: &HeaderMap) -> Result<(), FetchFailure> {
    Err(match status.as_u16() {
        200 => return Ok(()),
        401 => FetchFailure::Unauthorized,
        403 => FetchFailure::Forbidden,
        404 | 410 => FetchFailure::NotFound,
        429 => FetchFailure::TooManyRequests { retry_after: retry_after(headers) },
        status @ (408 | 500..=599) => FetchFailure::Server { status },
        status => FetchFailure::Status { status },
    })
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = text(headers, &RETRY_AFTER)?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_LIMIT))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Reads the body into `sink`.
async fn receive(
    request: Request<'_>,
    response: Response<Incoming>,
    sink: impl Write + Send,
) -> Result<Received, FetchFailure> {
    let (head, mut body) = response.into_parts();
    let limit = request.limit;
    let announced = text(&head.headers, &CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(FetchFailure::TooLarge { limit });
    }
    let mut decoder = Decoder::new(&head.headers, request, Counted::new(sink, limit))?;
    let mut raw = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| FetchFailure::Interrupted)?;
        let Ok(data) = frame.into_data() else { continue };
        raw += data.len();
        if raw > limit {
            return Err(FetchFailure::TooLarge { limit });
        }
        for piece in data.chunks(PIECE) {
            decoder.write(piece)?;
            yield_now().await;
        }
    }
    let etag = text(&head.headers, &ETAG).filter(|etag| etag.len() <= ETAG_BYTES).map(str::to_owned);
    let Counted { bytes, digester, .. } = decoder.finish()?;
    Ok(Received { bytes, digest: digester.finish(), etag })
}

/// Expands what is compressed.
enum Decoder<W: Write> {
    Plain(Counted<W>),
    Gzip(Box<GzDecoder<Counted<W>>>),
}

impl<W: Write> Decoder<W> {
    fn new(headers: &HeaderMap, request: Request<'_>, sink: Counted<W>) -> Result<Self, FetchFailure> {
        match text(headers, &CONTENT_ENCODING).unwrap_or("identity") {
            "identity" => Ok(Self::Plain(sink)),
            // Servers say so of files that are gzip by themselves, such as charts.
            "gzip" | "x-gzip" if !request.may_compress => Ok(Self::Plain(sink)),
            "gzip" | "x-gzip" => Ok(Self::Gzip(Box::new(GzDecoder::new(sink)))),
            _ => Err(FetchFailure::Encoding),
        }
    }

    fn write(&mut self, piece: &[u8]) -> Result<(), FetchFailure> {
        match self {
            Self::Plain(sink) => sink.write_all(piece).map_err(|_| sink.failure(FetchFailure::Storage)),
            Self::Gzip(gzip) => gzip.write_all(piece).map_err(|_| gzip.get_ref().failure(FetchFailure::Encoding)),
        }
    }

    fn finish(self) -> Result<Counted<W>, FetchFailure> {
        let mut sink = match self {
            Self::Plain(sink) => sink,
            Self::Gzip(mut gzip) => {
                gzip.try_finish().map_err(|_| gzip.get_ref().failure(FetchFailure::Encoding))?;
                gzip.finish().map_err(|_| FetchFailure::Encoding)?
            }
        };
        sink.flush().map_err(|_| FetchFailure::Storage)?;
        Ok(sink)
    }
}

/// Counts and digests what goes into a sink, up to a bound.
struct Counted<W> {
    sink: W,
    limit: usize,
    bytes: usize,
    digester: Box<Digester>,
    failure: Option<FetchFailure>,
}

impl<W> Counted<W> {
    fn new(sink: W, limit: usize) -> Self {
        Self { sink, limit, bytes: 0, digester: Box::default(), failure: None }
    }

    /// Why writing failed: here, or else for `outside`.
    fn failure(&self, outside: FetchFailure) -> FetchFailure {
        self.failure.unwrap_or(outside)
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if bytes.len() > self.limit - self.bytes {
            self.failure = Some(FetchFailure::TooLarge { limit: self.limit });
            return Err(std::io::Error::other("the bound is reached"));
        }
        let written = self.sink.write(bytes).inspect_err(|_| self.failure = Some(FetchFailure::Storage))?;
        self.digester.update(bytes.get(..written).unwrap_or(bytes));
        self.bytes += written;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.sink.flush()
    }
}

#[cfg(test)]
mod tests;
