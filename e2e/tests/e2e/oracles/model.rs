//! What people wrote about rights, and who may do what by it: told once more, in other words than those of Drover, whose code this
//! does not share.

use std::collections::{BTreeMap, BTreeSet};

use drover_e2e::story::{TEAM, a_project};
use k8s_openapi::jiff::Timestamp;
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

pub(super) const CLUSTERS: [&str; 2] = ["eu", "us"];
/// What stands before users and groups in `us`.
pub(super) const PREFIX: &str = "oidc:";
/// Only `us` is labelled so.
pub(super) const LABEL: (&str, &str) = ("tier", "gold");
const PROJECTS: [&str; 2] = ["shop", "store"];
const NAMESPACES: [&str; 3] = ["team-a", "team-b", "team-c"];
const OF_PROJECTS: [&str; 3] = ["p0", "p1", "p2"];
const OF_CLUSTERS: [&str; 2] = ["c0", "c1"];
const MEMBERS: [&str; 4] = ["m0", "m1", "m2", "m3"];
const ON_CLUSTERS: [&str; 2] = ["w0", "w1"];

/// A resource and a verb.
pub(super) type Right = (&'static str, &'static str);
const RIGHTS: [Right; 3] = [("pods", "get"), ("secrets", "get"), ("configmaps", "delete")];
/// Of these, what Kubernetes' own role `view` has.
const VIEW: Right = RIGHTS[0];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    User(&'static str),
    Group(&'static str),
    /// Of a namespace.
    Account(&'static str, &'static str),
}

const SUBJECTS: [Subject; 5] = [
    Subject::User("ann"),
    Subject::User("bob"),
    Subject::Group("devs"),
    Subject::Account("team-a", "ci"),
    Subject::Account("default", "ci"),
];

/// A question to an API server, and the answer that it should get.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) cluster: &'static str,
    /// A user, or a group after `@`.
    pub(super) who: String,
    pub(super) namespace: &'static str,
    /// A verb and a resource.
    pub(super) what: String,
    pub(super) expected: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Template {
    rights: BTreeSet<Right>,
    /// In the whole cluster, of a template for Projects.
    wide: BTreeSet<Right>,
    inherits: BTreeSet<&'static str>,
    view: bool,
    bindable: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Clusters {
    Named(BTreeSet<&'static str>),
    ByLabel,
    All,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Binding {
    /// None: on clusters.
    project: Option<&'static str>,
    clusters: Clusters,
    template: &'static str,
    subjects: BTreeSet<Subject>,
    /// When it ended, or ends before anybody asks.
    ends: Option<String>,
}

/// What people wrote.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    projects: BTreeMap<&'static str, BTreeSet<&'static str>>,
    /// In which Project each is listed.
    namespaces: BTreeMap<&'static str, &'static str>,
    templates: BTreeMap<&'static str, Template>,
    bindings: BTreeMap<&'static str, Binding>,
}

fn one<T: Copy>(dice: &mut StdRng, all: &[T]) -> T {
    all[dice.random_range(0..all.len())]
}

fn some<T: Copy + Ord>(dice: &mut StdRng, all: &[T], chance: f64) -> BTreeSet<T> {
    all.iter().copied().filter(|_| dice.random_bool(chance)).collect()
}

fn at_least_one<T: Copy + Ord>(dice: &mut StdRng, all: &[T]) -> BTreeSet<T> {
    let mut found = some(dice, all, 0.5);
    found.insert(one(dice, all));
    found
}

impl Template {
    fn any(dice: &mut StdRng) -> Self {
        let all: Vec<&'static str> = OF_PROJECTS.into_iter().chain(OF_CLUSTERS).collect();
        Self {
            rights: some(dice, &RIGHTS, 0.4),
            wide: some(dice, &RIGHTS, 0.15),
            inherits: some(dice, &all, 0.2),
            view: dice.random_bool(0.2),
            bindable: dice.random_bool(0.9),
        }
    }
}

impl Binding {
    fn any(dice: &mut StdRng, name: &'static str, soon: Timestamp) -> Self {
        let of_project = MEMBERS.contains(&name);
        // Now and then a template of the other kind, which gives nothing.
        let fits = dice.random_bool(0.9);
        let templates: &[&str] = if of_project == fits { &OF_PROJECTS } else { &OF_CLUSTERS };
        let clusters = match dice.random_range(0..4) {
            0 => Clusters::ByLabel,
            1 => Clusters::All,
            _ => Clusters::Named(at_least_one(dice, &CLUSTERS)),
        };
        Self {
            project: of_project.then(|| one(dice, &PROJECTS)),
            clusters,
            template: one(dice, templates),
            subjects: at_least_one(dice, &SUBJECTS),
            ends: dice.random_bool(0.15).then(|| soon.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        }
    }
}

impl Said {
    /// Something of everything, and in any case every subject in a role of a Project that holds a namespace.
    pub(super) fn any(dice: &mut StdRng, soon: Timestamp) -> Self {
        let mut said = Self::default();
        for name in PROJECTS {
            said.projects.insert(name, at_least_one(dice, &CLUSTERS));
        }
        for name in NAMESPACES {
            said.namespaces.insert(name, one(dice, &PROJECTS));
        }
        for name in OF_PROJECTS.into_iter().chain(OF_CLUSTERS) {
            said.templates.insert(name, Template::any(dice));
        }
        for name in MEMBERS.into_iter().chain(ON_CLUSTERS) {
            said.bindings.insert(name, Binding::any(dice, name, soon));
        }
        said.templates.entry("p0").and_modify(|template| {
            template.rights.insert(VIEW);
            template.bindable = true;
        });
        said.bindings.entry("m0").and_modify(|binding| {
            *binding = Binding { template: "p0", subjects: SUBJECTS.into(), ends: None, ..binding.clone() };
        });
        let project = said.bindings.get("m0").and_then(|binding| binding.project);
        said.namespaces.extend(project.map(|project| ("team-a", project)));
        said
    }

    /// A few changes, as people make them.
    pub(super) fn changed(&self, dice: &mut StdRng, soon: Timestamp) -> Self {
        let mut next = self.clone();
        for _ in 0..dice.random_range(1..=4) {
            next.change(dice, soon);
        }
        next
    }

    fn change(&mut self, dice: &mut StdRng, soon: Timestamp) {
        let templates: Vec<&'static str> = OF_PROJECTS.into_iter().chain(OF_CLUSTERS).collect();
        let bindings: Vec<&'static str> = MEMBERS.into_iter().chain(ON_CLUSTERS).collect();
        let goes = dice.random_bool(0.25);
        match dice.random_range(0..8) {
            0 | 1 => {
                let name = one(dice, &templates);
                let _ =
                    if goes { self.templates.remove(name) } else { self.templates.insert(name, Template::any(dice)) };
            }
            2 | 3 => {
                let name = one(dice, &bindings);
                let _ = if goes {
                    self.bindings.remove(name)
                } else {
                    self.bindings.insert(name, Binding::any(dice, name, soon))
                };
            }
            4 => {
                if let Some(binding) = self.bindings.get_mut(one(dice, &bindings)) {
                    binding.subjects = at_least_one(dice, &SUBJECTS);
                }
            }
            5 | 6 => {
                let name = one(dice, &NAMESPACES);
                let _ = if goes {
                    self.namespaces.remove(name)
                } else {
                    self.namespaces.insert(name, one(dice, &PROJECTS))
                };
            }
            _ => {
                let name = one(dice, &PROJECTS);
                let clusters = at_least_one(dice, &CLUSTERS);
                let _ = if goes { self.projects.remove(name) } else { self.projects.insert(name, clusters) };
            }
        }
    }

    /// As objects, by kind and name.
    pub(super) fn objects(&self) -> BTreeMap<(&'static str, &'static str), Value> {
        let projects = self.projects.iter().map(|(name, clusters)| {
            let listed: Vec<_> =
                NAMESPACES.into_iter().filter(|each| self.namespaces.get(each) == Some(name)).collect();
            let mut object = a_project(name, &listed);
            object["spec"]["clusters"] = json!({"names": clusters});
            for namespace in object["spec"]["namespaces"].as_array_mut().unwrap() {
                namespace["onExisting"] = json!("Adopt");
            }
            (("project", *name), object)
        });
        let templates = self.templates.iter().map(|(name, template)| (("roletemplate", *name), template.object(name)));
        let bindings = self.bindings.iter().map(|(name, binding)| ((binding.kind(), *name), binding.object(name)));
        projects.chain(templates).chain(bindings).collect()
    }

    /// Everything that could be asked, with the answers.
    pub(super) fn questions(&self) -> Vec<Question> {
        let mut questions = Vec::new();
        for cluster in CLUSTERS {
            for (who, subject) in askers(cluster) {
                for namespace in NAMESPACES.into_iter().chain(["default"]) {
                    for right in RIGHTS {
                        let (who, what) = (who.clone(), format!("{} {}", right.1, right.0));
                        let expected = subject.is_some_and(|subject| self.allows(cluster, subject, namespace, right));
                        questions.push(Question { cluster, who, namespace, what, expected });
                    }
                }
            }
        }
        questions
    }

    fn allows(&self, cluster: &str, subject: Subject, namespace: &str, right: Right) -> bool {
        self.bindings.values().any(|binding| {
            let names = binding.ends.is_none() && binding.subjects.contains(&subject);
            names && self.gives(binding, cluster, subject, namespace, right)
        })
    }

    fn gives(&self, binding: &Binding, cluster: &str, subject: Subject, namespace: &str, right: Right) -> bool {
        let Some(template) = self.templates.get(binding.template) else { return false };
        let closure = self.closure(binding.template);
        let has = |of: fn(&Template) -> &BTreeSet<Right>| closure.iter().any(|each| of(each).contains(&right));
        let allowed = has(|each| &each.rights) || (right == VIEW && closure.iter().any(|each| each.view));
        let of_projects = OF_PROJECTS.contains(&binding.template);
        let Some(project) = binding.project else {
            return !of_projects && binding.clusters.mean(cluster) && allowed;
        };
        let is_there = self.projects.get(project).is_some_and(|clusters| clusters.contains(cluster));
        let holds = |namespace: &str| self.namespaces.get(namespace) == Some(&project);
        let (is_person, may_have) = match subject {
            Subject::Account(home, _) => (false, holds(home)),
            Subject::User(_) | Subject::Group(_) => (true, true),
        };
        let in_force = of_projects && template.bindable && is_there && may_have;
        in_force && ((holds(namespace) && allowed) || (is_person && has(|each| &each.wide)))
    }

    /// A template and what it inherits, of its own kind.
    fn closure(&self, name: &'static str) -> Vec<&Template> {
        let of_projects = OF_PROJECTS.contains(&name);
        let (mut seen, mut next) = (BTreeSet::new(), vec![name]);
        while let Some(name) = next.pop() {
            if OF_PROJECTS.contains(&name) == of_projects && seen.insert(name) {
                next.extend(self.templates.get(name).into_iter().flat_map(|template| &template.inherits));
            }
        }
        seen.into_iter().filter_map(|name| self.templates.get(name)).collect()
    }
}

impl Clusters {
    fn mean(&self, cluster: &str) -> bool {
        match self {
            Self::Named(names) => names.contains(cluster),
            Self::ByLabel => cluster == "us",
            Self::All => true,
        }
    }
}

/// Who asks in a cluster, and which subject that is. Whoever is spelled as in the other cluster is nobody.
fn askers(cluster: &str) -> Vec<(String, Option<Subject>)> {
    let (prefix, foreign) = if cluster == "us" { (PREFIX, "") } else { ("", PREFIX) };
    let spelled = |subject: Subject| match subject {
        Subject::User(name) => format!("{prefix}{name}"),
        Subject::Group(name) => format!("@{prefix}{name}"),
        Subject::Account(home, name) => format!("system:serviceaccount:{home}:{name}"),
    };
    let known = SUBJECTS.map(|subject| (spelled(subject), Some(subject)));
    let nobody = ["ann", "@devs"].map(|name| match name.strip_prefix('@') {
        Some(group) => (format!("@{foreign}{group}"), None),
        None => (format!("{foreign}{name}"), None),
    });
    known.into_iter().chain(nobody).collect()
}

fn rules(rights: &BTreeSet<Right>) -> Value {
    rights.iter().map(|(resource, verb)| json!({"apiGroups": [""], "resources": [resource], "verbs": [verb]})).collect()
}

impl Template {
    fn object(&self, name: &str) -> Value {
        let mut spec = json!({
            "context": "Cluster", "rules": rules(&self.rights), "inherits": self.inherits,
            "externalClusterRoles": if self.view { json!(["view"]) } else { json!([]) },
        });
        if OF_PROJECTS.contains(&name) {
            spec["context"] = json!("Project");
            spec["clusterRules"] = rules(&self.wide);
            spec["bindableFrom"] = json!({"names": [if self.bindable { TEAM } else { "nobody" }]});
        }
        json!({"apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": {"name": name}, "spec": spec})
    }
}

impl Binding {
    fn kind(&self) -> &'static str {
        self.project.map_or("clusterroletemplatebinding", |_| "projectroletemplatebinding")
    }

    fn object(&self, name: &str) -> Value {
        let subjects: Vec<_> = self
            .subjects
            .iter()
            .map(|subject| match subject {
                Subject::User(name) => json!({"kind": "User", "name": name}),
                Subject::Group(name) => json!({"kind": "Group", "name": name}),
                Subject::Account(home, name) => json!({"kind": "ServiceAccount", "name": name, "namespace": home}),
            })
            .collect();
        let mut spec = json!({"roleTemplateName": self.template, "subjects": subjects});
        if let Some(ends) = &self.ends {
            spec["expiresAt"] = json!(ends);
        }
        let mut metadata = json!({"name": name});
        let kind = if let Some(project) = self.project {
            metadata["namespace"] = json!(TEAM);
            spec["projectName"] = json!(project);
            "ProjectRoleTemplateBinding"
        } else {
            spec["clusters"] = match &self.clusters {
                Clusters::Named(names) => json!({"names": names}),
                Clusters::ByLabel => json!({"selector": {"matchLabels": {LABEL.0: LABEL.1}}}),
                Clusters::All => json!({"all": {}}),
            };
            "ClusterRoleTemplateBinding"
        };
        json!({"apiVersion": "drover.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
    }
}
