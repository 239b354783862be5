//! What a binding tells: effective on how many clusters, and why not elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use drover_crds::{Cluster, ProjectRoleTemplateBinding, RoleBindingStatus, RoleTemplate};
use drover_grants::{Granted, Members, Scope, Templates};
use drover_runtime::{
    Failure, Operator as _, Place, PlaceState, PlaceStatuses, Requeue, StatusCause, Title,
    cache::{Lookup, Undecodable},
    owned::{Change, Owned},
    place_status::PlaceEntry,
};
use k8s_openapi::{
    api::rbac::v1::Subject,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::{SignedDuration, Timestamp},
};
use serde_json::{Value, json};

use crate::{
    ProjectBindingOperator,
    observe::{AtCluster, World},
    plan::{PlaceStatus, are_among},
};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const WEB: &str = "team-a-web";

fn binding(name: &str, template: &str, subjects: &Value) -> ProjectRoleTemplateBinding {
    let spec = json!({"projectName": "shop", "roleTemplateName": template, "subjects": subjects});
    let mut binding = ProjectRoleTemplateBinding::new(name, serde_json::from_value(spec).unwrap());
    binding.metadata.namespace = Some("team-a".to_owned());
    binding
}

fn ada() -> ProjectRoleTemplateBinding {
    binding("ada", "viewer", &json!([{"kind": "User", "name": "ada"}]))
}

fn viewer(bindable_from: &Value) -> RoleTemplate {
    let spec = json!({"context": "Project", "bindableFrom": bindable_from, "externalClusterRoles": ["view"]});
    RoleTemplate::new("viewer", serde_json::from_value(spec).unwrap())
}

fn templates(bindable_from: &Value) -> Templates {
    Templates::from_iter([viewer(bindable_from)])
}

/// What the operator sees as a whole, and of one cluster on which the Project did all that it had to do for these bindings.
fn granted(bindings: Vec<ProjectRoleTemplateBinding>) -> [World; 2] {
    let spec = json!({"connection": {"local": {}}});
    let cluster: Arc<Cluster> = Arc::new(Cluster::new("eu", serde_json::from_value(spec).unwrap()));
    let project = json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "Project", "metadata": {"name": "shop", "namespace": "team-a"},
        "spec": {"clusters": {"all": {}}},
    });
    let templates = templates(&json!({"all": {}}));
    let bindings = bindings.into_iter().map(Arc::new).collect();
    let members = Members { bindings, templates: templates.clone(), ..Members::default() };
    let (project, labels) = (serde_json::from_value(project).unwrap(), BTreeMap::new());
    let given = Granted::of(&project, &cluster, &labels, &members, &BTreeSet::from([WEB]), NOW);
    let changes = members.decide(&given, &cluster, WEB, Scope::All).grants;
    let granted = changes.into_iter().map(|change| match change {
        Change::Create { desired, .. } => {
            Owned { live: Ok(Arc::new(*desired)), drift_conflict: None, title: Title::Created }
        }
        other => panic!("{other:?}"),
    });
    let at = AtCluster { cluster, namespaces: vec![WEB.to_owned()], granted: granted.collect() };
    let whole = World { has_project: true, templates, labels, ..World::default() };
    [whole.clone(), World { at: Some(at), ..whole }]
}

fn told(binding: &ProjectRoleTemplateBinding, worlds: &[World]) -> RoleBindingStatus {
    told_with(binding, worlds, &PlaceState::Current)
}

/// The same with the cluster in this state.
fn told_with(binding: &ProjectRoleTemplateBinding, worlds: &[World], at_cluster: &PlaceState) -> RoleBindingStatus {
    let entries = worlds.iter().map(|world| {
        let (place, state) = match &world.at {
            Some(_) => (Place::cluster("eu"), at_cluster.clone()),
            None => (Place::Management, PlaceState::Current),
        };
        let known = Some(ProjectBindingOperator::plan(binding, world, NOW).place_status);
        (place, PlaceEntry { known, state })
    });
    let statuses: PlaceStatuses<PlaceStatus> = entries.collect();
    ProjectBindingOperator::summarise(binding, &statuses, NOW)
}

fn ready(status: &RoleBindingStatus) -> String {
    let found = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    format!("{}/{}", found.status, found.reason)
}

#[test]
fn a_binding_is_ready_once_every_namespace_has_its_role() {
    let status = told(&ada(), &granted(vec![ada()]));
    assert_eq!((ready(&status), status.clusters.unwrap().summary), ("True/Ready".to_owned(), "1/1".to_owned()));
    let status = told(&ada(), &granted(Vec::new()));
    assert_eq!(
        (ready(&status), status.clusters.unwrap().summary),
        ("False/NotYetGranted".to_owned(), "0/1".to_owned())
    );
    assert_eq!(status.problems[0].namespace.as_deref(), Some(WEB));
}

