//! An API server in memory that knows accounts by their tokens, and what is sent to it.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use drover_client::{ApiCause, Cause, Classify as _, LabelQuery, ObjectKey};
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use kube::{Client, client::Body};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    AccountClient, AccountError, AccountName, Accounts, Apply, Discovers, Kinds, Propagation, Resource,
    identity::Unidentified,
};

/// Answers one request: status and body.
type Answers = dyn Fn(&Seen) -> (u16, String) + Send + Sync;

/// A request that came.
#[derive(Clone, Debug)]
struct Seen {
    request: String,
    authorization: Option<String>,
    body: Value,
    discovers: bool,
}

/// What came on one of the two ways, with Drover's credential or without any.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Seen>>>);

impl Log {
    fn requests(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|seen| seen.request.clone()).collect()
    }

    fn last(&self) -> Seen {
        self.0.lock().unwrap().last().unwrap().clone()
    }

    fn client(&self, answers: impl Fn(&Seen) -> (u16, String) + Send + Sync + 'static) -> Client {
        let (log, answers) = (self.clone(), Arc::<Answers>::from(Box::new(answers) as Box<Answers>));
        let service = move |request: Request<Body>| {
            let (log, answers) = (log.clone(), Arc::clone(&answers));
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let authorization = head.headers.get(header::AUTHORIZATION);
                let seen = Seen {
                    request: format!("{} {}", head.method, head.uri),
                    authorization: authorization.map(|value| value.to_str().unwrap().to_owned()),
                    body: serde_json::from_slice(&body).unwrap_or_default(),
                    discovers: head.extensions.get::<Discovers>().is_some(),
                };
                log.0.lock().unwrap().push(seen.clone());
                let (status, text) = answers(&seen);
                let answer = Response::builder().status(status).body(Body::from(text.into_bytes()));
                Ok::<_, Infallible>(answer.unwrap())
            }
        };
        Client::new(tower::service_fn(service), "default")
    }
}

fn refusal(code: u16, reason: &str, name: &str) -> (u16, String) {
    let status =
        json!({"kind": "Status", "code": code, "reason": reason, "message": reason, "details": {"name": name}});
    (code, status.to_string())
}

/// The way with Drover's credential: each token that it gives is another one.
fn issuer(log: &Log) -> Client {
    let tokens = AtomicUsize::new(0);
    log.client(move |seen| {
        assert_eq!(seen.authorization, None, "the credential of Drover is the transport's matter");
        if !seen.request.ends_with("/token") {
            return discovery(seen);
        }
        let number = tokens.fetch_add(1, Ordering::Relaxed) + 1;
        let spec = json!({"audiences": ["https://kubernetes"], "expirationSeconds": 600});
        (201, json!({"spec": spec, "status": {"token": format!("token-{number}")}}).to_string())
    })
}

fn discovery(seen: &Seen) -> (u16, String) {
    assert!(seen.discovers, "its answer may be long");
    let kind = |plural: &str, kind: &str, scope: &str| {
        json!({"resource": plural, "responseKind": {"kind": kind}, "scope": scope, "verbs": ["get", "patch"],
               "subresources": [{"subresource": "status"}]})
    };
    let groups = match seen.request.as_str() {
        "GET /version" => return (200, json!({"gitVersion": "v1.37.1", "major": "1"}).to_string()),
        "GET /api" => json!([{"versions": [{"version": "v1", "resources": [
            kind("pods", "Pod", "Namespaced"), kind("namespaces", "Namespace", "Cluster"), kind("../secrets", "Bad", "Cluster"),
        ]}]}]),
        _ => json!([
            {"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [
                kind("deployments", "Deployment", "Namespaced"),
            ]}]},
            {"metadata": {"name": "../x"}, "versions": [{"version": "v1"}]},
            {"metadata": {"name": "gone.example"}, "versions": [{"version": "v1", "freshness": "Stale"}]},
        ]),
    };
    (200, json!({"kind": "APIGroupDiscoveryList", "items": groups}).to_string())
}

fn name() -> AccountName {
    AccountName::of_app("team", "shop")
}

/// Both ways to a server that gives tokens, and answers accounts so.
fn server(answers: impl Fn(&Seen) -> (u16, String) + Send + Sync + 'static) -> (Log, Log, AccountClient) {
    let (own, theirs) = (Log::default(), Log::default());
    let client = theirs.client(answers);
    let accounts = Accounts::new(issuer(&own), move || Ok(client.clone()));
    (own, theirs, accounts.client(&name()))
}

