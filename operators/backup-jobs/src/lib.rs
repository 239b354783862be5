//! The Job that takes a snapshot of etcd in a cluster, for the operator of backups.
//!
//! | module | what it is about |
//! |---|---|
//! | [`job`] | the Job, and how it ended. Pure |
//! | [`task`] | what it is to do: URLs that are signed for it, in a Secret of its name |

pub mod job;
pub mod task;
