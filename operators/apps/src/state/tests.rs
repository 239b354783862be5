//! A release in a model of a cluster: records, hooks and objects in memory.

use drover_crds::{CatalogApp, CatalogAppStatus, FailedTries, Release, TakenUp};
use drover_releases::{
    hook::{Hook, HookEvent, HookRun},
    record::{Info, Record},
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::SignedDuration};
use proptest::prelude::*;
use serde_json::json;

use super::*;

const START: Timestamp = Timestamp::UNIX_EPOCH;

/// What a cluster does with what is sent.
#[derive(Clone, Debug, Default)]
struct Behaviour {
    /// Hooks that fail, by name.
    failing_hooks: Vec<&'static str>,
    /// A hook that never ends.
    endless_hook: Option<&'static str>,
    /// Whether objects become ready.
    never_ready: bool,
    /// Whether the chart renders the same each time.
    renders_the_same: bool,
    /// Whether objects in the cluster are not as their record says.
    has_drifted: bool,
}

#[derive(Clone, Debug)]
struct Model {
    app: CatalogApp,
    input_hash: String,
    /// What a render of the present inputs gives; another one each time, as of a chart with random functions.
    renders: u32,
    prepared: Option<Release>,
    records: Vec<Record>,
    behaviour: Behaviour,
    now: Timestamp,
    steps: Vec<String>,
}

fn app(spec: &serde_json::Value) -> CatalogApp {
    let mut whole = json!({
        "clusterName": "eu", "namespace": "shop", "projectName": "shop", "roleTemplateName": "deployer",
        "chart": {"configMap": {"name": "c", "key": "c.tgz", "digest": format!("sha256:{}", "0".repeat(64))}},
    });
    let fields = whole.as_object_mut().unwrap();
    fields.extend(spec.as_object().cloned().unwrap_or_default());
    let metadata = json!({"name": "shop", "namespace": "team-a", "uid": "1"});
    let object =
        json!({"apiVersion": "drover.dev/v1alpha1", "kind": "CatalogApp", "metadata": metadata, "spec": whole});
    CatalogApp { status: Some(CatalogAppStatus::default()), ..serde_json::from_value(object).unwrap() }
}

fn hook(name: &str, events: &[HookEvent], weight: i64) -> Hook {
    Hook { name: name.to_owned(), path: name.to_owned(), events: events.to_vec(), weight, ..Hook::default() }
}

fn hooks() -> Vec<Hook> {
    use HookEvent::{PostInstall, PostUpgrade, PreDelete, PreInstall, PreRollback, PreUpgrade};
    vec![
        hook("late", &[PreInstall, PreUpgrade], 5),
        hook("early", &[PreInstall, PreRollback], -5),
        hook("after", &[PostInstall, PostUpgrade], 0),
        hook("farewell", &[PreDelete], 0),
    ]
}

impl Model {
    fn new(spec: &serde_json::Value) -> Self {
        Self {
            app: app(spec),
            input_hash: "one".to_owned(),
            renders: 0,
            prepared: None,
            records: Vec::new(),
            behaviour: Behaviour::default(),
            now: START,
            steps: Vec::new(),
        }
    }

    fn status(&mut self) -> &mut CatalogAppStatus {
        self.app.status.as_mut().unwrap()
    }

    fn seen(&self) -> Seen {
        let records: Vec<Head> =
            self.records.iter().map(|record| Head { is_noted: true, ..Head::of(record, true) }).collect();
        let newest = self.records.last();
        let running =
            newest.and_then(|record| record.hooks.iter().find(|hook| hook.last_run.phase == HookPhase::Running));
        let hook = running.map(|hook| {
            if self.behaviour.endless_hook == Some(&*hook.name) {
                Standing::Waiting { what: format!("Job {}", hook.name), why: "the Job has not ended" }
            } else if self.behaviour.failing_hooks.contains(&&*hook.name) {
                Standing::Failed(hook.name.clone())
            } else {
                Standing::Ready
            }
        });
        let objects = newest.filter(|record| record.info.description == APPLIED).map(|_| {
            let waiting =
                Standing::Waiting { what: "Deployment shop".to_owned(), why: "replicas are not available yet" };
            if self.behaviour.never_ready { waiting } else { Standing::Ready }
        });
        Seen { records, hook, objects, likeness: self.likeness() }
    }

