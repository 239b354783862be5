//! Keeps one informer in step with the server.
//!
//! List once, then watch from there. A watch that ends in good order after its full time is resumed at once. After any other
//! end, that of a server that shuts down included, the kind is listed again and only the differences are reported: a resume
//! would be cheaper, but a server that was restored from an older backup and has since moved past our revision accepts it
//! and never mentions what the restore undid.

use std::{
    io,
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::FutureExt as _;
use kube::api::{ListParams, WatchParams};
use rand::RngExt as _;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{
    CacheMeters, Kept, LabelQuery, WatchTimeout,
    informer::{Health, Shared, revision},
    objects::Objects,
    read::{Event, Reader},
    split::Excess,
};
use crate::{
    cause::StatusCause,
    error::{ApiError, Failure},
    request::request,
};

/// Objects per page of a list, as kubectl asks for …
const PAGE: u32 = 500;
/// … and by how much fewer after a page that did not come in time.
const SMALLER_PAGE: u32 = 4;
/// After an answer that was too large.
const REST: Duration = Duration::from_mins(10);
/// So many pages without an object in a row are none too many.
const MOST_EMPTY_PAGES: u32 = 10;
/// First pause after a broken watch, doubled up to the longest one. The gate, not the pause, waits for a dead server.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

pub(super) struct Reflector<K: Kept> {
    reader: Reader,
    query: LabelQuery,
    shared: Arc<Shared<K>>,
    gate: watch::Receiver<bool>,
    meters: Arc<CacheMeters>,
    limit: WatchTimeout,
    /// What log lines call the cluster.
    cluster: Arc<str>,
    /// Where to resume; none asks for a list.
    from: Option<String>,
    /// When the open watch was opened.
    opened: Option<Instant>,
    /// Watches in a row that did not last.
    failures: u32,
    /// Objects per page, fewer where pages did not come in time.
    page: u32,
}

impl<K: Kept> Reflector<K> {
    pub(super) fn new(
        reader: Reader,
        query: LabelQuery,
        shared: Arc<Shared<K>>,
        gate: watch::Receiver<bool>,
        meters: Arc<CacheMeters>,
        limit: WatchTimeout,
    ) -> Self {
        Self {
            reader,
            query,
            shared,
            gate,
            meters,
            limit,
            cluster: "".into(),
            from: None,
            opened: None,
            failures: 0,
            page: PAGE,
        }
    }

    /// Names the cluster in log lines.
    pub(super) fn log_as(&mut self, cluster: Arc<str>) {
        self.cluster = cluster;
    }

    /// Lists and watches until the gate's owner is gone. A panic ends one attempt only: the informer is broken until the next one
    /// has listed it anew.
    pub(super) async fn run(&mut self) {
        while AssertUnwindSafe(self.keep_in_step()).catch_unwind().await.is_err() {
            (self.from, self.opened) = (None, None);
            self.meters.panics.fetch_add(1, Ordering::Relaxed);
            let kind = K::kind(&());
            tracing::error!(cluster = %self.cluster, kind = kind.as_ref(), "a defect ended a watch; what it showed is stale until it is back");
            let message = format!("a defect in Drover ended the watch of {kind}; see its log");
            self.shared.set_health(Health::Broken(Failure::new(StatusCause::InternalError, message)));
            self.pause().await;
        }
    }

    async fn keep_in_step(&mut self) {
        loop {
            if !*self.gate.borrow() {
                // Anything may happen to a server that is not watched.
                self.from = None;
                self.failures = 0;
                self.shared.set_health(Health::Syncing);
            }
            if self.gate.wait_for(|up| *up).await.is_err() {
                return; // The owner of the gate is gone, and with it the cluster.
            }
            let ended = self.list_and_watch().await;
            let lasted = self.opened.take().map_or(Duration::ZERO, |opened| opened.elapsed());
            if lasted >= LONGEST_PAUSE.min(self.limit.full()) {
                self.failures = 0;
            }
            if let Err(error) = ended {
                self.from = None;
                self.meters.broken_watches.fetch_add(1, Ordering::Relaxed);
                if self.shared.set_health(Health::Broken(Failure::of(&error))) {
                    tracing::warn!(cluster = %self.cluster, kind = K::kind(&()).as_ref(), %error, "a watch broke; what it showed is stale until it is back");
                }
                tracing::debug!(cluster = %self.cluster, kind = K::kind(&()).as_ref(), cause = ?error, "a watch broke");
                match error {
                    ApiError::TooLarge { .. } => self.rest().await,
                    _ => self.pause().await,
                }
            }
        }
    }

    /// Whoever sent too much would do so again: the owner of the cache ends it, or much later it is asked once more.
    async fn rest(&mut self) {
        tokio::select! {
            () = tokio::time::sleep(REST) => {}
            Ok(()) = self.gate.changed() => {}
        }
    }

    async fn list_and_watch(&mut self) -> Result<(), ApiError> {
        // The futures of the one-off requests are boxed: unboxed, every idle reflector would carry the largest of them.
        let from = match self.from.clone() {
            Some(from) => from,
            None => Box::pin(self.list()).await?,
        };
        let params = WatchParams {
            label_selector: Some(self.query.as_str().to_owned()),
            timeout: Some(self.limit.seconds()),
            bookmarks: true,
            ..WatchParams::default()
        };
        let what = format!("watch {}", K::plural(&()));
        let mut events = Box::pin(request(&*what, self.reader.watch(&params, &from))).await?;
        self.from = Some(from);
        let opened = Instant::now();
        self.opened = Some(opened);
        self.shared.set_health(Health::Live);
        loop {
            let next = timeout(self.limit.silence(), events.next()).await;
            let event = next.map_err(|_| ApiError::Timeout { what: what.clone() })?;
            let event = event.map_err(|error| ApiError::new(&*what, error))?;
            let Some(event) = event.map_err(|excess| self.too_large(&what, excess))? else { break };
            self.apply(event, &what)?;
        }
        if opened.elapsed() >= self.limit.full() {
            return Ok(());
        }
        // kube tells a connection that was cut as an end in good order.
        Err(ApiError::new(what, kube::Error::ReadEvents(io::ErrorKind::UnexpectedEof.into())))
    }

    fn apply(&mut self, event: Event<K>, what: &str) -> Result<(), ApiError> {
        match event {
            Event::Shown(entry) => {
                let version = entry.meta().resource_version.clone();
                if entry.has_path() && !self.shared.put(entry) {
                    return Err(ApiError::TooLarge { what: what.to_owned() });
                }
                self.saw(version);
            }
            Event::Gone(entry) => {
                self.shared.remove(entry.meta());
                self.saw(entry.meta().resource_version.clone());
            }
            Event::Bookmark(version) => self.saw(Some(version)),
            Event::Refused(status) => return Err(ApiError::Refused { what: what.to_owned(), status }),
        }
        Ok(())
    }

    /// Whoever sends such an answer is asked no more.
    fn too_large(&self, what: &str, excess: Excess) -> ApiError {
        tracing::warn!(cluster = %self.cluster, what, %excess, "an answer is larger than Drover accepts");
        self.shared.exceed();
        ApiError::TooLarge { what: what.to_owned() }
    }

    fn saw(&mut self, resource_version: Option<String>) {
        self.shared.reached(revision(resource_version.as_deref()));
        self.from = resource_version;
    }

    async fn list(&mut self) -> Result<String, ApiError> {
        let what = format!("list {}", K::plural(&()));
        let mut listed = Objects::default();
        let (mut listing, mut empty_pages) = (self.shared.listing(), 0);
        let mut params = ListParams::default().labels(self.query.as_str()).limit(self.page);
        loop {
            let before = listing.weight();
            let page = match request(&*what, self.reader.page::<K>(&params, |weight| listing.takes(weight))).await {
                Err(ApiError::Timeout { .. }) if self.page > 1 => {
                    // The same objects come again.
                    listing.gives_back_to(before);
                    self.page /= SMALLER_PAGE.min(self.page);
                    params.limit = Some(self.page);
                    continue;
                }
                answer => answer?.map_err(|excess| self.too_large(&what, excess))?,
            };
            empty_pages = if page.objects.is_empty() { empty_pages + 1 } else { 0 };
            if empty_pages > MOST_EMPTY_PAGES {
                return Err(ApiError::TooLarge { what }); // A server that never comes to an end.
            }
            for entry in page.objects {
                if entry.has_path() {
                    listed.insert(entry);
                }
            }
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                let version = page.metadata.resource_version.unwrap_or_default();
                // What was slow once is not slow for ever.
                self.page = self.page.saturating_mul(2).min(PAGE);
                self.shared.replace(listed);
                self.meters.lists.fetch_add(1, Ordering::Relaxed);
                self.check_rollback(self.shared.reached(revision(Some(&version))), &version);
                return Ok(version);
            }
        }
    }

    fn check_rollback(&self, seen: u64, listed: &str) {
        if revision(Some(listed)) < seen {
            self.meters.rollbacks.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                cluster = %self.cluster,
                kind = K::kind(&()).as_ref(),
                seen,
                listed,
                "the API server is older than what it showed before: it was restored from a backup; starting over from its state"
            );
        }
    }

    async fn pause(&mut self) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        let pause = pause.mul_f64(rand::rng().random_range(0.5..=1.0));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // The probe knows more than we do. Without one, the sender is gone and tells nothing.
            Ok(()) = self.gate.changed() => {}
        }
    }
}
