//! Whether a live object lacks anything of what is wanted, decided before any request.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

/// The paths of the fields of `desired` that `live` does not show, for example `metadata.labels.team`.
///
/// What `live` has beyond `desired` is of no interest: it belongs to others. An empty value (`null`, `{}`, `[]`, `""`,
/// `false`, `0`) equals an absent one, as the API server drops some of them. Lists of objects that all have a `name` are
/// compared by name, other lists by position.
#[must_use]
pub fn lacks(desired: &Value, live: &Value) -> Vec<String> {
    let mut missing = Vec::new();
    compare(desired, live, &mut Vec::new(), &mut missing);
    missing
}

fn compare<'a>(desired: &'a Value, live: &Value, path: &mut Vec<&'a str>, missing: &mut Vec<String>) {
    match (desired, live) {
        (Value::Object(wanted), live) => {
            for (key, value) in wanted {
                path.push(key);
                compare(value, live.get(key).unwrap_or(&Value::Null), path, missing);
                path.pop();
            }
        }
        (Value::Array(wanted), Value::Array(have)) => compare_lists(wanted, have, path, missing),
        (wanted, have) if wanted == have || (is_empty(wanted) && is_empty(have)) => {}
        _ => missing.push(path.join(".")),
    }
}

fn compare_lists<'a>(wanted: &'a [Value], have: &[Value], path: &mut Vec<&'a str>, missing: &mut Vec<String>) {
    if let Some(names) = names(wanted) {
        // The first of a name counts, hence backwards.
        let named = |live| Some((Value::as_str(Value::get(live, "name")?)?, live));
        let live: HashMap<&str, &Value> = have.iter().rev().filter_map(named).collect();
        for (name, value) in names.iter().zip(wanted) {
            path.push(name);
            compare(value, live.get(name).copied().unwrap_or(&Value::Null), path, missing);
            path.pop();
        }
    } else if wanted.len() != have.len() {
        missing.push(path.join("."));
    } else {
        wanted.iter().zip(have).for_each(|(wanted, have)| compare(wanted, have, path, missing));
    }
}

/// The names of a list's items, if each has one of its own.
fn names(list: &[Value]) -> Option<Vec<&str>> {
    let names: Option<Vec<&str>> = list.iter().map(|item| item.get("name").and_then(Value::as_str)).collect();
    let are_unique = |names: &Vec<&str>| names.iter().collect::<BTreeSet<_>>().len() == names.len();
    names.filter(|names| !names.is_empty() && are_unique(names))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn items_that_share_a_name_are_told_apart_by_position() {
        let list = json!({"subjects": [{"kind": "Group", "name": "ada"}, {"kind": "User", "name": "ada"}]});
        assert_eq!(lacks(&list, &list), [""; 0]);
        let fewer = json!({"subjects": [{"kind": "Group", "name": "ada"}]});
        assert_eq!(lacks(&list, &fewer), ["subjects"]);
    }

    #[test]
    fn only_what_is_wanted_and_not_there_counts() {
        let live =
            json!({"metadata": {"name": "a", "labels": {"team": "blue", "theirs": "x"}, "uid": "1"}, "spec": {}});
        for (desired, expected) in [
            (json!({"metadata": {"labels": {"team": "blue"}}}), vec![]),
            (json!({"metadata": {"labels": {"team": "red"}}}), vec!["metadata.labels.team"]),
            (json!({"metadata": {"annotations": {"note": "y"}}}), vec!["metadata.annotations.note"]),
            (json!({"metadata": {"annotations": {}}, "spec": {"paused": false, "replicas": 0}}), vec![]),
        ] {
            assert_eq!(lacks(&desired, &live), expected, "{desired}");
        }
    }

    #[test]
    fn named_lists_are_compared_by_name_and_others_by_position() {
        let live = json!({"env": [{"name": "b", "value": "2"}, {"name": "a", "value": "1"}], "args": ["x", "y"]});
        assert!(lacks(&json!({"env": [{"name": "a", "value": "1"}]}), &live).is_empty());
        assert_eq!(lacks(&json!({"env": [{"name": "a", "value": "3"}]}), &live), ["env.a.value"]);
        assert_eq!(lacks(&json!({"args": ["y", "x"]}), &live), ["args", "args"]);
        assert_eq!(lacks(&json!({"args": ["x"]}), &live), ["args"]);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-c]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn nothing_lacks_itself(value in any_json()) {
            prop_assert_eq!(lacks(&value, &value), Vec::<String>::new());
        }

        #[test]
        fn a_changed_leaf_is_seen(mut value in any_json()) {
            let live = json!({"spec": value.clone()});
            value = json!({"spec": value, "added": {"deep": "leaf"}});
            prop_assert_eq!(lacks(&value, &live), ["added.deep"]);
        }
    }
}
