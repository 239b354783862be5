//! Fetches repositories and charts, and keeps them on disk: what all operators of a process share.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use drover_charts::{
    ChartCache, Digest, FetchFailure, Fetcher, IndexFile, IndexRow, IndexState, Refreshed, Repository, Source, Url,
    index, repository,
};
use drover_crds::{ChartRepository, MAX_CHART_BYTES};
use drover_runtime::{DialPolicy, ObjectKey};
use k8s_openapi::jiff::Timestamp;
use kube::{Client, ResourceExt as _};
use tokio::{
    sync::Semaphore,
    task::spawn_blocking,
    time::{Instant, timeout},
};

use crate::{
    Attempt, Content, SourceCause, SourceError, Wanted,
    extracts::Extracts,
    kept::{Known, being_read, digest_of, gone, limits, lock, not_suspended, told_digest, unreadable, url_of},
    reach::{Reach, invalid},
    registry,
    secret::Secrets,
    turns::{Turn, Turns},
};

/// After a failure an app does not make Drover ask again for so long.
const PAUSE: Duration = Duration::from_secs(30);

/// Most repositories of one namespace that are read at a time.
const READS_AT_ONCE: usize = 4;
/// Most fetches for apps of one namespace at a time.
const APPS_AT_ONCE: usize = 2;

/// Where things are kept, and what may be dialled.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A folder of this process.
    pub folder: PathBuf,
    /// Most bytes of packed charts that are kept on disk.
    pub cache_bytes: u64,
    /// Which addresses may be dialled.
    pub addresses: DialPolicy,
}

/// Fetches repositories and charts. Clones share what is kept.
#[derive(Clone)]
pub struct Sources(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) fetcher: Fetcher,
    folder: PathBuf,
    charts: ChartCache,
    known: Mutex<BTreeMap<ObjectKey, Arc<Known>>>,
    pub(crate) extracts: Mutex<Extracts>,
    /// Of repositories themselves.
    reads: Turns,
    /// Of apps, which hold up others of their cluster meanwhile.
    turns: Turns,
    /// One index at a time is read: it takes memory while it is.
    reading: Semaphore,
}

impl fmt::Debug for Sources {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sources").field("folder", &self.0.folder).finish_non_exhaustive()
    }
}

/// A version that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The version.
    pub version: String,
    /// SHA-256 of the packed chart; none where the repository does not have the version any more, which stays as it was.
    pub digest: Option<Digest>,
    /// The newest version that constraint or policy do not take.
    pub available: Option<String>,
    /// When to choose again, as nothing tells of new versions.
    pub again: Option<Duration>,
}

