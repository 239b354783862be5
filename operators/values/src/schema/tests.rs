use serde_json::{Value, json};

use super::{SCHEMA_BYTES, judge};
use crate::{Chart, PROBLEMS, Problem, SchemaError, Subchart, chart::Tree};

fn judged(schema: &Value, values: &Value) -> Vec<Problem> {
    judged_text(&schema.to_string(), values)
}

fn judged_text(schema: &str, values: &Value) -> Vec<Problem> {
    let chart = Chart { schema: Some(schema), ..Chart::default() };
    judge(&Tree::read(&chart).unwrap(), values.as_object().unwrap())
}

fn unusable(error: SchemaError) -> Vec<Problem> {
    vec![Problem::Schema { chart: String::new(), error }]
}

#[test]
fn problems_name_place_and_keyword_and_never_a_value() {
    let schema = json!({
        "required": ["name"],
        "additionalProperties": false,
        "properties": {
            "name": {},
            "db": {"properties": {"port": {"type": "integer", "maximum": 10}, "password": {"pattern": "^[a-z]+$", "enum": ["s3cret-other"]}}},
        },
    });
    let values = json!({"db": {"port": "s3cret", "password": "S3CRET-s3cret"}, "extra": "s3cret"});
    let texts: Vec<String> = judged(&schema, &values).iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "value /db/password: values.schema.json refuses it (enum)",
            "value /db/password: values.schema.json refuses it (pattern)",
            "value /db/port: values.schema.json refuses it (type)",
            "value /extra: values.schema.json refuses it (additionalProperties)",
            "value /name: values.schema.json refuses it (required)",
        ]
    );
}

#[test]
fn nothing_outside_of_a_schema_is_read() {
    for reference in [
        "file:///etc/passwd",
        "http://169.254.169.254/latest",
        "https://example.com/s.json",
        "other.json",
        "/etc/passwd",
        "urn:x:y",
    ] {
        for keyword in ["$ref", "$dynamicRef"] {
            let schema = json!({"properties": {"a": {keyword: reference}}});
            assert_eq!(judged(&schema, &json!({"a": 1})), unusable(SchemaError::Reference), "{keyword} {reference}");
        }
    }
    assert_eq!(judged(&json!({"$ref": "#/definitions/none"}), &json!({})), unusable(SchemaError::Reference));
    assert_eq!(judged(&json!({"$schema": "https://example.com/meta"}), &json!({})), unusable(SchemaError::Reference));
}

#[test]
fn what_is_no_schema_is_told_without_its_text() {
    assert_eq!(judged_text("{\"s3cret", &json!({})), unusable(SchemaError::Json));
    assert_eq!(judged_text(&" ".repeat(SCHEMA_BYTES + 1), &json!({})), unusable(SchemaError::TooLong));
    assert_eq!(judged_text(&"[".repeat(500_000), &json!({})), unusable(SchemaError::Json));
    assert_eq!(judged(&json!({"type": "s3cret"}), &json!({})), unusable(SchemaError::Invalid));
    assert_eq!(judged(&json!({"pattern": "(?=a)b"}), &json!({})), unusable(SchemaError::Invalid));
    assert_eq!(judged(&json!({"pattern": "(a{1000}){1000}"}), &json!({})), unusable(SchemaError::Invalid));
}

#[test]
fn a_pattern_takes_linear_time() {
    let schema = json!({"properties": {"a": {"pattern": "^(a+)+$"}}});
    let values = json!({"a": format!("{}!", "a".repeat(100_000))});
    assert_eq!(judged(&schema, &values).len(), 1);
}

#[test]
fn problems_are_counted_up_to_a_bound() {
    let keys = (0..200).map(|number| (format!("k{number}"), json!("x")));
    let values = Value::Object(keys.collect());
    assert_eq!(judged(&json!({"additionalProperties": {"type": "integer"}}), &values).len(), PROBLEMS);
}

#[test]
fn schemas_of_subcharts_judge_their_part() {
    let inner = json!({"required": ["a"], "properties": {"b": {"type": "string"}}}).to_string();
    let subchart = |name: &str| Subchart {
        name: name.to_owned(),
        chart: Chart { schema: Some(&inner), ..Chart::default() },
        ..Subchart::default()
    };
    let outer = Subchart {
        name: "outer".to_owned(),
        chart: Chart { subcharts: vec![subchart("in")], ..Chart::default() },
        ..Subchart::default()
    };
    let chart = Chart { subcharts: vec![subchart("one"), outer], ..Chart::default() };
    let values = json!({"one": {"a": 1, "b": 2}, "outer": {"in": {"b": "x"}}});
    let texts: Vec<String> =
        judge(&Tree::read(&chart).unwrap(), values.as_object().unwrap()).iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "value /one/b: values.schema.json refuses it (type)",
            "value /outer/in/a: values.schema.json refuses it (required)"
        ]
    );
}