#[test]
fn why_a_binding_gives_nothing_is_told_once_whatever_the_number_of_clusters() {
    let worlds = granted(Vec::new());
    let without_project = worlds.clone().map(|world| World { has_project: false, ..world });
    assert_eq!(ready(&told(&ada(), &without_project)), "False/ProjectNotFound");
    assert_eq!(ready(&told(&ada(), &without_project[..1])), "False/ProjectNotFound", "there is no cluster then");
    let missing = binding("ada", "missing", &json!([]));
    let status = told(&missing, &worlds);
    assert_eq!((ready(&status), status.problems.len()), ("False/RoleTemplateNotFound".to_owned(), 0));
    let mut expired = ada();
    expired.spec.expires_at = Some(Time(NOW));
    assert_eq!(ready(&told(&expired, &worlds)), "True/Expired");
    for away in [PlaceState::Unreachable(Failure::new(StatusCause::Unreachable, "no route")), PlaceState::Suspended] {
        assert_eq!(ready(&told_with(&expired, &worlds, &away)), "False/RevocationPending");
    }
    let elsewhere = templates(&json!({"names": ["team-b"]}));
    let mut unknown = templates(&json!({"all": {}}));
    let garbled = Undecodable { meta: ObjectMeta::default(), error: "unknown variant".to_owned() };
    unknown.insert("viewer", Lookup::Undecodable(Arc::new(garbled)));
    let undecodable = worlds.clone().map(|world| World { templates: unknown.clone(), ..world });
    assert_eq!(ready(&told(&ada(), &undecodable)), "False/RoleTemplateUndecodable");
    let unbindable = worlds.map(|world| World { templates: elsewhere.clone(), ..world });
    assert_eq!(ready(&told(&ada(), &unbindable)), "False/RoleTemplateNotBindable");
}

#[test]
fn a_subject_that_gets_nothing_is_told_though_all_others_have_the_role() {
    let subjects = json!([
        {"kind": "User", "name": "ada"}, {"kind": "ServiceAccount", "name": "ci", "namespace": "team-b-web"},
    ]);
    let binding = binding("ada", "viewer", &subjects);
    let status = told(&binding, &granted(vec![binding.clone()]));
    assert_eq!(ready(&status), "False/ServiceAccountOfAnotherProject");
    assert!(status.problems[0].message.contains("ServiceAccount team-b-web/ci on cluster eu"), "{status:?}");
}

#[test]
fn that_accounts_have_nothing_in_the_whole_cluster_is_told_though_the_binding_is_ready() {
    let nodes = json!([{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]);
    let account = json!({"kind": "ServiceAccount", "name": "ci", "namespace": WEB});
    for (subject, cluster_rules, is_told) in [
        (&account, &nodes, true),
        (&account, &json!([]), false),
        (&json!({"kind": "User", "name": "ada"}), &nodes, false),
    ] {
        let binding = binding("ci", "viewer", &json!([subject]));
        let mut template = viewer(&json!({"all": {}}));
        template.spec.cluster_rules = serde_json::from_value(cluster_rules.clone()).unwrap();
        let templates = Templates::from_iter([template]);
        let worlds = granted(vec![binding.clone()]).map(|world| World { templates: templates.clone(), ..world });
        let status = told(&binding, &worlds);
        assert_eq!(ready(&status), "True/Ready");
        let found = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
        assert_eq!(found.message.contains("clusterRules of RoleTemplate viewer"), is_told, "{}", found.message);
    }
}

#[test]
fn subjects_are_found_in_any_order() {
    let subjects = |names: &str| -> Vec<Subject> {
        names.chars().map(|name| Subject { name: name.to_string(), ..Subject::default() }).collect()
    };
    for (wanted, have, expected) in [
        ("", "", true),
        ("abc", "abc", true),
        ("ac", "abcd", true),
        ("abc", "cba", true),
        ("abc", "bca", true),
        ("aa", "a", true),
        ("abc", "ab", false),
        ("a", "", false),
        ("abd", "abc", false),
    ] {
        let (wanted, have) = (subjects(wanted), subjects(have));
        assert_eq!(are_among(&wanted, &have.iter().collect::<Vec<_>>()), expected, "{wanted:?} among {have:?}");
    }
}

#[test]
fn it_is_looked_at_again_when_it_expires() {
    let mut binding = ada();
    let end = NOW + SignedDuration::from_secs(60);
    binding.spec.expires_at = Some(Time(end));
    let requeue = ProjectBindingOperator::plan(&binding, &granted(vec![binding.clone()])[1], NOW).requeue;
    assert_eq!(requeue, Requeue::At(end));
}
