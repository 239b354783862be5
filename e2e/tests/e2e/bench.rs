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
    a_member_costs_a_write_for_each_namespace,
    clusters_in_full_size => soak(Soak::Bench) => weight(ALL),
    nodes_in_full_size => soak(Soak::Bench) => weight(ALL),
    projects_in_full_size => soak(Soak::Bench) => weight(ALL),
    apps_are_released_beside_helm_and_rest,
    rollouts_release_each_revision_once_and_rest,
    apps_in_full_size => soak(Soak::Bench) => weight(ALL),
    rollouts_in_full_size => soak(Soak::Bench) => weight(ALL),
    members_in_full_size => soak(Soak::Bench) => weight(ALL),
];

/// One at a time: they measure.
const ALL: u32 = u32::MAX;

/// As `make bench` has it.
async fn full_size(part: Part) {
    let count = |count| NonZeroUsize::new(count).unwrap();
    let (clusters, nodes, projects, apps) = (count(20), count(5000), count(1000), count(100));
    let (namespaces, members, idle) = (count(100), count(200), Duration::from_mins(5));
    let size = Size { clusters, nodes, projects, namespaces, members, apps, idle, thorough: true };
    check(part, size, &run(size, &[part]).await.unwrap().pop().unwrap());
}

/// In the smallest size, to see that everything is measured.
async fn smallest_size(part: Part) {
    let mut programs = Components::ApiserverOnly.programs();
    programs.extend([Program::Kubectl, Program::Helm]);
    if !require_or_skip("the bench", &programs).await.unwrap() {
        return;
    }
    let count = |count| NonZeroUsize::new(count).unwrap();
    let (clusters, nodes, projects, apps, idle) = (count(2), count(20), count(3), count(4), Duration::from_secs(6));
    let (namespaces, members) = (count(4), count(3));
    let size = Size { clusters, nodes, projects, namespaces, members, apps, idle, thorough: false };
    check(part, size, &run(size, &[part]).await.unwrap().pop().unwrap());
}

/// What holds in every size. A row that is not there, or has another name, is as bad as a wrong figure.
fn check(part: Part, size: Size, table: &Table) {
    let value = |row| table.value(row).unwrap_or_else(|| panic!("no row begins with {row}"));
    match part {
        Part::Clusters => {
            // Writes are printed in bold.
            let requests = value("requests in");
            assert!(!requests.contains("**"), "{requests}");
            let leases: usize = value("writes to the Lease").parse().unwrap();
            assert!(leases > 0, "requests are seen at all");
            value("leader killed");
        }
        Part::Nodes => {
            value("CPU of a restart");
        }
        Part::Projects => {
            let requests = value("requests until then");
            assert!(requests.contains(&format!("{} **create** namespaces, ", 10 * size.projects.get())), "{requests}");
            for row in ["writes at rest", "writes of a restart"] {
                assert_eq!(value(row), "0", "{row}");
            }
        }
        Part::Members => {
            let bindings = 3 * size.namespaces.get();
            let requests = value("requests until then");
            assert!(requests.contains(&format!("{bindings} **create** rolebindings, ")), "{requests}");
            let changes = value("requests of these changes");
            let expected = 2 * if size.thorough { 50 } else { 3 } * size.namespaces.get();
            assert!(changes.contains(&format!("{expected} **patch** rolebindings")), "{changes}");
            assert_eq!(value("writes of a restart"), "0");
        }
        Part::Apps => {
            for row in ["requests at rest", "child processes at rest", "writes of a restart"] {
                assert_eq!(value(row), "0", "{row}");
            }
            value("upgrade: times as fast");
        }
        Part::Rollouts => {
            let records = (2 * size.apps.get()).to_string();
            assert_eq!(value("upgrade with a kill in its middle: records"), records);
            assert_eq!(value("writes at rest"), "0");
        }
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

async fn members_in_full_size() {
    full_size(Part::Members).await;
}

async fn a_member_costs_a_write_for_each_namespace() {
    smallest_size(Part::Members).await;
}

async fn clusters_at_rest_are_read_and_not_written() {
    smallest_size(Part::Clusters).await;
}

async fn nodes_are_measured() {
    smallest_size(Part::Nodes).await;
}

async fn projects_are_converged_once_and_a_restart_writes_nothing() {
    smallest_size(Part::Projects).await;
}

async fn apps_in_full_size() {
    full_size(Part::Apps).await;
}

async fn rollouts_in_full_size() {
    full_size(Part::Rollouts).await;
}

async fn rollouts_release_each_revision_once_and_rest() {
    smallest_size(Part::Rollouts).await;
}

async fn apps_are_released_beside_helm_and_rest() {
    smallest_size(Part::Apps).await;
}
