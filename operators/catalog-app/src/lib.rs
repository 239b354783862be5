//! The operator of apps: Helm releases on clusters.
//!
//! One reconcile takes an app at most one step further:
//!
//! 1. [`observe`] gathers what a verdict is made of, the account of the app, what it is made of, and, where there is something to do, the
//!    records of the release and how its objects are.
//! 2. [`consent`] says whether the app may be there, and with which roles. [`plan`] gives its [`account`] exactly these, and takes away
//!    what it may not have any more before anything else.
//! 3. [`state`](drover_apps::state) says what comes next for the release: render, note, lock, hooks, objects, wait, finish. That is told by
//!    records that helm reads as well, so nothing is lost with this process, and nobody has to unlock anything.
//! 4. [`act`] does it, with the rights of the app and never with those of Drover.
//! 5. [`summary`] says it in the status.

pub mod account;
pub mod act;
pub mod consent;
pub mod dependencies;
pub mod observe;
pub mod plan;
mod summary;

use std::time::Duration;

use drover_apps::{
    AppCause, AppError,
    drift::Findings,
    inputs::{self, Input},
    prepare::Preparations,
    release::Recall,
    repository::Users,
    seal::OnceSeal,
    workloads::{self, Workload},
};
use drover_crds::{CatalogApp, CatalogAppStatus, ChartRepository, Project, RoleTemplate};
use drover_fleet::{
    admission,
    cause::TenancyCause,
    targets::{self, Choice},
};
use drover_grants::{BindingIndex, GrantCause, OfProject, OfTemplate};
use drover_releases::Renderer;
use drover_runtime::{
    Cause, ClusterName, ClusterView, Inputs, ObjectKey, Operator, Owner, OwnerRecord, Place, PlaceContext,
    PlaceStatuses, Plan, Related, Rights, Rule, Targets, Watches, cache::Change, request::Urgency, rights::READ,
};
use drover_sources::{SourceCause, Sources};
use k8s_openapi::{
    api::{
        admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
        apps::v1::{DaemonSet, Deployment, StatefulSet},
        core::v1::{ConfigMap, Namespace, Secret, ServiceAccount},
        rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding},
    },
    jiff::Timestamp,
};

use consent::AtPlace;
use dependencies::Dependents;
use kube::Resource;

/// Why an app does not have its role.
const OF_ROLES: &[Cause] = &[
    GrantCause::ProjectNotFound.cause(),
    GrantCause::RoleTemplateNotFound.cause(),
    GrantCause::RoleTemplateUndecodable.cause(),
    GrantCause::NotAdmitted.cause(),
    GrantCause::ContextMismatch.cause(),
    GrantCause::RoleTemplateNotBindable.cause(),
    GrantCause::GrantsFrozen.cause(),
    GrantCause::NotYetGranted.cause(),
];
/// The kind of the owner of namespaces.
const PROJECT: &str = "Project";
const RBAC: &str = "rbac.authorization.k8s.io";
/// How long the deletion of an app waits for a cluster that is unreachable or does not let it finish.
const DELETION_TIMEOUT: Duration = Duration::from_mins(10);

/// The operator of the kind [`CatalogApp`].
#[derive(Clone, Debug)]
pub struct CatalogAppOperator {
    preparations: Preparations,
    seal: OnceSeal,
    findings: Findings,
    recall: Recall,
    sources: Option<Sources>,
}

impl CatalogAppOperator {
    /// Which renders charts by `renderer`, and fetches them by `sources`; without one of them every app says so that needs it.
    #[must_use]
    pub fn new(renderer: Option<Renderer>, sources: Option<Sources>) -> Self {
        let preparations = Preparations::new(renderer, sources.clone());
        let (seal, findings, recall) = (OnceSeal::default(), Findings::default(), Recall::default());
        Self { preparations, seal, findings, recall, sources }
    }
}