    fn likeness(&self) -> Option<Likeness> {
        let (prepared, newest) = (self.prepared.as_ref()?, self.records.last()?);
        Some(if newest.digest() == prepared.manifest_digest {
            Likeness::Same
        } else if self.behaviour.has_drifted {
            Likeness::Other
        } else {
            Likeness::Unchanged
        })
    }

    fn manifest(&self) -> String {
        if self.behaviour.renders_the_same { self.input_hash.clone() } else { format!("render {}", self.renders) }
    }

    /// One reconcile. What it does is cut off after `done` of its effects, as if the process was killed: none, or all.
    fn reconcile(&mut self, is_killed: bool) -> Next {
        let prepared = self.prepared.clone().map_or(Prepared::Nothing, |release| Prepared::Release(Box::new(release)));
        let next = next(&self.app, &self.input_hash, &prepared, &self.seen(), self.now);
        if is_killed {
            // What is in memory only is lost.
            self.prepared = None;
            return next;
        }
        self.carry_out(&next);
        next
    }

    fn carry_out(&mut self, next: &Next) {
        let now = self.now;
        match next {
            Next::Render => {
                self.renders += 1;
                let record = Record { manifest: self.manifest(), hooks: hooks(), ..Record::default() };
                self.prepared = Some(Release {
                    revision: 1,
                    chart_version: "1".to_owned(),
                    app_version: None,
                    chart_digest: String::new(),
                    input_hash: self.input_hash.clone(),
                    manifest_digest: record.digest(),
                    objects: 1,
                    warning: None,
                    rollback_of: None,
                    without_secrets: false,
                    taken_up: None,
                    at: Time(now),
                });
            }
            Next::Note(release) => self.status().pending = Some((**release).clone()),
            Next::Begin(release) => {
                let manifest = self.manifest();
                let status = if self.records.iter().any(|record| record.info.status == Status::Deployed) {
                    Status::PendingUpgrade
                } else {
                    Status::PendingInstall
                };
                self.create(manifest, release.revision, status);
            }
            Next::RollBack { to, from } => {
                let manifest = self.records.iter().find(|record| record.version == *from).unwrap().manifest.clone();
                self.create(manifest, to.revision, Status::PendingRollback);
            }
            Next::StartHook(at) => self.newest().hooks[*at].start(now),
            Next::EndHook { at, succeeded } => {
                let name = self.newest().hooks[*at].name.clone();
                self.steps.push(format!("hook {name}"));
                let phase = if *succeeded { HookPhase::Succeeded } else { HookPhase::Failed };
                self.newest().hooks[*at].finish(phase, now);
            }
            Next::Apply => {
                let manifest = self.newest().manifest.clone();
                let is_going = self.newest().info.status == Status::Uninstalling;
                self.steps.push(format!("{} {manifest}", if is_going { "delete" } else { "apply" }));
                APPLIED.clone_into(&mut self.newest().info.description);
            }
            Next::Finish if self.newest().info.status == Status::Uninstalling => self.records.clear(),
            Next::Finish => {
                self.records.iter_mut().filter(|record| record.info.status == Status::Deployed).for_each(|record| {
                    record.info.status = Status::Superseded;
                });
                self.newest().info.status = Status::Deployed;
            }
            Next::Fail(_) | Next::Unlock(_) => self.newest().info.status = Status::Failed,
            Next::BeginUninstall(_) => {
                let newest = self.newest();
                newest.info = Info { status: Status::Uninstalling, deleted: Some(now), ..Info::default() };
                newest.hooks.iter_mut().for_each(|hook| hook.last_run = HookRun::default());
            }
            Next::Deployed => {
                let hash = self.input_hash.clone();
                let status = self.status();
                status.applied = status.pending.take();
                status.history.extend(status.applied.clone());
                if status.applied.as_ref().is_some_and(|applied| applied.input_hash == hash) {
                    status.failed = None;
                }
            }
            Next::TakeUp(release) => {
                let status = self.status();
                status.applied = Some((**release).clone());
                status.history.push((**release).clone());
            }
            Next::Failed(_) => self.note_failure(),
            Next::Pause(until) => self.now = *until,
            Next::Rest => {
                let status = self.status();
                (status.pending, status.failed) = (None, None);
            }
            Next::Unrenderable | Next::Wait(_) | Next::Taken | Next::Locked | Next::Exhausted | Next::NoRevision(_) => {
            }
        }
        self.now += SignedDuration::from_secs(1);
    }

