//! The header of a file: for each recipient the key of the file, encrypted for it.

use std::io::{self, BufRead, Read as _, Write};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
    hmac::{self, HMAC_SHA256},
};
use x25519_dalek::{PublicKey, StaticSecret};

use super::{Identity, Recipient};

const VERSION: &str = "age-encryption.org/v1";
const STANZA: &str = "-> ";
const END: &str = "---";
const X25519: &str = "X25519";
const LABEL: &[u8] = b"age-encryption.org/v1/X25519";
/// Letters of a full line of the body of a stanza; a shorter one ends it.
const COLUMNS: usize = 64;
/// Most bytes of a header that is read.
const MOST_BYTES: u64 = 64 * 1024;

/// The key of one file.
pub(super) type FileKey = [u8; 16];

/// Why something could not be decrypted.
#[derive(Debug, thiserror::Error)]
pub enum AgeError {
    /// It is no file of age.
    #[error("is not encrypted by age, or its beginning is damaged")]
    Malformed,
    /// It is encrypted for others.
    #[error("is encrypted for other keys; name the private key of one of its recipients")]
    OtherRecipients,
    /// Its header was changed.
    #[error("has a header that was changed after it was encrypted")]
    Changed,
    /// It could not be read or written.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// 32 bytes out of a secret.
pub(super) fn derived(secret: &[u8], salt: &[u8], label: &[u8]) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    let extracted = Salt::new(HKDF_SHA256, salt).extract(secret);
    extracted.expand(&[label], HKDF_SHA256).ok()?.fill(&mut key).ok()?;
    Some(key)
}

pub(super) fn cipher(key: &[u8; 32]) -> Option<LessSafeKey> {
    UnboundKey::new(&CHACHA20_POLY1305, key).ok().map(LessSafeKey::new)
}

/// The key that wraps the key of the file for `recipient`; none if the two make a key that others know as well.
fn wrapping_key(
    secret: &StaticSecret,
    other: &PublicKey,
    share: &PublicKey,
    recipient: &PublicKey,
) -> Option<LessSafeKey> {
    let shared = secret.diffie_hellman(other);
    let salt = [*share.as_bytes(), *recipient.as_bytes()].concat();
    let is_safe = shared.was_contributory();
    derived(shared.as_bytes(), &salt, LABEL).filter(|_| is_safe).and_then(|key| cipher(&key))
}

/// Each wrapping key is used once, so its nonce may always be the same.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn wrapped(key: &FileKey, recipient: &Recipient) -> Option<String> {
    let secret = StaticSecret::from(rand::random::<[u8; 32]>());
    let share = PublicKey::from(&secret);
    let wrapping = wrapping_key(&secret, &recipient.0, &share, &recipient.0)?;
    let mut body = key.to_vec();
    wrapping.seal_in_place_append_tag(nonce(), Aad::empty(), &mut body).ok()?;
    let [share, body] = [&share.as_bytes()[..], &body].map(|bytes| STANDARD_NO_PAD.encode(bytes));
    Some(format!("{STANZA}{X25519} {share}\n{body}\n"))
}

fn unwrapped(stanza: &Stanza, identity: &Identity) -> Option<FileKey> {
    let share = PublicKey::from(stanza.share?);
    let wrapping = wrapping_key(&identity.0, &share, &share, &identity.recipient().0)?;
    let mut body = stanza.body.clone();
    wrapping.open_in_place(nonce(), Aad::empty(), &mut body).ok().and_then(|key| FileKey::try_from(&*key).ok())
}

fn mac_key(key: &FileKey) -> Option<hmac::Key> {
    derived(key, &[], b"header").map(|key| hmac::Key::new(HMAC_SHA256, &key))
}

/// Writes the header of a file that `recipients` can decrypt.
pub(super) fn write(key: &FileKey, recipients: &[Recipient], sink: &mut impl Write) -> io::Result<()> {
    let stanzas: Option<String> = recipients.iter().map(|recipient| wrapped(key, recipient)).collect();
    let unusable = || io::Error::new(io::ErrorKind::InvalidInput, "a recipient is no public key that can be used");
    let header = format!("{VERSION}\n{}{END}", stanzas.ok_or_else(unusable)?);
    let mac = hmac::sign(&mac_key(key).ok_or_else(unusable)?, header.as_bytes());
    sink.write_all(format!("{header} {}\n", STANDARD_NO_PAD.encode(mac)).as_bytes())
}

/// The key of a file for one recipient, encrypted.
struct Stanza {
    /// None if it is of another kind.
    share: Option<[u8; 32]>,
    body: Vec<u8>,
}

/// Reads the header of a file, and finds its key with one of `identities`.
pub(super) fn read(source: &mut impl BufRead, identities: &[Identity]) -> Result<FileKey, AgeError> {
    let mut lines = Lines { source: source.take(MOST_BYTES), read: Vec::new() };
    if lines.next()? != VERSION {
        return Err(AgeError::Malformed);
    }
    let mut stanzas = Vec::new();
    let mac = loop {
        let line = lines.next()?;
        if let Some(arguments) = line.strip_prefix(STANZA) {
            stanzas.push(stanza(arguments, &mut lines)?);
        } else {
            let mac = line.strip_prefix(END).and_then(|rest| rest.strip_prefix(' '));
            break STANDARD_NO_PAD.decode(mac.ok_or(AgeError::Malformed)?).map_err(|_| AgeError::Malformed)?;
        }
    };
    let mut pairs = stanzas.iter().flat_map(|stanza| identities.iter().map(move |identity| (stanza, identity)));
    let key = pairs.find_map(|(stanza, identity)| unwrapped(stanza, identity)).ok_or(AgeError::OtherRecipients)?;
    // All that was read up to the end, without the code of authentication itself.
    let signed = lines.read.len() - (mac.len() * 4).div_ceil(3) - " \n".len();
    let signed = lines.read.get(..signed).ok_or(AgeError::Malformed)?;
    let mac_key = mac_key(&key).ok_or(AgeError::Malformed)?;
    hmac::verify(&mac_key, signed, &mac).map_err(|_| AgeError::Changed)?;
    Ok(key)
}

fn stanza<R: BufRead>(arguments: &str, lines: &mut Lines<R>) -> Result<Stanza, AgeError> {
    let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
    let mut body = String::new();
    loop {
        let line = lines.next()?;
        body.push_str(&line);
        match line.len() {
            COLUMNS => (),
            length if length < COLUMNS => break,
            _ => return Err(AgeError::Malformed),
        }
    }
    let body = STANDARD_NO_PAD.decode(body).map_err(|_| AgeError::Malformed)?;
    let share = match arguments.as_slice() {
        [kind, share] if kind == X25519 && body.len() == 32 => {
            let share = STANDARD_NO_PAD.decode(share).map_err(|_| AgeError::Malformed)?;
            Some(share.try_into().map_err(|_| AgeError::Malformed)?)
        }
        [kind, ..] if kind == X25519 => return Err(AgeError::Malformed),
        _ => None,
    };
    Ok(Stanza { share, body })
}

struct Lines<R> {
    source: io::Take<R>,
    read: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// The next line, without its end.
    fn next(&mut self) -> Result<String, AgeError> {
        let start = self.read.len();
        self.source.read_until(b'\n', &mut self.read)?;
        let line = self.read.get(start..).and_then(|line| line.strip_suffix(b"\n")).ok_or(AgeError::Malformed)?;
        str::from_utf8(line).map(str::to_owned).map_err(|_| AgeError::Malformed)
    }
}
