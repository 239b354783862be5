//! Why there are no scans as a schedule says, or what they found.

use drover_runtime::causes;

causes! {
    /// Why a schedule is not as its spec says.
    pub enum ScanScheduleCause {
        /// The schedule cannot be read, or its time zone is unknown.
        ScheduleInvalid = "ScheduleInvalid": Blocked stalls; "Correct spec.schedule or spec.timeZone as the message says.",
        /// Not all could be looked at in the last scan.
        LastScanIncomplete = "LastScanIncomplete": Blocked; "Look at status.problems of the CisScan that the message names.",
        /// The last two scans looked at too little, or there are none.
        ScansMissed = "ScansMissed": Blocked; "Look at the CisScans of the schedule.",
        /// A scan has not begun.
        ScanWaits = "ScanWaits": Blocked; "Look at the CisScan that the message names.",
        /// Checks fail that did not fail in the scan before.
        NewFailures = "NewFailures": Blocked; "Look at status.changes of the CisReports.",
        /// At least one check fails.
        ChecksFailed = "ChecksFailed": Blocked expected; "Look at status.results of the CisReports.",
        /// Nothing fails that is to be told.
        NothingToTell = "NothingToTell": Blocked expected; "",
    }
}
