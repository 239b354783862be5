//! Admission policies: who may write what, judged by the API server itself, in the management cluster and downstream.
//!
//! Each is a `ValidatingAdmissionPolicy` with a binding of its name. It asks the API server's own authorizer whether whoever sends
//! the request has a *verb*; no user is known by name, so people, Argo CD and Flux are judged alike, and who holds `*` may do everything.
//! What an expression cannot tell, the API server refuses.
//!
//! The policies of the [`management`] cluster ship in the chart; those [`downstream`] are written by Drover itself. Nothing guards a policy itself, as no policy is asked about
//! policies: [`guarded`] tells whether they are as they should be, and [`admitted`] what was written while they were.

pub mod admitted;
pub mod downstream;
pub mod guarded;
pub mod management;
mod policy;
mod self_service;
mod state;
pub mod verbs;

pub use admitted::{Admitted, Judged};
pub use guarded::Guarded;
pub use policy::Policy;
pub use state::PoliciesState;
