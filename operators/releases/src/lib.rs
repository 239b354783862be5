//! Helm releases: rendering, records, hooks, and when objects are ready.
//!
//! Everything here is pure, but [`render`], which runs `helm template` as a confined child process. What it reads is hostile: charts,
//! records that tenants can write, and objects of clusters.
//!
//! | module | what it does |
//! |---|---|
//! | [`render`], [`confine`] | runs `helm template` within bounds, and what the child process may still do |
//! | [`manifest`] | takes apart what Helm prints: objects, hooks, `crds/`, notes |
//! | [`object`], [`order`] | one object with Helm's marks, and the order of kinds |
//! | [`hook`] | when hooks run, in which order, and when they are deleted |
//! | [`definition`] | kinds that a chart defines |
//! | [`filter`] | which objects an app may have |
//! | [`record`], [`history`] | release records that Helm 3 and 4 read, and which revisions stay |
//! | [`readiness`] | when an object is ready |
//! | [`diff`] | what to prune, and which fields drifted |
//! | [`ownership`] | takes over the fields that Helm 3 wrote |
//! | [`yaml`] | YAML as Helm reads it |

pub mod confine;
pub mod definition;
pub mod diff;
pub mod filter;
pub mod history;
pub mod hook;
pub mod manifest;
pub mod object;
pub mod order;
pub mod ownership;
pub mod readiness;
pub mod record;
pub mod render;
mod serial;
pub mod yaml;

pub use manifest::Rendered;
pub use object::{Identity, Object};
pub use record::Record;
pub use render::Renderer;
