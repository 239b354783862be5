//! Where charts come from: repositories and packaged charts, within bounds.
//!
//! All input is hostile: an archive, an index or a server may hold anything. What is fetched is fetched by the crate
//! `drover-fetch`. Nothing here follows a link, leaves a folder,
//! or keeps more in memory than its bounds say.
//!
//! | module | what it does |
//! |---|---|
//! | [`limits`] | the bounds on a packed chart |
//! | `archive`, `metadata`, [`chart`], `tree` | a packed chart, checked: its files, metadata and subcharts, and its tree on disk |
//! | [`index`], `events` | the index of an HTTP repository, read as a stream of events |
//! | [`repository`] | an HTTP repository: its index on disk, and its charts |
//! | [`oci`] | charts in OCI registries |
//! | [`cache`], `draft` | packed charts on disk, written whole or not at all |
//! | [`version`], [`constraint`] | Helm's versions, constraints, and what counts as an upgrade |

mod archive;
pub mod cache;
pub mod chart;
pub mod constraint;
mod draft;
mod events;
pub mod index;
pub mod limits;
mod metadata;
pub mod oci;
pub mod repository;
#[cfg(test)]
mod testing;
mod tree;
pub mod version;

pub use archive::ArchiveError;
pub use cache::ChartCache;
pub use chart::{Chart, ChartError, NotInstallable};
pub use constraint::{Constraint, ConstraintError};
pub use drover_fetch::{self as fetch, Digest, DigestError, FetchError, FetchFailure, Fetcher, Source, Url};
pub use index::{ChartSummary, IndexCounts, IndexError, IndexLimits, IndexRow};
pub use limits::Limits;
pub use metadata::{ApiVersion, ChartType, Dependency, ImportValues, Metadata, MetadataError};
pub use oci::{OciChart, OciClient, OciManifest};
pub use repository::{IndexFile, IndexState, Refreshed, Repository, RepositoryError};
pub use version::{UpgradePolicy, Version, VersionError};
