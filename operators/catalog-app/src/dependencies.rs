//! Apps that wait for others. Pure, but for the index of who waits for whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use drover_apps::AppCause;
use drover_crds::{CatalogApp, condition::StatusConditions as _};
use drover_runtime::{Cause, ObjectKey, cache::Change};
use kube::ResourceExt as _;

/// Most apps that are followed to find out whether apps wait for each other.
const MOST_FOLLOWED: usize = 1_000;

/// Why an app waits for others, if it does: the first that is not ready, or a circle of apps that wait for each other.
pub fn unmet(app: &CatalogApp, find: impl Fn(&str) -> Option<Arc<CatalogApp>>) -> Option<(Cause, String)> {
    let (name, namespace) = (app.name_any(), app.namespace().unwrap_or_default());
    if let Some(circle) = circle(app, &find) {
        let message = format!(
            "apps in namespace {namespace} wait for each other: {}; remove one of these dependencies",
            circle.join(" -> ")
        );
        return Some((AppCause::DependencyCycle.into(), message));
    }
    let unmet = app.spec.depends_on.iter().find_map(|dependency| {
        let other = &dependency.name;
        match find(other) {
            None => {
                Some(format!("there is no app {other} in namespace {namespace}, for which app {name} waits; create it"))
            }
            Some(found) if is_ready(&found) => None,
            Some(_) => Some(format!("app {name} waits for app {other}, which is not ready; look at its status")),
        }
    });
    unmet.map(|message| (AppCause::DependencyNotReady.into(), message))
}

fn is_ready(app: &CatalogApp) -> bool {
    let generation = app.metadata.generation;
    // One that is suspended is ready, whether it was released or not.
    let is_released =
        app.status.as_ref().is_some_and(|status| status.was_ready(generation) && status.applied.is_some());
    app.metadata.deletion_timestamp.is_none() && is_released
}

/// The way from an app over those for which it waits back to itself.
fn circle(app: &CatalogApp, find: &impl Fn(&str) -> Option<Arc<CatalogApp>>) -> Option<Vec<String>> {
    let start = app.name_any();
    let mut ways = vec![vec![start.clone()]];
    let mut seen = BTreeSet::from([start.clone()]);
    while let Some(way) = ways.pop() {
        let found = way.last().filter(|last| **last != start).map(|last| find(last));
        let next = match &found {
            None => &app.spec.depends_on,
            Some(Some(found)) => &found.spec.depends_on,
            Some(None) => continue,
        };
        for dependency in next {
            let onwards = || way.iter().chain([&dependency.name]).cloned().collect();
            if dependency.name == start {
                return Some(onwards());
            }
            if seen.len() < MOST_FOLLOWED && seen.insert(dependency.name.clone()) {
                ways.push(onwards());
            }
        }
    }
    None
}

/// Which apps wait for which. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Dependents(Arc<Mutex<BTreeMap<ObjectKey, BTreeSet<ObjectKey>>>>);

impl Dependents {
    /// Notes a change of an app, and names those that wait for it where the change may matter to them.
    #[must_use]
    pub fn of(&self, change: &Change<CatalogApp>) -> Vec<ObjectKey> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let named = |app: &CatalogApp| -> BTreeSet<ObjectKey> {
            let others = app.spec.depends_on.iter();
            others.map(|other| ObjectKey::namespaced(&change.key.namespace, &other.name)).collect()
        };
        let [old, new] = [&change.old, &change.new].map(|side| side.as_deref().map(named).unwrap_or_default());
        for other in old.difference(&new) {
            if let Some(apps) = waiting.get_mut(other) {
                apps.remove(&change.key);
            }
        }
        for other in new {
            waiting.entry(other).or_default().insert(change.key.clone());
        }
        waiting.retain(|_, apps| !apps.is_empty());
        // A circle is one whoever is ready.
        let state = |app: &CatalogApp| (is_ready(app), named(app));
        if change.old.as_deref().map(state) == change.new.as_deref().map(state) {
            return Vec::new();
        }
        waiting.get(&change.key).into_iter().flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn app(name: &str, others: &[&str], is_ready: bool) -> Arc<CatalogApp> {
        let others: Vec<_> = others.iter().map(|name| json!({"name": name})).collect();
        Arc::new(
            serde_json::from_value(json!({
                "apiVersion": "drover.dev/v1alpha1", "kind": "CatalogApp",
                "metadata": {"name": name, "namespace": "team-a", "generation": 2},
                "spec": {
                    "clusterName": "eu", "namespace": "shop", "projectName": "shop", "roleTemplateName": "deployer",
                    "chart": {"configMap": {"name": "c", "key": "c", "digest": ""}}, "dependsOn": others,
                },
                "status": {"observedGeneration": 2, "applied": {
                    "revision": 1, "chartVersion": "1.0.0", "chartDigest": "", "inputHash": "", "manifestDigest": "", "objects": 1,
                    "at": "2026-11-26T00:00:00Z",
                }, "conditions": [{
                    "type": "Ready", "status": if is_ready { "True" } else { "False" }, "reason": "X", "message": "",
                    "lastTransitionTime": "2026-11-26T00:00:00Z",
                }]},
            }))
            .unwrap(),
        )
    }

