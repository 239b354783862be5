//! From names and changes to messages of DNS, and back. No socket.

use std::{collections::BTreeSet, net::IpAddr};

use drover_names::{Family, FamilyChange, FoundSet, Fqdn, NameChange, Ownership, RecordSet, Text};
use hickory_proto::{
    op::{Message, OpCode, Query, ResponseCode, UpdateMessage as _},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, AAAA, TXT},
    },
};

use crate::ZoneError;

/// Most record sets of an answer that are looked at.
const MOST_RECORDS: usize = 1_000;

/// The type of records of a family.
pub(crate) fn record_type(family: Family) -> RecordType {
    match family {
        Family::V4 => RecordType::A,
        Family::V6 => RecordType::AAAA,
    }
}

pub(crate) fn name(text: &str) -> Result<Name, ZoneError> {
    let mut name = Name::from_ascii(text).map_err(|_| ZoneError::Unwritable(text.to_owned()))?;
    name.set_fqdn(true);
    Ok(name)
}

/// The name of the ownership record of a family.
pub(crate) fn ownership_name(fqdn: &Fqdn, family: Family) -> Result<Name, ZoneError> {
    name(&Ownership::record_name(fqdn, family))
}

pub(crate) fn query(name: Name, of: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(name, of));
    message
}

/// The message that makes a change in a zone, if the zone has what the change says.
pub(crate) fn update(zone: &Name, change: &NameChange) -> Result<Message, ZoneError> {
    let mut message = empty_update(zone);
    let fqdn = name(change.name.as_str())?;
    for FamilyChange { family, before: (records, text), after } in &change.families {
        let (of, title) = (record_type(*family), ownership_name(&change.name, *family)?);
        message.add_pre_requisites(exactly(&fqdn, of, addresses(&fqdn, records)));
        message.add_pre_requisites(exactly(
            &title,
            RecordType::TXT,
            text.iter().map(|text| txt(&title, text)).collect(),
        ));
        if after.is_some() {
            message.add_pre_requisites(exactly(&fqdn, RecordType::CNAME, Vec::new()));
        }
        message.add_updates([removal(&fqdn, of), removal(&title, RecordType::TXT)]);
        if let Some((records, text)) = after {
            message.add_updates(addresses(&fqdn, records));
            let mut title = txt(&title, text);
            title.ttl = records.ttl;
            message.add_update(title);
        }
    }
    Ok(message)
}

/// The message that changes nothing in a zone, which only a key with a right to it may send.
pub(crate) fn empty_update(zone: &Name) -> Message {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Update;
    message.metadata.recursion_desired = false;
    message.add_zone(Query::query(zone.clone(), RecordType::SOA));
    message
}

/// That exactly these records are there, whatever their time to live is (RFC 2136, 2.4.2), or none of the type (2.4.3).
fn exactly(name: &Name, of: RecordType, records: Vec<Record>) -> Vec<Record> {
    if records.is_empty() {
        return vec![bare(name, of, DNSClass::NONE)];
    }
    let without_ttl = |mut record: Record| {
        record.ttl = 0;
        record
    };
    records.into_iter().map(without_ttl).collect()
}

/// All records of a type go (RFC 2136, 2.5.2).
fn removal(name: &Name, of: RecordType) -> Record {
    bare(name, of, DNSClass::ANY)
}

fn bare(name: &Name, of: RecordType, class: DNSClass) -> Record {
    let mut record = Record::update0(name.clone(), 0, of).into_record_of_rdata();
    record.dns_class = class;
    record
}

fn addresses(name: &Name, records: &RecordSet) -> Vec<Record> {
    let data = |address: &IpAddr| match address {
        IpAddr::V4(address) => RData::A(A(*address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(*address)),
    };
    records.addresses.iter().map(|address| Record::from_rdata(name.clone(), records.ttl, data(address))).collect()
}

fn txt(name: &Name, Text(strings): &Text) -> Record {
    let data = TXT::from_bytes(strings.iter().map(Vec::as_slice).collect());
    Record::from_rdata(name.clone(), 0, RData::TXT(data))
}

/// The addresses at a name in an answer, and whether the name is an alias.
pub(crate) fn read_addresses(answer: &Message, fqdn: &Name, family: Family) -> (RecordSet, bool) {
    let mut set = RecordSet::default();
    let mut is_alias = false;
    for record in answer.answers.iter().take(MOST_RECORDS).filter(|record| record.name == *fqdn) {
        match (&record.data, family) {
            (RData::A(A(address)), Family::V4) => drop(set.addresses.insert((*address).into())),
            (RData::AAAA(AAAA(address)), Family::V6) => drop(set.addresses.insert((*address).into())),
            (RData::CNAME(_), _) => is_alias = true,
            _ => continue,
        }
        set.ttl = record.ttl;
    }
    (set, is_alias)
}

/// The texts at a name in an answer, in a fixed order.
pub(crate) fn read_texts(answer: &Message, title: &Name) -> Vec<Text> {
    let of_title = answer.answers.iter().take(MOST_RECORDS).filter(|record| record.name == *title);
    let texts = of_title.filter_map(|record| match &record.data {
        RData::TXT(text) => Some(Text(text.txt_data.iter().map(|part| part.to_vec()).collect())),
        _ => None,
    });
    texts.collect::<BTreeSet<_>>().into_iter().collect()
}

/// What a family has.
pub(crate) fn found(records: RecordSet, texts: Vec<Text>) -> FoundSet {
    FoundSet { records, texts }
}

/// The zone in an answer to a question for its SOA: that of the name itself, or of the zone that has not got it.
pub(crate) fn read_zone(answer: &Message) -> Option<Name> {
    let soa = |record: &&Record| record.record_type() == RecordType::SOA;
    let found = answer.answers.iter().find(soa).or_else(|| answer.authorities.iter().find(soa));
    found.filter(|_| answer.metadata.authoritative).map(|record| record.name.clone())
}

/// The names of servers in an answer.
pub(crate) fn read_servers(answer: &Message) -> Vec<String> {
    let names = answer.answers.iter().take(MOST_RECORDS).filter_map(|record| match &record.data {
        RData::NS(server) => Some(server.0.to_ascii().trim_end_matches('.').to_ascii_lowercase()),
        _ => None,
    });
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Whether an answer says that there is such a name or none: both are known.
pub(crate) fn is_known(answer: &Message) -> bool {
    matches!(answer.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
        && answer.metadata.authoritative
}

/// What an answer to an update says.
pub(crate) fn outcome(answer: &Message, server: &str, name: &str) -> Result<(), ZoneError> {
    let (server, name) = (server.to_owned(), name.to_owned());
    Err(match answer.metadata.response_code {
        ResponseCode::NoError => return Ok(()),
        ResponseCode::YXDomain | ResponseCode::YXRRSet | ResponseCode::NXRRSet | ResponseCode::NXDomain => {
            ZoneError::Changed { name }
        }
        ResponseCode::Refused => ZoneError::Refused { server, name },
        ResponseCode::NotAuth | ResponseCode::NotZone => ZoneError::NoZone { server, name },
        code => ZoneError::Code { server, code: word(code) },
    })
}

/// A code as the standard names it.
pub(crate) fn word(code: ResponseCode) -> &'static str {
    match code {
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::NotAuth => "NOTAUTH",
        _ => "an error",
    }
}
