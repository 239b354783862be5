//! Objects that an owner wants at a place, against those that are there: one change for each difference, generic over the kind.
//!
//! A kind with fixed names compares whole sets ([`difference`]); one that asks for consent first compares object by object
//! ([`restore`], [`relabel`]). Both end in [`Change`]s, of which each is one action of a plan.

use std::{collections::BTreeMap, fmt, sync::Arc};

use drover_crds::names::{ANNOTATION_APPLIED, ANNOTATION_OWNER_UID};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    StatusCause,
    cache::{Kept, ObjectKey, OwnerRecord, Undecodable},
    operator::{Operator, Owner},
    owner::Title,
    place::PlaceContext,
    write::{Server, Step, WriteError, Writer, desired_hash},
};

/// The kind whose objects are namespaces themselves.
const NAMESPACE: &str = "Namespace";

/// One change of one object.
#[derive(Clone, PartialEq)]
pub enum Change<K> {
    /// It does not exist.
    Create {
        /// As wanted.
        desired: Box<K>,
        /// The required and immutable fields of the kind, such as `roleRef`, which the first request has to carry; null for a
        /// kind that has none.
        seed: Value,
    },
    /// It is ours and differs.
    Apply {
        /// As wanted.
        desired: Box<K>,
        /// As it is.
        live: Box<ObjectMeta>,
        /// The fields that another client changed back.
        reverted: Vec<String>,
    },
    /// It exists, and both sides agreed that we take it over.
    Adopt {
        /// As wanted.
        desired: Box<K>,
        /// As it is.
        live: Box<ObjectMeta>,
    },
    /// Both sides agreed that we take it over, and its former owner left its labels on it: they go first, as an adopted object
    /// is not written by force, and these labels would be a conflict.
    Disown {
        /// As it is.
        live: Box<ObjectMeta>,
        /// The owner that its labels record.
        owner: ObjectKey,
    },
    /// It stays, and is not ours any more.
    Release(Box<ObjectMeta>),
    /// It carries our labels and was created for another owner: only the labels go.
    Disclaim(Box<ObjectMeta>),
    /// It goes, with everything in it.
    Delete(Box<ObjectMeta>),
}

impl<K: Kept> Change<K> {
    /// Creates an object of a kind that needs nothing but a name.
    #[must_use]
    pub fn create(desired: K) -> Self {
        Self::Create { desired: Box::new(desired), seed: Value::Null }
    }

    /// The namespace that it is about: the object itself, or where that lies; none for other objects of the whole cluster.
    #[must_use]
    pub fn namespace(&self) -> Option<String> {
        let meta = self.meta();
        let own_name = || meta.name.clone().filter(|_| K::kind(&()) == NAMESPACE);
        meta.namespace.clone().or_else(own_name)
    }

    /// The object that it is about.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        ObjectKey::of(self.meta())
    }

    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Create { desired, .. } => desired.meta(),
            Self::Apply { live, .. }
            | Self::Adopt { live, .. }
            | Self::Disown { live, .. }
            | Self::Release(live)
            | Self::Disclaim(live)
            | Self::Delete(live) => live,
        }
    }

    /// Does it, in the name of `owner`. Done twice it ends the same.
    pub async fn carry_out<O: Operator>(self, owner: Owner<'_, O::Kind>, place: &PlaceContext) -> Result<(), WriteError>
    where
        K: Serialize,
    {
        self.write(place.writer::<O>(owner)).await
    }

    /// The same for a kind of which `desired` tells only that its content is another one: `content`, the fields of the object besides
    /// its metadata, is written in its place, all at once. No error quotes it.
    pub async fn carry_out_with<O: Operator>(
        self,
        owner: Owner<'_, O::Kind>,
        place: &PlaceContext,
        content: &Map<String, Value>,
    ) -> Result<(), WriteError>
    where
        K: Serialize,
    {
        self.write_with(place.writer::<O>(owner), content).await
    }

    /// The same with any writer.
    pub(crate) async fn write_with<S: Server>(
        self,
        writer: Writer<S>,
        content: &Map<String, Value>,
    ) -> Result<(), WriteError>
    where
        K: Serialize,
    {
        let written = match self {
            Self::Create { desired, .. } => writer.create_with(&*desired, content).await,
            Self::Apply { desired, live, reverted } => writer.replace_with(&*desired, &live, &reverted, content).await,
            other => other.write(writer).await,
        };
        written.map_err(WriteError::unquoted)
    }

    /// [`Self::carry_out`] with any writer.
    pub(crate) async fn write<S: Server>(self, writer: Writer<S>) -> Result<(), WriteError>
    where
        K: Serialize,
    {
        match self {
            Self::Create { desired, seed } => writer.create_from(&*desired, seed).await,
            Self::Apply { desired, live, reverted } => writer.apply(&*desired, &live, &reverted).await,
            Self::Adopt { desired, live } => writer.adopt(&*desired, &live).await,
            Self::Disown { live, owner } => writer.in_the_name_of(owner).release::<K>(&live).await,
            Self::Release(live) => writer.release::<K>(&live).await,
            Self::Disclaim(live) => writer.disclaim::<K>(&live).await,
            Self::Delete(live) => writer.delete::<K>(&live).await,
        }
    }
}

