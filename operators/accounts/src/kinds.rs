//! Which kinds a server has, found by discovery.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use drover_client::{ApiError, error::legible, request::request};
use http::{Request, header::ACCEPT};
use kube::{Client, client::Body};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{sync::Mutex, time::Instant};

use crate::{
    account::AccountClient,
    answer::{self, Excess},
    error::AccountError,
};

/// On a request: it asks for all kinds of a server, so its answer may be longer than others.
#[derive(Clone, Copy, Debug)]
pub struct Discovers;

/// Longest answer of discovery, in bytes.
pub const ANSWER_LIMIT: usize = 8 << 20;
/// Most versions of kinds that are kept.
const KINDS: usize = 20_000;
/// What was found is good for so long: an upgrade of the cluster shows within this time.
const RECENT: Duration = Duration::from_mins(10);
/// Whoever looks for a kind that is unknown asks anew after this time.
const NEW: Duration = Duration::from_secs(30);
/// Whoever waits for a kind learns within this time that it came.
const LATE: Duration = Duration::from_mins(1);
/// Longest version of a server that is kept, in bytes.
const VERSION_LIMIT: usize = 64;

/// A kind in one version, and how its objects are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The API group, empty for the core group.
    pub group: String,
    /// The version.
    pub version: String,
    /// The kind.
    pub kind: String,
    /// How the kind is named in paths.
    pub plural: String,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// What can be done with its objects.
    pub verbs: BTreeSet<String>,
}

impl Resource {
    /// Group and version, as objects have them.
    #[must_use]
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }
}

/// The version of a server and the kinds that it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    /// For example `v1.37.1`.
    pub version: String,
    resources: BTreeMap<(String, String), Resource>,
    api_versions: BTreeSet<String>,
}

impl Kinds {
    /// The kind of this name in this group and version.
    #[must_use]
    pub fn get(&self, api_version: &str, kind: &str) -> Option<&Resource> {
        self.resources.get(&(api_version.to_owned(), kind.to_owned()))
    }

    /// All kinds.
    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.resources.values()
    }

    /// What Helm's `.Capabilities.APIVersions` has: every group and version, and each with every kind in it, such as `apps/v1` and
    /// `apps/v1/Deployment`.
    pub fn api_versions(&self) -> impl Iterator<Item = &str> {
        self.api_versions.iter().map(String::as_str)
    }

    /// Tells these kinds from others, within this process.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.version.hash(&mut hasher);
        for found in self.resources.values() {
            (&found.group, &found.version, &found.kind, &found.plural, found.namespaced).hash(&mut hasher);
        }
        hasher.finish()
    }

    fn add(&mut self, groups: Groups) {
        for Group { metadata: GroupName { name: group }, versions } in groups.items {
            for Version { version, resources } in versions {
                if (group.is_empty() || is_name(&group)) && is_name(&version) {
                    self.add_version(&group, &version, resources);
                }
            }
        }
    }

    fn add_version(&mut self, group: &str, version: &str, resources: Vec<Listed>) {
        let api_version = api_version(group, version);
        self.api_versions.insert(api_version.clone());
        for Listed { resource, response_kind, scope, verbs } in resources {
            let kind = response_kind.kind;
            if !is_name(&resource) || !is_kind(&kind) || self.resources.len() >= KINDS {
                continue;
            }
            self.api_versions.insert(format!("{api_version}/{kind}"));
            let key = (api_version.clone(), kind.clone());
            let (group, version, plural) = (group.to_owned(), version.to_owned(), resource);
            let found = Resource { group, version, kind, plural, namespaced: scope == Scope::Namespaced, verbs };
            self.resources.entry(key).or_insert(found);
        }
    }
}

fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// Whether it may be a part of a path: what a server says is whatever it likes.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    (1..=253).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('.')
}

