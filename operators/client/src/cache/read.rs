//! Reads lists and watches: one object at a time, so that neither memory nor a thread is taken by an answer as a whole.

use std::pin::Pin;

use futures::{AsyncBufRead, AsyncBufReadExt as _};
use http::{HeaderValue, header::ACCEPT_ENCODING};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client,
    api::{ListParams, WatchParams},
    core::{ListMeta, Request, Status},
};
use serde::{Deserialize, de::DeserializeOwned, de::IgnoredAny};

use super::{
    Kept, bare,
    memory_budget::weight,
    objects::{Entry, Metadata},
    split::{Excess, LineSplitter, ListSplitter, Part},
};
use crate::{error::ApiError, request::request};

/// Most that whoever looks once may be shown, in bytes as they are estimated.
const ROOM: usize = 64 << 20;
/// After so many bytes others have their turn on the thread.
const TURN: usize = 64 << 10;

/// What came, or why it was not taken.
pub(super) type Taken<T> = kube::Result<Result<T, Excess>>;
/// What a part decodes to, or the excess of one of which too little is known.
pub(super) type Decoded<T> = serde_json::Result<Result<T, Excess>>;

/// Reads one kind of one server.
pub(super) struct Reader {
    client: Client,
    request: Request,
}

/// A page of a list.
pub(super) struct Page<T> {
    pub(super) objects: Vec<T>,
    pub(super) metadata: ListMeta,
}

impl Reader {
    pub(super) fn new(client: Client, url: &str) -> Self {
        Self { client, request: Request::new(url) }
    }

    /// A page of a list, as far as `takes` takes the weight of its objects.
    pub(super) async fn page<K: Kept>(
        &self,
        params: &ListParams,
        mut takes: impl FnMut(usize) -> bool,
    ) -> Taken<Page<Entry<K>>> {
        let request = self.request.list(params).map_err(kube::Error::BuildRequest)?;
        page(&self.client, request, Entry::of_part, |entry| takes(entry.weight())).await
    }

    /// The changes since `version`.
    pub(super) async fn watch(&self, params: &WatchParams, version: &str) -> kube::Result<Events> {
        let mut request = self.request.watch(params, version).map_err(kube::Error::BuildRequest)?;
        // From 1.37 on every event of a watch is compressed by itself, which few can read.
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let body = Body::new(self.client.request_stream(request).await?);
        Ok(Events { body, splitter: LineSplitter::default() })
    }
}

/// The metadata of the objects on the first page of a list, for those who look once. An answer that exceeds what is accepted is
/// [`ApiError::TooLarge`].
pub async fn list_metadata<K: Kept>(
    what: impl Into<String>,
    api: &Api<K>,
    params: &ListParams,
) -> Result<Vec<ObjectMeta>, ApiError> {
    let what = what.into();
    let listed = async {
        let asked = Request::new(api.resource_url()).list_metadata(params).map_err(kube::Error::BuildRequest)?;
        let decode = |part: &Part| {
            let meta = match part.excess {
                None => Metadata::decode(&part.json)?,
                Some(excess) => match bare::identity(&part.json) {
                    Some(meta) => meta,
                    None => return Ok(Err(excess)),
                },
            };
            Ok(Ok((part.json.len(), meta)))
        };
        let mut room = ROOM;
        let takes = |(length, meta): &(usize, ObjectMeta)| {
            room = room.saturating_sub(weight(meta, meta).max(*length));
            room > 0
        };
        page(&api.clone().into_client(), asked, decode, takes).await
    };
    match request(&*what, listed).await? {
        Ok(page) => Ok(page.objects.into_iter().map(|(_, meta)| meta).collect()),
        Err(_) => Err(ApiError::TooLarge { what }),
    }
}

/// A page of a list, for those who look once. Each object is decoded by itself, and counts as many bytes as it came with and at least
/// `least`, so that many tiny ones do not grow without bound. One that is larger than what is accepted, and a page that is, is
/// [`ApiError::TooLarge`].
///
/// # Errors
/// Those of a request, and what is too large.
pub async fn list_page<K>(
    what: impl Into<String>,
    api: &Api<K>,
    params: &ListParams,
    least: usize,
) -> Result<(Vec<K>, Option<String>), ApiError>
where
    K: kube::Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let what = what.into();
    let listed = async {
        let asked = Request::new(api.resource_url()).list(params).map_err(kube::Error::BuildRequest)?;
        let decode = |part: &Part| match part.excess {
            None => Ok(Ok((part.json.len(), serde_json::from_slice::<K>(&part.json)?))),
            Some(excess) => Ok(Err(excess)),
        };
        let mut room = ROOM;
        let takes = |(length, _): &(usize, K)| {
            room = room.saturating_sub((*length).max(least));
            room > 0
        };
        page(&api.clone().into_client(), asked, decode, takes).await
    };
    match request(&*what, listed).await? {
        Ok(page) => {
            let next = page.metadata.continue_.filter(|token| !token.is_empty());
            Ok((page.objects.into_iter().map(|(_, object)| object).collect(), next))
        }
        Err(_) => Err(ApiError::TooLarge { what }),
    }
}

