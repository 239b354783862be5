//! What a person reads of a rollout, and what becomes of what is asked.

use drover_crds::MultiClusterApp;
use drover_previews::Preview;
use drover_rollouts::{Content, Difference};
use k8s_openapi::api::apps::v1::ControllerRevision;
use serde_json::{Value, json};

use super::{
    Kept,
    asked::{Asked, Change, Outcome, ends, judge, unseen},
    preview, preview_of,
    text::{self, Compared},
};

/// An app that waits for approval of its revision 2 at the stage `everywhere`, with other parts of it.
fn app(parts: &[(&str, Value)]) -> MultiClusterApp {
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-01-02T03:04:05Z",
        })
    };
    let waits = "1/3 targets have the revision, 1 are ready: stage everywhere needs approval";
    let mut all = json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "MultiClusterApp",
        "metadata": {"name": "web", "namespace": "team-a", "generation": 4},
        "spec": {
            "clusters": {"all": {}},
            "template": {
                "namespace": "team-a-web", "projectName": "shop", "roleTemplateName": "deployer",
                "chart": {"repository": {"name": "stable", "chart": "web"}},
            },
        },
        "status": {
            "observedGeneration": 4, "phase": "WaitingForApproval", "stage": "everywhere",
            "currentRevision": {"number": 1, "name": "web-one"}, "targetRevision": {"number": 2, "name": "web-two"},
            "counts": {
                "targets": 3, "updated": 1, "ready": 1, "failed": 0, "offline": 1, "pending": 2, "withoutConsent": 4, "summary": "1/3",
            },
            "stages": [
                {"name": "canary", "total": 1, "updated": 1, "ready": 1},
                {"name": "everywhere", "total": 2, "updated": 0, "ready": 0, "since": "2026-01-02T03:04:05Z"},
            ],
            "notReady": [{"cluster": "us", "reason": "Offline"}],
            "conditions": [
                condition("Ready", "False", "WaitingForApproval", waits),
                condition("Reconciling", "True", "WaitingForApproval", waits),
                condition("Progressing", "True", "WaitingForApproval", waits),
                condition("TargetsResolved", "True", "Ready", "every selected cluster admits this namespace"),
                condition("PruneBlocked", "True", "PruneBlocked", "2 clusters are no targets any more"),
            ],
        },
    });
    for (pointer, value) in parts {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        all.pointer_mut(parent).unwrap()[key] = value.clone();
    }
    serde_json::from_value(all).unwrap()
}

fn annotated(key: &str, value: &str) -> (&'static str, Value) {
    ("/metadata/annotations", json!({ key: value }))
}

/// What counts of the annotations, and what was found of both after policies were missing.
fn steered(approve: &str, hold: &str, unjudged: &[&str]) -> (&'static str, Value) {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let steered = json!({"policies": "a", "approve": some(approve), "hold": some(hold), "unjudged": unjudged});
    ("/status/rollout", json!({ "steered": steered }))
}

fn refusal(parts: &[(&str, Value)], asked: Asked, named: Option<&str>) -> String {
    judge(&app(parts), asked, named).unwrap_err()
}

fn nothing(parts: &[(&str, Value)], asked: Asked) -> String {
    match judge(&app(parts), asked, None).unwrap() {
        Outcome::Nothing(said) => said,
        other => panic!("{other:?}"),
    }
}

fn change(parts: &[(&str, Value)], asked: Asked, named: Option<&str>) -> Change {
    match judge(&app(parts), asked, named).unwrap() {
        Outcome::Change(change) => change,
        other => panic!("{other:?}"),
    }
}

/// The phases in which no revision waits for approval.
const NOT_WAITING: [&str; 7] = ["Pending", "Progressing", "Paused", "Failed", "RollingBack", "RolledBack", "Completed"];