impl Sources {
    /// Makes the folder, and forgets what an earlier process kept of repositories. Blocks.
    pub fn open(settings: &Settings) -> io::Result<Self> {
        let folder = settings.folder.join("indexes");
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Self(Arc::new(Shared {
            fetcher: Fetcher::new(settings.addresses),
            folder,
            charts: ChartCache::open(&settings.folder.join("charts"), settings.cache_bytes)?,
            known: Mutex::default(),
            extracts: Mutex::default(),
            reads: Turns::new(READS_AT_ONCE),
            turns: Turns::new(APPS_AT_ONCE),
            reading: Semaphore::new(1),
        })))
    }

    /// What came of the last attempt to read a repository.
    #[must_use]
    pub fn attempt(&self, repository: &ChartRepository) -> Option<Attempt> {
        self.known(repository).attempt()
    }

    /// Forgets a repository that is gone.
    pub fn forget(&self, repository: &ObjectKey) {
        if let Some(known) = lock(&self.0.known).remove(repository) {
            // What stays goes with the folder.
            let _ = self.file(repository, &known.uid).remove();
        }
        lock(&self.0.extracts).forget(repository);
    }

    /// Reads a repository now, and keeps what came of it. `asked` tells what this attempt answers. It is an error only if nothing was tried.
    pub async fn fetch(
        &self,
        client: &Client,
        repository: &ChartRepository,
        asked: &str,
        now: Timestamp,
    ) -> Result<(), SourceError> {
        let known = self.known(repository);
        let _turn = known.turn.lock().await;
        let _slot = self.0.reads.begin(&repository.namespace().unwrap_or_default())?;
        self.fetch_in_turn(client, repository, &known, asked, now).await;
        Ok(())
    }

    async fn fetch_in_turn(
        &self,
        client: &Client,
        repository: &ChartRepository,
        known: &Known,
        asked: &str,
        now: Timestamp,
    ) {
        let former = known.attempt();
        let kept = former.as_ref().and_then(|former| former.content.clone());
        let kept = kept.filter(|content| content.url == url_of(repository));
        let outcome = self.read(client, repository, kept.as_ref(), now).await;
        let failures = former.map_or(0, |former| former.failures);
        let (failures, failure, content) = match outcome {
            Ok(content) => (0, None, Some(content)),
            Err(failure) => (failures.saturating_add(1), Some(failure), kept),
        };
        let (asked, ended) = (asked.to_owned(), Instant::now());
        let (url, told) = (url_of(repository), told_digest(repository));
        *lock(&known.attempt) = Some(Attempt { asked, ended, failures, failure, content, url, told });
    }

    async fn read(
        &self,
        client: &Client,
        repository: &ChartRepository,
        kept: Option<&Content>,
        now: Timestamp,
    ) -> Result<Content, SourceError> {
        let url = url_of(repository);
        let content = |index: Option<IndexState>| {
            let is_same = |content: &&Content| digest_of(content.index.as_ref()) == digest_of(index.as_ref());
            let since = kept.filter(is_same).map_or(now, |content| content.since);
            Content { url, index, since }
        };
        match Reach::of(repository, &Secrets::of(client, repository).await?)? {
            Reach::Registry(found) => {
                registry::check(&self.0.fetcher, &found).await?;
                Ok(content(None))
            }
            Reach::Index(found) => {
                let file = self.file_of(repository);
                let before = kept.and_then(|content| content.index.as_ref());
                let etag = before.and_then(|index| index.etag.as_deref());
                match found.refresh(&self.0.fetcher, &file, etag).await? {
                    Refreshed::Unchanged => Ok(content(before.cloned())),
                    Refreshed::Changed(state) => Ok(content(Some(state))),
                }
            }
        }
    }

    /// Chooses a version of a chart. Where what is known of the repository is on disk, nothing is fetched.
    pub async fn choose(
        &self,
        client: &Client,
        repository: &ChartRepository,
        wanted: &Wanted,
        now: Timestamp,
    ) -> Result<Chosen, SourceError> {
        if repository.spec.oci.is_some() {
            return registry::choose(self, client, repository, wanted).await;
        }
        let state = self.content(client, repository, now).await?.index.ok_or_else(unreadable)?;
        let rows = self.rows(repository, &state, &wanted.chart).await?;
        let picked = wanted.pick(&rows)?;
        let available = picked.available.map(ToString::to_string);
        let Some(row) = picked.row else {
            return Ok(Chosen {
                version: wanted.current.clone().unwrap_or_default(),
                digest: None,
                available,
                again: None,
            });
        };
        let version = row.version.to_string();
        let is_known = wanted.current.as_ref() == Some(&version);
        let digest = match row.digest {
            // An index without digests cannot tell that a version changed.
            None if !is_known => Some(self.digest_of(client, repository, row).await?),
            digest => digest,
        };
        Ok(Chosen { version, digest, available, again: None })
    }

    /// Fetches a chart to learn its digest, and keeps it.
    async fn digest_of(
        &self,
        client: &Client,
        repository: &ChartRepository,
        row: &IndexRow,
    ) -> Result<Digest, SourceError> {
        let Reach::Index(found) = Reach::of(repository, &Secrets::of(client, repository).await?)? else {
            return Err(SourceError::new(SourceCause::RepositoryNotRead, "it changed at the same time"));
        };
        let bytes = self.packed(repository, &found, row).await?;
        let digest = Digest::of(&bytes);
        self.keep(bytes).await;
        Ok(digest)
    }

    async fn packed(
        &self,
        repository: &ChartRepository,
        found: &Repository,
        row: &IndexRow,
    ) -> Result<Bytes, SourceError> {
        let _slot = self.begin(repository)?;
        // It may have several URLs.
        match timeout(repository.spec.timeout(), found.chart(&self.0.fetcher, row)).await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(FetchFailure::Timeout.at(found.url.host()).into()),
        }
    }

    /// The packed chart that was chosen, from disk or from the repository; its bytes are those of the digest.
    pub async fn chart(
        &self,
        client: &Client,
        repository: &ChartRepository,
        chart: &str,
        (version, digest): (&str, Digest),
        now: Timestamp,
    ) -> Result<Bytes, SourceError> {
        if let Some(bytes) = self.cached(digest).await {
            return Ok(bytes);
        }
        let bytes = match Reach::of(repository, &Secrets::of(client, repository).await?)? {
            Reach::Index(found) => {
                let state = self.content(client, repository, now).await?.index.ok_or_else(unreadable)?;
                let rows = self.rows(repository, &state, chart).await?;
                let row = rows.iter().find(|row| row.version.as_str() == version);
                let row = row.ok_or_else(|| gone(chart, version))?;
                if row.digest.is_some_and(|now| now != digest) {
                    return Err(gone(chart, version));
                }
                self.packed(repository, &found, &IndexRow { digest: Some(digest), ..row.clone() }).await?
            }
            Reach::Registry(found) => {
                let _slot = self.begin(repository)?;
                registry::packed(&self.0.fetcher, &found, chart, version, digest).await?
            }
        };
        self.keep(bytes.clone()).await;
        Ok(bytes)
    }

    /// The packed chart at a URL on behalf of a namespace; its bytes are those of the digest.
    pub async fn chart_at(&self, namespace: &str, url: &str, digest: Digest) -> Result<Bytes, SourceError> {
        if let Some(bytes) = self.cached(digest).await {
            return Ok(bytes);
        }
        let url: Url = url.parse().map_err(|error| invalid("spec.chart.url.url", error))?;
        let _slot = self.0.turns.begin(namespace)?;
        let source = Source::default();
        let bytes = repository::chart(&self.0.fetcher, &source, &url, Some(digest), MAX_CHART_BYTES).await?;
        self.keep(bytes.clone()).await;
        Ok(bytes)
    }

    /// What is known of a repository: it is fetched where it is not on disk, or where its status tells of another index.
    pub(crate) async fn content(
        &self,
        client: &Client,
        repository: &ChartRepository,
        now: Timestamp,
    ) -> Result<Content, SourceError> {
        let known = self.known(repository);
        // A server that hangs holds up nobody who can do without it.
        if let Some(found) = self.current(repository, &known) {
            return found;
        }
        let Ok(_turn) = known.turn.try_lock() else { return Err(being_read()) };
        if let Some(found) = self.current(repository, &known) {
            return found;
        }
        not_suspended(repository)?;
        let asked = known.attempt().map(|attempt| attempt.asked).unwrap_or_default();
        let _slot = self.begin(repository)?;
        self.fetch_in_turn(client, repository, &known, &asked, now).await;
        match known.attempt() {
            Some(Attempt { failure: None, content: Some(content), .. }) => Ok(content),
            Some(Attempt { failure: Some(failure), .. }) => Err(failure),
            _ => Err(unreadable()),
        }
    }

    /// What is known and need not be fetched, be it a failure of a moment ago.
    fn current(&self, repository: &ChartRepository, known: &Known) -> Option<Result<Content, SourceError>> {
        let attempt = known.attempt()?;
        let told = told_digest(repository);
        let is_there = |content: &Content| content.index.is_none() || self.file_of(repository).open().is_ok();
        let is_behind = |content: &Content| {
            let has = content.index.as_ref().map(|index| index.digest.to_string());
            has.is_some() && told.is_some() && told != has && told != attempt.told
        };
        let content = attempt.content.filter(|content| content.url == url_of(repository) && is_there(content));
        let is_fresh = attempt.url == url_of(repository) && attempt.ended.elapsed() < PAUSE;
        match (content, attempt.failure) {
            (Some(content), _) if !is_behind(&content) => Some(Ok(content)),
            (_, Some(failure)) if is_fresh => Some(Err(failure)),
            _ => None,
        }
    }

    pub(crate) async fn rows(
        &self,
        repository: &ChartRepository,
        state: &IndexState,
        chart: &str,
    ) -> Result<Arc<Vec<IndexRow>>, SourceError> {
        let (key, of) = (ObjectKey::of(&repository.metadata), state.digest.to_string());
        if let Some(rows) = lock(&self.0.extracts).get(&key, chart, &of) {
            return Ok(rows);
        }
        let _alone = self.0.reading.acquire().await.map_err(|_| unreadable())?;
        let (file, limits, name) = (self.file_of(repository), limits(repository), chart.to_owned());
        let read = spawn_blocking(move || {
            let file = file.open().map_err(|_| unreadable())?;
            index::versions(&name, file, &limits)
                .map_err(|error| SourceError::new(SourceCause::IndexInvalid, error.to_string()))
        });
        let rows = Arc::new(read.await.unwrap_or_else(|_| Err(unreadable()))?);
        lock(&self.0.extracts).put(&key, chart, of, &rows);
        Ok(rows)
    }

    async fn cached(&self, digest: Digest) -> Option<Bytes> {
        let shared = Arc::clone(&self.0);
        spawn_blocking(move || shared.charts.get(digest)).await.ok().flatten()
    }

    /// What cannot be kept is fetched again.
    async fn keep(&self, packed: Bytes) {
        let shared = Arc::clone(&self.0);
        let _ = spawn_blocking(move || shared.charts.put(&packed)).await;
    }

    /// Begins a fetch on behalf of the namespace of a repository.
    pub(crate) fn begin(&self, repository: &ChartRepository) -> Result<Turn, SourceError> {
        self.0.turns.begin(&repository.namespace().unwrap_or_default())
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0
    }

    pub(crate) fn known(&self, repository: &ChartRepository) -> Arc<Known> {
        let key = ObjectKey::of(&repository.metadata);
        let uid = repository.uid().unwrap_or_default();
        let mut all = lock(&self.0.known);
        if let Some(known) = all.get(&key).filter(|known| known.uid == uid) {
            return Arc::clone(known);
        }
        let known = Arc::new(Known { uid, ..Known::default() });
        all.insert(key, Arc::clone(&known));
        known
    }

    pub(crate) fn file_of(&self, repository: &ChartRepository) -> IndexFile {
        self.file(&ObjectKey::of(&repository.metadata), &repository.uid().unwrap_or_default())
    }

    fn file(&self, repository: &ObjectKey, uid: &str) -> IndexFile {
        IndexFile::new(&self.0.folder, &repository.namespace, &format!("{repository} {uid}"))
    }
}
