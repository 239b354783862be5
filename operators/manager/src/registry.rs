//! The operators that this binary can run. This is the only place of the manager in which a further kind is entered: the
//! command line, the roles of Drover and of people, the names of Leases and the start all read it.

use std::{collections::BTreeSet, fmt, sync::Arc};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use drover_backup_store::BackupStoreOperator;
use drover_catalog_app::CatalogAppOperator;
use drover_chart_repository::ChartRepositoryOperator;
use drover_cis_profile::CisProfileOperator;
use drover_cis_scan::CisScanOperator;
use drover_cis_scan_schedule::CisScanScheduleOperator;
use drover_cis_waiver::CisWaiverOperator;
use drover_cluster::ClusterOperator;
use drover_crds::RoleTemplate;
use drover_etcd_backup::EtcdBackupOperator;
use drover_etcd_backup_schedule::EtcdBackupScheduleOperator;
use drover_fleet::Fleet;
use drover_global_dns::GlobalDNSOperator;
use drover_global_dns_provider::GlobalDNSProviderOperator;
use drover_multi_cluster_app::MultiClusterAppOperator;
use drover_process::admin::{Gate, Readiness};
use drover_project::ProjectOperator;
use drover_project_binding::ProjectBindingOperator;
use drover_releases::render::Renderer;
use drover_role_template::{RoleTemplateOperator, cluster_binding::ClusterRoleTemplateBindingOperator};
use drover_runtime::{
    Cache, Cause, Context, DriveSettings, Driver, LabelQuery, Operator, Rights, events::EventSink, metrics::Meters,
    operator::finalizer,
};
use drover_sources::Sources;
use drover_stores::Stores;
use drover_zones::Zones;
use kube::core::{ApiResource, Resource};
use tokio::task::JoinSet;

/// Every operator.
static REGISTRY: &[Entry] = &[
    Entry::of::<ClusterOperator>(),
    Entry::of::<ProjectOperator>(),
    Entry::of::<ProjectBindingOperator>(),
    Entry::of::<RoleTemplateOperator>(),
    Entry::of::<ClusterRoleTemplateBindingOperator>(),
    Entry::of::<ChartRepositoryOperator>(),
    Entry::of::<CatalogAppOperator>(),
    Entry::of::<MultiClusterAppOperator>(),
    Entry::of::<BackupStoreOperator>(),
    Entry::of::<EtcdBackupOperator>(),
    Entry::of::<EtcdBackupScheduleOperator>(),
    Entry::of::<GlobalDNSProviderOperator>(),
    Entry::of::<GlobalDNSOperator>(),
    Entry::of::<CisProfileOperator>(),
    Entry::of::<CisWaiverOperator>(),
    Entry::of::<CisScanOperator>(),
    Entry::of::<CisScanScheduleOperator>(),
];

impl Registered for ClusterOperator {
    const ABOUT: &'static str = "Reports the state of every cluster";
    const WRITERS: Writers = Writers::Platform;

    fn construct(wiring: &Wiring) -> Self {
        Self::new(wiring.fleet.clone())
    }
}

impl Registered for ProjectOperator {
    const ABOUT: &'static str = "Gives teams namespaces on many clusters";
    const WRITERS: Writers = Writers::Platform;

    fn construct(_: &Wiring) -> Self {
        Self
    }
}

impl Registered for ProjectBindingOperator {
    const ABOUT: &'static str = "Tells where the members of a Project have their roles";
    const WRITERS: Writers = Writers::Admins;

    fn construct(wiring: &Wiring) -> Self {
        Self::new(wiring.management_roles.clone())
    }
}

impl Registered for RoleTemplateOperator {
    const ABOUT: &'static str = "Writes the roles that bindings need into the clusters";
    const WRITERS: Writers = Writers::Platform;

    fn construct(wiring: &Wiring) -> Self {
        Self::new(&wiring.shipped)
    }
}

impl Registered for ClusterRoleTemplateBindingOperator {
    const ABOUT: &'static str = "Tells where roles for whole clusters are effective";
    const WRITERS: Writers = Writers::Platform;

