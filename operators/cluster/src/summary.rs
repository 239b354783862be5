//! The status of a Cluster. Pure.

use drover_admission::Guarded;
use drover_backups::Support;
use drover_crds::{
    Cluster, ClusterStatus, CredentialStatus, EtcdSource, NoEtcd,
    condition::{
        ACCEPTED, ADMISSION_INSTALLED, API_AVAILABLE, BACKUP_SUPPORTED, CERTIFICATES_VALID, CONNECTED,
        CREDENTIAL_VALID, DELETING, NODES_HEALTHY, REVOCATIONS_UNCONFIRMED,
    },
};
use drover_fleet::ConnectionCause;
use drover_runtime::{
    Cause, Failure, PlaceState, PlaceStatuses, StatusCause,
    place_status::{PlaceEntry, Readiness},
    status::{Activity, State, condition, ready_conditions},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::{
    cause::{ClusterCause, DeletionCause},
    place_of,
    plan::{PlaceStatus, RightsOfCredential, Seen},
    teardown::TeardownStatus,
    validity::Validity,
};

pub(crate) fn summarise(cluster: &Cluster, statuses: &PlaceStatuses<PlaceStatus>) -> ClusterStatus {
    let unknown = PlaceEntry { known: None, state: PlaceState::Pending };
    let entry = statuses.get(&place_of(cluster)).unwrap_or(&unknown);
    // What was seen last stays, also over a restart: an unreachable cluster's version is stale, not gone.
    let mut status = cluster.status.clone().unwrap_or_default();
    status.conditions = if cluster.metadata.deletion_timestamp.is_some() {
        teardown_conditions(cluster, entry)
    } else {
        let seen = match &entry.known {
            Some(PlaceStatus::Living(seen)) => Some(&**seen),
            Some(PlaceStatus::Teardown(_) | PlaceStatus::Elsewhere) | None => None,
        };
        if let Some(seen) = seen {
            show(&mut status, seen);
        }
        // Until it is claimed there is no verdict but which cluster it is.
        let is_claimed = cluster.spec.suspend || seen.is_none_or(|seen| seen.claimed);
        let state = if is_claimed || entry.state != PlaceState::Current { &entry.state } else { &PlaceState::Pending };
        living(cluster, state, seen, &status)
    };
    status
}

fn show(status: &mut ClusterStatus, seen: &Seen) {
    if let Some(facts) = &seen.facts {
        status.cluster_uid = Some(facts.uid.clone());
        status.kubernetes_version = Some(facts.version.clone());
        status.platform = Some(facts.platform.clone());
    }
    status.distribution = Some(seen.distribution.to_owned());
    status.endpoint.clone_from(&seen.endpoint);
    status.nodes = Some(seen.nodes.clone());
    status.resources = told(&seen.resources);
    if let Some(own) = &seen.own_snapshots {
        status.own_snapshots = told(own);
    }
    status.certificates.clone_from(&seen.certificates);
    if seen.policies.is_some() {
        status.policies.clone_from(&seen.policies);
    }
    status.credential = seen.credential_end.clone().map(|end| CredentialStatus { not_after: Some(end) });
}

/// None where there is nothing to tell: an API server makes null of an object of which a server-side apply takes all fields away but not
/// the object itself, and refuses that.
fn told<T: Clone + Default + PartialEq>(all: &T) -> Option<T> {
    (all != &T::default()).then(|| all.clone())
}

/// Nobody waits for it to change, also before it was ever connected and while the cluster is away; the other conditions tell that.
const SUSPENDED: &str = "spec.suspend is set, so Drover writes nothing to the cluster; set it to false to go on";

fn readiness(cluster: &Cluster, state: &PlaceState) -> Readiness {
    if cluster.spec.suspend {
        return Readiness::yes(StatusCause::Suspended, SUSPENDED.to_owned());
    }
    let unimplemented = cluster.spec.unimplemented();
    if !unimplemented.is_empty() {
        let message =
            format!("this version does not act on {} yet; remove it, or upgrade Drover", unimplemented.join(", "));
        return Readiness::no(StatusCause::NotYetImplemented, message);
    }
    match state {
        PlaceState::Pending => Readiness::no(ClusterCause::Connecting, "Drover connects for the first time".into()),
        PlaceState::Failed(failure) | PlaceState::Unreachable(failure) => {
            Readiness::no(failure.cause, failure.message.clone())
        }
        PlaceState::Current | PlaceState::Refused(_) | PlaceState::Suspended | PlaceState::Released => {
            Readiness::yes(ClusterCause::Connected, "the cluster is reachable and its API server is ready".into())
        }
    }
}

/// State, cause and message of a condition.
type Said<'a> = (State, Cause, &'a str);

