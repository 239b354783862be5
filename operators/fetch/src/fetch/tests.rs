use std::{net::SocketAddr, sync::Arc};

use drover_client::AddressNotAllowed;
use flate2::{Compression, write::GzEncoder};
use futures::FutureExt as _;
use tokio::time::Instant;

use super::*;
use crate::{
    dial::Lookup,
    source::{ClientCertificate, Credentials, Trust},
    testing::{Authority, Reply, Server, proxy, raw, reply},
    url::Host,
};

/// A fetcher that may dial this machine.
fn fetcher() -> Fetcher {
    at(DialPolicy::AllowLocal, &["127.0.0.1:0"], None)
}

/// All names have these addresses, and the environment names this proxy.
fn at(policy: DialPolicy, addresses: &[&str], proxy: Option<String>) -> Fetcher {
    let addresses: Vec<SocketAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let lookup: Lookup = Arc::new(move |_, port| {
        let with_port = addresses.iter().map(|address| SocketAddr::new(address.ip(), port)).collect();
        async move { Ok(with_port) }.boxed()
    });
    Fetcher { dialler: Dialler::new(policy, Vec::new()).in_world(lookup, proxy) }
}

fn source() -> Source {
    Source { timeout: Duration::from_secs(5), ..Source::default() }
}

fn with_password(hosts: &[&str]) -> Source {
    let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect::<Vec<Host>>();
    let credentials = Credentials::Basic { user: "ann".to_owned(), password: "s3cr3t".into() };
    Source { credentials: vec![(credentials, hosts)], ..source() }
}

async fn failure(source: &Source, url: &Url) -> FetchFailure {
    let error = fetcher().bytes(source, Request::new(url, 1_000)).await.unwrap_err();
    assert!(!error.to_string().contains("s3cr3t"), "{error}");
    error.failure
}

async fn get(source: &Source, url: &Url) -> Result<Bytes, FetchError> {
    fetcher().bytes(source, Request::new(url, 1_000)).await
}

#[tokio::test]
async fn what_is_there_is_fetched_once() {
    let server = Server::start(|seen| match seen.header("if-none-match") {
        Some("\"1\"") => reply(304, &[], ""),
        _ => reply(200, &[("etag", "\"1\"")], "abc"),
    })
    .await;
    let url = server.url("/charts/index.yaml?token=x");
    let mut sink = Vec::new();
    let request = Request::new(&url, 3);
    let fetched = fetcher().fetch(&source(), request, &mut sink).await.unwrap();
    let received = Received { bytes: 3, digest: Digest::of(b"abc"), etag: Some("\"1\"".to_owned()) };
    assert_eq!((fetched, sink.as_slice()), (Fetched::Body(received), &b"abc"[..]));
    let again = fetcher().fetch(&source(), Request { etag: Some("\"1\""), ..request }, &mut sink).await;
    assert_eq!(again, Ok(Fetched::NotModified));
    let seen = server.seen();
    assert_eq!(seen[0].target, "/charts/index.yaml?token=x");
    assert_eq!(seen[0].header("host"), Some(&*format!("localhost:{}", server.port)));
    assert!(seen[0].header("user-agent").unwrap().starts_with("drover/"));
    assert_eq!(seen[0].header("authorization"), None);
}

