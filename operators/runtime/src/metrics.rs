//! What the runtime counts. Labels never carry object names: their number must not grow with the fleet.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry},
};

/// A metric, as it is registered and documented.
#[derive(Clone, Copy, Debug)]
pub struct MetricInfo {
    /// What it is called where it is read.
    pub name: &'static str,
    /// Its type in `OpenMetrics`.
    pub kind: &'static str,
    /// The labels of a sample.
    pub labels: &'static [&'static str],
    /// What it says, in a line.
    pub meaning: &'static str,
}

const RECONCILES: MetricInfo = MetricInfo {
    name: "drover_reconciles_total",
    kind: "counter",
    labels: &["operator", "outcome"],
    meaning: "Reconciles of an object, of an object at one place, or of a place; outcome is ok, error, timeout or panic",
};
const SECONDS: MetricInfo = MetricInfo {
    name: "drover_reconcile_seconds",
    kind: "histogram",
    labels: &["operator"],
    meaning: "Duration of a reconcile, in seconds",
};
const STATUS_WRITES: MetricInfo = MetricInfo {
    name: "drover_status_writes_total",
    kind: "counter",
    labels: &["operator"],
    meaning: "Status writes; a converged fleet writes none",
};
const PANICS: MetricInfo = MetricInfo {
    name: "drover_panics_total",
    kind: "counter",
    labels: &["operator"],
    meaning: "Panics caught in a reconcile; each is a defect: please report it",
};
const KEYS: MetricInfo = MetricInfo {
    name: "drover_keys",
    kind: "gauge",
    labels: &["operator"],
    meaning: "Keys that are queued or running. A key is an object, an object at one place, or a place",
};
const BACKING_OFF: MetricInfo = MetricInfo {
    name: "drover_keys_backing_off",
    kind: "gauge",
    labels: &["operator"],
    meaning: "Keys that failed and wait until Drover tries again",
};

/// Every metric.
pub const METRICS: &[MetricInfo] = &[RECONCILES, SECONDS, STATUS_WRITES, PANICS, KEYS, BACKING_OFF];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperatorLabel {
    operator: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    operator: &'static str,
    outcome: &'static str,
}

type Seconds = Family<OperatorLabel, Histogram, fn() -> Histogram>;

/// The meters of all operators. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Meters {
    reconciles: Family<OutcomeLabels, Counter>,
    seconds: Seconds,
    status_writes: Family<OperatorLabel, Counter>,
    panics: Family<OperatorLabel, Counter>,
    keys: Family<OperatorLabel, Gauge>,
    backing_off: Family<OperatorLabel, Gauge>,
}

impl Meters {
    /// Registers all meters with `registry`.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let meters = Self {
            reconciles: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new([0.001, 0.005, 0.025, 0.1, 0.5, 2.0, 10.0, 60.0])),
            status_writes: Family::default(),
            panics: Family::default(),
            keys: Family::default(),
            backing_off: Family::default(),
        };
        enter(registry, RECONCILES, &meters.reconciles);
        enter(registry, SECONDS, &meters.seconds);
        enter(registry, STATUS_WRITES, &meters.status_writes);
        enter(registry, PANICS, &meters.panics);
        enter(registry, KEYS, &meters.keys);
        enter(registry, BACKING_OFF, &meters.backing_off);
        meters
    }

    pub(crate) fn reconciled(&self, operator: &'static str, outcome: &'static str, took: Duration) {
        self.reconciles.get_or_create(&OutcomeLabels { operator, outcome }).inc();
        self.seconds.get_or_create(&OperatorLabel { operator }).observe(took.as_secs_f64());
    }

    pub(crate) fn status_written(&self, operator: &'static str) {
        self.status_writes.get_or_create(&OperatorLabel { operator }).inc();
    }

    pub(crate) fn panicked(&self, operator: &'static str) {
        self.panics.get_or_create(&OperatorLabel { operator }).inc();
    }

    pub(crate) fn queue(&self, operator: &'static str, keys: usize, backing_off: usize) {
        let set = |family: &Family<OperatorLabel, Gauge>, value: usize| {
            family.get_or_create(&OperatorLabel { operator }).set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.keys, keys);
        set(&self.backing_off, backing_off);
    }
}

fn enter(registry: &mut Registry, info: MetricInfo, metric: &(impl Metric + Clone)) {
    // The encoder appends the suffix of counters itself.
    let name = info.name.strip_suffix("_total").unwrap_or(info.name);
    registry.register(name, info.meaning, metric.clone());
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;

    use super::*;

    #[test]
    fn metrics_are_what_they_are_documented_to_be() {
        let mut registry = Registry::default();
        let meters = Meters::register(&mut registry);
        meters.reconciled("toy", "done", Duration::from_secs(1));
        meters.status_written("toy");
        meters.panicked("toy");
        meters.queue("toy", 1, 1);
        let mut encoded = String::new();
        text::encode(&mut encoded, &registry).unwrap();
        for metric in METRICS {
            let family = metric.name.strip_suffix("_total").unwrap_or(metric.name);
            assert!(encoded.contains(&format!("# TYPE {family} {}\n", metric.kind)), "{encoded}");
            let name = if metric.kind == "histogram" { format!("{family}_count") } else { metric.name.to_owned() };
            let sample = encoded.lines().find(|line| line.starts_with(&format!("{name}{{"))).unwrap();
            assert_eq!(sample.matches("=\"").count(), metric.labels.len(), "{sample}");
            assert!(metric.labels.iter().all(|label| sample.contains(&format!("{label}=\""))), "{sample}");
        }
        assert_eq!(encoded.matches("# TYPE ").count(), METRICS.len());
    }
}
