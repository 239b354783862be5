//! YAML as Helm and the API server read it: version 1.1 in what a plain scalar means (`0644` is octal, `yes` is true), within bounds.

mod relaxed;

use std::{borrow::Cow, collections::HashMap};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Number, Value};

/// Levels that maps and lists may be nested in each other.
pub const MAX_DEPTH: usize = 100;
/// What one node costs besides its text, in bytes: about what it takes in memory.
const NODE: usize = 64;
/// Beyond it not every whole number is a float.
const LARGEST_WHOLE: f64 = 9_007_199_254_740_992.0;

/// Why text cannot be read as YAML. It repeats nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum YamlError {
    /// Not YAML. Lines count from 1.
    #[error("line {line} is not valid YAML")]
    Syntax {
        /// Where reading ended.
        line: usize,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("it is nested too deeply")]
    TooDeep,
    /// More nodes than the budget allows, aliases written out.
    #[error("it is too large, with its aliases written out")]
    TooLarge,
    /// A map or list as a key, or an empty key.
    #[error("a key is not text")]
    Key,
    /// A value that JSON does not have, or that contradicts its tag.
    #[error("a value is not of the type of its tag, or JSON has no such value")]
    Value,
    /// An alias inside of what it stands for, or of nothing.
    #[error("an alias refers to itself")]
    Alias,
    /// A second document where one belongs.
    #[error("it has more than one document")]
    Documents,
}

/// How much may still be read, shared by the documents of one text.
#[derive(Clone, Copy, Debug)]
pub struct Budget(usize);

impl Budget {
    /// So many bytes, of which each node takes 64 and its text.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(bytes)
    }

    fn take(&mut self, text: usize) -> Result<(), YamlError> {
        let left = self.0.checked_sub(NODE.saturating_add(text)).ok_or(YamlError::TooLarge)?;
        self.0 = left;
        Ok(())
    }

    /// Takes what a copy of `value` costs.
    fn take_copy(&mut self, value: &Value) -> Result<(), YamlError> {
        match value {
            Value::String(text) => self.take(text.len()),
            Value::Array(items) => {
                self.take(0)?;
                items.iter().try_for_each(|item| self.take_copy(item))
            }
            Value::Object(entries) => {
                self.take(0)?;
                entries.iter().try_for_each(|(key, value)| {
                    self.take(key.len())?;
                    self.take_copy(value)
                })
            }
            _ => self.take(0),
        }
    }
}

/// Reads one document. Empty text and text of comments only is `null`.
pub fn read(text: &str, budget: &mut Budget) -> Result<Value, YamlError> {
    match strict(text, budget) {
        // Not from the start: what is read twice is paid for twice.
        Err(error @ YamlError::Syntax { .. }) => strict(&relaxed::relaxed(text), budget).map_err(|_| error),
        read => read,
    }
}

fn strict(text: &str, budget: &mut Budget) -> Result<Value, YamlError> {
    let mut reader = Reader { budget, anchors: HashMap::new(), open: Vec::new(), document: None, documents: 0 };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, _) = event.map_err(|error| YamlError::Syntax { line: error.marker().line() })?;
        reader.event(event)?;
    }
    Ok(reader.document.unwrap_or_default())
}

/// A list or map that is being read, and its anchor.
struct Open {
    anchor: usize,
    what: Collection,
}

enum Collection {
    List(Vec<Value>),
    Map(Map<String, Value>, Option<Key>),
}

/// The key that the next value belongs to.
enum Key {
    Text(String),
    /// `<<`: the value is a map, or a list of maps, to be copied in.
    Merge,
}

struct Reader<'a> {
    budget: &'a mut Budget,
    anchors: HashMap<usize, Value>,
    open: Vec<Open>,
    document: Option<Value>,
    documents: usize,
}