#[tokio::test]
async fn statuses_have_classes() {
    let server = Server::start(|seen| {
        let status = seen.target[1..4].parse().unwrap();
        let retry_after = seen.target.split_once('?').map_or("soon", |(_, seconds)| seconds);
        reply(status, &[("retry-after", retry_after)], "s3cr3t of the server")
    })
    .await;
    let too_many =
        |seconds: Option<u64>| FetchFailure::TooManyRequests { retry_after: seconds.map(Duration::from_secs) };
    for (path, expected) in [
        ("/401", FetchFailure::Unauthorized),
        ("/403", FetchFailure::Forbidden),
        ("/404", FetchFailure::NotFound),
        ("/410", FetchFailure::NotFound),
        ("/429", too_many(None)),
        ("/429?7", too_many(Some(7))),
        ("/429?99999999999", too_many(Some(3_600))),
        ("/429?-1", too_many(None)),
        ("/408", FetchFailure::Server { status: 408 }),
        ("/500", FetchFailure::Server { status: 500 }),
        ("/503", FetchFailure::Server { status: 503 }),
        ("/204", FetchFailure::Status { status: 204 }),
        ("/206", FetchFailure::Status { status: 206 }),
        ("/304", FetchFailure::Status { status: 304 }),
        ("/418", FetchFailure::Status { status: 418 }),
        ("/302", FetchFailure::BadRedirect),
    ] {
        assert_eq!(failure(&source(), &server.url(path)).await, expected, "{path}");
    }
}

#[tokio::test]
async fn credentials_go_to_their_hosts_and_nowhere_else() {
    let other = Server::start(|_| reply(200, &[], "other")).await;
    let elsewhere = other.url("/stolen").uri().to_string();
    let server = Server::start(move |seen| match seen.target.as_str() {
        "/away" => reply(302, &[("location", &elsewhere)], ""),
        "/near" => reply(307, &[("location", "/here")], ""),
        _ => reply(200, &[], "here"),
    })
    .await;
    let source = with_password(&[&format!("localhost:{}", server.port)]);
    assert_eq!(get(&source, &server.url("/near")).await.unwrap(), "here");
    assert_eq!(get(&source, &server.url("/away")).await.unwrap(), "other");
    assert!(server.seen().iter().all(|seen| seen.header("authorization") == Some("Basic YW5uOnMzY3IzdA==")));
    assert_eq!(get(&source, &other.url("/")).await.unwrap(), "other");
    assert!(other.seen().iter().all(|seen| seen.header("authorization").is_none()), "{:?}", other.seen());
    get(&with_password(&["localhost"]), &server.url("/")).await.unwrap();
    assert_eq!(server.seen().last().unwrap().header("authorization"), None, "another port");
}

#[tokio::test]
async fn a_token_for_one_request_stays_on_its_server() {
    let other = Server::start(|_| reply(200, &[], "")).await;
    let elsewhere = other.url("/").uri().to_string();
    let server = Server::start(move |_| reply(307, &[("location", &elsewhere)], "")).await;
    let token = HeaderValue::from_static("Bearer t");
    let url = server.url("/");
    fetcher().send(&source(), Request::new(&url, 1), Proof::Header(&token)).await.unwrap();
    assert_eq!(server.seen()[0].header("authorization"), Some("Bearer t"));
    assert_eq!(other.seen()[0].header("authorization"), None);
}

#[tokio::test]
async fn redirects_are_counted_and_judged() {
    let server = Server::start(|seen| {
        let target = match seen.target.as_str() {
            "/file" => "file:///etc/passwd".to_owned(),
            "/user" => "http://ann:s3cr3t@localhost/".to_owned(),
            "/0" => return reply(200, &[], "end"),
            number => format!("/{}", number[1..].parse::<u32>().unwrap() - 1),
        };
        reply(301, &[("location", &target)], "")
    })
    .await;
    assert_eq!(get(&source(), &server.url("/5")).await.unwrap(), "end");
    assert_eq!(failure(&source(), &server.url("/6")).await, FetchFailure::TooManyRedirects);
    assert_eq!(failure(&source(), &server.url("/file")).await, FetchFailure::BadRedirect);
    assert_eq!(failure(&source(), &server.url("/user")).await, FetchFailure::BadRedirect);
}

#[tokio::test]
async fn tls_is_never_left() {
    let plain = Server::start(|_| reply(200, &[], "")).await;
    let target = plain.url("/").uri().to_string();
    let authority = Authority::generate();
    let server = Server::start_tls(authority.server(), move |_| reply(302, &[("location", &target)], "")).await;
    let source = Source { trust: Trust::from_pem(authority.pem()).unwrap(), ..source() };
    assert_eq!(failure(&source, &server.url("/")).await, FetchFailure::BadRedirect);
    assert!(plain.seen().is_empty());
}

