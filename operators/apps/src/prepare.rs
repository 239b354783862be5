//! From the inputs of an app to a manifest: the chart is read and judged, its values are put together, and helm renders it once. Nothing is
//! sent to the cluster for it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use drover_charts::{Chart, Digest, Limits};
use drover_crds::{CatalogApp, ChartRepository, Release, RepositoryChart, Strictness};
use drover_releases::{
    Renderer,
    object::Object,
    record::{ChartRecord, Info, Record},
    render::Slot,
    yaml,
};
use drover_runtime::{ApiCause, Cause, ObjectKey, PlaceContext};
use drover_sources::{SourceCause, Sources};
use drover_values::{Judging, Layer, Problem};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::ResourceExt as _;
use serde_json::{Map, Value};

use crate::{
    AppCause, AppError,
    brought::definitions,
    confide::may_confide,
    inputs::{Entry, EntryKind, Inputs, packaged_chart, read},
    kept::{Kept, Weighed},
    release::InCluster,
    render::Job,
    shared::Shared,
    subcharts::with_subcharts,
};

/// Most bytes of YAML that Chart.yaml and values.yaml of a chart may be together.
const YAML_BYTES: usize = 4 << 20;

/// What came of preparing a release.
#[derive(Debug)]
pub struct Preparation {
    /// For which inputs.
    pub input_hash: String,
    /// With which rights; with others it is tried anew.
    pub rights: String,
    /// For which spec; another one is tried anew …
    pub generation: i64,
    /// … and whenever a person asks for it.
    pub asked: Option<String>,
    /// Tells the kinds that the cluster had then.
    pub kinds: u64,
    /// What is ready to be released, or why nothing is. An error about inputs is not tried again before they change.
    pub outcome: Result<Prepared, (Cause, String)>,
}

impl Preparation {
    /// Whether it failed for what may be over once the cluster has other kinds than these.
    #[must_use]
    pub fn waits_for_kinds(&self) -> bool {
        let causes = [AppCause::ObjectsRefused, AppCause::RenderFailed, AppCause::DefinitionsMissing].map(Cause::from);
        self.outcome.as_ref().is_err_and(|(cause, _)| cause.is_any(&causes))
    }
}

/// What is ready to be released. Its debug output has no values.
pub struct Prepared {
    /// As the status is to note it; of no revision yet.
    pub release: Release,
    /// The record, of no revision yet.
    pub record: Record,
    /// What comes before it: definitions that the app brings.
    pub definitions: Vec<Object>,
    /// How many bytes record and definitions have as JSON, about.
    pub bytes: usize,
}

impl Weighed for Preparation {
    fn bytes(&self) -> usize {
        self.outcome.as_ref().map_or(0, |prepared| prepared.bytes)
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Prepared").field("release", &self.release).finish_non_exhaustive()
    }
}

/// Renders charts, and keeps what is rendered and not in a cluster yet. Clones share it.
#[derive(Clone, Debug)]
pub struct Preparations {
    /// None where this process cannot render.
    renderer: Option<Renderer>,
    /// None where this process cannot fetch.
    sources: Option<Sources>,
    kept: Arc<Mutex<Kept<Preparation>>>,
    shared: Shared,
}

impl Preparations {
    /// Those of `renderer`, with charts out of `sources`; without one of them every app says so that needs it.
    #[must_use]
    pub fn new(renderer: Option<Renderer>, sources: Option<Sources>) -> Self {
        Self { renderer, sources, kept: Arc::default(), shared: Shared::default() }
    }

    /// What is prepared for these inputs of an app.
    #[must_use]
    pub fn get(&self, app: &CatalogApp, inputs: &Inputs) -> Option<Arc<Preparation>> {
        let generation = app.metadata.generation.unwrap_or_default();
        let counts = |found: &&Arc<Preparation>| {
            let is_answered = app.asked().is_none_or(|asked| found.asked.as_ref() == Some(&asked));
            let is_of_spec = found.generation == generation && is_answered && found.rights == inputs.rights;
            found.input_hash == inputs.hash && (found.outcome.is_ok() || is_of_spec)
        };
        self.lock().get(&ObjectKey::of(&app.metadata)).filter(counts).cloned()
    }

    /// The record that was prepared for a release, and the definitions that come before it.
    #[must_use]
    pub fn prepared(&self, app: &CatalogApp, release: &Release) -> Option<(Record, Vec<Object>)> {
        let preparation = self.lock().get(&ObjectKey::of(&app.metadata)).cloned()?;
        let prepared = preparation.outcome.as_ref().ok()?;
        let is_it =
            preparation.input_hash == release.input_hash && prepared.release.manifest_digest == release.manifest_digest;
        is_it.then(|| (prepared.record.clone(), prepared.definitions.clone()))
    }

