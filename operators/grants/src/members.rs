//! Who has which role in the namespaces of a Project: the role bindings that should be there, against those that are. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use drover_crds::{Cluster, Project, ProjectRoleTemplateBinding};
use drover_roles::{BoundRole, MAX_SUBJECTS, Resolved, in_bindings_of};
use drover_runtime::{
    OwnerRecord, StatusCause, Title,
    fan_out::Obstacle,
    owned::{Change, Difference, Owned, difference_of_whole},
};
use drover_self_service::{MayCreate, lets_create};
use k8s_openapi::{
    api::rbac::v1::{RoleBinding, RoleRef, Subject},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::Timestamp,
};
use kube::ResourceExt as _;
use serde_json::json;

use crate::{
    Admitted, GrantCause, Grants, Templates,
    in_force::{Denied, admitted, in_force},
    kept::Kept,
};

/// The fields of a role binding to which nobody else may add anything.
const WHOLE: &[&str] = &["/subjects"];
const RBAC: &str = "rbac.authorization.k8s.io";

/// What is known of the members of a Project at one cluster.
#[derive(Clone, Debug, Default)]
pub struct Members {
    /// The role bindings that carry the labels of the Project.
    pub owned: Vec<Owned<RoleBinding>>,
    /// The bindings that name the Project.
    pub bindings: Vec<Arc<ProjectRoleTemplateBinding>>,
    /// The templates that they name, with those that these inherit.
    pub templates: Templates,
    /// The names of the bindings in the namespace of the Project that cannot be decoded: any may name the Project.
    pub undecodable: Vec<String>,
    /// By their names, the bindings that may have been written without admission policies.
    pub unadmitted: BTreeMap<String, Admitted>,
    /// The namespaces in which role bindings of another Project are left.
    pub left_by_others: BTreeSet<String>,
    /// Whether rights may be granted.
    pub grants: Grants,
}

/// What the members of a Project may be given in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Nothing: what they have goes.
    Nothing,
    /// What they have already, as far as it is still wanted.
    NoMore,
    /// All that is wanted.
    All,
}

/// One role binding as every namespace should have it.
#[derive(Clone, Debug, PartialEq)]
struct Grant {
    name: String,
    role: String,
    subjects: Vec<Subject>,
}

/// What the bindings of a Project amount to at one cluster.
#[derive(Clone, Debug, Default)]
pub struct Granted {
    grants: Vec<Grant>,
    /// What stays besides, although it is not known whether it is still given.
    kept: Vec<RoleBinding>,
    /// What is not granted, and why.
    pub problems: Vec<Obstacle>,
    /// When the next binding expires.
    pub until: Option<Timestamp>,
    /// To whom a role is given that lets members create namespaces.
    pub creators: MayCreate,
}

/// What is to be done about the members in one namespace.
#[derive(Debug, Default)]
pub struct Decided {
    /// What takes rights away, or may do so.
    pub revocations: Vec<Change<RoleBinding>>,
    /// What gives rights.
    pub grants: Vec<Change<RoleBinding>>,
    /// Role bindings that should be there.
    pub wanted: usize,
    /// Those that are as they should be.
    pub ready: usize,
    /// What is left alone, and why.
    pub problems: Vec<Obstacle>,
}

