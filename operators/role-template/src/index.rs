//! Which templates, and which bindings, a change concerns; kept beside the cache, so that a change costs what it concerns.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use drover_crds::{ClusterRoleTemplateBinding, ProjectRoleTemplateBinding, RoleTemplate};
use drover_runtime::{ObjectKey, cache::Change};

/// Which templates inherit from which.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heirs(Arc<Mutex<Links>>);

/// By name, the names that depend on it.
type Links = BTreeMap<String, BTreeSet<String>>;

impl Heirs {
    /// The templates whose rights a change concerns: this one, and whatever inherits from it, over others too.
    pub(crate) fn concerned(&self, change: &Change<RoleTemplate>) -> BTreeSet<String> {
        let mut links = lock(&self.0);
        relink(&mut links, &change.key.name, &parents(change.old.as_deref()), &parents(change.new.as_deref()));
        let mut concerned = BTreeSet::new();
        let mut next = vec![change.key.name.clone()];
        while let Some(name) = next.pop() {
            next.extend(links.get(&name).into_iter().flatten().filter(|heir| !concerned.contains(*heir)).cloned());
            concerned.insert(name);
        }
        concerned
    }
}

fn parents(template: Option<&RoleTemplate>) -> BTreeSet<String> {
    template.into_iter().flat_map(|template| template.spec.inherits.iter().cloned()).collect()
}

/// Which bindings on clusters name which template.
#[derive(Clone, Debug, Default)]
pub(crate) struct BindingsOf(Arc<Mutex<Links>>);

impl BindingsOf {
    /// Notes the change of a binding, and says which templates it concerns.
    pub(crate) fn note(&self, change: &Change<ClusterRoleTemplateBinding>) -> Vec<ObjectKey> {
        let named = |side: Option<&ClusterRoleTemplateBinding>| {
            side.map(|side| side.spec.role_template_name.clone()).into_iter()
        };
        let (old, new) = (named(change.old.as_deref()).collect(), named(change.new.as_deref()).collect());
        relink(&mut lock(&self.0), &change.key.name, &old, &new);
        old.union(&new).map(|name| ObjectKey::cluster_scoped(name)).collect()
    }

    /// The bindings that name any of these templates.
    pub(crate) fn of(&self, templates: &BTreeSet<String>) -> Vec<ObjectKey> {
        let links = lock(&self.0);
        let bindings = templates.iter().filter_map(|name| links.get(name)).flatten();
        bindings.map(|name| ObjectKey::cluster_scoped(name)).collect()
    }
}

/// Which templates the bindings in a Project name.
#[derive(Clone, Debug, Default)]
pub(crate) struct MembersOf(Arc<Mutex<TemplatesOf>>);

/// By Project, its bindings and the template that each names.
type TemplatesOf = BTreeMap<ObjectKey, BTreeMap<ObjectKey, String>>;

impl MembersOf {
    /// Notes the change of a binding, and says which templates it concerns.
    pub(crate) fn note(&self, change: &Change<ProjectRoleTemplateBinding>) -> Vec<ObjectKey> {
        let mut projects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let project = |binding: &ProjectRoleTemplateBinding| {
            ObjectKey::namespaced(&change.key.namespace, &binding.spec.project_name)
        };
        if let Some(old) = &change.old {
            projects.entry(project(old)).or_default().remove(&change.key);
        }
        if let Some(new) = &change.new {
            let name = new.spec.role_template_name.clone();
            projects.entry(project(new)).or_default().insert(change.key.clone(), name);
        }
        projects.retain(|_, bindings| !bindings.is_empty());
        keys(&change.sides().map(|side| side.spec.role_template_name.clone()).collect())
    }

    /// The templates that bindings in this Project name.
    pub(crate) fn of(&self, project: &ObjectKey) -> Vec<ObjectKey> {
        let projects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys(&projects.get(project).into_iter().flat_map(BTreeMap::values).cloned().collect())
    }
}

fn relink(links: &mut Links, name: &str, old: &BTreeSet<String>, new: &BTreeSet<String>) {
    for gone in old.difference(new) {
        if let Some(dependent) = links.get_mut(gone) {
            dependent.remove(name);
            if dependent.is_empty() {
                links.remove(gone);
            }
        }
    }
    for target in new {
        links.entry(target.clone()).or_default().insert(name.to_owned());
    }
}

fn lock(links: &Mutex<Links>) -> MutexGuard<'_, Links> {
    links.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keys of templates.
pub(crate) fn keys(names: &BTreeSet<String>) -> Vec<ObjectKey> {
    names.iter().map(|name| ObjectKey::cluster_scoped(name)).collect()
}
