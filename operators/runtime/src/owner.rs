//! The record of the owner of an object: labels on everything that Drover creates.

use std::collections::BTreeMap;

use drover_crds::names::{
    ANNOTATION_CREATED, LABEL_MANAGED_BY, LABEL_OWNER_KIND, LABEL_OWNER_NAME, LABEL_OWNER_NAMESPACE, MANAGED_BY,
};
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

    /// The mark of an object with this key that was created for this owner: [`ANNOTATION_CREATED`].
    #[must_use]
    pub fn created_mark(&self, object: &ObjectKey) -> String {
        let Self { kind, key } = self;
        [kind, &*key.namespace, &key.name, &object.namespace, &object.name].join("/")
    }

    /// Whether an object was created for this owner, and not labelled by another client: its mark agrees with the owner and with
    /// its own name.
    #[must_use]
    pub fn created(&self, meta: &ObjectMeta) -> bool {
        let mark = meta.annotations.as_ref().and_then(|all| all.get(ANNOTATION_CREATED));
        mark == Some(&self.created_mark(&ObjectKey::of(meta)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_agrees_with_the_owner_and_the_name_of_the_object() {
        let owner = OwnerRecord { kind: "Project", key: ObjectKey::namespaced("team", "shop") };
        let web = ObjectKey::cluster_scoped("web");
        let meta = |name: &str, mark: &str| ObjectMeta {
            name: Some(name.to_owned()),
            annotations: Some([(ANNOTATION_CREATED.to_owned(), mark.to_owned())].into()),
            ..ObjectMeta::default()
        };
        assert!(owner.created(&meta("web", &owner.created_mark(&web))));
        assert!(!owner.created(&meta("other", &owner.created_mark(&web))), "copied from another object");
        let another = OwnerRecord { key: ObjectKey::namespaced("team", "store"), ..owner.clone() };
        assert!(!another.created(&meta("web", &owner.created_mark(&web))));
        assert!(!owner.created(&ObjectMeta::default()));
    }
}
