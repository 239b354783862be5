//! `ConfigMaps` and Secrets beside apps: charts and values. Caches know them by digests only; content is read when it is rendered.

use std::collections::BTreeMap;

use drover_charts::Digest;
use drover_crds::{
    CatalogApp, ChosenChart, Cluster, PackagedChart, Pin, ValuesKind, ValuesSource,
    names::{ANNOTATION_INPUTS, LABEL_USABLE_BY, USABLE_BY_APPS},
};
use drover_runtime::{ApiError, Cache, Cause, LabelQuery, ObjectKey, request::request};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Resource, ResourceExt as _, api::GetParams, core::Request};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    AppCause,
    projection::{FromWhole, Projection},
    seal::Seal,
    state::repeats,
};

/// What stands before the sources to which an app is bound that may only take up what is there: nothing else may begin by it.
const ONLY_TO_TAKE_UP: &str = "take-up ";

/// To what an app is bound that may only take up a release that is there with these sources.
#[must_use]
pub fn only_to_take_up(sources: &str) -> String {
    format!("{ONLY_TO_TAKE_UP}{sources}")
}

/// To which sources an app is bound by its annotation, and whether it may only take up what is there with them.
#[must_use]
pub fn bound(app: &CatalogApp) -> Option<(&str, bool)> {
    let bound = app.annotations().get(ANNOTATION_INPUTS)?;
    Some(bound.strip_prefix(ONLY_TO_TAKE_UP).map_or((bound, false), |sources| (sources, true)))
}

/// The key under which values are unless the spec says otherwise.
const VALUES_YAML: &str = "values.yaml";

/// An object with inputs, as far as it is kept: the digests of its entries.
pub type Input<K> = Projection<K, Digests>;

/// The digests of the entries of an object.
#[derive(Clone)]
pub struct Digests(BTreeMap<String, Digest>);

impl FromWhole for Digests {
    fn from_whole(whole: serde_json::Value) -> serde_json::Result<Self> {
        let digests = serde_json::from_value::<Content>(whole)?
            .into_entries()
            .into_iter()
            .map(|(key, bytes)| (key, Digest::of(&bytes)));
        Ok(Self(digests.collect()))
    }
}

/// What an object holds. It has no debug output.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Content {
    metadata: ObjectMeta,
    #[serde(default)]
    data: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    binary_data: BTreeMap<String, ByteString>,
    /// Only a Secret has one; its data is Base64.
    #[serde(rename = "type")]
    secret_type: Option<String>,
}

impl Content {
    /// The entries as bytes. What is no text is left out.
    pub(crate) fn into_entries(self) -> BTreeMap<String, Vec<u8>> {
        let is_secret = self.secret_type.is_some();
        let of_text = self.data.into_iter().filter_map(|(key, value)| {
            let bytes = if is_secret {
                serde_json::from_value::<ByteString>(value).ok()?.0
            } else {
                value.as_str()?.as_bytes().to_vec()
            };
            Some((key, bytes))
        });
        of_text.chain(self.binary_data.into_iter().map(|(key, bytes)| (key, bytes.0))).collect()
    }
}

impl<K> Projection<K, Digests> {
    /// The digest of an entry.
    #[must_use]
    pub fn digest(&self, key: &str) -> Option<Digest> {
        self.kept().0.get(key).copied().filter(|_| self.metadata().deletion_timestamp.is_none())
    }
}

/// Selects the objects that apps may use.
#[must_use]
pub fn query() -> LabelQuery {
    LabelQuery::equals(LABEL_USABLE_BY, USABLE_BY_APPS)
}

/// An entry of an object beside an app.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Of which kind the object is.
    pub kind: EntryKind,
    /// The name of the object.
    pub name: String,
    /// The key of the entry.
    pub key: String,
}

/// Of which kind an object with inputs is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A `ConfigMap`.
    ConfigMap,
    /// A Secret: what it holds shows nowhere.
    Secret,
}