const NONE_YET: Said<'_> = (State::Unknown, ClusterCause::Connecting.cause(), "Drover has not reached the cluster yet");
const NO_NODE_YET: Said<'_> =
    (State::Unknown, ClusterCause::NotObserved.cause(), "Drover has not seen a node of this cluster yet");
const LOST: Said<'_> = (State::Unknown, ClusterCause::ConnectionLost.cause(), "the cluster is unreachable");
const NOT_LOOKED_AT: Said<'_> = (
    State::Unknown,
    ClusterCause::NotAccepted.cause(),
    "the cluster answers, but this Cluster does not hold the claim, so Drover does not look at it",
);

fn living(cluster: &Cluster, state: &PlaceState, seen: Option<&Seen>, status: &ClusterStatus) -> Vec<Condition> {
    let Readiness { state: ready, cause, message, activity } = readiness(cluster, state);
    let mut conditions = ready_conditions(ready, cause, &message, activity);
    let claimed = match seen {
        Some(seen) => format!("claimed by installation {}", seen.installation),
        None => "claimed by this installation".to_owned(),
    };
    let (connected, available) = connection(state);
    let healthy = nodes_healthy(state, status);
    let installed = admission_installed(state, seen);
    let backup = backup_supported(cluster, state, seen);
    let credential = match state {
        PlaceState::Unreachable(failure) if is_about_the_credential(failure) => own(failure),
        _ => judged(state, seen, credential_valid),
    };
    conditions.extend(
        [
            (ACCEPTED, accepted(cluster, state, &claimed)),
            (CONNECTED, connected),
            (API_AVAILABLE, available),
            (NODES_HEALTHY, (healthy.0, healthy.1, healthy.2.as_str())),
            (CERTIFICATES_VALID, judged(state, seen, certificates_valid)),
            (CREDENTIAL_VALID, credential),
            (ADMISSION_INSTALLED, (installed.0, installed.1, installed.2.as_str())),
            (BACKUP_SUPPORTED, (backup.0, backup.1, backup.2.as_str())),
        ]
        .map(|(kind, (state, cause, message))| condition(kind, state, cause, message)),
    );
    conditions.extend(unconfirmed(cluster, state));
    conditions
}

/// That rights which were withdrawn may still be there: its transition time is since when. A cluster that was never reached has none.
fn unconfirmed(cluster: &Cluster, state: &PlaceState) -> Option<Condition> {
    const UNREACHABLE: &str = "Drover does not reach the cluster, so what was withdrawn since may still be granted there; Drover revokes it when the cluster connects again";
    const SUSPENDED: &str = "spec.suspend is set, so Drover revokes nothing on the cluster, and what was withdrawn since may still be granted there";
    cluster.status.as_ref()?.cluster_uid.as_ref()?;
    let (cause, message) = match state {
        _ if cluster.spec.suspend => (StatusCause::Suspended.cause(), SUSPENDED),
        PlaceState::Unreachable(failure) if !is_without_claim(failure) => {
            (ClusterCause::ConnectionLost.cause(), UNREACHABLE)
        }
        PlaceState::Pending => (ClusterCause::ConnectionLost.cause(), UNREACHABLE),
        _ => return None,
    };
    Some(condition(REVOCATIONS_UNCONFIRMED, State::True, cause, message))
}

fn admission_installed(state: &PlaceState, seen: Option<&Seen>) -> (State, Cause, String) {
    let seen = match (state, seen) {
        (PlaceState::Current | PlaceState::Failed(_), Some(seen)) => seen,
        (state, _) => {
            let (state, cause, message) = unseen(state).unwrap_or(NONE_YET);
            return (state, cause, message.to_owned());
        }
    };
    let guarded = seen.admission.management.clone().and(seen.admission.here.clone());
    match (&guarded, guarded.frozen()) {
        (Guarded::Unknown, Some(message)) => (State::Unknown, ClusterCause::PoliciesUnknown.cause(), message),
        (_, Some(message)) => (State::False, ClusterCause::PoliciesMissing.cause(), message),
        (_, None) => {
            let message = "every admission policy is in place".to_owned();
            (State::True, ClusterCause::PoliciesInstalled.cause(), message)
        }
    }
}

