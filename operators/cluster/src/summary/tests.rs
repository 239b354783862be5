use drover_backups::LayoutOf;
use drover_crds::{CertificateStatus, ClusterResources, NodeSummary, OwnSnapshots};
use drover_fleet::Facts;
use drover_runtime::{ApiCause, Place};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use serde_json::json;

use super::*;
use crate::Admission;

fn cluster(spec: &serde_json::Value) -> Cluster {
    let mut spec_with_connection = json!({"connection": {"kubeconfig": {"secretRef": {"name": "eu"}}}});
    spec_with_connection.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "eu"}, "spec": spec_with_connection,
    }))
    .unwrap()
}

fn seen() -> Seen {
    let facts = Facts { uid: "u".into(), version: "v1.37.1+k3s1".into(), platform: "linux/amd64".into() };
    Seen {
        installation: "ours".into(),
        claimed: true,
        facts: Some(facts),
        endpoint: None,
        distribution: "k3s",
        nodes: NodeSummary { total: 3, ready: 2, unschedulable: 0, summary: "2/3".into() },
        resources: ClusterResources::default(),
        etcd: Some(Support::OnNodes(LayoutOf::K3s)),
        own_snapshots: None,
        certificates: vec![CertificateStatus { name: "client".into(), source: "x".into(), not_after: time() }],
        certificates_validity: Validity::Valid,
        credential_end: Some(time()),
        credential_validity: Validity::Valid,
        rejected: None,
        rights: RightsOfCredential::Complete,
        admission: Admission { management: Guarded::Intact, here: Guarded::Intact },
        policies: None,
    }
}

fn time() -> Time {
    Time(Timestamp::UNIX_EPOCH)
}

fn failure(cause: impl Into<Cause>) -> Failure {
    let cause = cause.into();
    Failure::new(cause, format!("{} happened", cause.reason()))
}

fn lost(reason: &str) -> PlaceState {
    PlaceState::Unreachable(failure(ConnectionCause::from_reason(reason).unwrap()))
}

fn status(cluster: &Cluster, known: Option<Seen>, state: PlaceState) -> ClusterStatus {
    let known = known.map(|seen| PlaceStatus::Living(Box::new(seen)));
    let entry = (Place::cluster("eu"), PlaceEntry { known, state });
    summarise(cluster, &[entry].into_iter().collect())
}

/// They have tests of their own.
const TOLD_APART: [&str; 2] = [ADMISSION_INSTALLED, BACKUP_SUPPORTED];

/// `Type=Status/Reason`, in order, without what is the same for all.
fn shown(status: &ClusterStatus) -> String {
    let show = |condition: &Condition| format!("{}={}/{}", condition.type_, condition.status, condition.reason);
    let told = status.conditions.iter().filter(|condition| !TOLD_APART.contains(&condition.type_.as_str()));
    told.map(show).collect::<Vec<_>>().join(" ")
}

/// A cluster is claimed once its status records which one it is.
#[test]
fn a_cluster_that_is_not_claimed_yet_says_which_it_is_and_nothing_else() {
    let unclaimed = || Seen { claimed: false, ..seen() };
    let told = status(&cluster(&json!({})), Some(unclaimed()), PlaceState::Current);
    assert_eq!(told.cluster_uid.as_deref(), Some("u"));
    assert!(shown(&told).starts_with("Ready=False/Connecting Reconciling=True/Connecting Accepted=Unknown/Connecting"));
    let suspended = status(&cluster(&json!({"suspend": true})), Some(unclaimed()), PlaceState::Current);
    assert!(shown(&suspended).starts_with("Ready=True/Suspended"), "it is not to be claimed");
}

