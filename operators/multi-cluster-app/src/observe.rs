//! What there is of an app on many clusters: its targets, their apps, its revisions, and what the present spec is made of. Decides nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use drover_admission::PoliciesState;
use drover_apps::{
    inputs::{Entry, Known, Sources},
    repository,
    seal::Seal,
};
use drover_crds::{
    CatalogApp, CatalogAppSpec, CatalogAppStatus, ChartRepository, ChosenChart, MultiClusterApp, names::LOCAL_CLUSTER,
};
use drover_fleet::{
    admission::{guarded_in_management, state_in_management},
    targets::tenancies_of,
};
use drover_grants::{Admitted, Grants, admitted::Evidence};
use drover_previews::Looked;
use drover_rollouts::ChartVersion;
use drover_runtime::{
    Cause, ClusterName, ClusterView, Link, ObjectKey, Owner, PlaceContext, clock::now, operator::record_of,
    owned::Owned, place::deletion_of,
};
use drover_sources::SourceCause;
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::ResourceExt as _;

use crate::{
    MultiClusterAppOperator, RolloutError,
    revisions::{self, Kept},
};

/// A cluster on which the app is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Selected {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it can be reached.
    pub is_online: bool,
    /// Whether its owner suspended it.
    pub is_suspended: bool,
}

/// What a reconcile knows.
#[derive(Debug, Default)]
pub struct World {
    /// Whether all Clusters are known, and whether they can be reached: before that none is missing, or away.
    pub is_complete: bool,
    /// Clusters that exist and cannot be decoded: what they are is unknown.
    pub unread: BTreeSet<String>,
    /// The targets, by name.
    pub selected: Vec<Selected>,
    /// Clusters that a selector selects, and that do not admit the namespace.
    pub refused: i64,
    /// The first cluster that is named and is no target, and why.
    pub missing: Option<String>,
    /// The apps that carry the labels of this one.
    pub apps: Vec<Owned<CatalogApp>>,
    /// The names of other apps beside it.
    pub taken: BTreeSet<String>,
    /// The revisions that are kept, the oldest first …
    pub revisions: Vec<Kept>,
    /// … and the objects in which they are.
    pub kept: Vec<Owned<ControllerRevision>>,
    /// What the present spec is made of, by the version that template and overrides write; or what is missing.
    pub charts: Option<Result<BTreeMap<String, ChartVersion>, (Cause, String)>>,
    /// When charts are to be chosen again, as nothing tells of new ones.
    pub again: Option<Duration>,
    /// What tells each source of values from what it was, by kind, name and key.
    pub sources: BTreeMap<String, String>,
    /// What is known of looks at what a revision would change.
    pub looked: Looked,
    /// By which what Drover keeps of that is told from what others made up; none while it is not known.
    pub seal: Option<Seal>,
    /// Whether anything new may begin.
    pub grants: Grants,
    /// Whether the spec was written under the admission policies.
    pub admitted: Option<Admitted>,
    /// The state of the admission policies, while they are in place.
    pub policies: Option<PoliciesState>,
    /// What is known of the time before, where the app has no record of its own.
    pub evidence: Evidence,
}

pub(crate) async fn observe(
    operator: &MultiClusterAppOperator,
    owner: Owner<'_, MultiClusterApp>,
    place: &PlaceContext,
) -> Result<World, RolloutError> {
    let record = record_of::<MultiClusterAppOperator>(owner.key());
    let (mut apps, mut kept) =
        (Owned::<CatalogApp>::at(place, &record), Owned::<ControllerRevision>::at(place, &record));
    // Other tenants may write our labels in their namespaces.
    let namespace = owner.key().namespace;
    apps.retain(|found| found.meta().namespace.as_ref() == Some(&namespace));
    kept.retain(|found| found.meta().namespace.as_ref() == Some(&namespace));
    let Owner::Present(app) = owner else {
        operator.previews.forget(&owner.key());
        return Ok(World { apps, kept, ..World::default() });
    };
    let revisions = revisions::kept(app, &kept);
    let policies = state_in_management(place);
    let unknown = policies.as_ref().filter(|_| drover_grants::Judged::admission(app).is_none());
    let evidence = unknown.map(|policies| {
        let others = place.related::<MultiClusterApp>().all();
        Evidence::of(others.iter().filter_map(|other| drover_grants::Judged::admission(&**other)), policies)
    });
    let mut world = World {
        is_complete: place.fleet.synced(),
        unread: place.fleet.unread().map(|name| name.as_str().to_owned()).collect(),
        taken: taken(app, &apps, place),
        apps,
        kept,
        grants: Grants::by(&guarded_in_management(place)),
        admitted: Some(Admitted::of(app, || policies.clone())),
        evidence: evidence.unwrap_or_default(),
        policies,
        ..World::default()
    };
    place.fleet.iter().for_each(|(name, view)| world.add(app, name, view, place));
    world.name_missing(app, place);
    let seal = operator.seal.get(place).await?;
    world.sources = sources(app, place, &seal);
    // A pin needs nothing but the revision.
    if app.spec.pin.is_none() {
        world.charts = Some(charts(operator, app, place, (&revisions, &seal), &mut world.again).await);
    }
    world.revisions = revisions;
    world.looked = operator.previews.get(&owner.key());
    world.seal = Some(seal);
    Ok(world)
}

