//! The deletion matrix: a Cluster and a Project, with or without an app in it, that are deleted in every combination of policies, order and
//! reach, with a crash before every request. The operators' own plans run against one cluster in memory; its corners run on real API
//! servers in `e2e/tests/e2e/deletion.rs`.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may panic")]

#[path = "deletion_matrix/app.rs"]
mod app;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use app::{AppFate, Around, ModelApp};
use drover_catalog_app::consent::ProjectState;
use drover_cluster::{
    Action as ClusterAction, ClusterOperator, PlaceStatus as ClusterPlaceStatus, World as ClusterWorld, observe,
};
use drover_crds::{Cluster, DeletionPolicy, Project, condition::DELETING};
use drover_fleet::{ConnectionCause, targets};
use drover_grants::Members;
use drover_project::{
    ProjectOperator,
    act::Action,
    bounds::Bounds,
    guards::Guards,
    observe::{Seen, World},
    secrets::Secrets,
    self_service::Served,
};
use drover_runtime::{
    Cache, ClusterName, ClusterView, Failure, FleetView, Link, ObjectKey, Operator, Owner, OwnerRecord, Place, Requeue,
    model::{ModelObject, ModelObjects, Requests},
    operator::record_of,
    owned::{Change, Owned},
    status::condition,
};
use k8s_openapi::{
    api::core::v1::Namespace,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use kube::{Client, Config};
use serde_json::json;

/// What happens to one of the two objects: it is not deleted, or with this policy.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Kept,
    Orphan,
    Delete,
    /// Only a Project: it is gone at once, since a person took its finalizer away or rebuilt the management cluster without it.
    Vanish,
}

/// Which one is deleted first; the other one follows half a minute later.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    Cluster,
    Project,
    Together,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Reach {
    Always,
    Never,
    /// It is away for the first two minutes, and the deadline is after ten.
    Returns,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Case {
    cluster: Fate,
    project: Fate,
    order: Order,
    reach: Reach,
    app: AppFate,
}

const SECOND_DELETION: i64 = 30;
const RETURN: i64 = 120;
const DEADLINE: i64 = 600;
/// After the deadline everything has to be over soon.
const END: i64 = DEADLINE + 120;

/// What is left in the end.
#[expect(clippy::struct_excessive_bools, reason = "each is there or gone by itself")]
#[derive(Clone, PartialEq)]
struct Outcome {
    cluster: bool,
    project: bool,
    claim: bool,
    drover_namespace: bool,
    /// Whether each namespace is there, and whether it carries our labels.
    namespaces: BTreeMap<&'static str, Option<bool>>,
    release: bool,
    account: bool,
    role: bool,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let there = |is: bool| if is { "stays" } else { "gone" };
        let named = |name: &str| match self.namespaces[name] {
            None => "gone",
            Some(true) => "labelled",
            Some(false) => "free",
        };
        write!(
            formatter,
            "Cluster {}, Project {}, claim {}, drover-system {}, created {}, adopted {}, release {}, account {}, role {}",
            there(self.cluster),
            there(self.project),
            there(self.claim),
            there(self.drover_namespace),
            named("created"),
            named("adopted"),
            there(self.release),
            there(self.account),
            there(self.role),
        )
    }
}

/// One run.
struct Run {
    case: Case,
    now: i64,
    /// When the process started last.
    started: i64,
    /// How many requests get through before the process dies, once.
    left: Option<usize>,
    /// How many requests were made.
    requests: usize,
    cluster: Option<Cluster>,
    project: Option<Project>,
    claim: bool,
    drover_namespace: bool,
    namespaces: ModelObjects,
    app: ModelApp,
    connected: Link,
}

struct Crashed;

/// The Project's namespace and name.
fn shop() -> ObjectKey {
    ObjectKey::namespaced("team", "shop")
}

fn record() -> OwnerRecord {
    record_of::<ProjectOperator>(shop())
}

