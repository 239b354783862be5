//! What the last scans of schedules found: read when it is asked for, from the informer of schedules.

use std::fmt;

use drover_cis_scan_schedule::CisScanScheduleOperator;
use drover_crds::{
    CheckCounts, CisScanSchedule,
    condition::{ALERT, HEALTHY},
};
use drover_runtime::{Cache, Informer, LabelQuery, Operator as _, metrics::MetricInfo};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::gauge::ConstGauge,
    registry::Registry,
};

use crate::registry::Operators;

/// As they are registered and documented.
pub(crate) const METRICS: [MetricInfo; 4] = [CHECKS, NEW_FAILURES, ALERTING, UNHEALTHY];

const CHECKS: MetricInfo = MetricInfo {
    name: "drover_scans_checks",
    kind: "gauge",
    labels: &["state"],
    meaning: "Checks in the last scans of all CisScanSchedules, by their state as CisReports have it, such as Fail or Error",
};
const NEW_FAILURES: MetricInfo = MetricInfo {
    name: "drover_scans_new_failures",
    kind: "gauge",
    labels: &[],
    meaning: "Checks that fail in the last scans of all CisScanSchedules, and did not fail in the scans before",
};
const ALERTING: MetricInfo = MetricInfo {
    name: "drover_scans_schedules_alerting",
    kind: "gauge",
    labels: &[],
    meaning: "CisScanSchedules of which the last scan found what spec.alertOn names",
};
const UNHEALTHY: MetricInfo = MetricInfo {
    name: "drover_scans_schedules_unhealthy",
    kind: "gauge",
    labels: &[],
    meaning: "CisScanSchedules of which no scan of the last two times looked at everything",
};

/// Registers the metrics with `registry`, in a process that runs the operator of schedules.
pub(crate) fn register(registry: &mut Registry, management: &Cache, operators: &Operators) {
    if operators.iter().any(|entry| entry.name == CisScanScheduleOperator::NAME) {
        registry.register_collector(Box::new(LastScans(management.informer(&LabelQuery::everything()))));
    }
}

struct LastScans(Informer<CisScanSchedule>);

impl fmt::Debug for LastScans {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LastScans")
    }
}

impl Collector for LastScans {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let schedules = self.0.all();
        let Found { counts, new_failures, alerting, unhealthy } = Found::of(schedules.iter().map(AsRef::as_ref));
        let gauge = |value| ConstGauge::<i64>::new(value);
        let kind = gauge(0).metric_type();
        let mut by_state = encoder.encode_descriptor(CHECKS.name, CHECKS.meaning, None, kind)?;
        for (state, count) in states(&counts) {
            gauge(count).encode(by_state.encode_family(&[("state", state)])?)?;
        }
        for (info, value) in [(NEW_FAILURES, new_failures), (ALERTING, alerting), (UNHEALTHY, unhealthy)] {
            gauge(value).encode(encoder.encode_descriptor(info.name, info.meaning, None, kind)?)?;
        }
        Ok(())
    }
}

fn states(counts: &CheckCounts) -> [(&'static str, i64); 7] {
    [
        ("Pass", counts.pass),
        ("Fail", counts.fail),
        ("Warn", counts.warn),
        ("Skip", counts.skip),
        ("Waived", counts.waived),
        ("NotApplicable", counts.not_applicable),
        ("Error", counts.error),
    ]
}

/// What all schedules say together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    counts: CheckCounts,
    new_failures: i64,
    alerting: i64,
    unhealthy: i64,
}

impl Found {
    fn of<'a>(schedules: impl Iterator<Item = &'a CisScanSchedule>) -> Self {
        let mut found = Self::default();
        for status in schedules.filter_map(|schedule| schedule.status.as_ref()) {
            let says = |kind: &str, value: &str| {
                status.conditions.iter().any(|condition| condition.type_ == kind && condition.status == value)
            };
            found.alerting += i64::from(says(ALERT, "True"));
            found.unhealthy += i64::from(says(HEALTHY, "False"));
            let Some(last) = &status.last_scan else { continue };
            found.counts = found.counts.plus(last.counts.unwrap_or_default());
            found.new_failures += last.changes.map_or(0, |changes| changes.new_failures);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_scans_of_all_schedules_are_counted_together() {
        let counts = json!({"total": 10, "pass": 7, "fail": 3, "warn": 0, "skip": 0, "waived": 0, "notApplicable": 0, "error": 0});
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "A", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let schedule = |status: serde_json::Value| -> CisScanSchedule {
            serde_json::from_value(json!({
                "apiVersion": "drover.dev/v1alpha1", "kind": "CisScanSchedule", "metadata": {"name": "a"},
                "spec": {"clusters": {"all": {}}, "template": {"profileName": "hardened"}, "schedule": "@daily"}, "status": status,
            }))
            .unwrap()
        };
        let last = json!({"name": "a-1", "completedAt": "2026-01-01T00:00:00Z", "verdict": "Fail", "counts": counts, "changes": {"newFailures": 2, "fixed": 1}});
        let all = [
            schedule(json!(null)),
            schedule(
                json!({"observedGeneration": 1, "lastScan": last, "conditions": [condition("Alert", "True"), condition("Healthy", "True")]}),
            ),
            schedule(
                json!({"observedGeneration": 1, "lastScan": last, "conditions": [condition("Alert", "Unknown"), condition("Healthy", "False")]}),
            ),
        ];
        let found = Found::of(all.iter());
        assert_eq!((found.counts.total, found.counts.fail), (20, 6));
        assert_eq!((found.new_failures, found.alerting, found.unhealthy), (4, 1, 1));
    }
}
