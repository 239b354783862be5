use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    answer::{EngineState, FailureReason, NodeAnswer, TargetAnswer},
    engine::{parse, redact},
};

fn printed(target: &str, results: &Value) -> Vec<u8> {
    let control =
        json!({"id": "1", "node_type": target, "tests": [{"section": "1.1", "results": results}], "total_pass": 1});
    json!({"Controls": [control], "Totals": {"total_pass": 1}}).to_string().into_bytes()
}

#[test]
fn every_state_of_kube_bench_has_one_here() {
    let file = "permissions=600";
    for (status, reason, actual, expected) in [
        ("PASS", "", file, EngineState::Pass),
        ("PASS", "", "stat: File not found", EngineState::Error),
        ("FAIL", "", file, EngineState::Fail),
        ("FAIL", "failed to run: \"stat\": exit status 1", "", EngineState::Error),
        ("WARN", "Test marked as a manual test", "", EngineState::Warn),
        ("INFO", "Test marked as skip", "", EngineState::Skip),
        ("FAIL", "unknown binary operator for tests x", "", EngineState::Error),
        ("WARN", "failed to run: \"ps\", output: \"\", error: exit status 1", "", EngineState::Error),
        ("PASS", "", "/bin/sh: 1: journalctl: not found", EngineState::Error),
        ("PASS", "", " \n", EngineState::Error),
        ("NEW", "", "", EngineState::Error),
    ] {
        let result = json!([{"test_number": "1.1.1", "test_desc": "x", "status": status, "reason": reason, "actual_value": actual}]);
        let checks = parse("master", &printed("master", &result)).unwrap();
        assert_eq!(checks[0].state, expected, "{status} {reason} {actual}");
    }
}

#[test]
fn of_two_results_of_one_check_the_worse_one_counts() {
    let results = json!([{"test_number": "1", "status": "FAIL"}, {"test_number": "1", "status": "PASS"}]);
    let checks = parse("node", &printed("node", &results)).unwrap();
    assert_eq!((checks.len(), checks[0].state), (1, EngineState::Fail));
}

#[test]
fn c6_what_is_no_result_is_no_check() {
    let many: Vec<Value> = (0..1_001).map(|id| json!({"test_number": id.to_string(), "status": "PASS"})).collect();
    for stdout in [
        b"".to_vec(),
        b"{".to_vec(),
        b"{}".to_vec(),
        b"[]".to_vec(),
        br#"{"Controls": []}"#.to_vec(),
        printed("node", &json!([{"test_number": "4.1.1", "status": "PASS"}])),
        printed("master", &json!([])),
        printed("master", &json!(null)),
        printed("master", &json!([{"test_number": " ", "status": "PASS"}])),
        printed("master", &json!([{"test_number": "1", "status": 5}])),
        printed("master", &json!(many)),
    ] {
        assert_eq!(parse("master", &stdout).unwrap_err().reason, FailureReason::NoResults);
    }
    let bare = br#"[{"node_type": "master", "tests": [{"results": [{"test_number": "1", "status": "PASS"}]}]}]"#;
    assert_eq!(parse("master", bare).unwrap().len(), 1);
    let whole = printed("master", &json!([{"test_number": "1", "status": "PASS", "actual_value": "x"}]));
    assert!(parse("master", &whole).is_ok());
    for length in 0..whole.len() {
        assert!(parse("master", &whole[..length]).is_err(), "{length}");
    }
}

#[test]
fn c6_what_would_be_read_from_a_journal_that_is_not_there_was_not_looked_at() {
    for status in ["PASS", "FAIL", "WARN"] {
        let result = json!([{"test_number": "1", "status": status, "actual_value": "sh: 1: journalctl: not found"}]);
        let check = parse("node", &printed("node", &result)).unwrap().remove(0);
        assert_eq!(check.state, EngineState::Error, "{status}");
    }
}

#[test]
fn what_may_be_secret_is_not_told() {
    let result = json!([{"test_number": "1", "status": "FAIL", "actual_value": "\u{1b}[2J --token=abc\u{202e}"}]);
    let evidence = parse("node", &printed("node", &result)).unwrap().remove(0).evidence.unwrap();
    assert!(!evidence.contains(['\u{1b}', '\u{202e}']) && !evidence.contains("abc"), "{evidence}");
}

#[test]
fn of_the_environment_of_etcd_only_its_own_settings_are_told() {
    let actual = "root 1 etcd --cert-file=/a PATH=/bin HOME=/root DB_URL=postgres://u:p@h ETCD_NAME=x";
    let result = json!([{"test_number": "2.1", "status": "FAIL", "actual_value": actual}]);
    let evidence = parse("etcd", &printed("etcd", &result)).unwrap().remove(0).evidence.unwrap();
    assert_eq!(evidence, "found --cert-file=/a ETCD_NAME=x");
    let reason = r#"failed to run: "cat /proc/1/environ", output: "DB=hunter2\n", error: exit status 1"#;
    let result = json!([{"test_number": "2.1", "status": "FAIL", "reason": reason}]);
    let evidence = parse("etcd", &printed("etcd", &result)).unwrap().remove(0).evidence.unwrap();
    assert_eq!(evidence, r#"failed to run: "cat /proc/1/environ", error: exit status 1"#);
}

#[test]
fn an_answer_is_what_was_packed_and_never_more_than_it_may_be() {
    let target = TargetAnswer { target: "node".to_owned(), failure: None, checks: Vec::new() };
    let answer = NodeAnswer {
        attempt: "u".to_owned(),
        node: "n".to_owned(),
        engine: "e".to_owned(),
        benchmark: "cis-1.12".to_owned(),
        targets: vec![target],
    };
    assert_eq!(NodeAnswer::unpack(&answer.pack().unwrap()).unwrap(), answer);
    let bomb = NodeAnswer { node: "n".repeat(9 << 20), ..answer };
    let packed = bomb.pack().unwrap();
    assert!(packed.len() < 100_000 && NodeAnswer::unpack(&packed).is_err());
}

proptest! {
    #[test]
    fn c6_no_bytes_end_in_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), text in ".{0,300}") {
        let _ = parse("master", &bytes);
        let _ = NodeAnswer::unpack(&bytes);
        let _ = redact(&text);
    }

    #[test]
    fn c6_what_was_changed_on_its_way_has_checks_or_none_at_all(at in 0_usize..400, by in any::<u8>(), status in ".{0,6}") {
        let results = json!([{"test_number": "1", "status": status, "actual_value": "x"}, {"test_number": "2", "status": "PASS", "actual_value": ""}]);
        let mut stdout = printed("master", &results);
        let at = at % stdout.len();
        stdout[at] = by;
        if let Ok(checks) = parse("master", &stdout) {
            let passed = checks.iter().filter(|check| check.state == EngineState::Pass).count();
            prop_assert!(!checks.is_empty() && passed <= 1, "the second one found nothing: {:?}", checks);
        }
    }
}
