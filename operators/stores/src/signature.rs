//! Signs requests and URLs: AWS Signature Version 4, as S3 and what is compatible with it read it. Pure.

use std::{collections::BTreeMap, fmt, time::Duration};

use k8s_openapi::jiff::{Timestamp, tz::Offset};
use ring::{
    digest::{SHA256, digest},
    hmac::{self, HMAC_SHA256},
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::bucket::{Bucket, encoded};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Stands for the digest of a body that the URL does not sign.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// A signed URL is valid for a week at most.
pub const LONGEST: Duration = Duration::from_hours(7 * 24);

/// Who asks.
#[derive(Clone)]
pub struct Keys {
    /// The access key, which names it.
    pub access: String,
    /// The secret key, which proves it.
    pub secret: SecretString,
    /// The token of a session, if they are of one.
    pub session: Option<SecretString>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Keys").finish_non_exhaustive()
    }
}

/// A URL that lets whoever has it send this one request. It is a secret until it expires.
#[derive(Clone)]
pub struct Presigned(SecretString);

impl Presigned {
    /// The URL.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Presigned {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Presigned(…)")
    }
}

/// What of a request is signed. Names of parameters and headers are in order, as signatures want them.
#[derive(Clone, Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    /// Encoded.
    pub(crate) path: &'a str,
    pub(crate) query: &'a BTreeMap<&'a str, String>,
    /// Names in lower case.
    pub(crate) headers: &'a BTreeMap<&'a str, String>,
}

/// A PUT, as a URL allows it.
pub(crate) struct Put<'a> {
    /// Encoded.
    pub(crate) path: &'a str,
    pub(crate) query: BTreeMap<&'a str, String>,
    /// Bytes of its body.
    pub(crate) length: u64,
    /// Whether it replaces nothing, so that the URL is of no use once it was used. It is sent with `If-None-Match: *` then.
    pub(crate) only_new: bool,
}

/// Parameters as they are sent and signed.
pub(crate) fn query_text(query: &BTreeMap<&str, String>) -> String {
    let pairs = query.iter().map(|(name, value)| format!("{}={}", encoded(name, false), encoded(value, false)));
    pairs.collect::<Vec<_>>().join("&")
}

impl Keys {
    /// The headers by which a request proves who asks: those in `headers`, of which `host` is one, and these are signed.
    pub(crate) fn authorize<'a>(
        &self,
        signed: &Signed<'a>,
        body: &[u8],
        region: &str,
        now: Timestamp,
    ) -> BTreeMap<&'a str, String> {
        let time = Time::of(now);
        let body = hex(digest(&SHA256, body).as_ref());
        let mut headers = signed.headers.clone();
        headers.insert("x-amz-content-sha256", body.clone());
        headers.insert("x-amz-date", time.full.clone());
        if let Some(session) = &self.session {
            headers.insert("x-amz-security-token", session.expose_secret().to_owned());
        }
        let request = Signed { headers: &headers, ..signed.clone() };
        let signature = self.sign(&request, &body, region, &time);
        let names = names(&headers);
        let scope = time.scope(region);
        let text =
            format!("{ALGORITHM} Credential={}/{scope},SignedHeaders={names},Signature={signature}", self.access);
        headers.insert("authorization", text);
        headers
    }

    /// A URL for this PUT, until `expires` from now, a week at most.
    pub(crate) fn presign_put(&self, bucket: &Bucket, put: Put<'_>, expires: Duration, now: Timestamp) -> Presigned {
        let time = Time::of(now);
        let Put { path, mut query, length, only_new } = put;
        let host = bucket.origin().split_once("://").map_or("", |(_, host)| host).to_owned();
        let mut headers = BTreeMap::from([("content-length", length.to_string()), ("host", host)]);
        if only_new {
            headers.insert("if-none-match", "*".to_owned());
        }
        query.insert("X-Amz-Algorithm", ALGORITHM.to_owned());
        query.insert("X-Amz-Credential", format!("{}/{}", self.access, time.scope(bucket.region())));
        query.insert("X-Amz-Date", time.full.clone());
        query.insert("X-Amz-Expires", expires.min(LONGEST).as_secs().to_string());
        query.insert("X-Amz-SignedHeaders", names(&headers));
        if let Some(session) = &self.session {
            query.insert("X-Amz-Security-Token", session.expose_secret().to_owned());
        }
        let signed = Signed { method: "PUT", path, query: &query, headers: &headers };
        let signature = self.sign(&signed, UNSIGNED, bucket.region(), &time);
        let query = query_text(&query);
        Presigned(format!("{}{path}?{query}&X-Amz-Signature={signature}", bucket.origin()).into())
    }

    fn sign(&self, signed: &Signed<'_>, body: &str, region: &str, time: &Time) -> String {
        let Signed { method, path, query, headers } = signed;
        let lines = headers.iter().map(|(name, value)| format!("{name}:{}", value.trim()));
        let lines = lines.collect::<Vec<_>>().join("\n");
        let query = query_text(query);
        let request = format!("{method}\n{path}\n{query}\n{lines}\n\n{}\n{body}", names(headers));
        let request = hex(digest(&SHA256, request.as_bytes()).as_ref());
        let text = format!("{ALGORITHM}\n{}\n{}\n{request}", time.full, time.scope(region));
        let secret = format!("AWS4{}", self.secret.expose_secret());
        let steps = [time.day.as_str(), region, "s3", "aws4_request"];
        let key = steps.iter().fold(hmac::Key::new(HMAC_SHA256, secret.as_bytes()), |key, step| {
            hmac::Key::new(HMAC_SHA256, hmac::sign(&key, step.as_bytes()).as_ref())
        });
        hex(hmac::sign(&key, text.as_bytes()).as_ref())
    }
}

