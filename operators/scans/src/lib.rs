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
//! | [`missing`] | why the results of a node are not counted |
//! | [`remedies`] | what to do about a check that fails |
//! | [`changes`] | what a report finds that the one before did not |
//! | [`turn`] | which of the scans of a cluster has its turn |
//! | [`kept`] | a report as far as Drover keeps it in memory |

pub mod answer;
pub mod benchmark;
pub mod changes;
pub mod engine;
pub mod judge;
pub mod kept;
pub mod missing;
pub mod redact;
pub mod remedies;
pub mod report;
mod tally;
pub mod turn;

#[cfg(test)]
mod tests;
