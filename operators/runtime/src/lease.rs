//! Leader election on one `coordination.k8s.io/v1` Lease, with the semantics of client-go.
//!
//! A candidate never compares wall clocks: another holder's term is over when its record has not changed for the duration
//! that the record names, measured by our monotonic clock from the moment *we* saw it change. A leader counts from the
//! moment it *sent* its last successful write, and gives up after a shorter time, so it has stopped before anybody else
//! may start. Every write is a `replace` with the `resourceVersion` that was read; of two writers one gets a conflict.
//!
//! What an election cannot promise: a process that the machine froze for longer than the margin (5 s by default) may send
//! one more request before it notices. All that Drover writes is therefore idempotent as well.

mod observation;

use std::time::Duration;

use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::MicroTime};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use rand::RngExt as _;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub use observation::Observation;

use crate::{clock, error::ApiError};

/// client-go's `LeaseDuration` as kube-controller-manager sets it.
const DURATION: Duration = Duration::from_secs(15);
/// client-go's `RenewDeadline`.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// client-go's `RetryPeriod`.
const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// A released Lease names this duration, in seconds, as client-go's `ReleaseOnCancel` does; zero is not valid.
const RELEASED_DURATION: i32 = 1;
/// Pause before a release that met a conflict is tried again.
const RELEASE_PAUSE: Duration = Duration::from_millis(100);

/// Which Lease decides, who we are, and how long things take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseSettings {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Who we are. No two processes that run at the same time may share it; the pod name is a good choice.
    pub identity: String,
    /// How long others wait for a sign of life before they take over. Whole seconds, at least 1; 15 s by default.
    pub duration: Duration,
    /// How long a leader goes on without a successful renewal. Shorter than `duration`, the difference being the safety
    /// margin; 10 s by default.
    pub renew_deadline: Duration,
    /// Longest pause between two attempts, to renew or to acquire. Shorter than `renew_deadline`; 2 s by default.
    pub retry_period: Duration,
}

impl LeaseSettings {
    /// Settings with the durations that Kubernetes' own components use.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            duration: DURATION,
            renew_deadline: RENEW_DEADLINE,
            retry_period: RETRY_PERIOD,
        }
    }

    fn check(&self) -> Result<(), LeaseError> {
        if self.namespace.is_empty() || self.name.is_empty() || self.identity.is_empty() {
            return Err(LeaseError::Settings("namespace, name and identity must not be empty"));
        }
        let Ok(seconds @ 1..) = i32::try_from(self.duration.as_secs()) else {
            return Err(LeaseError::Settings("the duration must be between 1 s and 2^31 s"));
        };
        if self.renew_deadline >= Duration::from_secs(u64::from(seconds.unsigned_abs())) {
            return Err(LeaseError::Settings("the renew deadline must be shorter than the duration in whole seconds"));
        }
        if self.retry_period.is_zero() || self.retry_period >= self.renew_deadline {
            return Err(LeaseError::Settings("the retry period must be above zero and below the renew deadline"));
        }
        Ok(())
    }

    /// What the Lease says; `check` has made sure that it fits.
    fn duration_seconds(&self) -> i32 {
        i32::try_from(self.duration.as_secs()).unwrap_or(i32::MAX)
    }

    /// Half the deadline, so that one request without an answer leaves time for another.
    fn request_timeout(&self) -> Duration {
        self.renew_deadline / 2
    }

    /// The pause before the next attempt: jittered, so that candidates that started together do not write together, and
    /// never longer than the retry period.
    fn pause(&self) -> Duration {
        self.retry_period.mul_f64(rand::rng().random_range(0.75..=1.0))
    }
}

/// Why an election cannot be held. An API server that fails is not among it: that is retried for as long as it takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// The settings contradict each other.
    #[error("cannot hold a leader election: {0}")]
    Settings(&'static str),
}

/// A candidate's view of the Lease.
#[derive(Clone, Debug)]
pub struct LeaderLease {
    api: Api<Lease>,
    settings: LeaseSettings,
    observation: Observation,
}

