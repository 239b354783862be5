//! Charts in repositories: what an app wants of one, and which apps name one. Pure, but for that index.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use drover_charts::UpgradePolicy;
use drover_crds::{
    AutomaticUpgrades, CatalogApp, ChartRepository, ChosenChart, RepositoryChart,
    condition::{READY, StatusConditions as _},
};
use drover_runtime::{
    Cause, ObjectKey,
    cache::{Change, Lookup},
};
use drover_sources::{Chosen, SourceCause, SourceError, Wanted};
use kube::ResourceExt as _;

use crate::prepare::repository_of;

/// The repository that an app names, if the app may use it. One that it may not use is as one that is not there.
pub fn usable(
    app: &CatalogApp,
    chart: &RepositoryChart,
    labels: &BTreeMap<String, String>,
    find: impl FnOnce(&ObjectKey) -> Lookup<ChartRepository>,
) -> Result<Arc<ChartRepository>, (Cause, String)> {
    let (key, own) = (repository_of(app, chart), app.namespace().unwrap_or_default());
    match find(&key) {
        Lookup::Found(found) if found.spec.is_usable_from(&key.namespace, &own, labels) => Ok(found),
        Lookup::Undecodable(_) if key.namespace == own => {
            let message = format!(
                "Drover cannot decode ChartRepository {key}, so app {} stays as it is; correct it",
                app.name_any()
            );
            Err((SourceCause::RepositoryNotRead.into(), message))
        }
        Lookup::Found(_) | Lookup::Undecodable(_) | Lookup::Absent => {
            let message = format!(
                "there is no ChartRepository {key} that apps in namespace {own} may use; create it, or ask its owner to add the namespace to spec.usableFrom"
            );
            Err((SourceCause::RepositoryNotUsable.into(), message))
        }
    }
}

/// What an app wants of it.
#[must_use]
pub fn wanted(app: &CatalogApp, chart: &RepositoryChart) -> Wanted {
    Wanted {
        chart: chart.chart.clone(),
        version: chart.version.clone().unwrap_or_default(),
        policy: match app.spec.upgrade_policy.automatic {
            AutomaticUpgrades::None => UpgradePolicy::None,
            AutomaticUpgrades::Patch => UpgradePolicy::Patch,
            AutomaticUpgrades::Minor => UpgradePolicy::Minor,
            AutomaticUpgrades::Any => UpgradePolicy::Any,
        },
        allow_prerelease: app.spec.upgrade_policy.allow_prerelease,
        current: former(app, chart).map(|former| former.version),
    }
}

/// What was chosen of this chart before.
fn former(app: &CatalogApp, chart: &RepositoryChart) -> Option<ChosenChart> {
    let former = app.status.as_ref()?.chart.clone()?;
    let is_same = former.repository == repository_of(app, chart).to_string() && former.name == chart.chart;
    is_same.then_some(former)
}

/// What was chosen before, while the spec still allows it: a repository that cannot be reached disturbs no app.
#[must_use]
pub fn kept(app: &CatalogApp, chart: &RepositoryChart) -> Option<ChosenChart> {
    former(app, chart).filter(|_| wanted(app, chart).keeps_current())
}

/// What is told of a choice. What could not be asked for stays as it was.
pub fn choice(
    app: &CatalogApp,
    chart: &RepositoryChart,
    outcome: Result<Chosen, SourceError>,
) -> Result<ChosenChart, (Cause, String)> {
    let (key, kept) = (repository_of(app, chart), kept(app, chart));
    let failed = |error: SourceError| (error.cause, error.about(&format!("ChartRepository {key}")).message);
    match (outcome, kept) {
        (Ok(Chosen { version, digest, available, .. }), kept) => {
            let same = kept.filter(|kept| kept.version == version).map(|kept| kept.digest);
            let digest = digest.map(|digest| digest.to_string()).or(same);
            let missing =
                || SourceError::new(SourceCause::VersionNotFound, "the digest of the chart is not known; look again");
            Ok(ChosenChart {
                repository: key.to_string(),
                name: chart.chart.clone(),
                version,
                digest: digest.ok_or_else(|| failed(missing()))?,
                available_version: available,
            })
        }
        (Err(error), Some(kept)) if error.is_about_reaching() => Ok(kept),
        (Err(error), _) => Err(failed(error)),
    }
}

