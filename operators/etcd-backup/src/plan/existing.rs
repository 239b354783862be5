//! A backup that is in a store already: what its manifest says is noted, once it is the one that is named and the owner of its cluster
//! consents. Nothing is done in the cluster, which need not be there any more; its Cluster says who consents. Pure.

use drover_crds::EtcdBackup;
use drover_grants::admitted::record;
use drover_runtime::{Cause, Requeue, StatusCause, place_status::Readiness};
use k8s_openapi::jiff::Timestamp;

use super::{Decided, again, told};
use crate::{
    act::Action,
    consent::{StoreState, unjudged, withdrawn, without_store},
    notes::Note,
    observe::{ClusterState, World},
};

pub(super) fn plan(backup: &EtcdBackup, world: &World, now: Timestamp) -> Decided {
    let mut decided = decide(backup, world, now);
    decided.place_status.admission = record(backup, world.policies.as_ref(), &world.evidence, false, now);
    decided
}

fn decide(backup: &EtcdBackup, world: &World, now: Timestamp) -> Decided {
    if let Some((cause, message)) = obstacle(backup, world) {
        let mut decided = told(Vec::new(), Vec::new(), again(now));
        decided.place_status.ready = Some(Readiness::no(cause, message));
        return decided;
    }
    if let Some(found) = &world.memory.imported {
        return told(vec![Note::Imported(found.clone())], Vec::new(), Requeue::Watch);
    }
    let (StoreState::Ready { prefix, .. }, Some(cluster_uid)) = (&world.store, &world.cluster_uid) else {
        return told(Vec::new(), Vec::new(), again(now));
    };
    let import = Action::Import { prefix: prefix.clone(), cluster_uid: cluster_uid.clone() };
    told(Vec::new(), vec![vec![import]], again(now))
}

fn obstacle(backup: &EtcdBackup, world: &World) -> Option<(Cause, String)> {
    let cluster = &backup.spec.cluster_name;
    match world.state {
        ClusterState::Gone => {
            let message = format!(
                "there is no Cluster {cluster}, and its owner decides who may have its backups; create it, with spec.expectedUID if it cannot be reached any more"
            );
            return Some((StatusCause::ClusterNotFound.into(), message));
        }
        ClusterState::Unknown if world.cluster_uid.is_none() => {
            return Some((StatusCause::Progressing.into(), format!("Cluster {cluster} was not looked at yet")));
        }
        _ => {}
    }
    withdrawn(backup, world.admission)
        .or_else(|| unjudged(backup, world))
        .or_else(|| unidentified(cluster, world))
        .or_else(|| without_store(backup, &world.store))
}

fn unidentified(cluster: &str, world: &World) -> Option<(Cause, String)> {
    world.cluster_uid.is_none().then(|| {
        let message = format!(
            "which cluster Cluster {cluster} is was never seen; wait until it can be reached, or name its UID in spec.expectedUID of the Cluster"
        );
        (StatusCause::Progressing.into(), message)
    })
}