#[test]
fn schemas_that_refer_to_themselves_end() {
    for schema in [
        json!({"$ref": "#"}),
        json!({"allOf": [{"$ref": "#"}]}),
        json!({"anyOf": [{"$ref": "#"}, {"type": "string"}]}),
        json!({"not": {"$ref": "#"}}),
        json!({"$dynamicRef": "#"}),
        json!({"$recursiveRef": "#", "$schema": "https://json-schema.org/draft/2019-09/schema"}),
        json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
        json!({"if": {"$ref": "#"}, "then": {"$ref": "#"}}),
        json!({"dependentSchemas": {"a": {"$ref": "#"}}}),
        json!({"$defs": {"n": {"$id": "n", "$ref": "n"}}, "$ref": "n"}),
        json!({"$id": "http://x/y", "$ref": "http://x/y"}),
        json!({"unevaluatedProperties": {"type": "string"}, "allOf": [{"$ref": "#"}]}),
        json!({"properties": {"a": {"$id": "x", "allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}),
        json!({"properties": {"a": {"$id": "x", "allOf": [{"$ref": "#/$defs/y"}], "$defs": {"y": {"$ref": "#"}}}}}),
    ] {
        let problems = judged(&schema, &json!({"a": {"b": 1}}));
        assert!(problems.iter().all(|problem| matches!(problem, Problem::Schema { .. })), "{schema}: {problems:?}");
    }
}

#[test]
fn schemas_that_judge_a_value_exponentially_often_are_refused() {
    let twice =
        |name: &str| json!({"allOf": [{"$ref": format!("#/$defs/{name}")}, {"$ref": format!("#/$defs/{name}")}]});
    let defs = (0..40).map(|level| (format!("d{level}"), twice(&format!("d{}", level + 1))));
    let mut defs: serde_json::Map<String, Value> = defs.collect();
    defs.insert("d40".to_owned(), json!({"type": "object"}));
    assert_eq!(
        judged(&json!({"$defs": defs.clone(), "$ref": "#/$defs/d0"}), &json!({})),
        unusable(SchemaError::TooMuch)
    );

    let unused = json!({"$defs": defs, "properties": {"unused": {"$ref": "#/$defs/d0"}}});
    assert_eq!(judged(&unused, &json!({})), []);

    let deep = (0..40).fold(json!({}), |inner, _| json!({"a": inner}));
    let schema = json!({"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}});
    assert_eq!(judged(&schema, &deep), unusable(SchemaError::TooMuch));
}

#[test]
fn long_lists_in_a_schema_count_each_time() {
    let names: Vec<String> = (0..20_000).map(|number| format!("n{number}")).collect();
    let values = json!({"l": vec![json!({}); 5_000]});
    for keyword in ["required", "enum"] {
        let schema = json!({"properties": {"l": {"items": {keyword: names}}}});
        assert_eq!(judged(&schema, &values), unusable(SchemaError::TooMuch), "{keyword}");
    }
}

#[test]
fn recursive_schemas_judge_trees() {
    let schema = json!({"$defs": {"node": {"$anchor": "node", "type": "object", "properties": {"size": {"type": "integer"}, "child": {"$ref": "#node"}}}}, "$ref": "#/$defs/node"});
    let values = json!({"size": 1, "child": {"child": {"child": {"size": "x"}}}});
    let texts: Vec<String> = judged(&schema, &values).iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["value /child/child/child/size: values.schema.json refuses it (type)"]);
}

#[test]
fn a_schema_of_more_references_than_are_followed_is_refused() {
    let defs = (0..30_000).map(|number| (format!("d{number}"), json!({"$ref": format!("#/$defs/d{}", number + 1)})));
    let defs: serde_json::Map<String, Value> = defs.collect();
    let schema = json!({"$defs": defs, "properties": {"unused": {"$ref": "#/$defs/d0"}}});
    assert_eq!(judged_text(&schema.to_string().replace("$defs", "d"), &json!({})), unusable(SchemaError::TooMuch));
}