#[test]
fn every_standing_has_its_conditions() {
    const UNKNOWN: &str = "Unknown/ConnectionLost";
    const AWAY: &str = "NodesHealthy=Unknown/ConnectionLost CertificatesValid=Unknown/ConnectionLost";
    const OTHERS: &str =
        "NodesHealthy=Unknown/NotAccepted CertificatesValid=Unknown/NotAccepted CredentialValid=Unknown/NotAccepted";
    let not_ours = |reason: &str| {
        format!(
            "Ready=False/{reason} Stalled=True/{reason} Accepted=False/{reason} Connected=True/Connected APIAvailable=True/Available {OTHERS}"
        )
    };
    let away = |reason: &str, activity: &str, accepted: &str, credential: &str| {
        format!(
            "Ready=False/{reason} {activity}=True/{reason} Accepted={accepted} Connected=False/{reason} APIAvailable=Unknown/ConnectionLost {AWAY} CredentialValid={credential}"
        )
    };
    let plain = cluster(&json!({}));
    for (state, expected) in [
        (
            PlaceState::Pending,
            "Ready=False/Connecting Reconciling=True/Connecting Accepted=Unknown/Connecting Connected=Unknown/Connecting APIAvailable=Unknown/Connecting NodesHealthy=Unknown/Connecting CertificatesValid=Unknown/Connecting CredentialValid=Unknown/Connecting".to_owned(),
        ),
        (
            PlaceState::Current,
            "Ready=True/Connected Accepted=True/Claimed Connected=True/Connected APIAvailable=True/Available NodesHealthy=False/NodesNotReady CertificatesValid=True/Valid CredentialValid=True/Accepted".to_owned(),
        ),
        (
            PlaceState::Failed(failure(ApiCause::Forbidden)),
            "Ready=False/Forbidden Stalled=True/Forbidden Accepted=True/Claimed Connected=True/Connected APIAvailable=True/Available NodesHealthy=Unknown/Forbidden CertificatesValid=True/Valid CredentialValid=True/Accepted".to_owned(),
        ),
        (
            lost("APIServerNotReady"),
            format!("Ready=False/APIServerNotReady Reconciling=True/APIServerNotReady Accepted=Unknown/ConnectionLost Connected=True/Connected APIAvailable=False/APIServerNotReady {AWAY} CredentialValid=Unknown/ConnectionLost"),
        ),
        (lost("DialFailed"), away("DialFailed", "Reconciling", UNKNOWN, UNKNOWN)),
        (lost("TooLarge"), away("TooLarge", "Reconciling", UNKNOWN, UNKNOWN)),
        (lost("UnsupportedVersion"), away("UnsupportedVersion", "Stalled", UNKNOWN, UNKNOWN)),
        (lost("IdentityMismatch"), away("IdentityMismatch", "Stalled", "False/IdentityMismatch", UNKNOWN)),
        (lost("Unauthorized"), away("Unauthorized", "Stalled", UNKNOWN, "False/Unauthorized")),
        (lost("SecretMissing"), away("SecretMissing", "Reconciling", UNKNOWN, "False/SecretMissing")),
        (lost("ClaimedByOther"), not_ours("ClaimedByOther")),
        (lost("DuplicateOf"), not_ours("DuplicateOf")),
        (lost("ClaimRefused"), not_ours("ClaimRefused").replace("Stalled", "Reconciling")),
    ] {
        assert_eq!(shown(&status(&plain, Some(seen()), state)), expected);
    }
}

/// Also after a restart of Drover, when it has not reached the cluster yet.
#[test]
fn a_cluster_that_was_reached_once_and_is_away_says_that_revocations_are_unconfirmed() {
    let told = |suspend: bool, was_reached: bool, state: PlaceState| {
        let mut cluster = cluster(&json!({"suspend": suspend}));
        cluster.status = was_reached.then(|| status(&cluster, Some(seen()), PlaceState::Current));
        let conditions = status(&cluster, None, state).conditions;
        let found = conditions.into_iter().find(|condition| condition.type_ == REVOCATIONS_UNCONFIRMED);
        found.map(|condition| format!("{}/{}", condition.status, condition.reason))
    };
    let lost_connection = Some("True/ConnectionLost".to_owned());
    assert_eq!(told(false, true, lost("Timeout")), lost_connection);
    assert_eq!(told(false, true, lost("Unauthorized")), lost_connection);
    assert_eq!(told(false, true, PlaceState::Pending), lost_connection);
    assert_eq!(told(true, true, PlaceState::Current), Some("True/Suspended".to_owned()));
    for state in [PlaceState::Current, lost("ClaimedByOther")] {
        assert_eq!(told(false, true, state), None);
    }
    assert_eq!(told(false, false, lost("Timeout")), None, "nothing was ever granted there");
}