fn deployments() -> Resource {
    Resource {
        group: "apps".into(),
        version: "v1".into(),
        kind: "Deployment".into(),
        plural: "deployments".into(),
        namespaced: true,
        verbs: ["get".to_owned()].into(),
    }
}

fn shop() -> ObjectKey {
    ObjectKey::namespaced("web", "shop")
}

proptest! {
    #[test]
    fn two_apps_never_have_the_same_account(one in ("[ab-]{1,3}", "[ab.-]{1,3}"), two in ("[ab-]{1,3}", "[ab.-]{1,3}")) {
        let is_same = AccountName::of_app(&one.0, &one.1) == AccountName::of_app(&two.0, &two.1);
        prop_assert_eq!(is_same, one == two);
    }
}

#[test]
fn an_account_is_a_user_of_its_cluster() {
    assert_eq!(name().user(), "system:serviceaccount:drover-system:app.team.shop");
    assert_eq!(name().to_string(), "drover-system/app.team.shop");
}

#[tokio::test]
async fn a_request_carries_the_token_of_its_account_and_nothing_else() {
    let (own, theirs, client) = server(|_| (200, json!({"metadata": {"name": "shop"}}).to_string()));
    client.get(&deployments(), &shop()).await.unwrap().unwrap();
    client.get(&deployments(), &shop()).await.unwrap();
    let token = "/api/v1/namespaces/drover-system/serviceaccounts/app.team.shop/token";
    assert_eq!(own.requests(), [format!("POST {token}")], "one token for both");
    assert_eq!(own.last().body["spec"], json!({"audiences": [], "expirationSeconds": 600}), "bound to nothing");
    assert_eq!(theirs.last().authorization.as_deref(), Some("Bearer token-1"));
    let other = client.accounts.client(&AccountName::of_app("team", "other"));
    other.get(&deployments(), &shop()).await.unwrap();
    assert_eq!(theirs.last().authorization.as_deref(), Some("Bearer token-2"));
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    for (code, reason) in [(404, "NotFound"), (403, "Forbidden"), (500, "APIServerError"), (200, "ConnectionFailed")] {
        let (own, theirs) = (Log::default(), Log::default());
        let issuer = own.client(move |_| refusal(code, reason, "app.team.shop"));
        let client = theirs.client(|_| panic!("nothing is sent"));
        let accounts = Accounts::new(issuer, move || Ok(client.clone()));
        let error = accounts.client(&name()).get(&deployments(), &shop()).await.unwrap_err();
        assert!(matches!(error, AccountError::Token(_)), "{error:?}");
        assert_eq!(error.reason(), reason);
        assert!(
            error.to_string().starts_with("cannot create a token for the ServiceAccount drover-system/app.team.shop")
        );
        assert!(theirs.requests().is_empty());
    }
    let nowhere = Accounts::new(issuer(&Log::default()), || Err(kube::Error::Service("no way".into())));
    let error = nowhere.client(&name()).get(&deployments(), &shop()).await.unwrap_err();
    assert!(matches!(error, AccountError::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_before_it_ends() {
    let (own, theirs, client) = server(|_| (200, "{}".into()));
    let read = async || client.get(&deployments(), &shop()).await.unwrap();
    read().await;
    tokio::time::advance(Duration::from_secs(479)).await;
    read().await;
    assert_eq!(theirs.last().authorization.as_deref(), Some("Bearer token-1"));
    tokio::time::advance(Duration::from_secs(1)).await;
    read().await;
    assert_eq!(theirs.last().authorization.as_deref(), Some("Bearer token-2"));
    assert_eq!(own.requests().len(), 2);
}

#[tokio::test]
async fn a_token_that_is_not_accepted_is_renewed_once() {
    let stale = |seen: &Seen| match seen.authorization.as_deref() {
        Some("Bearer token-1") => refusal(401, "Unauthorized", ""),
        _ => (200, "{}".into()),
    };
    let (own, theirs, client) = server(stale);
    client.create(&deployments(), &shop(), &json!({"a": 1})).await.unwrap();
    assert_eq!((own.requests().len(), theirs.requests().len()), (2, 2));
    assert_eq!(theirs.last().body, json!({"a": 1}), "the same request");

    let (own, theirs, client) = server(|_| refusal(401, "Unauthorized", ""));
    let error = client.get(&deployments(), &shop()).await.unwrap_err();
    assert!(matches!(error, AccountError::TokenRefused { .. }), "{error:?}");
    assert_eq!(error.cause(), Cause::from(ApiCause::Unauthorized));
    assert_eq!((own.requests().len(), theirs.requests().len()), (2, 2));
}

#[tokio::test]
async fn a_token_shows_nowhere() {
    let (_, _, client) = server(|_| refusal(401, "Unauthorized", ""));
    let error = client.get(&deployments(), &shop()).await.unwrap_err();
    let own = Log::default();
    let unreadable = own.client(|_| (201, json!({"spec": {}, "status": {"token": "token-1"}}).to_string()));
    let accounts = Accounts::new(unreadable, || panic!("nothing is sent"));
    let no_token = accounts.client(&name()).get(&deployments(), &shop()).await.unwrap_err();
    let token = client.accounts.token(&name()).await.unwrap();
    assert!(token.to_str().unwrap().starts_with("Bearer token-"));
    let shown = format!("{client:?} {error:?} {error} {no_token:?} {no_token} {token:?}");
    assert!(!shown.contains("token-"), "{shown}");
}

proptest! {
    #[test]
    fn whatever_a_server_answers_is_an_error_or_an_answer(
        code in prop_oneof![Just(200_u16), Just(201), 202_u16..600],
        any in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            r#"\{("(items|metadata|details|status|spec|code|gitVersion)":([0-9]{1,20}|\[[{}\[\]]{0,4}\]|"\PC{0,9}"|null),?){0,3}\}"#
                .prop_map(String::into_bytes),
        ],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let answer = String::from_utf8_lossy(&any).into_owned();
            let (own, theirs) = (Log::default(), Log::default());
            let (hostile, text) = (answer.clone(), answer.clone());
            let from_hostile = own.client(move |_| (code, hostile.clone()));
            let hostile = theirs.client(move |_| (code, text.clone()));
            let copy = hostile.clone();
            let (good_issuer, bad_issuer) = (issuer(&own), from_hostile);
            let client = Accounts::new(good_issuer, move || Ok(hostile.clone())).client(&name());
            let no_token = Accounts::new(bad_issuer, move || Ok(copy.clone())).client(&name());
            for client in [&client, &no_token] {
                let (kind, key, body) = (deployments(), shop(), json!({}));
                let _ = client.get(&kind, &key).await.map_err(|error| error.to_string());
                let _ = client.list(&kind, "web", &LabelQuery::everything()).await.map_err(|error| error.to_string());
                let _ = client.apply(&kind, &key, &body, Apply::default()).await.map_err(|error| error.to_string());
                let _ = client.resource("apps/v1", "Deployment").await.map_err(|error| error.to_string());
                let _ = client.get_path("/api").await.map_err(|error| error.to_string());
            }
        });
    }
}

