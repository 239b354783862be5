//! Rules taken apart into the smallest rights, so that equal rights are equal however they are written.

use std::collections::BTreeSet;

use k8s_openapi::api::rbac::v1::PolicyRule;

/// Beyond this many, rights are compared by their rules instead.
const MAX_ATOMS: usize = 100_000;

/// One verb on one kind of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Atom<'a> {
    Object { group: &'a str, resource: &'a str, name: Option<&'a str>, verb: &'a str },
    Path { path: &'a str, verb: &'a str },
}

impl<'a> Atom<'a> {
    pub(crate) fn verb(self) -> &'a str {
        match self {
            Self::Object { verb, .. } | Self::Path { verb, .. } => verb,
        }
    }

    /// What tells one right from all others.
    pub(crate) fn fields(self) -> [&'a str; 5] {
        match self {
            Self::Object { group, resource, name: None, verb } => ["every", group, resource, "", verb],
            Self::Object { group, resource, name: Some(name), verb } => ["named", group, resource, name, verb],
            Self::Path { path, verb } => ["path", path, "", "", verb],
        }
    }
}

/// The smallest rights that the rules give; none if there are too many to count them all.
pub(crate) fn atoms(rules: &[PolicyRule]) -> Option<BTreeSet<Atom<'_>>> {
    let count = rules.iter().map(count).fold(0, usize::saturating_add);
    (count <= MAX_ATOMS).then(|| rules.iter().flat_map(atoms_of).collect())
}

fn count(rule: &PolicyRule) -> usize {
    let objects = list(rule.api_groups.as_ref())
        .len()
        .saturating_mul(list(rule.resources.as_ref()).len())
        .saturating_mul(list(rule.resource_names.as_ref()).len().max(1));
    objects.saturating_add(list(rule.non_resource_urls.as_ref()).len()).saturating_mul(rule.verbs.len())
}

fn atoms_of(rule: &PolicyRule) -> Vec<Atom<'_>> {
    let mut atoms = Vec::new();
    let names: Vec<Option<&str>> = match list(rule.resource_names.as_ref()) {
        [] => vec![None],
        names => names.iter().map(|name| Some(name.as_str())).collect(),
    };
    for verb in &rule.verbs {
        for group in list(rule.api_groups.as_ref()) {
            for resource in list(rule.resources.as_ref()) {
                atoms.extend(names.iter().map(|name| Atom::Object { group, resource, name: *name, verb }));
            }
        }
        atoms.extend(list(rule.non_resource_urls.as_ref()).iter().map(|path| Atom::Path { path, verb }));
    }
    atoms
}

pub(crate) fn list(list: Option<&Vec<String>>) -> &[String] {
    list.map_or(&[], Vec::as_slice)
}
