//! How a candidate reads and writes the Lease.

use drover_runtime::{ApiError, clock};
use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::MicroTime};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Leadership, LeaseError, LeaseSettings, Observation, holder};

/// What a candidate knows of the Lease.
#[derive(Clone, Debug)]
pub struct LeaderLease {
    api: Api<Lease>,
    pub(super) settings: LeaseSettings,
    observation: Observation,
}

/// A write that succeeded.
#[derive(Debug)]
pub(super) struct Term {
    pub(super) lease: Lease,
    /// When the write was sent: what others see of it, they see later.
    pub(super) sent: Instant,
}

/// What an attempt showed.
#[derive(Debug)]
pub(super) enum Attempt {
    /// The record names us.
    Leading(Box<Term>),
    /// The record names another, or, to a leader, no holder.
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

    /// Reads the record and claims it if no live holder has it.
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
    /// After a conflict, or a write whose answer was lost, the record is read again: another client may have annotated it. A record
    /// that names another holder, or none, ends the leadership.
    pub(super) async fn renew(&self, lease: Lease) -> Result<Attempt, ApiError> {
        match self.replace(self.claimed(lease)).await {
            Err(error) if is_conflict(&error) || error.code() == Some(404) => {}
            outcome => return outcome.map(Attempt::leading),
        }
        match self.read().await? {
            Some(lease) if self.is_ours(&lease) => self.replace(self.claimed(lease)).await.map(Attempt::leading),
            other => Ok(Attempt::Following(other.as_ref().and_then(holder).unwrap_or_default().to_owned())),
        }
    }

    /// The holder whose term is not over, if it is not us.
    fn living_holder(&mut self, lease: &Lease) -> Option<String> {
        self.observation.living_holder(lease).filter(|holder| *holder != self.settings.identity)
    }

    pub(super) fn is_ours(&self, lease: &Lease) -> bool {
        holder(lease) == Some(&self.settings.identity)
    }

    /// `lease` with us as the holder. All that does not belong to the record stays as it is.
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

    pub(super) async fn read(&self) -> Result<Option<Lease>, ApiError> {
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

    pub(super) async fn replace(&self, lease: Lease) -> Result<Term, ApiError> {
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

pub(super) fn is_conflict(error: &ApiError) -> bool {
    error.code() == Some(409)
}

pub(super) fn report(error: &ApiError) {
    let conflict = is_conflict(error);
    let error = error as &dyn std::error::Error;
    // Of two candidates that write at the same time one gets a conflict; nothing is wrong then.
    if conflict {
        tracing::debug!(error, "leader election");
    } else {
        tracing::warn!(error, "leader election");
    }
}
