//! Which of the namespaces that ask for a Project it takes up.

use std::collections::BTreeSet;

use drover_crds::{
    SelfService,
    names::{LABEL_PROJECT, LABEL_PROJECT_NAMESPACE},
};
use drover_runtime::ObjectKey;
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::{SignedDuration, Timestamp},
};

/// So long after it was written an API server may take to judge by an admission policy.
pub const SETTLING: SignedDuration = SignedDuration::from_secs(5);

/// The Project for which a namespace asks.
#[must_use]
pub fn asked(meta: &ObjectMeta) -> Option<ObjectKey> {
    let label = |name| meta.labels.as_ref()?.get(name).filter(|value| !value.is_empty());
    Some(ObjectKey::namespaced(label(LABEL_PROJECT_NAMESPACE)?, label(LABEL_PROJECT)?))
}

/// A namespace that asks for the Project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// Whether the Project holds it already.
    pub is_held: bool,
}

/// Another Project that is to be at the same cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    /// Its namespace and name in the management cluster.
    pub key: ObjectKey,
    /// The prefixes of its own self-service.
    pub prefixes: Vec<String>,
    /// The namespaces that it lists.
    pub listed: BTreeSet<String>,
}

/// The namespaces that ask for a Project at a cluster, and what is known to judge them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Those that are not being deleted.
    pub all: Vec<Request>,
    /// Other Projects that want namespaces of names that this one may take up.
    pub rivals: Vec<Rival>,
    /// Since when an admission policy judges there who sets the labels; none if it does not.
    pub guarded_since: Option<Timestamp>,
}

/// Why a namespace is not taken up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// It begins with no prefix of the Project.
    NoPrefix,
    /// Another Project lists it.
    Listed(ObjectKey),
    /// It begins with a prefix of another Project, too.
    Overlap(ObjectKey),
    /// It was created before the admission policy judged who asks.
    Unguarded,
    /// There are as many as the Project allows.
    Surplus,
}

/// What becomes of the namespaces that ask for a Project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// The names of those that it takes up, or keeps.
    pub taken: BTreeSet<String>,
    /// The others, by name.
    pub refused: Vec<(String, Refusal)>,
}

impl Requests {
    /// Judges all that the Project does not list itself. What it holds it keeps, whoever else wants it, as long as the name begins
    /// with a prefix; of the others the older ones come first.
    #[must_use]
    pub fn judge(&self, spec: &SelfService, lists: impl Fn(&str) -> bool) -> Judged {
        let mut judged = Judged::default();
        let mut admitted = Vec::new();
        for request in self.all.iter().filter(|request| !lists(&request.name)) {
            match self.refusal(spec, request) {
                Some(refusal) => judged.refused.push((request.name.clone(), refusal)),
                None => admitted.push(request),
            }
        }
        admitted.sort_by_key(|request| (!request.is_held, request.created.is_none(), request.created, &*request.name));
        let most = usize::try_from(spec.max_namespaces).unwrap_or_default();
        let surplus = admitted.split_off(most.min(admitted.len()));
        judged.taken = admitted.into_iter().map(|request| request.name.clone()).collect();
        judged.refused.extend(surplus.into_iter().map(|request| (request.name.clone(), Refusal::Surplus)));
        judged.refused.sort();
        judged
    }

    fn refusal(&self, spec: &SelfService, request: &Request) -> Option<Refusal> {
        let begins = |prefixes: &[String]| prefixes.iter().any(|prefix| begins_with(&request.name, prefix));
        if !begins(&spec.name_prefixes) {
            return Some(Refusal::NoPrefix);
        }
        if request.is_held {
            return None;
        }
        if let Some(rival) = self.rivals.iter().find(|rival| rival.listed.contains(&request.name)) {
            return Some(Refusal::Listed(rival.key.clone()));
        }
        if let Some(rival) = self.rivals.iter().find(|rival| begins(&rival.prefixes)) {
            return Some(Refusal::Overlap(rival.key.clone()));
        }
        let guarded_from = self.guarded_since.map(|since| since + SETTLING);
        let is_guarded = guarded_from.zip(request.created).is_some_and(|(from, created)| created >= from);
        (!is_guarded).then_some(Refusal::Unguarded)
    }

