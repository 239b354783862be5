//! Takes the answers of a server apart, one object at a time, and bounds each before it is decoded: a list of millions of empty
//! objects is as short as one of a thousand real ones, and takes a thousand times the memory when it is decoded as a whole.
//!
//! Whoever may write one object makes it as large as the server takes: an object beyond a bound is passed on with its [`Excess`] as
//! far as it is kept, and what follows goes on. What no object can be is the server's doing, and ends the answer.

use std::{io::BufRead as _, mem};

/// Most values of an answer that is decoded as a whole: it is about one object that Drover wrote or looked at, and none has as many.
const WHOLE_VALUE_LIMIT: usize = 20_000;
/// Longest object that is decoded, in bytes, and what is kept of a longer one. etcd stores 1.5 MiB at most by default.
const OBJECT_LIMIT: usize = 4 << 20;
/// Longest object that is passed over, in bytes: what etcd stores, with every byte written as six, is 9 MiB.
const PASSED_LIMIT: usize = 10 << 20;
/// Most values in an object: one for every ten bytes of the largest object that etcd stores.
const VALUE_LIMIT: usize = 150_000;
/// How deep the values of an answer may be nested. Few schemas reach 20, and the decoder takes 127.
const DEPTH_LIMIT: usize = 100;
/// How deep an object may be nested that is passed over. No API server stores a deeper one.
const PASSED_DEPTH_LIMIT: usize = 10_000;
/// Most objects in a page. Pages of 500 are asked for, and a server that knows no pages has fewer in all.
const ITEM_LIMIT: usize = 10_000;
/// Longest text of a list besides its objects, in bytes: a resource version and a token.
const FRAME_LIMIT: usize = 64 << 10;

/// An answer is more than is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Excess {
    #[error("an object is longer than {OBJECT_LIMIT} bytes")]
    Length,
    #[error("an object has more than {VALUE_LIMIT} values")]
    Values,
    #[error("an object is nested deeper than {DEPTH_LIMIT} levels")]
    Depth,
    #[error("a page has more than {ITEM_LIMIT} objects")]
    Items,
    #[error("a list has more than {FRAME_LIMIT} bytes besides its objects")]
    Frame,
    #[error("the objects together take more memory than the cluster or all of them may")]
    Memory,
}

/// Bounds the structure of an answer that is decoded as a whole, as it comes: what is short may decode to much.
#[derive(Debug)]
pub struct WholeAnswer {
    structure: Structure,
    limit: usize,
}

impl Default for WholeAnswer {
    fn default() -> Self {
        Self { structure: Structure::default(), limit: WHOLE_VALUE_LIMIT }
    }
}

impl WholeAnswer {
    /// The same for objects of whatever kinds: as many values as the largest one may have.
    #[must_use]
    pub fn of_objects() -> Self {
        Self { limit: VALUE_LIMIT, ..Self::default() }
    }

    /// Whether the answer is still within its bounds after these bytes.
    pub fn takes(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().all(|byte| {
            self.structure.takes(*byte);
            self.structure.excess().is_none() && self.structure.values <= self.limit
        })
    }
}

/// Follows JSON byte by byte, as far as structure goes.
#[derive(Debug, Default)]
struct Structure {
    depth: usize,
    values: usize,
    in_string: bool,
    escaped: bool,
}

impl Structure {
    /// Whether `byte` is part of the structure, and not of a text or a number.
    fn takes(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => (self.depth, self.values) = (self.depth + 1, self.values + 1),
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b',' => self.values += 1,
            b':' => {}
            _ => return false,
        }
        byte != b'"'
    }

    /// Whether it is more now than is decoded.
    fn excess(&self) -> Option<Excess> {
        if self.depth > DEPTH_LIMIT {
            return Some(Excess::Depth);
        }
        (self.values > VALUE_LIMIT).then_some(Excess::Values)
    }
}

/// An object or an event that was cut off, as far as it is kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) json: Vec<u8>,
    /// Why it is not decoded.
    pub(super) excess: Option<Excess>,
    length: usize,
}

