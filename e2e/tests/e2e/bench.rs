//! The bench measures what it says, seen at the smallest size: figures that tell something are in `e2e/BENCHMARKS.md`.

use std::num::NonZeroUsize;
use std::time::Duration;

use drover_e2e::bench::{Part, Size, Table, run};
use drover_e2e::runner::Soak;
use drover_e2e::{Components, Program, require_or_skip};

drover_e2e::tests![
    clusters_at_rest_are_read_and_not_written,
    nodes_are_measured,
    projects_are_converged_once_and_a_restart_writes_nothing,
    clusters_in_full_size => soak(Soak::Bench) => weight(ALL),
    nodes_in_full_size => soak(Soak::Bench) => weight(ALL),
    projects_in_full_size => soak(Soak::Bench) => weight(ALL),
];

/// One at a time: they measure.
const ALL: u32 = u32::MAX;

/// As `make bench` has it.
async fn full_size(part: Part) {
    let count = |count| NonZeroUsize::new(count).unwrap();
    let (clusters, nodes, projects) = (count(20), count(5000), count(1000));
    let size = Size { clusters, nodes, projects, idle: Duration::from_mins(5), thorough: true };
    let table = run(size, &[part]).await.unwrap().pop().unwrap();
    for row in ["writes at rest", "writes of a restart"] {
        assert!(table.value(row).is_none_or(|writes| writes == "0"), "{row}");
    }
}

async fn clusters_in_full_size() {
    full_size(Part::Clusters).await;
}

async fn nodes_in_full_size() {
    full_size(Part::Nodes).await;
}

async fn projects_in_full_size() {
    full_size(Part::Projects).await;
}

async fn measured(part: Part) -> Option<Table> {
    let mut programs = Components::ApiserverOnly.programs();
    programs.extend([Program::Kubectl, Program::Helm]);
    if !require_or_skip("the bench", &programs).await.unwrap() {
        return None;
    }
    let count = |count| NonZeroUsize::new(count).unwrap();
    let idle = Duration::from_secs(6);
    let size = Size { clusters: count(2), nodes: count(20), projects: count(3), idle, thorough: false };
    run(size, &[part]).await.unwrap().pop()
}

async fn clusters_at_rest_are_read_and_not_written() {
    let Some(table) = measured(Part::Clusters).await else { return };
    let requests = table.value("requests in").unwrap();
    // Writes are printed in bold.
    assert!(!requests.contains("**"), "{requests}");
    let leases: usize = table.value("writes to the Lease").unwrap().parse().unwrap();
    assert!(leases > 0, "requests are seen at all");
    assert!(table.value("leader killed").is_some(), "the last row is there");
}

async fn nodes_are_measured() {
    let Some(table) = measured(Part::Nodes).await else { return };
    assert!(table.value("CPU of a restart").is_some(), "the last row is there");
}

async fn projects_are_converged_once_and_a_restart_writes_nothing() {
    let Some(table) = measured(Part::Projects).await else { return };
    let requests = table.value("requests until then").unwrap();
    assert!(requests.contains("30 **create** namespaces, "), "{requests}");
    for row in ["writes at rest", "writes of a restart"] {
        assert_eq!(table.value(row), Some("0"), "{row}");
    }
}
