//! One cluster in memory, with the namespaces in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use drover_crds::{
    Cluster, Project, ProjectRoleTemplateBinding, RoleTemplate,
    names::{ANNOTATION_CREATED, ANNOTATION_OWNER_UID, ANNOTATION_RELEASED_BY, LABEL_PROJECT, LABEL_PROJECT_NAMESPACE},
};
use drover_grants::{Admitted, Grants, Members, Scope, Templates, is_of_another, project_of};
use drover_roles::BoundRole;
use drover_runtime::{
    ObjectKey, Owner, OwnerRecord, Title,
    cache::{Lookup, Undecodable},
    model::{Field, Fields, Manager, ModelObject, ModelObjects, ModelWorld, Requests, Stop},
    operator::record_of,
    owned::{Change, is_made_for},
    place::deletion_of,
};
use drover_secrets::{Offers, SourceSecret, decide::Copies};
use drover_self_service::{Given, Request, Requests as Asking, Rival, asked};
use k8s_openapi::{
    api::{core::v1::Namespace, rbac::v1::RoleBinding},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    safety::held_by,
    strategies::{a_secret, project},
};
use crate::{
    ProjectOperator,
    act::Action,
    bounds::Bounds,
    error::ProjectError,
    guards::{Guard, Guards, Inside, NAME, Unlabelled, missing},
    observe::{Holder, Seen, World, ours},
    secrets::Secrets,
    self_service::{self, Served},
};

/// The name of this installation, as the model world has it.
const INSTALLATION: &str = "";

/// One cluster.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ModelCluster {
    pub(super) cluster: Arc<Cluster>,
    /// Whether the Project lies in the operator namespace.
    pub(super) in_operator_namespace: bool,
    /// Labels of the management namespace in which the Project lies.
    pub(super) tenant_labels: Option<Texts>,
    pub(super) namespaces: ModelObjects,
    /// Resource quotas, by namespace and name.
    pub(super) quotas: ModelObjects,
    /// Limit ranges, by namespace and name.
    pub(super) limits: ModelObjects,
    /// Network policies, by namespace and name.
    pub(super) policies: ModelObjects,
    /// The kinds of guards that the cluster does not let Drover read or write.
    pub(super) refused: BTreeSet<&'static str>,
    /// Role bindings, by namespace and name.
    pub(super) role_bindings: ModelObjects,
    /// Copies of Secrets, by namespace and name.
    pub(super) copies: ModelObjects,
    /// The Secrets beside the Project that carry a label, by name.
    pub(super) sources: BTreeMap<String, Value>,
    /// The bindings in the management cluster.
    pub(super) bindings: Vec<Arc<ProjectRoleTemplateBinding>>,
    /// Those that may have been written without admission policies.
    pub(super) unadmitted: BTreeMap<String, Admitted>,
    /// The names of those that cannot be decoded.
    pub(super) undecodable: Vec<String>,
    /// The templates there.
    pub(super) templates: Templates,
    /// Whether rights may be granted.
    pub(super) grants: Grants,
    /// What lets members create namespaces.
    pub(super) creators_roles: ModelObjects,
    /// Who may.
    pub(super) creators: ModelObjects,
    /// Since when a policy judges who asks for a Project.
    pub(super) guarded_since: Option<Timestamp>,
    /// Other Projects that want namespaces that members may create.
    pub(super) rivals: Vec<Rival>,
    /// The kinds of guards that it does not let Drover create.
    pub(super) uncreatable: BTreeSet<&'static str>,
    /// The Projects, by namespace and name, that are gone or do not select this cluster any more.
    pub(super) left: BTreeSet<String>,
    /// What older Projects of the same tenant want, and labels that make tenants.
    pub(super) bounds: Bounds,
    /// An older Project that wants every namespace that is absent.
    pub(super) older_project: Option<ObjectKey>,
    /// The namespaces in which apps have roles.
    pub(super) with_apps: BTreeSet<String>,
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
    /// Namespace and name of the Project for which it was created.
    pub(super) created_for: Option<String>,
    #[serde(default)]
    pub(super) terminating: bool,
}

pub(super) type Texts = BTreeMap<String, String>;

