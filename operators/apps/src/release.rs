//! A release in its cluster, with the rights of the app: its records, its hooks and its objects.
//!
//! What is read here may be written by whoever edits in the namespace. So all filters judge a manifest again before anything of it is
//! applied or deleted, and only what carries the marks of the release is deleted.

mod definitions;
mod likeness;
mod look;
mod objects;
mod recall;
mod records;
mod rendering;
mod uninstall;

use std::sync::Arc;

use drover_crds::{CatalogApp, Release, WaitStrategy};
use drover_releases::{
    definition,
    diff::to_prune,
    history::{History, Revision},
    hook::{DeletePolicy, HookEvent, HookPhase, in_order},
    manifest::objects,
    order::for_install,
    record::{ApplyMethod, NAME_LABEL, Record, Status, Written, secret_name},
};
use drover_runtime::{
    AccountClient, AccountError, AccountName, Informer, LabelQuery, ObjectKey, OwnerRecord, PlaceContext,
    accounts::{Accounts, Apply, Kinds, Propagation, Resource},
};
use k8s_openapi::{
    api::core::v1::{Namespace, Secret},
    jiff::Timestamp,
};
use serde_json::Value;

pub use self::recall::Recall;
use self::records::{Found, app_label};
use crate::{
    AppCause, AppError,
    prepare::Prepared,
    seal::Seal,
    state::{APPLIED, Failure, Head, Seen, events, may_be_taken_up},
};

/// The label of a record that says of which app it is, so that a management cluster that was rebuilt knows its own. Anybody may write it.
const APP_LABEL: &str = "drover-app";
/// The annotation of a record that says the SHA-256 of the packaged chart, which Helm's part of it does not. Anybody may write it.
const CHART_ANNOTATION: &str = "drover-chart";

/// What helps to look at releases, and to act upon them.
#[derive(Clone, Copy)]
pub struct With<'a> {
    /// The key of what the status notes.
    pub seal: &'a Seal,
    /// What is known of their records.
    pub recall: &'a Recall,
    /// The time.
    pub now: Timestamp,
}

/// One release in its cluster.
pub struct InCluster<'a> {
    app: &'a CatalogApp,
    with: With<'a>,
    accounts: Arc<Accounts>,
    client: AccountClient,
    kinds: Arc<Kinds>,
    secrets: Resource,
    records: Vec<Arc<Found>>,
    /// The namespaces that Projects hold.
    held: Informer<Namespace>,
}

/// What there is of a release that is to be there, where this is `prepared` for it.
pub async fn see(
    app: &CatalogApp,
    place: &PlaceContext,
    with: With<'_>,
    prepared: Option<&Prepared>,
) -> Result<Seen, AppError> {
    InCluster::of(app, place, with).await?.seen(prepared).await
}

/// What there is of a release that is to go; none where the app can see nothing any more.
pub async fn uninstalling(app: &CatalogApp, place: &PlaceContext, with: With<'_>) -> Result<Option<Seen>, AppError> {
    let seen = async { InCluster::of(app, place, with).await?.seen(None).await };
    match seen.await {
        Err(AppError::AsApp(AccountError::Forbidden { .. })) => Ok(None),
        seen => seen.map(Some),
    }
}

impl<'a> InCluster<'a> {
    /// A release with its records, as they were read or written last.
    pub async fn of(app: &'a CatalogApp, place: &PlaceContext, with: With<'a>) -> Result<Self, AppError> {
        let accounts = place.cache.attached::<Accounts>().ok_or(AccountError::Unavailable)?;
        let tenant = app.metadata.namespace.as_deref().unwrap_or_default();
        let name = app.metadata.name.as_deref().unwrap_or_default();
        let client = place.as_account(&AccountName::of_app(tenant, name))?;
        let kinds = accounts.kinds().await?;
        let secrets = client.resource("v1", "Secret").await?;
        let held = place.cache.informer::<Namespace>(&OwnerRecord::query("Project"));
        let known = with.recall.get(app, &accounts, with.now);
        let is_known = known.is_some();
        let records = known.unwrap_or_default();
        let mut found = Self { app, with, accounts, client, kinds, secrets, records, held };
        if !is_known || found.lacks_what_is_noted() {
            found.read().await?;
        }
        Ok(found)
    }

