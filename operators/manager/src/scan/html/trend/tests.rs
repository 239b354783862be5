use serde_json::json;

use super::*;
use crate::scan::answer::tests::scan;

/// A scan that ended on this day, compared with another one.
fn ended(name: &str, day: u8, before: Option<&str>, fail: i64) -> CisScan {
    let counts = json!({
        "total": 100, "pass": 90 - fail, "fail": fail, "warn": 9, "skip": 0, "waived": 0, "notApplicable": 0, "error": 1,
    });
    let at = format!("2026-11-{day:02}T05:00:00Z");
    let changes = json!({"newFailures": fail, "fixed": 2});
    let mut scan = scan(&json!({"all": {}}), &json!({"completedAt": at, "counts": counts, "changes": changes}));
    scan.metadata.name = Some(name.to_owned());
    scan.spec.baseline_name = before.map(str::to_owned);
    scan
}

/// The chain of the first of them, with all that it asks for.
fn chain(scans: &[CisScan]) -> Chain {
    let mut chain = Chain::of(&scans[0]);
    while let Some(name) = chain.wanted() {
        chain.add(scans.iter().find(|scan| scan.name_any() == name));
    }
    chain
}

fn names(chain: &Chain) -> Vec<&str> {
    chain.runs.iter().map(|run| run.name.as_str()).collect()
}

fn shown(chain: &Chain) -> String {
    let mut out = String::new();
    section(&mut out, chain);
    out
}

#[test]
fn a_chain_goes_from_scan_to_scan_and_ends() {
    let three = [ended("c", 27, Some("b"), 1), ended("b", 26, Some("a"), 2), ended("a", 25, None, 3)];
    assert_eq!((names(&chain(&three)), &chain(&three).gap), (vec!["c", "b", "a"], &None));
    let gone = chain(&three[..2]);
    assert_eq!((names(&gone), gone.gap.as_deref()), (vec!["c", "b"], Some("the CisScan a is not there any more")));
    let circle = chain(&[ended("c", 27, Some("b"), 1), ended("b", 26, Some("c"), 2)]);
    assert_eq!(names(&circle), ["c", "b"]);
    assert_eq!(names(&chain(&[ended("c", 27, Some("c"), 1)])), ["c"]);
    let later = chain(&[ended("c", 25, Some("b"), 1), ended("b", 26, None, 2)]);
    assert_eq!(
        (names(&later), later.gap.as_deref().unwrap().ends_with("a later one of the same name")),
        (vec!["c"], true)
    );
    let mut open = ended("b", 26, Some("a"), 1);
    open.status.as_mut().unwrap().completed_at = None;
    let open = chain(&[ended("c", 27, Some("b"), 1), open, ended("a", 25, None, 1)]);
    assert_eq!((names(&open), open.gap.as_deref()), (vec!["c"], Some("the CisScan b has not ended")));
    let long: Vec<_> =
        (0..40).map(|number| ended(&number.to_string(), 27, Some(&(number + 1).to_string()), 1)).collect();
    assert_eq!((chain(&long).runs.len(), chain(&long).gap), (20, None));
}

#[test]
fn a_scan_that_has_not_ended_shows_those_before() {
    let mut open = ended("c", 27, Some("b"), 1);
    open.status.as_mut().unwrap().completed_at = None;
    let chain = chain(&[open, ended("b", 26, Some("a"), 2), ended("a", 25, None, 3)]);
    assert_eq!(names(&chain), ["b", "a"]);
}

#[test]
fn bars_and_numbers_begin_with_the_oldest() {
    let text = shown(&chain(&[ended("c", 27, Some("b"), 40), ended("b", 26, None, 20)]));
    assert!(text.contains("viewBox=\"0 0 540 1130\""), "{text}");
    for told in [
        "<rect class=\"Pass\" x=\"60\" y=\"300\" width=\"180\" height=\"700\"><title>b: 70 Pass</title></rect><text class=\"inside\" x=\"150\" y=\"685\">P</text>",
        "<rect class=\"Error\" x=\"60\" y=\"200\" width=\"180\" height=\"10\"><title>b: 1 Error</title></rect><rect class=\"Fail\" x=\"60\" y=\"0\" width=\"180\" height=\"200\">",
        "<rect class=\"Fail\" x=\"300\" y=\"0\" width=\"180\" height=\"400\"><title>c: 40 Fail</title></rect>",
        "<tr><td class=\"number\">2</td><th scope=\"row\">c</th><td>2026-11-27T05:00:00Z</td><td><b class=\"Fail\">✗ Fail</b></td><td class=\"number\">50</td><td class=\"number\">9</td><td class=\"number\">1</td><td class=\"number\">40</td><td class=\"number\">100</td><td>0 of 0</td><td class=\"number\">40</td><td class=\"number\">2</td></tr>",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
    assert!(shown(&chain(&[ended("c", 27, None, 1)])).contains("There is no scan before"));
}

#[test]
fn no_number_breaks_a_picture() {
    for number in [i64::MIN, -1, 0, 1, i64::MAX] {
        let mut scans = [ended("c", 27, Some("b"), 1), ended("b", 26, None, 1)];
        for scan in &mut scans {
            let counts = scan.status.as_mut().unwrap().counts.as_mut().unwrap();
            (counts.pass, counts.fail, counts.warn, counts.error) = (number, number, number, number);
        }
        assert!(shown(&chain(&scans)).contains("</svg>"), "{number}");
    }
}
