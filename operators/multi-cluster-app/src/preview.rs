//! What a person sees of a revision before it begins on a stage. It is kept in a `ControllerRevision` of its own until the revision is
//! complete, or another one is wanted.

use drover_crds::{CatalogApp, ChosenChart, MultiClusterApp, RolloutPhase, StageStatus, names::ANNOTATION_REVISION};
use drover_previews::{Knowledge, OfStage, Preview, Subject, Target, decide, keep, kept};
use drover_rollouts::{Decision, Sample};
use drover_runtime::owned::each_alone;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use crate::{
    act::Action,
    changes::is_ours,
    children::{self, Given},
    observe::World,
    plan::Fleet,
};

/// What is known of what a revision would change, and what is to be done for it.
#[derive(Debug, Default)]
pub(crate) struct Previewed {
    stages: Vec<OfStage>,
    actions: Vec<Action>,
    /// When to decide again, if these are done.
    next: Option<Timestamp>,
    /// When to decide again.
    pub(crate) again: Option<Timestamp>,
}

impl Previewed {
    /// The rows of the status, with it.
    pub(crate) fn rows(&self, rows: &[StageStatus]) -> Vec<StageStatus> {
        let with_it = |row: &StageStatus| {
            let found = self.stages.iter().find(|found| found.target.stage == row.name);
            StageStatus { preview: found.map(OfStage::summary), ..row.clone() }
        };
        rows.iter().map(with_it).collect()
    }

    /// What is to be done for it, beside all else.
    pub(crate) fn beside(&mut self, mut groups: Vec<Vec<Action>>) -> Vec<Vec<Action>> {
        self.again = self.next;
        groups.extend(each_alone(std::mem::take(&mut self.actions)));
        groups
    }
}

impl Fleet<'_> {
    pub(crate) fn preview(
        &self,
        app: &MultiClusterApp,
        world: &World,
        decision: &Decision,
        now: Timestamp,
    ) -> Previewed {
        let Some(seal) = &world.seal else { return Previewed::default() };
        let kept = kept(app, &world.kept, seal);
        let is_over = matches!(
            decision.phase,
            RolloutPhase::Completed | RolloutPhase::RollingBack | RolloutPhase::RolledBack | RolloutPhase::Pending
        );
        let previews = kept.iter().filter_map(|kept| kept.preview.as_ref());
        let former = previews
            .filter(|preview| !is_over && preview.revision == self.wanted)
            .max_by_key(|found| found.stages.len());
        let subjects: Vec<_> = decision.samples.iter().filter_map(|sample| self.subject(app, world, sample)).collect();
        let former = former.map(|preview| &preview.stages[..]).unwrap_or_default();
        let known = Knowledge { revision: &self.wanted, former, looked: &world.looked };
        let decided = decide(&known, subjects, &|found| self.stands(found), now);
        let wanted = Preview { revision: self.wanted.clone(), stages: decided.known };
        let mut previewed = Previewed { next: decided.again, ..Previewed::default() };
        previewed.actions = match decided.look {
            Some(look) => vec![Action::Look(look)],
            // What is kept stays until all is known that is to be kept instead.
            None if decided.is_outstanding => Vec::new(),
            None => keep(app, &wanted, &kept, seal).into_iter().map(Action::Revision).collect(),
        };
        previewed.stages = wanted.stages;
        previewed
    }

    /// The app of a target as the revision would have it.
    fn subject(&self, app: &MultiClusterApp, world: &World, sample: &Sample) -> Option<Subject> {
        let selected = world.selected.get(sample.target)?;
        let live = self.found(sample.target)?.live.as_deref().ok()?;
        let variants = self.revisions.get(&*self.wanted)?;
        let variant = variants.of(&selected.name, &selected.labels);
        let template = variants.settings(variant);
        let chosen = variants.chart(variant).zip(template.chart.repository.as_ref()).and_then(|(found, chart)| {
            Some(ChosenChart {
                repository: drover_apps::prepare::repository_of(live, chart).to_string(),
                name: chart.chart.clone(),
                version: found.version.clone()?,
                digest: found.digest.clone(),
                available_version: None,
            })
        });
        let inputs = variants.inputs(variant);
        let given = Given { revision: &self.wanted, inputs: &inputs };
        let name = self.names.get(sample.target)?;
        let mut wanted = children::wanted(app, name, &selected.name, template, given, None);
        // Under another name it is another app, which has nothing there yet.
        if live.name_any() == *name {
            (wanted.metadata.uid, wanted.metadata.generation) = (live.uid(), live.metadata.generation);
            wanted.status.clone_from(&live.status);
        }
        let target =
            Target { stage: sample.stage.clone(), cluster: selected.name.clone(), released: released(&wanted) };
        Some(Subject { target, app: wanted, chosen })
    }

    /// Whether what was found of a target is so still, or was so when the revision began there.
    fn stands(&self, known: &OfStage) -> bool {
        let mut live =
            self.by_name.values().filter(|found| is_ours(found)).filter_map(|found| found.live.as_deref().ok());
        let live = live.find(|live| live.spec.cluster_name == known.target.cluster);
        let is_given = |live: &CatalogApp| live.annotations().get(ANNOTATION_REVISION) == Some(&self.wanted);
        live.is_some_and(|live| is_given(live) || released(live) == known.target.released)
    }
}

/// Tells what is released.
fn released(app: &CatalogApp) -> Option<String> {
    Some(app.status.as_ref()?.applied.as_ref()?.manifest_digest.clone())
}
