use drover_apps::seal::Seal;
use drover_crds::{
    CatalogAppStatus, MultiClusterAppStatus, Release,
    condition::{READY, StatusConditions as _},
    names::{ANNOTATION_DESELECTED_SINCE, ANNOTATION_INPUTS, ANNOTATION_REVISION},
};
use drover_previews::{Differs, Look, Looked, OfStage, Outcome, Preview, Subject};
use drover_rollouts::{ChartVersion, Variant, child_name};
use drover_runtime::status::{condition, finish};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::SignedDuration};
use serde_json::json;

use super::*;

/// An app with what the API servers hold of it, in memory: every plan is carried out at once, and apps become ready when they are told to.
struct Model {
    app: MultiClusterApp,
    world: World,
    now: Timestamp,
    uids: u32,
    looks: Vec<String>,
}

fn app(spec: &Value) -> MultiClusterApp {
    let mut whole = json!({
        "clusters": {"all": {}},
        "template": {
            "namespace": "shop", "projectName": "shop", "roleTemplateName": "deployer",
            "chart": {"configMap": {"name": "c", "key": "c.tgz", "digest": format!("sha256:{}", "0".repeat(64))}},
            "values": {"greeting": "one"},
        },
        "rollout": {"stages": [{"name": "canary", "selector": {"matchLabels": {"stage": "canary"}}, "minReady": "0s"}]},
    });
    whole.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap_or_default());
    let metadata = json!({"name": "web", "namespace": "team-a", "uid": "1", "generation": 1});
    let object =
        json!({"apiVersion": "drover.dev/v1alpha1", "kind": "MultiClusterApp", "metadata": metadata, "spec": whole});
    MultiClusterApp { status: Some(MultiClusterAppStatus::default()), ..serde_json::from_value(object).unwrap() }
}

fn selected(cluster: &str, stage: &str) -> Selected {
    let labels = BTreeMap::from([("stage".to_owned(), stage.to_owned())]);
    Selected { name: cluster.to_owned(), labels, is_online: true, is_suspended: false }
}

fn chart(inputs: &str) -> BTreeMap<String, ChartVersion> {
    let chart = ChartVersion { version: None, digest: "sha256:0".to_owned(), inputs: inputs.to_owned() };
    BTreeMap::from([(String::new(), chart)])
}

impl Model {
    fn new(spec: &Value, selected: Vec<Selected>) -> Self {
        let world = World {
            is_complete: true,
            selected,
            charts: Some(Ok(chart("sources-1"))),
            admitted: Some(Admitted::Yes),
            policies: Some(drover_admission::PoliciesState { id: "a".to_owned(), since: None }),
            ..World::default()
        };
        Self { app: app(spec), world, now: Timestamp::UNIX_EPOCH, uids: 0, looks: Vec::new() }
    }

    fn meta(&mut self) -> (Option<String>, Option<i64>) {
        self.uids += 1;
        (Some(self.uids.to_string()), Some(1))
    }