impl Reader<'_> {
    fn event(&mut self, event: Event<'_>) -> Result<(), YamlError> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 { Err(YamlError::Documents) } else { Ok(()) }
            }
            Event::Scalar(text, style, anchor, tag) => self.scalar(text, style, anchor, tag.as_deref()),
            Event::SequenceStart(anchor, _) => self.start(anchor, Collection::List(Vec::new())),
            Event::MappingStart(anchor, _) => self.start(anchor, Collection::Map(Map::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => {
                let value = self.anchors.get(&anchor).ok_or(YamlError::Alias)?;
                self.budget.take_copy(value)?;
                if self.open.len().saturating_add(depth_of(value)) > MAX_DEPTH {
                    return Err(YamlError::TooDeep);
                }
                let value = value.clone();
                self.add(value, false)
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
    ) -> Result<(), YamlError> {
        self.budget.take(text.len())?;
        let is_merge = style == ScalarStyle::Plain && tag.is_none() && text == "<<";
        let value = match tag {
            None if style == ScalarStyle::Plain => plain(text)?,
            Some(tag) if tag.is_yaml_core_schema() => tagged(text, &tag.suffix)?,
            _ => Value::String(text.into_owned()),
        };
        self.anchor(anchor, &value)?;
        self.add(value, is_merge)
    }

    fn start(&mut self, anchor: usize, what: Collection) -> Result<(), YamlError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(YamlError::TooDeep);
        }
        if let Some(Open { what: Collection::Map(_, None), .. }) = self.open.last() {
            return Err(YamlError::Key);
        }
        self.budget.take(0)?;
        self.open.push(Open { anchor, what });
        Ok(())
    }

    fn end(&mut self) -> Result<(), YamlError> {
        let Some(Open { anchor, what }) = self.open.pop() else { return Ok(()) };
        let value = match what {
            Collection::List(items) => Value::Array(items),
            Collection::Map(entries, _) => Value::Object(entries),
        };
        self.anchor(anchor, &value)?;
        self.add(value, false)
    }

    fn anchor(&mut self, anchor: usize, value: &Value) -> Result<(), YamlError> {
        if anchor == 0 {
            return Ok(());
        }
        self.budget.take_copy(value)?;
        self.anchors.insert(anchor, value.clone());
        Ok(())
    }

    fn add(&mut self, value: Value, is_merge: bool) -> Result<(), YamlError> {
        match self.open.last_mut().map(|open| &mut open.what) {
            None => self.document = Some(value),
            Some(Collection::List(items)) => items.push(value),
            Some(Collection::Map(entries, key)) => match key.take() {
                None => *key = Some(if is_merge { Key::Merge } else { Key::Text(key_of(value)?) }),
                Some(Key::Text(key)) => {
                    entries.insert(key, value);
                }
                Some(Key::Merge) => merge(entries, value)?,
            },
        }
        Ok(())
    }
}

/// Levels of maps and lists in a value. Scalars have none.
fn depth_of(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth_of).max().unwrap_or_default(),
        Value::Object(entries) => 1 + entries.values().map(depth_of).max().unwrap_or_default(),
        _ => 0,
    }
}

/// Copies a map, or maps of which the first has precedence, over what was there, as Helm does.
fn merge(entries: &mut Map<String, Value>, value: Value) -> Result<(), YamlError> {
    match value {
        Value::Object(merged) => entries.extend(merged),
        Value::Array(maps) => {
            for map in maps.into_iter().rev() {
                let Value::Object(merged) = map else { return Err(YamlError::Key) };
                entries.extend(merged);
            }
        }
        _ => return Err(YamlError::Key),
    }
    Ok(())
}

/// The text that stands for a key in JSON.
fn key_of(value: Value) -> Result<String, YamlError> {
    match value {
        Value::String(text) => Ok(text),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(YamlError::Key),
    }
}

/// What a scalar without quotes and tag means.
fn plain(text: Cow<'_, str>) -> Result<Value, YamlError> {
    Ok(match &*text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Value::Bool(false),
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf"
        | "-.INF" => return Err(YamlError::Value),
        number => number_of(number).map_or_else(|| Value::String(text.into_owned()), Value::Number),
    })
}

/// What a scalar with a tag of YAML's own means.
fn tagged(text: Cow<'_, str>, tag: &str) -> Result<Value, YamlError> {
    if !matches!(tag, "bool" | "int" | "float" | "null" | "binary") {
        return Ok(Value::String(text.into_owned()));
    }
    if tag == "binary" {
        let packed: String = text.split_ascii_whitespace().collect();
        let bytes = BASE64_STANDARD.decode(packed).map_err(|_| YamlError::Value)?;
        return String::from_utf8(bytes).map(Value::String).map_err(|_| YamlError::Value);
    }
    let value = plain(text)?;
    let agrees = match &value {
        Value::Bool(_) => tag == "bool",
        Value::Null => tag == "null",
        Value::Number(number) => tag == "float" || (tag == "int" && !number.is_f64()),
        _ => false,
    };
    if agrees { Ok(value) } else { Err(YamlError::Value) }
}

fn number_of(text: &str) -> Option<Number> {
    let plain = match text.bytes().next()? {
        b'.' => return float(text),
        b'0'..=b'9' | b'+' | b'-' => text.replace('_', ""),
        _ => return None,
    };
    integer(&plain).or_else(|| float(&plain))
}

/// With a sign, and in base 2, 8 or 16 by a prefix; `0` alone is a prefix of base 8.
fn integer(text: &str) -> Option<Number> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = match lower.get(..2) {
        Some("0x") => (16, lower.get(2..)?),
        Some("0o") => (8, lower.get(2..)?),
        Some("0b") => (2, lower.get(2..)?),
        Some(_) if lower.starts_with('0') => (8, lower.get(1..)?),
        _ => (10, lower.as_str()),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    if is_negative {
        return i64::from_str_radix(&format!("-{digits}"), base).ok().map(Number::from);
    }
    u64::from_str_radix(digits, base).ok().map(Number::from)
}

