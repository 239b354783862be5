//! The runtime that drives every Drover operator.
//!
//! An [`Operator`] says what is particular to its kind, in four steps: `observe` gathers, `plan` decides, `act` does,
//! `summarise` joins. Everything else is here, once, and is the same for every operator; the documentation of [`Operator`]
//! says what the runtime guarantees and expects, and shows a complete operator.
//!
//! | module | what it does |
//! |---|---|
//! | [`operator`] | what an operator implements: the trait, plans, owners, watches |
//! | [`queue`] | orders keys: one run at a time per key, fair between places, back-off |
//! | [`drive`] | runs reconciles: finalizer, panics, time limits, status writes, clean-up of what was left behind |
//! | [`place`] | the management cluster, the fleet, and where an object is reconciled |
//! | [`act`] | does the actions of a plan: groups side by side, each in its order |
//! | [`owned`] | compares wanted with live objects: create, apply, adopt, release, prune |
//! | [`write`](mod@write) | writes by server-side apply, and stops where another client reverts each write |
//! | [`place_status`], [`fan_out`] | the statuses of all places, and the one that a kind that fans out makes of them |
//! | [`status`], [`events`], [`metrics`] | conditions, events on their transitions, and what is counted |
//! | [`clock`], [`task`] | the one place where the clock is read, and what a reconcile is about |
//! | `model` (feature `model`) | interprets actions in memory, for property tests of an operator's decisions |
//!
//! What it knows of an API server comes from the crate `drover-client`, and goes by its names here too: [`cache`], [`owner`],
//! [`held`], [`drift_conflicts`], [`request`], [`error`], [`cause`], [`difference`], [`quantity`], [`addresses`] and [`rights`]. What is
//! sent there as a `ServiceAccount`, and not as Drover, comes from the crate `drover-accounts`: [`accounts`].

pub mod act;
pub mod clock;
pub mod drive;
pub mod events;
pub mod fan_out;
pub mod known;
pub mod metrics;
#[cfg(any(test, feature = "model"))]
pub mod model;
pub mod operator;
pub mod owned;
pub mod place;
pub mod place_status;
pub mod queue;
pub mod rights;
pub mod status;
pub mod task;
pub mod write;

pub use drive::{Context, DriveSettings, Driver};
pub use drover_accounts::{self as accounts, AccountClient, AccountError, AccountName};
#[cfg(test)]
use drover_client::testing;
pub use drover_client::{
    AddressNotAllowed, Answer, ApiCause, ApiError, Cache, Cause, Class, Classify, DialPolicy, Failure, Informer, Kept,
    LabelQuery, ObjectKey, OwnerRecord, Rights, Rule, StatusCause, Title, WriteCause, addresses, cache, cause, causes,
    difference, drift_conflicts, error, held, owner, quantity, request,
};
pub use operator::{Inputs, Operator, Owner, Plan, Related, Requeue, StatusOf, Watches};
pub use place::{ClusterName, ClusterView, FleetView, Link, Place, PlaceContext, Targets};
pub use place_status::{Outcome, PlaceState, PlaceStatuses, Refusal, Tally};
pub use write::{Step, WriteError, Writer};
