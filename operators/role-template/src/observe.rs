//! What there is at one cluster. Decides nothing.

use std::collections::BTreeSet;

use drover_admission::PoliciesState;
use drover_crds::{ClusterRoleTemplateBinding, IdentityMapping, ProjectRoleTemplateBinding, RoleTemplate};
use drover_fleet::admission::{guarded, state_in_management};
use drover_grants::{Admitted, Grants, Judged as _, Templates, admitted::Evidence, of_apps, reached};
use drover_roles::{Resolved, resolve};
use drover_runtime::{
    Inputs, ObjectKey, Owner, Place, PlaceContext, operator::record_of, owned::Owned, place::deletion_of,
};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::ResourceExt as _;

use crate::{
    RoleTemplateOperator, Shipped,
    uses::{Bindings, Use},
};

/// What a reconcile knows of one cluster, or of the management cluster, where the template is judged as a whole.
#[derive(Clone, Debug)]
pub struct World {
    /// What the template allows; none if it is gone.
    pub resolved: Option<Resolved>,
    /// Whether rights may be granted.
    pub grants: Grants,
    /// How many bindings name the template.
    pub bindings: usize,
    /// What cannot be decoded.
    pub doubt: Doubt,
    /// What there is at the cluster; none for the management cluster.
    pub cluster: Option<AtCluster>,
    /// Under which policies the template is looked at as a whole.
    pub policies: UnderPolicies,
}

/// Under which policies a template is looked at; nothing at a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnderPolicies {
    /// Their state, while they are in place.
    pub state: Option<PoliciesState>,
    /// What is known of the time before, where the template has no record of its own.
    pub evidence: Evidence,
    /// Whether it has the rights that ship under its name, with this version.
    pub ships: bool,
    /// The template that it inherits and that was not admitted.
    pub unadmitted: Option<String>,
}

/// What cannot be decoded, so that what it gives is unknown, not nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doubt {
    /// The template that is inherited.
    pub template: Option<String>,
    /// Kind and name of what may need the template at any cluster, for anybody.
    pub binding: Option<String>,
}

/// What there is at one cluster.
#[derive(Clone, Debug, Default)]
pub struct AtCluster {
    /// How subjects are spelled there.
    pub identity: Option<IdentityMapping>,
    /// The bindings that need the template there.
    pub uses: Vec<Use>,
    /// The roles that carry the labels of the template.
    pub roles: Vec<Owned<ClusterRole>>,
    /// The bindings that carry them.
    pub bindings: Vec<Owned<ClusterRoleBinding>>,
    /// Those of the roles that apps have by which they uninstall themselves; only looked at where the cluster is being deleted.
    pub needed_by_apps: BTreeSet<String>,
}

pub(crate) fn observe(owner: Owner<'_, RoleTemplate>, shipped: &Shipped, place: &PlaceContext) -> World {
    let bindings = match owner {
        Owner::Present(template) => Bindings::of(template, &Inputs::new(&place.fleet, &place.management)),
        _ => Bindings::default(),
    };
    let grants = Grants::by(&guarded(place));
    let is_left = place.cluster.as_deref().and_then(deletion_of).is_some();
    let cluster = match &place.place {
        Place::Management => None,
        Place::Cluster(name) => {
            let record = record_of::<RoleTemplateOperator>(owner.key());
            let policies = || state_in_management(place);
            let uses = place.fleet.get(name).map(|view| bindings.at(name, view, &place.fleet, policies));
            let mut uses = uses.unwrap_or_default();
            if grants != Grants::Allowed {
                // Nobody gets anything anyway, and that is what the status says then.
                for each in &mut uses {
                    each.is_admitted = true;
                }
            }
            let roles: Vec<Owned<ClusterRole>> = Owned::at(place, &record);
            let names = roles.iter().filter_map(|role| role.meta().name.clone()).filter(|_| is_left);
            Some(AtCluster {
                identity: place.cluster.as_ref().and_then(|cluster| cluster.spec.identity.clone()),
                uses,
                bindings: Owned::at(place, &record),
                needed_by_apps: names.filter(|name| of_apps::have_role(place, name)).collect(),
                roles,
            })
        }
    };
    let templates = owner.object().map(|template| templates(template, place));
    let resolved =
        owner.object().zip(templates.as_ref()).map(|(template, all)| resolve(template, |name| all.get(name)));
    let in_doubt = resolved.as_ref().zip(templates.as_ref()).and_then(|(resolved, all)| all.in_doubt(resolved));
    let grants = match (&resolved, &templates) {
        (Some(resolved), Some(templates)) => grants.and_of(resolved, templates),
        _ => grants,
    };
    let mut policies = UnderPolicies::default();
    if let (Owner::Present(template), Place::Management) = (owner, &place.place) {
        let unadmitted = resolved.as_ref().zip(templates.as_ref()).and_then(|(resolved, all)| all.unadmitted(resolved));
        let inherited = unadmitted.filter(|(name, admitted)| *name != template.name_any() && *admitted == Admitted::No);
        policies = UnderPolicies {
            unadmitted: inherited.map(|(name, _)| name.to_owned()),
            ..under_policies(template, shipped, place)
        };
    }
    let doubt =
        Doubt { template: in_doubt.map(str::to_owned), binding: bindings.undecodable.clone().filter(|_| !is_left) };
    World { resolved, grants, bindings: bindings.count(), doubt, cluster, policies }
}

fn under_policies(template: &RoleTemplate, shipped: &Shipped, place: &PlaceContext) -> UnderPolicies {
    let state = state_in_management(place);
    let unknown = state.as_ref().filter(|_| template.admission().is_none());
    let evidence = unknown.map(|state| {
        // Who may write templates may delete all of them: what bindings record tells of the past, too.
        let templates = place.related::<RoleTemplate>().all();
        let in_projects = place.related::<ProjectRoleTemplateBinding>().all();
        let on_clusters = place.related::<ClusterRoleTemplateBinding>().all();
        let of_templates = templates.iter().filter_map(|each| each.admission());
        let of_bindings = in_projects.iter().filter_map(|each| each.admission());
        let records = of_templates.chain(of_bindings).chain(on_clusters.iter().filter_map(|each| each.admission()));
        Evidence::of(records, state)
    });
    UnderPolicies { state, evidence: evidence.unwrap_or_default(), ships: shipped.has(template), unadmitted: None }
}

/// A template with all that it inherits.
pub(crate) fn templates(template: &RoleTemplate, place: &PlaceContext) -> Templates {
    let all = place.related::<RoleTemplate>();
    let admitted = |template: &RoleTemplate| Admitted::of(template, || state_in_management(place));
    let mut templates = reached([template.name_any()], |name| all.lookup(&ObjectKey::cluster_scoped(name)), admitted);
    templates.judge(&template.name_any(), |_| admitted(template));
    templates
}