impl EntryKind {
    /// As people call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}

impl Entry {
    fn packaged(kind: EntryKind, chart: &PackagedChart) -> Self {
        Self { kind, name: chart.name.clone(), key: chart.key.clone() }
    }

    /// The one that holds these values; none if they are a fact of the cluster.
    #[must_use]
    pub fn values(source: &ValuesSource) -> Option<Self> {
        let kind = match source.kind {
            ValuesKind::ConfigMap => EntryKind::ConfigMap,
            ValuesKind::Secret => EntryKind::Secret,
            ValuesKind::Cluster => return None,
        };
        let key = source.key.clone().unwrap_or_else(|| VALUES_YAML.to_owned());
        Some(Self { kind, name: source.name.clone().unwrap_or_default(), key })
    }
}

/// The entry in which the chart of an app is, and the digest that it must have; none if the spec names none.
#[must_use]
pub fn packaged_chart(app: &CatalogApp) -> Option<(Entry, &str)> {
    let chart = &app.spec.chart;
    let in_config_map = chart.config_map.as_ref().map(|chart| (EntryKind::ConfigMap, chart));
    let (kind, chart) = in_config_map.or_else(|| chart.secret.as_ref().map(|chart| (EntryKind::Secret, chart)))?;
    Some((Entry::packaged(kind, chart), &chart.digest))
}

/// The entries to which an app refers, in the order of its spec: the chart first.
pub fn entries(app: &CatalogApp) -> impl Iterator<Item = Entry> {
    let chart = packaged_chart(app).map(|(entry, _)| entry);
    chart.into_iter().chain(app.spec.values_from.iter().filter_map(Entry::values))
}

/// What an app takes of its Cluster, by key; what the Cluster does not say is left out.
#[must_use]
pub fn facts(app: &CatalogApp, cluster: &Cluster) -> BTreeMap<String, String> {
    let of_cluster = app.spec.values_from.iter().filter(|source| source.kind == ValuesKind::Cluster);
    let keys = of_cluster.filter_map(|source| source.key.as_deref());
    let fact = |key: &str| match key.split_once('/') {
        None => (key == "name").then(|| cluster.name_any()),
        Some(("labels", label)) => cluster.labels().get(label).cloned(),
        Some(("appValues", name)) => cluster.spec.app_values.get(name).cloned(),
        Some(_) => None,
    };
    keys.filter_map(|key| Some((key.to_owned(), fact(key)?))).collect()
}

/// What is known of the inputs of an app.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// The digest of each entry; none for one that is absent.
    pub digests: BTreeMap<Entry, Option<Digest>>,
    /// What the Cluster says, by key.
    pub facts: BTreeMap<String, String>,
    /// Tells what the roles of the app allow from what they allowed before.
    pub rights: String,
    /// By which inputs are told from others; none while it cannot be read …
    pub seal: Option<Seal>,
    /// … and why not.
    pub unsealed: Option<String>,
    /// Whether Drover may not read Secrets in the management cluster.
    pub secrets_refused: bool,
    /// The version that was chosen of a chart in a repository, or why none was; none of a chart that is elsewhere.
    pub chosen: Option<Result<ChosenChart, (Cause, String)>>,
}

/// What an app is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// The digest of the packaged chart.
    pub chart: Digest,
    /// The version that was chosen of a chart in a repository.
    pub version: Option<String>,
    /// Tells these inputs from others, and says nothing of them.
    pub hash: String,
    /// What the Cluster says, by key.
    pub facts: BTreeMap<String, String>,
    /// Tells what the roles of the app allow from what they allowed before. No part of the hash: it changes nothing that is released.
    pub rights: String,
    /// Why nothing new may begin with them: the sources are not, or not any more, those to which the app is bound.
    pub held: Option<(Cause, String)>,
    /// Whether it is held only as far as it may take up what is there.
    pub takes_up: bool,
}

