//! The bounds on a packed chart.

/// The bounds on a packed chart and everything that is packed in it. What is beyond one of them is refused, never cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of the archive itself. Default 10 MiB.
    pub packed_bytes: usize,
    /// Most bytes that the archive unpacks to, headers and the archives of subcharts included. Default 64 MiB.
    pub unpacked_bytes: usize,
    /// Most entries, folders and those of subcharts included. Default 5,000.
    pub files: usize,
    /// Most names in a path below the folder of the chart; the path of the archive that a subchart is in counts as well.
    /// Default 16.
    pub depth: usize,
    /// Most bytes of one file. Default 5 MiB.
    pub file_bytes: usize,
}

/// Bytes in a mebibyte.
pub(crate) const MIB: usize = 1024 * 1024;

impl Default for Limits {
    fn default() -> Self {
        Self { packed_bytes: 10 * MIB, unpacked_bytes: 64 * MIB, files: 5_000, depth: 16, file_bytes: 5 * MIB }
    }
}