/// What no longer is judged is not reported any more.
fn teardown_conditions(cluster: &Cluster, entry: &PlaceEntry<PlaceStatus>) -> Vec<Condition> {
    let unknown = TeardownStatus {
        cause: DeletionCause::Deleting.into(),
        message: "Drover prepares the deletion".to_owned(),
        connection: PlaceState::Pending,
    };
    let known = match &entry.known {
        Some(PlaceStatus::Teardown(known)) => known,
        Some(PlaceStatus::Living(_) | PlaceStatus::Elsewhere) | None => &unknown,
    };
    let failure = match &entry.state {
        PlaceState::Failed(failure) | PlaceState::Unreachable(failure) => Some(failure),
        PlaceState::Refused(refused) => refused.first().map(|refusal| &refusal.failure),
        PlaceState::Pending | PlaceState::Current | PlaceState::Suspended | PlaceState::Released => None,
    };
    let (cause, message) = failure.map_or((known.cause, &known.message), |failure| (failure.cause, &failure.message));
    // A deletion moves on by itself, whatever fails: it has a deadline. Only a suspended one waits for a person.
    let is_suspended = cause == DeletionCause::Suspended.cause();
    let activity = if is_suspended { Activity::Stalled } else { Activity::Reconciling };
    let mut conditions = ready_conditions(State::False, StatusCause::Deleting, message, activity);
    let (connected, available) = connection(&known.connection);
    let said = [(CONNECTED, connected), (API_AVAILABLE, available), (DELETING, (State::True, cause, message.as_str()))];
    conditions.extend(said.map(|(kind, (state, cause, message))| condition(kind, state, cause, message)));
    conditions.extend(unconfirmed(cluster, &known.connection));
    conditions
}

fn is_about_the_credential(failure: &Failure) -> bool {
    let cause = ConnectionCause::from_reason(failure.reason());
    cause.is_some_and(ConnectionCause::is_about_the_credential)
}

/// The cluster answers, and Drover does not hold the claim.
fn is_without_claim(failure: &Failure) -> bool {
    failure.cause.is_foreign() || failure.cause == ConnectionCause::ClaimRefused.cause()
}

fn own(failure: &Failure) -> Said<'_> {
    (State::False, failure.cause, &failure.message)
}

fn accepted<'a>(cluster: &Cluster, state: &'a PlaceState, claimed: &'a str) -> Said<'a> {
    match state {
        PlaceState::Pending => NONE_YET,
        PlaceState::Unreachable(failure)
            if is_without_claim(failure) || failure.cause == ConnectionCause::IdentityMismatch.cause() =>
        {
            own(failure)
        }
        PlaceState::Unreachable(_) => LOST,
        PlaceState::Current
        | PlaceState::Failed(_)
        | PlaceState::Refused(_)
        | PlaceState::Suspended
        | PlaceState::Released
            if cluster.spec.suspend =>
        {
            (
                State::True,
                StatusCause::Suspended.cause(),
                "the cluster may be used; while spec.suspend is set, Drover does not claim it",
            )
        }
        PlaceState::Current
        | PlaceState::Failed(_)
        | PlaceState::Refused(_)
        | PlaceState::Suspended
        | PlaceState::Released => (State::True, ClusterCause::Claimed.cause(), claimed),
    }
}

/// `Connected` and `APIAvailable`.
fn connection(state: &PlaceState) -> (Said<'_>, Said<'_>) {
    const CONNECTED: Said<'_> = (State::True, ClusterCause::Connected.cause(), "the API server answers");
    const AVAILABLE: Said<'_> = (State::True, ClusterCause::Available.cause(), "the API server is ready");
    match state {
        PlaceState::Pending => (NONE_YET, NONE_YET),
        PlaceState::Unreachable(failure) if is_without_claim(failure) => (CONNECTED, AVAILABLE),
        PlaceState::Unreachable(failure) if failure.cause == ConnectionCause::ApiServerNotReady.cause() => {
            (CONNECTED, own(failure))
        }
        PlaceState::Unreachable(failure) => (own(failure), LOST),
        PlaceState::Current
        | PlaceState::Failed(_)
        | PlaceState::Refused(_)
        | PlaceState::Suspended
        | PlaceState::Released => (CONNECTED, AVAILABLE),
    }
}

/// What stands for everything that only a look at the cluster can show; none if there was one.
fn unseen(state: &PlaceState) -> Option<Said<'_>> {
    match state {
        PlaceState::Pending => Some(NONE_YET),
        PlaceState::Unreachable(failure) if is_without_claim(failure) => Some(NOT_LOOKED_AT),
        PlaceState::Unreachable(_) => Some(LOST),
        PlaceState::Failed(failure) => Some((State::Unknown, failure.cause, &failure.message)),
        PlaceState::Current | PlaceState::Refused(_) | PlaceState::Suspended | PlaceState::Released => None,
    }
}

