//! The requests to a bucket. What may succeed when it is sent again is sent again, within bounds.

use std::{collections::BTreeMap, io::Write, ops::Range, time::Duration};

use bytes::Bytes;
use drover_fetch::{Exchange, Exchanged, FetchFailure, Fetcher, Received, Source, Url};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{CONTENT_LENGTH, ETAG, HOST, IF_NONE_MATCH, RANGE},
};
use http_body_util::Full;
use k8s_openapi::jiff::Timestamp;
use rand::RngExt as _;
use tokio::time::sleep;

use crate::{
    answer::{self, Listed, Page, Upload},
    bucket::Bucket,
    error::{StoreError, StoreFailure},
    signature::{Keys, Presigned, Put, Signed, query_text},
};

/// Where the time of a signature comes from: only the shell reads the clock.
pub type Clock = fn() -> Timestamp;

/// How often a request is sent at most.
const ATTEMPTS: u32 = 4;
/// The pause after the first attempt; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Most bytes of a list, or of another answer in XML: 1,000 entries of 2 KiB each, and some.
const XML_BYTES: usize = 4 << 20;
/// Most entries of a page.
const PAGE: &str = "1000";

/// A bucket, and who asks there. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    fetcher: Fetcher,
    source: Source,
    bucket: Bucket,
    keys: Keys,
    clock: Clock,
}

/// An object that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// How many bytes it has.
    pub bytes: u64,
    /// Its `ETag`, if the store gives one.
    pub etag: Option<String>,
}

/// A part of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 1 to 10,000.
    pub number: u32,
    /// What the store answered when it was put.
    pub etag: String,
}

/// One request.
struct Asked<'a> {
    method: Method,
    /// Of an object; none for the bucket itself.
    key: Option<&'a str>,
    query: BTreeMap<&'static str, String>,
    headers: Vec<(HeaderName, String)>,
    body: Bytes,
    limit: usize,
}

impl<'a> Asked<'a> {
    fn new(method: Method, key: Option<&'a str>) -> Self {
        Self { method, key, query: BTreeMap::new(), headers: Vec::new(), body: Bytes::new(), limit: XML_BYTES }
    }

    fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.insert(name, value.into());
        self
    }

    fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// What becomes of a list with more entries than so many.
#[derive(Clone, Copy)]
enum Most {
    /// It is an error: what is missing would count as absent.
    OrFail(usize),
    /// It ends there.
    ThenEnd(usize),
}

impl Store {
    /// `source` says how the server is reached: which authorities are trusted, through which proxy, and how long one request may take. Its
    /// credentials are not used.
    #[must_use]
    pub fn new(fetcher: Fetcher, source: Source, bucket: Bucket, keys: Keys, clock: Clock) -> Self {
        Self { fetcher, source, bucket, keys, clock }
    }

    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// Writes an object, over one that is there.
    pub async fn put(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        let asked = Asked { body, ..Asked::new(Method::PUT, Some(key)) };
        self.send(&asked).await.map(drop)
    }

    /// Writes an object where there is none. One of the same bytes is the same object: the answer to an earlier attempt may be lost.
    pub async fn put_new(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        let asked = Asked { body, ..Asked::new(Method::PUT, Some(key)) }.header(IF_NONE_MATCH, "*");
        let Err(error) = self.send(&asked).await else { return Ok(()) };
        if error.failure != StoreFailure::Exists {
            return Err(error);
        }
        match self.get(key, asked.body.len()).await {
            Ok(found) if found == asked.body => Ok(()),
            Ok(_) => Err(error),
            Err(other) if matches!(other.failure, StoreFailure::Fetch(FetchFailure::TooLarge { .. })) => Err(error),
            Err(other) => Err(other),
        }
    }

    /// An object of at most `limit` bytes.
    pub async fn get(&self, key: &str, limit: usize) -> Result<Bytes, StoreError> {
        let mut pause = Pause::default();
        loop {
            let mut bytes = Vec::new();
            let asked = Asked { limit, ..Asked::new(Method::GET, Some(key)) };
            match self.send_once(&asked, &mut bytes).await {
                Ok(_) => return Ok(bytes.into()),
                Err(failure) => pause.after(failure).await.map_err(|failure| self.error(failure))?,
            }
        }
    }

