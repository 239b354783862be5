//! From a `ChartRepository` to its index and its charts, for its own operator, for those of apps, and for people at the command line.
//!
//! 1. [`secret`] reads the Secrets that a repository names, and no others.
//! 2. `reach` says how it is reached: with which credentials, and which hosts may get them.
//! 3. [`Sources`] fetches, and keeps what was fetched on disk, within bounds; memory holds what apps ask for.
//! 4. [`select`] chooses a version. Pure.
//! 5. [`SourceCause`] says why something is not to be had.

mod browse;
mod cause;
mod extracts;
mod fetching;
mod kept;
mod reach;
mod registry;
pub mod secret;
pub mod select;
mod sources;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod turns;

pub use cause::{SourceCause, SourceError};
pub use fetching::{Attempt, Content};
pub use select::Wanted;
pub use sources::{Chosen, Settings, Sources};

#[cfg(test)]
mod tests;
