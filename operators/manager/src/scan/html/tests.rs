mod browser;

use std::{collections::BTreeSet, time::Instant};

use serde_json::{Value, json};

use super::*;
use crate::scan::answer::tests::{answer, report, result, scan};

fn page_of(reports: Vec<CisReport>) -> String {
    let scan = scan(&json!({"all": {}}), &json!({}));
    html(Page { answer: &answer(&scan, reports), scan: &scan, chain: &Chain::of(&scan) }).unwrap()
}

/// The elements of a page with their attributes, without the texts. Refuses what does not end.
fn elements(page: &str) -> Vec<(String, Vec<(String, String)>)> {
    let page = page.replacen(SCRIPT, "", 1).replacen(STYLE, "", 1);
    let (mut rest, mut elements) = (page.as_str(), Vec::new());
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let name_end = rest.find(|letter: char| letter.is_whitespace() || letter == '>').unwrap();
        let name = rest[..name_end].to_owned();
        rest = &rest[name_end..];
        let mut attributes = Vec::new();
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix('>') {
                rest = after;
                break;
            }
            let end = rest.find(|letter: char| letter.is_whitespace() || matches!(letter, '>' | '=')).unwrap();
            let attribute = rest[..end].to_owned();
            rest = &rest[end..];
            let mut value = String::new();
            if let Some(after) = rest.strip_prefix("=\"") {
                let end = after.find('"').unwrap();
                value = after[..end].to_owned();
                rest = &after[end + 1..];
            }
            attributes.push((attribute, value));
        }
        elements.push((name, attributes));
    }
    elements
}

/// Only the names of elements and attributes.
fn shape(page: &str) -> Vec<(String, Vec<String>)> {
    let names = |attributes: Vec<(String, String)>| attributes.into_iter().map(|(name, _)| name).collect();
    elements(page).into_iter().map(|(name, attributes)| (name, names(attributes))).collect()
}

/// A page with this text wherever somebody else may have written one.
fn with_everywhere(text: &str) -> String {
    let problem = json!({"cluster": text, "reason": text, "message": text});
    let mut scan = scan(&json!({"names": [text, "\u{10ffff}"]}), &json!({"problems": [problem]}));
    scan.spec.profile_name = text.to_owned();
    scan.spec.baseline_name = Some(format!("{text}0"));
    scan.metadata.name = Some(text.to_owned());
    let labels = [(LABEL_OWNER_KIND, "CisScanSchedule"), (LABEL_OWNER_NAME, text)];
    scan.metadata.labels = Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    let whole =
        json!({"id": text, "title": text, "target": text, "evidence": text, "waiverName": text, "nodeNames": [text]});
    let results =
        ["Fail", "Error", "Warn", "Waived", "Skip", "Pass", "NotApplicable"].map(|state| result("", state, &whole));
    let benchmark = json!({"name": text, "why": text, "engine": text, "profileName": text, "profileGeneration": 1});
    let check = format!("{text}/{text}");
    let changes =
        json!({"reportName": text, "newFailures": 9, "fixed": 9, "newFailureChecks": [check], "fixedChecks": [check]});
    let missing = json!([{"name": text, "reason": text, "message": text}]);
    let status = json!({"results": results, "benchmark": benchmark, "changes": changes, "missing": missing});
    let mut report = report(text, &status);
    report.spec.scan_name = text.to_owned();
    let mut chain = Chain::of(&scan);
    let mut before = scan.clone();
    before.spec.baseline_name = Some(text.to_owned() + "1");
    chain.add(Some(&before));
    chain.add(None);
    html(Page { answer: &answer(&scan, vec![report]), scan: &scan, chain: &chain }).unwrap()
}

#[test]
fn no_text_becomes_an_element_or_an_attribute() {
    let tame = with_everywhere("x");
    let names: BTreeSet<_> = shape(&tame).into_iter().map(|(name, _)| name).collect();
    assert!(["svg", "form", "details", "table"].iter().all(|name| names.contains(*name)), "{names:?}");
    for text in [
        "<script>alert(1)</script>",
        "\" onload=",
        "\" onload=\"alert(1)",
        "' onload='alert(1)",
        "x onmouseover=alert(1) ",
        "</title></style></script><!--",
        "]]><svg/onload=alert(1)>",
        "&lt;script&gt;",
        "<\u{0}script\u{200b}>",
        "`onload=`",
        "\u{202e}<b>",
        "</select></form><iframe src=//a>",
    ] {
        let page = with_everywhere(text);
        assert_eq!(shape(&page), shape(&tame), "{text}");
        assert_eq!(page.matches("<script").count(), 1, "{text}");
        assert!(!page.contains(['\u{0}', '\u{200b}', '\u{202e}']), "{text}");
    }
    let page = with_everywhere("<script>alert(1)</script>");
    assert!(
        page.contains("</td><td>1 of 3</td><td>&lt;script&gt;alert(1)&lt;/script&gt;<p>"),
        "the title is shown as it is: {page}"
    );
    let page = with_everywhere("\" onload=");
    assert!(page.contains("data-cluster=\"&quot; onload=\""), "{page}");
    assert!(with_everywhere("&lt;").contains("&amp;lt;"));
}

