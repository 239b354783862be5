//! What changed from one revision to another, without what it was or is: that may be secret.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::Content;

/// Most places that are named.
const MOST: usize = 50;
/// How deep places are named; what differs further down is named by what holds it.
const DEPTH: usize = 12;

/// The fields that differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Their paths, such as `template.values.replicas`, sorted; at most 50.
    pub fields: Vec<String>,
    /// How many more there are.
    pub more: usize,
}

/// What differs from one revision to the other.
pub fn difference(old: &Content, new: &Content) -> serde_json::Result<Difference> {
    let mut found = Difference::default();
    compare(&serde_json::to_value(old)?, &serde_json::to_value(new)?, "", DEPTH, &mut found);
    Ok(found)
}

fn compare(old: &Value, new: &Value, at: &str, depth: usize, found: &mut Difference) {
    if old == new {
        return;
    }
    match (old, new) {
        (Value::Object(old), Value::Object(new)) if depth > 0 => {
            let keys: BTreeSet<_> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let (old, new) = (old.get(key).unwrap_or(&Value::Null), new.get(key).unwrap_or(&Value::Null));
                compare(old, new, &member(at, key), depth - 1, found);
            }
        }
        (Value::Array(old), Value::Array(new)) if depth > 0 && old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                compare(old, new, &format!("{at}[{index}]"), depth - 1, found);
            }
        }
        _ if found.fields.len() < MOST => found.fields.push(at.to_owned()),
        _ => found.more += 1,
    }
}

/// A key that is no plain word stands in quotation marks.
fn member(at: &str, key: &str) -> String {
    let is_plain = !key.is_empty() && key.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter));
    match (is_plain, at.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{at}.{key}"),
        (false, _) => format!("{at}[{key:?}]"),
    }
}