#[test]
fn the_revision_that_waits_is_approved_by_its_name() {
    for named in [None, Some("web-two"), Some("2")] {
        let change = change(&[], Asked::Approve, named);
        assert_eq!((change.annotation, change.value.as_deref()), ("drover.dev/approve", Some("web-two")));
        assert_eq!(change.said.unwrap(), "revision 2 (web-two) is approved, and may go on to stage everywhere");
    }
    let former = [annotated("drover.dev/approve", "web-one")];
    assert_eq!(change(&former, Asked::Approve, None).value.as_deref(), Some("web-two"));
    let already = nothing(&[annotated("drover.dev/approve", "web-two"), steered("web-two", "", &[])], Asked::Approve);
    assert_eq!(already, "revision 2 (web-two) is approved already");
}

#[test]
fn no_other_revision_is_approved_than_the_one_that_waits() {
    for other in ["web-one", "web-tw", "1", "02", ""] {
        let said = refusal(&[], Asked::Approve, Some(other));
        assert!(said.starts_with(&format!("revision {other} is not the one that is wanted now")), "{said}");
        assert!(said.contains("2 (web-two)"), "{said}");
    }
    for phase in NOT_WAITING {
        let said = refusal(&[("/status/phase", json!(phase))], Asked::Approve, Some("web-two"));
        assert!(said.contains("does not wait for approval"), "{phase}: {said}");
    }
}

#[test]
fn a_status_without_a_decision_about_the_present_spec_is_no_ground() {
    let ready = json!([{
        "type": "Ready", "status": "False", "reason": "ChartNotFound", "message": "there is no chart",
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    }]);
    for (part, expected) in [
        (("/metadata/generation", json!(5)), "present spec; try again"),
        (("/status/conditions", ready), "present spec (ChartNotFound: there is no chart); try again"),
        (("/status/targetRevision", Value::Null), "present spec (WaitingForApproval: "),
        (("/status/observedGeneration", json!(-1)), "present spec; try again"),
    ] {
        for asked in [Asked::Approve, Asked::Hold] {
            let said = refusal(std::slice::from_ref(&part), asked, None);
            assert!(said.contains(expected), "{part:?}: {said}");
        }
        let said = text::status(&app(std::slice::from_ref(&part)));
        let has_decision = part.0 == "/status/targetRevision";
        assert_eq!(said.contains("Drover has not decided about the present spec"), !has_decision, "{said}");
    }
    assert!(judge(&app(&[("/status", Value::Null)]), Asked::Hold, None).is_err());
}

#[test]
fn a_revision_is_held_in_every_phase_and_let_go_on() {
    for phase in NOT_WAITING.iter().chain(&["WaitingForApproval"]) {
        let change = change(&[("/status/phase", json!(phase))], Asked::Hold, None);
        assert_eq!((change.annotation, change.value.as_deref()), ("drover.dev/hold", Some("web-two")), "{phase}");
    }
    assert_eq!(
        nothing(&[annotated("drover.dev/hold", "web-two"), steered("", "web-two", &[])], Asked::Hold),
        "revision 2 (web-two) is held already"
    );
    // Another one than it was at first: what the person saw is not what would be held.
    assert!(refusal(&[], Asked::Hold, Some("web-one")).contains("is not the one that is wanted now"));

    let held = annotated("drover.dev/hold", "web-one");
    let resumed = change(std::slice::from_ref(&held), Asked::Resume, None);
    assert_eq!((resumed.annotation, resumed.value.as_deref()), ("drover.dev/hold", None));
    assert_eq!(resumed.said.unwrap(), "revision web-one is not held any more");
    assert_eq!(nothing(&[], Asked::Resume), "no annotation holds a revision");
    let paused = ("/spec/rollout", json!({"paused": true}));
    assert!(
        nothing(std::slice::from_ref(&paused), Asked::Resume).ends_with("spec.rollout.paused still holds the rollout")
    );
    assert!(
        change(&[held, paused], Asked::Resume, None)
            .said
            .unwrap()
            .ends_with("spec.rollout.paused still holds the rollout")
    );
}

