//! The command line. Every setting is a flag with an environment variable beside it.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use drover_runtime::{DialPolicy, cache::WatchTimeout};

use crate::{
    backup::{BackupArguments, EtcdSnapshotArguments},
    registry::{self, Entry},
    rights::MANAGEMENT_ROLES,
    scan::{BenchCollectArguments, BenchRunArguments, ScanArguments},
};

/// Runs a fleet of Kubernetes clusters from one management cluster.
#[derive(Debug, Parser)]
#[command(name = "drover", version)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the operators against the management cluster.
    Run(RunArguments),
    /// Bring a cluster into the fleet, with your rights on it.
    Import(ImportArguments),
    /// Take clusters out of the fleet, each by its deletionPolicy, and wait until they are out.
    Detach(DetachArguments),
    /// Tell who has which role where: of people, of a namespace, or of both.
    Access(AccessArguments),
    /// Look at the charts in chart repositories, with your rights and from where you are.
    Charts(ChartsArguments),
    /// Look at the rollout of an app on many clusters, approve it or hold it, with your rights.
    Rollout(RolloutArguments),
    /// Take a snapshot of etcd, prove that it restores, and upload it: what the Job of an `EtcdBackup` runs on a node.
    EtcdSnapshot(EtcdSnapshotArguments),
    /// List, get and verify the backups in a bucket, with its keys alone: no management cluster is needed. Or bring them into one.
    Backup(BackupArguments),
    /// Look at what scans of clusters by a CIS benchmark found, with your rights.
    Scan(ScanArguments),
    /// Run kube-bench on a node: what the Job of a `CisScan` runs there.
    #[command(hide = true)]
    BenchRun(BenchRunArguments),
    /// Hand over what kube-bench found on a node: what runs beside it.
    #[command(hide = true)]
    BenchCollect(BenchCollectArguments),
    /// Print the custom resource definitions, or write them to a folder.
    Crds(OutputArguments),
    /// Print the rights that Drover needs, as roles, or write them to a folder.
    Rbac(RbacArguments),
    /// Print the admission policies of the management cluster, or write them to a folder.
    Admission(OutputArguments),
    /// Write the references of the API, this command line, reasons and metrics.
    Docs(OutputArguments),
    /// Write what the charts and the kustomization take from the code.
    #[command(hide = true)]
    ChartFiles {
        /// The folder of the charts.
        #[arg(long)]
        output: PathBuf,
        /// The folder of the kustomization.
        #[arg(long)]
        kustomization: PathBuf,
    },
    /// Print the version.
    Version,
}

