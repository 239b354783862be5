//! What nodes find, without what may be secret. Pure.
//!
//! What is found are lines of processes, files and messages, quoted by shells and by kube-bench. So it is read word by word, where quotes
//! and written-out line ends part words as blanks do.

const REDACTED: &str = "[redacted]";
/// A run of so many letters and digits may be a key.
const LONG_RUN: usize = 40;
/// Values of what has one of these in its name, without dashes, are secret …
const SECRETS: [&str; 9] =
    ["token", "password", "passwd", "passphrase", "secret", "bearer", "credential", "keydata", "accesskey"];
/// … but not of what ends so: it is a file or a switch.
const HARMLESS: [&str; 12] =
    ["file", "path", "dir", "auth", "webhook", "lookup", "issuer", "expiration", "ttl", "syncs", "version", "name"];

/// A text without what may be secret: values of what is called token, password, key and the like, long keys, passwords in URLs, and PEM.
#[must_use]
pub fn redact(text: &str) -> String {
    let text = without_pem(text);
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (gap, after) = split(rest, run(rest, |rest| separator(rest) > 0));
        let (word, after) = split(after, run(after, |rest| separator(rest) == 0));
        shown.push_str(gap);
        rest = after;
        let Some(name) = first_name(word) else {
            push_word(&mut shown, word);
            continue;
        };
        shown.push_str(name.until);
        if name.value.is_empty() {
            let (connector, after) = split(rest, value_start(rest, &name).unwrap_or_default());
            if !connector.is_empty() || name.is_connected {
                shown.push_str(connector);
                rest = push_value(&mut shown, after, &name);
            }
        } else if is_open(name.value, &name) {
            push_word(&mut shown, name.value);
        } else {
            shown.push_str(REDACTED);
        }
    }
    shown
}

/// A name that says that what follows is secret.
struct Name<'a> {
    /// The word up to its end, with = or : if it has one.
    until: &'a str,
    /// What follows in the word.
    value: &'a str,
    is_connected: bool,
    /// Blanks lead to the value, as in `--token abc`.
    is_flag: bool,
    /// Files are no secrets, as in `--kubelet-client-key=/etc/x`.
    is_key: bool,
}

/// The first secret name in a word, of which there may be more, as in `a=b,token=c`.
fn first_name(word: &str) -> Option<Name<'_>> {
    let mut from = 0;
    for (at, mark) in word.match_indices(['=', ':', ',', ';', '&', '?', '{', '[', '(', '|']) {
        let is_connected = matches!(mark, "=" | ":");
        if is_connected && let Some(found) = name(word, from, at, at + mark.len()) {
            return Some(found);
        }
        from = at + mark.len();
    }
    name(word, from, word.len(), word.len())
}

fn name(word: &str, from: usize, end: usize, value: usize) -> Option<Name<'_>> {
    let raw = word.get(from..end)?;
    // A path is no name; the end of a URL may be one, as in `https://h/token=abc`.
    let raw = if word.get(end..).is_some_and(|rest| rest.starts_with('=')) {
        raw.rsplit(['/', '@']).next().unwrap_or(raw)
    } else {
        raw
    };
    let plain: String = raw.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let is_scheme = matches!(plain.as_str(), "bearer" | "basic");
    let is_key = plain.ends_with("key");
    let is_password = ["pass", "pwd", "basicauth"].iter().any(|end| plain.ends_with(end));
    let is_secret = is_scheme || is_key || is_password || SECRETS.iter().any(|secret| plain.contains(secret));
    if !is_secret || raw.contains('/') || (!is_password && HARMLESS.iter().any(|end| plain.ends_with(end))) {
        return None;
    }
    let (until, value) = split(word, value);
    Some(Name { until, value, is_connected: until.len() > end, is_flag: raw.starts_with('-') || is_scheme, is_key })
}

/// Where the value of a name begins in what comes after its word; none if it has none.
fn value_start(rest: &str, name: &Name<'_>) -> Option<usize> {
    let blanks = |rest: &str| run(rest, |rest| rest.starts_with(char::is_whitespace));
    let closing = if name.is_connected { 0 } else { quote(rest) };
    let (_, after) = split(rest, closing);
    let first = blanks(after);
    let (_, after) = split(after, first);
    if after.starts_with([':', '=']) {
        let (_, value) = split(after, 1);
        return Some(closing + first + 1 + blanks(value));
    }
    let is_near = name.is_connected || (name.is_flag && closing == 0 && !after.starts_with('-'));
    is_near.then_some(closing + first)
}