/// A write that succeeded.
#[derive(Debug)]
struct Term {
    lease: Lease,
    /// When the write was sent: what others see of it, they see later.
    sent: Instant,
}

/// What an attempt showed.
#[derive(Debug)]
enum Attempt {
    /// The record names us.
    Leading(Box<Term>),
    /// The record names another, or, to a leader, nobody.
    Following(String),
}

impl Attempt {
    fn leading(term: Term) -> Self {
        Self::Leading(Box::new(term))
    }
}

impl LeaderLease {
    /// Waits until this process leads, or returns `None` when `stop` is cancelled first.
    ///
    /// Failing requests are logged and tried again. An attempt that `stop` interrupts may still reach the API server; then
    /// the others wait for one duration.
    pub async fn acquire(
        client: Client,
        settings: LeaseSettings,
        stop: CancellationToken,
    ) -> Result<Option<Leadership>, LeaseError> {
        settings.check()?;
        let candidate =
            Self { api: Api::namespaced(client, &settings.namespace), settings, observation: Observation::default() };
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(None),
            leadership = candidate.campaign() => Ok(Some(leadership)),
        }
    }

    async fn campaign(mut self) -> Leadership {
        let mut known_holder = None;
        loop {
            match self.attempt().await {
                Ok(Attempt::Leading(term)) => return Leadership::begin(self, *term),
                Ok(Attempt::Following(holder)) if known_holder.as_ref() == Some(&holder) => {}
                Ok(Attempt::Following(holder)) => {
                    tracing::info!(lease = self.settings.name, holder, "another process leads; waiting");
                    known_holder = Some(holder);
                }
                Err(error) => report(&error),
            }
            sleep(self.settings.pause()).await;
        }
    }

    /// Reads the record and claims it if nobody alive holds it.
    async fn attempt(&mut self) -> Result<Attempt, ApiError> {
        let Some(lease) = self.read().await? else {
            return self.create().await.map(Attempt::leading);
        };
        if let Some(holder) = self.living_holder(&lease) {
            return Ok(Attempt::Following(holder));
        }
        self.replace(self.claimed(lease)).await.map(Attempt::leading)
    }

    /// Writes the next sign of life, usually with one request: `lease` is what we wrote last.
    ///
    /// After a conflict, or a write whose answer was lost, the record is read again: somebody may have annotated it. A record
    /// that names anybody else, or nobody, ends the leadership.
    async fn renew(&self, lease: Lease) -> Result<Attempt, ApiError> {
        match self.replace(self.claimed(lease)).await {
            Err(error) if is_conflict(&error) || error.code() == Some(404) => {}
            outcome => return outcome.map(Attempt::leading),
        }
        match self.read().await? {
            Some(lease) if self.is_ours(&lease) => self.replace(self.claimed(lease)).await.map(Attempt::leading),
            other => Ok(Attempt::Following(other.as_ref().and_then(holder).unwrap_or_default().to_owned())),
        }
    }

    /// Renews until the leadership is over, and tells `until` how long each renewal lasts.
    async fn keep_renewing(self, mut lease: Lease, until: watch::Sender<Instant>) {
        loop {
            let deadline = *until.borrow();
            // No renewal may succeed after the deadline: by then `Leadership::lost` has said that it is over.
            let Ok(outcome) = timeout_at(deadline, self.renew_after_pause(lease.clone())).await else {
                tracing::error!(lease = self.settings.name, "the leader lease was not renewed in time");
                return;
            };
            match outcome {
                Ok(Attempt::Leading(term)) => {
                    until.send_replace(term.sent + self.settings.renew_deadline);
                    lease = term.lease;
                }
                Ok(Attempt::Following(holder)) => {
                    tracing::error!(lease = self.settings.name, holder, "the leader lease was taken away");
                    return;
                }
                Err(error) => report(&error),
            }
        }
    }

    async fn renew_after_pause(&self, lease: Lease) -> Result<Attempt, ApiError> {
        sleep(self.settings.pause()).await;
        self.renew(lease).await
    }

    /// Clears the holder, so that another candidate need not wait for the duration.
    async fn give_up(&self) -> Result<(), ApiError> {
        loop {
            let Some(lease) = self.read().await?.filter(|lease| self.is_ours(lease)) else {
                return Ok(());
            };
            match self.replace(released(lease)).await {
                // A renewal that was on its way when we stopped it.
                Err(error) if is_conflict(&error) => sleep(RELEASE_PAUSE).await,
                outcome => return outcome.map(|_| ()),
            }
        }
    }

    /// The holder whose term is not over, if it is not us.
    fn living_holder(&mut self, lease: &Lease) -> Option<String> {
        self.observation.living_holder(lease).filter(|holder| *holder != self.settings.identity)
    }

    fn is_ours(&self, lease: &Lease) -> bool {
        holder(lease) == Some(&self.settings.identity)
    }

    /// `lease` with us as the holder. All that is not part of the record stays as it is.
    fn claimed(&self, mut lease: Lease) -> Lease {
        let now = MicroTime(clock::now());
        let is_ours = self.is_ours(&lease);
        let record = lease.spec.get_or_insert_default();
        if !is_ours {
            record.acquire_time = Some(now.clone());
            record.lease_transitions = Some(record.lease_transitions.unwrap_or(0).saturating_add(1));
        }
        record.holder_identity = Some(self.settings.identity.clone());
        record.lease_duration_seconds = Some(self.settings.duration_seconds());
        record.renew_time = Some(now);
        lease
    }

    async fn read(&self) -> Result<Option<Lease>, ApiError> {
        self.request("read", self.api.get_opt(&self.settings.name)).await
    }

    async fn create(&self) -> Result<Term, ApiError> {
        let metadata = ObjectMeta { name: Some(self.settings.name.clone()), ..ObjectMeta::default() };
        let mut lease = self.claimed(Lease { metadata, spec: None });
        lease.spec.get_or_insert_default().lease_transitions = Some(0);
        let sent = Instant::now();
        let lease = self.request("create", self.api.create(&PostParams::default(), &lease)).await?;
        Ok(Term { lease, sent })
    }

    async fn replace(&self, lease: Lease) -> Result<Term, ApiError> {
        let sent = Instant::now();
        let parameters = PostParams::default();
        let written = self.api.replace(&self.settings.name, &parameters, &lease);
        Ok(Term { lease: self.request("replace", written).await?, sent })
    }

    async fn request<T>(&self, verb: &str, answer: impl Future<Output = kube::Result<T>>) -> Result<T, ApiError> {
        let what = || format!("{verb} Lease {}/{}", self.settings.namespace, self.settings.name);
        match timeout(self.settings.request_timeout(), answer).await {
            Ok(answer) => answer.map_err(|error| ApiError::new(what(), error)),
            Err(_) => Err(ApiError::Timeout { what: what() }),
        }
    }
}

