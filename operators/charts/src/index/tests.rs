use std::io::{self, Cursor};

use proptest::prelude::*;

use super::*;

const HELM: &str = "apiVersion: v1
entries:
  web:
  - apiVersion: v2
    appVersion: 1.10
    created: \"2026-01-02T03:04:05Z\"
    description: |
      Serves
      pages
    digest: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
    maintainers:
    - {name: a, email: b}
    name: web
    urls:
    - web-1.2.0.tgz
    version: 1.2.0
  - name: web
    version: 1.10.0
    deprecated: true
    digest: null
    urls: [https://cdn.example.com/web-1.10.0.tgz]
  - {name: web, version: 2.0.0-rc.1, urls: [a]}
  db:
  - name: db
    version: 0.1.0
    urls:
    - db.tgz
generated: \"2026-01-02T03:04:05Z\"
";

fn versions_of(chart: &str, index: &str) -> Result<Vec<IndexRow>, IndexError> {
    versions(chart, index.as_bytes(), &IndexLimits::default())
}

/// Fails for what is wrong wherever it is read.
fn refusal(index: &str) -> IndexError {
    let limits = IndexLimits::default();
    let refused = counts(index.as_bytes(), &limits).unwrap_err();
    assert_eq!(versions("web", index.as_bytes(), &limits), Err(refused.clone()));
    assert_eq!(charts(index.as_bytes(), &limits), Err(refused.clone()));
    refused
}

#[test]
fn the_versions_of_one_chart_are_read_and_the_newest_comes_first() {
    let found = versions_of("web", HELM).unwrap();
    let numbers: Vec<_> = found.iter().map(|row| row.version.as_str()).collect();
    assert_eq!(numbers, ["2.0.0-rc.1", "1.10.0", "1.2.0"]);
    let oldest = &found[2];
    assert_eq!((oldest.app_version.as_str(), oldest.description.as_str()), ("1.10", "Serves pages "));
    assert_eq!(oldest.created, "2026-01-02T03:04:05Z");
    assert_eq!(oldest.digest, Some(Digest::of(b"abc")));
    assert_eq!(oldest.urls, ["web-1.2.0.tgz"]);
    assert_eq!((found[1].is_deprecated, found[1].digest), (true, None));
    assert_eq!(versions_of("none", HELM), Ok(Vec::new()));
}

#[test]
fn charts_and_versions_are_counted_and_named() {
    let limits = IndexLimits::default();
    assert_eq!(counts(HELM.as_bytes(), &limits), Ok(IndexCounts { charts: 2, versions: 4 }));
    let found = charts(HELM.as_bytes(), &limits).unwrap();
    let shown: Vec<_> =
        found.iter().map(|chart| (chart.name.as_str(), chart.versions, chart.newest.version.as_str())).collect();
    assert_eq!(shown, [("db", 1, "0.1.0"), ("web", 3, "1.10.0")]);
}

#[test]
fn an_index_in_json_is_read_too() {
    let json = r#"{"apiVersion":"v1","entries":{"web":[{"name":"web","version":"1.0.0","urls":["a\u002etgz"]}]}}"#;
    assert_eq!(versions_of("web", json).unwrap()[0].urls, ["a.tgz"]);
}

#[test]
fn an_empty_index_is_one() {
    for empty in
        ["apiVersion: v1\nentries: {}\n", "apiVersion: v1\nentries:\n", "apiVersion: v1\n", "entries: {web: null}"]
    {
        assert_eq!(versions_of("web", empty), Ok(Vec::new()), "{empty}");
    }
}

#[test]
fn versions_that_cannot_be_used_are_left_out() {
    let row = |fields: &str| {
        format!("apiVersion: v1\nentries:\n  web:\n  - {{{fields}}}\n  - {{name: web, version: 1.0.0, urls: [a]}}\n")
    };
    let long = format!("name: web, version: 1.0.0, urls: [{}]", "a".repeat(3_000));
    let many = format!("name: web, version: 1.0.0, urls: [{}]", ["a"; 9].join(", "));
    for bad in [
        "version: 2.0.0, urls: [a]",
        "name: other, version: 2.0.0, urls: [a]",
        "name: web, urls: [a]",
        "name: web, version: two, urls: [a]",
        "name: web, version: {a: b}, urls: [a]",
        "name: web, version: 2.0.0",
        "name: web, version: 2.0.0, urls: []",
        "name: web, version: 2.0.0, urls: a",
        "name: web, version: 2.0.0, urls: [a], digest: 'md5:1'",
        &long,
        &many,
    ] {
        let found = versions_of("web", &row(bad)).unwrap();
        assert_eq!(found.iter().map(|row| row.version.as_str()).collect::<Vec<_>>(), ["1.0.0"], "{bad}");
    }
    assert_eq!(versions_of("web", "apiVersion: v1\nentries: {web: [a, [b, c], {}]}"), Ok(Vec::new()));
}

#[test]
fn what_is_no_index_is_told() {
    for page in ["", "<html><body>Sign in</body></html>", "[1, 2]", "message: not found\n", "{\"errors\": []}"] {
        assert_eq!(refusal(page), IndexError::NoIndex, "{page}");
    }
}

#[test]
fn a_broken_index_says_where() {
    for (index, expected) in [
        ("apiVersion: v1\nentries:\n  web: [\n", IndexError::Broken { line: 4 }),
        ("apiVersion: v1\nentries:\n\tweb: a\n", IndexError::Broken { line: 3 }),
        ("apiVersion: v1\nentries: 5\n", IndexError::Unexpected { expected: "charts by name", line: 2 }),
        ("apiVersion: v1\nentries:\n  web: 5\n", IndexError::Unexpected { expected: "a list of versions", line: 3 }),
        ("apiVersion: v1\nentries:\n  [a]: 5\n", IndexError::Unexpected { expected: "charts by name", line: 3 }),
        ("apiVersion: v1\n---\nentries: {}\n", IndexError::Unexpected { expected: "one document", line: 2 }),
        ("entries:\n  web: []\n  web: []\n", IndexError::Twice { name: "web".to_owned(), line: 3 }),
        ("entries: {}\nentries: {}\n", IndexError::Twice { name: "entries".to_owned(), line: 2 }),
        ("entries:\n  web: &a []\n", IndexError::Alias { line: 2 }),
        ("entries:\n  web: *a\n", IndexError::Broken { line: 2 }),
        ("a: &a x\nentries: *a\n", IndexError::Alias { line: 1 }),
        ("a: b\nc: \0\n", IndexError::NotText { line: 1 }),
        ("a: b\nc: \x1b\n", IndexError::NotText { line: 1 }),
    ] {
        assert_eq!(refusal(index), expected, "{index}");
    }
    let truncated = &HELM[..HELM.find("mail").unwrap()];
    assert!(matches!(versions_of("web", truncated), Err(IndexError::Broken { .. })), "in the middle of a list");
    assert_eq!(versions_of("db", truncated), Ok(Vec::new()), "others may be used");
    let twice = "entries:\n  web:\n  - version: 1.0.0\n    version: 2.0.0\n";
    assert_eq!(versions_of("web", twice), Err(IndexError::Twice { name: "version".to_owned(), line: 4 }));
    let latin = b"apiVersion: v1\nentries: {w\xe9b: []}\n";
    assert!(matches!(counts(&latin[..], &IndexLimits::default()), Err(IndexError::NotText { .. })));
}

#[test]
fn laughs_do_not_multiply() {
    let levels: Vec<_> = (1..30).map(|level| format!("a{level}: &a{level} [*a{0}, *a{0}]\n", level - 1)).collect();
    let levels = levels.concat();
    assert_eq!(refusal(&format!("a0: &a0 x\n{levels}entries: {{}}\n")), IndexError::Alias { line: 1 });
}

#[test]
fn every_bound_on_an_index_holds() {
    let within = IndexLimits { bytes: HELM.len(), charts: 2, versions: 3, depth: 6, text: 120 };
    let read = |limits: &IndexLimits| charts(HELM.as_bytes(), limits).map(drop);
    assert_eq!(read(&within), Ok(()));
    let too_many = |what, limit| IndexError::TooMany { what, limit };
    for (limits, expected) in [
        (IndexLimits { bytes: HELM.len() - 1, ..within }, IndexError::TooLarge(HELM.len() - 1)),
        (IndexLimits { charts: 1, ..within }, too_many("charts", 1)),
        (IndexLimits { versions: 2, ..within }, too_many("versions of one chart", 2)),
        (IndexLimits { depth: 5, ..within }, too_many("lists and maps in one another", 5)),
        (IndexLimits { text: 60, ..within }, too_many("characters in one text", 60)),
    ] {
        assert_eq!(read(&limits), Err(expected));
    }
}

/// A reader that never ends.
struct Endless(&'static [u8]);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        buffer.iter_mut().zip(self.0.iter().cycle()).for_each(|(to, from)| *to = *from);
        Ok(buffer.len() / self.0.len() * self.0.len())
    }
}

