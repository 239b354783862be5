//! Requests to an API server as one of its accounts (`ServiceAccount`), for objects of kinds that are known at run time only.
//!
//! What an app brings is applied with the rights of the app, and never with those of Drover: over a connection on which nothing of
//! Drover's credential is sent, with a short token of a account. A token that cannot be had is an error, and nothing else is
//! tried. Who dials, and under which rules, is decided by the crate `drover-fleet`.
//!
//! | module | what it does |
//! |---|---|
//! | `account` | the names of accounts, and what is sent as one of them |
//! | `accounts` | what all accounts of one API server share, for as long as Drover is connected |
//! | `tokens` | short tokens, in memory only, renewed before they end |
//! | [`identity`] | whom a server takes the sender of a token for |
//! | [`kinds`] | which kinds the server has, found by discovery |
//! | `objects` | get, list, create, apply, update and delete |
//! | `answer` | reads answers within bounds |
//! | [`error`] | why a request as a account did not succeed |

mod account;
mod accounts;
mod answer;
pub mod error;
pub mod identity;
pub mod kinds;
mod objects;
#[cfg(test)]
mod tests;
mod tokens;

use drover_client::Rule;

pub use account::{AccountClient, AccountName, Answer};
pub use accounts::Accounts;
pub use error::{AccountError, Asked, FieldConflict, Verb};
pub use identity::ActsAs;
pub use kinds::{Discovers, Kinds, Resource};
pub use objects::{Apply, FIELD_MANAGER, Propagation};

/// The right to tokens of accounts: for [`Rights::downstream_namespace`](drover_client::Rights), as all of them are in Drover's
/// namespace of a cluster.
pub const TOKENS: Rule = Rule::on("", &["serviceaccounts/token"], &["create"]);

/// The right to find out which kinds a cluster has: for [`Rights::downstream`](drover_client::Rights).
pub const DISCOVERY: Rule = Rule::read_paths(&["/api", "/apis", "/version"]);
