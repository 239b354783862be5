//! What there is of a schedule: its clusters, and the backups that it made. Decides nothing.

use std::collections::BTreeSet;

use drover_admission::PoliciesState;
use drover_backups::LayoutOf;
use drover_crds::{
    Cluster, ClusterSelection, EtcdBackup, EtcdBackupSchedule, Operation,
    condition::{CONNECTED, StatusConditions as _},
    names::LOCAL_CLUSTER,
};
use drover_fleet::{
    admission::{guarded_in_management, state_in_management},
    cause::TenancyCause,
    targets::tenancies_of,
};
use drover_grants::{Admitted, Grants, Judged as _, admitted::Evidence};
use drover_runtime::{
    Cause, ClusterName, ClusterView, ObjectKey, Owner, PlaceContext, StatusCause, operator::record_of, owned::Owned,
    place::deletion_of,
};
use kube::ResourceExt as _;

use crate::{EtcdBackupScheduleOperator, ScheduleCause};

/// A cluster that is backed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// Its name.
    pub name: String,
    /// UID of its namespace kube-system, once that is known.
    pub uid: Option<String>,
    /// Whether it can be reached.
    pub is_online: bool,
}

/// A cluster that is named and is not backed up.
#[derive(Clone, Debug, PartialEq)]
pub struct Missing {
    /// Its name.
    pub cluster: String,
    /// Why.
    pub cause: Cause,
    /// Why, for people.
    pub message: String,
}

/// What a reconcile knows.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Whether all Clusters are known: before that none is missing.
    pub is_complete: bool,
    /// The clusters, by name.
    pub selected: Vec<Selected>,
    /// Clusters that a selector selects, and that let the namespace take no backups.
    pub refused: i64,
    /// Clusters that a selector selects, and of which Drover cannot reach the etcd.
    pub not_supported: i64,
    /// Clusters that are named and are not backed up, and why.
    pub missing: Vec<Missing>,
    /// The backups that carry the labels of the schedule.
    pub backups: Vec<Owned<EtcdBackup>>,
    /// Whether anything new may begin.
    pub grants: Grants,
    /// Whether the spec was written under the admission policies.
    pub admitted: Option<Admitted>,
    /// The state of the admission policies, while they are in place.
    pub policies: Option<PoliciesState>,
    /// What is known of the time before, where the schedule has no record of its own.
    pub evidence: Evidence,
}

pub(crate) fn observe(owner: Owner<'_, EtcdBackupSchedule>, place: &PlaceContext) -> World {
    let Owner::Present(schedule) = owner else { return World::default() };
    let namespace = owner.key().namespace;
    let mut backups = Owned::<EtcdBackup>::at(place, &record_of::<EtcdBackupScheduleOperator>(owner.key()));
    // Other tenants may write our labels in their namespaces.
    backups.retain(|found| found.meta().namespace.as_ref() == Some(&namespace));
    let policies = state_in_management(place);
    let unknown = policies.as_ref().filter(|_| schedule.admission().is_none());
    let evidence = unknown.map(|policies| {
        let others = place.related::<EtcdBackupSchedule>().all();
        Evidence::of(others.iter().filter_map(|other| other.admission()), policies)
    });
    let mut world = World {
        is_complete: place.fleet.synced(),
        backups,
        grants: Grants::by(&guarded_in_management(place)),
        admitted: Some(Admitted::of(schedule, || policies.clone())),
        evidence: evidence.unwrap_or_default(),
        policies,
        ..World::default()
    };
    match &schedule.spec.clusters {
        ClusterSelection::Names(names) => world.add_named(schedule, names, place),
        selection => {
            let matcher = selection.matcher();
            let is_meant = |(name, view): &(&ClusterName, &ClusterView)| {
                name.as_str() != LOCAL_CLUSTER && matcher.selects(name.as_str(), view.object.labels())
            };
            place.fleet.iter().filter(is_meant).for_each(|(name, view)| world.add(schedule, name, view, place));
        }
    }
    world
}

/// Why a cluster is not backed up.
enum Excluded {
    Deleting,
    NoTenant,
    NoBackups,
    NotSupported(String),
}

