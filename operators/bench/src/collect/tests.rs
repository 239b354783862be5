use std::{fs, future::pending, path::Path};

use drover_scans::{answer::FailureReason, benchmark::ENGINE};
use k8s_openapi::ByteString;
use serde_json::Value;

use super::*;
use crate::{outcome::Outcome, send::tests::server};

const PRINTED: &str = r#"{"Controls": [{"id": "4", "version": "cis-1.12", "text": "Worker", "node_type": "node", "tests": [
    {"section": "4.1", "desc": "Files", "results": [{"test_number": "4.1.1", "test_desc": "mode", "status": "PASS"}]}]}]}"#;

fn settings(results: &Path, targets: &[&str]) -> CollectSettings {
    CollectSettings {
        results: results.to_owned(),
        attempt: "3f2a".to_owned(),
        node: "n1".to_owned(),
        benchmark: "cis-1.12".parse().unwrap(),
        targets: targets.iter().map(|target| target.parse().unwrap()).collect(),
        secret: "s".to_owned(),
        namespace: "drover-system".to_owned(),
        timeout: Duration::from_mins(1),
    }
}

fn leave(results: &Path, target: &str, outcome: &Outcome, printed: &str) {
    fs::write(results.join(format!("{target}.json")), printed).unwrap();
    fs::write(results.join(format!("{target}.outcome")), serde_json::to_vec(outcome).unwrap()).unwrap();
}

fn fine() -> Outcome {
    Outcome::Exited { code: Some(0), said: String::new() }
}

/// The answer in a request.
fn read(body: &Value) -> NodeAnswer {
    let stored: ByteString = serde_json::from_value(body["data"]["answer"].clone()).unwrap();
    NodeAnswer::unpack(&stored.0).unwrap()
}

async fn collected(settings: &CollectSettings, stop: impl Future<Output = ()>) -> (Handed, NodeAnswer, Duration) {
    let (client, asked) = server(&[403]);
    let start = Instant::now();
    let handed = collect(settings, client, stop).await.unwrap();
    let asked = asked.lock().unwrap();
    (handed, read(&asked.last().unwrap().1), start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn what_was_found_is_handed_over_as_soon_as_all_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().to_owned();
    leave(&results, "node", &fine(), PRINTED);
    leave(&results, "etcd", &Outcome::Exited { code: Some(255), said: "no config".to_owned() }, "");
    tokio::spawn(async move {
        sleep(Duration::from_secs(5)).await;
        fs::write(results.join(DONE), "").unwrap();
    });
    let (handed, answer, took) = collected(&settings(folder.path(), &["etcd", "node"]), pending()).await;
    // The first request is refused, and a second one follows after a second.
    assert!((Duration::from_secs(5)..Duration::from_secs(7)).contains(&took), "{took:?}");
    assert_eq!((answer.attempt.as_str(), answer.node.as_str(), answer.engine.as_str()), ("3f2a", "n1", ENGINE));
    assert_eq!((answer.benchmark.as_str(), answer.targets[0].target.as_str()), ("cis-1.12", "etcd"));
    assert_eq!(answer.targets[0].failure.as_ref().unwrap().reason, FailureReason::EngineFailed);
    assert_eq!((answer.targets[1].checks.len(), &answer.targets[1].failure), (1, &None));
    let line = handed.to_string();
    assert!(
        line.starts_with("handed over 1 checks of 2 targets of node n1 by cis-1.12 (kube-bench 0.15.6), "),
        "{line}"
    );
    assert!(line.contains("; etcd: EngineFailed: kube-bench ended with exit code 255 for etcd: no config"), "{line}");
}

#[tokio::test(start_paused = true)]
async fn what_there_is_at_the_end_of_the_time_is_handed_over_in_time() {
    let folder = tempfile::tempdir().unwrap();
    leave(folder.path(), "master", &fine(), &PRINTED.replace(r#""node_type": "node""#, r#""node_type": "master""#));
    // It was being written: without an outcome it counts for nothing.
    fs::write(folder.path().join("node.json"), PRINTED).unwrap();
    let (_, answer, took) = collected(&settings(folder.path(), &["master", "node"]), pending()).await;
    assert!((Duration::from_secs(50)..Duration::from_mins(1)).contains(&took), "{took:?}");
    assert_eq!(answer.targets[0].checks.len(), 1);
    assert_eq!(answer.targets[1].failure.as_ref().unwrap().reason, FailureReason::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_stopped_hands_over_at_once() {
    let folder = tempfile::tempdir().unwrap();
    leave(folder.path(), "node", &fine(), PRINTED);
    let (_, answer, took) = collected(&settings(folder.path(), &["node"]), sleep(PAUSE * 3)).await;
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(answer.targets[0].checks.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_waits_for_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(DONE), "").unwrap();
    let (client, _) = server(&[404]);
    let error = collect(&settings(folder.path(), &["node"]), client, pending()).await.unwrap_err();
    assert!(error.to_string().contains("the Secret drover-system/s is gone"), "{error}");
}

#[test]
fn part_of_the_time_is_kept_for_handing_over() {
    let now = Instant::now();
    for (timeout, wait) in [(260, 250), (20, 15), (0, 0)] {
        let expected = (now + Duration::from_secs(wait), now + Duration::from_secs(timeout));
        assert_eq!(ends(now, Duration::from_secs(timeout)), expected);
    }
}
