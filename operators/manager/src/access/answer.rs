//! Which bindings answer a question. Pure.

use std::collections::{BTreeMap, BTreeSet};

use drover_crds::{
    Cluster, ClusterRoleTemplateBinding, ClusterSelection, Project, ProjectRoleTemplateBinding, RoleBindingStatus,
    RoleSubject, SubjectKind, condition::READY, names::LOCAL_CLUSTER,
};
use drover_fleet::targets::tenancies;
use drover_self_service::begins_with;
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::ResourceExt as _;
use serde::Serialize;

/// Whose rights are asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Question {
    /// Only theirs; everybody's if there are none. A `ServiceAccount` is spelled `NAMESPACE:NAME`.
    pub(crate) people: BTreeSet<(SubjectKind, String)>,
    /// Only those in this namespace.
    pub(crate) namespace: Option<String>,
    /// Only those on this Cluster.
    pub(crate) cluster: Option<String>,
}

/// What there is in the management cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inventory {
    /// The labels of its namespaces.
    pub(crate) namespaces: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) clusters: Vec<Cluster>,
    pub(crate) projects: Vec<Project>,
    pub(crate) project_bindings: Vec<ProjectRoleTemplateBinding>,
    pub(crate) cluster_bindings: Vec<ClusterRoleTemplateBinding>,
}

/// The answer.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Answer {
    pub(crate) grants: Vec<Grant>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) quota: Vec<super::quota::Quota>,
}

/// A role and who has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Grant {
    /// Who has it.
    pub(crate) subject: RoleSubject,
    /// The name of the `RoleTemplate`.
    pub(crate) role_template: String,
    /// The object that gives it.
    pub(crate) binding: String,
    /// The Project in whose namespaces it holds; none for a whole cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) project: Option<String>,
    /// The namespaces in which it holds, and `PREFIX*` for those that members create; none for a whole cluster.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) namespaces: Vec<String>,
    /// The Clusters on which it is to hold.
    pub(crate) clusters: Vec<String>,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<Time>,
    /// Whether it is in force.
    pub(crate) state: String,
}

/// Answers a question.
pub(crate) fn of(question: &Question, inventory: &Inventory, now: Timestamp) -> Answer {
    let in_projects =
        inventory.project_bindings.iter().flat_map(|binding| in_project(question, inventory, binding, now));
    let on_clusters =
        inventory.cluster_bindings.iter().flat_map(|binding| on_clusters(question, inventory, binding, now));
    let mut grants: Vec<_> = in_projects.chain(on_clusters).collect();
    grants.sort_by(|one, other| (&one.subject, &one.binding).cmp(&(&other.subject, &other.binding)));
    Answer { grants, quota: Vec::new() }
}

/// The Projects that hold the namespace of a question, or may have taken it up.
pub(crate) fn holders<'a>(inventory: &'a Inventory, namespace: &'a str) -> impl Iterator<Item = &'a Project> {
    inventory.projects.iter().filter(move |project| holds(inventory, project, namespace).is_some())
}

/// How a Project has a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// It lists it.
    Listed,
    /// It may have taken it up: a cluster knows whether a member created it.
    SelfService,
}

fn holds(inventory: &Inventory, project: &Project, namespace: &str) -> Option<Hold> {
    let lists = |project: &Project| names_of(project).iter().any(|name| name == namespace);
    if lists(project) {
        return Some(Hold::Listed);
    }
    let is_served = prefixes_of(project).iter().any(|prefix| begins_with(namespace, prefix));
    (is_served && !inventory.projects.iter().any(lists)).then_some(Hold::SelfService)
}

fn prefixes_of(project: &Project) -> &[String] {
    project.spec.self_service.as_ref().map(|served| served.name_prefixes.as_slice()).unwrap_or_default()
}

/// The Clusters of a Project that admit it.
pub(crate) fn clusters_of<'a>(inventory: &'a Inventory, project: &Project) -> Vec<&'a Cluster> {
    let namespace = project.namespace().unwrap_or_default();
    let labels = inventory.namespaces.get(&namespace);
    let selected = |cluster: &&Cluster| {
        project.spec.clusters.selects(&cluster.name_any(), cluster.labels())
            && !tenancies(cluster, &namespace, labels).is_empty()
    };
    inventory.clusters.iter().filter(selected).collect()
}

/// Those that it lists, and the prefixes of those that members create, each with `*`.
fn all_of(project: &Project) -> Vec<String> {
    let served = prefixes_of(project).iter().map(|prefix| format!("{prefix}*"));
    names_of(project).into_iter().chain(served).collect()
}

fn names_of(project: &Project) -> Vec<String> {
    project.spec.namespaces.iter().map(|namespace| namespace.name.clone()).collect()
}

