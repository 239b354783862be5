//! What a role allows, and whom it is given to. Pure: no client, no cache, no clock.
//!
//! The operators that write roles and bindings share it, so that all of them judge alike:
//!
//! 1. [`resolve`] gathers what a [`RoleTemplate`](drover_crds::RoleTemplate) allows, inherited rights included.
//! 2. [`BoundRole`] names the `ClusterRole` for it in a cluster, and the bindings to it.
//! 3. [`subject`] spells a person, a group or an account as the cluster does, and [`in_bindings_of`] spreads many over bindings.
//! 4. [`may_bind_from`] and [`is_in_force`] say whether a binding counts.

mod atoms;
mod bound_role;
mod consent;
mod resolve;
mod rules;
mod subject;
#[cfg(test)]
mod testing;

pub use bound_role::BoundRole;
pub use consent::{is_in_force, may_bind_from};
pub use resolve::{Resolved, digest, resolve};
pub use rules::narrowed;
pub use subject::{Accounts, MAX_SUBJECTS, Refused, accounts_of, in_bindings_of, subject};
