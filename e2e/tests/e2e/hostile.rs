//! Clusters that mean harm. They are a small server of our own, as no real API server behaves like that.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::Ipv4Addr,
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use drover_e2e::certificates::{Authority, kubeconfig};
use drover_e2e::http_proxy::acceptor;
use drover_e2e::installation::{Installation, Timers};
use drover_e2e::story::*;
use futures::{StreamExt as _, stream};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::{body::Frame, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::TlsAcceptor;

drover_e2e::tests![
    a_cluster_that_sends_without_end_is_cut_off_and_hurts_nobody,
    one_event_or_one_probe_without_end_is_cut_off_as_well => weight(4),
    a_cluster_that_answers_a_byte_a_second_hurts_nobody,
    a_hundred_thousand_objects_are_taken_in_pages_and_hurt_nobody => weight(4),
    a_hundred_thousand_objects_on_one_page_are_too_many => weight(2),
    short_answers_that_decode_to_much_hurt_nobody => weight(2),
    answers_nested_without_end_are_told_and_hurt_nobody,
    watches_in_crumbs_are_read_and_cost_no_connection => weight(2),
    another_cluster_that_answers_after_a_cut_sees_nothing_but_the_probe,
];

/// How a hostile cluster answers, a list if nothing else is said.
#[derive(Clone, Copy, Debug)]
enum Harm {
    /// Without end, as fast as it can.
    Flood,
    /// A byte a second.
    Drip,
    /// Lists are empty; the first event of a watch has no end.
    Event,
    /// Already the probe is answered without end.
    Probe,
    /// Lists and watches are as they should be; after the connection was cut another cluster answers.
    Impostor,
    /// The lists of nodes and namespaces have [`CROWD`] objects each, in pages.
    Crowd,
    /// Every list has [`CROWD`] objects on one page, whatever is asked for.
    Page,
    /// Every list has so many empty objects on one page.
    Empty(usize),
    /// The first event of a watch has so many empty values, and nothing comes after it.
    Values(usize),
    /// Every list is nested without end.
    Nested,
    /// Lists are empty; a watch sends thousands of events at once, each in frames of so many bytes.
    Crumbs(usize),
    /// The version is nested without end.
    NestedVersion,
}

impl Harm {
    /// It says that Drover may do everything.
    fn permits_all(self) -> bool {
        matches!(self, Self::Crowd | Self::Page | Self::Empty(_) | Self::Values(_) | Self::Nested | Self::Crumbs(_))
    }
}

/// So many objects of one kind are more than any cluster has nodes or namespaces.
const CROWD: usize = 100_000;

/// A cluster that means harm.
struct Hostile {
    harm: Harm,
    /// The paths that were asked for.
    asked: Mutex<Vec<String>>,
    /// How often its connections were cut.
    cuts: watch::Sender<u32>,
}

impl Hostile {
    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

type Body = BoxBody<Bytes, Infallible>;

fn whole(text: String) -> Body {
    http_body_util::Full::new(Bytes::from(text)).boxed()
}

fn endless(harm: Harm) -> Body {
    let (chunk, pause) = match harm {
        Harm::Flood | Harm::Event | Harm::Probe => (Bytes::from(vec![b'x'; 64 * 1024]), Duration::ZERO),
        Harm::Drip => (Bytes::from_static(b"x"), Duration::from_secs(1)),
        _ => return BodyExt::boxed(StreamBody::new(stream::pending())),
    };
    let start = stream::once(async { Bytes::from_static(br#"{"kind":"List","items":[{"metadata":{"name":""#) });
    let rest = stream::repeat(chunk).then(move |chunk| async move {
        tokio::time::sleep(pause).await;
        chunk
    });
    BodyExt::boxed(StreamBody::new(Box::pin(start.chain(rest)).map(|chunk| Ok(Frame::data(chunk)))))
}

/// Plausible until it is asked for a list.
fn answer(request: &Request<Incoming>, hostile: &Hostile) -> Response<Body> {
    let harm = hostile.harm;
    hostile.asked.lock().unwrap().push(request.uri().path().to_owned());
    let uid = format!("11111111-2222-3333-4444-{:012}", *hostile.cuts.borrow());
    let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    let body = match request.uri().path() {
        "/readyz" if matches!(harm, Harm::Probe) => endless(harm),
        "/readyz" => whole("ok".to_owned()),
        "/version" if matches!(harm, Harm::NestedVersion) => whole(format!("{{\"major\":{}", "[".repeat(10_000))),
        "/version" => {
            let names = ["gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler"];
            let mut version = json!({"major": "1", "minor": "37", "gitVersion": "v1.37.1", "platform": "linux/amd64"});
            for name in names {
                version[name] = "".into();
            }
            whole(version.to_string())
        }
        "/api/v1/namespaces/kube-system" => whole(
            json!({
                "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                "metadata": {"name": "kube-system", "uid": uid},
            })
            .to_string(),
        ),
        "/api/v1/namespaces/drover-system/configmaps/drover-claim" => whole(
            json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "drover-claim"},
                "data": {"installation": "e2e", "clusterName": "us"},
            })
            .to_string(),
        ),
        "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews" if harm.permits_all() => {
            let everything = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
            let status = json!({"resourceRules": [everything], "nonResourceRules": [], "incomplete": false});
            let kind = "SelfSubjectRulesReview";
            whole(
                json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": {}, "status": status})
                    .to_string(),
            )
        }
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" if harm.permits_all() => {
            let kind = "SelfSubjectAccessReview";
            let (spec, status) = (json!({}), json!({"allowed": true}));
            whole(
                json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec, "status": status})
                    .to_string(),
            )
        }
        _ if matches!(harm, Harm::Event | Harm::Values(_) | Harm::Crumbs(_) | Harm::Impostor) && !watches => whole(
            json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []}).to_string(),
        ),
        path if !watches => match harm {
            // None of them asks for a Project.
            Harm::Crowd if request.uri().query().is_some_and(|query| query.contains("drover.dev%2Fproject")) => {
                whole(list(""))
            }
            Harm::Crowd if path.ends_with("/nodes") || path.ends_with("/namespaces") => {
                whole(crowd(path, &page(request.uri())))
            }
            Harm::Crowd => whole(list("")),
            Harm::Page => whole(crowd(path, &(0..CROWD))),
            Harm::Empty(count) => whole(list(&vec!["{}"; count].join(","))),
            Harm::Nested => whole(list(&"[".repeat(10_000))),
            _ => endless(harm),
        },
        _ if let Harm::Crumbs(size) = harm => crumbs(size),
        _ if let Harm::Values(count) = harm => {
            let conditions = vec!["{}"; count].join(",");
            let object = format!(r#"{{"metadata":{{"name":"a"}},"status":{{"conditions":[{conditions}]}}}}"#);
            let event = Bytes::from(format!("{{\"type\":\"ADDED\",\"object\":{object}}}\n"));
            let event = stream::once(async { Ok(Frame::data(event)) });
            BodyExt::boxed(StreamBody::new(event.chain(stream::pending())))
        }
        _ => endless(harm),
    };
    Response::new(body)
}