#[test]
fn what_does_not_end_is_given_up() {
    let limits = IndexLimits { bytes: 1 << 19, text: 1 << 14, ..IndexLimits::default() };
    for endless in [
        "x",
        "[",
        "{",
        "- ",
        "# a\n",
        "\n",
        "\"",
        "? ",
        "a: b\n",
        "- a\n",
        "[a,",
        "{a: ",
        "!a ",
        "%TAG ! a\n",
        " ",
        "'a\n",
        "|\n a\n",
    ] {
        let refused = counts(Endless(endless.as_bytes()), &limits).unwrap_err();
        assert!(!matches!(refused, IndexError::Interrupted), "{endless}: {refused}");
    }
}

/// Reads an index without dropping anything before it is parsed.
fn whole(chart: &str, index: &str) -> Result<(Vec<IndexRow>, IndexCounts), IndexError> {
    let mut found = Vec::new();
    let counts = walk(index.as_bytes(), &IndexLimits::default(), |name| name == chart, |_, row| found.push(row))?;
    found.sort_by(|a: &IndexRow, b| b.version.cmp(&a.version));
    Ok((found, counts))
}

#[test]
fn what_is_dropped_changes_nothing() {
    let deep = HELM.replace("\n  ", "\n      ");
    let items_deeper = HELM.replace("\n    ", "\n      ").replace("\n  -", "\n    -");
    let long = HELM.replace("Serves", &"Serves ".repeat(30_000));
    let windows = HELM.replace('\n', "\r\n");
    let odd = "\n# a\n    # b\n  'x y':\n  -\n  1.5:\n  - null\n  empty:\n  flow: [\n    {}]\n  db: # c";
    let between = HELM.replace("\n  db:", odd);
    for index in [HELM, &deep, &items_deeper, &long, &windows, &between] {
        for chart in ["web", "db", "1.5", "none"] {
            let (rows, all) = whole(chart, index).unwrap();
            assert_eq!(versions_of(chart, index), Ok(rows), "{chart} in {index:.400}");
            assert_eq!(counts(index.as_bytes(), &IndexLimits::default()), Ok(all), "{index:.400}");
        }
    }
    let long = format!("  long:\n  - {}\n", "a".repeat(200_000));
    let index = HELM.replace("  db:\n", &format!("{long}  db:\n"));
    assert_eq!(versions_of("db", &index).unwrap().len(), 1, "a line longer than what is read at once");
}