impl ModelCluster {
    pub(super) fn new(cluster: Cluster, tenant_labels: Option<Texts>) -> Self {
        Self {
            in_operator_namespace: false,
            cluster: Arc::new(cluster),
            tenant_labels,
            namespaces: ModelObjects::default(),
            quotas: ModelObjects::default(),
            limits: ModelObjects::default(),
            policies: ModelObjects::default(),
            refused: BTreeSet::new(),
            role_bindings: ModelObjects::with_fixed(&["roleRef"]),
            copies: ModelObjects::default(),
            sources: BTreeMap::new(),
            bindings: Vec::new(),
            undecodable: Vec::new(),
            unadmitted: BTreeMap::new(),
            templates: Templates::default(),
            grants: Grants::Allowed,
            creators_roles: ModelObjects::default(),
            creators: ModelObjects::with_fixed(&["roleRef"]),
            guarded_since: Some(Timestamp::UNIX_EPOCH),
            rivals: Vec::new(),
            uncreatable: BTreeSet::new(),
            left: BTreeSet::new(),
            bounds: Bounds::default(),
            older_project: None,
            with_apps: BTreeSet::new(),
        }
    }

    pub(super) fn add_foreign(&mut self, name: &str, foreign: Foreign) {
        let Foreign { labels, annotations, released_by, created_for, terminating } = foreign;
        let mut found = ModelObject::by_another(labels, annotations);
        if let Some(by) = released_by {
            found.annotations.insert(ANNOTATION_RELEASED_BY.into(), Field::by(Manager::Patched, by));
        }
        if let Some(project) = created_for {
            found
                .annotations
                .insert(ANNOTATION_CREATED.into(), Field::by(Manager::Patched, created_mark(&project, name)));
        }
        found.terminating = terminating;
        self.namespaces.add(&ObjectKey::cluster_scoped(name), found);
    }

    pub(super) fn add_held(&mut self, name: &str, held: Held) {
        let Held { holder, applied, adopted, changed, reverts, terminating } = held;
        let (namespace, holder) = holder.split_once('/').unwrap();
        let spec = serde_json::from_value(serde_json::json!({"clusters": {"all": {}}})).unwrap();
        let holder = project(namespace, holder, spec);
        // A process that died before it applied anything got one request through.
        let mut requests = if applied.is_none() && !adopted { Requests::only(1) } else { Requests::unlimited() };
        let labels = applied.filter(|labels| !labels.is_empty());
        let metadata = ObjectMeta { name: Some(name.into()), labels, ..ObjectMeta::default() };
        let desired = Namespace { metadata, ..Namespace::default() };
        let change = if adopted {
            let live = self.namespaces.add(&ObjectKey::cluster_scoped(name), ModelObject::default()).meta(name);
            Change::Adopt { desired: Box::new(desired), live: Box::new(live) }
        } else {
            Change::create(desired)
        };
        let _ = self.act(Owner::of(&holder), change.into(), &mut requests);
        let found = self.namespaces.get_mut(name).unwrap();
        found.set_reverts(reverts);
        found.labels.extend(by_another(changed));
        found.terminating = terminating;
    }

    /// Whoever created the namespace asks for `team-a/shop`.
    pub(super) fn ask(&mut self, name: &str) {
        let labels = [(LABEL_PROJECT_NAMESPACE, "team-a"), (LABEL_PROJECT, "shop")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        self.namespaces.get_mut(name).unwrap().labels.extend(by_another(labels.into()));
    }

    pub(super) fn add_templates(&mut self, templates: &[RoleTemplate]) {
        for template in templates {
            self.templates.insert(&template.name_any(), Lookup::Found(Arc::new(template.clone())));
        }
    }

    /// The template of this name has content that this version does not know.
    pub(super) fn garble_template(&mut self, name: &str, is_going: bool) {
        let mut meta = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        meta.deletion_timestamp = is_going.then_some(Time(Timestamp::UNIX_EPOCH));
        let undecodable = Undecodable { meta, error: "unknown variant".to_owned() };
        self.templates.insert(name, Lookup::Undecodable(Arc::new(undecodable)));
    }

    pub(super) fn set_bindings(&mut self, bindings: Vec<ProjectRoleTemplateBinding>) {
        self.bindings = bindings.into_iter().map(Arc::new).collect();
    }

    /// A role binding of the Project with this namespace and name, as its operator left it.
    pub(super) fn grant_by(&mut self, project_name: &str, namespace: &str, template: &str, users: &[&str]) {
        let (from, name) = project_name.split_once('/').unwrap();
        let spec = serde_json::from_value(json!({"clusters": {"all": {}}})).unwrap();
        let holder = project(from, name, spec);
        let role = match template {
            "viewer" => BoundRole::External { template: template.to_owned(), role: "view".to_owned() },
            _ => BoundRole::Own(template.to_owned()),
        };
        let group = "rbac.authorization.k8s.io";
        let subjects: Vec<_> =
            users.iter().map(|user| json!({"apiGroup": group, "kind": "User", "name": user})).collect();
        let desired: RoleBinding = serde_json::from_value(json!({
            "metadata": {"name": role.binding_name(0), "namespace": namespace},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role.role_name()}, "subjects": subjects,
        }))
        .unwrap();
        let seed = json!({"roleRef": desired.role_ref});
        let change = Change::Create { desired: Box::new(desired), seed };
        let _ = self.act(Owner::of(&holder), change.into(), &mut Requests::unlimited());
    }

