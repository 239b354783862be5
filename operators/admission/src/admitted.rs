//! Whether what a template or a binding says was written while the admission policies were in place that say who may write it. Pure.
//!
//! Each records in its status which generation of its spec was judged, under which state of the policies. A change is judged
//! where the state is still the same. After policies were missing or altered, what was written in between is not told from what was
//! written later by any time that its writer could not set, so only what was created since is taken for judged.
//!
//! Of a template the policies judge only the rights, so the record tells them by a hash: who may change its other texts admits
//! nothing. What was admitted last may be put back at any time.
//!
//! | the record | the spec | the policies since | admitted |
//! |---|---|---|---|
//! | there | as recorded | – | as recorded |
//! | there | changed | the same | yes |
//! | there | changed | others | no: it may have been written in between |
//! | there | with the rights that were admitted last | – | yes |
//! | there or none | a template with the rights that ship under its name | – | yes, where the chart writes them |
//! | none | – | in place when the object was created | yes |
//! | none | – | not in place then | only if Drover never saw another state of the policies, as when it is installed |

use drover_crds::{
    Admission, CatalogApp, CisScan, CisScanSchedule, ClusterRoleTemplateBinding, EtcdBackup, EtcdBackupSchedule,
    MultiClusterApp, ProjectRoleTemplateBinding, RoleTemplate, RoleTemplateSpec,
};
use drover_roles::digest;
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::Resource;

use crate::PoliciesState;

/// What the admission policies judge.
pub trait Judged: Resource<DynamicType = ()> {
    /// Under which policies it was written, as far as that was recorded.
    fn admission(&self) -> Option<&Admission>;

    /// Tells the rights from any others, where the policies judge these alone; none where they judge the whole spec.
    fn rights(&self) -> Option<String> {
        None
    }

    /// What the record says of whether it counts.
    fn verdict(&self) -> Option<(bool, &str)> {
        self.admission().map(|record| (record.admitted, &*record.policies))
    }
}

impl Judged for ProjectRoleTemplateBinding {
    fn admission(&self) -> Option<&Admission> {
        self.status.as_ref()?.admission.as_ref()
    }
}

impl Judged for ClusterRoleTemplateBinding {
    fn admission(&self) -> Option<&Admission> {
        self.status.as_ref()?.admission.as_ref()
    }
}

impl Judged for CatalogApp {
    fn admission(&self) -> Option<&Admission> {
        self.status.as_ref()?.admission.as_ref()
    }
}

impl Judged for MultiClusterApp {
    fn admission(&self) -> Option<&Admission> {
        self.status.as_ref()?.admission.as_ref()
    }
}

impl Judged for EtcdBackup {
    fn admission(&self) -> Option<&Admission> {
        self.status.as_ref()?.admission.as_ref()
    }

    /// A deletion is a generation of its own, and obeys what was judged before.
    fn rights(&self) -> Option<String> {
        serde_json::to_value(&self.spec).ok().map(|spec| digest(&spec.to_string()))
    }
}

impl Judged for EtcdBackupSchedule {
    fn admission(&self) -> Option<&Admission> {
        self.status.as_ref()?.admission.as_ref()
    }
}

impl Judged for CisScanSchedule {
    fn admission(&self) -> Option<&Admission> {
        self.status.as_ref()?.admission.as_ref()
    }
}

impl Judged for CisScan {
    fn admission(&self) -> Option<&Admission> {
        self.status.as_ref()?.admission.as_ref()
    }
}

impl Judged for RoleTemplate {
    fn admission(&self) -> Option<&Admission> {
        self.status.as_ref()?.admission.as_ref()
    }

    fn rights(&self) -> Option<String> {
        let rights = RoleTemplateSpec { display_name: None, description: None, ..self.spec.clone() };
        serde_json::to_value(rights).ok().map(|rights| digest(&rights.to_string()))
    }
}

/// Whether an object may give what it gives.
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
    /// By the record of an object. `policies` is asked only if the record does not tell.
    pub fn of<J: Judged>(object: &J, policies: impl FnOnce() -> Option<PoliciesState>) -> Self {
        let Some(record) = object.admission() else { return Self::Unjudged };
        match recorded(object, record) {
            Some(true) => Self::Yes,
            Some(false) => Self::No,
            None => match policies() {
                Some(now) if now.id == record.policies => Self::Yes,
                // The record is about to say so.
                Some(_) | None => Self::Unjudged,
            },
        }
    }
}