impl World {
    fn add(&mut self, schedule: &EtcdBackupSchedule, name: &ClusterName, view: &ClusterView, place: &PlaceContext) {
        match selected(schedule, name, view, place) {
            Ok(selected) => self.selected.push(selected),
            Err(Excluded::NoTenant | Excluded::NoBackups) => self.refused += 1,
            Err(Excluded::NotSupported(_)) => self.not_supported += 1,
            Err(Excluded::Deleting) => {}
        }
    }

    fn add_named(&mut self, schedule: &EtcdBackupSchedule, names: &[String], place: &PlaceContext) {
        let unread: BTreeSet<_> = place.fleet.unread().map(ClusterName::as_str).collect();
        let names: BTreeSet<_> = names.iter().collect();
        for name in names {
            let key = ClusterName::from(name.as_str());
            match place.fleet.get(&key).map(|view| selected(schedule, &key, view, place)) {
                Some(Ok(selected)) => self.selected.push(selected),
                Some(Err(why)) => self.missing.push(why.missing(schedule, name)),
                // It exists, and what it is is unknown.
                None if unread.contains(name.as_str()) => {}
                None => {
                    let message = format!("there is no Cluster {name}; create it, or remove it from spec.clusters");
                    self.missing.push(missing(name, StatusCause::ClusterNotFound, message));
                }
            }
        }
    }
}

fn selected(
    schedule: &EtcdBackupSchedule,
    name: &ClusterName,
    view: &ClusterView,
    place: &PlaceContext,
) -> Result<Selected, Excluded> {
    if deletion_of(&view.object).is_some() {
        return Err(Excluded::Deleting);
    }
    let tenancies = tenancies_of(schedule, view, &place.fleet);
    if tenancies.is_empty() {
        return Err(Excluded::NoTenant);
    }
    if !tenancies.iter().any(|tenant| tenant.allows(Operation::Backup)) {
        return Err(Excluded::NoBackups);
    }
    let found = place.related::<Cluster>().get(&ObjectKey::cluster_scoped(name.as_str()));
    let status = found.as_ref().and_then(|cluster| cluster.status.as_ref());
    let distribution = status.and_then(|status| status.distribution.as_deref());
    if let Some(unsupported) = distribution.filter(|known| LayoutOf::distribution(known).is_none()) {
        return Err(Excluded::NotSupported(unsupported.to_owned()));
    }
    let is_connected = |condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        condition.type_ == CONNECTED && condition.status == "True"
    };
    Ok(Selected {
        name: name.as_str().to_owned(),
        uid: status.and_then(|status| status.cluster_uid.clone()),
        is_online: status.is_some_and(|status| status.conditions().iter().any(is_connected)),
    })
}

impl Excluded {
    fn missing(&self, schedule: &EtcdBackupSchedule, cluster: &str) -> Missing {
        let tenant = schedule.namespace().unwrap_or_default();
        match self {
            Self::Deleting => {
                let message = format!("Cluster {cluster} is being deleted; remove it from spec.clusters");
                missing(cluster, StatusCause::ClusterDeleting, message)
            }
            Self::NoTenant => {
                let message = format!(
                    "cluster {cluster} does not admit namespace {tenant}; its owner decides that in spec.tenants of the Cluster"
                );
                missing(cluster, TenancyCause::NotATenant, message)
            }
            Self::NoBackups => {
                let message = format!(
                    "cluster {cluster} does not let namespace {tenant} take backups; ask its owner to add Backup to operations of its tenant entry"
                );
                missing(cluster, ScheduleCause::BackupsNotAllowed, message)
            }
            Self::NotSupported(distribution) => {
                let message = format!(
                    "Drover cannot reach the etcd of cluster {cluster}, which was made with {distribution}; use the backup of its provider or of the tool that made it"
                );
                missing(cluster, ScheduleCause::NotSupported, message)
            }
        }
    }
}

fn missing(cluster: &str, cause: impl Into<Cause>, message: String) -> Missing {
    Missing { cluster: cluster.to_owned(), cause: cause.into(), message }
}
