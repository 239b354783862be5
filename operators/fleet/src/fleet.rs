//! Which clusters exist and how they stand: one [`Remote`] per `Cluster` object, and one snapshot of them all.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use drover_crds::Cluster;
use drover_runtime::{
    Cache, ClusterName, ClusterView, DialPolicy, FleetView, Informer, LabelQuery, Link, ObjectKey,
    cache::{CacheSettings, Lookup},
};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use tokio::{
    sync::{Notify, Semaphore, watch},
    task::AbortHandle,
};

use crate::claimant::{Claimant, writes};
use crate::management::Management;
use crate::remote::{Remote, Report};
use crate::required_permissions::RequiredPermissions;
use crate::rivals::may_stand_for;
use crate::secrets::{Secrets, Stored};
use crate::source::{Target, secret_name, source};

/// Dials at a time: a start with 2,000 clusters must not open 2,000 handshakes at once.
const DIALS_AT_A_TIME: usize = 64;

/// The fleet. Cheap to clone; all clones are the same fleet.
#[derive(Clone)]
pub struct Fleet(Arc<Inner>);

struct Inner {
    local: Management,
    policy: DialPolicy,
    clusters: Informer<Cluster>,
    secrets: Secrets,
    namespace: String,
    installation: Arc<str>,
    required: Arc<RequiredPermissions>,
    caches: CacheSettings,
    namespaces: Informer<Namespace>,
    members: Mutex<HashMap<ClusterName, Member>>,
    /// How many remotes were started.
    started: AtomicU64,
    dial_slots: Arc<Semaphore>,
    changed: Notify,
    view: watch::Sender<FleetView>,
}

struct Member {
    /// Of the Cluster.
    uid: Option<String>,
    /// Which of all connections that this process made.
    number: u64,
    report: Report,
    /// How many different reports there were.
    reports: u64,
    target: watch::Sender<Target>,
    task: AbortHandle,
}

impl Member {
    fn stands_for(&self, cluster: &Cluster) -> bool {
        cluster.uid() == self.uid
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Fleet").field("members", &self.lock().len()).finish_non_exhaustive()
    }
}

impl Fleet {
    /// The fleet that `management` describes, and in which `local` is the Cluster of that name. Kubeconfigs are read from
    /// Secrets in `namespace`, the operator namespace, only. `required` is what a credential must allow in a cluster. Their caches have
    /// the settings that `management` has, and they are dialled where `policy` allows.
    #[must_use]
    pub fn new(
        management: &Cache,
        local: Management,
        namespace: &str,
        installation: &str,
        required: RequiredPermissions,
        policy: DialPolicy,
    ) -> Self {
        Self(Arc::new(Inner {
            clusters: management.informer(&LabelQuery::everything()),
            secrets: Secrets::new(management, namespace),
            namespaces: management.informer(&LabelQuery::everything()),
            namespace: namespace.to_owned(),
            installation: installation.into(),
            required: Arc::new(required),
            caches: management.settings().clone(),
            local,
            policy,
            members: Mutex::default(),
            started: AtomicU64::new(0),
            dial_slots: Arc::new(Semaphore::new(DIALS_AT_A_TIME)),
            changed: Notify::new(),
            view: watch::Sender::new(FleetView::default()),
        }))
    }

    /// The name of this installation of Drover, under which it claims clusters.
    #[must_use]
    pub fn installation(&self) -> &str {
        &self.0.installation
    }

