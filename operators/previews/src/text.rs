//! What a person reads of a difference, within a bound. Pure.
//!
//! What a Secret holds never stands there, and where anything may be secret no field says what it holds.

use drover_crds::MAX_PREVIEW_OBJECTS;
use serde_json::Value;

use crate::{
    Differs,
    compare::{Change, Differing, Field},
};

/// Most bytes of the text of one stage: those of five stages are less than 64 KiB.
const MOST_BYTES: usize = 12 << 10;
/// Most characters that are shown of a value.
const LONGEST_VALUE: usize = 160;
/// Most lines that are shown of a text that differs.
const MOST_LINES: usize = 20;

/// What of fields may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// What they hold, but for those of Secrets.
    Values,
    /// Where they are.
    Paths,
}

/// Counts and tells what differs.
#[must_use]
pub fn tell(differences: &[Differing<'_>], shows: Shows, is_new: bool) -> Differs {
    let count = |changes: &[Change]| differences.iter().filter(|found| changes.contains(&found.change)).count();
    let (most, longest) = MAX_PREVIEW_OBJECTS;
    Differs {
        created: count(&[Change::Created]),
        changed: count(&[Change::Changed]),
        removed: count(&[Change::Removed]),
        objects: differences.iter().take(most).map(|found| cut(&found.title, longest)).collect(),
        text: all(differences, shows),
        without_values: shows == Shows::Paths,
        is_new,
    }
}

fn all(differences: &[Differing<'_>], shows: Shows) -> String {
    let mut text = String::new();
    for (position, found) in differences.iter().enumerate() {
        let block = block(found, shows);
        if text.len() + block.len() > MOST_BYTES {
            let left = differences.len() - position;
            text.extend([format!("... and {left} more objects, which are left out here\n")]);
            break;
        }
        text += &block;
    }
    text
}

/// One object, with its fields.
fn block(found: &Differing<'_>, shows: Shows) -> String {
    let (sign, end) = match found.change {
        Change::Created => ('+', ""),
        Change::Changed => ('~', ""),
        Change::Removed => ('-', ""),
        Change::Left => ('-', " (stays in the cluster, as it says helm.sh/resource-policy: keep)"),
    };
    let mut text = format!("{sign} {}{end}\n", cut(&found.title, 400));
    let shows = if found.is_secret { Shows::Paths } else { shows };
    // What an object that is created holds says nothing without values.
    if found.change == Change::Created && shows == Shows::Paths {
        return text;
    }
    let mut left = found.more;
    for field in &found.fields {
        let lines = lines(field, shows);
        if text.len() + lines.len() > MOST_BYTES / 2 {
            left += 1;
        } else {
            text += &lines;
        }
    }
    if left > 0 {
        text.extend([format!("    ... and {left} more fields\n")]);
    }
    text
}

fn lines(field: &Field<'_>, shows: Shows) -> String {
    let Field { path, before, after } = field;
    let path: String = path.chars().filter(|letter| !letter.is_control()).collect();
    if shows == Shows::Paths {
        return format!("    {path}\n");
    }
    let has_lines =
        |value: Option<&Value>| value.and_then(Value::as_str).is_some_and(|text| text.trim_end().contains('\n'));
    if has_lines(*before) || has_lines(*after) {
        let [before, after] = [before, after].map(|value| value.and_then(Value::as_str).unwrap_or_default());
        return format!("    {path}:\n{}", changed_lines(before, after));
    }
    match (before, after) {
        (None, Some(after)) => format!("    {path}: {}\n", shown(after)),
        (Some(before), None) => format!("    {path}: {} -> (none)\n", shown(before)),
        (before, after) => {
            let [before, after] = [before, after].map(|value| value.map(shown).unwrap_or_default());
            format!("    {path}: {before} -> {after}\n")
        }
    }
}

/// The lines between what two texts have in common at their beginnings and ends.
fn changed_lines(before: &str, after: &str) -> String {
    let [before, after] = [before, after].map(|text| text.lines().collect::<Vec<_>>());
    let same = |pairs: &mut dyn Iterator<Item = (&str, &str)>| pairs.take_while(|(one, two)| one == two).count();
    let first = same(&mut before.iter().copied().zip(after.iter().copied()));
    let rest = before.len().min(after.len()) - first;
    let last = same(&mut before.iter().rev().copied().zip(after.iter().rev().copied()).take(rest));
    let mut text = String::new();
    for (sign, lines) in [('-', &before), ('+', &after)] {
        let between = lines.len() - last - first;
        for line in lines.iter().skip(first).take(between.min(MOST_LINES)) {
            let line: String = line.chars().filter(|letter| !letter.is_control()).collect();
            text.extend([format!("      {sign} {}\n", cut(&line, LONGEST_VALUE))]);
        }
        if between > MOST_LINES {
            text.extend([format!("      {sign} ... and {} more lines\n", between - MOST_LINES)]);
        }
    }
    if text.is_empty() { "      (only the end of a line differs)\n".to_owned() } else { text }
}

fn shown(value: &Value) -> String {
    let text: String = value.to_string().chars().filter(|letter| !letter.is_control()).collect();
    cut(&text, LONGEST_VALUE)
}

fn cut(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    let head: String = text.chars().take(longest.saturating_sub(3)).collect();
    format!("{head}...")
}

#[cfg(test)]
mod tests;