impl<K: Kept> fmt::Debug for Change<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self {
            Self::Create { .. } => "create",
            Self::Apply { .. } => "apply",
            Self::Adopt { .. } => "adopt",
            Self::Disown { .. } => "disown",
            Self::Release(_) => "release",
            Self::Disclaim(_) => "disclaim",
            Self::Delete(_) => "delete",
        };
        write!(formatter, "{verb} {} {}", K::kind(&()), self.key())
    }
}

/// What becomes of one object of ours.
#[derive(Clone, Debug, PartialEq)]
pub enum Restored<K: Kept> {
    /// It is as wanted.
    AsWanted,
    /// It differs.
    Differs(Change<K>),
    /// Another client keeps changing these fields back: it is left alone.
    Conflict(Vec<String>),
}

/// Compares an object of ours with what is wanted. `drift_conflict` is the hash of the desired state that another client keeps
/// reverting, if one does: a new desired state is no conflict, even over the same field.
pub fn restore<K: Kept + Serialize>(desired: K, live: &Arc<K>, drift_conflict: Option<&str>) -> Restored<K> {
    restore_whole(desired, live, drift_conflict, &[])
}

/// The same where the fields at the JSON pointers `whole` are ours alone: what another client adds to them counts as changed.
fn restore_whole<K: Kept + Serialize>(
    desired: K,
    live: &Arc<K>,
    drift_conflict: Option<&str>,
    whole: &[&str],
) -> Restored<K> {
    match Step::between_whole(&desired, Some(live), whole) {
        Step::Keep => Restored::AsWanted,
        Step::Create => Restored::Differs(Change::create(desired)),
        Step::Apply { reverted } if drift_conflict == Some(&desired_hash(&desired)) => {
            Restored::Conflict(or_the_hash(reverted))
        }
        Step::Apply { reverted } => {
            let live = Box::new(live.meta().clone());
            Restored::Differs(Change::Apply { desired: Box::new(desired), live, reverted })
        }
    }
}

/// What becomes of an object of ours without the labels that say so: they come back, unless another client keeps taking them.
pub fn relabel<K: Kept + Serialize>(desired: K, live: &ObjectMeta, drift_conflict: Option<&str>) -> Restored<K> {
    let reverted = vec!["metadata.labels".to_owned()];
    if drift_conflict == Some(&desired_hash(&desired)) {
        return Restored::Conflict(reverted);
    }
    Restored::Differs(Change::Apply { desired: Box::new(desired), live: Box::new(live.clone()), reverted })
}

fn or_the_hash(reverted: Vec<String>) -> Vec<String> {
    if reverted.is_empty() { vec![ANNOTATION_APPLIED.to_owned()] } else { reverted }
}

/// An object that carries the labels of an owner.
#[derive(Debug)]
pub struct Owned<K> {
    /// As it is; one that does not decode is owned all the same.
    pub live: Result<Arc<K>, Arc<Undecodable>>,
    /// The hash of the desired state that another client keeps reverting, if one does.
    pub drift_conflict: Option<String>,
    /// Why it belongs to the owner, or does not.
    pub title: Title,
}

impl<K> Clone for Owned<K> {
    fn clone(&self) -> Self {
        Self { live: self.live.clone(), drift_conflict: self.drift_conflict.clone(), title: self.title }
    }
}

impl<K: Kept> Owned<K> {
    /// All `K` at this place that carry the labels of `owner`, out of the cache.
    #[must_use]
    pub fn at(place: &PlaceContext, owner: &OwnerRecord) -> Vec<Self> {
        let found = place.cache.informer::<K>(&OwnerRecord::query(owner.kind)).owned(owner);
        let with_marks = found.into_iter().map(|live| {
            let mut found = Self { live, drift_conflict: None, title: Title::Unfounded };
            found.title = owner.title(found.meta(), place.fleet.installation());
            let uid = found.meta().uid.as_deref();
            found.drift_conflict = uid.and_then(|uid| place.cache.drift_conflicts().drift_conflict(uid));
            found
        });
        with_marks.collect()
    }

