//! Whether a scan may begin. Pure.

use drover_crds::{CisScan, Operation, Tenant};
use drover_fleet::cause::TenancyCause;
use drover_grants::not_begun;
use drover_runtime::Cause;
use kube::ResourceExt as _;

use crate::{ScanCause, observe::World};

/// Whether the owner of a cluster lets a scan onto its nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consent {
    /// The namespace of the scan is no tenant.
    #[default]
    NoTenant,
    /// It is, and may not scan.
    NoScans,
    /// It is, and may.
    Given,
}

impl Consent {
    /// By the entries of a cluster that admit the namespace of the scan.
    #[must_use]
    pub fn of(tenancies: &[&Tenant]) -> Self {
        if tenancies.is_empty() {
            Self::NoTenant
        } else if tenancies.iter().any(|tenant| tenant.allows(Operation::Scan)) {
            Self::Given
        } else {
            Self::NoScans
        }
    }
}

/// Why the owner of `cluster` does not want the scan, whatever is under way.
pub(crate) fn withdrawn(scan: &CisScan, cluster: &str, consent: Consent) -> Option<(Cause, String)> {
    let tenant = scan.namespace().unwrap_or_default();
    match consent {
        Consent::Given => None,
        Consent::NoTenant => {
            let message = format!(
                "cluster {cluster} does not admit namespace {tenant}; its owner decides that in spec.tenants of the Cluster"
            );
            Some((TenancyCause::NotATenant.into(), message))
        }
        Consent::NoScans => {
            let message = format!(
                "cluster {cluster} does not let namespace {tenant} scan its nodes; ask its owner to add Scan to operations of its tenant entry"
            );
            Some((ScanCause::ScansNotAllowed.into(), message))
        }
    }
}

/// Why the scan cannot begin anywhere, if it cannot.
pub(crate) fn obstacle(scan: &CisScan, world: &World) -> Option<(Cause, String)> {
    unjudged(scan, world).or_else(|| without_profile(scan, world)).or_else(|| without_image(world))
}

fn unjudged(scan: &CisScan, world: &World) -> Option<(Cause, String)> {
    let what = format!("scan {}", scan.name_any());
    not_begun(&world.grants, world.admitted, &what, "it does not begin; delete it and create it again")
}

fn without_profile(scan: &CisScan, world: &World) -> Option<(Cause, String)> {
    world.profile.is_none().then(|| {
        let name = &scan.spec.profile_name;
        let message = format!("there is no CisProfile {name}; create it, or create a CisScan that names another one");
        (ScanCause::ProfileNotFound.into(), message)
    })
}

fn without_image(world: &World) -> Option<(Cause, String)> {
    world.image.is_none().then(|| {
        let message =
            "this Drover has no image that scans nodes; set scans.image of the chart, or --scan-image of drover run"
                .to_owned();
        (ScanCause::NoScanImage.into(), message)
    })
}