    /// Plans once, does what is planned, and tells it.
    fn step(&mut self) -> Vec<String> {
        let plan = plan(&self.app, &self.world, self.now);
        let told: Vec<_> = plan.actions().map(|action| format!("{action:?}")).collect();
        let entry = drover_runtime::place_status::PlaceEntry {
            known: Some(plan.place_status),
            state: drover_runtime::PlaceState::Current,
        };
        let statuses = [(drover_runtime::Place::Management, entry)].into_iter().collect();
        let status = crate::summary::summarise(&self.app, &statuses);
        let generation = self.app.metadata.generation.unwrap();
        self.app.status = Some(finish(self.app.status.as_ref(), status, generation, self.now));
        for action in plan.groups.into_iter().flatten() {
            self.carry_out(action);
        }
        told
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Revision(Change::Create { desired, .. }) => {
                let mut live = *desired;
                (live.metadata.uid, _) = self.meta();
                self.world.kept.push(Owned { live: Ok(Arc::new(live)), drift_conflict: None, title: Title::Created });
            }
            Action::Revision(Change::Delete(meta)) => self.world.kept.retain(|kept| kept.meta().name != meta.name),
            Action::App(Change::Create { desired, .. }) => {
                let mut live = *desired;
                let applied = drover_runtime::write::desired_hash(&live);
                (live.metadata.uid, live.metadata.generation) = self.meta();
                live.annotations_mut().insert("drover.dev/applied".to_owned(), applied);
                self.world.apps.push(Owned { live: Ok(Arc::new(live)), drift_conflict: None, title: Title::Created });
            }
            Action::App(Change::Apply { desired, live, .. }) => {
                let applied = drover_runtime::write::desired_hash(&*desired);
                let found = self.world.apps.iter_mut().find(|found| found.meta().name == live.name).unwrap();
                let object = Arc::make_mut(found.live.as_mut().unwrap());
                if object.spec != desired.spec {
                    object.metadata.generation = object.metadata.generation.map(|generation| generation + 1);
                }
                object.spec = desired.spec.clone();
                object.annotations_mut().extend(desired.annotations().clone());
                object.annotations_mut().insert("drover.dev/applied".to_owned(), applied);
            }
            Action::App(Change::Delete(meta)) => self.world.apps.retain(|found| found.meta().name != meta.name),
            Action::Look(look) => self.look(look),
            other => panic!("{other:?}"),
        }
        self.world.revisions = revisions::kept(&self.app, &self.world.kept);
    }

    /// What is to be looked at is found at once.
    fn look(&mut self, look: Look) {
        let of_one = |subject: &Subject| OfStage {
            target: subject.target.clone(),
            outcome: Outcome::Differs(Differs {
                changed: 1,
                objects: vec!["ConfigMap web-config".to_owned()],
                text: subject.app.spec.values["greeting"].to_string(),
                ..Differs::default()
            }),
        };
        let found = look.subjects.iter().map(of_one).collect();
        let asked = look.subjects.iter().map(|subject| subject.target.clone()).collect();
        self.looks
            .extend(look.subjects.iter().map(|subject| format!("{} {}", subject.target.stage, subject.target.cluster)));
        self.world.looked = Looked { revision: look.revision, asked, at: Some(look.at), is_running: false, found };
    }

    /// What is kept of what revisions would change.
    fn previews(&self) -> Vec<Preview> {
        let kept = self.world.kept.iter().map(|kept| &kept.live.as_ref().unwrap().data.0);
        kept.filter_map(|data| serde_json::from_value(data.get("preview")?.clone()).ok()).collect()
    }

    fn live(&mut self, cluster: &str) -> &mut CatalogApp {
        let mut all = self.world.apps.iter_mut().filter_map(|found| found.live.as_mut().ok());
        Arc::make_mut(all.find(|live| live.spec.cluster_name == cluster).unwrap())
    }

    /// The app of a cluster says that it is released and ready.
    fn ready(&mut self, cluster: &str) {
        let now = self.now;
        self.say(cluster, Some(now), condition(READY, true, StatusCause::Ready, "")).failed = None;
    }

    /// The app of a cluster says that it found its release there.
    fn takes_up(&mut self, cluster: &str) {
        self.ready(cluster);
        let status = self.live(cluster).status.as_mut().unwrap();
        status.applied.as_mut().unwrap().taken_up = Some(drover_crds::TakenUp::AsRendered);
    }

    fn say(
        &mut self,
        cluster: &str,
        applied: Option<Timestamp>,
        ready: k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition,
    ) -> &mut CatalogAppStatus {
        let now = self.now;
        let live = self.live(cluster);
        let release = |at| -> Release {
            let release = json!({
                "revision": 1, "chartVersion": "1", "chartDigest": "", "inputHash": "", "manifestDigest": "", "objects": 0, "at": Time(at),
            });
            serde_json::from_value(release).unwrap()
        };
        let mut status = live.status.clone().unwrap_or_default();
        let inputs = live.annotations().get(ANNOTATION_INPUTS).cloned();
        let is_judged =
            status.observed_inputs == inputs && Some(status.observed_generation) == live.metadata.generation;
        let former = status.applied.filter(|_| is_judged);
        status.applied = former.or(applied.map(release));
        status.observed_inputs = inputs;
        status.conditions = vec![ready];
        let generation = live.metadata.generation.unwrap();
        live.status = Some(finish(live.status.as_ref(), status, generation, now));
        live.status.as_mut().unwrap()
    }

    /// Steps until nothing happens any more; every app that was started becomes ready.
    fn settle(&mut self) -> Vec<String> {
        let (mut all, mut quiet) = (Vec::new(), 0);
        for _ in 0..100 {
            let before = self.app.status.clone();
            let told = self.step();
            let clusters: Vec<_> =
                self.world.apps.iter().map(|found| found.live.as_ref().unwrap().spec.cluster_name.clone()).collect();
            for cluster in clusters {
                self.ready(&cluster);
            }
            self.now += SignedDuration::from_mins(1);
            quiet = if told.is_empty() && before == self.app.status { quiet + 1 } else { 0 };
            if quiet == 5 {
                return all;
            }
            all.extend(told);
        }
        panic!("it never rests: {all:?}");
    }

    fn reason(&self) -> &str {
        let conditions = self.app.status.as_ref().unwrap().conditions();
        &conditions.iter().find(|condition| condition.type_ == READY).unwrap().reason
    }

    fn greetings(&self) -> Vec<String> {
        let all = self.world.apps.iter().map(|found| found.live.as_ref().unwrap());
        let mut told: Vec<_> =
            all.map(|live| format!("{} {}", live.spec.cluster_name, live.spec.values["greeting"])).collect();
        told.sort();
        told
    }
}