#[tokio::test]
async fn only_trusted_servers_see_a_request_and_only_their_hosts_see_the_certificate() {
    let authority = Authority::generate();
    let server = Server::start_tls(authority.server(), |_| reply(200, &[], "here")).await;
    let url = server.url("/");
    assert_eq!(failure(&source(), &url).await, FetchFailure::Untrusted);
    let strangers = Source { trust: Trust::from_pem(Authority::generate().pem()).unwrap(), ..source() };
    assert_eq!(failure(&strangers, &url).await, FetchFailure::Untrusted);
    assert!(server.seen().is_empty());
    let (certificate, key) = authority.signed();
    let certificate =
        ClientCertificate::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    for (host, shown) in [(format!("localhost:{}", server.port), 1), ("localhost".to_owned(), 0)] {
        let certificate = Some((certificate.clone(), vec![host.parse().unwrap()]));
        let trust = Trust::from_pem(authority.pem()).unwrap();
        assert_eq!(get(&Source { certificate, trust, ..source() }, &url).await.unwrap(), "here");
        assert_eq!(server.seen().last().unwrap().certificates, shown, "{host}");
    }
    let plain = Server::start(|_| reply(200, &[], "")).await;
    let as_https: Url = format!("https://localhost:{}/", plain.port).parse().unwrap();
    assert_eq!(failure(&source(), &as_https).await, FetchFailure::Tls);
}

#[tokio::test]
async fn an_answer_is_read_up_to_its_bound() {
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let (bomb, small) = (gzip(&vec![b'a'; 1 << 20]), gzip(b"abc"));
    let encoded = [("content-encoding", "gzip")];
    let server = Server::start(move |seen| match seen.target.as_str() {
        "/large" => reply(200, &[], vec![b'a'; 1_001]),
        "/fits" => reply(200, &[], vec![b'a'; 1_000]),
        "/bomb" => reply(200, &encoded, bomb.clone()),
        "/small" => reply(200, &encoded, small.clone()),
        "/cut" => reply(200, &encoded, small[..10].to_vec()),
        "/other" => reply(200, &[("content-encoding", "br")], "abc"),
        _ => reply(200, &encoded, "no gzip"),
    })
    .await;
    let fetch = async |path: &str, may_compress| {
        let url = server.url(path);
        let request = Request { may_compress, limit: 2_000, ..Request::new(&url, 0) };
        let mut sink = Vec::new();
        fetcher().fetch(&source(), request, &mut sink).await.map(|_| sink).map_err(|error| error.failure)
    };
    assert_eq!(get(&source(), &server.url("/fits")).await.unwrap().len(), 1_000);
    assert_eq!(failure(&source(), &server.url("/large")).await, FetchFailure::TooLarge { limit: 1_000 });
    assert_eq!(fetch("/small", true).await.unwrap(), b"abc");
    assert_eq!(fetch("/bomb", true).await, Err(FetchFailure::TooLarge { limit: 2_000 }));
    for path in ["/cut", "/other", "/garbage"] {
        assert_eq!(fetch(path, true).await, Err(FetchFailure::Encoding), "{path}");
    }
    assert_eq!(fetch("/small", false).await.unwrap(), gzip(b"abc"), "a file that is gzip by itself");
    assert_eq!(fetch("/other", false).await, Err(FetchFailure::Encoding), "nobody asked for it");
    let chunks = raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n", true).await;
    assert_eq!(
        failure(&Source { timeout: Duration::from_millis(200), ..source() }, &chunks).await,
        FetchFailure::Timeout
    );
}