#[tokio::test]
async fn what_takes_an_account_for_another_user_gets_nothing() {
    let unidentified = |why: Unidentified| {
        let own = Log::default();
        let service = tower::service_fn(move |_: Request<Body>| async move { Err::<Response<Body>, _>(why) });
        let client = Client::new(service, "default");
        (own.clone(), Accounts::new(issuer(&own), move || Ok(client.clone())).client(&name()))
    };
    let (own, client) = unidentified(Unidentified::OtherUser);
    let error = client.get(&deployments(), &shop()).await.unwrap_err();
    assert!(matches!(error, AccountError::OtherUser { .. }), "{error:?}");
    assert_eq!(own.requests().len(), 1);
    let (own, client) = unidentified(Unidentified::TokenNotAccepted);
    let error = client.get(&deployments(), &shop()).await.unwrap_err();
    assert!(matches!(error, AccountError::TokenRefused { .. }), "{error:?}");
    assert_eq!(own.requests().len(), 2, "another token was tried");
}

#[test]
fn a_server_is_believed_only_where_it_names_the_very_user() {
    let me = crate::ActsAs::user("system:serviceaccount:drover-system:app.team.shop");
    let says = |user: &str| json!({"status": {"userInfo": {"username": user}}}).to_string();
    let judge = |code: u16, body: &str| me.judge(StatusCode::from_u16(code).unwrap(), body.as_bytes());
    assert_eq!(judge(201, &says("system:serviceaccount:drover-system:app.team.shop")), Ok(()));
    assert_eq!(judge(401, ""), Err(Unidentified::TokenNotAccepted));
    for (code, body) in [
        (201, says("system:admin")),
        (201, says("system:anonymous")),
        (201, "{}".into()),
        (200, "<html>".into()),
        (403, says("system:serviceaccount:drover-system:app.team.shop")),
        (404, String::new()),
    ] {
        assert_eq!(judge(code, &body), Err(Unidentified::OtherUser), "{code} {body}");
    }
}

