use std::collections::BTreeMap;

use drover_apps::{
    drift::Finding,
    inputs::{Entry, EntryKind, Known},
    prepare::Preparation,
    seal::Seal,
    state::{Head, Seen},
};
use drover_crds::{DriftMode, names::ANNOTATION_INPUTS};
use drover_grants::{Admitted, Grants};
use drover_releases::record::Status;
use drover_runtime::{Title, owned::Owned, status::State};
use k8s_openapi::api::{
    core::v1::ServiceAccount,
    rbac::v1::{ClusterRoleBinding, RoleBinding},
};
use serde_json::json;

use super::*;
use crate::{
    account::Account,
    consent::{Admission as Admitting, Facts, Hold, ProjectState},
};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn digest() -> drover_charts::Digest {
    drover_charts::Digest::of(b"chart")
}

fn app(spec: &serde_json::Value) -> CatalogApp {
    let mut whole = json!({
        "clusterName": "eu", "namespace": "team-a-web", "projectName": "shop", "roleTemplateName": "deployer",
        "chart": {"configMap": {"name": "c", "key": "c.tgz", "digest": digest().to_string()}},
    });
    whole.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap_or_default());
    let metadata = json!({"name": "web", "namespace": "team-a", "uid": "1"});
    let object =
        json!({"apiVersion": "drover.dev/v1alpha1", "kind": "CatalogApp", "metadata": metadata, "spec": whole});
    serde_json::from_value(object).unwrap()
}

/// Everything is as it should be, and nothing was looked at in the cluster.
fn world() -> World {
    let cluster = json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "eu"},
        "spec": {"connection": {"kubeconfig": {"secretRef": {"name": "eu"}}}},
    });
    let template: drover_crds::RoleTemplate = serde_json::from_value(json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": {"name": "deployer"},
        "spec": {
            "context": "Project", "bindableFrom": {"all": {}},
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}],
        },
    }))
    .unwrap();
    let facts = Facts {
        cluster: std::sync::Arc::new(serde_json::from_value(cluster).unwrap()),
        admission: Admitting::Admitted,
        project: ProjectState::Present,
        hold: Hold::Guarded,
        templates: [template].into_iter().collect(),
        labels: BTreeMap::new(),
        grants: Grants::Allowed,
        admitted: Admitted::Yes,
        holder: None,
    };
    let entry = Entry { kind: EntryKind::ConfigMap, name: "c".to_owned(), key: "c.tgz".to_owned() };
    let seal = Some(Seal::of_key(b"key"));
    let known = Known { digests: [(entry, Some(digest()))].into(), seal, ..Known::default() };
    World { facts: Some(facts), known, account: account(), ..World::default() }
}

/// The account with its one role, as they are to be.
fn account() -> Account {
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "drover:app.team-a.web:drover:deployer", "namespace": "team-a-web"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "drover:deployer"},
        "subjects": [{"kind": "ServiceAccount", "name": "app.team-a.web", "namespace": "drover-system"}],
    }))
    .unwrap();
    let account: ServiceAccount = serde_json::from_value(json!({
        "metadata": {"name": "app.team-a.web", "namespace": "drover-system"}, "automountServiceAccountToken": false,
    }))
    .unwrap();
    Account { accounts: vec![owned(account)], bindings: vec![owned(binding)], ..Account::default() }
}

fn owned<K: drover_runtime::Kept + serde::Serialize>(mut object: K) -> Owned<K> {
    let applied = drover_runtime::write::desired_hash(&object);
    object.meta_mut().annotations = Some([("drover.dev/applied".to_owned(), applied)].into());
    Owned { live: Ok(std::sync::Arc::new(object)), drift_conflict: None, title: Title::Created }
}

fn told(plan: &Plan<CatalogAppOperator>) -> (&'static str, Vec<String>) {
    let actions = plan.groups.iter().flatten().map(|action| format!("{action:?}")).collect();
    (plan.place_status.ready.cause.reason(), actions)
}