#[tokio::test]
async fn servers_that_break_off_or_hang_are_told_apart() {
    let soon = Source { timeout: Duration::from_millis(200), ..source() };
    for (bytes, hangs, expected) in [
        (&b""[..], true, FetchFailure::Timeout),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", true, FetchFailure::Timeout),
        (b"", false, FetchFailure::Interrupted),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", false, FetchFailure::Interrupted),
        (b"SSH-2.0-OpenSSH\r\n\r\n", false, FetchFailure::Unexpected),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", true, FetchFailure::TooLarge { limit: 1_000 }),
    ] {
        let url = raw(bytes, hangs).await;
        let start = Instant::now();
        assert_eq!(failure(&soon, &url).await, expected, "{}", String::from_utf8_lossy(bytes));
        assert!(start.elapsed() < Duration::from_secs(3));
    }
}

#[tokio::test]
async fn a_sink_that_is_full_is_told() {
    let server = Server::start(|_| reply(200, &[], "abc")).await;
    let url = server.url("/");
    let failed = fetcher().fetch(&source(), Request::new(&url, 10), &mut [0_u8; 2][..]).await.unwrap_err();
    assert_eq!(failed.failure, FetchFailure::Storage);
}

#[tokio::test]
async fn local_addresses_are_refused_however_they_are_named() {
    let server = Server::start(|_| reply(200, &[], "")).await;
    let refused = async |fetcher: Fetcher, url: &str| {
        let url = url.replace("PORT", &server.port.to_string()).parse().unwrap();
        fetcher.bytes(&source(), Request::new(&url, 1)).await.unwrap_err().failure
    };
    let loopback = FetchFailure::AddressRefused(AddressNotAllowed::Loopback);
    for url in ["http://127.0.0.1:PORT", "http://localhost:PORT", "http://[::1]:PORT", "https://charts.example:PORT"] {
        assert_eq!(refused(at(DialPolicy::RefuseLocal, &["127.0.0.1:0"], None), url).await, loopback, "{url}");
    }
    let mixed = at(DialPolicy::RefuseLocal, &["192.0.2.1:0", "127.0.0.1:0"], None);
    assert_eq!(refused(mixed, "http://charts.example:PORT").await, loopback);
    let metadata = at(DialPolicy::RefuseLocal, &[], None);
    let link_local = FetchFailure::AddressRefused(AddressNotAllowed::LinkLocal);
    assert_eq!(refused(metadata.clone(), "http://169.254.169.254/latest").await, link_local);
    assert_eq!(refused(metadata, "http://charts.example").await, FetchFailure::Dns);
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_redirect_to_a_local_address_is_refused() {
    let server = Server::start(|seen| match seen.target.as_str() {
        "/" => reply(302, &[("location", "http://169.254.169.254/latest/meta-data")], ""),
        _ => reply(200, &[], ""),
    })
    .await;
    // The proxy of the environment lets the first request out of this machine.
    let (port, _) = proxy(server.port).await;
    let fetcher = at(DialPolicy::RefuseLocal, &["127.0.0.1:0"], Some(format!("http://127.0.0.1:{port}")));
    let url = "http://charts.example/".parse().unwrap();
    let refused = fetcher.bytes(&source(), Request::new(&url, 1)).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "169.254.169.254 is a link-local address, which Drover does not dial; use another address"
    );
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_way_and_may_not_be_local_itself() {
    let server = Server::start(|_| reply(200, &[], "here")).await;
    let (port, heads) = proxy(server.port).await;
    let through = |proxy: String| Source { proxy: Some(proxy.into()), ..source() };
    let url: Url = "http://charts.example/x".parse().unwrap();
    let source = through(format!("http://ann:s3cr3t@127.0.0.1:{port}"));
    assert_eq!(get(&source, &url).await.unwrap(), "here");
    let head = heads.lock().unwrap()[0].to_lowercase();
    assert!(head.starts_with("connect charts.example:80 http/1.1\r\n"), "{head}");
    assert!(head.contains("proxy-authorization: basic yw5uonmzy3izda==\r\n"), "{head}");
    let refusing = at(DialPolicy::RefuseLocal, &["127.0.0.1:0"], None);
    let refused = refusing.bytes(&source, Request::new(&url, 1)).await.unwrap_err();
    assert_eq!(refused.failure, FetchFailure::AddressRefused(AddressNotAllowed::Loopback));
    let refusing = Server::start(|_| -> Reply { reply(403, &[], "") }).await;
    assert_eq!(failure(&through(format!("http://127.0.0.1:{}", refusing.port)), &url).await, FetchFailure::Proxy);
}

#[test]
fn no_text_shows_a_secret() {
    let url: Url = "https://charts.example.com/a?token=s3cr3t".parse().unwrap();
    let source = with_password(&["charts.example.com"]);
    assert!(!format!("{source:?} {url:?} {:?}", source.authorization(&url)).contains("s3cr3t"));
    assert!(source.authorization(&url).unwrap().is_sensitive());
}

fn exchange(method: http::Method, url: &Url, limit: usize) -> Exchange<'_> {
    let headers = HeaderMap::from_iter([(ETAG, HeaderValue::from_static("\"1\""))]);
    Exchange { method, url, headers, body: http_body_util::Full::new(Bytes::from_static(b"body")), limit }
}

