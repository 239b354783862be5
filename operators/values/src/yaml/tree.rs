//! Builds a value from events, and pays for every node, so that no few lines of aliases fill the memory.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{DEPTH, Duplicates, EXPANDED_BYTES, NODES, YamlError};
use crate::weight::Weight;

const MOST: Weight = Weight { nodes: NODES, bytes: EXPANDED_BYTES, depth: DEPTH };

/// A map or list that is not closed yet.
struct Open {
    value: Value,
    key: Option<Key>,
    anchor: usize,
    /// Keys that came by `<<`: naming one again is no mistake.
    merged: HashSet<String>,
}

enum Key {
    Named(String),
    Merge,
}

pub(super) struct Tree {
    duplicates: Duplicates,
    open: Vec<Open>,
    root: Option<Value>,
    anchors: HashMap<usize, (Value, Weight)>,
    spent: Weight,
}

impl Tree {
    pub(super) fn new(duplicates: Duplicates) -> Self {
        Self { duplicates, open: Vec::new(), root: None, anchors: HashMap::new(), spent: Weight::default() }
    }

    /// The document that ended. Anchors end with it.
    pub(super) fn take(&mut self) -> Option<Value> {
        self.anchors.clear();
        self.root.take()
    }

    pub(super) fn open(&mut self, value: Value, anchor: usize, line: usize) -> Result<(), YamlError> {
        self.spend(Weight::NODE, line)?;
        if self.open.len() >= DEPTH {
            return Err(YamlError::TooDeep { line });
        }
        self.open.push(Open { value, key: None, anchor, merged: HashSet::new() });
        Ok(())
    }

    pub(super) fn close(&mut self, line: usize) -> Result<(), YamlError> {
        let Some(open) = self.open.pop() else { return Err(YamlError::Syntax { line }) };
        self.anchor(open.anchor, &open.value, line)?;
        self.add(open.value, line)
    }

    pub(super) fn scalar(&mut self, value: Value, is_merge: bool, anchor: usize, line: usize) -> Result<(), YamlError> {
        self.spend(Weight::of(&value), line)?;
        self.anchor(anchor, &value, line)?;
        match self.open.last_mut() {
            Some(Open { value: Value::Object(_), key: key @ None, .. }) if is_merge => {
                *key = Some(Key::Merge);
                Ok(())
            }
            _ => self.add(value, line),
        }
    }

    pub(super) fn alias(&mut self, anchor: usize, line: usize) -> Result<(), YamlError> {
        let (value, weight) = self.anchors.get(&anchor).cloned().ok_or(YamlError::Alias { line })?;
        self.spend(weight, line)?;
        if self.open.len() + weight.depth > DEPTH {
            return Err(YamlError::TooDeep { line });
        }
        self.add(value, line)
    }

    /// Keeps a copy, which costs as much as an alias.
    fn anchor(&mut self, anchor: usize, value: &Value, line: usize) -> Result<(), YamlError> {
        if anchor > 0 {
            let weight = Weight::of(value);
            self.spend(weight, line)?;
            self.anchors.insert(anchor, (value.clone(), weight));
        }
        Ok(())
    }

    fn spend(&mut self, weight: Weight, line: usize) -> Result<(), YamlError> {
        self.spent.spend(weight, MOST).ok_or(YamlError::TooMuch { line })
    }

    /// Adds a key or a value where the text is now.
    fn add(&mut self, value: Value, line: usize) -> Result<(), YamlError> {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(value);
            return Ok(());
        };
        match (&mut open.value, open.key.take()) {
            (Value::Array(items), _) => items.push(value),
            (Value::Object(_), None) => open.key = Some(Key::Named(key(value).ok_or(YamlError::Key { line })?)),
            (Value::Object(members), Some(Key::Merge)) => {
                let merged = merged(value).ok_or(YamlError::Merge { line })?;
                open.merged.extend(merged.keys().cloned());
                members.extend(merged);
            }
            (Value::Object(members), Some(Key::Named(key))) => {
                let is_named_before = !open.merged.remove(&key) && members.contains_key(&key);
                members.insert(key, value);
                if is_named_before && self.duplicates == Duplicates::Refuse {
                    return Err(YamlError::Duplicate { line });
                }
            }
            _ => return Err(YamlError::Syntax { line }),
        }
        Ok(())
    }
}

/// As Helm reads keys: numbers (ports, mostly) and booleans become strings.
fn key(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) if number.is_f64() => number.as_f64().map(fraction),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// In single precision, as Helm's reader writes it.
#[expect(clippy::cast_possible_truncation)]
fn fraction(number: f64) -> String {
    (number as f32).to_string()
}

/// What `<<` names: one map, or a list of them, of which the first wins. As Helm reads it, only what stands after `<<` is
/// stronger.
fn merged(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(merged) => Some(merged),
        Value::Array(maps) => maps.into_iter().rev().try_fold(Map::new(), |mut all, map| {
            let Value::Object(merged) = map else { return None };
            all.extend(merged);
            Some(all)
        }),
        _ => None,
    }
}
