//! Why something failed: for decisions, and for people.

use drover_backups::FailureCause;

/// Why a snapshot could not be taken, proved or stored. The text holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SnapshotError {
    /// For decisions.
    pub cause: FailureCause,
    /// For people.
    pub message: String,
}

impl SnapshotError {
    pub(crate) fn new(cause: FailureCause, message: impl Into<String>) -> Self {
        Self { cause, message: message.into() }
    }

    /// A file or folder could not be used.
    pub(crate) fn storage(what: &str, error: &std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::StorageFull {
            let message =
                format!("{what}: the disk is full; give the backup more space (emptyDir or disk of the node)");
            return Self::new(FailureCause::SpoolFull, message);
        }
        Self::new(FailureCause::Storage, format!("{what}: {error}"))
    }
}
