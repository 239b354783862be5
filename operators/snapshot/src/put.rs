//! Uploads to presigned URLs, out of a file or out of memory, with retries.

use std::{
    io::{self, SeekFrom},
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use drover_backups::{ETag, FailureCause, PresignedUrl, StoreAccess, upload};
use drover_client::DialPolicy;
use drover_fetch::{Exchange, Exchanged, FetchError, Fetcher, Source, Trust, Url};
use futures::{StreamExt as _, stream, stream::BoxStream};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ETAG, IF_NONE_MATCH},
};
use hyper::body::{Body, Frame, SizeHint};
use rand::RngExt as _;
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
    time::sleep,
};

use crate::SnapshotError;

/// How often a part is sent at most.
const ATTEMPTS: u32 = 6;
/// The pause after the first attempt; it doubles with each further one, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// How long one part may take.
const PART_LIMIT: Duration = Duration::from_mins(10);
/// Bytes that are read at once.
const PIECE: usize = 256 * 1024;
/// Most bytes of an answer.
const ANSWER_BYTES: usize = 64 * 1024;

/// A store, as presigned URLs reach it.
pub(crate) struct Uploader {
    fetcher: Fetcher,
    source: Source,
}

/// What is sent.
#[derive(Clone)]
pub(crate) enum Content {
    /// A part of a file, from this offset on.
    File(PathBuf, u64),
    /// All of this.
    Memory(Bytes),
}

impl Uploader {
    pub(crate) fn new(store: &StoreAccess) -> Result<Self, SnapshotError> {
        let policy = if store.allow_local_addresses { DialPolicy::AllowLocal } else { DialPolicy::RefuseLocal };
        let trust = match &store.authorities {
            None => Trust::System,
            Some(pem) => Trust::from_pem(pem.as_bytes()).map_err(|error| {
                SnapshotError::new(FailureCause::TaskInvalid, format!("the CA bundle of the store {error}"))
            })?,
        };
        let source = Source { trust, timeout: PART_LIMIT, ..Source::default() };
        Ok(Self { fetcher: Fetcher::new(policy), source })
    }

    /// Uploads the first `bytes` of `path` in parts, each to the URL that signs its length.
    pub(crate) async fn put_file(
        &self,
        path: &Path,
        bytes: u64,
        urls: &[PresignedUrl],
    ) -> Result<Vec<ETag>, SnapshotError> {
        let lacking =
            || SnapshotError::new(FailureCause::TaskInvalid, "the task lacks a URL for a part of the snapshot");
        let (mut tags, mut offset) = (Vec::new(), 0);
        for (number, length) in upload::parts(bytes).ok_or_else(lacking)? {
            let url = urls.iter().find(|url| url.part == number && url.length == length).ok_or_else(lacking)?;
            let tag = self.put(url, &Content::File(path.to_owned(), offset)).await?;
            tags.push(tag.ok_or_else(|| without_name(number))?);
            offset += length;
        }
        Ok(tags)
    }

    /// Uploads `content`, which has the length that the URL signs, and gives the name that the store has for it, if any. What is in memory
    /// replaces nothing: if it is there after an attempt without an answer, that attempt put it there, as nobody else has the URL.
    pub(crate) async fn put(&self, to: &PresignedUrl, content: &Content) -> Result<Option<ETag>, SnapshotError> {
        let url: Url = to.expose_url().parse().map_err(|_| {
            SnapshotError::new(
                FailureCause::TaskInvalid,
                format!("the URL of part {} is none that can be dialled", to.part),
            )
        })?;
        let mut attempt = 1;
        loop {
            let failure = match self.put_once(&url, to.length, content).await {
                Ok(answer) => match judge(&answer, attempt) {
                    Ok(tag) => return Ok(tag),
                    Err(failure) => failure,
                },
                Err(Problem::Store(error)) => Failure::of(&error),
                Err(Problem::File(error)) => {
                    return Err(SnapshotError::storage("the spooled file cannot be read", &error));
                }
            };
            if attempt == ATTEMPTS || !failure.may_heal {
                let message = format!(
                    "part {} cannot be uploaded: {} {} ({attempt} attempts)",
                    to.part,
                    url.host(),
                    failure.text
                );
                return Err(SnapshotError::new(failure.cause, message));
            }
            sleep(pause(attempt)).await;
            attempt += 1;
        }
    }