impl Inputs {
    /// Whether an app is made of this, where these are the digests of what was read for it: it may have changed since it was decided upon.
    pub(crate) fn are_of(&self, app: &CatalogApp, seal: &Seal, digests: BTreeMap<Entry, Option<Digest>>) -> bool {
        let chosen = app.spec.chart.repository.as_ref().zip(self.version.clone()).map(|(chart, version)| {
            let (repository, name) = (chart.name.clone(), chart.chart.clone());
            Ok(ChosenChart { repository, name, version, digest: self.chart.to_string(), available_version: None })
        });
        let (facts, rights, seal) = (self.facts.clone(), self.rights.clone(), Some(seal.clone()));
        let known = Known { digests, facts, rights, seal, chosen, ..Known::default() };
        inputs(app, &known).is_ok_and(|read| read == *self)
    }
}

/// What the spec of an app refers to: its chart, and objects with values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    chart: Digest,
    version: Option<String>,
    values: Vec<Option<Digest>>,
}

impl Sources {
    /// Gathers them, or says what is missing.
    pub fn of(app: &CatalogApp, known: &Known) -> Result<Self, (Cause, String)> {
        let (chart, version) = chart(app, known)?;
        let entries = app.spec.values_from.iter().filter(|source| source.kind != ValuesKind::Cluster);
        Ok(Self { chart, version, values: known.values(app, entries)? })
    }

    /// The digest of the packaged chart.
    #[must_use]
    pub const fn chart(&self) -> Digest {
        self.chart
    }

    /// The version that was chosen of a chart in a repository.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Tells them from others in the management namespace of `app`, and says nothing of them. All apps there share it.
    #[must_use]
    pub fn tag(&self, app: &CatalogApp, seal: &Seal) -> String {
        let all = json!([self.chart.to_string(), self.version, texts(&self.values)]);
        seal.tag(&app.namespace().unwrap_or_default(), "sources", all.to_string().as_bytes())
    }
}

/// Those of the revision at which the release is held: they may be gone by now.
fn pinned(app: &CatalogApp, known: &Known, pin: Pin) -> Result<Inputs, (Cause, String)> {
    let status = app.status.as_ref();
    let noted = status.into_iter().flat_map(|status| status.applied.iter().chain(&status.history));
    let found = noted.filter(|noted| repeats(noted, pin.revision)).max_by_key(|noted| noted.revision);
    let inputs = found.and_then(|noted| {
        let (chart, hash) = (noted.chart_digest.parse().ok()?, noted.input_hash.clone());
        Some(Inputs {
            chart,
            version: Some(noted.chart_version.clone()),
            hash,
            facts: BTreeMap::new(),
            rights: known.rights.clone(),
            held: None,
            takes_up: false,
        })
    });
    inputs.ok_or_else(|| (AppCause::RevisionNotFound.into(), no_revision(app, pin.revision)))
}

/// What is said where a release is to be held at a revision that is not there.
#[must_use]
pub fn no_revision(app: &CatalogApp, revision: i64) -> String {
    format!(
        "release {} has no revision {revision} that Drover made and that is still there; choose one of status.history, or remove spec.pin",
        app.release_name()
    )
}

/// Gathers them, or says what is missing.
pub fn inputs(app: &CatalogApp, known: &Known) -> Result<Inputs, (Cause, String)> {
    if let Some(pin) = app.spec.pin {
        return pinned(app, known, pin);
    }
    let seal = known.seal()?;
    if let Some((bound, takes_up)) = bound(app) {
        let found = to_sources(app, known, seal, bound)?;
        let takes_up = takes_up && found.held.is_none();
        let held = if takes_up { Some(not_rolled_out(app)) } else { found.held };
        return Ok(Inputs { held, takes_up, ..found });
    }
    let Sources { chart, version, .. } = Sources::of(app, known)?;
    let values = known.values(app, app.spec.values_from.iter())?;
    let told = version.as_ref().map_or_else(|| chart.to_string(), |version| format!("{version} {chart}"));
    let hash = hash(app, seal, &told, &values);
    let (facts, rights) = (known.facts.clone(), known.rights.clone());
    Ok(Inputs { chart, version, hash, facts, rights, held: None, takes_up: false })
}