impl World {
    fn add(&mut self, app: &MultiClusterApp, name: &ClusterName, view: &ClusterView, place: &PlaceContext) {
        let is_selected = app.spec.clusters.selects(name.as_str(), view.object.labels());
        let is_local = name.as_str() == LOCAL_CLUSTER;
        if !is_selected || is_local || deletion_of(&view.object).is_some() {
            return;
        }
        if tenancies_of(app, view, &place.fleet).is_empty() {
            self.refused += 1;
            return;
        }
        self.is_complete &= !matches!(view.link, Link::Connecting);
        self.selected.push(Selected {
            name: name.as_str().to_owned(),
            labels: view.object.labels().clone(),
            is_online: matches!(view.link, Link::Connected(_)),
            is_suspended: view.object.spec.suspend,
        });
    }

    fn name_missing(&mut self, app: &MultiClusterApp, place: &PlaceContext) {
        let drover_crds::ClusterSelection::Names(names) = &app.spec.clusters else { return };
        let namespace = app.namespace().unwrap_or_default();
        let selected: BTreeSet<_> = self.selected.iter().map(|selected| &selected.name).collect();
        let is_there = |name: &&String| selected.contains(name) || self.unread.contains(*name);
        self.missing = names.iter().find(|name| !is_there(name)).map(|name| {
            match place.fleet.get(&ClusterName::from(name.as_str())) {
                _ if name == LOCAL_CLUSTER => {
                    format!("the management cluster takes no apps; remove {name} from spec.clusters")
                }
                Some(view) if deletion_of(&view.object).is_some() => {
                    format!("Cluster {name} is being deleted; remove it from spec.clusters")
                }
                Some(_) => format!(
                    "cluster {name} does not admit namespace {namespace}; its owner decides that in spec.tenants of the Cluster"
                ),
                None => format!("there is no Cluster {name}; create it, or remove it from spec.clusters"),
            }
        });
    }
}

/// The names of apps in the namespace that are none of its own.
fn taken(app: &MultiClusterApp, own: &[Owned<CatalogApp>], place: &PlaceContext) -> BTreeSet<String> {
    let own: BTreeSet<_> = own.iter().filter_map(|found| found.meta().name.clone()).collect();
    let beside = place.related::<CatalogApp>().in_namespace(&app.namespace().unwrap_or_default());
    beside.iter().map(|found| found.name_any()).filter(|name| !own.contains(name)).collect()
}

/// The chart by each version that template and overrides write, and to what an app with it is bound.
async fn charts(
    operator: &MultiClusterAppOperator,
    app: &MultiClusterApp,
    place: &PlaceContext,
    (revisions, seal): (&[Kept], &Seal),
    again: &mut Option<Duration>,
) -> Result<BTreeMap<String, ChartVersion>, (Cause, String)> {
    let template = &app.spec.template;
    let of_template = template.chart.repository.as_ref().and_then(|chart| chart.version.clone());
    let of_overrides = app.spec.overrides.iter().filter_map(|one| one.version.clone());
    let versions: BTreeSet<_> = [of_template.unwrap_or_default()].into_iter().chain(of_overrides).collect();
    let mut charts = BTreeMap::new();
    for version in versions {
        let chart = chart(operator, app, place, (&version, revisions, seal), again).await?;
        charts.insert(version, chart);
    }
    Ok(charts)
}

