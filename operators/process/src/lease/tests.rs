use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use http_body_util::BodyExt as _;
use kube::{Client, client::Body};
use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::*;

/// What goes wrong between one candidate and the API server.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Fault {
    #[default]
    None,
    /// The server answers 500 and does nothing.
    Refuse,
    /// The request is lost.
    Drop,
    /// The request is carried out, its answer is lost.
    DropAnswer,
    /// The request arrives after this time, even if its sender does not wait for it any more.
    Late(Duration),
}

type Link = Arc<Mutex<Fault>>;

/// An API server that holds at most one Lease and checks the `resourceVersion`.
#[derive(Clone, Default)]
pub(super) struct Server(Arc<Mutex<Store>>);

#[derive(Default)]
struct Store {
    lease: Option<Value>,
    version: u64,
    requests: Vec<String>,
}

impl Store {
    fn answer(&mut self, method: &str, body: &[u8]) -> (u16, Value) {
        self.requests.push(method.to_owned());
        let version = self.version.to_string();
        match (method, &self.lease) {
            ("GET", Some(lease)) => (200, lease.clone()),
            ("POST", None) => (201, self.store(serde_json::from_slice(body).unwrap())),
            ("PUT", Some(_)) => {
                let lease: Value = serde_json::from_slice(body).unwrap();
                let read = lease["metadata"]["resourceVersion"].as_str().expect("never without a resourceVersion");
                if read == version { (200, self.store(lease)) } else { (409, Value::Null) }
            }
            ("POST", Some(_)) => (409, Value::Null),
            _ => (404, Value::Null),
        }
    }

    fn store(&mut self, mut lease: Value) -> Value {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.lease.insert(lease).clone()
    }
}

impl Server {
    pub(super) fn client(&self) -> Client {
        self.client_over(&Link::default())
    }

    fn client_over(&self, link: &Link) -> Client {
        let (server, link) = (self.clone(), link.clone());
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let (server, fault) = (server.clone(), *link.lock().unwrap());
            async move { Ok::<_, Infallible>(server.serve(request, fault).await) }
        });
        Client::new(service, "default")
    }

    async fn serve(self, request: http::Request<Body>, fault: Fault) -> http::Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let carry_out = move || self.0.lock().unwrap().answer(parts.method.as_str(), &body);
        let (code, answer) = match fault {
            Fault::None => carry_out(),
            Fault::Refuse => (500, Value::Null),
            Fault::Drop => std::future::pending().await,
            Fault::DropAnswer => {
                carry_out();
                std::future::pending().await
            }
            Fault::Late(delay) => {
                let late = async move {
                    sleep(delay).await;
                    carry_out()
                };
                tokio::spawn(late).await.unwrap()
            }
        };
        let reason = if code == 404 { "NotFound" } else { "" };
        let failure = || json!({"kind": "Status", "apiVersion": "v1", "code": code, "reason": reason, "message": ""});
        let answer = if answer.is_null() { failure() } else { answer };
        http::Response::builder().status(code).body(Body::from(answer.to_string().into_bytes())).unwrap()
    }

    /// Writes as another client would.
    fn edit(&self, change: impl FnOnce(&mut Value)) {
        let mut store = self.0.lock().unwrap();
        let mut lease = store.lease.clone().unwrap_or_else(|| {
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": "drover", "namespace": "drover-system"}, "spec": {}})
        });
        change(&mut lease);
        store.store(lease);
    }

    pub(super) fn held_by(&self, holder: &str, renewed: &str) {
        self.edit(|lease| {
            lease["spec"]["holderIdentity"] = json!(holder);
            lease["spec"]["leaseDurationSeconds"] = json!(15);
            lease["spec"]["renewTime"] = json!(renewed);
        });
    }

    pub(super) fn lease(&self) -> Value {
        self.0.lock().unwrap().lease.clone().unwrap()
    }
}

pub(super) fn settings(identity: &str) -> LeaseSettings {
    LeaseSettings::new("drover-system", "drover", identity)
}