/// Which apps name which repository. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Users(Arc<Mutex<BTreeMap<ObjectKey, BTreeSet<ObjectKey>>>>);

impl Users {
    /// Notes a change of an app.
    pub fn note(&self, change: &Change<CatalogApp>) {
        let named = |app: &CatalogApp| app.spec.chart.repository.as_ref().map(|chart| repository_of(app, chart));
        let [old, new] = [&change.old, &change.new].map(|side| side.as_deref().and_then(named));
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(apps) = old.as_ref().and_then(|old| users.get_mut(old)) {
            apps.remove(&change.key);
        }
        users.retain(|_, apps| !apps.is_empty());
        if let Some(new) = new {
            users.entry(new).or_default().insert(change.key.clone());
        }
    }

    /// The apps that a change of a repository concerns.
    #[must_use]
    pub fn of(&self, change: &Change<ChartRepository>) -> Vec<ObjectKey> {
        if change.old.as_deref().map(told) == change.new.as_deref().map(told) {
            return Vec::new();
        }
        let users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        users.get(&change.key).into_iter().flatten().cloned().collect()
    }
}

/// What apps look at of a repository.
fn told(repository: &ChartRepository) -> impl PartialEq + use<> {
    let status = repository.status.as_ref();
    let ready = status.and_then(|status| status.conditions().iter().find(|condition| condition.type_ == READY));
    let read = status.map(|status| (status.index_digest.clone(), status.last_handled_reconcile_at.clone()));
    (repository.metadata.generation, read, ready.map(|ready| ready.status.clone()))
}

#[cfg(test)]
mod tests {
    use drover_charts::Digest;
    use serde_json::{Value, json};

    use super::*;