fn is_kind(text: &str) -> bool {
    (1..=63).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// What was found at one server.
#[derive(Debug, Default)]
pub(crate) struct Discovery {
    found: Mutex<Option<Found>>,
    /// Kinds came or went since.
    outdated: AtomicBool,
}

#[derive(Debug)]
struct Found {
    kinds: Arc<Kinds>,
    at: Instant,
}

impl Discovery {
    /// What was found within the last ten minutes; `own` asks where that is nothing.
    pub(crate) async fn recent(&self, own: &Client) -> Result<Arc<Kinds>, ApiError> {
        self.within(own, RECENT, false).await
    }

    /// The same within the last minute, and since kinds came or went.
    pub(crate) async fn of_late(&self, own: &Client) -> Result<Arc<Kinds>, ApiError> {
        self.within(own, LATE, true).await
    }

    /// The same within the last 30 seconds, and since kinds came or went.
    pub(crate) async fn newest(&self, own: &Client) -> Result<Arc<Kinds>, ApiError> {
        self.within(own, NEW, true).await
    }

    /// Notes that kinds came or went.
    pub(crate) fn outdate(&self) {
        self.outdated.store(true, Ordering::Release);
    }

    async fn within(&self, own: &Client, age: Duration, newest: bool) -> Result<Arc<Kinds>, ApiError> {
        let mut known = self.found.lock().await;
        let is_outdated = newest && self.outdated.load(Ordering::Acquire);
        if let Some(found) = known.as_ref().filter(|found| found.at.elapsed() < age && !is_outdated) {
            return Ok(Arc::clone(&found.kinds));
        }
        // What changes while the server answers may be missing in its answer.
        self.outdated.store(false, Ordering::Release);
        let kinds = Arc::new(discover(own).await.inspect_err(|_| self.outdated.store(is_outdated, Ordering::Release))?);
        *known = Some(Found { kinds: Arc::clone(&kinds), at: Instant::now() });
        Ok(kinds)
    }
}

impl AccountClient {
    /// How objects of `kind` are reached in the group and version `api_version`. Where the server is not known to have the kind, it
    /// is asked anew, at most every 30 seconds.
    pub async fn resource(&self, api_version: &str, kind: &str) -> Result<Resource, AccountError> {
        let (discovery, own) = self.accounts.discovery();
        if let Some(found) = discovery.recent(own).await?.get(api_version, kind) {
            return Ok(found.clone());
        }
        let unknown = || AccountError::UnknownKind { api_version: shown(api_version), kind: shown(kind) };
        discovery.newest(own).await?.get(api_version, kind).cloned().ok_or_else(unknown)
    }
}

fn shown(text: &str) -> String {
    legible(text, 253)
}

/// All kinds of a server, from three requests.
async fn discover(own: &Client) -> Result<Kinds, ApiError> {
    let version: ServerVersion = get(own, "/version", "application/json").await?;
    let mut kinds = Kinds { version: legible(&version.git_version, VERSION_LIMIT), ..Kinds::default() };
    for path in ["/api", "/apis"] {
        kinds.add(get(own, path, AGGREGATED).await?);
    }
    Ok(kinds)
}

/// All groups, versions and kinds in one answer, as every API server gives it from Kubernetes 1.30 on.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

async fn get<T: DeserializeOwned>(own: &Client, path: &str, accept: &str) -> Result<T, ApiError> {
    let what = format!("get {path}");
    let answered = async {
        let mut get = Request::get(path).header(ACCEPT, accept).body(Body::empty()).map_err(kube::Error::HttpError)?;
        get.extensions_mut().insert(Discovers);
        answer::read_successful(own.send(get).await?, ANSWER_LIMIT).await
    };
    let body = request(&*what, answered).await?.map_err(|Excess| ApiError::TooLarge { what: what.clone() })?;
    serde_json::from_slice(&body).map_err(|error| ApiError::new(what, kube::Error::SerdeError(error)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServerVersion {
    git_version: String,
}

#[derive(Deserialize)]
struct Groups {
    items: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    metadata: GroupName,
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Default, Deserialize)]
struct GroupName {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Version {
    version: String,
    #[serde(default)]
    resources: Vec<Listed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    resource: String,
    #[serde(default)]
    response_kind: ResponseKind,
    scope: Scope,
    #[serde(default)]
    verbs: BTreeSet<String>,
}

#[derive(Default, Deserialize)]
struct ResponseKind {
    #[serde(default)]
    kind: String,
}

#[derive(Deserialize, PartialEq, Eq)]
enum Scope {
    Namespaced,
    #[serde(other)]
    Cluster,
}
