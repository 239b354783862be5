//! Named cases, and properties over random fleets.

mod content;
mod named;
mod properties;
mod pruning;