/// Hundreds or thousands of events as short as real ones are, and then nothing.
fn crumbs(size: usize) -> Body {
    let note = "x".repeat(400);
    let object = json!({"metadata": {"name": "a", "resourceVersion": "2", "annotations": {"note": note}}});
    let event = json!({"type": "MODIFIED", "object": object});
    let bytes = Bytes::from(format!("{event}\n").repeat(if size > 1 { 5_000 } else { 250 }));
    let frames = (0..bytes.len()).step_by(size);
    let frames = frames.map(move |at| Ok(Frame::data(bytes.slice(at..(at + size).min(bytes.len())))));
    BodyExt::boxed(StreamBody::new(stream::iter(frames).chain(stream::pending())))
}

fn list(items: &str) -> String {
    format!(r#"{{"kind":"List","apiVersion":"v1","metadata":{{"resourceVersion":"1"}},"items":[{items}]}}"#)
}

/// Which objects a request for a page asks for.
fn page(uri: &Uri) -> Range<usize> {
    let pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let asked: HashMap<&str, usize> = pairs.filter_map(|(key, value)| Some((key, value.parse().ok()?))).collect();
    let from = asked.get("continue").copied().unwrap_or_default();
    from..(from + asked.get("limit").copied().unwrap_or(CROWD)).min(CROWD)
}

/// A page of a list of [`CROWD`] objects, as small as objects can be.
fn crowd(path: &str, page: &Range<usize>) -> String {
    let object = |number: usize| {
        let metadata = format!(r#"{{"name":"crowd-{number}","uid":"{number}","resourceVersion":"1"}}"#);
        format!(r#"{{"metadata":{metadata},"status":{{"conditions":[{{"type":"Ready","status":"True"}}]}}}}"#)
    };
    let items: Vec<_> = page.clone().map(object).collect();
    let rest = (page.end < CROWD).then(|| page.end.to_string());
    let kind = if path.ends_with("nodes") { "NodeList" } else { "PartialObjectMetadataList" };
    let metadata = json!({"resourceVersion": "1", "continue": rest});
    format!(r#"{{"kind":"{kind}","apiVersion":"v1","metadata":{metadata},"items":[{}]}}"#, items.join(","))
}

/// Starts a hostile cluster, and returns its kubeconfig.
async fn hostile(harm: Harm) -> (String, Arc<Hostile>) {
    let authority = Authority::new("hostile").unwrap();
    let acceptor = acceptor(&authority).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let server = format!("https://{}", listener.local_addr().unwrap());
    let hostile = Hostile { harm, asked: Mutex::default(), cuts: watch::Sender::new(0) };
    let hostile = Arc::new(hostile);
    let serving = Arc::clone(&hostile);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(serve(connection, acceptor.clone(), Arc::clone(&serving)));
        }
    });
    let user = authority.client("drover", &[]).unwrap();
    (kubeconfig("hostile", &server, authority.certificate(), "drover", &user), hostile)
}

async fn serve(connection: TcpStream, acceptor: TlsAcceptor, hostile: Arc<Hostile>) {
    let mut cuts = hostile.cuts.subscribe();
    let Ok(secured) = acceptor.accept(connection).await else { return };
    let service = service_fn(|request| {
        let answer = answer(&request, &hostile);
        async { Ok::<_, Infallible>(answer) }
    });
    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    tokio::select! {
        _ = builder.serve_connection(TokioIo::new(secured), service) => {}
        _ = cuts.changed() => {}
    }
}

/// Resident memory of the newest drover, in MiB.
fn memory(installation: &mut Installation) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", installation.replica(0).unwrap().pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap().to_owned();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

async fn harms_nobody(harm: Harm) -> Option<Installation> {
    let told = match harm {
        // An object with too many values is one that is not decoded: whoever may write one could cut the cluster off for all else.
        Harm::Drip | Harm::Crowd | Harm::Crumbs(_) | Harm::Values(_) => None,
        _ => Some("False/TooLarge"),
    };
    let cut_off = told == Some("False/TooLarge");
    let mut installation = prepared("a hostile cluster", &["eu"]).await?;
    // With short clocks, whoever is not cut off would be listed again all the time.
    installation.timers = cut_off.then_some(match harm {
        // The event has ten megabytes before it is too large: on a slow machine that takes longer than a short watch is waited for.
        Harm::Event => Timers { watch: Duration::from_secs(20), ..Timers::SHORT },
        _ => Timers::SHORT,
    });
    installation.start_drover().await.unwrap();
    let (kubeconfig, hostile) = hostile(harm).await;
    ready_with(&installation, &a_project("shop", &["team-web"])).await;
    let pace = time_to_heal(&installation, "eu").await;
    installation.store_secret("us", &kubeconfig).await.unwrap();
    installation.apply(&a_cluster("us")).await.unwrap();
    if let Some(told) = told {
        reads(&installation, "cluster", "us", "Ready", told).await;
    }
    for _ in 0..3 {
        not_held_up(&format!("{harm:?}"), pace, time_to_heal(&installation, "eu").await);
    }
    if cut_off {
        // What had been sent before it was cut off may come late, on a machine with more to do.
        let mut asked = hostile.asked();
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let before = std::mem::replace(&mut asked, hostile.asked());
            if before == asked {
                break;
            }
        }
        // Several probe intervals: it would do so again, so it is left alone.
        tokio::time::sleep(two_periods()).await;
        assert_eq!(hostile.asked(), asked, "it was asked again");
    }
    Some(installation)
}

