use std::{
    io::Write as _,
    sync::atomic::{AtomicU32, Ordering},
};

use bytes::Bytes;
use drover_fetch::testing::{Server, reply};

use super::*;

fn uploader() -> Uploader {
    Uploader::new(&StoreAccess { authorities: None, allow_local_addresses: true }).unwrap()
}

const TAG: (&str, &str) = ("etag", "\"0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f\"");

fn to(server: &Server, length: u64) -> PresignedUrl {
    PresignedUrl::new(1, length, format!("http://localhost:{}/bucket/key?X-Amz-Signature=s3cret", server.port))
}

#[tokio::test]
async fn a_part_of_a_file_is_sent_with_its_length() {
    let server = Server::start(|_| reply(200, &[TAG], "")).await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let all: Vec<u8> = (0..=250).cycle().take(1_000_000).collect();
    file.write_all(&all).unwrap();
    let content = Content::File(file.path().to_owned(), 1_000);
    let tag = uploader().put(&to(&server, 700_000), &content).await.unwrap();
    assert_eq!(tag.unwrap().as_str(), "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f");
    let seen = &server.seen()[0];
    assert_eq!((seen.method.as_str(), seen.header("content-length")), ("PUT", Some("700000")));
    assert_eq!(seen.target, "/bucket/key?X-Amz-Signature=s3cret");
    assert!(seen.body[..] == all[1_000..701_000]);
}

#[tokio::test(start_paused = true)]
async fn what_may_heal_is_sent_again_and_nothing_else() {
    let count = std::sync::Arc::new(AtomicU32::new(0));
    let counted = std::sync::Arc::clone(&count);
    let server = Server::start(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => reply(500, &[], "x"),
        1 => reply(503, &[], "SlowDown"),
        2 => reply(429, &[], ""),
        _ => reply(200, &[TAG], ""),
    })
    .await;
    let content = Content::Memory(Bytes::from_static(b"body"));
    uploader().put(&to(&server, 4), &content).await.unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 4);

    for (status, cause, attempts) in [
        (403, FailureCause::StoreRefused, 1),
        (404, FailureCause::StoreRefused, 1),
        (307, FailureCause::StoreRefused, 1),
        (500, FailureCause::StoreUnavailable, ATTEMPTS as usize),
    ] {
        let server = Server::start(move |_| reply(status, &[], "s3cret")).await;
        let error = uploader().put(&to(&server, 4), &content).await.unwrap_err();
        assert_eq!((error.cause, server.seen().len()), (cause, attempts), "{status}: {error}");
        assert!(!error.message.contains("s3cret"), "{error}");
        assert!(error.message.contains("localhost") && error.message.contains("part 1"), "{error}");
    }
}

/// The answer to the first attempt is lost; what it put there is seen by the second.
#[tokio::test(start_paused = true)]
async fn what_is_new_replaces_nothing_and_is_there_once() {
    let answering = |first: u16| {
        let count = AtomicU32::new(0);
        Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0 => reply(first, &[TAG], ""),
            _ => reply(412, &[], ""),
        })
    };
    for (first, expected) in [(200, Ok(())), (500, Ok(())), (412, Err(FailureCause::StoreRefused))] {
        let server = answering(first).await;
        let content = Content::Memory(Bytes::from_static(b"body"));
        let outcome = uploader().put(&to(&server, 4), &content).await;
        assert_eq!(outcome.map(drop).map_err(|error| error.cause), expected, "{first}");
        assert!(server.seen().iter().all(|seen| seen.header("if-none-match") == Some("*")));
    }
}

#[tokio::test]
async fn a_part_needs_a_name() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&vec![0; 1 << 20]).unwrap();
    for tag in [None, Some(("etag", "\"\""))] {
        let headers: Vec<_> = tag.into_iter().collect();
        let server = Server::start(move |_| reply(200, &headers, "")).await;
        let error = uploader().put_file(file.path(), 1 << 20, &[to(&server, 1 << 20)]).await.unwrap_err();
        assert_eq!((error.cause, server.seen().len()), (FailureCause::StoreRefused, 1), "{error}");
    }
}

#[tokio::test]
async fn a_part_without_a_url_is_an_error_of_the_task() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = uploader().put_file(file.path(), 1 << 20, &[]).await.unwrap_err();
    assert_eq!(error.cause, FailureCause::TaskInvalid);
}

#[test]
fn pauses_grow_and_end() {
    for attempt in 1..40 {
        let most = FIRST_PAUSE.saturating_mul(1 << attempt.min(16)).min(LONGEST_PAUSE);
        assert!((most / 2..=most).contains(&pause(attempt)));
    }
}
