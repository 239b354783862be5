//! Advisories of other tools of this kind that what ships must never repeat, by the numbers of `docs/security.md`: what is
//! installed, and what it may do, taken from the files that are installed.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize as _;
use serde_json::Value;

use super::{
    files::{code, files},
    folders, operators, root,
};

/// Verbs that change something.
const WRITES: [&str; 5] = ["create", "delete", "deletecollection", "patch", "update"];

/// All that Drover may change in a cluster of the fleet.
const WRITTEN_DOWNSTREAM: [&str; 15] = [
    "/configmaps",
    "/limitranges",
    "/namespaces",
    "/resourcequotas",
    "/secrets",
    "/serviceaccounts",
    "/serviceaccounts/token",
    "admissionregistration.k8s.io/validatingadmissionpolicies",
    "admissionregistration.k8s.io/validatingadmissionpolicybindings",
    // In Drover's own namespace only: they take snapshots of etcd.
    "batch/jobs",
    "networking.k8s.io/networkpolicies",
    "rbac.authorization.k8s.io/clusterrolebindings",
    "rbac.authorization.k8s.io/clusterroles",
    "rbac.authorization.k8s.io/rolebindings",
    // In Drover's own namespace only: each lets one account change one Secret.
    "rbac.authorization.k8s.io/roles",
];

/// All that it may change in the management cluster.
const WRITTEN_IN_MANAGEMENT: [&str; 32] = [
    // In Drover's own namespace only: who has a name of DNS.
    "/configmaps",
    // In Drover's own namespace only, and only created: the key by which inputs of apps are known.
    "/secrets",
    // Data that is never applied: what apps on many clusters were made of.
    "apps/controllerrevisions",
    "coordination.k8s.io/leases",
    "drover.dev/backupstores/status",
    "drover.dev/catalogapps",
    "drover.dev/catalogapps/status",
    "drover.dev/chartrepositories/status",
    "drover.dev/cisprofiles/status",
    "drover.dev/cisreports",
    "drover.dev/cisreports/status",
    "drover.dev/cisscans",
    "drover.dev/cisscans/status",
    "drover.dev/cisscanschedules/status",
    "drover.dev/ciswaivers/status",
    "drover.dev/clusterroletemplatebindings/status",
    "drover.dev/clusters",
    "drover.dev/clusters/status",
    "drover.dev/etcdbackups",
    "drover.dev/etcdbackups/status",
    "drover.dev/etcdbackupschedules/status",
    // Its finalizers.
    "drover.dev/globaldnses",
    "drover.dev/globaldnses/status",
    "drover.dev/globaldnsproviders/status",
    "drover.dev/multiclusterapps",
    "drover.dev/multiclusterapps/status",
    "drover.dev/projectroletemplatebindings/status",
    "drover.dev/projects",
    "drover.dev/projects/status",
    "drover.dev/roletemplates/status",
    "events.k8s.io/events",
    "rbac.authorization.k8s.io/rolebindings",
];

/// One rule of a role, wherever it stands.
struct Rule {
    file: String,
    groups: Vec<String>,
    resources: Vec<String>,
    verbs: Vec<String>,
}

/// The YAML files in a folder and what they say.
fn documents(folder: &str) -> Vec<(PathBuf, Value)> {
    let paths = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let yaml = paths.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let of = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let documents = serde_yaml::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap());
        documents.map(|document| (path.clone(), document)).collect::<Vec<_>>()
    };
    yaml.flat_map(of).collect()
}

/// All rules of all roles in `value`.
fn rules_in(file: &Path, value: &Value) -> Vec<Rule> {
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    match value {
        Value::Object(rule) if rule.get("verbs").is_some_and(Value::is_array) => vec![Rule {
            file: file.file_name().unwrap().to_str().unwrap().to_owned(),
            groups: texts(&value["apiGroups"]),
            resources: texts(&value["resources"]),
            verbs: texts(&value["verbs"]),
        }],
        Value::Object(members) => members.values().flat_map(|member| rules_in(file, member)).collect(),
        Value::Array(items) => items.iter().flat_map(|item| rules_in(file, item)).collect(),
        _ => Vec::new(),
    }
}

/// The rules of every role that ships: of Drover, of people, and of built-in templates.
fn shipped_rules() -> Vec<Rule> {
    let all = ["config/rbac", "charts/drover/files"].into_iter().flat_map(documents);
    let rules: Vec<_> = all.flat_map(|(file, document)| rules_in(&file, &document)).collect();
    assert!(rules.len() > 40, "{} rules", rules.len());
    rules
}

/// The templates of the chart, by file.
fn chart_templates() -> Vec<(PathBuf, String)> {
    let paths = fs::read_dir(root().join("charts/drover/templates")).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), fs::read_to_string(&path).unwrap())).collect()
}

/// The code of all crates in `operators`.
fn sources(folders: impl IntoIterator<Item = String>) -> Vec<(PathBuf, String)> {
    let all = folders.into_iter().flat_map(|folder| files(&root().join("operators").join(folder).join("src")));
    all.map(|path| (path.clone(), code(&fs::read_to_string(&path).unwrap()).join("\n"))).collect()
}

#[test]
fn t08_no_role_that_ships_has_a_verb_that_stands_for_all() {
    for rule in shipped_rules() {
        assert!(!rule.verbs.iter().any(|verb| verb.contains('*')), "{}: {:?}", rule.file, rule.verbs);
    }
    for (path, text) in chart_templates() {
        assert!(!text.contains("verbs: [\"*\"]") && !text.contains("verbs: ['*']"), "{}", path.display());
    }
}

