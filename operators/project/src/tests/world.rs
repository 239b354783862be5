//! The namespaces of one cluster in memory, written to as `Writer` in `drover-runtime` writes to a real server.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use drover_crds::{
    Cluster, Project,
    names::{ANNOTATION_ADOPTED, ANNOTATION_APPLIED, ANNOTATION_OWNER_UID, ANNOTATION_RELEASED_BY},
};
use drover_runtime::{
    ApiError, ObjectKey, OwnerRecord, WriteError,
    model::{ModelWorld, Requests, Stop},
    operator::owner_of,
    owned::is_made_for,
    place::deletion_of,
    write::desired_hash,
};
use k8s_openapi::{
    api::core::v1::Namespace,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use kube::core::Status;
use serde::Deserialize;

use super::strategies::project;
use crate::{
    ProjectOperator,
    error::ProjectError,
    observe::{Holder, Seen, World},
    plan::Action,
};

/// So many restores, then `DriftConflicts` in `drover-runtime` leaves an object alone.
const REVERTS_UNTIL_DRIFT_CONFLICT: usize = 3;

/// One cluster.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ModelCluster {
    pub(super) cluster: Arc<Cluster>,
    /// Whether the Project lies in the operator namespace.
    pub(super) in_operator_namespace: bool,
    /// Labels of the management namespace in which the Project lies.
    pub(super) tenant_labels: Option<Texts>,
    pub(super) namespaces: BTreeMap<String, ModelNamespace>,
    /// The Projects, by namespace and name, that are gone or do not select this cluster any more.
    pub(super) left: BTreeSet<String>,
    /// An older Project that wants every namespace that is absent.
    pub(super) older_project: Option<ObjectKey>,
    /// How many objects were ever created, for UIDs that were never used before.
    created: usize,
}

/// One namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ModelNamespace {
    pub(super) uid: String,
    /// Grows with every write, as `resourceVersion` does.
    version: usize,
    pub(super) labels: Fields,
    pub(super) annotations: Fields,
    pub(super) terminating: bool,
    /// How often a reconcile restored something.
    reverts: usize,
    /// Another client sets this label again between any two reconciles.
    pub(super) drifting: Option<(String, String)>,
}

/// Labels or annotations.
pub(super) type Fields = BTreeMap<String, Field>;

/// A value and who manages it; a field without managers vanishes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub(super) value: String,
    pub(super) managers: BTreeSet<Manager>,
}

/// An entry of `managedFields`. What Drover applies and what it patches are two of them, as on a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Manager {
    Applied,
    Patched,
    Other,
}

/// A namespace that a Project holds, as it comes to be: created, applied, perhaps adopted, then changed by another client.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Held {
    /// Namespace and name of the Project.
    #[serde(rename = "heldBy")]
    pub(super) holder: String,
    /// The labels that it applied; none if its process died before that.
    pub(super) applied: Option<Texts>,
    #[serde(default)]
    pub(super) adopted: bool,
    /// The labels that another client set since.
    #[serde(default)]
    pub(super) changed: Texts,
    #[serde(default)]
    pub(super) reverts: usize,
    #[serde(default)]
    pub(super) terminating: bool,
}

/// A namespace that no Project holds.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Foreign {
    #[serde(default)]
    pub(super) labels: Texts,
    #[serde(default)]
    pub(super) annotations: Texts,
    /// Namespace and name of the Project that released it.
    pub(super) released_by: Option<String>,
    #[serde(default)]
    pub(super) terminating: bool,
}

pub(super) type Texts = BTreeMap<String, String>;
type Written = Result<(), WriteError>;

impl ModelCluster {
    pub(super) fn new(cluster: Cluster, tenant_labels: Option<Texts>) -> Self {
        Self {
            in_operator_namespace: false,
            cluster: Arc::new(cluster),
            tenant_labels,
            namespaces: BTreeMap::new(),
            left: BTreeSet::new(),
            older_project: None,
            created: 0,
        }
    }

    fn add(&mut self, name: &str, mut namespace: ModelNamespace) -> &mut ModelNamespace {
        self.created += 1;
        namespace.uid = format!("uid-{}", self.created);
        self.namespaces.entry(name.to_owned()).insert_entry(namespace).into_mut()
    }

