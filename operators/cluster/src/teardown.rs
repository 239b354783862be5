//! How the deletion of a Cluster proceeds: Drover releases what it has at the cluster, or abandons the cluster. Pure.
//!
//! It is decided at the management cluster, so that the deletion of an unreachable cluster is decided on as well.

use std::{fmt, time::Duration};

use drover_crds::{ApiDuration, Cluster, DeletionPolicy, condition::DELETING, names::LOCAL_CLUSTER};
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

/// One change at a cluster.
#[derive(Clone, PartialEq)]
pub enum Action {
    /// Writes the admission policy of this name.
    WritePolicy(&'static str),
    /// Removes these admission policies.
    RemovePolicies(Vec<String>),
    /// Releases these namespaces of Projects that do not exist. One that refuses delays no other.
    ReleaseLeftBehind(Vec<LeftBehind>),
    /// Releases the claim.
    ReleaseClaim,
    /// Deletes the namespace drover-system.
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
                write!(formatter, "release Namespaces {}", names.join(", "))
            }
            Self::WritePolicy(name) => write!(formatter, "write the admission policy {name}"),
            Self::RemovePolicies(names) => write!(formatter, "remove the admission policies {}", names.join(", ")),
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
    /// The state of its connection.
    pub connection: PlaceState,
}

/// No watch shows what happens at the cluster, nor its connection.
const POLL: Duration = Duration::from_secs(2);
/// For so long after the deadline what fails is tried again, and after a start before a cluster is abandoned: a Drover that was
/// away until after the deadline has not tried yet.
const GRACE: Duration = Duration::from_mins(1);

/// So many namespaces are released before claim and suspension are looked at again.
const RELEASED_AT_A_TIME: usize = 20;

const UNREACHED: &str = "has been unreachable";
const UNDONE: &str = "has refused requests";
const HOSTS_OTHERS: &str = "the namespace drover-system stays, because a Drover runs in it, another installation was \
    imported into it, or the credential may not list its Leases and ServiceAccounts";
/// What follows once the deleted namespace took the credential with it.
const REFUSALS: [Cause; 4] = [
    ConnectionCause::Unauthorized.cause(),
    ConnectionCause::Forbidden.cause(),
    ApiCause::Unauthorized.cause(),
    ApiCause::Forbidden.cause(),
];