#[test]
fn a_reader_that_fails_is_told() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("gone"))
        }
    }
    let interrupted = Cursor::new("apiVersion: v1\nentries:\n").chain(Failing);
    assert_eq!(counts(interrupted, &IndexLimits::default()), Err(IndexError::Interrupted));
}

proptest! {
    #[test]
    fn any_bytes_can_be_an_index(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = counts(&bytes[..], &IndexLimits::default());
    }

    #[test]
    fn anything_like_yaml_can_be_an_index(text in "[-a:\\[\\]{},\"'|>#&*!%?~ \\n\\t\\\\0-2é]{0,60}") {
        let limits = IndexLimits { depth: 10, ..IndexLimits::default() };
        let _ = counts(text.as_bytes(), &limits);
        let _ = versions("a", format!("entries:\n  a:\n  - {text}").as_bytes(), &limits);
        let _ = charts(format!("entries: {{a: [{text}]}}").as_bytes(), &limits);
    }

    #[test]
    fn nothing_that_is_wanted_is_dropped(
        lines in proptest::collection::vec(("[ ]{0,5}", "(- )?", "(a|b|name|version|urls|'c')?", "(:|: a|: 1.0.0|: \\[a\\]|: \\||: 'x|y'|: \"z|#)?"), 0..12)
    ) {
        let lines: Vec<_> = lines.into_iter().map(|(indent, item, key, value)| [indent, item, key, value].concat()).collect();
        let index = format!("entries:\n  a:\n  - name: a\n    version: 1.0.0\n    urls: [x]\n{}\n", lines.join("\n"));
        for chart in ["a", "b"] {
            if let Ok((rows, all)) = whole(chart, &index) {
                prop_assert_eq!(versions_of(chart, &index), Ok(rows), "{}", index);
                prop_assert_eq!(counts(index.as_bytes(), &IndexLimits::default()), Ok(all), "{}", index);
            }
        }
    }

    #[test]
    fn any_damage_to_an_index_can_be_read(at in 0..HELM.len(), with in "\\PC{0,3}") {
        if HELM.is_char_boundary(at) {
            let damaged = format!("{}{with}{}", &HELM[..at], HELM.get(at + 1..).unwrap_or_default());
            let _ = versions_of("web", &damaged);
            let _ = versions_of("web", &HELM[..at]);
        }
    }
}
