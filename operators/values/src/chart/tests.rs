use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Chart, Import, SUBCHARTS, Subchart, Tree};
use crate::{
    Problem,
    arbitrary::map,
    recorded::{self, rows, same},
};

fn coalesced(chart: &Chart<'_>, said: &Value) -> Result<Value, Problem> {
    let said: &Map<String, Value> = said.as_object().unwrap();
    Tree::read(chart)?.coalesce(said).map(|(_, values)| Value::Object(values))
}

#[test]
fn charts_see_the_values_that_helm_gives_them() {
    for row in rows(include_str!("../../testdata/charts.json")) {
        let found = coalesced(&recorded::chart(&row["chart"]), &row["said"]);
        match &row["values"] {
            Value::Null => assert!(found.is_err(), "{row}: {found:?}"),
            expected => assert!(found.as_ref().is_ok_and(|found| same(found, expected)), "{row}: {found:?}"),
        }
    }
}

/// A chart in a chart, `depth` times.
fn nested(depth: usize) -> Chart<'static> {
    (0..depth).fold(Chart::default(), |chart, _| {
        let subchart = Subchart { name: "s".to_owned(), chart, ..Subchart::default() };
        Chart { subcharts: vec![subchart], ..Chart::default() }
    })
}

#[test]
fn more_charts_than_are_read_are_refused() {
    assert!(coalesced(&nested(SUBCHARTS / 8), &json!({})).is_ok());
    assert_eq!(coalesced(&nested(SUBCHARTS + 1), &json!({})), Err(Problem::TooLarge));
}

#[test]
fn globals_that_every_subchart_copies_do_not_fill_the_memory() {
    let subcharts = (0..400).map(|number| Subchart { name: format!("s{number}"), ..Subchart::default() });
    let chart = Chart { subcharts: subcharts.collect(), ..Chart::default() };
    assert_eq!(coalesced(&chart, &json!({"global": {"a": "x".repeat(1_000_000)}})), Err(Problem::TooLarge));
}

#[test]
fn imports_that_deepen_values_at_every_level_are_refused() {
    let deep = vec!["d"; 60].join(".");
    let chart = (0..10).fold(Chart { values: Some("x: {y1: 1}"), ..Chart::default() }, |chart, _| {
        let imports = vec![Import { child: "x".to_owned(), parent: format!("x.{deep}") }];
        let subchart = Subchart { name: "s".to_owned(), imports, chart, ..Subchart::default() };
        Chart { values: Some("x: {y1: 1}"), subcharts: vec![subchart], ..Chart::default() }
    });
    assert_eq!(coalesced(&chart, &json!({})), Err(Problem::TooLarge));
}

proptest! {
    #[test]
    fn without_subcharts_what_the_user_says_wins(chart in map(), said in map()) {
        let text = chart.to_string();
        let chart = Chart { values: Some(&text), ..Chart::default() };
        let found = coalesced(&chart, &said).unwrap();
        prop_assert!(keeps(&found, &said));
        // What is put together again stays as it is.
        prop_assert!(keeps(&coalesced(&chart, &found).unwrap(), &found));
    }
}

/// Whether `found` has all that `said` says, but for nulls.
fn keeps(found: &Value, said: &Value) -> bool {
    match (found, said) {
        (Value::Object(found), Value::Object(said)) => said
            .iter()
            .filter(|(_, value)| !value.is_null())
            .all(|(key, value)| found.get(key).is_some_and(|found| keeps(found, value))),
        _ => found == said,
    }
}
