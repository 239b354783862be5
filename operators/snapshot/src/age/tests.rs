use std::io::{Read as _, Write as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;

use super::{AgeError, Decryptor, Encryptor, Identity, KeyError, Recipient, decrypted, encrypted};

/// Made by age-keygen.
const KEY: &str = "AGE-SECRET-KEY-180L6AAUR4A56N6FXV4SMCE6TCVH9G4PA5E3A6NLQFU2KUJ970KWQLZPMRN";
const RECIPIENT: &str = "age1xyhhvc4vp5ff94p52vh4xpyycgzd0fm7v7mh3tjr3lvquvrmsyjs9ej94q";
/// Made by age 1.1.1, for another key and for this one.
const FILE: &str = "YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSBhTTBycFJuRzRTcHIyMGIrT0JNVjhsaTkrcVpEelhYR0FQQmRKenkyclF3CmhsRVZSaGkvck9tczh4OXdWaGVuWUUyYmVha2dSYUNPQXFEdmN3ZkI1Sk0KLT4gWDI1NTE5IGUrUklDa1FiVUdmNk55QTRVWktiWklhMmdzTDFPRU13OFNESXlyZnpPRUkKYWMyaElod1haVTB2S2U1MjhVbzVpUC9kQy9rMTg3QVo0cUxSZjVXRjJOQQotLS0gQjllaDRrSWdNZDlhSXY1Wmc1TkpiOFFnTEJ4U1p4TnJ0bndVUUNXSFJldwp3Kulm4m0gg+TnRfoe+NWFdeANgIFLfeJRPoTN+/rC8IOJ8/e5oqEoCMj02GGp";

fn identity() -> Identity {
    KEY.parse().unwrap()
}

fn other() -> Identity {
    Identity(x25519_dalek::StaticSecret::from([7; 32]))
}

fn sealed(plain: &[u8], recipients: &[Recipient]) -> Vec<u8> {
    let mut encryptor = Encryptor::new(recipients, Vec::new()).unwrap();
    for piece in plain.chunks(10_000) {
        encryptor.write_all(piece).unwrap();
    }
    encryptor.finish().unwrap()
}

fn opened(file: &[u8], identities: &[Identity]) -> Result<Vec<u8>, AgeError> {
    let mut plain = Vec::new();
    Decryptor::new(identities, file)?.read_to_end(&mut plain)?;
    Ok(plain)
}

#[test]
fn what_age_encrypts_is_decrypted() {
    let file = STANDARD.decode(FILE).unwrap();
    assert_eq!(opened(&file, &[other(), identity()]).unwrap(), b"hello, backup\n");
    assert!(matches!(opened(&file, &[other()]), Err(AgeError::OtherRecipients)));
    assert!(matches!(opened(&file, &[]), Err(AgeError::OtherRecipients)));
}

#[test]
fn any_length_comes_back_and_is_as_long_as_was_said() {
    let recipients = [other().recipient(), identity().recipient()];
    let header = sealed(b"", &recipients).len() as u64 - encrypted(0);
    for length in [0, 1, 65_535, 65_536, 65_537, 131_072, 200_000] {
        let plain: Vec<u8> = (0..=250).cycle().take(usize::try_from(length).unwrap()).collect();
        let file = sealed(&plain, &recipients);
        assert_eq!(file.len() as u64, header + encrypted(length), "{length}");
        assert_eq!(decrypted(encrypted(length)), Some(length));
        for identity in [identity(), other()] {
            assert_eq!(opened(&file, &[identity]).unwrap(), plain, "{length}");
        }
    }
    for nothing in [0, 15, 65_552 + 1, 65_552 + 16] {
        assert_eq!(decrypted(nothing), None, "{nothing}");
    }
}

#[test]
fn a_change_or_a_cut_anywhere_is_an_error() {
    let plain = vec![b'x'; 70_000];
    let file = sealed(&plain, &[identity().recipient()]);
    let header = file.len() - 70_000;
    let places = (0..header).chain((header..file.len()).step_by(997)).chain(file.len() - 20..file.len());
    for at in places {
        let mut changed = file.clone();
        changed[at] ^= 1;
        assert!(opened(&changed, &[identity()]).is_err(), "a change at {at}");
        assert!(opened(&file[..at], &[identity()]).is_err(), "a cut at {at}");
    }
    assert!(opened(&[file.clone(), vec![0]].concat(), &[identity()]).is_err(), "a byte more");
    // Whole chunks, in another order or fewer of them.
    let (start, chunk) = (file.len() - 70_000 - 32, 65_552);
    assert!(opened(&file[..start + chunk], &[identity()]).is_err(), "without the last chunk");
    let last_first = [&file[..start], &file[start + chunk..], &file[start..start + chunk]].concat();
    assert!(opened(&last_first, &[identity()]).is_err());
    assert!(opened(&[&file[..start], &file[start + chunk..]].concat(), &[identity()]).is_err());
}

#[test]
fn headers_are_read_strictly_and_other_kinds_of_recipients_are_skipped() {
    let file = sealed(b"x", &[identity().recipient()]);
    let text = String::from_utf8_lossy(&file).into_owned();
    let (first, rest) = text.split_once('\n').unwrap();
    let stanza = rest.split("\n---").next().unwrap();
    let with = |header: String| opened(header.as_bytes(), &[identity()]);
    for (header, why) in [
        (format!("age-encryption.org/v2\n{rest}"), "another version"),
        (format!("{first}\n-> X25519\n\n{rest}"), "no share"),
        (format!("{first}\n-> X25519 AA a\nAA\n{rest}"), "two arguments"),
        (format!("{first}\n{stanza}=\n{rest}"), "padding"),
        (format!("{first}\n-> x\n{}\n{rest}", "A".repeat(65)), "a long line"),
        (format!("{first}\n{}", "-> x\n\n".repeat(20_000)), "without an end"),
        (first.to_owned(), "without a line"),
        (String::new(), "empty"),
    ] {
        assert!(matches!(with(header), Err(AgeError::Malformed)), "{why}");
    }
    // It is signed, so nothing can be added; but it was read.
    let grease = format!("-> grease a b\n{}\n\n{rest}", "A".repeat(64));
    assert!(matches!(with(format!("{first}\n{grease}")), Err(AgeError::Changed)));
}

#[test]
fn a_share_that_gives_everybody_the_same_key_is_refused() {
    let low = Recipient(x25519_dalek::PublicKey::from([0; 32]));
    assert!(Encryptor::new(&[low], Vec::new()).is_err());
}

#[test]
fn keys_are_read_as_they_are_written_and_shown_nowhere() {
    assert_eq!(identity().recipient().to_string(), RECIPIENT);
    assert_eq!(RECIPIENT.parse(), Ok(identity().recipient()));
    assert!(!format!("{:?}", identity()).contains("180L6"));
    let file = format!("# created: 2026\n\n {KEY} \n");
    assert_eq!(Identity::of_file(&file).unwrap()[0].recipient(), identity().recipient());
    for bad in ["", "# only a comment\n", RECIPIENT, &format!("{KEY}\nnonsense")] {
        assert_eq!(Identity::of_file(bad).unwrap_err(), KeyError::Identity, "{bad}");
    }
    let wrong = format!("{}p", &RECIPIENT[..RECIPIENT.len() - 1]);
    for bad in ["", "age1", KEY, &wrong, &RECIPIENT.to_uppercase(), &format!("{RECIPIENT} "), "ssh-ed25519 AAAA"] {
        assert_eq!(bad.parse::<Recipient>(), Err(KeyError::Recipient), "{bad}");
    }
    assert!(KEY.to_lowercase().parse::<Identity>().is_err());
}

proptest! {
    #[test]
    fn anything_can_be_opened_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0..400_usize) {
        prop_assert!(opened(&bytes, &[identity()]).is_err());
        let file = STANDARD.decode(FILE).unwrap();
        let start = &file[..cut.min(file.len() - 1)];
        prop_assert!(opened(&[start, &bytes].concat(), &[identity()]).is_err());
    }
}