#[test]
fn a_page_needs_nothing_from_outside_and_lets_nothing_in() {
    let page = page_of(vec![report("eu-1", &json!({}))]);
    for outside in ["http:", "https:", "src=", "url(", "@import", "<link", "<iframe", "<object", " style=", " on"] {
        let tags = elements(&page).into_iter().any(|(_, attributes)| {
            attributes.iter().any(|(name, value)| format!(" {name}={value}").to_lowercase().contains(outside))
        });
        assert!(!tags, "{outside}");
        let is_word = outside == " on";
        assert!(is_word || !page.contains(outside), "{outside}");
    }
    let elements = elements(&page);
    let policy =
        elements.iter().flat_map(|(_, attributes)| attributes).find(|(_, value)| value.starts_with("default-src"));
    let policy = &policy.unwrap().1;
    let between = |start: &str, end: &str| page.split(start).nth(1).unwrap().split(end).next().unwrap();
    for (directive, text) in
        [("style-src", between("<style>", "</style>")), ("script-src", between("<script>", "</script>"))]
    {
        assert!(policy.contains(&format!("; {directive} {};", source(text).unwrap())), "{directive}: {policy}");
    }
    assert!(
        policy.starts_with("default-src 'none';") && !policy.contains("unsafe") && !policy.contains('*'),
        "{policy}"
    );
    assert_eq!(source("").unwrap(), "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='", "as every browser has it");
    assert!(!STYLE.contains("</") && !SCRIPT.contains("</") && !SCRIPT.contains("<!--"));
}

#[test]
fn a_page_says_all_that_is_known() {
    let results = json!([
        result("1.1.1", "Fail", &json!({"mixed": true, "evidence": "permissions=644", "nodesInState": 40})),
        result("1.1.2", "Waived", &json!({"waiverName": "known"})),
        result("1.1.3", "Skip", &json!({"evidence": "kubeadm leaves it so"})),
        result("1.1.4", "Pass", &json!({"nodesInState": 3})),
    ]);
    let names: Vec<_> = (0..60).map(|number| format!("node-{number:04}")).collect();
    let changes = json!({
        "reportName": "before-eu", "newFailures": 60, "fixed": 1, "newFailureChecks": ["master/1.1.1"], "fixedChecks": ["master/1.1.4"],
    });
    let missing = json!([{"name": "n9", "reason": "TimedOut", "message": "it was late"}]);
    let eu = report(
        "eu-1",
        &json!({
            "results": results, "changes": changes, "missing": missing, "nodes": {"total": 5, "scanned": 3, "summary": "3/5"},
            "nodeGroups": [{"nodeNames": names, "states": "FVSP"}],
        }),
    );
    let scan = scan(&json!({"names": ["eu-1", "us-1"]}), &json!({}));
    let page = html(Page { answer: &answer(&scan, vec![eu]), scan: &scan, chain: &Chain::of(&scan) }).unwrap();
    for told in [
        "<title>CisScan team/nightly: Fail</title>",
        "<dt>Clusters</dt><dd>1 of 2 have a report</dd>",
        "<dt>Nodes</dt><dd>3 of 5 were scanned</dd>",
        "<dt>Since before</dt><dd>60 checks fail that did not, 1 are fixed</dd>",
        "<li><b class=\"Waived\">~ Waived</b> 1</li>",
        "<td>cis-1.12</td><td class=\"words\">w</td>",
        "<a href=\"#c1\">us-1</a></th><td class=\"Incomplete\">! not scanned</td><td colspan=\"13\">the cluster has no report</td>",
        "<p>Compared with the CisReport before-eu.</p>",
        "<li>60 checks fail that did not before: master/1.1.1 and 59 more</li>",
        "<th scope=\"row\">n9</th><td>TimedOut</td><td class=\"words\">it was late</td><td class=\"words\">Look at the Pods",
        "<p>1 more nodes have no results.</p>",
        "<tr data-state=\"Fail\" data-fresh><th scope=\"row\">1.1.1</th><td>master</td><td><b class=\"Fail\">✗ Fail</b> <span class=\"tag\">mixed</span> <span class=\"tag\">new</span></td><td>40 of 3</td><td>title of 1.1.1<p>Nodes: node-0000 node-0001",
        " and 2 more</p><p>Found: <code>permissions=644</code></p><p>What to do: Run chmod 600 /etc",
        "<p>Waived by the CisWaiver known</p><p>What to do: ",
        "<p>Why: <code>kubeadm leaves it so</code></p>",
        "<span class=\"tag\">fixed</span></td><td>3 of 3</td><td>title of 1.1.4</td></tr>",
        "There is no scan before that this one was compared with.",
    ] {
        assert!(page.contains(told), "{told}: {page}");
    }
    let one = Answer::of(&scan, Vec::new(), crate::scan::answer::Asked { cluster: Some("us-1"), is_partial: false });
    let page = html(Page { answer: &one.unwrap(), scan: &scan, chain: &Chain::of(&scan) }).unwrap();
    assert!(
        page.contains("<h1>CisScan team/nightly: <b class=\"Incomplete\">! Incomplete</b></h1>")
            && !page.contains("eu-1")
    );
}

