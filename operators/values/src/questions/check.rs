//! Which answers a question takes, and what applies where none is given.

use std::{collections::HashMap, fmt};

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use super::{Question, Questions, Type, parse::text_of};
use crate::{
    Problem,
    set::{self, Gaps},
};

/// How large a chart's set of characters may become as a program, in bytes.
const CHARACTERS_BYTES: usize = 64 << 10;

/// What a question asks of its answer. It never quotes the answer, which may be secret.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// There is none.
    Required,
    /// Not of this type.
    Type(Type),
    /// None of the options.
    Options,
    /// Shorter than so many characters.
    MinLength(u64),
    /// Longer than so many characters.
    MaxLength(u64),
    /// Less than this.
    Min(f64),
    /// More than this.
    Max(f64),
    /// Characters that it does not allow.
    Characters,
}

impl fmt::Display for Rule {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Required => to.write_str("it needs an answer"),
            Self::Type(kind) => write!(to, "its answer is not {}", article(*kind)),
            Self::Options => to.write_str("its answer is none of its options"),
            Self::MinLength(least) => write!(to, "its answer is shorter than {least} characters"),
            Self::MaxLength(most) => write!(to, "its answer is longer than {most} characters"),
            Self::Min(least) => write!(to, "its answer is less than {least}"),
            Self::Max(most) => write!(to, "its answer is more than {most}"),
            Self::Characters => to.write_str("its answer has characters that it does not allow"),
        }
    }
}

fn article(kind: Type) -> &'static str {
    match kind {
        Type::String | Type::Password | Type::Enum => "a text",
        Type::Int => "a whole number",
        Type::Float => "a number",
        Type::Boolean => "true or false",
        Type::Hostname => "a DNS name",
        Type::Composite => "a list or a map",
    }
}

impl Questions {
    /// What the answers in `values`, those that the chart is rendered with, break. A question that its conditions hide is not
    /// asked.
    #[must_use]
    pub fn check(&self, values: &Value) -> Vec<Problem> {
        let asked = self.asked(values);
        let broken = asked.iter().filter_map(|question| {
            let rule = question.broken(set::get(values, &question.variable))?;
            Some(Problem::Question { variable: question.variable.clone(), rule })
        });
        broken.take(crate::PROBLEMS).collect()
    }

    /// Adds to `own`, what the user says, the defaults of questions that are asked and have no answer in `values`, those that
    /// the chart is rendered with. As Rancher's form does, with one difference: a null that the user sets is an answer.
    pub(crate) fn apply_defaults(&self, own: &mut Map<String, Value>, values: &Value, gaps: &mut Gaps) {
        let mut with_defaults = Value::Object(std::mem::take(own));
        for question in self.asked(values) {
            let is_open = |values: &Value| set::get(values, &question.variable).is_none();
            if question.default.is_null() || !is_open(values) || !is_open(&with_defaults) {
                continue;
            }
            // A default that its own variable does not take is the chart's mistake; the question stays unanswered.
            let _unanswered = set::set(&mut with_defaults, &question.variable, question.default_value(), gaps);
        }
        if let Value::Object(map) = with_defaults {
            *own = map;
        }
    }

    fn asked<'a>(&'a self, values: &'a Value) -> Vec<&'a Question> {
        let mut form = Form { values, defaults: HashMap::new(), asked: Vec::new() };
        self.0.iter().for_each(|question| form.enter(question));
        self.0.iter().for_each(|question| form.ask(question));
        form.asked
    }
}

/// The questions as a person sees them who has given `values` so far.
struct Form<'a> {
    values: &'a Value,
    defaults: HashMap<&'a str, &'a Value>,
    asked: Vec<&'a Question>,
}

/// Recursion ends: no text of questions is deeper than [`crate::DEPTH`].
impl<'a> Form<'a> {
    fn enter(&mut self, question: &'a Question) {
        self.defaults.entry(&question.variable).or_insert(&question.default);
        question.subquestions.iter().for_each(|sub| self.enter(sub));
    }

