//! All end-to-end tests, one module a theme. `docs/testing.md` says how they are run.

#![deny(dead_code, reason = "a test that is in no list is not run")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unused_async,
    clippy::wildcard_imports,
    reason = "a test may panic, all have one form, and stories one vocabulary"
)]

mod access;
mod accounts;
mod admission;
mod api;
mod app_days;
mod app_failures;
mod apps;
mod attempts;
mod away;
mod backup_data;
mod backup_ends;
mod backup_forgeries;
mod backup_imports;
mod backup_layouts;
mod backup_refusals;
mod backup_schedules;
mod backups;
mod bad_days;
mod bench;
mod built_in_roles;
mod cache;
mod chart_tools;
mod charts;
mod claims;
mod clock;
mod connections;
mod credentials;
mod deletion;
mod demo;
mod equality;
mod example;
mod faults;
mod global_dns;
mod guards;
mod handover;
mod harness;
mod hostile;
mod image;
mod import;
mod kills;
mod lease;
mod management_roles;
mod members;
mod oracles;
mod parts;
mod platform_apps;
mod pool;
mod promises;
mod proxies;
mod quota;
mod rebuilt;
mod refusals;
mod repositories;
mod restoring;
mod roles;
mod rollout_chaos;
mod rollout_previews;
mod rollout_rights;
mod rollouts;
mod runner;
mod scan_ends;
mod scan_engine;
mod scans;
mod secrets;
mod self_service;
mod stories;
mod writes;

use std::process::ExitCode;

use drover_e2e::runner::Test;

fn tests() -> Vec<Test> {
    [
        access::tests(),
        accounts::tests(),
        admission::tests(),
        api::tests(),
        app_days::tests(),
        app_failures::tests(),
        apps::tests(),
        away::tests(),
        backup_data::tests(),
        backup_layouts::tests(),
        backup_schedules::tests(),
        backup_ends::tests(),
        backup_imports::tests(),
        backup_refusals::tests(),
        backup_forgeries::tests(),
        backups::tests(),
        bad_days::tests(),
        bench::tests(),
        built_in_roles::tests(),
        cache::tests(),
        chart_tools::tests(),
        charts::tests(),
        claims::tests(),
        clock::tests(),
        connections::tests(),
        credentials::tests(),
        deletion::tests(),
        demo::tests(),
        equality::tests(),
        example::tests(),
        faults::tests(),
        global_dns::tests(),
        guards::tests(),
        handover::tests(),
        harness::tests(),
        hostile::tests(),
        image::tests(),
        import::tests(),
        kills::tests(),
        lease::tests(),
        management_roles::tests(),
        members::tests(),
        oracles::tests(),
        parts::tests(),
        platform_apps::tests(),
        pool::tests(),
        promises::tests(),
        proxies::tests(),
        quota::tests(),
        rebuilt::tests(),
        refusals::tests(),
        repositories::tests(),
        restoring::tests(),
        rollout_chaos::tests(),
        rollout_previews::tests(),
        rollout_rights::tests(),
        rollouts::tests(),
        roles::tests(),
        runner::tests(),
        scan_ends::tests(),
        scan_engine::tests(),
        scans::tests(),
        secrets::tests(),
        self_service::tests(),
        stories::tests(),
        writes::tests(),
    ]
    .concat()
}

fn main() -> ExitCode {
    drover_e2e::runner::main(&runner::fixtures().unwrap_or_else(tests))
}
