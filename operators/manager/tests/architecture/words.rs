//! Keeps one word for one thing: words that named something earlier must not come back for it. Texts that people read are
//! searched: string literals and documentation of the crates, pages, charts, and what `make generate` writes from the code.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    files::{code, files},
    root,
};

/// Former words, and the word that stands for the thing now. An entry is found as whole words, in any case; names such as
/// `LetGo` and `drover_pass_seconds` are read word by word.
const FORMER: &[(&[&str], &str)] = &[
    (&["pass", "passes"], "reconcile"),
    (&["hop", "hops"], "connection error, step"),
    (&["its line", "no line", "on the line"], "connection guard"),
    (&["contact", "contacts", "contacted"], "connection, cluster client"),
    (&["glance", "glances", "glanced"], "TLS probe"),
    (&["road", "roads"], "transport"),
    (&["holds the cluster", "holds this cluster", "hold the cluster", "whoever holds"], "holds the claim"),
    (&["wish", "wishes", "wished"], "takeover request, desired state"),
    (&["the needs", "needs of", "its needs"], "required permissions"),
    (&["visit", "visits", "visited"], "one shot"),
    (&["leaving", "is leaving", "who leaves"], "being deleted, teardown"),
    (&["another's", "somebody else's", "another one's"], "foreign"),
    (
        &["let go", "lets go", "letting go", "let it go", "lets it go", "let them go", "lets them go"],
        "release, abandon",
    ),
    (&["frees", "freed", "free namespace", "free namespaces"], "release"),
    (&["vault", "vaults"], "operator namespace"),
    (&["elder", "elders"], "older project"),
    (&["contested", "fought over"], "drift conflict"),
    (&["standing", "standings"], "state of a place"),
    (&["site", "sites"], "place"),
    (&["wake", "wakes", "woken"], "enqueue"),
    (&["a view", "each view", "every view", "views", "follower", "followers"], "informer, reflector"),
];

/// Words that messages do without: they name who or what first.
const VAGUE: &[(&[&str], &str)] = &[(&["whose", "is told", "that reads"], "who or what it is")];

/// Words that documentation does without as well.
const NOBODY: &[(&[&str], &str)] =
    &[(&["somebody", "somebody's", "someone", "someone else", "no one of ours"], "who it is")];

/// What the same words also mean.
const OTHER_MEANINGS: &[&str] = &[
    // A test or a change passes; a state of a scan of the CIS profile will be `pass`.
    "must pass",
    "passes its",
    "passes by",
    "passes through",
    "passes over",
    "test passes",
    "scan pass",
    // Of a packet.
    "network hop",
    "network hops",
    // Of a person, in SECURITY.md.
    "private contact",
    // The product.
    "hashicorp vault",
    // The roles of Kubernetes.
    "built in roles view",
    // The kind of the example.
    "a view grant",
];

/// The words of a text, in lower case; `CamelCase` and `snake_case` are taken apart.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut last = ' ';
    for letter in text.chars() {
        if !(letter.is_alphanumeric() || letter == '\'') || (letter.is_uppercase() && last.is_lowercase()) {
            words.push(std::mem::take(&mut word));
        }
        if letter.is_alphanumeric() || letter == '\'' {
            word.extend(letter.to_lowercase());
        }
        last = letter;
    }
    words.push(word);
    words.into_iter().map(|word| word.trim_matches('\'').to_owned()).filter(|word| !word.is_empty()).collect()
}

/// Where it is about scans: a check of a benchmark passes.
const OF_SCANS: [&str; 5] = ["cis_", "cis-", "scans", "src/scan/", "api-reference.md"];

/// The same in a file.
fn former_in(file: &Path, text: &str, tables: &[&[(&[&str], &str)]]) -> Vec<String> {
    let path = file.strip_prefix(root()).unwrap_or(file).display().to_string();
    let is_of_scans = OF_SCANS.iter().any(|part| path.contains(part)) || path.contains("drover.dev_cis");
    let mut found = former(text, tables);
    found.retain(|wrong| !(is_of_scans && wrong.starts_with("\"pass")));
    found
}

/// Former words in `text`, each with the word to use.
fn former(text: &str, tables: &[&[(&[&str], &str)]]) -> Vec<String> {
    let mut text = format!(" {} ", words(text).join(" "));
    for meaning in OTHER_MEANINGS {
        text = text.replace(&format!(" {meaning} "), " … ");
    }
    let entries = tables.iter().copied().flatten();
    let pairs = entries.flat_map(|(former, now)| former.iter().map(move |each| (each, now)));
    let found = pairs.filter(|(each, _)| text.contains(&format!(" {each} ")));
    found.map(|(each, now)| format!("{each:?} (say: {now})")).collect()
}

