//! What a cluster offers for names, and which of it may be published. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use drover_crds::{Cluster, ExcludedAddress, GlobalDNS};
use drover_names::{AddressRule, Range};
use drover_runtime::Cause;
use kube::ResourceExt as _;

use crate::sources::Source;

/// Most addresses of one cluster for one name.
pub const MOST_ADDRESSES: usize = 64;
/// Most addresses that are told as excluded.
pub const MOST_EXCLUDED: usize = 20;

/// What a cluster offers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offers {
    /// The addresses of each name.
    pub names: BTreeMap<String, BTreeSet<IpAddr>>,
    /// What is offered, and not taken.
    pub excluded: Vec<ExcludedAddress>,
    /// Why nothing is taken from here, where the cluster does not want it or cannot be read.
    pub obstacle: Option<(Cause, String)>,
    /// Which of several namespaces the cluster does not want; what is offered in the others counts.
    pub refused: Option<(Cause, String)>,
}

/// Whether an object offers a name: itself, or a wildcard that covers it by one label.
fn covers(offered: &str, name: &str) -> bool {
    let beyond_first = |text: &str| text.split_once('.').map(|(_, rest)| rest.to_owned());
    offered == name || (offered.starts_with("*.") && beyond_first(offered) == beyond_first(name))
}

/// What the owner of a cluster lets names answer with. A range that cannot be read allows nothing.
#[must_use]
pub fn rule_of(cluster: &Cluster) -> AddressRule {
    let all = &cluster.spec.public_ranges;
    let ranges = || all.iter().filter_map(|range| range.parse::<Range>().ok()).collect();
    AddressRule { ranges: (!all.is_empty()).then(ranges) }
}

impl Offers {
    /// Takes up what an object of `cluster` offers for the names of `names`.
    pub fn take<S: Source>(&mut self, object: &S, names: &GlobalDNS, cluster: &str, rule: &AddressRule) {
        let wanted = names.spec.fqdns.iter().filter(|name| object.names().iter().any(|offered| covers(offered, name)));
        for name in wanted {
            let mine = self.names.entry(name.clone()).or_default();
            for text in object.addresses() {
                match judged(text, rule) {
                    Ok(address) if mine.len() < MOST_ADDRESSES => drop(mine.insert(address)),
                    Ok(_) => {}
                    Err(reason) => exclude(&mut self.excluded, cluster, text, &reason),
                }
            }
        }
    }
}

fn judged(text: &str, rule: &AddressRule) -> Result<IpAddr, String> {
    let Ok(address) = text.parse() else {
        return Err("is a name, and this version publishes addresses only".to_owned());
    };
    rule.check(address).map(|()| address).map_err(|refused| refused.to_string())
}

fn exclude(excluded: &mut Vec<ExcludedAddress>, cluster: &str, text: &str, reason: &str) {
    let is_harmless = |letter: char| letter.is_ascii_alphanumeric() || ".:-_".contains(letter);
    let address = text.chars().filter(|letter| is_harmless(*letter)).collect();
    let entry = ExcludedAddress { cluster: cluster.to_owned(), address, reason: reason.to_owned() };
    if excluded.len() < MOST_EXCLUDED && !excluded.contains(&entry) {
        excluded.push(entry);
        excluded.sort_by(|one, other| (&one.cluster, &one.address).cmp(&(&other.cluster, &other.address)));
    }
}

