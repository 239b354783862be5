//! Whom a change of a template, a binding or a Project concerns; kept beside the cache, so that a change costs what it concerns.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use drover_crds::{CatalogApp, ClusterRoleTemplateBinding, Project, ProjectRoleTemplateBinding, RoleTemplate};
use drover_runtime::{
    Informer, Kept, ObjectKey,
    cache::{Change, Index, Undecodable},
};
use kube::Resource;

use crate::Judged;

/// A binding as the index knows it.
pub trait Binding: Judged {
    /// The template that it names.
    fn template(&self) -> &str;

    /// The Project that it names; none if it is for whole clusters.
    fn project(&self) -> Option<ObjectKey>;

    /// Whether it wants something else than `other`.
    fn has_other_spec(&self, other: &Self) -> bool;

    /// Whether it gives something else than `other`.
    fn differs(&self, other: &Self) -> bool {
        self.has_other_spec(other) || self.verdict() != other.verdict()
    }
}

impl Binding for ProjectRoleTemplateBinding {
    fn template(&self) -> &str {
        &self.spec.role_template_name
    }

    fn project(&self) -> Option<ObjectKey> {
        Some(project_of(self))
    }

    fn has_other_spec(&self, other: &Self) -> bool {
        self.spec != other.spec
    }
}

impl Binding for ClusterRoleTemplateBinding {
    fn template(&self) -> &str {
        &self.spec.role_template_name
    }

    fn project(&self) -> Option<ObjectKey> {
        None
    }

    fn has_other_spec(&self, other: &Self) -> bool {
        self.spec != other.spec
    }
}

/// An app has a role, as a subject of a binding has.
impl Binding for CatalogApp {
    fn template(&self) -> &str {
        &self.spec.role_template_name
    }

    fn project(&self) -> Option<ObjectKey> {
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        self.spec.project_name.as_ref().map(|name| ObjectKey::namespaced(namespace, name))
    }

    fn has_other_spec(&self, other: &Self) -> bool {
        self.spec != other.spec
    }
}

/// The Project that a binding names.
#[must_use]
pub fn project_of(binding: &ProjectRoleTemplateBinding) -> ObjectKey {
    ObjectKey::namespaced(binding.metadata.namespace.as_deref().unwrap_or_default(), &binding.spec.project_name)
}

/// Bindings by the Project that they name, for a look-up in a cache.
#[derive(Clone, Copy, Debug)]
pub struct OfProject;

impl<B: Binding> Index<B> for OfProject {
    fn key(binding: &B) -> Option<ObjectKey> {
        binding.project()
    }
}

/// Bindings by the template that they name, for a look-up in a cache.
#[derive(Clone, Copy, Debug)]
pub struct OfTemplate;

impl<B: Binding> Index<B> for OfTemplate {
    fn key(binding: &B) -> Option<ObjectKey> {
        Some(ObjectKey::cluster_scoped(binding.template()))
    }
}

/// The names of the bindings in a namespace that cannot be decoded, but for those that are about to go.
#[must_use]
pub fn undecodable_in<B: Binding + Kept>(bindings: &Informer<B>, namespace: &str) -> Vec<String> {
    let stays = |found: &&Arc<Undecodable>| {
        found.meta.deletion_timestamp.is_none() && found.meta.namespace.as_deref().unwrap_or_default() == namespace
    };
    bindings.undecodable().iter().filter(stays).filter_map(|found| found.meta.name.clone()).collect()
}

/// Which bindings of one kind name which template and which Project, and which templates inherit which. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct BindingIndex(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The template and the Project that each binding names.
    bindings: BTreeMap<ObjectKey, (String, Option<ObjectKey>)>,
    /// By template, the bindings that name it.
    of_templates: BTreeMap<String, BTreeSet<ObjectKey>>,
    /// By Project, the bindings that name it.
    of_projects: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
    /// By template, those that inherit it.
    heirs: BTreeMap<String, BTreeSet<String>>,
    /// The templates.
    templates: BTreeSet<String>,
}

impl BindingIndex {
    /// Notes a change of a binding.
    pub fn note<B: Binding>(&self, change: &Change<B>) {
        self.lock().note(change);
    }

    /// The same, and says which templates it concerns.
    #[must_use]
    pub fn templates_of_binding<B: Binding>(&self, change: &Change<B>) -> Vec<ObjectKey> {
        self.note(change);
        let names: BTreeSet<String> = change.sides().map(|side| side.template().to_owned()).collect();
        if is_news(change, B::differs) { keys(&names) } else { Vec::new() }
    }

    /// The same, and says which Projects it concerns.
    #[must_use]
    pub fn projects_of_binding<B: Binding>(&self, change: &Change<B>) -> Vec<ObjectKey> {
        self.note(change);
        let projects: BTreeSet<ObjectKey> = change.sides().filter_map(Binding::project).collect();
        if is_news(change, B::differs) { projects.into_iter().collect() } else { Vec::new() }
    }

