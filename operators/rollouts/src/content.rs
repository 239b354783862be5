//! What a revision holds, and how it is named.

use std::collections::BTreeMap;

use drover_crds::{AppOverride, AppTemplate, MultiClusterAppSpec, RevisionPin};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::hash::long;

/// Settings that no revision holds. They are those of the present everywhere at once: rights, which no pin brings back, and what says how an
/// app is run, not what is released.
const OF_THE_PRESENT: [&str; 8] = [
    "deletionPolicy",
    "dependsOn",
    "drift",
    "historyLimit",
    "remediation",
    "roleTemplateName",
    "suspend",
    "upgradePolicy",
];

/// What is released on all targets: pure data, as a `ControllerRevision` holds it. It has no value of a Secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Content {
    template: Map<String, Value>,
    #[serde(default)]
    pub(crate) overrides: Vec<AppOverride>,
    /// The chart by the version or range that template and overrides write; under the empty text where they write none.
    pub(crate) charts: BTreeMap<String, ChartVersion>,
    /// What tells the present bytes of a `ConfigMap` or Secret from others, by its kind and name.
    #[serde(default)]
    sources: BTreeMap<String, String>,
}

/// A chart that was found once, for the whole rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChartVersion {
    /// Its version; none of a chart in no repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// SHA-256 of the packaged chart.
    pub digest: String,
    /// What tells this chart, together with all sources of values, from others: to that an app is bound.
    pub inputs: String,
}

/// A revision that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its number.
    pub number: i64,
    /// Its name.
    pub name: String,
}

/// The revision that a pin names is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "spec.pin names revision {0}, which is not kept; name one that kubectl get controllerrevisions lists, or remove the pin"
)]
pub struct PinError(pub i64);

impl Content {
    /// What the spec asks for now. `charts` has what was found for each version that template and overrides write, `sources` a keyed hash
    /// of each source of values.
    pub fn of(
        spec: &MultiClusterAppSpec,
        charts: BTreeMap<String, ChartVersion>,
        sources: BTreeMap<String, String>,
    ) -> serde_json::Result<Self> {
        let mut template = as_map(&spec.template)?;
        template.retain(|field, _| !OF_THE_PRESENT.contains(&field.as_str()));
        Ok(Self { template, overrides: spec.overrides.clone(), charts, sources })
    }

    /// The name of the revision of `app` with this content.
    pub fn name(&self, app: &str) -> serde_json::Result<String> {
        let all = canonical(&serde_json::to_value(self)?);
        Ok(format!("{app}-{}", long(&all)))
    }

    /// Whether it is an app of Projects; else one of the platform. No revision of the one is ever one of the other.
    #[must_use]
    pub fn is_of_projects(&self) -> bool {
        self.template.contains_key("projectName")
    }

    /// How many bytes it takes as JSON, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        serde_json::to_string(self).map_or(usize::MAX, |text| text.len())
    }

    /// The app of this content, with the settings of the present that no revision holds.
    pub fn template(&self, present: &AppTemplate) -> serde_json::Result<AppTemplate> {
        let mut merged = as_map(present)?;
        merged.retain(|field, _| OF_THE_PRESENT.contains(&field.as_str()));
        merged.extend(self.template.clone());
        serde_json::from_value(Value::Object(merged))
    }

    /// The chart that was found for a version or range, as template or overrides write it.
    #[must_use]
    pub fn chart(&self, version: Option<&str>) -> Option<&ChartVersion> {
        self.charts.get(version.unwrap_or_default())
    }

    /// To what an app with this version of the chart is bound: its bytes, and those of all sources of values.
    #[must_use]
    pub fn inputs(&self, version: Option<&str>) -> String {
        self.chart(version).map(|chart| chart.inputs.clone()).unwrap_or_default()
    }
}

/// The revision that a pin names.
pub fn pinned(pin: RevisionPin, kept: &[Stored]) -> Result<&Stored, PinError> {
    kept.iter().find(|stored| stored.number == pin.revision).ok_or(PinError(pin.revision))
}

/// The number of a revision: the one that it has, else the next one. To go back makes no further number.
#[must_use]
pub fn number(name: &str, kept: &[Stored]) -> i64 {
    let last = || kept.iter().map(|stored| stored.number).max().unwrap_or_default();
    kept.iter().find(|stored| stored.name == name).map_or_else(|| last().saturating_add(1), |stored| stored.number)
}

fn as_map(template: &AppTemplate) -> serde_json::Result<Map<String, Value>> {
    match serde_json::to_value(template)? {
        Value::Object(map) => Ok(map),
        other => serde_json::from_value(other),
    }
}

/// The same text for the same content, in whichever order maps are kept.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let sorted: BTreeMap<_, _> = members.iter().collect();
            let members: Vec<_> = sorted
                .iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        other => other.to_string(),
    }
}
