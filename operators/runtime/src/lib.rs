//! The shell that drives every Drover operator.
//!
//! An [`Operator`] says what its kind needs in four steps: `observe` gathers, `plan` decides, `act` does, `summarise` tells.
//! Everything that is not domain is here, once: how servers are read ([`cache`]), in which order keys run ([`queue`]), how
//! passes are driven ([`drive`]), how things are written ([`write`](mod@write)), how status and errors look.

pub mod cache;
pub mod cause;
pub mod clock;
pub mod difference;
pub mod drift_conflicts;
pub mod drive;
pub mod error;
pub mod events;
pub mod fan_out;
pub mod metrics;
#[cfg(feature = "model")]
pub mod model;
pub mod operator;
pub mod owned;
mod owner;
pub mod place;
pub mod place_status;
pub mod queue;
pub mod request;
pub mod rights;
pub mod status;
pub mod task;
#[cfg(test)]
mod testing;
pub mod write;

pub use cache::{Cache, Change, Informer, Kept, LabelQuery, ObjectKey, OwnerRecord};
pub use cause::{ApiCause, Cause, StatusCause, WriteCause};
pub use drive::{Context, DriveSettings, Driver};
pub use error::{ApiError, Class, Classify, Failure};
pub use operator::{Operator, Owner, Plan, Related, Requeue, StatusOf, Watches};
pub use place::{ClusterName, ClusterView, FleetView, Link, Place, PlaceContext, Targets};
pub use place_status::{Outcome, PlaceState, PlaceStatuses, Tally};
pub use rights::{Rights, Rule};
pub use write::{Step, WriteError, Writer};
