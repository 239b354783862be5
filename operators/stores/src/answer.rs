//! What a store answers, as far as it is believed: bounded, and without what no store has. Pure.

use std::time::Duration;

use http::{HeaderMap, header::RETRY_AFTER};
use k8s_openapi::jiff::Timestamp;

use crate::{
    bucket::KEY_BYTES,
    error::StoreFailure,
    xml::{Element, escaped},
};

/// Most bytes of a name that a store gives: an `ETag`, the identity of an upload, a token of a list.
const NAME_BYTES: usize = 2_048;
/// Most time that a store may ask for before it is asked again.
const RETRY_LIMIT: Duration = Duration::from_mins(10);

/// An object in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// How many bytes it has.
    pub bytes: u64,
}

/// An upload that was neither completed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The key that it is for.
    pub key: String,
    /// Its identity.
    pub id: String,
    /// When it was opened, if the store says it.
    pub opened: Option<Timestamp>,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// How many entries it has, with those that are of no use.
    pub(crate) entries: usize,
    /// With which parameters the next page is asked for; none after the last one.
    pub(crate) next: Option<Vec<(&'static str, String)>>,
}

/// What went wrong, by the status and the code in the body of an answer. The body may hold anything, and none of it is shown.
pub fn failure(status: u16, headers: &HeaderMap, body: &[u8]) -> StoreFailure {
    let error = str::from_utf8(body).ok().and_then(Element::read).filter(|error| error.name == "Error");
    let code = error.as_ref().and_then(|error| error.get("Code")).unwrap_or_default();
    let named = || headers.get("x-amz-bucket-region").and_then(|value| value.to_str().ok());
    let region = || {
        let told = error.as_ref().and_then(|error| error.get("Region")).or_else(named)?;
        let is_region = |text: &&str| {
            (1..=32).contains(&text.len()) && text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
        };
        Some(told).filter(is_region).map(str::to_owned)
    };
    match code {
        "NoSuchBucket" => StoreFailure::NoBucket,
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => StoreFailure::WrongRegion { region: region() },
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "ExpiredToken" => StoreFailure::Keys,
        "RequestTimeTooSkewed" => StoreFailure::Clock,
        "NoSuchUpload" => StoreFailure::NoUpload,
        "InvalidPart" | "InvalidPartOrder" | "EntityTooSmall" => StoreFailure::Parts,
        "PreconditionFailed" => StoreFailure::Exists,
        "SlowDown" | "TooManyRequests" | "RequestLimitExceeded" => {
            StoreFailure::SlowDown { retry_after: retry_after(headers) }
        }
        "InternalError"
        | "ServiceUnavailable"
        | "RequestTimeout"
        | "ConditionalRequestConflict"
        | "OperationAborted" => StoreFailure::Server { status },
        "NotImplemented" => StoreFailure::NotSupported { status },
        _ => by_status(status, headers, region()),
    }
}

fn by_status(status: u16, headers: &HeaderMap, region: Option<String>) -> StoreFailure {
    match status {
        301 | 302 | 307 | 308 => StoreFailure::WrongRegion { region },
        401 => StoreFailure::Keys,
        403 => StoreFailure::Forbidden,
        404 | 410 => StoreFailure::NotFound,
        405 | 501 => StoreFailure::NotSupported { status },
        412 => StoreFailure::Exists,
        429 | 503 => StoreFailure::SlowDown { retry_after: retry_after(headers) },
        408 | 500..=599 => StoreFailure::Server { status },
        status => StoreFailure::Status { status },
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_LIMIT))
}

/// The answer of this name. A store may answer 200 and say in the body that it failed.
fn named(body: &[u8], name: &str) -> Result<Element, StoreFailure> {
    // Keys of others need not be UTF-8.
    let found = Element::read(&String::from_utf8_lossy(body)).ok_or(StoreFailure::Unexpected)?;
    match found.name.as_str() {
        "Error" => Err(failure(500, &HeaderMap::new(), body)),
        other if other == name => Ok(found),
        _ => Err(StoreFailure::Unexpected),
    }
}

/// A name that a store gives, if it can be one.
pub(crate) fn name(text: &str) -> Option<String> {
    let is_name = (1..=NAME_BYTES).contains(&text.len()) && text.chars().all(|letter| letter.is_ascii_graphic());
    is_name.then(|| text.to_owned())
}