impl Operator for CatalogAppOperator {
    const NAME: &'static str = "catalog-app";
    const CAUSES: &'static [&'static [Cause]] = &[AppCause::TABLE, OF_ROLES, SourceCause::TABLE, TenancyCause::TABLE];
    const FINALIZER: bool = true;
    /// What this operator needs: the apps with what they are made of; in a cluster their accounts, tokens for them, and to bind their
    /// roles. All else is done with the rights of the apps.
    const RIGHTS: Rights = Rights {
        management: &[
            Rule::on("drover.dev", &["catalogapps", "chartrepositories", "projects", "roletemplates"], READ),
            Rule::on("drover.dev", &["catalogapps", "catalogapps/status"], &["patch"]),
            Rule::on("", &["configmaps"], READ),
        ],
        management_secrets: &[Rule::on("", &["secrets"], READ)],
        own_namespace: &[Rule::on("", &["secrets"], &["create", "get"])],
        downstream: &[
            Rule::on("", &["namespaces"], READ),
            Rule::on("apps", &["daemonsets", "deployments", "statefulsets"], READ),
            Rule::on(RBAC, &["clusterroles"], READ),
            Rule::on(RBAC, &["rolebindings", "clusterrolebindings"], READ),
            Rule::on(RBAC, &["rolebindings", "clusterrolebindings"], &["create", "delete", "patch"]),
            // Whoever gives a role has to have it, or may bind it.
            Rule::on(RBAC, &["clusterroles"], &["bind"]),
            // Informers look in all namespaces.
            Rule::on("", &["serviceaccounts"], READ),
        ],
        downstream_namespace: &[
            Rule::on("", &["serviceaccounts"], &["create", "delete", "patch"]),
            Rule::on("", &["serviceaccounts/token"], &["create"]),
        ],
    };

    type Kind = CatalogApp;
    type World = observe::World;
    type Action = act::Action;
    type PlaceStatus = plan::PlaceStatus;
    type Error = AppError;

    fn related(related: &mut Related<'_>) {
        let apps = BindingIndex::default();
        let [of_projects, of_templates, of_maps, of_secrets, of_policies, of_policy_bindings] =
            std::array::from_fn(|_| apps.clone());
        let (dependents, of_repositories) = (Dependents::default(), Users::default());
        let users = of_repositories.clone();
        related.on::<CatalogApp>(move |change| {
            apps.note(change);
            users.note(change);
            // What is noted in the status is waited for before anything is sent.
            let itself = noted_something_else(change).then(|| change.key.clone());
            dependents.of(change).into_iter().chain(itself).collect()
        });
        related.on::<ChartRepository>(move |change| of_repositories.of(change));
        // Its status says whether a namespace is guarded.
        related.on::<Project>(move |change| of_projects.naming_project(&change.key));
        related.on::<RoleTemplate>(move |change| of_templates.bindings_of_template(change));
        related
            .optional::<Input<ConfigMap>>(&inputs::query(), move |change| of_maps.in_namespace(&change.key.namespace));
        related
            .optional::<Input<Secret>>(&inputs::query(), move |change| of_secrets.in_namespace(&change.key.namespace));
        related.on::<ValidatingAdmissionPolicy>(move |_| of_policies.all());
        related.on::<ValidatingAdmissionPolicyBinding>(move |_| of_policy_bindings.all());
    }

    fn deletion_timeout(_: &CatalogApp) -> Option<Duration> {
        Some(DELETION_TIMEOUT)
    }

    fn targets(app: &CatalogApp, inputs: &Inputs<'_>) -> Targets {
        let choice = |name: &ClusterName, _: &ClusterView| {
            if app.spec.cluster_name == name.as_str() { Choice::Selected } else { Choice::NotSelected }
        };
        let mut targets = targets::selected_by(app, inputs.fleet, choice);
        let named = inputs.fleet.unread().filter(|name| app.spec.cluster_name == name.as_str());
        targets.places.extend(named.cloned().map(Place::Cluster));
        targets
    }

    fn watches(watches: &mut Watches<'_, Self>) {
        watches.optional(|accounts| {
            accounts.owned::<ServiceAccount>();
            accounts.owned::<RoleBinding>();
            accounts.owned::<ClusterRoleBinding>();
        });
        let apps = watches.context().related::<CatalogApp>();
        let cluster = watches.context().place.clone();
        watches.on::<Namespace>(&OwnerRecord::query(PROJECT), move |change, enqueuer| {
            let holders = change.sides().filter_map(|found| OwnerRecord::recorded(&found.metadata, PROJECT));
            let named = holders.flat_map(|project| apps.indexed::<OfProject>(&project));
            for app in named.filter(|app| is_in(app, &cluster, &change.key.name)) {
                enqueuer.now(ObjectKey::of(&app.metadata));
            }
        });
        let apps = watches.context().related::<CatalogApp>();
        let place = watches.context().place.clone();
        watches.optional(|roles| {
            roles.on::<ClusterRole>(&OwnerRecord::query("RoleTemplate"), move |change, enqueuer| {
                let template = drover_roles::BoundRole::template_of(&change.key.name).unwrap_or_default();
                let named = apps.indexed::<OfTemplate>(&ObjectKey::cluster_scoped(template));
                for app in named.iter().filter(|app| place == Place::cluster(&app.spec.cluster_name)) {
                    enqueuer.now(ObjectKey::of(&app.metadata));
                }
            });
        });
        watch_workloads::<Deployment>(watches);
        watch_workloads::<StatefulSet>(watches);
        watch_workloads::<DaemonSet>(watches);
        admission::read_here(watches);
    }

    async fn observe(&self, owner: Owner<'_, CatalogApp>, place: &PlaceContext) -> Result<observe::World, AppError> {
        observe::observe(self, owner, place).await
    }

    fn plan(app: &CatalogApp, world: &observe::World, now: Timestamp) -> Plan<Self> {
        plan::plan(app, world, now)
    }

    fn clean_up(owner: Owner<'_, CatalogApp>, world: &observe::World, now: Timestamp) -> Plan<Self> {
        plan::clean_up(owner, world, now)
    }

    async fn act(
        &self,
        owner: Owner<'_, CatalogApp>,
        place: &PlaceContext,
        action: act::Action,
    ) -> Result<(), AppError> {
        action.carry_out(self, owner, place).await
    }

    fn urgency(action: &act::Action) -> Urgency {
        match action {
            act::Action::Account(change) if change.is_revocation() => Urgency::Revocation,
            _ => Urgency::Rest,
        }
    }

    fn summarise(app: &CatalogApp, statuses: &PlaceStatuses<plan::PlaceStatus>, _: Timestamp) -> CatalogAppStatus {
        summary::summarise(app, statuses)
    }
}

