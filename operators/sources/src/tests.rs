use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use drover_charts::{Digest, UpgradePolicy};
use drover_crds::ChartRepository;
use drover_fetch::testing::{Reply, Seen, Server, reply};
use drover_runtime::DialPolicy;
use http::{Request, Response};
use http_body_util::Full;
use k8s_openapi::jiff::Timestamp;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Settings, SourceError, Sources, Wanted};

type Answer = Box<dyn Fn() -> Reply + Send>;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// An API server with one Secret, or none.
fn api(secret: Option<Value>) -> Client {
    let service = tower::service_fn(move |_: Request<Body>| {
        let (status, body) = match &secret {
            Some(secret) => (200, secret.clone()),
            None => (
                404,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}),
            ),
        };
        async move { Ok::<_, Infallible>(Response::builder().status(status).body(Full::from(body.to_string())).unwrap()) }
    });
    Client::new(service, "default")
}

fn login(label: &str, hosts: Option<&str>) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {
            "name": "login", "namespace": "team", "labels": {"drover.dev/usable-by": label},
            "annotations": hosts.map(|hosts| json!({"drover.dev/hosts": hosts})).unwrap_or_default(),
        },
        // ann, s3cr3t
        "data": {"username": "YW5u", "password": "czNjcjN0"},
    })
}

fn sources(addresses: DialPolicy) -> (TempDir, Sources) {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { folder: folder.path().to_owned(), cache_bytes: 1 << 20, addresses };
    let sources = Sources::open(&settings).unwrap();
    (folder, sources)
}

fn repository(spec: &Value) -> ChartRepository {
    serde_json::from_value(json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "ChartRepository",
        "metadata": {"name": "charts", "namespace": "team", "uid": "1", "generation": 1}, "spec": spec,
    }))
    .unwrap()
}

fn http(server: &Server) -> ChartRepository {
    repository(&json!({"http": {"url": server.url("/charts").to_string()}, "secretRef": {"name": "login"}}))
}

fn host(server: &Server) -> String {
    format!("localhost:{}", server.port)
}

fn wanted(version: &str) -> Wanted {
    Wanted {
        chart: "web".to_owned(),
        version: version.to_owned(),
        policy: UpgradePolicy::None,
        allow_prerelease: false,
        current: None,
    }
}

fn index(urls: &str, digest: &str) -> String {
    format!("apiVersion: v1\nentries:\n  web:\n  - {{name: web, version: 1.0.0, urls: [{urls}], digest: {digest}}}\n")
}

fn reason<T>(outcome: Result<T, SourceError>) -> &'static str {
    outcome.map(drop).map_err(|error| error.cause.reason()).unwrap_err()
}

/// Reads the repository, and gives why it failed.
async fn fetched(sources: &Sources, client: &Client, repository: &ChartRepository) -> Option<SourceError> {
    sources.fetch(client, repository, "", NOW).await.unwrap();
    sources.attempt(repository).unwrap().failure
}

/// A server elsewhere that notes whether anybody told it anything.
async fn elsewhere() -> Server {
    Server::start(|_| reply(200, &[], "chart")).await
}

fn was_told(server: &Server) -> bool {
    server.seen().iter().any(|seen| seen.header("authorization").is_some())
}

#[tokio::test]
async fn credentials_go_to_no_other_host_by_a_redirect_or_a_url_in_the_index() {
    let other = elsewhere().await;
    let there = other.url("/stolen").to_string();
    let lying = there.clone();
    let server = Server::start(move |seen| match seen.target.as_str() {
        "/charts/index.yaml" => reply(200, &[], index(&lying, &Digest::of(b"chart").hex())),
        _ => reply(302, &[("location", &there)], ""),
    })
    .await;
    let (client, charts) = (api(Some(login("chart-repository", Some(&host(&server))))), http(&server));
    let (_folder, sources) = sources(DialPolicy::AllowLocal);
    let chosen = sources.choose(&client, &charts, &wanted("1.0.0"), NOW).await.unwrap();
    let digest = chosen.digest.unwrap();
    assert_eq!(sources.chart(&client, &charts, "web", ("1.0.0", digest), NOW).await.unwrap(), "chart");
    let redirected = repository(&json!({
        "http": {"url": server.url("/moved").to_string()}, "secretRef": {"name": "login"},
    }));
    assert_eq!(fetched(&sources, &client, &redirected).await.unwrap().cause.reason(), "IndexInvalid");
    assert!(was_told(&server), "its own host gets them");
    assert!(other.seen().len() >= 2 && !was_told(&other), "{:?}", other.seen());
}

