//! What one look at a cluster says. Pure.

use std::{sync::Arc, time::Duration};

use drover_admission::{Guarded, PoliciesState};
use drover_backups::Support;
use drover_crds::{CertificateStatus, Cluster, ClusterResources, NodeSummary, OwnSnapshots, PoliciesInPlace};
use drover_fleet::{Facts, Report, admission::in_place, remedy_of_missing_rights};
use drover_runtime::{
    Failure, Owner, Requeue,
    operator::Plan,
    owned::each_alone,
    quantity::{Amount, Form},
};
use k8s_openapi::{
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Time},
    jiff::Timestamp,
};
use kube::ResourceExt as _;

use crate::{
    ClusterOperator, SlimNode, distribution,
    node::{Amounts, reported},
    observe::Teardown,
    own_snapshot::{self, SlimSnapshot},
    teardown::{self, Action, TeardownStatus},
    validity::{self, Judged, Validity},
};

/// What a reconcile knows of the cluster.
#[derive(Clone, Debug)]
pub enum World {
    /// It is connected.
    Living(Box<Living>),
    /// Its Cluster is being deleted.
    Teardown(Box<Teardown>),
    /// The Cluster is reconciled elsewhere, or is gone: there is nothing to do here.
    Elsewhere,
}

/// What is known of a connected cluster.
#[derive(Clone, Debug)]
pub struct Living {
    /// This installation of Drover.
    pub installation: String,
    /// What the fleet reports of the connection.
    pub report: Report,
    /// All nodes.
    pub nodes: Vec<Arc<SlimNode>>,
    /// The snapshots of etcd that it took by itself; none if that is not known.
    pub own_snapshots: Option<Vec<Arc<SlimSnapshot>>>,
    /// Its admission policies.
    pub admission: Admission,
    /// The state of those in the cluster itself, while they are as they should be.
    pub policies: Option<PoliciesState>,
}

/// What is known of the policies that hold for a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Those of the management cluster, which the chart brings.
    pub management: Guarded,
    /// Those in the cluster itself.
    pub here: Guarded,
}

/// What the cluster contributes to the status.
#[derive(Clone, Debug, PartialEq)]
pub enum PlaceStatus {
    /// It is connected.
    Living(Box<Seen>),
    /// Its Cluster is being deleted.
    Teardown(TeardownStatus),
    /// It is reconciled elsewhere.
    Elsewhere,
}

/// What was seen of a connected cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// This installation of Drover.
    pub installation: String,
    /// Whether it is ours to write to.
    pub claimed: bool,
    /// Who it is.
    pub facts: Option<Facts>,
    /// The URL of its API server.
    pub endpoint: Option<String>,
    /// What it was made with.
    pub distribution: &'static str,
    /// Its nodes.
    pub nodes: NodeSummary,
    /// What they offer together.
    pub resources: ClusterResources,
    /// Whether its etcd can be backed up; none before a node was seen.
    pub etcd: Option<Support>,
    /// Snapshots of etcd that it took by itself, if that is known.
    pub own_snapshots: Option<OwnSnapshots>,
    /// The certificates that end first.
    pub certificates: Vec<CertificateStatus>,
    /// Whether they are good for long enough.
    pub certificates_validity: Validity,
    /// When the credential ends.
    pub credential_end: Option<Time>,
    /// Whether it is good for long enough.
    pub credential_validity: Validity,
    /// Why a changed credential was not taken.
    pub rejected: Option<Failure>,
    /// What to do about rights that the credential lacks.
    pub rights: RightsOfCredential,
    /// Its admission policies.
    pub admission: Admission,
    /// Since when those in the cluster itself are as they should be.
    pub policies: Option<PoliciesInPlace>,
}

/// Between two looks at the policies of the management cluster, which cost no request, and while these are unknown.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
const LOOK_SOON: Duration = Duration::from_secs(2);
/// The timers of the runtime are made for waits of weeks, not for the ten years of a certificate.
const LONGEST_WAIT: Duration = Duration::from_hours(30 * 24);

pub(crate) fn plan(cluster: &Cluster, world: &World, now: Timestamp) -> Plan<ClusterOperator> {
    match world {
        World::Living(living) => look_again(look(cluster, living, now), living, now),
        World::Teardown(seen) => teardown::plan(cluster, seen, now),
        World::Elsewhere => nothing(),
    }
}