    /// Notes a change of a template, and names those whose rights it concerns: it, and whatever inherits it, over others too.
    #[must_use]
    pub fn heirs_of_template(&self, change: &Change<RoleTemplate>) -> Vec<ObjectKey> {
        keys(&self.lock().concerned(change))
    }

    /// The same, and names the bindings of these templates.
    #[must_use]
    pub fn bindings_of_template(&self, change: &Change<RoleTemplate>) -> Vec<ObjectKey> {
        let mut state = self.lock();
        let templates = state.concerned(change);
        state.bindings_of(&templates).into_iter().collect()
    }

    /// The same, and names the Projects of these bindings.
    #[must_use]
    pub fn projects_of_template(&self, change: &Change<RoleTemplate>) -> Vec<ObjectKey> {
        let mut state = self.lock();
        let templates = state.concerned(change);
        let bindings = state.bindings_of(&templates);
        let projects = bindings.iter().filter_map(|binding| state.bindings.get(binding)?.1.clone());
        projects.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// All bindings.
    #[must_use]
    pub fn all(&self) -> Vec<ObjectKey> {
        self.lock().bindings.keys().cloned().collect()
    }

    /// All templates.
    #[must_use]
    pub fn templates(&self) -> Vec<ObjectKey> {
        keys(&self.lock().templates)
    }

    /// Those that name a Project, whatever changed there.
    #[must_use]
    pub fn naming_project(&self, project: &ObjectKey) -> Vec<ObjectKey> {
        self.lock().of_projects.get(project).into_iter().flatten().cloned().collect()
    }

    /// Those in a namespace.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Vec<ObjectKey> {
        self.lock().bindings.keys().filter(|key| key.namespace == namespace).cloned().collect()
    }

    /// The bindings in a Project that changed.
    #[must_use]
    pub fn bindings_of_project(&self, change: &Change<Project>) -> Vec<ObjectKey> {
        if !is_news(change, |old, new| old.spec != new.spec) {
            return Vec::new();
        }
        self.lock().of_projects.get(&change.key).into_iter().flatten().cloned().collect()
    }

    /// The bindings in a Project that changed; in all Projects of its namespace if it came or went.
    #[must_use]
    pub fn bindings_beside_project(&self, change: &Change<Project>) -> Vec<ObjectKey> {
        // Without both sides it came, went, or cannot be decoded on one of them.
        if change.old.is_some() && change.new.is_some() {
            return self.bindings_of_project(change);
        }
        let state = self.lock();
        let beside = state.of_projects.iter().filter(|(project, _)| project.namespace == change.key.namespace);
        beside.flat_map(|(_, bindings)| bindings).cloned().collect()
    }

    /// The templates that bindings in a Project that changed name.
    #[must_use]
    pub fn templates_of_project(&self, change: &Change<Project>) -> Vec<ObjectKey> {
        let bindings = self.bindings_of_project(change);
        let state = self.lock();
        let names = bindings.iter().filter_map(|binding| Some(state.bindings.get(binding)?.0.clone()));
        keys(&names.collect())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note<B: Binding>(&mut self, change: &Change<B>) {
        if let Some((template, project)) = self.bindings.remove(&change.key) {
            take(&mut self.of_templates, &template, &change.key);
            if let Some(project) = project {
                take(&mut self.of_projects, &project, &change.key);
            }
        }
        if let Some(new) = &change.new {
            let (template, project) = (new.template().to_owned(), new.project());
            self.of_templates.entry(template.clone()).or_default().insert(change.key.clone());
            if let Some(project) = &project {
                self.of_projects.entry(project.clone()).or_default().insert(change.key.clone());
            }
            self.bindings.insert(change.key.clone(), (template, project));
        }
    }

    /// Notes a change of a template, and names those whose rights it concerns.
    fn concerned(&mut self, change: &Change<RoleTemplate>) -> BTreeSet<String> {
        let name = &change.key.name;
        if change.new.is_some() {
            self.templates.insert(name.clone());
        } else {
            self.templates.remove(name);
        }
        for parent in change.old.iter().flat_map(|old| &old.spec.inherits) {
            take(&mut self.heirs, parent, name);
        }
        for parent in change.new.iter().flat_map(|new| &new.spec.inherits) {
            self.heirs.entry(parent.clone()).or_default().insert(name.clone());
        }
        let (mut next, mut concerned) = (Vec::new(), BTreeSet::new());
        if is_news(change, |old, new| old.spec != new.spec || old.verdict() != new.verdict()) {
            next.push(name.clone());
        }
        while let Some(name) = next.pop() {
            next.extend(self.heirs.get(&name).into_iter().flatten().filter(|heir| !concerned.contains(*heir)).cloned());
            concerned.insert(name);
        }
        concerned
    }

    fn bindings_of(&self, templates: &BTreeSet<String>) -> BTreeSet<ObjectKey> {
        templates.iter().filter_map(|name| self.of_templates.get(name)).flatten().cloned().collect()
    }
}

/// Takes a dependent of `key` away, and what is empty then.
fn take<K: Ord, D: Ord>(dependents: &mut BTreeMap<K, BTreeSet<D>>, key: &K, dependent: &D) {
    if let Some(all) = dependents.get_mut(key) {
        all.remove(dependent);
        if all.is_empty() {
            dependents.remove(key);
        }
    }
}

/// Whether a change is more than one of the status.
fn is_news<K: Resource>(change: &Change<K>, differs: impl Fn(&K, &K) -> bool) -> bool {
    let is_going = |object: &K| object.meta().deletion_timestamp.is_some();
    match (&change.old, &change.new) {
        (Some(old), Some(new)) => differs(old, new) || is_going(old) != is_going(new),
        _ => true,
    }
}

/// Keys of templates.
fn keys(names: &BTreeSet<String>) -> Vec<ObjectKey> {
    names.iter().map(|name| ObjectKey::cluster_scoped(name)).collect()
}

#[cfg(test)]
mod tests {
    use drover_crds::RoleTemplateSpec;
    use serde_json::json;