    async fn put_once(&self, url: &Url, length: u64, content: &Content) -> Result<Exchanged, Problem> {
        let mut headers = HeaderMap::new();
        let body = match content {
            Content::Memory(bytes) => {
                headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
                Sized::new(stream::iter([Ok(bytes.clone())]).boxed(), length)
            }
            Content::File(path, offset) => {
                Sized::new(pieces(path, *offset, length).await.map_err(Problem::File)?, length)
            }
        };
        let exchange = Exchange { method: Method::PUT, url, headers, body, limit: ANSWER_BYTES };
        self.fetcher.exchange(&self.source, exchange, io::sink()).await.map_err(Problem::Store)
    }
}

enum Problem {
    File(io::Error),
    Store(FetchError),
}

/// Why an attempt failed.
struct Failure {
    cause: FailureCause,
    may_heal: bool,
    text: String,
}

impl Failure {
    fn of(error: &FetchError) -> Self {
        Self { cause: FailureCause::StoreUnavailable, may_heal: true, text: error.failure.to_string() }
    }
}

/// What the store called it, if it says so, or why it did not take it.
fn judge(answer: &Exchanged, attempt: u32) -> Result<Option<ETag>, Failure> {
    let status = answer.status;
    if status.is_success() || (status == StatusCode::PRECONDITION_FAILED && attempt > 1) {
        let tag = answer.headers.get(ETAG).and_then(|tag| tag.to_str().ok());
        return Ok(tag.and_then(|tag| ETag::from_header(tag).ok()));
    }
    if status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) {
        let text = format!("fails or is overloaded ({})", status.as_u16());
        return Err(Failure { cause: FailureCause::StoreUnavailable, may_heal: true, text });
    }
    let advice = match status.as_u16() {
        403 => "the URL has expired, or the keys of the store may not upload: look at the BackupStore",
        404 => "the bucket or the upload is gone",
        412 => "it is there already, as another Job of the attempt uploaded it: create another backup",
        _ => "look at the BackupStore",
    };
    let text = format!("refuses it ({}): {advice}", status.as_u16());
    Err(Failure { cause: FailureCause::StoreRefused, may_heal: false, text })
}

fn without_name(number: u16) -> SnapshotError {
    let message = format!("the store names part {number} by no ETag: use a store that is compatible with S3");
    SnapshotError::new(FailureCause::StoreRefused, message)
}

/// A random part of what has grown with each attempt, so that many do not come back at the same time.
fn pause(attempt: u32) -> Duration {
    let most = FIRST_PAUSE.saturating_mul(1 << attempt.min(16)).min(LONGEST_PAUSE);
    most.mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// `length` bytes of a file, from `offset` on.
async fn pieces(path: &Path, offset: u64, length: u64) -> io::Result<BoxStream<'static, io::Result<Bytes>>> {
    let mut file = File::open(path).await?;
    file.seek(SeekFrom::Start(offset)).await?;
    let pieces = stream::try_unfold(file.take(length), |mut file| async move {
        let mut piece = Vec::with_capacity(PIECE);
        (&mut file).take(PIECE as u64).read_to_end(&mut piece).await?;
        Ok((!piece.is_empty()).then(|| (Bytes::from(piece), file)))
    });
    Ok(pieces.boxed())
}

/// A body that says how long it is.
struct Sized {
    pieces: BoxStream<'static, io::Result<Bytes>>,
    left: u64,
}

impl Sized {
    fn new(pieces: BoxStream<'static, io::Result<Bytes>>, length: u64) -> Self {
        Self { pieces, left: length }
    }
}

impl Body for Sized {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = self.pieces.poll_next_unpin(context);
        if let Poll::Ready(Some(Ok(piece))) = &piece {
            self.left = self.left.saturating_sub(piece.len() as u64);
        }
        piece.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests;
