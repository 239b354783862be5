//! What the answer of a node is, from what lies in the folder. Pure.

use drover_client::error::legible;
use drover_scans::{
    answer::{AnswerError, Check, FailureReason, MAX_PLAIN, MAX_STORED, NodeAnswer, TargetAnswer, TargetFailure},
    engine,
    redact::redact,
};

use crate::{
    MAX_PRINTED, TargetName,
    files::Content,
    outcome::{Outcome, last_words},
};

/// Most bytes of what an error of the system says.
const MOST_WORDS: usize = 300;
/// Most bytes of why there are no results.
const MOST_MESSAGE: usize = 500;

/// What lies in the folder about one target.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// How kube-bench ended.
    pub(crate) outcome: Content,
    /// What it printed.
    pub(crate) printed: Content,
}

/// What came of one target. `is_done` is whether kube-bench was through with all of them.
pub(crate) fn target(target: &TargetName, found: &Found, is_done: bool) -> TargetAnswer {
    let (failure, checks) = match checks(target, found, is_done) {
        Ok(checks) => (None, checks),
        Err(failure) => (Some(failure), Vec::new()),
    };
    TargetAnswer { target: target.to_string(), failure, checks }
}

fn failure(reason: FailureReason, message: impl Into<String>) -> TargetFailure {
    TargetFailure { reason, message: redact(&message.into()) }
}

fn checks(target: &TargetName, found: &Found, is_done: bool) -> Result<Vec<Check>, TargetFailure> {
    ended(target, &outcome(target, &found.outcome, is_done)?)?;
    match &found.printed {
        // What is no result may be quoted, and as long as it is.
        Content::Bytes(printed) => engine::parse(target.as_str(), printed)
            .map_err(|refusal| failure(refusal.reason, legible(&refusal.message, MOST_MESSAGE))),
        Content::TooLarge => Err(too_large(target)),
        Content::Missing => {
            Err(failure(FailureReason::NoResults, format!("what kube-bench printed for {target} is gone")))
        }
        Content::Unreadable(error) => {
            let error = legible(error, MOST_WORDS);
            let message = format!("what kube-bench printed for {target} cannot be read: {error}");
            Err(failure(FailureReason::NoResults, message))
        }
    }
}

fn outcome(target: &TargetName, found: &Content, is_done: bool) -> Result<Outcome, TargetFailure> {
    let unreadable = |why: &str| {
        let message = format!("how kube-bench ended for {target} cannot be read: {}", legible(why, MOST_WORDS));
        failure(FailureReason::EngineFailed, message)
    };
    match found {
        Content::Bytes(text) => serde_json::from_slice(text).map_err(|error| unreadable(&error.to_string())),
        Content::TooLarge => Err(unreadable("it is too large")),
        Content::Unreadable(error) => Err(unreadable(error)),
        Content::Missing if is_done => {
            let message =
                format!("kube-bench left nothing about {target}; look at the log of its container: is the disk full?");
            Err(failure(FailureReason::EngineFailed, message))
        }
        Content::Missing => {
            let message =
                format!("kube-bench was not through with {target} in time; give the node a longer nodeTimeout");
            Err(failure(FailureReason::TimedOut, message))
        }
    }
}

/// Whether what was printed counts.
fn ended(target: &TargetName, outcome: &Outcome) -> Result<(), TargetFailure> {
    let engine_failed = |message: String| Err(failure(FailureReason::EngineFailed, message));
    match outcome {
        Outcome::Exited { code: Some(0), .. } => Ok(()),
        Outcome::Exited { code, said } => {
            let end =
                code.map_or_else(|| "was ended by a signal".to_owned(), |code| format!("ended with exit code {code}"));
            let words = last_words(said);
            let words = if words.is_empty() { "it says nothing".to_owned() } else { words };
            engine_failed(format!("kube-bench {end} for {target}: {words}"))
        }
        Outcome::NotStarted { message } => {
            let message = legible(message, MOST_WORDS);
            engine_failed(format!("kube-bench cannot be started for {target}: {message}; check the image of scans"))
        }
        Outcome::TimedOut => {
            let message =
                format!("kube-bench took too long for {target} and was ended; give the node a longer nodeTimeout");
            Err(failure(FailureReason::TimedOut, message))
        }
        Outcome::TooLarge => Err(too_large(target)),
    }
}

