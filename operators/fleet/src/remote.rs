//! The life of one connection: dial, identify, probe, replace, let go.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use drover_crds::{Cluster, Connection, SecretKeyReference};
use drover_runtime::{Cache, Class, Classify, Failure, Link};
use futures::FutureExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use tokio::{
    sync::{Notify, Semaphore, watch},
    time::Instant,
};

use crate::{
    dial::dialled,
    expiry::{CredentialLife, SeenCertificate},
    hold::Claimant,
    hop::Hop,
    kubeconfig::{self, KubeconfigError},
    line::{self, Line},
    probe::{self, Facts},
    verdict::{DOUBT_PAUSE, Fault, Hysteresis, Thresholds, Verdict},
};

/// How a cluster is to be reached, as its `Cluster` and the Secret say now.
#[derive(Clone, PartialEq)]
pub(crate) enum Source {
    /// The management cluster itself.
    Local,
    /// A kubeconfig and the context in it.
    Kubeconfig { text: Arc<str>, context: Option<String> },
    /// The Secret or its key is not there (yet).
    Missing { secret: String, key: String },
    /// What the Secret holds is no text.
    Unreadable,
}

#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) source: Source,
}

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
            certificates: Vec::new(),
            credential: None,
        }
    }
}

/// A connection that cannot be made.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("the Secret {secret} with key {key} does not exist in Drover's namespace; create it, and Drover connects")]
    SecretMissing { secret: String, key: String },
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    #[error(transparent)]
    Hop(#[from] Hop),
    #[error("the certificate, key or CA in the kubeconfig cannot be used; put a valid kubeconfig into the Secret")]
    Unusable,
    #[error("a defect in Drover ended the last attempt to reach the cluster; see its log")]
    Defect,
}

impl Classify for ConnectError {
    fn class(&self) -> Class {
        match self {
            Self::SecretMissing { .. } => Class::Blocked,
            Self::Kubeconfig(error) => error.class(),
            Self::Hop(hop) => hop.class(),
            Self::Unusable => Class::Invalid,
            Self::Defect => Class::Bug,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::SecretMissing { .. } => "SecretMissing",
            Self::Kubeconfig(error) => error.reason(),
            Self::Hop(hop) => hop.reason(),
            Self::Unusable => "InvalidKubeconfig",
            Self::Defect => "InternalError",
        }
    }
}

impl From<ConnectError> for Fault {
    fn from(error: ConnectError) -> Self {
        let certain = match &error {
            ConnectError::Hop(hop) => hop.is_certain(),
            ConnectError::SecretMissing { .. }
            | ConnectError::Kubeconfig(_)
            | ConnectError::Unusable
            | ConnectError::Defect => true,
        };
        Self { failure: Failure::of(&error), certain }
    }
}

/// Keeps one cluster connected. Dropping its task ends the connection and everything that reads through it.
pub(crate) struct Remote {
    target: watch::Receiver<Target>,
    management: Client,
    claimant: Claimant,
    dial_slots: Arc<Semaphore>,
    serving: Option<Serving>,
    hysteresis: Hysteresis,
    rejected: Option<Failure>,
    /// A view of the cache changed its health.
    hint: Arc<Notify>,
    /// What was too large is left alone until then, unless its Cluster or Secret changes.
    avoided: Option<(Instant, Target)>,
}

/// A connection that passed.
struct Serving {
    source: Source,
    cache: Arc<Cache>,
    gate: watch::Sender<bool>,
    facts: Facts,
    contact: Contact,
    claimed: bool,
    probes_since_identified: u32,
}

/// What there is before anybody answered.
struct Contact {
    client: Client,
    /// None for the management cluster, whose client is not ours to watch over.
    line: Option<Arc<Line>>,
    endpoint: Option<String>,
    credential: Option<CredentialLife>,
    certificate: Option<SeenCertificate>,
}

/// Who answers is asked again after so many probes, so that an upgrade shows within ten minutes.
const IDENTIFY_EVERY: u32 = 20;
/// A cluster that sent too much would do so again: it is left alone for this time.
const AVOIDED_FOR: Duration = Duration::from_mins(10);

