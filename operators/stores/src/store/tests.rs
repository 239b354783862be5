use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use drover_client::DialPolicy;
use drover_fetch::testing::{Reply, Seen, Server, reply};

use super::*;
use crate::Addressing;

const SECRET: &str = "s3cr3t";

fn store(server: &Server) -> Store {
    let endpoint = format!("http://localhost:{}", server.port);
    let bucket = Bucket::new(&endpoint, Addressing::Auto, "backups", "eu-1").unwrap();
    let keys = Keys { access: "access".to_owned(), secret: SECRET.into(), session: None };
    let source = Source { timeout: Duration::from_secs(5), ..Source::default() };
    Store::new(Fetcher::new(DialPolicy::AllowLocal), source, bucket, keys, || "2026-01-02T03:04:05Z".parse().unwrap())
}

/// A server that gives these answers in turn, and the last one for ever.
async fn answering(answers: Vec<(u16, &'static str)>) -> (Server, Store) {
    let at = AtomicUsize::new(0);
    let server = Server::start(move |_| {
        let (status, body) = answers[at.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1)];
        reply(status, &[("etag", "\"e\"")], body)
    })
    .await;
    let store = store(&server);
    (server, store)
}

fn targets(server: &Server) -> Vec<String> {
    server.seen().iter().map(|seen| format!("{} {}", seen.method, seen.target)).collect()
}

#[tokio::test]
async fn an_object_is_put_with_a_signed_digest_and_without_trailers() {
    let (server, store) = answering(vec![(200, "")]).await;
    store.put("a/b c", Bytes::from_static(b"hello")).await.unwrap();
    let seen = &server.seen()[0];
    assert_eq!((seen.method.as_str(), seen.target.as_str(), &*seen.body), ("PUT", "/backups/a/b%20c", &b"hello"[..]));
    let digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!(seen.header("x-amz-content-sha256"), Some(digest));
    assert_eq!(seen.header("content-length"), Some("5"));
    let authorization = seen.header("authorization").unwrap();
    assert!(
        authorization.contains("/20260102/eu-1/s3/aws4_request,SignedHeaders=host;x-amz-content-sha256;x-amz-date,")
    );
    assert!(!format!("{seen:?}{store:?}").contains(SECRET));
}

#[tokio::test]
async fn what_may_succeed_later_is_sent_again_and_nothing_else() {
    let busy = "<Error><Code>SlowDown</Code></Error>";
    let (server, store) = answering(vec![(503, busy), (500, ""), (200, "")]).await;
    store.put("a", Bytes::new()).await.unwrap();
    assert_eq!(server.seen().len(), 3);

    let (server, store) =
        answering(vec![(403, "<Error><Code>AccessDenied</Code><Message>s3cr3t</Message></Error>")]).await;
    let error = store.put("a", Bytes::new()).await.unwrap_err();
    assert_eq!((error.failure.clone(), server.seen().len()), (StoreFailure::Forbidden, 1));
    assert!(
        error.to_string().starts_with("bucket backups: localhost:") && !error.to_string().contains(SECRET),
        "{error}"
    );

    let (server, store) = answering(vec![(500, "")]).await;
    assert_eq!(store.delete("a").await.unwrap_err().failure, StoreFailure::Server { status: 500 });
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server = Server::start(|_| reply(307, &[("location", "http://169.254.169.254/")], "")).await;
    let error = store(&server).put("a", Bytes::new()).await.unwrap_err();
    assert_eq!((error.failure, server.seen().len()), (StoreFailure::WrongRegion { region: None }, 1));
}

#[tokio::test]
async fn a_new_object_overwrites_none_and_is_the_same_twice() {
    let exists = |body: &'static [u8]| {
        move |seen: &Seen| -> Reply {
            if seen.method == Method::PUT {
                assert_eq!(seen.header("if-none-match"), Some("*"));
                return reply(412, &[], "<Error><Code>PreconditionFailed</Code></Error>");
            }
            reply(200, &[], body)
        }
    };
    let put = async |body| store(&Server::start(exists(body)).await).put_new("a", Bytes::from_static(b"same")).await;
    assert_eq!(put(b"same").await, Ok(()));
    for other in [&b"other"[..], b"sam3", b"", b"same and more"] {
        assert_eq!(put(other).await.unwrap_err().failure, StoreFailure::Exists);
    }
}

#[tokio::test]
async fn an_object_is_there_or_not() {
    let (_, there) = answering(vec![(200, "12345")]).await;
    assert_eq!(there.head("a").await, Ok(Some(Found { bytes: 5, etag: Some("\"e\"".to_owned()) })));
    let (_, absent) = answering(vec![(404, "")]).await;
    assert_eq!(absent.head("a").await, Ok(None));
    assert_eq!(absent.delete("a").await, Ok(()));
    let (_, refused) = answering(vec![(403, "")]).await;
    assert_eq!(refused.head("a").await.unwrap_err().failure, StoreFailure::Forbidden);
}