async fn lead(client: Client, identity: &str) -> Leadership {
    let leadership = LeaderLease::acquire(client, settings(identity), CancellationToken::new());
    timeout(Duration::from_hours(1), leadership).await.expect("a candidate leads in the end").unwrap().unwrap()
}

/// How long `event` takes by the paused clock.
async fn seconds<T>(event: impl Future<Output = T>) -> (f64, T) {
    let start = Instant::now();
    let outcome = event.await;
    (start.elapsed().as_secs_f64(), outcome)
}

const LONG_AGO: &str = "1999-01-01T00:00:00.000000Z";
const FAR_AHEAD: &str = "2222-01-01T00:00:00.000000Z";

#[tokio::test(start_paused = true)]
async fn a_free_lease_is_acquired_at_once_and_renewed_with_one_request_each_time() {
    let server = Server::default();
    let (waited, _leadership) = seconds(lead(server.client(), "a")).await;
    assert!(waited < 0.1, "{waited}");
    let first = server.lease()["spec"].clone();
    assert_eq!(first["holderIdentity"], "a");
    assert_eq!(first["leaseDurationSeconds"], 15);
    assert_eq!(first["leaseTransitions"], 0);
    assert_eq!(first["acquireTime"], first["renewTime"]);

    sleep(Duration::from_mins(1)).await;
    let later = server.lease()["spec"].clone();
    assert_eq!(later["acquireTime"], first["acquireTime"]);
    assert_eq!(later["leaseTransitions"], 0);
    let requests = server.0.lock().unwrap().requests.clone();
    assert_eq!(requests[..2], ["GET", "POST"]);
    assert!(requests[2..].iter().all(|method| method == "PUT"), "{requests:?}");
    assert!((30..=40).contains(&requests[2..].len()), "{}", requests.len());
}

