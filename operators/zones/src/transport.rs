//! Sends messages to a server over TCP: no answer is cut off there, and none is forged by a guess.

use std::{net::SocketAddr, time::Duration};

use drover_runtime::DialPolicy;
use hickory_proto::{
    op::{Message, MessageType},
    rr::TSigner,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, lookup_host},
    time::timeout,
};

use crate::{Server, ZoneError};

/// How long a connection, and each answer, may take.
const LIMIT: Duration = Duration::from_secs(3);

/// A connection to one server.
pub(crate) struct Connection {
    stream: TcpStream,
    server: String,
}

/// Connects to a server at an address that `policy` allows.
pub(crate) async fn connect(server: &Server, policy: DialPolicy) -> Result<Connection, ZoneError> {
    let name = server.to_string();
    let address = |refusal| ZoneError::Address { server: name.clone(), refusal };
    policy.check_host(&server.host).map_err(address)?;
    let dialled = timeout(LIMIT, async {
        let resolved: Vec<SocketAddr> = lookup_host((&*server.host, server.port))
            .await
            .map_err(|_| ZoneError::Unresolved { server: name.clone() })?
            .collect();
        for each in policy.check_all(resolved).map_err(address)? {
            if let Ok(stream) = TcpStream::connect(each).await {
                return Ok(stream);
            }
        }
        Err(ZoneError::Unreachable { server: name.clone() })
    });
    let stream = dialled.await.map_err(|_| ZoneError::Timeout { server: name.clone(), limit: LIMIT })??;
    Ok(Connection { stream, server: name })
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
