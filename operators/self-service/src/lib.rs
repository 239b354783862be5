//! Namespaces that members of a Project create themselves. Pure: no client, no cache, no clock.
//!
//! A namespace asks for a Project by two labels ([`asked`]). They are only a request: [`Requests::judge`] says which of those that ask
//! the Project takes up. Whether whoever set the labels had the right to is the matter of an admission policy of the cluster; what
//! was labelled before that was in force is taken up by nobody.
//!
//! [`Creators`] are those who may create such namespaces, by one role and its bindings, which that policy judges by.

mod creators;
mod requests;

pub use creators::{Creators, Given, MayCreate, Towards, lets_create};
pub use requests::{Judged, Refusal, Request, Requests, Rival, SETTLING, asked, begins_with};
