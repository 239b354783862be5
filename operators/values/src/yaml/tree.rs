//! Builds a value from events, and pays for every node, so that no few lines of aliases fill the memory.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{DEPTH, Duplicates, EXPANDED_BYTES, NODES, YamlFault};
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

    /// The document, once it is whole. Anchors end with it.
    pub(super) fn take(&mut self) -> Option<Value> {
        let root = self.root.take()?;
        self.anchors.clear();
        Some(root)
    }

    pub(super) fn open(&mut self, value: Value, anchor: usize) -> Result<(), YamlFault> {
        self.spend(Weight::NODE)?;
        if self.open.len() >= DEPTH {
            return Err(YamlFault::TooDeep);
        }
        self.open.push(Open { value, key: None, anchor, merged: HashSet::new() });
        Ok(())
    }

    pub(super) fn close(&mut self) -> Result<(), YamlFault> {
        let Some(open) = self.open.pop() else { return Err(YamlFault::Syntax) };
        self.anchor(open.anchor, &open.value)?;
        self.add(open.value)
    }

    pub(super) fn scalar(&mut self, value: Value, is_merge: bool, anchor: usize) -> Result<(), YamlFault> {
        self.spend(Weight::of(&value))?;
        self.anchor(anchor, &value)?;
        match self.open.last_mut() {
            Some(Open { value: Value::Object(_), key: key @ None, .. }) if is_merge => {
                *key = Some(Key::Merge);
                Ok(())
            }
            _ => self.add(value),
        }
    }

    pub(super) fn alias(&mut self, anchor: usize) -> Result<(), YamlFault> {
        let (value, weight) = self.anchors.get(&anchor).cloned().ok_or(YamlFault::Alias)?;
        self.spend(weight)?;
        if self.open.len() + weight.depth > DEPTH {
            return Err(YamlFault::TooDeep);
        }
        self.add(value)
    }

    /// Keeps a copy, which costs as much as an alias.
    fn anchor(&mut self, anchor: usize, value: &Value) -> Result<(), YamlFault> {
        if anchor > 0 {
            let weight = Weight::of(value);
            self.spend(weight)?;
            self.anchors.insert(anchor, (value.clone(), weight));
        }
        Ok(())
    }

    fn spend(&mut self, weight: Weight) -> Result<(), YamlFault> {
        self.spent.spend(weight, MOST).ok_or(YamlFault::TooMuch)
    }

    /// Adds a key or a value where the text is now.
    fn add(&mut self, value: Value) -> Result<(), YamlFault> {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(value);
            return Ok(());
        };
        match (&mut open.value, open.key.take()) {
            (Value::Array(items), _) => items.push(value),
            (Value::Object(_), None) => open.key = Some(Key::Named(key(value).ok_or(YamlFault::Key)?)),
            (Value::Object(members), Some(Key::Merge)) => {
                let merged = merged(value).ok_or(YamlFault::Merge)?;
                open.merged.extend(merged.keys().cloned());
                members.extend(merged);
            }
            (Value::Object(members), Some(Key::Named(key))) => {
                let is_named_before = !open.merged.remove(&key) && members.contains_key(&key);
                members.insert(key, value);
                if is_named_before && self.duplicates == Duplicates::Refuse {
                    return Err(YamlFault::Duplicate);
                }
            }
            _ => return Err(YamlFault::Syntax),
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