    fn app(chart: &Value, status: &Value) -> CatalogApp {
        serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "CatalogApp",
            "metadata": {"name": "web", "namespace": "team-b", "uid": "1", "generation": 1},
            "spec": {
                "clusterName": "eu", "namespace": "web", "projectName": "shop", "roleTemplateName": "deployer",
                "chart": {"repository": chart},
            },
            "status": status,
        }))
        .unwrap()
    }

    fn of(app: &CatalogApp) -> RepositoryChart {
        app.spec.chart.repository.clone().unwrap()
    }

    fn repository(namespace: &str, usable_from: &Value) -> Arc<ChartRepository> {
        let found: ChartRepository = serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "ChartRepository",
            "metadata": {"name": "charts", "namespace": namespace, "generation": 1},
            "spec": {"http": {"url": "https://charts.example.org"}, "usableFrom": usable_from},
        }))
        .unwrap();
        Arc::new(found)
    }

    #[test]
    fn a_repository_of_another_namespace_is_used_only_where_its_owner_says_so() {
        let web = app(&json!({"name": "charts", "namespace": "team-a", "chart": "web"}), &Value::Null);
        let labels = BTreeMap::new();
        let judged = |lookup: Lookup<ChartRepository>| {
            usable(&web, &of(&web), &labels, |key| {
                assert_eq!(key.to_string(), "team-a/charts");
                lookup
            })
        };
        let hidden = judged(Lookup::Found(repository("team-a", &Value::Null))).unwrap_err();
        assert_eq!(hidden.0.reason(), "RepositoryNotUsable");
        assert_eq!(judged(Lookup::Absent).unwrap_err(), hidden, "nobody learns whether it is there");
        let others = judged(Lookup::Found(repository("team-a", &json!({"names": ["team-c"]}))));
        assert_eq!(others.unwrap_err(), hidden);
        assert!(judged(Lookup::Found(repository("team-a", &json!({"names": ["team-b"]})))).is_ok());
        assert!(judged(Lookup::Found(repository("team-a", &json!({"all": {}})))).is_ok());
        let own = app(&json!({"name": "charts", "chart": "web"}), &Value::Null);
        let found = usable(&own, &of(&own), &labels, |_| Lookup::Found(repository("team-b", &Value::Null)));
        assert!(found.is_ok());
    }

    fn chosen(version: &str, digest: Option<&[u8]>, available: Option<&str>) -> Chosen {
        let (version, available) = (version.to_owned(), available.map(str::to_owned));
        Chosen { version, digest: digest.map(Digest::of), available, again: None }
    }

    fn status(version: &str) -> Value {
        json!({"chart": {
            "repository": "team-b/charts", "name": "web", "version": version, "digest": Digest::of(b"before").to_string(),
        }})
    }

    #[test]
    fn what_was_chosen_stays_while_nobody_can_ask() {
        let source = json!({"name": "charts", "chart": "web", "version": "^1"});
        let away = || Err(SourceError::new(SourceCause::FetchFailed, "charts.example.org accepts no connection"));
        let web = app(&source, &status("1.0.0"));
        assert_eq!(choice(&web, &of(&web), away()).unwrap().version, "1.0.0");
        let fresh = app(&source, &Value::Null);
        let (cause, message) = choice(&fresh, &of(&fresh), away()).unwrap_err();
        assert_eq!((cause.reason(), message.contains("team-b/charts")), ("FetchFailed", true));
        // Another wish is not answered by what was chosen for an older one.
        for other in [
            json!({"name": "charts", "chart": "web", "version": "^2"}),
            json!({"name": "charts", "chart": "db", "version": "^1"}),
            json!({"name": "others", "chart": "web", "version": "^1"}),
        ] {
            let other = app(&other, &status("1.0.0"));
            assert!(choice(&other, &of(&other), away()).is_err());
        }
        let gone = Err(SourceError::new(SourceCause::VersionNotFound, "it has no such chart"));
        assert!(choice(&web, &of(&web), gone).is_err());
    }

    #[test]
    fn a_version_without_a_digest_keeps_the_one_that_it_had() {
        let source = json!({"name": "charts", "chart": "web", "version": "^1"});
        let web = app(&source, &status("1.0.0"));
        let kept = choice(&web, &of(&web), Ok(chosen("1.0.0", None, Some("2.0.0")))).unwrap();
        assert_eq!(kept.digest, Digest::of(b"before").to_string());
        assert_eq!(kept.available_version.as_deref(), Some("2.0.0"));
        let other = choice(&web, &of(&web), Ok(chosen("1.0.0", Some(b"after"), None))).unwrap();
        assert_eq!(other.digest, Digest::of(b"after").to_string(), "other bytes under the same version");
        assert!(choice(&web, &of(&web), Ok(chosen("1.0.1", None, None))).is_err());
    }

    #[test]
    fn a_change_of_a_repository_wakes_those_that_name_it() {
        let web = Arc::new(app(&json!({"name": "charts", "chart": "web"}), &Value::Null));
        let key = ObjectKey::namespaced("team-b", "web");
        let users = Users::default();
        let change = |old: Option<Arc<CatalogApp>>, new| Change { key: key.clone(), old, new };
        users.note(&change(None, Some(Arc::clone(&web))));
        let told = |digest: Option<&str>| {
            let mut found = (*repository("team-b", &Value::Null)).clone();
            found.status = serde_json::from_value(json!({"indexDigest": digest})).unwrap();
            Some(Arc::new(found))
        };
        let charts = ObjectKey::namespaced("team-b", "charts");
        let changed = |old, new| users.of(&Change { key: charts.clone(), old, new });
        assert_eq!(changed(told(None), told(Some("a"))), std::slice::from_ref(&key));
        assert!(changed(told(Some("a")), told(Some("a"))).is_empty());
        users.note(&change(Some(web), None));
        assert!(changed(told(None), told(Some("a"))).is_empty());
    }
}
