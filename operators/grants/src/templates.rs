//! The templates that bindings name.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use drover_crds::RoleTemplate;

/// Templates by name.
pub type Templates = BTreeMap<String, Arc<RoleTemplate>>;

/// The templates of these names, with all that they inherit.
pub fn reached<'a>(
    names: impl IntoIterator<Item = &'a str>,
    find: impl Fn(&str) -> Option<Arc<RoleTemplate>>,
) -> Templates {
    let mut next: BTreeSet<String> = names.into_iter().map(str::to_owned).collect();
    let mut reached = Templates::new();
    while let Some(name) = next.pop_first() {
        let Some(template) = find(&name) else { continue };
        next.extend(template.spec.inherits.iter().filter(|name| !reached.contains_key(*name)).cloned());
        next.remove(&name);
        reached.insert(name, template);
    }
    reached
}