#[tokio::test]
async fn credentials_go_to_no_realm_that_they_do_not_name() {
    let other = Server::start(|_| reply(200, &[], r#"{"token": "t"}"#)).await;
    let challenge = format!("Bearer realm=\"{}\",service=\"r\"", other.url("/token").uri());
    let server = Server::start(move |seen| match seen.header("authorization") {
        Some("Bearer t") => reply(200, &[], "{}"),
        _ => reply(401, &[("www-authenticate", &challenge)], ""),
    })
    .await;
    let client = api(Some(login("chart-repository", Some(&host(&server)))));
    let charts = repository(&json!({
        "oci": {"url": format!("oci://{}/charts", host(&server))}, "secretRef": {"name": "login"},
    }));
    let (_folder, sources) = sources(DialPolicy::AllowLocal);
    assert_eq!(fetched(&sources, &client, &charts).await, None);
    assert!(!other.seen().is_empty() && !was_told(&other), "{:?}", other.seen());
}

#[tokio::test]
async fn no_secret_is_used_that_does_not_say_so() {
    let server = elsewhere().await;
    let (_folder, sources) = sources(DialPolicy::AllowLocal);
    let charts = http(&server);
    for (secret, expected) in [
        (None, "SecretNotFound"),
        (Some(login("catalog-app", Some(&host(&server)))), "SecretNotFound"),
        (Some(login("chart-repository", None)), "CredentialsInvalid"),
    ] {
        let failure = fetched(&sources, &api(secret), &charts).await.unwrap();
        assert_eq!(failure.cause.reason(), expected, "{failure}");
        assert!(!failure.to_string().contains("s3cr3t"));
    }
    assert!(server.seen().is_empty(), "nobody was asked");
}

#[tokio::test]
async fn addresses_of_this_machine_are_reached_by_no_url() {
    let server = elsewhere().await;
    let (_folder, sources) = sources(DialPolicy::RefuseLocal);
    let client = api(None);
    let port = server.port;
    for url in [
        format!("http://127.0.0.1:{port}/charts"),
        format!("http://localhost:{port}/charts"),
        format!("http://[::1]:{port}/charts"),
        format!("http://2130706433:{port}/charts"),
        "http://169.254.169.254/latest".to_owned(),
    ] {
        let failure = fetched(&sources, &client, &repository(&json!({"http": {"url": url}}))).await.unwrap();
        assert_eq!(failure.cause.reason(), "AddressNotAllowed", "{url}: {failure}");
        let chart = sources.chart_at("team", &url, Digest::of(b"chart")).await;
        assert_eq!(reason(chart), "AddressNotAllowed", "{url}");
    }
    let registry = repository(&json!({"oci": {"url": format!("oci://127.0.0.1:{port}/charts")}}));
    assert_eq!(fetched(&sources, &client, &registry).await.unwrap().cause.reason(), "AddressNotAllowed");
    let proxied = json!({"http": {"url": "http://charts.invalid"}, "proxyURL": format!("http://127.0.0.1:{port}")});
    assert_eq!(fetched(&sources, &client, &repository(&proxied)).await.unwrap().cause.reason(), "AddressNotAllowed");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_chart_with_other_bytes_than_its_digest_is_refused_and_not_kept() {
    let server = Server::start(|seen| match seen.target.as_str() {
        "/charts/index.yaml" => reply(200, &[], index("web.tgz", &Digest::of(b"chart").hex())),
        _ => reply(200, &[], "other"),
    })
    .await;
    let (_folder, sources) = sources(DialPolicy::AllowLocal);
    let charts = repository(&json!({"http": {"url": server.url("/charts").to_string()}}));
    let client = api(None);
    let chosen = sources.choose(&client, &charts, &wanted("1.0.0"), NOW).await.unwrap();
    for _ in 0..2 {
        let refused = sources.chart(&client, &charts, "web", ("1.0.0", chosen.digest.unwrap()), NOW).await;
        assert_eq!(reason(refused), "ChartChanged");
    }
    let url = server.url("/web.tgz").to_string();
    assert_eq!(reason(sources.chart_at("team", &url, Digest::of(b"chart")).await), "ChartChanged");
    assert_eq!(sources.chart_at("team", &url, Digest::of(b"other")).await.unwrap(), "other");
    let asked = server.seen().len();
    assert_eq!(sources.chart_at("team", &url, Digest::of(b"other")).await.unwrap(), "other");
    assert_eq!(server.seen().len(), asked, "it is on disk");
}

#[tokio::test]
async fn bad_answers_say_what_to_do_and_leave_what_was_known() {
    let answers: Arc<Mutex<Answer>> =
        Arc::new(Mutex::new(Box::new(|| reply(200, &[], index("web.tgz", &Digest::of(b"chart").hex())))));
    let current = Arc::clone(&answers);
    let server = Server::start(move |_: &Seen| current.lock().unwrap()()).await;
    let (_folder, sources) = sources(DialPolicy::AllowLocal);
    let charts =
        repository(&json!({"http": {"url": server.url("/charts").to_string()}, "limits": {"indexBytes": "1Mi"}}));
    let client = api(None);
    assert_eq!(fetched(&sources, &client, &charts).await, None);
    let good = sources.attempt(&charts).unwrap().content.unwrap();
    let cases: Vec<(Answer, &str)> = vec![
        (Box::new(|| reply(401, &[], "")), "CredentialsRefused"),
        (Box::new(|| reply(403, &[], "")), "CredentialsRefused"),
        (Box::new(|| reply(404, &[], "")), "FetchFailed"),
        (Box::new(|| reply(429, &[("retry-after", "7")], "")), "FetchFailed"),
        (Box::new(|| reply(500, &[], "")), "FetchFailed"),
        (Box::new(|| reply(200, &[], "<html>Sign in</html>")), "IndexInvalid"),
        (Box::new(|| reply(200, &[], "entries: {\n")), "IndexInvalid"),
        (Box::new(|| reply(200, &[], vec![b'#'; 2 << 20])), "TooLarge"),
        (Box::new(|| reply(302, &[("location", "ftp://x")], "")), "FetchFailed"),
    ];
    for (number, (answer, expected)) in cases.into_iter().enumerate() {
        *answers.lock().unwrap() = answer;
        let failure = fetched(&sources, &client, &charts).await.unwrap();
        assert_eq!(failure.cause.reason(), expected, "{failure}");
        let attempt = sources.attempt(&charts).unwrap();
        assert_eq!(attempt.content.as_ref(), Some(&good), "{failure}");
        assert_eq!(usize::try_from(attempt.failures).unwrap(), number + 1);
        assert_eq!(sources.choose(&client, &charts, &wanted("^1"), NOW).await.unwrap().version, "1.0.0");
    }
}

#[tokio::test]
async fn a_chart_with_too_many_versions_is_refused_and_the_others_are_not() {
    let server = Server::start(|_| {
        let rows: Vec<_> = (0..40_000).map(|number| format!("  - {{version: 1.0.{number}}}")).collect();
        let web = index("web.tgz", &Digest::of(b"chart").hex());
        reply(200, &[], format!("{web}  many:\n{}\n", rows.join("\n")))
    })
    .await;
    let (_folder, sources) = sources(DialPolicy::AllowLocal);
    let charts = repository(&json!({"http": {"url": server.url("/charts").to_string()}}));
    let client = api(None);
    assert_eq!(fetched(&sources, &client, &charts).await, None);
    let counts = sources.attempt(&charts).unwrap().content.unwrap().index.unwrap().counts;
    assert_eq!((counts.charts, counts.versions), (2, 40_001));
    let many = Wanted { chart: "many".to_owned(), ..wanted("") };
    let refused = sources.choose(&client, &charts, &many, NOW).await.unwrap_err();
    assert_eq!(refused.cause.reason(), "IndexInvalid");
    assert!(refused.to_string().contains("more than 20000 versions of one chart; remove some"), "{refused}");
    assert_eq!(sources.choose(&client, &charts, &wanted(""), NOW).await.unwrap().version, "1.0.0");
}

#[tokio::test]
async fn at_rest_nothing_is_asked_and_an_index_that_is_lost_is_read_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let server = Server::start(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        reply(200, &[("etag", "\"1\"")], index("web.tgz", &Digest::of(b"chart").hex()))
    })
    .await;
    let (folder, sources) = sources(DialPolicy::AllowLocal);
    let charts = repository(&json!({"http": {"url": server.url("/charts").to_string()}}));
    let client = api(None);
    for _ in 0..10 {
        sources.choose(&client, &charts, &wanted("1.0.0"), NOW).await.unwrap();
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let indexes = folder.path().join("indexes");
    std::fs::remove_dir_all(&indexes).unwrap();
    for _ in 0..10 {
        sources.choose(&client, &charts, &wanted("1.0.0"), NOW).await.unwrap();
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    // The operator of repositories, in another process, told of another index.
    let mut told = charts.clone();
    told.status = serde_json::from_value(json!({"indexDigest": "sha256:0"})).unwrap();
    for _ in 0..10 {
        sources.choose(&client, &told, &wanted("1.0.0"), NOW).await.unwrap();
    }
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    sources.forget(&drover_runtime::ObjectKey::of(&charts.metadata));
    assert_eq!(std::fs::read_dir(&indexes).unwrap().count(), 0);
    let suspended = repository(&json!({"http": {"url": server.url("/charts").to_string()}, "suspend": true}));
    assert_eq!(reason(sources.choose(&client, &suspended, &wanted("1.0.0"), NOW).await), "RepositoryNotRead");
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn an_app_waits_for_no_server_that_failed_a_moment_ago() {
    let server = Server::start(|_| reply(500, &[], "")).await;
    let (_folder, sources) = sources(DialPolicy::AllowLocal);
    let charts = repository(&json!({"http": {"url": server.url("/charts").to_string()}}));
    for _ in 0..5 {
        assert_eq!(reason(sources.choose(&api(None), &charts, &wanted(""), NOW).await), "FetchFailed");
    }
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_version_without_a_digest_gets_that_of_its_chart_once() {
    let server = Server::start(|seen| match seen.target.as_str() {
        "/charts/index.yaml" => reply(200, &[], index("web.tgz", "")),
        _ => reply(200, &[], "chart"),
    })
    .await;
    let (_folder, sources) = sources(DialPolicy::AllowLocal);
    let charts = repository(&json!({"http": {"url": server.url("/charts").to_string()}}));
    let client = api(None);
    let chosen = sources.choose(&client, &charts, &wanted("1.0.0"), NOW).await.unwrap();
    assert_eq!(chosen.digest, Some(Digest::of(b"chart")));
    let again = Wanted { current: Some("1.0.0".to_owned()), ..wanted("1.0.0") };
    assert_eq!(sources.choose(&client, &charts, &again, NOW).await.unwrap().digest, None, "as it was");
    assert_eq!(sources.chart(&client, &charts, "web", ("1.0.0", Digest::of(b"chart")), NOW).await.unwrap(), "chart");
    assert_eq!(server.seen().len(), 2);
}

/// A registry whose tag points to this chart.
fn tags(chart: &'static [u8]) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    move |seen| {
        let digest = Digest::of(chart);
        let layer =
            json!({"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "digest": digest.to_string()});
        match seen.target.as_str() {
            "/v2/charts/web/tags/list?n=1000" => reply(200, &[], r#"{"tags": ["1.0.0", "2.0.0"]}"#),
            "/v2/charts/web/manifests/1.0.0" => reply(200, &[], json!({"layers": [layer]}).to_string()),
            target if target == format!("/v2/charts/web/blobs/{digest}") => reply(200, &[], chart),
            _ => reply(404, &[], "{}"),
        }
    }
}

#[tokio::test]
async fn a_registry_is_listed_once_for_each_chart_and_interval() {
    let server = Server::start(tags(b"chart")).await;
    let (_folder, sources) = sources(DialPolicy::AllowLocal);
    let client = api(None);
    let charts = repository(&json!({"oci": {"url": format!("oci://{}/charts", host(&server))}}));
    for _ in 0..3 {
        let chosen = sources.choose(&client, &charts, &wanted("^1"), NOW).await.unwrap();
        let (version, available) = (chosen.version.as_str(), chosen.available.as_deref());
        assert_eq!((version, available, chosen.digest), ("1.0.0", Some("2.0.0"), Some(Digest::of(b"chart"))));
        assert!(chosen.again.is_some_and(|again| again.as_secs() > 3_000));
    }
    assert_eq!(server.seen().len(), 2, "one list, one manifest");
    let asked = json!({"observedGeneration": 1, "lastHandledReconcileAt": "now"});
    let charts = ChartRepository { status: Some(serde_json::from_value(asked).unwrap()), ..charts };
    for _ in 0..2 {
        sources.choose(&client, &charts, &wanted("^1"), NOW).await.unwrap();
        assert_eq!(server.seen().len(), 4, "once more for a person who asked for it");
    }
    assert_eq!(fetched(&sources, &client, &charts).await.unwrap().cause.reason(), "FetchFailed", "it has no /v2/");
    let chart = sources.chart(&client, &charts, "web", ("1.0.0", Digest::of(b"chart")), NOW).await;
    assert_eq!(chart.unwrap(), "chart");
    let moved = sources.chart(&client, &charts, "web", ("1.0.0", Digest::of(b"before")), NOW).await;
    assert_eq!(reason(moved), "ChartChanged");
}

#[tokio::test]
async fn apps_wait_for_no_server_that_hangs() {
    let hanging = drover_fetch::testing::raw(b"HTTP/1.1 200 OK\r\n", true).await;
    let (_folder, sources) = sources(DialPolicy::AllowLocal);
    let url = format!("http://localhost:{}/charts", hanging.port());
    let charts = repository(&json!({"http": {"url": url}, "timeout": "1s"}));
    let client = api(None);
    let any = wanted("");
    let (first, others) = tokio::join!(sources.choose(&client, &charts, &any, NOW), async {
        tokio::task::yield_now().await;
        let begun = std::time::Instant::now();
        for _ in 0..20 {
            assert_eq!(reason(sources.choose(&client, &charts, &any, NOW).await), "RepositoryNotRead");
        }
        begun.elapsed()
    });
    assert_eq!(reason(first), "FetchFailed");
    assert!(others < std::time::Duration::from_millis(500), "{others:?}");
}
