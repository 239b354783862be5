//! What becomes of runs that were missed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a kind with a schedule does about runs that were missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CatchUp {
    /// The newest one is made up for, as long as it is not yet time for the next.
    #[default]
    Latest,
    /// None is.
    None,
}
