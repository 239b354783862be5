//! What a registry asks for before it answers: the header `WWW-Authenticate`. Pure.

use drover_fetch::Url;

/// Most bytes of a value in a challenge.
const VALUE_BYTES: usize = 1_024;

/// How a registry wants to know who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// By user and password.
    Basic,
    /// By a token, which the server of `realm` gives for `service`.
    Bearer { realm: Url, service: String },
}

impl Challenge {
    /// The first challenge that is known here.
    pub(super) fn read(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let realm = parameter(rest, "realm")?.parse().ok()?;
        Some(Self::Bearer { realm, service: parameter(rest, "service").unwrap_or_default() })
    }

    /// Where the token is for reading the repository of this name.
    pub(super) fn token_url(realm: &Url, service: &str, repository: &str) -> Option<Url> {
        let realm_text = realm.uri().to_string();
        let separator = if realm_text.contains('?') { '&' } else { '?' };
        let service = if service.is_empty() { String::new() } else { format!("service={}&", escaped(service)) };
        format!("{realm_text}{separator}{service}scope={}", escaped(&format!("repository:{repository}:pull")))
            .parse()
            .ok()
    }
}

/// The value of a parameter, quoted or not.
fn parameter(text: &str, name: &str) -> Option<String> {
    let mut rest = text;
    while let Some((key, after)) = rest.split_once('=') {
        let (value, after) = value(after)?;
        if key.trim().trim_start_matches(',').trim().eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = after;
    }
    None
}

/// The value at the beginning, and what is after it.
fn value(text: &str) -> Option<(String, &str)> {
    let (value, after) = match text.trim_start().strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?,
        None => text.split_once(',').unwrap_or((text, "")),
    };
    (value.len() <= VALUE_BYTES).then(|| (value.trim().to_owned(), after))
}

/// A value of a query.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'/' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let bearer = |realm: &str, service: &str| {
            Some(Challenge::Bearer { realm: realm.parse().unwrap(), service: service.to_owned() })
        };
        let auth = "https://auth.example/token";
        for (header, expected) in [
            ("Basic realm=\"x\"", Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            ("Bearer realm=\"https://auth.example/token\",service=\"a b\",scope=\"x\"", bearer(auth, "a b")),
            ("bearer service=a, realm=https://auth.example/token", bearer(auth, "a")),
            ("Bearer scope=\"a,b=c\" , realm=\"https://auth.example/token\"", bearer(auth, "")),
            ("Bearer realm=\"file:///etc/passwd\"", None),
            ("Bearer realm=\"https://a:b@auth.example\"", None),
            ("Bearer service=\"a\"", None),
            ("Bearer realm=\"https://auth.example", None),
            ("Negotiate", None),
            ("", None),
        ] {
            assert_eq!(Challenge::read(header), expected, "{header}");
        }
    }

    #[test]
    fn a_token_is_asked_for_one_repository() {
        let url = |realm: &str, service: &str| {
            Challenge::token_url(&realm.parse().unwrap(), service, "charts/web").unwrap().uri().to_string()
        };
        let expected = "https://auth.example/token?service=a%20b%26c&scope=repository:charts/web:pull";
        assert_eq!(url("https://auth.example/token", "a b&c"), expected);
        assert_eq!(
            url("https://auth.example/t?x=1", ""),
            "https://auth.example/t?x=1&scope=repository:charts/web:pull"
        );
    }

    proptest! {
        #[test]
        fn any_header_can_be_read(header in "([bB]earer )?[a-z=\", :/]{0,40}") {
            let _ = Challenge::read(&header);
        }
    }
}