#[tokio::test(start_paused = true)]
async fn a_living_holder_is_respected_however_wrong_its_clock_is() {
    for renewed in [[LONG_AGO, FAR_AHEAD], [FAR_AHEAD, LONG_AGO]] {
        let server = Server::default();
        server.held_by("other", renewed[0]);
        let candidate = tokio::spawn(lead(server.client(), "a"));
        for turn in 0..20 {
            sleep(Duration::from_secs(14)).await;
            assert!(!candidate.is_finished());
            server.held_by("other", renewed[(turn + 1) % 2]);
        }
        assert_eq!(server.lease()["spec"]["holderIdentity"], "other");
        candidate.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_holder_is_replaced_after_the_duration_and_not_before() {
    for renewed in [LONG_AGO, FAR_AHEAD] {
        let server = Server::default();
        server.held_by("other", renewed);
        server.edit(|lease| lease["spec"]["leaseTransitions"] = json!(7));
        let (waited, _leadership) = seconds(lead(server.client(), "a")).await;
        assert!((15.0..=17.0).contains(&waited), "{waited}");
        assert_eq!(server.lease()["spec"]["leaseTransitions"], 8);
        assert_eq!(server.lease()["spec"]["acquireTime"], server.lease()["spec"]["renewTime"]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_duration_that_counts_is_the_holders_and_an_annotation_is_no_sign_of_life() {
    let server = Server::default();
    server.held_by("other", LONG_AGO);
    server.edit(|lease| lease["spec"]["leaseDurationSeconds"] = json!(40));
    let candidate = tokio::spawn(async move { seconds(lead(server.client(), "a")).await.0 });
    let annotated = seconds(candidate).await.1.unwrap();
    assert!((40.0..=42.0).contains(&annotated), "{annotated}");

    let server = Server::default();
    server.held_by("other", LONG_AGO);
    let annotator = server.clone();
    tokio::spawn(async move {
        for turn in 0..1000 {
            sleep(Duration::from_secs(5)).await;
            annotator.edit(|lease| lease["metadata"]["annotations"]["turn"] = json!(turn.to_string()));
        }
    });
    let (waited, _leadership) = seconds(lead(server.client(), "a")).await;
    assert!((15.0..=17.0).contains(&waited), "{waited}");
}

#[tokio::test(start_paused = true)]
async fn leadership_is_lost_when_renewals_fail_for_the_deadline() {
    for fault in [Fault::Refuse, Fault::Drop] {
        let (server, link) = (Server::default(), Link::default());
        let mut leadership = lead(server.client_over(&link), "a").await;
        assert!(timeout(Duration::from_secs(100), leadership.lost()).await.is_err(), "nothing is wrong yet");
        *link.lock().unwrap() = fault;
        let (waited, ()) = seconds(leadership.lost()).await;
        assert!((8.0..=10.0).contains(&waited), "{fault:?} {waited}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_and_lost_answers_do_not_end_a_leadership() {
    let (server, link) = (Server::default(), Link::default());
    let mut leadership = lead(server.client_over(&link), "a").await;
    for fault in [Fault::Refuse, Fault::Drop, Fault::DropAnswer, Fault::Late(Duration::from_secs(6))] {
        *link.lock().unwrap() = fault;
        assert!(timeout(Duration::from_millis(2500), leadership.lost()).await.is_err());
        *link.lock().unwrap() = Fault::None;
        assert!(timeout(Duration::from_secs(30), leadership.lost()).await.is_err(), "{fault:?}");
    }
    assert_eq!(server.lease()["spec"]["leaseTransitions"], 0);
}

#[tokio::test(start_paused = true)]
async fn leadership_is_lost_at_once_when_the_record_names_another_or_no_holder_or_is_gone() {
    let taken: [fn(&Server); 3] = [
        |server| server.held_by("other", LONG_AGO),
        |server| server.held_by("", LONG_AGO),
        |server| server.0.lock().unwrap().lease = None,
    ];
    for take in taken {
        let server = Server::default();
        let mut leadership = lead(server.client(), "a").await;
        sleep(Duration::from_secs(5)).await;
        take(&server);
        let (waited, ()) = seconds(leadership.lost()).await;
        assert!(waited <= 2.0, "{waited}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_released_lease_is_taken_within_a_retry_period() {
    let server = Server::default();
    let first = lead(server.client(), "a").await;
    let second = tokio::spawn(lead(server.client(), "b"));
    sleep(Duration::from_mins(1)).await;
    assert!(!second.is_finished());

    first.release().await;
    let record = server.lease()["spec"].clone();
    assert_eq!((&record["holderIdentity"], &record["leaseDurationSeconds"]), (&json!(""), &json!(1)));
    let (waited, second) = seconds(second).await;
    assert!(waited <= 2.0, "{waited}");
    assert_eq!(server.lease()["spec"]["leaseTransitions"], 1);

    server.held_by("c", LONG_AGO);
    second.unwrap().release().await;
    assert_eq!(server.lease()["spec"]["holderIdentity"], "c", "what is not ours is not released");
}

#[tokio::test(start_paused = true)]
async fn a_release_gives_up_when_the_server_is_gone() {
    let (server, link) = (Server::default(), Link::default());
    let leadership = lead(server.client_over(&link), "a").await;
    *link.lock().unwrap() = Fault::Drop;
    assert!(seconds(leadership.release()).await.0 <= 5.0);
}

#[tokio::test(start_paused = true)]
async fn what_others_wrote_on_the_lease_stays() {
    let server = Server::default();
    server.edit(|lease| {
        lease["metadata"]["annotations"] = json!({"argocd.argoproj.io/tracking-id": "x"});
        lease["metadata"]["labels"] = json!({"team": "platform"});
        lease["spec"] = json!({"strategy": "OldestEmulationVersion", "preferredHolder": "b"});
    });
    let leadership = lead(server.client(), "a").await;
    sleep(Duration::from_secs(5)).await;
    server.edit(|lease| lease["metadata"]["annotations"]["late"] = json!("y"));
    sleep(Duration::from_secs(5)).await;
    leadership.release().await;
    let lease = server.lease();
    assert_eq!(lease["metadata"]["annotations"], json!({"argocd.argoproj.io/tracking-id": "x", "late": "y"}));
    assert_eq!(lease["metadata"]["labels"], json!({"team": "platform"}));
    assert_eq!(lease["spec"]["strategy"], "OldestEmulationVersion");
    assert_eq!(lease["spec"]["preferredHolder"], "b");
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_is_stopped_never_leads() {
    let server = Server::default();
    server.held_by("other", LONG_AGO);
    let stop = CancellationToken::new();
    let candidate = tokio::spawn(LeaderLease::acquire(server.client(), settings("a"), stop.clone()));
    sleep(Duration::from_secs(5)).await;
    stop.cancel();
    assert!(candidate.await.unwrap().unwrap().is_none());
    sleep(Duration::from_mins(1)).await;
    assert_eq!(server.lease()["spec"]["holderIdentity"], "other");
}

#[tokio::test]
async fn settings_that_contradict_each_other_are_refused() {
    let good = settings("a");
    let seconds = Duration::from_secs;
    for bad in [
        LeaseSettings { identity: String::new(), ..good.clone() },
        LeaseSettings { duration: Duration::from_millis(900), ..good.clone() },
        LeaseSettings { duration: seconds(u64::MAX), ..good.clone() },
        LeaseSettings { renew_deadline: seconds(15), ..good.clone() },
        LeaseSettings { retry_period: seconds(10), ..good.clone() },
        LeaseSettings { retry_period: Duration::ZERO, ..good.clone() },
    ] {
        let outcome = LeaderLease::acquire(Server::default().client(), bad, CancellationToken::new()).await;
        assert!(matches!(outcome, Err(LeaseError::Settings(_))));
    }
}

/// Leads whenever it can, steps down now and then, and counts itself in and out.
async fn contend(client: Client, identity: &'static str, leaders: Arc<[AtomicUsize; 3]>) {
    let [now, most, changes] = &*leaders;
    let mut chance = StdRng::seed_from_u64(identity.len() as u64);
    loop {
        let mut leadership = lead(client.clone(), identity).await;
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        changes.fetch_add(1, Ordering::SeqCst);
        let tired = Duration::from_secs(chance.random_range(20..400));
        let released = timeout(tired, leadership.lost()).await.is_err();
        now.fetch_sub(1, Ordering::SeqCst);
        if released {
            leadership.release().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_contenders_never_more_than_one_leads_whatever_breaks() {
    for seed in 0..20 {
        let (server, links) = (Server::default(), [Link::default(), Link::default()]);
        let leaders = Arc::new([const { AtomicUsize::new(0) }; 3]);
        let _contenders = [("a", &links[0]), ("bb", &links[1])].map(|(identity, link)| {
            AbortOnDropHandle::new(tokio::spawn(contend(server.client_over(link), identity, leaders.clone())))
        });
        let mut chance = StdRng::seed_from_u64(seed);
        for _step in 0..100 {
            for link in &links {
                *link.lock().unwrap() = match chance.random_range(0..8) {
                    0 => Fault::Refuse,
                    1 => Fault::Drop,
                    2 => Fault::DropAnswer,
                    3 => Fault::Late(Duration::from_millis(chance.random_range(0..30_000))),
                    _ => Fault::None,
                };
            }
            if chance.random_bool(0.2) {
                server.edit(|lease| lease["metadata"]["annotations"]["by"] = json!("another client"));
            }
            sleep(Duration::from_millis(chance.random_range(100..15_000))).await;
        }
        for link in &links {
            *link.lock().unwrap() = Fault::None;
        }
        sleep(Duration::from_secs(40)).await;
        let [_, most, changes] = leaders.each_ref().map(|count| count.load(Ordering::SeqCst));
        assert_eq!(most, 1, "seed {seed}");
        assert!(changes > 3, "seed {seed}: {changes} terms");
    }
}
