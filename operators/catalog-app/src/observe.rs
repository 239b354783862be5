//! What there is of an app: at its cluster, and beside it in the management cluster. Decides nothing.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use drover_admission::PoliciesState;
use drover_apps::{
    AppCause, AppError,
    drift::Finding,
    inputs::{self, Known},
    prepare::Preparation,
    release::{self, With},
    repository,
    state::{self, Seen},
    workloads::{self, OfRelease as OfHelm, Workload},
};
use drover_crds::{CatalogApp, ChartRepository, ChosenChart, DriftMode, Project, RoleTemplate};
use drover_fleet::{
    admission::{guarded, state_in_management},
    targets::tenancies_of,
};
use drover_grants::{Admitted, Grants, Judged as _, admitted::Evidence, reached};
use drover_roles::digest;
use drover_runtime::{
    AccountError, Cause, ClusterName, ObjectKey, Owner, OwnerRecord, Place, PlaceContext, Title,
    accounts::Accounts,
    cache::{Index as _, Lookup},
    clock::now,
    operator::record_of,
    owned::Owned,
    request::request,
};
use drover_sources::SourceCause;
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, StatefulSet},
    core::v1::Namespace,
    rbac::v1::ClusterRole,
};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use crate::{
    CatalogAppOperator, PROJECT,
    account::Account,
    consent::{Admission, Facts, Hold, OfRelease, ProjectState, Verdict, holder, is_guarded},
    dependencies,
};

/// What a reconcile knows.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// What the verdict is made of; none outside of a cluster, or if the app is gone.
    pub facts: Option<Facts>,
    /// The account of the app, and its roles.
    pub account: Account,
    /// Charts and values beside the app.
    pub known: Known,
    /// When a version is to be chosen again, as nothing tells of new ones.
    pub choose_again: Option<Duration>,
    /// What is prepared for the present inputs.
    pub preparation: Option<Arc<Preparation>>,
    /// What there is of the release; none if nobody had to look, or nobody could.
    pub seen: Option<Seen>,
    /// The first workload of the release that is not ready, as far as Drover may see them.
    pub not_ready: Option<String>,
    /// What was found of the deployed revision when it was looked last.
    pub finding: Option<Finding>,
    /// Why the app waits for others, if it does.
    pub unmet: Option<(Cause, String)>,
    /// What there is of the namespace of an app of no Project, once it was looked at.
    pub namespace: NamespaceState,
    /// What the cluster said where it did not let the app look at its release.
    pub refused: Option<String>,
    /// The state of the admission policies, while they are in place.
    pub policies: Option<PoliciesState>,
    /// What is known of the time before, where the app has no record of its own.
    pub evidence: Evidence,
}

/// What is known of a namespace that no Project holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NamespaceState {
    /// Nothing, as nobody had to look.
    #[default]
    Unknown,
    /// It exists.
    Present,
    /// It is being deleted.
    Terminating,
    /// It does not exist.
    Absent,
}

impl World {
    /// What is rendered for the present inputs.
    #[must_use]
    pub fn prepared(&self) -> state::Prepared {
        match self.preparation.as_ref().map(|preparation| &preparation.outcome) {
            None => state::Prepared::Nothing,
            Some(Ok(prepared)) => state::Prepared::Release(Box::new(prepared.release.clone())),
            Some(Err(_)) => state::Prepared::Failed,
        }
    }

    /// Why nothing could be rendered.
    #[must_use]
    pub fn unprepared(&self) -> (Cause, String) {
        let outcome = self.preparation.as_ref().map(|preparation| &preparation.outcome);
        match outcome {
            Some(Err(why)) => why.clone(),
            _ => (AppCause::RenderFailed.into(), "the chart cannot be rendered".to_owned()),
        }
    }
}

