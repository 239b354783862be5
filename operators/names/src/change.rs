//! What is to change of one name in its zone, and whether it may.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use crate::{Fqdn, Owner, Ownership};

/// A kind of addresses. Each has its own record set, and its own ownership record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4, records of type A.
    V4,
    /// IPv6, records of type AAAA.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The type of its records.
    #[must_use]
    pub fn record_type(self) -> &'static str {
        match self {
            Self::V4 => "A",
            Self::V6 => "AAAA",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.record_type())
    }
}

/// Addresses and how many seconds resolvers may keep them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordSet {
    /// The addresses; none is no record set.
    pub addresses: BTreeSet<IpAddr>,
    /// Seconds.
    pub ttl: u32,
}

/// The text of one TXT record, in the strings that it is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(pub Vec<Vec<u8>>);

impl Text {
    /// Most bytes of one string of a record.
    const MOST: usize = 255;

    /// A text, cut as DNS wants it.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.as_bytes().chunks(Self::MOST).map(<[u8]>::to_vec).collect())
    }

    /// Its strings as one.
    #[must_use]
    pub fn joined(&self) -> String {
        String::from_utf8_lossy(&self.0.concat()).into_owned()
    }
}

/// What a zone has of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundSet {
    /// The records.
    pub records: RecordSet,
    /// The texts at the name of the ownership record.
    pub texts: Vec<Text>,
}

/// What a zone has of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What each family has.
    pub families: BTreeMap<Family, FoundSet>,
    /// Whether the name is an alias of another one.
    pub is_alias: bool,
}

/// Why a name is left as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// It is an alias, beside which no addresses can be.
    #[error("{name} is an alias (CNAME) that Drover did not write; remove it, or choose another name")]
    Alias {
        /// The name.
        name: Fqdn,
    },
    /// It has records without an owner.
    #[error("{name} has {family} records that no ownership record names; remove them, or choose another name")]
    Unowned {
        /// The name.
        name: Fqdn,
        /// Of which family.
        family: Family,
    },
    /// It has another owner.
    #[error(
        "the {family} records of {name} belong to owner {owner}{resource}; remove them there, or list the owner in spec.adoptOwners of the GlobalDNSProvider"
    )]
    Owned {
        /// The name.
        name: Fqdn,
        /// Of which family.
        family: Family,
        /// Who owns them, in the words of the zone: whoever writes there chooses them.
        owner: String,
        /// On behalf of what, in brackets after a blank, in the words of the zone.
        resource: String,
    },
    /// It is of another object of this installation.
    #[error(
        "the {family} records of {name} belong to another GlobalDNS of this installation; remove the name there, or choose another name"
    )]
    Sibling {
        /// The name.
        name: Fqdn,
        /// Of which family.
        family: Family,
    },
    /// The ownership record cannot be read.
    #[error("the text at {record} is no single ownership record; remove what is there")]
    Unclear {
        /// Where it stands.
        record: String,
    },
}

/// What a name is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Addresses of either family; none of a family is no record set of it.
    pub addresses: BTreeSet<IpAddr>,
    /// Seconds.
    pub ttl: u32,
}

/// What changes of one family. All of it happens at once, and only while the zone has what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilyChange {
    /// Which family.
    pub family: Family,
    /// What must be there: the records, which may be none, and the one text of ours; no text means that none may be there.
    pub before: (RecordSet, Option<Text>),
    /// What is there afterwards; none is nothing.
    pub after: Option<(RecordSet, Text)>,
}

/// What changes of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameChange {
    /// The name.
    pub name: Fqdn,
    /// What changes, by family; a family that is as it should be is left out.
    pub families: Vec<FamilyChange>,
}

impl NameChange {
    /// For how many seconds resolvers may keep what is there afterwards; none if nothing is.
    #[must_use]
    pub fn ttl(&self) -> Option<u32> {
        self.families.iter().find_map(|family| family.after.as_ref().map(|(records, _)| records.ttl))
    }