    fn note_failure(&mut self) {
        let hash = self.input_hash.clone();
        let now = self.now;
        let status = self.status();
        let tried = status.pending.take().map(|pending| pending.input_hash);
        let is_back = tried == status.applied.as_ref().map(|applied| applied.input_hash.clone());
        let hash = tried.filter(|_| !is_back).unwrap_or(hash);
        let before = status.failed.take().filter(|failed| failed.input_hash == hash);
        let count = before.map_or(0, |failed| failed.count) + 1;
        let reason = "HookFailed".to_owned();
        status.failed = Some(FailedTries {
            input_hash: hash,
            generation: 0,
            rights: String::new(),
            count,
            revision: None,
            manifest_digest: None,
            at: Time(now),
            reason,
            message: String::new(),
        });
    }

    fn create(&mut self, manifest: String, version: i64, status: Status) {
        assert!(!self.records.iter().any(|record| record.version == version), "the record is the lock");
        let info = Info { status, last_deployed: Some(self.now), ..Info::default() };
        self.records.push(Record { manifest, version, hooks: hooks(), info, ..Record::default() });
    }

    fn newest(&mut self) -> &mut Record {
        self.records.last_mut().unwrap()
    }

    fn until_rest(&mut self) -> Next {
        for _ in 0..500 {
            let next = self.reconcile(false);
            if matches!(next, Next::Rest | Next::Exhausted | Next::Locked | Next::Taken | Next::NoRevision(_)) {
                return next;
            }
        }
        panic!("it does not come to rest: {:?}", self.steps);
    }

    fn statuses(&self) -> Vec<Status> {
        self.records.iter().map(|record| record.info.status).collect()
    }
}

#[test]
fn an_install_runs_hooks_by_weight_applies_and_comes_to_rest() {
    let mut model = Model::new(&json!({}));
    assert_eq!(model.until_rest(), Next::Rest);
    assert_eq!(model.steps, ["hook early", "hook late", "apply render 1", "hook after"]);
    assert_eq!(model.statuses(), [Status::Deployed]);
    let renders = model.renders;
    assert_eq!(model.reconcile(false), Next::Rest);
    model.prepared = None;
    assert_eq!((model.reconcile(false), model.renders), (Next::Rest, renders), "a stored manifest decides");
}

#[test]
fn a_change_is_one_upgrade_and_its_revert_another_one() {
    let mut model = Model::new(&json!({}));
    model.until_rest();
    model.input_hash = "two".to_owned();
    model.steps.clear();
    assert_eq!(model.until_rest(), Next::Rest);
    assert_eq!(model.steps, ["hook late", "apply render 2", "hook after"]);
    assert_eq!(model.statuses(), [Status::Superseded, Status::Deployed]);
    model.input_hash = "one".to_owned();
    model.steps.clear();
    assert_eq!(model.until_rest(), Next::Rest);
    assert_eq!(model.steps, ["hook early", "apply render 1"], "it is the way back to what was rendered then");
    assert_eq!((model.records.len(), model.renders), (3, 2));
    assert!(is_at_rest(&model.app, "one"));
    // What is not there as it was noted cannot be gone back to.
    model.records.remove(1);
    model.prepared = None;
    model.input_hash = "two".to_owned();
    assert_eq!(model.until_rest(), Next::Rest);
    assert_eq!(model.renders, 3);
}

