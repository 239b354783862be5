//! What Helm 4.3.1 made of inputs, recorded from `helm template` of a chart that prints `.Values | toJson`.

use serde_json::Value;

use crate::{Chart, Import, Subchart};

/// The rows of a table. `values` of a row is null where Helm refuses the input or sets nothing.
pub(crate) fn rows(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap()
}

/// The same, with numbers compared by value: Helm reads `1.0` as 1.
pub(crate) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, one)| other.get(key).is_some_and(|other| same(one, other)))
        }
        _ => one == other,
    }
}

/// A chart as a row has it.
pub(crate) fn chart(row: &Value) -> Chart<'_> {
    let text = |field: &str| row.get(field).and_then(Value::as_str);
    let subcharts = row["subcharts"].as_array().into_iter().flatten().map(|row| Subchart {
        name: row["name"].as_str().unwrap().to_owned(),
        condition: row["condition"].as_str().unwrap_or_default().to_owned(),
        tags: row["tags"].as_array().into_iter().flatten().map(|tag| tag.as_str().unwrap().to_owned()).collect(),
        imports: row["imports"].as_array().into_iter().flatten().map(import).collect(),
        chart: chart(&row["chart"]),
    });
    Chart { values: text("values"), schema: text("schema"), subcharts: subcharts.collect() }
}

fn import(row: &Value) -> Import {
    let text = |field: &str| row[field].as_str().unwrap().to_owned();
    Import { child: text("child"), parent: text("parent") }
}