/// Shows what is in the place of a value, and hands back what follows.
fn push_value<'a>(shown: &mut String, rest: &'a str, name: &Name<'_>) -> &'a str {
    let (open, after) = split(rest, quote(rest));
    let end =
        if open.is_empty() { run(after, |rest| separator(rest) == 0) } else { after.find(open).unwrap_or(after.len()) };
    let (value, after) = split(after, end);
    shown.push_str(open);
    if value.is_empty() || is_open(value, name) {
        push_word(shown, value);
    } else {
        shown.push_str(REDACTED);
    }
    after
}

/// Whether a value is none to hide.
fn is_open(value: &str, name: &Name<'_>) -> bool {
    matches!(value.trim_end_matches([',', ';', '}']), "true" | "false" | REDACTED)
        || (name.is_key && value.starts_with('/'))
}

/// Shows a word without keys and without the password of a URL.
fn push_word(shown: &mut String, word: &str) {
    let authority = word.find("://").map(|at| at + 3);
    let user = authority.and_then(|from| word.rfind('@').filter(|at| *at > from).map(|at| (from, at)));
    let Some((from, at)) = user else { return push_runs(shown, word) };
    let (scheme, after) = split(word, from);
    let (_, host) = split(after, at - from);
    push_runs(shown, scheme);
    shown.push_str(REDACTED);
    push_runs(shown, host);
}

fn push_runs(shown: &mut String, word: &str) {
    let is_of_key = |byte: char| byte.is_ascii_alphanumeric() || matches!(byte, '+' | '/' | '_' | '-');
    let mut rest = word;
    while !rest.is_empty() {
        let (piece, after) = split(rest, rest.find(|byte| !is_of_key(byte)).unwrap_or(rest.len()));
        let is_digest = shown.ends_with("sha256:");
        shown.push_str(if is_key(piece) && !is_digest { REDACTED } else { piece });
        let (other, after) = split(after, after.find(is_of_key).unwrap_or(after.len()));
        shown.push_str(other);
        rest = after;
    }
}

/// Keys have all kinds of letters, or are hexadecimal; names of files are neither.
fn is_key(piece: &str) -> bool {
    let is_mixed = |text: &str| {
        let has = |is: fn(&u8) -> bool| text.as_bytes().iter().any(is);
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_base64 = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit);
        text.len() >= LONG_RUN && (is_hex || is_base64)
    };
    if piece.starts_with(['/', '-']) { piece.split('/').any(is_mixed) } else { is_mixed(piece) }
}

/// Blocks go as a whole; one without an end goes with all that follows.
fn without_pem(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, block)) = rest.split_once("-----BEGIN") {
        shown.push_str(before);
        shown.push_str(REDACTED);
        rest = block.split_once("-----END").and_then(|(_, end)| end.split_once("-----")).map_or("", |(_, after)| after);
    }
    shown.push_str(rest);
    shown
}

/// How many bytes from the start on are as `is` says.
fn run(text: &str, is: impl Fn(&str) -> bool) -> usize {
    let mut rest = text;
    while !rest.is_empty() && is(rest) {
        let width = separator(rest).max(rest.chars().next().map_or(1, char::len_utf8));
        rest = split(rest, width).1;
    }
    text.len() - rest.len()
}

/// How many bytes of what parts words are at the start.
fn separator(text: &str) -> usize {
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(first), _) if first.is_whitespace() || first.is_control() => first.len_utf8(),
        (Some('\\'), Some('n' | 't' | 'r' | '\\')) => 2,
        _ => quote(text),
    }
}

fn quote(text: &str) -> usize {
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some('"' | '\'' | '`'), _) => 1,
        (Some('\\'), Some('"' | '\'')) => 2,
        _ => 0,
    }
}