    fn ask(&mut self, question: &'a Question) {
        if !question.show_if.as_ref().is_none_or(|condition| condition.holds(&|variable| self.text(variable))) {
            return;
        }
        self.asked.push(question);
        let value = self.text(&question.variable);
        for sub in &question.subquestions {
            let shown_for = [&sub.show_subquestion_if, &question.show_subquestion_if];
            let shown_for = shown_for.into_iter().find(|values| !values.is_empty());
            if shown_for.is_none_or(|values| values.contains(&value)) {
                self.ask(sub);
            }
        }
    }

    /// What a variable is, for conditions: its value, or else the default of its question.
    fn text(&self, variable: &str) -> String {
        let value = set::get(self.values, variable).and_then(text_of);
        value.or_else(|| self.defaults.get(variable).copied().and_then(text_of)).unwrap_or_default()
    }
}

impl Question {
    /// Charts write the defaults of numbers and booleans as texts, too.
    fn default_value(&self) -> Value {
        let Value::String(text) = &self.default else { return self.default.clone() };
        let typed = match self.kind {
            Type::Int => text.parse::<i64>().ok().map(Value::from),
            Type::Float => text.parse::<f64>().ok().map(Value::from),
            Type::Boolean => text.parse::<bool>().ok().map(Value::from),
            _ => None,
        };
        typed.unwrap_or_else(|| self.default.clone())
    }

    fn broken(&self, value: Option<&Value>) -> Option<Rule> {
        let value = value.filter(|value| !value.is_null() && *value != "");
        let Some(value) = value else { return self.required.then_some(Rule::Required) };
        if self.kind == Type::Composite {
            return None;
        }
        let Some(text) = text_of(value) else { return Some(Rule::Type(self.kind)) };
        self.broken_type(&text).or_else(|| self.broken_length(&text)).or_else(|| self.broken_characters(&text))
    }

    fn broken_type(&self, text: &str) -> Option<Rule> {
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        let is_of_type = match self.kind {
            Type::String | Type::Password | Type::Enum | Type::Composite => true,
            Type::Int => number.is_some_and(|number| number.fract() == 0.0),
            Type::Float => number.is_some(),
            Type::Boolean => matches!(text, "true" | "false"),
            Type::Hostname => is_hostname(text),
        };
        let is_option =
            self.kind != Type::Enum || self.options.is_empty() || self.options.iter().any(|each| each == text);
        let number = number.filter(|_| matches!(self.kind, Type::Int | Type::Float));
        if !is_of_type {
            return Some(Rule::Type(self.kind));
        }
        if !is_option {
            return Some(Rule::Options);
        }
        let least = self.min.filter(|least| number.is_some_and(|number| number < *least)).map(Rule::Min);
        least.or_else(|| self.max.filter(|most| number.is_some_and(|number| number > *most)).map(Rule::Max))
    }

    fn broken_length(&self, text: &str) -> Option<Rule> {
        let length = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
        let least = self.min_length.filter(|least| length < *least).map(Rule::MinLength);
        least.or_else(|| self.max_length.filter(|most| length > *most).map(Rule::MaxLength))
    }

    /// A set of characters that is no regular expression is the chart's mistake, and allows all.
    fn broken_characters(&self, text: &str) -> Option<Rule> {
        let outside = self.valid_chars.as_ref().and_then(|valid| characters(&format!("[^{valid}]")));
        let inside = self.invalid_chars.as_ref().and_then(|invalid| characters(&format!("[{invalid}]")));
        let is_broken = [outside, inside].into_iter().flatten().any(|regex| regex.is_match(text));
        is_broken.then_some(Rule::Characters)
    }
}

fn characters(pattern: &str) -> Option<Regex> {
    RegexBuilder::new(pattern).size_limit(CHARACTERS_BYTES).build().ok()
}

fn is_hostname(text: &str) -> bool {
    let is_label = |label: &str| {
        let ends = [label.chars().next(), label.chars().last()];
        label.len() <= 63
            && ends.iter().all(|end| end.is_some_and(|letter| letter.is_ascii_alphanumeric()))
            && label.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
    };
    let name = text.strip_prefix("*.").unwrap_or(text);
    name.len() <= 253 && name.split('.').all(is_label)
}