/// An owner that is deleted as an orphan would keep alive what it granted. What grants goes with a difference, not with an owner.
#[test]
fn t14_nothing_is_written_that_lives_by_its_owner() {
    let counts_bytes = "client/src/cache/memory_budget.rs";
    let refuse = ["releases/src/filter.rs", "releases/src/filter/tests.rs"];
    // A report gives nobody anything.
    let goes_with_its_scan = "scans/src/kept.rs";
    let write_none =
        |path: &Path| [counts_bytes, goes_with_its_scan].iter().chain(&refuse).any(|file| path.ends_with(file));
    for (path, code) in sources(folders()).into_iter().filter(|(path, _)| !write_none(path)) {
        let without = code.replace("owner_references: None", "");
        let asks_or_writes = ["owner_references", "controller_owner_ref", "\"ownerReferences\""];
        assert!(!asks_or_writes.iter().any(|each| without.contains(each)), "{}", path.display());
    }
}

#[test]
fn t15_nobody_acts_as_another_and_nothing_lets_people_through() {
    for Rule { file, resources, verbs, .. } in shipped_rules() {
        assert!(!verbs.iter().any(|verb| verb == "impersonate"), "{file}: {resources:?}");
        // What members may do inside their own containers is no way through Drover.
        let through = ["/proxy", "/exec", "/attach", "/portforward", "/token"];
        let is_way = |resource: &String| through.iter().any(|end| resource.ends_with(end));
        // Apps act by tokens of accounts in Drover's own namespace of a cluster; the unit test of the roles says where.
        let of_apps = ["downstream.yaml", "rules.yaml"].contains(&&*file) && resources == ["serviceaccounts/token"];
        assert!(file == "role-templates.yaml" || of_apps || !resources.iter().any(is_way), "{file}: {resources:?}");
    }
    for (path, code) in sources(folders()) {
        assert!(!code.to_lowercase().contains("impersonate-"), "{} sends such a header", path.display());
    }
    for (path, text) in chart_templates() {
        let lets_in = ["Ingress", "HTTPRoute", "APIService", "ValidatingWebhookConfiguration", "Service"];
        let kinds = text.lines().filter_map(|line| line.strip_prefix("kind: "));
        let open: Vec<_> = kinds.filter(|kind| lets_in.contains(kind)).collect();
        assert!(open.is_empty() || path.ends_with("metrics.yaml"), "{}: {open:?}", path.display());
    }
}

/// Roles for people in namespaces: neither pod security, nor quota, nor what makes either.
#[test]
fn t17_who_administers_a_namespace_changes_neither_pod_security_nor_quota() {
    let people = documents("charts/drover/files").into_iter().find(|(path, _)| path.ends_with("people.yaml")).unwrap();
    for role in ["view", "edit", "admin"] {
        for Rule { groups, resources, verbs, .. } in rules_in(&people.0, &people.1[role]) {
            assert_eq!(groups, ["drover.dev"], "{role}");
            let writes = verbs.iter().any(|verb| WRITES.contains(&verb.as_str()));
            let makes_either = ["clusters", "projects", "roletemplates", "clusterroletemplatebindings"];
            let is_meant = resources.iter().any(|resource| makes_either.contains(&resource.as_str()));
            assert!(!(writes && is_meant), "{role} writes {resources:?}");
            let powers = ["escalate", "bind-system-subjects", "manage", "set-pod-security"];
            assert!(!verbs.iter().any(|verb| powers.contains(&verb.as_str())), "{role}: {verbs:?}");
        }
    }
}

/// Who people are is the API servers' to know: nothing here could be edited by a lower administrator, or clash.
#[test]
fn t18_no_kind_of_people_or_their_credentials_ships() {
    let kinds: BTreeSet<String> = documents("config/crd")
        .iter()
        .map(|(_, document)| document["spec"]["names"]["kind"].as_str().unwrap().to_owned())
        .collect();
    assert!(kinds.contains("Project"), "{kinds:?}");
    for of_people in ["User", "Group", "Principal", "Token", "Account", "Password", "Login", "Session", "Auth"] {
        assert!(!kinds.iter().any(|kind| kind.contains(of_people)), "{of_people}: {kinds:?}");
    }
}

#[test]
fn t24_only_a_closed_set_of_kinds_is_ever_written() {
    for (file, expected) in [("downstream.yaml", &WRITTEN_DOWNSTREAM[..]), ("management.yaml", &WRITTEN_IN_MANAGEMENT)]
    {
        let rules = shipped_rules();
        let writing = rules
            .iter()
            .filter(|rule| rule.file == file)
            .filter(|rule| rule.verbs.iter().any(|verb| WRITES.contains(&verb.as_str())));
        let written: BTreeSet<String> = writing
            .flat_map(|rule| {
                rule.groups.iter().flat_map(|group| rule.resources.iter().map(move |one| format!("{group}/{one}")))
            })
            .collect();
        assert_eq!(written.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{file}");
    }
}

#[test]
fn t24_no_object_is_written_as_somebody_wrote_it() {
    for (path, definition) in documents("config/crd") {
        let mut text = definition.to_string();
        // The values of a chart, which is applied with the rights of its app; of one on many clusters also those of its overrides.
        for (file, values) in [("drover.dev_catalogapps.yaml", 1), ("drover.dev_multiclusterapps.yaml", 2)] {
            if path.ends_with(file) {
                text = text.replacen("x-kubernetes-preserve-unknown-fields", "", values);
            }
        }
        for raw in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
            assert!(!text.contains(raw), "{}: {raw}", path.display());
        }
    }
    for (path, code) in sources(operators()) {
        assert!(!code.contains("DynamicObject"), "{} writes objects of any kind", path.display());
    }
}