fn in_project(
    question: &Question,
    inventory: &Inventory,
    binding: &ProjectRoleTemplateBinding,
    now: Timestamp,
) -> Vec<Grant> {
    let namespace = binding.namespace().unwrap_or_default();
    let project = inventory.projects.iter().find(|project| {
        project.namespace().as_ref() == Some(&namespace) && project.name_any() == binding.spec.project_name
    });
    let hold = question.namespace.as_ref().and_then(|asked| holds(inventory, project?, asked));
    let namespaces = match &question.namespace {
        Some(asked) if hold.is_some() => vec![asked.clone()],
        Some(_) => return Vec::new(),
        None => project.map(all_of).unwrap_or_default(),
    };
    let clusters = project.map(|project| clusters_of(inventory, project)).unwrap_or_default();
    let Some(clusters) = within(question, &clusters) else { return Vec::new() };
    let grant = |subject: &RoleSubject| Grant {
        subject: subject.clone(),
        role_template: binding.spec.role_template_name.clone(),
        binding: format!("ProjectRoleTemplateBinding {namespace}/{}", binding.name_any()),
        project: Some(format!("{namespace}/{}", binding.spec.project_name)),
        namespaces: namespaces.clone(),
        clusters: clusters.clone(),
        until: binding.spec.expires_at.clone(),
        state: match (project, state(binding.spec.expires_at.as_ref(), binding.status.as_ref(), now)) {
            (None, _) => "the Project does not exist".to_owned(),
            (_, state) if hold == Some(Hold::SelfService) => format!("{state}, where the Project took it up"),
            (_, state) => state,
        },
    };
    binding.spec.subjects.iter().filter(|subject| concerns(question, subject)).map(grant).collect()
}

fn on_clusters(
    question: &Question,
    inventory: &Inventory,
    binding: &ClusterRoleTemplateBinding,
    now: Timestamp,
) -> Vec<Grant> {
    let by_name = matches!(binding.spec.clusters, ClusterSelection::Names(_));
    let selected = |cluster: &&Cluster| {
        let name = cluster.name_any();
        binding.spec.clusters.selects(&name, cluster.labels()) && (by_name || name != LOCAL_CLUSTER)
    };
    let clusters: Vec<_> = inventory.clusters.iter().filter(selected).collect();
    let Some(clusters) = within(question, &clusters) else { return Vec::new() };
    let grant = |subject: &RoleSubject| Grant {
        subject: subject.clone(),
        role_template: binding.spec.role_template_name.clone(),
        binding: format!("ClusterRoleTemplateBinding {}", binding.name_any()),
        project: None,
        namespaces: Vec::new(),
        clusters: clusters.clone(),
        until: binding.spec.expires_at.clone(),
        state: state(binding.spec.expires_at.as_ref(), binding.status.as_ref(), now),
    };
    binding.spec.subjects.iter().filter(|subject| concerns(question, subject)).map(grant).collect()
}

/// The names of the clusters that were asked for; none if a cluster was asked for that is not among them.
fn within(question: &Question, clusters: &[&Cluster]) -> Option<Vec<String>> {
    let names = clusters.iter().map(|cluster| cluster.name_any());
    match &question.cluster {
        None => Some(names.collect()),
        Some(asked) => names.into_iter().find(|name| name == asked).map(|name| vec![name]),
    }
}

fn concerns(question: &Question, subject: &RoleSubject) -> bool {
    let name = match &subject.namespace {
        Some(namespace) => format!("{namespace}:{}", subject.name),
        None => subject.name.clone(),
    };
    question.people.is_empty() || question.people.contains(&(subject.kind, name))
}