impl Granted {
    /// Judges every binding. `held` are the namespaces that the Project holds at the cluster.
    pub fn of(
        project: &Project,
        cluster: &Cluster,
        labels: &BTreeMap<String, String>,
        members: &Members,
        held: &BTreeSet<&str>,
        now: Timestamp,
    ) -> Self {
        let namespace = project.namespace().unwrap_or_default();
        let identity = cluster.spec.identity.as_ref();
        let (mut granted, mut kept) = (Self::default(), Kept::default());
        let mut by_role: BTreeMap<BoundRole, Vec<Subject>> = BTreeMap::new();
        for binding in &members.bindings {
            let (subjects, refused): (Vec<_>, Vec<_>) =
                binding.spec.subjects.iter().map(|subject| admitted(subject, identity, held)).partition(Result::is_ok);
            let subjects: Vec<Subject> = subjects.into_iter().flatten().collect();
            let admitted = members.unadmitted.get(&binding.name_any()).copied().unwrap_or(Admitted::Yes);
            let resolved = in_force(binding, &members.templates, &namespace, labels, now);
            let may_create = match &resolved {
                Ok(resolved) => lets_create(&resolved.rules),
                Err(denied) => denied.keeps(),
            };
            let roles = resolved.as_ref().ok().map(Resolved::bound_roles);
            let given = resolved.and_then(|resolved| {
                Denied::unjudged(&resolved, &members.templates, admitted).map_or(Ok(resolved), Err)
            });
            if given.as_ref().map_or_else(Denied::keeps, |_| true) {
                let expiry = binding.spec.expires_at.as_ref().map(|time| time.0);
                granted.until = expiry.into_iter().chain(granted.until).min();
            }
            match given {
                Ok(_) => {
                    let first = refused.into_iter().find_map(Result::err);
                    granted.problems.extend(first.map(|refused| refused.obstacle(binding, cluster)));
                    if may_create {
                        granted.creators.given.extend(subjects.iter().cloned());
                    }
                    for role in roles.into_iter().flatten() {
                        by_role.entry(role).or_default().extend(subjects.iter().cloned());
                    }
                }
                Err(denied) => {
                    if may_create && denied.keeps() {
                        granted.creators.in_doubt.extend(subjects.iter().cloned());
                    }
                    granted.problems.extend(denied.obstacle(binding));
                    kept.note(&binding.spec.role_template_name, &denied, subjects, roles);
                }
            }
        }
        if let Some(name) = members.undecodable.first() {
            granted.problems.push(undecodable(name, &namespace));
            granted.creators.all_in_doubt = true;
            kept.doubt(members.live(), &members.templates, &namespace, labels);
        }
        let stays =
            members.live().map(|live| RoleBinding { subjects: Some(kept.of(live, held)), ..live_content(live) });
        granted.kept = stays.filter(|live| !subjects(live).is_empty()).collect();
        granted.grants = by_role.into_iter().flat_map(|(role, subjects)| grants(&role, subjects)).collect();
        granted
    }

    /// The role bindings that should be in a namespace.
    fn in_namespace(&self, namespace: &str) -> Vec<RoleBinding> {
        let granted = self.grants.iter().map(|grant| grant.in_namespace(namespace, grant.subjects.clone()));
        let mut all: Vec<RoleBinding> = granted.collect();
        for kept in self.kept.iter().filter(|kept| kept.metadata.namespace.as_deref() == Some(namespace)) {
            match all.iter_mut().find(|desired| desired.metadata.name == kept.metadata.name) {
                Some(desired) if desired.role_ref == kept.role_ref => {
                    let both = [subjects(desired), subjects(kept)].concat();
                    desired.subjects = in_bindings_of(both, usize::MAX).pop();
                }
                Some(_) => {}
                None => all.push(kept.clone()),
            }
        }
        all
    }
}

fn grants(role: &BoundRole, subjects: Vec<Subject>) -> Vec<Grant> {
    let bindings = in_bindings_of(subjects, MAX_SUBJECTS).into_iter().enumerate();
    let grant = |(number, subjects)| Grant { name: role.binding_name(number), role: role.role_name(), subjects };
    bindings.map(grant).collect()
}

impl Grant {
    fn in_namespace(&self, namespace: &str, subjects: Vec<Subject>) -> RoleBinding {
        RoleBinding {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            role_ref: RoleRef {
                api_group: Some(RBAC.to_owned()),
                kind: "ClusterRole".to_owned(),
                name: self.role.clone(),
            },
            subjects: Some(subjects),
        }
    }
}

