//! Which backups of a schedule go. Pure. The rules, and what stays whatever they say, are in `drover_backups::retention`.
//!
//! Only clusters that the schedule backs up are looked at: of a Cluster that is gone, replaced, or selected no longer all backups stay. A
//! failed run leaves nothing that counts; the newest few of them stay to be looked at.

use std::collections::BTreeSet;

use drover_backups::retention::{Retention, to_delete};
use drover_crds::{BackupRetention, DEFAULT_MIN_VERIFIED, DeletionPolicy};
use k8s_openapi::jiff::{Timestamp, tz::TimeZone};

use crate::{
    Action,
    children::{Child, Stage, ended_with_data, kept_after_all},
    observe::Selected,
};

/// So many failed backups of a cluster are kept, to be looked at.
const FAILED_HISTORY: usize = 3;

/// What is kept, as the spec says it; none where all is.
#[must_use]
pub fn rules(spec: Option<&BackupRetention>) -> Option<Retention> {
    let spec = spec?;
    Some(Retention {
        keep_last: spec.keep_last,
        hourly: spec.hourly,
        daily: spec.daily,
        weekly: spec.weekly,
        monthly: spec.monthly,
        max_age: spec.max_age.as_ref().map(drover_crds::ApiDuration::as_std),
        min_verified: spec.min_verified.unwrap_or(DEFAULT_MIN_VERIFIED),
    })
}

/// What the spec says of backups that are there.
#[derive(Clone, Copy, Debug)]
pub struct Keeping<'a> {
    /// Which are kept; none: all.
    pub rules: Option<&'a Retention>,
    /// Periods are those of this zone.
    pub zone: &'a TimeZone,
    /// What becomes of the data of those that are kept when people delete them.
    pub policy: DeletionPolicy,
}

impl Keeping<'_> {
    /// What is done about the backups of a cluster, each alone.
    #[must_use]
    pub fn changes(&self, selected: &Selected, children: &[Child<'_>], now: Timestamp) -> Vec<Vec<Action>> {
        let superfluous = self.superfluous(selected, children, now);
        let change = |child: &Child<'_>| {
            let name = child.live.metadata.name.as_deref().unwrap_or_default();
            if superfluous.contains(name) {
                ended_with_data(child.live)
            } else {
                kept_after_all(child.live, self.policy).into_iter().collect()
            }
        };
        let ours = children.iter().filter(|child| child.is_ours && !child.is_deleting);
        let groups = ours.map(|child| change(child).into_iter().map(Action).collect::<Vec<_>>());
        groups.filter(|group| !group.is_empty()).collect()
    }

    /// The names of those that go.
    fn superfluous<'c>(&self, selected: &Selected, children: &[Child<'c>], now: Timestamp) -> BTreeSet<&'c str> {
        let name = |child: &Child<'c>| child.live.metadata.name.as_deref();
        let mut names: BTreeSet<&str> = BTreeSet::new();
        if let (Some(rules), Some(cluster)) = (self.rules, &selected.uid) {
            let candidates: Vec<_> = children.iter().filter_map(|child| child.candidate(cluster)).collect();
            let gone = to_delete(&candidates, rules, now, self.zone);
            let gone: BTreeSet<String> = gone.iter().map(ToString::to_string).collect();
            let is_gone = |child: &&Child<'_>| child.live.metadata.uid.as_ref().is_some_and(|uid| gone.contains(uid));
            names.extend(children.iter().filter(is_gone).filter_map(name));
        }
        let failed = children.iter().rev().filter(|child| child.stage == Stage::Failed && !child.is_deleting);
        names.extend(failed.skip(FAILED_HISTORY).filter(|child| !child.live.spec.pinned).filter_map(name));
        names
    }
}
