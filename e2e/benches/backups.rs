//! What a backup costs: `drover etcd-snapshot` on a real etcd with TLS and a store on loopback, beside `etcdctl snapshot save` and a copy
//! of the file to the same store, in one run.
//!
//! `cargo bench -p drover-e2e --bench backups -- --megabytes 100`

#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark may panic")]

#[expect(dead_code, reason = "tests complete what they open")]
#[path = "../tests/e2e/attempts.rs"]
mod attempts;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Parser as _;
use drover_backups::{Report, Verify, upload};
use drover_e2e::Tools;
use drover_e2e::bench::{Table, Usage, usage};
use drover_e2e::installation::drover_binary;
use drover_e2e::process::{Process, Specification};

use attempts::{PROGRAMS, Place, RECIPIENT};

const MIB: f64 = 1_048_576.0;
/// Bytes of a value before base64: about as many as those of a Pod.
const VALUE: usize = 6_000;
/// So many hundreds of such values are a hundred megabytes with what etcd adds to them.
const HUNDREDS: usize = 121;
const LOOK: Duration = Duration::from_millis(20);
const STALL_SECONDS: u32 = 60;
const DEADLINE_SECONDS: u32 = 3_600;

#[derive(clap::Parser)]
struct Arguments {
    /// Size of the database, as good as.
    #[arg(long, default_value = "100")]
    megabytes: usize,
    /// `cargo bench` says so.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(arguments.megabytes));
}

async fn measure(megabytes: usize) {
    Tools::from_environment().unwrap().ensure_all(&PROGRAMS).await.unwrap();
    let place = Place::new().await;
    let count = (megabytes * HUNDREDS).div_ceil(100);
    place.fill("pods", count, VALUE);
    let (by_hand, size) = saved_and_copied(&place).await;
    let mut table = Table::new(format!("A backup of {:.0} MiB in {} keys", size / MIB, count * 100));
    table.row("etcdctl snapshot save, then a copy to the store", told(by_hand, size));
    for (what, verify, recipients) in [
        ("not verified", Verify::None, &[][..]),
        ("not verified, encrypted", Verify::None, &[RECIPIENT]),
        ("restored and compared, encrypted", Verify::Restore, &[RECIPIENT]),
    ] {
        let (took, used, report) = attempt(&place, verify, recipients).await;
        let Report::Success(success) = report else { panic!("{report:?}") };
        table.row(what, told(took, size));
        let stored = success.snapshot.stored.bytes;
        table.row(
            format!("{what}: peak memory, CPU, stored"),
            format!("{:.1} MiB, {:.1} s, {} MiB", used.peak / MIB, used.cpu, stored >> 20),
        );
    }
    table.print();
}

fn told(took: Duration, bytes: f64) -> String {
    format!("{:.1} s, {:.0} MiB/s", took.as_secs_f64(), bytes / MIB / took.as_secs_f64())
}

/// As a person does it. How long it takes, and the size of the snapshot.
async fn saved_and_copied(place: &Place) -> (Duration, f64) {
    let (started, file) = (Instant::now(), place.path("by-hand.db"));
    place.etcd.etcdctl(&["snapshot", "save", &file.display().to_string()]).unwrap();
    let (store, mut size) = (place.store(), 0.0);
    for (number, piece) in pieces(&file).enumerate() {
        size += f64::from(u32::try_from(piece.len()).unwrap());
        store.put(&format!("by-hand/{number}"), piece.into()).await.unwrap();
    }
    let took = started.elapsed();
    fs::remove_file(file).unwrap();
    (took, size)
}

/// The bytes of a file, as many at a time as a part of an upload has.
fn pieces(file: &Path) -> impl Iterator<Item = Vec<u8>> {
    let mut file = fs::File::open(file).unwrap();
    std::iter::from_fn(move || {
        let mut piece = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(&mut file, upload::PART_BYTES), &mut piece).unwrap();
        (!piece.is_empty()).then_some(piece)
    })
}

/// One attempt, without what its etcd needs for the comparison.
async fn attempt(place: &Place, verify: Verify, recipients: &[&str]) -> (Duration, Usage, Report) {
    let name = format!("b-{}-{}", verify as u8, recipients.len());
    let mut opened = place.opened(&name, recipients).await;
    opened.task.verify = verify;
    (opened.task.limits.stall_seconds, opened.task.limits.deadline_seconds) = (STALL_SECONDS, DEADLINE_SECONDS);
    if recipients.is_empty() {
        opened.task.config = None;
    }
    let specification = Specification {
        name: "etcd-snapshot".to_owned(),
        program: drover_binary().unwrap(),
        arguments: place.arguments(&opened.task),
        environment: Vec::new(),
        log: place.path("attempt.log"),
    };
    let started = Instant::now();
    let mut process = Process::start(&specification).unwrap();
    let mut used = None;
    while process.check().is_ok() {
        used = usage(&process).ok().or(used);
        tokio::time::sleep(LOOK).await;
    }
    let took = started.elapsed();
    let report = fs::read(place.path("report.json")).unwrap();
    (took, used.unwrap(), Report::parse(&report, &opened.task.attempt).unwrap())
}
