//! The operator of chart repositories: it reads them at their interval, for the apps that name them.
//!
//! 1. [`observe`] looks at what came of the last attempt, and whether the Secrets are there.
//! 2. [`plan`] says whether it is time to read it again. An index that did not change writes nothing.
//! 3. [`act`] does it. The index stays on disk; memory holds how large it is.
//! 4. [`summary`] says it in the status.
//!
//! It converges in the management cluster only.

pub mod act;
pub mod observe;
pub mod plan;
mod summary;

use std::collections::BTreeSet;

use drover_crds::{ChartRepository, ChartRepositoryStatus};
use drover_runtime::{
    Cause, Inputs, LabelQuery, ObjectKey, Operator, Owner, Place, PlaceContext, PlaceStatuses, Plan, Rights, Rule,
    Targets, Watches, rights::READ,
};
use drover_sources::{
    SourceCause, SourceError, Sources,
    secret::{self, RepositorySecret},
};
use k8s_openapi::jiff::Timestamp;

/// The operator of the kind [`ChartRepository`].
#[derive(Clone, Debug)]
pub struct ChartRepositoryOperator {
    sources: Option<Sources>,
}

impl ChartRepositoryOperator {
    /// Which keeps what it reads in `sources`; without these every repository says so.
    #[must_use]
    pub fn new(sources: Option<Sources>) -> Self {
        Self { sources }
    }
}

impl Operator for ChartRepositoryOperator {
    const NAME: &'static str = "chart-repository";
    const CAUSES: &'static [&'static [Cause]] = &[SourceCause::TABLE];
    const FINALIZER: bool = false;
    /// What this operator needs: the repositories, and the Secrets that they name.
    const RIGHTS: Rights = Rights {
        management: &[
            Rule::on("drover.dev", &["chartrepositories"], READ),
            Rule::on("drover.dev", &["chartrepositories/status"], &["patch"]),
        ],
        management_secrets: &[Rule::on("", &["secrets"], READ)],
        ..Rights::NONE
    };

    type Kind = ChartRepository;
    type World = observe::World;
    type Action = act::Fetch;
    type PlaceStatus = plan::PlaceStatus;
    type Error = SourceError;

    fn targets(_: &ChartRepository, _: &Inputs<'_>) -> Targets {
        BTreeSet::from([Place::Management]).into()
    }

    fn watches(watches: &mut Watches<'_, Self>) {
        if watches.context().place != Place::Management {
            return;
        }
        let repositories = watches.context().management.informer::<ChartRepository>(&LabelQuery::everything());
        watches.optional(|secrets| {
            secrets.on::<RepositorySecret>(&secret::query(), move |change, enqueuer| {
                for repository in repositories.in_namespace(&change.key.namespace) {
                    if secret::names(&repository).any(|name| name == change.key.name) {
                        enqueuer.now(ObjectKey::of(&repository.metadata));
                    }
                }
            });
        });
    }

    async fn observe(
        &self,
        owner: Owner<'_, ChartRepository>,
        place: &PlaceContext,
    ) -> Result<observe::World, SourceError> {
        Ok(observe::observe(self, owner, place))
    }

    fn plan(repository: &ChartRepository, world: &observe::World, now: Timestamp) -> Plan<Self> {
        plan::plan(repository, world, now)
    }

    fn clean_up(_: Owner<'_, ChartRepository>, _: &observe::World, _: Timestamp) -> Plan<Self> {
        plan::clean_up()
    }

    async fn act(
        &self,
        owner: Owner<'_, ChartRepository>,
        place: &PlaceContext,
        action: act::Fetch,
    ) -> Result<(), SourceError> {
        action.carry_out(self, owner, place).await
    }

    fn summarise(
        repository: &ChartRepository,
        statuses: &PlaceStatuses<plan::PlaceStatus>,
        _: Timestamp,
    ) -> ChartRepositoryStatus {
        summary::summarise(repository, statuses)
    }
}

#[cfg(test)]
mod tests;