    /// The first prefix of the Project that overlaps one of another Project, with that.
    #[must_use]
    pub fn overlap<'a>(&'a self, spec: &'a SelfService) -> Option<(&'a str, &'a Rival, &'a str)> {
        let pairs = spec.name_prefixes.iter().flat_map(|own| {
            let theirs = move |rival: &'a Rival| rival.prefixes.iter().map(move |prefix| (&**own, rival, &**prefix));
            self.rivals.iter().flat_map(theirs)
        });
        pairs.filter(|(own, _, theirs)| overlap(own, theirs)).min_by_key(|(own, rival, _)| (*own, &rival.key))
    }
}

/// Whether a namespace of this name may be one of the self-service with this prefix.
#[must_use]
pub fn begins_with(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty())
}

/// Whether there are names that begin with both prefixes.
fn overlap(one: &str, other: &str) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};
    use serde_json::json;

    use super::*;

    fn spec(prefixes: &[&str], most: i32) -> SelfService {
        serde_json::from_value(json!({"namePrefixes": prefixes, "maxNamespaces": most})).unwrap()
    }

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn request(name: &str, created: i64) -> Request {
        Request { name: name.to_owned(), created: Some(second(created)), is_held: false }
    }

    fn held(name: &str, created: i64) -> Request {
        Request { is_held: true, ..request(name, created) }
    }

    fn rival(prefixes: &[&str], listed: &[&str]) -> Rival {
        Rival {
            key: ObjectKey::namespaced("team-b", "bank"),
            prefixes: prefixes.iter().map(|prefix| (*prefix).to_owned()).collect(),
            listed: listed.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn requests(all: Vec<Request>, rivals: Vec<Rival>) -> Requests {
        Requests { all, rivals, guarded_since: Some(second(0)) }
    }

    fn judged(requests: &Requests, spec: &SelfService) -> String {
        let Judged { taken, refused } = requests.judge(spec, |name| name == "shop-listed");
        let refused = refused.iter().map(|(name, refusal)| {
            let refusal = format!("{refusal:?}");
            format!("{name} {}", refusal.split('(').next().unwrap())
        });
        taken.iter().cloned().chain(refused).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_namespace_asks_by_both_labels() {
        let asked = |labels: serde_json::Value| {
            asked(&serde_json::from_value(json!({"name": "a", "labels": labels})).unwrap()).map(|key| key.to_string())
        };
        let (name, namespace) = (LABEL_PROJECT, LABEL_PROJECT_NAMESPACE);
        assert_eq!(asked(json!({name: "shop", namespace: "team"})).as_deref(), Some("team/shop"));
        for labels in
            [json!({}), json!({name: "shop"}), json!({namespace: "team"}), json!({name: "", namespace: "team"})]
        {
            assert_eq!(asked(labels), None);
        }
    }

    #[test]
    fn a_name_begins_with_a_prefix_and_goes_on() {
        let all = ["shop-a", "shop-", "shop", "shops-a", "a-shop-a", "kube-system", "eu-shop-a", "shop-listed"];
        let requests = requests(all.map(|name| request(name, 10)).to_vec(), Vec::new());
        let (taken, refused) = ("eu-shop-a, shop-a", "NoPrefix");
        let expected = ["a-shop-a", "kube-system", "shop", "shop-", "shops-a"].map(|name| format!("{name} {refused}"));
        assert_eq!(judged(&requests, &spec(&["shop-", "eu-shop-"], 9)), format!("{taken}, {}", expected.join(", ")));
    }

    #[test]
    fn what_exceeds_the_maximum_gets_no_membership_and_the_older_ones_come_first() {
        let all = vec![request("shop-c", 20), request("shop-b", 30), request("shop-a", 30), request("shop-d", 40)];
        let asking = requests(all.clone(), Vec::new());
        assert_eq!(judged(&asking, &spec(&["shop-"], 2)), "shop-a, shop-c, shop-b Surplus, shop-d Surplus");
        let with_held = requests([all, vec![held("shop-z", 50)]].concat(), Vec::new());
        let kept = "shop-c, shop-z, shop-a Surplus, shop-b Surplus, shop-d Surplus";
        assert_eq!(judged(&with_held, &spec(&["shop-"], 2)), kept, "what is held stays");
    }

    #[test]
    fn nothing_is_taken_up_that_another_project_may_want() {
        let all = vec![request("shop-a", 10), request("shop-eu-a", 10), held("shop-eu-b", 10), request("shop-b", 10)];
        let rivals = vec![rival(&["shop-eu-"], &["shop-b"])];
        let expected = "shop-a, shop-eu-b, shop-b Listed, shop-eu-a Overlap";
        assert_eq!(judged(&requests(all, rivals), &spec(&["shop-"], 9)), expected);
        let wider = requests(vec![request("shop-eu-a", 10)], vec![rival(&["shop-"], &[])]);
        assert_eq!(judged(&wider, &spec(&["shop-eu-"], 9)), "shop-eu-a Overlap");
    }

    #[test]
    fn an_overlap_is_told_to_both() {
        let told = |own: &[&str], theirs: &[&str]| {
            let (requests, spec) = (requests(Vec::new(), vec![rival(theirs, &[])]), spec(own, 9));
            requests.overlap(&spec).map(|(own, rival, theirs)| format!("{own} {} {theirs}", rival.key))
        };
        assert_eq!(told(&["shop-"], &["shop-eu-"]).as_deref(), Some("shop- team-b/bank shop-eu-"));
        assert_eq!(told(&["a-", "shop-eu-"], &["shop-"]).as_deref(), Some("shop-eu- team-b/bank shop-"));
        assert_eq!(told(&["shop-eu-"], &["shop-us-", "bank-"]), None);
    }

    #[test]
    fn what_was_labelled_before_the_policy_judged_is_taken_up_by_nobody() {
        let all = vec![held("shop-h", 1), request("shop-a", 104), request("shop-b", 105)];
        let late = Requests { guarded_since: Some(second(100)), ..requests(all.clone(), Vec::new()) };
        assert_eq!(judged(&late, &spec(&["shop-"], 9)), "shop-b, shop-h, shop-a Unguarded");
        let never = Requests { guarded_since: None, ..requests(all, Vec::new()) };
        assert_eq!(judged(&never, &spec(&["shop-"], 9)), "shop-h, shop-a Unguarded, shop-b Unguarded");
        let undated = Request { created: None, ..request("shop-a", 0) };
        assert_eq!(judged(&requests(vec![undated], Vec::new()), &spec(&["shop-"], 9)), "shop-a Unguarded");
    }

    fn any_request() -> impl Strategy<Value = Request> {
        let name = select(&["shop-a", "shop-b", "shop-eu-a", "bank-a", "kube-system", "shop-"]);
        (name, 0..20_i64, any::<bool>())
            .prop_map(|(name, created, is_held)| Request { is_held, ..request(name, created) })
    }

    proptest! {
        #[test]
        fn never_more_are_taken_than_allowed_and_none_without_a_prefix(
            all in proptest::collection::vec(any_request(), 0..12), most in 1..4_i32, guarded in proptest::option::of(0..20_i64),
        ) {
            let requests = Requests {
                all, rivals: vec![rival(&["shop-eu-"], &["shop-b"])], guarded_since: guarded.map(second),
            };
            let Judged { taken, refused } = requests.judge(&spec(&["shop-"], most), |_| false);
            prop_assert!(taken.len() <= usize::try_from(most).unwrap());
            for name in &taken {
                prop_assert!(name.starts_with("shop-") && name.len() > 5);
                let is_held = requests.all.iter().any(|request| request.name == *name && request.is_held);
                prop_assert!(is_held || !(name == "shop-b" || name.starts_with("shop-eu-")), "{name} is another's");
            }
            let names = refused.iter().map(|(name, _)| name).chain(&taken).collect::<BTreeSet<_>>();
            prop_assert_eq!(names, requests.all.iter().map(|request| &request.name).collect());
        }
    }
}