fn nodes_healthy(state: &PlaceState, status: &ClusterStatus) -> (State, Cause, String) {
    if let Some((state, cause, message)) = unseen(state) {
        return (state, cause, message.to_owned());
    }
    let nodes = status.nodes.clone().unwrap_or_default();
    let message = format!("{} nodes are ready", nodes.summary);
    if nodes.ready == nodes.total {
        (State::True, ClusterCause::AllReady.cause(), message)
    } else {
        (State::False, ClusterCause::NodesNotReady.cause(), message)
    }
}

fn backup_supported(cluster: &Cluster, state: &PlaceState, seen: Option<&Seen>) -> (State, Cause, String) {
    if let Some(EtcdSource::None(NoEtcd { reason })) = &cluster.spec.etcd {
        let message = format!("spec.etcd.none says that no etcd of this cluster is backed up: {reason}");
        return (State::False, ClusterCause::EtcdDeclined.cause(), message);
    }
    let is_seen = matches!(state, PlaceState::Failed(_)) && seen.is_some();
    if let Some((state, cause, message)) = unseen(state).filter(|_| !is_seen) {
        return (state, cause, message.to_owned());
    }
    let Some((support, distribution)) = seen.and_then(|seen| Some((seen.etcd?, seen.distribution))) else {
        let (state, cause, message) = NO_NODE_YET;
        return (state, cause, message.to_owned());
    };
    let message = match support {
        Support::OnNodes(_) => {
            let message = format!("EtcdBackups take the etcd of {distribution} on the nodes that have a member");
            return (State::True, ClusterCause::EtcdOnNodes.cause(), message);
        }
        Support::NoMember(layout) => format!(
            "no node has the label {}, so etcd is not on the nodes of this cluster; back up the database that it uses by its own means",
            layout.layout().node_label
        ),
        Support::Managed => format!(
            "{distribution} keeps its etcd to itself, and its provider backs it up; for objects and volumes release a tool such as Velero as a CatalogApp"
        ),
        Support::OwnMeans(means) => format!("Drover does not back up the etcd of {distribution}; use {means}"),
        Support::Unknown => "Drover does not know what made this cluster, so it does not know where its etcd is; use the backup of the tool that made it".to_owned(),
    };
    (State::False, ClusterCause::EtcdOutOfReach.cause(), message)
}

/// What `judge` says of the last look; that it failed meanwhile to see the nodes changes nothing about it.
fn judged<'a>(state: &'a PlaceState, seen: Option<&'a Seen>, judge: fn(&'a Seen) -> Said<'a>) -> Said<'a> {
    match (state, seen) {
        (PlaceState::Failed(_), Some(seen)) => judge(seen),
        (state, seen) => unseen(state).or_else(|| seen.map(judge)).unwrap_or(NONE_YET),
    }
}

fn certificates_valid(seen: &Seen) -> Said<'_> {
    match &seen.certificates_validity {
        Validity::NotObserved => (State::Unknown, ClusterCause::NotObserved.cause(), "no certificate was seen"),
        Validity::Valid => (State::True, ClusterCause::Valid.cause(), "no certificate ends soon"),
        Validity::Expiring(message) => (State::False, ClusterCause::Expiring.cause(), message),
        Validity::Expired(message) => (State::False, ClusterCause::Expired.cause(), message),
    }
}

fn credential_valid(seen: &Seen) -> Said<'_> {
    let accepted = (State::True, ClusterCause::Accepted.cause(), "the API server accepts the credential");
    let unknown = "the API server accepts the credential, and has not answered yet which rights it has";
    match (&seen.rejected, &seen.credential_validity, &seen.rights) {
        (Some(failure), _, _) => (State::False, ClusterCause::NewCredentialRejected.cause(), &failure.message),
        (None, Validity::Expired(message), _) => (State::False, ClusterCause::Expired.cause(), message),
        (None, _, RightsOfCredential::Incomplete(message)) => {
            (State::False, ClusterCause::DownstreamRoleOutdated.cause(), message)
        }
        (None, Validity::Expiring(message), _) => (State::False, ClusterCause::Expiring.cause(), message),
        (None, Validity::NotObserved | Validity::Valid, RightsOfCredential::Unknown) => {
            (State::Unknown, ClusterCause::RightsUnknown.cause(), unknown)
        }
        (None, Validity::NotObserved | Validity::Valid, RightsOfCredential::Complete) => accepted,
    }
}

#[cfg(test)]
mod tests;