/// Those of an app whose owner bound it to sources: these tell what it is made of, whatever became of the sources since.
fn to_sources(app: &CatalogApp, known: &Known, seal: &Seal, bound: &str) -> Result<Inputs, (Cause, String)> {
    let facts = app.spec.values_from.iter().filter(|source| source.kind == ValuesKind::Cluster);
    let hash = hash(app, seal, bound, &known.values(app, facts)?);
    let (chart, version, held) = match Sources::of(app, known) {
        Ok(sources) if sources.tag(app, seal) == bound => (sources.chart, sources.version, None),
        Ok(sources) => (sources.chart, None, Some(not_rolled_out(app))),
        Err(missing) => (Digest::of(&[]), None, Some(missing)),
    };
    let (facts, rights) = (known.facts.clone(), known.rights.clone());
    Ok(Inputs { chart, version, hash, facts, rights, held, takes_up: false })
}

fn not_rolled_out(app: &CatalogApp) -> (Cause, String) {
    let message = format!(
        "the MultiClusterApp of app {} has not rolled out the chart and the values to which it refers now; look at the MultiClusterApp",
        app.name_any()
    );
    (AppCause::InputsNotRolledOut.into(), message)
}

/// The digest of the chart; of one in a repository, with the version that was chosen.
fn chart(app: &CatalogApp, known: &Known) -> Result<(Digest, Option<String>), (Cause, String)> {
    if let Some((entry, wanted)) = packaged_chart(app) {
        return Ok((packaged(app, known, &entry, wanted)?, None));
    }
    let unnamed = || (AppCause::ChartNotFound.into(), "spec.chart names no chart; name one".to_owned());
    if let Some(at) = &app.spec.chart.url {
        return Ok((at.digest.parse().map_err(|_| unnamed())?, None));
    }
    let chosen = known.chosen.clone().ok_or_else(unnamed)??;
    Ok((chosen.digest.parse().map_err(|_| unnamed())?, Some(chosen.version)))
}

fn packaged(app: &CatalogApp, known: &Known, entry: &Entry, wanted: &str) -> Result<Digest, (Cause, String)> {
    let found = known.digest(app, entry, AppCause::ChartNotFound)?;
    if found.to_string() == wanted {
        return Ok(found);
    }
    // What a Secret holds is not to be tried.
    let holds = if entry.kind == EntryKind::Secret { "something else".to_owned() } else { found.to_string() };
    let message = format!(
        "key {} of {} {} in namespace {} holds {holds}, and spec.chart wants {wanted}; correct the digest, or the chart",
        entry.key,
        entry.kind.as_str(),
        entry.name,
        app.namespace().unwrap_or_default()
    );
    Err((AppCause::DigestMismatch.into(), message))
}

impl Known {
    /// What is known beside an app, out of caches.
    #[must_use]
    pub fn of(app: &CatalogApp, management: &Cache) -> Self {
        let maps = management.informer::<Input<ConfigMap>>(&query());
        let secrets = management.informer::<Input<Secret>>(&query());
        let namespace = app.namespace().unwrap_or_default();
        let digest = |entry: &Entry| {
            let key = ObjectKey::namespaced(&namespace, &entry.name);
            match entry.kind {
                EntryKind::ConfigMap => maps.get(&key).and_then(|found| found.digest(&entry.key)),
                EntryKind::Secret => secrets.get(&key).and_then(|found| found.digest(&entry.key)),
            }
        };
        let digests = entries(app).map(|entry| (entry.clone(), digest(&entry))).collect();
        Self { digests, secrets_refused: secrets.refusal().is_some(), ..Self::default() }
    }

