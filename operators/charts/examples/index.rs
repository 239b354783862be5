//! How long an index of 31 MB takes, and how much memory: `cargo run --release -p drover-charts --example index`.

#![expect(clippy::unwrap_used, reason = "an example may panic")]

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::Path,
    time::Instant,
};

use drover_charts::{IndexLimits, index};

/// Charts and versions of each, as in the largest public repositories.
const CHARTS: usize = 312;
const VERSIONS: usize = 100;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.yaml");
    write(&path);
    println!("{} KB", fs::metadata(&path).unwrap().len() / 1_000);
    let limits = IndexLimits::default();
    let open = || File::open(&path).unwrap();
    show("counts", || format!("{:?}", index::counts(open(), &limits).unwrap()));
    show("versions of one chart", || index::versions("chart-7", open(), &limits).unwrap().len().to_string());
    show("charts", || index::charts(open(), &limits).unwrap().len().to_string());
}

fn show(what: &str, read: impl Fn() -> String) {
    let (before, start, began) = (peak(), Instant::now(), processor_time());
    let found = read();
    let (took, used) = (start.elapsed(), processor_time() - began);
    println!("{what}: {found} in {took:.2?}, {used} ms of a processor, {} KiB more than before", peak() - before);
}

/// Peak of resident memory, KiB.
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// What this process used of processors, in ms.
fn processor_time() -> usize {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let ticks = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(11).unwrap();
    ticks.parse::<usize>().unwrap() * 10
}

fn write(path: &Path) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    writeln!(file, "apiVersion: v1\nentries:").unwrap();
    for chart in 0..CHARTS {
        writeln!(file, "  chart-{chart}:").unwrap();
        for version in 0..VERSIONS {
            write!(
                file,
                "  - annotations:\n      artifacthub.io/changes: |\n        - kind: changed\n          description: Update the image\n        \
                 - kind: fixed\n          description: Say what it is that was fixed here in some more words\n      \
                 artifacthub.io/license: Apache-2.0\n    apiVersion: v2\n    appVersion: 1.{version}.0\n    \
                 created: \"2026-01-02T03:04:05.123456789Z\"\n    dependencies:\n    - condition: db.enabled\n      name: db\n      \
                 repository: https://charts.example.com/db\n      version: ^1.{version}\n    \
                 description: Chart {chart} for those who need it, with all that belongs to it\n    \
                 digest: {version:064x}\n    home: https://example.com/{chart}\n    icon: https://example.com/{chart}.svg\n    \
                 keywords:\n    - one\n    - two\n    kubeVersion: '>=1.25.0-0'\n    maintainers:\n    - email: a@example.com\n      \
                 name: A\n    name: chart-{chart}\n    sources:\n    - https://github.com/example/{chart}\n    type: application\n    \
                 urls:\n    - https://charts.example.com/chart-{chart}-1.{version}.0.tgz\n    version: 1.{version}.0\n"
            )
            .unwrap();
        }
    }
    writeln!(file, "generated: \"2026-01-02T03:04:05Z\"").unwrap();
}
