//! Real Kubernetes control planes for tests and for the demo.
//!
//! A [`ControlPlane`] is a real `etcd` and `kube-apiserver`, and on request a controller manager, a scheduler and kwok,
//! as plain processes on loopback ports. They end with the process that started them, however that one ends.
//! The programs come from the environment, from a cache, or are built from pinned Go modules: see [`tools`].

pub mod audit;
pub mod bench;
pub mod bind;
pub mod certificates;
pub mod charts;
pub mod clock;
pub mod control_plane;
pub mod demo;
mod error;
pub mod existing;
pub mod http_proxy;
pub mod installation;
mod json_file;
pub mod node;
pub mod objects;
pub mod pool;
pub mod process;
pub mod proxy;
pub mod releases;
mod run_directory;
pub mod runner;
pub mod s3;
pub mod story;
pub mod tools;
pub mod wait;

pub use control_plane::{Components, ControlPlane, Options};
pub use error::{Error, Result};
pub use existing::{ExistingCluster, TestCluster, require_or_skip};
pub use tools::{Program, Tools};