    fn seal(&self) -> Result<&Seal, (Cause, String)> {
        self.seal.as_ref().ok_or_else(|| {
            let why = self.unsealed.as_deref().unwrap_or("it was not read yet");
            let message = format!(
                "Drover has no key to know the inputs of apps by: {why}; let it get and create Secrets in its own namespace"
            );
            (AppCause::KeyUnavailable.into(), message)
        })
    }

    /// The digests of these sources of values; none for one that is absent and may be.
    fn values<'a>(
        &self,
        app: &CatalogApp,
        sources: impl Iterator<Item = &'a ValuesSource>,
    ) -> Result<Vec<Option<Digest>>, (Cause, String)> {
        let found = sources.map(|source| {
            let found = match Entry::values(source) {
                Some(entry) => self.digest(app, &entry, AppCause::ValuesNotFound),
                None => self.fact(app, source).map(|fact| Digest::of(fact.as_bytes())),
            };
            // What may not be read is not absent.
            let is_unknown = source.kind == ValuesKind::Secret && self.secrets_refused;
            match found {
                Err(_) if source.optional && !is_unknown => Ok(None),
                found => found.map(Some),
            }
        });
        found.collect()
    }

    fn fact(&self, app: &CatalogApp, source: &ValuesSource) -> Result<&str, (Cause, String)> {
        let key = source.key.as_deref().unwrap_or_default();
        let found = self.facts.get(key).map(String::as_str);
        found.ok_or_else(|| {
            let message = format!(
                "Cluster {} has no {key} for app {}; ask its owner to set it, or set optional in spec.valuesFrom",
                app.spec.cluster_name,
                app.name_any()
            );
            (AppCause::ValuesNotFound.into(), message)
        })
    }

    fn digest(&self, app: &CatalogApp, entry: &Entry, cause: AppCause) -> Result<Digest, (Cause, String)> {
        if let Some(Some(digest)) = self.digests.get(entry) {
            return Ok(*digest);
        }
        let (kind, namespace) = (entry.kind.as_str(), app.namespace().unwrap_or_default());
        let message = if entry.kind == EntryKind::Secret && self.secrets_refused {
            format!(
                "Drover may not read Secrets for apps in the management cluster, such as {} in namespace {namespace}; set projectSecrets.enabled of the chart, or use a ConfigMap",
                entry.name
            )
        } else {
            format!(
                "there is no {kind} {} with key {} and the label {LABEL_USABLE_BY}: {USABLE_BY_APPS} in namespace {namespace}; create it, or correct the spec",
                entry.name, entry.key
            )
        };
        Err((cause.into(), message))
    }
}

/// `chart` tells the chart or, of an app that is bound, all of its sources.
fn hash(app: &CatalogApp, seal: &Seal, chart: &str, values: &[Option<Digest>]) -> String {
    let spec = &app.spec;
    let paths: Vec<_> = spec.values_from.iter().map(|source| &source.target_path).collect();
    let digests = texts(values);
    let all = json!([chart, app.release_name(), spec.namespace, spec.values, spec.answers, paths, digests, spec.crds]);
    seal.tag(&app.uid().unwrap_or_default(), "inputs", all.to_string().as_bytes())
}

fn texts(digests: &[Option<Digest>]) -> Vec<Option<String>> {
    digests.iter().map(|digest| digest.as_ref().map(ToString::to_string)).collect()
}

/// Reads an object with inputs: only what Drover may use.
pub(crate) async fn read(
    management: &Cache,
    namespace: &str,
    entry: &Entry,
) -> Result<BTreeMap<String, Vec<u8>>, ApiError> {
    match entry.kind {
        EntryKind::ConfigMap => read_as::<ConfigMap>(management, namespace, &entry.name).await,
        EntryKind::Secret => read_as::<Secret>(management, namespace, &entry.name).await,
    }
}

