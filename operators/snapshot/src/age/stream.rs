//! What follows the header: the data in chunks, each encrypted and authenticated by itself, the last one marked.

use std::io::{self, BufRead, Read, Write};

use ring::aead::{Aad, LessSafeKey, Nonce};

use super::{
    AgeError, Identity, Recipient,
    header::{self, FileKey},
};

/// Bytes of a chunk; only the last one may have less.
const CHUNK: usize = 64 * 1024;
/// Bytes by which a chunk grows.
const TAG: usize = 16;
const SALT: usize = 16;

/// Bytes that `plain` bytes have after the header, without the salt.
pub(crate) fn encrypted(plain: u64) -> u64 {
    let chunks = plain.div_ceil(CHUNK as u64).max(1);
    plain + chunks * TAG as u64
}

/// The bytes that have so many after the header, without the salt; none if no number of bytes has.
pub(crate) fn decrypted(bytes: u64) -> Option<u64> {
    let chunks = bytes.div_ceil((CHUNK + TAG) as u64);
    let plain = bytes.checked_sub(chunks * TAG as u64)?;
    (encrypted(plain) == bytes).then_some(plain)
}

fn failed(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Key and place in the stream of chunks.
struct Stream {
    key: LessSafeKey,
    chunks: u64,
}

impl Stream {
    fn new(key: &FileKey, salt: &[u8; SALT]) -> Option<Self> {
        let key = header::cipher(&header::derived(key, salt, b"payload")?)?;
        Some(Self { key, chunks: 0 })
    }

    /// A nonce that no other chunk of the file has.
    fn nonce(&mut self, is_last: bool) -> Nonce {
        let mut nonce = [0; 12];
        nonce.iter_mut().skip(3).zip(self.chunks.to_be_bytes()).for_each(|(to, from)| *to = from);
        nonce[11] = u8::from(is_last);
        self.chunks += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Encrypts what is written into it. Without [`Encryptor::finish`] nothing of it can be decrypted to its end.
pub struct Encryptor<W> {
    sink: W,
    stream: Stream,
    chunk: Vec<u8>,
}

impl<W: Write> Encryptor<W> {
    /// Writes the header.
    pub fn new(recipients: &[Recipient], mut sink: W) -> io::Result<Self> {
        let (key, salt): (FileKey, [u8; SALT]) = (rand::random(), rand::random());
        header::write(&key, recipients, &mut sink)?;
        sink.write_all(&salt)?;
        let stream = Stream::new(&key, &salt).ok_or_else(|| failed("the key cannot be used"))?;
        Ok(Self { sink, stream, chunk: Vec::with_capacity(CHUNK + TAG) })
    }

    fn seal(&mut self, is_last: bool) -> io::Result<()> {
        let nonce = self.stream.nonce(is_last);
        let sealed = self.stream.key.seal_in_place_append_tag(nonce, Aad::empty(), &mut self.chunk);
        sealed.map_err(|_| failed("a chunk cannot be encrypted"))?;
        self.sink.write_all(&self.chunk)?;
        self.chunk.clear();
        Ok(())
    }

    /// Writes the last chunk.
    pub fn finish(mut self) -> io::Result<W> {
        self.seal(true)?;
        self.sink.flush()?;
        Ok(self.sink)
    }
}

impl<W: Write> Write for Encryptor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk may be the last one, so it waits for what comes.
        if self.chunk.len() == CHUNK && !bytes.is_empty() {
            self.seal(false)?;
        }
        let taken = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// Decrypts what is read from it. Data that was changed or cut is an error, but chunks before it have been read by then.
pub struct Decryptor<R> {
    source: R,
    stream: Stream,
    chunk: Vec<u8>,
    read: usize,
    is_over: bool,
}

impl<R: BufRead> Decryptor<R> {
    /// Reads the header.
    pub fn new(identities: &[Identity], mut source: R) -> Result<Self, AgeError> {
        let key = header::read(&mut source, identities)?;
        let mut salt = [0; SALT];
        source.read_exact(&mut salt).map_err(|_| AgeError::Malformed)?;
        let stream = Stream::new(&key, &salt).ok_or(AgeError::Malformed)?;
        Ok(Self { source, stream, chunk: Vec::with_capacity(CHUNK + TAG), read: 0, is_over: false })
    }

    fn open(&mut self) -> io::Result<()> {
        let is_first = self.stream.chunks == 0;
        self.chunk.clear();
        self.read = 0;
        self.source.by_ref().take((CHUNK + TAG) as u64).read_to_end(&mut self.chunk)?;
        let is_last = self.source.fill_buf()?.is_empty();
        let nonce = self.stream.nonce(is_last);
        let opened = self.stream.key.open_in_place(nonce, Aad::empty(), &mut self.chunk);
        let length = opened.map_err(|_| failed("the data was changed or cut after it was encrypted"))?.len();
        if length == 0 && !is_first {
            return Err(failed("the data has an empty chunk at its end"));
        }
        self.chunk.truncate(length);
        self.is_over = is_last;
        Ok(())
    }
}

impl<R: BufRead> Read for Decryptor<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.read == self.chunk.len() {
            if self.is_over {
                return Ok(0);
            }
            self.open()?;
        }
        let mut rest = self.chunk.get(self.read..).unwrap_or_default();
        let taken = rest.read(bytes)?;
        self.read += taken;
        Ok(taken)
    }
}
