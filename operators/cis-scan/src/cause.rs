//! Why a scan has no result, or not yet.

use drover_runtime::causes;

causes! {
    /// Why there is no result.
    pub enum ScanCause {
        /// The Cluster does not let the namespace scan it.
        ScansNotAllowed = "ScansNotAllowed": Blocked; "Add Scan to operations of the tenant entry of the Cluster.",
        /// There is no CisProfile of this name.
        ProfileNotFound = "ProfileNotFound": Blocked; "Create the CisProfile, or create a CisScan that names another one.",
        /// Drover runs without an image that scans nodes.
        NoScanImage = "NoScanImage": Blocked stalls; "Set scans.image of the chart.",
        /// Another operation on the whole cluster is under way.
        OperationRunning = "OperationRunning": Blocked; "Wait for the object that the message names.",
        /// Nodes are being scanned.
        Scanning = "Scanning": Blocked expected; "",
        /// The Pod that scans a node does not run.
        JobNotRunning = "JobNotRunning": Blocked; "Look at the Pods of namespace drover-system of the cluster; the message has their words.",
        /// There is no benchmark for the distribution or the version of the cluster.
        BenchmarkUnavailable = "BenchmarkUnavailable": Blocked stalls; "Name a benchmark in the CisProfile, or set its spec.unmapped to Nearest.",
        /// Nothing fails of what was looked at, and not all could be.
        ScanIncomplete = "ScanIncomplete": Blocked stalls; "Look at status.problems and at status.missing of the CisReports, and create another CisScan.",
        /// No report of the cluster came within the time of the scan.
        NotScanned = "NotScanned": Blocked; "Look at the Cluster, and create another CisScan.",
        /// Everything was looked at, and nothing fails.
        ChecksPassed = "ChecksPassed": Blocked expected; "",
        /// At least one check fails.
        ChecksFailed = "ChecksFailed": Blocked expected; "Look at status.results of the CisReports.",
        /// At least one check fails that did not in the scan before.
        NewFailures = "NewFailures": Blocked; "Look at status.changes of the CisReports.",
        /// An object of the name of the report is there, and is another client's.
        ReportTaken = "ReportTaken": Blocked; "Find out who created the CisReport that the message names, and delete it.",
    }
}
