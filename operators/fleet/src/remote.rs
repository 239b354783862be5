//! The life of one connection: dial, identify, probe, replace, end.

use std::{collections::BTreeSet, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use drover_crds::Cluster;
use drover_dial::{ConnectionError, CredentialLife, Parsed, SeenCertificate};
use drover_runtime::{Cache, DialPolicy, Failure, Link, cache::CacheSettings, clock, held::Held, rights::Right};
use futures::FutureExt as _;
use kube::ResourceExt as _;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};

use crate::{
    claimant::Claimant,
    cluster_client::{ClusterClient, ConnectError},
    connection_guard, identity,
    management::Management,
    next::{Due, Next},
    probe::{self, Facts},
    required_permissions::RequiredPermissions,
    source::{Source, Target},
    verdict::{Fault, Hysteresis, Thresholds, Verdict},
};

/// What is known of one cluster's connection.
#[derive(Clone, Debug)]
pub struct Report {
    /// Whether it can be worked on.
    pub link: Link,
    /// What the cluster said of itself when it was last reached.
    pub facts: Option<Facts>,
    /// The URL of its API server.
    pub endpoint: Option<String>,
    /// Why a changed credential was not taken, while the old connection goes on.
    pub rejected: Option<Failure>,
    /// Whether the cluster is ours to write to. Not yet, while it is suspended or being deleted.
    pub claimed: bool,
    /// The rights that the credential lacks in the cluster, such as `list nodes`; none while the cluster has not answered.
    pub missing_rights: Option<Vec<String>>,
    /// Certificates that were seen while the connection was made.
    pub certificates: Vec<SeenCertificate>,
    /// How long the credential is good for; none if it does not say so.
    pub credential: Option<CredentialLife>,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            link: Link::Connecting,
            facts: None,
            endpoint: None,
            rejected: None,
            claimed: false,
            missing_rights: None,
            certificates: Vec::new(),
            credential: None,
        }
    }
}

/// Keeps one cluster connected. Dropping its task ends the connection and everything that reads through it.
pub(crate) struct Remote {
    target: watch::Receiver<Target>,
    management: Management,
    policy: DialPolicy,
    parsed: Parsed,
    claimant: Claimant,
    required: Arc<RequiredPermissions>,
    dial_slots: Arc<Semaphore>,
    caches: CacheSettings,
    serving: Option<Serving>,
    hysteresis: Hysteresis,
    rejected: Option<Failure>,
    /// The last good credential of a Secret that is gone, and until when it is kept: for the deletion of the Cluster only.
    withdrawn: Option<(Source, Instant)>,
    /// What is held at the cluster, whatever connection shows it.
    held: Arc<Held>,
    /// An informer of the cache changed its health, or a request failed.
    hint: Arc<Notify>,
    /// Requests wait for a connection.
    wanted: Arc<Notify>,
    /// What was too large is left alone until then, unless its Cluster or Secret changes.
    avoided: Option<(Instant, Target)>,
}

/// A connection that was probed with success.
struct Serving {
    source: Source,
    cache: Arc<Cache>,
    gate: watch::Sender<bool>,
    facts: Facts,
    cluster_client: ClusterClient,
    claimed: bool,
    missing_rights: Option<BTreeSet<Right>>,
    probes_since_identified: u32,
}

/// What the first requests to a server brought.
struct Introduced {
    facts: Facts,
    claimed: bool,
    missing_rights: Option<BTreeSet<Right>>,
}

/// Whether requests have a connection.
#[derive(Clone, Copy, PartialEq)]
enum Connected {
    Yes,
    No,
}

/// Who answers is asked again after so many probes, so that an upgrade shows within ten minutes.
const IDENTIFY_EVERY: u32 = 20;
/// A cluster that sent too much would do so again: it is left alone for this time.
const AVOIDED_FOR: Duration = Duration::from_mins(10);

impl Remote {
    pub(crate) fn new(
        target: watch::Receiver<Target>,
        management: Management,
        policy: DialPolicy,
        claimant: Claimant,
        required: Arc<RequiredPermissions>,
        dial_slots: Arc<Semaphore>,
        caches: CacheSettings,
    ) -> Self {
        Self {
            target,
            management,
            policy,
            parsed: Parsed::default(),
            claimant,
            required,
            dial_slots,
            caches,
            serving: None,
            hysteresis: Hysteresis::default(),
            rejected: None,
            withdrawn: None,
            held: Arc::default(),
            hint: Arc::default(),
            wanted: Arc::default(),
            avoided: None,
        }
    }

