//! Where charts come from: repositories and packaged charts, within bounds.
//!
//! All input is hostile: an archive, an index or a server may hold anything. Nothing here follows a link, leaves a folder,
//! or keeps more in memory than its bounds say.
//!
//! | module | what it does |
//! |---|---|
//! | [`limits`] | the bounds on a packed chart |
//! | `archive`, `metadata`, [`chart`], `tree` | a packed chart, checked: its files, metadata and subcharts, and its tree on disk |
//! | [`digest`] | names bytes by SHA-256 |
//! | [`index`] | the index of an HTTP repository, read as a stream |
//! | [`version`], [`constraint`] | Helm's versions, constraints, and what counts as an upgrade |

mod archive;
pub mod chart;
pub mod constraint;
pub mod digest;
pub mod index;
pub mod limits;
mod metadata;
#[cfg(test)]
mod testing;
mod tree;
pub mod version;

pub use archive::ArchiveError;
pub use chart::{Chart, ChartError, NotInstallable};
pub use constraint::{Constraint, ConstraintError};
pub use digest::{Digest, DigestError};
pub use index::{ChartSummary, IndexCounts, IndexError, IndexLimits, IndexRow};
pub use limits::Limits;
pub use metadata::{ApiVersion, ChartType, Dependency, Metadata, MetadataError};
pub use tree::{NOTES_KEY, NOTES_OBJECT, NOTES_TEMPLATE, Notes};
pub use version::{UpgradePolicy, Version, VersionError};
