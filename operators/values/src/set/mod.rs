//! One value at a path, as `helm --set path=value` sets it. What differs from Helm: an entry sets one value. A comma in a
//! value belongs to the value (as in Rancher's answers), and an entry that would set a second one is refused.

mod path;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use path::{Path, Step};

/// The highest index of a list, as Helm has it.
pub const LIST_INDEX: usize = 65_536;
/// How many maps a path may lead through, as Helm has it.
pub const PATH_DEPTH: usize = 30;
/// How many items that no entry names the lists of one app may get all together.
pub const LIST_GAPS: usize = 2 * LIST_INDEX;

/// Up to here whole numbers stay exact in Helm's values files, which are read as floating point. Beyond, a text renders as the
/// number that was meant.
const EXACT: u64 = 1 << 53;

/// Why a value is not set. It never quotes the value, which may be secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SetError {
    /// No key, a part without a name, or what follows `]`.
    #[error("its key is not a path such as a.b[0].c")]
    Path,
    /// An index that is not a number from 0 to [`LIST_INDEX`].
    #[error("its key has an index that is not between 0 and 65536")]
    Index,
    /// More than [`PATH_DEPTH`].
    #[error("its key leads through more than 30 maps")]
    TooDeep,
    /// The path leads through what is not a map.
    #[error("its key leads through a value that is not a map")]
    NotAMap,
    /// The path leads through what is not a list.
    #[error("its key leads through a value that is not a list")]
    NotAList,
    /// `{a,b` without its end, or something behind it.
    #[error("its list does not end with }}")]
    List,
    /// More than [`LIST_GAPS`].
    #[error("it makes lists longer than they may be")]
    TooLong,
}

/// How many items without a value lists have got: `a[65536]` makes 65,536 of them.
#[derive(Default)]
pub(crate) struct Gaps(usize);

impl Gaps {
    fn spend(&mut self, items: usize) -> Result<(), SetError> {
        self.0 += items;
        if self.0 > LIST_GAPS { Err(SetError::TooLong) } else { Ok(()) }
    }
}

/// Sets `key` to `text` as `helm --set key=text` does: `true`, `false`, `null` and whole numbers up to 2⁵³ become what
/// they say, unless they begin with 0; `{a,b}` is a list; a backslash takes the next character as it is.
pub(crate) fn answer(values: &mut Value, key: &str, text: &str, gaps: &mut Gaps) -> Result<(), SetError> {
    set(values, key, read(text)?, gaps)
}

/// Sets `path` to `text`, the content of one key of a `ConfigMap` or Secret. As with Flux's `targetPath`, `true`, `false`, `null`
/// and whole numbers become what they say, and a text in single or double quotes is a string without them. Unlike there, all
/// else arrives as it is: commas, braces and backslashes of a password mean nothing.
pub(crate) fn place(values: &mut Value, path: &str, text: &str, gaps: &mut Gaps) -> Result<(), SetError> {
    let quoted = |quote: char| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    let value = quoted('\'').or_else(|| quoted('"')).map_or_else(|| typed(text), |text| Value::String(text.to_owned()));
    set(values, path, value, gaps)
}

/// Sets what is at `path`. Nothing changes where it fails.
pub(crate) fn set(values: &mut Value, path: &str, value: Value, gaps: &mut Gaps) -> Result<(), SetError> {
    let Path(steps) = Path::parse(path)?;
    let mut place = values;
    for (position, step) in steps.iter().enumerate() {
        let next = steps.get(position + 1);
        place = match step {
            Step::Key(key) => member(place, key, next)?,
            Step::Index(index) => item(place, *index, next, gaps)?,
        };
    }
    *place = value;
    Ok(())
}

/// What is at `path`, if anything is.
pub(crate) fn get<'a>(values: &'a Value, path: &str) -> Option<&'a Value> {
    let Path(steps) = Path::parse(path).ok()?;
    steps.iter().try_fold(values, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => value.get(index),
    })
}

fn member<'a>(place: &'a mut Value, key: &str, next: Option<&Step>) -> Result<&'a mut Value, SetError> {
    let members = place.as_object_mut().ok_or(SetError::NotAMap)?;
    Ok(members.entry(key).or_insert_with(|| before(next)))
}

fn item<'a>(
    place: &'a mut Value,
    index: usize,
    next: Option<&Step>,
    gaps: &mut Gaps,
) -> Result<&'a mut Value, SetError> {
    let items = place.as_array_mut().ok_or(SetError::NotAList)?;
    if items.len() <= index {
        gaps.spend(index - items.len())?;
        items.resize(index + 1, Value::Null);
    }
    let item = items.get_mut(index).ok_or(SetError::Index)?;
    // Helm replaces an item that is not a map, and goes into a list only where there is one or nothing.
    let is_replaced = match next {
        Some(Step::Key(_)) => !item.is_object(),
        Some(Step::Index(_)) => item.is_null(),
        None => false,
    };
    if is_replaced {
        *item = before(next);
    }
    Ok(item)
}

/// What a step leads into, where nothing is yet.
fn before(next: Option<&Step>) -> Value {
    match next {
        Some(Step::Key(_)) => Value::Object(Map::new()),
        Some(Step::Index(_)) => Value::Array(Vec::new()),
        None => Value::Null,
    }
}

fn read(text: &str) -> Result<Value, SetError> {
    let Some(list) = text.strip_prefix('{') else { return Ok(typed(&unescaped(text))) };
    let mut items = Vec::new();
    let mut item = String::new();
    let mut letters = list.chars();
    loop {
        match letters.next().ok_or(SetError::List)? {
            '\\' => item.push(letters.next().ok_or(SetError::List)?),
            ',' => items.push(typed(&std::mem::take(&mut item))),
            '}' => break,
            letter => item.push(letter),
        }
    }
    items.push(typed(&item));
    if letters.as_str().is_empty() { Ok(Value::Array(items)) } else { Err(SetError::List) }
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        plain.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    plain
}

fn typed(text: &str) -> Value {
    let is = |word| text.eq_ignore_ascii_case(word);
    if is("true") || is("false") {
        return Value::Bool(is("true"));
    }
    if is("null") {
        return Value::Null;
    }
    let has_leading_zero = text != "0" && text.starts_with('0');
    let number = if has_leading_zero { None } else { text.parse::<i64>().ok() };
    let number = number.filter(|number| number.unsigned_abs() <= EXACT);
    number.map_or_else(|| Value::String(text.to_owned()), Value::from)
}
