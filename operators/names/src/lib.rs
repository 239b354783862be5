//! Which addresses a DNS name answers with, and what that changes in a zone. Pure: no client, no socket, no clock.
//!
//! 1. [`Fqdn`] is a name that can have records, and [`Grants`] says whether a namespace may have this one.
//! 2. [`AddressRule`] says which addresses of a cluster may be published.
//! 3. [`Health`] tells from single results of probes whether an address is healthy, with hysteresis.
//! 4. [`select`] chooses among the candidates of all clusters; what is unknown is kept, and no name becomes empty by a failure.
//! 5. [`Guard`] bounds how many addresses failures may remove within a while.
//! 6. [`change`] compares that with what the zone has. [`Ownership`] is the record beside a name that says who wrote it, in the format
//!    of external-dns; what has none of ours is never changed.

mod address;
mod change;
mod guard;
mod health;
mod name;
mod ownership;
mod select;
#[cfg(test)]
mod tests;

pub use address::{AddressRefused, AddressRule, Range, RangeError};
pub use change::{Conflict, Family, FamilyChange, Found, FoundSet, NameChange, RecordSet, Text, Wanted, change, owned};
pub use guard::{Guard, Guarded, Limits};
pub use health::{Health, Phase, Thresholds};
pub use name::{Fqdn, Grants, NameError, NameRefused};
pub use ownership::{Owner, Ownership};
pub use select::{Basis, Candidate, Choice, Selection, State, Tier, WhenAllUnhealthy, select};