/// What was written while admission policies were missing does not count, and Drover sees only that a value is another one.
#[test]
fn what_does_not_count_is_taken_back_and_written_again_once_drover_saw_that() {
    for (asked, key) in [(Asked::Approve, "drover.dev/approve"), (Asked::Hold, "drover.dev/hold")] {
        let (before, after) = match asked {
            Asked::Approve => (["web-two", ""], ["", ""]),
            _ => (["", "web-two"], ["", ""]),
        };
        let first = change(&[annotated(key, "web-two"), steered("", "", &before)], asked, None);
        assert_eq!(first, Change { annotation: key, value: None, said: None });
        let waits = judge(&app(&[steered("", "", &before)]), asked, Some("web-two"));
        assert_eq!(waits, Ok(Outcome::Wait(key)), "{asked:?}");
        for seen in [&after[..], &[]] {
            let second = change(&[steered("", "", seen)], asked, Some("web-two"));
            assert_eq!((second.value.as_deref(), second.said.is_some()), (Some("web-two"), true), "{asked:?}");
        }
    }
    // A hold that was taken off meanwhile stands: it is written again, and then taken off.
    let first = change(&[steered("", "web-two", &["", ""])], Asked::Resume, None);
    assert_eq!(first, Change { annotation: "drover.dev/hold", value: Some("web-two".to_owned()), said: None });
    let written = annotated("drover.dev/hold", "web-two");
    let waits = judge(&app(&[written.clone(), steered("", "web-two", &["", ""])]), Asked::Resume, None);
    assert_eq!(waits, Ok(Outcome::Wait("drover.dev/hold")));
    let last = change(&[written, steered("", "web-two", &[])], Asked::Resume, None);
    assert_eq!((last.value, last.said.is_some()), (None, true));
    assert!(unseen(Some("drover.dev/hold")).contains("annotation drover.dev/hold; try again"));
}

#[test]
fn the_status_is_told_in_lines() {
    let app = app(&[annotated("drover.dev/hold", "web-one")]);
    let expected = "MultiClusterApp team-a/web\n\
        Revision         2 (web-two)\n\
        Completed last   1 (web-one)\n\
        Phase            WaitingForApproval at stage everywhere\n\
        Targets          1/3 updated, 1 ready, 0 failed, 1 offline; 4 more clusters do not admit the namespace\n\
        Held             web-one\n\
        Ready            False, WaitingForApproval: 1/3 targets have the revision, 1 are ready: stage everywhere needs approval\n\
        PruneBlocked     True, PruneBlocked: 2 clusters are no targets any more\n\
        \n\
        STAGE        TARGETS   UPDATED   READY   LAST START\n\
        canary       1         1         1       -\n\
        everywhere   2         0         0       2026-01-02T03:04:05Z\n\
        \n\
        NOT READY   REASON\n\
        us          Offline\n";
    assert_eq!(text::status(&app), expected);
}

#[test]
fn what_is_wrong_with_targets_is_told_and_that_nothing_is_wrong_is_not() {
    let resolved = |status: &str, reason: &str| {
        let condition = json!([{
            "type": "TargetsResolved", "status": status, "reason": reason, "message": "spec.overrides[0] selects no target",
            "lastTransitionTime": "2026-01-02T03:04:05Z",
        }]);
        text::status(&app(&[("/status/conditions", condition)]))
    };
    for (status, reason, is_told) in
        [("True", "OverrideUnused", true), ("False", "TargetMissing", true), ("True", "Ready", false)]
    {
        let said = resolved(status, reason);
        assert_eq!(
            said.contains(&format!("{status}, {reason}: spec.overrides[0] selects no target")),
            is_told,
            "{said}"
        );
    }
}

#[test]
fn a_fresh_object_has_a_status_to_read() {
    let said = text::status(&app(&[("/status", Value::Null)]));
    assert!(said.contains("Drover has not decided") && said.contains("Revision   none"), "{said}");
}

#[test]
fn what_a_status_says_does_not_play_with_a_terminal() {
    let said = text::status(&app(&[("/status/notReady", json!([{"cluster": "us", "reason": "\u{1b}[31mred"}]))]));
    assert!(said.ends_with("us          [31mred\n"), "{said}");
}

fn content(values: &Value) -> Content {
    let template = json!({"namespace": "team-a-web", "values": values});
    serde_json::from_value(json!({"template": template, "charts": {}})).unwrap()
}

fn revision(number: i64, name: &str, content: &Content) -> ControllerRevision {
    serde_json::from_value(json!({"metadata": {"name": name}, "revision": number, "data": content})).unwrap()
}