impl Remote {
    pub(crate) fn new(
        target: watch::Receiver<Target>,
        management: Client,
        claimant: Claimant,
        dial_slots: Arc<Semaphore>,
    ) -> Self {
        Self {
            target,
            management,
            claimant,
            dial_slots,
            serving: None,
            hysteresis: Hysteresis::default(),
            rejected: None,
            hint: Arc::default(),
            avoided: None,
        }
    }

    /// Runs until the target's sender is dropped.
    pub(crate) async fn run(mut self, publish: impl Fn(Report)) {
        loop {
            let target = self.target.borrow_and_update().clone();
            self.guarded_step(&target).await;
            publish(self.report());
            let probed = Instant::now();
            let pause = self.hysteresis.pause(target.cluster.spec.health_interval());
            tokio::select! {
                changed = self.target.changed() => if changed.is_err() { return },
                // A broken watch is a hint, not a verdict: it brings the next probe forward, and many bring one.
                () = self.hint.notified() => tokio::time::sleep_until(probed + pause.min(DOUBT_PAUSE)).await,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// A defect in one step must not end the task: nobody would tell how the cluster stands any more.
    async fn guarded_step(&mut self, target: &Target) {
        if AssertUnwindSafe(self.step(target)).catch_unwind().await.is_err() {
            self.serving = None;
            self.hysteresis.failed(ConnectError::Defect.into(), thresholds(&target.cluster));
        }
    }

    async fn step(&mut self, target: &Target) {
        let thresholds = thresholds(&target.cluster);
        if self.avoids(target) {
            return;
        }
        // A cluster that is being let go needs its connection to the end, whatever became of its Secret.
        let leaving = target.cluster.metadata.deletion_timestamp.is_some();
        let current = self.serving.as_ref().is_some_and(|serving| leaving || serving.source == target.source);
        if current {
            self.rejected = None;
        } else {
            match self.connect(target).await {
                Ok(serving) => {
                    self.serving = Some(serving);
                    self.rejected = None;
                    self.hysteresis.replaced();
                    return;
                }
                Err(error) => self.refused(error, thresholds),
            }
        }
        if self.serving.is_some() {
            self.probe(target, thresholds).await;
        }
    }

    /// Whether the cluster is left alone for now because it sent too much.
    fn avoids(&mut self, target: &Target) -> bool {
        let same = |at: &Target| {
            at.source == target.source && at.cluster.metadata.generation == target.cluster.metadata.generation
        };
        let avoids = self.avoided.as_ref().is_some_and(|(until, at)| Instant::now() < *until && same(at));
        if !avoids {
            self.avoided = None;
        }
        avoids
    }

    /// A bad new credential does not cost a working connection; a withdrawn one does. Where the old connection does not
    /// work either, what is wrong with the new credential is what a person has to know.
    fn refused(&mut self, error: ConnectError, thresholds: Thresholds) {
        let withdrawn = matches!(error, ConnectError::SecretMissing { .. });
        let fault = Fault::from(error);
        if *self.hysteresis.verdict() == Verdict::Connected && self.serving.is_some() && !withdrawn {
            self.rejected = Some(fault.failure);
        } else {
            (self.serving, self.rejected) = (None, None);
            self.hysteresis.failed(fault, thresholds);
        }
    }

    async fn connect(&self, target: &Target) -> Result<Serving, ConnectError> {
        let contact = self.contact(&target.source).await?;
        let slot = self.dial_slots.acquire().await;
        let (facts, claimed) = line::probing(self.introduce(&contact, target)).await?;
        drop(slot);
        let (gate, up) = watch::channel(true);
        let cache = Arc::new(Cache::new(contact.client.clone(), up));
        let hint = Arc::clone(&self.hint);
        cache.on_health(move || hint.notify_one());
        Ok(Serving { source: target.source.clone(), cache, gate, facts, contact, claimed, probes_since_identified: 0 })
    }

    /// The first words with a server: ready, the right one, and ours.
    async fn introduce(&self, contact: &Contact, target: &Target) -> Result<(Facts, bool), Hop> {
        let (cluster, limit) = (&target.cluster, target.cluster.spec.health_timeout());
        probe::ready(&contact.client, limit).await?;
        let dial = contact.dials();
        let facts = probe::identify(&contact.client, limit, self.pinned(cluster)).await?;
        let claimed = self.claimant.hold(&contact.client, cluster, &facts.uid).await?;
        contact.identified(dial);
        Ok((facts, claimed))
    }

    async fn contact(&self, source: &Source) -> Result<Contact, ConnectError> {
        match source {
            Source::Local => Ok(Contact {
                client: self.management.clone(),
                line: None,
                endpoint: None,
                credential: None,
                certificate: None,
            }),
            Source::Unreadable => Err(KubeconfigError::Malformed.into()),
            Source::Missing { secret, key } => {
                Err(ConnectError::SecretMissing { secret: secret.clone(), key: key.clone() })
            }
            Source::Kubeconfig { text, context } => {
                let access = kubeconfig::parse(text, context.as_deref()).await?;
                let line = Arc::new(Line::new());
                let client = dialled(&access, &line).map_err(|_| ConnectError::Unusable)?;
                let endpoint = Some(endpoint(&access.config.cluster_url));
                let (credential, certificate) = (access.life, access.certificate);
                Ok(Contact { client, line: Some(line), endpoint, credential, certificate })
            }
        }
    }

    /// The identity that a cluster has to show: the one in the spec, else the one seen first.
    fn pinned<'a>(&'a self, cluster: &'a Cluster) -> Option<&'a str> {
        let serving = self.serving.as_ref().map(|serving| serving.facts.uid.as_str());
        let seen = cluster.status.as_ref().and_then(|status| status.cluster_uid.as_deref());
        cluster.spec.expected_uid.as_deref().or(serving).or(seen)
    }

    async fn probe(&mut self, target: &Target, thresholds: Thresholds) {
        let (Some(serving), claimant) = (&mut self.serving, &self.claimant) else { return };
        let outcome = line::probing(serving.probe(&target.cluster, claimant)).await;
        // The probe's own words: a cause that it met by chance, such as a cut connection, would hide this one.
        let outcome = if serving.is_too_large() { Err(Hop::TooLarge) } else { outcome };
        let too_large = outcome == Err(Hop::TooLarge);
        match outcome {
            Ok(()) => self.hysteresis.succeeded(thresholds),
            Err(hop) => self.hysteresis.failed(ConnectError::Hop(hop).into(), thresholds),
        }
        let up = *self.hysteresis.verdict() == Verdict::Connected;
        serving.gate.send_if_modified(|gate| std::mem::replace(gate, up) != up);
        if too_large {
            self.serving = None;
            self.avoided = Some((Instant::now() + AVOIDED_FOR, target.clone()));
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
            endpoint: serving.and_then(|serving| serving.contact.endpoint.clone()),
            rejected: self.rejected.clone(),
            claimed: serving.is_some_and(|serving| serving.claimed),
            certificates: serving.map(|serving| serving.contact.certificates()).unwrap_or_default(),
            credential: serving.and_then(|serving| serving.contact.credential),
        }
    }
}

impl Serving {
    async fn probe(&mut self, cluster: &Cluster, claimant: &Claimant) -> Result<(), Hop> {
        let (client, limit) = (&self.contact.client, cluster.spec.health_timeout());
        if let Some(expected) = cluster.spec.expected_uid.as_ref().filter(|expected| **expected != self.facts.uid) {
            return Err(Hop::IdentityMismatch { expected: expected.clone(), found: self.facts.uid.clone() });
        }
        probe::ready(client, limit).await?;
        self.probes_since_identified += 1;
        let dial = self.contact.dials();
        if !self.contact.is_identified() || self.probes_since_identified >= IDENTIFY_EVERY {
            self.facts = probe::identify(client, limit, Some(&self.facts.uid)).await?;
            self.probes_since_identified = 0;
        }
        self.claimed = claimant.hold(client, cluster, &self.facts.uid).await?;
        self.contact.identified(dial);
        Ok(())
    }

    fn is_too_large(&self) -> bool {
        self.contact.line.as_ref().is_some_and(|line| line.is_too_large()) || self.cache.is_too_large()
    }
}

impl Contact {
    fn dials(&self) -> u64 {
        self.line.as_ref().map_or(0, |line| line.dials())
    }

    fn is_identified(&self) -> bool {
        self.line.as_ref().is_none_or(|line| line.is_identified())
    }

    fn identified(&self, dial: u64) {
        if let Some(line) = &self.line {
            line.identified(dial);
        }
    }

    fn certificates(&self) -> Vec<SeenCertificate> {
        let presented = self.line.as_ref().and_then(|line| line.presented()).map(|life| SeenCertificate {
            name: "api-server",
            source: "presented by the API server",
            not_after: life.not_after,
        });
        presented.into_iter().chain(self.certificate.clone()).collect()
    }
}

/// The server without what may be a secret in its URL.
fn endpoint(url: &http::Uri) -> String {
    let port = url.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    format!("https://{}{port}{}", url.host().unwrap_or_default(), url.path().trim_end_matches('/'))
}

fn thresholds(cluster: &Cluster) -> Thresholds {
    let count = |value: i32| u32::try_from(value).unwrap_or(1).max(1);
    Thresholds { failures: count(cluster.spec.failure_threshold()), successes: count(cluster.spec.success_threshold()) }
}

/// The Secret that says how `cluster` is to be reached, by name.
pub(crate) fn secret_name(cluster: &Cluster) -> Option<&str> {
    match &cluster.spec.connection {
        Connection::Local(_) => None,
        Connection::Kubeconfig(kubeconfig) => Some(&kubeconfig.secret_ref.name),
    }
}

/// How `cluster` is to be reached, given that Secret.
pub(crate) fn source(cluster: &Cluster, secret: Option<&Secret>) -> Source {
    let Connection::Kubeconfig(kubeconfig) = &cluster.spec.connection else { return Source::Local };
    let SecretKeyReference { name, key } = &kubeconfig.secret_ref;
    let content = secret.and_then(|secret| secret.data.as_ref()?.get(key));
    match content.map(|bytes| std::str::from_utf8(&bytes.0)) {
        Some(Ok(text)) => Source::Kubeconfig { text: text.into(), context: kubeconfig.context.clone() },
        Some(Err(_)) => Source::Unreadable,
        None => Source::Missing { secret: name.clone(), key: key.clone() },
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::*;

    fn cluster(connection: &serde_json::Value) -> Cluster {
        serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "eu"},
            "spec": {"connection": connection},
        }))
        .unwrap()
    }

