//! Whether what a binding says was written while the admission policies were in place that say who may write it. Pure.
//!
//! Each binding records in its status which generation of its spec was judged, under which state of the policies. A change is judged
//! where the state is still the same. After policies were missing or altered, what was written in between is not told from what was
//! written later by any time that its writer could not set, so only what was created since is taken for judged.
//!
//! | the record | the spec | the policies since | admitted |
//! |---|---|---|---|
//! | there | as recorded | – | as recorded |
//! | there | changed | the same | yes |
//! | there | changed | others | no: it may have been written in between |
//! | none | – | in place when the object was created | yes |
//! | none | – | not in place then | only if Drover never saw another state of the policies, as when it is installed |

use std::{borrow::Borrow, sync::Arc};

use drover_admission::PoliciesState;
use drover_crds::Admission;
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use crate::Binding;

/// Whether a binding may give what it gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It may.
    Yes,
    /// Nobody has looked yet; that takes a moment.
    Unjudged,
    /// It was written while policies were missing or altered.
    No,
}

impl Admitted {
    /// By the record of a binding. `policies` is asked only if the record does not tell.
    pub fn of<B: Binding>(binding: &B, policies: impl FnOnce() -> Option<PoliciesState>) -> Self {
        let generation = binding.meta().generation.unwrap_or_default();
        match binding.admission() {
            None => Self::Unjudged,
            Some(record) if is_refused(binding, Some(record)) => Self::No,
            Some(record) if record.generation == generation => Self::Yes,
            Some(record) => match policies() {
                Some(now) if now.id == record.policies => Self::Yes,
                // The record is about to say so.
                Some(_) | None => Self::Unjudged,
            },
        }
    }
}

/// What the records of all bindings say of the past.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Whether another state of the policies was in place before.
    has_former: bool,
    /// Since when the state is known to be in place.
    since: Option<Timestamp>,
}

impl Evidence {
    /// What is known of this state.
    pub fn of<B: Binding>(bindings: &[Arc<B>], policies: &PoliciesState) -> Self {
        let records: Vec<&Admission> =
            bindings.iter().filter_map(|binding| Borrow::<B>::borrow(binding).admission()).collect();
        let of_this = records.iter().filter(|record| record.policies == policies.id).map(|record| record.since.0);
        Self {
            has_former: records.iter().any(|record| record.first != policies.id),
            since: of_this.chain(policies.since).min(),
        }
    }

    fn admits(&self, created: Option<Timestamp>) -> bool {
        !self.has_former || self.since.zip(created).is_some_and(|(since, created)| since < created)
    }
}

/// The record of a binding as it should be. While the policies are not in place it stays as it is.
pub fn record<B: Binding>(
    binding: &B,
    policies: Option<&PoliciesState>,
    evidence: &Evidence,
    now: Timestamp,
) -> Option<Admission> {
    let former = binding.admission();
    let Some(policies) = policies else { return former.cloned() };
    let (meta, state) = (binding.meta(), &policies.id);
    let generation = meta.generation.unwrap_or_default();
    let fresh = |admitted| Admission {
        generation,
        admitted,
        policies: state.clone(),
        first: former.map_or(state, |former| &former.first).clone(),
        since: former.filter(|former| former.policies == *state).map_or(Time(now), |former| former.since.clone()),
    };
    Some(match former {
        Some(former) if former.generation == generation => fresh(former.admitted),
        Some(former) => fresh(former.policies == *state),
        None => fresh(evidence.admits(meta.creation_timestamp.as_ref().map(|time| time.0))),
    })
}

/// Whether the record of a binding says that its spec gives nothing new.
pub fn is_refused<B: Binding>(binding: &B, record: Option<&Admission>) -> bool {
    let is_current = |record: &Admission| record.generation == binding.meta().generation.unwrap_or_default();
    record.is_some_and(|record| is_current(record) && !record.admitted)
}

#[cfg(test)]
mod tests {
    use drover_crds::{ProjectRoleTemplateBinding, RoleBindingStatus};
    use k8s_openapi::jiff::SignedDuration;
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn at(second: i64) -> Timestamp {
        NOW + SignedDuration::from_secs(second)
    }

    fn state(id: &str, since: Option<i64>) -> PoliciesState {
        PoliciesState { id: id.to_owned(), since: since.map(at) }
    }

