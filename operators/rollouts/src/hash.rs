//! Hashes that are the same in every process and every version.

use std::fmt::Write as _;

use ring::digest::{SHA256, digest};

/// How many letters and digits of a digest are part of a name: 48 bits, so that a fleet of 5,000 has two equal ones in one of ten million
/// cases.
const NAME_DIGITS: usize = 12;

/// The same of the name of a revision: 128 bits, as whoever writes apps may look for two contents of one name.
const CONTENT_DIGITS: usize = 32;

/// The first letters and digits of the SHA-256 of texts.
pub(crate) fn short<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    digits(texts, NAME_DIGITS)
}

/// The same for a content, in a text that nobody finds another one for.
pub(crate) fn long(text: &str) -> String {
    digits([text], CONTENT_DIGITS)
}

/// Each text goes in with its length, so that no two lists of texts look alike.
fn digits<'a>(texts: impl IntoIterator<Item = &'a str>, count: usize) -> String {
    let mut all = String::new();
    for text in texts {
        // Writing to a text never fails.
        let _ = write!(all, "{}:{text}", text.len());
    }
    let mut digits = String::with_capacity(count);
    for byte in digest(&SHA256, all.as_bytes()).as_ref().iter().take(count / 2) {
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// Where a cluster stands among those of its stage: by chance, but always the same. FNV-1a, which costs nothing for 5,000 of them.
pub(crate) fn place(app: &str, cluster: &str) -> u64 {
    let bytes = app.bytes().chain([0]).chain(cluster.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