/// The management cluster is rebuilt: the status is lost, and what was in memory.
fn rebuilt(behaviour: Behaviour) -> Model {
    let mut model = Model { behaviour, ..Model::new(&json!({})) };
    model.until_rest();
    model.input_hash = "two".to_owned();
    model.until_rest();
    model.app.status = Some(CatalogAppStatus::default());
    model.prepared = None;
    model.steps.clear();
    model
}

#[test]
fn a_rebuilt_management_cluster_takes_up_what_it_would_release_and_writes_nothing() {
    let mut model = rebuilt(Behaviour { renders_the_same: true, ..Behaviour::default() });
    assert_eq!(model.until_rest(), Next::Rest);
    assert_eq!((model.steps.len(), model.records.len()), (0, 2));
    let applied = model.status().applied.clone().unwrap();
    assert!(applied.taken_up == Some(TakenUp::AsRendered) && applied.revision == 2 && is_at_rest(&model.app, "two"));
    model.input_hash = "three".to_owned();
    model.until_rest();
    model.input_hash = "two".to_owned();
    model.until_rest();
    assert_eq!(model.records.last().unwrap().manifest, "two", "it is gone back to as to any other one");
    assert_eq!(model.statuses().len(), 4);
}

#[test]
fn what_a_chart_makes_up_is_taken_up_as_it_is_and_nothing_of_it_is_applied() {
    let mut model = rebuilt(Behaviour::default());
    assert_eq!(model.until_rest(), Next::Rest);
    assert_eq!((model.steps.len(), model.records.len()), (0, 2), "nobody has another password");
    assert!(model.status().applied.as_ref().unwrap().is_only_found());
    // A revision that whoever edits in the namespace may have forged is none to go back to.
    model.input_hash = "three".to_owned();
    model.until_rest();
    model.input_hash = "two".to_owned();
    model.steps.clear();
    model.until_rest();
    assert_eq!(model.steps, ["hook late", "apply render 5", "hook after"]);
}

#[test]
fn a_failed_upgrade_goes_back_to_nothing_that_was_only_found() {
    let mut model = rebuilt(Behaviour::default());
    model.app.spec.remediation.retries = Some(0);
    model.until_rest();
    model.behaviour.failing_hooks = vec!["late"];
    model.input_hash = "three".to_owned();
    assert_eq!(model.until_rest(), Next::Exhausted);
    assert_eq!(model.statuses(), [Status::Superseded, Status::Deployed, Status::Failed]);
}

#[test]
fn what_is_not_as_it_was_released_or_not_known_to_be_of_the_app_is_not_taken_up() {
    let mut model = rebuilt(Behaviour { has_drifted: true, ..Behaviour::default() });
    assert_eq!(model.until_rest(), Next::Rest);
    assert_eq!((model.steps.first().map(String::as_str), model.records.len()), (Some("hook late"), 3), "released anew");
    let head = |status, is_ours| Head { status, ..Head::of(&Record::default(), is_ours) };
    let blank = app(&json!({}));
    assert!(may_be_taken_up(&blank, &head(Status::Deployed, true)));
    assert!(!may_be_taken_up(&blank, &head(Status::Deployed, false)), "of helm, or of another app");
    for status in [Status::Failed, Status::PendingUpgrade, Status::Superseded, Status::Uninstalling] {
        assert!(!may_be_taken_up(&blank, &head(status, true)));
    }
    assert!(!may_be_taken_up(&model.app, &head(Status::Deployed, true)), "its status knows better");
}

