//! From the chart's text to questions; lenient with what Rancher's charts really write.

use serde_json::{Map, Value};

use super::{QUESTIONS, Question, QuestionsError, Type, condition::Condition};
use crate::yaml::{self, Duplicates};

/// How long a set of characters may be, in bytes.
const CHARACTERS: usize = 1_000;

pub(super) fn questions(text: &str) -> Result<Vec<Question>, QuestionsError> {
    let file = yaml::values(text, Duplicates::LastWins)?;
    list(file.get("questions"), &mut QUESTIONS.clone())
}

fn list(questions: Option<&Value>, left: &mut usize) -> Result<Vec<Question>, QuestionsError> {
    let questions = match questions {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(questions) => questions.as_array().ok_or(QuestionsError::Shape)?,
    };
    questions.iter().map(|question| one(question.as_object().ok_or(QuestionsError::Shape)?, left)).collect()
}

fn one(question: &Map<String, Value>, left: &mut usize) -> Result<Question, QuestionsError> {
    *left = left.checked_sub(1).ok_or(QuestionsError::TooMany)?;
    let text = |field| question.get(field).and_then(text_of);
    let number = |field| text(field).and_then(|text| text.parse::<f64>().ok()).filter(|number| number.is_finite());
    let length = |field| text(field).and_then(|text| text.parse().ok());
    let shown_for = question.get("show_subquestion_if").or_else(|| question.get("show_subquestions_if"));
    Ok(Question {
        variable: text("variable").filter(|variable| !variable.is_empty()).ok_or(QuestionsError::Shape)?,
        label: text("label").unwrap_or_default(),
        description: text("description").unwrap_or_default(),
        group: text("group").unwrap_or_default(),
        kind: text("type").map(|name| kind(&name)).unwrap_or_default(),
        required: text("required").is_some_and(|required| required == "true"),
        default: question.get("default").cloned().unwrap_or_default(),
        options: question.get("options").map(texts).unwrap_or_default(),
        min_length: length("min_length").filter(|length| *length > 0),
        // Rancher's charts write 0 for no bound.
        max_length: length("max_length").filter(|length| *length > 0),
        min: number("min"),
        max: number("max"),
        valid_chars: text("valid_chars").filter(|chars| is_set_of_characters(chars)),
        invalid_chars: text("invalid_chars").filter(|chars| is_set_of_characters(chars)),
        show_if: text("show_if").filter(|condition| !condition.is_empty()).map(|text| Condition::parse(&text)),
        show_subquestion_if: shown_for.map(texts).unwrap_or_default(),
        subquestions: list(question.get("subquestions"), left)?,
    })
}

fn is_set_of_characters(text: &str) -> bool {
    (1..=CHARACTERS).contains(&text.len())
}

fn kind(name: &str) -> Type {
    match name {
        "password" => Type::Password,
        "int" => Type::Int,
        "float" => Type::Float,
        "boolean" => Type::Boolean,
        "enum" => Type::Enum,
        "hostname" => Type::Hostname,
        name if name.starts_with("array[") || name.starts_with("map[") => Type::Composite,
        _ => Type::String,
    }
}

/// A scalar as a text.
pub(super) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A list of scalars, or one, as texts. Options may also be maps with a `value`.
fn texts(value: &Value) -> Vec<String> {
    let one = |value: &Value| text_of(value.get("value").unwrap_or(value));
    match value {
        Value::Array(values) => values.iter().filter_map(one).collect(),
        value => one(value).into_iter().collect(),
    }
}
