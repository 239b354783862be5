//! What the runtime counts. Labels never carry object names: their number must not grow with the fleet.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

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
        registry.register("drover_reconciles", "Reconciles by operator and outcome", meters.reconciles.clone());
        registry.register("drover_reconcile_seconds", "Duration of a reconcile", meters.seconds.clone());
        registry.register("drover_status_writes", "Status writes", meters.status_writes.clone());
        registry.register("drover_panics", "Panics caught in a reconcile: each is a defect", meters.panics.clone());
        registry.register("drover_keys", "Keys queued or running", meters.keys.clone());
        registry.register("drover_keys_backing_off", "Keys that failed and wait", meters.backing_off.clone());
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