#[test]
fn what_is_not_known_is_said() {
    let total = json!({"total": 3, "ready": 0, "unreachable": 0, "summary": "0/3"});
    let scan = scan(&json!({"all": {}}), &json!({"completedAt": null, "verdict": null, "clusters": total}));
    let page = html(Page { answer: &answer(&scan, Vec::new()), scan: &scan, chain: &Chain::of(&scan) }).unwrap();
    for told in [
        "<h1>CisScan team/nightly: <b>no verdict yet</b></h1>",
        "<li>The scan has not ended.</li>",
        "<li>3 clusters of the scan have no report; look at status.problems of the CisScan.</li>",
        "<dt>Ended</dt><dd>not yet</dd>",
        "<p>No cluster is named.</p>",
    ] {
        assert!(page.contains(told), "{told}: {page}");
    }
}

#[test]
fn a_page_can_be_read_by_everybody() {
    let page = with_everywhere("x");
    let elements = elements(&page);
    let (mut level, mut ids, mut links, mut open) = (0, BTreeSet::new(), Vec::new(), Vec::new());
    for (name, attributes) in &elements {
        let has = |wanted: &str| attributes.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        if let Some(next) = name.strip_prefix('h').and_then(|digit| digit.parse::<u8>().ok()) {
            assert!(next <= level + 1, "h{next} after h{level}");
            level = next;
        }
        match name.as_str() {
            "html" => assert_eq!(has("lang"), Some("en")),
            "th" => assert!(matches!(has("scope"), Some("col" | "row"))),
            "svg" => assert!(has("role") == Some("img") && has("aria-label").is_some()),
            _ => {}
        }
        if let Some(id) = has("id") {
            assert!(ids.insert(id), "{id} is there twice");
        }
        links.extend(has("href").map(|link| link.trim_start_matches('#')));
        links.extend(has("aria-labelledby"));
        match name.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop(), Some(closed)),
            None if ["!DOCTYPE", "meta", "input"].contains(&name.as_str()) => {}
            None => open.push(name.as_str()),
        }
    }
    assert!(open.is_empty() && links.iter().all(|link| ids.contains(link)), "{open:?} {links:?} {ids:?}");
    let first = elements.iter().position(|(name, _)| name == "h1");
    assert!(first.is_some() && elements.iter().filter(|(name, _)| name == "h1").count() == 1);
    assert!(STYLE.contains("@media print") && STYLE.contains("@media (max-width: 40rem)"));
}

#[test]
fn a_row_of_the_table_of_clusters_has_as_many_cells_as_its_head() {
    let scan = scan(&json!({"names": ["eu-1", "us-1"]}), &json!({}));
    let page =
        html(Page { answer: &answer(&scan, vec![report("eu-1", &json!({}))]), scan: &scan, chain: &Chain::of(&scan) });
    let page = page.unwrap();
    let table = page.split("<table>").nth(1).unwrap().split("</table>").next().unwrap();
    let widths = table.split("<tr>").skip(1).map(|row| {
        let spans =
            row.split("colspan=\"").skip(1).map(|rest| rest.split('"').next().unwrap().parse::<usize>().unwrap() - 1);
        row.matches("<t").count() - usize::from(row.contains("<tbody")) + spans.sum::<usize>()
    });
    assert_eq!(widths.collect::<Vec<_>>(), [15, 15, 15]);
}

#[test]
fn a_large_fleet_fits_into_a_page() {
    let cycle = ["Pass", "Fail", "Warn", "Pass", "Error"];
    let names: Vec<_> = (0..40).map(|number| format!("ip-10-0-{number}-17.eu-central-1.compute.internal")).collect();
    let whole = json!({"title": "t".repeat(120), "evidence": "mode=\"644\" & <root> 'etcd', ".repeat(18), "nodes": 200, "nodesInState": 200});
    let plain = json!({"title": "t".repeat(120), "nodes": 200, "nodesInState": 200});
    let results: Vec<Value> = (0..130)
        .map(|number| {
            result(&format!("1.2.{number}"), cycle[number % 5], if number % 5 % 3 == 0 { &plain } else { &whole })
        })
        .collect();
    let letters: String = (0..130).map(|position| cycle[position % 5].chars().next().unwrap()).collect();
    let status = json!({"results": results, "nodeGroups": [{"nodeNames": names, "states": letters}]});
    let clusters: Vec<_> = (0..100).map(|number| report(&format!("c-{number}"), &status)).collect();
    let scan = scan(&json!({"all": {}}), &json!({}));
    let (answer, chain) = (answer(&scan, clusters), Chain::of(&scan));
    let begun = Instant::now();
    let page = html(Page { answer: &answer, scan: &scan, chain: &chain }).unwrap();
    let took = begun.elapsed();
    assert_eq!(page.matches("<tr data-state=").count(), 13_000);
    assert!(page.len() < 20 << 20, "{} bytes", page.len());
    // Without optimization and beside other tests it takes many times as long as in a release, where it is a part of a second.
    assert!(took.as_secs() < 30, "{took:?}");
}