async fn page<T>(
    client: &Client,
    request: http::Request<Vec<u8>>,
    decode: impl Fn(&Part) -> Decoded<T>,
    mut takes: impl FnMut(&T) -> bool,
) -> Taken<Page<T>> {
    let mut body = Body::new(client.request_stream(request).await?);
    let (mut splitter, mut objects) = (ListSplitter::default(), Vec::new());
    loop {
        match body.next(|bytes| splitter.take(bytes)).await? {
            Ok(Some(item)) => {
                let object = match decode(&item).map_err(kube::Error::SerdeError)? {
                    Ok(object) => object,
                    Err(excess) => return Ok(Err(excess)),
                };
                if !takes(&object) {
                    return Ok(Err(Excess::Memory));
                }
                objects.push(object);
            }
            Ok(None) => break,
            Err(excess) => return Ok(Err(excess)),
        }
    }
    let frame: Frame = serde_json::from_slice(&splitter.frame()).map_err(kube::Error::SerdeError)?;
    // A key that is written with an escape holds objects that nobody has looked at.
    if frame.items.is_some_and(|items| !items.is_empty()) {
        return Ok(Err(Excess::Frame));
    }
    Ok(Ok(Page { objects, metadata: frame.metadata }))
}

/// A list without its objects.
#[derive(Deserialize)]
struct Frame {
    metadata: ListMeta,
    items: Option<Vec<IgnoredAny>>,
}

/// The events of a watch.
pub(super) struct Events {
    body: Body,
    splitter: LineSplitter,
}

/// An event of a watch.
pub(super) enum Event<K> {
    /// The object is there, like this.
    Shown(Entry<K>),
    /// The object is gone, and was like this.
    Gone(Entry<K>),
    /// Nothing else has changed up to this version.
    Bookmark(String),
    /// The server ends the watch with this error.
    Refused(Box<Status>),
}

impl Events {
    /// The next one; none at the end.
    pub(super) async fn next<K: Kept>(&mut self) -> Taken<Option<Event<K>>> {
        let splitter = &mut self.splitter;
        match self.body.next(|bytes| splitter.take(bytes)).await? {
            Ok(Some(line)) => Event::of_part(&line).map(|event| event.map(Some)).map_err(kube::Error::SerdeError),
            Ok(None) => Ok(Ok(None)),
            Err(excess) => Ok(Err(excess)),
        }
    }
}

impl<K: Kept> Event<K> {
    fn of_part(part: &Part) -> Decoded<Self> {
        let Some(excess) = part.excess else { return Self::decode(&part.json).map(Ok) };
        Ok(match bare::event(&part.json) {
            Some((kind, meta)) if kind == "DELETED" => Ok(Self::Gone(Entry::beyond(excess, meta))),
            Some((kind, meta)) if kind == "ADDED" || kind == "MODIFIED" => Ok(Self::Shown(Entry::beyond(excess, meta))),
            _ => Err(excess),
        })
    }

    fn decode(line: &[u8]) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Type {
            r#type: String,
        }
        #[derive(Deserialize)]
        struct Of<T> {
            object: T,
        }
        #[derive(Deserialize)]
        struct Bookmark {
            metadata: ListMeta,
        }
        fn object<T: DeserializeOwned>(line: &[u8]) -> serde_json::Result<T> {
            serde_json::from_slice::<Of<T>>(line).map(|of| of.object)
        }
        let entry = || Entry::decode_with(|| object(line), || object(line));
        let Type { r#type } = serde_json::from_slice(line)?;
        Ok(match r#type.as_str() {
            "DELETED" => Self::Gone(entry()?),
            "BOOKMARK" => Self::Bookmark(object::<Bookmark>(line)?.metadata.resource_version.unwrap_or_default()),
            "ERROR" => Self::Refused(Box::new(object(line)?)),
            _ => Self::Shown(entry()?),
        })
    }
}

/// The body of an answer.
struct Body {
    bytes: Pin<Box<dyn AsyncBufRead + Send>>,
    /// Since others had their turn.
    taken: usize,
}

impl Body {
    fn new(bytes: impl AsyncBufRead + Send + 'static) -> Self {
        Self { bytes: Box::pin(bytes), taken: 0 }
    }

    /// The next part as `take` cuts it off; none at the end.
    async fn next(
        &mut self,
        mut take: impl FnMut(&[u8]) -> Result<(usize, Option<Part>), Excess>,
    ) -> Taken<Option<Part>> {
        loop {
            if self.taken >= TURN {
                self.taken = 0;
                tokio::task::yield_now().await;
            }
            let bytes = self.bytes.fill_buf().await.map_err(kube::Error::ReadEvents)?;
            if bytes.is_empty() {
                return Ok(Ok(None));
            }
            let (taken, part) = match take(bytes) {
                Ok(taken) => taken,
                Err(excess) => return Ok(Err(excess)),
            };
            self.bytes.consume_unpin(taken);
            self.taken += taken;
            if part.is_some() {
                return Ok(Ok(part));
            }
        }
    }
}
