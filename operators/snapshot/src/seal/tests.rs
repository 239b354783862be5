use std::fs;

use super::*;
use crate::{
    age::{Decryptor, Identity},
    spool::tests::snapshot,
};

fn identity() -> Identity {
    "AGE-SECRET-KEY-180L6AAUR4A56N6FXV4SMCE6TCVH9G4PA5E3A6NLQFU2KUJ970KWQLZPMRN".parse().unwrap()
}

#[test]
fn what_is_sealed_can_be_uploaded_and_expands_to_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let plain = snapshot(3_000);
    let from = folder.path().join("from");
    fs::write(&from, &plain).unwrap();
    for recipients in [vec![], vec![identity().recipient()], vec![identity().recipient(); 3]] {
        let to = folder.path().join(format!("to-{}", recipients.len()));
        let content = seal(&from, &to, &recipients).unwrap();
        let stored = fs::read(&to).unwrap();
        assert_eq!(content, Content { bytes: stored.len() as u64, sha256: drover_fetch::Digest::of(&stored) });
        assert_eq!(upload::padded(content.bytes), Some(content.bytes), "{} recipients", recipients.len());
        let compressed = if recipients.is_empty() {
            stored
        } else {
            let mut compressed = Vec::new();
            Decryptor::new(&[identity()], &*stored).unwrap().read_to_end(&mut compressed).unwrap();
            compressed
        };
        assert_eq!(zstd::decode_all(&*compressed).unwrap(), plain);
        assert!(seal(&from, &to, &recipients).is_err(), "nothing is overwritten");
    }
}

#[test]
fn padding_fits_to_the_byte_or_to_the_next_length() {
    // Lengths near the ends of chunks, where not every one can be had, and near the end of a frame that is too short.
    for form in [Form::Plain, Form::Age(200)] {
        for goal in 1_000_000..1_000_040 {
            let fits = |bytes| [goal, goal + 100].into_iter().find(|length| *length >= bytes);
            for less in 0..60 {
                let plain = goal - 600 - less * 16;
                let pad = form.padding(plain, fits).unwrap();
                assert!(pad == 0 || pad >= SKIPPED_HEADER);
                assert!([goal, goal + 100].contains(&form.sealed(plain + pad)), "{plain} + {pad}");
            }
        }
    }
    assert_eq!(Form::Plain.padding(11, |bytes| (bytes <= 10).then_some(10)), None);
    assert_eq!(Form::Plain.padding(10, |bytes| (bytes <= 10).then_some(10)), Some(0));
    assert_eq!(Form::Plain.padding(5, |bytes| (bytes <= 10).then_some(10)), None, "no frame has 5 bytes");
    let mut frame = Vec::new();
    write_padding(&mut frame, 0).unwrap();
    assert!(frame.is_empty());
    write_padding(&mut frame, 8).unwrap();
    assert_eq!(frame, [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]);
}

#[test]
fn the_configuration_gets_the_next_length() {
    for (bytes, expected) in [(10, 65_536), (60_000, 65_536), (65_536, 262_144)] {
        let sealed = seal_config(vec![b'x'; bytes], &[identity().recipient()], &upload::CONFIG_LENGTHS).unwrap();
        assert_eq!(sealed.len(), expected);
        let mut plain = Vec::new();
        Decryptor::new(&[identity()], &*sealed).unwrap().read_to_end(&mut plain).unwrap();
        assert!(plain.starts_with(&vec![b'x'; bytes]) && plain[bytes..].iter().all(|byte| *byte == 0));
    }
    let error = seal_config(vec![0; 5 << 20], &[identity().recipient()], &upload::CONFIG_LENGTHS).unwrap_err();
    assert_eq!(error.cause, FailureCause::TooLarge);
}