async fn a_cluster_that_sends_without_end_is_cut_off_and_hurts_nobody() {
    let Some(mut installation) = harms_nobody(Harm::Flood).await else { return };
    let used = memory(&mut installation);
    // A debug build with two clusters takes about 40 MiB; the rest is the one answer that was let in up to its cap.
    assert!(used < 300, "drover took {used} MiB");
    reads(&installation, "cluster", "us", "Connected", "False/TooLarge").await;
}

async fn one_event_or_one_probe_without_end_is_cut_off_as_well() {
    for harm in [Harm::Event, Harm::Probe] {
        let Some(mut installation) = harms_nobody(harm).await else { return };
        let used = memory(&mut installation);
        assert!(used < 300, "{harm:?}: drover took {used} MiB");
        reads(&installation, "project", "shop", "Ready", "True/ReadyExceptUnreachable").await;
    }
}

async fn a_cluster_that_answers_a_byte_a_second_hurts_nobody() {
    harms_nobody(Harm::Drip).await;
}

async fn a_hundred_thousand_objects_on_one_page_are_too_many() {
    stays_small(Harm::Page).await;
}

/// A page of millions of objects, or an event with millions of values, is no longer than ordinary ones.
async fn short_answers_that_decode_to_much_hurt_nobody() {
    for harm in [Harm::Empty(2_700_000), Harm::Empty(300_000)] {
        stays_small(harm).await;
    }
    let Some(mut installation) = harms_nobody(Harm::Values(1_300_000)).await else { return };
    reads(&installation, "cluster", "us", "Ready", "True/Connected").await;
    assert!(memory(&mut installation) < 300);
}