/// So that people see which source of values changed, and nothing of what it is.
fn sources(app: &MultiClusterApp, place: &PlaceContext, seal: &Seal) -> BTreeMap<String, String> {
    let any = any_target(app, "");
    let known = Known::of(&any, &place.management);
    let of_values = app.spec.template.values_from.iter().filter_map(Entry::values);
    let told = of_values.filter_map(|entry| {
        let digest = known.digests.get(&entry).copied().flatten()?.to_string();
        let name = format!("{}/{}/{}", entry.kind.as_str(), entry.name, entry.key);
        // With its name: of two that hold the same nobody is to see it.
        let what = format!("source {name}");
        Some((name, seal.tag(&app.namespace().unwrap_or_default(), &what, digest.as_bytes())))
    });
    told.collect()
}

async fn chart(
    operator: &MultiClusterAppOperator,
    app: &MultiClusterApp,
    place: &PlaceContext,
    (version, revisions, seal): (&str, &[Kept], &Seal),
    again: &mut Option<Duration>,
) -> Result<ChartVersion, (Cause, String)> {
    let mut any = any_target(app, version);
    any.status = former(app, &any, version, revisions)
        .map(|chart| CatalogAppStatus { chart: Some(chart), ..CatalogAppStatus::default() });
    let mut known = Known::of(&any, &place.management);
    known.chosen = chosen(operator, &any, app, place, again).await;
    let sources = Sources::of(&any, &known)?;
    let version = sources.version().map(str::to_owned);
    Ok(ChartVersion { version, digest: sources.chart().to_string(), inputs: sources.tag(&any, seal) })
}

/// The app of a target, as far as all targets with this version have it in common.
fn any_target(app: &MultiClusterApp, version: &str) -> CatalogApp {
    let mut template = app.spec.template.clone();
    if let Some(repository) = template.chart.repository.as_mut().filter(|_| !version.is_empty()) {
        repository.version = Some(version.to_owned());
    }
    let spec = CatalogAppSpec { cluster_name: String::new(), template, pin: None };
    let mut any = CatalogApp::new(&app.name_any(), spec);
    any.metadata.namespace = app.namespace();
    any
}

/// What was chosen of the chart for the revision that is wanted at present: an upgrade policy counts from there.
fn former(app: &MultiClusterApp, any: &CatalogApp, version: &str, revisions: &[Kept]) -> Option<ChosenChart> {
    let target = &app.status.as_ref()?.target_revision.as_ref()?.name;
    let content = &revisions.iter().find(|kept| kept.name == *target)?.content;
    let (chart, found) = (any.spec.chart.repository.as_ref()?, content.chart(Some(version))?);
    Some(ChosenChart {
        repository: drover_apps::prepare::repository_of(any, chart).to_string(),
        name: chart.chart.clone(),
        version: found.version.clone()?,
        digest: found.digest.clone(),
        available_version: None,
    })
}

/// The version of a chart in a repository; a range is resolved once for a rollout.
async fn chosen(
    operator: &MultiClusterAppOperator,
    any: &CatalogApp,
    app: &MultiClusterApp,
    place: &PlaceContext,
    again: &mut Option<Duration>,
) -> Option<Result<ChosenChart, (Cause, String)>> {
    let chart = any.spec.chart.repository.as_ref()?;
    let namespace = app.namespace().unwrap_or_default();
    let labels = place.fleet.namespace_labels(&namespace).cloned().unwrap_or_default();
    let find = |key: &ObjectKey| place.related::<ChartRepository>().lookup(key);
    let found = match repository::usable(any, chart, &labels, find) {
        Ok(found) => found,
        Err(why) => return Some(Err(why)),
    };
    if let Some(kept) = repository::kept(any, chart).filter(|_| is_under_way(app)) {
        return Some(Ok(kept));
    }
    let Some(sources) = &operator.sources else {
        let message = "this process has no folder to keep charts in; see its log".to_owned();
        return Some(Err((SourceCause::StorageFailed.into(), message)));
    };
    let outcome = sources.choose(&place.management.client(), &found, &repository::wanted(any, chart), now()).await;
    // Whoever could not ask tries again, as the status of the repository may not change.
    let after = outcome.as_ref().map_or_else(|_| Some(found.spec.interval()), |chosen| chosen.again);
    *again = again.iter().copied().chain(after).min();
    Some(repository::choice(any, chart, outcome))
}

fn is_under_way(app: &MultiClusterApp) -> bool {
    let Some(record) = app.status.as_ref().and_then(|status| status.rollout.as_ref()) else { return false };
    record.revision.is_some() && record.revision != record.completed && !record.failed
}