    /// Runs until the target's sender is dropped.
    pub(crate) async fn run(mut self, publish: impl Fn(Report)) {
        loop {
            let target = self.target.borrow_and_update().clone();
            let began = Instant::now();
            self.guarded(&target, Self::step).await;
            publish(self.report());
            let pause = self.hysteresis.pause(target.cluster.spec.health_interval());
            let mut next = Next::after(began, pause, self.hysteresis.is_in_doubt());
            loop {
                match next.wait(&mut self.target, &self.hint, &self.wanted).await {
                    Due::Nothing => return,
                    Due::Step => break,
                    Due::Connection => {
                        next.connection_begins();
                        if self.guarded(&target, Self::connect_again).await == Some(Connected::Yes) {
                            continue;
                        }
                        publish(self.report());
                        break;
                    }
                }
            }
        }
    }

    /// Makes and identifies a connection for the requests that wait for one, where the last one drained or was lost.
    async fn connect_again(&mut self, target: &Target) -> Connected {
        let Some(serving) = &self.serving else { return Connected::Yes };
        let Some(connections) = serving.cluster_client.connections() else { return Connected::Yes };
        let outcome = if connections.take_unanswered() {
            Err(ConnectionError::Timeout)
        } else if connections.wants_another() {
            let slot = self.dial_slots.acquire().await;
            let outcome = connection_guard::probing(serving.connect_again(&target.cluster)).await;
            drop(slot);
            outcome
        } else {
            Ok(())
        };
        match outcome {
            Ok(()) => Connected::Yes,
            Err(error) => {
                self.probe_failed(error, thresholds(&target.cluster));
                Connected::No
            }
        }
    }

    /// A defect in one step must not end the task: the state of the cluster would never be reported again.
    async fn guarded<T>(&mut self, target: &Target, step: impl AsyncFnOnce(&mut Self, &Target) -> T) -> Option<T> {
        let outcome = AssertUnwindSafe(step(self, target)).catch_unwind().await;
        if outcome.is_err() {
            self.serving = None;
            self.hysteresis.failed(ConnectError::Defect.into(), thresholds(&target.cluster));
        }
        outcome.ok()
    }

    async fn step(&mut self, target: &Target) {
        let thresholds = thresholds(&target.cluster);
        let target = &self.with_last_credential(target);
        if self.avoids(target) {
            return;
        }
        if self.serving.as_ref().is_some_and(|serving| serving.source == target.source) {
            self.rejected = None;
        } else {
            match self.connect(target).await {
                Ok(serving) => {
                    self.serving = Some(serving);
                    self.rejected = None;
                    self.hysteresis.replaced();
                    return;
                }
                Err(error) => self.refused(error, target),
            }
        }
        if let Some(serving) = &self.serving {
            serving.cluster_client.allow_at_most(target.cluster.spec.max_requests_per_second());
            self.probe(target, thresholds).await;
        }
    }

    /// A Cluster that is being deleted is reached to the end, also when its Secret went before it: with the last good credential.
    fn with_last_credential(&mut self, target: &Target) -> Target {
        self.withdrawn.take_if(|(_, until)| Instant::now() >= *until);
        let is_missing = matches!(target.source, Source::Missing { .. });
        if !is_missing {
            self.withdrawn = None;
        }
        let serving = self.serving.as_ref().map(|serving| &serving.source);
        let last = serving.or(self.withdrawn.as_ref().map(|(source, _)| source));
        let deleting = target.cluster.metadata.deletion_timestamp.is_some();
        let source = last.filter(|_| is_missing && deleting).unwrap_or(&target.source);
        Target { cluster: Arc::clone(&target.cluster), source: source.clone() }
    }

    /// Whether the cluster is left alone for now because it sent too much.
    fn avoids(&mut self, target: &Target) -> bool {
        let avoids = |(until, at): &(Instant, Target)| Instant::now() < *until && at.reaches_the_same(target);
        self.avoided.take_if(|avoided| !avoids(avoided));
        self.avoided.is_some()
    }

    /// Disconnects a cluster that sent too much.
    fn avoid(&mut self, target: &Target) {
        self.serving = None;
        self.avoided = Some((Instant::now() + AVOIDED_FOR, target.clone()));
    }