#[test]
fn a_pin_holds_a_release_at_a_revision_whatever_else_changes() {
    let mut model = Model::new(&json!({}));
    model.until_rest();
    model.input_hash = "two".to_owned();
    model.until_rest();
    model.app.spec.pin = Some(drover_crds::Pin { revision: 1 });
    model.steps.clear();
    assert_eq!(model.until_rest(), Next::Rest);
    assert_eq!(model.steps, ["hook early", "apply render 1"]);
    model.input_hash = "three".to_owned();
    assert!(is_at_rest(&model.app, "three"), "a newer version waits until the pin is gone");
    assert_eq!((model.until_rest(), model.records.len()), (Next::Rest, 3));
    model.app.spec.pin = None;
    model.until_rest();
    model.app.spec.pin = Some(drover_crds::Pin { revision: 1 });
    assert_eq!((model.until_rest(), model.records.len()), (Next::Rest, 5), "one way back, whatever it goes over");
    model.app.spec.pin = Some(drover_crds::Pin { revision: 9 });
    assert_eq!((model.until_rest(), model.records.len()), (Next::NoRevision(9), 5));
    model.app.spec.pin = None;
    assert_eq!((model.until_rest(), model.records.len()), (Next::Rest, 6));
}

#[test]
fn who_asks_for_it_has_all_tries_again_without_another_input() {
    let mut model = Model::new(&json!({"remediation": {"retries": 0}}));
    model.behaviour.failing_hooks = vec!["late"];
    assert_eq!(model.until_rest(), Next::Exhausted);
    model.app.metadata.annotations = Some([("drover.dev/reconcile-at".to_owned(), "now".to_owned())].into());
    assert!(!is_at_rest(&model.app, "one"));
    assert!(!matches!(model.reconcile(false), Next::Exhausted));
    // The status notes it in the same reconcile.
    let status = model.status();
    (status.last_handled_reconcile_at, status.failed) = (Some("now".to_owned()), None);
    assert_eq!((model.until_rest(), model.records.len()), (Next::Exhausted, 2));
}

#[test]
fn a_failure_is_tried_again_so_often_and_no_more_until_the_inputs_change() {
    let mut model = Model::new(&json!({"remediation": {"retries": 2}}));
    model.behaviour.failing_hooks = vec!["late"];
    assert_eq!(model.until_rest(), Next::Exhausted);
    assert_eq!(model.statuses(), [Status::Failed; 3]);
    assert!(!model.steps.iter().any(|step| step.starts_with("apply")), "nothing follows a hook that failed");
    assert_eq!(model.until_rest(), Next::Exhausted);
    assert_eq!(model.records.len(), 3);
    model.input_hash = "two".to_owned();
    model.behaviour.failing_hooks.clear();
    assert_eq!(model.until_rest(), Next::Rest);
}

#[test]
fn a_hook_that_never_ends_fails_at_its_deadline_and_nothing_follows_it() {
    let mut model = Model::new(&json!({"remediation": {"retries": 0}, "wait": {"timeout": "20s"}}));
    model.behaviour.endless_hook = Some("early");
    let mut failure = None;
    for _ in 0..60 {
        if let Next::Fail(why) = model.reconcile(false) {
            failure = Some(why);
        }
    }
    assert_eq!(failure, Some(Failure::HookTimeout("Job early: the Job has not ended".to_owned())));
    assert_eq!(model.until_rest(), Next::Exhausted);
    assert_eq!((model.statuses(), model.steps.len()), (vec![Status::Failed], 0));
    assert!((model.now - START).get_seconds() > 20);
}

