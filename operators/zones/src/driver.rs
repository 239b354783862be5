//! What every provider can be asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use drover_names::{Found, Fqdn, NameChange};

use crate::ZoneError;

/// What a provider can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether a change and the check of what was there before are one transaction.
    pub swaps: bool,
    /// The least time to live, in seconds.
    pub least_ttl: u32,
}

/// What one server answers for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The server, as the provider names it.
    pub server: String,
    /// The addresses of both families, or why it does not answer.
    pub addresses: Result<BTreeSet<IpAddr>, ZoneError>,
}

/// What is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What the provider has.
    pub found: Result<Found, ZoneError>,
    /// What each server answers.
    pub answers: Vec<Answer>,
}

/// A provider of DNS.
pub trait Driver: Send + Sync {
    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Whether the zone that has `domain` is there, and lets Drover write. It changes nothing.
    fn check(&self, domain: &Fqdn) -> impl Future<Output = Result<(), ZoneError>> + Send;

    /// What the zone has of a name.
    fn read(&self, name: &Fqdn) -> impl Future<Output = Result<Found, ZoneError>> + Send;

    /// Writes a change, all at once, if the zone still has what the change says. [`ZoneError::Changed`] if not.
    fn apply(&self, change: &NameChange) -> impl Future<Output = Result<(), ZoneError>> + Send;

    /// What each server that answers for the zone says of a name.
    fn answers(&self, name: &Fqdn) -> impl Future<Output = Vec<Answer>> + Send;

    /// What is known of each of these names, within seconds whatever servers do. None while the provider is slow and enough wait for it:
    /// it is to be asked again soon.
    fn look(&self, names: BTreeSet<Fqdn>) -> impl Future<Output = Option<BTreeMap<Fqdn, Seen>>> + Send;
}