pub(crate) fn plan(cluster: &Cluster, seen: &Teardown, now: Timestamp) -> Plan<ClusterOperator> {
    let (cause, message, actions, requeue) = decide(cluster, seen, now);
    let connection = match &seen.reach {
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

fn decide(cluster: &Cluster, seen: &Teardown, now: Timestamp) -> Decision {
    if cluster.spec.suspend {
        let message = "spec.suspend is set, so Drover writes nothing to the cluster and the deletion waits; \
            set spec.suspend to false to go on";
        return (DeletionCause::Suspended.cause(), message.to_owned(), Vec::new(), Requeue::Watch);
    }
    let clock = Clock::of(cluster, seen.running, now);
    let was_met = cluster.status.as_ref().is_some_and(|status| status.cluster_uid.is_some());
    match &seen.reach {
        // No cluster is claimed before the status records its UID.
        Reach::Disconnected(_) | Reach::Connecting if !was_met => {
            released("Drover has never reached the cluster, so nothing of it is there")
        }
        // The cluster that answers is foreign, so nothing there is Drover's.
        Reach::Disconnected(failure)
            if failure.cause.is_foreign() || failure.cause == ConnectionCause::IdentityMismatch.cause() =>
        {
            released(&failure.message)
        }
        // The namespace drover-system took the credential with it; that comes last, so nothing is left to do.
        Reach::Disconnected(failure) | Reach::Failing(failure)
            if failure.cause.is_any(&REFUSALS) && was_reported(cluster, DeletionCause::RemovingNamespace) =>
        {
            released("nothing of Drover is left at the cluster")
        }
        Reach::Disconnected(failure) if clock.is_over => abandon(cluster, &clock, UNREACHED, &failure.message),
        Reach::Failing(failure) if clock.is_over && clock.has_tried => {
            abandon(cluster, &clock, UNDONE, &failure.message)
        }
        Reach::Connecting if clock.is_over && clock.has_tried => {
            abandon(cluster, &clock, UNREACHED, "there was no connection")
        }
        Reach::Disconnected(failure) => {
            clock.wait(DeletionCause::WaitingForCluster.cause(), &format!("is unreachable: {failure}"))
        }
        Reach::Failing(failure) => {
            clock.wait(failure.cause, &format!("refuses a look at what Drover has there: {failure}"))
        }
        Reach::Connecting => clock.wait(DeletionCause::Connecting.cause(), "is being connected to"),
        Reach::Connected(there) => hand_over(cluster, there, &clock),
    }
}

/// What is left to do at a cluster that answers: the claim goes before the namespace drover-system, which may take the
/// credential along. The claim keeps other installations off, so namespaces without a Project are released before it; what
/// refuses stays at the deadline.
fn hand_over(cluster: &Cluster, there: &There, clock: &Clock) -> Decision {
    let removes = cluster.spec.deletion_policy == DeletionPolicy::Delete;
    if there.holder == Holder::Other {
        return released("another Cluster or installation holds the claim");
    }
    if removes && there.holder == Holder::Us && !there.left_behind.is_empty() && !clock.is_over {
        let message = format!("Drover releases {} of Projects that do not exist", namespaces(there.left_behind.len()));
        let some = there.left_behind.iter().take(RELEASED_AT_A_TIME).cloned().collect();
        return (
            DeletionCause::ReleasingNamespaces.cause(),
            message,
            vec![Action::ReleaseLeftBehind(some)],
            Requeue::At(clock.soon),
        );
    }
    if removes && there.apps > 0 && !clock.is_over {
        let what = format!("still has {} that Drover uninstalls", counted(there.apps, "app"));
        return clock.wait(DeletionCause::WaitingForOwners.cause(), &what);
    }
    if removes && there.owned > 0 && !clock.is_over {
        return clock.wait(
            DeletionCause::WaitingForOwners.cause(),
            &format!("still has {} that Drover manages", namespaces(there.owned)),
        );
    }
    if removes && there.roles > 0 && !clock.is_over {
        let what = format!("still has {} roles and bindings that Drover manages", there.roles);
        return clock.wait(DeletionCause::WaitingForOwners.cause(), &what);
    }
    if removes && there.holder == Holder::Us && !there.policies.is_empty() && !clock.is_over {
        let message = "Drover removes its admission policies from the cluster".to_owned();
        let actions = vec![Action::RemovePolicies(there.policies.clone())];
        return (DeletionCause::RemovingPolicies.cause(), message, actions, Requeue::At(clock.soon));
    }
    let left = if removes { left_there(there) } else { String::new() };
    let is_ours_alone = cluster.name_any() != LOCAL_CLUSTER && !there.hosts_others;
    let removable = there.namespace.as_ref().filter(|_| removes && is_ours_alone);
    let left = if removes && there.hosts_others { format!("{left}; {HOSTS_OTHERS}") } else { left };
    let (cause, message, action) = match (there.holder, removable) {
        (Holder::Us, _) => (DeletionCause::ReleasingClaim.cause(), "Drover releases the claim", Action::ReleaseClaim),
        (_, Some(uid)) => {
            let action = Action::DeleteNamespace { uid: uid.clone() };
            (DeletionCause::RemovingNamespace.cause(), "Drover deletes the namespace drover-system there", action)
        }
        (_, None) => return released(&format!("Drover has released the cluster{left}")),
    };
    if clock.is_hopeless {
        return abandon(cluster, clock, UNDONE, "the claim or the namespace drover-system is still there");
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
        let message = format!("the cluster {what}; Drover abandons it at {} at the latest", self.deadline);
        (cause, message, Vec::new(), Requeue::At(requeue))
    }
}

/// An object that is gone reports nothing, so the status says it first, and an event with it.
fn abandon(cluster: &Cluster, clock: &Clock, how: &str, why: &str) -> Decision {
    let reported = was_reported(cluster, DeletionCause::Abandoned) || clock.is_hopeless;
    let requeue = if reported { Requeue::Released } else { Requeue::At(clock.soon) };
    let limit = ApiDuration::from(cluster.spec.deletion_timeout());
    let message = format!(
        "Cluster {} {how} since its deletion for longer than spec.deletionTimeout ({limit}): Drover stopped waiting; \
         its claim and labels remain on it. Last error: {why}",
        cluster.name_any()
    );
    (DeletionCause::Abandoned.cause(), message, Vec::new(), requeue)
}

fn was_reported(cluster: &Cluster, cause: DeletionCause) -> bool {
    let mut conditions =
        cluster.status.iter().flat_map(|status| &status.conditions).filter(|one| one.type_ == DELETING);
    conditions.any(|condition| DeletionCause::from_reason(&condition.reason) == Some(cause))
}

fn released(message: &str) -> Decision {
    (DeletionCause::Released.cause(), message.to_owned(), Vec::new(), Requeue::Released)
}

/// What stays where the deadline has passed.
fn left_there(there: &There) -> String {
    let of_apps = (there.apps > 0).then(|| format!("the releases of {}", counted(there.apps, "app")));
    let owned = there.owned + there.left_behind.len();
    let left: Vec<_> = of_apps.into_iter().chain((owned > 0).then(|| namespaces(owned))).collect();
    if left.is_empty() { String::new() } else { format!("; {} that Drover managed stay there", left.join(" and ")) }
}

fn namespaces(count: usize) -> String {
    counted(count, "namespace")
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        MOST_COUNTED.. => format!("{count} {what}s or more"),
        _ => format!("{count} {what}s"),
    }
}

#[cfg(test)]
mod tests;