/// A namespace that the Project created, and one that it adopted.
fn held(project: &Project) -> ModelObjects {
    let mut namespaces = ModelObjects::default();
    let desired = |name: &str| {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        Namespace { metadata, ..Namespace::default() }
    };
    let found = namespaces.add(&ObjectKey::cluster_scoped("adopted"), ModelObject::default()).meta("adopted");
    let adopt = Change::Adopt { desired: Box::new(desired("adopted")), live: Box::new(found) };
    for action in [Change::create(desired("created")), adopt] {
        carry_out(&mut namespaces, Owner::of(project), action);
    }
    namespaces
}

fn carry_out(namespaces: &mut ModelObjects, owner: Owner<'_, Project>, action: Change<Namespace>) {
    namespaces.carry_out::<ProjectOperator, _>(owner, action, &mut Requests::unlimited()).unwrap();
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn policy(fate: Fate) -> &'static str {
    if fate == Fate::Delete { "Delete" } else { "Orphan" }
}

impl Run {
    fn new(case: Case, left: Option<usize>) -> Self {
        let cluster: Cluster = serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "eu", "uid": "c"},
            "spec": {
                "connection": {"kubeconfig": {"secretRef": {"name": "eu"}}}, "deletionPolicy": policy(case.cluster),
                "tenants": [{"name": "all", "from": {"all": {}}, "namespacePatterns": ["*"], "adopt": "Allowed"}],
            },
            "status": {"clusterUID": "u"},
        }))
        .unwrap();
        let project: Project = serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "Project",
            "metadata": {"name": "shop", "namespace": "team", "uid": "p"},
            "spec": {
                "clusters": {"all": {}}, "deletionPolicy": policy(case.project),
                "namespaces": [{"name": "created"}, {"name": "adopted", "onExisting": "Adopt"}],
            },
        }))
        .unwrap();
        let config = Config::new("https://127.0.0.1:1".parse().unwrap());
        let connected = Link::Connected(Arc::new(Cache::ungated(Client::try_from(config).unwrap())));
        Self {
            case,
            now: 0,
            started: -1_000,
            left,
            requests: 0,
            cluster: Some(cluster),
            namespaces: held(&project),
            app: ModelApp::new(case.app),
            project: Some(project),
            claim: true,
            drover_namespace: true,
            connected,
        }
    }

    fn outcome(mut self) -> (Outcome, usize) {
        while self.now < END && !self.is_over() {
            self.people_delete();
            if self.pass_cluster().is_err()
                || self.pass_project_if_due().is_err()
                || self.pass_roles().is_err()
                || self.pass_app_if_due().is_err()
            {
                self.started = self.now;
                self.left = None;
            }
            self.namespaces.settle();
            if self.namespaces.get("created").is_none() {
                self.app.lose_namespace();
            }
            self.now += 2;
        }
        let is_held = |name: &str| self.namespaces.get(name).map(|found| record().owns(&found.meta(name)));
        let left = ["created", "adopted"].map(|name| (name, is_held(name)));
        let outcome = Outcome {
            cluster: self.cluster.is_some(),
            project: self.project.is_some(),
            claim: self.claim,
            drover_namespace: self.drover_namespace,
            namespaces: left.into(),
            release: self.app.release.is_some(),
            account: !self.app.accounts.is_empty(),
            role: !self.app.roles.is_empty(),
        };
        (outcome, self.requests)
    }

    /// Nobody does anything any more.
    fn is_over(&self) -> bool {
        let is_kept = self.case.project == Fate::Kept;
        self.now > SECOND_DELETION && self.cluster.is_none() && (is_kept || self.project.is_none())
    }

    fn people_delete(&mut self) {
        let when = |first: Order| if [first, Order::Together].contains(&self.case.order) { 0 } else { SECOND_DELETION };
        let (cluster_at, project_at) = (when(Order::Cluster), when(Order::Project));
        let due = |fate: Fate, second: i64| fate != Fate::Kept && self.now == second;
        let (cluster, project) = (due(self.case.cluster, cluster_at), due(self.case.project, project_at));
        if let Some(object) = self.cluster.as_mut().filter(|_| cluster) {
            object.metadata.deletion_timestamp = Some(Time(at(self.now)));
        }
        if project && self.case.project == Fate::Vanish {
            self.project = None;
        }
        if let Some(object) = self.project.as_mut().filter(|_| project) {
            object.metadata.deletion_timestamp = Some(Time(at(self.now)));
        }
    }

    fn is_away(&self) -> bool {
        match self.case.reach {
            Reach::Always => false,
            Reach::Never => true,
            Reach::Returns => self.now < RETURN,
        }
    }

    fn fleet(&self) -> FleetView {
        let failure = Failure::new(ConnectionCause::DialFailed, "away");
        let link = if self.is_away() { Link::Disconnected(failure) } else { self.connected.clone() };
        let view = |object: &Cluster| {
            (
                ClusterName::from(object),
                ClusterView { object: Arc::new(object.clone()), link: link.clone(), reports: 0 },
            )
        };
        FleetView::new(self.cluster.iter().map(view).collect(), BTreeMap::new(), true)
    }

    fn request(&mut self) -> Result<(), Crashed> {
        match &mut self.left {
            Some(0) => return Err(Crashed),
            Some(left) => *left -= 1,
            None => {}
        }
        self.requests += 1;
        Ok(())
    }

    /// The Project has much to do elsewhere and comes here now and then: a Cluster that does not wait for it is gone by then.
    fn pass_project_if_due(&mut self) -> Result<(), Crashed> {
        if self.now % 10 == 8 { self.pass_project() } else { Ok(()) }
    }

    /// As the shell does it: a deleted object waits for all its places, and one that is away cannot be asked.
    fn pass_project(&mut self) -> Result<(), Crashed> {
        let Some(project) = self.project.clone() else { return Ok(()) };
        let places = targets::of(&project, &self.fleet()).places;
        let mut released = true;
        if places.contains(&Place::cluster("eu")) {
            released = !self.is_away() && self.converge_project(&project)?;
        }
        if released && project.metadata.deletion_timestamp.is_some() {
            self.request()?;
            self.project = None;
        }
        Ok(())
    }

    fn converge_project(&mut self, project: &Project) -> Result<bool, Crashed> {
        let cluster = Arc::new(self.cluster.clone().unwrap());
        let is_leaving = cluster.metadata.deletion_timestamp.is_some();
        if project.metadata.deletion_timestamp.is_none() && !is_leaving {
            return Ok(false); // Both live: nothing is deleted.
        }
        let with_apps = is_leaving && self.app.has_role();
        let seen = |found: Owned<Namespace>| {
            let name = found.meta().name.clone().unwrap();
            (name, Seen::Ours { live: found.live.unwrap(), drift_conflict: found.drift_conflict })
        };
        let namespaces = self.namespaces.owned(&record()).into_iter().map(seen).collect();
        let world = World {
            cluster,
            in_operator_namespace: false,
            tenant_labels: None,
            bounds: Bounds::default(),
            installation: String::new(),
            others: BTreeSet::new(),
            namespaces,
            guards: Guards::default(),
            members: Members::default(),
            secrets: Secrets::default(),
            served: Served::default(),
            with_apps: with_apps.then(|| "created".to_owned()).into_iter().collect(),
        };
        let plan = ProjectOperator::clean_up(Owner::of(project), &world, at(self.now));
        let idle = plan.is_idle();
        for action in plan.groups.into_iter().flatten() {
            self.request()?;
            let Action::Namespace(change) = action else { panic!("{action:?}") };
            carry_out(&mut self.namespaces, Owner::of(project), change);
        }
        Ok(idle && plan.requeue == Requeue::Released)
    }

    /// Where an app or a role is at the cluster: only there something is done about it, once it is deleted.
    fn around(&self) -> Option<(Cluster, ProjectState, Option<bool>)> {
        let cluster = self.cluster.clone().filter(|_| !self.is_away())?;
        let lives = self.project.as_ref().is_some_and(|project| project.metadata.deletion_timestamp.is_none());
        let project = if lives { ProjectState::Present } else { ProjectState::Absent };
        let namespace = self.namespaces.get("created").map(|found| record().owns(&found.meta("created")));
        Some((cluster, project, namespace))
    }

    /// It takes longer than a Project needs to come by.
    fn pass_app_if_due(&mut self) -> Result<(), Crashed> {
        if self.now % 4 == 0 { self.pass_app() } else { Ok(()) }
    }

    fn pass_app(&mut self) -> Result<(), Crashed> {
        let Some((cluster, project, namespace)) = self.around() else { return Ok(()) };
        let around = Around { cluster: &cluster, project, namespace, now: at(self.now) };
        let is_leaving = cluster.metadata.deletion_timestamp.is_some();
        let actions = match (is_leaving, project) {
            (true, _) => self.app.next(&around),
            (false, ProjectState::Absent) => self.app.withdraw(&around),
            (false, _) => Vec::new(),
        };
        for action in actions {
            self.request()?;
            self.app.act(action, &around);
        }
        Ok(())
    }

    fn pass_roles(&mut self) -> Result<(), Crashed> {
        let Some((cluster, ..)) = self.around() else { return Ok(()) };
        if cluster.metadata.deletion_timestamp.is_none() || cluster.spec.deletion_policy != DeletionPolicy::Delete {
            return Ok(());
        }
        for action in self.app.next_of_roles(at(self.now)) {
            self.request()?;
            self.app.act_on_roles(&action);
        }
        Ok(())
    }

    fn pass_cluster(&mut self) -> Result<(), Crashed> {
        let Some(cluster) = self.cluster.clone().filter(|cluster| cluster.metadata.deletion_timestamp.is_some()) else {
            return Ok(());
        };
        let reach = match self.fleet().get(&ClusterName::from("eu")).map(|view| view.link.clone()) {
            Some(Link::Disconnected(failure)) => observe::Reach::Disconnected(failure),
            _ => observe::Reach::Connected(self.there()),
        };
        let running = Duration::from_secs(u64::try_from(self.now - self.started).unwrap());
        let world = ClusterWorld::Teardown(Box::new(observe::Teardown { running, reach }));
        let plan = ClusterOperator::clean_up(Owner::of(&cluster), &world, at(self.now));
        if plan.is_idle() && plan.requeue == Requeue::Released {
            self.request()?;
            self.cluster = None;
            return Ok(());
        }
        let ClusterPlaceStatus::Teardown(leave) = plan.place_status else { panic!("{:?}", plan.place_status) };
        let told = vec![condition(DELETING, true, leave.cause, leave.message)];
        let mut status = cluster.status.unwrap_or_default();
        status.conditions = told;
        self.cluster.as_mut().unwrap().status = Some(status);
        for action in plan.groups.into_iter().flatten() {
            self.request()?;
            match action {
                ClusterAction::ReleaseLeftBehind(all) => {
                    for observe::LeftBehind { live, holder } in all {
                        carry_out(&mut self.namespaces, Owner::Gone(&holder), Change::Release(Box::new(live)));
                    }
                }
                ClusterAction::WritePolicy(_) | ClusterAction::RemovePolicies(_) => panic!("there are no policies"),
                ClusterAction::ReleaseClaim => {
                    assert!(self.app.accounts.is_empty() || self.now >= DEADLINE || self.case.cluster == Fate::Orphan);
                    self.claim = false;
                }
                ClusterAction::DeleteNamespace { .. } => {
                    self.drover_namespace = false;
                    self.app.accounts.clear();
                }
            }
        }
        Ok(())
    }

    fn there(&self) -> observe::There {
        let record = record();
        let all = self.namespaces.iter().map(|(name, found)| found.meta(name));
        let owned: Vec<ObjectMeta> = all.filter(|meta| record.owns(meta)).collect();
        let left_behind = |live| observe::LeftBehind { live, holder: shop() };
        let is_abandoned = self.project.is_none();
        observe::There {
            apps: self.app.accounts.len(),
            roles: self.app.roles.len(),
            holder: if self.claim { observe::Holder::Us } else { observe::Holder::Nobody },
            owned: if is_abandoned { 0 } else { owned.len() },
            left_behind: if is_abandoned { owned.into_iter().map(left_behind).collect() } else { Vec::new() },
            policies: Vec::new(),
            namespace: self.drover_namespace.then(|| "drover-system".to_owned()),
            hosts_others: false,
        }
    }
}

