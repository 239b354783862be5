//! Where a chart failed, read from what Helm says.

use std::{fmt, path::Path};

/// Characters of Helm's text that are repeated.
const LONGEST: usize = 256;

/// Where and why a chart does not render. Charts can print values when they fail: the text of Helm is in here only where no value is
/// secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// The template, such as `templates/service.yaml` or `charts/db/templates/service.yaml`.
    pub file: Option<String>,
    /// The line of the template, from 1 on.
    pub line: Option<u32>,
    /// The value that it asks for, such as `.Values.image.tag`.
    pub value: Option<String>,
    /// What Helm says, on one line and at most 256 characters; none where values are secret.
    pub text: Option<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the chart does not render")?;
        if let Some(file) = &self.file {
            write!(formatter, " at {file}")?;
            self.line.iter().try_for_each(|line| write!(formatter, ":{line}"))?;
        }
        self.value.iter().try_for_each(|value| write!(formatter, ", which asks for {value}"))?;
        match &self.text {
            Some(text) => write!(formatter, ": {text}"),
            None => Ok(()),
        }
    }
}

impl Failure {
    /// Reads what Helm wrote about the chart in the folder `root/chart`.
    pub(crate) fn read(stderr: &str, root: &Path, is_secret: bool) -> Self {
        let found: Vec<_> = places(stderr).filter(|(file, _)| root.join("chart").join(file).is_file()).collect();
        let place = found.iter().rfind(|(_, line)| line.is_some()).or(found.last());
        let text = (!is_secret).then(|| line(&stderr.replace(&*root.to_string_lossy(), "")));
        Self {
            line: place.and_then(|(_, line)| *line),
            file: place.map(|(file, _)| (*file).to_owned()),
            value: value(stderr).map(ToOwned::to_owned),
            text,
        }
    }
}

/// The templates that a text names, without the name of the chart before them, and the lines. Who calls comes before who is called.
fn places(text: &str) -> impl Iterator<Item = (&str, Option<u32>)> {
    let words = text.split(|letter: char| letter.is_whitespace() || matches!(letter, '(' | ')' | '"' | ','));
    words.filter_map(|word| {
        let mut parts = word.split(':');
        let (_, file) = parts.next()?.split_once('/')?;
        let is_plain = !file.starts_with('/') && !file.split('/').any(|part| part == "..");
        is_plain.then(|| (file, parts.next().and_then(|line| line.parse().ok())))
    })
}

/// The value in the last place that Helm shows as `at <.Values.a.b>`.
fn value(text: &str) -> Option<&str> {
    let shown = text
        .lines()
        .filter(|line| line.trim_start().starts_with("executing \""))
        .flat_map(|line| line.split("at <").skip(1).filter_map(|rest| rest.split_once('>')).map(|(shown, _)| shown));
    let paths = shown.flat_map(|shown| shown.split([' ', '(', ')'])).map(|word| word.trim_start_matches('$'));
    let is_path = |path: &&str| {
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_');
        path.starts_with(".Values.") && path.len() <= LONGEST && path.chars().all(is_plain)
    };
    paths.filter(is_path).last()
}

/// Helm's text on one line.
fn line(text: &str) -> String {
    let text = text.split("Use --debug flag").next().unwrap_or_default();
    let words: Vec<_> = text.trim_start_matches("Error: ").split_whitespace().collect();
    words.join(" ").chars().filter(|letter| !letter.is_control()).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NESTED: &str = "Error: ch/templates/bad.yaml:1:3\n  executing \"ch/templates/bad.yaml\" at <include \"x\" .>:\n    error calling include:\n\
        ch/templates/_h.tpl:7:50\n  executing \"x\" at <.Values.thing.foo>:\n    nil pointer evaluating interface {}.foo\n\n\
        Use --debug flag to render out invalid YAML\n";
    const FAIL: &str = "Error: execution error at (ch/templates/bad.yaml:4:3): password is s3cr3t\n\nUse --debug flag to render out invalid YAML\n";
    const YAML: &str =
        "Error: YAML parse error on ch/templates/bad.yaml: error converting YAML to JSON: yaml: line 3: oops\n";

    fn read(text: &str, is_secret: bool) -> Failure {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("chart/templates")).unwrap();
        for file in ["bad.yaml", "_h.tpl"] {
            std::fs::write(root.path().join("chart/templates").join(file), "").unwrap();
        }
        Failure::read(text, root.path(), is_secret)
    }

    #[test]
    fn the_innermost_place_and_value_are_named() {
        let failure = read(NESTED, true);
        let expected = (Some("templates/_h.tpl"), Some(7), Some(".Values.thing.foo"), None);
        assert_eq!(
            (failure.file.as_deref(), failure.line, failure.value.as_deref(), failure.text.as_deref()),
            expected
        );
        assert_eq!(
            failure.to_string(),
            "the chart does not render at templates/_h.tpl:7, which asks for .Values.thing.foo"
        );
    }

    #[test]
    fn what_a_chart_prints_of_secret_values_is_not_repeated() {
        assert_eq!(read(FAIL, true).to_string(), "the chart does not render at templates/bad.yaml:4");
        let shown = read(FAIL, false).to_string();
        assert!(shown.ends_with("execution error at (ch/templates/bad.yaml:4:3): password is s3cr3t"), "{shown}");
        let as_a_place = FAIL.replace("s3cr3t", "x/s3cr3t:1").replace("password", "at <.Values.s3cr3t>");
        assert!(!format!("{:?}", read(&as_a_place, true)).contains("s3cr3t"));
    }

    #[test]
    fn broken_yaml_names_its_template_without_a_line_of_its_own() {
        let failure = read(YAML, true);
        assert_eq!((failure.file.as_deref(), failure.line), (Some("templates/bad.yaml"), None));
        assert_eq!(read("Error: chart requires kubeVersion: >=2", true), Failure::default());
    }

    #[test]
    fn the_text_is_one_bounded_line_that_names_no_folder_of_ours() {
        let text = read(&format!("Error: a\n\u{1b}[31m b {}", "x".repeat(1000)), false).text.unwrap();
        assert!(text.starts_with("a [31m b xx") && text.len() == LONGEST, "{text}");
        let failure = Failure::read("Error: /tmp/r/values.json: oops", Path::new("/tmp/r"), false);
        assert_eq!(failure.text.as_deref(), Some("/values.json: oops"));
    }

    proptest! {
        #[test]
        fn no_text_is_a_defect(text in "[ -~\n:/().<>\"]{0,200}") {
            let _ = Failure::read(&text, Path::new("/nonexistent"), false);
        }
    }
}
