//! Reads the XML of answers: elements and text, and nothing else. Pure.
//!
//! A definition of entities, a depth of more than eight, or what is not closed, is refused: no answer of a store has it. The size is
//! bounded by whoever reads the answer.

/// Most elements within one another.
const DEPTH: usize = 8;
/// Most tags of an answer: a page of a list has up to 1,000 objects with some ten elements each. As elements in memory they take more than
/// as text.
const MOST_TAGS: usize = 64_000;

/// An element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Element {
    /// Its name, without prefix.
    pub(crate) name: String,
    /// Its own text.
    pub(crate) text: String,
    /// What is in it.
    pub(crate) children: Vec<Self>,
}

impl Element {
    /// The outermost element of `text`; none if that is no XML of an answer.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut open: Vec<Self> = vec![Self::default()];
        let mut rest = text.trim_start_matches('\u{feff}');
        let mut tags = 0;
        while let Some(start) = rest.find('<') {
            tags += 1;
            if tags > MOST_TAGS {
                return None;
            }
            let (before, tag) = rest.split_at(start);
            open.last_mut()?.text.push_str(&unescaped(before)?);
            rest = step(tag, &mut open)?;
        }
        let mut outside = open.pop()?;
        let is_whole = open.is_empty() && outside.children.len() == 1 && rest.trim().is_empty();
        if is_whole { outside.children.pop() } else { None }
    }

    /// The children of this name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of the first child of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.children.iter().find(|child| child.name == name).map(|child| child.text.as_str())
    }
}

/// Reads what begins with `<`, and gives what is behind it.
fn step<'a>(tag: &'a str, open: &mut Vec<Element>) -> Option<&'a str> {
    if let Some(comment) = tag.strip_prefix("<!--") {
        return comment.split_once("-->").map(|(_, rest)| rest);
    }
    if let Some(prolog) = tag.strip_prefix("<?") {
        return prolog.split_once("?>").map(|(_, rest)| rest);
    }
    if tag.starts_with("<!") {
        return None;
    }
    let (inside, rest) = tag.strip_prefix('<')?.split_once('>')?;
    let name = |text: &str| {
        let name = text.split([' ', '\t', '\r', '\n']).next().unwrap_or_default();
        name.rsplit(':').next().filter(|name| !name.is_empty()).map(str::to_owned)
    };
    if let Some(closed) = inside.strip_prefix('/') {
        let element = open.pop()?;
        if element.name != name(closed)? {
            return None;
        }
        open.last_mut()?.children.push(element);
        return Some(rest);
    }
    let is_empty = inside.ends_with('/');
    let element = Element { name: name(inside.trim_end_matches('/'))?, ..Element::default() };
    if is_empty {
        open.last_mut()?.children.push(element);
    } else {
        open.push(element);
    }
    (open.len() <= DEPTH + 1).then_some(rest)
}

/// Text without the references that every XML may have.
fn unescaped(text: &str) -> Option<String> {
    let mut found = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        let (name, after) = after.split_once(';')?;
        found.push_str(before);
        found.push(match name {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            "apos" => '\'',
            number => {
                let number = number.strip_prefix('#')?;
                let code = match number.strip_prefix('x') {
                    Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                    None => number.parse().ok()?,
                };
                // Keys may have characters that XML has not.
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
        });
        rest = after;
    }
    found.push_str(rest);
    Some(found)
}

/// Text as it stands in XML.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn elements_and_text_are_read() {
        let text = "<?xml version=\"1.0\"?>\n<!-- a --><a:List xmlns=\"x\">\n<Key>a&amp;b&#33;&#x21;</Key><Empty/><Key>\"&lt;</Key></a:List>\n";
        let list = Element::read(text).unwrap();
        assert_eq!((list.name.as_str(), list.get("Key"), list.get("Empty")), ("List", Some("a&b!!"), Some("")));
        assert_eq!(list.all("Key").map(|key| key.text.as_str()).collect::<Vec<_>>(), ["a&b!!", "\"<"]);
        assert_eq!(list.get("Other"), None);
    }

    #[test]
    fn what_no_store_answers_is_refused() {
        let many = format!("<a>{}</a>", "<b/>".repeat(MOST_TAGS));
        let deep = format!("{}{}", "<a>".repeat(9), "</a>".repeat(9));
        let entities = "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>";
        for text in [
            "",
            "a",
            "<a>",
            "<a></b>",
            "</a>",
            "<a></a><b></b>",
            "<a>&b;</a>",
            "<a>&lt</a>",
            &deep,
            &many,
            entities,
            "<a",
            "<>",
            "<a></a>x",
        ] {
            assert_eq!(Element::read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_read_as_it_was(text in "[ -~äé]{0,40}") {
            prop_assert_eq!(Element::read(&format!("<a>{}</a>", escaped(&text))).unwrap().text, text);
        }

        #[test]
        fn any_text_can_be_read(text in "[<>/&;a!?# -]{0,60}") {
            let _ = Element::read(&text);
        }
    }
}