fn too_large(target: &TargetName) -> TargetFailure {
    failure(FailureReason::TooLarge, format!("kube-bench printed more than {MAX_PRINTED} bytes for {target}"))
}

/// The answer as it is stored, with as much of it as there is room for: without evidence where that is too much, and without checks
/// where that is still too much.
pub(crate) fn packed(answer: &mut NodeAnswer) -> Result<Vec<u8>, AnswerError> {
    if let Some(packed) = fitting(answer)? {
        return Ok(packed);
    }
    for check in answer.targets.iter_mut().flat_map(|target| &mut target.checks) {
        check.evidence = None;
    }
    if let Some(packed) = fitting(answer)? {
        return Ok(packed);
    }
    for target in &mut answer.targets {
        target.checks.clear();
        let message = format!("the checks of the node have more than {MAX_STORED} bytes, even without what was found");
        target.failure = Some(failure(FailureReason::TooLarge, message));
    }
    answer.pack()
}

/// As it is stored, if it is read again from there.
fn fitting(answer: &NodeAnswer) -> Result<Option<Vec<u8>>, AnswerError> {
    if serde_json::to_vec(answer)?.len() as u64 > MAX_PLAIN {
        return Ok(None);
    }
    Ok(Some(answer.pack()?).filter(|packed| packed.len() <= MAX_STORED))
}

#[cfg(test)]
mod tests {
    use drover_scans::answer::EngineState;

    use super::*;

