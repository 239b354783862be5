//! What a chart is rendered with: values, answers to its questions, and its schema. Pure: no client, no clock.
//!
//! [`resolve`] is the whole story: [layers](Layer) of values go over one another ([`merge`]), answers over them, and the
//! [questions](Questions) and schemas of the [`Chart`] judge what it would be rendered with. All inputs are hostile: texts are
//! read within bounds, and a [`Problem`] names places and rules, never a value.

#[cfg(test)]
mod arbitrary;
mod chart;
mod merge;
mod problem;
mod questions;
#[cfg(test)]
mod recorded;
mod resolve;
mod schema;
mod set;
mod weight;
mod yaml;

pub use chart::{Chart, Import, SUBCHARTS, Subchart};
pub use merge::merge;
pub use problem::Problem;
pub use questions::{QUESTIONS, Question, Questions, QuestionsError, Rule, Type};
pub use resolve::{Inputs, Judging, Layer, PROBLEMS, Resolved, Validation, resolve};
pub use schema::{SCHEMA_BYTES, SchemaError};
pub use set::{LIST_GAPS, LIST_INDEX, PATH_DEPTH, SetError};
pub use yaml::{DEPTH, Duplicates, EXPANDED_BYTES, NODES, TEXT_BYTES, YamlError, YamlFault, values};
