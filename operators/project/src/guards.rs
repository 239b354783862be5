//! The guards inside a namespace, one object of each kind with a fixed name: what is wanted, against what is there. Pure.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use drover_crds::{
    Cluster, Project, ProjectNamespace,
    names::{ANNOTATION_CREATED, ANNOTATION_RELEASED_BY},
};
use drover_fleet::remedy_of_missing_rights;
use drover_runtime::{
    Cause, Kept, ObjectKey, OwnerRecord, StatusCause, Title,
    fan_out::Obstacle,
    operator::owner_of,
    owned::{self, Change, Difference, Owned, Restored, difference_of_whole, is_made_for},
};
use k8s_openapi::{
    api::{
        core::v1::{LimitRange, ResourceQuota},
        networking::v1::NetworkPolicy,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt as _;
use serde::Serialize;
use serde_json::Value;

use crate::{
    ProjectOperator,
    act::Action,
    cause::ProjectCause,
    leave::spare_what_is_new,
    observe::{Seen, World},
    plan::LOOK_AGAIN,
};

/// The name of every guard.
pub const NAME: &str = "drover";

/// A kind of guard.
pub trait Guard: Kept + Serialize {
    /// The fields, as JSON pointers, to which nobody else may add anything.
    const WHOLE: &'static [&'static str];

    /// The guard that a namespace should have, if it should have one.
    fn wanted(project: &Project, cluster: &Cluster, namespace: &ProjectNamespace) -> Result<Option<Self>, Obstacle>;

    /// What goes into the first request for it.
    fn seed(&self) -> Value {
        Value::Null
    }
}

/// The metadata of a guard in this namespace.
pub(crate) fn meta(namespace: &str) -> ObjectMeta {
    ObjectMeta { name: Some(NAME.to_owned()), namespace: Some(namespace.to_owned()), ..ObjectMeta::default() }
}

/// The guards of all kinds at one cluster.
#[derive(Clone, Debug, Default)]
pub struct Guards {
    /// Resource quotas.
    pub quota: Inside<ResourceQuota>,
    /// Limit ranges.
    pub limits: Inside<LimitRange>,
    /// Network policies.
    pub isolation: Inside<NetworkPolicy>,
}

/// The guards of one kind.
#[derive(Clone, Debug)]
pub struct Inside<K> {
    /// What carries the labels of the Project.
    pub owned: Vec<Owned<K>>,
    /// By namespace, what has the name of a wanted guard and does not carry these labels.
    pub unlabelled: BTreeMap<String, Unlabelled>,
    /// The same objects as they are.
    pub bare: BTreeMap<String, K>,
    /// Whether the cluster does not let Drover read the kind: what is there is unknown.
    pub refused: bool,
    /// Whether the cluster does not let Drover create one.
    pub uncreatable: bool,
}

impl<K> Default for Inside<K> {
    fn default() -> Self {
        Self {
            owned: Vec::new(),
            unlabelled: BTreeMap::new(),
            bare: BTreeMap::new(),
            refused: false,
            uncreatable: false,
        }
    }
}

/// An object with the name of a guard that does not carry the labels of the Project.
#[derive(Clone, Debug, PartialEq)]
pub enum Unlabelled {
    /// It is the Project's: another client changed the labels, or the Project itself released it.
    Ours {
        /// Its metadata.
        meta: Box<ObjectMeta>,
        /// The hash of the desired state that another client keeps reverting, if one does.
        drift_conflict: Option<String>,
    },
    /// Another Project left it behind.
    LeftBehind {
        /// Its metadata.
        meta: Box<ObjectMeta>,
        /// The Project that its labels record.
        holder: ObjectKey,
    },
    /// Another Project released it with the namespace.
    Released(Box<ObjectMeta>),
    /// It is not Drover's, or another Project's that is still there.
    Foreign,
}

impl Unlabelled {
    /// What an object in a namespace that the Project holds is. `held` tells why this very object was the Project's when it was last
    /// seen to be, and `is_gone` of a Project whether it holds nothing here.
    pub(crate) fn of(
        mut meta: ObjectMeta,
        project: &Project,
        installation: &str,
        drift_conflict: Option<String>,
        held: Option<Title>,
        is_gone: impl Fn(&ObjectKey) -> bool,
    ) -> Self {
        let record = owner_of::<ProjectOperator>(project);
        let annotation = |name: &str| meta.annotations.as_ref().and_then(|all| all.get(name));
        let released_by = annotation(ANNOTATION_RELEASED_BY);
        let holder = OwnerRecord::recorded(&meta, record.kind);
        let is_titled = matches!(record.title(&meta, installation), Title::Created | Title::Adopted);
        let is_made_for_us = is_made_for(&meta, project.metadata.uid.as_ref()) && is_titled;
        let we_released_it = released_by.is_some_and(|by| *by == record.key.to_string()) && is_titled;
        let is_drovers = annotation(ANNOTATION_CREATED).is_some();
        match holder {
            _ if is_made_for_us => Self::Ours { meta: Box::new(meta), drift_conflict },
            Some(holder) if is_gone(&holder) => Self::LeftBehind { meta: Box::new(meta), holder },
            None if we_released_it => Self::Ours { meta: Box::new(meta), drift_conflict },
            None if is_drovers && released_by.is_some() => Self::Released(Box::new(meta)),
            None if let Some(title) = held => {
                record.mark_as(title, &mut meta, installation);
                Self::Ours { meta: Box::new(meta), drift_conflict }
            }
            Some(_) | None => Self::Foreign,
        }
    }
}

/// The namespaces of the Project that are there and lack a guard; also where it is not known which one they should have.
pub(crate) fn missing<K: Guard>(
    project: &Project,
    cluster: &Cluster,
    namespaces: &BTreeMap<String, Seen>,
    owned: &[Owned<K>],
) -> Vec<String> {
    let guarded: BTreeSet<&str> = owned
        .iter()
        .map(Owned::meta)
        .filter(|meta| is_named(meta))
        .filter_map(|meta| meta.namespace.as_deref())
        .collect();
    let is_there = |name: &str| matches!(namespaces.get(name), Some(Seen::Ours { .. }));
    let lacks_it = |wanted: &&ProjectNamespace| {
        !guarded.contains(&*wanted.name)
            && is_there(&wanted.name)
            && !matches!(K::wanted(project, cluster, wanted), Ok(None))
    };
    project.spec.namespaces.iter().filter(lacks_it).map(|wanted| wanted.name.clone()).collect()
}

fn is_named(meta: &ObjectMeta) -> bool {
    meta.name.as_deref() == Some(NAME)
}

/// What is to be done about one guard, or what is in its way.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    pub(crate) actions: Vec<Action>,
    pub(crate) problem: Option<Obstacle>,
    /// Whether no watch shows when the problem is gone.
    pub(crate) look_again: bool,
    /// The kind of the guard.
    pub(crate) kind: Cow<'static, str>,
}

