//! The Job that scans one node of a cluster, and what goes with it, for the operator of scans.
//!
//! | module | what it is about |
//! |---|---|
//! | [`job`] | the Job: kube-bench beside a collector, and how it ended. Pure |
//! | [`answer`] | the Secret that was made for the answer of one node, and who may write it. Pure |
//! | [`node`] | what is kept of a node. Pure |

pub mod answer;
pub mod job;
pub mod node;
