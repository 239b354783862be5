use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Questions, QuestionsError, Type};
use crate::{YamlError, YamlFault};

/// What one question, written in YAML, says of the value `v`.
fn broken(question: &str, value: &Value) -> Option<String> {
    let questions = Questions::parse(&format!("questions: [{{variable: v, {question}}}]")).unwrap();
    let problems = questions.check(&json!({"v": value}));
    problems.first().map(|problem| problem.to_string().trim_start_matches("question v: ").to_owned())
}

#[test]
fn each_rule_of_a_question_judges_its_answer() {
    let cases = [
        ("required: true", json!("x"), ""),
        ("required: true", json!(""), "it needs an answer"),
        ("required: true", json!(null), "it needs an answer"),
        ("required: true", json!(false), ""),
        ("required: true", json!(0), ""),
        ("required: false", json!(null), ""),
        ("type: string", json!(1), ""),
        ("type: string", json!([1]), "its answer is not a text"),
        ("type: multiline", json!("a\nb"), ""),
        ("type: storageclass", json!("fast"), ""),
        ("type: nobody-knows", json!(true), ""),
        ("type: 'array[string]', required: true", json!(["a"]), ""),
        ("type: 'map[string]', required: true", json!(null), "it needs an answer"),
        ("type: int", json!(1), ""),
        ("type: int", json!("12"), ""),
        ("type: int", json!(1.0), ""),
        ("type: int", json!(1.5), "its answer is not a whole number"),
        ("type: int", json!("inf"), "its answer is not a whole number"),
        ("type: int", json!(true), "its answer is not a whole number"),
        ("type: int, min: 2", json!(1), "its answer is less than 2"),
        ("type: int, max: '5'", json!("6"), "its answer is more than 5"),
        ("type: int, min: 1, max: 5", json!(5), ""),
        ("type: float, max: 1.5", json!(1.6), "its answer is more than 1.5"),
        ("type: float", json!("x"), "its answer is not a number"),
        ("type: boolean", json!(true), ""),
        ("type: boolean", json!("false"), ""),
        ("type: boolean", json!("yes"), "its answer is not true or false"),
        ("type: enum, options: [a, 1]", json!("a"), ""),
        ("type: enum, options: [a, 1]", json!(1), ""),
        ("type: enum, options: [a, 1]", json!("b"), "its answer is none of its options"),
        ("type: enum", json!("b"), ""),
        ("type: hostname", json!("a-1.example.com"), ""),
        ("type: hostname", json!("*.example.com"), ""),
        ("type: hostname", json!("-a.example"), "its answer is not a DNS name"),
        ("type: hostname", json!("a..b"), "its answer is not a DNS name"),
        ("type: password, min_length: 8", json!("s3cret"), "its answer is shorter than 8 characters"),
        ("min_length: 2, max_length: 3", json!("äöü"), ""),
        ("max_length: 3", json!("abcd"), "its answer is longer than 3 characters"),
        ("max_length: 0", json!("abcd"), ""),
        ("valid_chars: a-c0-9", json!("a1c"), ""),
        ("valid_chars: a-c0-9", json!("x"), "its answer has characters that it does not allow"),
        ("invalid_chars: ' /'", json!("a/b"), "its answer has characters that it does not allow"),
        ("valid_chars: 'z-a'", json!("x"), ""),
        ("min_length: many, max: lots", json!("x"), ""),
    ];
    for (question, value, expected) in cases {
        assert_eq!(broken(question, &value).unwrap_or_default(), expected, "{question} {value}");
    }
}

#[test]
fn a_problem_never_shows_an_answer() {
    for question in [
        "type: int",
        "type: password, min_length: 99",
        "max_length: 1",
        "type: enum, options: [a]",
        "valid_chars: x",
        "type: hostname",
    ] {
        let text = broken(question, &json!("s3cret s3cret")).unwrap();
        assert!(!text.contains("s3cret"), "{text}");
    }
}

const NESTED: &str = "
categories: [db]
questions:
- variable: db.kind
  type: enum
  options: [own, other]
  default: own
- variable: db.host
  required: true
  show_if: db.kind=other
- variable: backup.enabled
  type: boolean
  default: false
  show_subquestion_if: true
  subquestions:
  - {variable: backup.bucket, required: true, show_subquestion_if: true}
  - {variable: backup.reason, required: true, show_subquestion_if: 'false', show_if: db.kind=other}
";

#[test]
fn hidden_questions_are_not_asked() {
    let questions = Questions::parse(NESTED).unwrap();
    let asked = |values: Value| -> Vec<String> { questions.check(&values).iter().map(ToString::to_string).collect() };
    assert_eq!(asked(json!({})), Vec::<String>::new());
    assert_eq!(
        asked(json!({"db": {"kind": "other"}})),
        ["question db.host: it needs an answer", "question backup.reason: it needs an answer"]
    );
    assert_eq!(asked(json!({"backup": {"enabled": true}})), ["question backup.bucket: it needs an answer"]);
    assert_eq!(asked(json!({"backup": {"enabled": "true", "bucket": "b"}})), Vec::<String>::new());
}

/// As Rancher's documentation has it: the question says when its subquestions are asked.
#[test]
fn a_question_says_when_its_subquestions_are_asked() {
    let text = "questions:\n- variable: a\n  type: boolean\n  show_subquestion_if: true\n  subquestions:\n  - {variable: b, required: true}\n";
    let questions = Questions::parse(text).unwrap();
    assert_eq!(questions.check(&json!({"a": false})), []);
    assert_eq!(questions.check(&json!({"a": true})).len(), 1);
}

#[test]
fn a_form_can_be_drawn_from_what_was_read() {
    let questions = Questions::parse(NESTED).unwrap();
    let first = &questions.all()[0];
    assert_eq!((first.variable.as_str(), first.kind, first.options.len()), ("db.kind", Type::Enum, 2));
    assert_eq!(questions.all()[2].subquestions.len(), 2);
}

#[test]
fn what_are_no_questions_is_refused() {
    let refused = |text: &str| Questions::parse(text).unwrap_err();
    assert_eq!(refused("questions: 1"), QuestionsError::Shape);
    assert_eq!(refused("questions: [1]"), QuestionsError::Shape);
    assert_eq!(refused("questions: [{label: x}]"), QuestionsError::Shape);
    assert_eq!(refused("questions: ["), QuestionsError::Yaml(YamlError::Line(2, YamlFault::Syntax)));
    assert_eq!(refused(&format!("questions: [{}]", "{variable: v},".repeat(1_001))), QuestionsError::TooMany);
    assert!(Questions::parse("").unwrap().all().is_empty());
    assert!(Questions::parse("questions:").unwrap().all().is_empty());
}

proptest! {
    #[test]
    fn any_questions_judge_any_values(
        questions in prop::collection::vec(crate::arbitrary::map(), 0..4), condition in "[a-d=!&|.]{0,12}", values in crate::arbitrary::map()
    ) {
        let questions: Vec<Value> = questions.into_iter().map(|mut question| {
            question["variable"] = json!("a");
            question["show_if"] = json!(condition);
            question
        }).collect();
        let questions = Questions::parse(&json!({ "questions": questions }).to_string()).unwrap();
        let _problems = questions.check(&values);
    }
}
