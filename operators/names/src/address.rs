//! Which addresses may be published.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A range of addresses, as CIDR has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    base: IpAddr,
    length: u8,
}

/// The text is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no range of addresses such as 203.0.113.0/24")]
pub struct RangeError(String);

impl Range {
    /// Whether an address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let masked =
            |bits: u128, width: u8| bits.checked_shr(u32::from(width.saturating_sub(self.length))).unwrap_or(0);
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                masked(base.to_bits().into(), 32) == masked(address.to_bits().into(), 32)
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => masked(base.to_bits(), 128) == masked(address.to_bits(), 128),
            _ => false,
        }
    }
}

impl FromStr for Range {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let parsed = text.split_once('/').and_then(|(base, length)| {
            let (base, length) = (base.parse::<IpAddr>().ok()?, length.parse::<u8>().ok()?);
            (length <= if base.is_ipv4() { 32 } else { 128 }).then_some(Self { base, length })
        });
        parsed.ok_or_else(|| RangeError(text.to_owned()))
    }
}

impl fmt::Display for Range {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.base, self.length)
    }
}

/// Why an address is not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressRefused {
    /// It is private, of this machine, or reserved, and the Cluster allows no ranges.
    #[error("is not public; add its range to spec.publicRanges of the Cluster if names may answer with it")]
    NotPublic,
    /// The Cluster allows ranges, and it is in none.
    #[error("is in none of the ranges in spec.publicRanges of the Cluster")]
    OutOfRange,
}

/// Which addresses of one cluster may be published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressRule {
    /// What the owner of the cluster allows; where he does not say, public ones.
    pub ranges: Option<Vec<Range>>,
}

impl AddressRule {
    /// Judges an address. What can never be reached from outside is refused whatever the ranges are.
    pub fn check(&self, address: IpAddr) -> Result<(), AddressRefused> {
        if is_never_reached(address) {
            return Err(AddressRefused::NotPublic);
        }
        match &self.ranges {
            None if is_public(address) => Ok(()),
            None => Err(AddressRefused::NotPublic),
            Some(ranges) if ranges.iter().any(|range| range.contains(address)) => Ok(()),
            Some(_) => Err(AddressRefused::OutOfRange),
        }
    }
}

/// Unspecified, of one machine, of one link, or of a group.
fn is_never_reached(address: IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(address) => {
            address.is_link_local() || address.is_broadcast() || address.octets().first() == Some(&0)
        }
        IpAddr::V6(address) => address.is_unicast_link_local() || address.to_ipv4_mapped().is_some(),
    };
    is_link_local || address.is_unspecified() || address.is_loopback() || address.is_multicast()
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// What the registry of the IANA for IPv4 has as globally reachable. Ranges for documentation are not.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let is_special = match address.octets() {
        // Shared with carriers (RFC 6598), protocol assignments (RFC 6890), benchmarks (RFC 2544), and reserved.
        [100, second, ..] => second & 0xc0 == 64,
        [192, 0, 0, _] | [198, 18 | 19, ..] | [240..=255, ..] => true,
        _ => false,
    };
    !(is_special || address.is_private() || address.is_documentation())
}

/// Global unicast, without documentation, benchmarks, and what carries an IPv4 address.
fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // Documentation (RFC 3849, RFC 9637), Teredo and other protocol assignments (RFC 2928), and 6to4.
        [0x2001, 0x0db8 | 0..=0x01ff, ..] | [0x3fff, 0..=0x0fff, ..] | [0x2002, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}