pub(crate) fn clean_up(owner: Owner<'_, Cluster>, world: &World, now: Timestamp) -> Plan<ClusterOperator> {
    match (owner, world) {
        (Owner::Deleting(cluster), World::Teardown(seen)) => teardown::plan(cluster, seen, now),
        _ => nothing(),
    }
}

fn nothing() -> Plan<ClusterOperator> {
    Plan { place_status: PlaceStatus::Elsewhere, groups: Vec::new(), requeue: Requeue::Released }
}

fn look(cluster: &Cluster, living: &Living, now: Timestamp) -> Plan<ClusterOperator> {
    let Living { installation, report, nodes, own_snapshots, admission, policies } = living;
    let recorded = cluster.status.as_ref().and_then(|status| status.policies.as_ref());
    let warn_before = cluster.spec.certificate_warning();
    let certificates = validity::listed(&report.certificates);
    let Judged { validity: certificates_validity, changes: first } =
        validity::of_certificates(&certificates, warn_before, now);
    let Judged { validity: credential_validity, changes: second } =
        validity::of_credential(report.credential, warn_before, now);
    let version = report.facts.as_ref().map(|facts| facts.version.as_str());
    let distribution = distribution::of(version, nodes);
    let has_member = |label| nodes.iter().any(|node| node.has_role(label));
    let place_status = PlaceStatus::Living(Box::new(Seen {
        installation: installation.clone(),
        claimed: report.claimed,
        facts: report.facts.clone(),
        endpoint: report.endpoint.clone(),
        distribution,
        nodes: summarise_nodes(nodes),
        resources: sum_resources(nodes),
        etcd: (!nodes.is_empty()).then(|| Support::of(distribution, has_member)),
        own_snapshots: own_snapshots.as_deref().map(own_snapshot::summarised),
        certificates,
        certificates_validity,
        credential_end: report.credential.map(|life| Time(life.not_after)),
        credential_validity,
        rejected: report.rejected.clone(),
        rights: rights(&cluster.name_any(), report.missing_rights.as_deref()),
        admission: admission.clone(),
        policies: policies.as_ref().map(|state| in_place(state, recorded, now)),
    }));
    let latest = now.checked_add(LONGEST_WAIT).unwrap_or(Timestamp::MAX);
    let requeue = first.into_iter().chain(second).min().map_or(Requeue::Watch, |at| Requeue::At(at.min(latest)));
    // Only with all of its rights is Drover exempt from the policies that it writes.
    let may_write =
        report.claimed && !cluster.spec.suspend && report.missing_rights.as_ref().is_some_and(Vec::is_empty);
    let missing = if may_write { to_write(&admission.here) } else { Vec::new() };
    Plan { place_status, groups: each_alone(missing.into_iter().map(Action::WritePolicy).collect()), requeue }
}

/// The policies that have to be written: all that are not as they should be.
fn to_write(here: &Guarded) -> Vec<&'static str> {
    match here {
        Guarded::Absent(names) | Guarded::Altered(names) => names.clone(),
        Guarded::Intact | Guarded::Unknown => Vec::new(),
    }
}

/// No watch tells a Cluster of the policies of the management cluster: the cache is looked at again.
fn look_again(plan: Plan<ClusterOperator>, living: &Living, now: Timestamp) -> Plan<ClusterOperator> {
    let pause = if living.admission.management == Guarded::Unknown { LOOK_SOON } else { LOOK_AGAIN };
    let at = now.checked_add(pause).unwrap_or(Timestamp::MAX);
    let requeue = match plan.requeue {
        Requeue::At(earlier) => Requeue::At(earlier.min(at)),
        Requeue::Watch | Requeue::Released => Requeue::At(at),
    };
    Plan { requeue, ..plan }
}

/// More missing rights are counted only.
const MOST_RIGHTS_NAMED: usize = 10;

/// What is known of the rights that a credential has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RightsOfCredential {
    /// The cluster has not answered yet.
    Unknown,
    /// It has all that Drover needs.
    Complete,
    /// What it lacks, and what to do about it.
    Incomplete(String),
}

fn rights(name: &str, missing: Option<&[String]>) -> RightsOfCredential {
    let Some(missing) = missing else { return RightsOfCredential::Unknown };
    if missing.is_empty() {
        return RightsOfCredential::Complete;
    }
    let named = missing.iter().take(MOST_RIGHTS_NAMED).map(String::as_str).collect::<Vec<_>>();
    let more = match missing.len().saturating_sub(named.len()) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let remedy = remedy_of_missing_rights(name);
    let message =
        format!("the credential may not {}{more}, which this version of Drover needs: {remedy}", named.join(", "));
    RightsOfCredential::Incomplete(message)
}

