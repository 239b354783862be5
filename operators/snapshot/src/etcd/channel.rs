//! gRPC over HTTP/2: one connection to one member, with TLS or over a socket of this machine.

use std::{marker::PhantomData, path::Path, sync::Arc, time::Duration};

use bytes::{Buf as _, Bytes, BytesMut};
use drover_fetch::Url;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// How long a member may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Most bytes of one message; etcd sends a snapshot in pieces of 32 KiB.
const MESSAGE_BYTES: usize = 4 << 20;
/// Bytes that are under way at most.
const WINDOW: u32 = 1 << 20;
/// Before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// Why a member did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RpcError {
    /// There is no connection.
    #[error("cannot be reached")]
    Unreachable,
    /// The two do not trust each other.
    #[error("refuses the TLS connection, or its certificate is of another authority")]
    Tls,
    /// It answers that it does not do that.
    #[error("answers {message:?} (gRPC status {code})")]
    Status {
        /// As gRPC defines it.
        code: u32,
        /// What it says, cut.
        message: String,
    },
    /// The connection ended, or holds something else than gRPC.
    #[error("broke off the connection, or does not speak gRPC")]
    Broken,
    /// It did not answer in time.
    #[error("did not answer in time")]
    Timeout,
}

/// How TLS with members is made.
#[derive(Clone)]
pub(crate) struct Tls(Arc<ClientConfig>);

/// Which of the files cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsFile {
    Authority,
    Certificate,
    Key,
}

impl Tls {
    /// From PEM.
    pub(crate) fn new(authority: &[u8], certificate: &[u8], key: &[u8]) -> Result<Self, TlsFile> {
        let certificates = |pem| -> Option<Vec<CertificateDer<'static>>> {
            let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            all.ok().filter(|all| !all.is_empty())
        };
        let mut roots = RootCertStore::empty();
        for one in certificates(authority).ok_or(TlsFile::Authority)? {
            roots.add(one).map_err(|_| TlsFile::Authority)?;
        }
        let chain = certificates(certificate).ok_or(TlsFile::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsFile::Key)?;
        let config = ClientConfig::builder().with_root_certificates(roots).with_client_auth_cert(chain, key);
        let mut config = config.map_err(|_| TlsFile::Key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

/// A connection to a member.
#[derive(Clone)]
pub(super) struct Channel {
    sender: http2::SendRequest<Full<Bytes>>,
    /// Scheme and host of every request.
    origin: String,
}

impl Channel {
    pub(super) async fn tls(url: &Url, tls: &Tls) -> Result<Self, RpcError> {
        let connecting = async {
            let tcp = TcpStream::connect((url.host(), url.port())).await.map_err(|_| RpcError::Unreachable)?;
            tcp.set_nodelay(true).map_err(|_| RpcError::Unreachable)?;
            let name = ServerName::try_from(url.host().to_owned()).map_err(|_| RpcError::Tls)?;
            TlsConnector::from(Arc::clone(&tls.0)).connect(name, tcp).await.map_err(|_| RpcError::Tls)
        };
        let stream = timeout(CONNECT_LIMIT, connecting).await.map_err(|_| RpcError::Unreachable)??;
        let authority = url.uri().authority().map_or("localhost", |authority| authority.as_str());
        Self::over(stream, format!("https://{authority}")).await
    }

    pub(super) async fn unix(socket: &Path) -> Result<Self, RpcError> {
        let stream = UnixStream::connect(socket).await.map_err(|_| RpcError::Unreachable)?;
        Self::over(stream, "http://localhost".to_owned()).await
    }

    async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        origin: String,
    ) -> Result<Self, RpcError> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
        let handshake = timeout(CONNECT_LIMIT, builder.handshake(TokioIo::new(stream))).await;
        let (sender, connection) = handshake.map_err(|_| RpcError::Timeout)?.map_err(|_| RpcError::Broken)?;
        // It ends with the last sender.
        tokio::spawn(connection);
        Ok(Self { sender, origin })
    }

