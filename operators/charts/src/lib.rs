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
//! | [`url`], [`source`], [`secret`] | where a server is, how it is reached, and who may learn the credentials |
//! | `dial`, [`fetch`], [`fetch_error`] | fetches from it within bounds, or says why not |
//! | [`repository`] | an HTTP repository: its index on disk, and its charts |
//! | [`oci`] | charts in OCI registries |
//! | [`cache`], `draft` | packed charts on disk, written whole or not at all |
//! | [`version`], [`constraint`] | Helm's versions, constraints, and what counts as an upgrade |

mod archive;
pub mod cache;
pub mod chart;
pub mod constraint;
mod dial;
pub mod digest;
mod draft;
pub mod fetch;
pub mod fetch_error;
pub mod index;
pub mod limits;
mod metadata;
pub mod oci;
pub mod repository;
pub mod secret;
pub mod source;
#[cfg(test)]
mod testing;
mod tree;
pub mod url;
pub mod version;

pub use archive::ArchiveError;
pub use cache::ChartCache;
pub use chart::{Chart, ChartError, NotInstallable};
pub use constraint::{Constraint, ConstraintError};
pub use digest::{Digest, DigestError};
pub use fetch::{Fetched, Fetcher, Received, Request};
pub use fetch_error::{FetchError, FetchFailure};
pub use index::{ChartSummary, IndexCounts, IndexError, IndexLimits, IndexRow};
pub use limits::Limits;
pub use metadata::{ApiVersion, ChartType, Dependency, ImportValues, Metadata, MetadataError};
pub use oci::{OciChart, OciClient, OciManifest};
pub use repository::{IndexFile, IndexState, Refreshed, Repository, RepositoryError};
pub use secret::SecretError;
pub use source::{ClientCertificate, Credentials, PemError, Source, Trust};
pub use url::{Host, HostError, Url, UrlError};
pub use version::{UpgradePolicy, Version, VersionError};
