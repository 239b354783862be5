//! Which bindings are in force, and what they give: the rules that the operators of Projects, of role templates and of both kinds of
//! bindings share. Rights as such are the matter of `drover-roles`; here it is about who has them, when and why not.
//!
//! 1. [`BindingIndex`] tells whom a change of a template, a binding or a Project concerns.
//!    A cache finds bindings by [`OfProject`] and [`OfTemplate`].
//! 2. [`reached`] gathers the templates that bindings name, with all that these inherit.
//! 3. [`in_force`](in_force::in_force) says whether a binding of a Project counts, and [`admitted`](in_force::admitted) for whom.
//! 4. [`Granted`] is what the bindings of a Project amount to at a cluster, and [`Members`] the way there from what there is.
//! 5. [`of_apps`] says which roles and namespaces apps still need at a cluster that is being deleted.
//! 6. [`Grants`] says whether rights may grow, and [`GrantCause`] why one is not given.

mod allowed;
mod cause;
pub mod in_force;
mod index;
mod kept;
mod members;
pub mod of_apps;
mod templates;

pub use drover_admission::admitted::{self, Admitted, Judged};

pub use allowed::{Grants, not_begun, template_not_admitted};
pub use cause::GrantCause;
pub use index::{Binding, BindingIndex, OfProject, OfTemplate, project_of, undecodable_in};
pub use members::{Decided, Granted, Members, Scope, is_of_another};
pub use templates::{Templates, reached};