fn summarise_nodes(nodes: &[Arc<SlimNode>]) -> NodeSummary {
    let count = |wanted: fn(&SlimNode) -> bool| {
        i64::try_from(nodes.iter().filter(|node| wanted(node)).count()).unwrap_or(i64::MAX)
    };
    let (total, ready) = (count(|_| true), count(SlimNode::is_ready));
    NodeSummary { total, ready, unschedulable: count(SlimNode::is_unschedulable), summary: format!("{ready}/{total}") }
}

fn sum_resources(nodes: &[Arc<SlimNode>]) -> ClusterResources {
    let sum = |amounts: fn(&SlimNode) -> &Amounts| {
        let mut total = Amounts::new();
        for (name, amount) in nodes.iter().flat_map(|node| amounts(node)) {
            let sum = total.entry(name.clone()).or_default();
            *sum = sum.plus(*amount);
        }
        reported(total).into_iter().map(|(name, amount)| (name.clone(), printed(&name, amount))).collect()
    };
    ClusterResources { capacity: sum(|node| &node.capacity), allocatable: sum(|node| &node.allocatable) }
}

fn printed(name: &str, amount: Amount) -> Quantity {
    let form = if matches!(name, "memory" | "ephemeral-storage") { Form::Binary } else { Form::Decimal };
    amount.print(form)
}

