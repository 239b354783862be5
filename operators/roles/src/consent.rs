//! Whether a binding counts.

use std::collections::BTreeMap;

use drover_crds::RoleTemplate;
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

/// Whether bindings that lie in the management namespace `namespace`, which has these labels, may use the template. Unless the
/// template says so, they may not.
#[must_use]
pub fn may_bind_from(template: &RoleTemplate, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
    template.spec.bindable_from.as_ref().is_some_and(|from| from.selects(namespace, labels))
}

/// Whether a binding that expires then still counts at `now`.
#[must_use]
pub fn is_in_force(expires_at: Option<&Time>, now: Timestamp) -> bool {
    expires_at.is_none_or(|expires_at| now < expires_at.0)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::SignedDuration;
    use serde_json::json;

    use super::*;
    use crate::testing::template;

    #[test]
    fn nobody_may_bind_a_template_that_does_not_say_so() {
        let gold = BTreeMap::from([("tier".to_owned(), "gold".to_owned())]);
        let may = |from: serde_json::Value| {
            let template = template("t", &json!({"context": "Project", "bindableFrom": from}));
            [may_bind_from(&template, "team-a", &gold), may_bind_from(&template, "team-b", &BTreeMap::new())]
        };
        assert_eq!(may(json!(null)), [false, false]);
        assert_eq!(may(json!({"all": {}})), [true, true]);
        assert_eq!(may(json!({"names": ["team-b"]})), [false, true]);
        assert_eq!(may(json!({"selector": {"matchLabels": {"tier": "gold"}}})), [true, false]);
        assert_eq!(may(json!({"selector": {}})), [false, false], "an empty selector is an accident");
    }

    #[test]
    fn a_binding_ends_at_its_time() {
        let end = Timestamp::UNIX_EPOCH;
        let second = SignedDuration::from_secs(1);
        let at = |now| is_in_force(Some(&Time(end)), now);
        assert_eq!((at(end - second), at(end), at(end + second)), (true, false, false));
        assert!(is_in_force(None, Timestamp::MAX));
    }
}
