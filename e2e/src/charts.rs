//! Charts for tests: files of a chart, packed in memory, and served as repositories and registries serve them.

mod files;
mod registry;
mod repository;

pub use files::{ChartFiles, folder};
pub use registry::{LOGIN, Registry};
pub use repository::{Repository, Trouble};
