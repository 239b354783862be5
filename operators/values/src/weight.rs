//! What a value costs in memory, before it is copied.

use serde_json::Value;

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Weight {
    pub(crate) nodes: usize,
    pub(crate) bytes: usize,
    pub(crate) depth: usize,
}

impl Weight {
    pub(crate) const NODE: Self = Self { nodes: 1, bytes: 0, depth: 1 };

    /// Recursion ends: what reads values bounds their depth.
    pub(crate) fn of(value: &Value) -> Self {
        match value {
            Value::String(text) => Self { bytes: text.len(), ..Self::NODE },
            Value::Array(items) => Self::sum(0, items.iter()),
            Value::Object(members) => Self::sum(members.keys().map(String::len).sum(), members.values()),
            _ => Self::NODE,
        }
    }

    fn sum<'a>(bytes: usize, inner: impl Iterator<Item = &'a Value>) -> Self {
        inner.map(Self::of).fold(Self { bytes, ..Self::NODE }, |sum, each| Self {
            nodes: sum.nodes + each.nodes,
            bytes: sum.bytes + each.bytes,
            depth: sum.depth.max(each.depth + 1),
        })
    }

    /// Adds what another value costs, if both stay within `most`; the depth is compared alone.
    pub(crate) fn spend(&mut self, other: Self, most: Self) -> Option<()> {
        self.nodes = self.nodes.saturating_add(other.nodes);
        self.bytes = self.bytes.saturating_add(other.bytes);
        (self.nodes <= most.nodes && self.bytes <= most.bytes && other.depth <= most.depth).then_some(())
    }
}
