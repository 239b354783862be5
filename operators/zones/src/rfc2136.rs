//! The driver for servers that take dynamic updates with a key.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
    time::Duration,
};

use drover_names::{Family, Found, Fqdn, NameChange};
use drover_runtime::{DialPolicy, clock::now};
use hickory_proto::{
    op::Message,
    rr::{Name, RecordType, TSigner, rdata::tsig::TsigAlgorithm},
};

use tokio::{task::JoinSet, time::timeout};

use crate::{
    Answer, Capabilities, Driver, Gates, Seen, ZoneError,
    gate::{Admission, Connections, Ticket},
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
/// So many names of one object are asked for at a time.
const AT_A_TIME: usize = 4;
/// How long all that is asked of one server for one name, or one change, may take.
const NAME_LIMIT: Duration = Duration::from_secs(5);
/// How long one server may take for what it answers; a slower one counts as silent: what was read is not to wait for it.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many of the servers that a zone names are asked.
const MOST_SERVERS: usize = 8;

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
    /// What is known of servers.
    pub gates: Gates,
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
        let ticket = match self.gates.enter(&self.server) {
            Admission::Open(ticket) | Admission::Trial(ticket, _) => ticket,
            Admission::Silent(error) => return Err(error),
            Admission::Busy => return Err(ZoneError::Timeout { server: self.server.to_string(), limit: NAME_LIMIT }),
        };
        let written = async {
            let mut primary = self.primary().await?;
            let zone = self.zone(&mut primary, &change.name).await?;
            let answer = primary.ask(message::update(&zone, change)?, Some(&self.key.0), seconds()).await?;
            outcome(&answer, primary.server(), change.name.as_str())
        };
        let written = limited(&self.server, written).await;
        ticket.end(&written);
        written
    }

    async fn answers(&self, name: &Fqdn) -> Vec<Answer> {
        let servers = match limited(&self.server, self.servers(name)).await {
            Ok(servers) => servers,
            Err(error) => return vec![Answer { server: self.server.to_string(), addresses: Err(error) }],
        };
        let mut asked = JoinSet::new();
        for server in servers {
            let (name, driver) = (name.clone(), self.clone());
            asked.spawn(async move {
                Answer { addresses: driver.answer_of(&server, name).await, server: server.to_string() }
            });
        }
        let mut answers = asked.join_all().await;
        answers.sort_by(|one, other| one.server.cmp(&other.server));
        answers
    }

    async fn look(&self, names: BTreeSet<Fqdn>) -> Option<BTreeMap<Fqdn, Seen>> {
        if names.is_empty() {
            return Some(BTreeMap::new());
        }
        let unseen = |error: &ZoneError| Seen { found: Err(error.clone()), answers: Vec::new() };
        let ticket = match self.gates.enter_as_one_of_few(&self.server) {
            Admission::Open(ticket) | Admission::Trial(ticket, _) => ticket,
            Admission::Silent(error) => {
                return Some(names.into_iter().map(|name| (name, unseen(&error))).collect());
            }
            Admission::Busy => return None,
        };
        let (seen, silence) = self.read_all(&ticket, names).await;
        let mut asked = JoinSet::new();
        for name in seen.iter().filter(|(_, found)| found.is_ok()).map(|(name, _)| name.clone()) {
            let driver = self.clone();
            asked.spawn(async move { (driver.answers(&name).await, name) });
        }
        let mut answers: BTreeMap<_, _> = asked.join_all().await.into_iter().map(|(of, name)| (name, of)).collect();
        let whole = |(name, found): (Fqdn, Result<Found, ZoneError>)| {
            let answers = answers.remove(&name).unwrap_or_default();
            (name, Seen { found, answers })
        };
        // Until here it takes time from others.
        ticket.end(&silence);
        Some(seen.into_iter().map(whole).collect())
    }
}

impl Rfc2136 {
    async fn primary(&self) -> Result<Connection, ZoneError> {
        connect(&self.server, self.policy, &self.gates.named).await
    }

    /// Reads the names, a few at a time. After a silence the rest is not asked for: that would be waiting in vain.
    /// Says as well whether the server was silent.
    async fn read_all(
        &self,
        ticket: &Ticket,
        names: BTreeSet<Fqdn>,
    ) -> (BTreeMap<Fqdn, Result<Found, ZoneError>>, Result<(), ZoneError>) {
        let mut all = BTreeMap::new();
        let mut outcome: Result<(), ZoneError> = Ok(());
        let mut names = names.into_iter();
        loop {
            let some: Vec<Fqdn> = names.by_ref().take(AT_A_TIME).collect();
            if some.is_empty() {
                break;
            }
            if let Err(error) = &outcome {
                all.extend(some.into_iter().map(|name| (name, Err(error.clone()))));
                continue;
            }
            let mut reads = JoinSet::new();
            for name in some {
                let driver = self.clone();
                reads.spawn(async move {
                    let found = limited(&driver.server, driver.read(&name)).await;
                    (name, found)
                });
            }
            for (name, found) in reads.join_all().await {
                outcome = outcome.and_then(|()| match &found {
                    Err(error) if error.is_silence() => Err(error.clone()),
                    _ => Ok(()),
                });
                all.insert(name, found);
            }
            if outcome.is_ok() {
                ticket.goes_on();
            }
        }
        (all, outcome)
    }

    /// What a server answers, if it does soon. It is asked in a task of its own, so that a silence of it becomes known and holds nobody up
    /// for a second time.
    async fn answer_of(&self, server: &Server, name: Fqdn) -> Result<BTreeSet<IpAddr>, ZoneError> {
        let late = || ZoneError::Timeout { server: server.to_string(), limit: PATIENCE };
        let (ticket, silence) = match self.gates.enter(server) {
            Admission::Open(ticket) => (ticket, None),
            Admission::Trial(ticket, error) => (ticket, Some(error)),
            Admission::Silent(error) => return Err(error),
            Admission::Busy => return Err(late()),
        };
        let (server, policy) = (server.clone(), self.policy);
        let connections = if self.verify.is_empty() { &self.gates.found } else { &self.gates.named }.clone();
        let task = tokio::spawn(async move {
            let asked = timeout(PATIENCE, answer(&server, &name, policy, &connections)).await;
            let late = |_| ZoneError::Timeout { server: server.to_string(), limit: PATIENCE };
            let outcome = asked.map_err(late).flatten();
            ticket.end(&outcome);
            outcome
        });
        if let Some(error) = silence {
            return Err(error);
        }
        task.await.unwrap_or_else(|_| Err(late()))
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
        let hosts = read_servers(&answer).into_iter();
        let servers: Vec<Server> = hosts.filter_map(|host| host.parse().ok()).take(MOST_SERVERS).collect();
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

/// What comes of it within [`NAME_LIMIT`].
async fn limited<T>(server: &Server, asked: impl Future<Output = Result<T, ZoneError>>) -> Result<T, ZoneError> {
    let late = |_| ZoneError::Timeout { server: server.to_string(), limit: NAME_LIMIT };
    timeout(NAME_LIMIT, asked).await.map_err(late)?
}

/// What one server answers to everybody.
async fn answer(
    server: &Server,
    name: &Fqdn,
    policy: DialPolicy,
    connections: &Connections,
) -> Result<BTreeSet<IpAddr>, ZoneError> {
    let mut connection = connect(server, policy, connections).await?;
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
