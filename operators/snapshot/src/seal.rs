//! What is stored of a snapshot: compressed by zstd, padded to a length that may be uploaded, then encrypted for the recipients.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Write},
    path::Path,
};

use drover_backups::{Content, FailureCause, upload};
use drover_fetch::Digester;

use crate::{
    SnapshotError,
    age::{Encryptor, Recipient, decrypted, encrypted},
};

/// As the program zstd compresses by default.
const LEVEL: i32 = 3;
/// Bytes that are read at once.
const PIECE: usize = 1 << 20;
/// A frame that decoders of zstd skip: its mark, and the length of what it holds.
const SKIPPED: [u8; 4] = 0x184D_2A50_u32.to_le_bytes();
const SKIPPED_HEADER: u64 = 8;

/// Counts and digests what is written.
struct Measured<W> {
    sink: W,
    digester: Digester,
    bytes: u64,
}

impl<W: Write> Measured<W> {
    fn new(sink: W) -> Self {
        Self { sink, digester: Digester::default(), bytes: 0 }
    }
}

impl<W: Write> Write for Measured<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.sink.write(bytes)?;
        self.digester.update(bytes.get(..written).unwrap_or(bytes));
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// Encrypts, or does not.
enum Sealer<W: Write> {
    Plain(W),
    Age(Box<Encryptor<W>>),
}

impl<W: Write> Sealer<W> {
    fn new(recipients: &[Recipient], sink: W) -> io::Result<Self> {
        if recipients.is_empty() {
            Ok(Self::Plain(sink))
        } else {
            Encryptor::new(recipients, sink).map(Box::new).map(Self::Age)
        }
    }

    fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(mut sink) => sink.flush().map(|()| sink),
            Self::Age(encryptor) => encryptor.finish(),
        }
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(sink) => sink.write(bytes),
            Self::Age(encryptor) => encryptor.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(sink) => sink.flush(),
            Self::Age(encryptor) => encryptor.flush(),
        }
    }
}

/// How long something is once it is sealed.
#[derive(Clone, Copy)]
enum Form {
    Plain,
    /// Encrypted, after so many bytes of header and salt.
    Age(u64),
}

impl Form {
    fn of(recipients: &[Recipient]) -> io::Result<Self> {
        if recipients.is_empty() {
            return Ok(Self::Plain);
        }
        let mut counted = Measured::new(io::sink());
        // Every header for as many recipients is as long.
        Encryptor::new(recipients, &mut counted)?;
        Ok(Self::Age(counted.bytes))
    }

    fn sealed(self, plain: u64) -> u64 {
        match self {
            Self::Plain => plain,
            Self::Age(header) => header + encrypted(plain),
        }
    }

    /// The reverse; none if nothing has this length once it is sealed.
    fn plain(self, sealed: u64) -> Option<u64> {
        match self {
            Self::Plain => Some(sealed),
            Self::Age(header) => sealed.checked_sub(header).and_then(decrypted),
        }
    }

    /// Bytes of a frame that is skipped, to be added to `plain` bytes so that what is stored fits; 0: none is. `fits` says the next
    /// length that does.
    fn padding(self, plain: u64, fits: impl Fn(u64) -> Option<u64>) -> Option<u64> {
        let mut target = fits(self.sealed(plain))?;
        loop {
            let pad = self.plain(target).and_then(|most| most.checked_sub(plain));
            if let Some(pad) = pad.filter(|pad| *pad == 0 || *pad >= SKIPPED_HEADER) {
                return Some(pad);
            }
            target = fits(target + 1)?;
        }
    }
}

fn write_padding(sink: &mut impl Write, bytes: u64) -> io::Result<()> {
    let Some(held) = bytes.checked_sub(SKIPPED_HEADER) else { return Ok(()) };
    let length = u32::try_from(held).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    sink.write_all(&SKIPPED)?;
    sink.write_all(&length.to_le_bytes())?;
    io::copy(&mut io::repeat(0).take(held), sink).map(drop)
}

/// Seals the snapshot in `from` into `to`, a new file, and says what is in that.
pub(crate) fn seal(from: &Path, to: &Path, recipients: &[Recipient]) -> Result<Content, SnapshotError> {
    let failed = |error: io::Error| SnapshotError::storage("the snapshot cannot be compressed and encrypted", &error);
    let mut source = File::open(from).map_err(failed)?;
    let sink = Measured::new(BufWriter::with_capacity(PIECE, File::create_new(to).map_err(failed)?));
    let sealing = Sealer::new(recipients, sink).map_err(failed)?;
    let mut encoder = zstd::Encoder::new(Measured::new(sealing), LEVEL).map_err(failed)?;
    encoder.include_checksum(true).map_err(failed)?;
    let mut piece = vec![0; PIECE];
    loop {
        let read = source.read(&mut piece).map_err(failed)?;
        if read == 0 {
            break;
        }
        encoder.write_all(piece.get(..read).unwrap_or_default()).map_err(failed)?;
    }
    let mut compressed = encoder.finish().map_err(failed)?;
    let pad = Form::of(recipients).map_err(failed)?.padding(compressed.bytes, upload::padded);
    let pad = pad.ok_or_else(|| too_large("the snapshot", upload::MOST_BYTES))?;
    write_padding(&mut compressed, pad).map_err(failed)?;
    let mut written = compressed.sink.finish().map_err(failed)?;
    written.flush().map_err(failed)?;
    Ok(Content { bytes: written.bytes, sha256: written.digester.finish() })
}

/// Seals `tar`, an archive that may have zeros at its end, to one of `lengths`.
pub(crate) fn seal_config(
    mut tar: Vec<u8>,
    recipients: &[Recipient],
    lengths: &[u64],
) -> Result<Vec<u8>, SnapshotError> {
    let failed = |error: io::Error| SnapshotError::storage("the configuration cannot be encrypted", &error);
    let fits = |bytes: u64| lengths.iter().copied().find(|length| *length >= bytes);
    let most = lengths.iter().max().copied().unwrap_or_default();
    let form = Form::of(recipients).map_err(failed)?;
    let pad = form.padding(tar.len() as u64, fits).ok_or_else(|| too_large("the configuration", most))?;
    io::copy(&mut io::repeat(0).take(pad), &mut tar).map_err(failed)?;
    let mut encryptor = Encryptor::new(recipients, Vec::new()).map_err(failed)?;
    encryptor.write_all(&tar).map_err(failed)?;
    encryptor.finish().map_err(failed)
}

fn too_large(what: &str, most: u64) -> SnapshotError {
    let message = format!("{what} is too large to be stored: {} MiB at most, compressed and encrypted", most >> 20);
    SnapshotError::new(FailureCause::TooLarge, message)
}

#[cfg(test)]
mod tests;