    use super::*;

    fn template(name: &str, inherits: &[&str]) -> Arc<RoleTemplate> {
        let spec = json!({"context": "Project", "inherits": inherits});
        Arc::new(RoleTemplate::new(name, serde_json::from_value::<RoleTemplateSpec>(spec).unwrap()))
    }

    fn binding(name: &str, project: &str, template: &str) -> Arc<ProjectRoleTemplateBinding> {
        let spec = json!({"projectName": project, "roleTemplateName": template, "subjects": []});
        let mut binding = ProjectRoleTemplateBinding::new(name, serde_json::from_value(spec).unwrap());
        binding.metadata.namespace = Some("team-a".to_owned());
        Arc::new(binding)
    }

    fn change<K: Resource>(old: Option<&Arc<K>>, new: Option<&Arc<K>>) -> Change<K> {
        let key = new.or(old).map(|object| ObjectKey::of(object.meta())).unwrap();
        Change { old: old.map(Arc::clone), new: new.map(Arc::clone), key }
    }

    fn named(keys: Vec<ObjectKey>) -> Vec<String> {
        keys.into_iter().map(|key| key.to_string()).collect()
    }

    /// `owner` inherits `member`, which inherits `viewer`; `one` gives `owner` in `shop`, `two` gives `viewer` in `store`.
    fn index() -> BindingIndex {
        let index = BindingIndex::default();
        for template in [template("owner", &["member"]), template("member", &["viewer"]), template("viewer", &[])] {
            let _ = index.heirs_of_template(&change(None, Some(&template)));
        }
        index.note(&change(None, Some(&binding("one", "shop", "owner"))));
        index.note(&change(None, Some(&binding("two", "store", "viewer"))));
        index
    }

    #[test]
    fn a_change_of_a_template_concerns_whatever_inherits_it() {
        let (index, viewer) = (index(), template("viewer", &[]));
        let deleted = change(Some(&viewer), None);
        assert_eq!(named(index.heirs_of_template(&deleted)), ["member", "owner", "viewer"]);
        assert_eq!(named(index.bindings_of_template(&deleted)), ["team-a/one", "team-a/two"]);
        assert_eq!(named(index.projects_of_template(&deleted)), ["team-a/shop", "team-a/store"]);
        let owner = change(Some(&template("owner", &["member"])), Some(&template("owner", &[])));
        assert_eq!(named(index.projects_of_template(&owner)), ["team-a/shop"]);
        assert_eq!(named(index.heirs_of_template(&deleted)), ["member", "viewer"], "it inherits no more");
    }

    #[test]
    fn a_change_of_a_status_concerns_nobody() {
        let (index, viewer) = (index(), template("viewer", &[]));
        assert!(index.projects_of_template(&change(Some(&viewer), Some(&viewer))).is_empty());
        let one = binding("one", "shop", "owner");
        assert!(index.projects_of_binding(&change(Some(&one), Some(&one))).is_empty());
        assert!(index.templates_of_binding(&change(Some(&one), Some(&one))).is_empty());
    }

    #[test]
    fn both_sides_of_a_change_of_a_binding_are_concerned_and_the_older_one_is_forgotten() {
        let index = index();
        let (before, after) = (binding("one", "shop", "owner"), binding("one", "store", "viewer"));
        assert_eq!(
            named(index.projects_of_binding(&change(Some(&before), Some(&after)))),
            ["team-a/shop", "team-a/store"]
        );
        let project = |name: &str| {
            let mut project = Project::new(name, serde_json::from_value(json!({"clusters": {"all": {}}})).unwrap());
            project.metadata.namespace = Some("team-a".to_owned());
            change(None, Some(&Arc::new(project)))
        };
        assert_eq!(named(index.bindings_of_project(&project("store"))), ["team-a/one", "team-a/two"]);
        assert_eq!(named(index.templates_of_project(&project("store"))), ["viewer"]);
        assert!(index.bindings_of_project(&project("shop")).is_empty());
    }
}