#[test]
fn what_was_seen_is_shown() {
    let status = status(&cluster(&json!({})), Some(seen()), PlaceState::Current);
    assert_eq!(status.distribution.as_deref(), Some("k3s"));
    assert_eq!(status.certificates.len(), 1);
    assert_eq!(status.credential, Some(CredentialStatus { not_after: Some(time()) }));
    let accepted = status.conditions.iter().find(|condition| condition.type_ == ACCEPTED).unwrap();
    assert_eq!(accepted.message, "claimed by installation ours");
}

/// The last node went, or a node offers nothing yet: with an empty object the API server would refuse the whole status.
#[test]
fn what_has_no_field_is_not_shown() {
    let nothing = Seen { own_snapshots: Some(OwnSnapshots::default()), ..seen() };
    let status = status(&cluster(&json!({})), Some(nothing), PlaceState::Current);
    assert_eq!((status.resources, status.own_snapshots), (None, None));
}

#[test]
fn admission_is_installed_while_the_policies_of_both_clusters_are_as_they_should_be() {
    let told = |management: Guarded, here: Guarded, state: PlaceState| {
        let seen = Seen { admission: Admission { management, here }, ..seen() };
        let status = status(&cluster(&json!({})), Some(seen), state);
        let admission = status.conditions.iter().find(|condition| condition.type_ == ADMISSION_INSTALLED).unwrap();
        format!("{}/{} {}", admission.status, admission.reason, admission.message)
    };
    let (intact, current) = (|| Guarded::Intact, || PlaceState::Current);
    assert!(told(intact(), intact(), current()).starts_with("True/PoliciesInstalled"));
    assert!(told(intact(), Guarded::Unknown, current()).starts_with("Unknown/PoliciesUnknown"));
    assert!(told(intact(), intact(), lost("Timeout")).starts_with("Unknown/ConnectionLost"));
    let absent = told(Guarded::Absent(vec!["drover-role-templates"]), intact(), current());
    assert!(
        absent.starts_with("False/PoliciesMissing") && absent.contains("drover-role-templates are absent"),
        "{absent}"
    );
    let altered = told(intact(), Guarded::Altered(vec!["drover-guards"]), current());
    assert!(altered.contains("drover-guards are altered, and Drover grants nothing new"), "{altered}");
}

#[test]
fn what_was_seen_stays_while_a_cluster_is_away_also_over_a_restart() {
    let mut before = cluster(&json!({}));
    before.status = Some(status(&before, Some(seen()), PlaceState::Current));
    let away = status(&before, None, lost("Timeout"));
    assert_eq!(away.kubernetes_version.as_deref(), Some("v1.37.1+k3s1"));
    assert_eq!((away.nodes.unwrap().summary.as_str(), away.certificates.len()), ("2/3", 1));
}

#[test]
fn what_is_no_longer_seen_at_a_connected_cluster_goes() {
    let mut before = cluster(&json!({}));
    before.status = Some(status(&before, Some(seen()), PlaceState::Current));
    let without = Seen { certificates: Vec::new(), credential_end: None, ..seen() };
    let after = status(&before, Some(without), PlaceState::Current);
    assert_eq!((after.certificates.len(), after.credential), (0, None));
}

#[test]
fn what_ends_soon_is_a_warning_and_leaves_the_cluster_ready() {
    let text = || "it ends".to_owned();
    for (certificates, credential, expected) in [
        (
            Validity::NotObserved,
            Validity::NotObserved,
            "CertificatesValid=Unknown/NotObserved CredentialValid=True/Accepted",
        ),
        (
            Validity::Expiring(text()),
            Validity::Expiring(text()),
            "CertificatesValid=False/Expiring CredentialValid=False/Expiring",
        ),
        (
            Validity::Expired(text()),
            Validity::Expired(text()),
            "CertificatesValid=False/Expired CredentialValid=False/Expired",
        ),
    ] {
        let seen = Seen { certificates_validity: certificates, credential_validity: credential, ..seen() };
        let shown = shown(&status(&cluster(&json!({})), Some(seen), PlaceState::Current));
        assert!(shown.starts_with("Ready=True/Connected Accepted") && shown.ends_with(expected), "{shown}");
    }
}