impl Part {
    /// Takes the next byte, after which the structure is this.
    fn take(&mut self, byte: u8, structure: &Structure) -> Result<(), Excess> {
        self.length += 1;
        self.excess = self.excess.or_else(|| structure.excess());
        if structure.depth > PASSED_DEPTH_LIMIT {
            return Err(Excess::Depth);
        }
        if self.length > PASSED_LIMIT {
            return Err(Excess::Length);
        }
        if self.length > OBJECT_LIMIT {
            self.excess.get_or_insert(Excess::Length);
        } else {
            self.json.push(byte);
        }
        Ok(())
    }
}

/// Cuts a list into its objects and the rest.
#[derive(Debug, Default)]
pub(super) struct ListSplitter {
    structure: Structure,
    /// The last text outside of objects, as far as it may be `items`.
    text: Vec<u8>,
    /// The key of the list's field that comes now is `items`.
    names_items: bool,
    in_items: bool,
    items: usize,
    item: Part,
    frame: Vec<u8>,
}

const ITEMS: &[u8] = b"\"items\"";

impl ListSplitter {
    /// Takes `bytes` up to the end of the next object: how many it took, and the object.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(usize, Option<Part>), Excess> {
        for (index, byte) in bytes.iter().enumerate() {
            if let Some(item) = self.step(*byte)? {
                return Ok((index + 1, Some(item)));
            }
        }
        Ok((bytes.len(), None))
    }

    /// The list without its objects, once it has come to its end.
    pub(super) fn frame(self) -> Vec<u8> {
        self.frame
    }

    fn step(&mut self, byte: u8) -> Result<Option<Part>, Excess> {
        let is_structure = self.structure.takes(byte);
        if self.in_items {
            return self.step_in_items(byte, is_structure);
        }
        if let Some(excess) = self.structure.excess() {
            return Err(excess);
        }
        if self.frame.len() >= FRAME_LIMIT {
            return Err(Excess::Frame);
        }
        self.frame.push(byte);
        if is_structure {
            match byte {
                b':' => self.names_items = self.structure.depth == 1 && self.text == ITEMS,
                b'[' => self.in_items = self.names_items && self.structure.depth == 2,
                _ => self.names_items = false,
            }
            self.text.clear();
        } else if (self.structure.in_string || !byte.is_ascii_whitespace()) && self.text.len() <= ITEMS.len() {
            self.text.push(byte);
        }
        Ok(None)
    }

    fn step_in_items(&mut self, byte: u8, is_structure: bool) -> Result<Option<Part>, Excess> {
        let ends_list = is_structure && self.structure.depth == 1;
        let ends_item = ends_list || (is_structure && byte == b',' && self.structure.depth == 2);
        if ends_list {
            self.in_items = false;
            self.frame.push(byte);
        }
        if !ends_item {
            if !self.item.json.is_empty() || !byte.is_ascii_whitespace() {
                self.item.take(byte, &self.structure)?;
            }
            return Ok(None);
        }
        self.structure.values = 0;
        let item = mem::take(&mut self.item);
        if item.json.is_empty() {
            return Ok(None);
        }
        self.items += 1;
        if self.items > ITEM_LIMIT { Err(Excess::Items) } else { Ok(Some(item)) }
    }
}

/// Cuts a watch into its events, each on a line.
#[derive(Debug, Default)]
pub(super) struct LineSplitter {
    structure: Structure,
    line: Part,
}

