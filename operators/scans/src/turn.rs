//! Which of the scans of one cluster has its turn. Pure.
//!
//! A cluster is scanned by one scan at a time. Namespaces take turns: however many scans one of them has, another one waits for one of
//! them. A scan that is under way goes on.

use std::collections::BTreeMap;

use drover_client::cache::ObjectKey;
use k8s_openapi::jiff::Timestamp;

/// A scan that wants to look at the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which one.
    pub key: ObjectKey,
    /// Whether it has Jobs there.
    pub is_under_way: bool,
    /// When it was created.
    pub created: Option<Timestamp>,
}

/// All of them, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turns(Vec<ObjectKey>);

impl Turns {
    /// Those under way first, then the oldest one of each namespace, then the second one of each, and so on.
    #[must_use]
    pub fn of(mut candidates: Vec<Candidate>) -> Self {
        candidates.sort_by(|one, other| (one.created, &one.key).cmp(&(other.created, &other.key)));
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut ranked: Vec<_> = candidates
            .into_iter()
            .map(|Candidate { key, is_under_way, created }| {
                let rank = counts.entry(key.namespace.clone()).or_default();
                *rank += 1;
                (!is_under_way, *rank, created, key)
            })
            .collect();
        ranked.sort();
        Self(ranked.into_iter().map(|(.., key)| key).collect())
    }

    /// The one that has its turn.
    #[must_use]
    pub fn first(&self) -> Option<ObjectKey> {
        self.0.first().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(namespace: &str, name: &str, second: i64, is_under_way: bool) -> Candidate {
        let created = Timestamp::from_second(second).ok();
        Candidate { key: ObjectKey::namespaced(namespace, name), is_under_way, created }
    }

    fn order(candidates: &[Candidate]) -> Vec<String> {
        Turns::of(candidates.to_vec()).0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_namespace_with_many_scans_holds_up_no_other_one() {
        let mut candidates: Vec<_> =
            (0..50).map(|number| candidate("greedy", &format!("s{number}"), number, false)).collect();
        candidates.push(candidate("other", "one", 100, false));
        assert_eq!(order(&candidates)[..2], ["greedy/s0", "other/one"]);
    }

    #[test]
    fn what_is_under_way_goes_on_whatever_comes() {
        let candidates = [candidate("b", "older", 1, false), candidate("a", "running", 2, true)];
        assert_eq!(order(&candidates), ["a/running", "b/older"]);
        assert_eq!(Turns::default().first(), None);
    }

    #[test]
    fn the_order_is_the_same_whatever_the_order_of_scans() {
        let candidates = [candidate("a", "x", 3, false), candidate("a", "y", 3, false), candidate("b", "z", 3, false)];
        let mut reversed = candidates.to_vec();
        reversed.reverse();
        assert_eq!(order(&candidates), order(&reversed));
    }
}
