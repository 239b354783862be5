//! Where a bucket and its objects are. Pure.

use drover_fetch::{Host, Url};

/// Most bytes of the key of an object, as S3 has it.
pub const KEY_BYTES: usize = 1_024;

/// Where the name of the bucket stands in a URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Addressing {
    /// In the host at AWS, if the name has no dots; in the path elsewhere.
    #[default]
    Auto,
    /// In the path, as most compatible servers have it.
    Path,
    /// In the name of the host.
    Virtual,
}

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The URL of the server, of which the host may get requests that are signed.
    endpoint: Url,
    /// Scheme, host and port, with the bucket in the host if it is addressed so.
    origin: String,
    /// What stands before the key in a path: `/`, or `/bucket/`.
    folder: String,
    name: String,
    region: String,
}

/// Why there can be no such bucket. The texts follow what they are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BucketError {
    /// The endpoint is no URL.
    #[error("is no http or https URL of a host alone; write it like https://s3.eu-central-1.amazonaws.com")]
    Endpoint,
    /// The name of the bucket cannot stand in a URL.
    #[error("is no name of a bucket: 3 to 63 lower-case letters, digits, dots and hyphens")]
    Name,
    /// A key is empty, too long, or would be changed on its way.
    #[error("is no key of an object: at most 1024 bytes, without empty segments, dots alone and control characters")]
    Key,
}

impl Bucket {
    /// The bucket `name` at `endpoint`, which is the URL of a host alone.
    pub fn new(endpoint: &str, addressing: Addressing, name: &str, region: &str) -> Result<Self, BucketError> {
        let endpoint: Url = endpoint.trim_end_matches('/').parse().map_err(|_| BucketError::Endpoint)?;
        let uri = endpoint.uri();
        let is_bare = uri.query().is_none() && matches!(uri.path(), "" | "/");
        let (true, Some(scheme), Some(authority)) = (is_bare, uri.scheme_str(), uri.authority()) else {
            return Err(BucketError::Endpoint);
        };
        if !is_name(name) {
            return Err(BucketError::Name);
        }
        let is_virtual = match addressing {
            Addressing::Path => false,
            Addressing::Virtual => true,
            // A certificate for *.s3.amazonaws.com is for one label.
            Addressing::Auto => endpoint.host().ends_with(".amazonaws.com") && !name.contains('.'),
        };
        let (origin, folder) = if is_virtual {
            (format!("{scheme}://{name}.{authority}"), "/".to_owned())
        } else {
            (format!("{scheme}://{authority}"), format!("/{name}/"))
        };
        Ok(Self { endpoint, origin, folder, name: name.to_owned(), region: region.to_owned() })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The region that signatures are for.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The host of the server, without the name of the bucket.
    #[must_use]
    pub fn host(&self) -> &str {
        self.endpoint.host()
    }

    /// Whether `host` is the server.
    #[must_use]
    pub fn is_at(&self, host: &Host) -> bool {
        host.serves(&self.endpoint)
    }

    /// Scheme, host and port, to which paths are added.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// The path of the bucket itself, encoded.
    pub(crate) fn path(&self) -> &str {
        if self.folder == "/" { "/" } else { self.folder.trim_end_matches('/') }
    }

    /// The path of an object, encoded.
    pub(crate) fn path_of(&self, key: &str) -> Result<String, BucketError> {
        let is_segment = |segment: &str| !matches!(segment, "" | "." | "..");
        let is_key = key.len() <= KEY_BYTES && key.split('/').all(is_segment) && !key.chars().any(char::is_control);
        if is_key { Ok(format!("{}{}", self.folder, encoded(key, true))) } else { Err(BucketError::Key) }
    }
}

fn is_name(name: &str) -> bool {
    let is_letter =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || matches!(letter, '-' | '.');
    let is_end = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.chars().all(is_letter)
        && name.starts_with(is_end)
        && name.ends_with(is_end)
        && !name.contains("..")
}

/// Percent-encodes as signatures want it: all but letters, digits and `-._~`; in a path, `/` stays too.
#[must_use]
pub(crate) fn encoded(text: &str, is_path: bool) -> String {
    let mut found = String::with_capacity(text.len());
    for byte in text.bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (is_path && byte == b'/');
        if is_plain {
            found.push(char::from(byte));
        } else {
            let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase();
            found.extend(['%', digit(byte >> 4), digit(byte & 0xf)]);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(endpoint: &str, addressing: Addressing, name: &str) -> Result<Bucket, BucketError> {
        Bucket::new(endpoint, addressing, name, "eu-central-1")
    }

    #[test]
    fn a_bucket_stands_in_the_path_or_in_the_host() {
        let aws = "https://s3.eu-central-1.amazonaws.com";
        let own = "http://localhost:9000/";
        for (endpoint, addressing, name, expected) in [
            (aws, Addressing::Auto, "backups", "https://backups.s3.eu-central-1.amazonaws.com/a/b%20c"),
            (aws, Addressing::Auto, "a.b", "https://s3.eu-central-1.amazonaws.com/a.b/a/b%20c"),
            (aws, Addressing::Path, "backups", "https://s3.eu-central-1.amazonaws.com/backups/a/b%20c"),
            (own, Addressing::Auto, "backups", "http://localhost:9000/backups/a/b%20c"),
            (own, Addressing::Virtual, "backups", "http://backups.localhost:9000/a/b%20c"),
        ] {
            let bucket = bucket(endpoint, addressing, name).unwrap();
            let url = format!("{}{}", bucket.origin(), bucket.path_of("a/b c").unwrap());
            assert_eq!(url, expected);
            assert!(expected.starts_with(&format!("{}{}", bucket.origin(), bucket.path())), "{expected}");
        }
    }

    #[test]
    fn what_can_stand_in_no_url_is_refused() {
        for endpoint in [
            "",
            "s3.example.org",
            "ftp://s3.example.org",
            "https://a:b@s3.example.org",
            "https://s3/x",
            "https://s3/?x",
        ] {
            assert_eq!(bucket(endpoint, Addressing::Path, "backups"), Err(BucketError::Endpoint), "{endpoint}");
        }
        for name in ["", "ab", "Backups", "a/b", "a..b", "-ab", "ab.", "a b", &"a".repeat(64)] {
            assert_eq!(bucket("https://s3", Addressing::Path, name), Err(BucketError::Name), "{name}");
        }
        let bucket = bucket("https://s3", Addressing::Path, "backups").unwrap();
        for key in ["", "/a", "a//b", "a/", "a/../b", ".", "a\n", &"a".repeat(1025)] {
            assert_eq!(bucket.path_of(key), Err(BucketError::Key), "{key}");
        }
    }
}
