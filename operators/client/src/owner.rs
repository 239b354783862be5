//! The record of the owner of an object: labels on everything that Drover creates.

use std::collections::BTreeMap;

use drover_crds::names::{
    ANNOTATION_ADOPTED, ANNOTATION_CREATED, LABEL_MANAGED_BY, LABEL_OWNER_KIND, LABEL_OWNER_NAME,
    LABEL_OWNER_NAMESPACE, MANAGED_BY,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::cache::{LabelQuery, ObjectKey, OwnerRecord};

/// Why an object that carries the labels of an owner belongs to it, or does not: labels alone prove nothing, as whoever may edit an
/// object may write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Title {
    /// This installation created it for this owner: it may be deleted.
    Created,
    /// It was adopted, or another installation created it for an owner of this name: it is never deleted.
    Adopted,
    /// It was created for another owner: its labels were changed since.
    Another,
    /// Nothing but the labels says so.
    Unfounded,
}

impl OwnerRecord {
    /// The labels of what is created for this owner.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.record();
        labels.insert(LABEL_MANAGED_BY.to_owned(), MANAGED_BY.to_owned());
        labels
    }

    /// The labels that record this owner. Names, no ids: a rebuilt management cluster recognises its own objects.
    #[must_use]
    pub fn record(&self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([
            (LABEL_OWNER_KIND.to_owned(), self.kind.to_owned()),
            (LABEL_OWNER_NAME.to_owned(), self.key.name.clone()),
        ]);
        if !self.key.namespace.is_empty() {
            labels.insert(LABEL_OWNER_NAMESPACE.to_owned(), self.key.namespace.clone());
        }
        labels
    }

    /// The names of the labels that record an owner; released objects carry none of them.
    pub const LABELS: [&'static str; 3] = [LABEL_OWNER_KIND, LABEL_OWNER_NAMESPACE, LABEL_OWNER_NAME];

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

    /// The mark of an object with this key that `installation` created for this owner: [`ANNOTATION_CREATED`].
    #[must_use]
    pub fn created_mark(&self, installation: &str, object: &ObjectKey) -> String {
        format!("{installation}/{}", self.mark(object))
    }

    fn mark(&self, object: &ObjectKey) -> String {
        let Self { kind, key } = self;
        [kind, &*key.namespace, &key.name, &object.namespace, &object.name].join("/")
    }

    /// Whether `installation` created an object for this owner, by a mark that agrees with all three.
    #[must_use]
    pub fn created(&self, meta: &ObjectMeta, installation: &str) -> bool {
        annotation(meta, ANNOTATION_CREATED) == Some(&self.created_mark(installation, &ObjectKey::of(meta)))
    }

    /// Whether some installation created an object for this owner, by a mark that agrees with both.
    #[must_use]
    pub fn was_created_by_any(&self, meta: &ObjectMeta) -> bool {
        mark_of(meta).is_some_and(|(_, mark)| mark == self.mark(&ObjectKey::of(meta)))
    }

    /// Whether some installation created an object for an owner of the same kind and in the same namespace as this one.
    #[must_use]
    pub fn was_created_beside(&self, meta: &ObjectMeta) -> bool {
        let object = ObjectKey::of(meta);
        let within = format!("{}/{}/", self.kind, self.key.namespace);
        let named = mark_of(meta).and_then(|(_, mark)| mark.strip_prefix(&within)?.split_once('/'));
        named.is_some_and(|(owner, of)| !owner.is_empty() && of == format!("{}/{}", object.namespace, object.name))
    }

    /// Whether another installation created the object, by its mark.
    #[must_use]
    pub fn is_of_another_installation(meta: &ObjectMeta, installation: &str) -> bool {
        mark_of(meta).is_some_and(|(by, _)| by != installation)
    }

    /// Why an object with the labels of this owner belongs to it, or does not.
    #[must_use]
    pub fn title(&self, meta: &ObjectMeta, installation: &str) -> Title {
        if annotation(meta, ANNOTATION_ADOPTED).is_some() {
            return Title::Adopted;
        }
        let Some((by, mark)) = mark_of(meta) else { return Title::Unfounded };
        match mark == self.mark(&ObjectKey::of(meta)) {
            true if by == installation => Title::Created,
            true => Title::Adopted,
            false => Title::Another,
        }
    }

    /// Writes the mark into `meta` by which an object that belongs to this owner for this reason is known.
    pub fn mark_as(&self, title: Title, meta: &mut ObjectMeta, installation: &str) {
        let (mark, value) = match title {
            Title::Created => (ANNOTATION_CREATED, self.created_mark(installation, &ObjectKey::of(meta))),
            Title::Adopted => (ANNOTATION_ADOPTED, "true".to_owned()),
            Title::Another | Title::Unfounded => return,
        };
        meta.annotations.get_or_insert_default().insert(mark.to_owned(), value);
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
    Some((label(LABEL_OWNER_KIND)?, label(LABEL_OWNER_NAMESPACE).unwrap_or_default(), label(LABEL_OWNER_NAME)?))
}

/// The installation that created the object, and for which owner under which name.
fn mark_of(meta: &ObjectMeta) -> Option<(&str, &str)> {
    annotation(meta, ANNOTATION_CREATED)?.split_once('/')
}

fn annotation<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a String> {
    meta.annotations.as_ref()?.get(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(name: &str, marks: &[(&str, String)]) -> ObjectMeta {
        let annotations = marks.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        ObjectMeta { name: Some(name.to_owned()), annotations: Some(annotations), ..ObjectMeta::default() }
    }

    #[test]
    fn a_mark_agrees_with_the_installation_the_owner_and_the_name_of_the_object() {
        let owner = OwnerRecord { kind: "Project", key: ObjectKey::namespaced("team", "shop") };
        let another = OwnerRecord { key: ObjectKey::namespaced("team", "store"), ..owner.clone() };
        let elsewhere = OwnerRecord { key: ObjectKey::namespaced("team-b", "shop"), ..owner.clone() };
        let (web, db) = (ObjectKey::cluster_scoped("web"), ObjectKey::cluster_scoped("db"));
        let created =
            |owner: &OwnerRecord, by: &str, object: &ObjectKey| (ANNOTATION_CREATED, owner.created_mark(by, object));
        let adopted = || (ANNOTATION_ADOPTED, "true".to_owned());
        for (what, marks, title) in [
            ("ours", vec![created(&owner, "blue", &web)], Title::Created),
            ("copied from another object", vec![created(&owner, "blue", &db)], Title::Another),
            ("of another owner", vec![created(&another, "blue", &web)], Title::Another),
            ("of an owner elsewhere", vec![created(&elsewhere, "blue", &web)], Title::Another),
            ("of another installation", vec![created(&owner, "green", &web)], Title::Adopted),
            ("created, released and adopted", vec![created(&owner, "blue", &web), adopted()], Title::Adopted),
            ("created for another one, and adopted", vec![created(&another, "blue", &web), adopted()], Title::Adopted),
            ("nonsense", vec![(ANNOTATION_CREATED, "true".to_owned())], Title::Unfounded),
            ("no mark", vec![], Title::Unfounded),
        ] {
            let meta = marked("web", &marks);
            assert_eq!(owner.title(&meta, "blue"), title, "{what}");
            let is_for_owner = [Title::Created, Title::Adopted].contains(&title) && !what.contains("another one");
            assert_eq!(owner.was_created_by_any(&meta), is_for_owner, "{what}");
            let is_beside = ![Title::Another, Title::Unfounded].contains(&title) || what == "of another owner";
            assert_eq!(owner.was_created_beside(&meta), is_beside, "{what}");
            let is_elsewhere = what == "of another installation";
            assert_eq!(OwnerRecord::is_of_another_installation(&meta, "blue"), is_elsewhere, "{what}");
            let is_marked = marks.first() == Some(&created(&owner, "blue", &web));
            assert_eq!(owner.created(&meta, "blue"), is_marked, "{what}");
        }
    }

    #[test]
    fn the_record_of_an_owner_is_its_labels_whoever_manages_the_object() {
        let owner = OwnerRecord { kind: "Project", key: ObjectKey::namespaced("team", "shop") };
        let mut meta = ObjectMeta { labels: Some(owner.record()), ..ObjectMeta::default() };
        assert!(owner.owns(&meta));
        meta.labels.get_or_insert_default().insert(LABEL_MANAGED_BY.to_owned(), "Helm".to_owned());
        assert!(owner.owns(&meta));
        meta.labels.get_or_insert_default().remove(LABEL_OWNER_KIND);
        assert!(!owner.owns(&meta));
    }
}