    /// Snapshots of the fleet, as it changes.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<FleetView> {
        self.0.view.subscribe()
    }

    /// What is known of the connection of this very Cluster: not of one of the same name that was deleted.
    #[must_use]
    pub fn report(&self, cluster: &Cluster) -> Option<Report> {
        let members = self.lock();
        let member = members.get(&ClusterName::from(cluster)).filter(|member| member.stands_for(cluster));
        member.map(|member| member.report.clone())
    }

    /// Waits until Clusters, Secrets and namespaces are listed. Before that nothing is decided.
    pub async fn listed(&self) {
        self.0.clusters.live().await;
        self.0.secrets.listed().await;
        self.0.namespaces.live().await;
    }

    /// Follows Clusters, Secrets and namespaces until the future is dropped.
    pub async fn run(self) {
        self.notify_on_changes();
        self.listed().await;
        let secrets = self.0.secrets.follow(|| self.named_like_their_secrets(), || self.0.changed.notify_one());
        let follow = async {
            loop {
                self.converge();
                self.publish();
                self.0.changed.notified().await;
            }
        };
        tokio::join!(secrets, follow);
    }

    /// The Clusters that refer to a Secret of their own name.
    fn named_like_their_secrets(&self) -> Vec<String> {
        let names = self.clusters().into_iter().map(|(name, cluster)| (name.to_string(), cluster));
        names.filter(|(name, cluster)| secret_name(cluster) == Some(name)).map(|(name, _)| name).collect()
    }

    fn notify_on_changes(&self) {
        let notify = || {
            let inner = Arc::downgrade(&self.0);
            move || {
                if let Some(inner) = inner.upgrade() {
                    inner.changed.notify_one();
                }
            }
        };
        let (on_cluster, on_secret, on_namespace) = (notify(), notify(), notify());
        self.0.clusters.subscribe(move |_| on_cluster());
        self.0.secrets.subscribe(on_secret);
        self.0.namespaces.subscribe(move |_| on_namespace());
    }

    /// Starts, redirects and ends remotes so that there is one per Cluster.
    fn converge(&self) {
        let clusters = self.clusters();
        let mut members = self.lock();
        members.retain(|name, member| clusters.get(name).is_some_and(|cluster| member.stands_for(cluster)));
        for (name, cluster) in clusters {
            let Some(target) = self.target(cluster) else { continue };
            if let Some(member) = members.get(&name) {
                member.target.send_if_modified(|old| redirect(old, &target));
            } else {
                let member = self.start(name.clone(), target);
                members.insert(name, member);
            }
        }
    }

    /// Every Cluster. One that cannot be decoded any more is unknown, not gone: it stays as it was read last.
    fn clusters(&self) -> BTreeMap<ClusterName, Arc<Cluster>> {
        let known = self.0.clusters.all().into_iter().map(|cluster| (ClusterName::from(&*cluster), cluster));
        let mut clusters: BTreeMap<_, _> = known.collect();
        for (name, member) in self.lock().iter() {
            let key = ObjectKey::cluster_scoped(name.as_str());
            if matches!(self.0.clusters.lookup(&key), Lookup::Undecodable(_)) {
                clusters.insert(name.clone(), Arc::clone(&member.target.borrow().cluster));
            }
        }
        clusters
    }

    fn start(&self, name: ClusterName, target: Target) -> Member {
        let uid = target.cluster.uid();
        let (sender, receiver) = watch::channel(target);
        let slots = Arc::clone(&self.0.dial_slots);
        let required = Arc::clone(&self.0.required);
        let remote = Remote::new(
            receiver,
            self.0.local.clone(),
            self.0.policy,
            self.claimant(),
            required,
            slots,
            self.0.caches.clone(),
        );
        let fleet = Arc::downgrade(&self.0);
        let number = self.0.started.fetch_add(1, Ordering::Relaxed);
        let run = remote.run(move |report| {
            if let Some(inner) = fleet.upgrade() {
                Self(inner).reported(&name, number, report);
            }
        });
        let task = tokio::spawn(run).abort_handle();
        Member { uid, number, report: Report::default(), reports: 0, target: sender, task }
    }

    fn claimant(&self) -> Claimant {
        let (rivals, own) = (Arc::downgrade(&self.0), self.0.namespaces.clone());
        Claimant {
            installation: Arc::clone(&self.0.installation),
            rivals: Arc::new(move |uid, named| {
                rivals.upgrade().map(|inner| Self(inner).rivals(uid, named)).unwrap_or_default()
            }),
            own_uid: Arc::new(move || own.get(&ObjectKey::cluster_scoped("kube-system"))?.uid()),
        }
    }

    /// The Clusters that may stand for the cluster with this `uid`, older ones first, then by name.
    fn rivals(&self, uid: &str, named: Option<&str>) -> Vec<String> {
        let clusters = self.clusters();
        let members = self.lock();
        let may_be_it = |(name, cluster): &(&ClusterName, &Arc<Cluster>)| {
            let report = members.get(*name).map(|member| &member.report);
            let seen = report.and_then(|report| report.facts.as_ref()).map(|facts| facts.uid.as_str());
            let holds = report.is_some_and(|report| report.claimed);
            may_stand_for(cluster, seen, holds, uid, named == Some(name.as_str()))
        };
        let mut rivals: Vec<_> = clusters
            .iter()
            .filter(may_be_it)
            .map(|(name, cluster)| (cluster.creation_timestamp(), name.to_string()))
            .collect();
        rivals.sort();
        rivals.into_iter().map(|(_, name)| name).collect()
    }

    /// Takes the report of connection `number`. One that was replaced meanwhile reports to nobody.
    fn reported(&self, name: &ClusterName, number: u64, report: Report) {
        let mut members = self.lock();
        let changed = members.get_mut(name).filter(|member| member.number == number).is_some_and(|member| {
            let changed = !same(&member.report, &report);
            if !member.report.link.same(&report.link) {
                log_link(name, &report.link);
            }
            member.report = report;
            member.reports += u64::from(changed);
            changed
        });
        drop(members);
        if changed {
            self.0.changed.notify_one();
        }
    }

    fn publish(&self) {
        let clusters = self.clusters();
        let members = self.lock();
        let view = |(name, cluster): (ClusterName, Arc<Cluster>)| {
            let (link, reports) = match members.get(&name).filter(|member| member.stands_for(&cluster)) {
                Some(member) => (workable(&cluster, &member.report), member.reports),
                None => (Link::Connecting, 0),
            };
            (name, ClusterView { object: cluster, link, reports })
        };
        let clusters: BTreeMap<_, _> = clusters.into_iter().map(view).collect();
        let names = self.0.clusters.keys().into_iter().map(|key| ClusterName::from(key.name.as_str()));
        let unread = names.filter(|name| !clusters.contains_key(name)).collect();
        let labels = |namespace: Arc<Namespace>| (namespace.name_any(), namespace.labels().clone());
        let namespaces = self.0.namespaces.all().into_iter().map(labels).collect();
        let view = FleetView::new(clusters, namespaces, true)
            .with_operator_namespace(&self.0.namespace)
            .with_installation(&self.0.installation)
            .with_unread(unread);
        self.0.view.send_replace(view);
    }

    /// How `cluster` is to be reached; none while its Secret was not read yet.
    fn target(&self, cluster: Arc<Cluster>) -> Option<Target> {
        let secret = match secret_name(&cluster).map(|name| self.0.secrets.find(&cluster, name)) {
            Some(Stored::Unknown) => return None,
            Some(Stored::Found(secret)) => Some(secret),
            Some(Stored::Absent) | None => None,
        };
        Some(Target { source: source(&cluster, secret.as_deref()), cluster })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClusterName, Member>> {
        self.0.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a remote its new target, and says whether that is a new step: a status change is not.
fn redirect(old: &mut Target, new: &Target) -> bool {
    let differs = !old.asks_for_the_same(new);
    *old = new.clone();
    differs
}

/// A cluster may be looked at before it is ours, but it is not written to: one that is suspended no more is ours only once
/// it was claimed.
fn workable(cluster: &Cluster, report: &Report) -> Link {
    match &report.link {
        Link::Connected(cache) if !report.claimed && writes(cluster) => Link::Unclaimed(Arc::clone(cache)),
        link => link.clone(),
    }
}

fn log_link(name: &ClusterName, link: &Link) {
    match link {
        Link::Connecting => tracing::info!(cluster = %name, "connecting"),
        Link::Unclaimed(_) | Link::Connected(_) => tracing::info!(cluster = %name, "connected"),
        Link::Disconnected(failure) => {
            tracing::warn!(cluster = %name, reason = failure.reason(), message = %failure, "disconnected");
        }
    }
}

fn same(one: &Report, two: &Report) -> bool {
    let said = |report: &Report| {
        let Report { link: _, facts, endpoint, rejected, claimed, missing_rights, certificates, credential } =
            report.clone();
        (facts, endpoint, rejected, claimed, missing_rights, certificates, credential)
    };
    one.link.same(&two.link) && said(one) == said(two)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fleet() -> Fleet {
        let client = kube::Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        Fleet::new(
            &Cache::ungated(client.clone()),
            client.into(),
            "drover-system",
            "ours",
            RequiredPermissions::default(),
            DialPolicy::AllowLocal,
        )
    }

    fn cluster(uid: &str) -> Cluster {
        serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "eu", "uid": uid},
            "spec": {"connection": {"kubeconfig": {"secretRef": {"name": "eu"}}}},
        }))
        .unwrap()
    }

    /// Starts a connection for this Cluster in place of any of before, and answers its number.
    fn connect(fleet: &Fleet, cluster: &Cluster) -> u64 {
        let name = ClusterName::from(cluster);
        let target = Target { source: source(cluster, None), cluster: Arc::new(cluster.clone()) };
        let member = fleet.start(name.clone(), target);
        let number = member.number;
        fleet.lock().insert(name, member);
        number
    }

    #[tokio::test]
    async fn a_connection_that_was_replaced_reports_to_nobody() {
        let (fleet, name) = (fleet(), ClusterName::from("eu"));
        let (first, second) = (cluster("1"), cluster("2"));
        let claimed = || Report { claimed: true, ..Report::default() };
        let before = connect(&fleet, &first);
        fleet.reported(&name, before, claimed());
        assert!(fleet.report(&first).unwrap().claimed);
        assert!(fleet.report(&second).is_none(), "it is about the one that was deleted");

        connect(&fleet, &second);
        fleet.reported(&name, before, claimed());
        assert!(!fleet.report(&second).unwrap().claimed);
        assert!(fleet.report(&first).is_none());
    }
}
