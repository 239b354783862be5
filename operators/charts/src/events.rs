//! The events of YAML, within bounds.

mod characters;

use std::{io::Read, rc::Rc};

use saphyr_parser::{BufferedInput, Event, Parser};

pub(crate) use self::characters::Bounded;
use self::characters::{Characters, Shared, Stop};
use crate::index::{IndexError, IndexLimits};

/// Most characters of a name that an error shows.
const SHOWN: usize = 64;

pub(crate) struct Events<R: Read> {
    parser: Parser<'static, BufferedInput<Characters<R>>>,
    shared: Rc<Shared>,
    limits: IndexLimits,
    depth: usize,
    line: usize,
    may_alias: bool,
}

impl<R: Read> Events<R> {
    pub(crate) fn new(reader: R, limits: &IndexLimits) -> Self {
        let (characters, shared) = Characters::new(reader, limits.text);
        let parser = Parser::new(BufferedInput::new(characters));
        Self { parser, shared, limits: *limits, depth: 0, line: 1, may_alias: false }
    }

    pub(crate) fn next(&mut self) -> Result<Event<'static>, IndexError> {
        let parsed = self.parser.next_event().unwrap_or_else(|| Ok((Event::StreamEnd, saphyr_parser::Span::default())));
        if let Some(stop) = self.shared.stop() {
            return Err(self.stopped(stop));
        }
        self.shared.event();
        let (event, span) = parsed.map_err(|error| IndexError::Broken { line: error.marker().line() })?;
        self.line = span.start.line();
        self.judge(&event)?;
        Ok(event)
    }

    fn judge(&mut self, event: &Event<'_>) -> Result<(), IndexError> {
        let line = self.line;
        match event {
            Event::Alias(_) if !self.may_alias => return Err(IndexError::Alias { line }),
            Event::Scalar(_, _, anchor, _) | Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _)
                if *anchor != 0 && !self.may_alias =>
            {
                return Err(IndexError::Alias { line });
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => self.depth += 1,
            Event::SequenceEnd | Event::MappingEnd => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        let limit = self.limits.depth;
        if self.depth > limit {
            Err(IndexError::TooMany { what: "lists and maps in one another", limit })
        } else {
            Ok(())
        }
    }

    fn stopped(&self, stop: Stop) -> IndexError {
        match stop {
            Stop::TooLarge => IndexError::TooLarge(self.limits.bytes),
            Stop::TooLong => IndexError::TooMany { what: "characters in one text", limit: self.limits.text },
            Stop::NotText => IndexError::NotText { line: self.line },
            Stop::Interrupted => IndexError::Interrupted,
        }
    }

    /// The line of the first list or map that lies deeper than `depth`, or of what is no YAML; none if `text` has neither.
    ///
    /// Other readers of YAML take a time that grows with the square of the depth.
    pub(crate) fn too_deep(text: R, depth: usize) -> Option<usize> {
        let mut events = Self::new(text, &IndexLimits { depth, ..IndexLimits::default() });
        events.may_alias = true;
        loop {
            match events.next() {
                Ok(Event::StreamEnd) => return None,
                Ok(_) => {}
                Err(_) => return Some(events.line),
            }
        }
    }

    /// Goes into the map that the first document is. It may be none.
    pub(crate) fn enter_document(&mut self) -> Result<bool, IndexError> {
        loop {
            match self.next()? {
                Event::StreamStart | Event::DocumentStart(_) => {}
                Event::MappingStart(..) => return Ok(true),
                _ => return Ok(false),
            }
        }
    }

    /// Nothing comes after the map.
    pub(crate) fn leave_document(&mut self) -> Result<(), IndexError> {
        loop {
            match self.next()? {
                Event::DocumentEnd => {}
                Event::StreamEnd => return Ok(()),
                _ => return Err(self.unexpected("one document")),
            }
        }
    }

    /// The next key of a map; none at its end.
    pub(crate) fn key(&mut self, expected: &'static str) -> Result<Option<String>, IndexError> {
        match self.next()? {
            Event::Scalar(text, ..) => Ok(Some(text.into_owned())),
            Event::MappingEnd => Ok(None),
            _ => Err(self.unexpected(expected)),
        }
    }

    /// Goes over the next value.
    pub(crate) fn skip(&mut self) -> Result<(), IndexError> {
        let first = self.next()?;
        self.skip_rest(&first)
    }

    /// Goes over the rest of the value that begins with `first`.
    pub(crate) fn skip_rest(&mut self, first: &Event<'_>) -> Result<(), IndexError> {
        if !matches!(first, Event::SequenceStart(..) | Event::MappingStart(..)) {
            return Ok(());
        }
        let outside = self.depth - 1;
        while self.depth > outside {
            self.next()?;
        }
        Ok(())
    }

    pub(crate) fn unexpected(&self, expected: &'static str) -> IndexError {
        IndexError::Unexpected { expected, line: self.line }
    }

    pub(crate) fn twice(&self, name: &str) -> IndexError {
        let name = name.chars().take(SHOWN).flat_map(char::escape_debug).collect();
        IndexError::Twice { name, line: self.line }
    }
}