/// What has to be left, by rules and not by running anything.
fn expected(case: Case) -> Outcome {
    let reached = case.reach != Reach::Never;
    let (cluster_goes, project_goes) = (case.cluster != Fate::Kept, case.project != Fate::Kept);
    // While it is away, the Cluster's deletion begins before the Project's work there can.
    let project_is_first = case.order == Order::Project && case.reach == Reach::Always;
    let is_stuck = case.app == AppFate::Stuck;
    // A Cluster that waits for an app is still there.
    let cluster_is_first = cluster_goes && case.order == Order::Cluster && case.reach == Reach::Always && !is_stuck;
    let vanishes = case.project == Fate::Vanish;
    let project_works =
        project_goes && !vanishes && reached && !cluster_is_first && (case.cluster != Fate::Orphan || project_is_first);
    let goes_with_delete = case.cluster == Fate::Delete && reached;
    let created_goes = project_works && case.project == Fate::Delete;
    let adopted = project_works || goes_with_delete;
    // An app that lost its Project before has no role any more, so nothing waits for it, and its release stays.
    let has_no_role = project_goes && project_is_first;
    let keeps = is_stuck && !has_no_role && !created_goes;
    // A namespace in which an app is stuck is released with its Project only.
    let created = if created_goes { None } else { Some(!(adopted && (!keeps || project_works || vanishes))) };
    let is_uninstalled = goes_with_delete && !has_no_role && matches!(case.app, AppFate::Kept | AppFate::Deleted);
    let has_app = case.app != AppFate::Absent;
    Outcome {
        cluster: !cluster_goes,
        // It waits for a cluster that is away for as long as its Cluster is there.
        project: !(project_goes && (reached || cluster_goes || vanishes)),
        claim: !(cluster_goes && reached),
        drover_namespace: !goes_with_delete,
        namespaces: [("created", created), ("adopted", Some(!adopted))].into(),
        release: has_app && !is_uninstalled && !created_goes,
        account: has_app && !goes_with_delete,
        role: has_app && (!goes_with_delete || keeps),
    }
}

