//! What scans find: answers of nodes, the benchmark of a cluster, and the report of it. Pure: no client, no clock.
//!
//! | module | what it is about |
//! |---|---|
//! | [`benchmark`] | by which benchmark a cluster is judged, and what of it on which node |
//! | [`engine`] | what kube-bench prints, as checks |
//! | [`redact`] | what was found, without what may be secret |
//! | [`answer`] | what a node hands over |
//! | [`judge`] | the state of a check on a node, by profile and waivers |
//! | [`report`] | all nodes of a cluster together, and the verdict |

pub mod answer;
pub mod benchmark;
pub mod engine;
pub mod judge;
pub mod redact;
pub mod report;
mod tally;

#[cfg(test)]
mod tests;
