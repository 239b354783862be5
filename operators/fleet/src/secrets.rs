//! The Secrets with kubeconfigs. Each names the one Cluster that may use it, and Drover reads no others.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use drover_crds::{Cluster, names::LABEL_CLUSTER};
use drover_runtime::{ApiError, Cache, Informer, LabelQuery, ObjectKey, request::request};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt as _};
use tokio::sync::Notify;

/// A Secret without the label is in no watch: it is read so often.
const READ_AGAIN: Duration = Duration::from_secs(30);
const READS_AT_A_TIME: usize = 8;

/// The kubeconfig Secrets of the operator namespace.
pub(crate) struct Secrets {
    namespace: String,
    /// Those that name a Cluster in their label.
    labelled: Informer<Secret>,
    /// What was read by name, for the Cluster of the same name only; none where no such Secret exists.
    unlabelled: Mutex<BTreeMap<String, Option<Secret>>>,
    api: Api<Secret>,
    wanted: Notify,
}

/// The Secret that a Cluster refers to.
pub(crate) enum Stored {
    /// It was not read yet: not absent.
    Unknown,
    Absent,
    Found(Arc<Secret>),
}

impl Secrets {
    pub(crate) fn new(management: &Cache, namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            labelled: management.informer_in(namespace, &LabelQuery::has(LABEL_CLUSTER)),
            unlabelled: Mutex::default(),
            api: Api::namespaced(management.client(), namespace),
            wanted: Notify::new(),
        }
    }

    /// Waits until those with the label are listed.
    pub(crate) async fn listed(&self) {
        self.labelled.live().await;
    }

    /// Calls `changed` whenever one with the label comes, changes or goes.
    pub(crate) fn subscribe(&self, changed: impl Fn() + Send + Sync + 'static) {
        self.labelled.subscribe(move |_| changed());
    }

    /// The Secret of this name, for `cluster`.
    pub(crate) fn find(&self, cluster: &Cluster, name: &str) -> Stored {
        if let Some(found) = self.labelled.get(&ObjectKey::namespaced(&self.namespace, name)) {
            return Stored::Found(found);
        }
        if name != cluster.name_any() {
            return Stored::Absent;
        }
        match self.lock().get(name) {
            None => {
                self.wanted.notify_one();
                Stored::Unknown
            }
            Some(None) => Stored::Absent,
            Some(Some(found)) => Stored::Found(Arc::new(found.clone())),
        }
    }

    /// Reads what has no label, for the Clusters that `named` like their Secret: at once what is not known yet, and all again and again.
    /// Calls `changed` after every difference.
    pub(crate) async fn follow(&self, named: impl Fn() -> Vec<String>, changed: impl Fn()) {
        let mut again = tokio::time::interval(READ_AGAIN);
        loop {
            let all = tokio::select! {
                _ = again.tick() => true,
                () = self.wanted.notified() => false,
            };
            if self.read(named(), all).await {
                changed();
            }
        }
    }

    /// Reads the Secrets of these names that carry no label: `all` of them, or those not known yet. Says whether any differs.
    async fn read(&self, names: Vec<String>, all: bool) -> bool {
        let is_labelled = |name: &String| self.labelled.get(&ObjectKey::namespaced(&self.namespace, name)).is_some();
        let names: Vec<_> = names.into_iter().filter(|name| !is_labelled(name)).collect();
        self.lock().retain(|name, _| names.contains(name));
        let due: Vec<_> = names.into_iter().filter(|name| all || !self.lock().contains_key(name)).collect();
        let reads = due.into_iter().map(|name| async move {
            let found = request(format!("get the Secret {name}"), self.api.get_opt(&name)).await;
            // What cannot be read is as it was: unknown is not absent.
            let failed =
                |error: &ApiError| tracing::warn!(secret = name, %error, "cannot read the Secret of a Cluster");
            found.inspect_err(failed).ok().map(|found| (name, found))
        });
        let read: Vec<_> =
            stream::iter(reads).buffer_unordered(READS_AT_A_TIME).filter_map(async |read| read).collect().await;
        let mut known = self.lock();
        let mut differs = false;
        for (name, found) in read {
            differs |= known.insert(name, found.clone()) != Some(found);
        }
        differs
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Option<Secret>>> {
        self.unlabelled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{Request, Response};
    use kube::{Client, client::Body};
    use serde_json::json;

    use super::*;

    /// A server with the unlabelled Secret `eu`, and which Secrets were read by name.
    fn server() -> (Client, Arc<Mutex<Vec<String>>>) {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = Arc::clone(&asked);
        let service = tower::service_fn(move |request: Request<Body>| {
            let name =
                request.uri().path().strip_prefix("/api/v1/namespaces/drover-system/secrets/").map(str::to_owned);
            noted.lock().unwrap().extend(name.clone());
            async move {
                let (code, answer) = match name.as_deref() {
                    None => std::future::pending().await, // No list comes to an end.
                    Some("eu") => (200, json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "eu"}})),
                    Some(_) => (404, json!({"status": "Failure", "reason": "NotFound", "code": 404})),
                };
                let answer = Response::builder().status(code).body(Body::from(answer.to_string().into_bytes()));
                Ok::<_, Infallible>(answer.unwrap())
            }
        });
        (Client::new(service, "default"), asked)
    }

    fn cluster(name: &str) -> Cluster {
        serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": name},
            "spec": {"connection": {"kubeconfig": {"secretRef": {"name": name}}}},
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn without_its_label_a_secret_is_read_for_the_cluster_of_its_name_only() {
        let (client, asked) = server();
        let secrets = Secrets::new(&Cache::ungated(client), "drover-system");
        let find = |of: &str, name: &str| match secrets.find(&cluster(of), name) {
            Stored::Unknown => "unknown",
            Stored::Absent => "absent",
            Stored::Found(_) => "found",
        };
        assert_eq!([find("eu", "eu"), find("us", "eu")], ["unknown", "absent"]);
        let named = || vec!["eu".to_owned(), "us".to_owned()];
        assert!(secrets.read(named(), false).await);
        assert_eq!([find("eu", "eu"), find("us", "us"), find("us", "eu")], ["found", "absent", "absent"]);
        assert!(!secrets.read(named(), false).await, "both are known");
        assert_eq!(asked.lock().unwrap().len(), 2);
        assert!(!secrets.read(named(), true).await, "nothing differs");
        let mut asked = asked.lock().unwrap().clone();
        asked.sort();
        assert_eq!(asked, ["eu", "eu", "us", "us"]);
        secrets.read(vec!["us".to_owned()], false).await;
        assert_eq!(find("eu", "eu"), "unknown", "what no Cluster refers to is forgotten");
    }
}
