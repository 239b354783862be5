//! The runtime that drives every Drover operator.
//!
//! An [`Operator`] says what is particular to its kind, in four steps: `observe` gathers, `plan` decides, `act` does,
//! `summarise` joins. Everything else is here, once, and is the same for every operator; the documentation of [`Operator`]
//! says what the runtime guarantees and expects, and shows a complete operator.
//!
//! | module | what it does |
//! |---|---|
//! | [`operator`] | what an operator implements: the trait, plans, owners, watches |
//! | [`cache`] | reads API servers: informers that lists and watches keep up to date, and read-your-writes |
//! | [`queue`] | orders keys: one run at a time per key, fair between places, back-off |
//! | [`drive`] | runs reconciles: finalizer, panics, time limits, status writes, clean-up of what was left behind |
//! | [`place`] | the management cluster, the fleet, and where an object is reconciled |
//! | [`act`] | does the actions of a plan: groups side by side, each in its order |
//! | [`owned`], [`difference`] | compares wanted with live objects: create, apply, adopt, release, prune |
//! | [`write`](mod@write), [`drift_conflicts`] | writes by server-side apply, and stops where another client reverts each write |
//! | [`held`] | what owners held when they were last seen, by the UIDs of objects |
//! | [`request`] | makes a request within a time limit, and knows its sender and how urgent it is |
//! | [`error`], [`cause`] | the classes of failures, and the one table from which retry, condition and event follow |
//! | [`place_status`], [`fan_out`] | the statuses of all places, and the one that a kind that fans out makes of them |
//! | [`status`], [`events`], [`metrics`] | conditions, events on their transitions, and what is counted |
//! | [`rights`] | the rights that roles and charts are generated from |
//! | [`addresses`] | which addresses may be dialled |
//! | `model` (feature `model`) | interprets actions in memory, for property tests of an operator's decisions |

pub mod act;
pub mod addresses;
pub mod cache;
pub mod cause;
pub mod clock;
pub mod difference;
pub mod drift_conflicts;
pub mod drive;
pub mod error;
pub mod events;
pub mod fan_out;
pub mod held;
pub mod metrics;
#[cfg(any(test, feature = "model"))]
pub mod model;
pub mod operator;
pub mod owned;
mod owner;
pub mod place;
pub mod place_status;
pub mod quantity;
pub mod queue;
mod refusal;
pub mod request;
pub mod rights;
pub mod status;
pub mod task;
#[cfg(test)]
mod testing;
pub mod write;

pub use addresses::{AddressNotAllowed, DialPolicy};
pub use cache::{Cache, Informer, Kept, LabelQuery, ObjectKey, OwnerRecord};
pub use cause::{ApiCause, Cause, StatusCause, WriteCause};
pub use drive::{Context, DriveSettings, Driver};
pub use error::{ApiError, Class, Classify, Failure};
pub use operator::{Operator, Owner, Plan, Related, Requeue, StatusOf, Watches};
pub use owner::Title;
pub use place::{ClusterName, ClusterView, FleetView, Link, Place, PlaceContext, Targets};
pub use place_status::{Outcome, PlaceState, PlaceStatuses, Refusal, Tally};
pub use rights::{Rights, Rule};
pub use write::{Step, WriteError, Writer};
