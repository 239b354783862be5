//! What to do at one cluster. Pure.

use drover_runtime::{Plan, Requeue, owned::difference};
use k8s_openapi::{
    api::rbac::v1::{RoleBinding, RoleRef, Subject},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::ResourceExt as _;
use serde_json::json;

use crate::{ViewGrant, ViewGrantOperator, World};

/// What one cluster contributes to the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceStatus {
    /// The grant is in place.
    Granted,
    /// It is on its way.
    Granting,
    /// The owner of the cluster does not admit it.
    NotAdmitted,
}

pub(crate) fn plan(grant: &ViewGrant, world: &World) -> Plan<ViewGrantOperator> {
    if !world.admitted {
        return Plan { place_status: PlaceStatus::NotAdmitted, ..changes(Vec::new(), world) };
    }
    let plan = changes(vec![binding(grant)], world);
    let place_status = if plan.is_idle() { PlaceStatus::Granted } else { PlaceStatus::Granting };
    Plan { place_status, ..plan }
}

pub(crate) fn clean_up(world: &World) -> Plan<ViewGrantOperator> {
    let requeue = if world.bindings.is_empty() { Requeue::Released } else { Requeue::Watch };
    Plan { requeue, ..changes(Vec::new(), world) }
}

/// All changes are one group: there is one binding at most.
fn changes(wanted: Vec<RoleBinding>, world: &World) -> Plan<ViewGrantOperator> {
    // The role of a binding is required and immutable, so it goes into the first request.
    let seed = |binding: &RoleBinding| json!({"roleRef": binding.role_ref});
    let changes = difference(wanted, &world.bindings, seed);
    Plan { place_status: PlaceStatus::Granting, groups: vec![changes], requeue: Requeue::Watch }
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
    use std::sync::Arc;

    use drover_runtime::owned::Owned;

    use super::*;

    fn grant() -> ViewGrant {
        let text = "{apiVersion: examples.drover.dev/v1, kind: ViewGrant, metadata: {name: audit, namespace: team},
            spec: {clusters: {all: {}}, namespace: team-web, group: auditors}}";
        serde_json::from_value(serde_yaml::from_str(text).unwrap()).unwrap()
    }

    fn told(plan: &Plan<ViewGrantOperator>) -> (Vec<String>, PlaceStatus) {
        (plan.actions().map(|change| format!("{change:?}")).collect(), plan.place_status)
    }

    #[test]
    fn a_grant_needs_consent_and_goes_with_it() {
        let none = World { admitted: true, bindings: Vec::new() };
        let create = "create RoleBinding team-web/drover:view:team:audit".to_owned();
        assert_eq!(told(&plan(&grant(), &none)), (vec![create], PlaceStatus::Granting));
        let there = Owned { live: Ok(Arc::new(binding(&grant()))), drift_conflict: None };
        let refused = World { admitted: false, bindings: vec![there] };
        let delete = "delete RoleBinding team-web/drover:view:team:audit".to_owned();
        assert_eq!(told(&plan(&grant(), &refused)), (vec![delete.clone()], PlaceStatus::NotAdmitted));
        assert_eq!(told(&clean_up(&refused)).0, [delete]);
        assert_eq!(clean_up(&World::default()).requeue, Requeue::Released);
    }
}