    /// Whether all that changes is how long resolvers may keep the records.
    #[must_use]
    pub fn is_only_of_ttl(&self) -> bool {
        self.families.iter().all(|family| {
            let (records, text) = &family.before;
            family
                .after
                .as_ref()
                .is_some_and(|(wanted, ours)| records.addresses == wanted.addresses && text.as_ref() == Some(ours))
        })
    }
}

/// Compares what a zone has of a name with what it is to have. None if nothing is to change.
pub fn change(name: &Fqdn, found: &Found, wanted: &Wanted, owner: &Owner) -> Result<Option<NameChange>, Conflict> {
    let mut families = Vec::new();
    for family in Family::ALL {
        let nothing = FoundSet::default();
        let there = found.families.get(&family).unwrap_or(&nothing);
        let addresses: BTreeSet<_> =
            wanted.addresses.iter().filter(|address| Family::of(**address) == family).copied().collect();
        let title = title(there, owner);
        let is_wanted = !addresses.is_empty();
        if is_wanted && found.is_alias {
            return Err(Conflict::Alias { name: name.clone() });
        }
        match title {
            Title::Foreign if is_wanted => return Err(foreign(name, family, there, owner)),
            Title::Unclear if is_wanted => {
                return Err(Conflict::Unclear { record: Ownership::record_name(name, family) });
            }
            // What is taken over is taken over with something to put there.
            Title::Foreign | Title::Unclear | Title::Nothing | Title::Adopted if !is_wanted => continue,
            _ => {}
        }
        let after = is_wanted.then(|| (RecordSet { addresses, ttl: wanted.ttl }, Text::new(&owner.ownership.text())));
        let before = (there.records.clone(), there.texts.first().cloned());
        let is_same = match (&after, &before) {
            (Some((records, _)), (found, Some(_))) => title == Title::Ours && records == found,
            _ => false,
        };
        if !is_same {
            families.push(FamilyChange { family, before, after });
        }
    }
    Ok((!families.is_empty()).then(|| NameChange { name: name.clone(), families }))
}

/// The addresses that a name answers with and that are of this owner, or may be taken over.
#[must_use]
pub fn owned(found: &Found, owner: &Owner) -> BTreeSet<IpAddr> {
    let is_ours = |there: &&FoundSet| matches!(title(there, owner), Title::Ours | Title::Adopted);
    found.families.values().filter(is_ours).flat_map(|there| &there.records.addresses).copied().collect()
}

/// On what ground records may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Title {
    /// There are none.
    Nothing,
    /// They are of this object.
    Ours,
    /// They are of an owner that they are taken over from.
    Adopted,
    /// They are not.
    Foreign,
    /// Their owner cannot be read.
    Unclear,
}

fn title(there: &FoundSet, owner: &Owner) -> Title {
    let texts: Vec<_> = there.texts.iter().map(|text| Ownership::parse(&text.joined())).collect();
    match texts.as_slice() {
        [] if there.records.addresses.is_empty() => Title::Nothing,
        [Some(found)] if *found == owner.ownership => Title::Ours,
        // What our installation wrote for another object is never taken over.
        [Some(found)] if found.owner != owner.ownership.owner && owner.adopts.contains(&found.owner) => Title::Adopted,
        [] | [Some(_)] => Title::Foreign,
        _ => Title::Unclear,
    }
}

fn foreign(name: &Fqdn, family: Family, there: &FoundSet, owner: &Owner) -> Conflict {
    let name = name.clone();
    let found = there.texts.first().and_then(|text| Ownership::parse(&text.joined()));
    match found {
        None => Conflict::Unowned { name, family },
        Some(found) if found.owner == owner.ownership.owner => Conflict::Sibling { name, family },
        Some(found) => {
            let resource = found.resource.map(|resource| format!(" ({resource})")).unwrap_or_default();
            Conflict::Owned { name, family, owner: found.owner, resource }
        }
    }
}