fn released(app: &mut CatalogApp, world: &World) -> Release {
    let release: Release = serde_json::from_value(json!({
        "revision": 1, "chartVersion": "1.0.0", "chartDigest": "", "manifestDigest": "m", "objects": 1,
        "inputHash": inputs::inputs(app, &world.known).unwrap().hash, "at": "2026-11-26T00:00:00Z",
    }))
    .unwrap();
    app.status = Some(CatalogAppStatus { applied: Some(release.clone()), ..CatalogAppStatus::default() });
    release
}

#[test]
fn at_rest_nothing_is_done_and_it_is_ready() {
    let (mut app, mut world) = (app(&json!({})), world());
    released(&mut app, &world);
    world.finding = Some(Finding::none(&app, 1, NOW));
    let found = plan(&app, &world, NOW);
    assert_eq!(told(&found), ("Ready", vec![]));
    let in_ten_minutes = NOW + SignedDuration::from_mins(10);
    assert_eq!((found.requeue, found.place_status.ready.state), (Requeue::At(in_ten_minutes), State::True));
    app.spec.drift.mode = DriftMode::Off;
    world.finding = None;
    let found = plan(&app, &world, NOW);
    assert_eq!((told(&found), found.requeue), (("Ready", vec![]), Requeue::Watch));
}

#[test]
fn an_app_that_is_bound_to_other_sources_stays_as_it_is() {
    let (mut app, mut world) = (app(&json!({})), world());
    app.metadata.annotations = Some([(ANNOTATION_INPUTS.to_owned(), "others".to_owned())].into());
    world.seen = Some(Seen { records: Vec::new(), hook: None, objects: None, likeness: None });
    assert_eq!(told(&plan(&app, &world, NOW)), ("InputsNotRolledOut", vec![]));
    released(&mut app, &world);
    (world.seen, world.finding) = (None, Some(Finding::none(&app, 1, NOW)));
    assert_eq!(told(&plan(&app, &world, NOW)), ("Ready", vec![]), "what was released with them is as wanted");
}

#[test]
fn an_app_that_may_only_take_up_what_is_there_begins_nothing() {
    let (mut app, mut world) = (app(&json!({})), world());
    let seal = Seal::of_key(b"key");
    let tag = inputs::Sources::of(&app, &world.known).unwrap().tag(&app, &seal);
    app.metadata.annotations = Some([(ANNOTATION_INPUTS.to_owned(), inputs::only_to_take_up(&tag))].into());
    let held = ("InputsNotRolledOut", vec![]);
    let nothing = Seen { records: Vec::new(), hook: None, objects: None, likeness: None };
    world.seen = Some(nothing.clone());
    assert_eq!(told(&plan(&app, &world, NOW)), held, "there is nothing to take up, so nothing is rendered");
    world.seen = Some(Seen { records: vec![head(Status::Deployed)], ..nothing });
    let (_, actions) = told(&plan(&app, &world, NOW));
    assert!(actions.len() == 1 && actions[0].starts_with("Prepare"), "{actions:?}");
    let rendered = released(&mut app, &world);
    app.status = None;
    for (likeness, expected) in [
        (state::Likeness::Other, held),
        (state::Likeness::Same, ("Ready", vec![])),
        (state::Likeness::Unchanged, ("Ready", vec![])),
    ] {
        world.preparation = Some(std::sync::Arc::new(prepared(&rendered)));
        world.seen.as_mut().unwrap().likeness = Some(likeness);
        let found = plan(&app, &world, NOW);
        assert_eq!(told(&found), expected, "{likeness:?}");
        let applied = found.place_status.applied;
        assert_eq!(applied.is_some(), likeness != state::Likeness::Other);
        assert_eq!(applied.is_some_and(|applied| applied.is_only_found()), likeness == state::Likeness::Unchanged);
    }
}