    /// Its metadata.
    #[must_use]
    pub fn meta(&self) -> &ObjectMeta {
        match &self.live {
            Ok(live) => live.meta(),
            Err(undecodable) => &undecodable.meta,
        }
    }
}

/// What lies between what is owned and what is wanted.
#[derive(Debug)]
pub struct Difference<K: Kept> {
    /// What to do.
    pub changes: Vec<Change<K>>,
    /// Wanted objects that are left alone for now, and why: an empty list of changes does not mean that all is as wanted.
    pub left_alone: Vec<(ObjectKey, StatusCause)>,
}

/// The changes from what is owned to what is wanted, for objects whose names are theirs alone: create, restore, and prune what
/// is not wanted. What another client keeps changing back, what does not decode and what is being deleted is left alone for
/// now; what Drover did not create is released, never deleted, and what only carries the labels of the owner is released although
/// it is wanted.
///
/// `seed` gives the fields that the first request for an object must carry. Those are fixed: an API server refuses every other
/// value from then on, and no change here replaces an object. So the name has to tell them, as `drover:view:…` tells the role of
/// a binding; then another value is another object, and the one before is pruned.
pub fn difference<K: Kept + Serialize>(
    wanted: Vec<K>,
    owned: &[Owned<K>],
    seed: impl Fn(&K) -> Value,
) -> Difference<K> {
    difference_of_whole(wanted, owned, seed, &[])
}

/// The same where the fields at the JSON pointers `whole` are ours alone, such as `/spec/podSelector`: what another client adds to
/// them is taken off again, as it may widen what the object allows.
pub fn difference_of_whole<K: Kept + Serialize>(
    wanted: Vec<K>,
    owned: &[Owned<K>],
    seed: impl Fn(&K) -> Value,
    whole: &[&str],
) -> Difference<K> {
    let restore = |desired, live: &_, drift_conflict: Option<&str>| restore_whole(desired, live, drift_conflict, whole);
    difference_by(wanted, owned, seed, restore)
}

/// The same for a kind that `restore` compares with what is wanted, as [`restore`](fn@restore) does for others.
pub fn difference_by<K: Kept>(
    wanted: Vec<K>,
    owned: &[Owned<K>],
    seed: impl Fn(&K) -> Value,
    restore: impl Fn(K, &Arc<K>, Option<&str>) -> Restored<K>,
) -> Difference<K> {
    let mut there: BTreeMap<ObjectKey, &Owned<K>> =
        owned.iter().map(|found| (ObjectKey::of(found.meta()), found)).collect();
    let (mut changes, mut left_alone) = (Vec::new(), Vec::new());
    for desired in wanted {
        let key = ObjectKey::of(desired.meta());
        let verdict = match there.remove(&key) {
            None => Ok(Some(Change::Create { seed: seed(&desired), desired: Box::new(desired) })),
            Some(found) if found.meta().deletion_timestamp.is_some() => Err(StatusCause::Terminating),
            Some(found) if matches!(found.title, Title::Another | Title::Unfounded) => Ok(removed(found)),
            Some(Owned { live: Err(_), .. }) => Err(StatusCause::UndecodableObject),
            Some(Owned { live: Ok(live), drift_conflict, .. }) => {
                match restore(desired, live, drift_conflict.as_deref()) {
                    Restored::AsWanted => Ok(None),
                    Restored::Differs(change) => Ok(Some(change)),
                    Restored::Conflict(_) => Err(StatusCause::DriftConflict),
                }
            }
        };
        match verdict {
            Ok(change) => changes.extend(change),
            Err(cause) => left_alone.push((key, cause)),
        }
    }
    changes.extend(there.into_values().filter_map(removed));
    Difference { changes, left_alone }
}

/// A group for each change, as each is about another object: one that is refused holds up no other.
#[must_use]
pub fn each_alone<A>(changes: Vec<A>) -> Vec<Vec<A>> {
    changes.into_iter().map(|change| vec![change]).collect()
}

/// What becomes of an object of ours that is not wanted any more.
fn removed<K: Kept>(found: &Owned<K>) -> Option<Change<K>> {
    let live = found.meta();
    let change = match found.title {
        Title::Created => Change::Delete,
        Title::Adopted | Title::Unfounded => Change::Release,
        Title::Another => Change::Disclaim,
    };
    live.deletion_timestamp.is_none().then(|| change(Box::new(live.clone())))
}

