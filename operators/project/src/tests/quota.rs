//! The quota of a Project: what each namespace gets of it, and what is told about it.

use drover_crds::Project;
use drover_runtime::model::{End, until_quiet};

use super::{
    decisions::{NOW, OPEN, cluster_of, lines, only_message, plan, shop},
    world::ModelCluster,
};
use crate::ProjectOperator;

/// Two namespaces that want all there is, the older one by name first.
const SHARED: &str = "quota: {perCluster: {pods: 10}, namespaceDefault: {pods: 6}}
namespaces: [{name: team-a-db}, {name: team-a-web}]";

fn rest(project: &Project, model: &mut ModelCluster) {
    assert_eq!(until_quiet::<ProjectOperator>(project, model, NOW).unwrap(), End::Quiet);
}

fn converged(project: &Project) -> ModelCluster {
    let mut model = cluster_of(OPEN, "{}");
    rest(project, &mut model);
    model
}

/// What the resource quotas say, as `db: 6, web: 4`.
fn granted(model: &ModelCluster, resource: &str) -> String {
    let path = ["spec", "hard", resource].map(ToOwned::to_owned).to_vec();
    let of = |(key, found): (&String, &drover_runtime::model::ModelObject)| {
        let value = found.fields.get(&path).map_or("none", |field| field.value.as_str().unwrap());
        format!("{}: {value}", key.trim_start_matches("team-a-").trim_end_matches("/drover"))
    };
    model.quotas.iter().map(of).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_new_namespace_gets_its_quota_in_one_go() {
    let project = shop("quota: {namespaceDefault: {pods: 6}}\nnamespaces: [{name: team-a-web}]");
    let groups = plan(&project, &cluster_of(OPEN, "{}")).groups;
    assert_eq!(format!("{groups:?}"), "[[create Namespace team-a-web, create ResourceQuota team-a-web/drover]]");
    assert_eq!(lines(&project, &converged(&project)), ["1 ready"]);
}

#[test]
fn the_quota_goes_out_in_order_and_who_is_short_is_told() {
    let project = shop(SHARED);
    let model = converged(&project);
    assert_eq!(granted(&model, "pods"), "db: 6, web: 4");
    assert_eq!(lines(&project, &model), ["! QuotaExhausted", "2 ready"]);
    let message = only_message(&project, &model);
    assert!(message.starts_with("namespace team-a-web on cluster eu gets less pods than it requests"), "{message}");
    let zero = shop(&SHARED.replace("quota: {", "quota: {overflow: Zero, "));
    assert_eq!(granted(&converged(&zero), "pods"), "db: 6, web: 0");
}

#[test]
fn a_request_of_its_own_stands_in_for_the_default_of_that_resource() {
    let spec = "quota: {perCluster: {pods: 10, limits.cpu: 4}, namespaceDefault: {pods: 6, secrets: 5}}
namespaces: [{name: team-a-db, quota: {pods: 2, limits.cpu: 1000m, count/jobs.batch: 3}}, {name: team-a-web}]";
    let model = converged(&shop(spec));
    for (resource, expected) in [
        ("pods", "db: 2, web: 6"),
        ("limits.cpu", "db: 1, web: 0"),
        ("secrets", "db: 5, web: 5"),
        ("count/jobs.batch", "db: 3, web: none"),
    ] {
        assert_eq!(granted(&model, resource), expected, "{resource}");
    }
    assert_eq!(lines(&shop(spec), &model), ["2 ready"], "it fits exactly");
}
