//! YAML as Helm reads it, within bounds: texts of values are hostile, as is everything in a chart.

mod scalar;
#[cfg(test)]
mod tests;
mod tree;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Value};

use crate::merge;
use tree::Tree;

/// The longest text of values, in bytes: what a `ConfigMap` or a Secret can hold.
pub const TEXT_BYTES: usize = 1 << 20;
/// How deep maps and lists may lie in each other.
pub const DEPTH: usize = 64;
/// How many values a text may hold after its aliases are followed.
pub const NODES: usize = 100_000;
/// How many bytes the strings of a text may take after its aliases are followed.
pub const EXPANDED_BYTES: usize = 4 << 20;

/// Why a text is not read as values. It never quotes the text, which may be secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum YamlError {
    /// Longer than [`TEXT_BYTES`].
    #[error("it is longer than 1 MiB")]
    TooLong,
    /// Something other than a map at the top.
    #[error("it is not a map")]
    NotAMap,
    /// What stands in a line, which is counted from 1.
    #[error("line {0}: {1}")]
    Line(usize, YamlFault),
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum YamlFault {
    /// Deeper than [`DEPTH`].
    #[error("it is nested deeper than 64 levels")]
    TooDeep,
    /// More than [`NODES`] or [`EXPANDED_BYTES`].
    #[error("it holds too many values once its aliases are followed")]
    TooMuch,
    /// No YAML.
    #[error("it is not valid YAML")]
    Syntax,
    /// A key that is a map, a list or null.
    #[error("a key is not a string")]
    Key,
    /// A key that its map has already.
    #[error("a key is there twice")]
    Duplicate,
    /// An alias without an anchor, or one inside its own anchor.
    #[error("an alias has no anchor")]
    Alias,
    /// `<<` of something other than maps.
    #[error("<< names something other than a map")]
    Merge,
    /// A value that JSON does not have, such as an infinity, or that its tag contradicts.
    #[error("a value has no equal in JSON")]
    Scalar,
}

/// What a key that its map has already means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Duplicates {
    /// An error: whoever wrote it meant something else.
    Refuse,
    /// The last one wins, as Helm reads the files of a chart.
    LastWins,
}

/// Reads a text of values: a map, or several documents of maps, of which later ones win. An empty text is an empty map.
/// Keys that are numbers or booleans become strings, as Helm reads them.
pub fn values(text: &str, duplicates: Duplicates) -> Result<Value, YamlError> {
    let documents = documents(text, duplicates)?;
    let maps = documents.into_iter().filter(|document| !document.is_null());
    let maps: Vec<Value> = maps
        .map(|document| if document.is_object() { Ok(document) } else { Err(YamlError::NotAMap) })
        .collect::<Result<_, _>>()?;
    Ok(merge(maps))
}

fn documents(text: &str, duplicates: Duplicates) -> Result<Vec<Value>, YamlError> {
    if text.len() > TEXT_BYTES {
        return Err(YamlError::TooLong);
    }
    let mut tree = Tree::new(duplicates);
    let mut documents = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| YamlError::Line(error.marker().line(), YamlFault::Syntax))?;
        add(&mut tree, event).map_err(|fault| YamlError::Line(span.start.line(), fault))?;
        documents.extend(tree.take());
    }
    Ok(documents)
}

fn add(tree: &mut Tree, event: Event<'_>) -> Result<(), YamlFault> {
    match event {
        Event::MappingStart(anchor, _) => tree.open(Value::Object(Map::new()), anchor),
        Event::SequenceStart(anchor, _) => tree.open(Value::Array(Vec::new()), anchor),
        Event::MappingEnd | Event::SequenceEnd => tree.close(),
        Event::Scalar(text, style, anchor, tag) => {
            let value = scalar(&text, style, tag.as_deref()).ok_or(YamlFault::Scalar)?;
            let is_merge = style == ScalarStyle::Plain && tag.is_none() && text == "<<";
            tree.scalar(value, is_merge, anchor)
        }
        Event::Alias(anchor) => tree.alias(anchor),
        _ => Ok(()),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Option<Value> {
    let string = || Some(Value::String(text.to_owned()));
    let Some(tag) = tag else {
        return if style == ScalarStyle::Plain { scalar::resolve(text) } else { string() };
    };
    if !tag.is_yaml_core_schema() {
        return string();
    }
    let value = scalar::resolve(text)?;
    match (tag.suffix.as_str(), &value) {
        ("str" | "timestamp", _) => string(),
        ("bool", Value::Bool(_)) | ("null", Value::Null) | ("float", Value::Number(_)) => Some(value),
        ("int", Value::Number(number)) if !number.is_f64() => Some(value),
        _ => None,
    }
}