    /// The Secrets beside the Project.
    pub(super) fn set_sources(&mut self, sources: Vec<Value>) {
        let named = |source: Value| (source["metadata"]["name"].as_str().unwrap().to_owned(), source);
        self.sources = sources.into_iter().map(named).collect();
    }

    /// A Project copied a Secret with this value.
    pub(super) fn copy_by(&mut self, holder: &str, namespace: &str, name: &str, value: &str) {
        let (from, of) = holder.split_once('/').unwrap();
        let spec = json!({"clusters": {"all": {}}, "secrets": [{"name": name}]});
        let holder = project(from, of, serde_json::from_value(spec).unwrap());
        self.set_sources(vec![a_secret(name, of, "Opaque", value)]);
        let Secrets { offers, copies, .. } = self.secrets(Owner::of(&holder));
        for change in copies.decide(&offers, &self.cluster, namespace, Scope::All).grants {
            let _ = self.act(Owner::of(&holder), change.into(), &mut Requests::unlimited());
        }
    }

    /// Another client gives a user what the role binding with this key gives.
    pub(super) fn add_subject(&mut self, key: &str, user: &str) {
        let found = self.role_bindings.get_mut(key).unwrap();
        let subjects = found.fields.get_mut(&vec!["subjects".to_owned()]).unwrap();
        let subject = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user});
        subjects.value.as_array_mut().unwrap().push(subject);
    }

    /// What this tenant holds here.
    fn bounds(&self, tenant: &str) -> Bounds {
        let is_theirs = |namespace: &ModelObject| held_by(namespace).is_some_and(|(holder, _)| holder == tenant);
        let held = self.namespaces.iter().filter(|(_, namespace)| is_theirs(namespace)).map(|(name, _)| name.clone());
        Bounds { held: held.collect(), ..self.bounds.clone() }
    }

    /// The UIDs of other Projects that still hold something here.
    fn others(&self, own: &ObjectKey) -> BTreeSet<String> {
        let recorded = self.namespaces.values().filter_map(|found| found.annotations.get(ANNOTATION_OWNER_UID));
        let other = |uid: &&String| {
            let key = uid.trim_start_matches("uid-of-");
            key != own.to_string() && !self.left.contains(key)
        };
        recorded.map(|field| &field.value).filter(other).cloned().collect()
    }

    /// The same cluster, had everything in it been created by other requests.
    pub(super) fn with_other_ids(&self) -> Self {
        Self {
            namespaces: self.namespaces.with_other_ids(),
            quotas: self.quotas.with_other_ids(),
            limits: self.limits.with_other_ids(),
            policies: self.policies.with_other_ids(),
            role_bindings: self.role_bindings.with_other_ids(),
            copies: self.copies.with_other_ids(),
            creators_roles: self.creators_roles.with_other_ids(),
            creators: self.creators.with_other_ids(),
            ..self.clone()
        }
    }
}

impl ModelWorld<ProjectOperator> for ModelCluster {
    fn observe(&self, owner: Owner<'_, Project>) -> World {
        let record = record_of::<ProjectOperator>(owner.key());
        let mut namespaces: BTreeMap<String, Seen> = self.namespaces.owned(&record).into_iter().map(ours).collect();
        let holder = match owner {
            Owner::Present(project) if deletion_of(&self.cluster).is_none() => Some(project),
            _ => None,
        };
        let served = self.served(&record, holder, &namespaces);
        let listing = owner.object().map(|project| self_service::listing(project, &served.judged.taken));
        let owner = match (owner, listing.as_deref()) {
            (Owner::Present(_), Some(listing)) => Owner::Present(listing),
            _ => owner,
        };
        if let Owner::Present(project) = owner
            && deletion_of(&self.cluster).is_none()
        {
            for wanted in &project.spec.namespaces {
                namespaces.entry(wanted.name.clone()).or_insert_with(|| self.look_up(project, &wanted.name, &record));
            }
        }
        let (cluster, tenant_labels) = (Arc::clone(&self.cluster), self.tenant_labels.clone());
        World {
            cluster,
            in_operator_namespace: self.in_operator_namespace,
            tenant_labels,
            bounds: self.bounds(&record.key.namespace),
            installation: INSTALLATION.to_owned(),
            others: self.others(&record.key),
            guards: Guards {
                quota: self.inside(owner, &namespaces, &self.quotas),
                limits: self.inside(owner, &namespaces, &self.limits),
                isolation: self.inside(owner, &namespaces, &self.policies),
            },
            members: self.members(owner, &namespaces),
            secrets: self.secrets(owner),
            served,
            with_apps: self.with_apps.iter().filter(|_| deletion_of(&self.cluster).is_some()).cloned().collect(),
            namespaces,
        }
    }

