use proptest::prelude::*;
use serde_json::{Value, json};

use super::{DEPTH, Duplicates, EXPANDED_BYTES, TEXT_BYTES, YamlError, YamlFault, values};
use crate::{
    recorded::{rows, same},
    weight::Weight,
};

fn refused(text: &str) -> YamlError {
    values(text, Duplicates::Refuse).unwrap_err()
}

#[test]
fn texts_mean_what_helm_reads() {
    for row in rows(include_str!("../../testdata/yaml.json")) {
        let found = values(row["text"].as_str().unwrap(), Duplicates::LastWins);
        match &row["values"] {
            Value::Null => assert!(found.is_err(), "{row}: {found:?}"),
            expected => assert!(found.as_ref().is_ok_and(|found| same(found, expected)), "{row}: {found:?}"),
        }
    }
}

#[test]
fn a_key_that_is_there_twice_is_refused_unless_it_overrides_a_merge() {
    assert_eq!(refused("a: 1\nb: 2\na: 3"), YamlError::Line(3, YamlFault::Duplicate));
    assert_eq!(refused("m: {a: 1, 'a': 3}"), YamlError::Line(1, YamlFault::Duplicate));
    assert_eq!(refused("8080: 1\n'8080': 3"), YamlError::Line(2, YamlFault::Duplicate));
    let merged = values("base: &b {a: 1, c: 2}\nm:\n  <<: *b\n  a: 3\n", Duplicates::Refuse);
    assert_eq!(merged, Ok(json!({"base": {"a": 1, "c": 2}, "m": {"a": 3, "c": 2}})));
    assert_eq!(refused("base: &b {a: 1}\nm:\n  <<: *b\n  a: 3\n  a: 4\n"), YamlError::Line(5, YamlFault::Duplicate));
}

#[test]
fn billion_laughs_are_refused_before_they_are_in_memory() {
    let level = |level: usize| format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(", "));
    let text = format!("a0: &a0 [{}]\n{}", ["lol"; 10].join(", "), (1..10).map(level).collect::<String>());
    assert!(matches!(refused(&text), YamlError::Line(_, YamlFault::TooMuch)));
}

#[test]
fn a_long_string_is_not_multiplied() {
    let text = format!("a: &a {}\nb: [{}]", "x".repeat(500_000), ["*a"; 50].join(", "));
    assert!(matches!(refused(&text), YamlError::Line(2, YamlFault::TooMuch)));
}

#[test]
fn depth_is_bounded_also_through_aliases() {
    let list = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(values(&format!("a: {}", list(DEPTH - 1)), Duplicates::Refuse).is_ok());
    assert_eq!(refused(&format!("a: {}", list(DEPTH))), YamlError::Line(1, YamlFault::TooDeep));
    assert!(matches!(
        refused(&format!("a: {}", list(100_000))),
        YamlError::Line(_, YamlFault::TooDeep | YamlFault::Syntax)
    ));
    let half = DEPTH / 2 + 1;
    let nested = format!("a: &a {}\nb: {}*a{}", list(half), "[".repeat(half), "]".repeat(half));
    assert!(matches!(refused(&nested), YamlError::Line(_, YamlFault::TooDeep | YamlFault::TooMuch)));
}

#[test]
fn a_text_longer_than_a_config_map_is_refused_unread() {
    assert_eq!(refused(&format!("a: {}", "x".repeat(TEXT_BYTES))), YamlError::TooLong);
}

#[test]
fn hostile_texts_take_time_that_is_linear_in_their_length() {
    let patterns = [
        "[",
        "{",
        "- ",
        "? ",
        "a: ",
        "a:\n",
        "a: [",
        "[a,",
        "{a: ",
        "&a ",
        "*a ",
        "!a ",
        "|\n",
        ">\n",
        "'",
        "\"",
        "\"\n",
        "a\n",
        "a ",
        " ",
        "\t",
        "\n",
        "#",
        "# \n",
        "---\n",
        "...\n",
        "--- a\n",
        "%\n",
        "a: b\n---\n",
        "- a\n",
        "-\n",
        "[]",
        "[],",
        "{},",
        "? a\n",
        "\\",
        ": ",
        ",",
        "a: |\n b\n",
        "<<: {}\n",
        "a: &a\n",
        "\u{feff}",
        "é",
        "\r",
        "\r\n",
        "'a': ",
        "\"a\": ",
        "a: 'b\n\n c'\n",
        "[a: b, ",
        "[? a, ",
    ];
    for pattern in patterns {
        for (start, end) in [("", ""), ("a: \"", "\""), ("a: [", "]")] {
            let text = format!("{start}{}{end}", pattern.repeat((64 << 10) / pattern.len()));
            let started = std::time::Instant::now();
            let _any = values(&text, Duplicates::Refuse);
            // Milliseconds; what grows with the square takes minutes.
            assert!(started.elapsed().as_secs() < 20, "{start:?} {pattern:?} {end:?}");
        }
    }
}

#[test]
fn an_error_never_quotes_the_text() {
    let texts = [
        "pass: [s3cret",
        "s3cret: .inf",
        "s3cret: 1\ns3cret: 2",
        "? [s3cret]\n: 1",
        "s3cret",
        "a: *s3cret",
        "<<: s3cret",
    ];
    for text in texts {
        assert!(!refused(text).to_string().contains("s3cret"), "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[a-c0-9 \\-:\\[\\]{},&*!<>|'\"#\n\t?%]{0,80}") {
        if let Ok(values) = values(&text, Duplicates::LastWins) {
            let weight = Weight::of(&values);
            prop_assert!(values.is_object());
            prop_assert!(weight.depth <= DEPTH + 1 && weight.bytes <= EXPANDED_BYTES);
        }
    }

    #[test]
    fn any_characters_are_read_or_refused(text in "\\PC{0,60}|(?s).{0,60}") {
        let _any = values(&text, Duplicates::Refuse);
    }

    #[test]
    fn json_is_yaml(value in crate::arbitrary::map()) {
        prop_assert_eq!(values(&value.to_string(), Duplicates::Refuse), Ok(value));
    }
}
