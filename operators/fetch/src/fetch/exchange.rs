//! One request with a method, headers and a body of its own, as interfaces of stores need it.

use std::{error::Error, io::Write};

use http::{
    HeaderMap, Method, Request as HttpRequest, StatusCode,
    header::{CONTENT_LENGTH, ETAG, HOST, USER_AGENT},
};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Body, Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;

use super::{AGENT, Counted, ETAG_BYTES, Fetcher, HEADER_BYTES, Received, text};
use crate::{
    fetch_error::{FetchError, FetchFailure},
    source::Source,
    url::Url,
};

/// Most bytes that are kept of an answer that is no success.
const REFUSAL_BYTES: usize = 64 * 1024;

/// A request that is sent as it is: no credentials of the source are added, and no redirect is followed.
#[derive(Debug)]
pub struct Exchange<'a, B = Full<Bytes>> {
    /// The method.
    pub method: Method,
    /// Where to.
    pub url: &'a Url,
    /// The headers, beside those that every request has.
    pub headers: HeaderMap,
    /// The body. It says how long it is, so that the server knows before it comes.
    pub body: B,
    /// Most bytes of an answer that is a success.
    pub limit: usize,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Exchanged {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// What arrived in the sink, if the answer is a success.
    pub received: Option<Received>,
    /// The body of an answer that is no success: the first 64 KiB. It may hold anything, so no text for people shows it.
    pub refusal: Bytes,
}

impl Fetcher {
    /// Sends a request once, and reads the body of a success into `sink`. What is in it after an error is of no use.
    pub async fn exchange<B>(
        &self,
        source: &Source,
        exchange: Exchange<'_, B>,
        sink: impl Write + Send,
    ) -> Result<Exchanged, FetchError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let url = exchange.url;
        let answering =
            async { self.exchange_once(source, exchange, sink).await.map_err(|failure| failure.at(url.host())) };
        source.in_time(url, answering).await
    }

    async fn exchange_once<B>(
        &self,
        source: &Source,
        exchange: Exchange<'_, B>,
        sink: impl Write + Send,
    ) -> Result<Exchanged, FetchFailure>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let Exchange { method, url, headers, body, limit } = exchange;
        let is_head = method == Method::HEAD;
        let authority = url.uri().authority().map_or("", |authority| authority.as_str());
        let built = HttpRequest::builder().method(method).uri(url.path_and_query());
        let built = built.header(HOST, authority).header(USER_AGENT, AGENT).body(body);
        let mut request = built.map_err(|_| FetchFailure::Unexpected)?;
        request.headers_mut().extend(headers);
        let stream = self.dialler.connect(source, url).await?;
        let mut builder = http1::Builder::new();
        let handshake = builder.max_buf_size(HEADER_BYTES).handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(|_| FetchFailure::Interrupted)?;
        // It ends with the answer, or once nobody waits for it.
        tokio::spawn(async move { connection.await.ok() });
        let sent = sender.send_request(request).await;
        let response =
            sent.map_err(|error| if error.is_parse() { FetchFailure::Unexpected } else { FetchFailure::Interrupted })?;
        let (head, body) = response.into_parts();
        let mut answer =
            Exchanged { status: head.status, headers: head.headers, received: None, refusal: Bytes::new() };
        if is_head {
            return Ok(answer);
        }
        if answer.status.is_success() {
            answer.received = Some(receive(&answer.headers, body, limit, sink).await?);
        } else {
            answer.refusal = refusal(body).await;
        }
        Ok(answer)
    }
}

async fn receive(
    headers: &HeaderMap,
    mut body: Incoming,
    limit: usize,
    sink: impl Write + Send,
) -> Result<Received, FetchFailure> {
    let announced = text(headers, &CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(FetchFailure::TooLarge { limit });
    }
    let mut counted = Counted::new(sink, limit);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| FetchFailure::Interrupted)?.into_data() else { continue };
        counted.write_all(&data).map_err(|_| counted.failure(FetchFailure::Storage))?;
    }
    counted.flush().map_err(|_| FetchFailure::Storage)?;
    let etag = text(headers, &ETAG).filter(|etag| etag.len() <= ETAG_BYTES).map(str::to_owned);
    Ok(Received { bytes: counted.bytes, digest: counted.digester.finish(), etag })
}

/// The beginning of a body. One that breaks off is as good as one that ends.
async fn refusal(mut body: Incoming) -> Bytes {
    let mut kept = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        let room = REFUSAL_BYTES - kept.len();
        kept.extend(data.iter().take(room));
        if kept.len() == REFUSAL_BYTES {
            break;
        }
    }
    kept.into()
}
