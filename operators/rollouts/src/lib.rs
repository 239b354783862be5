//! Which target of a [`MultiClusterApp`](drover_crds::MultiClusterApp) gets which revision, and when. Pure: no client, no cache, no clock.
//!
//! 1. [`Content`] is what a revision holds. Its name tells it from every other one, and [`difference`] says what changed.
//! 2. [`Variants`] says which overrides count on a cluster, and what the app is there.
//! 3. [`plan`] decides from the present targets and a small record which of them are started, removed or left. The record is written
//!    before anything is done on account of it; all else is seen at the targets, so a decision may be repeated at any time.

mod arrange;
mod census;
mod content;
mod difference;
mod hash;
mod overrides;
mod plan;
mod prune;
mod sample;
mod staged;
mod summary;
mod target;
#[cfg(test)]
mod tests;
mod time;
mod wait;

pub use content::{ChartVersion, Content, PinError, Stored, number, pinned};
pub use difference::{Difference, difference};
pub use overrides::{Variant, Variants, child_name};
pub use plan::{Decision, Rollout, Start, To, plan};
pub use sample::Sample;
pub use summary::Counted;
pub use target::{Child, Deselected, Revision, Target};
pub use wait::{Blocked, Wait};
