//! Named cases, and properties over random fleets.

mod content;
mod model;
mod named;
mod properties;
mod pruning;
mod samples;
