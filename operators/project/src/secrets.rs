//! The Secrets that a Project brings into its namespaces at one cluster: what is known of them, and what becomes of them. The rules
//! are those of the crate drover-secrets.

use std::{collections::BTreeSet, sync::Arc};

use drover_crds::Project;
use drover_fleet::admission::guarded;
use drover_grants::{Grants, Scope, is_of_another};
use drover_runtime::{
    Informer, ObjectKey, Owner, OwnerRecord, PlaceContext,
    operator::record_of,
    owned::{Owned, each_alone},
};
use drover_secrets::{Offers, SecretCopy, decide::Copies, sources};
use k8s_openapi::jiff::SignedDuration;
use kube::{Resource as _, ResourceExt as _};

use crate::{ProjectOperator, act::Action, observe::World, place_status::PlaceStatus, plan::LOOK_SOON};

/// What is known of the Secrets of a Project at one cluster.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// What the Project asks for, as far as it may be copied.
    pub offers: Offers,
    /// What is there.
    pub copies: Copies,
    /// Whether anything may be copied that is not there already.
    pub grants: Grants,
}

pub(crate) fn observe(owner: Owner<'_, Project>, place: &PlaceContext) -> Secrets {
    let copies = match informer(place).refusal() {
        Some(_) => Copies { refused: true, ..Copies::default() },
        None => Copies { owned: Owned::at(place, &record_of::<ProjectOperator>(owner.key())), refused: false },
    };
    let offers = match owner {
        Owner::Present(project) if !project.spec.secrets.is_empty() => offers(project, place),
        _ => Offers::default(),
    };
    Secrets { offers, copies, grants: Grants::by(&guarded(place)) }
}

fn offers(project: &Project, place: &PlaceContext) -> Offers {
    let (sources, namespace) = (sources(&place.management), project.namespace().unwrap_or_default());
    match sources.refusal() {
        Some(_) => Offers::unreadable(project),
        None => Offers::of(project, |name| sources.get(&ObjectKey::namespaced(&namespace, name))),
    }
}

fn informer(place: &PlaceContext) -> Informer<SecretCopy> {
    place.cache.informer(&OwnerRecord::query(record_of::<ProjectOperator>(ObjectKey::default()).kind))
}

/// Whether copies of another Project are left in a namespace.
pub(crate) fn has_left(record: &OwnerRecord, place: &PlaceContext, namespace: &str) -> bool {
    let is_left = |found: &Arc<SecretCopy>| is_of_another(found.meta(), record, place.fleet.installation());
    informer(place).in_namespace(namespace).iter().any(is_left)
}

/// Decides namespace by namespace, and gathers what takes copies away.
pub(crate) struct SecretsPlan<'a> {
    world: &'a World,
    suspended: bool,
    done: BTreeSet<String>,
    withdrawals: Vec<Action>,
}

impl<'a> SecretsPlan<'a> {
    pub(crate) fn of(project: &Project, world: &'a World) -> Self {
        Self { world, suspended: project.spec.suspend, done: BTreeSet::new(), withdrawals: Vec::new() }
    }

    /// What is copied into a namespace that the Project lists, as far as its members may be given anything there.
    pub(crate) fn decide(&mut self, namespace: &str, scope: Scope, place_status: &mut PlaceStatus) -> Vec<Action> {
        self.done.insert(namespace.to_owned());
        self.take_up(namespace, scope.min(self.world.secrets.grants.scope(self.suspended)), place_status)
    }

    fn take_up(&mut self, namespace: &str, scope: Scope, place_status: &mut PlaceStatus) -> Vec<Action> {
        let Secrets { offers, copies, .. } = &self.world.secrets;
        let decided = copies.decide(offers, &self.world.cluster, namespace, scope);
        let is_wanted = !(offers.offered.is_empty() && decided.withdrawals.is_empty());
        place_status.count_secrets(is_wanted, decided.is_ready);
        place_status.problems.extend(decided.problems);
        self.withdrawals.extend(decided.withdrawals.into_iter().map(Action::from));
        decided.grants.into_iter().map(Action::from).collect()
    }

    /// What takes copies away, in other namespaces too, each change alone, and when to look again.
    pub(crate) fn finish(mut self, place_status: &mut PlaceStatus) -> (Vec<Vec<Action>>, Option<SignedDuration>) {
        let Secrets { offers, copies, grants } = &self.world.secrets;
        for namespace in copies.namespaces() {
            if !self.done.contains(namespace) {
                self.take_up(namespace, Scope::Nothing, place_status);
            }
        }
        place_status.problems.extend(offers.problems.iter().cloned());
        place_status.problems.extend(copies.not_permitted(offers, &self.world.cluster));
        let is_short = place_status.secrets.ready < place_status.secrets.wanted;
        if let Some(frozen) = grants.obstacle().filter(|_| is_short) {
            let is_told = place_status.problems.iter().any(|problem| problem.message == frozen.message);
            place_status.problems.extend((!is_told).then_some(frozen));
            // No watch of the policies tells a Project: the caches are looked at again.
            return (each_alone(self.withdrawals), Some(LOOK_SOON));
        }
        (each_alone(self.withdrawals), None)
    }
}
