//! What is to be looked at, and what is known already. Pure.

use drover_crds::MAX_PREVIEWS;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::{Look, Looked, OfStage, Outcome, Subject};

/// How soon it is seen that a look is over, as nothing tells of it.
const SOON: SignedDuration = SignedDuration::from_secs(1);
/// What could not be found out is looked up again after this time.
const AGAIN: SignedDuration = SignedDuration::from_mins(10);

/// What is known of a revision.
#[derive(Clone, Copy, Debug)]
pub struct Knowledge<'a> {
    /// Its name.
    pub revision: &'a str,
    /// What is kept of it.
    pub former: &'a [OfStage],
    /// What is known of the last look.
    pub looked: &'a Looked,
}

/// What follows.
#[derive(Debug, Default)]
pub struct Decided {
    /// What is known by now, in the order of the stages.
    pub known: Vec<OfStage>,
    /// What is to be looked at.
    pub look: Option<Look>,
    /// Whether more will be known before long.
    pub is_outstanding: bool,
    /// When to decide again.
    pub again: Option<Timestamp>,
}

/// Decides what is to be looked at so that all `subjects` are known. What was found counts as long as it `stands`, for the target that was
/// looked at first; of a stage that is no subject any more it is kept.
#[must_use]
pub fn decide(
    knowledge: &Knowledge<'_>,
    subjects: Vec<Subject>,
    stands: &dyn Fn(&OfStage) -> bool,
    now: Timestamp,
) -> Decided {
    let Knowledge { revision, former, looked } = *knowledge;
    let none = Looked::default();
    let looked = if looked.revision == revision { looked } else { &none };
    let is_due = looked.at.is_none_or(|at| now < at || now >= after(at, AGAIN));
    let mut decided = Decided::default();
    // What is not known of a target does not stand.
    let is_found = |known: &&OfStage| matches!(known.outcome, Outcome::Differs(_));
    let stood: Vec<_> = former.iter().filter(is_found).filter(|known| stands(known)).collect();
    let of_stage = |subject: &Subject| stood.iter().copied().find(|known| known.target.stage == subject.target.stage);
    let is_subject = |known: &OfStage| subjects.iter().any(|subject| subject.target.stage == known.target.stage);
    let begun: Vec<_> = stood.iter().copied().filter(|known| !is_subject(known)).collect();
    let (mut missing, mut lacks) = (Vec::new(), false);
    for subject in subjects {
        let fresh = looked.found.iter().find(|known| known.target == subject.target);
        if let Some(known) = fresh.filter(is_found).or_else(|| of_stage(&subject)) {
            decided.known.push(known.clone());
            continue;
        }
        lacks = true;
        decided.is_outstanding |= is_due || looked.is_running || !looked.asked.contains(&subject.target);
        // While it is looked at again, it is as it was.
        decided.known.extend(fresh.cloned());
        if is_due || fresh.is_none() {
            missing.push(subject);
        }
    }
    let is_new = |subject: &&Subject| !decided.known.iter().any(|known| known.target == subject.target);
    let room = MAX_PREVIEWS.saturating_sub(decided.known.len() + missing.iter().filter(is_new).count());
    decided.known.splice(..0, begun.iter().skip(begun.len().saturating_sub(room)).copied().cloned());
    decided.again = if decided.is_outstanding {
        Some(after(now, SOON))
    } else {
        looked.at.filter(|_| lacks).map(|at| after(at, AGAIN))
    };
    if decided.is_outstanding && !looked.is_running {
        decided.look = Some(Look { revision: revision.to_owned(), subjects: missing, at: now });
    }
    decided
}