#[tokio::test]
async fn a_part_of_an_object_is_read_and_no_more_than_its_limit() {
    let server = Server::start(|seen| match seen.header("range") {
        Some("bytes=2-4") => reply(206, &[], "llo"),
        _ => reply(200, &[], "hello"),
    })
    .await;
    let store = store(&server);
    let mut sink = Vec::new();
    let received = store.read("a", Some(2..5), 3, &mut sink).await.unwrap();
    assert_eq!((received.bytes, sink.as_slice()), (3, &b"llo"[..]));
    assert_eq!(store.get("a", 5).await.unwrap(), "hello");
    let error = store.get("a", 4).await.unwrap_err();
    assert_eq!(error.failure, StoreFailure::Fetch(FetchFailure::TooLarge { limit: 4 }));
}

#[tokio::test]
async fn a_list_goes_over_pages_and_never_for_ever() {
    let first = "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken><Contents><Key>a</Key><Size>1</Size></Contents></ListBucketResult>";
    let last = "<ListBucketResult><Contents><Key>b</Key><Size>2</Size></Contents></ListBucketResult>";
    let (server, store) = answering(vec![(200, first), (200, last)]).await;
    let found = store.list("p/", 10).await.unwrap();
    assert_eq!(found.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let asked = "GET /backups?continuation-token=t&list-type=2&max-keys=1000&prefix=p%2F";
    assert_eq!(targets(&server)[1], asked);

    let (server, store) = answering(vec![(200, first)]).await;
    assert_eq!(store.list("", 5).await.unwrap_err().failure, StoreFailure::Unexpected);
    assert_eq!(server.seen().len(), 6);
    let empty = "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken></ListBucketResult>";
    let (_, store) = answering(vec![(200, empty)]).await;
    assert_eq!(store.list("", 5).await.unwrap_err().failure, StoreFailure::Unexpected);
}

#[tokio::test]
async fn an_upload_is_opened_listed_completed_and_aborted() {
    let answers: Arc<dyn Fn(&Seen) -> Reply + Send + Sync> = Arc::new(|seen| {
        match (seen.method.as_str(), seen.target.as_str()) {
            ("POST", "/backups/k?uploads=") => reply(
                200,
                &[],
                "<InitiateMultipartUploadResult><UploadId>u/1</UploadId></InitiateMultipartUploadResult>",
            ),
            ("GET", target) if target.contains("uploads=") => reply(
                200,
                &[],
                "<ListMultipartUploadsResult><Upload><Key>k</Key><UploadId>u/1</UploadId></Upload></ListMultipartUploadsResult>",
            ),
            ("POST", "/backups/k?uploadId=u%2F1") => reply(200, &[], "<CompleteMultipartUploadResult/>"),
            _ => reply(404, &[], "<Error><Code>NoSuchUpload</Code></Error>"),
        }
    });
    let server = Server::start(move |seen| answers(seen)).await;
    let store = store(&server);
    let upload = store.create_upload("k").await.unwrap();
    assert_eq!(upload, "u/1");
    assert_eq!(
        store.list_uploads("", 10).await.unwrap(),
        [Upload { key: "k".to_owned(), id: upload.clone(), opened: None }]
    );
    let parts = [Part { number: 1, etag: "\"e\"".to_owned() }];
    store.complete_upload("k", &upload, &parts).await.unwrap();
    let body = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&quot;e&quot;</ETag></Part></CompleteMultipartUpload>";
    assert_eq!(server.seen().last().unwrap().body, body);
    store.abort_upload("k", &upload).await.unwrap();
    assert_eq!(store.complete_upload("k", "other", &parts).await.unwrap_err().failure, StoreFailure::NoUpload);
}

#[tokio::test]
async fn of_too_many_uploads_the_first_ones_are_known() {
    let page = "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker><Upload><Key>k</Key><UploadId>u</UploadId></Upload></ListMultipartUploadsResult>";
    let (server, store) = answering(vec![(200, page)]).await;
    assert_eq!(store.list_uploads("", 3).await.unwrap().len(), 3);
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn a_key_that_is_none_is_not_asked_for() {
    let (server, store) = answering(vec![(200, "")]).await;
    let error = store.put("a/../b", Bytes::new()).await.unwrap_err();
    assert_eq!(error.failure, StoreFailure::Invalid(crate::BucketError::Key));
    assert!(store.presign_part("/", "u", 1, 1, Duration::from_secs(1)).is_err());
    assert_eq!(server.seen().len(), 0);
}
