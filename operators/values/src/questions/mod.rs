//! `questions.yaml` of Rancher: what a chart asks the person who installs it.

mod check;
mod condition;
mod parse;
#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::YamlError;
pub use check::Rule;
use condition::Condition;

/// How many questions a chart may ask, subquestions counted.
pub const QUESTIONS: usize = 1_000;

/// Why the questions of a chart are not read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum QuestionsError {
    /// No YAML within bounds.
    #[error("{0}")]
    Yaml(#[from] YamlError),
    /// `questions` is no list, or an entry of it is no map with a `variable`.
    #[error("its questions are not a list of maps with a variable each")]
    Shape,
    /// More than [`QUESTIONS`].
    #[error("it asks more than 1000 questions")]
    TooMany,
}

/// What kind of answer a question wants. All others of Rancher's types (such as `multiline`, `storageclass`, `secret`, `pvc`)
/// are texts, and so are types that are not known.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Type {
    /// Any text.
    #[default]
    String,
    /// A text that no problem and no list may show.
    Password,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// `true` or `false`.
    Boolean,
    /// One of the options.
    Enum,
    /// A name of DNS.
    Hostname,
    /// A list or a map, of Rancher's types `array[…]` and `map[…]`: judged by the schema of the chart only.
    Composite,
}

/// One question.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// The path of the value that it asks for, as `helm --set` writes it.
    pub variable: String,
    /// What a person reads first.
    pub label: String,
    /// What a person reads then.
    pub description: String,
    /// The heading that it stands under.
    pub group: String,
    /// The kind of answer.
    pub kind: Type,
    /// Whether it wants an answer.
    pub required: bool,
    /// What applies without an answer. Null: nothing.
    pub default: Value,
    /// The answers to choose from. Empty: any.
    pub options: Vec<String>,
    /// The shortest answer, in characters.
    pub min_length: Option<u64>,
    /// The longest answer, in characters.
    pub max_length: Option<u64>,
    /// The smallest number.
    pub min: Option<f64>,
    /// The largest number.
    pub max: Option<f64>,
    /// What may stand between the brackets of a regular expression: the characters of an answer.
    valid_chars: Option<String>,
    /// The same for those that must not be in an answer.
    invalid_chars: Option<String>,
    show_if: Option<Condition>,
    /// For which of its values its subquestions are asked, unless they say so themselves; any value, if empty. In a subquestion: for which
    /// values of the question that it belongs to it is asked.
    show_subquestion_if: Vec<String>,
    /// What is asked after this one.
    pub subquestions: Vec<Question>,
}

/// The questions of a chart.
#[derive(Clone, Debug, Default)]
pub struct Questions(Vec<Question>);

impl Questions {
    /// Reads `questions.yaml` or `questions.yml`. Fields that are not known, and rules that make no sense (a length that is no
    /// number), are left out, since they are the chart's mistakes and not the user's.
    pub fn parse(text: &str) -> Result<Self, QuestionsError> {
        parse::questions(text).map(Self)
    }

    /// The questions, in the order of the chart.
    #[must_use]
    pub fn all(&self) -> &[Question] {
        &self.0
    }
}