#[test]
fn a_role_that_lacks_rights_leaves_the_cluster_connected_and_is_told_unless_the_credential_has_ended() {
    let outdated = Seen { rights: RightsOfCredential::Incomplete("may not list nodes".to_owned()), ..seen() };
    let reason = |seen: Seen| {
        let status = status(&cluster(&json!({})), Some(seen), PlaceState::Current);
        let found = |kind: &str| status.conditions.iter().find(|condition| condition.type_ == kind).cloned().unwrap();
        assert_eq!(found("Ready").status, "True");
        found(CREDENTIAL_VALID).reason
    };
    assert_eq!(reason(outdated.clone()), "DownstreamRoleOutdated");
    assert_eq!(reason(Seen { rights: RightsOfCredential::Unknown, ..seen() }), "RightsUnknown");
    let expiring = Validity::Expiring("soon".to_owned());
    assert_eq!(reason(Seen { credential_validity: expiring, ..outdated.clone() }), "DownstreamRoleOutdated");
    let expired = Validity::Expired("over".to_owned());
    assert_eq!(reason(Seen { credential_validity: expired, ..outdated }), "Expired");
}

#[test]
fn a_rejected_new_credential_leaves_the_cluster_connected() {
    let rejected = Seen { rejected: Some(failure(ConnectionCause::UnsafeKubeconfig)), ..seen() };
    let shown = shown(&status(&cluster(&json!({})), Some(rejected), PlaceState::Current));
    assert!(shown.starts_with("Ready=True/Connected"), "{shown}");
    assert!(shown.ends_with("CredentialValid=False/NewCredentialRejected"), "{shown}");
}

#[test]
fn a_suspended_cluster_says_so() {
    let suspended = cluster(&json!({"suspend": true}));
    let told = |known, state| shown(&status(&suspended, known, state));
    let connected = told(Some(seen()), PlaceState::Current);
    assert!(
        connected.starts_with("Ready=True/Suspended Accepted=True/Suspended Connected=True/Connected"),
        "{connected}"
    );
    // It is settled, also before it was ever connected and while nothing comes of it: the other conditions say how far it got.
    let fresh = told(None, PlaceState::Pending);
    assert!(
        fresh.starts_with("Ready=True/Suspended Accepted=Unknown/Connecting Connected=Unknown/Connecting"),
        "{fresh}"
    );
    for reason in ["DialFailed", "SecretMissing", "ClaimedByOther", "UnsafeKubeconfig"] {
        let away = told(None, lost(reason));
        assert!(away.starts_with("Ready=True/Suspended Accepted=") && away.contains(reason), "{away}");
    }
    let refused = told(Some(seen()), PlaceState::Failed(failure(ApiCause::Forbidden)));
    assert!(refused.starts_with("Ready=True/Suspended Accepted=True/Suspended"), "{refused}");
}

#[test]
fn a_deletion_tells_what_it_waits_for_and_keeps_what_was_seen() {
    let mut deleted = cluster(&json!({}));
    deleted.status = Some(status(&deleted, Some(seen()), PlaceState::Current));
    deleted.metadata.deletion_timestamp = Some(time());
    let told = |leave: Option<TeardownStatus>, state: PlaceState| {
        let entry = (Place::Management, PlaceEntry { known: leave.map(PlaceStatus::Teardown), state });
        let status = summarise(&deleted, &[entry].into_iter().collect());
        assert_eq!(status.nodes.as_ref().unwrap().summary, "2/3");
        shown(&status)
    };
    let leave = |cause: DeletionCause, connection| {
        Some(TeardownStatus { cause: cause.into(), message: "waits".into(), connection })
    };
    for (leave, state, expected) in [
        (
            None,
            PlaceState::Pending,
            "Ready=False/Deleting Reconciling=True/Deleting Connected=Unknown/Connecting APIAvailable=Unknown/Connecting Deleting=True/Deleting RevocationsUnconfirmed=True/ConnectionLost",
        ),
        (
            leave(DeletionCause::WaitingForCluster, lost("Timeout")),
            PlaceState::Current,
            "Ready=False/Deleting Reconciling=True/Deleting Connected=False/Timeout APIAvailable=Unknown/ConnectionLost Deleting=True/WaitingForCluster RevocationsUnconfirmed=True/ConnectionLost",
        ),
        (
            leave(DeletionCause::ReleasingClaim, PlaceState::Current),
            PlaceState::Failed(failure(ApiCause::Forbidden)),
            "Ready=False/Deleting Reconciling=True/Deleting Connected=True/Connected APIAvailable=True/Available Deleting=True/Forbidden",
        ),
        (
            leave(DeletionCause::Suspended, PlaceState::Current),
            PlaceState::Current,
            "Ready=False/Deleting Stalled=True/Deleting Connected=True/Connected APIAvailable=True/Available Deleting=True/Suspended",
        ),
    ] {
        assert_eq!(told(leave, state), expected);
    }
}

