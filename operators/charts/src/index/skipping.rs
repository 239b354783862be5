//! Drops the lines of charts that nobody asked for, before they are parsed: most of an index.
//!
//! In the layout that Helm writes, the name of a chart stands alone on a line, and everything about it is indented deeper or
//! begins with a hyphen. Valid YAML has nothing else between two names at that depth, not even in a text of several lines.
//! In any other layout nothing is dropped. In place of a dropped line there is an empty one, so that lines keep their numbers.

use std::{
    cell::Cell,
    io::{self, BufRead as _, BufReader, Read},
    rc::Rc,
};

/// Bytes that are read at once, and most bytes of a line that are looked at together.
const BUFFER: usize = 64 * 1024;

/// Where in the index the lines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the charts.
    Before,
    /// At the first name, which tells how deep they stand.
    First,
    /// Among the charts.
    Charts { depth: usize, is_dropped: bool, items: Option<usize> },
    /// After them, or in another layout.
    After,
}

pub(super) struct Skipping<R, W> {
    reader: BufReader<R>,
    wants: W,
    place: Place,
    line: Vec<u8>,
    /// What of the line was handed on.
    start: usize,
    is_continued: bool,
    versions: Rc<Cell<usize>>,
}

impl<R: Read, W: FnMut(&str) -> bool> Skipping<R, W> {
    /// Also counts the versions of the charts that it drops.
    pub(super) fn new(reader: R, wants: W) -> (Self, Rc<Cell<usize>>) {
        let versions = Rc::new(Cell::new(0));
        let reader = BufReader::with_capacity(BUFFER, reader);
        let (line, place) = (Vec::new(), Place::Before);
        (Self { reader, wants, place, line, start: 0, is_continued: false, versions: Rc::clone(&versions) }, versions)
    }

    /// Reads the next line that is handed on, or a piece of it.
    fn refill(&mut self) -> io::Result<()> {
        self.line.clear();
        self.start = 0;
        let most = u64::try_from(BUFFER).unwrap_or(u64::MAX);
        (&mut self.reader).take(most).read_until(b'\n', &mut self.line)?;
        let is_whole = self.line.ends_with(b"\n");
        let is_dropped = if self.is_continued { self.drops() } else { self.look() };
        self.is_continued = !is_whole && !self.line.is_empty();
        if is_dropped {
            self.line.clear();
            // A line without its end still has to yield something: nothing would be the end of all.
            self.line.push(if is_whole { b'\n' } else { b' ' });
        }
        Ok(())
    }

    fn drops(&self) -> bool {
        matches!(self.place, Place::Charts { is_dropped: true, .. })
    }

    /// Whether the line that begins here is dropped.
    fn look(&mut self) -> bool {
        let indent = self.line.iter().take_while(|byte| **byte == b' ').count();
        let text = self.line.get(indent..).unwrap_or_default().trim_ascii_end();
        if text.is_empty() || text.starts_with(b"#") {
            return self.drops() && !self.line.is_empty();
        }
        let is_item = text == b"-" || text.starts_with(b"- ");
        self.place = match self.place {
            Place::Before if indent == 0 && text == b"entries:" => Place::First,
            Place::First if indent > 0 => self.named(indent),
            Place::Charts { depth, is_dropped: true, items } if indent > depth || indent == depth && is_item => {
                let items = items.or(is_item.then_some(indent));
                if is_item && items == Some(indent) {
                    self.versions.set(self.versions.get() + 1);
                }
                self.place = Place::Charts { depth, is_dropped: true, items };
                return true;
            }
            Place::Charts { depth, .. } if indent > depth || indent == depth && is_item => self.place,
            Place::Charts { depth, .. } if indent == depth => self.named(indent),
            Place::Charts { .. } | Place::First => Place::After,
            place => place,
        };
        false
    }

    /// At a name: what follows is dropped if it is a plain one that is not wanted.
    fn named(&mut self, depth: usize) -> Place {
        let text = self.line.get(depth..).unwrap_or_default().trim_ascii_end();
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let plain = text.strip_suffix(b":").filter(|name| name.iter().all(is_plain) && !name.is_empty());
        let name = plain.and_then(|name| str::from_utf8(name).ok());
        Place::Charts { depth, is_dropped: name.is_some_and(|name| !(self.wants)(name)), items: None }
    }
}

impl<R: Read, W: FnMut(&str) -> bool> Read for Skipping<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut written = 0;
        while written < buffer.len() {
            if self.start == self.line.len() {
                // What is there goes first, so that an error comes after it.
                if let Err(error) = self.refill() {
                    self.line.clear();
                    return if written == 0 { Err(error) } else { Ok(written) };
                }
                if self.line.is_empty() {
                    break;
                }
            }
            let (from, to) =
                (self.line.get(self.start..).unwrap_or_default(), buffer.get_mut(written..).unwrap_or_default());
            let count = from.len().min(to.len());
            to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
            self.start += count;
            written += count;
        }
        Ok(written)
    }
}
