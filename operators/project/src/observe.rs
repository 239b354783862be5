//! What there is at one cluster. Decides nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use drover_crds::{Cluster, Project, ProjectNamespace, Tenant, names::LOCAL_CLUSTER};
use drover_fleet::targets::{self, tenancies_of, tenant_label_keys};
use drover_runtime::{
    Informer, ObjectKey, Owner, OwnerRecord, Place, PlaceContext,
    act::AT_A_TIME,
    operator::record_of,
    owned::{Owned, is_made_for},
    place::deletion_of,
    request::request,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, ResourceExt};

use crate::{
    ProjectOperator,
    bounds::Bounds,
    consent::{by_age, claims, is_gone_from, is_releasing},
    error::ProjectError,
};

/// What a reconcile knows of one cluster.
#[derive(Clone, Debug)]
pub struct World {
    /// The cluster, with its tenants and protected namespaces.
    pub cluster: Arc<Cluster>,
    /// Whether the Project lies in the operator namespace, where nothing of a tenant is accepted.
    pub in_operator_namespace: bool,
    /// Labels of the management namespace in which the Project lies; none if it is unknown.
    pub tenant_labels: Option<BTreeMap<String, String>>,
    /// What bounds the Project there, besides the tenant entries.
    pub bounds: Bounds,
    /// Every namespace that the Project lists or holds.
    pub namespaces: BTreeMap<String, Seen>,
}

/// What a namespace name stands for at one cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// There is none.
    Absent {
        /// The Project that wants it as well and comes first, if there is one.
        older_project: Option<ObjectKey>,
    },
    /// It carries our owner labels.
    Ours {
        /// As it is.
        live: Arc<Namespace>,
        /// The hash of the desired state that another client keeps reverting, if one does.
        drift_conflict: Option<String>,
    },
    /// It is ours, but another client changed the labels that say so.
    Unlabelled {
        /// Its metadata.
        meta: Box<ObjectMeta>,
        /// The hash of the desired state that another client keeps reverting, if one does.
        drift_conflict: Option<String>,
    },
    /// It carries our owner labels and cannot be decoded.
    Undecodable {
        /// Its metadata.
        meta: Box<ObjectMeta>,
    },
    /// It exists and is not ours.
    Foreign {
        /// Its metadata.
        meta: Box<ObjectMeta>,
        /// The Project that its labels record, if any.
        holder: Option<Holder>,
    },
}

/// Another Project, as the labels of a namespace record it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its namespace and name in the management cluster.
    pub key: ObjectKey,
    /// Whether it is known to be gone, or not to select this cluster any more.
    pub left: bool,
    /// Whether it is about to release the namespace.
    pub releases: bool,
}

pub(crate) async fn observe(owner: Owner<'_, Project>, place: &PlaceContext) -> Result<World, ProjectError> {
    let record = record_of::<ProjectOperator>(owner.key());
    let cluster = place.cluster.clone().ok_or(ProjectError::NotACluster)?;
    let mut namespaces: BTreeMap<String, Seen> = Owned::at(place, &record).into_iter().map(ours).collect();
    let mut bounds = Bounds::default();
    // Nothing new is taken up by what is being deleted, nor in a cluster that is or is no target: only what is held matters.
    if let Owner::Present(project) = owner
        && deletion_of(&cluster).is_none()
        && targets::of(project, &place.fleet).places.contains(&place.place)
    {
        let projects = &place.related::<Project>();
        let wanted: BTreeSet<&String> = project.spec.namespaces.iter().map(|namespace| &namespace.name).collect();
        let unknown: Vec<_> = wanted.into_iter().filter(|name| !namespaces.contains_key(*name)).collect();
        let older_projects = older_projects(projects, project, &unknown);
        let takes_up = !unknown.is_empty();
        let look_up = |name: &String| {
            let (name, older_projects) = (name.clone(), &older_projects);
            async move { look_up(projects, older_projects, project, place, &name).await.map(|seen| (name, seen)) }
        };
        let looks = stream::iter(unknown.into_iter().map(look_up)).buffer_unordered(AT_A_TIME);
        namespaces.extend(looks.try_collect::<Vec<_>>().await?);
        bounds = bounds_of(project, place, takes_up);
    }
    let tenant_labels = place.fleet.namespace_labels(&record.key.namespace).cloned();
    let in_operator_namespace = place.fleet.is_operator_namespace(&record.key.namespace);
    Ok(World { cluster, in_operator_namespace, tenant_labels, bounds, namespaces })
}