impl Decided {
    /// After which time it is looked at again: no watch shows what is not ours.
    pub(crate) fn pause(&self) -> Option<SignedDuration> {
        self.look_again.then_some(LOOK_AGAIN)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.actions.is_empty() && self.problem.is_none()
    }

    /// Leaves for now what another installation put there lately, and says when to look at it again.
    pub(crate) fn spare_what_is_new(
        &mut self,
        project: &Project,
        world: &World,
        now: Timestamp,
    ) -> Option<SignedDuration> {
        spare_what_is_new(&mut self.actions, &ObjectKey::of(&project.metadata), world, now)
    }

    fn blocked(namespace: &str, cause: impl Into<Cause>, message: String) -> Self {
        let problem = Obstacle { namespace: Some(namespace.to_owned()), cause: cause.into(), message };
        Self { problem: Some(problem), look_again: true, ..Self::default() }
    }
}

/// Decides for a namespace that the Project holds, or creates just now.
fn decide<K: Guard>(world: &World, inside: &Inside<K>, name: &str, wanted: Result<Option<K>, Obstacle>) -> Decided
where
    Action: From<Change<K>>,
{
    Decided { kind: K::kind(&()), ..decide_one(world, inside, name, wanted) }
}

fn decide_one<K: Guard>(world: &World, inside: &Inside<K>, name: &str, wanted: Result<Option<K>, Obstacle>) -> Decided
where
    Action: From<Change<K>>,
{
    // What cannot be wanted as it is leaves the guard of before in place.
    let desired = match wanted {
        Ok(desired) => desired,
        Err(problem) => return Decided { problem: Some(problem), ..Decided::default() },
    };
    if inside.refused {
        let problem = desired.map(|_| not_permitted::<K>(name, world));
        return Decided { problem, ..Decided::default() };
    }
    let owned: Vec<Owned<K>> = inside.within(name).cloned().collect();
    if let Some(desired) = &desired
        && let Some(found) = inside.unlabelled.get(name)
        && !owned.iter().any(|found| is_named(found.meta()))
    {
        return take_up(desired.clone(), found, name, world);
    }
    let Difference { changes, left_alone } =
        difference_of_whole(desired.into_iter().collect(), &owned, K::seed, K::WHOLE);
    if inside.uncreatable && changes.iter().any(|change| matches!(change, Change::Create { .. })) {
        return Decided { problem: Some(not_permitted::<K>(name, world)), ..Decided::default() };
    }
    let problem = left_alone.into_iter().next().map(|(_, cause)| Obstacle {
        namespace: Some(name.to_owned()),
        cause: cause.into(),
        message: left::<K>(cause, name, world),
    });
    Decided { actions: changes.into_iter().map(Action::from).collect(), problem, ..Decided::default() }
}

fn take_up<K: Guard>(desired: K, found: &Unlabelled, namespace: &str, world: &World) -> Decided
where
    Action: From<Change<K>>,
{
    let change = match found {
        Unlabelled::Ours { meta, drift_conflict } => match owned::relabel(desired, meta, drift_conflict.as_deref()) {
            Restored::Differs(change) => change,
            Restored::AsWanted | Restored::Conflict(_) => {
                let message = left::<K>(StatusCause::DriftConflict, namespace, world);
                return Decided::blocked(namespace, StatusCause::DriftConflict, message);
            }
        },
        Unlabelled::LeftBehind { meta, holder } => Change::Disown { live: meta.clone(), owner: holder.clone() },
        Unlabelled::Released(meta) => Change::Adopt { desired: Box::new(desired), live: meta.clone() },
        Unlabelled::Foreign => {
            return Decided::blocked(namespace, ProjectCause::GuardTaken, taken::<K>(namespace, world));
        }
    };
    Decided { actions: vec![change.into()], ..Decided::default() }
}

