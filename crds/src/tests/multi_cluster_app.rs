use std::collections::BTreeSet;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use kube::core::cel::Validator;
use serde_json::{Value, json};

use super::{
    checker::problems,
    merge,
    objects::{accepted, app, refused},
    schema,
};
use crate::{
    Admission, Baking, Batch, CountOrPercent, MAX_NOT_READY, MAX_PREVIEW_OBJECTS, MAX_PREVIEWS, MAX_PROBLEM_MESSAGE,
    MAX_STAGES, MAX_STATUS_BYTES, MultiClusterApp, MultiClusterAppStatus, NotReady, Percent, Pruned, RevisionRef,
    RolloutCounts, RolloutPhase, RolloutRecord, Stage, StagePreview, StageStatus, Steered, condition,
};

const KIND: &str = "MultiClusterApp";

/// The template of an app on many clusters: an app without its place.
fn good() -> Value {
    let mut template = app()["spec"].clone();
    merge(&mut template, &json!({ "clusterName": null }));
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": KIND, "metadata": { "name": "web", "namespace": "team-a" },
        "spec": { "clusters": { "all": {} }, "template": template },
    })
}

fn stages(stages: &Value) -> Value {
    json!({ "spec": { "rollout": { "stages": stages } } })
}

fn overrides(patch: &Value) -> Value {
    let mut one = json!({ "clusters": { "names": ["eu-1"] } });
    merge(&mut one, patch);
    json!({ "spec": { "overrides": [one] } })
}

#[test]
fn stages_budgets_and_overrides_are_accepted() {
    let region = |region: &str| json!({ "matchLabels": { "region": region } });
    let repository = json!({ "repository": { "name": "stable", "chart": "web" }, "configMap": null });
    accepted(
        KIND,
        &good(),
        &[
            json!({}),
            json!({ "spec": { "pin": { "revision": 3 }, "revisionHistoryLimit": 100, "onTargetRemoved": "Orphan" } }),
            json!({ "spec": { "rollout": { "paused": true, "offlinePolicy": "Count", "progressDeadline": "1h" } } }),
            json!({ "spec": { "rollout": { "prune": { "maxFraction": "0%", "grace": "0s" } } } }),
            stages(&json!([])),
            stages(
                &json!([{ "name": "canary", "selector": region("eu"), "maxUnavailable": 1, "approval": "Required" }, { "name": "all" }]),
            ),
            stages(&json!([
                { "name": "eu", "selector": region("eu"), "batchSize": "5%", "interval": "1m", "minReady": "24h" },
                { "name": "us", "selector": region("us"), "maxUnavailable": "100%", "onFailure": "Rollback", "maxFailures": 2 },
            ])),
            overrides(
                &json!({ "values": { "a": 1 }, "answers": { "b": "2" }, "namespace": "team-a-b", "releaseName": "b" }),
            ),
            overrides(&json!({ "projectName": "other" })),
            json!({ "spec": { "template": { "chart": repository }, "overrides": [{ "clusters": { "all": {} }, "version": "1.2.3" }] } }),
        ],
    );
}