/// What a record says of the spec as it is now; none if that is another one.
fn recorded<J: Judged>(object: &J, record: &Admission) -> Option<bool> {
    if record.generation == object.meta().generation.unwrap_or_default() {
        return Some(record.admitted);
    }
    let rights = object.rights()?;
    if record.admitted_rights.as_ref() == Some(&rights) {
        return Some(true);
    }
    (record.rights == Some(rights)).then_some(record.admitted)
}

/// What the records say of the past.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Whether another state of the policies was in place before.
    has_former: bool,
    /// Since when the state is known to be in place.
    since: Option<Timestamp>,
}

impl Evidence {
    /// What is known of this state.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Admission>, policies: &PoliciesState) -> Self {
        let mut evidence = Self { has_former: false, since: policies.since };
        for record in records {
            evidence.has_former |= record.first != policies.id;
            let of_this = (record.policies == policies.id).then_some(record.since.0);
            evidence.since = of_this.into_iter().chain(evidence.since).min();
        }
        evidence
    }

    fn admits(&self, created: Option<Timestamp>) -> bool {
        !self.has_former || self.since.zip(created).is_some_and(|(since, created)| since < created)
    }
}

/// The record of an object as it should be. While the policies are not in place it stays as it is. What `ships` counts in any case.
pub fn record<J: Judged>(
    object: &J,
    policies: Option<&PoliciesState>,
    evidence: &Evidence,
    ships: bool,
    now: Timestamp,
) -> Option<Admission> {
    let former = object.admission();
    let Some(policies) = policies else { return former.cloned() };
    let (meta, state) = (object.meta(), &policies.id);
    let admitted = ships
        || match former {
            Some(former) => recorded(object, former).unwrap_or(former.policies == *state),
            None => evidence.admits(meta.creation_timestamp.as_ref().map(|time| time.0)),
        };
    let rights = object.rights();
    Some(Admission {
        generation: meta.generation.unwrap_or_default(),
        admitted,
        policies: state.clone(),
        first: former.map_or(state, |former| &former.first).clone(),
        since: former.filter(|former| former.policies == *state).map_or(Time(now), |former| former.since.clone()),
        admitted_rights: if admitted {
            rights.clone()
        } else {
            former.and_then(|former| former.admitted_rights.clone())
        },
        rights,
    })
}

/// Whether the record of an object says that its spec gives nothing new.
pub fn is_refused<J: Judged>(object: &J, record: Option<&Admission>) -> bool {
    let is_current = |record: &Admission| record.generation == object.meta().generation.unwrap_or_default();
    record.is_some_and(|record| is_current(record) && !record.admitted)
}