#[test]
fn what_was_only_found_is_looked_at_and_never_corrected() {
    let (mut app, mut world) = (app(&json!({})), world());
    let found = released(&mut app, &world);
    let mut drifted = Finding::none(&app, 1, NOW);
    app.spec.drift.mode = DriftMode::Correct;
    drifted.drift = Some(Drift { objects: 1, sample: Vec::new() });
    world.finding = Some(drifted);
    let (_, actions) = told(&plan(&app, &world, NOW));
    assert!(actions.len() == 1 && actions[0].contains("corrects: true"), "{actions:?}");
    let found = Release { taken_up: Some(drover_crds::TakenUp::AsFound), ..found };
    app.status.as_mut().unwrap().applied = Some(found);
    let found = plan(&app, &world, NOW);
    assert_eq!(told(&found), ("Ready", vec![]));
    assert!(found.place_status.drift.is_some() && found.place_status.ready.message.ends_with("as it was found"));
}

/// What is prepared for the present inputs.
fn prepared(release: &Release) -> Preparation {
    let prepared = drover_apps::prepare::Prepared {
        release: release.clone(),
        record: drover_releases::Record::default(),
        definitions: Vec::new(),
        bytes: 0,
    };
    Preparation {
        input_hash: release.input_hash.clone(),
        rights: String::new(),
        generation: 0,
        asked: None,
        kinds: 0,
        outcome: Ok(prepared),
    }
}

/// Without what was found so far.
fn short(action: &str) -> String {
    action
        .rsplit_once(", ")
        .map_or(action.to_owned(), |(_, corrects)| format!("Look, {}", corrects.trim_end_matches(" }")))
}

#[test]
fn what_drifts_is_told_and_applied_again_only_where_the_spec_says_so() {
    let drift = Drift { objects: 2, sample: Vec::new() };
    let outcome = |mode: &str, change: &dyn Fn(&mut CatalogApp, &mut World)| {
        let (mut app, mut world) = (app(&json!({"drift": {"mode": mode}})), world());
        released(&mut app, &world);
        world.finding = Some(Finding { drift: Some(drift.clone()), ..Finding::none(&app, 1, NOW) });
        change(&mut app, &mut world);
        let plan = plan(&app, &world, NOW);
        let (reason, actions) = told(&plan);
        let actions: Vec<_> = actions.iter().map(|action| short(action)).collect();
        (reason, actions, plan.place_status.drift.map(|drift| drift.objects))
    };
    assert_eq!(outcome("Warn", &|_, _| {}), ("Ready", vec![], Some(2)));
    let again = "Look, corrects: true".to_owned();
    assert_eq!(outcome("Correct", &|_, _| {}), ("Ready", vec![again], Some(2)));
    let looks = || vec!["Look, corrects: false".to_owned()];
    assert_eq!(outcome("Correct", &|_, world| world.finding.as_mut().unwrap().due = NOW), ("Ready", looks(), None));
    let asked = |app: &mut CatalogApp, world: &mut World| {
        app.metadata.annotations = Some([("drover.dev/reconcile-at".to_owned(), "now".to_owned())].into());
        world.seen = Some(seen(&[(1, "m")]));
    };
    assert_eq!(outcome("Warn", &asked), ("Ready", looks(), None));
    // The way back is taken where the release itself is another one; see the state of a release.
    let replaced = |_: &mut CatalogApp, world: &mut World| world.finding.as_mut().unwrap().is_replaced = true;
    assert_eq!(outcome("Correct", &replaced), ("Ready", vec![], Some(2)));
    let in_vain = |_: &mut CatalogApp, world: &mut World| world.finding.as_mut().unwrap().corrects = true;
    assert_eq!(outcome("Correct", &in_vain), ("Ready", vec![], Some(2)), "it cannot be put right");
    let again_and_again = |_: &mut CatalogApp, world: &mut World| world.finding.as_mut().unwrap().corrections = 3;
    assert_eq!(outcome("Correct", &again_and_again), ("Ready", vec![], Some(2)), "it comes back each time");
    let partly = |_: &mut CatalogApp, world: &mut World| world.finding.as_mut().unwrap().compared = Some(50);
    assert_eq!(outcome("Warn", &partly), ("Ready", looks(), None), "the rest follows");
    let not_ready =
        |_: &mut CatalogApp, world: &mut World| world.finding.as_mut().unwrap().not_ready = Some("Pod x".to_owned());
    assert_eq!(outcome("Warn", &not_ready).0, "NotReady");
}

