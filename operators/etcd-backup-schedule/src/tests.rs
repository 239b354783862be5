//! Schedules over days, with clusters and backups in memory.

mod deleting;
mod model;
mod running;
mod telling;