#[tokio::test]
async fn requests_are_those_of_the_api() {
    let (_, theirs, client) = server(|_| (200, "{}".into()));
    let (kind, key, body) = (deployments(), shop(), json!({"spec": {}}));
    let root = "/apis/apps/v1/namespaces/web/deployments";
    let sent = || theirs.last().request;
    client.apply(&kind, &key, &body, Apply::default()).await.unwrap();
    assert_eq!(sent(), format!("PATCH {root}/shop?&fieldManager=helm"));
    client.apply(&kind, &key, &body, Apply { force: true, dry_run: true }).await.unwrap();
    assert_eq!(sent(), format!("PATCH {root}/shop?&dryRun=All&force=true&fieldManager=helm"));
    assert_eq!(theirs.last().body, body);
    let read = json!({"metadata": {"resourceVersion": "7"}, "spec": {"a": 1}});
    client.set_managers(&kind, &key, &read, vec![json!({"manager": "helm"})]).await.unwrap();
    assert_eq!(sent(), format!("PATCH {root}/shop?&fieldManager=helm"));
    let only = json!({"metadata": {"resourceVersion": "7", "managedFields": [{"manager": "helm"}]}});
    assert_eq!(theirs.last().body, only);
    client.create(&kind, &key, &body).await.unwrap();
    assert_eq!(sent(), format!("POST {root}?&fieldManager=helm"));
    client.update(&kind, &key, &body).await.unwrap();
    assert_eq!(sent(), format!("PUT {root}/shop?&fieldManager=helm"));
    assert!(client.delete(&kind, &key, Propagation::Foreground, Some("uid-1")).await.unwrap());
    assert_eq!(sent(), format!("DELETE {root}/shop?"));
    let options = &theirs.last().body;
    assert_eq!(
        (&options["propagationPolicy"], &options["preconditions"]),
        (&json!("Foreground"), &json!({"uid": "uid-1"}))
    );
    let roles = Resource {
        group: "rbac.authorization.k8s.io".into(),
        plural: "clusterroles".into(),
        namespaced: false,
        ..deployments()
    };
    client.get(&roles, &ObjectKey::cluster_scoped("drover:role")).await.unwrap();
    assert_eq!(sent(), "GET /apis/rbac.authorization.k8s.io/v1/clusterroles/drover:role");
    let answer = client.get_path("/api/v1/namespaces/web/secrets/x?pretty=false").await.unwrap();
    assert_eq!((answer.status, sent().as_str()), (StatusCode::OK, "GET /api/v1/namespaces/web/secrets/x?pretty=false"));
}

#[tokio::test]
async fn a_name_cannot_lead_to_another_path() {
    let (_, theirs, client) = server(|_| (200, "{}".into()));
    for (namespace, name) in [
        ("web", ".."),
        ("web", "a/b"),
        ("web", ""),
        ("..", "a"),
        ("web", "a?b"),
        ("web", "a%2fb"),
        ("", "a"),
        ("web", "a b"),
        ("web/secrets", "a"),
        ("web", "ä"),
    ] {
        let key = ObjectKey::namespaced(namespace, name);
        let refused = client.get(&deployments(), &key).await.unwrap_err();
        assert!(matches!(refused, AccountError::InvalidName { .. }), "{key}");
    }
    let cluster_scoped = Resource { namespaced: false, ..deployments() };
    assert!(client.get(&cluster_scoped, &shop()).await.is_err());
    assert!(client.list(&deployments(), "../x", &LabelQuery::everything()).await.is_err());
    for path in [
        "api/v1",
        "https://elsewhere.example/",
        "",
        "//elsewhere.example/",
        "/api/v1/pods?watch=true",
        "/api/v1/pods?limit=1&watch",
        "/api/v1/pods?%77atch=1",
        "/api/v1/watch/pods",
        "/apis/apps/v1/watch/deployments",
        "/api/v1/%77atch/pods",
    ] {
        assert!(matches!(client.get_path(path).await, Err(AccountError::InvalidPath)), "{path}");
    }
    assert!(theirs.requests().is_empty());
}

