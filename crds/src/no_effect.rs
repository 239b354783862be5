//! Fields that people may write although this version does not act on them.

/// How the description of such a field begins.
#[cfg(test)]
pub(crate) const PREFIX: &str = "No effect yet: ";

/// The paths of such fields, and whether an object sets them.
pub(crate) type NoEffect<S> = &'static [(&'static str, fn(&S) -> bool)];

/// The paths of those that `spec` sets.
pub(crate) fn set_in<S>(spec: &S, fields: NoEffect<S>) -> Vec<&'static str> {
    fields.iter().filter(|(_, is_set)| is_set(spec)).map(|(path, _)| *path).collect()
}