/// How log lines look, as a choice on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// Kubeconfig of the management cluster. Default: in-cluster, or what kubectl would use.
    #[arg(long, env = "DROVER_KUBECONFIG")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The operator namespace: the leader Lease and the kubeconfig Secrets of all clusters are there.
    #[arg(long, env = "DROVER_NAMESPACE", default_value = drover_crds::names::DROVER_NAMESPACE)]
    pub(crate) namespace: String,
    /// Name of this installation, under which it claims clusters. A set name survives a rebuild of the management cluster.
    /// Default: the UID of the management cluster's namespace kube-system.
    #[arg(long, env = "DROVER_INSTALLATION")]
    pub(crate) installation: Option<String>,
    /// Operators to run. Several Deployments may each run some of them.
    #[arg(long, env = "DROVER_OPERATORS", value_parser = registry::parser(), value_delimiter = ',', default_values = registry::names())]
    pub(crate) operators: Vec<&'static Entry>,
    /// Address of the admin port: /livez, /readyz, /metrics.
    #[arg(long, env = "DROVER_ADMIN_ADDRESS", default_value = "0.0.0.0:8080")]
    pub(crate) admin_address: SocketAddr,
    /// Name of this replica in the leader Lease. Default: host name and process id.
    #[arg(long, env = "DROVER_IDENTITY")]
    pub(crate) identity: Option<String>,
    /// What to log, for example `info` or `info,drover_fleet=debug`.
    #[arg(long, env = "DROVER_LOG", default_value = "info")]
    pub(crate) log: String,
    /// How log lines look.
    #[arg(long, env = "DROVER_LOG_FORMAT", value_enum, default_value = "auto")]
    pub(crate) log_format: LogFormat,
    /// Base URL of an OTLP/HTTP collector for traces, for example `http://collector:4318`. Default: no traces leave.
    #[arg(long, env = "DROVER_OTLP_ENDPOINT")]
    pub(crate) otlp_endpoint: Option<String>,
    /// Reconciles at a time, in total.
    #[arg(long, env = "DROVER_WORKERS", default_value = "64", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) workers: u16,
    /// Reconciles at a time at one cluster.
    #[arg(long, env = "DROVER_WORKERS_PER_CLUSTER", default_value = "8", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) workers_per_cluster: u16,
    /// Memory that the caches of all clusters may take together, in MiB, as Drover estimates it: about half of what the process
    /// may take. A cluster that sends what does not fit is disconnected with `TooLarge`.
    #[arg(long, env = "DROVER_CACHE_MEMORY_MIB", default_value = "512", value_parser = clap::value_parser!(u16).range(64..))]
    pub(crate) cache_memory_mib: u16,
    /// `ClusterRoles` of the management cluster that a `RoleTemplate` may give beside a Project, in `managementRoles`. Drover needs the
    /// right to bind them. Empty: none.
    #[arg(long, env = "DROVER_MANAGEMENT_ROLES", value_delimiter = ',', default_values = MANAGEMENT_ROLES)]
    pub(crate) management_roles: Vec<String>,
    /// The installation brings the `RoleTemplates` that ship with this version, so what they allow under their names counts, whoever was
    /// seen to write it.
    #[arg(long, env = "DROVER_BUILT_IN_ROLE_TEMPLATES")]
    pub(crate) built_in_role_templates: bool,
    /// The program helm, version 4, which renders charts of apps; it is searched in `PATH` where it is no path.
    #[arg(long, env = "DROVER_HELM", default_value = "helm")]
    pub(crate) helm: PathBuf,
    /// A folder for this process alone, in which charts are kept and rendered; it is created. Default: one in the folder for temporary files.
    #[arg(long, env = "DROVER_SCRATCH_FOLDER")]
    pub(crate) scratch_folder: Option<PathBuf>,
    /// The image that takes snapshots of etcd in clusters: /drover of this version, with etcd and etcdutl beside it. Whoever names it
    /// runs it as root on nodes of every cluster that is backed up. Default: none, and no backups are taken.
    #[arg(long, env = "DROVER_ETCD_IMAGE")]
    pub(crate) etcd_image: Option<String>,
    /// The image that scans nodes of clusters: /drover of this version, with /kube-bench, its configuration /cfg, and what its audits
    /// call. Whoever names it runs it as root, without capabilities, on nodes of every cluster that is scanned. Default: none, and
    /// nothing is scanned.
    #[arg(long, env = "DROVER_SCAN_IMAGE")]
    pub(crate) scan_image: Option<String>,
    #[command(flatten)]
    pub(crate) addresses: AddressArguments,
    #[command(flatten)]
    pub(crate) timers: TimerArguments,
}

/// Where kubeconfigs in Secrets, chart repositories and URLs of charts may lead.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct AddressArguments {
    /// Also connect to loopback, link-local and metadata addresses where the kubeconfig of a Cluster, a chart repository or an app
    /// names them, and a store of backups. For tests, and for clusters on the machine of Drover.
    #[arg(long, env = "DROVER_ALLOW_LOCAL_ADDRESSES")]
    allow_local_addresses: bool,
}

impl AddressArguments {
    pub(crate) fn policy(self) -> DialPolicy {
        if self.allow_local_addresses { DialPolicy::AllowLocal } else { DialPolicy::RefuseLocal }
    }
}

