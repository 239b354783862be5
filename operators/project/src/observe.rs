//! What there is at one cluster. Decides nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use drover_crds::{
    Cluster, Project, ProjectNamespace, ProjectRoleTemplateBinding, RoleTemplate, Tenant,
    names::{ANNOTATION_OWNER_UID, LABEL_PROJECT, LOCAL_CLUSTER},
};
use drover_fleet::{
    admission::{guarded, guarded_here_since, state_in_management},
    targets::{self, tenancies_of, tenant_label_keys},
};
use drover_grants::{Admitted, Grants, Members, OfProject, is_of_another, of_apps, reached, undecodable_in};
use drover_runtime::{
    Answer, Informer, Kept, LabelQuery, ObjectKey, Owner, OwnerRecord, Place, PlaceContext, Title,
    act::AT_A_TIME,
    cache::Index,
    operator::{owner_of, record_of},
    owned::{Owned, is_made_for},
    place::deletion_of,
    request::request,
};
use drover_secrets::SecretCopy;
use drover_self_service::{Given, Request, Requests, asked};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        core::v1::Namespace,
        rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Resource, ResourceExt};

use crate::{
    ProjectOperator,
    bounds::Bounds,
    consent::{by_age, claims, is_gone_from, is_releasing, rival},
    error::ProjectError,
    guards::{Guard, Guards, Inside, NAME, Unlabelled, missing},
    secrets::{self, Secrets},
    self_service::{self, Served},
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
    /// The name of this installation of Drover.
    pub installation: String,
    /// UIDs of other Projects that are recorded on the namespaces.
    pub others: BTreeSet<String>,
    /// Every namespace that the Project lists or holds.
    pub namespaces: BTreeMap<String, Seen>,
    /// The guards inside them.
    pub guards: Guards,
    /// Who has which role in them, and should have.
    pub members: Members,
    /// The Secrets in them, and those that should be there.
    pub secrets: Secrets,
    /// What members create themselves, and who may.
    pub served: Served,
    /// Those of the namespaces in which apps have roles; only looked at where the cluster is being deleted.
    pub with_apps: BTreeSet<String>,
}

impl World {
    /// Whether the Project's namespace of this name carries these labels.
    pub(crate) fn carries(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        let Some(Seen::Ours { live, .. }) = self.namespaces.get(namespace) else { return false };
        labels.iter().all(|(key, value)| live.labels().get(key) == Some(value))
    }

    /// Why a namespace that carries the labels of the Project with this key belongs to it, or does not.
    #[must_use]
    pub fn title(&self, project: &ObjectKey, meta: &ObjectMeta) -> Title {
        let made_for = meta.annotations.as_ref().and_then(|all| all.get(ANNOTATION_OWNER_UID));
        if made_for.is_some_and(|uid| self.others.contains(uid)) {
            return Title::Another;
        }
        record_of::<ProjectOperator>(project.clone()).title(meta, &self.installation)
    }
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

impl Seen {
    /// The metadata of what is there.
    pub(crate) fn meta(&self) -> Option<&ObjectMeta> {
        match self {
            Self::Foreign { meta, .. } => Some(meta),
            _ => self.held(),
        }
    }

