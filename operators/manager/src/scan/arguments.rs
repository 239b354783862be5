//! What the commands about scans are told.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use drover_bench::{BenchmarkName, TargetName};

use crate::command_line::{ManagementArguments, duration};

/// What kube-bench is asked for on a node, and where what it finds goes.
#[derive(Debug, Args)]
pub(crate) struct BenchRunArguments {
    /// Name of the benchmark.
    #[arg(long)]
    pub(crate) benchmark: BenchmarkName,
    /// Its targets, one after the other.
    #[arg(long, required = true, value_delimiter = ',')]
    pub(crate) targets: Vec<TargetName>,
    /// The folder for what comes of each target.
    #[arg(long)]
    pub(crate) results: PathBuf,
    /// The program kube-bench.
    #[arg(long)]
    pub(crate) engine: PathBuf,
    /// The folder with its benchmarks.
    #[arg(long)]
    pub(crate) config: PathBuf,
    /// How long all targets may take together.
    #[arg(long, value_parser = duration)]
    pub(crate) timeout: Duration,
}

/// What is handed over from a node, and where to.
#[derive(Debug, Args)]
pub(crate) struct BenchCollectArguments {
    /// The folder with what came of each target.
    #[arg(long)]
    pub(crate) results: PathBuf,
    /// Which attempt it is.
    #[arg(long)]
    pub(crate) attempt: String,
    /// Name of the node.
    #[arg(long)]
    pub(crate) node: String,
    /// Name of the benchmark.
    #[arg(long)]
    pub(crate) benchmark: BenchmarkName,
    /// The targets that were asked for.
    #[arg(long, required = true, value_delimiter = ',')]
    pub(crate) targets: Vec<TargetName>,
    /// Name of the Secret for the answer.
    #[arg(long)]
    pub(crate) secret: String,
    /// Its namespace.
    #[arg(long)]
    pub(crate) namespace: String,
    /// How long it may take until the answer is accepted.
    #[arg(long, value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Where the last line goes as well, if that can be written.
    #[arg(long, default_value = "/dev/termination-log")]
    pub(crate) report: PathBuf,
}

/// What is asked of scans.
#[derive(Debug, Args)]
pub(crate) struct ScanArguments {
    #[command(subcommand)]
    pub(crate) command: ScanCommand,
    #[command(flatten)]
    pub(crate) management: ManagementArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ScanCommand {
    /// Print what a scan found: what is not as it should be, or all of it for programs. The verdict is on standard error.
    Report(ReportArguments),
    /// Tell the state of one check on all clusters, by the newest report of each, and the nodes where it fails.
    Check(CheckArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ReportArguments {
    /// Name of the `CisScan`.
    pub(crate) name: String,
    /// Its namespace. Default: the one of your context.
    #[arg(long, short)]
    pub(crate) namespace: Option<String>,
    /// Only this cluster.
    #[arg(long)]
    pub(crate) cluster: Option<String>,
    /// How the answer looks.
    #[arg(long, short, value_enum, default_value = "table")]
    pub(crate) output: ReportFormat,
    /// Also of a scan that has not ended. Default: that is an error.
    #[arg(long)]
    pub(crate) partial: bool,
}

/// How a report looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// What is not as it should be, in columns.
    Table,
    /// Spec and status of each report, as a list.
    Json,
    /// As tests: a suite for each cluster, and an error for what was not scanned.
    Junit,
    /// A row for each cluster and check.
    Csv,
    /// One page for a browser, with nothing outside of it.
    Html,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// Number of the check, such as 1.2.1.
    pub(crate) id: String,
    /// Namespace of the reports. Default: the one of your context.
    #[arg(long, short)]
    pub(crate) namespace: Option<String>,
    /// All namespaces.
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    pub(crate) all_namespaces: bool,
    /// Only reports by this benchmark: another one may mean something else by the same number.
    #[arg(long)]
    pub(crate) benchmark: Option<String>,
}
