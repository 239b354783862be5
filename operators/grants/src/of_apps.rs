//! What apps have at a cluster. An app uninstalls itself by the role that is bound to its account, in the namespace that its Project holds:
//! where a cluster is being deleted both stay until it has.

use std::{collections::BTreeSet, sync::Arc};

use drover_runtime::{Kept, LabelQuery, ObjectKey, OwnerRecord, PlaceContext, Title, cache::Index};
use k8s_openapi::{
    api::rbac::v1::{ClusterRoleBinding, RoleBinding},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

/// The kind of apps, as what they own records it.
pub const APP: &str = "CatalogApp";

/// Selects what apps own.
#[must_use]
pub fn query() -> LabelQuery {
    OwnerRecord::query(APP)
}

/// A binding of a role to subjects.
pub trait BindsRole {
    /// The name of the role.
    fn role(&self) -> &str;
}

impl BindsRole for RoleBinding {
    fn role(&self) -> &str {
        &self.role_ref.name
    }
}

impl BindsRole for ClusterRoleBinding {
    fn role(&self) -> &str {
        &self.role_ref.name
    }
}

/// Bindings by the role that they bind, for a look-up in a cache.
#[derive(Clone, Copy, Debug)]
struct OfRole;

impl<B: BindsRole> Index<B> for OfRole {
    fn key(binding: &B) -> Option<ObjectKey> {
        Some(ObjectKey::cluster_scoped(binding.role()))
    }
}

/// Those of these namespaces in which an app has a role, where the cluster at `place` is being deleted; elsewhere nobody has to know.
#[must_use]
pub fn acting_in<'a>(place: &PlaceContext, namespaces: impl Iterator<Item = &'a String>) -> BTreeSet<String> {
    let bindings = place.cache.informer::<RoleBinding>(&query());
    let is_of_app = |found: &Arc<RoleBinding>| is_of_app(&found.metadata, place.fleet.installation());
    let is_in_use = |name: &&String| bindings.in_namespace(name).iter().any(is_of_app);
    let is_deleting = place.fleet.is_deleting(&place.place);
    namespaces.filter(|_| is_deleting).filter(is_in_use).cloned().collect()
}

/// Whether an app has this role at the cluster at `place`, in a namespace or in all of it.
#[must_use]
pub fn have_role(place: &PlaceContext, role: &str) -> bool {
    is_bound::<RoleBinding>(place, role) || is_bound::<ClusterRoleBinding>(place, role)
}

fn is_bound<B: Kept + BindsRole>(place: &PlaceContext, role: &str) -> bool {
    let bindings = place.cache.informer::<B>(&query()).indexed::<OfRole>(&ObjectKey::cluster_scoped(role));
    bindings.iter().any(|found| is_of_app(found.meta(), place.fleet.installation()))
}

/// Whether Drover made a binding for an app: whoever may edit bindings may label one.
fn is_of_app(meta: &ObjectMeta, installation: &str) -> bool {
    let app = OwnerRecord::recorded(meta, APP).map(|key| OwnerRecord { kind: APP, key });
    app.is_some_and(|app| matches!(app.title(meta, installation), Title::Created | Title::Adopted))
}

#[cfg(test)]
mod tests {
    use drover_crds::{CatalogApp, names::ANNOTATION_CREATED};
    use kube::{Resource as _, ResourceExt as _};

    use super::*;

    #[test]
    fn only_what_drover_made_for_an_app_counts() {
        assert_eq!(APP, CatalogApp::kind(&()));
        let app = OwnerRecord { kind: APP, key: ObjectKey::namespaced("team-a", "web") };
        let mut binding = RoleBinding::default();
        (binding.metadata.namespace, binding.metadata.name) = (Some("shop".to_owned()), Some("web".to_owned()));
        assert!(!is_of_app(&binding.metadata, "ours"));
        binding.metadata.labels = Some(app.labels());
        assert!(!is_of_app(&binding.metadata, "ours"), "labels alone say nothing");
        let mark =
            |installation: &str, name: &str| app.created_mark(installation, &ObjectKey::namespaced("shop", name));
        for (mark, expected) in
            [(mark("ours", "web"), true), (mark("theirs", "web"), true), (mark("ours", "other"), false)]
        {
            binding.annotations_mut().insert(ANNOTATION_CREATED.to_owned(), mark.clone());
            assert_eq!(is_of_app(&binding.metadata, "ours"), expected, "{mark}");
        }
    }
}
