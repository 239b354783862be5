//! What owners held when they were last seen. The record on an object may be wiped; its UID stays, and nobody can forge it.

use std::{
    any::TypeId,
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use drover_crds::names::ANNOTATION_OWNER_UID;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::{
    cache::{Kept, ObjectKey, OwnerRecord},
    owner::Title,
};

/// The objects that owners held at one server, while Drover runs.
#[derive(Debug, Default)]
pub struct Held(Mutex<HashMap<OwnerRecord, Holdings>>);

/// By kind and key.
type Holdings = BTreeMap<(TypeId, ObjectKey), Holding>;

#[derive(Clone, Debug)]
struct Holding {
    uid: Option<String>,
    /// Of the owner: a new one of the same name held nothing yet.
    owner_uid: Option<String>,
    title: Title,
}

impl Held {
    /// Notes which `K` the `owner` holds now. Of those that it held before, it keeps what `may_return` picks.
    pub fn note<'a, K: Kept>(
        &self,
        owner: &OwnerRecord,
        owner_uid: Option<&String>,
        now: impl IntoIterator<Item = (&'a ObjectMeta, Title)>,
        may_return: impl Fn(&ObjectKey) -> bool,
    ) {
        let mut all = self.lock();
        let held = all.entry(owner.clone()).or_default();
        held.retain(|(kind, key), _| *kind != TypeId::of::<K>() || may_return(key));
        held.extend(now.into_iter().map(|(meta, title)| {
            let (uid, owner_uid) = (meta.uid.clone(), owner_uid.cloned());
            ((TypeId::of::<K>(), ObjectKey::of(meta)), Holding { uid, owner_uid, title })
        }));
    }

    /// Notes that the `owner` of other objects made this one just now: its record may be wiped before anybody looks.
    pub fn note_created<K: Kept>(&self, owner: &OwnerRecord, meta: &ObjectMeta) {
        if let Some(held) = self.lock().get_mut(owner) {
            let owner_uid = meta.annotations.as_ref().and_then(|all| all.get(ANNOTATION_OWNER_UID)).cloned();
            let holding = Holding { uid: meta.uid.clone(), owner_uid, title: Title::Created };
            held.insert((TypeId::of::<K>(), ObjectKey::of(meta)), holding);
        }
    }

    /// Why this very object belonged to this very owner when it was last seen to, if it did.
    #[must_use]
    pub fn title<K: Kept>(&self, owner: &OwnerRecord, owner_uid: Option<&String>, meta: &ObjectMeta) -> Option<Title> {
        let all = self.lock();
        let holding = all.get(owner)?.get(&(TypeId::of::<K>(), ObjectKey::of(meta)))?;
        let is_same = holding.uid.is_some() && holding.uid == meta.uid && holding.owner_uid.as_ref() == owner_uid;
        is_same.then_some(holding.title)
    }

    /// `owner` gave up one object.
    pub fn forget<K: Kept>(&self, owner: &OwnerRecord, key: &ObjectKey) {
        if let Some(held) = self.lock().get_mut(owner) {
            held.remove(&(TypeId::of::<K>(), key.clone()));
        }
    }

    /// `owner` holds nothing there any more.
    pub fn forget_all(&self, owner: &OwnerRecord) {
        self.lock().remove(owner);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<OwnerRecord, Holdings>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ConfigMap, Namespace};

    use super::*;

    fn meta(name: &str, uid: &str) -> ObjectMeta {
        ObjectMeta { name: Some(name.to_owned()), uid: Some(uid.to_owned()), ..ObjectMeta::default() }
    }

    #[test]
    fn only_the_same_object_of_the_same_owner_is_held() {
        let (held, owner) =
            (Held::default(), OwnerRecord { kind: "Project", key: ObjectKey::namespaced("team", "shop") });
        let (first, second) = (Some("first".to_owned()), Some("second".to_owned()));
        let note = |now: &[ObjectMeta]| {
            let now = now.iter().map(|meta| (meta, Title::Created));
            held.note::<Namespace>(&owner, first.as_ref(), now, |key| key.name == "web");
        };
        note(&[meta("web", "1"), meta("db", "2")]);
        note(&[]);
        assert_eq!(held.title::<Namespace>(&owner, first.as_ref(), &meta("web", "1")), Some(Title::Created));
        held.note::<ConfigMap>(&owner, first.as_ref(), [], |_| false);
        assert_eq!(held.title::<ConfigMap>(&owner, first.as_ref(), &meta("web", "1")), None, "of another kind");
        for (what, owner_uid, object) in [
            ("made anew under its name", &first, meta("web", "3")),
            ("without a UID", &first, ObjectMeta { uid: None, ..meta("web", "1") }),
            ("of an owner that was made anew", &second, meta("web", "1")),
            ("that cannot return", &first, meta("db", "2")),
        ] {
            assert_eq!(held.title::<Namespace>(&owner, owner_uid.as_ref(), &object), None, "{what}");
        }
        held.forget::<Namespace>(&owner, &ObjectKey::cluster_scoped("web"));
        assert_eq!(held.title::<Namespace>(&owner, first.as_ref(), &meta("web", "1")), None, "released");
        note(&[meta("web", "1")]);
        held.forget_all(&owner);
        assert_eq!(held.title::<Namespace>(&owner, first.as_ref(), &meta("web", "1")), None, "deselected");
    }
}