#[test]
fn at_a_cluster_that_is_suspended_nobody_looks_and_what_was_asked_for_waits_for_its_answer() {
    let (mut app, mut world) = (app(&json!({})), world());
    released(&mut app, &world);
    let mut suspended = (*world.facts.as_ref().unwrap().cluster).clone();
    suspended.spec.suspend = true;
    world.facts.as_mut().unwrap().cluster = std::sync::Arc::new(suspended);
    assert_eq!(told(&plan(&app, &world, NOW)), ("Ready", vec![]));
    app.metadata.annotations = Some([("drover.dev/reconcile-at".to_owned(), "now".to_owned())].into());
    world.facts.as_mut().unwrap().hold = Hold::Unguarded;
    assert_eq!(plan(&app, &world, NOW).place_status.handled, None, "it could not be acted upon");
}

#[test]
fn who_asks_has_an_answer_once_it_is_known_what_is_to_be_done() {
    let (mut app, mut world) = (app(&json!({})), world());
    let release = released(&mut app, &world);
    app.metadata.annotations = Some([("drover.dev/reconcile-at".to_owned(), "now".to_owned())].into());
    let handled = |world: &World| plan(&app, world, NOW).place_status.handled;
    let uninstalling = Seen { records: vec![head(Status::Uninstalling)], hook: None, objects: None, likeness: None };
    world.seen = Some(uninstalling);
    assert_eq!(handled(&world), None, "another client is at it");
    world.seen = Some(seen(&[]));
    assert_eq!(handled(&world), None, "the release is gone, and has to be rendered first");
    world.preparation = Some(std::sync::Arc::new(prepared(&release)));
    assert_eq!(handled(&world).as_deref(), Some("now"), "what is to be released is noted with the answer");
    world.unmet = Some((AppCause::DependencyNotReady.into(), "app first is not ready".to_owned()));
    assert_eq!(handled(&world), None, "nothing begins yet, and nothing is noted");
    world.unmet = None;
    world.seen = None;
    assert_eq!(handled(&world), None, "nobody could look");
    world.seen = Some(seen(&[]));
    world.known.digests.clear();
    assert_eq!(handled(&world), None, "there is nothing to compare with");
}

#[test]
fn a_release_that_another_client_replaced_is_released_again_where_drift_is_corrected() {
    let (mut app, mut world) = (app(&json!({"drift": {"mode": "Correct"}})), world());
    let release = released(&mut app, &world);
    app.status.as_mut().unwrap().history = vec![release];
    world.finding = Some(Finding { is_replaced: true, ..Finding::none(&app, 1, NOW) });
    world.seen = Some(seen(&[(1, "m"), (2, "theirs")]));
    let noted = plan(&app, &world, NOW).place_status.pending.unwrap();
    assert_eq!((noted.revision, noted.rollback_of), (3, Some(1)));
    world.seen = Some(seen(&[(1, "m")]));
    let actions = told(&plan(&app, &world, NOW)).1;
    assert_eq!(short(&actions[0]), "Look, corrects: false", "it is there again");
}