    pub(super) fn add_foreign(&mut self, name: &str, foreign: Foreign) {
        let Foreign { labels, annotations, released_by, terminating } = foreign;
        let (labels, mut annotations) = (by_another(labels), by_another(annotations));
        if let Some(by) = released_by {
            annotations.insert(ANNOTATION_RELEASED_BY.into(), Field::by(Manager::Patched, by));
        }
        self.add(name, ModelNamespace { labels, annotations, terminating, ..ModelNamespace::default() });
    }

    pub(super) fn add_held(&mut self, name: &str, held: Held) {
        let Held { holder, applied, adopted, changed, reverts, terminating } = held;
        let (namespace, holder) = holder.split_once('/').unwrap();
        let spec = serde_json::from_value(serde_json::json!({"clusters": {"all": {}}})).unwrap();
        let holder = project(namespace, holder, spec);
        let live = if adopted {
            self.add(name, ModelNamespace::default()).meta(name)
        } else {
            self.post(&owner_of::<ProjectOperator>(&holder), name).unwrap()
        };
        if applied.is_some() || adopted {
            let labels = applied.filter(|labels| !labels.is_empty());
            let metadata = ObjectMeta { name: Some(name.into()), labels, ..ObjectMeta::default() };
            let desired = Namespace { metadata, ..Namespace::default() };
            self.patch(&holder, &desired, &live, adopted).unwrap();
        }
        let found = self.namespaces.get_mut(name).unwrap();
        found.labels.extend(by_another(changed));
        (found.reverts, found.terminating) = (reverts, terminating);
    }

    /// From now on another client sets this label whenever it is not so.
    pub(super) fn keep_changing(&mut self, name: &str, key: &str, value: &str) {
        let found = self.namespaces.get_mut(name).unwrap();
        found.drifting = Some((key.to_owned(), value.to_owned()));
        found.labels.insert(key.to_owned(), Field::by(Manager::Other, value.to_owned()));
    }

    /// The first half of `Writer::create`: name and owner labels only.
    fn post(&mut self, owner: &OwnerRecord, name: &str) -> Result<ObjectMeta, WriteError> {
        if self.namespaces.contains_key(name) {
            return Err(WriteError::Taken { what: format!("Namespace {name}") });
        }
        let labels = owner.labels().into_iter().map(|(key, value)| (key, Field::by(Manager::Patched, value)));
        let namespace = ModelNamespace { labels: labels.collect(), ..ModelNamespace::default() };
        Ok(self.add(name, namespace).meta(name))
    }

    /// `Writer::apply`: server-side apply, with force on what we created and without on what was adopted.
    fn patch(&mut self, project: &Project, desired: &Namespace, live: &ObjectMeta, adopt: bool) -> Written {
        let name = live.name.clone().unwrap_or_default();
        let what = format!("Namespace {name}");
        let marked = |meta: &ObjectMeta| meta.annotations.iter().flatten().any(|(key, _)| key == ANNOTATION_ADOPTED);
        let adopted = adopt || marked(live);
        let found = self.namespaces.get_mut(&name).filter(|found| {
            let seen = found.meta(&name);
            (&seen.uid, &seen.resource_version) == (&live.uid, &live.resource_version)
        });
        let Some(found) = found else { return Err(refused(409, &format!("apply {what}"))) };
        let mut labels = desired.metadata.labels.clone().unwrap_or_default();
        labels.extend(owner_of::<ProjectOperator>(project).labels());
        let mut annotations = desired.metadata.annotations.clone().unwrap_or_default();
        annotations.insert(ANNOTATION_OWNER_UID.into(), project.metadata.uid.clone().unwrap_or_default());
        annotations.insert(ANNOTATION_APPLIED.into(), desired_hash(desired));
        if adopted {
            annotations.insert(ANNOTATION_ADOPTED.into(), "true".into());
        }
        let conflict = conflict(&found.labels, &labels).or_else(|| conflict(&found.annotations, &annotations));
        if let (true, Some(field)) = (adopted, conflict) {
            return Err(WriteError::FieldConflict { what, conflict: format!("conflict with \"another\": {field}") });
        }
        apply_fields(&mut found.labels, labels);
        apply_fields(&mut found.annotations, annotations);
        found.version += 1;
        Ok(())
    }

