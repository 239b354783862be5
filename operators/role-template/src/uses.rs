//! Who needs a template at a cluster. Pure.

use std::sync::Arc;

use drover_admission::PoliciesState;
use drover_crds::{
    CatalogApp, ClusterRoleTemplateBinding, ClusterSelection, IdentityMapping, Project, ProjectRoleTemplateBinding,
    RoleContext, RoleSubject, RoleTemplate, SelectsClusters as _, names::LOCAL_CLUSTER,
};
use drover_fleet::targets::{self, Choice};
use drover_grants::{Admitted, Binding, OfTemplate, project_of};
use drover_roles::{Accounts, accounts_of, is_in_force, may_bind_from, subject};
use drover_runtime::{
    ClusterName, ClusterView, FleetView, Informer, Inputs, Kept, ObjectKey, Place, Targets, cache::Lookup,
};
use k8s_openapi::{
    api::rbac::v1::Subject,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use kube::{Resource, ResourceExt as _};

/// A binding that needs the template at a cluster, until it ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Use {
    /// Whom it is given to.
    pub subjects: Vec<RoleSubject>,
    /// When it ends.
    pub expires_at: Option<Time>,
    /// Whether it was written under the admission policies; else whom it names only keep what they have.
    pub is_admitted: bool,
}

impl Use {
    /// What a binding on clusters asks for.
    #[must_use]
    pub fn of(binding: &ClusterRoleTemplateBinding) -> Self {
        Self { subjects: binding.spec.subjects.clone(), expires_at: binding.spec.expires_at.clone(), is_admitted: true }
    }

    pub(crate) fn is_in_force(&self, now: Timestamp) -> bool {
        is_in_force(self.expires_at.as_ref(), now)
    }

    /// An app asks for the role to be there; it is bound to the app's own account, where the app is.
    fn of_app() -> Self {
        Self { subjects: Vec::new(), expires_at: None, is_admitted: true }
    }

    /// What a binding in a Project asks for in the whole cluster. Accounts have rights in the namespaces of the Project only.
    fn of_people(binding: &ProjectRoleTemplateBinding) -> Self {
        let people = binding.spec.subjects.iter().filter(|subject| accounts_of(subject) == Accounts::None);
        Self { subjects: people.cloned().collect(), expires_at: binding.spec.expires_at.clone(), is_admitted: true }
    }
}

/// The uses that count at `now`, and when the first of them ends.
pub(crate) fn in_force(uses: &[Use], now: Timestamp) -> (Vec<&Use>, Option<Timestamp>) {
    let counting: Vec<&Use> = uses.iter().filter(|each| each.is_in_force(now)).collect();
    let first_end = counting.iter().filter_map(|each| each.expires_at.as_ref()).map(|time| time.0).min();
    (counting, first_end)
}

/// Whom these uses give a role to, as the cluster spells them. Whoever is never granted anything is left out; the status of the
/// binding tells that.
pub(crate) fn subjects<'a>(
    uses: impl IntoIterator<Item = &'a Use>,
    identity: Option<&IdentityMapping>,
) -> Vec<Subject> {
    let all = uses.into_iter().flat_map(|each| &each.subjects);
    all.filter_map(|one| subject(one, identity).ok()).collect()
}

/// Whether a binding means a cluster. The management cluster is meant only by its name: who may do something everywhere was not
/// asked about the cluster that rules all others.
#[must_use]
pub fn means(binding: &ClusterRoleTemplateBinding, cluster: &ClusterName, view: &ClusterView) -> bool {
    let by_name = matches!(binding.clusters(), ClusterSelection::Names(_));
    (by_name || cluster.as_str() != LOCAL_CLUSTER) && binding.clusters().selects(cluster.as_str(), view.object.labels())
}

/// Where `object` is reconciled if these bindings say so: at their clusters, and at the management cluster, where it is judged as a
/// whole.
pub(crate) fn places<K: Resource>(
    object: &K,
    fleet: &FleetView,
    bindings: &[&ClusterRoleTemplateBinding],
    projects: &[&Project],
    apps: &[Arc<CatalogApp>],
) -> Targets {
    let lives = object.meta().deletion_timestamp.is_none();
    let (bindings, projects, apps) = if lives { (bindings, projects, apps) } else { (&[][..], &[][..], &[][..]) };
    let choice = |name: &ClusterName, view: &ClusterView| {
        let is_meant = bindings.iter().any(|binding| means(binding, name, view));
        let is_of_project = projects.iter().any(|project| targets::is_target(*project, name, view, fleet));
        let is_of_app = apps.iter().any(|app| app.spec.cluster_name == name.as_str());
        if is_meant || is_of_project || is_of_app { Choice::Selected } else { Choice::NotSelected }
    };
    let mut targets = targets::selected_by(object, fleet, choice);
    let named = |name: &&ClusterName| {
        let mut selections = bindings.iter().map(|binding| binding.clusters());
        let by_binding = selections.any(|selection| {
            matches!(selection, ClusterSelection::Names(names) if names.iter().any(|each| each == name.as_str()))
        });
        by_binding || apps.iter().any(|app| app.spec.cluster_name == name.as_str())
    };
    targets.places.extend(fleet.unread().filter(named).cloned().map(Place::Cluster));
    targets.places.insert(Place::Management);
    targets
}

/// The bindings that name a template.
fn naming<B: Binding + Kept>(template: &RoleTemplate, inputs: &Inputs<'_>) -> Vec<Arc<B>> {
    let mut named = inputs.related::<B>().indexed::<OfTemplate>(&ObjectKey::of(&template.metadata));
    named.retain(|binding| binding.meta().deletion_timestamp.is_none());
    named
}