/// Whether the object was made for an owner with this UID, by its annotation, which goes when it is released.
#[must_use]
pub fn is_made_for(meta: &ObjectMeta, uid: Option<&String>) -> bool {
    let made_for = meta.annotations.as_ref().and_then(|all| all.get(ANNOTATION_OWNER_UID));
    made_for.is_some() && made_for == uid
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::core::v1::{ConfigMap, Namespace, Node},
        apimachinery::pkg::apis::meta::v1::Time,
        jiff::Timestamp,
    };
    use serde_json::json;

    use super::*;

    fn config(name: &str, value: &str, annotations: &Value) -> ConfigMap {
        let meta = json!({"name": name, "namespace": "team", "annotations": annotations});
        serde_json::from_value(json!({"metadata": meta, "data": {"key": value}})).unwrap()
    }

    fn wanted(name: &str) -> ConfigMap {
        config(name, "wanted", &Value::Null)
    }

    fn owned(live: ConfigMap) -> Owned<ConfigMap> {
        Owned { live: Ok(Arc::new(live)), drift_conflict: None, title: Title::Created }
    }

    /// As it is once `wanted` was applied, and `value` was written since.
    fn live(name: &str, value: &str) -> Owned<ConfigMap> {
        owned(config(name, value, &json!({ANNOTATION_APPLIED: desired_hash(&wanted(name))})))
    }

    fn changes(names: &[&str], owned: &[Owned<ConfigMap>]) -> Vec<String> {
        let wanted = names.iter().map(|name| wanted(name)).collect();
        {
            let Difference { changes, left_alone } = difference(wanted, owned, |_| Value::Null);
            let changes = changes.iter().map(|change| format!("{change:?}"));
            changes.chain(left_alone.iter().map(|(key, cause)| format!("{} {}", cause.reason(), key.name))).collect()
        }
    }

    #[test]
    fn a_change_names_the_namespace_that_it_is_about() {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some("team-web".to_owned());
        assert_eq!(Change::create(namespace.clone()).namespace().as_deref(), Some("team-web"));
        assert_eq!(Change::<Namespace>::Delete(Box::new(namespace.metadata)).namespace().as_deref(), Some("team-web"));
        assert_eq!(Change::create(wanted("settings")).namespace().as_deref(), Some("team"));
        let mut node = Node::default();
        node.metadata.name = Some("worker".to_owned());
        assert_eq!(Change::create(node).namespace(), None);
    }

    #[test]
    fn a_set_is_created_restored_and_pruned() {
        let owned = [live("same", "wanted"), live("changed", "other"), live("unwanted", "wanted")];
        let expected = ["create ConfigMap team/new", "apply ConfigMap team/changed", "delete ConfigMap team/unwanted"];
        assert_eq!(changes(&["new", "same", "changed"], &owned), expected);
        assert_eq!(changes(&["same"], &owned[..1]), [""; 0]);
        let drift_conflict =
            Owned { drift_conflict: Some(desired_hash(&wanted("changed"))), ..live("changed", "other") };
        assert_eq!(changes(&["changed"], &[drift_conflict]), ["DriftConflict changed"]);
    }

    #[test]
    fn what_another_client_adds_counts_only_where_the_field_is_ours_alone() {
        let mut grown = live("grown", "wanted");
        Arc::make_mut(grown.live.as_mut().unwrap()).data.as_mut().unwrap().insert("more".to_owned(), "x".to_owned());
        assert_eq!(changes(&["grown"], std::slice::from_ref(&grown)), [""; 0]);
        let found = difference_of_whole(vec![wanted("grown")], &[grown], |_| Value::Null, &["/data"]).changes;
        let [Change::Apply { reverted, .. }] = &found[..] else { panic!("{found:?}") };
        assert_eq!(reverted, &["data"]);
    }

    #[test]
    fn what_was_adopted_is_released_and_what_goes_or_does_not_decode_is_left_alone() {
        let adopted = Owned { title: Title::Adopted, ..live("adopted", "wanted") };
        let mut going = wanted("going");
        going.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        let undecodable = Undecodable { meta: wanted("broken").metadata, error: "nonsense".to_owned() };
        let all = [
            adopted,
            owned(going),
            Owned { live: Err(Arc::new(undecodable)), drift_conflict: None, title: Title::Created },
        ];
        let expected = ["release ConfigMap team/adopted", "Terminating going", "UndecodableObject broken"];
        assert_eq!(changes(&["going", "broken"], &all), expected);
        assert_eq!(changes(&[], &all[1..]), ["delete ConfigMap team/broken"]);
        for (title, change) in [(Title::Unfounded, "release"), (Title::Another, "disclaim")] {
            let forged = [Owned { title, ..live("forged", "other") }];
            for wanted in [&[][..], &["forged"]] {
                assert_eq!(
                    changes(wanted, &forged),
                    [format!("{change} ConfigMap team/forged")],
                    "it only carries our labels"
                );
            }
        }
    }
}
