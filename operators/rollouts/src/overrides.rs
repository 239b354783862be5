//! What the app is on a cluster: the template, with all overrides that match over it.

use std::collections::BTreeMap;

use drover_crds::{AppTemplate, SelectionMatcher};
use serde_json::Value;

use crate::{ChartVersion, Content, hash::short};

/// Most characters of the name of an object.
const MAX_NAME: usize = 63;

/// Which overrides count on a cluster. Clusters with the same one have the same app, but for its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Variant(u64);

/// The apps of a revision.
#[derive(Debug)]
pub struct Variants<'a> {
    app: &'a str,
    content: &'a Content,
    template: AppTemplate,
    matchers: Vec<SelectionMatcher<'a>>,
}

impl<'a> Variants<'a> {
    /// Of the object `app`. `present` has what no revision holds.
    pub fn new(app: &'a str, content: &'a Content, present: &AppTemplate) -> serde_json::Result<Self> {
        let matchers = content.overrides.iter().map(|one| one.clusters.matcher()).collect();
        Ok(Self { app, content, template: content.template(present)?, matchers })
    }

    /// Which overrides count on the cluster of this name and these labels.
    #[must_use]
    pub fn of(&self, cluster: &str, labels: &BTreeMap<String, String>) -> Variant {
        let bits = self.matchers.iter().zip(0..u64::BITS);
        let set = bits.filter(|(matcher, _)| matcher.selects(cluster, labels)).map(|(_, bit)| 1 << bit);
        Variant(set.fold(0, |all: u64, one: u64| all | one))
    }

    /// The app with these overrides, one over the other, with the version of the chart that was found for the rollout, and the name of its
    /// release written out.
    #[must_use]
    pub fn settings(&self, variant: Variant) -> AppTemplate {
        let mut settings = self.template.clone();
        let layers = self.counted(variant).map(|one| Value::Object(one.values.clone()));
        let base = std::mem::take(&mut settings.values);
        if let Value::Object(merged) = drover_values::merge([Value::Object(base)].into_iter().chain(layers)) {
            settings.values = merged;
        }
        for one in self.counted(variant) {
            settings.answers.extend(one.answers.clone());
            if let Some(namespace) = &one.namespace {
                settings.namespace.clone_from(namespace);
            }
            settings.project_name = one.project_name.clone().or(settings.project_name);
            settings.release_name = one.release_name.clone().or(settings.release_name);
        }
        settings.release_name.get_or_insert_with(|| self.app.to_owned());
        if let Some(repository) = &mut settings.chart.repository {
            let found = self.content.chart(self.version(variant)).and_then(|chart| chart.version.clone());
            repository.version = found.or_else(|| self.version(variant).map(str::to_owned));
        }
        settings
    }

    /// To what the app with these overrides is bound, for annotation `drover.dev/inputs`.
    #[must_use]
    pub fn inputs(&self, variant: Variant) -> String {
        self.content.inputs(self.version(variant))
    }

    /// The chart of the app with these overrides, as it was found for the rollout.
    #[must_use]
    pub fn chart(&self, variant: Variant) -> Option<&ChartVersion> {
        self.content.chart(self.version(variant))
    }

    /// The version or range that counts: that of the last override that has one.
    fn version(&self, variant: Variant) -> Option<&str> {
        let of_template = self.template.chart.repository.as_ref().and_then(|repository| repository.version.as_deref());
        self.counted(variant).filter_map(|one| one.version.as_deref()).last().or(of_template)
    }

    /// The positions of overrides that count on no cluster.
    #[must_use]
    pub fn unused(&self, seen: impl IntoIterator<Item = Variant>) -> Vec<usize> {
        let all = seen.into_iter().fold(0, |all, variant| all | variant.0);
        (0..self.matchers.len()).filter(|position| !Variant(all).has(*position)).collect()
    }

    fn counted(&self, variant: Variant) -> impl Iterator<Item = &drover_crds::AppOverride> {
        self.content
            .overrides
            .iter()
            .enumerate()
            .filter(move |(position, _)| variant.has(*position))
            .map(|(_, one)| one)
    }
}

impl Variant {
    fn has(self, position: usize) -> bool {
        u32::try_from(position).ok().and_then(|position| self.0.checked_shr(position)).is_some_and(|bits| bits & 1 == 1)
    }
}

/// The name of the app of `app` on a cluster. What makes it another release makes it another app.
#[must_use]
pub fn child_name(app: &str, cluster: &str, settings: &AppTemplate) -> String {
    let project = settings.project_name.as_deref().unwrap_or_default();
    let release = settings.release_name.as_deref().unwrap_or(app);
    let digits = short([app, cluster, project, &settings.namespace, release]);
    let room = MAX_NAME - digits.len() - 1;
    // Names of our kinds are ASCII.
    let head: String = app.chars().take(room).collect();
    format!("{}-{digits}", head.trim_end_matches('-'))
}
