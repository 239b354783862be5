//! What becomes of downstream objects.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens downstream when the owner is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// Leave it as it is.
    #[default]
    Orphan,
    /// Remove what is Drover's.
    Delete,
}