    /// A bad new credential does not cost a working connection; a withdrawn one does. Where the old connection does not
    /// work either, what is wrong with the new credential is what a person has to know.
    fn refused(&mut self, error: ConnectError, target: &Target) {
        let withdrawn = matches!(error, ConnectError::SecretMissing { .. } | ConnectError::SecretNotAllowed { .. });
        if matches!(error, ConnectError::SecretMissing { .. })
            && let Some(serving) = &self.serving
        {
            let until = Instant::now() + target.cluster.spec.deletion_timeout();
            self.withdrawn = Some((serving.source.clone(), until));
        }
        let too_large = matches!(error, ConnectError::ConnectionError(ConnectionError::TooLarge));
        let fault = Fault::from(error);
        if *self.hysteresis.verdict() == Verdict::Connected && self.serving.is_some() && !withdrawn {
            self.rejected = Some(fault.failure);
        } else {
            (self.serving, self.rejected) = (None, None);
            self.hysteresis.failed(fault, thresholds(&target.cluster));
            if too_large {
                self.avoid(target);
            }
        }
    }

    async fn connect(&self, target: &Target) -> Result<Serving, ConnectError> {
        let cluster_client =
            ClusterClient::prepare(&target.source, &self.management, self.policy, &self.wanted, &self.parsed).await?;
        cluster_client.allow_at_most(target.cluster.spec.max_requests_per_second());
        let introduced = connection_guard::probing(Box::pin(self.introduce(&cluster_client, target))).await;
        // Where there is no guard, no dial noted what the server presents.
        if introduced.is_ok() && cluster_client.certificates().is_empty() {
            cluster_client.look_at_certificate().await;
        }
        let Introduced { facts, claimed, missing_rights } =
            if cluster_client.is_too_large() { Err(ConnectionError::TooLarge) } else { introduced }
                .map_err(|error| cluster_client.explained(error, clock::now()))?;
        let (gate, up) = watch::channel(true);
        let cache = Cache::new(cluster_client.client.clone(), up)
            .with_cluster(&target.cluster.name_any())
            .with_settings(self.caches.clone())
            .with_held(Arc::clone(&self.held));
        let cache = cache.with_doubts(Arc::clone(&self.hint));
        let cache = Arc::new(match cluster_client.accounts.clone() {
            Some(accounts) => cache.with_attached(accounts),
            None => cache,
        });
        cache.missing_rights().set(missing_rights.as_ref().unwrap_or(&BTreeSet::new()));
        let hint = Arc::clone(&self.hint);
        cache.on_health(move || hint.notify_one());
        let source = target.source.clone();
        Ok(Serving { source, cache, gate, facts, cluster_client, claimed, missing_rights, probes_since_identified: 0 })
    }

    /// The first requests to a server: ready, the right one, and ours.
    async fn introduce(&self, cluster_client: &ClusterClient, target: &Target) -> Result<Introduced, ConnectionError> {
        let (cluster, limit) = (&target.cluster, target.cluster.spec.health_timeout());
        // The first request dials; what comes after it holds up nobody else's turn.
        let slot = self.dial_slots.acquire().await;
        probe::ready(&cluster_client.client, limit).await?;
        drop(slot);
        let dial = cluster_client.dials();
        let facts = probe::identify(&cluster_client.client, limit).await?;
        let connected = self.serving.as_ref().map(|serving| serving.facts.uid.as_str());
        identity::check(cluster, connected, &facts.uid)?;
        let claiming = self.claimant.ensure_claimed(&cluster_client.client, cluster, &facts.uid);
        let claimed = connection_guard::without_dialling(claiming).await?;
        cluster_client.identified(dial);
        let missing_rights = self.required.missing(&cluster_client.client, limit).await;
        Ok(Introduced { facts, claimed, missing_rights })
    }

    async fn probe(&mut self, target: &Target, thresholds: Thresholds) {
        let (Some(serving), claimant, required) = (&mut self.serving, &self.claimant, &self.required) else { return };
        // Whoever lost its connection dials: after an outage all do at once, and wait for their turn before the clock runs.
        let slots = Arc::clone(&self.dial_slots);
        let slot = if serving.cluster_client.is_open() { None } else { slots.acquire_owned().await.ok() };
        let probe = serving.probe(&target.cluster, claimant, required, slot);
        let outcome = connection_guard::probing(Box::pin(probe)).await;
        // The probe's own words: a cause that it met by chance, such as a cut connection, would hide this one.
        let outcome = if serving.is_too_large() { Err(ConnectionError::TooLarge) } else { outcome };
        match outcome {
            Ok(()) => {
                self.hysteresis.succeeded(thresholds);
                self.set_gate();
            }
            Err(ConnectionError::TooLarge) => {
                self.probe_failed(ConnectionError::TooLarge, thresholds);
                self.avoid(target);
            }
            Err(error) => self.probe_failed(error, thresholds),
        }
    }

