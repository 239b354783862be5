//! Renders that the equal targets of one app on many clusters have in common: helm runs once for all of them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use drover_charts::Digest;
use drover_crds::{
    CatalogApp,
    names::{ANNOTATION_REVISION, LABEL_OWNER_KIND, LABEL_OWNER_NAME},
};
use drover_releases::{
    Rendered,
    render::{Cluster, Request},
};
use kube::ResourceExt as _;
use serde_json::json;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Most renders that are kept: targets that come at the same time differ by the versions of their clusters and by overrides.
const MOST: usize = 8;
/// Longest manifest that is kept, in bytes; as objects it takes some times that.
const MOST_BYTES: usize = 1 << 20;

/// The latest renders. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared(Arc<Mutex<VecDeque<Slot>>>);

/// Where one of them is, or will be; who renders it holds the lock.
type Slot = (Digest, Arc<AsyncMutex<Found>>);

/// What is known of a render.
#[derive(Debug, Default)]
enum Found {
    #[default]
    Nothing,
    Rendered(Arc<Rendered>),
    /// It asks the cluster, makes something up, or is large: each target has its own.
    NotShared,
}

/// What a target finds.
pub(crate) enum Turn {
    /// An equal one was rendered already.
    Rendered(Arc<Rendered>),
    /// It renders; equal ones wait for it.
    First(First),
    /// It renders for itself.
    Alone,
}

/// The right to render for others. Who drops it leaves it to the next one.
pub(crate) struct First(OwnedMutexGuard<Found>);

impl First {
    /// Gives it to all equal ones, unless it `is_its_own`.
    pub(crate) fn done(mut self, rendered: &Arc<Rendered>, is_its_own: bool) {
        let is_kept = !is_its_own && rendered.manifest.len() <= MOST_BYTES;
        *self.0 = if is_kept { Found::Rendered(Arc::clone(rendered)) } else { Found::NotShared };
    }
}

impl Shared {
    /// The turn of an app with this key; without one it stands alone.
    pub(crate) async fn turn(&self, key: Option<Digest>) -> Turn {
        let Some(key) = key else { return Turn::Alone };
        let slot = self.slot(key).lock_owned().await;
        match &*slot {
            Found::Rendered(found) => Turn::Rendered(Arc::clone(found)),
            Found::NotShared => Turn::Alone,
            Found::Nothing => Turn::First(First(slot)),
        }
    }

    fn slot(&self, key: Digest) -> Arc<AsyncMutex<Found>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all.iter().position(|(of, _)| *of == key).and_then(|position| all.remove(position));
        let (key, slot) = found.unwrap_or_else(|| (key, Arc::default()));
        all.push_back((key, Arc::clone(&slot)));
        if all.len() > MOST {
            all.pop_front();
        }
        slot
    }
}

