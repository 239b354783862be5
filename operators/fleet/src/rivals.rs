//! Which Clusters of an installation may stand for the same cluster. Pure.

use drover_crds::Cluster;

/// Whether `cluster` may stand for the cluster with this `uid`. `seen` is the UID that its connection shows, if it has one;
/// `is_named` says whether the claim on the cluster names it.
///
/// Who only states a UID has not shown that it reaches the cluster, so it stands in nobody's way: a Cluster that was written
/// down first does not keep another one from its import. `holds` says whether it holds the claim on the cluster that it is connected
/// to: then that is another one, if the claim here does not name it, whatever UID either shows.
pub(crate) fn may_stand_for(cluster: &Cluster, seen: Option<&str>, holds: bool, uid: &str, is_named: bool) -> bool {
    if holds && !is_named {
        return false;
    }
    let before = cluster.status.as_ref().and_then(|status| status.cluster_uid.as_deref());
    match seen.or(before) {
        Some(met) => met == uid,
        None => is_named && cluster.spec.expected_uid.as_deref().is_none_or(|stated| stated == uid),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cluster(stated: Option<&str>, before: Option<&str>) -> Cluster {
        let mut cluster: Cluster = serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "eu"},
            "spec": {"connection": {"kubeconfig": {"secretRef": {"name": "eu"}}}, "expectedUID": stated},
            "status": {},
        }))
        .unwrap();
        cluster.status.as_mut().unwrap().cluster_uid = before.map(str::to_owned);
        cluster
    }

    #[test]
    fn who_only_states_a_uid_stands_in_nobodys_way() {
        // Stated, met before, seen now; whether it counts without and with a claim that names it.
        for (stated, before, seen, alone, named) in [
            (None, None, None, false, true),
            (Some("u"), None, None, false, true),
            (Some("other"), None, None, false, false),
            (None, Some("u"), None, true, true),
            (Some("other"), Some("u"), None, true, true),
            (Some("u"), Some("other"), None, false, false),
            (None, None, Some("u"), true, true),
            (Some("u"), Some("u"), Some("other"), false, false),
        ] {
            let cluster = cluster(stated, before);
            let counts = |is_named| may_stand_for(&cluster, seen, false, "u", is_named);
            assert_eq!((counts(false), counts(true)), (alone, named), "{stated:?} {before:?} {seen:?}");
        }
    }

    #[test]
    fn who_holds_a_claim_elsewhere_stands_in_nobodys_way_whatever_it_shows() {
        let counts = |is_named| may_stand_for(&cluster(None, Some("u")), Some("u"), true, "u", is_named);
        assert_eq!((counts(false), counts(true)), (false, true));
    }
}
