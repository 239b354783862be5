//! What a server with TLS sees of the requests that are sent as accounts, and of Drover's own.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use drover_dial::{Access, kubeconfig, testing::kubeconfig};
use drover_runtime::{
    AccountClient, AccountError, AccountName, ApiCause, Cause, Classify as _, DialPolicy, ObjectKey,
    accounts::{Accounts, Resource},
    request::{Sender, Urgency},
};
use futures::{FutureExt as _, future::join_all};
use http::{Request, Response, header::AUTHORIZATION};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::{Client, client::Body};
use rcgen::{Certificate, CertificateParams, KeyPair};
use rustls::{RootCertStore, ServerConfig, pki_types::PrivateKeyDer, server::WebPkiClientVerifier};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::{dialled, dialled_for_accounts};
use crate::{
    Management,
    connection_guard::{self, ConnectionGuard},
    probe,
};

const LIMIT: Duration = Duration::from_secs(10);
const USER: &str = "system:serviceaccount:drover-system:app.team.shop";

/// A request that the server saw.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    connection: usize,
    has_certificate: bool,
    authorization: Option<String>,
    path: String,
}

/// An API server that asks for client certificates and does without.
#[derive(Clone, Default)]
struct Server {
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    tokens: Arc<AtomicUsize>,
    /// Whom it takes the senders of tokens for, if not for the account.
    takes_for: Arc<Mutex<Option<&'static str>>>,
}

impl Server {
    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until so many connections have ended.
    async fn has_ended(&self, count: usize) {
        let ended = async {
            while self.ended.load(Ordering::Relaxed) < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(LIMIT, ended).await.expect("a connection stays open");
    }

    async fn serve(self, listener: TcpListener, acceptor: TlsAcceptor) {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(self.clone().serve_one(stream, acceptor.clone()));
        }
    }

    async fn serve_one(self, stream: TcpStream, acceptor: TlsAcceptor) {
        let stream = acceptor.accept(stream).await.unwrap();
        let connection = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let has_certificate = stream.get_ref().1.peer_certificates().is_some();
        let service = service_fn(|request: Request<Incoming>| {
            let authorization = request.headers().get(AUTHORIZATION);
            let authorization = authorization.map(|value| value.to_str().unwrap().to_owned());
            let path = request.uri().path().to_owned();
            let answer = self.answer(&path, authorization.as_deref());
            self.seen.lock().unwrap().push(Seen { connection, has_certificate, authorization, path });
            let body = Full::new(bytes::Bytes::from(answer.to_string()));
            async move { Ok::<_, Infallible>(Response::new(body)) }
        });
        let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    fn answer(&self, path: &str, authorization: Option<&str>) -> Value {
        if path == "/version" {
            return json!({
                "major": "1", "minor": "37", "gitVersion": "v1.37.1", "gitCommit": "", "gitTreeState": "", "buildDate": "",
                "goVersion": "", "compiler": "", "platform": "linux/amd64",
            });
        }
        if path.ends_with("/kube-system") {
            let metadata = json!({"name": "kube-system", "uid": "uid-1"});
            return json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata});
        }
        if path.ends_with("/token") {
            let number = self.tokens.fetch_add(1, Ordering::Relaxed) + 1;
            return json!({"spec": {"expirationSeconds": 600}, "status": {"token": format!("token-{number}")}});
        }
        if path.ends_with("/selfsubjectreviews") {
            let account = if authorization == Some("Bearer token-1") { USER } else { "another" };
            let user = self.takes_for.lock().unwrap().unwrap_or(account);
            return json!({"status": {"userInfo": {"username": user}}});
        }
        match path {
            "/api" => json!({"items": []}),
            "/apis" => json!({"items": [], "padding": "x".repeat(5 << 20)}),
            _ => json!({}),
        }
    }
}

/// Both ways to such a server.
struct Rig {
    server: Server,
    access: Arc<Access>,
    guard: Arc<ConnectionGuard>,
    own: Client,
    accounts: Accounts,
    credentialless: Client,
}

fn pem(text: &str) -> String {
    STANDARD.encode(text)
}

fn signed(names: &[&str]) -> (Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    (CertificateParams::new(names).unwrap().self_signed(&key).unwrap(), key)
}

