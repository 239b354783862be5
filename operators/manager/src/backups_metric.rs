//! To which time clusters can go back by the backups of schedules: read when it is asked for, from the informer of schedules.

use std::fmt;

use drover_crds::{EtcdBackupSchedule, RecoveryPoint};
use drover_etcd_backup_schedule::EtcdBackupScheduleOperator;
use drover_runtime::{Cache, Informer, LabelQuery, Operator as _, metrics::MetricInfo};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::gauge::ConstGauge,
    registry::Registry,
};

use crate::registry::Operators;

/// As they are registered and documented.
pub(crate) const METRICS: [MetricInfo; 2] = [OLDEST, WITHOUT];

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

/// Registers the metrics with `registry`, in a process that runs the operator of schedules.
pub(crate) fn register(registry: &mut Registry, management: &Cache, operators: &Operators) {
    if operators.iter().any(|entry| entry.name == EtcdBackupScheduleOperator::NAME) {
        registry.register_collector(Box::new(RecoveryPoints(management.informer(&LabelQuery::everything()))));
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
}