/// A float; a whole one is written without fraction, as Helm writes JSON.
fn float(text: &str) -> Option<Number> {
    let is_float = |letter: char| letter.is_ascii_digit() || matches!(letter, '.' | 'e' | 'E' | '+' | '-');
    if !text.chars().all(is_float) || !text.contains(|letter: char| letter.is_ascii_digit()) {
        return None;
    }
    let value: f64 = text.parse().ok().filter(|value: &f64| value.is_finite())?;
    if value.fract() == 0.0 && value.abs() <= LARGEST_WHOLE {
        return format!("{value:.0}").parse::<i64>().ok().map(Number::from);
    }
    Number::from_f64(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Result<Value, YamlError> {
        read(text, &mut Budget::new(1 << 20))
    }

    /// What `fromYaml` of Helm 4.3.1 makes of scalars, one a line.
    const SCALARS: &str = include_str!("yaml/scalars.txt");

    #[test]
    fn scalars_mean_what_helm_reads() {
        for (text, json) in SCALARS.lines().filter_map(|line| line.split_once(" => ")) {
            let (Value::Object(read), wanted) = (parse(&format!("k: {text}")).unwrap(), json.parse::<Value>().unwrap())
            else {
                panic!("{text}")
            };
            let numbers = read["k"]
                .as_f64()
                .zip(wanted.as_f64())
                .is_some_and(|(read, wanted)| read.to_bits() << 1 == wanted.to_bits() << 1);
            assert!(numbers || read["k"] == wanted, "{text} is {json} and not {}", read["k"]);
        }
        assert_eq!(SCALARS.lines().count(), 66);
    }

    #[test]
    fn blocks_keys_and_comments_are_read() {
        for (text, value) in [
            ("'yes'", json!("yes")),
            ("\"0644\"", json!("0644")),
            ("|\n  a\n  b\n", json!("a\nb\n")),
            ("{1: a, yes: b, 1.5: c, 0x10: d}", json!({"1": "a", "true": "b", "1.5": "c", "16": "d"})),
            ("a: 1\na: 2", json!({"a": 2})),
            ("", json!(null)),
            ("# only a comment", json!(null)),
            ("%YAML 1.1\n---\na: 1\n...\n", json!({"a": 1})),
        ] {
            assert_eq!(parse(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn aliases_and_merged_maps_are_written_out() {
        let text = "base: &b {x: 1, z: 2}\na: {<<: *b, z: 3}\nb: {z: 3, <<: *b}\nc: {<<: [{q: 1}, {q: 2, w: 2}]}\n";
        let read = parse(text).unwrap();
        assert_eq!(read["a"], json!({"x": 1, "z": 3}));
        assert_eq!(read["b"], json!({"x": 1, "z": 2}), "in the order of the text, as Helm's parser has it");
        assert_eq!(read["c"], json!({"q": 1, "w": 2}));
    }

    #[test]
    fn a_bomb_of_aliases_is_refused_before_it_grows() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let items = vec![format!("*a{}", level - 1); 10].join(", ");
            text = format!("{text}a{level}: &a{level} [{items}]\n");
        }
        assert_eq!(parse(&text), Err(YamlError::TooLarge));
        let long = format!("a: &a {}\nb: [{}]", "x".repeat(10_000), vec!["*a"; 1000].join(", "));
        assert_eq!(parse(&long), Err(YamlError::TooLarge), "long text counts as well");
    }

    #[test]
    fn depth_is_bounded_with_and_without_aliases() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(parse(&nested(MAX_DEPTH + 1)), Err(YamlError::TooDeep));
        assert!(parse(&nested(100_000)).is_err());
        let mut chain = "a0: &a0 []\n".to_owned();
        for level in 1..200 {
            chain = format!("{chain}a{level}: &a{level} [*a{}]\n", level - 1);
        }
        assert_eq!(parse(&chain), Err(YamlError::TooDeep));
    }

    #[test]
    fn what_json_cannot_say_is_refused() {
        for (text, error) in [
            (".inf", YamlError::Value),
            ("!!int x", YamlError::Value),
            ("{[a]: b}", YamlError::Key),
            ("{~: b}", YamlError::Key),
            ("&a [*a]", YamlError::Alias),
            ("a: 1\n---\nb: 2", YamlError::Documents),
            ("a: b: c", YamlError::Syntax { line: 1 }),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_defect(text in "[\\x00-\\x7f]{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn nothing_that_looks_like_yaml_is_a_defect(parts in prop::collection::vec(
            prop::sample::select(vec!["a", ": ", "- ", "\n", "  ", "&x ", "*x", "[", "]", "{", "}", ", ", "<<", "!!int ", "!t ", "|", ">", "\t",
                "'", "\"", "---", "...", "#", "%", "0644", "\u{feff}", "é", "? "]), 0..60)) {
            let _ = parse(&parts.concat());
        }

        #[test]
        fn json_reads_as_itself(text in "[a-z ]{0,10}", number in any::<i64>(), flag in any::<bool>()) {
            let value = json!({"t": text, "n": number, "f": flag, "l": [text, null], "m": {"k": number}});
            prop_assert_eq!(parse(&value.to_string()), Ok(value));
        }
    }
}