#[cfg(test)]
mod tests {
    use drover_fleet::{CredentialLife, SeenCertificate};
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn cluster() -> Cluster {
        serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "eu"},
            "spec": {"connection": {"local": {}}, "certificates": {"warnBefore": "24h"}},
        }))
        .unwrap()
    }

    fn node(memory: &str, extended: &str) -> Arc<SlimNode> {
        let amounts = json!({"cpu": "1500m", "memory": memory, "pods": "110", extended: "2"});
        let node = json!({
            "metadata": {"name": "n", "annotations": {"kubeadm.alpha.kubernetes.io/cri-socket": "x"}},
            "status": {"capacity": amounts, "allocatable": {"cpu": "1", "memory": "1000"},
                "conditions": [{"type": "Ready", "status": "True"}]},
        });
        Arc::new(serde_json::from_value(node).unwrap())
    }

    fn living(report: Report, nodes: Vec<Arc<SlimNode>>) -> World {
        let admission = Admission { management: Guarded::Intact, here: Guarded::Intact };
        World::Living(Box::new(Living {
            installation: "ours".into(),
            report,
            nodes,
            own_snapshots: None,
            admission,
            policies: None,
        }))
    }

    fn looked(world: &World, now: &str) -> (Seen, Requeue) {
        let World::Living(living) = world else { panic!("{world:?}") };
        let plan = look(&cluster(), living, at(now));
        assert!(plan.is_idle());
        let Plan { place_status, requeue, .. } = plan;
        let PlaceStatus::Living(seen) = place_status else { panic!("{place_status:?}") };
        (*seen, requeue)
    }

    #[test]
    fn nodes_are_counted_and_their_resources_added_up() {
        let nodes =
            vec![node("16374220Ki", "nvidia.com/gpu"), node("1Mi", "amd.com/gpu"), node("junk", "nvidia.com/gpu")];
        let (seen, requeue) = looked(&living(Report::default(), nodes), "2026-01-01T00:00:00Z");
        assert_eq!((seen.nodes.summary.as_str(), seen.distribution, requeue), ("3/3", "kubeadm", Requeue::Watch));
        assert_eq!(
            serde_json::to_value(seen.resources).unwrap(),
            json!({
                "capacity": {"amd.com/gpu": "2", "cpu": "4500m", "memory": "16375244Ki", "nvidia.com/gpu": "4", "pods": "330"},
                "allocatable": {"cpu": "3", "memory": "3000"},
            })
        );
    }

    #[test]
    fn t11_since_when_policies_are_in_place_is_recorded_once() {
        let mut cluster = cluster();
        let mut seen_at = |id: &str, now: &str| {
            let World::Living(mut living) = living(Report::default(), Vec::new()) else { panic!("it lives") };
            living.policies = Some(PoliciesState { id: id.to_owned(), since: None });
            let PlaceStatus::Living(seen) = look(&cluster, &living, at(now)).place_status else { panic!("it lives") };
            cluster.status.get_or_insert_default().policies.clone_from(&seen.policies);
            seen.policies.unwrap().since.0
        };
        let (first, second, third) = ("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z");
        assert_eq!((seen_at("a", first), seen_at("a", second)), (at(first), at(first)));
        assert_eq!(seen_at("b", third), at(third), "one was altered in between");
    }

    #[test]
    fn policies_are_written_where_they_lack_to_a_cluster_that_is_ours_with_all_rights() {
        let complete = || Report { claimed: true, missing_rights: Some(Vec::new()), ..Report::default() };
        let lacking = Report { missing_rights: Some(vec!["manage namespaces".into()]), ..complete() };
        let unknown = Report { missing_rights: None, ..complete() };
        let (wrong, suspended) = (|| Guarded::Altered(vec!["drover-guards"]), json!({"suspend": true}));
        for (report, here, spec, expected) in [
            (complete(), wrong(), json!({}), "[[write the admission policy drover-guards]]"),
            (complete(), Guarded::Intact, json!({}), "[]"),
            (complete(), Guarded::Unknown, json!({}), "[]"),
            (complete(), wrong(), suspended, "[]"),
            (Report { claimed: false, ..complete() }, wrong(), json!({}), "[]"),
            (lacking, wrong(), json!({}), "[]"),
            (unknown, wrong(), json!({}), "[]"),
        ] {
            let mut cluster = cluster();
            cluster.spec.suspend = spec["suspend"] == true;
            let World::Living(mut living) = living(report, Vec::new()) else { panic!("it lives") };
            living.admission.here = here;
            let now = at("2026-01-01T00:00:00Z");
            let plan = plan(&cluster, &World::Living(living), now);
            assert_eq!(format!("{:?}", plan.groups), expected);
            assert_eq!(plan.requeue, Requeue::At(at("2026-01-01T00:00:30Z")));
        }
    }

    #[test]
    fn missing_rights_are_named_with_the_remedy() {
        assert_eq!(rights("eu", None), RightsOfCredential::Unknown);
        assert_eq!(rights("eu", Some(&[])), RightsOfCredential::Complete);
        let told = |name: &str, missing: &[String]| match rights(name, Some(missing)) {
            RightsOfCredential::Incomplete(message) => message,
            other => panic!("{other:?}"),
        };
        let missing: Vec<_> = (0..12).map(|number| format!("list kind{number}")).collect();
        let local = told("local", &missing[..1]);
        let told = told("eu", &missing);
        assert!(told.contains("may not list kind0, list kind1") && told.contains("list kind9 and 2 more"), "{told}");
        assert!(told.contains("--name eu --apply"), "{told}");
        assert!(local.contains("local.enabled"));
    }

    #[test]
    fn vendors_resources_are_limited_in_the_total_too() {
        let nodes = (0..9).map(|number| node("1", &format!("vendor.com/{number}"))).collect();
        let (seen, _) = looked(&living(Report::default(), nodes), "2026-01-01T00:00:00Z");
        assert_eq!(seen.resources.capacity.len(), 7);
    }

    #[test]
    fn the_next_look_is_when_a_judgement_changes() {
        let certificate =
            SeenCertificate { name: "client", source: "kubeconfig", not_after: at("2026-01-10T00:00:00Z") };
        let life = CredentialLife { not_before: None, not_after: at("2026-01-08T00:00:00Z") };
        let report = Report { certificates: vec![certificate], credential: Some(life), ..Report::default() };
        let world = living(report, Vec::new());
        for (now, requeue) in [
            ("2026-01-01T00:00:00Z", Requeue::At(at("2026-01-07T00:00:00Z"))),
            ("2026-01-07T00:00:00Z", Requeue::At(at("2026-01-08T00:00:00Z"))),
            ("2026-01-08T00:00:00Z", Requeue::At(at("2026-01-09T00:00:00Z"))),
            ("2026-01-09T00:00:00Z", Requeue::At(at("2026-01-10T00:00:00Z"))),
            ("2026-01-10T00:00:00Z", Requeue::Watch),
            ("2020-01-01T00:00:00Z", Requeue::At(at("2020-01-31T00:00:00Z"))),
        ] {
            assert_eq!(looked(&world, now).1, requeue, "{now}");
        }
    }
}
