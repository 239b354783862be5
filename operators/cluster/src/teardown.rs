//! How a cluster is let go: what is ours there is given back, or the wait for it ends. Pure.
//!
//! It is decided at the management cluster, so that a cluster that is away is decided on as well.

use std::{fmt, time::Duration};

use drover_crds::{Cluster, DeletionPolicy, condition::DELETING, names::LOCAL_CLUSTER};
use drover_fleet::ConnectionCause;
use drover_runtime::{ApiCause, Cause, PlaceState, Requeue, operator::Plan};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use crate::{
    ClusterOperator,
    cause::DeletionCause,
    observe::{Holder, LeftBehind, MOST_COUNTED, Reach, Teardown, There},
    plan::PlaceStatus,
};

/// One change at a cluster that is let go.
#[derive(Clone, PartialEq)]
pub enum Action {
    /// Lets these namespaces go, whose Projects do not exist. One that refuses holds up no other.
    ReleaseLeftBehind(Vec<LeftBehind>),
    /// Gives the cluster back.
    ReleaseClaim,
    /// Deletes Drover's namespace there.
    DeleteNamespace {
        /// The one that was seen.
        uid: String,
    },
}

impl fmt::Debug for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReleaseLeftBehind(all) => {
                let names: Vec<_> = all.iter().filter_map(|found| found.live.name.as_deref()).collect();
                write!(formatter, "free Namespaces {}", names.join(", "))
            }
            Self::ReleaseClaim => formatter.write_str("release the claim"),
            Self::DeleteNamespace { .. } => formatter.write_str("delete Namespace drover-system"),
        }
    }
}

/// How far the deletion is.
#[derive(Clone, Debug, PartialEq)]
pub struct TeardownStatus {
    /// Why.
    pub cause: Cause,
    /// What is done, or what is waited for.
    pub message: String,
    /// How its connection stands.
    pub connection: PlaceState,
}

/// No watch tells of what happens at the cluster, nor of its connection.
const POLL: Duration = Duration::from_secs(2);
/// For so long after the deadline what fails is tried again, and after a start before anything is given up: a Drover that was
/// away until after the deadline has not tried yet.
const GRACE: Duration = Duration::from_mins(1);

/// Whose the cluster is, and whether it is suspended, is asked again after so many.
const FREED_AT_A_TIME: usize = 20;

const UNREACHED: &str = "without being reached";
const UNDONE: &str = "although it answers";
const HOSTS_OTHERS: &str = "the namespace drover-system stays, as a Drover runs in it or another installation was imported \
    into it, or as the credential may not list its Leases and ServiceAccounts";
/// How a credential ends that lay in a namespace that was deleted.
const REFUSALS: [Cause; 4] = [
    ConnectionCause::Unauthorized.cause(),
    ConnectionCause::Forbidden.cause(),
    ApiCause::Unauthorized.cause(),
    ApiCause::Forbidden.cause(),
];

pub(crate) fn plan(cluster: &Cluster, leaving: &Teardown, now: Timestamp) -> Plan<ClusterOperator> {
    let (cause, message, actions, requeue) = decide(cluster, leaving, now);
    let connection = match &leaving.reach {
        Reach::Connecting => PlaceState::Pending,
        Reach::Disconnected(failure) => PlaceState::Unreachable(failure.clone()),
        Reach::Failing(_) | Reach::Connected(_) => PlaceState::Current,
    };
    Plan {
        place_status: PlaceStatus::Teardown(TeardownStatus { cause, message, connection }),
        groups: vec![actions],
        requeue,
    }
}

/// Condition reason and message, what to do, and when to go on.
type Decision = (Cause, String, Vec<Action>, Requeue);

fn decide(cluster: &Cluster, leaving: &Teardown, now: Timestamp) -> Decision {
    if cluster.spec.suspend {
        let message = "spec.suspend is set, so nothing is written to the cluster and the deletion waits; \
            set spec.suspend to false to go on";
        return (DeletionCause::Suspended.cause(), message.to_owned(), Vec::new(), Requeue::Watch);
    }
    let clock = Clock::of(cluster, leaving.running, now);
    match &leaving.reach {
        // What answers is not ours, so nothing there is.
        Reach::Disconnected(failure)
            if failure.cause.is_foreign() || failure.cause == ConnectionCause::IdentityMismatch.cause() =>
        {
            released(&failure.message)
        }
        // Our namespace there took the credential with it; that comes last, so nothing is left to do.
        Reach::Disconnected(failure) | Reach::Failing(failure)
            if failure.cause.is_any(&REFUSALS) && was_told(cluster, DeletionCause::RemovingNamespace) =>
        {
            released("what was Drover's is removed")
        }
        Reach::Disconnected(failure) if clock.is_over => release_labels(cluster, &clock, UNREACHED, &failure.message),
        Reach::Failing(failure) if clock.is_over && clock.has_tried => {
            release_labels(cluster, &clock, UNDONE, &failure.message)
        }
        Reach::Connecting if clock.is_over && clock.has_tried => {
            release_labels(cluster, &clock, UNREACHED, "there was no contact")
        }
        Reach::Disconnected(failure) => {
            clock.wait(DeletionCause::WaitingForCluster.cause(), &format!("cannot be reached: {failure}"))
        }
        Reach::Failing(failure) => clock.wait(failure.cause, &format!("does not let Drover look: {failure}")),
        Reach::Connecting => clock.wait(DeletionCause::Connecting.cause(), "is being connected to"),
        Reach::Connected(there) => hand_over(cluster, there, &clock),
    }
}

