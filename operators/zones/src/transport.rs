//! Sends messages to a server over TCP: no answer is cut off there, and none is forged by a guess.

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    sync::Arc,
    time::Duration,
};

use drover_runtime::DialPolicy;
use hickory_proto::{
    op::{Message, MessageType},
    rr::TSigner,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    task::spawn_blocking,
    time::timeout,
};

use crate::{Server, ZoneError, gate::Connections};

/// How long a connection, and each answer, may take.
const LIMIT: Duration = Duration::from_secs(3);

/// A connection to one server.
pub(crate) struct Connection {
    stream: TcpStream,
    server: String,
    _permit: OwnedSemaphorePermit,
}

/// Connects to a server at an address that `policy` allows, within the bound of `connections`.
pub(crate) async fn connect(
    server: &Server,
    policy: DialPolicy,
    connections: &Connections,
) -> Result<Connection, ZoneError> {
    let name = server.to_string();
    let address = |refusal| ZoneError::Address { server: name.clone(), refusal };
    policy.check_host(&server.host).map_err(address)?;
    let dialled = timeout(LIMIT, async {
        let unresolved = || ZoneError::Unresolved { server: name.clone() };
        let permit = Arc::clone(&connections.0).acquire_owned().await.map_err(|_| unresolved())?;
        let (resolved, permit) = resolved(server, permit).await.ok_or_else(unresolved)?;
        for each in policy.check_all(resolved).map_err(address)? {
            if let Ok(stream) = TcpStream::connect(each).await {
                return Ok((stream, permit));
            }
        }
        Err(ZoneError::Unreachable { server: name.clone() })
    });
    let (stream, permit) = dialled.await.map_err(|_| ZoneError::Timeout { server: name.clone(), limit: LIMIT })??;
    Ok(Connection { stream, server: name, _permit: permit })
}

/// The addresses of a server. A resolver that hangs keeps its thread, and so its permit, when nobody waits any more.
async fn resolved(server: &Server, permit: OwnedSemaphorePermit) -> Option<(Vec<SocketAddr>, OwnedSemaphorePermit)> {
    if let Ok(address) = server.host.parse::<IpAddr>() {
        return Some((vec![SocketAddr::new(address, server.port)], permit));
    }
    let (host, port) = (server.host.clone(), server.port);
    let resolving = spawn_blocking(move || {
        let found = (&*host, port).to_socket_addrs().ok()?;
        Some((found.collect(), permit))
    });
    resolving.await.ok()?
}

impl Connection {
    /// The server, for errors.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Sends a message and returns its answer, both signed if there is a key. `now` is in seconds since 1970.
    pub(crate) async fn ask(
        &mut self,
        mut message: Message,
        key: Option<&TSigner>,
        now: u64,
    ) -> Result<Message, ZoneError> {
        let unwritable = |_| ZoneError::Unwritable("the change".to_owned());
        let mut verifier = match key {
            Some(key) => message.finalize(key, now).map_err(unwritable)?,
            None => None,
        };
        let sent = message.to_vec().map_err(unwritable)?;
        let exchanged = timeout(LIMIT, self.exchange(&sent)).await;
        let bytes = match exchanged {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(_)) => return Err(ZoneError::Unreachable { server: self.server.clone() }),
            Err(_) => return Err(ZoneError::Timeout { server: self.server.clone(), limit: LIMIT }),
        };
        let unexpected = || ZoneError::Unexpected { server: self.server.clone() };
        let answer = Message::from_vec(&bytes).map_err(|_| unexpected())?;
        if answer.metadata.id != message.metadata.id || answer.metadata.message_type != MessageType::Response {
            return Err(unexpected());
        }
        self.refused_signature(&answer)?;
        if let Some(verifier) = &mut verifier {
            verifier.verify(&bytes).map_err(|_| ZoneError::Key { server: self.server.clone() })?;
        }
        Ok(answer)
    }

    /// A server that does not take a signature says why in an answer that it does not sign.
    fn refused_signature(&self, answer: &Message) -> Result<(), ZoneError> {
        use hickory_proto::rr::rdata::tsig::TsigError;

        let server = || self.server.clone();
        match answer.signature().and_then(|record| record.data.error.as_ref()) {
            Some(TsigError::BadTime) => Err(ZoneError::Clock { server: server() }),
            Some(_) => Err(ZoneError::Key { server: server() }),
            None => Ok(()),
        }
    }

    async fn exchange(&mut self, sent: &[u8]) -> std::io::Result<Vec<u8>> {
        let length = u16::try_from(sent.len()).map_err(|_| std::io::ErrorKind::InvalidData)?;
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(sent);
        self.stream.write_all(&framed).await?;
        let length = self.stream.read_u16().await?;
        let mut bytes = vec![0; length.into()];
        self.stream.read_exact(&mut bytes).await?;
        Ok(bytes)
    }
}