/// Enqueues an app when a workload of its release is ready, or not any more.
fn watch_workloads<K: k8s_openapi::Resource + Resource<DynamicType = ()> + 'static>(
    watches: &mut Watches<'_, CatalogAppOperator>,
) {
    let apps = watches.context().related::<CatalogApp>();
    let place = watches.context().place.clone();
    watches.optional(|workloads| {
        workloads.on::<Workload<K>>(&workloads::query(), move |change, enqueuer| {
            if change.old.as_deref().map(Workload::health) == change.new.as_deref().map(Workload::health) {
                return;
            }
            for release in change.sides().filter_map(Workload::release) {
                for app in apps.indexed::<AtPlace>(&AtPlace::of(&place, release)) {
                    enqueuer.now(ObjectKey::of(&app.metadata));
                }
            }
        });
    });
}

/// Whether the status notes another admission, or another release.
fn noted_something_else(change: &Change<CatalogApp>) -> bool {
    let noted = |app: &CatalogApp| {
        let status = app.status.clone().unwrap_or_default();
        (status.admission, status.pending, status.applied, status.failed, status.last_handled_reconcile_at)
    };
    change.old.as_deref().map(noted) != change.new.as_deref().map(noted)
}

fn is_in(app: &CatalogApp, place: &Place, namespace: &str) -> bool {
    app.spec.namespace == namespace && *place == Place::cluster(&app.spec.cluster_name)
}