    fn is_deselected(&self, _: &Project) -> bool {
        deletion_of(&self.cluster).is_some()
    }

    fn act(
        &mut self,
        owner: Owner<'_, Project>,
        action: Action,
        requests: &mut Requests,
    ) -> Result<(), Stop<ProjectError>> {
        assert!(!self.refused.iter().any(|kind| format!("{action:?}").contains(&format!(" {kind} "))), "{action:?}");
        let done = match action {
            Action::Namespace(change) => self.namespaces.carry_out::<ProjectOperator, _>(owner, change, requests),
            Action::Quota(change) => self.quotas.carry_out::<ProjectOperator, _>(owner, change, requests),
            Action::Limits(change) => self.limits.carry_out::<ProjectOperator, _>(owner, change, requests),
            Action::Isolation(change) => self.policies.carry_out::<ProjectOperator, _>(owner, change, requests),
            Action::Secrets(change) => {
                let content = self.content(&change.key().name);
                self.copies.carry_out_with::<ProjectOperator, _>(owner, change, &content, requests)
            }
            Action::Members(change) => self.role_bindings.carry_out::<ProjectOperator, _>(owner, change, requests),
            Action::CreatorsRole(change) => {
                self.creators_roles.carry_out::<ProjectOperator, _>(owner, change, requests)
            }
            Action::Creators(change) => self.creators.carry_out::<ProjectOperator, _>(owner, change, requests),
        };
        done.map_err(|stop| stop.map(ProjectError::from))
    }

    fn objects(&mut self) -> Vec<&mut ModelObjects> {
        let Self { quotas, limits, policies, role_bindings, copies, creators_roles, creators, .. } = self;
        let inside = [quotas, limits, policies, role_bindings, copies, creators_roles, creators];
        std::iter::once(&mut self.namespaces).chain(inside).collect()
    }

    /// What goes takes along what lies in it.
    fn settle(&mut self) {
        self.objects().into_iter().for_each(ModelObjects::settle);
        let there: BTreeSet<String> = self.namespaces.keys().cloned().collect();
        let Self { quotas, limits, policies, role_bindings, copies, .. } = self;
        for inside in [quotas, limits, policies, role_bindings, copies] {
            inside.retain(|key, _| key.split_once('/').is_some_and(|(namespace, _)| there.contains(namespace)));
        }
    }
}

impl ModelCluster {
    /// What `Inside::at` would find.
    fn inside<K: Guard>(
        &self,
        owner: Owner<'_, Project>,
        namespaces: &BTreeMap<String, Seen>,
        objects: &ModelObjects,
    ) -> Inside<K> {
        if self.refused.contains(&*K::kind(&())) {
            return Inside::refused();
        }
        let labelled = objects.owned(&record_of::<ProjectOperator>(owner.key()));
        let Owner::Present(project) = owner else { return Inside { owned: labelled, ..Inside::default() } };
        let is_gone = |holder: &ObjectKey| self.left.contains(&holder.to_string());
        let look_up = |namespace: String| {
            let key = format!("{namespace}/{NAME}");
            let found = objects.get(&key)?;
            let (meta, bare) = (found.meta(&key), K::clone(&*found.live::<K>(found.meta(&key)).ok()?));
            let found = Unlabelled::of(meta, project, INSTALLATION, found.drift_conflict(), None, is_gone);
            Some(((namespace.clone(), found), (namespace, bare)))
        };
        let uncreatable = self.uncreatable.contains(&*K::kind(&()));
        let missing = missing(project, &self.cluster, namespaces, &labelled);
        let (unlabelled, bare) = missing.into_iter().filter_map(look_up).unzip();
        Inside { unlabelled, bare, owned: labelled, refused: false, uncreatable }
    }

