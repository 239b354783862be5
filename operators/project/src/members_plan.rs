//! What becomes of the members in all namespaces of a Project at one cluster. Pure.

use std::collections::BTreeSet;

use drover_crds::{Project, Tenant};
use drover_grants::{GrantCause, Granted, Scope};
use drover_runtime::{fan_out::Obstacle, owned::each_alone};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use crate::{
    act::Action,
    observe::{Seen, World},
    place_status::PlaceStatus,
    plan::{LOOK_SOON, count, holds, may_hold, obstacle},
    self_service::{self, CreatorsPlan},
};

/// Takes away all that the Project has given to members and copied, each change alone.
pub(crate) fn revoke_all(world: &World) -> Vec<Vec<Action>> {
    let bindings = world.members.revoke_all(&world.cluster).into_iter().map(Action::from);
    let copies = world.secrets.copies.withdraw_all(&world.cluster).into_iter().map(Action::from);
    self_service::revoke_all(world).into_iter().chain(each_alone(bindings.chain(copies).collect())).collect()
}

/// Whether the Project has given anything that is still there.
pub(crate) fn gives_something(world: &World) -> bool {
    !(world.members.owned.is_empty() && world.served.given.is_empty() && world.secrets.copies.owned.is_empty())
}

/// Decides namespace by namespace, and gathers what takes rights away.
pub(crate) struct MembersPlan<'a> {
    project: &'a Project,
    world: &'a World,
    tenancies: &'a [&'a Tenant],
    granted: Granted,
    done: BTreeSet<String>,
    revocations: Vec<Action>,
    problems: Vec<Obstacle>,
    wanted: usize,
    ready: usize,
    again: Option<Timestamp>,
    soon: Timestamp,
}

impl<'a> MembersPlan<'a> {
    pub(crate) fn of(project: &'a Project, world: &'a World, tenancies: &'a [&'a Tenant], now: Timestamp) -> Self {
        let names = project.spec.namespaces.iter().map(|wanted| &*wanted.name);
        let held: BTreeSet<&str> = names.filter(|name| holds(project, world, tenancies, name)).collect();
        let labels = world.tenant_labels.clone().unwrap_or_default();
        let mut granted = Granted::of(project, &world.cluster, &labels, &world.members, &held, now);
        let problems = std::mem::take(&mut granted.problems);
        Self {
            project,
            world,
            tenancies,
            again: granted.until,
            granted,
            problems,
            done: BTreeSet::new(),
            revocations: Vec::new(),
            wanted: 0,
            ready: 0,
            soon: now + LOOK_SOON,
        }
    }

    /// What is granted in a namespace that the Project lists, within `scope`.
    pub(crate) fn decide(&mut self, namespace: &str, scope: Scope) -> Vec<Action> {
        self.done.insert(namespace.to_owned());
        self.take_up(namespace, scope.min(self.allowed()))
    }

    fn take_up(&mut self, namespace: &str, scope: Scope) -> Vec<Action> {
        let decided = self.world.members.decide(&self.granted, &self.world.cluster, namespace, scope);
        self.wanted += decided.wanted;
        self.ready += decided.ready;
        self.problems.extend(decided.problems);
        self.revocations.extend(decided.revocations.into_iter().map(Action::from));
        decided.grants.into_iter().map(Action::from).collect()
    }

    /// What may be given in a namespace that the Project lists, be it to members or Secrets, once its guards are there; `creates` says
    /// that it is created now.
    pub(crate) fn scope(&mut self, namespace: &str, creates: bool, is_guarded: bool) -> Scope {
        if creates {
            return Scope::All;
        }
        match self.world.namespaces.get(namespace) {
            Some(Seen::Ours { .. }) if holds(self.project, self.world, self.tenancies, namespace) => {
                if self.world.members.left_by_others.contains(namespace) {
                    self.wait_for_former_grants(namespace);
                    return Scope::NoMore;
                }
                if is_guarded { Scope::All } else { Scope::NoMore }
            }
            Some(Seen::Unlabelled { .. } | Seen::Undecodable { .. }) if self.may_hold(namespace) => Scope::NoMore,
            _ => Scope::Nothing,
        }
    }

    fn may_hold(&self, namespace: &str) -> bool {
        may_hold(self.world, self.tenancies, namespace)
    }

    fn allowed(&self) -> Scope {
        self.world.members.grants.scope(self.project.spec.suspend)
    }

    fn wait_for_former_grants(&mut self, namespace: &str) {
        let message = format!(
            "role bindings or Secrets of another Project are left in namespace {namespace} on cluster {}, so Drover grants nothing there yet; if they stay, look at the status of that Project",
            self.world.cluster.name_any()
        );
        self.problems.push(obstacle(namespace, GrantCause::FormerGrantsRemain, message));
        self.again = self.again.into_iter().chain([self.soon]).min();
    }

    /// What becomes of those who may create namespaces.
    pub(crate) fn creators(&self, now: Timestamp) -> CreatorsPlan {
        CreatorsPlan::of(self.project, self.world, self.tenancies, &self.granted.creators, self.allowed(), now)
    }

    /// What takes rights away, each change alone, and when to look again.
    pub(crate) fn finish(
        mut self,
        creators: CreatorsPlan,
        place_status: &mut PlaceStatus,
    ) -> (Vec<Vec<Action>>, Option<Timestamp>) {
        self.wanted += creators.wanted;
        self.ready += creators.ready;
        self.problems.extend(creators.problems);
        self.again = self.again.into_iter().chain(creators.again).min();
        let others: Vec<&str> = self.world.members.namespaces().into_iter().collect();
        for namespace in others {
            if !self.done.contains(namespace) {
                self.take_up(namespace, Scope::Nothing);
            }
        }
        if let Some(frozen) = self.world.members.grants.obstacle().filter(|_| self.ready < self.wanted) {
            self.problems.push(frozen);
            // No watch of the policies tells a Project: the caches are looked at again.
            self.again = self.again.into_iter().chain([self.soon]).min();
        }
        if !self.world.members.undecodable.is_empty() {
            // No watch tells a Project that such a binding is gone.
            self.again = self.again.into_iter().chain([self.soon]).min();
        }
        place_status.members.wanted = count(self.wanted);
        place_status.members.ready = count(self.ready);
        place_status.problems.append(&mut self.problems);
        let revocations = creators.revocations.into_iter().chain(each_alone(self.revocations));
        (revocations.collect(), self.again)
    }
}
