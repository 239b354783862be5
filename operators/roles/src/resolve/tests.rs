use proptest::{
    collection::{btree_set, vec},
    prelude::*,
    sample::{select, subsequence},
};
use serde_json::{Value, json};

use super::*;
use crate::{atoms::Atom, testing::template};

type Templates = BTreeMap<String, RoleTemplate>;

fn resolved(name: &str, templates: &Templates) -> Resolved {
    resolve(&templates[name], |name| templates.get(name))
}

fn templates(list: &[(&str, Value)]) -> Templates {
    list.iter().map(|(name, spec)| ((*name).to_owned(), template(name, spec))).collect()
}

fn reads(resource: &str) -> Value {
    json!([{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}])
}

fn resources(rules: &[PolicyRule]) -> Vec<&str> {
    rules.iter().flat_map(|rule| list(rule.resources.as_ref())).map(String::as_str).collect()
}

#[test]
fn rights_are_inherited_over_others_and_what_is_missing_is_named() {
    let all = templates(&[
        ("top", json!({"context": "Project", "rules": reads("pods"), "inherits": ["middle", "absent", "wide"]})),
        ("middle", json!({"context": "Project", "inherits": ["bottom"], "externalClusterRoles": ["view"]})),
        ("bottom", json!({"context": "Project", "rules": reads("secrets"), "clusterRules": reads("nodes")})),
        ("wide", json!({"context": "Cluster", "rules": reads("services")})),
    ]);
    let top = resolved("top", &all);
    assert_eq!((resources(&top.rules), resources(&top.cluster_rules)), (vec!["pods", "secrets"], vec!["nodes"]));
    let names = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!((names(&top.closure), names(&top.external)), ("bottom middle".to_owned(), "view".to_owned()));
    assert_eq!((names(&top.missing), names(&top.misplaced)), ("absent".to_owned(), "wide".to_owned()));
    assert!(!top.is_complete() && !top.is_cyclic);
    let view = BoundRole::External { template: "top".to_owned(), role: "view".to_owned() };
    assert_eq!(top.bound_roles(), BTreeSet::from([BoundRole::Own("top".to_owned()), view]));
    assert_eq!(resolved("middle", &all).bound_roles().len(), 2, "inherited rules are rules of its own role");
}

#[test]
fn t12_an_external_role_is_no_way_to_the_rights_of_another_template() {
    let all = templates(&[("sly", json!({"context": "Project", "externalClusterRoles": ["drover:owner", "view"]}))]);
    let sly = resolved("sly", &all);
    assert_eq!((sly.external.len(), sly.refused.contains("drover:owner"), sly.is_complete()), (1, true, false));
}

#[test]
fn t13_a_template_that_is_being_deleted_allows_nothing() {
    let mut all = templates(&[
        ("heir", json!({"context": "Project", "rules": reads("pods"), "inherits": ["going"]})),
        ("going", json!({"context": "Project", "rules": reads("secrets")})),
    ]);
    let going = all.get_mut("going").unwrap();
    let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH);
    going.metadata.deletion_timestamp = Some(now);
    let heir = resolved("heir", &all);
    assert_eq!((resources(&heir.rules), heir.missing.contains("going")), (vec!["pods"], true));
    assert!(resolved("going", &all).bound_roles().is_empty());
}

#[test]
fn a_cycle_does_no_harm_and_is_told() {
    let all = templates(&[
        ("a", json!({"context": "Project", "rules": reads("pods"), "inherits": ["b"]})),
        ("b", json!({"context": "Project", "rules": reads("secrets"), "inherits": ["a"]})),
        ("c", json!({"context": "Project", "inherits": ["a"]})),
        ("self", json!({"context": "Project", "inherits": ["self"]})),
    ]);
    let cyclic = |name: &str| resolved(name, &all).is_cyclic;
    assert_eq!(["a", "b", "c", "self"].map(cyclic), [true; 4]);
    assert_eq!(resolved("a", &all).rules, resolved("b", &all).rules);
    assert!(!resolved("a", &all).closure.contains("a"));
}

#[test]
fn a_long_line_of_heirs_is_no_problem() {
    let line: Templates = (0..5000)
        .map(|number| {
            let spec = json!({"context": "Project", "inherits": [format!("t{}", number + 1)]});
            (format!("t{number}"), template(&format!("t{number}"), &spec))
        })
        .collect();
    let first = resolved("t0", &line);
    assert_eq!((first.closure.len(), first.missing.len(), first.is_cyclic), (4999, 1, false));
}

