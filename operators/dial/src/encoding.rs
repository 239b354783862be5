//! The text in the bytes of a kubeconfig. Pure.

use std::borrow::Cow;

/// The text in `bytes`, as kubectl reads files: UTF-8, or after a byte order mark UTF-16, as Windows PowerShell writes it.
#[must_use]
pub fn text(bytes: &[u8]) -> Option<Cow<'_, str>> {
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes).map(Cow::Owned),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes).map(Cow::Owned),
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest),
        _ => utf8(bytes),
    }
}

fn utf8(bytes: &[u8]) -> Option<Cow<'_, str>> {
    std::str::from_utf8(bytes).ok().map(Cow::Borrowed)
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let (units, []) = bytes.as_chunks() else { return None };
    String::from_utf16(&units.iter().copied().map(unit).collect::<Vec<_>>()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_read_in_every_encoding_that_kubectl_reads() {
        for (bytes, expected) in [
            (&b"k: v"[..], Some("k: v")),
            (b"\xef\xbb\xbfk: v", Some("k: v")),
            (b"\xff\xfek\0:\0", Some("k:")),
            (b"\xfe\xff\0k\0:", Some("k:")),
            (b"\xff\xfe\x3d\xd8\x00\xde", Some("\u{1f600}")),
            (b"", Some("")),
            // Cut off, half of a pair, and neither.
            (b"\xff\xfek\0:", None),
            (b"\xff\xfe\x3d\xd8", None),
            (b"\x80", None),
        ] {
            assert_eq!(text(bytes).as_deref(), expected, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes: Vec<u8>) {
            let _ = text(&bytes);
            let _ = text(&[&[0xff, 0xfe], &*bytes].concat());
        }

        #[test]
        fn the_encoding_does_not_change_the_text(original: String) {
            let little = original.encode_utf16().flat_map(u16::to_le_bytes);
            let bytes: Vec<_> = [0xff, 0xfe].into_iter().chain(little).collect();
            let read = text(&bytes);
            prop_assert_eq!(read.as_deref(), Some(original.as_str()));
        }
    }
}
