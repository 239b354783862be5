//! Texts, states and verdicts as a page shows them. Pure.

use std::{
    borrow::Cow,
    fmt::{Display, Formatter, Result},
};

use drover_crds::{CheckCounts, CheckState, Verdict};

use crate::scan::formats::{MOST_BYTES, line};

/// The states, the worst one first.
pub(super) const STATES: [CheckState; 7] = [
    CheckState::Fail,
    CheckState::Error,
    CheckState::Warn,
    CheckState::Waived,
    CheckState::Skip,
    CheckState::Pass,
    CheckState::NotApplicable,
];

/// A text of anybody, in an element or between the quotation marks of an attribute.
pub(super) struct Text<'a>(pub(super) &'a str);

impl Display for Text<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> Result {
        // Most texts are plain, and there are many.
        let is_plain = self.0.len() <= MOST_BYTES && self.0.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let text = if is_plain { Cow::Borrowed(self.0) } else { Cow::Owned(line(self.0)) };
        let mut from = 0;
        // None of these bytes is a part of another letter.
        for (at, byte) in text.bytes().enumerate() {
            let entity = match byte {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                b'\'' => "&#39;",
                // An old way to quote an attribute.
                b'`' => "&#96;",
                _ => continue,
            };
            to.write_str(text.get(from..at).unwrap_or_default())?;
            to.write_str(entity)?;
            from = at + 1;
        }
        to.write_str(text.get(from..).unwrap_or_default())
    }
}

/// A state, by its sign, its word and its colour.
pub(super) struct State(pub(super) CheckState);

impl State {
    pub(super) const fn word(&self) -> &'static str {
        self.parts().1
    }

    const fn parts(&self) -> (char, &'static str) {
        match self.0 {
            CheckState::Fail => ('✗', "Fail"),
            CheckState::Error => ('!', "Error"),
            CheckState::Warn => ('?', "Warn"),
            CheckState::Waived => ('~', "Waived"),
            CheckState::Skip => ('–', "Skip"),
            CheckState::Pass => ('✓', "Pass"),
            CheckState::NotApplicable => ('○', "NotApplicable"),
        }
    }
}

impl Display for State {
    fn fmt(&self, to: &mut Formatter<'_>) -> Result {
        let (sign, word) = self.parts();
        write!(to, "<b class=\"{word}\">{sign} {word}</b>")
    }
}

/// A verdict in the same way.
pub(super) struct VerdictMark(pub(super) Option<Verdict>);

impl VerdictMark {
    pub(super) const fn word(&self) -> &'static str {
        match self.0 {
            Some(Verdict::Pass) => "Pass",
            Some(Verdict::Fail) => "Fail",
            Some(Verdict::Incomplete) => "Incomplete",
            None => "no verdict yet",
        }
    }
}

impl Display for VerdictMark {
    fn fmt(&self, to: &mut Formatter<'_>) -> Result {
        let word = self.word();
        match self.0 {
            Some(Verdict::Pass) => write!(to, "<b class=\"{word}\">✓ {word}</b>"),
            Some(Verdict::Fail) => write!(to, "<b class=\"{word}\">✗ {word}</b>"),
            Some(Verdict::Incomplete) => write!(to, "<b class=\"{word}\">! {word}</b>"),
            None => write!(to, "<b>{word}</b>"),
        }
    }
}

/// How many checks are in this state.
pub(super) const fn count(counts: &CheckCounts, state: CheckState) -> i64 {
    match state {
        CheckState::Fail => counts.fail,
        CheckState::Error => counts.error,
        CheckState::Warn => counts.warn,
        CheckState::Waived => counts.waived,
        CheckState::Skip => counts.skip,
        CheckState::Pass => counts.pass,
        CheckState::NotApplicable => counts.not_applicable,
    }
}
