//! The rights that Drover needs at API servers, with those of the runtime.

pub use drover_client::rights::*;

/// What the runtime itself needs: to report events.
pub const RIGHTS: Rights =
    Rights { management: &[Rule::on("events.k8s.io", &["events"], &["create", "patch"])], ..Rights::NONE };
