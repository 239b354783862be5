//! The bench measures what it says, seen at the smallest size: figures that tell something are in `e2e/BENCHMARKS.md`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::num::NonZeroUsize;
use std::time::Duration;

use drover_e2e::bench::{Part, Size, Table, run};
use drover_e2e::{Components, Program, require_or_skip};

async fn measured(part: Part) -> Option<Table> {
    let mut programs = Components::ApiserverOnly.programs();
    programs.extend([Program::Kubectl, Program::Helm]);
    if !require_or_skip("the bench", &programs).await.unwrap() {
        return None;
    }
    let count = |count| NonZeroUsize::new(count).unwrap();
    let idle = Duration::from_secs(10);
    let size = Size { clusters: count(2), nodes: count(20), projects: count(3), idle, thorough: false };
    run(size, &[part]).await.unwrap().pop()
}

#[tokio::test]
async fn clusters_at_rest_are_read_and_not_written() {
    let Some(table) = measured(Part::Clusters).await else { return };
    let requests = table.value("requests in").unwrap();
    // Writes are printed in bold.
    assert!(!requests.contains("**"), "{requests}");
    let leases: usize = table.value("writes to the Lease").unwrap().parse().unwrap();
    assert!(leases > 0, "requests are seen at all");
    assert!(table.value("leader killed").is_some(), "the last row is there");
}

#[tokio::test]
async fn nodes_are_measured() {
    let Some(table) = measured(Part::Nodes).await else { return };
    assert!(table.value("CPU of a restart").is_some(), "the last row is there");
}

#[tokio::test]
async fn projects_are_converged_once_and_a_restart_writes_nothing() {
    let Some(table) = measured(Part::Projects).await else { return };
    let requests = table.value("requests until then").unwrap();
    assert!(requests.contains("30 **create** namespaces, "), "{requests}");
    for row in ["writes at rest", "writes of a restart"] {
        assert_eq!(table.value(row), Some("0"), "{row}");
    }
}