/// Whether an object in a cluster is one of those that a `GlobalDNS` selects by namespace and labels.
#[must_use]
pub fn is_selected<S: Source>(object: &S, names: &GlobalDNS) -> bool {
    let selection = &names.spec.targets.selection;
    let namespace = object.meta().namespace.as_deref().unwrap_or_default();
    let labels = selection.labels.as_ref().map(drover_crds::LabelMatcher::new);
    selection.namespaces.iter().any(|wanted| wanted == namespace)
        && labels.is_none_or(|labels| labels.matches(object.labels()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sources::{SlimIngress, SlimService};

    fn names(fqdns: &[&str]) -> GlobalDNS {
        serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "GlobalDNS", "metadata": {"name": "shop", "namespace": "team"},
            "spec": {"providerName": "main", "fqdns": fqdns, "targets": {"selection": {
                "clusters": {"all": {}}, "namespaces": ["shop"], "labels": {"matchLabels": {"app": "shop"}}}}},
        }))
        .unwrap()
    }

    fn ingress(host: &str, points: &serde_json::Value) -> SlimIngress {
        serde_json::from_value(json!({
            "metadata": {"name": "a", "namespace": "shop", "labels": {"app": "shop"}},
            "spec": {"rules": [{"host": host}, {}]}, "status": {"loadBalancer": {"ingress": points}},
        }))
        .unwrap()
    }

    #[test]
    fn a_range_that_cannot_be_read_allows_nothing() {
        let rule = |ranges: &[&str]| {
            let spec = json!({"connection": {"local": {}}, "publicRanges": ranges});
            let metadata = json!({"name": "eu"});
            let cluster =
                json!({"apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "metadata": metadata, "spec": spec});
            rule_of(&serde_json::from_value(cluster).unwrap())
        };
        let allows = |rule: &AddressRule, text: &str| rule.check(text.parse().unwrap()).is_ok();
        assert!(allows(&rule(&[]), "8.8.8.8"));
        assert!(!allows(&rule(&["300.1.1.0/24"]), "8.8.8.8"));
        let some = rule(&["8.8.008.0/24", "9.9.9.0/24"]);
        assert!(allows(&some, "9.9.9.9") && !allows(&some, "8.8.8.8"));
    }

    #[test]
    fn an_ingress_offers_its_addresses_for_its_hosts() {
        let points = json!([{"ip": "8.8.8.8"}, {"ip": "10.0.0.1"}, {"hostname": "lb.example.org"}, {}]);
        let mut offers = Offers::default();
        let names = names(&["shop.example.com", "other.example.com"]);
        offers.take(&ingress("shop.example.com", &points), &names, "eu", &AddressRule::default());
        assert_eq!(
            offers.names,
            BTreeMap::from([("shop.example.com".to_owned(), ["8.8.8.8".parse().unwrap()].into())])
        );
        let told: Vec<_> = offers.excluded.iter().map(|excluded| &*excluded.address).collect();
        assert_eq!(told, ["10.0.0.1", "lb.example.org"]);
        let mut all = Offers::default();
        all.take(&ingress("*.example.com", &points), &names, "eu", &AddressRule::default());
        assert_eq!(all.names.len(), 2);
        assert!(!covers("*.example.com", "a.b.example.com") && !covers("*.example.com", "example.com"));
    }

    #[test]
    fn only_a_load_balancer_with_the_annotation_offers_names() {
        let service = |kind: &str| -> SlimService {
            serde_json::from_value(json!({
                "metadata": {"name": "a", "namespace": "shop", "annotations": {"external-dns.alpha.kubernetes.io/hostname": "x.a, shop.example.com."}},
                "spec": {"type": kind, "externalIPs": ["8.8.4.4"]}, "status": {"loadBalancer": {"ingress": [{"ip": "8.8.8.8"}]}},
            }))
            .unwrap()
        };
        let offered = |kind: &str| {
            let mut offers = Offers::default();
            offers.take(&service(kind), &names(&["shop.example.com"]), "eu", &AddressRule::default());
            offers.names.into_values().flatten().collect::<Vec<IpAddr>>()
        };
        assert_eq!(offered("LoadBalancer"), ["8.8.8.8".parse::<IpAddr>().unwrap()]);
        assert!(offered("ClusterIP").is_empty());
    }

    #[test]
    fn an_object_is_selected_by_namespace_and_labels() {
        let names = names(&["shop.example.com"]);
        let found = ingress("shop.example.com", &json!([]));
        assert!(is_selected(&found, &names));
        let with = |namespace: &str, app: &str| -> SlimIngress {
            serde_json::from_value(json!({"metadata": {"name": "a", "namespace": namespace, "labels": {"app": app}}}))
                .unwrap()
        };
        assert!(!is_selected(&with("other", "shop"), &names) && !is_selected(&with("shop", "other"), &names));
    }
}