fn after(at: Timestamp, pause: SignedDuration) -> Timestamp {
    at.checked_add(pause).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Differs, Target};

    fn subject(stage: &str, released: &str) -> Subject {
        let app = json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "CatalogApp", "metadata": {"name": "web", "namespace": "team-a"},
            "spec": {"clusterName": "eu", "namespace": "shop", "roleTemplateName": "r", "chart": {}},
        });
        let target = Target { stage: stage.into(), cluster: "eu".into(), released: Some(released.into()) };
        Subject { target, app: serde_json::from_value(app).unwrap(), chosen: None }
    }

    fn found(subject: &Subject) -> OfStage {
        OfStage { target: subject.target.clone(), outcome: Outcome::Differs(Differs::default()) }
    }

    fn unknown(subject: &Subject) -> OfStage {
        let outcome = Outcome::Unknown { reason: "Unreachable".into(), message: String::new() };
        OfStage { target: subject.target.clone(), outcome }
    }

    fn second(at: i64) -> Timestamp {
        Timestamp::from_second(at).unwrap()
    }

    /// What was looked at by second 100 for the revision `two`.
    fn looked(subjects: &[Subject], is_running: bool, found: Vec<OfStage>) -> Looked {
        let asked = subjects.iter().map(|subject| subject.target.clone()).collect();
        Looked { revision: "two".to_owned(), asked, at: Some(second(100)), is_running, found }
    }

    /// What follows at a second, with what stands of the former.
    fn follows(former: &[OfStage], looked: &Looked, subjects: &[Subject], at: i64) -> Decided {
        let knowledge = Knowledge { revision: "two", former, looked };
        let stands = |found: &OfStage| found.target.released.as_deref() != Some("old");
        decide(&knowledge, subjects.to_vec(), &stands, second(at))
    }

    fn asked(decided: &Decided) -> Vec<&str> {
        decided.look.iter().flat_map(|look| &look.subjects).map(|subject| &*subject.target.stage).collect()
    }

    #[test]
    fn what_is_not_known_is_looked_at_once() {
        let both = [subject("canary", "one"), subject("rest", "one")];
        let first = follows(&[], &Looked::default(), &both, 100);
        assert_eq!((asked(&first), first.is_outstanding), (vec!["canary", "rest"], true));
        let running = follows(&[], &looked(&both, true, Vec::new()), &both, 101);
        assert!(running.look.is_none() && running.is_outstanding && running.again == Some(second(102)));
        let over = follows(&[], &looked(&both, false, both.iter().map(found).collect()), &both, 101);
        assert_eq!((over.known.len(), over.is_outstanding, over.again), (2, false, None));
        assert!(over.look.is_none());
        let kept = follows(&over.known, &Looked::default(), &both, 9_999);
        assert_eq!((kept.known, kept.is_outstanding), (over.known, false), "after a restart it is read, not looked up");
    }

    #[test]
    fn another_revision_or_another_release_is_looked_at_anew_and_nothing_else() {
        let both = [subject("canary", "one"), subject("rest", "one")];
        let of_former = Looked { revision: "one".to_owned(), ..looked(&both, true, Vec::new()) };
        assert_eq!(asked(&follows(&[], &of_former, &both, 101)), ["canary", "rest"]);
        let former = [found(&subject("canary", "one")), found(&subject("rest", "old"))];
        let decided = follows(&former, &Looked::default(), &both, 101);
        assert_eq!((asked(&decided), decided.known.len()), (vec!["rest"], 1));
    }

    #[test]
    fn a_stage_that_has_begun_keeps_what_was_found_and_five_are_kept() {
        let former: Vec<_> = ["a", "b", "c", "d", "e"].map(|stage| found(&subject(stage, "one"))).into();
        let next = [subject("f", "one"), subject("g", "one")];
        let decided = follows(&former, &looked(&next, false, next.iter().map(found).collect()), &next, 101);
        let stages: Vec<_> = decided.known.iter().map(|known| &*known.target.stage).collect();
        assert_eq!(stages, ["c", "d", "e", "f", "g"]);
    }

    #[test]
    fn what_could_not_be_found_out_is_told_and_looked_at_again_later() {
        let one = [subject("canary", "one")];
        let known = looked(&one, false, vec![unknown(&one[0])]);
        let soon = follows(&[], &known, &one, 101);
        assert_eq!((soon.known.clone(), soon.is_outstanding), (vec![unknown(&one[0])], false));
        assert_eq!(soon.again, Some(second(700)));
        let kept = follows(&soon.known, &known, &one, 102);
        assert!(kept.look.is_none() && kept.known == soon.known);
        assert_eq!(asked(&follows(&soon.known, &known, &one, 700)), ["canary"]);
        assert_eq!(asked(&follows(&soon.known, &known, &one, 99)), ["canary"], "a clock that was wrong");
        let fell_over = looked(&one, false, Vec::new());
        assert!(follows(&[], &fell_over, &one, 101).look.is_none(), "what ended early is not tried each second");
    }
}