    /// What `observe` would find of Secrets.
    fn secrets(&self, owner: Owner<'_, Project>) -> Secrets {
        let there = self.copies.owned(&record_of::<ProjectOperator>(owner.key()));
        let offers = match owner {
            Owner::Present(project) => Offers::of(project, |name| {
                let found: SourceSecret = serde_json::from_value(self.sources.get(name)?.clone()).unwrap();
                Some(Arc::new(found))
            }),
            _ => Offers::default(),
        };
        Secrets { offers, copies: Copies { owned: there, refused: false }, grants: self.grants.clone() }
    }

    /// What a source holds.
    fn content(&self, name: &str) -> Map<String, Value> {
        let fields = self.sources.get(name).into_iter().flat_map(|source| source.as_object().unwrap());
        let fields = fields.filter(|(field, _)| ["type", "data"].contains(&field.as_str()));
        fields.map(|(field, value)| (field.clone(), value.clone())).collect()
    }

    /// What `observe` would find of namespaces that ask for the Project, each created a minute after the one before by name.
    fn served(&self, record: &OwnerRecord, holder: Option<&Project>, namespaces: &BTreeMap<String, Seen>) -> Served {
        let given = Given { roles: self.creators_roles.owned(record), bindings: self.creators.owned(record) };
        let Some(project) = holder.filter(|project| project.spec.self_service.is_some()) else {
            return Served { given, ..Served::default() };
        };
        let is_asking = |name: &String, found: &ModelObject| {
            asked(&found.meta(name)).as_ref() == Some(&record.key) && !found.terminating
        };
        let asking = self.namespaces.iter().filter(|(name, found)| is_asking(name, found)).map(|(name, _)| name);
        let is_held = |name: &str| {
            let held = namespaces.get(name).and_then(Seen::held);
            held.is_some_and(|meta| matches!(record.title(meta, INSTALLATION), Title::Created | Title::Adopted))
        };
        let all = asking.zip(1..).map(|(name, minute)| Request {
            name: name.clone(),
            created: Some(Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute)),
            is_held: is_held(name),
        });
        let requests = Asking { all: all.collect(), rivals: self.rivals.clone(), guarded_since: self.guarded_since };
        let judged = self_service::judge(project, &self.cluster, &requests);
        Served { requests, judged, given, refused: false }
    }

    /// What `observe` would find of members.
    fn members(&self, owner: Owner<'_, Project>, namespaces: &BTreeMap<String, Seen>) -> Members {
        let record = record_of::<ProjectOperator>(owner.key());
        let granted = Members { owned: self.role_bindings.owned(&record), ..Members::default() };
        if !matches!(owner, Owner::Present(_)) {
            return granted;
        }
        let bindings = self.bindings.iter().filter(|binding| project_of(binding) == record.key);
        let metas = self.role_bindings.iter().map(|(key, found)| found.meta(key));
        let copies = self.copies.iter().map(|(key, found)| found.meta(key));
        let left = metas.chain(copies).filter(|meta| is_of_another(meta, &record, INSTALLATION));
        let is_ours = |name: &String| matches!(namespaces.get(name), Some(Seen::Ours { .. }));
        Members {
            bindings: bindings.cloned().collect(),
            left_by_others: left.filter_map(|meta| meta.namespace).filter(is_ours).collect(),
            undecodable: self.undecodable.clone(),
            unadmitted: self.unadmitted.clone(),
            templates: self.templates.clone(),
            grants: self.grants.clone(),
            ..granted
        }
    }

    fn look_up(&self, project: &Project, name: &str, record: &OwnerRecord) -> Seen {
        let Some(found) = self.namespaces.get(name) else {
            return Seen::Absent { older_project: self.older_project.clone() };
        };
        let meta = Box::new(found.meta(name));
        if is_made_for(&meta, project.metadata.uid.as_ref()) && record.title(&meta, INSTALLATION) == Title::Created {
            return Seen::Unlabelled { meta, drift_conflict: found.drift_conflict() };
        }
        let recorded = OwnerRecord::recorded(&meta, record.kind);
        let holder = recorded.map(|key| Holder { left: self.left.contains(&key.to_string()), releases: false, key });
        Seen::Foreign { meta, holder }
    }
}

/// The mark of a namespace that was created for the Project with this namespace and name.
pub(super) fn created_mark(project: &str, name: &str) -> String {
    let (namespace, project) = project.split_once('/').unwrap();
    let owner = record_of::<ProjectOperator>(ObjectKey::namespaced(namespace, project));
    owner.created_mark(INSTALLATION, &ObjectKey::cluster_scoped(name))
}

fn by_another(texts: Texts) -> Fields {
    texts.into_iter().map(|(key, value)| (key, Field::by(Manager::Other, value))).collect()
}
