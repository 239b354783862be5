//! Pod security: the stricter of what the Project and the cluster ask for, mode by mode.

use drover_crds::{PodSecurityLevel, condition::POD_SECURITY_READY};
use drover_runtime::{
    Place, PlaceState,
    model::{decide, until_quiet},
    place_status::PlaceEntry,
};
use proptest::prelude::*;

use super::{
    decisions::{ADOPTING, NOW, OPEN, cluster_of, lines, plan, shop},
    strategies::{NAMES, any_cluster, any_floor, any_pod_security, any_project},
    world::ModelCluster,
};
use crate::{ProjectOperator, pod_security::labels, summary::summarise};

const WEB: &str = "namespaces: [{name: team-a-web}]";
const LABEL: &str = "pod-security.kubernetes.io/";

/// The labels of the namespace `team-a-web`, without their common prefix and without versions that are the latest.
fn labels_of(cluster: &str, spec: &str) -> Vec<String> {
    let (project, model) = (shop(spec), cluster_of(&format!("{OPEN}\n{cluster}"), "{}"));
    let wanted = &project.spec.namespaces[0];
    let labels = labels(&project.spec, wanted, &model.cluster.spec);
    let short = |(key, value): (String, String)| format!("{}={value}", key.strip_prefix(LABEL).unwrap());
    labels.into_iter().map(short).filter(|label| !label.ends_with("-version=latest")).collect()
}

#[test]
fn in_each_mode_the_stricter_of_project_and_cluster_counts() {
    for (cluster, spec, expected) in [
        ("", "", vec![]),
        ("", "podSecurity: {}", vec![]),
        ("", "podSecurity: {enforce: baseline}", vec!["enforce=baseline"]),
        ("", "podSecurity: {audit: restricted, warn: baseline}", vec!["audit=restricted", "warn=baseline"]),
        ("podSecurity: {enforce: baseline, warn: restricted}", "", vec!["enforce=baseline", "warn=restricted"]),
        ("podSecurity: {enforce: baseline}", "podSecurity: {enforce: privileged}", vec!["enforce=baseline"]),
        ("podSecurity: {enforce: baseline}", "podSecurity: {enforce: restricted}", vec!["enforce=restricted"]),
        ("podSecurity: {enforce: baseline, exempt: [team-a-web]}", "", vec![]),
        ("podSecurity: {enforce: baseline, exempt: [team-a-db]}", "", vec!["enforce=baseline"]),
    ] {
        assert_eq!(labels_of(cluster, &format!("{spec}\n{WEB}")), expected, "{cluster} {spec}");
    }
}

#[test]
fn the_levels_of_a_namespace_stand_in_for_those_of_the_project() {
    let spec = "podSecurity: {enforce: restricted, warn: restricted}
namespaces: [{name: team-a-web, podSecurity: {enforce: baseline}}]";
    assert_eq!(labels_of("", spec), ["enforce=baseline"]);
    assert_eq!(
        labels_of("podSecurity: {enforce: restricted}", spec),
        ["enforce=restricted"],
        "never below the cluster"
    );
}

#[test]
fn an_old_version_of_the_rules_is_no_way_around_the_cluster() {
    let spec = format!("podSecurity: {{enforce: restricted, enforceVersion: v1.25}}\n{WEB}");
    assert_eq!(labels_of("", &spec), ["enforce=restricted", "enforce-version=v1.25"]);
    assert_eq!(labels_of("podSecurity: {warn: baseline}", &spec)[..2], ["enforce=restricted", "enforce-version=v1.25"]);
    assert_eq!(labels_of("podSecurity: {enforce: baseline}", &spec), ["enforce=restricted"]);
}

#[test]
fn a_version_is_always_written_so_that_no_one_else_sets_an_older_one() {
    let (project, model) = (shop(&format!("podSecurity: {{enforce: baseline}}\n{WEB}")), cluster_of(OPEN, "{}"));
    let labels = labels(&project.spec, &project.spec.namespaces[0], &model.cluster.spec);
    assert_eq!(labels[&format!("{LABEL}enforce-version")], "latest");
}

#[test]
fn the_level_of_a_cluster_reaches_namespaces_that_are_there_and_what_is_changed_is_restored() {
    let cluster = format!("{OPEN}\npodSecurity: {{enforce: baseline}}");
    let (project, mut model) = (shop(WEB), cluster_of(&cluster, "team-a-web: {heldBy: team-a/shop, applied: {}}"));
    assert_eq!(lines(&project, &model), ["apply Namespace team-a-web"]);
    until_quiet::<ProjectOperator>(&project, &mut model, NOW).unwrap();
    assert_eq!(lines(&project, &model), ["1 ready"]);
    let enforce = format!("{LABEL}enforce");
    model.namespaces.get_mut("team-a-web").unwrap().labels.get_mut(&enforce).unwrap().value = "privileged".into();
    let restores = format!("apply Namespace team-a-web: restores metadata.labels.{enforce}");
    assert_eq!(lines(&project, &model), [restores]);
}