/// The revisions 1 and 2 of `web`.
fn kept() -> Vec<Kept> {
    let one = |number: i64, name: &str| Kept {
        number,
        name: name.to_owned(),
        content: content(&json!({"password": format!("s3cr3t-{number}"), "replicas": 2})),
    };
    vec![one(1, "web-one"), one(2, "web-two")]
}

#[test]
fn revisions_are_compared_by_name_or_number_and_from_the_last_one_to_the_wanted_one() {
    let kept = kept();
    let numbers = |app: &MultiClusterApp, from, to| {
        ends(app, &kept, from, to).map(|(from, to)| (from.map(|from| from.number), to.number))
    };
    let waiting = app(&[]);
    assert_eq!(numbers(&waiting, None, None), Ok((Some(1), 2)));
    assert_eq!(numbers(&waiting, Some("2"), Some("web-one")), Ok((Some(2), 1)));
    assert_eq!(numbers(&app(&[("/status/currentRevision", Value::Null)]), None, None), Ok((None, 2)));
    for (from, to) in [(Some("3"), None), (None, Some("web-three")), (Some(""), None)] {
        let said = numbers(&waiting, from, to).unwrap_err();
        assert!(said.contains("is not kept; name one that kubectl get controllerrevisions lists"), "{said}");
    }
    let said = numbers(&app(&[("/status/targetRevision", Value::Null)]), None, None).unwrap_err();
    assert!(said.contains("has not decided"), "{said}");
}

#[test]
fn a_difference_names_fields_and_targets_and_no_value() {
    let (app, kept) = (app(&[]), kept());
    let differs = drover_rollouts::difference(&kept[0].content, &kept[1].content).unwrap();
    let said = text::difference(&app, &Compared { from: Some(&kept[0]), to: &kept[1], differs: &differs });
    let expected = "From revision 1 (web-one) to 2 (web-two) of MultiClusterApp team-a/web these fields differ:\n  \
        template.values.password\n\
        \n\
        STAGE        TARGETS   UPDATED   READY   LAST START\n\
        canary       1         1         1       -\n\
        everywhere   2         0         0       2026-01-02T03:04:05Z\n";
    assert_eq!(said, expected);
    let many = Difference { more: 7, ..differs };
    let said = text::difference(&app, &Compared { from: Some(&kept[0]), to: &kept[1], differs: &many });
    assert!(said.contains("  template.values.password\n  ... and 7 more\n\nSTAGE"), "{said}");
    let none = Difference::default();
    let said = text::difference(&app, &Compared { from: None, to: &kept[1], differs: &none });
    assert!(said.starts_with("Revision 2 (web-two) of MultiClusterApp team-a/web follows no other one.\n"), "{said}");
    let said = text::difference(&app, &Compared { from: Some(&kept[1]), to: &kept[1], differs: &none });
    assert!(said.contains("are the same"), "{said}");
}

#[test]
fn only_what_its_name_tells_is_a_revision() {
    let content = content(&json!({"replicas": 2}));
    let name = content.name("web").unwrap();
    assert_eq!(Kept::of("web", &revision(3, &name, &content)).map(|kept| kept.number), Some(3));
    assert!(Kept::of("web", &revision(3, "web-other", &content)).is_none(), "written by others under another name");
    assert!(Kept::of("shop", &revision(3, &name, &content)).is_none(), "of another app");
    let foreign = json!({"metadata": {"name": "db-1"}, "revision": 1, "data": {"spec": {}}});
    assert!(Kept::of("web", &serde_json::from_value(foreign).unwrap()).is_none(), "of a StatefulSet");
}

/// The stage `everywhere` of revision 2, with what was found there.
fn previewed(outcome: &Value) -> Preview {
    let stage = json!({"stage": "everywhere", "cluster": "us", "released": "1", "outcome": outcome});
    serde_json::from_value(json!({"revision": "web-two", "stages": [stage]})).unwrap()
}

