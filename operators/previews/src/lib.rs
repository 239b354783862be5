//! What a revision of an app on many clusters would change on some of them, before a person approves that.
//!
//! 1. A [`Subject`] is the app of one target as it would be. [`Previews`] renders it as its release would be rendered, one at a time and
//!    beside the rollout, which waits for none of that.
//! 2. [`decide`](fn@decide) says what is to be looked at, and when. Pure.
//! 3. [`compare`] says how that differs from what is released there, object by object and field by field. Pure.
//! 4. [`text`] tells it within a bound, and nothing of what may be secret. Pure.
//!
//! Nothing is sent to the cluster but what a chart looks up, and the records of the release are read, both with the rights of the app.

pub mod compare;
mod decide;
mod keep;
mod look;
mod previews;
pub mod text;

pub use decide::{Decided, Knowledge, decide};
pub use keep::{FIELD, Kept, keep, kept};
pub use previews::{Look, Looked, Previews};

use drover_crds::{CatalogApp, ChosenChart, StagePreview};
use serde::{Deserialize, Serialize};

/// What a revision would change, on one target of each stage. A `ControllerRevision` beside the revision keeps it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    /// Name of the revision.
    pub revision: String,
    /// In the order of the stages.
    pub stages: Vec<OfStage>,
}

/// The same on the target of one stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OfStage {
    /// What was looked at.
    #[serde(flatten)]
    pub target: Target,
    /// What came of it.
    pub outcome: Outcome,
}

/// A target that is looked at, with what it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Name of the stage.
    pub stage: String,
    /// Name of the Cluster.
    pub cluster: String,
    /// Tells what is released there from what was released before, and says nothing of it; none if nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<String>,
}

/// What came of a look at a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// What would change.
    Differs(Differs),
    /// It is not known, and why. It is looked at again.
    Unknown {
        /// For programs, as one `CamelCase` word.
        reason: String,
        /// For people.
        message: String,
    },
}

/// What would change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Differs {
    /// How many objects would be created, hooks included.
    pub created: usize,
    /// How many would be changed.
    pub changed: usize,
    /// How many would be removed.
    pub removed: usize,
    /// Some of them, by kind and name.
    pub objects: Vec<String>,
    /// All of it for people, within a bound.
    pub text: String,
    /// Whether fields stand there without what they hold, as some of that may be secret.
    #[serde(default)]
    pub without_values: bool,
    /// Whether nothing is known of what is released there, so that all counts as created.
    #[serde(default)]
    pub is_new: bool,
}

/// The app of a target as it would be.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Which target.
    pub target: Target,
    /// The spec of the revision, with metadata and status of what is there.
    pub app: CatalogApp,
    /// The version of a chart in a repository that was found for the revision.
    pub chosen: Option<ChosenChart>,
}

impl OfStage {
    /// What a status says of it.
    #[must_use]
    pub fn summary(&self) -> StagePreview {
        let cluster = self.target.cluster.clone();
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX).min(99_999);
        match &self.outcome {
            Outcome::Differs(found) => StagePreview {
                cluster,
                created: count(found.created),
                changed: count(found.changed),
                removed: count(found.removed),
                objects: found.objects.clone(),
                reason: None,
            },
            Outcome::Unknown { reason, .. } => {
                let reason = Some(reason.chars().take(40).collect());
                StagePreview { cluster, reason, ..StagePreview::default() }
            }
        }
    }
}