/// What is left to do at a cluster that answers: the claim goes before Drover's namespace, which may take the credential
/// along. Before that others keep off, so what nobody else lets go is let go first; what refuses is left at the deadline.
fn hand_over(cluster: &Cluster, there: &There, clock: &Clock) -> Decision {
    let removes = cluster.spec.deletion_policy == DeletionPolicy::Delete;
    if there.holder == Holder::Other {
        return released("another one holds the cluster");
    }
    if removes && there.holder == Holder::Us && !there.left_behind.is_empty() && !clock.is_over {
        let message = format!("{} of Projects that do not exist are being let go", namespaces(there.left_behind.len()));
        let some = there.left_behind.iter().take(FREED_AT_A_TIME).cloned().collect();
        return (
            DeletionCause::ReleasingNamespaces.cause(),
            message,
            vec![Action::ReleaseLeftBehind(some)],
            Requeue::At(clock.soon),
        );
    }
    if removes && there.owned > 0 && !clock.is_over {
        return clock.wait(
            DeletionCause::WaitingForParts.cause(),
            &format!("still has {} that Drover manages", namespaces(there.owned)),
        );
    }
    let left = match there.owned + there.left_behind.len() {
        owned if removes && owned > 0 => format!("; {} that Drover managed stay there", namespaces(owned)),
        _ => String::new(),
    };
    let is_ours_alone = cluster.name_any() != LOCAL_CLUSTER && !there.hosts_others;
    let removable = there.namespace.as_ref().filter(|_| removes && is_ours_alone);
    let left = if removes && there.hosts_others { format!("{left}; {HOSTS_OTHERS}") } else { left };
    let (cause, message, action) = match (there.holder, removable) {
        (Holder::Us, _) => (DeletionCause::ReleasingClaim.cause(), "the claim is being released", Action::ReleaseClaim),
        (_, Some(uid)) => {
            let action = Action::DeleteNamespace { uid: uid.clone() };
            (DeletionCause::RemovingNamespace.cause(), "the namespace drover-system is being deleted there", action)
        }
        (_, None) => return released(&format!("what was Drover's is given back{left}")),
    };
    if clock.is_hopeless {
        return release_labels(cluster, clock, UNDONE, "what is Drover's there could not be removed");
    }
    (cause, format!("{message}{left}"), vec![action], Requeue::At(clock.soon))
}

/// What the time says of a deletion.
struct Clock {
    /// The deadline has passed.
    is_over: bool,
    /// There was time to try, both since the start of this process and since the deadline.
    is_hopeless: bool,
    /// There was time to try since the start of this process.
    has_tried: bool,
    /// When to look again.
    soon: Timestamp,
    deadline: Timestamp,
}

impl Clock {
    fn of(cluster: &Cluster, running: Duration, now: Timestamp) -> Self {
        let later = |from: Timestamp, wait: Duration| from.checked_add(wait).unwrap_or(Timestamp::MAX);
        let began = cluster.metadata.deletion_timestamp.as_ref().map_or(now, |time| time.0);
        let deadline = later(began, cluster.spec.deletion_timeout());
        Self {
            is_over: now >= deadline,
            is_hopeless: now >= later(deadline, GRACE) && running >= GRACE,
            has_tried: running >= GRACE,
            soon: later(now, POLL),
            deadline,
        }
    }

    fn wait(&self, cause: Cause, what: &str) -> Decision {
        let requeue = if self.is_over { self.soon } else { self.soon.min(self.deadline) };
        let message = format!("the cluster {what}; it is let go at {} at the latest", self.deadline);
        (cause, message, Vec::new(), Requeue::At(requeue))
    }
}

/// Nothing tells of an object that is gone, so the status says it first, and an event with it.
fn release_labels(cluster: &Cluster, clock: &Clock, how: &str, why: &str) -> Decision {
    let told = was_told(cluster, DeletionCause::Abandoned) || clock.is_hopeless;
    let requeue = if told { Requeue::Released } else { Requeue::At(clock.soon) };
    let message = format!("the cluster was let go {how}: its claim and labels stay there; {why}");
    (DeletionCause::Abandoned.cause(), message, Vec::new(), requeue)
}

fn was_told(cluster: &Cluster, cause: DeletionCause) -> bool {
    let mut conditions =
        cluster.status.iter().flat_map(|status| &status.conditions).filter(|one| one.type_ == DELETING);
    conditions.any(|condition| DeletionCause::from_reason(&condition.reason) == Some(cause))
}

fn released(message: &str) -> Decision {
    (DeletionCause::Released.cause(), message.to_owned(), Vec::new(), Requeue::Released)
}

fn namespaces(count: usize) -> String {
    match count {
        1 => "1 namespace".to_owned(),
        MOST_COUNTED.. => format!("{count} namespaces or more"),
        _ => format!("{count} namespaces"),
    }
}

#[cfg(test)]
mod tests;