    /// `Writer::release`: a merge patch on exactly the version that was seen.
    fn release(&mut self, owner: &OwnerRecord, live: &ObjectMeta) -> Written {
        let name = live.name.as_deref().unwrap_or_default();
        let Some(found) = self.namespaces.get_mut(name) else { return Ok(()) };
        let seen = found.meta(name);
        if (&seen.uid, &seen.resource_version) != (&live.uid, &live.resource_version) {
            return Err(refused(409, &format!("release Namespace {name}")));
        }
        found.labels.retain(|key, _| !OwnerRecord::LABELS.contains(&key.as_str()));
        let ours = [ANNOTATION_OWNER_UID, ANNOTATION_APPLIED, ANNOTATION_ADOPTED];
        found.annotations.retain(|key, _| !ours.contains(&key.as_str()));
        let by = Field::by(Manager::Patched, owner.key.to_string());
        found.annotations.insert(ANNOTATION_RELEASED_BY.into(), by);
        found.version += 1;
        Ok(())
    }

    /// `Writer::delete`: exactly the object that was seen.
    fn delete(&mut self, live: &ObjectMeta) -> Written {
        let name = live.name.as_deref().unwrap_or_default();
        let Some(found) = self.namespaces.get_mut(name) else { return Ok(()) };
        if Some(&found.uid) != live.uid.as_ref() {
            return Err(refused(409, &format!("delete Namespace {name}")));
        }
        found.terminating = true;
        Ok(())
    }

    fn note_revert(&mut self, live: &ObjectMeta) {
        if let Some(found) = live.name.as_ref().and_then(|name| self.namespaces.get_mut(name)) {
            found.reverts += 1;
        }
    }

    /// The same cluster, had everything in it been created by other requests.
    pub(super) fn with_other_ids(&self) -> Self {
        let mut other = self.clone();
        for namespace in other.namespaces.values_mut() {
            namespace.uid = format!("other-{}", namespace.uid);
            namespace.version += 1000;
        }
        other
    }

    /// The same cluster without what differs from one run to another: UIDs, versions and counts.
    pub(super) fn shape(&self) -> BTreeMap<String, ModelNamespace> {
        let anonymous = |namespace: &ModelNamespace| ModelNamespace {
            uid: String::new(),
            version: 0,
            reverts: 0,
            ..namespace.clone()
        };
        self.namespaces.iter().map(|(name, namespace)| (name.clone(), anonymous(namespace))).collect()
    }
}

impl ModelNamespace {
    pub(super) fn meta(&self, name: &str) -> ObjectMeta {
        let plain = |fields: &Fields| {
            let values = fields.iter().map(|(key, field)| (key.clone(), field.value.clone()));
            (!fields.is_empty()).then(|| values.collect::<BTreeMap<_, _>>())
        };
        ObjectMeta {
            name: Some(name.to_owned()),
            uid: Some(self.uid.clone()),
            resource_version: Some(self.version.to_string()),
            deletion_timestamp: self.terminating.then_some(Time(Timestamp::UNIX_EPOCH)),
            labels: plain(&self.labels),
            annotations: plain(&self.annotations),
            ..ObjectMeta::default()
        }
    }
}

impl Field {
    pub(super) fn by(manager: Manager, value: String) -> Self {
        Self { value, managers: BTreeSet::from([manager]) }
    }
}

