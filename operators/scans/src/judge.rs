//! The state of one check on one node: what the profile says goes before a waiver, and that before the engine. Pure.

use std::collections::BTreeMap;

use drover_crds::{CheckState, CisProfileSpec, CisWaiver, LeftOut, MAX_WAIVER_DAYS, selection::LabelMatcher};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::answer::{Check, EngineState};

/// Whether a waiver counts now. One that would last too long does not.
#[must_use]
pub fn effective(waiver: &CisWaiver, now: Timestamp) -> bool {
    let ends = waiver.spec.expires_at.0;
    let most = SignedDuration::from_hours(24 * MAX_WAIVER_DAYS);
    let created = waiver.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let is_short = created.is_some_and(|created| created.checked_add(most).is_ok_and(|latest| ends <= latest));
    is_short && ends > now && waiver.metadata.deletion_timestamp.is_none()
}

/// By what the checks of a cluster are judged.
#[derive(Debug)]
pub struct Rules<'a> {
    skip: BTreeMap<&'a str, &'a str>,
    not_applicable: BTreeMap<&'a str, &'a str>,
    waivers: Vec<(&'a CisWaiver, Option<LabelMatcher>)>,
}

/// A judged check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged<'a> {
    /// Its state.
    pub state: CheckState,
    /// Why it was left out, if the profile or a waiver did so.
    pub why: Option<&'a str>,
    /// The waiver that takes responsibility.
    pub waiver: Option<&'a str>,
}

impl<'a> Rules<'a> {
    /// Those of a profile, and of the waivers that are for this cluster and this benchmark.
    #[must_use]
    pub fn new(
        profile: &'a CisProfileSpec,
        waivers: &'a [CisWaiver],
        (cluster, labels): (&str, &BTreeMap<String, String>),
        benchmark: &str,
    ) -> Self {
        let listed = |all: &'a [LeftOut]| all.iter().map(|one| (one.id.as_str(), one.reason.as_str())).collect();
        let is_meant = |waiver: &&CisWaiver| {
            let names_it = waiver.spec.benchmark.as_deref().is_none_or(|named| named == benchmark);
            names_it && waiver.spec.clusters.selects(cluster, labels)
        };
        let nodes = |waiver: &'a CisWaiver| (waiver, waiver.spec.node_selector.as_ref().map(LabelMatcher::new));
        let mut waivers: Vec<_> = waivers.iter().filter(is_meant).map(nodes).collect();
        // Of two waivers for one check always the same one is told.
        waivers.sort_by(|(one, _), (other, _)| one.metadata.name.cmp(&other.metadata.name));
        Self { skip: listed(&profile.skip), not_applicable: listed(&profile.not_applicable), waivers }
    }

    /// The state of a check on a node with these labels. A waiver takes responsibility for what fails or warns; it makes nothing of what
    /// could not be looked at.
    #[must_use]
    pub fn judge(&self, check: &Check, node_labels: &BTreeMap<String, String>) -> Judged<'a> {
        let left_out = |state, why: &'a str| Judged { state, why: Some(why), waiver: None };
        if let Some(why) = self.not_applicable.get(&*check.id) {
            return left_out(CheckState::NotApplicable, why);
        }
        let is_waivable = matches!(check.state, EngineState::Fail | EngineState::Warn);
        if let Some(waiver) = self.waiver(&check.id, node_labels).filter(|_| is_waivable) {
            let waiver_name = waiver.metadata.name.as_deref();
            return Judged { state: CheckState::Waived, why: Some(&waiver.spec.reason), waiver: waiver_name };
        }
        if let Some(why) = self.skip.get(&*check.id) {
            return left_out(CheckState::Skip, why);
        }
        let state = match check.state {
            EngineState::Pass => CheckState::Pass,
            EngineState::Fail => CheckState::Fail,
            EngineState::Warn => CheckState::Warn,
            EngineState::Skip => CheckState::Skip,
            EngineState::Error => CheckState::Error,
        };
        Judged { state, why: None, waiver: None }
    }

    fn waiver(&self, id: &str, labels: &BTreeMap<String, String>) -> Option<&'a CisWaiver> {
        let is_meant = |(waiver, nodes): &&(&'a CisWaiver, Option<LabelMatcher>)| {
            waiver.spec.checks.iter().any(|check| check == id)
                && nodes.as_ref().is_none_or(|nodes| nodes.matches(labels))
        };
        self.waivers.iter().find(is_meant).map(|(waiver, _)| *waiver)
    }
}
