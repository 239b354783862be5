//! How kube-bench ended for one target, as it is written beside what it printed. Pure.

use drover_client::error::legible;
use serde::{Deserialize, Serialize};

/// Most bytes that are kept of what it said on standard error: the last ones.
pub(crate) const MOST_SAID: usize = 2 << 10;
/// Most bytes of a file with an outcome. Each byte that was said can become three in UTF-8, and six in JSON.
pub(crate) const MOST_BYTES: usize = 32 << 10;
/// Most bytes of its last words in a message.
const MOST_WORDS: usize = 300;

/// How kube-bench ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// By itself.
    Exited {
        /// Its exit code; none if a signal ended it.
        code: Option<i32>,
        /// The end of what it said on standard error.
        said: String,
    },
    /// It took too long, and was ended.
    TimedOut,
    /// It printed too much, and was ended.
    TooLarge,
    /// It could not be started, or not be read.
    NotStarted {
        /// Why.
        message: String,
    },
}

/// The last line that says something, which is where Go programs say why they end.
pub(crate) fn last_words(said: &str) -> String {
    let line = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    legible(line, MOST_WORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_one_short_line() {
        assert_eq!(last_words("I1128 start\nunable to find\u{1b}[2J config\n\n  \n"), "unable to find [2J config");
        assert_eq!(last_words(""), "");
        assert!(last_words(&"x".repeat(2_000)).len() <= MOST_WORDS);
    }

    #[test]
    fn the_largest_outcome_can_be_read_again() {
        let said = String::from_utf8_lossy(&[0xff; MOST_SAID]).into_owned();
        for said in [said, "\u{1}".repeat(MOST_SAID)] {
            let text = serde_json::to_vec(&Outcome::Exited { code: Some(-2_147_483_648), said }).unwrap();
            assert!(text.len() <= MOST_BYTES, "{}", text.len());
        }
    }
}