fn names(told: &[String]) -> Vec<&str> {
    told.iter().map(|told| told.split(" team-a/").next().unwrap()).collect()
}

fn greeting(app: &mut MultiClusterApp, greeting: &str) {
    app.spec.template.values.insert("greeting".to_owned(), json!(greeting));
}

#[test]
fn a_revision_is_kept_and_noted_before_the_first_app_is_made() {
    let mut model = Model::new(&json!({}), vec![selected("eu", "canary"), selected("us", "")]);
    assert_eq!(names(&model.step()), ["create ControllerRevision"]);
    assert_eq!(names(&model.step()), [""; 0], "what is to be remembered is noted first");
    let noted = model.app.status.as_ref().unwrap().rollout.clone().unwrap();
    assert!(noted.revision.is_some() && noted.batch.is_some());
    assert_eq!(names(&model.step()), ["create CatalogApp"]);
    assert_eq!(model.greetings(), [r#"eu "one""#], "the canary goes first");
    assert_eq!(names(&model.step()), [""; 0]);
    let live = model.live("eu").clone();
    assert_eq!(live.annotations()[ANNOTATION_INPUTS], "sources-1");
    assert_eq!(live.annotations()[ANNOTATION_REVISION], noted.revision.unwrap());
    assert_eq!(live.spec.release_name.as_deref(), Some("web"), "the release has the name of the app everywhere");
    assert_eq!(names(&model.settle()), ["create CatalogApp"]);
    assert_eq!((model.reason(), model.greetings().len()), ("Ready", 2));
}

/// Of a canary and two others that need approval, of which one has another release than the app would give it.
#[test]
fn after_a_rebuild_what_is_everywhere_is_not_rolled_out_again() {
    let stages = json!([
        {"name": "canary", "selector": {"matchLabels": {"stage": "canary"}}, "minReady": "0s"},
        {"name": "all", "minReady": "0s", "approval": "Required"},
    ]);
    let all = vec![selected("eu", "canary"), selected("us", ""), selected("ap", "")];
    let mut model = Model::new(&json!({"rollout": {"stages": stages}}), all);
    (0..4).for_each(|_| drop(model.step()));
    assert_eq!(model.world.apps.len(), 1, "nothing is known of the others");
    model.takes_up("eu");
    assert_eq!(names(&model.step()), [""; 0], "the stage is complete, which is noted first");
    assert_eq!(names(&model.step()), ["create CatalogApp", "create CatalogApp"]);
    assert_eq!(model.live("us").annotations()[ANNOTATION_INPUTS], "take-up sources-1");
    assert_eq!(names(&model.step()), [""; 0], "once");
    model.takes_up("us");
    model.say("ap", None, condition(READY, false, drover_apps::AppCause::InputsNotRolledOut, ""));
    (0..3).for_each(|_| assert_eq!(names(&model.step()), [""; 0]));
    assert_eq!(model.reason(), "WaitingForApproval", "of the one that has something else");
    let counts = model.app.status.as_ref().unwrap().counts.clone().unwrap();
    assert_eq!((counts.updated, counts.pending), (2, 1));

    let wanted = model.app.status.as_ref().unwrap().target_revision.as_ref().unwrap().name.clone();
    model.app.annotations_mut().insert("drover.dev/approve".to_owned(), wanted);
    let mut told = Vec::new();
    (0..3).for_each(|_| told.extend(model.step()));
    assert_eq!(names(&told), ["apply CatalogApp"]);
    assert_eq!(model.live("ap").annotations()[ANNOTATION_INPUTS], "sources-1");
    model.ready("ap");
    let told = model.settle();
    assert_eq!(
        (names(&told), model.reason()),
        (vec!["apply CatalogApp"], "Ready"),
        "what was taken up is as the others"
    );
    assert_eq!(model.live("us").annotations()[ANNOTATION_INPUTS], "sources-1");
    // Another revision is rolled out as always.
    greeting(&mut model.app, "two");
    model.settle();
    assert_eq!(model.reason(), "WaitingForApproval");
    assert_eq!(model.greetings(), [r#"ap "one""#, r#"eu "two""#, r#"us "one""#]);
}

/// What its sources hold by now is not approved: its app says `InputsNotRolledOut`, and nothing is released there before.
#[test]
fn a_cluster_that_joins_while_other_sources_wait_is_bound_to_those_that_are_complete() {
    let stages = json!([
        {"name": "canary", "selector": {"matchLabels": {"stage": "canary"}}, "minReady": "0s"},
        {"name": "all", "minReady": "0s", "approval": "Required"},
    ]);
    let mut model = Model::new(&json!({"rollout": {"stages": stages}}), vec![selected("eu", "canary")]);
    model.settle();
    let complete = model.live("eu").annotations()[ANNOTATION_REVISION].clone();
    model.world.selected.push(selected("us", ""));
    model.settle();
    model.world.charts = Some(Ok(chart("sources-2")));
    model.settle();
    assert_eq!(model.reason(), "WaitingForApproval");
    model.world.selected.push(selected("ap", ""));
    (0..3).for_each(|_| drop(model.step()));
    let joined = model.live("ap").annotations().clone();
    assert_eq!((&joined[ANNOTATION_INPUTS], &joined[ANNOTATION_REVISION]), (&"sources-1".to_owned(), &complete));
    assert_eq!(model.live("us").annotations()[ANNOTATION_INPUTS], "sources-1");
    let wanted = model.app.status.as_ref().unwrap().target_revision.as_ref().unwrap().name.clone();
    model.app.annotations_mut().insert("drover.dev/approve".to_owned(), wanted);
    model.settle();
    assert_eq!(model.reason(), "Ready");
    assert_eq!(model.live("ap").annotations()[ANNOTATION_INPUTS], "sources-2");
}

#[test]
fn a_change_of_template_or_of_sources_is_a_revision_and_a_way_back_is_none() {
    let mut model = Model::new(&json!({}), vec![selected("eu", "canary"), selected("us", "")]);
    model.settle();
    greeting(&mut model.app, "two");
    assert_eq!(names(&model.settle()), ["create ControllerRevision", "apply CatalogApp", "apply CatalogApp"]);
    assert_eq!(model.greetings(), [r#"eu "two""#, r#"us "two""#]);
    model.world.charts = Some(Ok(chart("sources-2")));
    assert_eq!(names(&model.settle()), ["create ControllerRevision", "apply CatalogApp", "apply CatalogApp"]);
    assert_eq!(model.app.status.as_ref().unwrap().target_revision.as_ref().unwrap().number, 3);
    greeting(&mut model.app, "one");
    model.world.charts = Some(Ok(chart("sources-1")));
    assert_eq!(names(&model.settle()), ["apply CatalogApp", "apply CatalogApp"]);
    assert_eq!(model.app.status.as_ref().unwrap().target_revision.as_ref().unwrap().number, 1);
}

#[test]
fn a_pin_needs_nothing_of_what_the_spec_refers_to_and_keeps_the_present_rights() {
    let mut model = Model::new(&json!({}), vec![selected("eu", "canary")]);
    model.settle();
    greeting(&mut model.app, "two");
    model.settle();
    model.app.spec.pin = Some(drover_crds::RevisionPin { revision: 1 });
    model.app.spec.template.role_template_name = "narrower".to_owned();
    model.world.charts = Some(Err((RolloutCause::NoTarget.into(), "the chart is gone".to_owned())));
    model.settle();
    assert_eq!((model.greetings(), model.reason()), (vec![r#"eu "one""#.to_owned()], "Ready"));
    assert_eq!(model.live("eu").spec.role_template_name, "narrower");
    model.app.spec.pin = Some(drover_crds::RevisionPin { revision: 7 });
    model.settle();
    assert_eq!((model.greetings(), model.reason()), (vec![r#"eu "one""#.to_owned()], "RevisionNotKept"));
}

#[test]
fn what_a_cluster_that_left_has_goes_after_a_note_and_what_is_unknown_stays() {
    let prune = json!({"rollout": {"prune": {"grace": "0s", "maxFraction": "50%"}}});
    let mut model = Model::new(&prune, vec![selected("eu", ""), selected("us", "")]);
    model.settle();
    let us = model.world.selected.pop().unwrap();
    model.world.unread.insert("us".to_owned());
    assert_eq!(names(&model.settle()), [""; 0], "a Cluster that cannot be decoded is not gone");
    model.world.unread.clear();
    model.world.is_complete = false;
    assert_eq!(names(&model.settle()), [""; 0], "not all Clusters are known");
    model.world.is_complete = true;
    assert_eq!(names(&model.step()), ["apply CatalogApp"], "since when it left is noted on it");
    assert!(model.live("us").annotations().contains_key(ANNOTATION_DESELECTED_SINCE));
    model.world.selected.push(us);
    model.settle();
    assert_eq!(model.live("us").annotations()[ANNOTATION_DESELECTED_SINCE], "", "it is a target again");
    model.world.selected.pop();
    let told = model.settle();
    assert_eq!(names(&told), ["apply CatalogApp", "delete CatalogApp"]);
    assert_eq!(model.greetings(), [r#"eu "one""#]);
    model.world.selected.clear();
    model.settle();
    assert_eq!((model.greetings().len(), model.reason()), (1, "NoTarget"), "an empty selection removes nothing");
}

#[test]
fn a_release_stays_where_its_app_is_to_be_orphaned() {
    let spec = json!({"onTargetRemoved": "Orphan", "rollout": {"prune": {"grace": "0s", "maxFraction": "50%"}}});
    let mut model = Model::new(&spec, vec![selected("eu", ""), selected("us", "")]);
    model.settle();
    model.world.selected.pop();
    let mut policies = Vec::new();
    for _ in 0..10 {
        let told = model.step();
        if let Some(left) = model
            .world
            .apps
            .iter()
            .filter_map(|found| found.live.as_deref().ok())
            .find(|live| live.spec.cluster_name == "us")
        {
            policies.push(left.spec.deletion_policy);
        }
        model.now += SignedDuration::from_secs(1);
        if told.iter().any(|told| told.starts_with("delete")) {
            break;
        }
    }
    assert_eq!(policies.last(), Some(&drover_crds::AppDeletionPolicy::Orphan), "it says so before it is deleted");
    assert_eq!(model.world.apps.len(), 1);
}

#[test]
fn nothing_begins_while_policies_are_missing_or_were_when_it_was_written() {
    let mut model = Model::new(&json!({}), vec![selected("eu", "canary")]);
    model.settle();
    greeting(&mut model.app, "two");
    model.world.admitted = Some(Admitted::No);
    model.settle();
    assert_eq!((model.reason(), model.greetings()), ("NotAdmitted", vec![r#"eu "one""#.to_owned()]));
    model.world.admitted = Some(Admitted::Yes);
    model.world.grants =
        Grants::Frozen { cause: drover_grants::GrantCause::GrantsFrozen, message: "missing".to_owned() };
    model.settle();
    assert_eq!((model.reason(), model.greetings()), ("GrantsFrozen", vec![r#"eu "one""#.to_owned()]));
    model.world.grants = Grants::Allowed;
    model.settle();
    assert_eq!((model.reason(), model.greetings()), ("Ready", vec![r#"eu "two""#.to_owned()]));
}

#[test]
fn a_status_of_before_opens_no_stage_and_the_name_of_others_is_left_alone() {
    let mut model = Model::new(&json!({}), vec![selected("eu", "canary"), selected("us", "")]);
    model.settle();
    greeting(&mut model.app, "two");
    for _ in 0..10 {
        // The app of eu is ready, as it was, and never says anything of what it was given.
        model.step();
        model.now += SignedDuration::from_secs(10);
    }
    assert_eq!(
        (model.greetings(), model.reason()),
        (vec![r#"eu "two""#.to_owned(), r#"us "one""#.to_owned()], "RollingOut")
    );

    let mut model = Model::new(&json!({}), vec![selected("eu", "canary"), selected("us", "")]);
    let name = child_name("web", "us", &{
        let content =
            Content::of(&model.app.spec, model.world.charts.clone().unwrap().unwrap(), BTreeMap::new()).unwrap();
        let variants = Variants::new("web", &content, &model.app.spec.template).unwrap();
        variants.settings(Variant::default())
    });
    model.world.taken.insert(name);
    model.settle();
    assert_eq!(model.greetings(), [r#"eu "one""#]);
    let status = model.app.status.as_ref().unwrap();
    assert_eq!(status.not_ready.first().map(|row| (&*row.cluster, &*row.reason)), Some(("us", "NameTaken")));
}

#[test]
fn a_stage_that_selects_no_target_is_told() {
    let of_type = |model: &Model, kind: &str| {
        let conditions = &model.app.status.as_ref().unwrap().conditions;
        let found = conditions.iter().find(|condition| condition.type_ == kind).unwrap();
        (found.status.clone(), found.reason.clone(), found.message.clone())
    };
    let resolved = |model: &Model| of_type(model, "TargetsResolved");
    let mut model = Model::new(&json!({}), vec![selected("us", "")]);
    model.settle();
    let (status, reason, message) = resolved(&model);
    assert_eq!((&*status, &*reason), ("True", "StageEmpty"));
    assert!(message.starts_with("stage canary selects no target"), "{message}");
    let (status, reason, message) = of_type(&model, READY);
    assert_eq!((&*status, &*reason), ("True", "Ready"));
    assert!(message.contains("; stage canary selects no target"), "who reads only Ready sees it: {message}");

    // That other clusters do not admit the namespace, or that one is missing, hides none of it.
    let override_of_none = json!({"overrides": [{"clusters": {"names": ["nowhere"]}, "values": {"a": 1}}]});
    let mut model = Model::new(&override_of_none, vec![selected("us", "")]);
    model.world.refused = 2;
    model.settle();
    let (status, reason, message) = resolved(&model);
    assert_eq!((&*status, &*reason), ("True", "StageEmpty"));
    let in_order = ["stage canary selects", "; spec.overrides[0] selects", "; 2 of the selected clusters do not admit"];
    assert!(in_order.map(|part| message.find(part).unwrap()).is_sorted(), "{message}");
    model.world.missing = Some("there is no Cluster nowhere".to_owned());
    model.settle();
    let (status, reason, message) = resolved(&model);
    assert_eq!((&*status, &*reason), ("False", "TargetMissing"));
    assert!(message.starts_with("there is no Cluster nowhere; stage canary selects"), "{message}");

    let mut model = Model::new(&override_of_none, vec![selected("eu", "canary")]);
    model.world.refused = 2;
    model.settle();
    assert_eq!(resolved(&model).1, "OverrideUnused");
    let mut model = Model::new(&json!({}), vec![selected("eu", "canary")]);
    model.world.refused = 2;
    model.settle();
    let (_, reason, message) = resolved(&model);
    assert!(reason == "Ready" && message.starts_with("2 of the selected clusters do not admit"), "{message}");
    assert!(!of_type(&model, READY).2.contains("admit"), "that is as the owners of the clusters want it");
    let mut model = Model::new(&json!({}), vec![selected("eu", "canary")]);
    model.settle();
    assert_eq!(resolved(&model).1, "Ready");
}

#[test]
fn revisions_beyond_the_limit_go_and_those_in_use_stay() {
    let mut model = Model::new(&json!({"revisionHistoryLimit": 2}), vec![selected("eu", "canary")]);
    for number in 0..6 {
        greeting(&mut model.app, &number.to_string());
        model.settle();
    }
    let kept: Vec<_> = model.world.revisions.iter().map(|kept| kept.number).collect();
    assert_eq!(kept, [4, 5, 6], "two, and the one in use");
}

#[test]
fn a_forged_revision_is_none() {
    let mut model = Model::new(&json!({}), vec![selected("eu", "canary")]);
    model.settle();
    let mut forged = (**model.world.kept[0].live.as_ref().unwrap()).clone();
    forged.data.0["template"]["values"]["greeting"] = json!("evil");
    model.world.kept[0].live = Ok(Arc::new(forged));
    assert!(revisions::kept(&model.app, &model.world.kept).is_empty());
}

#[test]
fn all_apps_go_before_the_revisions_do() {
    let mut model = Model::new(&json!({}), vec![selected("eu", "canary"), selected("us", "")]);
    model.settle();
    let told = |world: &World| {
        let plan = clean_up(Owner::Deleting(&model.app), world);
        let actions: Vec<_> =
            plan.actions().map(|action| format!("{action:?}").split(" team-a/").next().unwrap().to_owned()).collect();
        (actions, plan.requeue)
    };
    let apps = ["delete CatalogApp".to_owned(), "delete CatalogApp".to_owned()].to_vec();
    assert_eq!(told(&model.world), (apps, Requeue::Watch));
    let mut world = World { kept: model.world.kept.clone(), ..World::default() };
    assert_eq!(told(&world), (vec!["delete ControllerRevision".to_owned()], Requeue::Watch));
    world.kept.clear();
    assert_eq!(told(&world), (vec![], Requeue::Released));
}

#[test]
fn a_target_that_is_to_have_another_name_keeps_its_app_until_it_is_its_turn() {
    let stages = json!([
        {"name": "canary", "selector": {"matchLabels": {"stage": "canary"}}, "minReady": "0s"},
        {"name": "everywhere", "minReady": "0s", "approval": "Required"},
    ]);
    let rollout = json!({"rollout": {"stages": stages, "prune": {"grace": "0s", "maxFraction": "100%"}}});
    let mut model = Model::new(&rollout, vec![selected("eu", "canary"), selected("us", "")]);
    model.settle();
    let approve = |model: &mut Model| {
        let name = model.app.status.as_ref().unwrap().target_revision.as_ref().unwrap().name.clone();
        model.app.annotations_mut().insert("drover.dev/approve".to_owned(), name);
    };
    approve(&mut model);
    model.settle();
    assert_eq!(model.greetings(), [r#"eu "one""#, r#"us "one""#]);
    greeting(&mut model.app, "two");
    model.app.spec.template.release_name = Some("shop".to_owned());
    let releases = |model: &Model| {
        let live = model.world.apps.iter().map(|found| found.live.as_ref().unwrap());
        let mut told: Vec<_> = live.map(|live| format!("{} {}", live.spec.cluster_name, live.release_name())).collect();
        told.sort();
        told
    };
    let told = model.settle();
    assert_eq!(
        names(&told),
        ["create ControllerRevision", "create CatalogApp", "apply CatalogApp", "delete CatalogApp"]
    );
    assert_eq!(releases(&model), ["eu shop", "us web"], "that of us stays until it is its turn");
    approve(&mut model);
    model.settle();
    assert_eq!((releases(&model), model.reason()), (vec!["eu shop".to_owned(), "us shop".to_owned()], "Ready"));
}

#[test]
fn what_the_spec_lacks_holds_up_neither_the_present_revision_nor_who_joins() {
    let mut model = Model::new(&json!({}), vec![selected("eu", "canary")]);
    model.settle();
    model.world.charts = Some(Err((RolloutCause::TargetMissing.into(), "the chart is gone".to_owned())));
    model.world.selected.push(selected("us", ""));
    model.settle();
    assert_eq!((model.greetings().len(), model.reason()), (2, "TargetMissing"), "and it is told");
}

#[test]
fn an_app_of_a_project_takes_no_revision_of_one_of_the_platform() {
    let mut model = Model::new(&json!({}), vec![selected("eu", "canary")]);
    model.settle();
    model.app.spec.template.project_name = None;
    assert!(revisions::kept(&model.app, &model.world.kept).is_empty());
}

#[test]
fn a_revision_that_is_too_large_is_none() {
    let mut model = Model::new(&json!({}), vec![selected("eu", "canary")]);
    greeting(&mut model.app, &"x".repeat(MOST_BYTES));
    model.settle();
    assert_eq!((model.reason(), model.world.kept.len()), ("RevisionTooLarge", 0));
}

#[test]
fn at_its_end_each_release_ends_as_the_template_says_by_then() {
    let mut model = Model::new(&json!({}), vec![selected("eu", "canary")]);
    model.settle();
    model.app.spec.template.deletion_policy = drover_crds::AppDeletionPolicy::Orphan;
    let plan = clean_up(Owner::Deleting(&model.app), &model.world);
    assert!(matches!(&*plan.groups, [group] if matches!(&**group, [Action::App(Change::Apply { .. })])), "{plan:?}");
    for action in plan.groups.into_iter().flatten() {
        model.carry_out(action);
    }
    let plan = clean_up(Owner::Deleting(&model.app), &model.world);
    assert!(matches!(&*plan.groups, [group] if matches!(&**group, [Action::App(Change::Delete(_))])), "{plan:?}");
}

#[test]
fn a_restart_changes_no_status_before_it_is_known_what_can_be_reached() {
    let mut model = Model::new(&json!({}), vec![selected("eu", "canary")]);
    model.settle();
    let before = model.app.status.clone();
    model.world.is_complete = false;
    assert_eq!(model.step(), [""; 0]);
    assert_eq!(model.app.status, before);
    model.app.metadata.generation = Some(2);
    model.step();
    assert_eq!(model.reason(), "Progressing", "of another spec nothing is known");
}

#[test]
fn what_others_make_of_an_app_again_and_again_does_not_count_as_rolled_out() {
    let mut model = Model::new(&json!({}), vec![selected("eu", "canary"), selected("us", "")]);
    model.settle();
    model.live("us").spec.template.values.insert("greeting".to_owned(), json!("theirs"));
    assert_eq!(names(&model.step()), ["apply CatalogApp"], "it is made as it was again");
    model.live("us").spec.template.values.insert("greeting".to_owned(), json!("theirs"));
    let spec = drover_runtime::write::desired_hash(model.live("us"));
    model.live("us").annotations_mut().insert("drover.dev/applied".to_owned(), spec);
    let found =
        model.world.apps.iter_mut().find(|found| found.live.as_ref().is_ok_and(|live| live.spec.cluster_name == "us"));
    found.unwrap().drift_conflict = Some("someone".into());
    model.ready("us");
    model.step();
    let status = model.app.status.clone().unwrap();
    let counts = status.counts.unwrap();
    assert_eq!((counts.updated, counts.targets), (1, 2));
    let told: Vec<_> = status.not_ready.iter().map(|row| (&*row.cluster, &*row.reason)).collect();
    assert_eq!(told, [("us", "DriftConflict")]);
    assert_ne!(model.reason(), "Ready");
}

/// The app is on both clusters, and its second revision waits for approval of the last stage.
fn waiting(over: &Value) -> Model {
    let stages = json!([
        {"name": "canary", "selector": {"matchLabels": {"stage": "canary"}}, "minReady": "0s"},
        {"name": "everywhere", "minReady": "0s", "approval": "Required"},
    ]);
    let mut spec = json!({ "rollout": {"stages": stages} });
    spec.as_object_mut().unwrap().extend(over.as_object().cloned().unwrap_or_default());
    let mut model = Model::new(&spec, vec![selected("eu", "canary"), selected("us", "")]);
    model.world.seal = Some(Seal::of_key(b"key"));
    model.settle();
    assert_eq!((model.reason(), &model.looks[..]), ("WaitingForApproval", &[][..]), "nothing is there yet");
    approve(&mut model);
    greeting(&mut model.app, "two");
    model.settle();
    assert_eq!(model.reason(), "WaitingForApproval");
    model
}

fn approve(model: &mut Model) {
    let target = model.app.status.as_ref().unwrap().target_revision.clone().unwrap();
    model.app.annotations_mut().insert("drover.dev/approve".to_owned(), target.name);
    model.settle();
    assert_eq!(model.reason(), "Ready");
}

#[test]
fn what_a_revision_would_change_is_looked_up_once_kept_and_told_until_it_is_complete() {
    let mut model = waiting(&json!({}));
    let preview = |model: &Model| model.app.status.as_ref().unwrap().stages[1].preview.clone();
    assert_eq!(model.looks, ["everywhere us"]);
    let [kept] = &model.previews()[..] else { panic!("{:?}", model.previews()) };
    let Outcome::Differs(found) = &kept.stages[0].outcome else { panic!("{kept:?}") };
    assert_eq!((kept.stages.len(), &*found.text), (1, "\"two\""), "as the revision has it");
    let told = preview(&model).unwrap();
    assert_eq!((&*told.cluster, told.changed, &told.objects[..]), ("us", 1, &["ConfigMap web-config".to_owned()][..]));

    model.world.looked = Looked::default();
    assert_eq!(model.settle(), [""; 0], "another process reads what is kept");
    assert_eq!((model.looks.len(), preview(&model)), (1, Some(told)));

    greeting(&mut model.app, "three");
    model.settle();
    assert_eq!(model.looks, ["everywhere us", "everywhere us"], "another revision");
    assert_eq!(model.previews().len(), 1);
    approve(&mut model);
    assert_eq!((model.previews(), preview(&model)), (Vec::new(), None));
}

#[test]
fn a_target_that_has_another_release_by_now_is_looked_at_anew() {
    let mut model = waiting(&json!({}));
    let released = |model: &mut Model, digest: &str| {
        model.live("us").status.as_mut().unwrap().applied.as_mut().unwrap().manifest_digest = digest.to_owned();
        model.settle();
        model.looks.len()
    };
    assert_eq!([released(&mut model, "other"), released(&mut model, "other")], [2, 2]);
    let kept = model.previews();
    assert_eq!((kept.len(), kept[0].stages[0].target.released.as_deref()), (1, Some("other")));
}

#[test]
fn what_a_held_revision_would_change_is_known_of_every_stage() {
    let mut model = waiting(&json!({}));
    approve(&mut model);
    model.app.spec.rollout.paused = true;
    greeting(&mut model.app, "three");
    model.looks.clear();
    model.settle();
    assert_eq!(
        (model.reason(), &model.looks[..]),
        ("RolloutPaused", &["canary eu".to_owned(), "everywhere us".to_owned()][..])
    );
    model.app.spec.rollout.paused = false;
    model.settle();
    let stages: Vec<_> = model.previews()[0].stages.iter().map(|found| found.target.stage.clone()).collect();
    assert_eq!(
        (stages, model.looks.len()),
        (vec!["canary".to_owned(), "everywhere".to_owned()], 2),
        "the canary has it"
    );
}

#[test]
fn a_preview_that_others_made_up_goes_and_none_is_a_revision() {
    let mut model = waiting(&json!({}));
    let before = model.app.status.clone();
    let forged = {
        let mut live = ControllerRevision::clone(model.world.kept.last().unwrap().live.as_ref().unwrap());
        live.data.0["preview"]["stages"][0]["outcome"]["differs"]["changed"] = json!(0);
        live.metadata.name = Some("web-preview-0".to_owned());
        Owned { live: Ok(Arc::new(live)), drift_conflict: None, title: Title::Created }
    };
    assert_eq!(model.world.revisions.len(), 2);
    model.world.kept.push(forged);
    // Another process knows nothing but what is kept.
    model.world.looked = Looked::default();
    model.world.revisions = revisions::kept(&model.app, &model.world.kept);
    assert_eq!(model.world.revisions.len(), 2);
    assert_eq!(model.settle(), ["delete ControllerRevision team-a/web-preview-0"]);
    assert_eq!(model.app.status.map(|status| status.stages), before.map(|status| status.stages));
}

#[test]
fn nothing_is_looked_up_while_nothing_may_begin() {
    let mut model = waiting(&json!({}));
    model.looks.clear();
    model.world.looked = Looked::default();
    model.world.kept.retain(|kept| kept.live.as_ref().unwrap().data.0.get("preview").is_none());
    model.world.admitted = Some(Admitted::No);
    let plan = plan(&model.app, &model.world, model.now);
    assert!(plan.is_idle() && plan.requeue == Requeue::Watch, "{:?}", plan.requeue);
    model.world.admitted = Some(Admitted::Yes);
    model.settle();
    assert_eq!(model.looks, ["everywhere us"]);
}
