use std::os::unix::fs::PermissionsExt as _;

use drover_backups::FailureCause;
use drover_fetch::Digest;
use proptest::prelude::*;

use super::*;

/// As etcd sends it.
pub(crate) fn snapshot(pages: usize) -> Vec<u8> {
    let body: Vec<u8> =
        (0..=250).cycle().take(pages * 512).enumerate().map(|(at, byte)| byte ^ at.to_le_bytes()[1]).collect();
    let digest = Digest::of(&body).bytes();
    [body, digest.to_vec()].concat()
}

fn checked(pieces: &[&[u8]]) -> Result<Content, SnapshotError> {
    let mut trailer = Trailer::default();
    for piece in pieces {
        trailer.update(piece);
    }
    trailer.finish()
}

#[test]
fn a_snapshot_of_no_data_or_without_its_digest_is_damaged() {
    let all = snapshot(4);
    for bytes in [&all[..0], &all[..32], &all[..512], &all[..4 * 512], &all[512..], &all[..all.len() - 1]] {
        assert_eq!(checked(&[bytes]).unwrap_err().cause, FailureCause::Corrupt, "{} bytes", bytes.len());
    }
}

#[test]
fn a_folder_without_space_is_noticed_before() {
    let parent = tempfile::tempdir().unwrap();
    let spool = Spool::create(parent.path()).unwrap();
    let folder = spool.path("");
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(spool.require(1, "the snapshot"), Ok(()));
    let error = spool.require(u64::MAX, "the snapshot").unwrap_err();
    assert_eq!(error.cause, FailureCause::SpoolFull);
    assert!(error.message.contains("the snapshot needs"), "{error}");
    drop(spool);
    assert!(!folder.exists());
}

proptest! {
    #[test]
    fn b2_a_snapshot_is_taken_whole_or_not_at_all(cuts in prop::collection::vec(0..5_000_usize, 0..6), flip in 0..5_000_usize, bit in 0..8_u8) {
        let all = snapshot(9);
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut % all.len()).collect();
        cuts.sort_unstable();
        let pieces = |all: &[u8]| {
            let ends = cuts.iter().copied().chain([all.len()]);
            let mut start = 0;
            let mut trailer = Trailer::default();
            for end in ends {
                trailer.update(&all[start..end]);
                start = end;
            }
            trailer.finish()
        };
        let expected = Content { bytes: all.len() as u64, sha256: Digest::of(&all) };
        prop_assert_eq!(pieces(&all), Ok(expected));
        let mut changed = all.clone();
        changed[flip % all.len()] ^= 1_u8 << bit;
        prop_assert_eq!(pieces(&changed).unwrap_err().cause, FailureCause::Corrupt);
    }
}