    fn written(generation: i64, created: i64, record: Option<Admission>) -> ProjectRoleTemplateBinding {
        let spec = json!({"projectName": "shop", "roleTemplateName": "viewer", "subjects": []});
        let mut binding = ProjectRoleTemplateBinding::new("b", serde_json::from_value(spec).unwrap());
        binding.metadata.generation = Some(generation);
        binding.metadata.creation_timestamp = Some(Time(at(created)));
        binding.status = Some(RoleBindingStatus { admission: record, ..RoleBindingStatus::default() });
        binding
    }

    fn recorded(generation: i64, admitted: bool, policies: &str) -> Admission {
        let text = str::to_owned;
        Admission { generation, admitted, policies: text(policies), first: text("a"), since: Time(at(0)) }
    }

    /// What the next record says, and whether the binding counts before it is written and after.
    fn judged(binding: &ProjectRoleTemplateBinding, now: Option<&PoliciesState>, evidence: &Evidence) -> [Admitted; 2] {
        let before = Admitted::of(binding, || now.cloned());
        let mut after = binding.clone();
        after.status.as_mut().unwrap().admission = record(binding, now, evidence, at(100));
        [before, Admitted::of(&after, || now.cloned())]
    }

    #[test]
    fn t11_what_is_written_while_policies_are_missing_counts_only_once_it_is_written_again() {
        use Admitted::{No, Unjudged, Yes};
        let (a, b, none) = (state("a", None), state("b", None), Evidence::default());
        for (what, generation, record, now, expected) in [
            ("nothing changed", 1, (1, true, "a"), Some(&a), [Yes, Yes]),
            ("a change under the same policies", 2, (1, true, "a"), Some(&a), [Yes, Yes]),
            ("policies are missing", 1, (1, true, "a"), None, [Yes, Yes]),
            ("a change while they are", 2, (1, true, "a"), None, [Unjudged, Unjudged]),
            ("and now they are restored", 2, (1, true, "a"), Some(&b), [Unjudged, No]),
            ("they are still", 2, (2, false, "b"), Some(&b), [No, No]),
            ("and once more", 2, (2, false, "a"), Some(&b), [No, No]),
            ("it is written again", 3, (2, false, "b"), Some(&b), [Yes, Yes]),
            ("unchanged since before", 1, (1, true, "a"), Some(&b), [Yes, Yes]),
        ] {
            let binding = written(generation, 0, Some(recorded(record.0, record.1, record.2)));
            assert_eq!(judged(&binding, now, &none), expected, "{what}");
        }
    }

    #[test]
    fn t11_a_new_binding_counts_if_it_was_created_under_the_policies() {
        use Admitted::{No, Unjudged, Yes};
        let others = |records: &[Admission]| -> Vec<Arc<ProjectRoleTemplateBinding>> {
            records.iter().map(|record| Arc::new(written(1, 0, Some(record.clone())))).collect()
        };
        let seen = |policies: &str, since| Admission { since: Time(at(since)), ..recorded(1, true, policies) };
        for (what, created, policies, records, expected) in [
            ("the first of all, before the policies", 1, state("a", Some(5)), vec![], Yes),
            ("no other state was ever in place", 1, state("a", Some(5)), vec![seen("a", 7)], Yes),
            ("before they were restored", 1, state("b", Some(5)), vec![seen("a", 0)], No),
            ("in the second in which they were", 5, state("b", Some(5)), vec![seen("a", 0)], No),
            ("after they were restored", 6, state("b", Some(5)), vec![seen("a", 0)], Yes),
            ("they were altered, nobody knows when", 6, state("b", None), vec![seen("a", 0)], No),
            ("before another one was judged by them", 6, state("b", None), vec![seen("b", 7)], No),
            ("after another one was", 8, state("b", None), vec![seen("b", 7), seen("b", 9)], Yes),
        ] {
            let evidence = Evidence::of(&others(&records), &policies);
            let binding = written(1, created, None);
            assert_eq!(judged(&binding, Some(&policies), &evidence), [Unjudged, expected], "{what}");
        }
    }

    #[test]
    fn a_record_at_rest_stays_as_it_is_and_tells_since_when_the_policies_are_in_place() {
        let (a, b, none) = (state("a", None), state("b", None), Evidence::default());
        let before = recorded(1, true, "a");
        let of = |policies: &PoliciesState| {
            record(&written(1, 0, Some(before.clone())), Some(policies), &none, at(100)).unwrap()
        };
        assert_eq!(of(&a), before);
        let after = of(&b);
        assert_eq!((after.first.as_str(), after.policies.as_str(), after.since.0), ("a", "b", at(100)));
    }
}
