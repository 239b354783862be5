//! Whom a change of a binding or of a template concerns.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use drover_crds::{Project, ProjectRoleTemplateBinding, RoleTemplate};
use drover_runtime::{ObjectKey, cache::Change};
use kube::Resource;

/// Which Projects give which template, and which templates inherit which.
#[derive(Debug, Default)]
pub(crate) struct BindingIndex(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// By template, the bindings that name it with their Projects.
    bound: BTreeMap<String, BTreeMap<ObjectKey, ObjectKey>>,
    /// By template, those that inherit it.
    heirs: BTreeMap<String, BTreeSet<String>>,
}

impl BindingIndex {
    /// Notes a change of a binding, and names its Project.
    pub(crate) fn concerned_by_binding(&self, change: &Change<ProjectRoleTemplateBinding>) -> Vec<ObjectKey> {
        let mut state = self.lock();
        if let Some(old) = &change.old
            && let Some(bindings) = state.bound.get_mut(&old.spec.role_template_name)
        {
            bindings.remove(&change.key);
        }
        if let Some(new) = &change.new {
            let bindings = state.bound.entry(new.spec.role_template_name.clone()).or_default();
            bindings.insert(change.key.clone(), project_of(new));
        }
        state.bound.retain(|_, bindings| !bindings.is_empty());
        let projects: BTreeSet<ObjectKey> = change.sides().map(project_of).collect();
        if is_news(change, |old, new| old.spec != new.spec) { projects.into_iter().collect() } else { Vec::new() }
    }

    /// Notes a change of a template, and names the Projects that give it, or one that inherits it.
    pub(crate) fn concerned_by_template(&self, change: &Change<RoleTemplate>) -> Vec<ObjectKey> {
        let projects: BTreeSet<ObjectKey> = self.changed_template(change).into_values().collect();
        projects.into_iter().collect()
    }

    /// The same, and names the bindings.
    pub(crate) fn bindings_of_template(&self, change: &Change<RoleTemplate>) -> Vec<ObjectKey> {
        self.changed_template(change).into_keys().collect()
    }

    /// The bindings in a Project that changed.
    pub(crate) fn bindings_of_project(&self, change: &Change<Project>) -> Vec<ObjectKey> {
        if !is_news(change, |old, new| old.spec != new.spec) {
            return Vec::new();
        }
        let state = self.lock();
        let bindings = state.bound.values().flatten().filter(|(_, project)| **project == change.key);
        bindings.map(|(binding, _)| binding.clone()).collect()
    }

    fn changed_template(&self, change: &Change<RoleTemplate>) -> BTreeMap<ObjectKey, ObjectKey> {
        let mut state = self.lock();
        let name = &change.key.name;
        for parent in change.old.iter().flat_map(|old| &old.spec.inherits) {
            if let Some(heirs) = state.heirs.get_mut(parent) {
                heirs.remove(name);
            }
        }
        for parent in change.new.iter().flat_map(|new| &new.spec.inherits) {
            state.heirs.entry(parent.clone()).or_default().insert(name.clone());
        }
        state.heirs.retain(|_, heirs| !heirs.is_empty());
        if is_news(change, |old, new| old.spec != new.spec) { state.bindings_of(name) } else { BTreeMap::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The bindings of this template and of those that inherit it, with their Projects.
    fn bindings_of(&self, template: &str) -> BTreeMap<ObjectKey, ObjectKey> {
        let (mut next, mut reached) = (vec![template], BTreeSet::new());
        while let Some(name) = next.pop() {
            if reached.insert(name) {
                next.extend(self.heirs.get(name).into_iter().flatten().map(String::as_str));
            }
        }
        let bindings = reached.into_iter().filter_map(|name| self.bound.get(name)).flatten();
        bindings.map(|(binding, project)| (binding.clone(), project.clone())).collect()
    }
}

pub(crate) fn project_of(binding: &ProjectRoleTemplateBinding) -> ObjectKey {
    ObjectKey::namespaced(binding.metadata.namespace.as_deref().unwrap_or_default(), &binding.spec.project_name)
}

/// Whether a change is more than one of the status.
fn is_news<K: Resource>(change: &Change<K>, differs: impl Fn(&K, &K) -> bool) -> bool {
    let is_going = |object: &K| object.meta().deletion_timestamp.is_some();
    match (&change.old, &change.new) {
        (Some(old), Some(new)) => differs(old, new) || is_going(old) != is_going(new),
        _ => true,
    }
}
