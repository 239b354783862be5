//! By which annotations people steer a rollout. Pure.
//!
//! An admission policy judges who changes them. What was changed while that policy was missing or altered is not told from what its owners
//! wrote, so it counts only once it is written again: till then what was judged last stands, an approval as a hold.

use drover_crds::{MultiClusterApp, Steered};

/// What counts, and is to be remembered. `policies` is the state of the admission policies, while they are in place.
#[must_use]
pub fn judged(app: &MultiClusterApp, policies: Option<&str>) -> Option<Steered> {
    let former = app.status.as_ref().and_then(|status| status.rollout.as_ref()?.steered.as_ref());
    let Some(policies) = policies else { return former.cloned() };
    let present = [app.approved(), app.held()].map(cut);
    let [approve, hold] = present.clone();
    let now = Steered { policies: policies.to_owned(), approve, hold, unjudged: Vec::new() };
    let Some(former) = former else { return Some(now) };
    let told = present.map(Option::unwrap_or_default).to_vec();
    if former.policies == policies {
        // Each by itself: whoever writes the one says nothing of the other.
        let counts = |at: usize, counted: &Option<String>, present: &Option<String>| {
            let is_unjudged = former.unjudged.get(at).is_some_and(|unjudged| told.get(at) == Some(unjudged));
            if is_unjudged { counted.clone() } else { present.clone() }
        };
        let (approve, hold) = (counts(0, &former.approve, &now.approve), counts(1, &former.hold, &now.hold));
        let unjudged = if approve == now.approve && hold == now.hold { Vec::new() } else { told };
        return Some(Steered { approve, hold, unjudged, ..now });
    }
    let is_same = former.approve == now.approve && former.hold == now.hold;
    let unjudged = if is_same { Vec::new() } else { told };
    Some(Steered { policies: policies.to_owned(), unjudged, ..former.clone() })
}

/// No name of a revision is longer.
fn cut(value: Option<&str>) -> Option<String> {
    value.map(|value| value.chars().take(128).collect())
}

#[cfg(test)]
mod tests {
    use drover_crds::{MultiClusterAppStatus, RolloutRecord};
    use kube::ResourceExt as _;
    use serde_json::json;

    use super::*;

    fn steer(
        app: &mut MultiClusterApp,
        key: &str,
        value: &str,
        policies: Option<&str>,
    ) -> (Option<String>, Option<String>) {
        if value.is_empty() {
            app.annotations_mut().remove(key);
        } else {
            app.annotations_mut().insert(key.to_owned(), value.to_owned());
        }
        look(app, policies)
    }

    fn look(app: &mut MultiClusterApp, policies: Option<&str>) -> (Option<String>, Option<String>) {
        let steered = judged(app, policies);
        let record = RolloutRecord { steered: steered.clone(), ..RolloutRecord::default() };
        app.status = Some(MultiClusterAppStatus { rollout: Some(record), ..MultiClusterAppStatus::default() });
        steered.map(|steered| (steered.approve, steered.hold)).unwrap_or_default()
    }

    fn app() -> MultiClusterApp {
        serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "MultiClusterApp", "metadata": {"name": "web", "namespace": "team-a"},
            "spec": {
                "clusters": {"all": {}},
                "template": {"namespace": "shop", "roleTemplateName": "r", "chart": {}},
            },
        }))
        .unwrap()
    }

    #[test]
    fn what_is_written_while_policies_are_missing_counts_only_once_it_is_written_again() {
        let (mut app, some) = (app(), |text: &str| Some(text.to_owned()));
        assert_eq!(look(&mut app, Some("a")), (None, None));
        assert_eq!(steer(&mut app, "drover.dev/approve", "one", Some("a")), (some("one"), None));
        assert_eq!(steer(&mut app, "drover.dev/hold", "one", Some("a")), (some("one"), some("one")));
        assert_eq!(steer(&mut app, "drover.dev/approve", "two", None), (some("one"), some("one")), "they are missing");
        assert_eq!(steer(&mut app, "drover.dev/hold", "", None), (some("one"), some("one")));
        for _ in 0..2 {
            assert_eq!(look(&mut app, Some("b")), (some("one"), some("one")), "and now they are restored");
        }
        assert_eq!(steer(&mut app, "drover.dev/approve", "", Some("b")), (None, some("one")), "it is written again");
        assert_eq!(steer(&mut app, "drover.dev/approve", "two", Some("b")), (some("two"), some("one")));
        assert_eq!(look(&mut app, Some("c")), (some("two"), some("one")), "nothing was changed under others");
        assert_eq!(steer(&mut app, "drover.dev/hold", "two", Some("c")), (some("two"), some("two")));
    }
}