    /// Forgets what is not needed any more.
    pub fn forget(&self, app: &ObjectKey) {
        self.lock().forget(app);
    }

    /// Prepares a release of these inputs, and keeps what came of it.
    pub async fn prepare(
        &self,
        app: &CatalogApp,
        place: &PlaceContext,
        cluster: &InCluster<'_>,
        inputs: &Inputs,
        now: Timestamp,
    ) -> Result<(), AppError> {
        let outcome = match self.rendered(app, place, cluster, inputs, now).await? {
            Ok(prepared) => Ok(prepared),
            // Only what is wrong with the inputs stays wrong until they change.
            Err(AppError::Other { cause, message }) if !may_pass(cause) => Err((cause, message)),
            Err(error) => return Err(error),
        };
        let generation = app.metadata.generation.unwrap_or_default();
        let (input_hash, rights) = (inputs.hash.clone(), inputs.rights.clone());
        let kinds = cluster.kinds().fingerprint();
        let preparation = Preparation { input_hash, rights, generation, asked: app.asked(), kinds, outcome };
        self.lock().keep(&ObjectKey::of(&app.metadata), Arc::new(preparation));
        Ok(())
    }

    /// What a release of these inputs would be; nothing is kept of it.
    pub async fn preview(
        &self,
        app: &CatalogApp,
        place: &PlaceContext,
        cluster: &InCluster<'_>,
        inputs: &Inputs,
        now: Timestamp,
    ) -> Result<Prepared, AppError> {
        self.rendered(app, place, cluster, inputs, now).await?
    }

    /// What comes of these inputs. The outer error says that they could not be tried.
    async fn rendered(
        &self,
        app: &CatalogApp,
        place: &PlaceContext,
        cluster: &InCluster<'_>,
        inputs: &Inputs,
        now: Timestamp,
    ) -> Result<Result<Prepared, AppError>, AppError> {
        if packaged_chart(app).is_none() {
            // A server may take its time, so the chart is on disk before there is a turn for it. What cannot be fetched now may be there
            // later, whatever the inputs.
            drop(self.packed(app, place, inputs, &Contents::new(), now).await?);
        }
        // What is read takes memory, so there is room for it first.
        let slot = match &self.renderer {
            Some(by) => Some((by, by.slot(&app.namespace().unwrap_or_default()).await)),
            None => None,
        };
        let contents = contents(app, place).await?;
        if !inputs.are_of(app, cluster.seal(), digests(app, &contents)) {
            let message = format!(
                "what app {} is made of changed while it was read, or cannot be read anew yet; Drover looks again",
                app.name_any()
            );
            return Err(AppError::Other { cause: ApiCause::Conflict.into(), message });
        }
        let packed = self.packed(app, place, inputs, &contents, now).await?;
        let by = slot.as_ref().map(|(by, slot)| (*by, slot, &self.shared));
        Ok(rendered(by, app, cluster, (inputs, &packed), &contents, now).await)
    }

    /// The packed chart, from where the spec says.
    async fn packed(
        &self,
        app: &CatalogApp,
        place: &PlaceContext,
        inputs: &Inputs,
        contents: &Contents,
        now: Timestamp,
    ) -> Result<Bytes, AppError> {
        let (spec, namespace) = (&app.spec.chart, app.namespace().unwrap_or_default());
        if let Some((entry, _)) = packaged_chart(app) {
            let packed = content(contents, &entry).map(Bytes::copy_from_slice);
            return packed.ok_or_else(|| {
                AppError::new(AppCause::ChartNotFound, "the object with the chart changed at the same time")
            });
        }
        let Some(sources) = &self.sources else {
            let message = "this process has no folder to keep charts in; see its log".to_owned();
            return Err(AppError::Other { cause: SourceCause::StorageFailed.into(), message });
        };
        let fetched = if let Some(at) = &spec.url {
            let fetched = sources.chart_at(&namespace, &at.url, inputs.chart).await;
            fetched.map_err(|error| error.about("spec.chart.url"))
        } else {
            let chart = spec.repository.as_ref();
            let key = chart.map(|chart| repository_of(app, chart)).unwrap_or_default();
            let found = place.related::<ChartRepository>().get(&key);
            let chosen = (inputs.version.as_deref().unwrap_or_default(), inputs.chart);
            let (Some(found), Some(chart)) = (found, chart) else {
                return Err(AppError::new(AppCause::ChartNotFound, "the repository of the chart is gone; look again"));
            };
            let fetched = sources.chart(&place.management.client(), &found, &chart.chart, chosen, now).await;
            fetched.map_err(|error| error.about(&format!("ChartRepository {key}")))
        };
        fetched.map_err(|error| AppError::Other { cause: error.cause, message: error.message })
    }