/// Proof that this process leads. Renewed in the background until it is lost, released or dropped.
#[derive(Debug)]
pub struct Leadership {
    lease: LeaderLease,
    /// Until when the last renewal lasts. The sender is dropped when the leadership is lost before that.
    until: watch::Receiver<Instant>,
    renewal: AbortOnDropHandle<()>,
}

impl Leadership {
    fn begin(lease: LeaderLease, term: Term) -> Self {
        tracing::info!(lease = lease.settings.name, identity = lease.settings.identity, "this process leads");
        let (sender, until) = watch::channel(term.sent + lease.settings.renew_deadline);
        let renewal = AbortOnDropHandle::new(tokio::spawn(lease.clone().keep_renewing(term.lease, sender)));
        Self { lease, until, renewal }
    }

    /// Resolves when the leadership is over: another process holds the Lease, or no renewal succeeded for the renew
    /// deadline. Then the work must stop at once. May be cancelled and called again.
    pub async fn lost(&mut self) {
        loop {
            let until = *self.until.borrow_and_update();
            tokio::select! {
                biased;
                changed = self.until.changed() => if changed.is_err() { return },
                // Watched here as well as by the renewal, so that a renewal that hangs or panics ends the leadership too.
                () = sleep_until(until) => return,
            }
        }
    }

