//! The templates that bindings name, and what is known of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use drover_crds::RoleTemplate;
use drover_roles::Resolved;
use drover_runtime::cache::Lookup;
use kube::ResourceExt as _;

use crate::Admitted;

/// Templates by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Templates {
    decodable: BTreeMap<String, Arc<RoleTemplate>>,
    undecodable: BTreeSet<String>,
    /// Those of which it is not known that they were written under the admission policies.
    unadmitted: BTreeMap<String, Admitted>,
}

impl Templates {
    /// The template of this name, if it exists and can be decoded.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&RoleTemplate> {
        self.decodable.get(name).map(Arc::as_ref)
    }

    /// What is known of a template from now on. One that is about to go counts as gone, whether it can be decoded or not.
    pub fn insert(&mut self, name: &str, found: Lookup<RoleTemplate>) {
        self.decodable.remove(name);
        self.undecodable.remove(name);
        self.unadmitted.remove(name);
        match found {
            Lookup::Found(template) => _ = self.decodable.insert(name.to_owned(), template),
            Lookup::Undecodable(found) if found.meta.deletion_timestamp.is_none() => {
                self.undecodable.insert(name.to_owned());
            }
            Lookup::Undecodable(_) | Lookup::Absent => {}
        }
    }

    /// Whether a template of this name exists and cannot be decoded.
    #[must_use]
    pub fn is_undecodable(&self, name: &str) -> bool {
        self.undecodable.contains(name)
    }

    /// The first template that `resolved` inherits and that cannot be decoded: what it allows is unknown, not empty.
    #[must_use]
    pub fn in_doubt<'a>(&self, resolved: &'a Resolved) -> Option<&'a str> {
        resolved.missing.iter().find(|name| self.is_undecodable(name)).map(String::as_str)
    }

    /// Whether a template counts, if it is there.
    pub fn judge(&mut self, name: &str, judge: impl FnOnce(&RoleTemplate) -> Admitted) {
        match self.get(name).map(judge) {
            None | Some(Admitted::Yes) => _ = self.unadmitted.remove(name),
            Some(admitted) => _ = self.unadmitted.insert(name.to_owned(), admitted),
        }
    }

    /// The first template of which `resolved` has rights and that was not admitted, or at least not judged yet.
    #[must_use]
    pub fn unadmitted<'a>(&self, resolved: &'a Resolved) -> Option<(&'a str, Admitted)> {
        let all = [&resolved.name].into_iter().chain(&resolved.closure);
        let found = all.filter_map(|name| Some((name.as_str(), *self.unadmitted.get(name)?)));
        found.min_by_key(|(_, admitted)| *admitted != Admitted::No)
    }
}

impl FromIterator<RoleTemplate> for Templates {
    fn from_iter<I: IntoIterator<Item = RoleTemplate>>(templates: I) -> Self {
        let named = templates.into_iter().map(|template| (template.name_any(), Arc::new(template)));
        Self { decodable: named.collect(), ..Self::default() }
    }
}

/// The templates of these names, with all that these inherit, and whether each was admitted.
pub fn reached(
    names: impl IntoIterator<Item = impl Into<String>>,
    find: impl Fn(&str) -> Lookup<RoleTemplate>,
    judge: impl Fn(&RoleTemplate) -> Admitted,
) -> Templates {
    let mut next: BTreeSet<String> = names.into_iter().map(Into::into).collect();
    let (mut reached, mut templates) = (BTreeSet::new(), Templates::default());
    while let Some(name) = next.pop_first() {
        templates.insert(&name, find(&name));
        templates.judge(&name, &judge);
        reached.insert(name.clone());
        let inherited = templates.get(&name).into_iter().flat_map(|template| &template.spec.inherits);
        next.extend(inherited.filter(|name| !reached.contains(*name)).cloned());
    }
    templates
}