    fn probe_failed(&mut self, mut error: ConnectionError, thresholds: Thresholds) {
        if let Some(serving) = &self.serving {
            // Reconciles may be under way: nothing more is written to a foreign cluster.
            if error.is_not_ours() {
                serving.cluster_client.distrust();
            }
            serving.cluster_client.attempt_failed();
            error = serving.cluster_client.explained(error, clock::now());
        }
        self.hysteresis.failed(ConnectError::ConnectionError(error).into(), thresholds);
        self.set_gate();
    }

    fn set_gate(&self) {
        let up = *self.hysteresis.verdict() == Verdict::Connected;
        if let Some(serving) = &self.serving {
            serving.gate.send_if_modified(|gate| std::mem::replace(gate, up) != up);
        }
    }

    fn report(&self) -> Report {
        let link = match (self.hysteresis.verdict(), &self.serving) {
            (Verdict::Connected, Some(serving)) => Link::Connected(Arc::clone(&serving.cache)),
            (Verdict::Disconnected(failure), _) => Link::Disconnected(failure.clone()),
            (Verdict::Connecting | Verdict::Connected, _) => Link::Connecting,
        };
        let serving = self.serving.as_ref();
        Report {
            link,
            facts: serving.map(|serving| serving.facts.clone()),
            endpoint: serving.and_then(|serving| serving.cluster_client.endpoint.clone()),
            rejected: self.rejected.clone(),
            claimed: serving.is_some_and(|serving| serving.claimed),
            missing_rights: serving.and_then(|serving| serving.missing_rights.as_ref()).map(told),
            certificates: serving.map(|serving| serving.cluster_client.certificates()).unwrap_or_default(),
            credential: serving.and_then(|serving| serving.cluster_client.credential),
        }
    }
}

/// What still holds the client of a connection that was replaced or released sends nothing any more.
impl Drop for Serving {
    fn drop(&mut self) {
        self.cluster_client.end();
    }
}

impl Serving {
    /// Identifies the server at the far end of a new connection; all that a whole probe asks besides is known.
    async fn connect_again(&self, cluster: &Cluster) -> Result<(), ConnectionError> {
        if let Some(connections) = self.cluster_client.connections() {
            connections.make_another();
        }
        let (client, limit) = (&self.cluster_client.client, cluster.spec.health_timeout());
        probe::recognise(client, limit, &self.facts.uid).await?;
        self.cluster_client.identified(self.cluster_client.dials());
        Ok(())
    }

    async fn probe(
        &mut self,
        cluster: &Cluster,
        claimant: &Claimant,
        required: &RequiredPermissions,
        turn_to_dial: Option<OwnedSemaphorePermit>,
    ) -> Result<(), ConnectionError> {
        let (client, limit) = (&self.cluster_client.client, cluster.spec.health_timeout());
        identity::check(cluster, None, &self.facts.uid)?;
        probe::ready(client, limit).await?;
        drop(turn_to_dial);
        self.probes_since_identified += 1;
        let dial = self.cluster_client.dials();
        let introduces = !self.cluster_client.is_identified() || self.probes_since_identified >= IDENTIFY_EVERY;
        if introduces {
            let facts = probe::identify(client, limit).await?;
            identity::check(cluster, Some(&self.facts.uid), &facts.uid)?;
            self.facts = facts;
            self.cluster_client.look_at_certificate().await;
            self.probes_since_identified = 0;
        }
        self.claimed =
            connection_guard::without_dialling(claimant.ensure_claimed(client, cluster, &self.facts.uid)).await?;
        self.cluster_client.identified(dial);
        // Who lacks something is waiting for it, and what is unknown is asked for until it is known.
        let is_complete = self.missing_rights.as_ref().is_some_and(BTreeSet::is_empty);
        if (introduces || !is_complete)
            && let Some(missing) = required.missing(client, limit).await
        {
            self.cache.missing_rights().set(&missing);
            self.missing_rights = Some(missing);
        }
        Ok(())
    }

    fn is_too_large(&self) -> bool {
        self.cluster_client.is_too_large() || self.cache.is_too_large()
    }
}

/// Rights as people read them, each once.
fn told(missing: &BTreeSet<Right>) -> Vec<String> {
    let named: BTreeSet<String> = missing.iter().map(ToString::to_string).collect();
    named.into_iter().collect()
}

