//! What to do at one cluster. Pure.

use drover_fleet::TenancyCause;
use drover_runtime::{
    Cause, Plan, Requeue,
    fan_out::Obstacle,
    owned::{Difference, difference, each_alone},
};
use k8s_openapi::{
    api::rbac::v1::{RoleBinding, RoleRef, Subject},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::{ViewGrant, ViewGrantOperator, World};

/// What one cluster contributes to the status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlaceStatus {
    /// Whether the grant is in place.
    pub granted: bool,
    /// What keeps it from being so.
    pub obstacles: Vec<Obstacle>,
}

pub(crate) fn plan(grant: &ViewGrant, world: &World) -> Plan<ViewGrantOperator> {
    if !world.admitted {
        let what = format!("the Cluster does not admit the grant to namespace {}", grant.spec.namespace);
        let obstacles = vec![obstacle(grant, TenancyCause::NotATenant, &what)];
        return Plan { place_status: PlaceStatus { granted: false, obstacles }, ..prune(world) };
    }
    // The role of a binding is required and immutable, so it goes into the first request.
    let seed = |binding: &RoleBinding| json!({"roleRef": binding.role_ref});
    let Difference { changes, left_alone } = difference(vec![binding(grant)], &world.bindings, seed);
    // No change is to be made to what is left alone, and the grant is not in place all the same.
    let reported = left_alone.into_iter().map(|(key, cause)| {
        obstacle(grant, cause, &format!("Drover leaves RoleBinding {key} alone for now: {}", cause.reason()))
    });
    let obstacles: Vec<_> = reported.collect();
    let place_status = PlaceStatus { granted: changes.is_empty() && obstacles.is_empty(), obstacles };
    Plan { place_status, groups: each_alone(changes), requeue: Requeue::Watch }
}

pub(crate) fn clean_up(world: &World) -> Plan<ViewGrantOperator> {
    let requeue = if world.bindings.is_empty() { Requeue::Released } else { Requeue::Watch };
    Plan { requeue, ..prune(world) }
}

fn prune(world: &World) -> Plan<ViewGrantOperator> {
    let Difference { changes, .. } = difference(Vec::new(), &world.bindings, |_| Value::Null);
    Plan { place_status: PlaceStatus::default(), groups: each_alone(changes), requeue: Requeue::Watch }
}

/// What happened where, and then what to do.
fn obstacle(grant: &ViewGrant, cause: impl Into<Cause>, what: &str) -> Obstacle {
    let cause = cause.into();
    let message = format!("{what}. {}", cause.remedy());
    Obstacle { namespace: Some(grant.spec.namespace.clone()), cause, message }
}

/// The name says which grant it is of: two grants never share a binding.
fn binding(grant: &ViewGrant) -> RoleBinding {
    let name = format!("drover:view:{}:{}", grant.namespace().unwrap_or_default(), grant.name_any());
    let subject = Subject {
        api_group: Some("rbac.authorization.k8s.io".to_owned()),
        kind: "Group".to_owned(),
        name: grant.spec.group.clone(),
        namespace: None,
    };
    let api_group = Some("rbac.authorization.k8s.io".to_owned());
    RoleBinding {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(grant.spec.namespace.clone()),
            ..ObjectMeta::default()
        },
        role_ref: RoleRef { api_group, kind: "ClusterRole".to_owned(), name: "view".to_owned() },
        subjects: Some(vec![subject]),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use drover_crds::names::ANNOTATION_APPLIED;
    use drover_runtime::{Title, cache::Undecodable, owned::Owned, write::desired_hash};

    use super::*;

    fn grant() -> ViewGrant {
        let text = "{apiVersion: examples.drover.dev/v1, kind: ViewGrant, metadata: {name: audit, namespace: team},
            spec: {clusters: {all: {}}, namespace: team-web, group: auditors}}";
        serde_json::from_value(serde_yaml::from_str(text).unwrap()).unwrap()
    }

    fn told(plan: &Plan<ViewGrantOperator>) -> (Vec<String>, bool, Vec<&'static str>) {
        let PlaceStatus { granted, obstacles } = &plan.place_status;
        let reasons = obstacles.iter().map(|obstacle| obstacle.cause.reason());
        (plan.actions().map(|change| format!("{change:?}")).collect(), *granted, reasons.collect())
    }

    /// A world in which the binding is as it was applied.
    fn converged() -> World {
        let mut there = binding(&grant());
        let applied = BTreeMap::from([(ANNOTATION_APPLIED.to_owned(), desired_hash(&there))]);
        there.metadata.annotations = Some(applied);
        World {
            admitted: true,
            bindings: vec![Owned { live: Ok(Arc::new(there)), drift_conflict: None, title: Title::Created }],
        }
    }

    #[test]
    fn a_grant_needs_consent_and_goes_with_it() {
        let none = World { admitted: true, bindings: Vec::new() };
        let create = "create RoleBinding team-web/drover:view:team:audit".to_owned();
        assert_eq!(told(&plan(&grant(), &none)), (vec![create], false, vec![]));
        assert_eq!(told(&plan(&grant(), &converged())), (vec![], true, vec![]));
        let refused = World { admitted: false, ..converged() };
        let delete = "delete RoleBinding team-web/drover:view:team:audit".to_owned();
        assert_eq!(told(&plan(&grant(), &refused)), (vec![delete.clone()], false, vec!["NotATenant"]));
        let message = "the Cluster does not admit the grant to namespace team-web. Add the namespace to spec.tenants of the \
            Cluster, or remove the cluster from spec.clusters.names; of an app, name another one in another app.";
        assert_eq!(plan(&grant(), &refused).place_status.obstacles[0].message, message);
        assert_eq!(told(&clean_up(&refused)).0, [delete]);
        assert_eq!(clean_up(&World::default()).requeue, Requeue::Released);
    }

    #[test]
    fn what_is_left_alone_is_not_called_granted() {
        let mut world = converged();
        let meta = world.bindings[0].meta().clone();
        let undecodable = Undecodable { meta, error: "nonsense".to_owned() };
        world.bindings[0].live = Err(Arc::new(undecodable));
        assert_eq!(told(&plan(&grant(), &world)), (vec![], false, vec!["UndecodableObject"]));
    }
}
