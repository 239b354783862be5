//! Packed charts on disk, by digest. All of it may be lost at any time: what is not there is fetched again.

use std::{
    collections::BTreeMap,
    fs::{self, File, FileTimes},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use bytes::Bytes;

use crate::{
    draft::{Draft, private_folder},
    limits::MIB,
};
use drover_fetch::Digest;

/// Most bytes of a cached chart that is read back.
const CHART_BYTES: u64 = 64 * MIB as u64;
/// How names of cached charts end.
const ENDING: &str = ".tgz";

/// A folder of packed charts. The one that was not used for longest goes first. Its functions block.
#[derive(Debug)]
pub struct ChartCache {
    folder: PathBuf,
    most_bytes: u64,
    /// One at a time makes room.
    eviction: Mutex<()>,
}

impl ChartCache {
    /// In `folder`, which is made private if it is not there, with at most `most_bytes` (of at least one file: the newest stays).
    pub fn open(folder: &Path, most_bytes: u64) -> io::Result<Self> {
        private_folder(folder)?;
        Draft::remove_all(folder)?;
        let cache = Self { folder: folder.to_owned(), most_bytes, eviction: Mutex::new(()) };
        cache.make_room()?;
        Ok(cache)
    }

    /// The packed chart with this digest. A file that has another one is removed.
    #[must_use]
    pub fn get(&self, digest: Digest) -> Option<Bytes> {
        let path = self.path(digest);
        let file = File::open(&path).ok()?;
        let mut bytes = Vec::new();
        (&file).take(CHART_BYTES).read_to_end(&mut bytes).ok()?;
        if Digest::of(&bytes) != digest {
            let _ = fs::remove_file(&path);
            return None;
        }
        mark_used(&file);
        Some(bytes.into())
    }

    /// Keeps a packed chart.
    pub fn put(&self, packed: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(packed);
        let mut draft = Draft::create(&self.folder)?;
        draft.file.write_all(packed)?;
        mark_used(&draft.file);
        draft.publish(&self.path(digest))?;
        self.make_room()?;
        Ok(digest)
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(format!("{}{ENDING}", digest.hex()))
    }

    fn make_room(&self) -> io::Result<()> {
        let _one_at_a_time = self.eviction.lock().unwrap_or_else(PoisonError::into_inner);
        make_room(&self.folder, ENDING, self.most_bytes)
    }
}

/// What stands between the holder of a file and the rest of its name; files of nobody in particular have none.
pub(crate) const HOLDER_ENDS: char = '-';

/// Removes files whose names end so until the others have at most `most_bytes` together, or only the newest is left.
pub(crate) fn make_room(folder: &Path, ending: &str, most_bytes: u64) -> io::Result<()> {
    superfluous(cached(folder, ending)?, most_bytes).iter().try_for_each(|each| fs::remove_file(&each.path))
}

/// The files that go, so that the others have at most `most_bytes`. The holder of most loses first what was not used for longest: nobody
/// pushes out what others hold within their share. The newest of all stays.
fn superfluous(mut all: Vec<Cached>, most_bytes: u64) -> Vec<Cached> {
    all.sort_by_key(|each| std::cmp::Reverse(each.used));
    let mut held = BTreeMap::<String, u64>::new();
    for each in &all {
        let bytes = held.entry(each.holder.clone()).or_default();
        *bytes = bytes.saturating_add(each.bytes);
    }
    let mut sum = held.values().fold(0, |sum: u64, bytes| sum.saturating_add(*bytes));
    let mut gone = Vec::new();
    while sum > most_bytes {
        let share = |each: &Cached| held.get(&each.holder).copied().unwrap_or_default();
        // Of equal ones the last, which was not used for longest.
        let Some((at, _)) = all.iter().enumerate().skip(1).max_by_key(|(_, each)| share(each)) else { break };
        let each = all.remove(at);
        sum = sum.saturating_sub(each.bytes);
        held.entry(each.holder.clone()).and_modify(|bytes| *bytes = bytes.saturating_sub(each.bytes));
        gone.push(each);
    }
    gone
}

fn cached(folder: &Path, ending: &str) -> io::Result<Vec<Cached>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(ending) {
            continue;
        }
        let holder = name.split_once(HOLDER_ENDS).map(|(holder, _)| holder.to_owned()).unwrap_or_default();
        // It may have gone meanwhile.
        let Ok(metadata) = entry.metadata() else { continue };
        found.push(Cached { holder, path: entry.path(), bytes: metadata.len(), used: metadata.modified()? });
    }
    Ok(found)
}