#[test]
fn what_no_rollout_can_mean_is_refused() {
    let named = |name: &str| json!({ "name": name, "selector": { "matchLabels": { "a": name } } });
    let many: Vec<_> = (0..21).map(|number| named(&format!("s{number}"))).collect();
    let refuses = |complaint: &'static str, patch: Value| (patch, complaint);
    refused(
        KIND,
        &good(),
        &[
            refuses("clusters: give exactly one", json!({ "spec": { "clusters": { "all": null } } })),
            refuses("lacks a required field", json!({ "spec": { "template": null } })),
            refuses("clusterName: unknown field", json!({ "spec": { "template": { "clusterName": "eu" } } })),
            refuses("pin: unknown field", json!({ "spec": { "template": { "pin": { "revision": 1 } } } })),
            refuses("replaces no definitions", json!({ "spec": { "template": { "crds": "CreateReplace" } } })),
            refuses("the name must be a DNS label", json!({ "metadata": { "name": "a.b" } })),
            refuses("set spec.template.releaseName", json!({ "metadata": { "name": "a".repeat(54) } })),
            refuses("revisionHistoryLimit: less", json!({ "spec": { "revisionHistoryLimit": 0 } })),
            refuses("revision: less", json!({ "spec": { "pin": { "revision": 0 } } })),
            refuses(
                "maxFraction: does not match",
                json!({ "spec": { "rollout": { "prune": { "maxFraction": "101%" } } } }),
            ),
            refuses("maxFraction: is of type", json!({ "spec": { "rollout": { "prune": { "maxFraction": 1 } } } })),
            refuses("every stage has a name", stages(&json!([named("a"), named("a")]))),
            refuses("stages: more than maxItems", stages(&json!(many))),
            refuses("only the last one may be without", stages(&json!([{ "name": "a" }, named("b")]))),
            refuses("only the last one may be without", stages(&json!([{ "name": "a" }, { "name": "b" }]))),
            refuses("rest is the stage of those", stages(&json!([{ "name": "rest" }]))),
            refuses("needs at least one requirement", stages(&json!([{ "name": "a", "selector": {} }]))),
            refuses("maxUnavailable: does not match", stages(&json!([{ "name": "a", "maxUnavailable": "30" }]))),
            refuses("maxUnavailable: less", stages(&json!([{ "name": "a", "maxUnavailable": -1 }]))),
            refuses("batchSize: more", stages(&json!([{ "name": "a", "batchSize": 100_001 }]))),
            refuses("approval: not in enum", stages(&json!([{ "name": "a", "approval": "Once" }]))),
            refuses("maxFailures: less", stages(&json!([{ "name": "a", "maxFailures": -1 }]))),
            refuses("clusters: give exactly one", overrides(&json!({ "clusters": { "all": {} } }))),
            refuses("set spec.template.chart.repository", overrides(&json!({ "version": "1.0.0" }))),
            refuses(
                "overrides: more than",
                json!({ "spec": { "overrides": vec![json!({ "clusters": { "all": {} } }); 51] } }),
            ),
        ],
    );
    let mut of_platform = good();
    merge(&mut of_platform, &json!({ "spec": { "template": { "projectName": null } } }));
    refused(KIND, &of_platform, &[refuses("of no Project anywhere", overrides(&json!({ "projectName": "shop" })))]);
}

/// A target keeps what it has: template and app have the same rules.
#[test]
fn what_makes_an_app_another_one_cannot_be_changed() {
    let template = |patch: Value| json!({ "spec": { "template": patch } });
    for (change, complaint) in [
        (json!({ "namespace": "other" }), "the namespace cannot be changed"),
        (json!({ "projectName": "other" }), "the Project cannot be changed"),
        (json!({ "projectName": null }), "whether the app is of a Project cannot be changed"),
        (json!({ "releaseName": "other" }), "the name of the release cannot be changed"),
    ] {
        for (kind, old, patch) in
            [(KIND, good(), template(change.clone())), ("CatalogApp", app(), json!({ "spec": change.clone() }))]
        {
            let mut new = old.clone();
            merge(&mut new, &patch);
            let errors = Validator::new().validate(&schema(kind), &new, Some(&old)).unwrap_err();
            assert!(
                errors.as_slice().iter().any(|error| error.message.contains(complaint)),
                "{kind} {patch}: {errors:?}"
            );
        }
    }
    let mut new = good();
    merge(&mut new, &template(json!({ "values": { "a": 1 }, "roleTemplateName": "other", "suspend": true })));
    assert!(Validator::new().validate(&schema(KIND), &new, Some(&good())).is_ok());
}

/// Nothing that an app says of itself is missing in a template, or said in other words.
#[test]
fn a_template_is_an_app_without_its_place_and_its_pin() {
    let (of_app, of_many) = (schema("CatalogApp"), schema(KIND));
    let (app, template) = (&of_app["properties"]["spec"], &of_many["properties"]["spec"]["properties"]["template"]);
    let mut fields = app["properties"].as_object().unwrap().clone();
    assert!(fields.remove("clusterName").is_some() && fields.remove("pin").is_some());
    assert_eq!(Value::Object(fields), template["properties"]);
    assert_eq!(app["x-kubernetes-validations"], template["x-kubernetes-validations"]);
    assert_eq!(app["x-kubernetes-validations"].as_array().map(Vec::len), Some(3));
    let required = |of: &Value| -> BTreeSet<String> { serde_json::from_value(of["required"].clone()).unwrap() };
    assert_eq!(required(app), &required(template) | &BTreeSet::from(["clusterName".to_owned()]));
}