#[test]
fn what_is_not_ready_in_time_goes_back_to_the_revision_before_once() {
    let mut model =
        Model::new(&json!({"remediation": {"retries": 0, "onFailure": "Rollback"}, "wait": {"timeout": "20s"}}));
    model.until_rest();
    model.input_hash = "two".to_owned();
    model.behaviour.never_ready = true;
    model.steps.clear();
    for _ in 0..60 {
        model.reconcile(false);
        if model.statuses().last() == Some(&Status::PendingRollback) {
            model.behaviour.never_ready = false;
        }
    }
    assert_eq!(model.until_rest(), Next::Exhausted);
    assert_eq!(model.steps, ["hook late", "apply render 2", "hook early", "apply render 1"]);
    assert_eq!(model.statuses(), [Status::Superseded, Status::Failed, Status::Deployed]);
    assert_eq!(model.status().applied.as_ref().map(|applied| applied.revision), Some(3));
}

#[test]
fn a_way_back_that_fails_is_not_tried_again() {
    let mut model = Model::new(&json!({"remediation": {"retries": 0, "onFailure": "Rollback"}}));
    model.until_rest();
    model.input_hash = "two".to_owned();
    model.behaviour.failing_hooks = vec!["late", "early"];
    assert_eq!(model.until_rest(), Next::Exhausted);
    assert_eq!(model.statuses(), [Status::Deployed, Status::Failed, Status::Failed]);
    assert_eq!(model.until_rest(), Next::Exhausted);
    assert_eq!(model.records.len(), 3);
}

#[test]
fn after_a_failure_what_was_there_before_is_released_again() {
    let mut model = Model::new(&json!({"remediation": {"retries": 0}, "wait": {"timeout": "20s"}}));
    model.until_rest();
    model.input_hash = "two".to_owned();
    model.behaviour.never_ready = true;
    assert_eq!(model.until_rest(), Next::Exhausted);
    model.behaviour.never_ready = false;
    model.input_hash = "one".to_owned();
    assert!(!is_at_rest(&model.app, "one"), "the objects of the other one are there");
    assert_eq!(model.until_rest(), Next::Rest);
    assert_eq!(model.statuses(), [Status::Superseded, Status::Failed, Status::Deployed]);
    assert!(is_at_rest(&model.app, "one"));
}

#[test]
fn a_failure_counts_for_what_was_tried() {
    let mut model = Model::new(&json!({"remediation": {"retries": 0}}));
    model.behaviour.failing_hooks = vec!["late"];
    while !matches!(model.reconcile(false), Next::Begin(_)) {}
    model.input_hash = "two".to_owned();
    while !matches!(model.reconcile(false), Next::Failed(_)) {}
    model.behaviour.failing_hooks.clear();
    assert_eq!(model.until_rest(), Next::Rest, "what was never tried has all its tries");
}

#[test]
fn a_manifest_that_the_status_did_not_note_is_never_applied() {
    let mut model = Model::new(&json!({}));
    while !matches!(model.reconcile(false), Next::Begin(_)) {}
    model.newest().manifest = "of a tenant".to_owned();
    assert_eq!(model.reconcile(false), Next::Locked);
    model.now += SignedDuration::from_mins(8);
    assert_eq!(model.reconcile(false), Next::Unlock(1), "nobody has to unlock it by hand");
    assert_eq!(model.until_rest(), Next::Rest);
    assert!(!model.steps.iter().any(|step| step.contains("tenant")), "{:?}", model.steps);
}

#[test]
fn a_release_of_another_client_is_taken_over_only_where_the_spec_says_so() {
    let foreign =
        Record { version: 4, info: Info { status: Status::Deployed, ..Info::default() }, ..Record::default() };
    let seen = Seen { records: vec![Head::of(&foreign, false)], hook: None, objects: None, likeness: None };
    let of = |app: &CatalogApp| next(app, "one", &Prepared::Nothing, &seen, START);
    assert_eq!(of(&app(&json!({}))), Next::Taken);
    assert_eq!(of(&app(&json!({"takeOwnership": true}))), Next::Render);
    assert_eq!(uninstall(&app(&json!({})), &seen, START), Next::Rest, "it is not uninstalled either");
}

