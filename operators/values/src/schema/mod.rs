//! What `values.schema.json` of a chart and of its subcharts say of the values that they are rendered with. Nothing outside
//! of the document is read: Helm itself follows `$ref` to files and URLs.

#[cfg(test)]
mod tests;
mod work;

use jsonschema::{PatternOptions, Retrieve, Uri, ValidationError, error::ValidationErrorKind};
use serde_json::{Map, Value};

use crate::{Problem, chart::Tree};

/// The longest schema, in bytes.
pub const SCHEMA_BYTES: usize = 1 << 20;

/// How large a pattern may become as a program, in bytes. Patterns take time that is linear in the text.
const PATTERN_BYTES: usize = 1 << 20;

/// Why values are not judged by a schema. It never quotes the schema.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SchemaError {
    /// Longer than [`SCHEMA_BYTES`].
    #[error("it is longer than 1 MiB")]
    TooLong,
    /// No JSON, or nested deeper than 128 levels.
    #[error("it is not valid JSON")]
    Json,
    /// A `$ref` to a file, a URL, or to nothing.
    #[error("it refers to something outside of itself")]
    Reference,
    /// No JSON Schema, or a pattern that is too large or needs to look around.
    #[error("it is not a valid JSON Schema")]
    Invalid,
    /// Its references lead in circles, or to the same values again and again.
    #[error("it takes too many steps to judge these values")]
    TooMuch,
}

/// Judges what the chart and its subcharts are rendered with.
pub(crate) fn judge(tree: &Tree<'_>, values: &Map<String, Value>) -> Vec<Problem> {
    let mut problems = Vec::new();
    judge_at(tree, &Value::Object(values.clone()), "", &mut problems);
    problems
}

fn judge_at(tree: &Tree<'_>, values: &Value, path: &str, problems: &mut Vec<Problem>) {
    if let Some(schema) = tree.schema {
        let found = one(schema, values, path);
        problems.extend(found.unwrap_or_else(|error| vec![Problem::Schema { chart: path.to_owned(), error }]));
    }
    for branch in &tree.subcharts {
        if problems.len() >= crate::PROBLEMS {
            return;
        }
        // As Helm does: where a subchart has no values, nothing is to be judged.
        if let Some(own) = values.get(&branch.from.name).filter(|own| !own.is_null()) {
            judge_at(&branch.tree, own, &crate::chart::below(path, &branch.from.name), problems);
        }
    }
}

fn one(schema: &str, values: &Value, path: &str) -> Result<Vec<Problem>, SchemaError> {
    if schema.len() > SCHEMA_BYTES {
        return Err(SchemaError::TooLong);
    }
    let schema: Value = serde_json::from_str(schema).map_err(|_| SchemaError::Json)?;
    let names = work::Names::of(&schema).ok_or(SchemaError::TooMuch)?;
    let options = jsonschema::options().with_retriever(Nothing);
    let options = options.with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES));
    let validator = options.build(&schema).map_err(|error| match error.kind() {
        ValidationErrorKind::Referencing(_) => SchemaError::Reference,
        _ => SchemaError::Invalid,
    })?;
    if !work::is_bounded(&schema, names, values) {
        return Err(SchemaError::TooMuch);
    }
    let found = validator.iter_errors(values).take(crate::PROBLEMS);
    Ok(found.map(|error| problem(&error, path)).collect())
}

/// Names the place and the keyword, and what a key that is missing or unknown is called; never a value.
fn problem(error: &ValidationError<'_>, path: &str) -> Problem {
    let key = match error.kind() {
        ValidationErrorKind::Required { property } => property.as_str(),
        ValidationErrorKind::AdditionalProperties { unexpected } => unexpected.first().map(String::as_str),
        _ => None,
    };
    let prefix = path.split('.').filter(|name| !name.is_empty()).map(|name| format!("/{name}"));
    let key = key.map(|key| format!("/{key}")).unwrap_or_default();
    Problem::Value {
        path: format!("{}{}{key}", prefix.collect::<String>(), error.instance_path().as_str()),
        keyword: error.kind().keyword().to_owned(),
    }
}

/// Answers no reference.
struct Nothing;

impl Retrieve for Nothing {
    fn retrieve(&self, _: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err("nothing outside of the schema is read".into())
    }
}