    fn secret(key: &str, content: &[u8]) -> Secret {
        let data = [(key.to_owned(), ByteString(content.to_vec()))].into();
        Secret { data: Some(data), ..Secret::default() }
    }

    #[test]
    fn the_secret_says_how_a_cluster_is_reached_or_why_not() {
        let eu = cluster(&json!({"kubeconfig": {"secretRef": {"name": "eu"}, "context": "c"}}));
        let missing = Source::Missing { secret: "eu".into(), key: "kubeconfig".into() };
        let found = Source::Kubeconfig { text: "text".into(), context: Some("c".into()) };
        assert!(source(&eu, None) == missing);
        assert!(source(&eu, Some(&secret("other", b"text"))) == missing);
        assert!(source(&eu, Some(&secret("kubeconfig", b"text"))) == found);
        // As Windows PowerShell writes a file: not missing, and no reason to drop a connection that works.
        assert!(source(&eu, Some(&secret("kubeconfig", b"\xff\xfea\0"))) == Source::Unreadable);
        assert!(source(&cluster(&json!({"local": {}})), None) == Source::Local);
        assert_eq!(secret_name(&eu), Some("eu"));
    }

    #[test]
    fn the_endpoint_shows_nothing_that_may_be_a_secret() {
        for (url, shown) in [
            ("https://10.0.0.1:6443", "https://10.0.0.1:6443"),
            ("https://user:s3cr3t@host/k8s/c1/?token=s3cr3t", "https://host/k8s/c1"),
        ] {
            assert_eq!(endpoint(&url.parse().unwrap()), shown);
        }
    }
}
