//! By what it is told whether policies were changed in between.

use drover_roles::digest;
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::ObjectMeta, jiff::Timestamp};

/// A state of policies that were found as they should be: whoever changes one of them and changes it back, or deletes it and creates it
/// again, leaves another state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoliciesState {
    /// Tells it from any other one: 26 letters and digits, however many policies there are.
    pub id: String,
    /// Since when it is in place, by the API server's clock; none where that cannot be told, as one was changed after its creation.
    pub since: Option<Timestamp>,
}

impl PoliciesState {
    /// That of policies, and of what puts them into force, by their metadata.
    #[must_use]
    pub fn of(metas: &[ObjectMeta]) -> Self {
        // The API server gives each object another UID, and counts the changes of its spec.
        let part = |meta: &ObjectMeta| {
            let uid = meta.uid.as_deref().unwrap_or_default();
            format!("{uid}-{}", meta.generation.unwrap_or_default())
        };
        let created = metas.iter().map(|meta| {
            let is_unchanged = meta.generation.is_none_or(|generation| generation <= 1);
            meta.creation_timestamp.as_ref().filter(|_| is_unchanged).map(|time| time.0)
        });
        let since = created.collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().max());
        Self { id: digest(&metas.iter().map(part).collect::<Vec<_>>().join(".")), since }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn meta(uid: &str, generation: i64, second: i64) -> ObjectMeta {
        let created = Timestamp::from_second(second).unwrap();
        ObjectMeta {
            uid: Some(uid.to_owned()),
            generation: Some(generation),
            creation_timestamp: Some(Time(created)),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn t11_another_object_and_a_change_that_is_taken_back_leave_another_state() {
        let of = |metas: [ObjectMeta; 2]| PoliciesState::of(&metas);
        let before = of([meta("a", 1, 10), meta("b", 1, 20)]);
        assert_eq!(before.since, Some(Timestamp::from_second(20).unwrap()));
        let mut labelled = meta("b", 1, 20);
        labelled.labels = Some([("look".to_owned(), "1".to_owned())].into());
        assert_eq!(of([meta("a", 1, 10), labelled]), before, "metadata say nothing");
        let again = of([meta("a", 1, 10), meta("c", 1, 30)]);
        assert!(again.id != before.id && again.since == Some(Timestamp::from_second(30).unwrap()));
        let altered = of([meta("a", 3, 10), meta("b", 1, 20)]);
        assert!(altered.id != before.id && altered.since.is_none());
    }

    #[test]
    fn a_state_of_all_policies_fits_into_a_status() {
        let count = 2 * crate::management::policies().len();
        let uid = "3f2a91c0-0000-4000-8000-000000000000";
        let metas: Vec<ObjectMeta> = (0..count).map(|_| meta(uid, 99_999_999, 0)).collect();
        assert!(PoliciesState::of(&metas).id.len() <= 256);
    }
}