    const PRINTED: &str = r#"{"Controls": [{"id": "4", "version": "cis-1.12", "text": "Worker", "node_type": "node", "tests": [
        {"section": "4.1", "desc": "Files", "results": [{"test_number": "4.1.1", "test_desc": "mode", "status": "PASS"}]}]}]}"#;

    fn name() -> TargetName {
        "node".parse().unwrap()
    }

    fn found(outcome: &Outcome, printed: &str) -> Found {
        let outcome = Content::Bytes(serde_json::to_vec(outcome).unwrap());
        Found { outcome, printed: Content::Bytes(printed.into()) }
    }

    fn exited(code: Option<i32>, said: &str) -> Outcome {
        Outcome::Exited { code, said: said.to_owned() }
    }

    fn failed(found: &Found, is_done: bool) -> (FailureReason, String) {
        let answer = target(&name(), found, is_done);
        assert!(answer.checks.is_empty(), "a failure has no checks");
        let failure = answer.failure.unwrap();
        assert!(failure.message.len() < 512 && !failure.message.contains(char::is_control), "{failure:?}");
        (failure.reason, failure.message)
    }

    #[test]
    fn checks_count_only_where_kube_bench_ended_well() {
        let answer = target(&name(), &found(&exited(Some(0), "warning"), PRINTED), true);
        assert_eq!((answer.failure, answer.checks.len()), (None, 1));
        assert_eq!((answer.checks[0].id.as_str(), answer.checks[0].state), ("4.1.1", EngineState::Pass));
        for (outcome, reason, words) in [
            (
                exited(Some(255), "start\nunknown flag\u{7}\n"),
                FailureReason::EngineFailed,
                "exit code 255 for node: unknown flag",
            ),
            (exited(Some(1), " \n"), FailureReason::EngineFailed, "says nothing"),
            (exited(None, ""), FailureReason::EngineFailed, "signal"),
            (Outcome::NotStarted { message: "No such file\n".to_owned() }, FailureReason::EngineFailed, "No such file"),
            (Outcome::TimedOut, FailureReason::TimedOut, "nodeTimeout"),
            (Outcome::TooLarge, FailureReason::TooLarge, "20971520"),
        ] {
            let (found, message) = failed(&found(&outcome, PRINTED), true);
            assert!(found == reason && message.contains(words), "{outcome:?}: {found:?}: {message}");
        }
    }

    #[test]
    fn what_is_no_result_is_none() {
        let fine = exited(Some(0), "");
        let quoted = format!("{{\"Controls\": \"{}\"}}", "\\u001b".repeat(10_000));
        for printed in ["", "garbage", "[]", "{}", "null", &"[".repeat(10_000), &quoted] {
            assert_eq!(failed(&found(&fine, printed), true).0, FailureReason::NoResults, "{printed:.20}");
        }
        let with = |printed| Found { printed, ..found(&fine, "") };
        assert_eq!(failed(&with(Content::Missing), true).0, FailureReason::NoResults);
        assert_eq!(failed(&with(Content::TooLarge), true).0, FailureReason::TooLarge);
        assert_eq!(failed(&with(Content::Unreadable("no\n".repeat(999))), true).0, FailureReason::NoResults);
    }

    #[test]
    fn without_an_outcome_what_was_printed_counts_for_nothing() {
        let with = |outcome| Found { outcome, ..found(&exited(Some(0), ""), PRINTED) };
        assert_eq!(failed(&with(Content::Missing), false).0, FailureReason::TimedOut);
        for broken in
            [Content::Missing, Content::TooLarge, Content::Unreadable(String::new()), Content::Bytes(b"{".into())]
        {
            assert_eq!(failed(&with(broken.clone()), true).0, FailureReason::EngineFailed, "{broken:?}");
        }
    }

    fn answer(checks: usize, evidence: impl Fn(usize) -> String, title: impl Fn(usize) -> String) -> NodeAnswer {
        let check = |number: usize| Check {
            id: format!("1.{number}"),
            title: title(number),
            state: EngineState::Fail,
            evidence: Some(evidence(number)),
        };
        let targets = ["master", "node"].map(|target| TargetAnswer {
            target: target.to_owned(),
            failure: None,
            checks: (0..checks).map(check).collect(),
        });
        NodeAnswer {
            attempt: "a".to_owned(),
            node: "n1".to_owned(),
            engine: drover_scans::benchmark::ENGINE.to_owned(),
            benchmark: "cis-1.12".to_owned(),
            targets: targets.into(),
        }
    }

    /// Text that does not become smaller.
    fn noise(seed: usize, bytes: usize) -> String {
        let mut state = seed as u64 + 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(33 + u8::try_from((state >> 33) % 90).unwrap())
        };
        (0..bytes).map(|_| next()).collect()
    }

    #[test]
    fn an_answer_is_stored_with_as_much_as_there_is_room_for() {
        let short = |number: usize| format!("check {number}");
        let mut small = answer(60, short, short);
        let whole = small.clone();
        assert_eq!(NodeAnswer::unpack(&packed(&mut small).unwrap()).unwrap(), whole);

        for evidence in [&(|number| noise(number, 20_000)) as &dyn Fn(usize) -> String, &|_| "x".repeat(100_000)] {
            let stored = packed(&mut answer(60, evidence, short)).unwrap();
            assert!(stored.len() <= MAX_STORED);
            let read = NodeAnswer::unpack(&stored).unwrap();
            assert!(read.targets.iter().all(|target| target.failure.is_none() && target.checks.len() == 60));
            assert!(read.targets.iter().flat_map(|target| &target.checks).all(|check| check.evidence.is_none()));
        }

        for title in [&(|number| noise(number, 20_000)) as &dyn Fn(usize) -> String, &|_| "x".repeat(100_000)] {
            let stored = packed(&mut answer(60, short, title)).unwrap();
            let read = NodeAnswer::unpack(&stored).unwrap();
            let reasons = read.targets.iter().map(|target| target.failure.as_ref().unwrap().reason);
            assert!(reasons.eq([FailureReason::TooLarge; 2]) && read.targets[0].checks.is_empty());
        }
    }
}