/// A key, if it can be one.
fn key(text: &str) -> Option<String> {
    let is_key = (1..=KEY_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
    is_key.then(|| text.to_owned())
}

pub(crate) fn listed(body: &[u8]) -> Result<Page<Listed>, StoreFailure> {
    let list = named(body, "ListBucketResult")?;
    let object = |element: &Element| {
        Some(Listed { key: key(element.get("Key")?)?, bytes: element.get("Size")?.trim().parse().ok()? })
    };
    // Others may store under any key, and Drover under few.
    let items = list.all("Contents").filter_map(object).collect();
    let entries = list.all("Contents").count();
    let next = if list.get("IsTruncated") == Some("true") {
        let token = list.get("NextContinuationToken").and_then(name).ok_or(StoreFailure::Unexpected)?;
        Some(vec![("continuation-token", token)])
    } else {
        None
    };
    Ok(Page { items, entries, next })
}

pub(crate) fn uploads(body: &[u8]) -> Result<Page<Upload>, StoreFailure> {
    let list = named(body, "ListMultipartUploadsResult")?;
    let upload = |element: &Element| {
        let opened = element.get("Initiated").and_then(|time| time.trim().parse().ok());
        Some(Upload { key: key(element.get("Key")?)?, id: name(element.get("UploadId")?)?, opened })
    };
    let items = list.all("Upload").filter_map(upload).collect();
    let entries = list.all("Upload").count();
    let next = if list.get("IsTruncated") == Some("true") {
        let is_marker = |text: &&str| (1..=KEY_BYTES).contains(&text.len());
        let after = list.get("NextKeyMarker").filter(is_marker).ok_or(StoreFailure::Unexpected)?;
        let mut next = vec![("key-marker", after.to_owned())];
        next.extend(list.get("NextUploadIdMarker").and_then(name).map(|id| ("upload-id-marker", id)));
        Some(next)
    } else {
        None
    };
    Ok(Page { items, entries, next })
}

/// The identity of an upload that was opened.
pub(crate) fn opened(body: &[u8]) -> Result<String, StoreFailure> {
    let opened = named(body, "InitiateMultipartUploadResult")?;
    opened.get("UploadId").and_then(name).ok_or(StoreFailure::Unexpected)
}

/// Whether an upload was completed.
pub(crate) fn completed(body: &[u8]) -> Result<(), StoreFailure> {
    named(body, "CompleteMultipartUploadResult").map(drop)
}

/// What completes an upload of these parts, which are numbered from 1.
pub(crate) fn completion<'a>(etags: impl Iterator<Item = (u32, &'a str)>) -> String {
    let parts = etags
        .map(|(number, etag)| format!("<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag></Part>", escaped(etag)));
    format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", parts.collect::<String>())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(status: u16, body: &str) -> StoreFailure {
        failure(status, &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn the_code_in_the_body_says_more_than_the_status() {
        let coded =
            |status, code: &str| told(status, &format!("<Error><Code>{code}</Code><Message>s3cr3t</Message></Error>"));
        for (status, code, expected) in [
            (404, "NoSuchBucket", StoreFailure::NoBucket),
            (404, "NoSuchKey", StoreFailure::NotFound),
            (404, "NoSuchUpload", StoreFailure::NoUpload),
            (403, "AccessDenied", StoreFailure::Forbidden),
            (403, "InvalidAccessKeyId", StoreFailure::Keys),
            (403, "SignatureDoesNotMatch", StoreFailure::Keys),
            (400, "ExpiredToken", StoreFailure::Keys),
            (403, "RequestTimeTooSkewed", StoreFailure::Clock),
            (412, "PreconditionFailed", StoreFailure::Exists),
            (409, "ConditionalRequestConflict", StoreFailure::Server { status: 409 }),
            (400, "InvalidPart", StoreFailure::Parts),
            (400, "RequestTimeout", StoreFailure::Server { status: 400 }),
            (503, "SlowDown", StoreFailure::SlowDown { retry_after: None }),
            (501, "NotImplemented", StoreFailure::NotSupported { status: 501 }),
            (500, "Other", StoreFailure::Server { status: 500 }),
            (418, "Other", StoreFailure::Status { status: 418 }),
        ] {
            let failure = coded(status, code);
            assert_eq!(failure, expected, "{code}");
            assert!(!failure.to_string().contains("s3cr3t"));
        }
        assert_eq!(told(404, "not found"), StoreFailure::NotFound);
        assert_eq!(told(301, ""), StoreFailure::WrongRegion { region: None });
    }

    #[test]
    fn the_region_is_told_if_it_can_be_one() {
        let body =
            |region: &str| format!("<Error><Code>AuthorizationHeaderMalformed</Code><Region>{region}</Region></Error>");
        assert_eq!(told(400, &body("eu-west-1")), StoreFailure::WrongRegion { region: Some("eu-west-1".to_owned()) });
        assert_eq!(told(400, &body("a b; rm")), StoreFailure::WrongRegion { region: None });
        let headers = HeaderMap::from_iter([("x-amz-bucket-region".parse().unwrap(), "us-east-2".parse().unwrap())]);
        assert_eq!(failure(301, &headers, b""), StoreFailure::WrongRegion { region: Some("us-east-2".to_owned()) });
    }

    #[test]
    fn a_list_is_read_page_by_page() {
        let page = "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t==</NextContinuationToken>\
                    <Contents><Key>a/b</Key><Size>7</Size></Contents><Contents><Key>a/c</Key><Size>0</Size></Contents></ListBucketResult>";
        let found = listed(page.as_bytes()).unwrap();
        assert_eq!(found.items.len(), 2);
        assert_eq!(found.items[0], Listed { key: "a/b".to_owned(), bytes: 7 });
        assert_eq!(found.next, Some(vec![("continuation-token", "t==".to_owned())]));
        let last = listed(b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>").unwrap();
        assert_eq!(last, Page { items: Vec::new(), entries: 0, next: None });
        for bad in ["<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>", "<html></html>", ""] {
            assert_eq!(listed(bad.as_bytes()), Err(StoreFailure::Unexpected), "{bad}");
        }
    }

    #[test]
    fn keys_of_others_do_not_make_a_list_fail() {
        let entry = |key: &[u8], size: &str| {
            let parts = [b"<Contents><Key>", key, b"</Key><Size>", size.as_bytes(), b"</Size></Contents>"];
            parts.concat()
        };
        let page = [
            b"<ListBucketResult>".to_vec(),
            entry(b"a\xff", "1"),
            entry(b"a&#x1;b", "1"),
            entry(b"a&#xD800;&#1114112;", "1"),
            entry(b"a\tb", "1"),
            entry(&[b'k'; 1025], "1"),
            entry(b"a", "-1"),
            entry(b"ours", "7"),
            b"</ListBucketResult>".to_vec(),
        ];
        let found = listed(&page.concat()).unwrap();
        assert_eq!(found.entries, 7);
        let keys: Vec<_> = found.items.iter().map(|object| object.key.as_str()).collect();
        assert_eq!(keys, ["a\u{fffd}", "a\u{fffd}\u{fffd}", "ours"]);
        let upload = "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>a&#1;</NextKeyMarker>\
                      <Upload><Key>a&#1;</Key><UploadId>i</UploadId></Upload></ListMultipartUploadsResult>";
        let found = uploads(upload.as_bytes()).unwrap();
        assert_eq!((found.items.len(), found.entries), (0, 1));
        assert_eq!(found.next, Some(vec![("key-marker", "a\u{1}".to_owned())]));
    }

    #[test]
    fn uploads_are_read_with_the_time_that_they_were_opened() {
        let page = "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>a</NextKeyMarker><NextUploadIdMarker>i</NextUploadIdMarker>\
                    <Upload><Key>a</Key><UploadId>i</UploadId><Initiated>2026-01-02T03:04:05.000Z</Initiated></Upload>\
                    <Upload><Key>b</Key><UploadId>j</UploadId></Upload></ListMultipartUploadsResult>";
        let found = uploads(page.as_bytes()).unwrap();
        assert_eq!(found.items[0].opened, Some("2026-01-02T03:04:05Z".parse().unwrap()));
        assert_eq!(found.items[1], Upload { key: "b".to_owned(), id: "j".to_owned(), opened: None });
        assert_eq!(found.next, Some(vec![("key-marker", "a".to_owned()), ("upload-id-marker", "i".to_owned())]));
    }

    #[test]
    fn an_upload_that_fails_with_200_has_failed() {
        assert_eq!(completed(b"<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"), Ok(()));
        assert_eq!(completed(b"<Error><Code>InternalError</Code></Error>"), Err(StoreFailure::Server { status: 500 }));
        assert_eq!(
            opened(b"<InitiateMultipartUploadResult><UploadId>a b</UploadId></InitiateMultipartUploadResult>"),
            Err(StoreFailure::Unexpected)
        );
    }

    proptest! {
        #[test]
        fn any_answer_can_be_read(body in proptest::collection::vec(any::<u8>(), 0..100), status in 100_u16..600) {
            let _ = (listed(&body), uploads(&body), opened(&body), completed(&body));
            let _ = failure(status, &HeaderMap::new(), &body);
        }
    }
}
