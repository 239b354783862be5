//! The driver for servers that take dynamic updates with a key.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use drover_names::{Family, Found, Fqdn, NameChange};
use drover_runtime::{DialPolicy, clock::now};
use hickory_proto::{
    op::Message,
    rr::{Name, RecordType, TSigner, rdata::tsig::TsigAlgorithm},
};

use crate::{
    Answer, Capabilities, Driver, ZoneError,
    message::{
        self, found, is_known, outcome, ownership_name, query, read_addresses, read_servers, read_texts, read_zone,
        record_type, word,
    },
    transport::{Connection, connect},
};

/// The port of DNS.
const PORT: u16 = 53;
/// How far clocks may be apart, in seconds, as RFC 8945 recommends.
const FUDGE: u16 = 300;

/// A server: a name or an address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Server {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl FromStr for Server {
    type Err = ();

    /// `ns1.example.com`, `ns1.example.com:5353`, `192.0.2.1:53`, `[2001:db8::1]:53` or `2001:db8::1`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (host, port) = match text.rsplit_once(':') {
            _ if text.parse::<Ipv6Addr>().is_ok() => (text, PORT),
            Some((host, port)) => (host, port.parse().map_err(|_| ())?),
            None => (text, PORT),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_letter = |letter: u8| letter.is_ascii_alphanumeric() || b"-.:_".contains(&letter);
        let is_host = !host.is_empty() && host.bytes().all(is_letter);
        if is_host && port > 0 { Ok(Self { host: host.to_owned(), port }) } else { Err(()) }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(formatter, "[{}]:{}", self.host, self.port);
        }
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

/// How messages are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    HmacSha256,
    /// HMAC with SHA-384.
    HmacSha384,
    /// HMAC with SHA-512.
    HmacSha512,
}

/// A key of TSIG. Its secret is shown nowhere.
#[derive(Clone)]
pub struct Key(TSigner);

impl Key {
    /// A key of this name, as the server knows it.
    pub fn new(name: &str, algorithm: Algorithm, secret: Vec<u8>) -> Result<Self, ZoneError> {
        let algorithm = match algorithm {
            Algorithm::HmacSha256 => TsigAlgorithm::HmacSha256,
            Algorithm::HmacSha384 => TsigAlgorithm::HmacSha384,
            Algorithm::HmacSha512 => TsigAlgorithm::HmacSha512,
        };
        let signer = TSigner::new(secret, algorithm, message::name(name)?, FUDGE);
        signer.map(Self).map_err(|_| ZoneError::Unwritable(format!("the key {name}")))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Key({})", self.0.signer_name())
    }
}

/// Servers that take dynamic updates.
#[derive(Clone, Debug)]
pub struct Rfc2136 {
    /// The primary server, which is read and written.
    pub server: Server,
    /// The key for it.
    pub key: Key,
    /// The servers that are asked whether they answer as they should; none are those that the zone names.
    pub verify: Vec<Server>,
    /// Which addresses are dialled.
    pub policy: DialPolicy,
}

impl Driver for Rfc2136 {
    fn capabilities(&self) -> Capabilities {
        Capabilities { swaps: true, least_ttl: 0 }
    }

    async fn check(&self, domain: &Fqdn) -> Result<(), ZoneError> {
        let mut primary = self.primary().await?;
        let zone = self.zone(&mut primary, domain).await?;
        let answer = primary.ask(message::empty_update(&zone), Some(&self.key.0), seconds()).await?;
        outcome(&answer, primary.server(), domain.as_str())
    }

    async fn read(&self, name: &Fqdn) -> Result<Found, ZoneError> {
        let mut primary = self.primary().await?;
        let fqdn = message::name(name.as_str())?;
        let mut whole = Found::default();
        for family in Family::ALL {
            let answer = self.known(&mut primary, query(fqdn.clone(), record_type(family)), name).await?;
            let (records, is_alias) = read_addresses(&answer, &fqdn, family);
            let title = ownership_name(name, family)?;
            let answer = self.known(&mut primary, query(title.clone(), RecordType::TXT), name).await?;
            whole.is_alias |= is_alias;
            whole.families.insert(family, found(records, read_texts(&answer, &title)));
        }
        Ok(whole)
    }

