//! Promises of the Project operator, kept to without an API server: what is decided, what is told, and what comes of it in
//! a model world.

mod advisories;
mod allocate;
mod bounds;
mod decisions;
mod deleting_cluster;
mod doubt;
mod forged;
mod guards;
mod holders;
mod isolation;
mod members;
mod pod_security;
mod promises;
mod properties;
mod quota;
mod safety;
mod secrets;
mod self_service;
mod status;
mod strategies;
mod world;
