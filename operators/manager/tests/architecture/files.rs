//! What the files of the crates may hold, and how long they may be.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{PURE, operators, root};

/// Files of a kind that reach outside, beside the one that puts its operator together: they gather the world, or act on it.
const IMPURE: [&str; 3] = ["observe.rs", "act.rs", "error.rs"];

/// Only the file that puts an operator together holds this: `lib.rs`, or the `mod.rs` of a further kind in the same crate.
const OPERATOR: &str = "\nimpl Operator for ";

/// A client, a clock or an await in what decides would be a way around that everything is handed to it.
const BANNED: [&str; 7] = ["async ", ".await", "Client", "Cache", "Api<", "Instant", "Timestamp::now"];

/// Most lines of a file, without tests, comments and blank lines.
const MOST_LINES: usize = 400;

/// The Rust files in `folder`, tests aside.
pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.file_stem().unwrap() == "tests" {
            continue;
        }
        if entry.is_dir() {
            found.extend(files(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
    found
}

/// The lines of code in `text`, without tests, comments and blank lines.
pub(super) fn code(text: &str) -> Vec<&str> {
    let mut code: Vec<&str> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let bare = line.trim();
        // rustfmt puts the end of an item at the indentation of its beginning.
        if code.last().is_some_and(|last| *last == "#[cfg(test)]") && bare.ends_with('{') {
            code.pop();
            lines.by_ref().find(|line| *line == "}");
        } else if !bare.is_empty() && !bare.starts_with("//") {
            code.push(line);
        }
    }
    code
}

#[test]
fn what_decides_has_neither_client_nor_clock() {
    for folder in operators().into_iter().chain(PURE.map(str::to_owned)) {
        let source = root().join("operators").join(&folder).join("src");
        let texts: Vec<_> = files(&source).into_iter().map(|file| (fs::read_to_string(&file).unwrap(), file)).collect();
        let texts: Vec<_> = texts.iter().map(|(text, file)| (file.as_path(), text.as_str())).collect();
        let has_operator = kinds(&texts).contains(&&*source);
        assert_eq!(has_operator, !PURE.contains(&&*folder), "drover-{folder}: an operator belongs into its lib.rs");
        let found = impurities(&texts);
        assert!(found.is_empty(), "{found:#?}");
    }
}

/// The operators that the crate in `folder` puts together.
pub(super) fn operators_of(folder: &Path) -> Vec<String> {
    let texts = files(folder).into_iter().map(|file| fs::read_to_string(file).unwrap());
    let names = |text: String| -> Vec<String> {
        let heads = text.split(OPERATOR).skip(1);
        heads
            .filter_map(|head| head.split(|letter: char| !letter.is_alphanumeric()).next())
            .map(str::to_owned)
            .collect()
    };
    texts.flat_map(names).collect()
}

/// The folders with the files of one kind each.
fn kinds<'a>(texts: &[(&'a Path, &str)]) -> Vec<&'a Path> {
    let operators = texts.iter().filter(|(_, text)| text.contains(OPERATOR));
    operators.filter_map(|(file, _)| file.parent()).collect()
}

/// What the files of one crate hold although they decide, and what its kinds lack.
fn impurities(texts: &[(&Path, &str)]) -> Vec<String> {
    let kinds = kinds(texts);
    let is_impure = |file: &Path| {
        let is_of_a_kind = kinds.contains(&file.parent().unwrap());
        is_of_a_kind && IMPURE.iter().chain(&["lib.rs", "mod.rs"]).any(|name| file.ends_with(name))
    };
    let mut found = Vec::new();
    for (file, text) in texts.iter().filter(|(file, _)| !is_impure(file)) {
        for line in code(text) {
            let banned = BANNED.iter().filter(|banned| line.contains(**banned));
            found.extend(banned.map(|banned| format!("{} holds {banned:?}: {line}", file.display())));
        }
    }
    let needed = kinds.iter().flat_map(|kind| ["plan.rs", "summary.rs"].map(|name| kind.join(name)));
    let missing = needed.filter(|needed| !texts.iter().any(|(file, _)| file == needed));
    found.extend(missing.map(|missing| format!("there is no {}", missing.display())));
    found
}

#[test]
fn a_second_kind_of_a_crate_reaches_outside_where_the_first_one_may() {
    let operator = "mod plan;\n\nimpl Operator for OneOperator {\n    async fn observe() {}\n}\n";
    let crate_of = |files: &[(&'static str, &'static str)]| {
        let texts = files.iter().map(|(file, text)| (Path::new(*file), *text));
        impurities(&texts.chain([(Path::new("src/lib.rs"), operator)]).collect::<Vec<_>>())
    };
    let pure = [("src/plan.rs", ""), ("src/summary.rs", ""), ("src/two/plan.rs", ""), ("src/two/summary.rs", "")];
    let both = |more: &[(&'static str, &'static str)]| crate_of(&[&pure[..], more].concat());
    assert_eq!(both(&[("src/two/mod.rs", operator), ("src/two/observe.rs", "async fn observe() {}")]), [""; 0]);
    assert_eq!(both(&[("src/rules/act.rs", "async fn act() {}")]).len(), 1, "no operator is put together there");
    assert_eq!(both(&[("src/rules/mod.rs", "fn look(client: &Client) {}")]).len(), 1);
    assert_eq!(both(&[("src/two/mod.rs", operator), ("src/two/rules.rs", "x.await;")]).len(), 1);
    assert_eq!(crate_of(&[("src/two/mod.rs", operator)]).len(), 4, "neither kind has its pure files");
}

#[test]
fn no_file_is_too_long() {
    let files = [files(&root().join("operators")), files(&root().join("crds"))].concat();
    assert!(files.len() > 50, "{} files", files.len());
    for file in files {
        let lines = code(&fs::read_to_string(&file).unwrap()).len();
        assert!(lines <= MOST_LINES, "{} has {lines} lines of code, more than {MOST_LINES}", file.display());
    }
}

#[test]
fn tests_and_comments_are_no_code() {
    let text = "//! Story.\n\n#[cfg(test)]\nmod tests;\n\n/// A.\nfn a() {\n    b();\n}\n\n#[cfg(test)]\nmod more {\n    fn c() {\n    }\n}\nfn d() {}\n";
    assert_eq!(code(text), ["#[cfg(test)]", "mod tests;", "fn a() {", "    b();", "}", "fn d() {}"]);
}