#[tokio::test]
async fn a_request_is_exchanged_as_it_is() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "PUT" => reply(200, &[("etag", "\"2\"")], "abc"),
        "POST" => reply(307, &[("location", "/elsewhere")], "gone"),
        _ => reply(404, &[], "x".repeat(100_000)),
    })
    .await;
    let url = server.url("/x?y=z");
    let source = with_password(&[&format!("localhost:{}", server.port)]);
    let mut sink = Vec::new();
    let answer = fetcher().exchange(&source, exchange(http::Method::PUT, &url, 3), &mut sink).await.unwrap();
    let received = answer.received.unwrap();
    assert_eq!((received.bytes, received.etag.as_deref(), sink.as_slice()), (3, Some("\"2\""), &b"abc"[..]));
    let seen = &server.seen()[0];
    assert_eq!((seen.target.as_str(), &*seen.body, seen.header("etag")), ("/x?y=z", &b"body"[..], Some("\"1\"")));
    assert_eq!(seen.header("authorization"), None, "its credentials are its own matter");

    let failure = fetcher().exchange(&source, exchange(http::Method::PUT, &url, 2), std::io::sink()).await.unwrap_err();
    assert_eq!(failure.failure, FetchFailure::TooLarge { limit: 2 });
    let answer = fetcher().exchange(&source, exchange(http::Method::POST, &url, 3), std::io::sink()).await.unwrap();
    assert_eq!((answer.status.as_u16(), &*answer.refusal, answer.received), (307, &b"gone"[..], None));
    let answer = fetcher().exchange(&source, exchange(http::Method::DELETE, &url, 3), std::io::sink()).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.refusal.len()), (404, 64 * 1024));
    let answer = fetcher().exchange(&source, exchange(http::Method::HEAD, &url, 3), std::io::sink()).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.refusal.len()), (404, 0));
}

#[tokio::test]
async fn what_is_exchanged_keeps_to_the_addresses_and_the_time() {
    let url = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\na", true).await;
    let source = Source { timeout: Duration::from_millis(300), ..Source::default() };
    let failed = fetcher().exchange(&source, exchange(http::Method::GET, &url, 3), std::io::sink()).await.unwrap_err();
    assert_eq!(failed.failure, FetchFailure::Timeout);
    let strict = at(DialPolicy::RefuseLocal, &["127.0.0.1:0"], None);
    let failed = strict.exchange(&source, exchange(http::Method::GET, &url, 3), std::io::sink()).await.unwrap_err();
    assert_eq!(failed.failure, FetchFailure::AddressRefused(AddressNotAllowed::Loopback));
}
