//! The operator of [`MultiClusterApp`]s: one app on many clusters.
//!
//! 1. Its place is the management cluster: it reads the fleet and the apps of its targets ([`observe`]).
//! 2. The template, the overrides and the chart that they mean are a revision, kept as a `ControllerRevision` before anything is done on
//!    account of it ([`revisions`]).
//! 3. The planner of the crate `drover-rollouts` says which target gets which revision now. What it has to remember is noted in the status
//!    first ([`plan`]).
//! 4. Each target is a `CatalogApp`, bound to its revision, with the chart and the values of that ([`children`]). Its own operator does the
//!    rest.
//! 5. While a person is asked for approval, or holds the rollout, what the revision would change is looked up on a target of each stage,
//!    beside the rollout, and is kept in a further `ControllerRevision`.
//!
//! A change of a Cluster, of an app of a target, or of what the spec refers to, decides anew.

mod act;
mod cause;
mod changes;
pub mod children;
mod error;
pub mod observe;
pub mod place_status;
pub mod plan;
mod preview;
pub mod revisions;
pub mod steering;
mod summary;
mod wakes;

pub use act::Action;
pub use cause::RolloutCause;
use drover_apps::{
    AppCause,
    inputs::{self, Input},
    prepare::Preparations,
    seal::OnceSeal,
};
use drover_crds::{CatalogApp, ChartRepository, Cluster, MultiClusterApp, MultiClusterAppStatus};
use drover_grants::GrantCause;
use drover_previews::Previews;
use drover_releases::Renderer;
use drover_runtime::{
    Cause, Inputs, Operator, Owner, Place, PlaceContext, PlaceStatuses, Plan, Related, Rights, Rule, Targets, Watches,
    rights::READ,
};
use drover_sources::{SourceCause, Sources};
pub use error::RolloutError;
use k8s_openapi::{
    api::{
        admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
        apps::v1::ControllerRevision,
        core::v1::{ConfigMap, Secret},
    },
    jiff::Timestamp,
};
use wakes::{Everyone, noted_something_else};

/// Why nothing new may begin.
const OF_GRANTS: &[Cause] =
    &[GrantCause::NotAdmitted.cause(), GrantCause::GrantsFrozen.cause(), GrantCause::NotYetGranted.cause()];

/// What the spec refers to and is not there.
const OF_SOURCES: &[Cause] = &[
    AppCause::ChartNotFound.cause(),
    AppCause::DigestMismatch.cause(),
    AppCause::KeyUnavailable.cause(),
    AppCause::ValuesNotFound.cause(),
];

/// The operator of the kind [`MultiClusterApp`].
#[derive(Clone, Debug)]
pub struct MultiClusterAppOperator {
    seal: OnceSeal,
    previews: Previews,
    sources: Option<Sources>,
}

impl MultiClusterAppOperator {
    /// Which chooses charts by `sources`, and shows by `renderer` what a revision would change; without one of them every app says so that
    /// needs it.
    #[must_use]
    pub fn new(renderer: Option<Renderer>, sources: Option<Sources>) -> Self {
        let previews = Previews::new(Preparations::new(renderer, sources.clone()));
        Self { seal: OnceSeal::default(), previews, sources }
    }
}

impl Operator for MultiClusterAppOperator {
    const NAME: &'static str = "multi-cluster-app";
    const CAUSES: &'static [&'static [Cause]] = &[RolloutCause::TABLE, OF_SOURCES, OF_GRANTS, SourceCause::TABLE];
    const FINALIZER: bool = true;
    /// What this operator needs: in the management cluster, where it writes the apps of targets as whoever wrote the app on many clusters
    /// may, and keeps revisions; and to read releases as their apps.
    const RIGHTS: Rights = Rights {
        management: &[
            Rule::on("drover.dev", &["catalogapps", "chartrepositories", "clusters", "multiclusterapps"], READ),
            Rule::on("drover.dev", &["catalogapps"], &["create", "delete", "patch"]),
            Rule::on("drover.dev", &["multiclusterapps", "multiclusterapps/status"], &["patch"]),
            // Policies ask whoever writes an app for these verbs; of who writes one on many clusters they were asked before.
            Rule::on("drover.dev", &["roletemplates"], &["bind"]),
            Rule::on("drover.dev", &["clusters"], &["operate"]),
            // Nobody else writes the apps of targets and the revisions, or takes their labels off.
            Rule::on("drover.dev", &["multiclusterapps"], &["manage"]),
            Rule::on("apps", &["controllerrevisions"], READ),
            Rule::on("apps", &["controllerrevisions"], &["create", "delete"]),
            Rule::on("", &["configmaps"], READ),
        ],
        management_secrets: &[Rule::on("", &["secrets"], READ)],
        own_namespace: &[Rule::on("", &["secrets"], &["create", "get"])],
        // To show what a revision would change, with the rights of the app there.
        downstream: &[Rule::on("", &["namespaces"], READ)],
        downstream_namespace: &[Rule::on("", &["serviceaccounts/token"], &["create"])],
    };

    type Kind = MultiClusterApp;
    type World = observe::World;
    type Action = Action;
    type PlaceStatus = place_status::PlaceStatus;
    type Error = RolloutError;

    fn related(related: &mut Related<'_>) {
        let all = Everyone::default();
        let [of_clusters, of_apps, of_maps, of_secrets, of_repositories, of_policies, of_policy_bindings] =
            std::array::from_fn(|_| all.clone());
        related.on::<MultiClusterApp>(move |change| {
            all.note(change);
            noted_something_else(change).then(|| change.key.clone()).into_iter().collect()
        });
        related.on::<Cluster>(move |change| of_clusters.of_cluster(change));
        // Whether a name is taken.
        related.on::<CatalogApp>(move |change| of_apps.beside(change));
        related.on::<ChartRepository>(move |change| of_repositories.of_repository(change));
        related.optional::<Input<ConfigMap>>(&inputs::query(), move |change| of_maps.in_namespace(change));
        related.optional::<Input<Secret>>(&inputs::query(), move |change| of_secrets.in_namespace(change));
        related.on::<ValidatingAdmissionPolicy>(move |_| of_policies.all());
        related.on::<ValidatingAdmissionPolicyBinding>(move |_| of_policy_bindings.all());
    }

    fn targets(_: &MultiClusterApp, _: &Inputs<'_>) -> Targets {
        std::collections::BTreeSet::from([Place::Management]).into()
    }

    fn watches(watches: &mut Watches<'_, Self>) {
        if watches.context().place == Place::Management {
            watches.owned::<CatalogApp>();
            watches.owned::<ControllerRevision>();
        }
    }

    async fn observe(
        &self,
        owner: Owner<'_, MultiClusterApp>,
        place: &PlaceContext,
    ) -> Result<observe::World, RolloutError> {
        observe::observe(self, owner, place).await
    }

    fn plan(app: &MultiClusterApp, world: &observe::World, now: Timestamp) -> Plan<Self> {
        plan::plan(app, world, now)
    }

    fn clean_up(owner: Owner<'_, MultiClusterApp>, world: &observe::World, _: Timestamp) -> Plan<Self> {
        plan::clean_up(owner, world)
    }

    async fn act(
        &self,
        owner: Owner<'_, MultiClusterApp>,
        place: &PlaceContext,
        action: Action,
    ) -> Result<(), RolloutError> {
        action.carry_out(self, owner, place).await
    }

    fn summarise(
        app: &MultiClusterApp,
        statuses: &PlaceStatuses<place_status::PlaceStatus>,
        _: Timestamp,
    ) -> MultiClusterAppStatus {
        summary::summarise(app, statuses)
    }
}