#[test]
fn an_app_that_waits_for_others_begins_nothing_new_and_goes_back_all_the_same() {
    let (mut app, mut world) = (app(&json!({})), world());
    let release = released(&mut app, &world);
    world.unmet = Some((AppCause::DependencyNotReady.into(), String::new()));
    world.seen = Some(seen(&[(1, "m")]));
    world.finding = Some(Finding::none(&app, 1, NOW));
    assert_eq!(told(&plan(&app, &world, NOW)), ("Ready", vec![]));
    let status = app.status.as_mut().unwrap();
    status.history = vec![release];
    status.applied.as_mut().unwrap().revision = 2;
    world.seen = Some(seen(&[(1, "m"), (2, "theirs")]));
    assert!(plan(&app, &world, NOW).place_status.pending.is_some());
    app.status = None;
    assert_eq!(told(&plan(&app, &world, NOW)), ("DependencyNotReady", vec![]));
}

#[test]
fn rights_that_are_withdrawn_go_whatever_else_is_true() {
    let expected = vec!["delete RoleBinding team-a-web/drover:app.team-a.web:drover:deployer".to_owned()];
    for suspended in [false, true] {
        let (mut app, mut world) = (app(&json!({"suspend": suspended})), world());
        released(&mut app, &world);
        world.facts.as_mut().unwrap().hold = Hold::No;
        assert_eq!(
            told(&plan(&app, &world, NOW)),
            ("NamespaceNotOfProject", expected.clone()),
            "suspended: {suspended}"
        );
    }
}

#[test]
fn a_suspended_app_is_settled_and_releases_nothing() {
    let plan = plan(&app(&json!({"suspend": true})), &world(), NOW);
    assert_eq!(told(&plan), ("Suspended", vec![]));
}

#[test]
fn what_is_missing_is_told_and_takes_no_right_away() {
    let mut world = world();
    world.known.digests.clear();
    assert_eq!(told(&plan(&app(&json!({})), &world, NOW)), ("ChartNotFound", vec![]));
}

#[test]
fn the_namespace_of_an_app_of_no_project_is_created_by_others() {
    let mut of_cluster = app(&json!({}));
    of_cluster.spec.project_name = None;
    let mut world = world();
    let facts = world.facts.as_mut().unwrap();
    (facts.project, facts.hold) = (ProjectState::Unnamed, Hold::No);
    let mut template = facts.templates.get("deployer").unwrap().clone();
    template.spec.context = drover_crds::RoleContext::Cluster;
    facts.templates = [template].into_iter().collect();
    let changes = plan(&of_cluster, &world, NOW);
    let expected = [
        "delete RoleBinding team-a-web/drover:app.team-a.web:drover:deployer",
        "create ClusterRoleBinding drover:app.team-a.web:drover:deployer",
    ];
    assert_eq!(told(&changes).1, expected);
    let binding = serde_json::from_value(json!({
        "metadata": {"name": "drover:app.team-a.web:drover:deployer"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "drover:deployer"},
        "subjects": [{"kind": "ServiceAccount", "name": "app.team-a.web", "namespace": "drover-system"}],
    }));
    let bindings: ClusterRoleBinding = binding.unwrap();
    world.account = Account { bindings: Vec::new(), cluster_bindings: vec![owned(bindings)], ..account() };
    for (state, expected) in [
        (NamespaceState::Absent, "NamespaceNotFound"),
        (NamespaceState::Terminating, "NamespaceTerminating"),
        (NamespaceState::Present, "RoleNotReady"),
    ] {
        world.namespace = state;
        assert_eq!(told(&plan(&of_cluster, &world, NOW)), (expected, vec![]));
    }
}

#[test]
fn account_and_role_come_before_anything_is_looked_at() {
    let world = World { account: Account::default(), ..world() };
    let (reason, actions) = told(&plan(&app(&json!({})), &world, NOW));
    assert_eq!((reason, actions.len()), ("Progressing", 2), "{actions:?}");
}

fn head(status: Status) -> Head {
    Head {
        revision: 1,
        status,
        manifest_digest: "m".to_owned(),
        is_applied: true,
        description: "HookFailed: Job migrate failed".to_owned(),
        began: NOW,
        is_ours: true,
        is_noted: true,
        before: Vec::new(),
        after: Vec::new(),
    }
}

