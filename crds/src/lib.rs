//! The types of Drover's API, group `drover.dev`: what people write, and what Drover answers in the status.
//!
//! In YAML the unions ([`Connection`], [`Selection`]) are objects with one member.
//! Read YAML into a `serde_json::Value` first: YAML libraries would otherwise spell a Rust enum as a `!tag`.

mod catch_up;
mod deletion;
mod duration;
mod no_effect;
mod schema;
mod share;

pub mod condition;
pub mod metadata_key;
pub mod names;
pub mod selection;
pub mod v1alpha1;

pub use catch_up::CatchUp;
pub use condition::StatusConditions;
pub use deletion::DeletionPolicy;
pub use duration::{ApiDuration, ParseDurationError};
pub use selection::{
    ClusterSelection, Everything, LabelMatcher, NamespaceSelection, Selection, SelectionMatcher, SelectsClusters,
    pattern_matches,
};
pub use share::{CountOrPercent, ParsePercentError, Percent};
pub use v1alpha1::*;

/// API group of every kind.
pub const GROUP: &str = "drover.dev";

#[cfg(test)]
mod tests;
