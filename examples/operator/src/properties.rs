//! What holds for every grant and every cluster, on the model world.

use drover_runtime::{
    Owner, WriteError,
    model::{ModelObjects, ModelWorld, Requests, Stop, decide, deleted},
    operator::record_of,
    owned::Change,
};
use k8s_openapi::{api::rbac::v1::RoleBinding, jiff::Timestamp};
use proptest::{prelude::*, sample::select};
use serde_json::json;

use crate::{ViewGrant, ViewGrantOperator, World};

#[derive(Clone, Debug, PartialEq)]
struct ModelCluster {
    admitted: bool,
    bindings: ModelObjects,
}

impl ModelWorld<ViewGrantOperator> for ModelCluster {
    fn observe(&self, owner: Owner<'_, ViewGrant>) -> World {
        let record = record_of::<ViewGrantOperator>(owner.key());
        World { admitted: self.admitted && owner.object().is_some(), bindings: self.bindings.owned(&record) }
    }

    fn act(
        &mut self,
        owner: Owner<'_, ViewGrant>,
        change: Change<RoleBinding>,
        requests: &mut Requests,
    ) -> Result<(), Stop<WriteError>> {
        self.bindings.carry_out::<ViewGrantOperator, _>(owner, change, requests)
    }

    fn objects(&mut self) -> Vec<&mut ModelObjects> {
        vec![&mut self.bindings]
    }
}

fn grant(name: &str) -> impl Strategy<Value = ViewGrant> + use<> {
    let name = name.to_owned();
    (select(&["team-web", "team-db"]), select(&["auditors", "operators"])).prop_map(move |(namespace, group)| {
        let spec = json!({"clusters": {"all": {}}, "namespace": namespace, "group": group});
        let metadata = json!({"name": name, "namespace": "team", "uid": name});
        let object =
            json!({"apiVersion": "examples.drover.dev/v1", "kind": "ViewGrant", "metadata": metadata, "spec": spec});
        serde_json::from_value(object).unwrap()
    })
}

fn any_grant() -> impl Strategy<Value = ViewGrant> {
    (grant("audit"), any::<bool>()).prop_map(|(grant, is_deleted)| if is_deleted { deleted(grant) } else { grant })
}

/// A cluster where the grant was once in place with another spec, or half so, and where another client may have changed it since.
fn any_cluster() -> impl Strategy<Value = ModelCluster> {
    (any::<[bool; 2]>(), grant("audit"), 0..3_usize).prop_map(|([admitted, drifts], before, requests)| {
        let mut cluster = ModelCluster { admitted: true, bindings: ModelObjects::with_fixed(&["roleRef"]) };
        let plan = decide::<ViewGrantOperator>(&before, &cluster, Timestamp::UNIX_EPOCH);
        for change in plan.groups.into_iter().flatten() {
            let _ = cluster.act(Owner::of(&before), change, &mut Requests::only(requests));
        }
        for held in cluster.bindings.values_mut().filter(|_| drifts) {
            held.fields.remove(&vec!["subjects".to_owned()]);
        }
        ModelCluster { admitted, ..cluster }
    })
}

drover_runtime::model_properties!(ViewGrantOperator {
    objects: any_grant(),
    worlds: any_cluster(),
    orders: (grant("audit"), grant("ops"))
        .prop_map(|(one, other)| (vec![one.clone(), other.clone()], vec![other, one])),
    deletions: (grant("audit"), any_cluster()),
});