#[test]
fn an_install_that_failed_for_good_is_uninstalled_where_the_spec_says_so_and_an_upgrade_is_not() {
    let mut model =
        Model::new(&json!({"remediation": {"retries": 1, "onFailure": "Uninstall"}, "wait": {"timeout": "5s"}}));
    model.behaviour.never_ready = true;
    let mut next = model.reconcile(false);
    for _ in 0..200 {
        let is_going = model.records.last().is_some_and(|record| record.info.status == Status::Uninstalling);
        model.behaviour.never_ready = !is_going;
        next = model.reconcile(false);
    }
    assert_eq!(next, Next::Exhausted, "{:?}", model.steps);
    assert_eq!(model.statuses(), []);
    assert_eq!(model.steps[model.steps.len() - 2..], ["hook farewell", "delete render 1"]);
    assert_eq!(model.steps.iter().filter(|step| *step == "apply render 1").count(), 2, "both tries: {:?}", model.steps);

    let mut model = Model::new(&json!({"remediation": {"retries": 0, "onFailure": "Uninstall"}}));
    model.until_rest();
    model.input_hash = "two".to_owned();
    model.behaviour.failing_hooks = vec!["late"];
    assert_eq!(model.until_rest(), Next::Exhausted);
    assert_eq!(model.statuses(), [Status::Deployed, Status::Failed]);
}

#[test]
fn where_nothing_is_waited_for_hooks_are_started_and_objects_sent() {
    let mut model = Model::new(&json!({"wait": {"strategy": "None"}}));
    model.behaviour = Behaviour { failing_hooks: vec!["late"], never_ready: true, ..Behaviour::default() };
    assert_eq!(model.until_rest(), Next::Rest);
    assert_eq!(model.steps, ["apply render 1"], "no hook is waited for");
    let phases: Vec<_> = model.newest().hooks.iter().map(|hook| hook.last_run.phase).collect();
    assert_eq!(phases, [HookPhase::Running, HookPhase::Running, HookPhase::Running, HookPhase::Never]);
}

#[test]
fn an_uninstall_runs_its_hooks_and_leaves_nothing() {
    let mut model = Model::new(&json!({}));
    model.until_rest();
    model.steps.clear();
    for _ in 0..20 {
        let next = uninstall(&model.app, &model.seen(), model.now);
        model.carry_out(&next);
    }
    assert_eq!(model.steps, ["hook farewell", "delete render 1"]);
    assert_eq!(model.statuses(), []);
}

proptest! {
    #[test]
    fn it_ends_the_same_wherever_the_process_is_killed(
        killed in proptest::collection::vec(any::<bool>(), 0..40),
        changes in proptest::collection::vec(0..40_usize, 0..3),
    ) {
        let mut model = Model::new(&json!({}));
        for (at, is_killed) in killed.iter().enumerate() {
            if changes.contains(&at) {
                model.input_hash = format!("changed {at}");
            }
            model.reconcile(*is_killed);
            if *is_killed {
                // The next process renders anew, and gets something else.
                model.renders += 1;
            }
            let pending = model.statuses().into_iter().filter(|status| status.is_pending()).count();
            prop_assert!(pending <= 1, "never two runs at a time: {:?}", model.statuses());
        }
        // The lock of a run that nobody noted holds for a while.
        for _ in 0..600 {
            if model.reconcile(false) == Next::Rest {
                break;
            }
            model.now += SignedDuration::from_secs(10);
        }
        prop_assert_eq!(model.reconcile(false), Next::Rest);
        let statuses = model.statuses();
        prop_assert_eq!(statuses.iter().filter(|status| **status == Status::Deployed).count(), 1, "{:?}", statuses);
        prop_assert_eq!(statuses.last(), Some(&Status::Deployed));
        let newest = model.records.last().unwrap().digest();
        let applied = model.app.status.as_ref().unwrap().applied.clone().unwrap();
        prop_assert_eq!((applied.manifest_digest, applied.input_hash), (newest, model.input_hash.clone()));
    }
}