/// These revisions, all deployed, by the digests of their manifests.
fn seen(revisions: &[(i64, &str)]) -> Seen {
    let of = |(revision, digest): &(i64, &str)| Head {
        revision: *revision,
        manifest_digest: (*digest).to_owned(),
        is_noted: *digest == "m",
        ..head(Status::Deployed)
    };
    Seen { records: revisions.iter().map(of).collect(), hook: None, objects: None, likeness: None }
}

fn with_pending(status: Status) -> (CatalogApp, World) {
    let (mut app, mut world) = (app(&json!({})), world());
    let release = released(&mut app, &world);
    app.status = Some(CatalogAppStatus { pending: Some(release), ..CatalogAppStatus::default() });
    world.seen = Some(Seen { records: vec![head(status)], hook: None, objects: None, likeness: None });
    (app, world)
}

#[test]
fn the_status_says_what_became_of_a_revision() {
    let (app, world) = with_pending(Status::Deployed);
    let status = plan(&app, &world, NOW).place_status;
    assert_eq!((status.pending, status.applied.as_ref().map(|found| found.revision)), (None, Some(1)));
    assert_eq!((status.history.len(), status.ready.state), (1, State::True));

    let (mut app, world) = with_pending(Status::Deployed);
    app.spec.values.insert("a".to_owned(), json!(1));
    let status = plan(&app, &world, NOW).place_status;
    assert_eq!((status.history.len(), status.ready.state), (1, State::False), "the spec says something else by now");

    let (app, world) = with_pending(Status::Failed);
    let status = plan(&app, &world, NOW).place_status;
    let failed = status.failed.unwrap();
    assert_eq!(
        (failed.count, failed.reason.as_str(), failed.message.as_str()),
        (1, "HookFailed", "Job migrate failed")
    );
    assert_eq!((status.pending, status.ready.cause.reason()), (None, "HookFailed"));
}

#[test]
fn who_has_other_rights_has_all_tries_again() {
    let (mut app, mut world) = (app(&json!({})), world());
    let hash = inputs::inputs(&app, &world.known).unwrap().hash;
    let failed = json!({
        "inputHash": hash, "generation": 0, "rights": "before", "count": 9, "at": "1970-01-01T00:00:00Z", "reason": "ApplyFailed",
        "message": "it may not",
    });
    app.status =
        Some(CatalogAppStatus { failed: serde_json::from_value(failed).unwrap(), ..CatalogAppStatus::default() });
    world.seen = Some(Seen { records: Vec::new(), hook: None, objects: None, likeness: None });
    world.known.rights = "before".to_owned();
    assert_eq!(told(&plan(&app, &world, NOW)), ("RetriesExhausted", vec![]));
    world.known.rights = "after".to_owned();
    let plan = plan(&app, &world, NOW);
    assert!(told(&plan).1[0].starts_with("Prepare"), "{:?}", told(&plan));
    assert_eq!(plan.place_status.failed, None);
}

#[test]
fn i05_a_record_that_does_not_fit_is_refused_before_it_is_sent() {
    let (app, mut world) = (app(&json!({})), world());
    let why = (AppCause::RecordTooLarge.into(), "the record of the release has 2 MiB".to_owned());
    let input_hash = inputs::inputs(&app, &world.known).unwrap().hash;
    world.seen = Some(Seen { records: Vec::new(), hook: None, objects: None, likeness: None });
    world.preparation = Some(std::sync::Arc::new(Preparation {
        input_hash,
        rights: String::new(),
        generation: 0,
        asked: None,
        kinds: 0,
        outcome: Err(why),
    }));
    let plan = plan(&app, &world, NOW);
    assert_eq!((told(&plan), plan.requeue), (("RecordTooLarge", vec![]), Requeue::Watch));
    assert!(plan.place_status.ready.cause.needs_action() && plan.place_status.pending.is_none());
}

