//! The templates that bindings name.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use drover_crds::{ProjectRoleTemplateBinding, RoleTemplate};

/// Templates by name.
pub type Templates = BTreeMap<String, Arc<RoleTemplate>>;

/// The templates that the bindings name, with all that these inherit.
pub fn reached(
    bindings: &[Arc<ProjectRoleTemplateBinding>],
    find: impl Fn(&str) -> Option<Arc<RoleTemplate>>,
) -> Templates {
    let mut next: BTreeSet<String> = bindings.iter().map(|binding| binding.spec.role_template_name.clone()).collect();
    let mut reached = Templates::new();
    while let Some(name) = next.pop_first() {
        let Some(template) = find(&name) else { continue };
        next.extend(template.spec.inherits.iter().filter(|name| !reached.contains_key(*name)).cloned());
        next.remove(&name);
        reached.insert(name, template);
    }
    reached
}
