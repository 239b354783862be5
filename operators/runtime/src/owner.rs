//! The record of the owner of an object: labels on everything that Drover creates.

use std::collections::BTreeMap;

use drover_crds::names::{LABEL_MANAGED_BY, LABEL_OWNER_KIND, LABEL_OWNER_NAME, LABEL_OWNER_NAMESPACE, MANAGED_BY};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::cache::{LabelQuery, ObjectKey, OwnerRecord};

impl OwnerRecord {
    /// The labels that record this owner. Names, no ids: a rebuilt management cluster recognises its own objects.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([
            (LABEL_MANAGED_BY.to_owned(), MANAGED_BY.to_owned()),
            (LABEL_OWNER_KIND.to_owned(), self.kind.to_owned()),
            (LABEL_OWNER_NAME.to_owned(), self.key.name.clone()),
        ]);
        if !self.key.namespace.is_empty() {
            labels.insert(LABEL_OWNER_NAMESPACE.to_owned(), self.key.namespace.clone());
        }
        labels
    }

    /// The names of the labels that record an owner; released objects carry none of them.
    pub const LABELS: [&'static str; 4] = [LABEL_MANAGED_BY, LABEL_OWNER_KIND, LABEL_OWNER_NAMESPACE, LABEL_OWNER_NAME];

    /// Selects everything that objects of `kind` own.
    #[must_use]
    pub fn query(kind: &str) -> LabelQuery {
        LabelQuery::equals(LABEL_OWNER_KIND, kind)
    }

    /// The namespace and name of the owner of `kind` that an object's labels record.
    #[must_use]
    pub fn recorded(meta: &ObjectMeta, kind: &str) -> Option<ObjectKey> {
        let (recorded, namespace, name) = labelled(meta)?;
        (recorded == kind).then(|| ObjectKey::namespaced(namespace, name))
    }

    /// The same whatever the owner's kind is.
    pub(crate) fn recorded_of_any_kind(meta: &ObjectMeta) -> Option<ObjectKey> {
        labelled(meta).map(|(_, namespace, name)| ObjectKey::namespaced(namespace, name))
    }

    /// Whether an object's labels record this owner.
    #[must_use]
    pub fn owns(&self, meta: &ObjectMeta) -> bool {
        labelled(meta) == Some((self.kind, &self.key.namespace, &self.key.name))
    }
}

/// Kind, namespace and name of the owner that an object's labels record.
fn labelled(meta: &ObjectMeta) -> Option<(&str, &str, &str)> {
    let labels = meta.labels.as_ref()?;
    let label = |name: &str| labels.get(name).map(String::as_str);
    if label(LABEL_MANAGED_BY) != Some(MANAGED_BY) {
        return None;
    }
    Some((label(LABEL_OWNER_KIND)?, label(LABEL_OWNER_NAMESPACE).unwrap_or_default(), label(LABEL_OWNER_NAME)?))
}