impl<K: Guard> Inside<K> {
    /// Of a kind that the cluster does not let Drover read.
    pub(crate) fn refused() -> Self {
        Self { refused: true, ..Self::default() }
    }

    /// What is the Project's in this namespace, or becomes it.
    pub(crate) fn of(&self, namespace: &str) -> Option<&K> {
        let is_its_own =
            |found: &&Owned<K>| is_named(found.meta()) && matches!(found.title, Title::Created | Title::Adopted);
        match self.within(namespace).find(is_its_own) {
            Some(found) => found.live.as_deref().ok(),
            None if self.unlabelled.get(namespace) == Some(&Unlabelled::Foreign) => None,
            None => self.bare.get(namespace),
        }
    }

    fn within(&self, namespace: &str) -> impl Iterator<Item = &Owned<K>> {
        self.owned.iter().filter(move |found| found.meta().namespace.as_deref() == Some(namespace))
    }

    fn given_up(&self, namespace: &str) -> impl Iterator<Item = Action>
    where
        Action: From<Change<K>>,
    {
        let stays = self.within(namespace).filter(|found| found.meta().deletion_timestamp.is_none());
        stays.map(|found| {
            let live = Box::new(found.meta().clone());
            let change: Change<K> = match found.title {
                Title::Another => Change::Disclaim(live),
                Title::Created | Title::Adopted | Title::Unfounded => Change::Release(live),
            };
            change.into()
        })
    }
}

impl Guards {
    /// Decides for a namespace that the Project holds, or creates just now, all but its quota, which depends on the others.
    pub(crate) fn decide(&self, project: &Project, world: &World, wanted: &ProjectNamespace) -> Vec<Decided> {
        let (name, cluster) = (&*wanted.name, &world.cluster);
        let limits = decide(world, &self.limits, name, LimitRange::wanted(project, cluster, wanted));
        let isolation = decide(world, &self.isolation, name, NetworkPolicy::wanted(project, cluster, wanted));
        vec![limits, isolation]
    }

    /// Decides on the quota of this namespace.
    pub(crate) fn decide_quota(
        &self,
        world: &World,
        namespace: &str,
        wanted: Result<Option<ResourceQuota>, Obstacle>,
    ) -> Decided {
        decide(world, &self.quota, namespace, wanted)
    }

    /// Gives up what lies in a namespace that stays: it keeps its guards, as the next owner may want them, and nobody loses
    /// them unasked.
    pub(crate) fn given_up(&self, namespace: &str) -> Vec<Action> {
        let quota = self.quota.given_up(namespace);
        quota.chain(self.limits.given_up(namespace)).chain(self.isolation.given_up(namespace)).collect()
    }

    /// The namespaces in which guards with the labels of the Project lie.
    pub(crate) fn namespaces(&self) -> BTreeSet<&str> {
        let quota = self.quota.owned.iter().map(Owned::meta);
        let all =
            quota.chain(self.limits.owned.iter().map(Owned::meta)).chain(self.isolation.owned.iter().map(Owned::meta));
        all.filter_map(|meta| meta.namespace.as_deref()).collect()
    }
}

fn left<K: Guard>(cause: StatusCause, namespace: &str, world: &World) -> String {
    let (kind, cluster) = (K::kind(&()), world.cluster.name_any());
    match cause {
        StatusCause::DriftConflict => format!(
            "another client keeps changing {kind} {NAME} in namespace {namespace} on cluster {cluster} back, so Drover leaves it alone; settle which of the two owns it"
        ),
        StatusCause::Terminating => format!(
            "{kind} {NAME} in namespace {namespace} on cluster {cluster} is being deleted; Drover creates it again when it is gone"
        ),
        _ => format!(
            "{kind} {NAME} in namespace {namespace} on cluster {cluster} cannot be decoded, so Drover leaves it as it is; correct or remove it"
        ),
    }
}

fn not_permitted<K: Guard>(namespace: &str, world: &World) -> Obstacle {
    let (kind, cluster) = (K::kind(&()), world.cluster.name_any());
    let message = format!(
        "the credential of cluster {cluster} lacks rights on objects of the kind {kind}, so namespace {namespace} cannot have its own; {}",
        remedy_of_missing_rights(&cluster)
    );
    Obstacle { namespace: Some(namespace.to_owned()), cause: ProjectCause::GuardNotPermitted.into(), message }
}

fn taken<K: Guard>(namespace: &str, world: &World) -> String {
    format!(
        "{} {NAME} in namespace {namespace} on cluster {} is not this Project's, so Drover cannot put its own there; remove it",
        K::kind(&()),
        world.cluster.name_any()
    )
}