/// By what the render of a target is told from those of all others: everything that helm is given. None for an app of its own: what it
/// makes up, such as a password, is nobody else's.
pub(crate) fn key(app: &CatalogApp, chart: Digest, request: &Request<'_>) -> Option<Digest> {
    let Cluster::Described { version, apis } = request.cluster else { return None };
    let owner = [LABEL_OWNER_KIND, LABEL_OWNER_NAME].map(|label| app.labels().get(label));
    let [Some(_), Some(_)] = owner else { return None };
    let revision = app.annotations().get(ANNOTATION_REVISION)?;
    let mut apis: Vec<_> = apis.iter().collect();
    apis.sort();
    let all = json!([
        app.namespace(),
        owner,
        revision,
        chart.to_string(),
        request.release,
        request.namespace,
        request.revision,
        request.is_upgrade,
        request.values,
        request.is_secret,
        version,
        apis,
    ]);
    Some(Digest::of(all.to_string().as_bytes()))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn rendered(manifest: &str) -> Arc<Rendered> {
        Arc::new(Rendered { manifest: manifest.to_owned(), ..Rendered::default() })
    }

    fn key_of(number: usize) -> Digest {
        Digest::of(number.to_string().as_bytes())
    }

    async fn manifest(shared: &Shared, key: Option<Digest>) -> Option<String> {
        match shared.turn(key).await {
            Turn::Rendered(found) => Some(found.manifest.clone()),
            Turn::First(_) | Turn::Alone => None,
        }
    }

    async fn render(shared: &Shared, key: Option<Digest>, rendered: &Arc<Rendered>, asks: bool) {
        match shared.turn(key).await {
            Turn::First(first) => first.done(rendered, asks),
            Turn::Rendered(_) | Turn::Alone => panic!("it is not the first one"),
        }
    }

    #[tokio::test]
    async fn equal_targets_wait_for_the_first_one_and_take_what_it_rendered() {
        let shared = Shared::default();
        let Turn::First(first) = shared.turn(Some(key_of(1))).await else { panic!("it is the first one") };
        let mut second = Box::pin(manifest(&shared, Some(key_of(1))));
        assert!(futures::poll!(&mut second).is_pending());
        first.done(&rendered("one"), false);
        assert_eq!(second.await.as_deref(), Some("one"));
        let Turn::First(failed) = shared.turn(Some(key_of(2))).await else { panic!("it is another one") };
        drop(failed);
        assert!(matches!(shared.turn(Some(key_of(2))).await, Turn::First(_)), "the next one tries");
    }

    #[tokio::test]
    async fn what_asks_the_cluster_or_is_large_is_rendered_for_each_target() {
        let shared = Shared::default();
        render(&shared, Some(key_of(1)), &rendered("one"), true).await;
        render(&shared, Some(key_of(2)), &rendered(&"x".repeat(MOST_BYTES + 1)), false).await;
        for key in [Some(key_of(1)), Some(key_of(2)), None] {
            let (_one, two) = (shared.turn(key).await, shared.turn(key).await);
            assert!(matches!(two, Turn::Alone), "and none of them waits");
        }
    }

    #[tokio::test]
    async fn the_latest_renders_are_kept() {
        let shared = Shared::default();
        for number in 0..=MOST {
            render(&shared, Some(key_of(number)), &rendered("one"), false).await;
        }
        assert!(manifest(&shared, Some(key_of(0))).await.is_none());
        assert!(manifest(&shared, Some(key_of(MOST))).await.is_some());
    }

    #[test]
    fn only_targets_to_which_helm_is_given_the_same_share_a_render() {
        let mut app: CatalogApp = serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "CatalogApp", "metadata": {"name": "web", "namespace": "team"},
            "spec": {"clusterName": "eu", "namespace": "team-web", "roleTemplateName": "deployer", "chart": {}},
        }))
        .unwrap();
        let (values, apis) = (Value::Null, vec!["v1".to_owned(), "apps/v1".to_owned()]);
        let cluster = Cluster::Described { version: "v1.37.1", apis: &apis };
        let (release, namespace) = ("web", "team-web");
        let request =
            Request { release, namespace, revision: 1, is_upgrade: false, values: &values, cluster, is_secret: false };
        let chart = Digest::of(b"chart");
        assert_eq!(key(&app, chart, &request), None, "an app of its own");
        app.metadata.labels = Some(
            [
                (LABEL_OWNER_KIND.to_owned(), "MultiClusterApp".to_owned()),
                (LABEL_OWNER_NAME.to_owned(), "web".to_owned()),
            ]
            .into(),
        );
        app.metadata.annotations = Some([(ANNOTATION_REVISION.to_owned(), "web-1".to_owned())].into());
        let first = key(&app, chart, &request);
        assert!(first.is_some());
        let turned = vec!["apps/v1".to_owned(), "v1".to_owned()];
        let same = Request { cluster: Cluster::Described { version: "v1.37.1", apis: &turned }, ..request.clone() };
        assert_eq!(key(&app, chart, &same), first, "their order says nothing");
        let (other_values, fewer) = (serde_json::json!({"a": 1}), Vec::new());
        let others = [
            Request { release: "other", ..request.clone() },
            Request { namespace: "other", ..request.clone() },
            Request { revision: 2, ..request.clone() },
            Request { is_upgrade: true, ..request.clone() },
            Request { values: &other_values, ..request.clone() },
            Request { is_secret: true, ..request.clone() },
            Request { cluster: Cluster::Described { version: "v1.36.0", apis: &apis }, ..request.clone() },
            Request { cluster: Cluster::Described { version: "v1.37.1", apis: &fewer }, ..request.clone() },
        ];
        for other in others {
            assert_ne!(key(&app, chart, &other), first, "{other:?}");
        }
        assert_ne!(key(&app, Digest::of(b"other"), &request), first);
        let asks = Request { cluster: Cluster::Asked { port: 1, path: "p" }, ..request.clone() };
        assert_eq!(key(&app, chart, &asks), None);
        let mut of_another = app.clone();
        of_another.labels_mut().insert(LABEL_OWNER_NAME.to_owned(), "shop".to_owned());
        assert_ne!(key(&of_another, chart, &request), first);
        app.metadata.namespace = Some("other".to_owned());
        assert_ne!(key(&app, chart, &request), first);
    }
}
