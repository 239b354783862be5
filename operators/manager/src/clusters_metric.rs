//! How many Clusters may still grant what was withdrawn: counted when it is asked for, from the informer of Clusters.

use std::fmt;

use drover_crds::{
    Cluster,
    condition::{REVOCATIONS_UNCONFIRMED, StatusConditions},
};
use drover_runtime::{Cache, Informer, LabelQuery, metrics::MetricInfo};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::gauge::ConstGauge,
    registry::Registry,
};

/// As it is registered and documented.
pub(crate) const UNCONFIRMED: MetricInfo = MetricInfo {
    name: "drover_clusters_revocations_unconfirmed",
    kind: "gauge",
    labels: &[],
    meaning: "Clusters on which rights that were withdrawn may still be granted, because Drover does not reach them or they are suspended",
};

/// Registers the metric with `registry`.
pub(crate) fn register(registry: &mut Registry, management: &Cache) {
    registry.register_collector(Box::new(Unconfirmed(management.informer(&LabelQuery::everything()))));
}

struct Unconfirmed(Informer<Cluster>);

impl fmt::Debug for Unconfirmed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Unconfirmed")
    }
}

impl Collector for Unconfirmed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let clusters = self.0.filter(is_unconfirmed).len();
        let gauge = ConstGauge::new(i64::try_from(clusters).unwrap_or(i64::MAX));
        gauge.encode(encoder.encode_descriptor(UNCONFIRMED.name, UNCONFIRMED.meaning, None, gauge.metric_type())?)
    }
}

fn is_unconfirmed(cluster: &Cluster) -> bool {
    let conditions = cluster.status.iter().flat_map(StatusConditions::conditions);
    let mut conditions = conditions.filter(|condition| condition.type_ == REVOCATIONS_UNCONFIRMED);
    conditions.any(|condition| condition.status == "True")
}