impl ModelWorld<ProjectOperator> for ModelCluster {
    fn observe(&self, project: &Project) -> World {
        let owner = owner_of::<ProjectOperator>(project);
        let listed = |name: &str| project.spec.namespaces.iter().any(|wanted| wanted.name == name);
        let takes_up = project.metadata.deletion_timestamp.is_none() && deletion_of(&self.cluster).is_none();
        let mut namespaces = BTreeMap::new();
        for (name, namespace) in &self.namespaces {
            let meta = namespace.meta(name);
            let applied = namespace.annotations.get(ANNOTATION_APPLIED).map(|field| field.value.clone());
            let drift_conflict = applied.filter(|_| namespace.reverts >= REVERTS_UNTIL_DRIFT_CONFLICT);
            if owner.owns(&meta) {
                let live = Arc::new(Namespace { metadata: meta, ..Namespace::default() });
                namespaces.insert(name.clone(), Seen::Ours { live, drift_conflict });
            } else if listed(name) && takes_up && is_made_for(&meta, project.metadata.uid.as_ref()) {
                namespaces.insert(name.clone(), Seen::Unlabelled { meta: Box::new(meta), drift_conflict });
            } else if listed(name) && takes_up {
                let recorded = OwnerRecord::recorded(&meta, owner.kind);
                let holder = recorded.map(|key| Holder { left: self.left.contains(&key.to_string()), key });
                namespaces.insert(name.clone(), Seen::Foreign { meta: Box::new(meta), holder });
            }
        }
        if takes_up {
            for wanted in &project.spec.namespaces {
                namespaces
                    .entry(wanted.name.clone())
                    .or_insert(Seen::Absent { older_project: self.older_project.clone() });
            }
        }
        let (cluster, tenant_labels) = (Arc::clone(&self.cluster), self.tenant_labels.clone());
        World { cluster, in_operator_namespace: self.in_operator_namespace, tenant_labels, namespaces }
    }

    fn is_deselected(&self, _: &Project) -> bool {
        deletion_of(&self.cluster).is_some()
    }

    fn apply(&mut self, project: &Project, action: Action, requests: &mut Requests) -> Result<(), Stop<ProjectError>> {
        let owner = owner_of::<ProjectOperator>(project);
        requests.send()?;
        match action {
            Action::Create { desired, .. } => {
                let name = desired.metadata.name.clone().unwrap_or_default();
                let live = self.post(&owner, &name).map_err(ProjectError::from)?;
                requests.send()?;
                self.patch(project, &desired, &live, false)
            }
            Action::Apply { desired, live, reverted } => {
                let written = self.patch(project, &desired, &live, false);
                if written.is_ok() && !reverted.is_empty() {
                    self.note_revert(&live);
                }
                written
            }
            Action::Adopt { desired, live } => self.patch(project, &desired, &live, true),
            Action::Disown { live, owner: holder } => self.release(&OwnerRecord { key: holder, ..owner }, &live),
            Action::Release(live) => self.release(&owner, &live),
            Action::Delete(live) => self.delete(&live),
        }
        .map_err(|error| Stop::Refused(error.into()))
    }

    fn settle(&mut self) {
        self.namespaces.retain(|_, namespace| !namespace.terminating);
        for namespace in self.namespaces.values_mut() {
            let Some((key, value)) = namespace.drifting.clone() else { continue };
            if namespace.labels.get(&key).is_none_or(|field| field.value != value) {
                namespace.labels.insert(key, Field::by(Manager::Other, value));
                namespace.version += 1;
            }
        }
    }
}

fn by_another(texts: Texts) -> Fields {
    texts.into_iter().map(|(key, value)| (key, Field::by(Manager::Other, value))).collect()
}

/// The first field that another client manages with another value.
fn conflict(fields: &Fields, wanted: &BTreeMap<String, String>) -> Option<String> {
    let differs = |key: &&String, value: &String| {
        let others = |field: &Field| field.managers.iter().any(|manager| *manager != Manager::Applied);
        fields.get(*key).is_some_and(|field| field.value != *value && others(field))
    };
    wanted.iter().find(|(key, value)| differs(key, value)).map(|(key, _)| key.clone())
}

/// Sets what is applied now and gives up what was applied before and is not any more.
fn apply_fields(fields: &mut Fields, wanted: BTreeMap<String, String>) {
    for (key, field) in &mut *fields {
        if !wanted.contains_key(key) {
            field.managers.remove(&Manager::Applied);
        }
    }
    for (key, value) in wanted {
        let field = fields.entry(key).or_insert_with(|| Field::by(Manager::Applied, value.clone()));
        if field.value == value {
            field.managers.insert(Manager::Applied);
        } else {
            *field = Field::by(Manager::Applied, value);
        }
    }
    fields.retain(|_, field| !field.managers.is_empty());
}

fn refused(code: u16, what: &str) -> WriteError {
    let status = Status { code, ..Status::default() };
    ApiError::new(what, kube::Error::Api(Box::new(status))).into()
}