    /// Reads the records, whatever is known of them.
    pub(crate) async fn read(&mut self) -> Result<(), AppError> {
        let query = LabelQuery::equals(NAME_LABEL, self.app.release_name());
        let all = self.client.list(&self.secrets, &self.app.spec.namespace, &query).await?;
        let secrets = all.into_iter().filter_map(|secret| serde_json::from_value::<Secret>(secret).ok()).collect();
        self.records = records::read(self.app, secrets);
        self.keep();
        Ok(())
    }

    fn keep(&self) {
        self.with.recall.keep(self.app, &self.accounts, &self.records, self.with.now);
    }

    /// What was written, if it was. Else the records may not be as they are known.
    fn written<T>(&self, outcome: Result<T, AccountError>) -> Result<T, AppError> {
        outcome.map_err(|error| {
            self.with.recall.forget(&ObjectKey::of(&self.app.metadata));
            error.into()
        })
    }

    /// Notes what was written of a record.
    fn note(&mut self, record: Record, stored: Value) {
        let meta = serde_json::from_value::<Secret>(stored).unwrap_or_default().metadata;
        let found = Arc::new(Found::of(record, &meta, self.app));
        self.records.retain(|known| known.record.version != found.record.version);
        self.records.push(found);
        self.records.sort_by_key(|found| found.record.version);
        self.keep();
    }

    /// Whether the status of the app noted what is applied from this record. Anybody may have written another one, or one that was found.
    fn is_noted(&self, record: &Record) -> bool {
        let failed = self.app.status.as_ref().and_then(|status| status.failed.as_ref());
        let has_failed = failed.is_some_and(|failed| {
            failed.revision == Some(record.version) && failed.manifest_digest.as_ref() == Some(&self.digest(record))
        });
        has_failed || self.noted(record).is_some_and(|release| !release.is_only_found())
    }

    /// What the status of the app notes of this record, as it is.
    fn noted(&self, record: &Record) -> Option<&Release> {
        let status = self.app.status.as_ref()?;
        let digest = self.digest(record);
        let mut noted = status.applied.iter().chain(&status.pending).chain(&status.history);
        noted.find(|release| release.revision == record.version && release.manifest_digest == digest)
    }

    /// What the status notes of a record: nobody can try by it what a manifest says.
    pub(crate) fn digest(&self, record: &Record) -> String {
        let uid = self.app.metadata.uid.as_deref().unwrap_or_default();
        self.with.seal.tag(uid, "manifest", record.digest().as_bytes())
    }

    fn newest(&self) -> Option<&Arc<Found>> {
        self.records.last()
    }

    /// What a decision needs.
    async fn seen(&self, prepared: Option<&Prepared>) -> Result<Seen, AppError> {
        let head = |found: &Arc<Found>| {
            let manifest_digest = self.digest(&found.record);
            Head { is_noted: self.is_noted(&found.record), manifest_digest, ..Head::of(&found.record, found.is_ours) }
        };
        let records = self.records.iter().map(head).collect();
        let mut seen = Seen { records, hook: None, objects: None, likeness: None };
        let (Some(found), Some(head)) = (self.newest(), seen.records.last()) else { return Ok(seen) };
        if let Some(prepared) = prepared.filter(|_| may_be_taken_up(self.app, head)) {
            seen.likeness = Some(self.likeness(prepared, found).await?);
            return Ok(seen);
        }
        let is_going = head.status == Status::Uninstalling;
        let hooks = if head.is_applied { &head.after } else { &head.before };
        let is_waited_for = is_going || self.app.spec.wait.strategy != WaitStrategy::None;
        let running = hooks.iter().find(|(_, phase)| is_waited_for && *phase == HookPhase::Running);
        if let Some(hook) = running.and_then(|(at, _)| found.record.hooks.get(*at)) {
            seen.hook = Some(self.hook(hook).await?);
        }
        let waits = is_going || self.app.spec.wait.strategy == WaitStrategy::Status;
        if head.is_applied && waits && (head.status.is_pending() || is_going) {
            seen.objects = Some(self.standing(&found.record, is_going).await?);
        }
        Ok(seen)
    }

