//! `drover detach --force`, for a Drover that is gone for good: the command releases claims and finalizers itself. Everything may
//! be repeated, and what is foreign stays.

use std::{fmt::Debug, time::Duration};

use drover_cluster::ClusterOperator;
use drover_crds::{Cluster, DeletionPolicy};
use drover_fleet::claim::{self, Claim};
use drover_process::lease::Observation;
use drover_runtime::{ApiError, Operator as _, operator::finalizer, request::request};
use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::Secret},
    serde::de::DeserializeOwned,
};
use kube::{
    Api, ResourceExt as _,
    api::{DynamicObject, ListParams, ObjectMeta, Patch, PatchParams},
    core::ApiResource,
};
use serde_json::json;
use tokio::time::sleep;

use super::{
    MembershipError,
    detach::secret_of,
    side::{FIELD_MANAGER, Side},
};
use crate::{command_line::DetachArguments, registry::Operators};

/// Between two looks at a Lease, and before a write that met a conflict is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// So often Drover tries to release a finalizer of an object that others change at the same time.
const ATTEMPTS: usize = 5;

/// Refuses to do Drover's work while a Drover does it.
pub(super) async fn refuse_while_drover_runs(management: &Side) -> Result<(), MembershipError> {
    // In all namespaces: wherever a Drover runs, it looks after the same objects.
    let leases = Api::<Lease>::all(management.client.clone());
    let found = management.ask("list the Leases", leases.list(&ListParams::default())).await?;
    let mut watched = Vec::new();
    for lease in found.items.into_iter().filter(|lease| is_leader_lease(&lease.name_any())) {
        let mut observation = Observation::default();
        if let Some(holder) = observation.living_holder(&lease) {
            watched.push((lease, observation, holder));
        }
    }
    for (lease, mut observation, holder) in watched {
        let (name, namespace) = (lease.name_any(), lease.namespace().unwrap_or_default());
        say!("watching whether {holder} still renews the Lease {namespace}/{name}");
        let leases = Api::<Lease>::namespaced(management.client.clone(), &namespace);
        loop {
            sleep(PAUSE).await;
            let found = management.ask(format!("get the Lease {namespace}/{name}"), leases.get_opt(&name)).await?;
            match found.and_then(|lease| observation.living_holder(&lease)) {
                None => break,
                Some(holder) if observation.has_changed() => {
                    return Err(MembershipError::DroverRuns { lease: format!("{namespace}/{name}"), holder });
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}

/// By this Lease a Drover is elected, of whatever version and with whatever operators.
fn is_leader_lease(name: &str) -> bool {
    name.strip_prefix("drover").is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Releases the claims and the finalizers of `chosen`, which are deleted already. `downstream` is the one cluster as the
/// person reaches it, if they do.
pub(super) async fn force_detach(
    management: &Side,
    arguments: &DetachArguments,
    installation: &str,
    chosen: &[Cluster],
    downstream: Option<&Side>,
) -> Result<(), MembershipError> {
    let clusters = Api::<Cluster>::all(management.client.clone());
    for cluster in chosen {
        let name = cluster.name_any();
        if cluster.spec.deletion_policy == DeletionPolicy::Delete {
            say!(
                "--force does not carry out the policy Delete of the Cluster {name}: namespaces there keep Drover's labels, and drover-system stays"
            );
        }
        let answer = match downstream {
            Some(downstream) => release_by_person(downstream, installation, &name).await,
            None => Box::pin(release_by_secret(management, arguments, cluster, installation)).await?,
        };
        report(&name, answer);
        release_finalizer(management, "Cluster", &clusters, &cluster.metadata, &finalizer::<ClusterOperator>()).await?;
    }
    // One whose Cluster is gone already may have left its claim there.
    let gone = arguments.names.iter().filter(|_| chosen.is_empty());
    if let Some(downstream) = downstream {
        for name in gone {
            report(name, release_by_person(downstream, installation, name).await);
        }
    }
    if arguments.all { release_other_kinds(management).await } else { Ok(()) }
}

/// The foreign claim on the cluster, if there is one, or why the claim is unknown.
type Released = Result<Option<Claim>, String>;

async fn release_by_person(downstream: &Side, installation: &str, name: &str) -> Released {
    claim::release(&downstream.client, installation, name).await.map_err(|error| error.to_string())
}

async fn release_by_secret(
    management: &Side,
    arguments: &DetachArguments,
    cluster: &Cluster,
    installation: &str,
) -> Result<Released, MembershipError> {
    if cluster.spec.suspend {
        return Ok(Err("spec.suspend is set, so Drover writes nothing with the stored kubeconfig".to_owned()));
    }
    let (namespace, policy) = (&arguments.membership.namespace, arguments.addresses.policy());
    let secrets = Api::<Secret>::namespaced(management.client.clone(), namespace);
    let secret = match secret_of(cluster) {
        Some(name) => management.ask(format!("get the Secret {namespace}/{name}"), secrets.get_opt(name)).await?,
        None => None,
    };
    let here = management.client.clone().into();
    let answer = drover_fleet::release_stored(cluster, secret.as_ref(), &here, installation, policy).await;
    Ok(answer.map_err(|failure| failure.message))
}

fn report(name: &str, answer: Released) {
    say!("the cluster of {name}: {}", words(name, answer));
}

/// What became of the claim.
fn words(name: &str, answer: Released) -> String {
    match answer {
        Ok(None) => "its claim is released".to_owned(),
        // A claim is what another cluster says: quoted, so that it cannot play with a terminal.
        Ok(Some(Claim { installation, cluster_name, .. })) => format!(
            "its claim names the Cluster {cluster_name:?} of the installation {installation:?}, and stays; if that is this one, say so with --installation"
        ),
        Err(why) => format!(
            "its claim, the ConfigMap drover-system/drover-claim, may stay there: {why}. \
             `drover detach {name} --force --context CONTEXT` removes it later"
        ),
    }
}

/// Releases what waits for Drover alone, of every kind but Cluster.
async fn release_other_kinds(management: &Side) -> Result<(), MembershipError> {
    for operator in Operators::all().iter().filter(|operator| operator.name != ClusterOperator::NAME) {
        if let Some(finalizer) = operator.finalizer() {
            release_kind(management, &operator.resource(), &finalizer).await?;
        }
    }
    Ok(())
}

async fn release_kind(management: &Side, resource: &ApiResource, finalizer: &str) -> Result<(), MembershipError> {
    let kind = resource.kind.as_str();
    let everywhere = Api::<DynamicObject>::all_with(management.client.clone(), resource);
    let found = match request(format!("list the {kind}s"), everywhere.list_metadata(&ListParams::default())).await {
        // An older Drover, which does not have this kind.
        Err(ApiError::Refused { status, .. }) if status.is_not_found() => return Ok(()),
        answer => management.said(answer)?,
    };
    let mut later = 0_usize;
    for meta in found.items.into_iter().map(|object| object.metadata) {
        let name = meta.name.clone().unwrap_or_default();
        let (api, full_name) = match &meta.namespace {
            Some(namespace) => {
                let api = Api::<DynamicObject>::namespaced_with(management.client.clone(), namespace, resource);
                (api, format!("{namespace}/{name}"))
            }
            None => (everywhere.clone(), name),
        };
        match Waiting::of(&meta, finalizer) {
            Waiting::Not => later += usize::from(has_finalizer(&meta, finalizer)),
            Waiting::ForDrover => {
                release_finalizer(management, kind, &api, &meta, finalizer).await?;
                say!(
                    "the finalizer of the {kind} {full_name} is released: what it owns in clusters stays as it is, whatever its policy says"
                );
            }
            Waiting::ForOthers(finalizers) => {
                say!("the {kind} {full_name} waits for others first: {}", finalizers.join(", "));
            }
        }
    }
    if later > 0 {
        say!(
            "{later} {kind}s are not being deleted, and stay; if you delete them, `drover detach --all --force` releases them"
        );
    }
    Ok(())
}

/// What an object waits for that is being deleted.
#[derive(Debug, PartialEq, Eq)]
enum Waiting {
    /// It is not being deleted, or not for lack of Drover.
    Not,
    /// For nobody else.
    ForDrover,
    /// For Drover and for these.
    ForOthers(Vec<String>),
}

impl Waiting {
    fn of(meta: &ObjectMeta, finalizer: &str) -> Self {
        if meta.deletion_timestamp.is_none() || !has_finalizer(meta, finalizer) {
            return Self::Not;
        }
        let others = others(meta, finalizer);
        if others.is_empty() { Self::ForDrover } else { Self::ForOthers(others) }
    }
}

fn has_finalizer(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.finalizers.iter().flatten().any(|each| each == finalizer)
}

/// The finalizers that are not this one.
pub(super) fn others(meta: &ObjectMeta, finalizer: &str) -> Vec<String> {
    meta.finalizers.iter().flatten().filter(|each| *each != finalizer).cloned().collect()
}

/// Takes `finalizer` off the object that was `seen`, if it is being deleted. Those of others stay.
async fn release_finalizer<K>(
    management: &Side,
    kind: &str,
    api: &Api<K>,
    seen: &ObjectMeta,
    finalizer: &str,
) -> Result<(), MembershipError>
where
    K: Clone + DeserializeOwned + Debug,
{
    let name = seen.name.clone().unwrap_or_default();
    let mut attempts = ATTEMPTS;
    loop {
        let found = management.ask(format!("get the {kind} {name}"), api.get_metadata_opt(&name)).await?;
        let Some(remaining) = found.and_then(|found| remaining(seen, found.metadata, finalizer)) else { return Ok(()) };
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({"metadata": remaining}));
        let call = api.patch_metadata(&name, &parameters, &patch);
        attempts -= 1;
        match request(format!("release the finalizer of the {kind} {name}"), call).await {
            Err(ApiError::Refused { status, .. }) if status.is_not_found() => return Ok(()),
            Err(ApiError::Refused { status, .. }) if status.is_conflict() && attempts > 0 => sleep(PAUSE).await,
            answer => return management.said(answer).map(|_| ()),
        }
    }
}

/// What the object that was found keeps, if it is the one that was seen and `finalizer` is to be released. Its resource version
/// makes the write a compare-and-swap.
fn remaining(seen: &ObjectMeta, found: ObjectMeta, finalizer: &str) -> Option<ObjectMeta> {
    if found.uid != seen.uid || Waiting::of(&found, finalizer) == Waiting::Not {
        return None;
    }
    let finalizers = Some(others(&found, finalizer));
    Some(ObjectMeta { resource_version: found.resource_version, finalizers, ..ObjectMeta::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "drover.dev/cluster";

    fn meta(uid: &str, deleted: bool, finalizers: &[&str]) -> ObjectMeta {
        let deletion = deleted.then_some("2026-01-01T00:00:00Z");
        serde_json::from_value(json!({
            "name": "eu", "uid": uid, "resourceVersion": "7", "deletionTimestamp": deletion, "finalizers": finalizers,
        }))
        .unwrap()
    }

    #[test]
    fn only_drovers_finalizer_is_released_and_only_of_what_was_seen_and_is_being_deleted() {
        let seen = meta("a", false, &[OURS]);
        for (found, kept) in [
            (meta("a", true, &[OURS]), Some(vec![])),
            (meta("a", true, &["example.com/x", OURS]), Some(vec!["example.com/x".to_owned()])),
            (meta("a", true, &["example.com/x"]), None),
            (meta("a", true, &["drover.dev/cluster-of-others"]), None),
            (meta("a", false, &[OURS]), None),
            // Another client created it again.
            (meta("b", true, &[OURS]), None),
        ] {
            let write = remaining(&seen, found.clone(), OURS);
            assert_eq!(write.as_ref().and_then(|write| write.finalizers.clone()), kept, "{found:?}");
            assert!(write.is_none_or(|write| write.resource_version.as_deref() == Some("7")));
        }
    }

    #[test]
    fn what_waits_for_others_too_is_told_apart() {
        assert_eq!(Waiting::of(&meta("a", true, &[OURS]), OURS), Waiting::ForDrover);
        assert_eq!(Waiting::of(&meta("a", true, &["x/y", OURS]), OURS), Waiting::ForOthers(vec!["x/y".into()]));
        assert_eq!(Waiting::of(&meta("a", true, &["x/y"]), OURS), Waiting::Not);
        assert_eq!(Waiting::of(&meta("a", false, &[OURS]), OURS), Waiting::Not);
    }

    #[test]
    fn the_leases_of_every_drover_are_known_by_their_names() {
        for (name, known) in
            [("drover", true), ("drover-cluster-project", true), ("drovers", false), ("kube-scheduler", false)]
        {
            assert_eq!(is_leader_lease(name), known, "{name}");
        }
    }

    #[test]
    fn what_stays_is_said_with_the_way_to_remove_it() {
        let said = words("eu", Err("no connection".to_owned()));
        assert!(said.contains("no connection") && said.contains("drover detach eu --force --context"), "{said}");
        assert!(said.contains("drover-system/drover-claim"), "{said}");
    }
}
