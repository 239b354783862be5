//! Whether a backup may be taken, and can be. Pure.

use drover_backups::LayoutOf;
use drover_crds::{EtcdBackup, Operation, Tenant};
use drover_fleet::cause::TenancyCause;
use drover_grants::not_begun;
use drover_runtime::{Cause, StatusCause};
use kube::ResourceExt as _;

use crate::{
    BackupCause,
    observe::{ClusterState, World},
    plan::store_name,
};

/// Whether the owner of a cluster admits a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Admission {
    /// The namespace of the backup in the management cluster is no tenant.
    #[default]
    NoTenant,
    /// It is, and may take no backups.
    NoBackups,
    /// It is, and may.
    Admitted,
}

impl Admission {
    /// By the entries of a cluster that admit the namespace of the backup.
    #[must_use]
    pub fn of(tenancies: &[&Tenant]) -> Self {
        if tenancies.is_empty() {
            Self::NoTenant
        } else if tenancies.iter().any(|tenant| tenant.allows(Operation::Backup)) {
            Self::Admitted
        } else {
            Self::NoBackups
        }
    }
}

/// What is known of the store of a backup.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum StoreState {
    /// There is none of this name, or the namespace may not use it.
    #[default]
    NotFound,
    /// It cannot be used now, with what its status says.
    NotReady(String),
    /// It can.
    Ready {
        /// What its keys begin with.
        prefix: String,
        /// For whom backups are encrypted.
        recipients: Vec<String>,
    },
}

/// Why the owner of the cluster does not want the backup, whatever is under way.
#[must_use]
pub fn withdrawn(backup: &EtcdBackup, admission: Admission) -> Option<(Cause, String)> {
    let (cluster, tenant) = (&backup.spec.cluster_name, backup.namespace().unwrap_or_default());
    match admission {
        Admission::Admitted => None,
        Admission::NoTenant => {
            let message = format!(
                "cluster {cluster} does not admit namespace {tenant}; its owner decides that in spec.tenants of the Cluster"
            );
            Some((TenancyCause::NotATenant.into(), message))
        }
        Admission::NoBackups => {
            let message = format!(
                "cluster {cluster} does not let namespace {tenant} take backups; ask its owner to add Backup to operations of its tenant entry"
            );
            Some((BackupCause::BackupsNotAllowed.into(), message))
        }
    }
}

/// Why the backup cannot begin now, if it cannot.
#[must_use]
pub fn obstacle(backup: &EtcdBackup, world: &World) -> Option<(Cause, String)> {
    withdrawn(backup, world.admission)
        .or_else(|| unjudged(backup, world))
        .or_else(|| unworkable(backup, world))
        .or_else(|| unsupported(backup, world))
        .or_else(|| without_store(backup, &world.store))
        .or_else(|| without_image(world.image.as_deref()))
}

pub(crate) fn unjudged(backup: &EtcdBackup, world: &World) -> Option<(Cause, String)> {
    let what = format!("backup {}", backup.name_any());
    not_begun(&world.grants, world.admitted, &what, "it is not taken; delete it and create it again")
}

/// Nothing begins where the Job could not be made, or its answer not be read.
fn unworkable(backup: &EtcdBackup, world: &World) -> Option<(Cause, String)> {
    let cluster = &backup.spec.cluster_name;
    if world.state == ClusterState::Suspended {
        let message = format!("cluster {cluster} is suspended, so no backup is taken; resume the Cluster");
        return Some((StatusCause::ClusterSuspended.into(), message));
    }
    let refusal = world.refused.as_ref()?;
    let message = format!(
        "cluster {cluster} does not let Drover read the Jobs, Secrets and Pods of backups: {}; import the cluster again, as its condition CredentialValid says",
        refusal.message
    );
    Some((refusal.cause, message))
}

fn unsupported(backup: &EtcdBackup, world: &World) -> Option<(Cause, String)> {
    let name = &backup.spec.cluster_name;
    if let Some(message) = &world.unsupported {
        return Some((
            BackupCause::NotSupported.into(),
            format!("the etcd of cluster {name} cannot be backed up: {message}"),
        ));
    }
    let layout = world.cluster.as_ref().map(|cluster| LayoutOf::distribution(&cluster.distribution));
    if let Some(Some(_)) = layout {
        return None;
    }
    let message = format!(
        "whether the etcd of cluster {name} can be backed up is not known yet; look at BackupSupported of the Cluster"
    );
    Some((StatusCause::Progressing.into(), message))
}

pub(crate) fn without_store(backup: &EtcdBackup, store: &StoreState) -> Option<(Cause, String)> {
    let name = store_name(backup);
    match store {
        StoreState::Ready { .. } => None,
        StoreState::NotFound => {
            let tenant = backup.namespace().unwrap_or_default();
            let message = format!(
                "there is no BackupStore {name} that namespace {tenant} may use; create it, or ask its owner to add the namespace to spec.usableFrom"
            );
            Some((BackupCause::StoreNotFound.into(), message))
        }
        StoreState::NotReady(why) => {
            Some((BackupCause::StoreNotReady.into(), format!("BackupStore {name} is not ready: {why}")))
        }
    }
}

fn without_image(image: Option<&str>) -> Option<(Cause, String)> {
    image.is_none().then(|| {
        let message = "this Drover has no image that takes snapshots; set backups.image of the chart".to_owned();
        (BackupCause::NoBackupImage.into(), message)
    })
}