    fn lock(&self) -> MutexGuard<'_, Kept<Preparation>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The entries of objects beside the app, by kind and name of the object.
type Contents = BTreeMap<(EntryKind, String), BTreeMap<String, Vec<u8>>>;

async fn contents(app: &CatalogApp, place: &PlaceContext) -> Result<Contents, AppError> {
    let namespace = app.namespace().unwrap_or_default();
    let mut contents = Contents::new();
    for entry in crate::inputs::entries(app) {
        let key = (entry.kind, entry.name.clone());
        if let std::collections::btree_map::Entry::Vacant(place_for) = contents.entry(key) {
            place_for.insert(read(&place.management, &namespace, &entry).await?);
        }
    }
    Ok(contents)
}

/// By what the inputs of an app are told from others, out of what was read.
fn digests(app: &CatalogApp, contents: &Contents) -> BTreeMap<Entry, Option<Digest>> {
    let digest = |entry: Entry| {
        let found = content(contents, &entry).map(Digest::of);
        (entry, found)
    };
    crate::inputs::entries(app).map(digest).collect()
}

fn content<'a>(contents: &'a Contents, entry: &Entry) -> Option<&'a [u8]> {
    Some(contents.get(&(entry.kind, entry.name.clone()))?.get(&entry.key)?.as_slice())
}

async fn rendered(
    by: Option<(&Renderer, &Slot, &Shared)>,
    app: &CatalogApp,
    cluster: &InCluster<'_>,
    (inputs, packed): (&Inputs, &[u8]),
    contents: &Contents,
    now: Timestamp,
) -> Result<Prepared, AppError> {
    let chart = chart(app, inputs, packed)?;
    let (values, warning) = values(app, &chart, inputs, contents)?;
    let is_secret = crate::inputs::entries(app).any(|entry| entry.kind == EntryKind::Secret);
    let Some((by, slot, shared)) = by else {
        return Err(AppError::new(
            AppCause::HelmUnavailable,
            "this process has no folder to render charts in; see its log",
        ));
    };
    // Without its kinds a chart that looks them up fails for another reason.
    cluster.definitions(&definitions(&chart))?;
    let job = Job { app, chart: &chart, values: &values, is_secret, slot, shared };
    let rendered = job.run(by, cluster).await?;
    let without_secrets = !is_secret && !may_confide(&chart, &values);
    let record = record(&chart, values, &rendered)?;
    let definitions = cluster.definitions(&rendered.crds)?;
    cluster.allowed_with(rendered.objects.clone(), &definitions)?;
    for hook in &record.hooks {
        let objects = hook.objects().map_err(|error| AppError::new(AppCause::RenderFailed, error.to_string()))?;
        cluster.allowed_with(objects, &definitions)?;
    }
    record.encode().map_err(|error| AppError::new(AppCause::RecordTooLarge, error.to_string()))?;
    let app_version = Some(chart.metadata().app_version.clone()).filter(|version| !version.is_empty());
    let release = Release {
        revision: 1,
        chart_version: chart.metadata().version.to_string().chars().take(128).collect(),
        app_version: app_version.map(|version| version.chars().take(128).collect()),
        chart_digest: inputs.chart.to_string(),
        input_hash: inputs.hash.clone(),
        manifest_digest: cluster.digest(&record),
        objects: i64::try_from(rendered.objects.len()).unwrap_or(i64::MAX),
        warning,
        rollback_of: None,
        without_secrets,
        taken_up: None,
        at: Time(now),
    };
    let json = serde_json::to_vec(&record).map_or(0, |json| json.len());
    let bytes = definitions.iter().fold(json, |bytes, found| bytes + found.as_value().to_string().len());
    Ok(Prepared { release, record, definitions, bytes })
}

/// Whether a failure may be over without another input.
fn may_pass(cause: Cause) -> bool {
    cause == AppCause::HelmUnavailable.cause()
}

fn chart(app: &CatalogApp, inputs: &Inputs, packed: &[u8]) -> Result<Chart, AppError> {
    let invalid = |message: String| AppError::new(AppCause::ChartInvalid, message);
    let chart = Chart::unpack(packed, &Limits::default()).map_err(|error| invalid(error.to_string()))?;
    if chart.digest() != inputs.chart {
        return Err(invalid("the object with the chart changed at the same time".to_owned()));
    }
    says_what_was_chosen(app, inputs, &chart)?;
    chart.check_installable().map_err(|error| invalid(error.to_string()))?;
    Ok(chart)
}

/// An index may say anything of what it lists.
fn says_what_was_chosen(app: &CatalogApp, inputs: &Inputs, chart: &Chart) -> Result<(), AppError> {
    let (Some(chosen), Some(wanted)) = (&inputs.version, &app.spec.chart.repository) else { return Ok(()) };
    let metadata = chart.metadata();
    match lie((&wanted.chart, chosen), (&metadata.name, metadata.version.as_str())) {
        Some(message) => Err(AppError::new(AppCause::ChartInvalid, message)),
        None => Ok(()),
    }
}

