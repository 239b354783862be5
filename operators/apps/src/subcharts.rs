//! What a chart says of its values, with the charts in it.

use drover_charts::Chart;
use drover_releases::yaml;
use drover_values::{Import, Subchart};
use serde_json::Value;

/// The chart as the crate of values takes it.
pub(crate) fn subcharts(chart: &Chart) -> drover_values::Chart<'_> {
    let dependencies = dependencies(chart);
    let subcharts = chart.subcharts().iter().flat_map(|subchart| {
        let name = &subchart.metadata().name;
        let named: Vec<&Value> = dependencies.iter().filter(|found| text(found, "name") == *name).collect();
        let of_dependency = |dependency: &Value| Subchart {
            name: Some(text(dependency, "alias")).filter(|alias| !alias.is_empty()).unwrap_or_else(|| name.clone()),
            condition: text(dependency, "condition"),
            tags: texts(dependency, "tags"),
            imports: imports(dependency),
            chart: subcharts(subchart),
        };
        if named.is_empty() {
            vec![of_dependency(&Value::Null)]
        } else {
            named.into_iter().map(of_dependency).collect()
        }
    });
    drover_values::Chart { values: chart.values(), schema: chart.values_schema(), subcharts: subcharts.collect() }
}

/// The dependencies of Chart.yaml, or of requirements.yaml of an older chart.
fn dependencies(chart: &Chart) -> Vec<Value> {
    let found = ["Chart.yaml", "requirements.yaml"].into_iter().filter_map(|path| chart.text(path));
    let read = found.filter_map(|text| yaml::read(text, &mut yaml::Budget::new(text.len())).ok());
    read.filter_map(|value| value.get("dependencies")?.as_array().cloned()).flatten().collect()
}

fn text(value: &Value, field: &str) -> String {
    value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn texts(value: &Value, field: &str) -> Vec<String> {
    let list = value.get(field).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn imports(dependency: &Value) -> Vec<Import> {
    let list = dependency.get("import-values").and_then(Value::as_array).into_iter().flatten();
    let import = |entry: &Value| match entry {
        Value::String(name) => Import { child: format!("exports.{name}"), parent: ".".to_owned() },
        entry => Import { child: text(entry, "child"), parent: text(entry, "parent") },
    };
    list.map(import).collect()
}
