//! Runs kube-bench on a node, and hands over what it finds: the two containers of the Job of a node.
//!
//! [`run()`] starts kube-bench once for each target, within its time, and writes what came of it into a folder. It has no token and needs
//! no network. [`collect()`] waits for that, judges it, and writes the answer into the Secret that was made for it. It has a token for
//! that Secret, and sees nothing of the node. What lies in the folder is input for it, as everything from a node is.

mod child;
mod collect;
mod files;
mod gather;
mod names;
mod outcome;
mod run;
mod send;

pub use collect::{CollectError, CollectSettings, Handed, collect};
pub use names::{BenchmarkName, NameError, TargetName};
pub use run::{RunError, RunSettings, run};
pub use send::{SendError, in_cluster};

/// Most bytes that kube-bench may print for one target.
pub const MAX_PRINTED: usize = 20 << 20;