/// What bounds a Project at a cluster; only one that `takes_up` something has to know what others of its tenant hold.
fn bounds_of(project: &Project, place: &PlaceContext, takes_up: bool) -> Bounds {
    let Place::Cluster(name) = &place.place else { return Bounds::default() };
    let tenant_labels = if name.as_str() == LOCAL_CLUSTER { tenant_label_keys(&place.fleet) } else { BTreeSet::new() };
    let limits = |tenant: &&Tenant| tenant.max_namespaces.is_some();
    let is_limited =
        place.fleet.get(name).is_some_and(|view| tenancies_of(project, view, &place.fleet).iter().any(limits));
    if !(takes_up && is_limited) {
        return Bounds { tenant_labels, ..Bounds::default() };
    }
    let (kind, namespace) = (record_of::<ProjectOperator>(ObjectKey::default()).kind, project.namespace());
    let is_ours = |meta: &ObjectMeta| OwnerRecord::recorded(meta, kind).map(|holder| holder.namespace) == namespace;
    let all = place.cache.informer::<Namespace>(&OwnerRecord::query(kind));
    let held = all.filter(|found| is_ours(&found.metadata)).iter().map(|found| found.name_any()).collect();
    let comes_first = |other: &Project| other.namespace() == namespace && by_age(other, project).is_lt();
    let older = place.related::<Project>().filter(comes_first);
    let wanted = older.iter().flat_map(|older| {
        let claimed = |wanted: &&ProjectNamespace| claims(older, &wanted.name, &place.place, &place.fleet);
        older.spec.namespaces.iter().filter(claimed).map(|wanted| wanted.name.clone())
    });
    Bounds { held, wanted_before: wanted.collect(), tenant_labels }
}

pub(crate) fn ours(Owned { live, drift_conflict, .. }: Owned<Namespace>) -> (String, Seen) {
    match live {
        Ok(live) => (live.name_any(), Seen::Ours { live, drift_conflict }),
        Err(undecodable) => {
            let meta = Box::new(undecodable.meta.clone());
            (meta.name.clone().unwrap_or_default(), Seen::Undecodable { meta })
        }
    }
}

/// Asks the server: a foreign namespace is in no informer, as we watch only what carries our labels.
async fn look_up(
    projects: &Informer<Project>,
    older_projects: &[Arc<Project>],
    project: &Project,
    place: &PlaceContext,
    name: &str,
) -> Result<Seen, ProjectError> {
    let kind = record_of::<ProjectOperator>(ObjectKey::default()).kind;
    let api = Api::<Namespace>::all(place.cache.client());
    let found = request(format!("get Namespace {name}"), api.get_metadata_opt(name)).await?;
    Ok(match found {
        None => {
            let older_project =
                older_projects.iter().find(|older_project| claims(older_project, name, &place.place, &place.fleet));
            Seen::Absent { older_project: older_project.map(|older_project| ObjectKey::of(&older_project.metadata)) }
        }
        Some(found) => {
            if is_made_for(&found.metadata, project.metadata.uid.as_ref()) {
                let drift_conflict = found.uid().and_then(|uid| place.cache.drift_conflicts().drift_conflict(&uid));
                return Ok(Seen::Unlabelled { meta: Box::new(found.metadata), drift_conflict });
            }
            let recorded = OwnerRecord::recorded(&found.metadata, kind);
            let holder = recorded.map(|key| holder(projects, key, place, name));
            Seen::Foreign { meta: Box::new(found.metadata), holder }
        }
    })
}

/// The Projects that list any of these names, too, and come first; the oldest is the first, so that it is always the same one
/// that is named.
fn older_projects(projects: &Informer<Project>, project: &Project, names: &[&String]) -> Vec<Arc<Project>> {
    if names.is_empty() {
        return Vec::new(); // At rest no reconcile searches through all Projects.
    }
    let names: BTreeSet<&str> = names.iter().map(|name| name.as_str()).collect();
    let lists_any = |other: &Project| other.spec.namespaces.iter().any(|wanted| names.contains(wanted.name.as_str()));
    let mut older_projects = projects.filter(|other| lists_any(other) && by_age(other, project).is_lt());
    older_projects.sort_by(|one, other| by_age(one, other));
    older_projects
}

fn holder(projects: &Informer<Project>, key: ObjectKey, place: &PlaceContext, name: &str) -> Holder {
    let found = projects.lookup_live(&key);
    let left = is_gone_from(found.as_ref(), &place.place, &place.fleet);
    Holder { left, releases: is_releasing(found.as_ref(), name), key }
}