    fn construct(_: &Wiring) -> Self {
        Self
    }
}

impl Registered for ChartRepositoryOperator {
    const ABOUT: &'static str = "Reads chart repositories";
    const WRITERS: Writers = Writers::Editors;

    fn construct(wiring: &Wiring) -> Self {
        Self::new(wiring.sources.clone())
    }
}

impl Registered for CatalogAppOperator {
    const ABOUT: &'static str = "Releases Helm charts on clusters";
    const WRITERS: Writers = Writers::Editors;

    fn construct(wiring: &Wiring) -> Self {
        Self::new(wiring.renderer.clone(), wiring.sources.clone())
    }
}

impl Registered for MultiClusterAppOperator {
    const ABOUT: &'static str = "Rolls an app out to many clusters";
    const WRITERS: Writers = Writers::Editors;

    fn construct(wiring: &Wiring) -> Self {
        Self::new(wiring.renderer.clone(), wiring.sources.clone())
    }
}

impl Registered for BackupStoreOperator {
    const ABOUT: &'static str = "Tries whether backups can be stored";
    const WRITERS: Writers = Writers::Platform;

    fn construct(wiring: &Wiring) -> Self {
        Self::new(wiring.stores.clone())
    }
}

impl Registered for EtcdBackupOperator {
    const ABOUT: &'static str = "Takes backups of the etcd of clusters";
    const WRITERS: Writers = Writers::Editors;

    fn construct(wiring: &Wiring) -> Self {
        Self::new(wiring.stores.clone(), wiring.etcd_image.clone())
    }
}

impl Registered for EtcdBackupScheduleOperator {
    const ABOUT: &'static str = "Has backups of clusters taken at times that repeat, and keeps those it is to keep";
    const WRITERS: Writers = Writers::Editors;

    fn construct(_: &Wiring) -> Self {
        Self
    }
}

impl Registered for GlobalDNSProviderOperator {
    const ABOUT: &'static str = "Tries whether names can be written";
    const WRITERS: Writers = Writers::Platform;

    fn construct(wiring: &Wiring) -> Self {
        Self::new(wiring.zones.clone())
    }
}

impl Registered for GlobalDNSOperator {
    const ABOUT: &'static str = "Writes names that answer with the addresses of many clusters";
    const WRITERS: Writers = Writers::Editors;

    fn construct(wiring: &Wiring) -> Self {
        Self::new(wiring.zones.clone())
    }
}

impl Registered for CisProfileOperator {
    const ABOUT: &'static str = "Tells whether profiles of scans contradict themselves";
    const WRITERS: Writers = Writers::Platform;

    fn construct(_: &Wiring) -> Self {
        Self
    }
}

impl Registered for CisWaiverOperator {
    const ABOUT: &'static str = "Tells whether waivers of checks count";
    const WRITERS: Writers = Writers::Platform;

    fn construct(_: &Wiring) -> Self {
        Self
    }
}

impl Registered for CisScanOperator {
    const ABOUT: &'static str = "Judges the nodes of clusters by CIS benchmarks";
    const WRITERS: Writers = Writers::Editors;
    const RECORDS: &'static [&'static str] = &["cisreports"];

    fn construct(wiring: &Wiring) -> Self {
        Self::new(wiring.scan_image.clone())
    }
}

impl Registered for CisScanScheduleOperator {
    const ABOUT: &'static str = "Has clusters scanned at times that repeat, and keeps the last scans";
    const WRITERS: Writers = Writers::Editors;

    fn construct(_: &Wiring) -> Self {
        Self
    }
}

/// An operator that this binary can run.
pub(crate) trait Registered: Operator {
    /// What it does, for the help of the command line.
    const ABOUT: &'static str;
    /// Who may write its objects, by the roles that ship for people.
    const WRITERS: Writers;
    /// The kinds, by their plurals, that it alone writes, and that nobody reconciles: people read them.
    const RECORDS: &'static [&'static str] = &[];

    /// The operator, with what it needs besides its own objects.
    fn construct(wiring: &Wiring) -> Self;
}