    /// Creates the record of a revision that the status noted: this is the lock.
    pub async fn begin(&mut self, mut record: Record, release: &Release, now: Timestamp) -> Result<(), AppError> {
        record.info.status = if self.is_upgrade() { Status::PendingUpgrade } else { Status::PendingInstall };
        self.create(record, release, now).await
    }

    /// Creates the record of a revision that repeats an older one.
    pub async fn roll_back(&mut self, release: &Release, from: i64, now: Timestamp) -> Result<(), AppError> {
        let former = self.records.iter().find(|found| found.record.version == from);
        let Some(former) = former.filter(|found| self.digest(&found.record) == release.manifest_digest) else {
            return Err(AppError::new(
                AppCause::ApplyFailed,
                format!(
                    "the record of revision {from} is gone or was changed, so Drover cannot go back to it; change the spec"
                ),
            ));
        };
        let mut record = former.record.clone();
        record.info.status = Status::PendingRollback;
        record.info.rollback_revision = from;
        self.create(record, release, now).await
    }

    async fn create(&mut self, mut record: Record, release: &Release, now: Timestamp) -> Result<(), AppError> {
        let first = self.records.first().and_then(|found| found.record.info.first_deployed);
        record.version = release.revision;
        record.name = self.app.release_name().to_owned();
        record.namespace = self.app.spec.namespace.clone();
        record.apply_method = Some(ApplyMethod::Server);
        record.info.first_deployed = Some(first.unwrap_or(now));
        record.info.last_deployed = Some(now);
        "Drover has begun".clone_into(&mut record.info.description);
        let of = events(record.info.status);
        forget_runs(&mut record, &of);
        let secret = self.secret(&record, Some(&release.chart_digest), Written::Created, now)?;
        let key = ObjectKey::namespaced(&record.namespace, &secret_name(&record.name, record.version));
        let stored = self.client.create(&self.secrets, &key, &secret).await;
        let stored = self.written(stored)?;
        self.note(record, stored);
        Ok(())
    }

    fn secret(
        &self,
        record: &Record,
        chart: Option<&str>,
        written: Written,
        now: Timestamp,
    ) -> Result<Value, AppError> {
        let mut secret = record
            .to_secret(written, now)
            .map_err(|error| AppError::new(AppCause::RecordTooLarge, error.to_string()))?;
        let labels = secret.metadata.labels.get_or_insert_default();
        labels.insert(APP_LABEL.to_owned(), app_label(self.app));
        secret.metadata.annotations = chart.map(|chart| [(CHART_ANNOTATION.to_owned(), chart.to_owned())].into());
        let mut value = serde_json::to_value(secret).unwrap_or_default();
        if let Some(fields) = value.as_object_mut() {
            fields.insert("apiVersion".to_owned(), "v1".into());
            fields.insert("kind".to_owned(), "Secret".into());
        }
        Ok(value)
    }

