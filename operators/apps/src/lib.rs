//! From what an app is made of to a release in its cluster: for the operators of apps, which decide whether and when.
//!
//! 1. [`inputs`] are known by their digests: charts and values beside the app.
//!    A chart in a [`repository`] is chosen first.
//! 2. [`state`] says what comes next for a release. Pure: a function of the status of the app, the records in the cluster, and time.
//! 3. [`prepare`] renders a chart once, by helm as a confined child; what it looks up is answered with the rights of the app.
//! 4. [`release`] does one step in the cluster, with the rights of the app and never with those of Drover.
//! 5. [`drift`] and [`workloads`] say whether what was released is still there, and ready.
//! 6. [`AppCause`] says why an app is not as wanted.

mod brought;
mod cause;
mod confide;
pub mod drift;
mod error;
pub mod inputs;
mod kept;
mod lookup;
pub mod prepare;
mod projection;
pub mod release;
mod render;
pub mod repository;
pub mod seal;
mod shared;
pub mod state;
mod subcharts;
pub mod workloads;

pub use cause::AppCause;
pub use error::AppError;