fn thresholds(cluster: &Cluster) -> Thresholds {
    let count = |value: i32| u32::try_from(value).unwrap_or(1).max(1);
    Thresholds { failures: count(cluster.spec.failure_threshold()), successes: count(cluster.spec.success_threshold()) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
    use kube::Client;
    use serde_json::json;
    use tokio::time::timeout;

    use super::*;

    fn target() -> Target {
        let authority = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap().cert.pem();
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": {
                "server": "https://127.0.0.1:1", "certificate-authority-data": BASE64.encode(authority),
            }}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        });
        let cluster = json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "eu"},
            "spec": {"connection": {"kubeconfig": {"secretRef": {"name": "eu"}}}},
        });
        let source = Source::Kubeconfig { text: kubeconfig.to_string().into(), context: None };
        Target { cluster: Arc::new(serde_json::from_value(cluster).unwrap()), source }
    }

    /// A remote that was connected, and whose connection broke.
    async fn cut_off(target: &Target, slots: &Arc<Semaphore>) -> Remote {
        let management: Management =
            Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap().into();
        let (policy, parsed, wanted) = (DialPolicy::AllowLocal, Parsed::default(), Arc::default());
        let prepared = ClusterClient::prepare(&target.source, &management, policy, &wanted, &parsed).await;
        let cluster_client = prepared.unwrap();
        let (gate, up) = watch::channel(true);
        let claimant =
            Claimant { installation: "ours".into(), rivals: Arc::new(|_, _| Vec::new()), own_uid: Arc::new(|| None) };
        let (_, targets) = watch::channel(target.clone());
        let (required, slots) = (Arc::default(), Arc::clone(slots));
        let mut remote = Remote::new(targets, management, policy, claimant, required, slots, CacheSettings::default());
        let facts = Facts { uid: "u".into(), version: "v1.37.1".into(), platform: "linux/amd64".into() };
        remote.serving = Some(Serving {
            source: target.source.clone(),
            cache: Arc::new(Cache::new(cluster_client.client.clone(), up)),
            gate,
            facts,
            cluster_client,
            claimed: true,
            missing_rights: None,
            probes_since_identified: 0,
        });
        remote.hysteresis.replaced();
        remote
    }

    /// The same without its Secret, being deleted or not.
    fn without_secret(target: &Target, deleting: bool) -> Target {
        let mut cluster = Cluster::clone(&target.cluster);
        cluster.metadata.deletion_timestamp = deleting.then_some(Time(Timestamp::UNIX_EPOCH));
        let (secret, key, name) = ("eu".to_owned(), "kubeconfig".to_owned(), "eu".to_owned());
        Target { cluster: Arc::new(cluster), source: Source::Missing { secret, key, cluster: name } }
    }

    /// Why the cluster cannot be reached.
    fn reason(remote: &Remote) -> &'static str {
        match remote.hysteresis.verdict() {
            Verdict::Disconnected(failure) => failure.reason(),
            verdict => panic!("{verdict:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_credential_of_a_secret_that_is_gone_is_kept_for_the_deletion_only_and_not_for_long() {
        let (target, slots) = (target(), Arc::new(Semaphore::new(1)));
        let (gone, deleting) = (without_secret(&target, false), without_secret(&target, true));
        let mut remote = cut_off(&target, &slots).await;
        remote.step(&gone).await;
        assert!(remote.serving.is_none(), "while the Cluster lives, a Secret that is gone ends the connection");
        assert_eq!(remote.with_last_credential(&gone).source, gone.source);
        assert_eq!(remote.with_last_credential(&deleting).source, target.source);

        tokio::time::advance(target.cluster.spec.deletion_timeout()).await;
        assert_eq!(remote.with_last_credential(&deleting).source, deleting.source, "it is forgotten");
        remote.step(&deleting).await;
        assert_eq!(reason(&remote), "SecretMissing");

        let mut remote = cut_off(&target, &slots).await;
        remote.step(&gone).await;
        let renewed = Target { source: Source::Unreadable, ..gone.clone() };
        remote.step(&renewed).await;
        assert_eq!(remote.with_last_credential(&deleting).source, deleting.source, "another one came");
    }

    #[tokio::test]
    async fn who_lost_its_connection_waits_for_its_turn_to_dial() {
        let (target, slots) = (target(), Arc::new(Semaphore::new(1)));
        let mut remote = cut_off(&target, &slots).await;
        let taken = slots.acquire().await.unwrap();
        let waited = timeout(Duration::from_millis(300), remote.step(&target)).await;
        assert!(waited.is_err(), "64 dial at a time, also after an outage of all");
        assert_eq!(*remote.hysteresis.verdict(), Verdict::Connected, "and no clock runs meanwhile");
        drop(taken);
        timeout(Duration::from_secs(10), remote.step(&target)).await.unwrap();
        assert_eq!(slots.available_permits(), 1, "the turn is over");
    }
}
