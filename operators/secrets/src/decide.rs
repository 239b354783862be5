//! What becomes of the copies in one namespace. Pure.

use std::collections::BTreeSet;

use drover_crds::Cluster;
use drover_grants::Scope;
use drover_runtime::{
    StatusCause, Title,
    fan_out::Obstacle,
    owned::{Change, Difference, Owned, difference_by},
};
use kube::{Resource as _, ResourceExt as _};
use serde_json::Value;

use crate::{SecretCause, SecretCopy, copy::restored, offers::Offers};

/// The copies at one cluster.
#[derive(Clone, Debug, Default)]
pub struct Copies {
    /// What carries the labels of the Project.
    pub owned: Vec<Owned<SecretCopy>>,
    /// Whether the cluster does not let Drover read any: what is there is unknown.
    pub refused: bool,
}

/// What is to be done in one namespace.
#[derive(Debug, Default)]
pub struct Decided {
    /// What takes copies away.
    pub withdrawals: Vec<Change<SecretCopy>>,
    /// What brings them, or their new content.
    pub grants: Vec<Change<SecretCopy>>,
    /// Whether all that is offered is there as it should be, and nothing else.
    pub is_ready: bool,
    /// What is left alone, and why.
    pub problems: Vec<Obstacle>,
}

impl Copies {
    /// Decides for one namespace, in which no more than `scope` may be given.
    #[must_use]
    pub fn decide(&self, offers: &Offers, cluster: &Cluster, namespace: &str, scope: Scope) -> Decided {
        if self.refused {
            return Decided { is_ready: offers.offered.is_empty(), ..Decided::default() };
        }
        let desired: Vec<SecretCopy> = offers.offered.iter().map(|offer| SecretCopy::of(offer, namespace)).collect();
        let owned: Vec<&Owned<SecretCopy>> = self.within(namespace).collect();
        let complete = desired.iter().all(|desired| owned.iter().any(|found| is_copy(found, desired)));
        let changed: Vec<_> =
            owned.into_iter().filter(|found| !stays(found, offers, &desired, scope)).cloned().collect();
        let wanted = match scope {
            Scope::All => desired.into_iter().filter(|desired| !is_in_the_way(&changed, desired)).collect(),
            Scope::NoMore | Scope::Nothing => Vec::new(),
        };
        let Difference { changes, left_alone } = difference_by(wanted, &changed, |_| Value::Null, restored);
        let (grants, withdrawals): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|change| matches!(change, Change::Create { .. } | Change::Apply { .. }));
        let problems = left_alone.into_iter().map(|(key, cause)| Obstacle {
            namespace: Some(namespace.to_owned()),
            cause: cause.into(),
            message: left(cause, &key.name, namespace, cluster),
        });
        let is_ready = withdrawals.is_empty() && (complete || scope == Scope::Nothing);
        Decided { withdrawals, grants, is_ready, problems: problems.collect() }
    }

    /// Takes away all of them.
    #[must_use]
    pub fn withdraw_all(&self, cluster: &Cluster) -> Vec<Change<SecretCopy>> {
        let nothing = Offers::default();
        let decided = self.namespaces().into_iter().map(|name| self.decide(&nothing, cluster, name, Scope::Nothing));
        decided.flat_map(|decided| decided.withdrawals).collect()
    }

    /// The namespaces in which they lie.
    #[must_use]
    pub fn namespaces(&self) -> BTreeSet<&str> {
        self.owned.iter().filter_map(|found| found.meta().namespace.as_deref()).collect()
    }

    /// Why nothing can be copied here, where the credential lacks the rights.
    #[must_use]
    pub fn not_permitted(&self, offers: &Offers, cluster: &Cluster) -> Option<Obstacle> {
        let cluster = cluster.name_any();
        let message = format!(
            "the credential of cluster {cluster} lacks rights on Secrets, so nothing is copied there; run `drover import` for it again"
        );
        (self.refused && !offers.offered.is_empty()).then(|| Obstacle {
            namespace: None,
            cause: SecretCause::CopiesNotPermitted.into(),
            message,
        })
    }

    fn within(&self, namespace: &str) -> impl Iterator<Item = &Owned<SecretCopy>> {
        self.owned.iter().filter(move |found| found.meta().namespace.as_deref() == Some(namespace))
    }
}

fn is_titled(found: &Owned<SecretCopy>) -> bool {
    matches!(found.title, Title::Created | Title::Adopted)
}

fn is_copy(found: &Owned<SecretCopy>, desired: &SecretCopy) -> bool {
    let is_like = |live: &SecretCopy| live.meta().name == desired.meta().name && live.is_like(desired);
    is_titled(found) && found.meta().deletion_timestamp.is_none() && found.live.as_ref().is_ok_and(|live| is_like(live))
}

/// Whether a copy is left as it is: what it comes from is withheld, or nothing more may be given and it is still wanted.
fn stays(found: &Owned<SecretCopy>, offers: &Offers, desired: &[SecretCopy], scope: Scope) -> bool {
    let name = found.meta().name.as_deref().unwrap_or_default();
    let is_offered = || desired.iter().any(|desired| desired.meta().name == found.meta().name);
    match scope {
        Scope::Nothing => false,
        _ if !is_titled(found) => false,
        Scope::NoMore => offers.withheld.contains(name) || is_offered(),
        Scope::All => offers.withheld.contains(name),
    }
}

/// Whether a copy of this name has to go before the desired one can come.
fn is_in_the_way(owned: &[Owned<SecretCopy>], desired: &SecretCopy) -> bool {
    owned.iter().filter(|found| found.meta().name == desired.meta().name).any(|found| {
        let is_going = found.meta().deletion_timestamp.is_some();
        !is_going && found.live.as_ref().is_ok_and(|live| live.is_in_the_way_of(desired))
    })
}

fn left(cause: StatusCause, name: &str, namespace: &str, cluster: &Cluster) -> String {
    let cluster = cluster.name_any();
    match cause {
        StatusCause::DriftConflict => format!(
            "another client keeps changing Secret {name} in namespace {namespace} on cluster {cluster} back, so Drover leaves it alone; settle which of the two owns it"
        ),
        StatusCause::Terminating => format!(
            "Secret {name} in namespace {namespace} on cluster {cluster} is being deleted; Drover creates it again when it is gone"
        ),
        _ => format!(
            "Drover cannot decode Secret {name} in namespace {namespace} on cluster {cluster} and leaves it as it is; correct or remove it"
        ),
    }
}
