//! What it costs to find the versions of one chart in an index of 31 MB with 40,000 versions. Run by `make bench`.

#![expect(clippy::expect_used, reason = "a bench may panic")]

use std::fmt::Write as _;
use std::{
    fs::{self, File},
    io::{BufReader, BufWriter, Write as _, stdout},
    path::Path,
    time::{Duration, Instant},
};

use drover_charts::index::{IndexLimits, charts, counts, versions};

const CHARTS: usize = 400;
const VERSIONS_OF_EACH: usize = 100;
const ROUNDS: usize = 9;
/// Of each version, beside what makes it one: as much as the index of a large repository has.
const DESCRIPTION: usize = 440;

fn write(path: &Path) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "apiVersion: v1\nentries:")?;
    let description = "a chart that many have, ".repeat(DESCRIPTION / 24 + 1);
    for chart in 0..CHARTS {
        writeln!(file, "  chart-{chart:03}:")?;
        for version in 0..VERSIONS_OF_EACH {
            let digest = format!("{:064x}", chart * VERSIONS_OF_EACH + version);
            writeln!(
                file,
                "  - apiVersion: v2\n    appVersion: 1.{version}.0\n    created: \"2026-01-02T03:04:05.678901234Z\"\n    description: {}\n    digest: {digest}\n    maintainers:\n    - name: a team\n    name: chart-{chart:03}\n    urls:\n    - https://charts.example.com/chart-{chart:03}-1.{version}.0.tgz\n    version: 1.{version}.0",
                &description[..DESCRIPTION]
            )?;
        }
    }
    writeln!(file, "generated: \"2026-01-02T03:04:05.678901234Z\"")?;
    file.flush()
}

/// The most resident memory so far, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the kernel tells of processes");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("and of their memory");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("in KiB")
}

/// The median of several rounds, and how much memory they took at most beyond what there was before.
fn measured(read: impl Fn()) -> (Duration, u64) {
    let before = peak();
    let mut times: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            read();
            started.elapsed()
        })
        .collect();
    times.sort();
    (times.get(ROUNDS / 2).copied().unwrap_or_default(), peak() - before)
}

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("index.yaml");
    write(&path).expect("an index");
    let bytes = fs::metadata(&path).expect("its size").len();
    let limits = IndexLimits::default();
    let open = || BufReader::new(File::open(&path).expect("the index"));
    let one =
        measured(|| assert_eq!(versions("chart-200", open(), &limits).map(|found| found.len()), Ok(VERSIONS_OF_EACH)));
    let count =
        measured(|| assert!(counts(open(), &limits).is_ok_and(|found| found.versions == CHARTS * VERSIONS_OF_EACH)));
    let all = measured(|| assert_eq!(charts(open(), &limits).map(|found| found.len()), Ok(CHARTS)));
    let mut text = format!(
        "\n### An index of {:.1} MB, {CHARTS} charts with {VERSIONS_OF_EACH} versions each\n\n| What | Median of {ROUNDS} | Memory |\n| --- | --- | --- |\n",
        f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / 1e6
    );
    for (what, (time, memory)) in
        [("versions of one chart", one), ("how many there are", count), ("newest of all charts", all)]
    {
        let _ = writeln!(text, "| {what} | {:.0} ms | {memory} KiB more |", time.as_secs_f64() * 1000.0);
    }
    stdout().write_all(text.as_bytes()).expect("a place to print");
}
