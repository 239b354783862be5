//! Into which parts a snapshot is cut, and which URLs are presigned for them.
//!
//! A presigned URL signs the length of what is uploaded, so that a node cannot fill a bucket. How long a snapshot is once it is
//! compressed is not known before, so each part has URLs for several lengths, and the Job pads what it uploads to the next sum of
//! lengths that there is: at most 1 MiB more for what has up to 16 MiB, at most 24 MiB more for what is larger than one part. All
//! parts but the last have the same length, as some stores ask for.

/// Bytes of every part but the last, and of the last one at most.
pub const PART_BYTES: u64 = 96 * MIB;
/// Most parts: as many `ETag`s go into a termination message of 4 KiB. That is 10.5 GiB; etcd advises 8 GiB at most.
pub const MOST_PARTS: u16 = 112;
/// Most bytes of one upload.
pub const MOST_BYTES: u64 = PART_BYTES * MOST_PARTS as u64;
/// Lengths of the configuration, in bytes, in ascending order.
pub const CONFIG_LENGTHS: [u64; 4] = [64 * KIB, 256 * KIB, MIB, 4 * MIB];

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// The lengths that a part may have as the last one, in ascending order.
fn last_lengths(number: u16) -> impl Iterator<Item = u64> {
    let fine = (1..=16).map(|count| count * MIB);
    let coarse = (5..=24).map(|count| count * 4 * MIB);
    let of_later = (1..=4).map(|count| count * 24 * MIB);
    let is_first = number == 1;
    fine.chain(coarse).filter(move |_| is_first).chain(of_later.filter(move |_| !is_first))
}

/// All that is to be presigned: the number of a part, and a length in bytes that it may have. Each part has several.
pub fn lengths() -> impl Iterator<Item = (u16, u64)> {
    (1..=MOST_PARTS).flat_map(|number| last_lengths(number).map(move |length| (number, length)))
}

/// The least bytes that can be uploaded as they are, and are at least `bytes`; none if that is too much.
#[must_use]
pub fn padded(bytes: u64) -> Option<u64> {
    let (full, rest) = (bytes / PART_BYTES, bytes % PART_BYTES);
    if rest == 0 && full > 0 {
        return (bytes <= MOST_BYTES).then_some(bytes);
    }
    let number = u16::try_from(full + 1).ok().filter(|number| *number <= MOST_PARTS)?;
    let last = last_lengths(number).find(|length| *length >= rest)?;
    Some(full * PART_BYTES + last)
}

/// The parts of an upload of exactly `bytes`, as number and length; none if it cannot be uploaded as it is.
#[must_use]
pub fn parts(bytes: u64) -> Option<Vec<(u16, u64)>> {
    if padded(bytes) != Some(bytes) {
        return None;
    }
    let mut left = bytes;
    let lengths = std::iter::from_fn(|| {
        let length = left.min(PART_BYTES);
        left -= length;
        (length > 0).then_some(length)
    });
    Some((1..).zip(lengths).collect())
}
