//! What is written of the apps of targets. Pure.

use std::{collections::HashMap, sync::Arc};

use drover_apps::inputs;
use drover_crds::{AppTemplate, CatalogApp, MultiClusterApp};
use drover_rollouts::{Variant, Variants, child_name};
use drover_runtime::{
    Kept, Title,
    owned::{Change, Owned, difference as between, difference_of_whole},
};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde::Serialize;
use serde_json::Value;

use crate::{
    children::{self, Given},
    observe::Selected,
};

/// What the apps of revisions are to be, each made once for all clusters with the same overrides.
#[derive(Default)]
pub(crate) struct Settings<'a>(HashMap<(&'a str, Variant), Setting>);

/// What clusters with the same overrides have under a revision.
struct Setting {
    template: AppTemplate,
    inputs: String,
}

/// A revision by its name, with what it says.
pub(crate) type Named<'a, 'v> = (&'a str, &'v Variants<'v>);

impl<'a> Settings<'a> {
    /// The name of the app of a target under a revision.
    pub(crate) fn name(&mut self, app: &MultiClusterApp, named: Named<'a, '_>, selected: &Selected) -> String {
        child_name(&app.name_any(), &selected.name, &self.of(named, selected).template)
    }

    fn of(&mut self, (revision, variants): Named<'a, '_>, selected: &Selected) -> &Setting {
        let variant = variants.of(&selected.name, &selected.labels);
        self.0.entry((revision, variant)).or_insert_with_key(|(_, variant)| Setting {
            template: variants.settings(*variant),
            inputs: variants.inputs(*variant),
        })
    }

    /// The app of a target under a revision, by that name.
    pub(crate) fn app(
        &mut self,
        app: &MultiClusterApp,
        named: Named<'a, '_>,
        selected: &Selected,
        name: &str,
        found: Option<&Owned<CatalogApp>>,
    ) -> CatalogApp {
        let Setting { template, inputs } = self.of(named, selected);
        let live = found.and_then(|found| found.live.as_deref().ok());
        let given = Given { revision: named.0, inputs };
        children::wanted(app, name, &selected.name, template.clone(), given, live)
    }

    /// The same app, which may only take up what is there.
    pub(crate) fn app_that_takes_up(
        &mut self,
        app: &MultiClusterApp,
        named: Named<'a, '_>,
        selected: &Selected,
        name: &str,
    ) -> CatalogApp {
        let Setting { template, inputs } = self.of(named, selected);
        let given = Given { revision: named.0, inputs: &inputs::only_to_take_up(inputs) };
        children::wanted(app, name, &selected.name, template.clone(), given, None)
    }

    /// Whether the app of a target is as the revision says, but that it may only take up what is there.
    pub(crate) fn takes_up(&mut self, named: Named<'a, '_>, selected: &Selected, found: &Owned<CatalogApp>) -> bool {
        let Ok(live) = &found.live else { return false };
        if inputs::bound(live).is_none_or(|(_, only_takes_up)| !only_takes_up) {
            return false;
        }
        let Setting { template, inputs } = self.of(named, selected);
        let given = Given { revision: named.0, inputs: &inputs::only_to_take_up(inputs) };
        is_ours(found) && children::is_as(live, &selected.name, template, given)
    }

    /// Whether the app of a target is as the revision says. Most are: seen in place, nothing of them is made or compared as JSON.
    pub(crate) fn is_as(&mut self, named: Named<'a, '_>, selected: &Selected, found: &Owned<CatalogApp>) -> bool {
        let Ok(live) = &found.live else { return false };
        let Setting { template, inputs } = self.of(named, selected);
        let given = Given { revision: named.0, inputs };
        is_ours(found) && children::is_as(live, &selected.name, template, given)
    }
}

/// The change of one app.
pub(crate) fn difference(wanted: CatalogApp, found: Option<&Owned<CatalogApp>>) -> Option<Change<CatalogApp>> {
    let owned: Vec<_> = found.into_iter().cloned().collect();
    let is_ours = owned.iter().all(is_ours);
    let changes = difference_of_whole(vec![wanted], &owned, |_| Value::Null, &["/spec"]).changes;
    changes.into_iter().next().filter(|_| is_ours)
}

pub(crate) fn is_ours(found: &Owned<CatalogApp>) -> bool {
    matches!(found.title, Title::Created | Title::Adopted)
}

/// What becomes of an app that is left over.
pub(crate) fn leave(
    app: &MultiClusterApp,
    live: &CatalogApp,
    found: &Owned<CatalogApp>,
    is_removed: bool,
    since: Option<Timestamp>,
) -> Option<Change<CatalogApp>> {
    let policy = if is_removed { app.spec.on_target_removed } else { live.spec.deletion_policy };
    if is_removed && live.spec.deletion_policy == policy {
        return Some(Change::Delete(Box::new(live.metadata.clone())));
    }
    if !is_removed && since.is_none() {
        return None;
    }
    difference(children::left_over(live, since, policy), Some(found))
}

/// The end of an app: what becomes of its release is as the template says now.
pub(crate) fn ends(app: &MultiClusterApp, found: &Owned<CatalogApp>) -> Option<Change<CatalogApp>> {
    let policy = app.spec.template.deletion_policy;
    let differs = |live: &&Arc<CatalogApp>| is_ours(found) && live.spec.deletion_policy != policy;
    let is_going = found.meta().deletion_timestamp.is_some();
    match found.live.as_ref().ok().filter(differs).filter(|_| !is_going) {
        // Where others keep changing it back, it ends as they have it: it is not to be held up by them.
        Some(live) if found.drift_conflict.is_none() => {
            difference(children::left_over(live, None, policy), Some(found))
        }
        _ => removed(std::slice::from_ref(found)).pop(),
    }
}

pub(crate) fn removed<K: Kept + Serialize>(found: &[Owned<K>]) -> Vec<Change<K>> {
    between(Vec::new(), found, |_| Value::Null).changes
}
