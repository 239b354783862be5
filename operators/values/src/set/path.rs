//! Where a value goes: `a.b[0].c`, with a backslash before a character that belongs to a name.

use super::{LIST_INDEX, PATH_DEPTH, SetError};
use crate::DEPTH;

pub(super) enum Step {
    Key(String),
    Index(usize),
}

pub(super) struct Path(pub(super) Vec<Step>);

impl Path {
    pub(super) fn parse(text: &str) -> Result<Self, SetError> {
        let mut letters = text.chars();
        let mut steps = Vec::new();
        loop {
            let (name, mut end) = word(&mut letters, &['.', '[', '=', ','])?;
            if name.is_empty() {
                return Err(SetError::Path);
            }
            steps.push(Step::Key(name));
            while end == Some('[') {
                steps.push(Step::Index(index(&mut letters)?));
                end = letters.next();
            }
            match end {
                None => break,
                Some('.') => {}
                Some(_) => return Err(SetError::Path),
            }
        }
        let maps = steps.iter().filter(|step| matches!(step, Step::Key(_))).count();
        // Lists count too, so that what is set stays within the depth of all values.
        let is_too_deep = maps > PATH_DEPTH + 1 || steps.len() >= DEPTH;
        if is_too_deep { Err(SetError::TooDeep) } else { Ok(Self(steps)) }
    }
}

fn index(letters: &mut std::str::Chars<'_>) -> Result<usize, SetError> {
    let (digits, end) = word(letters, &[']'])?;
    let index = digits.parse().ok().filter(|index| *index <= LIST_INDEX).ok_or(SetError::Index)?;
    if end == Some(']') { Ok(index) } else { Err(SetError::Index) }
}

/// What stands before one of `stops`, and which of them it is; `None` at the end of the text.
fn word(letters: &mut std::str::Chars<'_>, stops: &[char]) -> Result<(String, Option<char>), SetError> {
    let mut word = String::new();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => word.push(letters.next().ok_or(SetError::Path)?),
            stop if stops.contains(&stop) => return Ok((word, Some(stop))),
            letter => word.push(letter),
        }
    }
    Ok((word, None))
}