async fn answers_nested_without_end_are_told_and_hurt_nobody() {
    stays_small(Harm::Nested).await;
    stays_small(Harm::NestedVersion).await;
}

/// hyper closes a connection on which small frames lie unread.
async fn watches_in_crumbs_are_read_and_cost_no_connection() {
    harms_nobody(Harm::Crumbs(1)).await;
    let Some(mut installation) = harms_nobody(Harm::Crumbs(500)).await else { return };
    reads(&installation, "cluster", "us", "Ready", "True/Connected").await;
    assert!(memory(&mut installation) < 300);
    // Before that cluster is there, a management cluster that has just started may refuse a watch of a new kind.
    let log = installation.drover_log();
    let (_, with_it) = log.split_once("connected cluster=us").unwrap();
    assert_eq!(with_it.matches("a watch broke").count(), 0, "{log}");
}

async fn stays_small(harm: Harm) {
    let Some(mut installation) = harms_nobody(harm).await else { return };
    let used = memory(&mut installation);
    println!("{harm:?}: drover took {used} MiB");
    assert!(used < 300, "{harm:?}: drover took {used} MiB");
}

async fn a_hundred_thousand_objects_are_taken_in_pages_and_hurt_nobody() {
    let Some(mut installation) = harms_nobody(Harm::Crowd).await else { return };
    reads(&installation, "cluster", "us", "NodesHealthy", "True/AllReady").await;
    let nodes = get(&installation, "cluster", "us").await.unwrap()["status"]["nodes"].clone();
    assert_eq!(nodes["total"], CROWD);
    let used = memory(&mut installation);
    println!("{CROWD} nodes and as many namespaces: drover took {used} MiB");
    assert!(used < 500, "drover took {used} MiB");
}

/// What is asked of whoever answers, before it is known who that is.
const PROBE: [&str; 3] = ["/readyz", "/version", "/api/v1/namespaces/kube-system"];

async fn another_cluster_that_answers_after_a_cut_sees_nothing_but_the_probe() {
    let Some(installation) = restful_story("an impostor", &["eu"]).await else { return };
    let (kubeconfig, hostile) = hostile(Harm::Impostor).await;
    installation.store_secret("us", &kubeconfig).await.unwrap();
    installation.apply(&a_cluster("us")).await.unwrap();
    installation.apply(&a_project("shop", &[])).await.unwrap();
    reads(&installation, "cluster", "us", "Ready", "True/Connected").await;
    converged(&installation, "shop").await;

    // Everything that watches wants to come back, and there is something to be written.
    hostile.asked.lock().unwrap().clear();
    hostile.cuts.send_modify(|cuts| *cuts += 1);
    installation.apply(&a_project("shop", &["team-web"])).await.unwrap();
    reads(&installation, "cluster", "us", "Ready", "False/IdentityMismatch").await;
    reads(&installation, "cluster", "us", "Accepted", "False/IdentityMismatch").await;
    tokio::time::sleep(two_periods()).await;
    let others: Vec<_> = hostile.asked().into_iter().filter(|path| !PROBE.contains(&path.as_str())).collect();
    assert_eq!(others, Vec::<String>::new(), "the impostor saw more than the probe");
    assert!(!hostile.asked().is_empty());
    assert!(downstream_namespace(&installation, "eu", "team-web").await.unwrap().is_some(), "the others go on");
}