#[test]
fn every_cluster_says_whether_its_etcd_can_be_backed_up() {
    let told = |cluster: &Cluster, etcd: Option<Support>, distribution: &'static str, state: PlaceState| {
        let status = status(cluster, Some(Seen { distribution, etcd, ..seen() }), state);
        let found = status.conditions.into_iter().find(|condition| condition.type_ == BACKUP_SUPPORTED).unwrap();
        (format!("{}/{}", found.status, found.reason), found.message)
    };
    let plain = cluster(&json!({}));
    let on_nodes = Some(Support::OnNodes(LayoutOf::Kubeadm));
    for (etcd, distribution, state, expected, said) in [
        (on_nodes, "kubeadm", PlaceState::Current, "True/EtcdOnNodes", "the etcd of kubeadm on the nodes"),
        (
            Some(Support::NoMember(LayoutOf::K3s)),
            "k3s",
            PlaceState::Current,
            "False/EtcdOutOfReach",
            "the label node-role.kubernetes.io/etcd",
        ),
        (Some(Support::Managed), "EKS", PlaceState::Current, "False/EtcdOutOfReach", "EKS keeps its etcd to itself"),
        (Some(Support::Unknown), "unknown", PlaceState::Current, "False/EtcdOutOfReach", "what made this cluster"),
        (None, "unknown", PlaceState::Current, "Unknown/NotObserved", "not seen a node"),
        (on_nodes, "kubeadm", lost("Timeout"), "Unknown/ConnectionLost", "unreachable"),
        (
            on_nodes,
            "kubeadm",
            PlaceState::Failed(failure(ApiCause::Forbidden)),
            "True/EtcdOnNodes",
            "the etcd of kubeadm",
        ),
    ] {
        let (shown, message) = told(&plain, etcd, distribution, state);
        assert_eq!(shown, expected, "{distribution}");
        assert!(message.contains(said), "{message}");
    }
    let declined = cluster(&json!({"etcd": {"none": {"reason": "the database team backs it up"}}}));
    let (shown, message) = told(&declined, on_nodes, "kubeadm", PlaceState::Current);
    assert_eq!(shown, "False/EtcdDeclined");
    assert!(message.ends_with("the database team backs it up"), "{message}");
    let auto = cluster(&json!({"etcd": {"auto": {}}}));
    assert_eq!(told(&auto, on_nodes, "kubeadm", PlaceState::Current).0, "True/EtcdOnNodes");
}

#[test]
fn own_snapshots_stay_told_while_they_are_unknown_and_go_when_there_are_none() {
    let own = |ready| OwnSnapshots { ready, ..OwnSnapshots::default() };
    let mut cluster = cluster(&json!({}));
    let mut told = |own_snapshots| {
        let status = status(&cluster, Some(Seen { own_snapshots, ..seen() }), PlaceState::Current);
        cluster.status = Some(status.clone());
        status.own_snapshots
    };
    assert_eq!(told(None), None);
    assert_eq!(told(Some(own(2))), Some(own(2)));
    assert_eq!(told(None), Some(own(2)), "after a restart");
    assert_eq!(told(Some(own(0))), None);
}
