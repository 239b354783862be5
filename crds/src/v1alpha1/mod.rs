//! The kinds of API version `v1alpha1`, one file each. A further kind is entered here and nowhere else in this crate.

pub mod app_status;
pub mod backup_store;
pub mod catalog_app;
pub mod chart_repository;
pub mod cis_profile;
pub mod cis_report;
pub mod cis_scan;
pub mod cis_scan_schedule;
pub mod cis_waiver;
pub mod cluster;
pub mod cluster_parts;
pub mod etcd_backup;
pub mod etcd_backup_schedule;
pub mod fan_out;
pub mod global_dns;
pub mod global_dns_provider;
pub mod multi_cluster_app;
pub mod project;
pub mod role_binding;
pub mod role_template;
pub mod rollout_status;

pub use app_status::*;
pub use backup_store::*;
pub use catalog_app::*;
pub use chart_repository::*;
pub use cis_profile::*;
pub use cis_report::*;
pub use cis_scan::*;
pub use cis_scan_schedule::*;
pub use cis_waiver::*;
pub use cluster::*;
pub use cluster_parts::*;
pub use etcd_backup::*;
pub use etcd_backup_schedule::*;
pub use fan_out::*;
pub use global_dns::*;
pub use global_dns_provider::*;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
pub use multi_cluster_app::*;
pub use project::*;
pub use role_binding::*;
pub use role_template::*;
pub use rollout_status::*;

use crate::schema;

/// API version of every kind here.
pub const VERSION: &str = "v1alpha1";

/// Every custom resource definition, ready to be applied. Use this, not `Kind::crd()`, which lacks the final touches.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    let roles = [RoleTemplate::crd(), ProjectRoleTemplateBinding::crd(), ClusterRoleTemplateBinding::crd()];
    [Cluster::crd(), Project::crd()]
        .into_iter()
        .chain(roles)
        .chain([ChartRepository::crd(), CatalogApp::crd(), MultiClusterApp::crd()])
        .chain([BackupStore::crd(), EtcdBackup::crd(), EtcdBackupSchedule::crd()])
        .chain([GlobalDNSProvider::crd(), GlobalDNS::crd()])
        .chain([CisProfile::crd(), CisWaiver::crd(), CisScan::crd(), CisScanSchedule::crd(), CisReport::crd()])
        .map(schema::finish)
        .collect()
}