fn may_bind(template: &RoleTemplate, inputs: &Inputs<'_>, namespace: &str) -> bool {
    let labels = inputs.fleet.namespace_labels(namespace);
    labels.is_some_and(|labels| may_bind_from(template, namespace, labels))
}

/// The apps that have a template: those of Projects one of that context, those of the platform one for whole clusters. One that is being
/// deleted uninstalls itself by the role that it has.
fn apps_naming(template: &RoleTemplate, inputs: &Inputs<'_>) -> Vec<Arc<CatalogApp>> {
    let mut apps = inputs.related::<CatalogApp>().indexed::<OfTemplate>(&ObjectKey::of(&template.metadata));
    apps.retain(|app| {
        app.spec.role_context() == template.spec.context
            && may_bind(template, inputs, &app.namespace().unwrap_or_default())
    });
    apps
}

/// The bindings that need a template, as far as time plays no part.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bindings {
    /// Those on whole clusters.
    pub(crate) on_clusters: Vec<Arc<ClusterRoleTemplateBinding>>,
    /// Those in Projects that exist and may use the template.
    pub(crate) in_projects: Vec<(Arc<ProjectRoleTemplateBinding>, Arc<Project>)>,
    /// Apps whose namespace may use the template.
    pub(crate) apps: Vec<Arc<CatalogApp>>,
    /// The kind and name of the first object that cannot be decoded, and by which the template may be needed anywhere.
    pub(crate) undecodable: Option<String>,
}

impl Bindings {
    /// Those of the context of the template.
    pub(crate) fn of(template: &RoleTemplate, inputs: &Inputs<'_>) -> Self {
        let bindings = match template.spec.context {
            RoleContext::Cluster => {
                let undecodable = first_undecodable(&inputs.related::<ClusterRoleTemplateBinding>(), |_| true);
                Self { on_clusters: naming(template, inputs), undecodable, ..Self::default() }
            }
            RoleContext::Project => Self::of_members(template, inputs),
        };
        let of_apps =
            || first_undecodable(&inputs.related::<CatalogApp>(), |namespace| may_bind(template, inputs, namespace));
        let undecodable = bindings.undecodable.clone().or_else(of_apps);
        Self { apps: apps_naming(template, inputs), undecodable, ..bindings }
    }

    fn of_members(template: &RoleTemplate, inputs: &Inputs<'_>) -> Self {
        let may_bind = |namespace: &str| may_bind(template, inputs, namespace);
        let mut undecodable = first_undecodable(&inputs.related::<ProjectRoleTemplateBinding>(), may_bind);
        let named: Vec<Arc<ProjectRoleTemplateBinding>> = naming(template, inputs);
        let projects = inputs.related::<Project>();
        let mut in_projects = Vec::new();
        for binding in named.into_iter().filter(|binding| may_bind(&binding.namespace().unwrap_or_default())) {
            match projects.lookup(&project_of(&binding)) {
                Lookup::Found(project) if project.metadata.deletion_timestamp.is_none() => {
                    in_projects.push((binding, project));
                }
                Lookup::Undecodable(project) if project.meta.deletion_timestamp.is_none() => {
                    undecodable = Some(format!("Project {}", project_of(&binding)));
                }
                Lookup::Found(_) | Lookup::Undecodable(_) | Lookup::Absent => {}
            }
        }
        Self { in_projects, undecodable, ..Self::default() }
    }

    /// Where they need the template.
    pub(crate) fn places(&self, template: &RoleTemplate, fleet: &FleetView) -> Targets {
        let on_clusters: Vec<_> = self.on_clusters.iter().map(AsRef::as_ref).collect();
        let projects: Vec<_> = self.in_projects.iter().map(|(_, project)| project.as_ref()).collect();
        places(template, fleet, &on_clusters, &projects, &self.apps)
    }

    /// What they ask for at one cluster.
    pub(crate) fn at(
        &self,
        cluster: &ClusterName,
        view: &ClusterView,
        fleet: &FleetView,
        policies: impl Fn() -> Option<PoliciesState>,
    ) -> Vec<Use> {
        let on_clusters = self.on_clusters.iter().filter(|binding| means(binding, cluster, view));
        let in_projects =
            self.in_projects.iter().filter(|(_, project)| targets::is_target(project.as_ref(), cluster, view, fleet));
        let of_projects = in_projects.map(|(binding, _)| {
            let is_admitted = Admitted::of(&**binding, &policies) == Admitted::Yes;
            Use { is_admitted, ..Use::of_people(binding) }
        });
        let on_clusters = on_clusters.map(|binding| {
            let is_admitted = Admitted::of(&**binding, &policies) == Admitted::Yes;
            Use { is_admitted, ..Use::of(binding) }
        });
        let here = self.apps.iter().filter(|app| app.spec.cluster_name == cluster.as_str());
        let of_apps =
            here.map(|app| Use { is_admitted: Admitted::of(&**app, &policies) == Admitted::Yes, ..Use::of_app() });
        on_clusters.chain(of_projects).chain(of_apps).collect()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.on_clusters.len() + self.in_projects.len() + self.apps.len()
    }
}

/// The first binding in such a namespace that cannot be decoded, but for those that are about to go.
fn first_undecodable<B: Binding<DynamicType = ()> + Kept>(
    bindings: &Informer<B>,
    in_namespace: impl Fn(&str) -> bool,
) -> Option<String> {
    let all = bindings.undecodable();
    let stays = |meta: &&ObjectMeta| {
        meta.deletion_timestamp.is_none() && in_namespace(meta.namespace.as_deref().unwrap_or_default())
    };
    let first = all.iter().map(|found| &found.meta).find(stays)?;
    Some(format!("{} {}", B::kind(&()), ObjectKey::of(first)))
}