#[cfg(test)]
mod tests {
    use drover_crds::{RoleBindingStatus, RoleTemplateStatus};
    use k8s_openapi::jiff::SignedDuration;
    use proptest::prelude::*;
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
        Admission {
            generation,
            admitted,
            policies: text(policies),
            first: text("a"),
            since: Time(at(0)),
            rights: None,
            admitted_rights: None,
        }
    }

    /// What the next record says, and whether the binding counts before it is written and after.
    fn judged(binding: &ProjectRoleTemplateBinding, now: Option<&PoliciesState>, evidence: &Evidence) -> [Admitted; 2] {
        let before = Admitted::of(binding, || now.cloned());
        let mut after = binding.clone();
        after.status.as_mut().unwrap().admission = record(binding, now, evidence, false, at(100));
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
            let evidence = Evidence::of(&records, &policies);
            let binding = written(1, created, None);
            assert_eq!(judged(&binding, Some(&policies), &evidence), [Unjudged, expected], "{what}");
        }
    }

    #[test]
    fn a_record_at_rest_stays_as_it_is_and_tells_since_when_the_policies_are_in_place() {
        let (a, b, none) = (state("a", None), state("b", None), Evidence::default());
        let before = recorded(1, true, "a");
        let of = |policies: &PoliciesState| {
            record(&written(1, 0, Some(before.clone())), Some(policies), &none, false, at(100)).unwrap()
        };
        assert_eq!(of(&a), before);
        let after = of(&b);
        assert_eq!((after.first.as_str(), after.policies.as_str(), after.since.0), ("a", "b", at(100)));
    }

    /// A template that allows to do this, with such texts, in the generation that was created then.
    fn allows(verb: &str, text: &str, generation: i64, created: i64, record: Option<&Admission>) -> RoleTemplate {
        let rule = json!({"apiGroups": [""], "resources": ["pods"], "verbs": [verb]});
        let spec = json!({"context": "Project", "rules": [rule], "description": text});
        let mut template = RoleTemplate::new("viewer", serde_json::from_value(spec).unwrap());
        template.metadata.generation = Some(generation);
        template.metadata.creation_timestamp = Some(Time(at(created)));
        template.status = Some(RoleTemplateStatus { admission: record.cloned(), ..RoleTemplateStatus::default() });
        template
    }

    /// What is written, with which text; under which policies that is looked at; whether it ships; whether it counts then.
    type Step<'a> = (&'a str, &'a str, Option<&'a PoliciesState>, bool, bool);

    #[test]
    fn t11_what_a_template_allows_counts_if_it_was_written_under_policies_and_its_texts_admit_nothing() {
        let (a, b, c, none) = (state("a", None), state("b", None), state("c", None), Evidence::default());
        let stories: [(&str, &[Step<'_>]); 8] = [
            ("under the same policies", &[("get", "", Some(&a), false, true), ("list", "", Some(&a), false, true)]),
            (
                "while one was missing, and then another text",
                &[
                    ("get", "", Some(&a), false, true),
                    ("delete", "", None, false, false),
                    ("delete", "", Some(&b), false, false),
                    ("delete", "harmless", Some(&b), false, false),
                    ("delete", "harmless", Some(&c), false, false),
                ],
            ),
            (
                "and put back",
                &[
                    ("get", "", Some(&a), false, true),
                    ("delete", "", Some(&b), false, false),
                    ("get", "x", Some(&b), false, true),
                ],
            ),
            (
                "and put back while one was missing",
                &[
                    ("get", "", Some(&a), false, true),
                    ("delete", "", Some(&b), false, false),
                    ("get", "", None, false, true),
                ],
            ),
            (
                "and other rights, then the same once more",
                &[
                    ("get", "", Some(&a), false, true),
                    ("delete", "", Some(&b), false, false),
                    ("list", "", Some(&b), false, true),
                    ("delete", "", Some(&b), false, true),
                ],
            ),
            ("another text only", &[("get", "", Some(&a), false, true), ("get", "new", Some(&b), false, true)]),
            ("an upgrade of what ships", &[("get", "", Some(&a), false, true), ("list", "", Some(&b), true, true)]),
            (
                "an upgrade that brings what was refused",
                &[
                    ("get", "", Some(&a), false, true),
                    ("list", "", Some(&b), false, false),
                    ("list", "", Some(&c), true, true),
                ],
            ),
        ];
        for (what, steps) in stories {
            let mut former: Option<Admission> = None;
            let mut generation = 0;
            for (verb, text, policies, ships, expected) in steps {
                generation += 1;
                let template = allows(verb, text, generation, 0, former.as_ref());
                let before = Admitted::of(&template, || policies.cloned());
                former = record(&template, *policies, &none, *ships, at(100));
                let after = Admitted::of(&allows(verb, text, generation, 0, former.as_ref()), || policies.cloned());
                assert_eq!(after == Admitted::Yes, *expected, "{what}: {verb} {text} {after:?}");
                assert!(before != Admitted::Yes || *expected, "{what}: {verb} {text} counts too early");
            }
        }
    }

    proptest! {
        /// Whatever else is written, whenever policies change, and however often: what nobody judged never counts.
        #[test]
        fn t11_rights_that_are_written_without_policies_alone_never_count(
            steps in proptest::collection::vec((0..6_usize, any::<bool>(), any::<bool>(), 0..3_usize), 1..12)
        ) {
            const BAD: usize = 5;
            let verbs = ["get", "list", "watch", "create", "patch", "delete"];
            let first = state("0", None);
            let mut former = record(&allows("get", "", 1, 0, None), Some(&first), &Evidence::default(), false, at(0));
            let (mut policies, mut generation, mut now_allows) = (0, 1, 0);
            for (verb, is_missing, is_looked_at, text) in steps {
                // Without policies anything is written, and their next state is another one; under them, nothing bad.
                if is_missing {
                    now_allows = verb;
                    policies += 1;
                } else if verb != BAD {
                    now_allows = verb;
                }
                generation += 1;
                let state = state(&policies.to_string(), None);
                let text = text.to_string();
                let template = allows(verbs[now_allows], &text, generation, 0, former.as_ref());
                if now_allows == BAD {
                    prop_assert!(Admitted::of(&template, || Some(state.clone())) != Admitted::Yes);
                }
                if is_looked_at || is_missing {
                    former = record(&template, Some(&state), &Evidence::default(), false, at(0));
                    let template = allows(verbs[now_allows], &text, generation, 0, former.as_ref());
                    let admitted = Admitted::of(&template, || Some(state.clone()));
                    prop_assert!(now_allows != BAD || admitted == Admitted::No);
                }
            }
        }
    }
}