    /// Asks for one answer.
    pub(super) async fn unary<A: Message + Default>(
        &self,
        method: &str,
        request: &impl Message,
        limit: Duration,
    ) -> Result<A, RpcError> {
        let answering = async {
            let mut messages = self.stream::<A>(method, request).await?;
            let answer = messages.next().await?.ok_or(RpcError::Broken)?;
            // The status comes after it.
            messages.next().await?.map_or(Ok(answer), |_| Err(RpcError::Broken))
        };
        timeout(limit, answering).await.map_err(|_| RpcError::Timeout)?
    }

    /// Asks for a stream of answers.
    pub(super) async fn stream<A>(&self, method: &str, request: &impl Message) -> Result<Messages<A>, RpcError> {
        let message = request.encode_to_vec();
        let length = u32::try_from(message.len()).map_err(|_| RpcError::Broken)?;
        let body = [&[0][..], &length.to_be_bytes(), &message].concat();
        let request = Request::post(format!("{}{method}", self.origin))
            .header(CONTENT_TYPE, GRPC)
            .header("te", TRAILERS)
            .body(Full::new(Bytes::from(body)));
        let sent = self.sender.clone().send_request(request.map_err(|_| RpcError::Broken)?).await;
        let (head, body) = sent.map_err(|_| RpcError::Broken)?.into_parts();
        if head.status != StatusCode::OK {
            return Err(RpcError::Broken);
        }
        // Without a body the status is in the head.
        judge(&head.headers, false)?;
        Ok(Messages { body, buffer: BytesMut::new(), is_over: false, answer: PhantomData })
    }
}

/// What the headers or trailers say; trailers have to say something.
fn judge(headers: &HeaderMap, is_end: bool) -> Result<(), RpcError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status").map(str::parse::<u32>) {
        None if is_end => Err(RpcError::Broken),
        None | Some(Ok(0)) => Ok(()),
        Some(Ok(code)) => {
            let shown = |letter: &char| letter.is_ascii_graphic() || *letter == ' ';
            let message = text("grpc-message").unwrap_or_default().chars().filter(shown).take(200).collect();
            Err(RpcError::Status { code, message })
        }
        Some(Err(_)) => Err(RpcError::Broken),
    }
}

/// Answers, one after the other.
pub(super) struct Messages<A> {
    body: Incoming,
    buffer: BytesMut,
    is_over: bool,
    answer: PhantomData<fn() -> A>,
}

impl<A: Message + Default> Messages<A> {
    /// The next answer; none once the member says that there are no more.
    pub(super) async fn next(&mut self) -> Result<Option<A>, RpcError> {
        loop {
            if let Some(message) = self.buffered()? {
                return A::decode(message).map(Some).map_err(|_| RpcError::Broken);
            }
            if self.is_over {
                return if self.buffer.is_empty() { Ok(None) } else { Err(RpcError::Broken) };
            }
            // A body without trailers was cut.
            let frame = self.body.frame().await.ok_or(RpcError::Broken)?.map_err(|_| RpcError::Broken)?;
            match frame.into_data() {
                Ok(data) => self.buffer.extend_from_slice(&data),
                Err(frame) => {
                    judge(&frame.into_trailers().map_err(|_| RpcError::Broken)?, true)?;
                    self.is_over = true;
                }
            }
        }
    }

    fn buffered(&mut self) -> Result<Option<Bytes>, RpcError> {
        let Some(prefix) = self.buffer.first_chunk::<PREFIX>() else { return Ok(None) };
        let [is_compressed, length @ ..] = *prefix;
        let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| RpcError::Broken)?;
        if is_compressed != 0 || length > MESSAGE_BYTES {
            return Err(RpcError::Broken);
        }
        if self.buffer.len() < PREFIX + length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

#[cfg(test)]
mod tests;
