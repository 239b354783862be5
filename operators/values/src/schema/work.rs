//! How often the parts of a schema would meet values, counted before it is compiled. A schema of a few lines can lead in
//! circles, or judge one value more often than there is time for; both end here.

use std::collections::BTreeMap;

use serde_json::Value;

/// How many times a part of a schema may meet a value. Large charts take some ten thousand.
const STEPS: usize = 200_000;

/// How deep parts may lie in one another, on the way through references and values.
const DEPTH: usize = 256;

/// How many references a schema may have.
const REFERENCES: usize = 10_000;

/// How many parts with names are tried for one pointer.
const FOUND: usize = 16;

/// Who publishes the drafts of JSON Schema, which the compiler knows.
const DRAFTS: &str = "//json-schema.org/";

/// The parts of a schema that references lead to.
#[derive(Default)]
pub(super) struct Names<'a> {
    parts: BTreeMap<&'a str, Vec<&'a Value>>,
    references: usize,
}

impl<'a> Names<'a> {
    /// `None` where there are more references than are followed.
    pub(super) fn of(schema: &'a Value) -> Option<Self> {
        let mut names = Self::default();
        names.collect(schema);
        (names.references <= REFERENCES).then_some(names)
    }

    /// Recursion ends: JSON is read to a depth of 128.
    fn collect(&mut self, schema: &'a Value) {
        match schema {
            Value::Object(members) => {
                for keyword in ["$id", "id", "$anchor", "$dynamicAnchor"] {
                    if let Some(name) = members.get(keyword).and_then(Value::as_str) {
                        self.parts.entry(last(name.trim_end_matches('#'))).or_default().push(schema);
                    }
                }
                self.references += usize::from(members.contains_key("$ref"));
                members.values().for_each(|part| self.collect(part));
            }
            Value::Array(parts) => parts.iter().for_each(|part| self.collect(part)),
            _ => {}
        }
    }

    /// What a reference may lead to: the whole, a pointer into it or into a part with an identity, or parts by their name.
    fn find(&self, root: &'a Value, reference: &str) -> Vec<&'a Value> {
        let (identity, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let named = |name: &str| self.parts.get(name).cloned().unwrap_or_default();
        match (identity, fragment) {
            // In a part with an identity, `#` is that part.
            ("", "") => self.below(root, ""),
            (identity, "") => named(last(identity)),
            (_, pointer) if pointer.starts_with('/') => self.below(root, pointer),
            (_, name) => named(name.rsplit('#').next().unwrap_or(name)),
        }
    }

    /// What a pointer leads to from the whole, and from each part with a name.
    fn below(&self, root: &'a Value, pointer: &str) -> Vec<&'a Value> {
        let bases = std::iter::once(root).chain(self.parts.values().flatten().copied());
        bases.take(FOUND).filter_map(|base| base.pointer(pointer)).collect()
    }
}

/// The last part of an identity or name: the rest depends on where it stands.
fn last(name: &str) -> &str {
    name.rsplit(['/', '#']).next().unwrap_or(name)
}

/// Whether `schema` judges `values` within bounds.
pub(super) fn is_bounded(schema: &Value, names: Names<'_>, values: &Value) -> bool {
    Work { root: schema, names, left: STEPS }.meet(schema, values, 0).is_some()
}

struct Work<'a> {
    root: &'a Value,
    names: Names<'a>,
    left: usize,
}

impl<'a> Work<'a> {
    /// Counts at least as many steps as it takes to judge `value`. `None` where there are too many, or they lie too deep.
    fn meet(&mut self, part: &'a Value, value: &Value, depth: usize) -> Option<()> {
        self.left = self.left.checked_sub(1 + value.as_str().map_or(0, |text| text.len() / 1024))?;
        let Some(members) = part.as_object() else { return Some(()) };
        if depth > DEPTH {
            return None;
        }
        members.iter().try_for_each(|(keyword, inner)| self.keyword(keyword, inner, value, depth + 1))
    }

    fn keyword(&mut self, keyword: &str, inner: &'a Value, value: &Value, depth: usize) -> Option<()> {
        self.left = self.left.checked_sub(parts(inner).count() / 16)?;
        let children = || -> Box<dyn Iterator<Item = &Value>> {
            match value {
                Value::Object(members) => Box::new(members.values()),
                Value::Array(items) => Box::new(items.iter()),
                _ => Box::new(std::iter::empty()),
            }
        };
        match keyword {
            "$ref" | "$dynamicRef" | "$recursiveRef" => {
                let found = self.names.find(self.root, inner.as_str()?);
                // What Drover does not find, it cannot count.
                let is_counted = !found.is_empty() || inner.as_str()?.contains(DRAFTS);
                is_counted.then_some(())?;
                found.into_iter().try_for_each(|part| self.meet(part, value, depth))
            }
            "allOf" | "anyOf" | "oneOf" | "dependentSchemas" | "dependencies" => {
                parts(inner).try_for_each(|part| self.meet(part, value, depth))
            }
            "not" | "if" | "then" | "else" => self.meet(inner, value, depth),
            "properties" => {
                let parts = inner.as_object().into_iter().flatten();
                let mut pairs = parts.filter_map(|(key, part)| Some((part, value.as_object()?.get(key)?)));
                pairs.try_for_each(|(part, child)| self.meet(part, child, depth))
            }
            "patternProperties" | "prefixItems" => {
                parts(inner).try_for_each(|part| children().try_for_each(|child| self.meet(part, child, depth)))
            }
            "items"
            | "additionalItems"
            | "contains"
            | "unevaluatedItems"
            | "additionalProperties"
            | "unevaluatedProperties" => {
                let mut inner = if inner.is_array() { parts(inner) } else { Box::new(std::iter::once(inner)) };
                inner.try_for_each(|part| children().try_for_each(|child| self.meet(part, child, depth)))
            }
            "propertyNames" => {
                let names = children().count();
                (0..names).try_for_each(|_| self.meet(inner, &Value::Null, depth))
            }
            _ => Some(()),
        }
    }
}

fn parts(inner: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match inner {
        Value::Array(parts) => Box::new(parts.iter()),
        Value::Object(parts) => Box::new(parts.values()),
        _ => Box::new(std::iter::empty()),
    }
}
