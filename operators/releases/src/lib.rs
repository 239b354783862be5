//! Helm releases: rendering, records, hooks, and when objects are ready.
