//! What there is of a binding at one place. Decides nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use drover_admission::PoliciesState;
use drover_crds::{Cluster, Project, ProjectRoleTemplateBinding, RoleTemplate};
use drover_fleet::admission::{guarded_in_management, state_in_management};
use drover_grants::{Admitted, Grants, Judged as _, OfProject, Templates, admitted::Evidence, project_of, reached};
use drover_runtime::{
    Informer, ObjectKey, Owner, OwnerRecord, Place, PlaceContext, Title,
    cache::Lookup,
    operator::{Enqueuer, record_of},
    owned::Owned,
};
use k8s_openapi::{
    api::{core::v1::Namespace, rbac::v1::RoleBinding},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::{PROJECT, ProjectBindingOperator, beside::Here};

/// A change of a member is one of a role binding in each namespace; those within this time cost one look at all of them.
const GATHER: Duration = Duration::from_millis(200);

/// What a reconcile knows of one place.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Whether the Project exists and is not being deleted.
    pub has_project: bool,
    /// The template that the binding names, with those that it inherits.
    pub templates: Templates,
    /// Labels of the namespace of the binding.
    pub labels: BTreeMap<String, String>,
    /// The state of the admission policies, while they are in place; only in the management cluster as a whole.
    pub policies: Option<PoliciesState>,
    /// What is known of the time before, where the binding has no record of its own.
    pub evidence: Evidence,
    /// The cluster; none in the management cluster as a whole.
    pub at: Option<AtCluster>,
    /// What there is in the management cluster; empty at a cluster.
    pub here: Here,
}

/// What there is at one cluster.
#[derive(Clone, Debug)]
pub struct AtCluster {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// The namespaces that the Project holds.
    pub namespaces: Vec<String>,
    /// The role bindings of the Project.
    pub granted: Vec<Owned<RoleBinding>>,
}

pub(crate) fn observe(
    owner: Owner<'_, ProjectRoleTemplateBinding>,
    allowed: &Arc<BTreeSet<String>>,
    place: &PlaceContext,
) -> World {
    let here = here(owner.key(), allowed, place);
    let Some(binding) = owner.object() else { return World { here, ..World::default() } };
    let key = project_of(binding);
    // What a version of Drover cannot read is there all the same; as nobody knows what it says, nothing more is given in it.
    let (has_project, suspended) = match place.related::<Project>().lookup(&key) {
        Lookup::Found(project) => (project.metadata.deletion_timestamp.is_none(), project.spec.suspend),
        Lookup::Undecodable(project) => (project.meta.deletion_timestamp.is_none(), true),
        Lookup::Absent => (false, false),
    };
    let templates = place.related::<RoleTemplate>();
    let policies = (place.place == Place::Management).then(|| state_in_management(place)).flatten();
    let unknown = policies.as_ref().filter(|_| binding.admission().is_none());
    let evidence = unknown.map(|policies| {
        let others = place.related::<ProjectRoleTemplateBinding>().all();
        Evidence::of(others.iter().filter_map(|other| other.admission()), policies)
    });
    let judge = |template: &RoleTemplate| Admitted::of(template, || state_in_management(place));
    let find = |name: &str| templates.lookup(&ObjectKey::cluster_scoped(name));
    World {
        here: Here { suspended, ..here },
        has_project,
        templates: reached([&*binding.spec.role_template_name], find, judge),
        labels: place.fleet.namespace_labels(&key.namespace).cloned().unwrap_or_default(),
        policies,
        evidence: evidence.unwrap_or_default(),
        at: place.cluster.clone().map(|cluster| at_cluster(cluster, place, key)),
    }
}

fn here(binding: ObjectKey, allowed: &Arc<BTreeSet<String>>, place: &PlaceContext) -> Here {
    if place.place != Place::Management {
        return Here::default();
    }
    let projects = place.related::<Project>().keys().into_iter().filter(|key| key.namespace == binding.namespace);
    Here {
        allowed: Arc::clone(allowed),
        projects: projects.map(|key| key.name).collect(),
        grants: Grants::by(&guarded_in_management(place)),
        suspended: false,
        owned: Owned::at(place, &record_of::<ProjectBindingOperator>(binding)),
    }
}

fn at_cluster(cluster: Arc<Cluster>, place: &PlaceContext, project: ObjectKey) -> AtCluster {
    let record = OwnerRecord { kind: PROJECT, key: project };
    let is_held = |found: &Owned<Namespace>| {
        matches!(found.title, Title::Created | Title::Adopted) && found.meta().deletion_timestamp.is_none()
    };
    let held = Owned::<Namespace>::at(place, &record).into_iter().filter(is_held);
    AtCluster {
        cluster,
        namespaces: held.filter_map(|found| found.meta().name.clone()).collect(),
        granted: Owned::at(place, &record),
    }
}

/// Enqueues the bindings of the Projects that are recorded on an object.
pub(crate) fn concerned<'a>(
    sides: impl Iterator<Item = &'a ObjectMeta>,
    bindings: &Informer<ProjectRoleTemplateBinding>,
    enqueuer: &Enqueuer,
) {
    let projects: BTreeSet<ObjectKey> = sides.filter_map(|meta| OwnerRecord::recorded(meta, PROJECT)).collect();
    for binding in projects.iter().flat_map(|project| bindings.indexed::<OfProject>(project)) {
        enqueuer.after(ObjectKey::of(&binding.metadata), GATHER);
    }
}
