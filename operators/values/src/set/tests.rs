use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Gaps, LIST_GAPS, LIST_INDEX, SetError, answer, get, place};
use crate::{
    arbitrary::map,
    recorded::{rows, same},
    weight::Weight,
};

fn answered(base: &Value, key: &str, text: &str) -> Result<Value, SetError> {
    let mut values = base.clone();
    answer(&mut values, key, text, &mut Gaps::default()).map(|()| values)
}

#[test]
fn answers_are_what_helm_makes_of_set() {
    for row in rows(include_str!("../../testdata/answers.json")) {
        let text = |field: &str| row[field].as_str().unwrap();
        let mut found = answered(&row["base"], text("key"), text("text"));
        if let Some(items) =
            found.as_mut().ok().and_then(|found| found["a"].as_array().map(Vec::len)).filter(|len| *len > 99)
        {
            found = Ok(json!({ "a": format!("{items} items") }));
        }
        match &row["values"] {
            Value::Null => assert!(found.is_err(), "{row}: {found:?}"),
            expected => assert!(found.as_ref().is_ok_and(|found| same(found, expected)), "{row}: {found:?}"),
        }
    }
}

#[test]
fn an_answer_sets_one_value_whatever_its_text_holds() {
    assert_eq!(answered(&json!({}), "a", "x,b=y"), Ok(json!({"a": "x,b=y"})));
    assert_eq!(answered(&json!({}), "a", "x,y\\,z"), Ok(json!({"a": "x,y,z"})));
    for key in ["a=b", "a,b", "a[0],b", "a=", ","] {
        assert_eq!(answered(&json!({}), key, "x"), Err(SetError::Path), "{key}");
    }
}

#[test]
fn whole_numbers_that_a_values_file_would_round_stay_texts() {
    let most = 1_i64 << 53;
    assert_eq!(answered(&json!({}), "a", &most.to_string()), Ok(json!({"a": most})));
    assert_eq!(answered(&json!({}), "a", "9007199254740993"), Ok(json!({"a": "9007199254740993"})));
    assert_eq!(answered(&json!({}), "a", "-9007199254740993"), Ok(json!({"a": "-9007199254740993"})));
}

#[test]
fn what_a_secret_holds_arrives_as_it_is() {
    let cases = [
        ("a,b\\c{d}", json!("a,b\\c{d}")),
        ("{x,y}", json!("{x,y}")),
        ("true", json!(true)),
        ("12", json!(12)),
        ("'12'", json!("12")),
        ("\"true\"", json!("true")),
        ("'", json!("'")),
        ("line\n", json!("line\n")),
        ("", json!("")),
    ];
    for (text, expected) in cases {
        let mut values = json!({"db": {"user": "app"}});
        place(&mut values, "db.password", text, &mut Gaps::default()).unwrap();
        assert_eq!(values, json!({"db": {"user": "app", "password": expected}}), "{text}");
    }
}

#[test]
fn lists_with_gaps_do_not_fill_the_memory() {
    let mut values = json!({});
    let mut gaps = Gaps::default();
    let outcomes = (0..4).map(|list| answer(&mut values, &format!("l{list}[{LIST_INDEX}]"), "x", &mut gaps));
    let outcomes: Vec<_> = outcomes.collect();
    assert_eq!(outcomes, [Ok(()), Ok(()), Err(SetError::TooLong), Err(SetError::TooLong)]);
    assert!(Weight::of(&values).nodes <= LIST_GAPS + 10);
}

#[test]
fn a_path_of_lists_is_no_deeper_than_values_may_be() {
    assert_eq!(answered(&json!({}), &format!("a{}", "[0]".repeat(10_000)), "x"), Err(SetError::TooDeep));
}

proptest! {
    #[test]
    fn no_answer_breaks_anything(base in map(), key in ".{0,12}", text in ".{0,12}") {
        let _any = answered(&base, &key, &text);
    }

    #[test]
    fn what_is_set_is_there(base in map(), key in "[a-d]([.][a-d]|\\[[0-3]\\]){0,4}", text in "[a-z]{1,4}") {
        if let Ok(values) = answered(&base, &key, &text) {
            prop_assert_eq!(get(&values, &key).map(|found| found.to_string().to_lowercase().replace('"', "")), Some(text));
        }
    }
}
