//! Text that Helm's parser reads and stricter ones do not: what stands in brackets may be indented as it likes, and a tab may follow
//! a colon.

/// More than any indentation that matters.
const DEEP: &str =
    "                                                                                                    ";

/// The text with what stands in brackets over several lines indented deeply, and tabs after colons made spaces. What it means is the
/// same.
pub(super) fn relaxed(text: &str) -> String {
    let mut relaxed = String::with_capacity(text.len() + text.len() / 8);
    let mut scanner = Scanner::default();
    for line in text.split_inclusive('\n') {
        scanner.line(line, &mut relaxed);
    }
    relaxed
}

#[derive(Default)]
struct Scanner {
    /// Brackets that are open.
    depth: usize,
    quote: Option<char>,
    /// The indentation of the line at whose end a block scalar begins.
    block: Option<usize>,
}

impl Scanner {
    fn line(&mut self, line: &str, relaxed: &mut String) {
        let content = line.trim_start_matches([' ', '\t']);
        let indentation = line.len() - content.len();
        if self.block.is_some_and(|block| content.trim().is_empty() || indentation > block) {
            relaxed.push_str(line);
            return;
        }
        self.block = None;
        if self.depth > 0 {
            relaxed.push_str(DEEP);
        } else {
            relaxed.push_str(line.get(..indentation).unwrap_or_default());
        }
        self.content(content, relaxed);
        if self.depth == 0 && self.quote.is_none() && begins_block(content) {
            self.block = Some(indentation);
        }
    }

    fn content(&mut self, content: &str, relaxed: &mut String) {
        // Whether a value may begin here, and what stood before.
        let (mut begins, mut before) = (self.quote.is_none(), ' ');
        let mut letters = content.chars().peekable();
        while let Some(letter) = letters.next() {
            let is_blank = before.is_whitespace();
            match (self.quote, letter) {
                (Some('"'), '\\') => {
                    relaxed.push(letter);
                    relaxed.extend(letters.next());
                    continue;
                }
                (Some(quote), letter) if letter == quote => self.quote = None,
                (None, '#') if is_blank => {
                    relaxed.push(letter);
                    relaxed.extend(letters);
                    return;
                }
                (None, '"' | '\'') if begins => self.quote = Some(letter),
                (None, '[' | '{') if begins || self.depth > 0 => self.depth += 1,
                (None, ']' | '}') => self.depth = self.depth.saturating_sub(1),
                (None, '\t') if before == ':' => {
                    relaxed.push(' ');
                    before = ' ';
                    continue;
                }
                _ => {}
            }
            let separates = matches!(letter, '[' | '{' | ',') && self.depth > 0;
            let indicates = matches!(letter, ':' | '-' | '?') && letters.peek().is_none_or(|next| next.is_whitespace());
            begins = self.quote.is_none() && (separates || indicates || (begins && letter.is_whitespace()));
            before = letter;
            relaxed.push(letter);
        }
    }
}

/// Whether a line ends with what begins a block scalar, such as `|-`.
fn begins_block(content: &str) -> bool {
    let content = content.split(" #").next().unwrap_or_default().trim_end();
    let header = content.trim_end_matches(|letter: char| letter.is_ascii_digit() || matches!(letter, '+' | '-'));
    let (before, last) = header.split_at(header.len().saturating_sub(usize::from(header.ends_with(['|', '>']))));
    !last.is_empty() && before.chars().next_back().is_none_or(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::{super::*, *};

    fn parse(text: &str) -> Result<Value, YamlError> {
        read(text, &mut Budget::new(1 << 20))
    }

    #[test]
    fn what_stands_in_brackets_may_be_indented_as_it_likes() {
        for (text, value) in [
            ("x: {a: [\n1,\n2\n]\n}\n", json!({"x": {"a": [1, 2]}})),
            ("x:\n  z: {\n\"a\": 1}\n", json!({"x": {"z": {"a": 1}}})),
            ("x:\n  z: {\n\"a]\": \"b\nc\" # }\n}\nw: 1\n", json!({"x": {"z": {"a]": "b c"}}, "w": 1})),
            ("a:\n  b: [\n'it''s',\n\"\\\"[\"\n]\nc: d\n", json!({"a": {"b": ["it's", "\"["]}, "c": "d"})),
            ("a: |-\n  { [\n  \"\nb: {\nc: 1}\n", json!({"a": "{ [\n\"", "b": {"c": 1}})),
            ("- a: >2 # x\n    [\n- b: [\n1]\n", json!([{"a": "[\n"}, {"b": [1]}])),
            ("a: x[y\nb: don't\nc: {\nd: 1}\n", json!({"a": "x[y", "b": "don't", "c": {"d": 1}})),
            ("x:\t1\nz: a\tb\n", json!({"x": 1, "z": "a\tb"})),
        ] {
            assert_eq!(parse(text).as_ref(), Ok(&value), "{text}\n{}", relaxed(text));
        }
    }

    #[test]
    fn what_is_not_yaml_stays_so() {
        for text in ["x: {a: [\n1,\n2\n", "a: b: {\nc: 1}\n", "a: [\n1\nb: }\n"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn json_reads_as_itself_however_it_is_indented(texts in prop::collection::vec("[ -~]{0,8}", 0..4), indentation in 0_usize..4) {
            let value = json!({"k": {"l": texts, "m": [[1], {}]}, "n": null});
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let lines: Vec<_> = pretty.lines().map(str::trim_start).collect();
            let text = format!("a:\n  b: {}\nc: 1\n", lines.join(&format!("\n{}", " ".repeat(indentation))));
            prop_assert_eq!(parse(&text), Ok(json!({"a": {"b": value}, "c": 1})), "{}", text);
        }

        #[test]
        fn no_text_is_a_defect(parts in prop::collection::vec(prop::sample::select(vec![
            "a: ", "- ", "\n", "  ", "[", "]", "{", "}", ", ", "'", "\"", "|\n", ">-\n", " #", "é", "\\", "\t", "2"]), 0..60)) {
            let text = parts.concat();
            let _ = (relaxed(&text), parse(&text));
        }
    }
}
