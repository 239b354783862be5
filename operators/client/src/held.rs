//! What owners held when they were last seen. The record on an object may be wiped; its UID stays, and nobody can forge it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::{
    cache::{ObjectKey, OwnerRecord},
    owner::Title,
};

/// The objects of one kind that owners held at one server, while Drover runs.
#[derive(Debug, Default)]
pub struct Held(Mutex<HashMap<OwnerRecord, BTreeMap<ObjectKey, Holding>>>);

#[derive(Clone, Debug)]
struct Holding {
    uid: Option<String>,
    /// Of the owner: a new one of the same name held nothing yet.
    owner_uid: Option<String>,
    title: Title,
}

impl Held {
    /// Notes what `owner` holds now. Of what it held before, that is kept which `may_return` picks.
    pub fn note<'a>(
        &self,
        owner: &OwnerRecord,
        owner_uid: Option<&String>,
        now: impl IntoIterator<Item = (&'a ObjectMeta, Title)>,
        may_return: impl Fn(&ObjectKey) -> bool,
    ) {
        let mut all = self.lock();
        let held = all.entry(owner.clone()).or_default();
        held.retain(|key, _| may_return(key));
        held.extend(now.into_iter().map(|(meta, title)| {
            let (uid, owner_uid) = (meta.uid.clone(), owner_uid.cloned());
            (ObjectKey::of(meta), Holding { uid, owner_uid, title })
        }));
    }

    /// Why this very object belonged to this very owner when it was last seen to, if it did.
    #[must_use]
    pub fn title(&self, owner: &OwnerRecord, owner_uid: Option<&String>, meta: &ObjectMeta) -> Option<Title> {
        let all = self.lock();
        let holding = all.get(owner)?.get(&ObjectKey::of(meta))?;
        let is_same = holding.uid.is_some() && holding.uid == meta.uid && holding.owner_uid.as_ref() == owner_uid;
        is_same.then_some(holding.title)
    }

    /// `owner` gave up one object.
    pub fn forget(&self, owner: &OwnerRecord, key: &ObjectKey) {
        if let Some(held) = self.lock().get_mut(owner) {
            held.remove(key);
        }
    }

    /// `owner` holds nothing there any more.
    pub fn forget_all(&self, owner: &OwnerRecord) {
        self.lock().remove(owner);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<OwnerRecord, BTreeMap<ObjectKey, Holding>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
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
            held.note(&owner, first.as_ref(), now, |key| key.name == "web");
        };
        note(&[meta("web", "1"), meta("db", "2")]);
        note(&[]);
        assert_eq!(held.title(&owner, first.as_ref(), &meta("web", "1")), Some(Title::Created));
        for (what, owner_uid, object) in [
            ("made anew under its name", &first, meta("web", "3")),
            ("without a UID", &first, ObjectMeta { uid: None, ..meta("web", "1") }),
            ("of an owner that was made anew", &second, meta("web", "1")),
            ("that cannot return", &first, meta("db", "2")),
        ] {
            assert_eq!(held.title(&owner, owner_uid.as_ref(), &object), None, "{what}");
        }
        held.forget(&owner, &ObjectKey::cluster_scoped("web"));
        assert_eq!(held.title(&owner, first.as_ref(), &meta("web", "1")), None, "released");
        note(&[meta("web", "1")]);
        held.forget_all(&owner);
        assert_eq!(held.title(&owner, first.as_ref(), &meta("web", "1")), None, "deselected");
    }
}