/// Who may write the objects of a kind. The platform team may write those of every kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writers {
    /// The platform team alone: what such an object grants is decided above those who administer its namespace.
    Platform,
    /// Those who administer its namespace.
    Admins,
    /// Those who edit in its namespace.
    Editors,
}

/// What the manager knows of one operator.
pub(crate) struct Entry {
    /// What it is called on the command line and in names of roles and Leases.
    pub(crate) name: &'static str,
    /// What it needs at API servers.
    pub(crate) rights: Rights,
    /// The tables of the causes that its conditions name besides those of the runtime.
    pub(crate) causes: &'static [&'static [Cause]],
    /// Who may write its objects.
    pub(crate) writers: Writers,
    /// The kinds that it alone writes, by their plurals.
    pub(crate) records: &'static [&'static str],
    about: &'static str,
    resource: fn() -> ApiResource,
    finalizer: Option<fn() -> String>,
    start: fn(&Wiring, &Readiness, &mut JoinSet<()>),
}

/// What all operators of a process share.
pub(crate) struct Wiring {
    /// The cache of the management cluster.
    pub(crate) management: Arc<Cache>,
    /// The clusters.
    pub(crate) fleet: Fleet,
    /// Where events go.
    pub(crate) events: EventSink,
    /// Where reconciles are counted.
    pub(crate) meters: Meters,
    /// Bounds.
    pub(crate) settings: DriveSettings,
    /// The `ClusterRoles` of the management cluster that role templates may give beside a Project.
    pub(crate) management_roles: BTreeSet<String>,
    /// The role templates that the installation brings.
    pub(crate) shipped: Vec<RoleTemplate>,
    /// Renders charts; none where there is no folder for it.
    pub(crate) renderer: Option<Renderer>,
    /// Fetches charts; none where there is no folder for it.
    pub(crate) sources: Option<Sources>,
    /// Reaches the stores of backups.
    pub(crate) stores: Stores,
    /// The image that takes snapshots of etcd; none where backups are not set up.
    pub(crate) etcd_image: Option<String>,
    /// The image that scans nodes; none where scans are not set up.
    pub(crate) scan_image: Option<String>,
    /// Reaches providers of DNS.
    pub(crate) zones: Zones,
}

impl Entry {
    const fn of<O: Registered>() -> Self {
        Self {
            name: O::NAME,
            rights: O::RIGHTS,
            causes: O::CAUSES,
            writers: O::WRITERS,
            records: O::RECORDS,
            about: O::ABOUT,
            resource: resource::<O>,
            finalizer: if O::FINALIZER { Some(finalizer::<O>) } else { None },
            start: start::<O>,
        }
    }

    /// The kind that it reconciles.
    pub(crate) fn resource(&self) -> ApiResource {
        (self.resource)()
    }

    /// The finalizer that it puts on its objects.
    pub(crate) fn finalizer(&self) -> Option<String> {
        self.finalizer.map(|name| name())
    }