/// The string literals in lines of Rust. A literal may go over several lines.
fn literals(lines: &[&str]) -> Vec<String> {
    let text = lines.join("\n");
    let mut found = Vec::new();
    let mut rest = text.as_str();
    while let Some(start) = rest.find(['"', '\'', '/']) {
        let before = &rest[..start];
        rest = &rest[start..];
        if rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
        } else if let Some(literal) = rest.strip_prefix('"') {
            let hashes = before.len() - before.trim_end_matches('#').len();
            let is_raw = before.trim_end_matches('#').ends_with('r');
            let end = if is_raw { literal.find(&format!("\"{}", "#".repeat(hashes))) } else { unescaped(literal) };
            let end = end.unwrap_or_else(|| panic!("a literal without an end: {literal:.80}"));
            found.push(literal[..end].replace("\\n", " ").replace("\\\"", "\""));
            rest = &literal[end + 1..];
        } else {
            // A quotation mark as a character, or a lifetime.
            let skipped = if rest.starts_with("'\"'") {
                3
            } else if rest.starts_with("'\\\"'") {
                4
            } else {
                1
            };
            rest = &rest[skipped..];
        }
    }
    found
}

/// Where the first quotation mark is that no backslash escapes.
fn unescaped(literal: &str) -> Option<usize> {
    let mut is_escaped = false;
    literal.char_indices().find_map(|(at, letter)| {
        let ends = letter == '"' && !is_escaped;
        is_escaped = letter == '\\' && !is_escaped;
        ends.then_some(at)
    })
}

/// The files below `folder` with one of these endings.
fn pages(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(pages(&path, endings));
        } else if path.extension().is_some_and(|ending| endings.iter().any(|one| ending == *one)) {
            found.push(path);
        }
    }
    found
}

#[test]
fn messages_say_one_word_for_one_thing() {
    let mut found = Vec::new();
    let mut count = 0;
    for file in [files(&root().join("operators")), files(&root().join("crds"))].concat() {
        if file.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        for literal in literals(&code(&fs::read_to_string(&file).unwrap())) {
            count += 1;
            let wrong = former_in(&file, &literal, &[FORMER, VAGUE, NOBODY]);
            found.extend(wrong.into_iter().map(|wrong| format!("{}: {wrong}: {literal}", file.display())));
        }
    }
    assert!(count > 1000, "{count} literals");
    assert!(found.is_empty(), "{found:#?}");
}

/// The documentation of items and modules, each as one text.
fn documentation(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim_start);
    let lines: Vec<_> =
        lines.map(|line| line.strip_prefix("///").or_else(|| line.strip_prefix("//!")).unwrap_or_default()).collect();
    lines.split(|line| line.trim().is_empty()).filter(|lines| !lines.is_empty()).map(|lines| lines.join("\n")).collect()
}

#[test]
fn documentation_says_one_word_for_one_thing() {
    let mut found = Vec::new();
    let mut count = 0;
    for file in ["operators", "crds", "examples"].iter().flat_map(|folder| files(&root().join(folder))) {
        for text in documentation(&fs::read_to_string(&file).unwrap()) {
            count += 1;
            let wrong = former_in(&file, &text, &[FORMER, NOBODY]);
            found.extend(wrong.into_iter().map(|wrong| format!("{}: {wrong}: {text}", file.display())));
        }
    }
    assert!(count > 1000, "{count} paragraphs");
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn documentation_is_read_by_paragraphs_and_without_code() {
    let text = "//! One\n//! two.\n//!\n//! Three.\nuse four;\n    /// Five.\n    // six\n";
    assert_eq!(documentation(text), [" One\n two.", " Three.", " Five."]);
}

#[test]
fn pages_and_charts_say_one_word_for_one_thing() {
    let root = root();
    let mut all = pages(&root.join("docs"), &["md"]);
    all.extend(pages(&root.join("charts"), &["yaml", "json", "txt", "tpl"]));
    all.extend(pages(&root.join("config"), &["md"]));
    all.extend(["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"].map(|name| root.join(name)));
    assert!(all.len() > 40, "{} pages", all.len());
    let mut found = Vec::new();
    for file in all {
        // Paragraph by paragraph: a phrase may go over the end of a line, and no further.
        for text in fs::read_to_string(&file).unwrap().split("\n\n") {
            let wrong = former_in(&file, text, &[FORMER]);
            found.extend(wrong.into_iter().map(|wrong| format!("{}: {wrong}: {text}", file.display())));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn former_words_are_found_as_whole_words_and_in_names() {
    let wrong = |text: &str| !former(text, &[FORMER, VAGUE, NOBODY]).is_empty();
    for text in [
        "Passes at a time",
        "before the first pass",
        "LetGo",
        "FieldContested",
        "drover_pass_seconds",
        "the cluster was let\ngo at the deadline",
        "another's namespace",
        "somebody else changed it",
        "the elder Project",
        "lies in the vault",
        "the hop that failed",
    ] {
        assert!(wrong(text), "{text}");
    }
    for text in [
        "a password",
        "the connection bypasses the proxy",
        "what a change must pass",
        "a bad cluster passes by itself",
        "one network hop further",
        "the role view",
        "holds the claim",
        "shop",
        "spec.suspend",
    ] {
        assert!(!wrong(text), "{text}: {:?}", former(text, &[FORMER, VAGUE, NOBODY]));
    }
}

#[test]
fn literals_are_read_as_rust_reads_them() {
    let lines = [
        "let a = \"one\"; // \"no\"",
        "let b = ('\"', r#\"two \"2\"\"#, \"th\\\"ree\");",
        "fn f<'a>() { \"fo\\",
        "  ur\" }",
    ];
    let found: Vec<String> = literals(&lines).iter().map(|found| words(found).join(" ")).collect();
    assert_eq!(found, ["one", "two 2", "th ree", "fo ur"]);
}
