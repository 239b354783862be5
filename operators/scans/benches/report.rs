//! What it costs to put the answers of 1,000 nodes into one report, and to compare it with the one before. Run by `make bench`.

#![expect(clippy::expect_used, reason = "a bench may panic")]

use std::{
    collections::BTreeMap,
    fs,
    io::{Write as _, stdout},
    time::{Duration, Instant},
};

use drover_crds::{CisProfileSpec, CisReport, CisReportSpec, CisReportStatus, FailOn, UsedBenchmark};
use drover_scans::{
    answer::{Check, EngineState, NodeAnswer, TargetAnswer},
    benchmark::ENGINE,
    changes::changes,
    report::{Aggregator, Finished, Scanned},
};

const NODES: usize = 1_000;
const CHECKS: usize = 130;
const ROUNDS: usize = 5;

/// The answer of a node as it is stored: about half of its checks fail, and where `differs`, other ones on each node.
fn stored(node: usize, differs: bool) -> Vec<u8> {
    let check = |number: usize| {
        let fails = (number + if differs { node % 7 } else { 0 }).is_multiple_of(2);
        Check {
            id: format!("4.{}.{}", number / 20, number % 20),
            title: format!("Ensure that setting {number} of the kubelet is as the benchmark asks (Automated)"),
            state: if fails { EngineState::Fail } else { EngineState::Pass },
            evidence: fails.then(|| format!("found --setting-{number}=true; expected it to be set to false")),
        }
    };
    let checks = (0..CHECKS).map(check).collect();
    let answer = NodeAnswer {
        attempt: "3f2a91c0-0000-4000-8000-000000000000".to_owned(),
        node: format!("node-{node:04}.prod-eu.example.com"),
        engine: ENGINE.to_owned(),
        benchmark: "cis-1.12".to_owned(),
        targets: vec![TargetAnswer { target: "node".to_owned(), failure: None, checks }],
    };
    answer.pack().expect("an answer is packed")
}

fn report(answers: &[Vec<u8>]) -> Finished {
    let (labels, profile) = (BTreeMap::new(), CisProfileSpec::default());
    let used = UsedBenchmark { name: "cis-1.12".to_owned(), ..UsedBenchmark::default() };
    let mut aggregator = Aggregator::new(Scanned {
        cluster_name: "prod-eu",
        cluster_labels: &labels,
        benchmark: &used,
        profile: &profile,
        waivers: &[],
        fail_on: FailOn::Fail,
    });
    for stored in answers {
        let answer = NodeAnswer::unpack(stored).expect("an answer is read");
        aggregator.add(&answer.node, &labels, &answer, &["node"]);
    }
    aggregator.finish()
}

/// The most resident memory so far, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the kernel tells of processes");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("and of their memory");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("in KiB")
}

/// The median of several rounds.
fn median(mut round: impl FnMut()) -> Duration {
    let mut times: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            round();
            started.elapsed()
        })
        .collect();
    times.sort();
    times.get(ROUNDS / 2).copied().unwrap_or_default()
}

fn main() -> std::io::Result<()> {
    let mut out = stdout();
    writeln!(out, "{NODES} nodes with {CHECKS} checks each, median of {ROUNDS} rounds")?;
    writeln!(out, "| nodes | answers, KiB | report, KiB | read and put together | memory, KiB | compared |")?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    for differs in [false, true] {
        let answers: Vec<_> = (0..NODES).map(|node| stored(node, differs)).collect();
        let before = peak();
        let time = median(|| drop(report(&answers)));
        let memory = peak() - before;
        let finished = report(&answers);
        let size = serde_json::to_vec(&(&finished.results, &finished.node_groups, &finished.missing))?.len();
        let used = UsedBenchmark { name: "cis-1.12".to_owned(), ..UsedBenchmark::default() };
        let mut before = CisReport::new(
            "before",
            CisReportSpec { scan_name: String::new(), scan_uid: String::new(), cluster_name: String::new() },
        );
        before.status = Some(CisReportStatus {
            benchmark: Some(used.clone()),
            results: finished.results.clone(),
            ..CisReportStatus::default()
        });
        let compared = median(|| drop(changes(Some(&before), &finished, &used)));
        let bytes: usize = answers.iter().map(Vec::len).sum();
        writeln!(
            out,
            "| {} | {} | {} | {:.1} ms | {memory} | {:.2} ms |",
            if differs { "differ" } else { "equal" },
            bytes / 1024,
            size / 1024,
            time.as_secs_f64() * 1e3,
            compared.as_secs_f64() * 1e3
        )?;
    }
    Ok(())
}
