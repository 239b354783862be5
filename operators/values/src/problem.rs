//! What is wrong with the values of an app. A problem names places and rules, never a value, which may be secret.

use std::fmt::{self, Display};

use crate::{QuestionsError, Rule, SchemaError, SetError, YamlError};

/// How long a name in a text may be, in characters.
const NAME: usize = 128;

/// One problem. Its text is a part of a sentence that begins with what it is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Problem {
    /// A source of values holds none.
    Source {
        /// What it is, in the words of the caller, such as `ConfigMap web, key values.yaml`.
        source: String,
        /// Why.
        error: YamlError,
    },
    /// What a source holds does not go where its `targetPath` says.
    TargetPath {
        /// What it is, in the words of the caller.
        source: String,
        /// Why.
        error: SetError,
    },
    /// An answer does not go where its key says.
    Answer {
        /// Its key.
        key: String,
        /// Why.
        error: SetError,
    },
    /// `values.yaml` of the chart.
    Defaults {
        /// The path of a subchart; empty for the chart itself.
        chart: String,
        /// Why.
        error: YamlError,
    },
    /// The values of a subchart are no map.
    Subchart {
        /// Its path.
        path: String,
    },
    /// The questions of the chart.
    Questions(QuestionsError),
    /// An answer to a question.
    Question {
        /// Its variable.
        variable: String,
        /// What its answer breaks.
        rule: Rule,
    },
    /// `values.schema.json` of the chart.
    Schema {
        /// The path of a subchart; empty for the chart itself.
        chart: String,
        /// Why.
        error: SchemaError,
    },
    /// A value against a schema.
    Value {
        /// Its place, as a JSON pointer from the top of all values.
        path: String,
        /// The keyword of JSON Schema that it breaks.
        keyword: String,
    },
    /// More than is put together: subcharts, or copies of their globals.
    TooLarge,
}

impl Display for Problem {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source { source, error } => write!(to, "{}: {error}", Name(source)),
            Self::TargetPath { source, error } => write!(to, "{}: {error}", Name(source)),
            Self::Answer { key, error } => write!(to, "answer {}: {error}", Name(key)),
            Self::Defaults { chart, error } => write!(to, "values.yaml of {}: {error}", Chart(chart)),
            Self::Subchart { path } => write!(to, "values of {}: they are not a map", Chart(path)),
            Self::Questions(error) => write!(to, "questions.yaml of the chart: {error}"),
            Self::Question { variable, rule } => write!(to, "question {}: {rule}", Name(variable)),
            Self::Schema { chart, error } => write!(to, "values.schema.json of {}: {error}", Chart(chart)),
            Self::Value { path, keyword } => {
                write!(to, "value {}: values.schema.json refuses it ({})", Name(path), Name(keyword))
            }
            Self::TooLarge => {
                to.write_str("the values of the chart and its subcharts are larger than Drover puts together")
            }
        }
    }
}

/// A name that others chose, on one line and cut.
struct Name<'a>(&'a str);

impl Display for Name<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |letter: char| if letter.is_control() { '\u{fffd}' } else { letter };
        let mut letters = self.0.chars();
        letters.by_ref().take(NAME).map(plain).collect::<String>().fmt(to)?;
        if letters.next().is_some() { to.write_str("…") } else { Ok(()) }
    }
}

struct Chart<'a>(&'a str);

impl Display for Chart<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { to.write_str("the chart") } else { write!(to, "subchart {}", Name(self.0)) }
    }
}
