//! The limit range of a namespace: what its containers get that state nothing, and the range of those that do. Pure.

use std::collections::BTreeMap;

use drover_crds::{Cluster, ContainerDefaults, Project, ProjectNamespace};
use drover_runtime::{fan_out::Obstacle, quantity::canonical};
use k8s_openapi::{
    api::core::v1::{LimitRange, LimitRangeItem, LimitRangeSpec},
    apimachinery::pkg::api::resource::Quantity,
};

use crate::{
    cause::ProjectCause,
    guards::{Guard, meta},
};

type Amounts = BTreeMap<String, Quantity>;

impl Guard for LimitRange {
    const WHOLE: &'static [&'static str] = &["/spec/limits"];

    fn wanted(project: &Project, _: &Cluster, namespace: &ProjectNamespace) -> Result<Option<Self>, Obstacle> {
        let asked = namespace.container_defaults.as_ref().or(project.spec.container_defaults.as_ref());
        let Some(asked) = asked.filter(|asked| **asked != ContainerDefaults::default()) else { return Ok(None) };
        let item = item(asked).map_err(|not_stored| invalid(&namespace.name, &not_stored))?;
        let spec = Some(LimitRangeSpec { limits: vec![item] });
        Ok(Some(Self { metadata: meta(&namespace.name), spec }))
    }
}

/// As an API server stores it: what it would fill in is written, so that nothing of it may differ.
fn item(asked: &ContainerDefaults) -> Result<LimitRangeItem, NotStored> {
    let (min, max) = (stored("min", &asked.min)?, stored("max", &asked.max)?);
    let limits = filled_in(stored("limits", &asked.limits)?, &max);
    let requests = filled_in(filled_in(stored("requests", &asked.requests)?, &limits), &min);
    let unless_empty = |amounts: Amounts| (!amounts.is_empty()).then_some(amounts);
    Ok(LimitRangeItem {
        type_: "Container".to_owned(),
        default: unless_empty(limits),
        default_request: unless_empty(requests),
        min: unless_empty(min),
        max: unless_empty(max),
        max_limit_request_ratio: None,
    })
}

fn filled_in(mut amounts: Amounts, defaults: &Amounts) -> Amounts {
    for (resource, amount) in defaults {
        amounts.entry(resource.clone()).or_insert_with(|| amount.clone());
    }
    amounts
}

/// A quantity that no API server stores as it is written.
struct NotStored {
    field: &'static str,
    resource: String,
}

fn stored(field: &'static str, amounts: &Amounts) -> Result<Amounts, NotStored> {
    let stored = |(resource, amount): (&String, &Quantity)| match canonical(&amount.0) {
        Some(amount) => Ok((resource.clone(), amount)),
        None => Err(NotStored { field, resource: resource.clone() }),
    };
    amounts.iter().map(stored).collect()
}

fn invalid(namespace: &str, NotStored { field, resource }: &NotStored) -> Obstacle {
    let message = format!(
        "containerDefaults.{field} of {resource} for namespace {namespace} is no quantity that Kubernetes keeps; write one below 2^63"
    );
    Obstacle { namespace: Some(namespace.to_owned()), cause: ProjectCause::InvalidQuantity.into(), message }
}