    fn reason(of: &str, apps: &[Arc<CatalogApp>]) -> Option<(&'static str, String)> {
        let find = |name: &str| apps.iter().find(|app| app.name_any() == name).cloned();
        unmet(&find(of).unwrap(), find).map(|(cause, message)| (cause.reason(), message))
    }

    #[test]
    fn an_app_waits_until_all_that_it_names_are_ready() {
        let shop = app("shop", &["db", "cache"], false);
        let (db, cache) = (app("db", &[], true), app("cache", &[], true));
        assert_eq!(reason("shop", &[shop.clone(), db.clone(), cache]), None);
        let (reason_of, message) = reason("shop", &[shop.clone(), db.clone()]).unwrap();
        assert_eq!(reason_of, "DependencyNotReady");
        assert!(message.contains("there is no app cache"), "{message}");
        let (_, message) = reason("shop", &[shop.clone(), db.clone(), app("cache", &[], false)]).unwrap();
        assert!(message.contains("waits for app cache, which is not ready"), "{message}");
        let mut suspended = Arc::unwrap_or_clone(app("cache", &[], true));
        suspended.status.as_mut().unwrap().applied = None;
        assert!(reason("shop", &[shop.clone(), db.clone(), Arc::new(suspended)]).is_some(), "it was never released");
        let mut old = Arc::unwrap_or_clone(app("cache", &[], true));
        old.metadata.generation = Some(3);
        assert!(reason("shop", &[shop, db, Arc::new(old)]).is_some(), "it says nothing of its present spec yet");
    }

    #[test]
    fn apps_that_wait_for_each_other_are_told_so() {
        let apps =
            [app("a", &["x", "b"], true), app("b", &["c"], true), app("c", &["a", "c"], true), app("d", &["a"], true)];
        let (reason_of, message) = reason("a", &apps).unwrap();
        assert_eq!(reason_of, "DependencyCycle");
        assert!(message.contains("a -> b -> c -> a"), "{message}");
        assert!(reason("c", &apps).unwrap().1.contains("c -> c"));
        assert_eq!(reason("d", &apps), None, "it is in no circle itself");
        assert_eq!(reason("e", &[app("e", &["e"], true)]).unwrap().0, "DependencyCycle");
    }

    #[test]
    fn those_that_wait_are_woken_by_what_may_matter_to_them() {
        let dependents = Dependents::default();
        let change = |old: Option<Arc<CatalogApp>>, new: Option<Arc<CatalogApp>>| {
            let name = old.as_ref().or(new.as_ref()).unwrap().name_any();
            let waiting = dependents.of(&Change { key: ObjectKey::namespaced("team-a", &name), old, new });
            waiting.into_iter().map(|key| key.name).collect::<Vec<_>>()
        };
        let none = Vec::<String>::new();
        assert_eq!(change(None, Some(app("shop", &["db"], false))), none);
        assert_eq!(change(None, Some(app("db", &[], false))), ["shop"]);
        assert_eq!(change(Some(app("db", &[], false)), Some(app("db", &[], false))), none);
        assert_eq!(change(Some(app("db", &[], false)), Some(app("db", &[], true))), ["shop"]);
        assert_eq!(change(Some(app("db", &[], true)), None), ["shop"]);
        assert_eq!(change(Some(app("shop", &["db"], true)), Some(app("shop", &[], true))), none);
        assert_eq!(change(None, Some(app("db", &[], true))), none);
    }
}