#[test]
fn what_is_written_of_many_survives_unchanged_and_defaults_are_those_of_the_texts() {
    let mut object = good();
    merge(
        &mut object,
        &stages(&json!([{ "name": "all", "maxUnavailable": "50%", "batchSize": 3, "minReady": "90s" }])),
    );
    let read: MultiClusterApp = serde_json::from_value(object.clone()).unwrap();
    let mut written = serde_json::to_value(&read).unwrap();
    merge(&mut written, &json!({ "status": null }));
    assert_eq!(written, object);
    assert_eq!(read.spec.rollout.stages[0].max_unavailable, Some(CountOrPercent::Percent(Percent::new(50))));
    assert_eq!((read.approved(), read.held()), (None, None));

    let stage = Stage::default();
    assert_eq!((stage.max_unavailable(8), stage.batch_size(8), stage.max_failures()), (2, usize::MAX, 0));
    assert_eq!((stage.min_ready().as_secs(), stage.interval().as_secs()), (120, 0));
    assert_eq!((read.spec.rollout.progress_deadline().as_secs(), read.spec.revision_history_limit()), (600, 10));
    let prune = &read.spec.rollout.prune;
    assert_eq!((prune.max_fraction().to_string(), prune.grace().as_secs()), ("30%".to_owned(), 600));
}

/// The largest status that there can be: every list is full, and every text as long as it may be.
fn largest() -> MultiClusterAppStatus {
    let now = Time(Timestamp::MAX);
    let text = |length: usize| "m".repeat(length);
    let many = i64::from(u32::MAX);
    let revision = RevisionRef { number: many, name: text(74) };
    let hash = || Some(text(64));
    let types = [
        condition::READY,
        condition::RECONCILING,
        condition::PROGRESSING,
        condition::PAUSED,
        condition::TARGETS_RESOLVED,
        condition::PRUNE_BLOCKED,
        condition::DEGRADED,
    ];
    MultiClusterAppStatus {
        observed_generation: i64::MAX,
        admission: Some(Admission {
            generation: many,
            admitted: false,
            policies: text(256),
            first: text(256),
            since: now.clone(),
            rights: hash(),
            admitted_rights: hash(),
        }),
        current_revision: Some(revision.clone()),
        target_revision: Some(revision.clone()),
        phase: Some(RolloutPhase::WaitingForApproval),
        stage: Some(text(63)),
        counts: Some(RolloutCounts {
            targets: many,
            updated: many,
            ready: many,
            failed: many,
            offline: many,
            pending: many,
            without_consent: many,
            summary: text(64),
        }),
        stages: vec![
            StageStatus {
                name: text(63),
                total: many,
                updated: many,
                ready: many,
                since: Some(now.clone()),
                preview: None
            };
            MAX_STAGES
        ],
        not_ready: vec![NotReady { cluster: text(63), reason: text(48) }; MAX_NOT_READY],
        rollout: Some(RolloutRecord {
            revision: Some(revision.name.clone()),
            completed: Some(revision.name),
            failed: true,
            approved: true,
            reached: Some(text(63)),
            baking: Some(Baking { stage: text(63), seen: now.clone(), left_millis: i64::MAX }),
            batch: Some(Batch { stage: text(63), at: now.clone(), upto: i64::MAX }),
            done: many,
            waiting_since: Some(now.clone()),
            pruned: Some(Pruned { since: now.clone(), of: many, removed: many, through: now.clone() }),
            steered: Some(Steered {
                policies: text(256),
                approve: Some(text(128)),
                hold: Some(text(128)),
                unjudged: vec![text(128), text(128)],
            }),
        }),
        conditions: types
            .map(|type_| Condition {
                type_: type_.to_owned(),
                status: "Unknown".to_owned(),
                reason: text(40),
                message: text(MAX_PROBLEM_MESSAGE),
                last_transition_time: now.clone(),
                observed_generation: Some(i64::MAX),
            })
            .to_vec(),
    }
}

#[test]
fn i17_a_status_has_at_most_16_kib_whatever_the_size_of_the_fleet() {
    let mut largest = largest();
    let (most, longest) = MAX_PREVIEW_OBJECTS;
    let preview = StagePreview {
        cluster: "x".repeat(63),
        created: 99_999,
        changed: 99_999,
        removed: 99_999,
        objects: vec!["x".repeat(longest); most],
        reason: None,
    };
    largest.stages.iter_mut().take(MAX_PREVIEWS).for_each(|stage| stage.preview = Some(preview.clone()));
    let largest = serde_json::to_value(largest).unwrap();
    let bytes = largest.to_string().len();
    assert!(bytes <= MAX_STATUS_BYTES, "{bytes} bytes");
    let mut object = good();
    merge(&mut object, &json!({ "status": largest }));
    assert_eq!(problems(&schema(KIND), &object), Vec::<String>::new());
    let more = json!({ "status": { "notReady": vec![json!({ "cluster": "a", "reason": "R" }); MAX_NOT_READY + 1] } });
    refused(KIND, &object, &[(more, "notReady: more than maxItems")]);
}