#[test]
fn what_is_released_keeps_its_levels() {
    let (project, mut model) = (shop(&format!("podSecurity: {{enforce: baseline}}\n{WEB}")), cluster_of(OPEN, "{}"));
    until_quiet::<ProjectOperator>(&project, &mut model, NOW).unwrap();
    until_quiet::<ProjectOperator>(&shop(""), &mut model, NOW).unwrap();
    assert_eq!(model.namespaces["team-a-web"].labels[&format!("{LABEL}enforce")].value, "baseline");
}

/// `PodSecurityReady` when the cluster looks like this.
fn told(spec: &str, model: &ModelCluster) -> Option<String> {
    let project = shop(spec);
    let entry = PlaceEntry { known: Some(plan(&project, model).place_status), state: PlaceState::Current };
    let status = summarise(&project, &[(Place::cluster("eu"), entry)].into_iter().collect());
    let found = status.conditions.into_iter().find(|condition| condition.type_ == POD_SECURITY_READY)?;
    Some(format!("{} {}: {}", found.status, found.reason, found.message))
}

#[test]
fn the_condition_counts_the_namespaces_that_have_their_levels() {
    let spec = "podSecurity: {enforce: baseline}\nnamespaces: [{name: team-a-web}, {name: team-a-db}]";
    let mut model = cluster_of(ADOPTING, "team-a-db: {heldBy: team-b/shop}");
    let found = told(spec, &model).unwrap();
    assert!(found.starts_with("False NamespaceTaken: "), "{found}");
    until_quiet::<ProjectOperator>(&shop(spec), &mut model, NOW).unwrap();
    model.namespaces.remove("team-a-db");
    let found = told(spec, &model);
    assert_eq!(found.as_deref(), Some("False Progressing: 1/2 namespaces have their pod security levels"));
    until_quiet::<ProjectOperator>(&shop(spec), &mut model, NOW).unwrap();
    let found = told(spec, &model);
    assert_eq!(found.as_deref(), Some("True Ready: 2/2 namespaces have their pod security levels"));
    assert_eq!(told(WEB, &cluster_of(OPEN, "{}")), None, "neither side asks for a level");
}

fn level(text: Option<&String>) -> Option<PodSecurityLevel> {
    text.map(|text| serde_json::from_value(text.as_str().into()).unwrap())
}

proptest! {
    #[test]
    fn no_mode_is_ever_below_what_either_side_asks_for(asked in any_pod_security(), floor in any_floor()) {
        let (mut project, mut model) = (shop(WEB), cluster_of(OPEN, "{}"));
        project.spec.pod_security = Some(asked.clone());
        std::sync::Arc::make_mut(&mut model.cluster).spec.pod_security = Some(floor.clone());
        let labels = labels(&project.spec, &project.spec.namespaces[0], &model.cluster.spec);
        let exempt = floor.exempt.iter().any(|name| name == "team-a-web");
        for (mode, asked, floor) in
            [("enforce", asked.enforce, floor.enforce), ("audit", asked.audit, floor.audit), ("warn", asked.warn, floor.warn)]
        {
            let level = level(labels.get(&format!("{LABEL}{mode}")));
            prop_assert!(level >= asked && (exempt || level >= floor), "{mode}: {level:?}");
            prop_assert!(level == asked || level == floor);
        }
        if floor.enforce.is_some() && !exempt {
            prop_assert_eq!(labels.get(&format!("{LABEL}enforce-version")).map(String::as_str), Some("latest"));
        }
    }

    /// Whatever the cluster was like before: what counts as ready has its levels.
    #[test]
    fn what_is_ready_has_its_levels(mut project in any_project(), mut model in any_cluster()) {
        project.spec.suspend = false;
        until_quiet::<ProjectOperator>(&project, &mut model, NOW)?;
        let place_status = decide::<ProjectOperator>(&project, &model, NOW).place_status;
        if place_status.ready == place_status.wanted {
            prop_assert_eq!(place_status.pod_security.ready, place_status.pod_security.wanted);
            for wanted in NAMES.iter().filter_map(|name| project.spec.namespaces.iter().find(|n| n.name == **name)) {
                let found = &model.namespaces[&wanted.name].labels;
                for (key, value) in labels(&project.spec, wanted, &model.cluster.spec) {
                    prop_assert_eq!(&found[&key].value, &value);
                }
            }
        }
    }
}
