//! To which time clusters can go back by the backups of schedules, and how backups fare: read when it is asked for, from the informers of
//! schedules and backups.

use std::fmt;

use drover_crds::{BackupPhase, EtcdBackup, EtcdBackupSchedule, RecoveryPoint, condition::AVAILABLE};
use drover_etcd_backup::EtcdBackupOperator;
use drover_etcd_backup_schedule::EtcdBackupScheduleOperator;
use drover_runtime::{Cache, Informer, LabelQuery, Operator as _, metrics::MetricInfo};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::gauge::ConstGauge,
    registry::Registry,
};

use crate::registry::Operators;

/// As they are registered and documented.
pub(crate) const METRICS: [MetricInfo; 4] = [OLDEST, WITHOUT, BACKUPS, NOT_AVAILABLE];

const OLDEST: MetricInfo = MetricInfo {
    name: "drover_backups_oldest_recovery_point_timestamp_seconds",
    kind: "gauge",
    labels: &[],
    meaning: "When the oldest of the newest verified backups was taken, over all clusters of all schedules, in seconds since 1970; absent where there is none",
};
const WITHOUT: MetricInfo = MetricInfo {
    name: "drover_backups_clusters_without_recovery_point",
    kind: "gauge",
    labels: &[],
    meaning: "Clusters of schedules that have no verified backup of their schedule, once for each schedule",
};

const BACKUPS: MetricInfo = MetricInfo {
    name: "drover_backups",
    kind: "gauge",
    labels: &["phase"],
    meaning: "EtcdBackups, by their phase: Pending, Running, Completing, Succeeded or Failed",
};
const NOT_AVAILABLE: MetricInfo = MetricInfo {
    name: "drover_backups_not_available",
    kind: "gauge",
    labels: &[],
    meaning: "EtcdBackups of which something is gone from their store, or changed there, as far as was looked at",
};

/// Registers the metrics with `registry`, in a process that runs the operator of schedules.
pub(crate) fn register(registry: &mut Registry, management: &Cache, operators: &Operators) {
    if operators.iter().any(|entry| entry.name == EtcdBackupScheduleOperator::NAME) {
        registry.register_collector(Box::new(RecoveryPoints(management.informer(&LabelQuery::everything()))));
    }
    if operators.iter().any(|entry| entry.name == EtcdBackupOperator::NAME) {
        registry.register_collector(Box::new(Backups(management.informer(&LabelQuery::everything()))));
    }
}

struct RecoveryPoints(Informer<EtcdBackupSchedule>);

impl fmt::Debug for RecoveryPoints {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RecoveryPoints")
    }
}

impl Collector for RecoveryPoints {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let schedules = self.0.all();
        let points = schedules.iter().filter_map(|schedule| schedule.status.as_ref()?.recovery_point.as_ref());
        let (oldest, without) = joined(points);
        let mut encode = |info: MetricInfo, value: i64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(info.name, info.meaning, None, gauge.metric_type())?)
        };
        if let Some(oldest) = oldest {
            encode(OLDEST, oldest)?;
        }
        encode(WITHOUT, without)
    }
}

struct Backups(Informer<EtcdBackup>);

impl fmt::Debug for Backups {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Backups")
    }
}

impl Collector for Backups {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let backups = self.0.all();
        let (by_phase, not_available) = counted(backups.iter().map(AsRef::as_ref));
        let gauge = |value| ConstGauge::<i64>::new(value);
        let kind = gauge(0).metric_type();
        let mut of_phases = encoder.encode_descriptor(BACKUPS.name, BACKUPS.meaning, None, kind)?;
        for (phase, count) in by_phase {
            gauge(count).encode(of_phases.encode_family(&[("phase", format!("{phase:?}"))])?)?;
        }
        gauge(not_available).encode(encoder.encode_descriptor(NOT_AVAILABLE.name, NOT_AVAILABLE.meaning, None, kind)?)
    }
}

/// How many backups there are of each phase, and of how many something is gone or changed.
fn counted<'a>(backups: impl Iterator<Item = &'a EtcdBackup>) -> ([(BackupPhase, i64); 5], i64) {
    let phases = [
        BackupPhase::Pending,
        BackupPhase::Running,
        BackupPhase::Completing,
        BackupPhase::Succeeded,
        BackupPhase::Failed,
    ];
    let (mut counts, mut not_available) = (phases.map(|phase| (phase, 0)), 0);
    for backup in backups {
        let status = backup.status.as_ref();
        let phase = status.and_then(|status| status.phase).unwrap_or(BackupPhase::Pending);
        counts.iter_mut().filter(|(of, _)| *of == phase).for_each(|(_, count)| *count += 1);
        let conditions = status.into_iter().flat_map(|status| &status.conditions);
        let is_lost = |found: &Condition| found.type_ == AVAILABLE && found.status == "False";
        not_available += i64::from(conditions.into_iter().any(is_lost));
    }
    (counts, not_available)
}

/// The oldest of them, in seconds since 1970, and how many clusters have none.
fn joined<'a>(points: impl Iterator<Item = &'a RecoveryPoint> + Clone) -> (Option<i64>, i64) {
    let oldest = points.clone().filter_map(|point| Some(point.taken_at.as_ref()?.0.as_second())).min();
    (oldest, points.map(|point| point.clusters_without).fold(0, i64::saturating_add))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_oldest_recovery_point_of_all_schedules_is_told() {
        let point = |taken_at: serde_json::Value, without: i64| -> RecoveryPoint {
            serde_json::from_value(json!({"takenAt": taken_at, "clustersWithout": without})).unwrap()
        };
        let points =
            [point(json!("1970-01-01T00:10:00Z"), 0), point(json!("1970-01-01T00:05:00Z"), 2), point(json!(null), 3)];
        assert_eq!(joined(points.iter()), (Some(300), 5));
        assert_eq!(joined(std::iter::empty()), (None, 0));
    }

    #[test]
    fn backups_are_counted_by_phase_and_those_that_lost_something_beside() {
        let backup = |status: serde_json::Value| -> EtcdBackup {
            serde_json::from_value(json!({
                "apiVersion": "drover.dev/v1alpha1", "kind": "EtcdBackup", "metadata": {"name": "a"},
                "spec": {"clusterName": "eu", "storeNames": ["main"]}, "status": status,
            }))
            .unwrap()
        };
        let lost = json!([{"type": "Available", "status": "False", "reason": "DataMissing", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let all = [
            backup(json!(null)),
            backup(json!({"observedGeneration": 1, "phase": "Succeeded"})),
            backup(json!({"observedGeneration": 1, "phase": "Succeeded", "conditions": lost})),
            backup(json!({"observedGeneration": 1, "phase": "Failed"})),
        ];
        let (counts, not_available) = counted(all.iter());
        assert_eq!((counts.map(|(_, count)| count), not_available), ([1, 0, 0, 2, 1], 1));
    }
}