/// The slow clocks of `drover run`. The defaults suit a fleet; shorter ones cost requests.
#[derive(Clone, Debug, Args)]
pub(crate) struct TimerArguments {
    /// How long an API server keeps a watch open before Drover opens it again: whole seconds, from 1s to 294s.
    #[arg(long, env = "DROVER_WATCH_TIMEOUT", default_value = "290s", value_parser = watch_timeout)]
    pub(crate) watch_timeout: WatchTimeout,
    /// The longest time until Drover reconciles an object again that waits for something, though no watch shows a change. At
    /// most 24h.
    #[arg(long, env = "DROVER_RESYNC_INTERVAL", default_value = "10m", value_parser = at_least_a_second)]
    pub(crate) resync_interval: Duration,
    /// After a start, how long a status waits for a first result from every cluster that it covers; five times as long where it
    /// covers the same spec already. At most 24h.
    #[arg(long, env = "DROVER_WARM_UP", default_value = "1m", value_parser = at_most_a_day)]
    pub(crate) warm_up: Duration,
    /// How long the other replicas wait after the leader's last renewal before one of them leads. Whole seconds, at most 10m.
    #[arg(long, env = "DROVER_LEADER_ELECT_LEASE_DURATION", default_value = "15s", value_parser = duration)]
    pub(crate) leader_elect_lease_duration: Duration,
    /// How long a leader that cannot renew goes on. Shorter than the lease duration.
    #[arg(long, env = "DROVER_LEADER_ELECT_RENEW_DEADLINE", default_value = "10s", value_parser = duration)]
    pub(crate) leader_elect_renew_deadline: Duration,
    /// The longest pause between two attempts to renew or to acquire. Shorter than the renew deadline.
    #[arg(long, env = "DROVER_LEADER_ELECT_RETRY_PERIOD", default_value = "2s", value_parser = duration)]
    pub(crate) leader_elect_retry_period: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArguments {
    /// Context of the cluster in your kubeconfig. Any authentication works; Drover stores none of it.
    #[arg(long)]
    pub(crate) context: String,
    /// Name of the Cluster, and of its Secret.
    #[arg(long)]
    pub(crate) name: String,
    /// Apply the Secret and the Cluster to the management cluster. Default: print them.
    #[arg(long)]
    pub(crate) apply: bool,
    /// URL of the API server as Drover reaches it. Default: as your kubeconfig says.
    #[arg(long)]
    pub(crate) server: Option<String>,
    /// Name of a cluster role that Drover may bind there besides admin, edit, view and its own; may be repeated. A later import
    /// without it takes that back.
    #[arg(long = "bindable-cluster-role", value_name = "NAME", value_parser = cluster_role_name)]
    pub(crate) bindable_cluster_roles: Vec<String>,
    #[command(flatten)]
    pub(crate) membership: MembershipArguments,
}

#[derive(Debug, Args)]
pub(crate) struct DetachArguments {
    /// Names of the Clusters.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) names: Vec<String>,
    /// Detach all Clusters, as before an uninstall.
    #[arg(long, conflicts_with = "context")]
    pub(crate) all: bool,
    /// For a Drover that is gone for good: release claims and finalizers without it, and carry out no deletionPolicy. With --all,
    /// release Projects that are being deleted as well.
    #[arg(long)]
    pub(crate) force: bool,
    /// How long to wait. Drover abandons an unreachable cluster after its deletionTimeout (default 10m).
    #[arg(long, default_value = "15m", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Context of the cluster in your kubeconfig: removes what an import created there as well. For one Cluster at a time, also
    /// when it is gone already.
    #[arg(long)]
    pub(crate) context: Option<String>,
    #[command(flatten)]
    pub(crate) addresses: AddressArguments,
    #[command(flatten)]
    pub(crate) membership: MembershipArguments,
}

/// Whose rights are asked for. At least one of people and a namespace.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("question").required(true).multiple(true))]
pub(crate) struct AccessArguments {
    /// Name of a user, as bindings spell it. May be repeated; together with --group the roles of all of them are told.
    #[arg(long, group = "question")]
    pub(crate) user: Vec<String>,
    /// Name of a group. May be repeated.
    #[arg(long, group = "question")]
    pub(crate) group: Vec<String>,
    /// A `ServiceAccount`, as NAMESPACE:NAME. May be repeated.
    #[arg(long, group = "question", value_parser = account)]
    pub(crate) service_account: Vec<String>,
    /// Only what holds in this namespace of the clusters. Without people: everybody's roles there, and its quota.
    #[arg(long, short = 'n', group = "question")]
    pub(crate) namespace: Option<String>,
    /// Only what holds on this Cluster.
    #[arg(long)]
    pub(crate) cluster: Option<String>,
    /// How the answer looks.
    #[arg(long, short, value_enum, default_value = "table")]
    pub(crate) output: AnswerFormat,
    /// The operator namespace in the management cluster.
    #[arg(long, env = "DROVER_NAMESPACE", default_value = drover_crds::names::DROVER_NAMESPACE)]
    pub(crate) operator_namespace: String,
    #[command(flatten)]
    pub(crate) addresses: AddressArguments,
    #[command(flatten)]
    pub(crate) management: ManagementArguments,
}

/// How charts are looked at.
#[derive(Debug, Args)]
pub(crate) struct ChartsArguments {
    #[command(subcommand)]
    pub(crate) command: ChartsCommand,
    #[command(flatten)]
    pub(crate) addresses: AddressArguments,
    #[command(flatten)]
    pub(crate) management: ManagementArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ChartsCommand {
    /// List the charts of all repositories, each with its newest version.
    List(ListArguments),
    /// Print the Chart.yaml of a chart.
    Show(ChartArguments),
    /// List the versions of a chart.
    Versions(ChartArguments),
    /// Print the values.yaml of a chart.
    Values(ChartArguments),
    /// Print the questions.yaml of a chart.
    Questions(ChartArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Namespace of the repositories. Default: the one of your context.
    #[arg(long, short)]
    pub(crate) namespace: Option<String>,
    /// All namespaces.
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    pub(crate) all_namespaces: bool,
    /// How the answer looks.
    #[arg(long, short, value_enum, default_value = "table")]
    pub(crate) output: AnswerFormat,
}

#[derive(Debug, Args)]
pub(crate) struct ChartArguments {
    /// Name of the chart.
    pub(crate) chart: String,
    /// The `ChartRepository`, as NAME in the namespace of your context, or as NAMESPACE/NAME.
    #[arg(long, short)]
    pub(crate) repository: String,
    /// A version, or a range such as ^1.2. Default: the newest release.
    #[arg(long)]
    pub(crate) version: Option<String>,
    /// How a list looks.
    #[arg(long, short, value_enum, default_value = "table")]
    pub(crate) output: AnswerFormat,
}

/// Of which rollout, and what is done about it.
#[derive(Debug, Args)]
pub(crate) struct RolloutArguments {
    #[command(subcommand)]
    pub(crate) command: RolloutCommand,
    #[command(flatten)]
    pub(crate) management: ManagementArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RolloutCommand {
    /// Tell how far the rollout is, what it waits for, and which targets are not ready.
    Status(RolloutName),
    /// Tell what the revision that is wanted would change, on one target of each stage, or in which fields two revisions differ.
    Diff(DiffArguments),
    /// Let the revision go on that waits for approval: sets the annotation drover.dev/approve.
    Approve(ApproveArguments),
    /// Hold the revision that is wanted now, so that nothing is updated or removed: sets the annotation drover.dev/hold.
    Hold(RolloutName),
    /// Let a revision go on that was held: removes the annotation drover.dev/hold.
    Resume(RolloutName),
}

impl RolloutCommand {
    /// Whose rollout it is about.
    pub(crate) fn app(&self) -> &RolloutName {
        match self {
            Self::Status(app)
            | Self::Diff(DiffArguments { app, .. })
            | Self::Approve(ApproveArguments { app, .. })
            | Self::Hold(app)
            | Self::Resume(app) => app,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct RolloutName {
    /// Name of the `MultiClusterApp`.
    pub(crate) name: String,
    /// Its namespace. Default: the one of your context.
    #[arg(long, short)]
    pub(crate) namespace: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArguments {
    #[command(flatten)]
    pub(crate) app: RolloutName,
    /// Number or name of the revision to start from. Default: the one that was completed last.
    #[arg(long)]
    pub(crate) revision: Option<String>,
    /// Number or name of the revision to compare it with. Default: the one that is wanted now.
    #[arg(long)]
    pub(crate) to: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ApproveArguments {
    #[command(flatten)]
    pub(crate) app: RolloutName,
    /// Number or name of the revision that you mean. The command fails if it is another one that waits. Default: the one that waits.
    #[arg(long)]
    pub(crate) revision: Option<String>,
}

/// How an answer looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AnswerFormat {
    /// Columns, for people.
    Table,
    /// One JSON object, for programs.
    Json,
}

/// How the management cluster is reached.
#[derive(Debug, Args)]
pub(crate) struct ManagementArguments {
    /// Kubeconfig of the management cluster. Default: what kubectl would use.
    #[arg(long, env = "DROVER_KUBECONFIG")]
    pub(crate) management_kubeconfig: Option<PathBuf>,
    /// Context of the management cluster. Default: the current one.
    #[arg(long)]
    pub(crate) management_context: Option<String>,
}

/// How the two clusters of a membership are reached, and by which names.
#[derive(Debug, Args)]
pub(crate) struct MembershipArguments {
    /// Kubeconfig with the context. Default: what kubectl would use.
    #[arg(long)]
    pub(crate) kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) management: ManagementArguments,
    /// The operator namespace in the management cluster.
    #[arg(long, env = "DROVER_NAMESPACE", default_value = drover_crds::names::DROVER_NAMESPACE)]
    pub(crate) namespace: String,
    /// Name of the installation, after which the objects in the cluster are named. Default: the UID of the management cluster's
    /// namespace kube-system.
    #[arg(long, env = "DROVER_INSTALLATION")]
    pub(crate) installation: Option<String>,
}

/// As the API spells durations.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<drover_crds::ApiDuration>().map(|duration| duration.as_std()).map_err(|error| error.to_string())
}

/// A `ServiceAccount`, spelled as its own namespace and name.
fn account(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => Ok(text.to_owned()),
        _ => Err("write NAMESPACE:NAME".to_owned()),
    }
}

/// The name of a `ClusterRole`, as its API accepts it.
fn cluster_role_name(text: &str) -> Result<String, String> {
    let is_segment = !matches!(text, "" | "." | "..") && text.len() <= 253 && !text.contains(['/', '%', '*']);
    let is_legible = text.chars().all(|each| each.is_ascii_graphic());
    if is_segment && is_legible { Ok(text.to_owned()) } else { Err("name one ClusterRole in full".to_owned()) }
}

fn at_least_a_second(text: &str) -> Result<Duration, String> {
    let duration = at_most_a_day(text)?;
    if duration >= Duration::from_secs(1) { Ok(duration) } else { Err("at least 1s".to_owned()) }
}

fn at_most_a_day(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration <= Duration::from_hours(24) { Ok(duration) } else { Err("at most 24h".to_owned()) }
}

fn watch_timeout(text: &str) -> Result<WatchTimeout, String> {
    WatchTimeout::new(duration(text)?).ok_or_else(|| WatchTimeout::BOUNDS.to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct RbacArguments {
    /// Operators that run under these roles. Some of them get roles with names of their own. The kubeconfig of a cluster serves
    /// all operators, and needs the rights of all.
    #[arg(long, value_parser = registry::parser(), value_delimiter = ',', default_values = registry::names())]
    pub(crate) operators: Vec<&'static Entry>,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

#[derive(Debug, Args)]
pub(crate) struct OutputArguments {
    /// Folder to write to. Default: print.
    #[arg(long)]
    pub(crate) output: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use drover_process::lease::LeaseSettings;
    use drover_runtime::DriveSettings;

    use super::*;

    #[test]
    fn a_cluster_role_to_bind_is_named_in_full() {
        for name in ["cluster-admin", "system:aggregate-to-view", "a.b"] {
            assert_eq!(cluster_role_name(name).as_deref(), Ok(name));
        }
        for refused in ["", "*", "admin*", "a/b", "a b", "..", "a%b", "\u{e9}", &"x".repeat(254)] {
            assert!(cluster_role_name(refused).is_err(), "{refused}");
        }
    }

    fn timers(arguments: &[&str]) -> Result<TimerArguments, clap::Error> {
        let line = CommandLine::try_parse_from([&["drover", "run"], arguments].concat())?;
        let Command::Run(arguments) = line.command else { panic!("{line:?}") };
        Ok(arguments.timers)
    }

    #[test]
    fn absurd_times_are_refused() {
        for refused in ["--resync-interval=0s", "--resync-interval=25h", "--warm-up=25h", "--watch-timeout=295s"] {
            assert!(timers(&[refused]).is_err(), "{refused}");
        }
        assert!(timers(&["--warm-up=0s", "--resync-interval=24h"]).is_ok());
    }

    #[test]
    fn the_documented_defaults_are_those_of_the_code() {
        let (timers, drive) = (timers(&[]).unwrap(), DriveSettings::default());
        assert_eq!(timers.watch_timeout, WatchTimeout::default());
        assert_eq!((timers.resync_interval, timers.warm_up), (drive.resync_interval, drive.warm_up));
        let lease = LeaseSettings::new("namespace", "name", "identity");
        assert_eq!(timers.leader_elect_lease_duration, lease.duration);
        assert_eq!(timers.leader_elect_renew_deadline, lease.renew_deadline);
        assert_eq!(timers.leader_elect_retry_period, lease.retry_period);
    }

    #[test]
    fn a_timer_out_of_bounds_is_refused_with_its_bounds() {
        for (argument, bounds) in [
            ("--watch-timeout=295s", "from 1s to 294s"),
            ("--watch-timeout=0s", "from 1s"),
            ("--resync-interval=10ms", "at least 1s"),
        ] {
            let refusal = timers(&[argument]).unwrap_err().to_string();
            assert!(refusal.contains(bounds), "{argument}: {refusal}");
        }
    }
    #[test]
    fn an_operator_that_there_is_not_is_refused_with_those_that_there_are() {
        let parse = |operators: &str| {
            let line = CommandLine::try_parse_from(["drover", "run", operators])?;
            let Command::Run(arguments) = line.command else { panic!("{line:?}") };
            Ok::<_, clap::Error>(arguments.operators.iter().map(|entry| entry.name).collect::<Vec<_>>())
        };
        assert_eq!(parse("--operators=project,cluster").unwrap(), ["project", "cluster"]);
        let refusal = parse("--operators=cluster,projects").unwrap_err().to_string();
        assert!(refusal.contains("invalid value 'projects'"), "{refusal}");
        let all = registry::names().collect::<Vec<_>>().join(", ");
        assert!(refusal.contains(&format!("[possible values: {all}]")), "{refusal}");
    }
}