/// When something is signed.
struct Time {
    /// Such as `20130524T000000Z`.
    full: String,
    /// Such as `20130524`.
    day: String,
}

impl Time {
    fn of(now: Timestamp) -> Self {
        let utc = Offset::UTC.to_datetime(now);
        let day = format!("{:04}{:02}{:02}", utc.year(), utc.month(), utc.day());
        Self { full: format!("{day}T{:02}{:02}{:02}Z", utc.hour(), utc.minute(), utc.second()), day }
    }

    fn scope(&self, region: &str) -> String {
        format!("{}/{region}/s3/aws4_request", self.day)
    }
}

fn names(headers: &BTreeMap<&str, String>) -> String {
    headers.keys().copied().collect::<Vec<_>>().join(";")
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Addressing;

    /// The keys, the time and the bucket of the examples in the manual of S3.
    fn keys() -> Keys {
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        Keys { access: "AKIAIOSFODNN7EXAMPLE".to_owned(), secret: secret.into(), session: None }
    }

    fn now() -> Timestamp {
        "2013-05-24T00:00:00Z".parse().unwrap()
    }

    fn signature(method: &str, path: &str, query: &[(&str, &str)], headers: &[(&str, &str)], body: &[u8]) -> String {
        let owned = |pairs: &[(&'static str, &str)]| {
            pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect::<BTreeMap<_, _>>()
        };
        let leaked = |pairs: &[(&str, &str)]| -> Vec<(&'static str, String)> {
            pairs.iter().map(|(name, value)| (&*name.to_string().leak(), (*value).to_owned())).collect()
        };
        let query: BTreeMap<_, _> = leaked(query).into_iter().collect();
        let mut headers: BTreeMap<_, _> = leaked(headers).into_iter().collect();
        headers.extend(owned(&[("host", "examplebucket.s3.amazonaws.com")]));
        let signed = Signed { method, path, query: &query, headers: &headers };
        let text = keys().authorize(&signed, body, "us-east-1", now())["authorization"].clone();
        text.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    #[test]
    fn requests_are_signed_as_in_the_examples_of_the_manual() {
        assert_eq!(
            signature("GET", "/test.txt", &[], &[("range", "bytes=0-9")], b""),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        assert_eq!(
            signature(
                "PUT",
                "/test%24file.text",
                &[],
                &[("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")],
                b"Welcome to Amazon S3."
            ),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
        assert_eq!(
            signature("GET", "/", &[("lifecycle", "")], &[], b""),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
        assert_eq!(
            signature("GET", "/", &[("prefix", "J"), ("max-keys", "2")], &[], b""),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }

    fn presign(keys: &Keys, length: u64, expires: Duration) -> String {
        let bucket =
            Bucket::new("https://s3.amazonaws.com", Addressing::Virtual, "examplebucket", "us-east-1").unwrap();
        let query = BTreeMap::from([("partNumber", "1".to_owned()), ("uploadId", "a/b".to_owned())]);
        let put = Put { path: "/test.txt", query, length, only_new: false };
        keys.presign_put(&bucket, put, expires, now()).expose().to_owned()
    }

    #[test]
    fn a_url_signs_the_length_and_the_time() {
        let day = Duration::from_hours(24);
        let url = presign(&keys(), 7, day);
        assert!(url.starts_with("https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm="), "{url}");
        assert!(url.contains("X-Amz-SignedHeaders=content-length%3Bhost") && url.contains("uploadId=a%2Fb"), "{url}");
        assert!(url.contains("X-Amz-Expires=86400&"), "{url}");
        assert_ne!(presign(&keys(), 8, day), url);
        assert!(presign(&keys(), 7, LONGEST * 2).contains("X-Amz-Expires=604800&"));
        let session = Keys { session: Some("t/k".into()), ..keys() };
        assert!(presign(&session, 7, day).contains("X-Amz-Security-Token=t%2Fk&"));
    }

    #[test]
    fn a_url_for_what_is_new_signs_that_too() {
        let bucket = Bucket::new("https://s3", Addressing::Path, "backups", "r").unwrap();
        let url = |only_new| {
            let put = Put { path: "/backups/a", query: BTreeMap::new(), length: 1, only_new };
            keys().presign_put(&bucket, put, LONGEST, now()).expose().to_owned()
        };
        assert!(url(true).contains("X-Amz-SignedHeaders=content-length%3Bhost%3Bif-none-match&"), "{}", url(true));
        assert!(url(false).contains("X-Amz-SignedHeaders=content-length%3Bhost&"), "{}", url(false));
    }

    #[test]
    fn nothing_shows_a_key() {
        let session = Keys { session: Some("t0k3n".into()), ..keys() };
        let shown = format!(
            "{session:?} {:?}",
            keys().presign_put(
                &Bucket::new("https://s3", Addressing::Path, "backups", "r").unwrap(),
                Put { path: "/backups/a", query: BTreeMap::new(), length: 1, only_new: true },
                LONGEST,
                now(),
            )
        );
        assert_eq!(shown, "Keys { .. } Presigned(…)");
    }
}
