//! Which addresses may be dialled. Pure.
//!
//! Who may write a kubeconfig names a server, and so it will be with charts, stores and DNS providers. None of them may reach
//! through Drover what only the machine of Drover reaches: its own ports, its links, and the metadata service of its cloud, which
//! gives away the credentials of the machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Which addresses may be dialled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DialPolicy {
    /// All but loopback, link-local and metadata addresses. The default.
    #[default]
    RefuseLocal,
    /// All: for tests, and where clusters run on the machine of Drover.
    AllowLocal,
}

/// Why an address may not be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressNotAllowed {
    /// It is this machine.
    #[error("a loopback address")]
    Loopback,
    /// It names no machine, and systems take it for this one.
    #[error("an unspecified address")]
    Unspecified,
    /// It is on a link of this machine. The metadata services of most clouds are among these.
    #[error("a link-local address")]
    LinkLocal,
    /// It is the metadata service of a cloud.
    #[error("the metadata service of a cloud")]
    Metadata,
    /// A translator takes another address out of it, which cannot be told.
    #[error("an address that is translated to another")]
    Translated,
    /// It is a number that systems complete to an IPv4 address, such as `127.1` or `0x7f000001`.
    #[error("an abbreviated IPv4 address")]
    Abbreviated,
}

/// IPv4 addresses of clouds' metadata that are not link-local: Alibaba Cloud, Oracle Cloud, and the agent host of Azure.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192), Ipv4Addr::new(168, 63, 129, 16)];
/// IPv6 addresses of clouds' metadata that are not link-local: Google Cloud, Oracle Cloud, Scaleway.
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
];

impl DialPolicy {
    /// Judges an address.
    pub fn check(self, address: IpAddr) -> Result<(), AddressNotAllowed> {
        let refusal = match (self, address) {
            (Self::AllowLocal, _) => None,
            (Self::RefuseLocal, IpAddr::V4(address)) => refusal_v4(address),
            (Self::RefuseLocal, IpAddr::V6(address)) => refusal_v6(address),
        };
        refusal.map_or(Ok(()), Err)
    }

