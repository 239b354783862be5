//! What came of fetching a repository.

use drover_charts::IndexState;
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use crate::SourceError;

/// The last attempt to read a repository.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// What it answers: another spec, another Secret, or a request. It says nothing of a Secret.
    pub asked: String,
    /// When it ended, by a clock that nobody sets.
    pub ended: Instant,
    /// How many failed in a row.
    pub failures: u32,
    /// Why it failed.
    pub failure: Option<SourceError>,
    /// What was read last, by this attempt or an earlier one; none of another URL.
    pub content: Option<Content>,
    /// Where it was asked.
    pub(crate) url: String,
    /// The digest that its status told at that time.
    pub(crate) told: Option<String>,
}

/// What there is in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Where it was read.
    pub(crate) url: String,
    /// The index; none of a registry, which has none.
    pub index: Option<IndexState>,
    /// When it was read first.
    pub since: Timestamp,
}