pub(crate) async fn observe(
    operator: &CatalogAppOperator,
    owner: Owner<'_, CatalogApp>,
    place: &PlaceContext,
) -> Result<World, AppError> {
    let record = record_of::<CatalogAppOperator>(owner.key());
    let account = Account {
        accounts: Owned::at(place, &record),
        bindings: Owned::at(place, &record),
        cluster_bindings: Owned::at(place, &record),
    };
    if !matches!(owner, Owner::Present(_)) || place.fleet.is_deleting(&place.place) {
        operator.preparations.forget(&owner.key());
        operator.findings.forget(&owner.key());
    }
    let (Some(app), Some(facts)) = (owner.object(), facts(owner, place)) else {
        return Ok(World { account, ..World::default() });
    };
    let policies = state_in_management(place);
    let unknown = policies.as_ref().filter(|_| app.admission().is_none());
    let evidence = unknown.map(|policies| {
        let others = place.related::<CatalogApp>().all();
        Evidence::of(others.iter().filter_map(|other| other.admission()), policies)
    });
    // Rights that are withdrawn go, whether there is a key or not.
    let (seal, unsealed) = match operator.seal.get(place).await {
        Ok(seal) => (Some(seal), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let mut known = Known::of(app, &place.management);
    known.facts = place.cluster.as_ref().map(|cluster| inputs::facts(app, cluster)).unwrap_or_default();
    let (chosen, choose_again) = match owner {
        Owner::Present(_) => chosen(operator, app, place, &facts.labels).await,
        _ => (None, None),
    };
    known.chosen = chosen;
    (known.rights, known.seal, known.unsealed) = (rights(&account, place), seal, unsealed);
    let mut world = World {
        facts: Some(facts),
        account,
        preparation: None,
        known,
        choose_again,
        seen: None,
        not_ready: not_ready(app, place),
        finding: operator.findings.get(app),
        unmet: dependencies::unmet(app, |name| {
            place.related::<CatalogApp>().get(&ObjectKey::namespaced(&app.namespace().unwrap_or_default(), name))
        }),
        namespace: NamespaceState::Unknown,
        refused: None,
        policies,
        evidence: evidence.unwrap_or_default(),
    };
    look(operator, owner, app, place, &mut world).await?;
    Ok(world)
}

/// Looks at the release where a decision needs it: at rest no request is sent.
async fn look(
    operator: &CatalogAppOperator,
    owner: Owner<'_, CatalogApp>,
    app: &CatalogApp,
    place: &PlaceContext,
    world: &mut World,
) -> Result<(), AppError> {
    let may_act = world.facts.as_ref().is_some_and(|facts| matches!(Verdict::of(app, facts), Verdict::Granted(_)));
    if !may_act || app.spec.suspend {
        // What cannot begin takes no memory; it is rendered again.
        operator.preparations.forget(&owner.key());
    }
    if !world.account.exists() || !world.account.has_roles() {
        return Ok(());
    }
    if matches!(owner, Owner::Deleting(_)) || place.fleet.is_deleting(&place.place) {
        let seal = operator.seal.get(place).await?;
        let with = With { seal: &seal, recall: &operator.recall, now: now() };
        world.seen = release::uninstalling(app, place, with).await?;
        return Ok(());
    }
    let Some(seal) = &world.known.seal else { return Ok(()) };
    let seal = &seal.clone();
    let Ok(found) = inputs::inputs(app, &world.known) else { return Ok(()) };
    world.preparation = operator.preparations.get(app, &found);
    if let Some(preparation) = &world.preparation
        && preparation.waits_for_kinds()
        && has_other_kinds(preparation, place).await
    {
        // What the cluster lacked may be there by now.
        world.preparation = None;
    }
    let is_replaced = world.finding.as_ref().is_some_and(|found| found.is_replaced);
    let is_at_rest = state::is_at_rest(app, &found.hash) && !(is_replaced && app.spec.drift.mode == DriftMode::Correct);
    // Who asks for another try wants to know how it is now.
    if is_at_rest || app.asked().is_some() {
        operator.recall.forget(&owner.key());
    }
    if may_act && !app.spec.suspend && !is_at_rest && roles_are_there(world, place) {
        if app.spec.is_of_platform() {
            world.namespace = namespace(app, place).await?;
            if world.namespace != NamespaceState::Present {
                return Ok(());
            }
        }
        let with = With { seal, recall: &operator.recall, now: now() };
        let prepared = world.preparation.as_ref().and_then(|preparation| preparation.outcome.as_ref().ok());
        match release::see(app, place, with, prepared).await {
            Ok(seen) => world.seen = Some(seen),
            // An API server knows a role that was bound a moment ago only after another one.
            Err(AppError::AsApp(error @ AccountError::Forbidden { .. })) => world.refused = Some(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether the cluster has other kinds by now than those for which nothing could be prepared. It is asked at most once a minute, however many
/// apps wait.
async fn has_other_kinds(preparation: &Preparation, place: &PlaceContext) -> bool {
    let Some(accounts) = place.cache.attached::<Accounts>() else { return false };
    // A cluster that does not answer says nothing new.
    accounts.kinds_of_late().await.is_ok_and(|kinds| kinds.fingerprint() != preparation.kinds)
}

/// No informer has the namespaces of others; it is looked at only where something is to be released.
async fn namespace(app: &CatalogApp, place: &PlaceContext) -> Result<NamespaceState, AppError> {
    let name = &app.spec.namespace;
    let namespaces = Api::<Namespace>::all(place.cache.client());
    let found = request(&*format!("read namespace {name}"), namespaces.get_metadata_opt(name)).await?;
    Ok(match found {
        None => NamespaceState::Absent,
        Some(found) if found.metadata.deletion_timestamp.is_some() => NamespaceState::Terminating,
        Some(_) => NamespaceState::Present,
    })
}

/// What the roles of the app allow in the cluster by now.
fn rights(account: &Account, place: &PlaceContext) -> String {
    let roles = place.cache.informer::<ClusterRole>(&OwnerRecord::query("RoleTemplate"));
    let allowed = |name: &str| roles.get(&ObjectKey::cluster_scoped(name)).and_then(|role| role.rules.clone());
    let all: BTreeMap<_, _> = account.role_names().map(|name| (name, allowed(name))).collect();
    digest(&json!(all).to_string())
}

/// Whether the roles that are bound exist, so that the account can do something.
fn roles_are_there(world: &World, place: &PlaceContext) -> bool {
    let roles = place.cache.informer::<ClusterRole>(&OwnerRecord::query("RoleTemplate"));
    let mut names = world.account.role_names().filter(|name| name.starts_with("drover:"));
    names.all(|name| roles.get(&ObjectKey::cluster_scoped(name)).is_some())
}

fn facts(owner: Owner<'_, CatalogApp>, place: &PlaceContext) -> Option<Facts> {
    let app = owner.object()?;
    let (cluster, Place::Cluster(name)) = (place.cluster.clone()?, &place.place) else { return None };
    let view = place.fleet.get(name)?;
    let namespace = app.namespace().unwrap_or_default();
    let templates = place.related::<RoleTemplate>();
    let find = |name: &str| templates.lookup(&ObjectKey::cluster_scoped(name));
    let judge = |template: &RoleTemplate| Admitted::of(template, || state_in_management(place));
    let (project, hold) = match &app.spec.project_name {
        Some(project) => of_project(app, name, &ObjectKey::namespaced(&namespace, project), place),
        None => (ProjectState::Unnamed, held_by_any(place, &app.spec.namespace)),
    };
    Some(Facts {
        admission: Admission::of(app, &view.object, tenancies_of(app, view, &place.fleet)),
        project,
        hold,
        templates: reached([&*app.spec.role_template_name], find, judge),
        labels: place.fleet.namespace_labels(&namespace).cloned().unwrap_or_default(),
        grants: Grants::by(&guarded(place)),
        admitted: Admitted::of(app, || state_in_management(place)),
        holder: OfRelease::key(app).and_then(|release| {
            let others = place.related::<CatalogApp>().indexed::<OfRelease>(&release);
            let holder = holder(app, others.iter().map(AsRef::as_ref))?;
            let is_beside = holder.namespace() == app.namespace();
            Some(if is_beside { holder.name_any() } else { ObjectKey::of(&holder.metadata).to_string() })
        }),
        cluster,
    })
}

fn not_ready(app: &CatalogApp, place: &PlaceContext) -> Option<String> {
    let release = ObjectKey::namespaced(&app.spec.namespace, app.release_name());
    first_not_ready::<Deployment>(place, &release)
        .or_else(|| first_not_ready::<StatefulSet>(place, &release))
        .or_else(|| first_not_ready::<DaemonSet>(place, &release))
}

fn first_not_ready<K: Resource<DynamicType = ()> + 'static>(
    place: &PlaceContext,
    release: &ObjectKey,
) -> Option<String> {
    let workloads = place.cache.informer::<Workload<K>>(&workloads::query());
    let mut found: Vec<_> = workloads.indexed::<OfHelm>(release).iter().filter_map(|found| found.not_ready()).collect();
    found.sort();
    found.into_iter().next()
}

fn of_project(app: &CatalogApp, cluster: &ClusterName, key: &ObjectKey, place: &PlaceContext) -> (ProjectState, Hold) {
    let found = place.related::<Project>().lookup(key);
    let project = match &found {
        Lookup::Found(project) if project.metadata.deletion_timestamp.is_some() => ProjectState::Absent,
        Lookup::Undecodable(project) if project.meta.deletion_timestamp.is_some() => ProjectState::Absent,
        Lookup::Found(project) if !project.spec.suspend => ProjectState::Present,
        Lookup::Found(_) | Lookup::Undecodable(_) => ProjectState::Unsettled,
        Lookup::Absent => ProjectState::Absent,
    };
    let hold = match (holds(place, key, &app.spec.namespace), &found) {
        (Hold::Guarded, Lookup::Found(project)) if is_guarded(project, cluster.as_str(), &app.spec.namespace) => {
            Hold::Guarded
        }
        (Hold::Guarded, _) => Hold::Unguarded,
        (hold, _) => hold,
    };
    (project, hold)
}

fn holds(place: &PlaceContext, project: &ObjectKey, namespace: &str) -> Hold {
    let record = OwnerRecord { kind: PROJECT, key: project.clone() };
    let is_it = |found: &&Owned<Namespace>| {
        found.meta().name.as_deref() == Some(namespace) && matches!(found.title, Title::Created | Title::Adopted)
    };
    match Owned::<Namespace>::at(place, &record).iter().find(is_it) {
        None => Hold::No,
        Some(found) if found.meta().deletion_timestamp.is_some() => Hold::Ending,
        Some(_) => Hold::Guarded,
    }
}

/// Whatever its labels say, true or not: members of a Project may write in a namespace that carries them.
fn held_by_any(place: &PlaceContext, namespace: &str) -> Hold {
    let held = place.cache.informer::<Namespace>(&OwnerRecord::query(PROJECT));
    if held.get(&ObjectKey::cluster_scoped(namespace)).is_some() { Hold::Unguarded } else { Hold::No }
}

/// What came of choosing a version of a chart in a repository.
type Choice = Option<Result<ChosenChart, (Cause, String)>>;

/// The version of a chart in a repository that the app is to have, and when that is to be asked again. At rest nothing is fetched.
async fn chosen(
    operator: &CatalogAppOperator,
    app: &CatalogApp,
    place: &PlaceContext,
    labels: &BTreeMap<String, String>,
) -> (Choice, Option<Duration>) {
    let Some(chart) = &app.spec.chart.repository else { return (None, None) };
    let find = |key: &ObjectKey| place.related::<ChartRepository>().lookup(key);
    let found = match repository::usable(app, chart, labels, find) {
        Ok(found) => found,
        Err(why) => return (Some(Err(why)), None),
    };
    // A pin needs nothing but the record of its revision.
    if app.spec.suspend || app.spec.pin.is_some() {
        return (repository::kept(app, chart).map(Ok), None);
    }
    let Some(sources) = &operator.sources else {
        let message = "this process has no folder to keep charts in; see its log".to_owned();
        return (Some(Err((SourceCause::StorageFailed.into(), message))), None);
    };
    let wanted = repository::wanted(app, chart);
    let outcome = sources.choose(&place.management.client(), &found, &wanted, now()).await;
    // Whoever could not ask tries again, as the status of the repository may not change.
    let again = outcome.as_ref().map_or_else(|_| Some(found.spec.interval()), |chosen| chosen.again);
    (Some(repository::choice(app, chart, outcome)), again)
}
