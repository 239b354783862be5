//! What the files of the crates may hold, and how long they may be.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{operators, root};

/// Files of an operator that reach outside: they gather the world, act on it, or put the operator together.
const IMPURE: [&str; 4] = ["lib.rs", "observe.rs", "act.rs", "error.rs"];

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
    for operator in operators() {
        let source = root().join("operators").join(&operator).join("src");
        let pure = files(&source).into_iter().filter(|file| {
            let is_top_level = file.parent() == Some(&source);
            !(is_top_level && IMPURE.iter().any(|name| file.ends_with(name)))
        });
        let mut names = Vec::new();
        for file in pure {
            let text = fs::read_to_string(&file).unwrap();
            for line in code(&text) {
                for banned in BANNED {
                    assert!(!line.contains(banned), "{} holds {banned:?}: {line}", file.display());
                }
            }
            names.push(file.file_name().unwrap().to_owned());
        }
        for expected in ["plan.rs", "summary.rs"] {
            assert!(names.iter().any(|name| name == expected), "drover-{operator} has no {expected}");
        }
    }
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
