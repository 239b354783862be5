//! Bytes as characters, within bounds.

use std::{
    cell::Cell,
    io::{self, ErrorKind, Read},
    rc::Rc,
    str,
};

/// Bytes that are read at once.
const BUFFER: usize = 64 * 1024;

/// Why there are no more characters, other than that the bytes end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    TooLarge,
    TooLong,
    NotText,
    Interrupted,
}

/// What the characters and who takes the events of them share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    stop: Cell<Option<Stop>>,
    /// Characters since the last event.
    since: Cell<usize>,
}

impl Shared {
    pub(super) fn stop(&self) -> Option<Stop> {
        self.stop.get()
    }

    pub(super) fn event(&self) {
        self.since.set(0);
    }
}

/// Reads up to a bound, beyond which it fails with [`ErrorKind::FileTooLarge`].
pub(crate) struct Bounded<R> {
    reader: R,
    left: usize,
}

impl<R: Read> Bounded<R> {
    pub(crate) fn new(reader: R, most: usize) -> Self {
        Self { reader, left: most }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.left = self.left.checked_sub(read).ok_or(ErrorKind::FileTooLarge)?;
        Ok(read)
    }
}

/// The characters of UTF-8, to the first thing that is wrong.
pub(super) struct Characters<R> {
    reader: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    longest: usize,
    shared: Rc<Shared>,
}

impl<R: Read> Characters<R> {
    /// At most `longest` characters between two events.
    pub(super) fn new(reader: R, longest: usize) -> (Self, Rc<Shared>) {
        let shared = Rc::new(Shared::default());
        let buffer = vec![0; BUFFER].into_boxed_slice();
        (Self { reader, buffer, start: 0, end: 0, longest, shared: Rc::clone(&shared) }, shared)
    }

    fn byte(&mut self) -> Option<u8> {
        if self.start == self.end {
            self.refill()?;
        }
        let byte = *self.buffer.get(self.start)?;
        self.start += 1;
        Some(byte)
    }

    #[cold]
    fn refill(&mut self) -> Option<()> {
        let read = loop {
            match self.reader.read(&mut self.buffer) {
                Ok(read) => break read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::FileTooLarge => return self.stop(Stop::TooLarge),
                Err(_) => return self.stop(Stop::Interrupted),
            }
        };
        (self.start, self.end) = (0, read);
        (read > 0).then_some(())
    }

    fn stop<T>(&self, reason: Stop) -> Option<T> {
        self.shared.stop.set(Some(reason));
        None
    }

    /// The character that begins with a byte above ASCII.
    #[cold]
    fn multibyte(&mut self, first: u8) -> Option<char> {
        let length = match first {
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            _ => 4,
        };
        let mut bytes = [first, 0, 0, 0];
        for byte in bytes.iter_mut().take(length).skip(1) {
            let Some(next) = self.byte() else { return self.stop(self.shared.stop().unwrap_or(Stop::NotText)) };
            *byte = next;
        }
        let text = bytes.get(..length).and_then(|bytes| str::from_utf8(bytes).ok());
        match text.and_then(|text| text.chars().next()) {
            Some(character) => Some(character),
            None => self.stop(Stop::NotText),
        }
    }
}

impl<R: Read> Iterator for Characters<R> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        // The parser asks on after the end.
        if self.shared.stop.get().is_some() {
            return None;
        }
        let since = self.shared.since.get() + 1;
        if since > self.longest {
            return self.stop(Stop::TooLong);
        }
        self.shared.since.set(since);
        match self.byte()? {
            // The parser takes a NUL for the end.
            0..=8 | 11 | 12 | 14..=31 | 127 => self.stop(Stop::NotText),
            byte @ 9..=126 => Some(char::from(byte)),
            first => self.multibyte(first),
        }
    }
}
