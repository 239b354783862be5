use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Inputs, Judging, Layer, Resolved, Validation, canonical, resolve};
use crate::{Chart, Problem, Subchart, arbitrary::map, merge};

const QUESTIONS: &str = "
questions:
- {variable: admin.password, type: password, required: true, min_length: 8}
- {variable: replicas, type: int, default: '2', max: 5}
- {variable: tls.enabled, type: boolean, default: false, show_subquestion_if: true, subquestions: [
    {variable: tls.host, type: hostname, default: a.example, show_subquestion_if: true}]}
- {variable: image, default: nginx}
";

fn answers(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()
}

fn with(
    chart: &Chart<'_>,
    layers: &[Layer<'_>],
    pairs: &[(&str, &str)],
    validation: Validation,
) -> Result<Resolved, Vec<String>> {
    let inputs = Inputs { chart, questions: Some(QUESTIONS), layers, answers: &answers(pairs), validation };
    resolve(&inputs).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn enforced(chart: &Chart<'_>, pairs: &[(&str, &str)]) -> Result<Value, Vec<String>> {
    with(chart, &[], pairs, Validation::default()).map(|resolved| resolved.values)
}

#[test]
fn layers_go_over_one_another_and_answers_over_all() {
    let own = json!({"a": {"own": 1, "list": [1, 2]}});
    let text = "a: {own: 0, text: 1}\nb: 1\n";
    let layers = [
        Layer::Text { source: "ConfigMap web, key values".to_owned(), text },
        Layer::At { source: "Secret web, key password".to_owned(), path: "a.password", text: "p,w\\" },
        Layer::Values(&own),
    ];
    let pairs = [("a.list[1]", "x"), ("b", "null")];
    let skip = Validation { schema: Judging::Skip, questions: Judging::Skip };
    let resolved = with(&Chart::default(), &layers, &pairs, skip).unwrap();
    let expected = json!({"a": {"own": 1, "text": 1, "password": "p,w\\", "list": [1, "x"]}, "b": null});
    assert_eq!(resolved.values, expected);
    assert_eq!(resolved.canonical, r#"{"a":{"list":[1,"x"],"own":1,"password":"p,w\\","text":1},"b":null}"#);
}

#[test]
fn every_source_that_holds_no_values_is_named_without_its_text() {
    let layers = [
        Layer::Text { source: "Secret a, key v".to_owned(), text: "s3cret" },
        Layer::Text { source: "Secret b, key v".to_owned(), text: "s3cret: 1\ns3cret: 2" },
        Layer::At { source: "Secret c, key v".to_owned(), path: "a..b", text: "s3cret" },
    ];
    let problems =
        with(&Chart::default(), &layers, &[("x[", "s3cret"), ("l", "{s3cret")], Validation::default()).unwrap_err();
    assert_eq!(
        problems,
        [
            "Secret a, key v: it is not a map",
            "Secret b, key v: line 2: a key is there twice",
            "Secret c, key v: its key is not a path such as a.b[0].c",
            "answer l: its list does not end with }",
            "answer x[: its key has an index that is not between 0 and 65536",
        ]
    );
}

#[test]
fn defaults_of_questions_apply_where_nobody_says_anything() {
    let chart = Chart { values: Some("image: own"), ..Chart::default() };
    let values = enforced(&chart, &[("admin.password", "longenough")]);
    assert_eq!(values, Ok(json!({"admin": {"password": "longenough"}, "replicas": 2, "tls": {"enabled": false}})));
    let values = enforced(&chart, &[("admin.password", "longenough"), ("tls.enabled", "true"), ("replicas", "null")]);
    let expected =
        json!({"admin": {"password": "longenough"}, "replicas": null, "tls": {"enabled": true, "host": "a.example"}, });
    assert_eq!(values, Ok(expected));
}

#[test]
fn a_default_of_a_question_may_turn_a_subchart_on_and_its_schema_judges() {
    let schema = json!({"required": ["size"]}).to_string();
    let subchart = Subchart {
        name: "db".to_owned(),
        condition: "replicas,tls.enabled".to_owned(),
        chart: Chart { schema: Some(&schema), ..Chart::default() },
        ..Subchart::default()
    };
    let chart = Chart { subcharts: vec![subchart], ..Chart::default() };
    let password = ("admin.password", "longenough");
    assert!(enforced(&chart, &[password]).is_ok());
    let on = enforced(&chart, &[password, ("tls.enabled", "true")]);
    assert_eq!(on, Err(vec!["value /db/size: values.schema.json refuses it (required)".to_owned()]));
}

#[test]
fn what_judges_may_refuse_or_warn_or_be_left_out() {
    let schema = json!({"required": ["must"]}).to_string();
    let chart = Chart { schema: Some(&schema), ..Chart::default() };
    let outcome = |schema, questions| with(&chart, &[], &[("replicas", "9")], Validation { schema, questions });
    let answers = ["question admin.password: it needs an answer", "question replicas: its answer is more than 5"];
    let value = "value /must: values.schema.json refuses it (required)";
    assert_eq!(outcome(Judging::Enforce, Judging::Enforce).unwrap_err(), [answers[0], answers[1], value]);
    assert_eq!(outcome(Judging::Enforce, Judging::Skip).unwrap_err(), [value]);
    let warned = outcome(Judging::Warn, Judging::Warn).unwrap();
    assert_eq!(warned.warnings.len(), 3);
    let skipped = outcome(Judging::Skip, Judging::Skip).unwrap();
    assert_eq!((skipped.values, skipped.warnings), (json!({"replicas": 9}), vec![]));
}

#[test]
fn a_chart_with_unreadable_values_is_refused_only_where_something_judges_them() {
    let chart = Chart { values: Some("a: [s3cret"), schema: Some("{}"), ..Chart::default() };
    let password = [("admin.password", "longenough")];
    let outcome = |schema, questions| with(&chart, &[], &password, Validation { schema, questions });
    let problems = outcome(Judging::Enforce, Judging::Warn).unwrap_err();
    assert_eq!(problems, ["values.yaml of the chart: line 2: it is not valid YAML"]);
    assert_eq!(outcome(Judging::Warn, Judging::Warn).unwrap().warnings.len(), 1);
    assert!(outcome(Judging::Skip, Judging::Skip).unwrap().warnings.is_empty());
}

#[test]
fn names_in_problems_are_cut_and_stay_on_one_line() {
    let key = format!("a\nb{}[", "x".repeat(1_000));
    let text = Problem::Answer { key, error: crate::SetError::Index }.to_string();
    assert!(text.starts_with("answer a\u{fffd}bxxx") && text.chars().count() < 220 && !text.contains('\n'), "{text}");
}

proptest! {
    #[test]
    fn resolving_never_fails_otherwise_than_with_problems(
        chart in map(), said in map(), schema in map(), questions in ".{0,40}", key in ".{0,6}", text in ".{0,6}"
    ) {
        let (values, schema) = (chart.to_string(), schema.to_string());
        let chart = Chart { values: Some(&values), schema: Some(&schema), ..Chart::default() };
        let layers = [Layer::Values(&said)];
        let answers = answers(&[(&key, &text)]);
        for judging in [Judging::Enforce, Judging::Warn, Judging::Skip] {
            let validation = Validation { schema: judging, questions: judging };
            let inputs = Inputs { chart: &chart, questions: Some(&questions), layers: &layers, answers: &answers, validation };
            if let Err(problems) = resolve(&inputs) {
                prop_assert!(!problems.is_empty());
            }
        }
    }

    #[test]
    fn equal_values_have_equal_texts_which_are_json(one in map(), other in map()) {
        let merged = merge([one.clone(), other.clone()]);
        prop_assert_eq!(serde_json::from_str::<Value>(&canonical(&merged)).unwrap(), merged);
        prop_assert_eq!(canonical(&one) == canonical(&other), one == other);
    }
}