fn differing(more: &Value) -> Value {
    let mut found = json!({
        "created": 1, "changed": 2, "removed": 0, "objects": ["ConfigMap a"], "text": "~ ConfigMap a\n    data.a: 1 -> 2\u{1b}\n",
    });
    found.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    json!({ "differs": found })
}

#[test]
fn what_a_revision_would_change_is_told_stage_by_stage() {
    let app = app(&[]);
    let told = |outcome: &Value| preview::preview(&app, Some(&previewed(outcome)));
    let expected = "\nWhat it would change, on one cluster of each stage:\n\nStage everywhere, cluster us: 1 to create, 2 to change, 0 to remove\n\
        ~ ConfigMap a\n    data.a: 1 -> 2\n";
    assert_eq!(told(&differing(&json!({}))), expected, "and nothing plays with a terminal");
    let redacted = told(&differing(&json!({"withoutValues": true, "isNew": true})));
    assert!(
        redacted.contains("as some of it may be secret") && redacted.contains("so all counts as new"),
        "{redacted}"
    );
    let nothing = told(&json!({"differs": {"created": 0, "changed": 0, "removed": 0, "objects": [], "text": ""}}));
    assert!(nothing.ends_with("Stage everywhere, cluster us: no object changes\n"), "{nothing}");
}

#[test]
fn what_is_not_known_is_told_with_its_reason() {
    let unknown = json!({"unknown": {"reason": "LookupRefused", "message": "the chart looks up a Secret"}});
    let said = preview::preview(&app(&[]), Some(&previewed(&unknown)));
    assert!(said.ends_with("cluster us: not known (LookupRefused: the chart looks up a Secret)\n"), "{said}");
    for (phase, expected) in [
        ("WaitingForApproval", "is not known yet: Drover is looking, or no cluster"),
        ("Paused", "is not known yet"),
        ("Completed", "has it already"),
        ("Progressing", "while the rollout waits for approval"),
        ("RolledBack", "failed and is not tried again"),
        ("Pending", "no target that can be reached"),
    ] {
        let said = preview::preview(&app(&[("/status/phase", json!(phase))]), None);
        assert!(said.contains(expected), "{phase}: {said}");
    }
    let gate = ("/spec/rollout", json!({"stages": [{"name": "everywhere", "approval": "Required"}]}));
    for (approved, expected) in [(false, "is not known yet: Drover is looking"), (true, "is looked up while")] {
        let record = ("/status/rollout", json!({ "approved": approved }));
        let said = preview::preview(&app(&[("/status/phase", json!("Progressing")), gate.clone(), record]), None);
        assert!(said.contains(expected), "{said}");
    }
    let stages = json!([
        {"name": "canary", "total": 1, "updated": 0, "ready": 1}, {"name": "everywhere", "total": 2, "updated": 0, "ready": 0},
    ]);
    let said = preview::preview(&app(&[("/status/stages", stages)]), Some(&previewed(&differing(&json!({})))));
    assert!(said.contains("\nStage canary: not known") && !said.contains("Stage everywhere: not known"), "{said}");
}

#[test]
fn a_preview_of_another_app_or_revision_is_none() {
    let app = app(&[]);
    let kept = |name: &str, revision: &str| -> ControllerRevision {
        let labels = json!({
            "drover.dev/owner-kind": "MultiClusterApp", "drover.dev/owner-namespace": "team-a", "drover.dev/owner-name": name,
        });
        let mut preview = previewed(&differing(&json!({})));
        preview.revision = revision.to_owned();
        let data = json!({ "preview": preview });
        serde_json::from_value(
            json!({"metadata": {"name": "web-preview-1", "labels": labels}, "revision": 0, "data": data}),
        )
        .unwrap()
    };
    let is_one = |kept: &ControllerRevision| preview_of(&app, "web-two", kept).is_some();
    assert!(is_one(&kept("web", "web-two")));
    assert!(!is_one(&kept("shop", "web-two")) && !is_one(&kept("web", "web-one")));
    let mut unlabelled = kept("web", "web-two");
    unlabelled.metadata.labels = None;
    assert!(!is_one(&unlabelled), "the policy knows it by its labels");
    assert!(Kept::of("web", &kept("web", "web-two")).is_none(), "nor is it a revision");
}
