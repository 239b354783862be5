//! How many namespaces a tenant may hold at a cluster, and which labels and annotations it may set there. Pure.

use std::collections::{BTreeMap, BTreeSet};

use drover_crds::{
    Project, Tenant,
    metadata_key::{is_for_people, is_the_cluster_owners},
};
use drover_runtime::error::legible;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;

use crate::observe::World;

/// What bounds a Project at a cluster, besides its tenant entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The namespaces that Projects of the same management namespace hold at the cluster. Only known where a tenant entry limits
    /// them and the Project would take up another one.
    pub held: BTreeSet<String>,
    /// Those that older Projects of the same management namespace want there, held or not.
    pub wanted_before: BTreeSet<String>,
    /// The labels by which Clusters name their tenants; in the management cluster itself no Project sets them.
    pub tenant_labels: BTreeSet<String>,
}

/// The room that is left for namespaces which the Project does not hold yet.
pub(crate) struct Room<'a> {
    tenancies: Vec<(&'a Tenant, i64)>,
    counted: BTreeSet<&'a str>,
}

impl<'a> Room<'a> {
    /// What is held stays and counts, and so does what older Projects want: who gets the rest does not depend on who is first at
    /// work.
    pub(crate) fn of(tenancies: &[&'a Tenant], bounds: &'a Bounds) -> Self {
        let counted: BTreeSet<&str> = bounds.held.union(&bounds.wanted_before).map(String::as_str).collect();
        let used = |tenant: &&'a Tenant| {
            let used = counted.iter().filter(|name| tenant.max_namespaces.is_some() && tenant.allows_namespace(name));
            (*tenant, i64::try_from(used.count()).unwrap_or(i64::MAX))
        };
        Self { tenancies: tenancies.iter().map(used).collect(), counted }
    }

    /// Takes the place of one more namespace, if an entry that allows it has one left.
    pub(crate) fn take(&mut self, name: &'a str) -> bool {
        if self.counted.contains(name) {
            return true; // Handed on within the same tenant.
        }
        let allows = |(tenant, _): &&mut (&Tenant, i64)| tenant.allows_namespace(name);
        let allowing: Vec<_> = self.tenancies.iter_mut().filter(allows).collect();
        let fits = allowing.iter().any(|(tenant, used)| tenant.max_namespaces.is_none_or(|most| *used < most.into()));
        if fits {
            for (_, used) in allowing {
                *used += 1;
            }
            self.counted.insert(name);
        }
        fits
    }
}

/// A label or an annotation that the Project may not set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefusedKey {
    /// `label` or `annotation`.
    pub(crate) what: &'static str,
    /// Its key, cut: with a domain it may be longer than a whole message.
    pub(crate) key: String,
    /// Why.
    pub(crate) why: Refusal,
}

/// Why a label or an annotation is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It means something to the cluster.
    TheClusterOwners,
    /// It decides who is a tenant.
    NamesTenants,
    /// No entry allows it.
    NotAllowed,
}

/// Longest part of a key that a message shows, in bytes.
const KEY_LIMIT: usize = 80;

/// The first label or annotation of a wanted namespace that the Project may not set, given the tenant entries that allow the
/// namespace.
pub(crate) fn refused_key(desired: &ObjectMeta, allowing: &[&Tenant], bounds: &Bounds) -> Option<RefusedKey> {
    let allowed = |key: &str| allowing.iter().any(|tenant| tenant.allows_key(key));
    let of_label = |key: &str| match key {
        _ if bounds.tenant_labels.contains(key) => Some(Refusal::NamesTenants),
        _ if is_for_people(key) => None,
        _ => of_any(key, allowed(key)),
    };
    let of_annotation = |key: &str| of_any(key, allowed(key));
    first_refused("label", desired.labels.as_ref(), of_label)
        .or_else(|| first_refused("annotation", desired.annotations.as_ref(), of_annotation))
}

fn of_any(key: &str, is_allowed: bool) -> Option<Refusal> {
    if is_the_cluster_owners(key) {
        return Some(Refusal::TheClusterOwners);
    }
    (!is_allowed).then_some(Refusal::NotAllowed)
}

fn first_refused(
    what: &'static str,
    texts: Option<&BTreeMap<String, String>>,
    refusal: impl Fn(&str) -> Option<Refusal>,
) -> Option<RefusedKey> {
    let refused = |key: &String| Some(RefusedKey { what, key: legible(key, KEY_LIMIT), why: refusal(key)? });
    texts?.keys().find_map(refused)
}

pub(crate) fn no_room(project: &Project, world: &World, name: &str) -> String {
    let (cluster, from) = (world.cluster.name_any(), project.namespace().unwrap_or_default());
    format!(
        "{from} holds as many namespaces on cluster {cluster} as its tenant entry allows, so there is no room for {name}; remove another one, or ask the owner of the Cluster to raise maxNamespaces"
    )
}

pub(crate) fn not_to_set(project: &Project, world: &World, name: &str, refused: &RefusedKey) -> String {
    let (cluster, from) = (world.cluster.name_any(), project.namespace().unwrap_or_default());
    let RefusedKey { what, key, why } = refused;
    match why {
        Refusal::TheClusterOwners => format!(
            "only the owner of cluster {cluster} sets the {what} {key}, as it means something to the cluster itself; remove it from namespace {name}"
        ),
        Refusal::NamesTenants => format!(
            "the {what} {key} decides which namespaces are tenants of a Cluster, so no Project sets it on cluster {cluster}; remove it from namespace {name}"
        ),
        Refusal::NotAllowed => format!(
            "no tenant entry of Cluster {cluster} allows {from} to set the {what} {key} on namespace {name}; remove it, or ask its owner to add the key to metadataKeys"
        ),
    }
}