async fn read_as<K>(management: &Cache, namespace: &str, name: &str) -> Result<BTreeMap<String, Vec<u8>>, ApiError>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    let what = format!("read {} {}", K::kind(&()), ObjectKey::namespaced(namespace, name));
    let asked = async {
        let asked = Request::new(K::url_path(&(), Some(namespace))).get(name, &GetParams::default());
        management.client().request::<Content>(asked.map_err(kube::Error::BuildRequest)?).await
    };
    let found = match request(&*what, asked).await.map_err(ApiError::unquoted) {
        // It may be optional; whoever needs it was told that it is not there.
        Err(error) if error.code() == Some(404) => return Ok(BTreeMap::new()),
        found => found?,
    };
    let label = found.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_USABLE_BY));
    if label.map(String::as_str) == Some(USABLE_BY_APPS) { Ok(found.into_entries()) } else { Ok(BTreeMap::new()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_known_by_the_digests_of_its_entries_and_by_nothing_else() {
        let map: Input<ConfigMap> = serde_json::from_value(json!({
            "metadata": {"name": "m", "namespace": "team-a", "annotations": {"a": "b"}},
            "data": {"values.yaml": "a: 1"}, "binaryData": {"chart.tgz": "AAEC"},
        }))
        .unwrap();
        let secret: Input<Secret> = serde_json::from_value(json!({
            "metadata": {"name": "m"}, "type": "Opaque", "data": {"values.yaml": "YTogMQ==", "broken": "%"},
        }))
        .unwrap();
        assert_eq!(map.digest("values.yaml"), secret.digest("values.yaml"), "decoded");
        assert_eq!(map.digest("chart.tgz"), Some(Digest::of(&[0, 1, 2])));
        assert_eq!(secret.digest("broken"), None);
        assert_eq!(format!("{secret:?}"), r#"Projection { name: Some("m"), .. }"#);
    }

    #[test]
    fn the_hash_tells_every_input_that_reaches_the_release() {
        let digest = Digest::of(b"chart");
        let app: CatalogApp = serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "CatalogApp",
            "metadata": {"name": "shop", "namespace": "team-a", "uid": "1"},
            "spec": {
                "clusterName": "eu", "namespace": "shop", "projectName": "shop", "roleTemplateName": "deployer",
                "chart": {"configMap": {"name": "charts", "key": "shop.tgz", "digest": digest.to_string()}},
                "values": {"a": 1}, "answers": {"b": "2"},
                "valuesFrom": [{"kind": "ConfigMap", "name": "v"}, {"kind": "ConfigMap", "name": "w", "optional": true}],
            },
        }))
        .unwrap();
        let entry = |name: &str| Entry { kind: EntryKind::ConfigMap, name: name.into(), key: VALUES_YAML.into() };
        let chart = Entry { key: "shop.tgz".into(), ..entry("charts") };
        let mut known = Known { seal: Some(Seal::of_key(b"key")), ..Known::default() };
        let reason = |known: &Known| inputs(&app, known).map(drop).map_err(|(cause, _)| cause.reason());
        assert_eq!(reason(&known), Err("ChartNotFound"));
        known.digests.insert(chart.clone(), Some(Digest::of(b"other")));
        assert_eq!(reason(&known), Err("DigestMismatch"));
        known.digests.insert(chart, Some(digest));
        assert_eq!(reason(&known), Err("ValuesNotFound"));
        known.digests.insert(entry("v"), Some(Digest::of(b"x: 1")));
        let keyless = Known { seal: None, ..known.clone() };
        assert_eq!(reason(&keyless), Err("KeyUnavailable"));
        let first = inputs(&app, &known).unwrap();
        assert_eq!(inputs(&app, &known).unwrap(), first);
        known.digests.insert(entry("w"), Some(Digest::of(b"y: 1")));
        let second = inputs(&app, &known).unwrap();
        let mut other = app.clone();
        other.spec.answers.clear();
        let third = inputs(&other, &known).unwrap();
        assert!(first.hash != second.hash && second.hash != third.hash && first.hash.len() == 32);
    }

    #[test]
    fn an_app_that_is_bound_begins_nothing_with_other_sources_and_is_known_by_those_it_is_bound_to() {
        let (chart, seal) = (Digest::of(b"chart"), Seal::of_key(b"key"));
        let mut app: CatalogApp = serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "CatalogApp",
            "metadata": {"name": "shop-eu", "namespace": "team-a", "uid": "1"},
            "spec": {
                "clusterName": "eu", "namespace": "shop", "projectName": "shop", "roleTemplateName": "deployer",
                "chart": {"configMap": {"name": "charts", "key": "shop.tgz", "digest": chart.to_string()}},
                "valuesFrom": [{"kind": "ConfigMap", "name": "v"}, {"kind": "Cluster", "key": "name", "targetPath": "a"}],
            },
        }))
        .unwrap();
        let known = |values: Option<&[u8]>| {
            let mut known = Known { seal: Some(seal.clone()), ..Known::default() };
            known.facts.insert("name".to_owned(), "eu".to_owned());
            known.digests.extend(entries(&app).map(|entry| {
                let is_chart = entry.name == "charts";
                (entry, if is_chart { Some(chart) } else { values.map(Digest::of) })
            }));
            known
        };
        let (first, second, none) = (known(Some(b"x: 1")), known(Some(b"x: 2")), known(None));
        let tag = |known: &Known| Sources::of(&app, known).unwrap().tag(&app, &seal);
        let (one, two) = (tag(&first), tag(&second));
        let mut sibling = app.clone();
        sibling.metadata.uid = Some("2".to_owned());
        assert_eq!(Sources::of(&sibling, &first).unwrap().tag(&sibling, &seal), one, "all apps of a rollout share it");
        assert_ne!(one, two);

        app.annotations_mut().insert(ANNOTATION_INPUTS.to_owned(), one.clone());
        let found = inputs(&app, &first).unwrap();
        assert_eq!((&found.held, found.chart), (&None, chart));
        let reason = |found: &Inputs| found.held.as_ref().map(|(cause, _)| cause.reason());
        let changed = inputs(&app, &second).unwrap();
        assert_eq!((&changed.hash, reason(&changed)), (&found.hash, Some("InputsNotRolledOut")));
        let missing = inputs(&app, &none).unwrap();
        assert_eq!((&missing.hash, reason(&missing)), (&found.hash, Some("ValuesNotFound")));
        app.annotations_mut().insert(ANNOTATION_INPUTS.to_owned(), two.clone());
        let next = inputs(&app, &second).unwrap();
        assert!(next.hash != found.hash && next.held.is_none());
        // What is there with them may be taken up, and is the same afterwards.
        app.annotations_mut().insert(ANNOTATION_INPUTS.to_owned(), only_to_take_up(&two));
        let looks = inputs(&app, &second).unwrap();
        assert_eq!((&looks.hash, looks.takes_up, reason(&looks)), (&next.hash, true, Some("InputsNotRolledOut")));
        assert!(!inputs(&app, &first).unwrap().takes_up, "of other sources it cannot be told");
    }

    #[test]
    fn what_was_read_is_what_was_decided_upon_or_it_is_not_rendered() {
        let digest = Digest::of(b"chart");
        let app = |chart: serde_json::Value| -> CatalogApp {
            serde_json::from_value(json!({
                "apiVersion": "drover.dev/v1alpha1", "kind": "CatalogApp",
                "metadata": {"name": "shop", "namespace": "team-a", "uid": "1"},
                "spec": {
                    "clusterName": "eu", "namespace": "shop", "projectName": "shop", "roleTemplateName": "deployer", "chart": chart,
                    "valuesFrom": [
                        {"kind": "Secret", "name": "v"}, {"kind": "ConfigMap", "name": "w", "optional": true},
                        {"kind": "Cluster", "key": "name", "targetPath": "a"},
                    ],
                },
            }))
            .unwrap()
        };
        let seal = Seal::of_key(b"key");
        let of_values = |kind, name: &str| Entry { kind, name: name.into(), key: VALUES_YAML.into() };
        let packaged = json!({"configMap": {"name": "charts", "key": "shop.tgz", "digest": digest.to_string()}});
        let listed = json!({"repository": {"name": "charts", "chart": "shop"}});
        let chosen = ChosenChart {
            repository: "team-a/charts".into(),
            name: "shop".into(),
            version: "1.0.0".into(),
            digest: digest.to_string(),
            available_version: Some("2.0.0".into()),
        };
        for (chart, chosen) in [(packaged, None), (listed, Some(Ok(chosen)))] {
            let app = app(chart);
            let of_chart = Entry { key: "shop.tgz".into(), ..of_values(EntryKind::ConfigMap, "charts") };
            let digests = BTreeMap::from([
                (of_chart, Some(digest)),
                (of_values(EntryKind::Secret, "v"), Some(Digest::of(b"x: 1"))),
                (of_values(EntryKind::ConfigMap, "w"), None),
            ]);
            let facts = BTreeMap::from([("name".to_owned(), "eu".to_owned())]);
            let known = Known { digests: digests.clone(), seal: Some(seal.clone()), chosen, facts, ..Known::default() };
            let found = inputs(&app, &known).unwrap();
            assert!(found.are_of(&app, &seal, digests.clone()));
            for (kind, name, read) in [
                (EntryKind::Secret, "v", Some(Digest::of(b"x: 2"))),
                (EntryKind::Secret, "v", None),
                (EntryKind::ConfigMap, "w", Some(Digest::of(b"y: 1"))),
            ] {
                let mut changed = digests.clone();
                changed.insert(of_values(kind, name), read);
                assert!(!found.are_of(&app, &seal, changed), "{name} {read:?}");
            }
        }
    }

    #[test]
    fn facts_of_the_cluster_are_inputs_as_others_are() {
        let digest = Digest::of(b"chart");
        let from =
            |key: &str, optional: bool| json!({"kind": "Cluster", "key": key, "targetPath": "a", "optional": optional});
        let mut app: CatalogApp = serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "CatalogApp", "metadata": {"name": "shop", "namespace": "team-a"},
            "spec": {
                "clusterName": "eu", "namespace": "shop", "roleTemplateName": "deployer",
                "chart": {"configMap": {"name": "charts", "key": "shop.tgz", "digest": digest.to_string()}},
                "valuesFrom": [
                    from("name", false), from("labels/example.com/zone", false), from("appValues/registry", false),
                    from("appValues/absent", true), from("spec/connection", true),
                ],
            },
        }))
        .unwrap();
        let cluster = |registry: &str| -> Cluster {
            serde_json::from_value(json!({
                "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster",
                "metadata": {"name": "eu", "labels": {"example.com/zone": "north"}},
                "spec": {"connection": {"kubeconfig": {"secretRef": {"name": "eu"}}}, "appValues": {"registry": registry}},
            }))
            .unwrap()
        };
        let known = |app: &CatalogApp, registry: &str| {
            let entries = entries(app).map(|entry| (entry, Some(digest))).collect();
            Known {
                digests: entries,
                facts: facts(app, &cluster(registry)),
                seal: Some(Seal::of_key(b"key")),
                ..Known::default()
            }
        };
        let first = inputs(&app, &known(&app, "r.example")).unwrap();
        let facts: Vec<_> = first.facts.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(facts, [("appValues/registry", "r.example"), ("labels/example.com/zone", "north"), ("name", "eu")]);
        assert_ne!(inputs(&app, &known(&app, "other.example")).unwrap().hash, first.hash);
        app.spec.values_from[3].optional = false;
        let (cause, message) = inputs(&app, &known(&app, "r.example")).unwrap_err();
        assert_eq!(cause.reason(), "ValuesNotFound");
        assert!(message.starts_with("Cluster eu has no appValues/absent for app shop;"), "{message}");
    }
}