impl Rig {
    /// Drover's credential has this besides a client certificate.
    async fn with_credential(more: &str) -> Self {
        let (shown, key) = signed(&["127.0.0.1"]);
        let (client, client_key) = signed(&[]);
        let mut roots = RootCertStore::empty();
        roots.add(client.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated().build().unwrap();
        let config = ServerConfig::builder().with_client_cert_verifier(verifier);
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let mut config = config.with_single_cert(vec![shown.der().clone()], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::default();
        tokio::spawn(server.clone().serve(listener, TlsAcceptor::from(Arc::new(config))));

        let cluster = format!("server: 'https://{address}', certificate-authority-data: {}", pem(&shown.pem()));
        let (certificate, key) = (pem(&client.pem()), pem(&client_key.serialize_pem()));
        let user = format!("client-certificate-data: {certificate}, client-key-data: {key}{more}");
        let access = Arc::new(kubeconfig::parse(&kubeconfig(&cluster, &user), None).await.unwrap());
        let guard = Arc::new(ConnectionGuard::new(Arc::default()));
        let own = dialled(&access, DialPolicy::AllowLocal, &guard).unwrap();
        let credentialless = dialled_for_accounts(&access, DialPolicy::AllowLocal, &guard).unwrap();
        let bare = credentialless.clone();
        let accounts = Accounts::new(own.clone(), move || Ok(bare.clone()));
        Self { server, access, guard, own, accounts, credentialless }
    }

    async fn new() -> Self {
        Self::with_credential("").await
    }

    /// What the probe does: it dials, and finds out who answers.
    async fn identify(&self) {
        connection_guard::probing(Box::pin(probe::identify(&self.own, LIMIT))).await.unwrap();
        self.guard.connections.identified(self.guard.connections.dials());
    }

    fn shop(&self) -> AccountClient {
        self.accounts.client(&AccountName::of_app("team", "shop"))
    }

    /// What the server saw on the connection of this number, without what it saw on others.
    fn seen_on(&self, connection: usize) -> Vec<Seen> {
        self.server.seen().into_iter().filter(|seen| seen.connection == connection).collect()
    }
}

async fn read(client: &AccountClient) -> Result<(), AccountError> {
    let pods = Resource {
        group: String::new(),
        version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        plural: "pods".to_owned(),
        namespaced: true,
        verbs: ["get".to_owned()].into(),
    };
    client.get(&pods, &ObjectKey::namespaced("web", "shop")).await.map(drop)
}

#[tokio::test]
async fn a_request_as_an_account_has_its_token_and_no_certificate() {
    for (more, own_token) in [("", None), (", token: drovers-own", Some("Bearer drovers-own".to_owned()))] {
        let rig = Rig::with_credential(more).await;
        rig.identify().await;
        read(&rig.shop()).await.unwrap();
        let (own, theirs) = (rig.seen_on(1), rig.seen_on(2));
        assert!(own.iter().all(|seen| seen.has_certificate && seen.authorization == own_token), "{own:?}");
        assert!(own.last().unwrap().path.ends_with("/serviceaccounts/app.team.shop/token"));
        let token = Some("Bearer token-1".to_owned());
        assert!(theirs.iter().all(|seen| !seen.has_certificate && seen.authorization == token), "{theirs:?}");
        let paths: Vec<_> = theirs.iter().map(|seen| seen.path.as_str()).collect();
        let question = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        assert_eq!(paths, [question, "/api/v1/namespaces/web/pods/shop"]);
    }
}

#[tokio::test]
async fn all_accounts_share_one_connection_and_each_sends_its_own_token() {
    let rig = Rig::new().await;
    rig.identify().await;
    read(&rig.shop()).await.unwrap();
    let other = rig.accounts.client(&AccountName::of_app("team", "other"));
    let all = join_all([read(&other), read(&rig.shop()), read(&other)]).await;
    assert!(all.into_iter().all(|outcome| outcome.is_ok()));
    assert_eq!(rig.server.connections.load(Ordering::Relaxed), 2);
    let tokens: Vec<_> = rig.seen_on(2).into_iter().filter_map(|seen| seen.authorization).collect();
    let count = |token: &str| tokens.iter().filter(|seen| *seen == token).count();
    assert_eq!((count("Bearer token-1"), count("Bearer token-2"), tokens.len()), (3, 2, 5));
}

/// A proxy that sends requests on under its own name would give every app its rights.
#[tokio::test]
async fn nothing_is_sent_where_an_account_would_be_another_user() {
    let rig = Rig::new().await;
    rig.identify().await;
    for user in ["system:admin", "system:anonymous"] {
        *rig.server.takes_for.lock().unwrap() = Some(user);
        let refused = read(&rig.shop()).await.unwrap_err();
        assert!(matches!(refused, AccountError::OtherUser { .. }), "{refused:?}");
    }
    assert!(rig.server.seen().iter().all(|seen| !seen.path.ends_with("/pods/shop")));
}

#[tokio::test]
async fn an_account_asks_nobody_before_the_probe_knows_who_answers() {
    let rig = Rig::new().await;
    let refused = read(&rig.shop()).await.unwrap_err();
    assert_eq!(refused.cause(), Cause::from(ApiCause::ConnectionFailed), "{refused:?}");
    assert_eq!(rig.server.connections.load(Ordering::Relaxed), 0);
    rig.identify().await;
    read(&rig.shop()).await.unwrap();
    rig.guard.distrust();
    read(&rig.shop()).await.unwrap_err();
    assert_eq!(rig.server.connections.load(Ordering::Relaxed), 2, "its token is known, and yet nobody dials");
}

#[tokio::test]
async fn the_connection_of_accounts_ends_with_that_of_the_probe() {
    let rig = Rig::new().await;
    rig.identify().await;
    let client = rig.shop();
    read(&client).await.unwrap();
    // Another cluster answered for a while.
    rig.guard.distrust();
    rig.server.has_ended(1).await;
    rig.guard.connections.identified(1);
    read(&client).await.unwrap();
    assert_eq!(rig.seen_on(3).len(), 2, "it is asked anew who the sender is");
    // The connection is replaced or released.
    rig.guard.end();
    let ended = read(&client).await.unwrap_err();
    assert_eq!(ended.cause(), Cause::from(ApiCause::ConnectionFailed), "{ended:?}");
    rig.server.has_ended(2).await;
    assert_eq!(rig.server.connections.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_request_without_an_account_is_not_sent() {
    let rig = Rig::new().await;
    rig.identify().await;
    read(&rig.shop()).await.unwrap();
    let anonymous = || Request::get("/api/v1/namespaces/web/secrets").body(Body::empty()).unwrap();
    assert!(rig.credentialless.send(anonymous()).await.is_err());
    let mut no_account = anonymous();
    no_account.headers_mut().insert(AUTHORIZATION, "Bearer token-1".parse().unwrap());
    assert!(rig.credentialless.send(no_account).await.is_err());
    assert!(rig.server.seen().iter().all(|seen| !seen.path.ends_with("/secrets")));
}

#[tokio::test]
async fn accounts_share_the_budget_of_their_cluster() {
    let rig = Rig::new().await;
    rig.identify().await;
    let client = rig.shop();
    read(&client).await.unwrap();
    let sender = Sender { operator: "project", urgency: Urgency::Rest };
    let turns = join_all((0..32).map(|_| sender.sends(rig.guard.turn()))).await;
    let mut waiting = Box::pin(read(&client));
    assert!(timeout(Duration::from_millis(100), &mut waiting).await.is_err(), "32 are under way");
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(turns);
    waiting.await.unwrap();
}

#[tokio::test]
async fn the_management_cluster_sees_no_credential_of_drover_from_an_account_either() {
    let rig = Rig::with_credential(", token: drovers-own").await;
    let management = Management::connect(&rig.access.config).unwrap();
    let client = management.accounts.unwrap().client(&AccountName::of_app("team", "shop"));
    read(&client).await.unwrap();
    let seen = rig.server.seen();
    let told: Vec<_> = seen.iter().map(|seen| (seen.has_certificate, seen.authorization.as_deref())).collect();
    assert_eq!(told, [(true, Some("Bearer drovers-own")), (false, Some("Bearer token-1"))], "{seen:?}");
}

/// A cluster with a thousand kinds says more of them than of any object.
#[tokio::test]
async fn discovery_may_be_longer_than_an_object() {
    let rig = Rig::new().await;
    rig.identify().await;
    assert_eq!(rig.accounts.kinds().await.unwrap().version, "v1.37.1");
    let get = Request::get("/apis").body(Vec::new()).unwrap();
    assert!(rig.own.request_text(get).await.is_err(), "nothing else may be as long");
    assert!(!rig.guard.is_too_large(), "one answer that is no list ends no connection");
}