fn split(text: &str, at: usize) -> (&str, &str) {
    text.split_at_checked(at).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_may_be_secret_is_not_told() {
        let blob = "QWxhZGRpbjpvcGVuIHNlc2FtZTEyMzQ1Njc4OTBBQkNERUY";
        for (text, expected) in [
            ("--token=abc123 --v=2", "--token=[redacted] --v=2"),
            ("--token=a,b;c --v=2", "--token=[redacted] --v=2"),
            ("--basic-auth-password hunter2 x", "--basic-auth-password [redacted] x"),
            ("--etcd-password='two words' x", "--etcd-password='[redacted]' x"),
            ("Authorization: Bearer abc", "Authorization: Bearer [redacted]"),
            ("Authorization: Basic abc", "Authorization: Basic [redacted]"),
            (r#""client-key-data": "LS0t", "x": 1"#, r#""client-key-data": "[redacted]", "x": 1"#),
            (r#"{"token":"a","b":"c"}"#, r#"{"token":"[redacted]","b":"c"}"#),
            ("client-key-data: LS0t\nx: 1", "client-key-data: [redacted]\nx: 1"),
            ("--encryption-key=abc", "--encryption-key=[redacted]"),
            ("AWS_SECRET_ACCESS_KEY=abc", "AWS_SECRET_ACCESS_KEY=[redacted]"),
            ("https://h/token=abc", "https://h/token=[redacted]"),
            ("https://h/?token=abc&x=y", "https://h/?token=[redacted]"),
            ("OPTS=--a=b,--token=c", "OPTS=--a=b,--token=[redacted]"),
            (r#"output: "--v=2\n--token=abc\n--x=y""#, r#"output: "--v=2\n--token=[redacted]\n--x=y""#),
            (r#"failed: "echo \"token\": \"abc\" x""#, r#"failed: "echo \"token\": \"[redacted]\" x""#),
            ("DB_URL=postgres://u:p@h/db", "DB_URL=postgres://[redacted]@h/db"),
            ("a -----BEGIN X-----\nabc\n-----END X----- b", "a [redacted] b"),
            ("a -----BEGIN X-----\nabc", "a [redacted]"),
            ("-----BEGIN A-----x-----END A----- -----BEGIN B-----y", "[redacted] [redacted]"),
        ] {
            assert_eq!(redact(text), expected, "{text}");
        }
        for around in ["x {} y", "x={}= y", "/{} y", "a,{},b", "{}.b", "https://h/{}"] {
            let text = around.replace("{}", blob);
            assert!(!redact(&text).contains(blob), "{text}");
        }
    }

    #[test]
    fn plain_settings_are_told() {
        for text in [
            "--authorization-mode=Node,RBAC --anonymous-auth=false",
            "--token-auth-file=/etc/x permissions=644 root:root",
            "--service-account-lookup=true --use-service-account-credentials=true",
            "--authentication-token-webhook-cache-ttl=2m --concurrent-serviceaccount-token-syncs=5",
            "--kubelet-client-key=/etc/kubernetes/pki/apiserver-kubelet-client.key",
            "--tls-private-key-file=/etc/kubernetes/pki/apiserver.key",
            "--tls-cipher-suites=TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "'--kubelet-client-key' is present AND '--token-auth-file' is not present",
            "/var/run/secrets/kubernetes.io/serviceaccount/token:ro",
            "/var/lib/kubelet/pods/0f9c2c0e-aaaa-bbbb-cccc-0123456789ab/volumes/kubernetes.io~projected/Abc1",
            "image@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "the token is missing; it can't be read",
            "--cri-socket=unix:///run/containerd/containerd.sock",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    proptest! {
        #[test]
        fn c6_no_text_ends_in_a_panic(text in "(.|[-\"'\\\\=: ,n]|token|--key=|://|@|-----BEGIN|-----END){0,60}") {
            let _ = redact(&text);
        }

        #[test]
        fn no_value_of_a_token_is_told(
            before in "[a-z =:,'\"\\\\]{0,20}", name in "--token=|--x-password |\"secret\": \"|token: ", after in "([ \n\"].{0,20})?",
        ) {
            let told = redact(&format!("{before} {name}hUnter2{after}"));
            prop_assert!(!told.contains("hUnter2"), "{told}");
        }
    }
}