#[test]
fn what_fails_for_a_kind_that_may_come_is_looked_at_again() {
    let (app, mut world) = (app(&json!({})), world());
    world.seen = Some(Seen { records: Vec::new(), hook: None, objects: None, likeness: None });
    for cause in [AppCause::ObjectsRefused, AppCause::RenderFailed, AppCause::DefinitionsMissing] {
        world.preparation = Some(std::sync::Arc::new(Preparation {
            input_hash: inputs::inputs(&app, &world.known).unwrap().hash,
            rights: String::new(),
            generation: 0,
            asked: None,
            kinds: 0,
            outcome: Err((cause.into(), "the cluster lacks it".to_owned())),
        }));
        let plan = plan(&app, &world, NOW);
        assert_eq!((told(&plan), plan.requeue), ((cause.reason(), vec![]), Requeue::At(NOW + LOOK_LATER)));
    }
}

#[test]
fn a_deletion_uninstalls_unless_the_release_is_to_stay() {
    let deleting = |spec: serde_json::Value| {
        let (mut app, mut world) = (app(&spec), world());
        released(&mut app, &world);
        world.seen = Some(Seen { records: vec![head(Status::Deployed)], hook: None, objects: None, likeness: None });
        told(&clean_up(Owner::Deleting(&app), &world, NOW)).1
    };
    assert_eq!(deleting(json!({})), ["BeginUninstall(1)"]);
    for stays in [json!({"deletionPolicy": "Orphan"}), json!({"suspend": true})] {
        let actions = deleting(stays);
        assert!(actions.iter().all(|action| action.starts_with("delete ")) && actions.len() == 2, "{actions:?}");
    }
    let gone = World { account: Account::default(), ..world() };
    assert_eq!(clean_up(Owner::Deleting(&app(&json!({}))), &gone, NOW).requeue, Requeue::Released);
}

#[test]
fn at_a_cluster_that_is_given_up_the_status_forgets_the_release_before_the_account_goes() {
    let (mut app, mut world) = (app(&json!({})), world());
    let release = released(&mut app, &world);
    app.status.as_mut().unwrap().history = vec![release];
    world.seen = Some(Seen { records: Vec::new(), hook: None, objects: None, likeness: None });
    let first = clean_up(Owner::Present(&app), &world, NOW);
    assert_eq!((told(&first).1, first.requeue), (vec![], Requeue::At(NOW + SignedDuration::from_secs(1))));
    assert_eq!((first.place_status.applied, first.place_status.history), (None, vec![]));
    assert_eq!(told(&clean_up(Owner::Deleting(&app), &world, NOW)).1.len(), 2, "the status goes with the app");
    app.status = None;
    assert_eq!(told(&clean_up(Owner::Present(&app), &world, NOW)).1.len(), 2);
}

#[test]
fn who_lost_place_or_role_does_not_act_any_more_at_its_end() {
    let deleting = |change: fn(&mut Facts)| {
        let (mut app, mut world) = (app(&json!({})), world());
        released(&mut app, &world);
        world.seen = Some(Seen { records: vec![head(Status::Deployed)], hook: None, objects: None, likeness: None });
        change(world.facts.as_mut().unwrap());
        told(&clean_up(Owner::Deleting(&app), &world, NOW)).1
    };
    let removed = [
        "delete RoleBinding team-a-web/drover:app.team-a.web:drover:deployer",
        "delete ServiceAccount drover-system/app.team-a.web",
    ];
    assert_eq!(deleting(|facts| facts.admission = Admitting::NoTenant), removed);
    assert_eq!(deleting(|facts| facts.templates = drover_grants::Templates::default()), removed);
    assert_eq!(deleting(|facts| facts.project = ProjectState::Absent), ["BeginUninstall(1)"], "both go together");
}