#[tokio::test]
async fn an_object_that_is_not_there_is_none_and_a_kind_that_is_not_is_an_error() {
    let (_, _, client) = server(|_| refusal(404, "NotFound", "shop"));
    assert_eq!(client.get(&deployments(), &shop()).await.unwrap(), None);
    assert!(!client.delete(&deployments(), &shop(), Propagation::Background, None).await.unwrap());
    let (_, _, client) = server(|_| (404, "404 page not found".into()));
    assert_eq!(client.get(&deployments(), &shop()).await.unwrap_err().reason(), "NotFound");
    assert_eq!(client.get_path("/apis/gone.example/v1").await.unwrap().status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let pages = |seen: &Seen| {
        let (token, name) = if seen.request.contains("continue=next") { ("", "b") } else { ("next", "a") };
        let page = json!({"metadata": {"continue": token}, "items": [{"metadata": {"name": name}}]});
        (200, page.to_string())
    };
    let (_, theirs, client) = server(pages);
    let found = client.list(&deployments(), "web", &LabelQuery::equals("owner", "helm")).await.unwrap();
    assert_eq!(found.iter().map(|object| object["metadata"]["name"].clone()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((&found[0]["kind"], &found[0]["apiVersion"]), (&json!("Deployment"), &json!("apps/v1")));
    let first = "GET /apis/apps/v1/namespaces/web/deployments?&labelSelector=owner%3Dhelm&limit=20";
    assert_eq!(theirs.requests()[0], first);
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_an_error() {
    let long = format!("{{\"a\": \"{}\"}}", "x".repeat(4 << 20));
    let many = format!("[{}1]", "[],".repeat(200_000));
    let deep = "[".repeat(1000);
    let no = "x".repeat(100 << 10);
    for (code, body) in [(200, long), (200, many), (200, deep), (500, no)] {
        let (_, _, client) = server(move |_| (code, body.clone()));
        let error = client.get(&deployments(), &shop()).await.unwrap_err();
        assert_eq!(error.reason(), "TooLarge", "{error}");
        assert_eq!(client.get_path("/api").await.unwrap_err().reason(), "TooLarge");
    }
    let (_, _, client) = server(|_| (200, "hunter2".into()));
    let error = client.get(&deployments(), &shop()).await.unwrap_err();
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn kinds_are_asked_for_once_in_a_while() {
    let (own, theirs, client) = server(|_| panic!("an account asks for no kinds"));
    let found = client.resource("apps/v1", "Deployment").await.unwrap();
    assert_eq!(found.verbs, ["get", "patch"].map(str::to_owned).into());
    assert_eq!(
        (found.plural.as_str(), found.namespaced, found.api_version().as_str()),
        ("deployments", true, "apps/v1")
    );
    assert!(!client.resource("v1", "Namespace").await.unwrap().namespaced);
    let kinds = client.accounts.kinds().await.unwrap();
    assert_eq!(kinds.version, "v1.37.1");
    let versions = ["apps/v1", "apps/v1/Deployment", "gone.example/v1", "v1", "v1/Namespace", "v1/Pod"];
    assert_eq!(kinds.api_versions().collect::<Vec<_>>(), versions);
    assert_eq!(own.requests(), ["GET /version", "GET /api", "GET /apis"]);

    let unknown = async || client.resource("example.com/v1", "Toy").await.unwrap_err();
    assert!(matches!(unknown().await, AccountError::UnknownKind { .. }));
    assert_eq!(own.requests().len(), 3, "it was asked just now");
    client.accounts.kinds_changed();
    unknown().await;
    assert_eq!(own.requests().len(), 6);
    tokio::time::advance(Duration::from_secs(30)).await;
    unknown().await;
    unknown().await;
    assert_eq!(own.requests().len(), 9);
    for (after, requests) in [(0, 9), (59, 9), (1, 12), (59, 12)] {
        tokio::time::advance(Duration::from_secs(after)).await;
        let late = client.accounts.kinds_of_late().await.unwrap();
        assert_eq!((own.requests().len(), late.fingerprint()), (requests, kinds.fingerprint()), "{after}");
    }
    assert_ne!(Kinds::default().fingerprint(), kinds.fingerprint());
    tokio::time::advance(Duration::from_mins(10)).await;
    client.resource("apps/v1", "Deployment").await.unwrap();
    assert_eq!(own.requests().len(), 15);
    assert!(theirs.requests().is_empty());
}