impl Members {
    /// Decides for one namespace.
    #[must_use]
    pub fn decide(&self, granted: &Granted, cluster: &Cluster, namespace: &str, scope: Scope) -> Decided {
        let all = granted.in_namespace(namespace);
        let mut owned: Vec<Owned<RoleBinding>> = self.within(namespace).map(|found| uncontested(found, &all)).collect();
        let is_as_wanted = |desired: &&RoleBinding| owned.iter().any(|found| gives_exactly(found, desired));
        let ready = if scope == Scope::Nothing { 0 } else { all.iter().filter(is_as_wanted).count() };
        if scope == Scope::NoMore {
            owned.retain(|found| gives_too_much(found, &all));
        }
        let count = all.len();
        let mut wanted: Vec<RoleBinding> = match scope {
            Scope::All => all.into_iter().filter(|desired| !binds_another_role(&owned, desired)).collect(),
            Scope::NoMore => owned.iter().filter_map(|found| no_more(found, &all)).collect(),
            Scope::Nothing => Vec::new(),
        };
        wanted.extend(emptied(&owned, &wanted));
        let Difference { changes, left_alone } = difference_of_whole(wanted, &owned, seed, WHOLE);
        let (grants, revocations): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|change| matches!(change, Change::Create { .. }));
        let wanted = if scope == Scope::Nothing { revocations.len() } else { count };
        let problems = left_alone.into_iter().map(|(key, cause)| Obstacle {
            namespace: Some(namespace.to_owned()),
            cause: cause.into(),
            message: left(cause, &key.name, namespace, cluster),
        });
        Decided { revocations, grants, wanted, ready, problems: problems.collect() }
    }

    /// Takes away all that the Project has granted.
    #[must_use]
    pub fn revoke_all(&self, cluster: &Cluster) -> Vec<Change<RoleBinding>> {
        let nothing = Granted::default();
        let decided = self.namespaces().into_iter().map(|name| self.decide(&nothing, cluster, name, Scope::Nothing));
        decided.flat_map(|decided| decided.revocations).collect()
    }

    /// The namespaces in which role bindings with the labels of the Project lie.
    #[must_use]
    pub fn namespaces(&self) -> BTreeSet<&str> {
        self.owned.iter().filter_map(|found| found.meta().namespace.as_deref()).collect()
    }

    /// The role bindings of the Project as they are.
    fn live(&self) -> impl Iterator<Item = &RoleBinding> {
        let ours = self.owned.iter().filter(|found| matches!(found.title, Title::Created | Title::Adopted));
        ours.filter_map(|found| found.live.as_deref().ok())
    }

    /// The templates of the role bindings of the Project, and those that its bindings name.
    pub fn template_names(&self) -> BTreeSet<String> {
        let doubted = self.live().filter(|_| !self.undecodable.is_empty());
        let there = doubted.filter_map(|live| BoundRole::template_of(live.metadata.name.as_deref()?));
        let named = self.bindings.iter().map(|binding| binding.spec.role_template_name.clone());
        there.map(str::to_owned).chain(named).collect()
    }

    fn within(&self, namespace: &str) -> impl Iterator<Item = &Owned<RoleBinding>> {
        self.owned.iter().filter(move |found| found.meta().namespace.as_deref() == Some(namespace))
    }
}

/// What the first request has to carry: the role that is bound cannot be changed.
fn seed(binding: &RoleBinding) -> serde_json::Value {
    json!({"roleRef": binding.role_ref})
}

fn subjects(binding: &RoleBinding) -> &[Subject] {
    binding.subjects.as_deref().unwrap_or_default()
}

fn named<'a>(all: &'a [RoleBinding], meta: &ObjectMeta) -> Option<&'a RoleBinding> {
    all.iter().find(|desired| desired.metadata.name == meta.name)
}

/// A withdrawal is not held up by whoever changes a role binding again and again.
fn uncontested(found: &Owned<RoleBinding>, all: &[RoleBinding]) -> Owned<RoleBinding> {
    let drift_conflict = found.drift_conflict.clone().filter(|_| !gives_too_much(found, all));
    Owned { drift_conflict, ..found.clone() }
}

/// Whether a role binding of ours gives a subject what is not wanted.
fn gives_too_much(found: &Owned<RoleBinding>, all: &[RoleBinding]) -> bool {
    let is_ours = matches!(found.title, Title::Created | Title::Adopted);
    is_ours
        && match (&found.live, named(all, found.meta())) {
            (_, None) => true,
            (Err(_), Some(_)) => false,
            (Ok(live), Some(desired)) => {
                live.role_ref != desired.role_ref
                    || subjects(live).iter().any(|subject| !subjects(desired).contains(subject))
            }
        }
}