    /// Gives the Lease back on shutdown, after the work has stopped, so that another process takes over within its retry
    /// period. Best effort, and bounded by half the renew deadline: if it fails, the others wait for the duration.
    pub async fn release(self) {
        let Self { lease, renewal, .. } = self;
        drop(renewal);
        match timeout(lease.settings.request_timeout(), lease.give_up()).await {
            Ok(Ok(())) => tracing::info!(lease = lease.settings.name, "released the leader lease"),
            Ok(Err(error)) => report(&error),
            Err(_) => tracing::warn!(lease = lease.settings.name, "the leader lease was not released in time"),
        }
    }
}

/// `lease` as client-go leaves it behind on shutdown.
fn released(mut lease: Lease) -> Lease {
    let record = lease.spec.get_or_insert_default();
    record.holder_identity = Some(String::new());
    record.lease_duration_seconds = Some(RELEASED_DURATION);
    record.renew_time = Some(MicroTime(clock::now()));
    lease
}

/// Who holds the Lease. A released one has an empty holder, which is nobody.
fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

fn is_conflict(error: &ApiError) -> bool {
    error.code() == Some(409)
}

fn report(error: &ApiError) {
    let conflict = is_conflict(error);
    let error = error as &dyn std::error::Error;
    // Of two candidates that write at the same time one gets a conflict; nothing is wrong then.
    if conflict {
        tracing::debug!(error, "leader election");
    } else {
        tracing::warn!(error, "leader election");
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc, Mutex,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use http_body_util::BodyExt as _;
    use kube::client::Body;
    use rand::{SeedableRng as _, rngs::StdRng};
    use serde_json::{Value, json};

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
        /// The request arrives after this time, even if nobody waits for it any more.
        Late(Duration),
    }

    type Link = Arc<Mutex<Fault>>;

    /// An API server that holds at most one Lease and checks the `resourceVersion`.
    #[derive(Clone, Default)]
    struct Server(Arc<Mutex<Store>>);

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
        fn client(&self) -> Client {
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
            let failure =
                || json!({"kind": "Status", "apiVersion": "v1", "code": code, "reason": reason, "message": ""});
            let answer = if answer.is_null() { failure() } else { answer };
            http::Response::builder().status(code).body(Body::from(answer.to_string().into_bytes())).unwrap()
        }

        /// Writes as somebody else would.
        fn edit(&self, change: impl FnOnce(&mut Value)) {
            let mut store = self.0.lock().unwrap();
            let mut lease = store.lease.clone().unwrap_or_else(|| {
                json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"name": "drover", "namespace": "drover-system"}, "spec": {}})
            });
            change(&mut lease);
            store.store(lease);
        }

        fn held_by(&self, holder: &str, renewed: &str) {
            self.edit(|lease| {
                lease["spec"]["holderIdentity"] = json!(holder);
                lease["spec"]["leaseDurationSeconds"] = json!(15);
                lease["spec"]["renewTime"] = json!(renewed);
            });
        }

        fn lease(&self) -> Value {
            self.0.lock().unwrap().lease.clone().unwrap()
        }
    }

    fn settings(identity: &str) -> LeaseSettings {
        LeaseSettings::new("drover-system", "drover", identity)
    }

    async fn lead(client: Client, identity: &str) -> Leadership {
        let leadership = LeaderLease::acquire(client, settings(identity), CancellationToken::new());
        timeout(Duration::from_hours(1), leadership).await.expect("somebody leads in the end").unwrap().unwrap()
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
    async fn leadership_is_lost_at_once_when_the_record_names_another_or_nobody_or_is_gone() {
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
                    server.edit(|lease| lease["metadata"]["annotations"]["by"] = json!("somebody"));
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
}