#[test]
fn fields_of_a_hash_cannot_be_shifted() {
    let hash = |groups: &[&str], resources: &[&str], names: &[&str]| {
        let mut rule = json!({"apiGroups": groups, "resources": resources, "verbs": ["get"]});
        if !names.is_empty() {
            rule["resourceNames"] = json!(names);
        }
        let all = templates(&[("t", json!({"context": "Project", "rules": [rule]}))]);
        resolved("t", &all).hash()
    };
    let hashes = [
        hash(&["ab"], &["c"], &[]),
        hash(&["a"], &["bc"], &[]),
        hash(&["a"], &["b"], &["c"]),
        hash(&["a"], &["b"], &[""]),
        hash(&["a"], &["b"], &[]),
    ];
    assert_eq!(BTreeSet::from(hashes.clone()).len(), hashes.len());
    assert!(hashes.iter().all(|hash| hash.len() == 26));
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn any_rule() -> impl Strategy<Value = Value> {
    let some = |texts: &'static [&'static str]| subsequence(texts.to_vec(), 1..=2);
    let names = subsequence(vec!["one", "two"], 0..=2);
    (some(&["", "apps", "*"]), some(&["pods", "Secrets", "*"]), names, some(&["get", "List", "watch"])).prop_map(
        |(groups, resources, names, verbs)| {
            let mut rule = json!({"apiGroups": groups, "resources": resources, "verbs": verbs});
            if !names.is_empty() {
                rule["resourceNames"] = json!(names);
            }
            rule
        },
    )
}

fn any_template(name: &'static str) -> impl Strategy<Value = RoleTemplate> {
    let context = prop_oneof![4 => Just("Project"), 1 => Just("Cluster")];
    let inherits = btree_set(select(&["a", "b", "c", "d", "e", "absent"]), 0..3);
    (context, vec(any_rule(), 0..3), inherits, btree_set(select(&["view", "edit"]), 0..2)).prop_map(
        move |(context, rules, inherits, external)| {
            let spec = json!({
                "context": context, "rules": rules, "inherits": inherits, "externalClusterRoles": external,
            });
            template(name, &spec)
        },
    )
}

fn any_templates() -> impl Strategy<Value = Templates> {
    NAMES.map(any_template).prop_map(|all| all.into_iter().map(|template| (template.name_any(), template)).collect())
}

fn atoms_in(resolved: &Resolved) -> BTreeSet<Atom<'_>> {
    atoms(&resolved.rules).unwrap()
}

/// Every rule in a rule of its own for each group, verb and so on, in another order and case.
fn written_otherwise(template: &RoleTemplate) -> RoleTemplate {
    let mut other = template.clone();
    let apart = template.spec.rules.iter().rev().flat_map(|rule| {
        rule.verbs.iter().rev().map(|verb| RoleRule {
            verbs: vec![verb.to_uppercase(), verb.to_lowercase()],
            resources: rule.resources.iter().rev().map(|resource| resource.to_uppercase()).collect(),
            ..rule.clone()
        })
    });
    other.spec.rules = apart.chain(template.spec.rules.iter().cloned()).collect();
    other
}

proptest! {
    #[test]
    fn r1_resolve_is_total_monotone_and_without_order(all in any_templates(), more in select(&NAMES)) {
        let before = resolved("a", &all);
        prop_assert_eq!(&before, &resolved("a", &all));
        let mut turned = all.clone();
        for template in turned.values_mut() {
            template.spec.inherits.reverse();
            template.spec.rules.reverse();
        }
        prop_assert_eq!(&before, &resolved("a", &turned));
        let mut wider = all.clone();
        wider.get_mut("a").unwrap().spec.inherits.push(more.to_owned());
        let after = resolved("a", &wider);
        prop_assert!(atoms_in(&before).is_subset(&atoms_in(&after)));
        prop_assert!(before.external.is_subset(&after.external) && before.closure.is_subset(&after.closure));
    }

    #[test]
    fn r2_the_rights_are_those_of_the_templates_in_the_closure(all in any_templates()) {
        let whole = resolved("a", &all);
        let alone: Vec<Resolved> = whole.closure.iter().map(String::as_str).chain(["a"])
            .map(|name| resolve(&all[name], |_| None)).collect();
        let union: BTreeSet<Atom<'_>> = alone.iter().flat_map(atoms_in).collect();
        prop_assert_eq!(atoms_in(&whole), union);
        for name in &whole.closure {
            prop_assert_eq!(all[name].spec.context, all["a"].spec.context);
        }
    }

    #[test]
    fn r4_equal_rights_have_equal_hashes_and_others_do_not(all in any_templates(), other in any_templates()) {
        let one = resolved("a", &all);
        let otherwise: Templates = all.iter().map(|(name, template)| (name.clone(), written_otherwise(template))).collect();
        prop_assert_eq!(one.hash(), resolved("a", &otherwise).hash());
        let two = resolved("a", &other);
        let same = atoms_in(&one) == atoms_in(&two) && one.external == two.external && one.context == two.context;
        prop_assert_eq!(one.hash() == two.hash(), same);
    }

    #[test]
    fn what_may_not_grow_is_what_both_allow(one in any_templates(), two in any_templates()) {
        let (wanted, live) = (resolved("a", &one), resolved("a", &two));
        let less = crate::narrowed(&wanted.rules, &live.rules);
        let both: BTreeSet<Atom<'_>> = atoms_in(&wanted).intersection(&atoms_in(&live)).copied().collect();
        prop_assert_eq!(atoms(&less).unwrap(), both);
    }
}