/// Whether a role binding of this name gives another role: it goes, and comes again.
fn binds_another_role(owned: &[Owned<RoleBinding>], desired: &RoleBinding) -> bool {
    owned
        .iter()
        .filter_map(|found| found.live.as_ref().ok())
        .any(|live| live.metadata.name == desired.metadata.name && live.role_ref != desired.role_ref)
}

/// What is left of a role binding where nothing more may be granted.
fn no_more(found: &Owned<RoleBinding>, all: &[RoleBinding]) -> Option<RoleBinding> {
    let desired = named(all, found.meta())?;
    let live = found.live.as_ref().ok()?;
    let mut stays = live_content(live);
    stays.subjects.get_or_insert_default().retain(|subject| subjects(desired).contains(subject));
    (live.role_ref == desired.role_ref && !subjects(&stays).is_empty()).then_some(stays)
}

/// What another installation created for a Project of this name is never deleted. Nobody has a right by it any more.
fn emptied(owned: &[Owned<RoleBinding>], wanted: &[RoleBinding]) -> Vec<RoleBinding> {
    let unwanted = owned.iter().filter(|found| found.title == Title::Adopted && named(wanted, found.meta()).is_none());
    let grants = unwanted.filter_map(|found| found.live.as_ref().ok()).filter(|live| !subjects(live).is_empty());
    grants.map(|live| RoleBinding { subjects: None, ..live_content(live) }).collect()
}

fn live_content(live: &RoleBinding) -> RoleBinding {
    let metadata = ObjectMeta {
        name: live.metadata.name.clone(),
        namespace: live.metadata.namespace.clone(),
        ..ObjectMeta::default()
    };
    RoleBinding { metadata, role_ref: live.role_ref.clone(), subjects: live.subjects.clone() }
}

/// Whether a role binding of ours gives what is wanted, no less and no more.
fn gives_exactly(found: &Owned<RoleBinding>, desired: &RoleBinding) -> bool {
    let is_ours = matches!(found.title, Title::Created | Title::Adopted);
    let gives = found.live.as_ref().is_ok_and(|live| {
        live.metadata.name == desired.metadata.name
            && live.role_ref == desired.role_ref
            && subjects(live) == subjects(desired)
    });
    is_ours && gives && found.meta().deletion_timestamp.is_none()
}

fn undecodable(name: &str, namespace: &str) -> Obstacle {
    let message = format!(
        "Drover cannot decode ProjectRoleTemplateBinding {name}, so it takes from nobody in namespace {namespace} what the binding may give; correct or delete it, or run a version of Drover that knows its fields"
    );
    Obstacle { namespace: None, cause: GrantCause::BindingUndecodable.into(), message }
}

fn left(cause: StatusCause, name: &str, namespace: &str, cluster: &Cluster) -> String {
    let cluster = cluster.name_any();
    match cause {
        StatusCause::DriftConflict => format!(
            "another client keeps changing RoleBinding {name} in namespace {namespace} on cluster {cluster} back, so Drover leaves it alone; settle which of the two owns it"
        ),
        StatusCause::Terminating => format!(
            "RoleBinding {name} in namespace {namespace} on cluster {cluster} is being deleted; Drover creates it again when it is gone"
        ),
        _ => format!(
            "Drover cannot decode RoleBinding {name} in namespace {namespace} on cluster {cluster} and leaves it as it is; correct or remove it"
        ),
    }
}

/// Whether an object was created for another Project, and not only labelled so.
#[must_use]
pub fn is_of_another(meta: &ObjectMeta, ours: &OwnerRecord, installation: &str) -> bool {
    let holder = OwnerRecord::recorded(meta, ours.kind).filter(|holder| *holder != ours.key);
    holder.is_some_and(|key| {
        let title = OwnerRecord { kind: ours.kind, key }.title(meta, installation);
        matches!(title, Title::Created | Title::Adopted)
    })
}
