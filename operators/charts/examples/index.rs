//! How long an index of 31 MB takes, and how much memory: `cargo run --release -p drover-charts --example index`.

#![expect(clippy::unwrap_used, reason = "an example may panic")]

use std::{
    fmt::Write as _,
    fs::{self, File},
    time::{Duration, Instant},
};

use drover_charts::{IndexLimits, index};

/// Charts and versions of each, as large as the largest public repositories.
const CHARTS: usize = 340;
const VERSIONS: usize = 100;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.yaml");
    fs::write(&path, example()).unwrap();
    println!("{:.1} MB", fs::metadata(&path).unwrap().len() as f64 / 1e6);
    let limits = IndexLimits::default();
    let before = peak();
    let open = || File::open(&path).unwrap();
    show("counts", before, || format!("{:?}", index::counts(open(), &limits).unwrap()));
    show("versions of one chart", before, || index::versions("chart-7", open(), &limits).unwrap().len().to_string());
    show("charts", before, || index::charts(open(), &limits).unwrap().len().to_string());
}

fn show(what: &str, before: usize, read: impl Fn() -> String) {
    let start = Instant::now();
    let found = read();
    let took: Duration = start.elapsed();
    println!("{what}: {found} in {took:.2?}, {} KiB above the beginning", peak() - before);
}

/// Peak of resident memory, KiB.
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn example() -> String {
    let mut text = "apiVersion: v1\nentries:\n".to_owned();
    for chart in 0..CHARTS {
        writeln!(text, "  chart-{chart}:").unwrap();
        for version in 0..VERSIONS {
            let digest = format!("{version:064x}");
            write!(
                text,
                "  - annotations:\n      artifacthub.io/changes: |\n        - kind: changed\n          description: Update the image\n        \
                 - kind: fixed\n          description: Say what it is that was fixed here in some more words\n      \
                 artifacthub.io/license: Apache-2.0\n    apiVersion: v2\n    appVersion: 1.{version}.0\n    \
                 created: \"2026-01-02T03:04:05.123456789Z\"\n    dependencies:\n    - condition: db.enabled\n      name: db\n      \
                 repository: https://charts.example.com/db\n      version: ^1.{version}\n    description: Chart {chart} for those who need it, with all that belongs to it\n    \
                 digest: {digest}\n    home: https://example.com/{chart}\n    icon: https://example.com/{chart}.svg\n    keywords:\n    - one\n    - two\n    \
                 kubeVersion: '>=1.25.0-0'\n    maintainers:\n    - email: a@example.com\n      name: A\n    name: chart-{chart}\n    sources:\n    - https://github.com/example/{chart}\n    \
                 type: application\n    urls:\n    - https://charts.example.com/chart-{chart}-1.{version}.0.tgz\n    version: 1.{version}.0\n"
            )
            .unwrap();
        }
    }
    text + "generated: \"2026-01-02T03:04:05Z\"\n"
}