fn state(expires_at: Option<&Time>, status: Option<&RoleBindingStatus>, now: Timestamp) -> String {
    if expires_at.is_some_and(|at| at.0 <= now) {
        return "expired".to_owned();
    }
    let ready = status.and_then(|status| status.conditions.iter().find(|condition| condition.type_ == READY));
    let summary = status.and_then(|status| status.clusters.as_ref()).map(|clusters| clusters.summary.as_str());
    match (ready, summary) {
        (None, _) => "not judged yet".to_owned(),
        (Some(ready), Some(summary)) => format!("{} on {summary} clusters", ready.reason),
        (Some(ready), None) => ready.reason.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn objects<T: serde::de::DeserializeOwned>(list: Value) -> Vec<T> {
        from_value(list).unwrap()
    }

    fn cluster(name: &str) -> Value {
        let tenant = json!({"name": "team", "from": {"names": ["team"]}, "namespacePatterns": ["team-*"]});
        json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": name},
            "spec": {"connection": {"local": {}}, "tenants": if name == "far" { json!([]) } else { json!([tenant]) }},
        })
    }

    fn project_binding(name: &str, subjects: &Value, more: &Value) -> Value {
        let mut spec = json!({"projectName": "shop", "roleTemplateName": "project-member", "subjects": subjects});
        spec.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "ProjectRoleTemplateBinding",
            "metadata": {"name": name, "namespace": "team"}, "spec": spec,
        })
    }

    fn inventory() -> Inventory {
        let (ann, ops) = (json!({"kind": "User", "name": "ann"}), json!({"kind": "Group", "name": "ops"}));
        let account = json!({"kind": "ServiceAccount", "name": "ci", "namespace": "team-web"});
        let on = |name: &str, clusters: &Value| {
            json!({
                "apiVersion": "drover.dev/v1alpha1", "kind": "ClusterRoleTemplateBinding", "metadata": {"name": name},
                "spec": {"clusters": clusters, "roleTemplateName": "auditor", "subjects": [ops]},
            })
        };
        Inventory {
            namespaces: BTreeMap::from([("team".to_owned(), BTreeMap::new())]),
            clusters: objects(json!([cluster("eu"), cluster("us"), cluster("far"), cluster("local")])),
            projects: objects(json!([{
                "apiVersion": "drover.dev/v1alpha1", "kind": "Project",
                "metadata": {"name": "shop", "namespace": "team"},
                "spec": {"clusters": {"names": ["eu", "us", "far"]}, "namespaces": [{"name": "team-web"}, {"name": "team-db"}]},
            }, {
                "apiVersion": "drover.dev/v1alpha1", "kind": "Project",
                "metadata": {"name": "lab", "namespace": "team"},
                "spec": {"clusters": {"names": ["eu"]}, "selfService": {"namePrefixes": ["team-", "lab-"], "maxNamespaces": 5}},
            }])),
            project_bindings: objects(json!([
                project_binding("members", &json!([ann, account]), &json!({})),
                project_binding("guests", &json!([ann]), &json!({"expiresAt": "2026-01-01T00:00:00Z"})),
                project_binding("lost", &json!([ann]), &json!({"projectName": "gone"})),
                project_binding("makers", &json!([{"kind": "User", "name": "mia"}]), &json!({"projectName": "lab"})),
            ])),
            cluster_bindings: objects(json!([
                on("everywhere", &json!({"all": {}})),
                on("here", &json!({"names": ["local"]}))
            ])),
        }
    }

    /// Binding, namespaces and clusters of each grant.
    fn told(question: &Question) -> Vec<String> {
        let now = "2026-06-01T00:00:00Z".parse().unwrap();
        let grants = of(question, &inventory(), now).grants;
        let line = |grant: &Grant| {
            let short = grant.binding.rsplit([' ', '/']).next().unwrap();
            format!("{} {short} {:?} {:?} {}", grant.subject.name, grant.namespaces, grant.clusters, grant.state)
        };
        grants.iter().map(line).collect()
    }

    fn people(people: &[(SubjectKind, &str)]) -> Question {
        let people = people.iter().map(|(kind, name)| (*kind, (*name).to_owned())).collect();
        Question { people, ..Question::default() }
    }

    #[test]
    fn a_person_has_what_each_binding_gives_on_clusters_that_admit_the_project() {
        let both = r#"["team-web", "team-db"] ["eu", "us"]"#;
        assert_eq!(
            told(&people(&[(SubjectKind::User, "ann")])),
            [
                format!("ann guests {both} expired"),
                "ann lost [] [] the Project does not exist".to_owned(),
                format!("ann members {both} not judged yet"),
            ]
        );
        assert_eq!(told(&people(&[(SubjectKind::ServiceAccount, "team-web:ci")])).len(), 1);
        for nobody in [(SubjectKind::Group, "ann"), (SubjectKind::ServiceAccount, "ci")] {
            assert_eq!(told(&people(&[nobody])), Vec::<String>::new(), "{nobody:?}");
        }
    }

    #[test]
    fn the_management_cluster_is_meant_by_name_only() {
        assert_eq!(
            told(&people(&[(SubjectKind::Group, "ops")])),
            [r#"ops everywhere [] ["eu", "us", "far"] not judged yet"#, r#"ops here [] ["local"] not judged yet"#,]
        );
    }

    #[test]
    fn of_a_namespace_the_roles_of_everybody_there_are_told() {
        let question =
            Question { namespace: Some("team-web".to_owned()), cluster: Some("eu".to_owned()), ..Question::default() };
        assert_eq!(
            told(&question),
            [
                r#"ann guests ["team-web"] ["eu"] expired"#,
                r#"ann members ["team-web"] ["eu"] not judged yet"#,
                r#"ops everywhere [] ["eu"] not judged yet"#,
                r#"ci members ["team-web"] ["eu"] not judged yet"#,
            ]
        );
        let elsewhere = Question { namespace: Some("other".to_owned()), ..Question::default() };
        let of_lab = Question { namespace: Some("team-x".to_owned()), ..Question::default() };
        assert_eq!(told(&of_lab)[0], r#"mia makers ["team-x"] ["eu"] not judged yet, where the Project took it up"#);
        assert_eq!(told(&of_lab).iter().filter(|line| !line.starts_with("ops")).count(), 1);
        let whole = told(&people(&[(SubjectKind::User, "mia")]));
        assert_eq!(whole, [r#"mia makers ["team-*", "lab-*"] ["eu"] not judged yet"#]);
        let prefix_alone = Question { namespace: Some("lab-".to_owned()), ..Question::default() };
        assert!(told(&prefix_alone).iter().all(|line| line.starts_with("ops")));
        assert!(told(&elsewhere).iter().all(|line| line.starts_with("ops")));
    }
}