struct Cached {
    /// Who holds it; empty for nobody in particular.
    holder: String,
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

#[expect(
    clippy::disallowed_methods,
    reason = "files are ordered by the clock of this machine, which nothing decides by"
)]
fn mark_used(file: &File) {
    // If it fails, the chart only goes earlier.
    let _ = file.set_times(FileTimes::new().set_modified(SystemTime::now()));
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, time::Duration};

    use super::*;

    fn files(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    /// As if it was used last at this second.
    fn used_at(cache: &ChartCache, digest: Digest, second: u64) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        File::open(cache.path(digest)).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
    }

    #[test]
    fn what_is_kept_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("charts");
        let digest = ChartCache::open(&inside, 100).unwrap().put(b"abc").unwrap();
        assert_eq!(digest, Digest::of(b"abc"));
        let again = ChartCache::open(&inside, 100).unwrap();
        assert_eq!(again.get(digest).unwrap(), "abc");
        assert_eq!(again.get(Digest::of(b"other")), None);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&inside), mode(&again.path(digest))), (0o700, 0o600));
    }

    #[test]
    fn a_file_with_other_bytes_is_no_chart() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ChartCache::open(folder.path(), 100).unwrap();
        let digest = cache.put(b"abc").unwrap();
        for other in [&b"abd"[..], b"ab", b""] {
            fs::write(cache.path(digest), other).unwrap();
            assert_eq!(cache.get(digest), None);
            assert_eq!(files(folder.path()), 0, "it is removed");
        }
        cache.put(b"abc").unwrap();
        assert_eq!(cache.get(digest).unwrap(), "abc");
    }

    #[test]
    fn the_chart_that_was_not_used_for_longest_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ChartCache::open(folder.path(), 10).unwrap();
        let (a, b) = (cache.put(b"aaaa").unwrap(), cache.put(b"bbbb").unwrap());
        used_at(&cache, a, 1);
        used_at(&cache, b, 2);
        assert!(cache.get(a).is_some(), "it is used now");
        let c = cache.put(b"cccc").unwrap();
        assert_eq!([a, b, c].map(|digest| cache.get(digest).is_some()), [true, false, true]);
        assert_eq!(files(folder.path()), 2);
        let large = cache.put(&[b'x'; 20]).unwrap();
        assert!(cache.get(large).is_some(), "the newest stays");
        assert_eq!(files(folder.path()), 1);
    }

    /// The files that stay, of those with these holders and sizes, the oldest first.
    fn stay(files: &[(&str, u64)], most_bytes: u64) -> Vec<usize> {
        let file = |(number, (holder, bytes)): (u64, &(&str, u64))| Cached {
            holder: (*holder).to_owned(),
            path: number.to_string().into(),
            bytes: *bytes,
            used: SystemTime::UNIX_EPOCH + Duration::from_secs(number),
        };
        let gone = superfluous((0..).zip(files).map(file).collect(), most_bytes);
        let is_gone = |number: &usize| gone.iter().any(|each| each.path == Path::new(&number.to_string()));
        (0..files.len()).filter(|number| !is_gone(number)).collect()
    }

    #[test]
    fn nobody_pushes_out_what_others_hold_within_their_share() {
        // The team of one small file stays, however many the other one reads after it.
        assert_eq!(stay(&[("b", 20), ("a", 64), ("a", 64), ("a", 64), ("a", 64)], 256), [0, 2, 3, 4]);
        // Who comes last takes of those who have more, and they of themselves.
        assert_eq!(stay(&[("a", 64), ("a", 64), ("a", 64), ("a", 64), ("b", 64)], 256), [1, 2, 3, 4]);
        assert_eq!(
            stay(&[("a", 64), ("b", 64), ("c", 64), ("d", 64), ("e", 64)], 256),
            [1, 2, 3, 4],
            "equal ones by age"
        );
        assert_eq!(stay(&[("a", 5), ("b", 5), ("a", 300)], 256), [2], "the newest stays, whatever it takes");
        assert_eq!(stay(&[("a", 5), ("b", 5)], 10), [0, 1]);
        assert_eq!(stay(&[], 0), Vec::<usize>::new());
    }

    #[test]
    fn a_crash_leaves_nothing_that_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ChartCache::open(folder.path(), 10).unwrap();
        let mut draft = Draft::create(folder.path()).unwrap();
        draft.file.write_all(b"ab").unwrap();
        std::mem::forget(draft);
        assert_eq!(files(folder.path()), 1);
        assert_eq!(cache.get(Digest::of(b"ab")), None);
        drop(ChartCache::open(folder.path(), 10).unwrap());
        assert_eq!(files(folder.path()), 0);
    }

    #[test]
    fn a_smaller_cache_makes_room_when_it_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ChartCache::open(folder.path(), 100).unwrap();
        let digests = [b"aaaa", b"bbbb", b"cccc"].map(|bytes| cache.put(bytes).unwrap());
        digests.iter().zip(1..).for_each(|(digest, second)| used_at(&cache, *digest, second));
        let smaller = ChartCache::open(folder.path(), 8).unwrap();
        assert_eq!(digests.map(|digest| smaller.get(digest).is_some()), [false, true, true]);
    }
}