    /// Reads an object of at most `limit` bytes, or a range of it, into `sink`: once, as what is in the sink cannot be taken back.
    pub async fn read(
        &self,
        key: &str,
        range: Option<Range<u64>>,
        limit: usize,
        sink: impl Write + Send,
    ) -> Result<Received, StoreError> {
        let mut asked = Asked { limit, ..Asked::new(Method::GET, Some(key)) };
        if let Some(range) = range {
            asked = asked.header(RANGE, format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        }
        let answer = self.send_once(&asked, sink).await.map_err(|failure| self.error(failure))?;
        answer.received.ok_or_else(|| self.error(StoreFailure::Unexpected))
    }

    /// Whether an object is there.
    pub async fn head(&self, key: &str) -> Result<Option<Found>, StoreError> {
        let answer = match self.send(&Asked::new(Method::HEAD, Some(key))).await {
            Err(error) if error.failure == StoreFailure::NotFound => return Ok(None),
            answer => answer?.headers,
        };
        let text = |name: HeaderName| answer.get(name).and_then(|value| value.to_str().ok());
        let bytes = text(CONTENT_LENGTH).and_then(|length| length.parse().ok());
        let bytes = bytes.ok_or_else(|| self.error(StoreFailure::Unexpected))?;
        Ok(Some(Found { bytes, etag: text(ETAG).and_then(answer::name) }))
    }

    /// Removes an object. One that is not there is removed.
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        match self.send(&Asked::new(Method::DELETE, Some(key))).await {
            Err(error) if error.failure != StoreFailure::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The objects with keys that begin with `prefix`, in order; at most `most` of them, or an error.
    pub async fn list(&self, prefix: &str, most: usize) -> Result<Vec<Listed>, StoreError> {
        let asked = Asked::new(Method::GET, None).query("list-type", "2").query("max-keys", PAGE);
        self.pages(asked.query("prefix", prefix), Most::OrFail(most), answer::listed).await
    }

    /// The uploads under `prefix` that are open; of more than `most` the first ones: who opens many hinders nobody by that.
    pub async fn list_uploads(&self, prefix: &str, most: usize) -> Result<Vec<Upload>, StoreError> {
        let asked = Asked::new(Method::GET, None).query("uploads", "").query("max-uploads", PAGE);
        self.pages(asked.query("prefix", prefix), Most::ThenEnd(most), answer::uploads).await
    }

    async fn pages<T>(
        &self,
        mut asked: Asked<'_>,
        most: Most,
        read: impl Fn(&[u8]) -> Result<Page<T>, StoreFailure>,
    ) -> Result<Vec<T>, StoreError> {
        let (mut found, mut entries) = (Vec::new(), 0);
        loop {
            let mut page = self.xml(&asked, &read).await?;
            let is_empty = page.entries == 0;
            entries += page.entries;
            found.append(&mut page.items);
            let Some(next) = page.next else { return Ok(found) };
            // A page without entries that is not the last one would go on for ever.
            match most {
                Most::ThenEnd(most) if !is_empty && entries >= most => return Ok(found),
                Most::OrFail(most) if entries > most => return Err(self.error(StoreFailure::Unexpected)),
                _ if is_empty => return Err(self.error(StoreFailure::Unexpected)),
                _ => {}
            }
            asked.query.extend(next);
        }
    }

    /// Opens an upload in parts, and gives its identity. It takes room until it is completed or aborted.
    pub async fn create_upload(&self, key: &str) -> Result<String, StoreError> {
        let asked = Asked::new(Method::POST, Some(key)).query("uploads", "");
        self.xml(&asked, answer::opened).await
    }

    /// A URL for one PUT of part `number` of an upload, of exactly `length` bytes, for `expires` from now.
    pub fn presign_part(
        &self,
        key: &str,
        upload: &str,
        number: u32,
        length: u64,
        expires: Duration,
    ) -> Result<Presigned, StoreError> {
        let path = self.bucket.path_of(key).map_err(|error| self.error(error.into()))?;
        let query = BTreeMap::from([("partNumber", number.to_string()), ("uploadId", upload.to_owned())]);
        let put = Put { path: &path, query, length, only_new: false };
        Ok(self.keys.presign_put(&self.bucket, put, expires, (self.clock)()))
    }

    /// A URL for one PUT of a new object of exactly `length` bytes, for `expires` from now. Whoever sends it has to send
    /// `If-None-Match: *` with it, so it replaces nothing.
    pub fn presign_put_new(&self, key: &str, length: u64, expires: Duration) -> Result<Presigned, StoreError> {
        let path = self.bucket.path_of(key).map_err(|error| self.error(error.into()))?;
        let put = Put { path: &path, query: BTreeMap::new(), length, only_new: true };
        Ok(self.keys.presign_put(&self.bucket, put, expires, (self.clock)()))
    }

    /// Makes an object of the parts of an upload, which are in order. After a lost answer there is no such upload any more: then
    /// [`head`](Self::head) says whether it was completed.
    pub async fn complete_upload(&self, key: &str, upload: &str, parts: &[Part]) -> Result<(), StoreError> {
        let body = answer::completion(parts.iter().map(|part| (part.number, part.etag.as_str())));
        let asked = Asked { body: body.into(), ..Asked::new(Method::POST, Some(key)) };
        self.xml(&asked.query("uploadId", upload), answer::completed).await
    }

    /// Ends an upload, and removes its parts. One that is not there has ended.
    pub async fn abort_upload(&self, key: &str, upload: &str) -> Result<(), StoreError> {
        let asked = Asked::new(Method::DELETE, Some(key)).query("uploadId", upload);
        match self.send(&asked).await {
            Err(error) if !matches!(error.failure, StoreFailure::NoUpload | StoreFailure::NotFound) => Err(error),
            _ => Ok(()),
        }
    }

    async fn xml<T>(
        &self,
        asked: &Asked<'_>,
        read: impl Fn(&[u8]) -> Result<T, StoreFailure>,
    ) -> Result<T, StoreError> {
        let mut pause = Pause::default();
        loop {
            let mut body = Vec::new();
            let answer = self.send_once(asked, &mut body).await;
            match answer.and_then(|_| read(&body)) {
                Ok(found) => return Ok(found),
                Err(failure) => pause.after(failure).await.map_err(|failure| self.error(failure))?,
            }
        }
    }

    /// Sends a request with an answer that nobody reads.
    async fn send(&self, asked: &Asked<'_>) -> Result<Exchanged, StoreError> {
        let mut pause = Pause::default();
        loop {
            match self.send_once(asked, std::io::sink()).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => pause.after(failure).await.map_err(|failure| self.error(failure))?,
            }
        }
    }

    async fn send_once(&self, asked: &Asked<'_>, sink: impl Write + Send) -> Result<Exchanged, StoreFailure> {
        let (url, headers) = self.signed(asked)?;
        let body = Full::new(asked.body.clone());
        let exchange = Exchange { method: asked.method.clone(), url: &url, headers, body, limit: asked.limit };
        let answer = self.fetcher.exchange(&self.source, exchange, sink).await?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        Err(answer::failure(answer.status.as_u16(), &answer.headers, &answer.refusal))
    }

    fn signed(&self, asked: &Asked<'_>) -> Result<(Url, HeaderMap), StoreFailure> {
        let path = match asked.key {
            Some(key) => self.bucket.path_of(key)?,
            None => self.bucket.path().to_owned(),
        };
        let query = query_text(&asked.query);
        let mark = if query.is_empty() { "" } else { "?" };
        let url = format!("{}{path}{mark}{query}", self.bucket.origin());
        let url: Url = url.parse().map_err(|_| StoreFailure::Unexpected)?;
        let host = url.uri().authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
        let mut headers: BTreeMap<&str, String> =
            asked.headers.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        headers.insert(HOST.as_str(), host);
        let signed = Signed { method: asked.method.as_str(), path: &path, query: &asked.query, headers: &headers };
        let proven = self.keys.authorize(&signed, &asked.body, self.bucket.region(), (self.clock)());
        let mut sent = HeaderMap::new();
        // The host is sent with every request.
        for (name, value) in proven.into_iter().filter(|(name, _)| *name != HOST.as_str()) {
            let name: HeaderName = name.parse().map_err(|_| StoreFailure::Unexpected)?;
            // A key with characters that no header can have is none that the server knows.
            let mut value: HeaderValue = value.parse().map_err(|_| StoreFailure::Keys)?;
            value.set_sensitive(true);
            sent.insert(name, value);
        }
        Ok((url, sent))
    }

    fn error(&self, failure: StoreFailure) -> StoreError {
        let origin = self.bucket.origin();
        let host = origin.split_once("://").map_or(origin, |(_, host)| host);
        StoreError { host: host.to_owned(), bucket: self.bucket.name().to_owned(), failure }
    }
}

/// The pauses between the attempts of one request.
#[derive(Default)]
struct Pause {
    attempts: u32,
}

impl Pause {
    /// Waits, if the request may be sent again after `failure`; else it has failed.
    async fn after(&mut self, failure: StoreFailure) -> Result<(), StoreFailure> {
        self.attempts += 1;
        if self.attempts >= ATTEMPTS || !failure.is_transient() {
            return Err(failure);
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.attempts).mul_f64(rand::rng().random_range(0.5..=1.0));
        let wanted = match failure {
            StoreFailure::SlowDown { retry_after } => retry_after.unwrap_or_default().min(Duration::from_secs(10)),
            _ => Duration::ZERO,
        };
        sleep(pause.max(wanted)).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