impl LineSplitter {
    /// Takes `bytes` up to the end of the next event: how many it took, and the event.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(usize, Option<Part>), Excess> {
        let mut at = 0;
        while let Some((byte, rest)) = bytes.get(at..).and_then(<[u8]>::split_first) {
            if self.line.length > OBJECT_LIMIT {
                let (passed, line) = self.pass(bytes.get(at..).unwrap_or_default())?;
                at += passed;
                if line.is_some() {
                    return Ok((at, line));
                }
                continue;
            }
            at = bytes.len() - rest.len();
            if *byte == b'\n' {
                self.structure = Structure::default();
                let line = mem::take(&mut self.line);
                if !line.json.is_empty() {
                    return Ok((at, Some(line)));
                }
                continue;
            }
            self.structure.takes(*byte);
            self.line.take(*byte, &self.structure)?;
        }
        Ok((bytes.len(), None))
    }

    /// The same of an event that is too long already: only its end matters.
    fn pass(&mut self, mut bytes: &[u8]) -> Result<(usize, Option<Part>), Excess> {
        let all = bytes.len();
        let is_over = bytes.last() == Some(&b'\n');
        let passed = bytes.skip_until(b'\n').unwrap_or(all);
        let is_over = is_over || passed < all;
        self.line.length += passed;
        if self.line.length > PASSED_LIMIT {
            return Err(Excess::Length);
        }
        if is_over {
            self.structure = Structure::default();
        }
        Ok((passed, is_over.then(|| mem::take(&mut self.line))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The objects of a list and the rest, which came in pieces of `size` bytes.
    fn split(list: &str, size: usize) -> Result<(Vec<String>, String), Excess> {
        let (mut splitter, mut items) = (ListSplitter::default(), Vec::new());
        for mut piece in list.as_bytes().chunks(size) {
            while !piece.is_empty() {
                let (taken, item) = splitter.take(piece)?;
                items.extend(item.map(|item| String::from_utf8(item.json).unwrap()));
                piece = &piece[taken..];
            }
        }
        Ok((items, String::from_utf8(splitter.frame()).unwrap()))
    }

    fn of(items: &str) -> String {
        format!(r#"{{"kind":"List","metadata":{{"resourceVersion":"7"}},"items":[{items}]}}"#)
    }

    #[test]
    fn a_list_is_cut_into_its_objects_wherever_its_pieces_end() {
        let objects = [r#"{"a":[1,{"b":"],}\"\\"}]}"#, "{}", r#"{"items":[{},{}]}"#, "[[],[]]", "1"];
        let list = of(&objects.join(" ,\n"));
        for size in 1..=list.len() {
            let (items, frame) = split(&list, size).unwrap();
            let items: Vec<&str> = items.iter().map(|item| item.trim_end()).collect();
            assert_eq!((&items[..], &*frame), (&objects[..], &*of("")), "in pieces of {size}");
        }
    }

    #[test]
    fn only_the_items_of_the_list_itself_are_its_objects() {
        for list in [
            r#"{"metadata":{"items":[{},{}]}}"#,
            r#"{"kind":"items","other":[{},{}]}"#,
            r#"{"items":{"items":[{},{}]}}"#,
            r#"{"items":null}"#,
            r#"[{"items":[{},{}]}]"#,
            r#"{"not-items":[{},{}]}"#,
            r#"{"ite ms":[{},{}]}"#,
        ] {
            assert_eq!(split(list, 3).unwrap(), (vec![], list.to_owned()));
        }
        let spaced = r#" { "items" : [ {} ] } "#;
        assert_eq!(split(spaced, 1).unwrap().0, ["{} "]);
    }

    #[test]
    fn what_exceeds_a_bound_is_not_decoded() {
        let many = |item: &str, count: usize| vec![item; count].join(",");
        for (items, expected) in [
            (many("{}", ITEM_LIMIT + 1), Excess::Items),
            (format!("\"{}\"", "x".repeat(PASSED_LIMIT)), Excess::Length),
            ("[".repeat(PASSED_DEPTH_LIMIT), Excess::Depth),
        ] {
            assert_eq!(split(&of(&items), 4096).unwrap_err(), expected);
        }
        let frame = format!("{{\"a\":{}", "[".repeat(DEPTH_LIMIT));
        assert_eq!(split(&frame, 4096).unwrap_err(), Excess::Depth);
        assert_eq!(split(&format!("{{\"a\":\"{}", "x".repeat(FRAME_LIMIT)), 4096).unwrap_err(), Excess::Frame);
        assert_eq!(split(&of(&many("{}", ITEM_LIMIT)), 4096).unwrap().0.len(), ITEM_LIMIT);
        assert_eq!(split(&of(&many(&format!("[{}]", many("1", VALUE_LIMIT / 2)), 3)), 4096).unwrap().0.len(), 3);
    }

    #[test]
    fn an_object_beyond_a_bound_is_named_and_those_beside_it_are_as_they_were() {
        for (object, expected) in [
            (format!("[{}1]", "{},".repeat(VALUE_LIMIT / 2)), Excess::Values),
            (format!("\"{}\"", "x".repeat(OBJECT_LIMIT)), Excess::Length),
            (format!("{}{}", "[".repeat(DEPTH_LIMIT), "]".repeat(DEPTH_LIMIT)), Excess::Depth),
        ] {
            let list = of(&format!("{{}},{object},{{}}"));
            let (mut splitter, mut rest, mut parts) = (ListSplitter::default(), list.as_bytes(), Vec::new());
            while !rest.is_empty() {
                let (taken, part) = splitter.take(rest).unwrap();
                parts.extend(part.map(|part| (part.json.len(), part.excess)));
                rest = &rest[taken..];
            }
            assert_eq!(parts, [(2, None), (object.len().min(OBJECT_LIMIT), Some(expected)), (2, None)]);

            let (watch, mut splitter) = (format!("{object}\n{{}}\n"), LineSplitter::default());
            let (taken, part) = splitter.take(watch.as_bytes()).unwrap();
            let expected = (expected != Excess::Depth).then_some(expected);
            assert_eq!(part.unwrap().excess, expected, "an event has fewer levels around its object");
            assert_eq!(splitter.take(&watch.as_bytes()[taken..]).unwrap().1.unwrap().excess, None);
        }
    }

    #[test]
    fn an_answer_that_is_decoded_as_a_whole_is_bounded_as_well() {
        let fields = vec!["{}"; WHOLE_VALUE_LIMIT / 2 + 1].join(",");
        assert!(WholeAnswer::default().takes(r#"{"metadata":{"name":"a"},"data":["x","y"]}"#.as_bytes()));
        assert!(!WholeAnswer::default().takes(format!("[{fields}]").as_bytes()));
        assert!(!WholeAnswer::default().takes("[".repeat(10_000).as_bytes()));
        assert!(WholeAnswer::default().takes("x".repeat(1 << 20).as_bytes()));
        assert!(WholeAnswer::of_objects().takes(format!("[{fields}]").as_bytes()));
        let fields = vec!["{}"; VALUE_LIMIT / 2 + 1].join(",");
        assert!(!WholeAnswer::of_objects().takes(format!("[{fields}]").as_bytes()));
    }

    #[test]
    fn a_watch_is_cut_into_lines() {
        let mut splitter = LineSplitter::default();
        let mut lines = Vec::new();
        for mut piece in [&b"{\"a\":"[..], b"1}\n\n{\"b\"", b":2}\n{", b"}"] {
            while !piece.is_empty() {
                let (taken, line) = splitter.take(piece).unwrap();
                lines.extend(line.map(|line| String::from_utf8(line.json).unwrap()));
                piece = &piece[taken..];
            }
        }
        assert_eq!(lines, [r#"{"a":1}"#, r#"{"b":2}"#]);
        let (long, mut splitter) = (format!("\"{}\"", "x".repeat(OBJECT_LIMIT + 5)), LineSplitter::default());
        assert_eq!(splitter.take(long.as_bytes()).unwrap(), (long.len(), None));
        let (taken, line) = splitter.take(b"rest\n{}\n").unwrap();
        assert_eq!((taken, line.unwrap().excess), (5, Some(Excess::Length)));
        assert_eq!(splitter.take(b"{}\n").unwrap().1.unwrap().json, b"{}");
        let long = "x".repeat(PASSED_LIMIT);
        assert_eq!(LineSplitter::default().take(format!("\"{long}").as_bytes()).unwrap_err(), Excess::Length);
        assert_eq!(LineSplitter::default().take(&[b'['; PASSED_DEPTH_LIMIT + 1]).unwrap_err(), Excess::Depth);
    }
}