/// What is said where the chart that was given is not the one that was listed, by name and version.
fn lie((name, version): (&str, &str), given: (&str, &str)) -> Option<String> {
    let is_same = name == given.0 && version.trim_start_matches('v') == given.1.trim_start_matches('v');
    let message = format!(
        "the repository lists chart {name} {version}, and what it gives is chart {} {}; correct the index",
        given.0, given.1
    );
    (!is_same).then_some(message)
}

/// The repository of a chart.
#[must_use]
pub fn repository_of(app: &CatalogApp, chart: &RepositoryChart) -> ObjectKey {
    let own = app.namespace().unwrap_or_default();
    ObjectKey::namespaced(chart.namespace.as_deref().unwrap_or(&own), &chart.name)
}

fn values(
    app: &CatalogApp,
    chart: &Chart,
    inputs: &Inputs,
    contents: &Contents,
) -> Result<(Map<String, Value>, Option<String>), AppError> {
    let spec = &app.spec;
    let mut layers = Vec::new();
    for source in &spec.values_from {
        let Some(entry) = Entry::values(source) else {
            let key = source.key.as_deref().unwrap_or_default();
            let fact = inputs.facts.get(key).zip(source.target_path.as_deref());
            layers.extend(fact.map(|(text, path)| Layer::At { source: format!("Cluster, key {key}"), path, text }));
            continue;
        };
        let Some(bytes) = content(contents, &entry) else { continue };
        let name = format!("{} {}, key {}", entry.kind.as_str(), entry.name, entry.key);
        let text = str::from_utf8(bytes)
            .map_err(|_| AppError::new(AppCause::ValuesInvalid, format!("{name}, is no text; correct it")))?;
        layers.push(match &source.target_path {
            Some(path) => Layer::At { source: name, path, text },
            None => Layer::Text { source: name, text },
        });
    }
    let own = Value::Object(spec.values.clone());
    layers.push(Layer::Values(&own));
    let of_chart = with_subcharts(chart)
        .map_err(|_| AppError::new(AppCause::ChartInvalid, "the chart names more than 512 subcharts; remove some"))?;
    let judged = drover_values::Inputs {
        chart: &of_chart,
        questions: chart.questions(),
        layers: &layers,
        answers: &spec.answers,
        validation: drover_values::Validation {
            schema: judging(spec.validation.schema),
            questions: judging(spec.validation.questions),
        },
    };
    let told = |problems: &[Problem]| {
        let named: Vec<String> = problems.iter().take(5).map(ToString::to_string).collect();
        format!("the values of app {} are not as the chart wants them: {}", app.name_any(), named.join("; "))
    };
    let resolved =
        drover_values::resolve(&judged).map_err(|problems| AppError::new(AppCause::ValuesInvalid, told(&problems)))?;
    let warning = (!resolved.warnings.is_empty()).then(|| told(&resolved.warnings).chars().take(512).collect());
    match resolved.values {
        Value::Object(values) => Ok((values, warning)),
        _ => Ok((Map::new(), warning)),
    }
}

fn judging(strictness: Strictness) -> Judging {
    match strictness {
        Strictness::Enforce => Judging::Enforce,
        Strictness::Warn => Judging::Warn,
        Strictness::Skip => Judging::Skip,
    }
}

/// What helm finds in the cluster, as if it had released the chart.
fn record(
    chart: &Chart,
    config: Map<String, Value>,
    rendered: &drover_releases::manifest::Rendered,
) -> Result<Record, AppError> {
    let mut budget = yaml::Budget::new(YAML_BYTES);
    let mut map = |text: Option<&str>| -> Result<Map<String, Value>, AppError> {
        let read = yaml::read(text.unwrap_or("{}"), &mut budget);
        match read.map_err(|error| AppError::new(AppCause::ChartInvalid, error.to_string()))? {
            Value::Object(map) => Ok(map),
            _ => Ok(Map::new()),
        }
    };
    let [metadata, values] = [map(chart.text("Chart.yaml"))?, map(chart.values())?];
    Ok(Record {
        chart: ChartRecord::new(metadata, values),
        config,
        manifest: rendered.manifest.clone(),
        hooks: rendered.hooks.clone(),
        info: Info { notes: rendered.notes.clone().unwrap_or_default(), ..Info::default() },
        ..Record::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_lies_about_a_chart_is_not_believed() {
        assert_eq!(lie(("web", "1.2.3"), ("web", "1.2.3")), None);
        assert_eq!(lie(("web", "v1.2.3"), ("web", "1.2.3")), None);
        assert!(lie(("web", "1.2.3"), ("web", "0.9.0")).is_some(), "an old version as a new one");
        assert!(lie(("web", "1.2.3"), ("db", "1.2.3")).is_some());
    }
}