fn cases() -> Vec<Case> {
    let fates = [Fate::Kept, Fate::Orphan, Fate::Delete];
    let orders = [Order::Cluster, Order::Project, Order::Together];
    let mut cases = Vec::new();
    let of_projects = [Fate::Kept, Fate::Orphan, Fate::Delete, Fate::Vanish];
    for (cluster, project) in fates.iter().flat_map(|one| of_projects.map(|other| (*one, other))) {
        for (order, reach) in
            orders.iter().flat_map(|order| [Reach::Always, Reach::Never, Reach::Returns].map(|reach| (*order, reach)))
        {
            cases.push(Case { cluster, project, order, reach, app: AppFate::Absent });
            let with_app = [AppFate::Kept, AppFate::Deleted, AppFate::Orphan, AppFate::Stuck];
            let with_app = with_app.into_iter().filter(|_| cluster == Fate::Delete);
            cases.extend(with_app.map(|app| Case { cluster, project, order, reach, app }));
        }
    }
    cases
}

#[tokio::test]
async fn every_deletion_ends_as_its_policies_say() {
    for case in cases() {
        let (outcome, _) = Run::new(case, None).outcome();
        assert_eq!(outcome, expected(case), "{case:?}");
    }
}

#[tokio::test]
async fn a_crash_before_any_request_changes_nothing_in_the_end() {
    let mut crashes = 0;
    // What waits for its deadline takes long, and waits in one order as in another.
    let waits =
        |case: &Case| case.app != AppFate::Absent && (case.app == AppFate::Stuck || case.reach != Reach::Always);
    let all = cases().into_iter().filter(|case| !waits(case) || case.order == Order::Together);
    for case in all {
        let (straight, requests) = Run::new(case, None).outcome();
        for left in 0..requests {
            let (interrupted, _) = Run::new(case, Some(left)).outcome();
            assert_eq!(interrupted, straight, "{case:?}, crashed after {left} requests");
            crashes += 1;
        }
    }
    assert!(crashes > 100, "only {crashes} crashes were tried");
}