    /// The metadata of what carries the labels of the Project, or is its own without them.
    pub(crate) fn held(&self) -> Option<&ObjectMeta> {
        match self {
            Self::Ours { live, .. } => Some(&live.metadata),
            Self::Unlabelled { meta, .. } | Self::Undecodable { meta } => Some(meta),
            Self::Absent { .. } | Self::Foreign { .. } => None,
        }
    }
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
    let mut world = World {
        cluster: Arc::clone(&cluster),
        in_operator_namespace: place.fleet.is_operator_namespace(&record.key.namespace),
        tenant_labels: place.fleet.namespace_labels(&record.key.namespace).cloned(),
        bounds: Bounds::default(),
        installation: place.fleet.installation().to_owned(),
        others: others(owner, place, &namespaces),
        namespaces: BTreeMap::new(),
        guards: Guards::default(),
        members: Members::default(),
        secrets: secrets::observe(owner, place),
        served: Served::default(),
        with_apps: of_apps::acting_in(place, namespaces.keys()),
    };
    // Nothing new is taken up by what is being deleted, nor in a cluster that is or is no target: only what is held matters.
    let holder = match owner {
        Owner::Present(project)
            if deletion_of(&cluster).is_none() && targets::of(project, &place.fleet).places.contains(&place.place) =>
        {
            Some(project)
        }
        _ => None,
    };
    world.served = served(&record, holder, place, &world, &namespaces);
    let holder = holder.map(|project| self_service::listing(project, &world.served.judged.taken));
    let holder = holder.as_deref();
    if let Some(project) = holder {
        let held = namespaces.values().filter_map(Seen::held).map(|meta| (meta, world.title(&record.key, meta)));
        note_held::<Namespace>(project, place, held);
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
        world.bounds = bounds_of(project, place, takes_up);
    } else {
        place.cache.held().forget_all(&record);
    }
    let guards = Guards {
        quota: inside(&record, holder, place, &namespaces).await?,
        limits: inside(&record, holder, place, &namespaces).await?,
        isolation: inside(&record, holder, place, &namespaces).await?,
    };
    Ok(World { members: members(owner, place, &namespaces), namespaces, guards, ..world })
}

/// Namespaces by the Project for which they ask.
struct ByRequest;

impl Index<Namespace> for ByRequest {
    fn key(namespace: &Namespace) -> Option<ObjectKey> {
        asked(&namespace.metadata)
    }
}

/// The namespaces that ask for the Project, and what lets members create them.
fn served(
    record: &OwnerRecord,
    holder: Option<&Project>,
    place: &PlaceContext,
    world: &World,
    namespaces: &BTreeMap<String, Seen>,
) -> Served {
    let ours = OwnerRecord::query(record.kind);
    let (roles, bindings) =
        (place.cache.informer::<ClusterRole>(&ours), place.cache.informer::<ClusterRoleBinding>(&ours));
    let refused = roles.refusal().or(bindings.refusal()).is_some();
    let given = if refused {
        Given::default()
    } else {
        Given { roles: Owned::at(place, record), bindings: Owned::at(place, record) }
    };
    let Some(project) = holder.filter(|project| project.spec.self_service.is_some()) else {
        return Served { given, refused, ..Served::default() };
    };
    let is_held = |name: &str| {
        let held = namespaces.get(name).and_then(Seen::held);
        held.is_some_and(|meta| matches!(world.title(&record.key, meta), Title::Created | Title::Adopted))
    };
    let asking = place.cache.informer::<Namespace>(&LabelQuery::has(LABEL_PROJECT)).indexed::<ByRequest>(&record.key);
    let lives = |found: &&Arc<Namespace>| found.metadata.deletion_timestamp.is_none();
    let all = asking.iter().filter(lives).map(|found| Request {
        name: found.name_any(),
        created: found.metadata.creation_timestamp.as_ref().map(|time| time.0),
        is_held: is_held(&found.name_any()),
    });
    let projects = place.related::<Project>();
    let others = projects.all();
    // What cannot be decoded may want the same names, so nothing more is taken up.
    let guarded_since = guarded_here_since(place).filter(|_| projects.undecodable().is_empty());
    let rivals = others.iter().filter_map(|other| rival(project, other, &place.place, &place.fleet));
    let requests = Requests { all: all.collect(), rivals: rivals.collect(), guarded_since };
    let judged = self_service::judge(project, &world.cluster, &requests);
    Served { requests, judged, given, refused }
}

/// What is granted at this cluster, and what should be.
fn members(owner: Owner<'_, Project>, place: &PlaceContext, namespaces: &BTreeMap<String, Seen>) -> Members {
    let record = record_of::<ProjectOperator>(owner.key());
    let role_bindings = place.cache.informer::<RoleBinding>(&OwnerRecord::query(record.kind));
    let granted = match (role_bindings.refusal(), &place.cluster) {
        (Some(_), Some(cluster)) => Members { grants: Grants::not_permitted(cluster), ..Members::default() },
        _ => Members { owned: Owned::at(place, &record), grants: Grants::by(&guarded(place)), ..Members::default() },
    };
    let Owner::Present(project) = owner else { return granted };
    let bindings =
        place.related::<ProjectRoleTemplateBinding>().indexed::<OfProject>(&owner_of::<ProjectOperator>(project).key);
    let templates = place.related::<RoleTemplate>();
    let find = |name: &str| templates.lookup(&ObjectKey::cluster_scoped(name));
    let undecodable = undecodable_in(&place.related::<ProjectRoleTemplateBinding>(), &owner.key().namespace);
    let mut members = Members { bindings, undecodable, ..granted };
    // Nobody gets anything anyway while grants are frozen, and that is what the status says then.
    let is_frozen = members.grants != Grants::Allowed;
    let policies = || state_in_management(place);
    let all = members.bindings.iter().filter(|_| !is_frozen);
    let all = all.map(|binding| (binding.name_any(), Admitted::of(&**binding, policies)));
    members.unadmitted = all.filter(|(_, admitted)| *admitted != Admitted::Yes).collect();
    let judge = |template: &_| if is_frozen { Admitted::Yes } else { Admitted::of::<RoleTemplate>(template, policies) };
    members.templates = reached(members.template_names(), find, judge);
    let copies = Owned::<SecretCopy>::at(place, &record);
    let mut entered = members.namespaces();
    entered.extend(copies.iter().filter_map(|found| found.meta().namespace.as_deref()));
    let is_new =
        |name: &&String| matches!(namespaces.get(*name), Some(Seen::Ours { .. })) && !entered.contains(&***name);
    let new: BTreeSet<&String> = namespaces.keys().filter(is_new).collect();
    if !(new.is_empty() || (members.bindings.is_empty() && project.spec.secrets.is_empty())) {
        let is_left = |found: &Arc<RoleBinding>| is_of_another(&found.metadata, &record, place.fleet.installation());
        let has_left = |name: &&&String| {
            role_bindings.in_namespace(name).iter().any(is_left) || secrets::has_left(&record, place, name)
        };
        members.left_by_others = new.iter().filter(has_left).map(|name| (*name).clone()).collect();
    }
    members
}

/// The UIDs of other Projects that are recorded on namespaces with the labels of `owner`: another client changed these labels, as a
/// Project that gives a namespace up takes its UID off.
fn others(owner: Owner<'_, Project>, place: &PlaceContext, namespaces: &BTreeMap<String, Seen>) -> BTreeSet<String> {
    let own = owner.object().and_then(|project| project.metadata.uid.as_ref());
    let metas = namespaces.values().filter_map(Seen::held);
    let recorded: BTreeSet<&String> = metas
        .filter_map(|meta| meta.annotations.as_ref()?.get(ANNOTATION_OWNER_UID))
        .filter(|uid| Some(*uid) != own)
        .collect();
    if recorded.is_empty() {
        return BTreeSet::new(); // At rest no reconcile searches through all Projects.
    }
    let is_recorded = |other: &Project| other.metadata.uid.as_ref().is_some_and(|uid| recorded.contains(uid));
    place.related::<Project>().filter(is_recorded).iter().filter_map(|other| other.metadata.uid.clone()).collect()
}

/// Remembers what the Project holds: whoever wipes the record of an object takes it from nobody.
fn note_held<'a, K: Kept>(
    project: &Project,
    place: &PlaceContext,
    found: impl Iterator<Item = (&'a ObjectMeta, Title)>,
) {
    let record = owner_of::<ProjectOperator>(project);
    let held = found.filter(|(_, title)| matches!(title, Title::Created | Title::Adopted));
    let is_listed = |key: &ObjectKey| {
        let namespace = if key.namespace.is_empty() { &key.name } else { &key.namespace };
        project.spec.namespaces.iter().any(|wanted| wanted.name == *namespace)
    };
    place.cache.held().note::<K>(&record, project.metadata.uid.as_ref(), held, is_listed);
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
    let record = owner_of::<ProjectOperator>(project);
    let api = Api::<Answer<Namespace>>::all(place.cache.client());
    let found = request(format!("get Namespace {name}"), api.get_opt(name)).await?;
    Ok(match found {
        None => {
            let older_project =
                older_projects.iter().find(|older_project| claims(older_project, name, &place.place, &place.fleet));
            Seen::Absent { older_project: older_project.map(|older_project| ObjectKey::of(&older_project.metadata)) }
        }
        Some(Answer(found)) => {
            let recorded = OwnerRecord::recorded(&found.metadata, record.kind);
            let mut meta = Box::new(found.metadata);
            let held = place.cache.held().title::<Namespace>(&record, project.metadata.uid.as_ref(), &meta);
            let held = held.filter(|_| recorded.is_none());
            if is_ours_without_labels(&mut meta, project, place.fleet.installation(), held) {
                let uid = meta.uid.as_ref();
                let drift_conflict = uid.and_then(|uid| place.cache.drift_conflicts().drift_conflict(uid));
                return Ok(Seen::Unlabelled { meta, drift_conflict });
            }
            let holder = recorded.map(|key| holder(projects, key, place, name));
            Seen::Foreign { meta, holder }
        }
    })
}

/// The rights by which a guard comes to be.
const TO_CREATE: [&str; 2] = ["create", "patch"];

/// The guards of one kind at this cluster, asking the server for what no watch shows.
async fn inside<K: Guard + Resource<Scope = NamespaceResourceScope>>(
    record: &OwnerRecord,
    holder: Option<&Project>,
    place: &PlaceContext,
    namespaces: &BTreeMap<String, Seen>,
) -> Result<Inside<K>, ProjectError> {
    if place.cache.informer::<K>(&OwnerRecord::query(record.kind)).refusal().is_some() {
        return Ok(Inside::refused());
    }
    let labelled = Owned::at(place, record);
    let uncreatable = TO_CREATE.iter().any(|verb| place.cache.missing_rights().lacks::<K>(verb));
    let (Some(project), Some(cluster)) = (holder, &place.cluster) else {
        return Ok(Inside { owned: labelled, ..Inside::default() });
    };
    note_held::<K>(project, place, labelled.iter().map(|found| (found.meta(), found.title)));
    let look_up = |namespace: String| async move {
        let found = look_up_guard::<K>(project, place, &namespace).await?;
        Ok::<_, ProjectError>(found.map(|(found, bare)| ((namespace.clone(), found), (namespace, bare))))
    };
    let looks = stream::iter(missing(project, cluster, namespaces, &labelled).into_iter().map(look_up));
    let found: Vec<_> = looks.buffer_unordered(AT_A_TIME).try_collect().await?;
    let (unlabelled, bare) = found.into_iter().flatten().unzip();
    Ok(Inside { owned: labelled, unlabelled, bare, refused: false, uncreatable })
}

async fn look_up_guard<K: Guard + Resource<Scope = NamespaceResourceScope>>(
    project: &Project,
    place: &PlaceContext,
    namespace: &str,
) -> Result<Option<(Unlabelled, K)>, ProjectError> {
    let api = Api::<Answer<K>>::namespaced(place.cache.client(), namespace);
    let what = format!("get {} {namespace}/{NAME}", K::kind(&()));
    let Some(Answer(found)) = request(what, api.get_opt(NAME)).await? else { return Ok(None) };
    let drift_conflict = found.meta().uid.as_ref().and_then(|uid| place.cache.drift_conflicts().drift_conflict(uid));
    let projects = place.related::<Project>();
    let is_gone = |holder: &ObjectKey| is_gone_from(projects.lookup_live(holder).as_ref(), &place.place, &place.fleet);
    let (record, uid, meta) =
        (owner_of::<ProjectOperator>(project), project.metadata.uid.as_ref(), found.meta().clone());
    let held = place.cache.held().title::<K>(&record, uid, &meta);
    Ok(Some((Unlabelled::of(meta, project, place.fleet.installation(), drift_conflict, held, is_gone), found)))
}

/// Whether a namespace that does not carry the labels of the Project is its own all the same: it was created for it, and another
/// client changed the labels; or it is the very one that the Project `held`, and nobody is recorded on it. Its title comes back
/// with what is applied.
fn is_ours_without_labels(meta: &mut ObjectMeta, project: &Project, installation: &str, held: Option<Title>) -> bool {
    let record = owner_of::<ProjectOperator>(project);
    if is_made_for(meta, project.metadata.uid.as_ref()) && record.title(meta, installation) == Title::Created {
        return true;
    }
    let Some(title) = held else { return false };
    record.mark_as(title, meta, installation);
    true
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

#[cfg(test)]
mod tests {
    use drover_crds::names::{ANNOTATION_ADOPTED, ANNOTATION_CREATED};
    use serde_json::json;

    use super::*;

    fn shop() -> Project {
        serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "Project",
            "metadata": {"name": "shop", "namespace": "team-a", "uid": "uid-of-shop"}, "spec": {"clusters": {"all": {}}},
        }))
        .unwrap()
    }

    fn created_mark() -> String {
        owner_of::<ProjectOperator>(&shop()).created_mark("blue", &ObjectKey::cluster_scoped("web"))
    }

    /// Whether the namespace `web` with these annotations is the Project's, and its title then.
    fn taken_up(annotations: &serde_json::Value, held: Option<Title>) -> Option<Title> {
        let meta = json!({"name": "web", "annotations": annotations});
        let mut meta: ObjectMeta = serde_json::from_value(meta).unwrap();
        let ours = is_ours_without_labels(&mut meta, &shop(), "blue", held);
        ours.then(|| owner_of::<ProjectOperator>(&shop()).title(&meta, "blue"))
    }

    #[test]
    fn a_namespace_whose_record_was_wiped_is_taken_up_if_it_was_held() {
        let bare = json!({});
        assert_eq!(taken_up(&bare, Some(Title::Created)), Some(Title::Created));
        assert_eq!(taken_up(&bare, Some(Title::Adopted)), Some(Title::Adopted));
        assert_eq!(taken_up(&bare, None), None, "it only has the name");
    }

    #[test]
    fn what_was_created_for_the_project_is_known_without_its_labels_and_nothing_else_is() {
        let (uid, mark) = (ANNOTATION_OWNER_UID, created_mark());
        let title = |annotations| taken_up(&annotations, None);
        assert_eq!(title(json!({uid: "uid-of-shop", ANNOTATION_CREATED: mark})), Some(Title::Created));
        assert_eq!(title(json!({uid: "uid-of-shop"})), None, "anybody may read the UID of a Project");
        assert_eq!(title(json!({uid: "uid-of-shop", ANNOTATION_ADOPTED: "true"})), None, "and write these marks");
        assert_eq!(title(json!({uid: "another", ANNOTATION_CREATED: mark})), None, "it was released since");
        let elsewhere = mark.replace("blue", "green");
        assert_eq!(title(json!({uid: "uid-of-shop", ANNOTATION_CREATED: elsewhere})), None, "another installation");
    }
}