    /// Judges everything that a name resolved to: one address that is refused refuses the name. To be dialled is what this
    /// returns, without resolving the name once more.
    pub fn check_all(self, resolved: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, AddressNotAllowed> {
        resolved.iter().try_for_each(|address| self.check(address.ip()))?;
        Ok(resolved)
    }

    /// Judges a host as a URL spells it, before it is resolved, by Drover or by a proxy.
    pub fn check_host(self, host: &str) -> Result<(), AddressNotAllowed> {
        if self == Self::AllowLocal {
            return Ok(());
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let without_zone = bare.split('%').next().unwrap_or(bare);
        if let Ok(address) = without_zone.parse() {
            return self.check(address);
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        match name.rsplit('.').next().unwrap_or_default() {
            "localhost" => Err(AddressNotAllowed::Loopback),
            last if is_number(last) => Err(AddressNotAllowed::Abbreviated),
            _ => Ok(()),
        }
    }
}

/// Whether the last label of a host makes it an IPv4 address, as URLs are read (<https://url.spec.whatwg.org/#ends-in-a-number-checker>).
fn is_number(label: &str) -> bool {
    let hexadecimal =
        label.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    hexadecimal || (!label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit()))
}

fn refusal_v4(address: Ipv4Addr) -> Option<AddressNotAllowed> {
    match address.octets() {
        [0, ..] => Some(AddressNotAllowed::Unspecified),
        [127, ..] => Some(AddressNotAllowed::Loopback),
        [169, 254, ..] => Some(AddressNotAllowed::LinkLocal),
        _ => METADATA_V4.contains(&address).then_some(AddressNotAllowed::Metadata),
    }
}

fn refusal_v6(address: Ipv6Addr) -> Option<AddressNotAllowed> {
    match address.segments() {
        _ if address.is_unspecified() => Some(AddressNotAllowed::Unspecified),
        _ if address.is_loopback() => Some(AddressNotAllowed::Loopback),
        _ if address.is_unicast_link_local() => Some(AddressNotAllowed::LinkLocal),
        // NAT64 for use on site (RFC 8215): where in it the other address lies is known to the translator only.
        [0x0064, 0xff9b, 0x0001, ..] => Some(AddressNotAllowed::Translated),
        // Amazon keeps all of it for services on the machine.
        [0xfd00, 0x0ec2, ..] => Some(AddressNotAllowed::Metadata),
        _ if METADATA_V6.contains(&address) => Some(AddressNotAllowed::Metadata),
        segments => embedded(segments).and_then(refusal_v4),
    }
}

/// The IPv4 address that routers take out of an IPv6 address.
fn embedded(segments: [u16; 8]) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match segments {
        // Compatible, mapped (RFC 4291) and translated (RFC 2765) addresses, NAT64 (RFC 6052), and 6to4 (RFC 3056).
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some(of(high, low)),
        // Teredo (RFC 4380): the client, with its bits inverted.
        [0x2001, 0, .., high, low] => Some(of(!high, !low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{AddressNotAllowed::*, *};

    fn refusal(address: &str) -> Option<AddressNotAllowed> {
        let address = address.parse().unwrap();
        assert_eq!(DialPolicy::AllowLocal.check(address), Ok(()));
        DialPolicy::RefuseLocal.check(address).err()
    }

    #[test]
    fn what_only_the_machine_itself_reaches_is_refused() {
        for (address, expected) in [
            ("127.0.0.1", Loopback),
            ("127.255.255.254", Loopback),
            ("0.0.0.0", Unspecified),
            ("0.1.2.3", Unspecified),
            ("169.254.169.254", LinkLocal),
            ("169.254.0.1", LinkLocal),
            ("100.100.100.200", Metadata),
            ("168.63.129.16", Metadata),
            ("192.0.0.192", Metadata),
            ("::", Unspecified),
            ("::1", Loopback),
            ("fe80::1", LinkLocal),
            ("febf::1", LinkLocal),
            ("fd00:ec2::254", Metadata),
            ("fd00:ec2::23", Metadata),
            ("fd20:ce::254", Metadata),
            ("::ffff:127.0.0.1", Loopback),
            ("::ffff:169.254.169.254", LinkLocal),
            ("::127.0.0.1", Loopback),
            ("::ffff:0:127.0.0.1", Loopback),
            ("64:ff9b::7f00:1", Loopback),
            ("64:ff9b::169.254.169.254", LinkLocal),
            ("64:ff9b:1::100.100.100.200", Translated),
            ("64:ff9b:1:a9fe:a9:fe00:808:808", Translated),
            ("2002:7f00:1::1", Loopback),
            ("2002:a9fe:a9fe::", LinkLocal),
            ("2001:0:1:2:3:4:80ff:fffe", Loopback),
        ] {
            assert_eq!(refusal(address), Some(expected), "{address}");
        }
    }

    #[test]
    fn what_others_reach_as_well_may_be_dialled() {
        for address in [
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "100.100.100.201",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.0.1",
            "8.8.8.8",
            "fd00::1",
            "fd00:ec3::254",
            "fec0::1",
            "2001:db8::1",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "::ffff:10.0.0.1",
        ] {
            assert_eq!(refusal(address), None, "{address}");
        }
    }

    #[test]
    fn a_host_is_judged_as_it_is_spelled() {
        for (host, expected) in [
            ("localhost", Err(Loopback)),
            ("LOCALHOST.", Err(Loopback)),
            ("a.localhost", Err(Loopback)),
            ("127.0.0.1", Err(Loopback)),
            ("[::1]", Err(Loopback)),
            ("[fe80::1%eth0]", Err(LinkLocal)),
            ("127.1", Err(Abbreviated)),
            ("2130706433", Err(Abbreviated)),
            ("0x7f000001", Err(Abbreviated)),
            ("0177.0.0.01", Err(Abbreviated)),
            ("0x7f.1.", Err(Abbreviated)),
            ("10.0.0.1", Ok(())),
            ("localhost.example.com", Ok(())),
            ("k3s-0x", Ok(())),
            ("1.example.com", Ok(())),
            ("", Ok(())),
        ] {
            assert_eq!(DialPolicy::RefuseLocal.check_host(host), expected, "{host}");
            assert_eq!(DialPolicy::AllowLocal.check_host(host), Ok(()), "{host}");
        }
    }

    #[test]
    fn one_refused_address_refuses_the_name() {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let (far, mixed) = (addresses(&["10.0.0.1:1", "[2001:db8::1]:1"]), addresses(&["10.0.0.1:1", "127.0.0.1:1"]));
        assert_eq!(DialPolicy::RefuseLocal.check_all(far.clone()), Ok(far));
        assert_eq!(DialPolicy::RefuseLocal.check_all(mixed.clone()), Err(Loopback));
        assert_eq!(DialPolicy::AllowLocal.check_all(mixed.clone()), Ok(mixed));
    }

    proptest! {
        #[test]
        fn no_embedding_hides_an_address(bits: u32) {
            let plain = Ipv4Addr::from_bits(bits);
            let expected = DialPolicy::RefuseLocal.check(plain.into());
            let (bits, high, low) = (u128::from(bits), plain.to_bits() >> 16, plain.to_bits() & 0xffff);
            for embedding in [
                Ipv6Addr::from_bits(0xffff << 32 | bits),
                Ipv6Addr::from_bits(0x0064_ff9b << 96 | bits),
                Ipv6Addr::from_bits(0x2002 << 112 | bits << 80 | 1),
                Ipv6Addr::from_bits(0x2001_0000 << 96 | (bits ^ 0xffff_ffff)),
            ] {
                prop_assert_eq!(DialPolicy::RefuseLocal.check(embedding.into()), expected, "{}", embedding);
            }
            let spelled = format!("[64:ff9b::{high:x}:{low:x}]");
            prop_assert_eq!(DialPolicy::RefuseLocal.check_host(&spelled), expected);
        }

        #[test]
        fn any_host_can_be_judged(host in "\\PC*") {
            let _ = DialPolicy::RefuseLocal.check_host(&host);
        }
    }
}
