//! Reads and writes the records of DNS names at providers.
//!
//! 1. [`Zones`] opens a provider with the credentials that its Secret has.
//! 2. A [`Driver`] reads what a zone has of a name, writes a change of it, and asks each server what it answers. What it can do says
//!    [`Capabilities`].
//! 3. [`Rfc2136`] is the driver for servers that take dynamic updates (RFC 2136) with a key (TSIG, RFC 8945): one message carries what must
//!    be there and what comes in its place, so nothing of others is changed, and no answer is empty in between.
//! 4. [`Gates`] keep a server that does not answer from holding up what concerns other servers.
//!
//! The rest of Drover knows neither packets nor keys.

mod cause;
mod driver;
mod error;
mod gate;
mod message;
mod open;
mod rfc2136;
mod transport;

pub use cause::{OpenError, ProviderCause};
pub use driver::{Answer, Capabilities, Driver, Seen};
pub use error::ZoneError;
pub use gate::Gates;
pub use open::Zones;
pub use rfc2136::{Algorithm, Key, Rfc2136, Server};