    /// Starts it, and makes readiness wait for the list of its objects.
    pub(crate) fn start(&self, wiring: &Wiring, readiness: &Readiness, tasks: &mut JoinSet<()>) {
        (self.start)(wiring, readiness, tasks);
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}

/// Operators of the registry, each once, in its order.
#[derive(Clone, Debug)]
pub(crate) struct Operators(Vec<&'static Entry>);

impl Operators {
    /// Every operator.
    pub(crate) fn all() -> Self {
        Self(REGISTRY.iter().collect())
    }

    /// The operators that were named, however often.
    pub(crate) fn of(named: &[&'static Entry]) -> Self {
        let is_named = |entry: &&Entry| named.iter().any(|each| each.name == entry.name);
        Self(REGISTRY.iter().filter(is_named).collect())
    }

    /// The operators one by one.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'static Entry> {
        self.0.iter().copied()
    }

    /// The name of what runs these operators, which its Lease and its roles have: replicas that run the same operators compete
    /// for one Lease, Deployments that run some each do not.
    pub(crate) fn process_name(&self) -> String {
        if self.0.len() == REGISTRY.len() {
            return "drover".to_owned();
        }
        let names: BTreeSet<&str> = self.iter().map(|entry| entry.name).collect();
        std::iter::once("drover").chain(names).collect::<Vec<_>>().join("-")
    }
}

/// The names of all operators: the default on the command line.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    REGISTRY.iter().map(|entry| entry.name)
}

/// Reads the name of an operator on the command line.
pub(crate) fn parser() -> impl TypedValueParser<Value = &'static Entry> {
    let values = REGISTRY.iter().map(|entry| PossibleValue::new(entry.name).help(entry.about));
    PossibleValuesParser::new(values).try_map(|name| find(&name).ok_or("there is no operator of this name"))
}

fn find(name: &str) -> Option<&'static Entry> {
    REGISTRY.iter().find(|entry| entry.name == name)
}

fn resource<O: Operator>() -> ApiResource
where
    O::Kind: Resource<DynamicType = ()>,
{
    ApiResource::erase::<O::Kind>(&())
}

fn start<O: Registered>(wiring: &Wiring, readiness: &Readiness, tasks: &mut JoinSet<()>) {
    let Wiring {
        management,
        fleet,
        events,
        meters,
        settings,
        management_roles: _,
        shipped: _,
        renderer: _,
        sources: _,
        stores: _,
        etcd_image: _,
        scan_image: _,
        zones: _,
    } = wiring;
    let objects = management.informer::<O::Kind>(&LabelQuery::everything());
    let gate = readiness.wait_for(format!("the list of {}s", O::NAME));
    let context = Context {
        management: Arc::clone(management),
        fleet: fleet.view(),
        events: events.clone(),
        meters: meters.clone(),
        settings: settings.clone(),
    };
    let driver = Driver::new(O::construct(wiring), objects.clone(), context);
    tasks.spawn(open_once(gate, async move { objects.live().await }, driver.run()));
}

/// Does `work`, and opens `gate` once `ready` is done.
pub(crate) async fn open_once(gate: Gate, ready: impl Future<Output = ()>, work: impl Future<Output = ()>) {
    let open = async {
        ready.await;
        gate.open();
        std::future::pending::<()>().await;
    };
    tokio::select! { () = open => {}, () = work => {} }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process_name(names: &[&str]) -> String {
        Operators::of(&names.iter().map(|name| find(name).unwrap()).collect::<Vec<_>>()).process_name()
    }

    #[test]
    fn replicas_compete_for_a_lease_only_when_they_run_the_same_operators() {
        assert_eq!(Operators::all().process_name(), "drover");
        assert_eq!(process_name(&names().chain(["project"]).collect::<Vec<_>>()), "drover");
        assert_eq!(process_name(&["project"]), "drover-project");
        assert_eq!(process_name(&["cluster", "cluster"]), "drover-cluster");
    }

    #[test]
    fn every_kind_has_one_operator() {
        let mut defined: Vec<String> = drover_crds::all().into_iter().map(|crd| crd.spec.names.plural).collect();
        let mut reconciled: Vec<String> = REGISTRY.iter().map(|entry| entry.resource().plural).collect();
        reconciled.extend(REGISTRY.iter().flat_map(|entry| entry.records).map(|plural| (*plural).to_owned()));
        defined.sort();
        reconciled.sort();
        assert_eq!(defined, reconciled);
        assert_eq!(names().collect::<BTreeSet<_>>().len(), REGISTRY.len(), "a name is used twice");
    }

    #[test]
    fn a_finalizer_is_named_after_the_operator() {
        for entry in REGISTRY {
            let finalizer = entry.finalizer();
            assert!(finalizer.is_none_or(|finalizer| finalizer == format!("drover.dev/{}", entry.name)), "{entry:?}");
        }
    }
}
