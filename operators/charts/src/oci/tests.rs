use std::{sync::Mutex, time::Duration};

use drover_client::DialPolicy;

use super::*;
use drover_fetch::{
    Credentials, Host,
    testing::{Reply, Seen, Server, reply},
};

const CHART: &[u8] = b"packed chart";

fn manifest() -> String {
    let digest = Digest::of(CHART);
    format!(
        "{{\"schemaVersion\": 2, \"layers\": [{{\"mediaType\": \"application/vnd.cncf.helm.chart.provenance.v1.prov\", \
         \"digest\": \"x\"}}, {{\"mediaType\": \"{}\", \"digest\": \"{digest}\", \"size\": 12}}]}}",
        CHART_LAYERS[0]
    )
}

/// What a registry with one chart answers to who may read it.
fn content(seen: &Seen) -> Reply {
    let blob = format!("/v2/charts/web/blobs/{}", Digest::of(CHART));
    match seen.target.as_str() {
        "/v2/charts/web/tags/list?n=1000" => {
            let next = "</v2/charts/web/tags/list?n=1000&last=a>; rel=\"next\"";
            reply(200, &[("link", next)], r#"{"name": "x", "tags": ["1.2.0", "latest", "1.10.0_build.1"]}"#)
        }
        "/v2/charts/web/tags/list?n=1000&last=a" => reply(200, &[], r#"{"tags": ["2.0.0-rc.1", "1.2.0"]}"#),
        "/v2/charts/web/manifests/1.10.0_build.1" => reply(200, &[], manifest()),
        target if target == blob => reply(200, &[], CHART),
        target if target.starts_with("/v2/charts/web/manifests/sha256:") => reply(200, &[], manifest()),
        "/v2/charts/web/manifests/2.0.0" => reply(200, &[], r#"{"manifests": []}"#),
        "/v2/charts/web/manifests/3.0.0" => reply(200, &[], r#"{"layers": [{"mediaType": "x", "digest": "y"}]}"#),
        _ => reply(404, &[], r#"{"errors": []}"#),
    }
}

async fn fetcher() -> Fetcher {
    tokio::task::spawn_blocking(|| Fetcher::new(DialPolicy::AllowLocal)).await.unwrap()
}

fn source(credentials: Option<Credentials>, servers: &[&Server]) -> Source {
    let hosts: Vec<Host> = servers.iter().map(|server| format!("localhost:{}", server.port).parse().unwrap()).collect();
    let credentials = credentials.into_iter().map(|credentials| (credentials, hosts.clone())).collect();
    Source { credentials, timeout: Duration::from_secs(5), ..Source::default() }
}

fn password() -> Credentials {
    Credentials::Basic { user: "ann".to_owned(), password: "s3cr3t".into() }
}

fn web(server: &Server) -> OciChart {
    OciChart::new(&format!("oci://localhost:{}/charts", server.port), "web", true).unwrap()
}

async fn versions(source: &Source, server: &Server) -> Result<Vec<String>, FetchError> {
    let (fetcher, chart) = (fetcher().await, web(server));
    let found = OciClient::new(&fetcher, source, &chart).versions().await?;
    Ok(found.iter().map(ToString::to_string).collect())
}

/// A registry that wants a token, and the server that gives it to who may have it.
async fn with_tokens(gives: &'static str) -> (Server, Server) {
    let tokens = Server::start(move |seen| match seen.header("authorization") {
        Some("Basic YW5uOnMzY3IzdA==") => reply(200, &[], gives),
        _ => reply(401, &[], ""),
    })
    .await;
    let challenge = format!("Bearer realm=\"{}\",service=\"r\"", tokens.url("/token").uri());
    let registry = Server::start(move |seen| match seen.header("authorization") {
        Some("Bearer t0k3n") => content(seen),
        _ => reply(401, &[("www-authenticate", &challenge)], ""),
    })
    .await;
    (registry, tokens)
}

#[test]
fn only_names_of_the_specification_are_charts() {
    let chart = |url, name| OciChart::new(url, name, false);
    assert_eq!(
        chart("oci://a.example/b/c/", "web").unwrap().url("x").unwrap().to_string(),
        "https://a.example/v2/b/c/web/x"
    );
    assert_eq!(chart("oci://a.example", "web").unwrap().url("x").unwrap().to_string(), "https://a.example/v2/web/x");
    for (url, name) in [
        ("https://a.example/b", "web"),
        ("oci:///b", "web"),
        ("oci://a.example/b", ""),
        ("oci://a.example/b", "../web"),
        ("oci://a.example/b", "Web"),
        ("oci://a.example/b//c", "web"),
        ("oci://a.example/b?c", "web"),
        ("oci://a.example", "web/tags/list?"),
        ("oci://ann:s3cr3t@a.example/b", "web"),
    ] {
        assert!(chart(url, name).is_err(), "{url} {name}");
    }
    for (version, tag) in
        [("1.2.3+up.1", Some("1.2.3_up.1")), ("v1", Some("v1")), ("../1", None), ("", None), ("a:b", None)]
    {
        assert_eq!(tag_of(version).as_deref(), tag, "{version}");
    }
}

#[tokio::test]
async fn versions_are_the_tags_of_all_pages() {
    let registry = Server::start(content).await;
    let found = versions(&source(None, &[]), &registry).await.unwrap();
    assert_eq!(found, ["2.0.0-rc.1", "1.10.0+build.1", "1.2.0"]);
}

#[tokio::test]
async fn a_version_is_frozen_by_digest() {
    let registry = Server::start(content).await;
    let (fetcher, source, chart) = (fetcher().await, source(None, &[]), web(&registry));
    let mut client = OciClient::new(&fetcher, &source, &chart);
    let found = client.resolve(&"1.10.0+build.1".parse().unwrap()).await.unwrap();
    assert_eq!(found, OciManifest { digest: Digest::of(manifest().as_bytes()), chart: Digest::of(CHART) });
    assert_eq!(client.packed(&found, 100).await.unwrap(), CHART);
    assert_eq!(client.resolve_digest(found.digest).await, Ok(found.clone()));
    let failure = |error: FetchError| error.failure;
    let other = client.resolve_digest(Digest::of(b"other")).await.map_err(failure);
    assert_eq!(other, Err(FetchFailure::DigestMismatch));
    assert_eq!(client.packed(&found, 11).await.map_err(failure), Err(FetchFailure::TooLarge { limit: 11 }));
    for (version, expected) in
        [("2.0.0", FetchFailure::Unexpected), ("3.0.0", FetchFailure::Unexpected), ("4.0.0", FetchFailure::NotFound)]
    {
        let refused = client.resolve(&version.parse().unwrap()).await.map_err(failure);
        assert_eq!(refused, Err(expected), "{version}");
    }
    let lying = Server::start(|_| reply(200, &[], "other bytes")).await;
    let chart = web(&lying);
    let refused = OciClient::new(&fetcher, &source, &chart).packed(&found, 100).await.map_err(failure);
    assert_eq!(refused, Err(FetchFailure::DigestMismatch));
}

#[tokio::test]
async fn a_token_is_got_where_the_registry_says() {
    for gives in [r#"{"token": "t0k3n"}"#, r#"{"access_token": "t0k3n", "expires_in": 300}"#] {
        let (registry, tokens) = with_tokens(gives).await;
        let found = versions(&source(Some(password()), &[&tokens]), &registry).await.unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!(tokens.seen()[0].target, "/token?service=r&scope=repository:charts/web:pull");
        assert_eq!(tokens.seen().len(), 1, "one token for all pages");
        let told: Vec<_> = registry.seen().iter().map(|seen| seen.header("authorization").map(str::to_owned)).collect();
        assert_eq!(told, [None, Some("Bearer t0k3n".to_owned()), Some("Bearer t0k3n".to_owned())]);
    }
}

#[tokio::test]
async fn credentials_do_not_go_to_a_realm_that_is_not_their_host() {
    let (registry, tokens) = with_tokens(r#"{"token": "t0k3n"}"#).await;
    let refused = versions(&source(Some(password()), &[&registry]), &registry).await.unwrap_err();
    assert_eq!(refused.failure, FetchFailure::Unauthorized);
    assert!(tokens.seen().iter().all(|seen| seen.header("authorization").is_none()), "{:?}", tokens.seen());
}

#[tokio::test]
async fn registries_that_want_a_password_or_a_known_token_get_it() {
    let basic = Server::start(|seen| match seen.header("authorization") {
        Some("Basic YW5uOnMzY3IzdA==") => content(seen),
        _ => reply(401, &[("www-authenticate", "Basic realm=\"x\"")], ""),
    })
    .await;
    assert_eq!(versions(&source(Some(password()), &[&basic]), &basic).await.unwrap().len(), 3);
    let refused = versions(&source(Some(password()), &[]), &basic).await.unwrap_err();
    assert_eq!(refused.failure, FetchFailure::Unauthorized);
    let (registry, tokens) = with_tokens("").await;
    let known = Some(Credentials::Bearer("t0k3n".into()));
    assert_eq!(versions(&source(known, &[&registry]), &registry).await.unwrap().len(), 3);
    assert!(tokens.seen().is_empty());
}

#[tokio::test]
async fn bad_answers_of_registries_are_refused() {
    let answer: &'static Mutex<&str> = Box::leak(Box::new(Mutex::new("")));
    let link: &'static Mutex<&str> = Box::leak(Box::new(Mutex::new("")));
    let registry = Server::start(|_| reply(200, &[("link", *link.lock().unwrap())], *answer.lock().unwrap())).await;
    let source = source(None, &[]);
    for (bad, next, expected) in [
        ("[]", "", Err(FetchFailure::Unexpected)),
        ("<html>", "", Err(FetchFailure::Unexpected)),
        ("{\"tags\": [1]}", "", Err(FetchFailure::Unexpected)),
        ("{\"tags\": null}", "", Ok(0)),
        ("{\"tags\": [\"1.0.0\"]}", "<http://evil.example/>; rel=\"next\"", Err(FetchFailure::BadRedirect)),
        ("{\"tags\": [\"1.0.0\"]}", "<file:///etc/passwd>; rel=\"next\"", Err(FetchFailure::BadRedirect)),
        // A list that never ends is read for a hundred pages.
        ("{\"tags\": [\"1.0.0\"]}", "<?next>; rel=\"next\"", Ok(1)),
    ] {
        (*answer.lock().unwrap(), *link.lock().unwrap()) = (bad, next);
        let found = versions(&source, &registry).await.map(|found| found.len()).map_err(|error| error.failure);
        assert_eq!(found, expected, "{bad} {next}");
    }
    assert_eq!(registry.seen().len(), 6 + PAGES);
    for challenge in ["", "Negotiate", "Bearer realm=\"x\"", "Bearer realm=\"https://a:b@c\""] {
        let refusing = Server::start(move |_| reply(401, &[("www-authenticate", challenge)], "")).await;
        let refused = versions(&source, &refusing).await.unwrap_err();
        assert_eq!(refused.failure, FetchFailure::Unauthorized, "{challenge}");
    }
}

#[tokio::test]
async fn pages_that_trickle_share_one_limit_of_time() {
    let next = [("link", "<?next>; rel=\"next\"")];
    let registry = Server::start(move |_| {
        std::thread::sleep(Duration::from_millis(30));
        reply(200, &next, "{\"tags\": [\"1.0.0\"]}")
    })
    .await;
    let source = Source { timeout: Duration::from_millis(300), ..source(None, &[]) };
    let refused = versions(&source, &registry).await.unwrap_err();
    assert_eq!(refused.failure, FetchFailure::Timeout);
}