    /// Changes a record, if nobody else did since it was read.
    async fn update(
        &mut self,
        found: &Found,
        now: Timestamp,
        change: impl FnOnce(&mut Record),
    ) -> Result<(), AppError> {
        let mut record = found.record.clone();
        change(&mut record);
        let mut secret = self.secret(&record, found.chart.as_deref(), Written::Modified, now)?;
        if let Some(metadata) = secret.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("resourceVersion".to_owned(), found.version.clone().into());
        }
        let key = ObjectKey::namespaced(&record.namespace, &secret_name(&record.name, record.version));
        let stored = self.client.update(&self.secrets, &key, &secret).await;
        let stored = self.written(stored)?;
        self.note(record, stored);
        Ok(())
    }

    fn under_way(&self) -> Result<Arc<Found>, AppError> {
        let is_so = |found: &&Arc<Found>| {
            let status = found.record.info.status;
            // What is under way is what was noted; an uninstall only deletes.
            (status.is_pending() && self.is_noted(&found.record)) || status == Status::Uninstalling
        };
        self.newest().filter(is_so).cloned().ok_or_else(|| {
            AppError::new(AppCause::Locked, "the newest record of the release was changed at the same time")
        })
    }

    /// Creates the object of a hook, after what is left of a former run is gone.
    pub async fn start_hook(&mut self, at: usize, now: Timestamp) -> Result<(), AppError> {
        let found = self.under_way()?;
        let Some(hook) = found.record.hooks.get(at).filter(|_| self.is_noted(&found.record)) else { return Ok(()) };
        self.delete_hook(hook, &DeletePolicy::BeforeHookCreation).await?;
        for object in self.allowed(hook.objects().map_err(unreadable)?)? {
            let is_left = self.check_hook(&object).await?.is_some() && !definition::is_one(&object);
            if is_left && hook.is_deleted(&DeletePolicy::BeforeHookCreation) {
                // It goes; the hook starts when it is gone.
                return Ok(());
            }
            let (resource, key) = self.locate(&object).await?;
            // One that is left of a former run, or of this one before a crash, is applied again, as helm does.
            self.client.apply(&resource, &key, &object.to_value(), Apply::default()).await?;
        }
        self.update(&found, now, |record| {
            if let Some(hook) = record.hooks.get_mut(at) {
                hook.start(now);
            }
        })
        .await
    }

    /// Notes how a hook ended, and deletes its object where its policy says so.
    pub async fn end_hook(&mut self, at: usize, succeeded: bool, now: Timestamp) -> Result<(), AppError> {
        let found = self.under_way()?;
        let Some(hook) = found.record.hooks.get(at) else { return Ok(()) };
        let phase = if succeeded { HookPhase::Succeeded } else { HookPhase::Failed };
        if !succeeded {
            self.delete_hook(hook, &DeletePolicy::HookFailed).await?;
            self.delete_succeeded(&found).await?;
        }
        self.update(&found, now, |record| {
            if let Some(hook) = record.hooks.get_mut(at) {
                hook.finish(phase, now);
            }
        })
        .await
    }

    /// Deletes what hooks of the present event left that go once all of them succeeded, the last one first.
    async fn delete_succeeded(&self, found: &Found) -> Result<(), AppError> {
        let is_applied = found.record.info.description == APPLIED;
        let [before, after] = events(found.record.info.status);
        let event = if is_applied { after } else { before };
        let hooks = event.map(|event| in_order(&found.record.hooks, &event)).unwrap_or_default();
        for hook in hooks.into_iter().rev().filter_map(|at| found.record.hooks.get(at)) {
            if hook.last_run.phase == HookPhase::Succeeded {
                self.delete_hook(hook, &DeletePolicy::HookSucceeded).await?;
            }
        }
        Ok(())
    }

    /// Applies all objects, prunes what the revision before had besides, and notes that.
    pub async fn apply(&mut self, now: Timestamp) -> Result<(), AppError> {
        let found = self.under_way()?;
        self.delete_succeeded(&found).await?;
        let mut wanted = self.allowed(objects(&found.record.manifest).map_err(unreadable)?)?;
        for_install(&mut wanted);
        let before = self.before(found.record.version);
        let former = self.former(found.record.version);
        self.apply_all(&wanted, &former).await?;
        for object in to_prune(&before, &wanted, &self.app.spec.namespace) {
            self.delete_one(object).await?;
        }
        self.update(&found, now, applied).await
    }

    /// Notes that a revision is deployed, that those before it are not, and deletes what is beyond the limit.
    pub async fn finish(&mut self, now: Timestamp) -> Result<(), AppError> {
        let found = self.under_way()?;
        self.delete_succeeded(&found).await?;
        if found.record.info.status == Status::Uninstalling {
            return self.purge().await;
        }
        let version = found.record.version;
        let description = match found.record.info.status {
            Status::PendingInstall => "Install complete".to_owned(),
            Status::PendingRollback => format!("Rollback to {}", found.record.info.rollback_revision),
            _ => "Upgrade complete".to_owned(),
        };
        for former in self.records.clone().iter().filter(|former| former.record.version < version) {
            if former.record.info.status == Status::Deployed {
                self.update(former, now, |record| record.info.status = Status::Superseded).await?;
            }
        }
        self.update(&found, now, |record| {
            record.info.status = Status::Deployed;
            record.info.description = description;
        })
        .await?;
        self.trim().await
    }

    async fn trim(&mut self) -> Result<(), AppError> {
        let revision = |found: &Arc<Found>| Revision { number: found.record.version, status: found.record.info.status };
        let history: History = self.records.iter().map(revision).collect();
        let limit = usize::try_from(self.app.spec.history_limit()).unwrap_or(1);
        let pinned: Vec<i64> = self.app.spec.pin.iter().map(|pin| pin.revision).collect();
        for number in history.to_delete(limit, &pinned) {
            self.delete_record(number).await?;
        }
        Ok(())
    }

    async fn delete_record(&mut self, revision: i64) -> Result<(), AppError> {
        let key = ObjectKey::namespaced(&self.app.spec.namespace, &secret_name(self.app.release_name(), revision));
        let deleted = self.client.delete(&self.secrets, &key, Propagation::Background, None).await;
        self.written(deleted)?;
        self.records.retain(|found| found.record.version != revision);
        self.keep();
        Ok(())
    }

    /// Notes that a revision failed, and deletes what is beyond the limit.
    pub async fn fail(&mut self, cause: AppCause, message: &str, now: Timestamp) -> Result<(), AppError> {
        let found = self.under_way()?;
        let description: String = format!("{}: {message}", cause.reason()).chars().take(512).collect();
        self.update(&found, now, |record| {
            record.info.status = Status::Failed;
            record.info.description = description;
        })
        .await?;
        self.trim().await
    }

    /// The same, by what was seen.
    pub async fn fail_by(&mut self, failure: &Failure, now: Timestamp) -> Result<(), AppError> {
        let (cause, message) = match failure {
            Failure::Hook(at) => (AppCause::HookFailed, format!("hook {} failed", self.hook_at(*at))),
            Failure::HookTimeout(what) => (AppCause::HookFailed, format!("a hook did not end in time: {what}")),
            Failure::NeverReady(what) => (AppCause::NotReadyInTime, format!("it is not ready: {what}")),
            Failure::Timeout(what) => (AppCause::NotReadyInTime, format!("it is not ready in time: {what}")),
        };
        self.fail(cause, &message, now).await
    }

    /// What a person calls a hook of the newest revision.
    fn hook_at(&self, at: usize) -> String {
        let hook = self.newest().and_then(|found| found.record.hooks.get(at));
        hook.map(|hook| format!("{} {}", hook.kind, hook.name)).unwrap_or_default()
    }

    /// Counts the run of another client as failed.
    pub async fn unlock(&mut self, revision: i64, now: Timestamp) -> Result<(), AppError> {
        let Some(found) = self.newest().filter(|found| found.record.version == revision).cloned() else {
            return Ok(());
        };
        self.update(&found, now, |record| {
            record.info.status = Status::Failed;
            "another client began this revision and did not end it in time".clone_into(&mut record.info.description);
        })
        .await
    }

    /// The revision that comes next.
    pub(crate) fn next_revision(&self) -> i64 {
        self.newest().map_or(1, |found| found.record.version.saturating_add(1))
    }

    /// Whether a revision was ever deployed.
    pub(crate) fn is_upgrade(&self) -> bool {
        let was_deployed =
            |found: &Arc<Found>| matches!(found.record.info.status, Status::Deployed | Status::Superseded);
        self.records.iter().any(was_deployed)
    }

    /// What the cluster can do, for the templates of a chart.
    pub(crate) fn kinds(&self) -> &Kinds {
        &self.kinds
    }
}

/// What a record says once all objects are sent. A hook of the events before may be one of those after as well.
fn applied(record: &mut Record) {
    let [_, after] = events(record.info.status);
    forget_runs(record, &[after]);
    APPLIED.clone_into(&mut record.info.description);
}

fn forget_runs(record: &mut Record, of: &[Option<HookEvent>]) {
    record.hooks.iter_mut().for_each(|hook| hook.forget_run(of));
}

fn unreadable(error: impl std::fmt::Display) -> AppError {
    AppError::new(AppCause::ApplyFailed, format!("the stored manifest cannot be read: {error}"))
}
