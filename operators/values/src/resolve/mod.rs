//! All of it together: what an app says, judged by its chart, and what the chart is rendered with.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{
    Chart, Duplicates, Problem, Questions,
    chart::Tree,
    merge, schema,
    set::{self, Gaps},
    yaml,
};

/// How many problems of each sort are named.
pub const PROBLEMS: usize = 20;

/// Values of an app from one source; later layers win.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer<'a> {
    /// Values of the app itself. Anything but a map is left out.
    Values(&'a Value),
    /// A text of values: a key of a `ConfigMap` or Secret.
    Text {
        /// What it is, for problems, such as `ConfigMap web, key values.yaml`.
        source: String,
        /// The YAML.
        text: &'a str,
    },
    /// A text for one value: such a key with a `targetPath`, or a fact of the cluster. `true`, `false`, `null` and whole
    /// numbers become what they say, and a text in single or double quotes is a string without them; all else arrives as it is.
    /// What must be a string whatever it holds, such as the name of a cluster, comes in quotes.
    At {
        /// What it is, for problems.
        source: String,
        /// Where it goes, as `helm --set` writes it: `a.b[0].c`.
        path: &'a str,
        /// The text.
        text: &'a str,
    },
}

/// What a problem does.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Judging {
    /// Nothing is judged.
    Skip,
    /// It is named, and the values are used.
    Warn,
    /// It refuses the values.
    #[default]
    Enforce,
}

/// What judges the values.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Validation {
    /// `values.schema.json` of the chart and its subcharts.
    pub schema: Judging,
    /// `questions.yaml` of the chart. Defaults of questions apply unless it is [`Judging::Skip`].
    pub questions: Judging,
}

/// What an app and its chart say of values.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// The chart.
    pub chart: &'a Chart<'a>,
    /// The text of `questions.yaml` or `questions.yml`.
    pub questions: Option<&'a str>,
    /// The values, the weakest first.
    pub layers: &'a [Layer<'a>],
    /// What wins over all layers: paths and texts, as `helm --set path=text` takes them. An entry sets one value: a comma in a
    /// text belongs to it, unless it is a list in braces.
    pub answers: &'a BTreeMap<String, String>,
    /// What judges them.
    pub validation: Validation,
}

/// Values that a chart may be rendered with.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// What `helm template --values` gets, without the chart's own values. Nulls in it remove keys of the chart.
    pub values: Value,
    /// The same as JSON with sorted keys, for digests: equal values have equal texts.
    pub canonical: String,
    /// What does not refuse them.
    pub warnings: Vec<Problem>,
}

/// Puts the values of an app together, and judges them before any cluster sees them.
///
/// # Errors
///
/// Everything that is wrong, at most [`PROBLEMS`] of each sort.
pub fn resolve(inputs: &Inputs<'_>) -> Result<Resolved, Vec<Problem>> {
    let mut gaps = Gaps::default();
    let mut own = said(inputs, &mut gaps)?;
    let judged = judge(inputs, &mut own, &mut gaps);
    let of =
        |sort: Judging| judged.iter().filter(move |(judging, _)| *judging == sort).map(|(_, problem)| problem.clone());
    let refusals: Vec<Problem> = of(Judging::Enforce).collect();
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let values = Value::Object(own);
    Ok(Resolved { canonical: canonical(&values), values, warnings: of(Judging::Warn).collect() })
}

/// What the app says, in order.
fn said(inputs: &Inputs<'_>, gaps: &mut Gaps) -> Result<Map<String, Value>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut values = Value::Object(Map::new());
    for layer in inputs.layers {
        problems.extend(layer.put(&mut values, gaps).err());
    }
    for (key, text) in inputs.answers {
        let outcome = set::answer(&mut values, key, text, gaps);
        problems.extend(outcome.err().map(|error| Problem::Answer { key: key.clone(), error }));
    }
    problems.truncate(PROBLEMS);
    match values {
        Value::Object(values) if problems.is_empty() => Ok(values),
        _ => Err(problems),
    }
}

impl Layer<'_> {
    fn put(&self, values: &mut Value, gaps: &mut Gaps) -> Result<(), Problem> {
        let layer = match self {
            Self::Values(layer) => (*layer).clone(),
            Self::Text { source, text } => yaml::values(text, Duplicates::Refuse)
                .map_err(|error| Problem::Source { source: source.clone(), error })?,
            Self::At { source, path, text } => {
                let placed = set::place(values, path, text, gaps);
                return placed.map_err(|error| Problem::TargetPath { source: source.clone(), error });
            }
        };
        *values = merge([std::mem::take(values), layer]);
        Ok(())
    }
}

/// Adds the defaults of questions, and judges. The chart's own values are read only where something judges them.
fn judge(inputs: &Inputs<'_>, own: &mut Map<String, Value>, gaps: &mut Gaps) -> Vec<(Judging, Problem)> {
    let mut verdicts = Vec::new();
    let schema = if inputs.chart.has_schema() { inputs.validation.schema } else { Judging::Skip };
    let questions = if inputs.questions.is_some() { inputs.validation.questions } else { Judging::Skip };
    if schema.max(questions) == Judging::Skip {
        return verdicts;
    }
    let asked = inputs.questions.filter(|_| questions != Judging::Skip).map(Questions::parse);
    let asked = asked.unwrap_or_else(|| Ok(Questions::default()));
    let asked = asked.map_err(|error| verdicts.push((questions, Problem::Questions(error)))).unwrap_or_default();
    match judged(inputs.chart, &asked, schema != Judging::Skip, own, gaps) {
        Ok((answers, values)) => {
            verdicts.extend(answers.into_iter().map(|problem| (questions, problem)));
            verdicts.extend(values.into_iter().map(|problem| (schema, problem)));
        }
        Err(problem) => verdicts.push((questions.max(schema), problem)),
    }
    verdicts
}

/// What is wrong with the answers, and with the values by schema.
fn judged(
    chart: &Chart<'_>,
    asked: &Questions,
    by_schema: bool,
    own: &mut Map<String, Value>,
    gaps: &mut Gaps,
) -> Result<(Vec<Problem>, Vec<Problem>), Problem> {
    let tree = Tree::read(chart)?;
    if !asked.all().is_empty() {
        let (_, seen) = tree.coalesce(own)?;
        asked.apply_defaults(own, &Value::Object(seen), gaps);
    }
    let (tree, seen) = tree.coalesce(own)?;
    let values = if by_schema { schema::judge(&tree, &seen) } else { Vec::new() };
    Ok((asked.check(&Value::Object(seen)), values))
}

fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let sorted: BTreeMap<&String, &Value> = members.iter().collect();
            let members =
                sorted.into_iter().map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        scalar => scalar.to_string(),
    }
}
