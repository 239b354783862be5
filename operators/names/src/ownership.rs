//! The record beside a name that says who wrote it, as external-dns has it: a TXT at `a-shop.example.com` for the addresses of
//! `shop.example.com`. Each of both tools leaves alone what the other one owns.

use crate::{Family, Fqdn};

const HERITAGE: &str = "heritage=external-dns";
const OWNER: &str = "external-dns/owner=";
const RESOURCE: &str = "external-dns/resource=";

/// Who wrote a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// Which installation.
    pub owner: String,
    /// For which object, as `globaldns/<namespace>/<name>`; external-dns leaves it out at times.
    pub resource: Option<String>,
}

/// On behalf of whom records are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// What is written.
    pub ownership: Ownership,
    /// Owners that records are taken over from.
    pub adopts: Vec<String>,
}

impl Ownership {
    /// Of a `GlobalDNS`, for an installation of Drover. Neither has letters that end a part of the text.
    #[must_use]
    pub fn of_global_dns(installation: &str, namespace: &str, name: &str) -> Self {
        Self { owner: format!("drover-{installation}"), resource: Some(format!("globaldns/{namespace}/{name}")) }
    }

    /// Reads the text of a record; none if it is about something else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().trim_matches('"').split(',');
        if parts.next() != Some(HERITAGE) {
            return None;
        }
        let (mut owner, mut resource) = (None, None);
        for part in parts {
            owner = owner.or_else(|| part.strip_prefix(OWNER));
            resource = resource.or_else(|| part.strip_prefix(RESOURCE));
        }
        Some(Self { owner: owner.unwrap_or_default().to_owned(), resource: resource.map(str::to_owned) })
    }

    /// The text of a record.
    #[must_use]
    pub fn text(&self) -> String {
        let resource = self.resource.as_ref().map(|resource| format!(",{RESOURCE}{resource}")).unwrap_or_default();
        format!("{HERITAGE},{OWNER}{}{resource}", self.owner)
    }

    /// Where the record for the addresses of a family stands. external-dns writes `wildcard` for `*` only where it is asked to.
    #[must_use]
    pub fn record_name(name: &Fqdn, family: Family) -> String {
        let prefix = match family {
            Family::V4 => "a",
            Family::V6 => "aaaa",
        };
        format!("{prefix}-{name}")
    }
}