    async fn apply(&self, change: &NameChange) -> Result<(), ZoneError> {
        let mut primary = self.primary().await?;
        let zone = self.zone(&mut primary, &change.name).await?;
        let answer = primary.ask(message::update(&zone, change)?, Some(&self.key.0), seconds()).await?;
        outcome(&answer, primary.server(), change.name.as_str())
    }

    async fn answers(&self, name: &Fqdn) -> Vec<Answer> {
        let servers = match self.servers(name).await {
            Ok(servers) => servers,
            Err(error) => return vec![Answer { server: self.server.to_string(), addresses: Err(error) }],
        };
        let mut asked = tokio::task::JoinSet::new();
        for server in servers {
            let (name, policy) = (name.clone(), self.policy);
            asked.spawn(async move {
                Answer { addresses: answer(&server, &name, policy).await, server: server.to_string() }
            });
        }
        let mut answers = asked.join_all().await;
        answers.sort_by(|one, other| one.server.cmp(&other.server));
        answers
    }
}

impl Rfc2136 {
    async fn primary(&self) -> Result<Connection, ZoneError> {
        connect(&self.server, self.policy).await
    }

    /// An answer that says what the zone has.
    async fn known(&self, primary: &mut Connection, asked: Message, name: &Fqdn) -> Result<Message, ZoneError> {
        let answer = primary.ask(asked, Some(&self.key.0), seconds()).await?;
        known(answer, primary.server(), name)
    }

    /// The zone that has a name.
    async fn zone(&self, primary: &mut Connection, name: &Fqdn) -> Result<Name, ZoneError> {
        let asked = query(message::name(name.as_str())?, RecordType::SOA);
        let answer = self.known(primary, asked, name).await?;
        let no_zone = || ZoneError::NoZone { server: primary.server().to_owned(), name: name.to_string() };
        read_zone(&answer).ok_or_else(no_zone)
    }

    /// The servers that answer for the zone of a name.
    async fn servers(&self, name: &Fqdn) -> Result<Vec<Server>, ZoneError> {
        if !self.verify.is_empty() {
            return Ok(self.verify.clone());
        }
        let mut primary = self.primary().await?;
        let zone = self.zone(&mut primary, name).await?;
        let answer = self.known(&mut primary, query(zone, RecordType::NS), name).await?;
        let servers: Vec<_> = read_servers(&answer).into_iter().map(|host| Server { host, port: PORT }).collect();
        if servers.is_empty() {
            return Err(ZoneError::NoZone { server: primary.server().to_owned(), name: name.to_string() });
        }
        Ok(servers)
    }
}

fn known(answer: Message, server: &str, name: &Fqdn) -> Result<Message, ZoneError> {
    use hickory_proto::op::ResponseCode;

    if is_known(&answer) {
        return Ok(answer);
    }
    let server = server.to_owned();
    Err(match answer.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain | ResponseCode::Refused | ResponseCode::NotAuth => {
            ZoneError::NoZone { server, name: name.to_string() }
        }
        code => ZoneError::Code { server, code: word(code) },
    })
}

/// What one server answers to everybody.
async fn answer(server: &Server, name: &Fqdn, policy: DialPolicy) -> Result<BTreeSet<IpAddr>, ZoneError> {
    let mut connection = connect(server, policy).await?;
    let fqdn = message::name(name.as_str())?;
    let mut addresses = BTreeMap::new();
    for family in Family::ALL {
        let answer = connection.ask(query(fqdn.clone(), record_type(family)), None, 0).await?;
        let answer = known(answer, connection.server(), name)?;
        addresses.insert(family, read_addresses(&answer, &fqdn, family).0.addresses);
    }
    Ok(addresses.into_values().flatten().collect())
}

/// Since 1970.
fn seconds() -> u64 {
    u64::try_from(now().as_second()).unwrap_or_default()
}
