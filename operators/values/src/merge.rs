//! One map over another, as Helm puts one values file over another.

use serde_json::Value;

/// Later layers win. Maps merge key by key, all other values replace what was there. A null stays: where Helm puts the result
/// over the chart's own values, it removes the chart's key. Layers that are not maps are left out.
#[must_use]
pub fn merge(layers: impl IntoIterator<Item = Value>) -> Value {
    let mut merged = Value::Object(serde_json::Map::new());
    layers.into_iter().filter(Value::is_object).for_each(|layer| over(&mut merged, layer));
    merged
}

/// Recursion ends: no layer is deeper than [`crate::DEPTH`], or than the request that brought it.
fn over(base: &mut Value, layer: Value) {
    match (base, layer) {
        (Value::Object(base), Value::Object(layer)) => {
            for (key, value) in layer {
                match base.get_mut(&key) {
                    Some(former) => over(former, value),
                    None => drop(base.insert(key, value)),
                }
            }
        }
        (base, layer) => *base = layer,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::merge;
    use crate::arbitrary::map;

    #[test]
    fn later_layers_win_and_a_null_stays() {
        let layers = [
            json!({"a": {"b": 1, "c": 2}, "list": [1, 2], "gone": {"x": 1}}),
            json!({"a": {"b": 3, "d": null}, "list": [3], "gone": null}),
            json!("no map"),
        ];
        assert_eq!(merge(layers), json!({"a": {"b": 3, "c": 2, "d": null}, "list": [3], "gone": null}));
        assert_eq!(merge([]), json!({}));
    }

    proptest! {
        #[test]
        fn merging_again_and_merging_nothing_change_nothing(a in map(), b in map()) {
            let merged = merge([a.clone(), b.clone()]);
            prop_assert_eq!(merge([merged.clone(), b]), merged.clone());
            prop_assert_eq!(merge([merged.clone(), merge([])]), merged);
            prop_assert_eq!(merge([merge([]), a.clone()]), a);
        }

        #[test]
        fn nothing_that_the_last_layer_says_is_lost(a in map(), b in map()) {
            let merged = merge([a, b.clone()]);
            prop_assert!(covers(&merged, &b));
        }
    }

    fn covers(merged: &Value, layer: &Value) -> bool {
        match (merged, layer) {
            (Value::Object(merged), Value::Object(layer)) => {
                layer.iter().all(|(key, value)| merged.get(key).is_some_and(|found| covers(found, value)))
            }
            _ => merged == layer,
        }
    }
}
