//! What Drover leaves of a release is what the real helm leaves on a second, equal API server: objects, their managers, the order of
//! hooks and records, over install, upgrade, a failed upgrade with its rollback, and uninstall, for all charts for tests.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use drover_e2e::audit::{AuditEvent, AuditMark};
use drover_e2e::charts::ChartFiles;
use drover_e2e::installation::Installation;
use drover_e2e::objects::apply_to;
use drover_e2e::pool::{Pool, Shape};
use drover_e2e::releases::{Difference, differences, left_in, left_of_cluster};
use drover_e2e::story::*;
use drover_e2e::{ControlPlane, Program, require_or_skip};
use futures::future::join_all;
use serde_json::{Value, json};

drover_e2e::tests![i07_what_drover_leaves_is_what_helm_leaves,];

/// Of the apps of a Project, and of those of the platform.
const NAMESPACES_OF_APPS: [&str; 2] = ["team-web", "team-ops"];

/// The charts that an app of a Project may have, with values for its first two revisions.
fn subjects() -> Vec<(&'static str, Value, Value)> {
    let access = json!({"admin": {"password": "long enough"}, "tier": "small"});
    vec![
        (
            "asks",
            access.clone(),
            json!({"admin": access["admin"], "replicas": 2, "tier": "large", "labels": {"a": "b"}}),
        ),
        ("escape", json!({}), json!({"victim": "default"})),
        ("hooks", json!({}), json!({"message": "good evening"})),
        ("immutable", json!({}), json!({"image": "registry.invalid/job:2.0"})),
        ("keeps-password", json!({"user": "ada"}), json!({"user": "grace"})),
        ("large", json!({"objects": 6}), json!({"objects": 4})),
        ("podless", json!({}), json!({"message": "other"})),
        ("random", json!({}), json!({"message": "good evening"})),
        ("templates", json!({}), json!({"must": "other", "name": "tpl-{{ .Release.Name }}"})),
        ("tiny", json!({}), json!({"replicas": 2, "message": "good evening"})),
        ("umbrella", json!({}), json!({"cache": {"enabled": false}, "replica": {"enabled": true}})),
        ("version-one", json!({}), json!({"part": {"enabled": false}})),
        ("workloads", json!({}), json!({"pods": "ready"})),
    ]
}

/// The same for those that only an app of the platform may have.
fn subjects_of_the_platform() -> Vec<(&'static str, Value, Value)> {
    vec![("cluster-wide", json!({}), json!({})), ("custom-resources", json!({"size": 1}), json!({"size": 2}))]
}

/// What these charts have in the whole cluster.
const OF_CLUSTER: [(&str, &str); 3] = [
    ("clusterrole", "cluster-wide-reader"),
    ("priorityclass", "cluster-wide"),
    ("customresourcedefinition", "gadgets.charts.drover.invalid"),
];

/// The third revision fails after its objects are there.
const TROUBLE: &str = r"{{- if .Values.trouble }}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-trouble
  annotations:
    helm.sh/hook: post-upgrade
    helm.sh/hook-delete-policy: before-hook-creation,hook-failed
spec:
  backoffLimit: 0
  template:
    metadata:
      labels:
        charts.drover.invalid/pods: fails
    spec:
      restartPolicy: Never
      containers:
      - name: main
        image: registry.invalid/trouble:1.0
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-only-of-the-third
data: {}
{{- end }}
";

struct Subject {
    name: &'static str,
    namespace: &'static str,
    chart: ChartFiles,
    package: PathBuf,
    values: [Value; 3],
}

impl Subject {
    fn new(
        installation: &Installation,
        namespace: &'static str,
        (name, first, second): (&'static str, Value, Value),
    ) -> Self {
        let chart = ChartFiles::of(name).unwrap().with_file("templates/trouble.yaml", TROUBLE);
        let package = installation.directory().join(format!("{name}.tgz"));
        fs::write(&package, chart.package().unwrap()).unwrap();
        let mut third = second.clone();
        third["trouble"] = true.into();
        let mut values = [first, second, third];
        values.iter_mut().zip(1..).for_each(|(values, revision)| values["revision"] = revision.into());
        Self { name, namespace, chart, package, values }
    }

    fn app(&self, revision: usize) -> Value {
        let remediation = json!({"retries": 0, "onFailure": "Rollback"});
        let spec = json!({"values": self.values[revision], "remediation": remediation, "wait": {"timeout": "1m"}});
        let mut app = an_app(self.name, "eu", (self.name, &self.chart), &spec);
        if self.namespace != NAMESPACES_OF_APPS[0] {
            app["spec"]["namespace"] = self.namespace.into();
            app["spec"]["roleTemplateName"] = "platform".into();
            app["spec"].as_object_mut().unwrap().remove("projectName");
        }
        app
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Install,
    Upgrade,
    FailAndRollBack,
    RollBack,
    Uninstall,
}

/// Two equal clusters: in one Drover releases, in the other a person with helm.
struct Twins {
    installation: Installation,
    twin: ControlPlane,
    subjects: Vec<Subject>,
    /// Where the audit logs of both were.
    marks: [AuditMark; 2],
}

async fn i07_what_drover_leaves_is_what_helm_leaves() {
    let Some(twins) = Twins::prepared().await else { return };
    let mut found = Vec::new();
    for step in [Step::Install, Step::Upgrade, Step::FailAndRollBack, Step::RollBack, Step::Uninstall] {
        let started = std::time::Instant::now();
        tokio::join!(twins.drover(step), twins.helm(step));
        println!("{step:?}: {:?}", started.elapsed());
        found.extend(twins.compared(step).await);
    }
    twins.an_install_that_fails_is_taken_back_as_by_helm().await;
    found.extend(twins.compared(Step::Uninstall).await);
    twins.hooks_ran_in_one_order("hooks-", 40);
    twins.hooks_ran_in_one_order("atomic-", 12);
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
}

impl Twins {
    async fn prepared() -> Option<Self> {
        if !require_or_skip("equality", &[Program::Helm, Program::Kwok, Program::KubeScheduler]).await.unwrap() {
            return None;
        }
        let mut installation = story("equality", &["eu"]).await?;
        let mut twin = Pool::from_environment().unwrap().take(Shape::Bare, "twin").await.unwrap();
        tokio::try_join!(twin.start_pods(1), installation.cluster_mut("eu").unwrap().start_pods(1)).unwrap();
        let [of_projects, of_platform] = NAMESPACES_OF_APPS;
        for (plane, namespace) in
            [(&twin, of_projects), (&twin, of_platform), (installation.cluster("eu").unwrap(), of_platform)]
        {
            apply_to(plane, &a_namespace(namespace)).await.unwrap();
        }
        let all = [(of_projects, subjects()), (of_platform, subjects_of_the_platform())];
        let all =
            all.into_iter().flat_map(|(namespace, some)| some.into_iter().map(move |subject| (namespace, subject)));
        let subjects: Vec<_> =
            all.map(|(namespace, subject)| Subject::new(&installation, namespace, subject)).collect();
        for object in [a_deployer(), of_the_platform(), with_operations()] {
            installation.apply(&object).await.unwrap();
        }
        for subject in &subjects {
            installation.apply(&a_packaged_chart(subject.name, &subject.chart)).await.unwrap();
        }
        with_shop(&installation).await;
        let marks = [installation.cluster("eu").unwrap(), &twin].map(|plane| plane.audit_mark().unwrap());
        Some(Self { installation, twin, subjects, marks })
    }

    async fn drover(&self, step: Step) {
        join_all(self.subjects.iter().map(async |subject| match step {
            // Last, a revert of the inputs.
            Step::Install | Step::RollBack => ready_with(&self.installation, &subject.app(0)).await,
            Step::Upgrade => ready_with(&self.installation, &subject.app(1)).await,
            Step::FailAndRollBack => {
                self.installation.apply(&subject.app(2)).await.unwrap();
                reads(&self.installation, "catalogapp", subject.name, "Ready", "False/RetriesExhausted").await;
                let app = get(&self.installation, "catalogapp", subject.name).await.unwrap();
                assert_eq!(app["status"]["applied"]["revision"], 4, "{app:#}");
            }
            Step::Uninstall => deleted(&self.installation, "catalogapp", subject.name).await,
        }))
        .await;
    }

    /// What a person does at the second cluster.
    async fn helm(&self, step: Step) {
        // Two at a time: each takes a core.
        for some in self.subjects.chunks(2) {
            join_all(some.iter().map(|subject| self.helm_for(subject, step))).await;
        }
    }

    async fn helm_for(&self, subject: &Subject, step: Step) {
        let release = |revision: usize| {
            let values = self.installation.directory().join(format!("{}-{revision}.json", subject.name));
            fs::write(&values, subject.values[revision].to_string()).unwrap();
            let [package, values] = [&subject.package, &values].map(|path| path.display().to_string());
            [&["upgrade", "--install", subject.name, &package, "--values", &values][..], &WAITS]
                .concat()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        match step {
            Step::Install => self.person(subject.namespace, release(0)).await.unwrap(),
            Step::Upgrade => self.person(subject.namespace, release(1)).await.unwrap(),
            Step::FailAndRollBack => {
                let failed = self.person(subject.namespace, release(2)).await.unwrap_err();
                assert!(failed.contains("post-upgrade hooks failed"), "{}: {failed}", subject.name);
                self.person(subject.namespace, words(&[&["rollback", subject.name, "2"][..], &WAITS].concat()))
                    .await
                    .unwrap();
            }
            Step::RollBack => {
                self.person(subject.namespace, words(&[&["rollback", subject.name, "1"][..], &WAITS].concat()))
                    .await
                    .unwrap();
            }
            Step::Uninstall => self
                .person(subject.namespace, words(&[&["uninstall", subject.name][..], &WAITS].concat()))
                .await
                .unwrap(),
        }
    }

    async fn person(&self, namespace: &str, arguments: Vec<String>) -> Result<(), String> {
        let mut helm: Command = self.twin.helm().unwrap();
        helm.args(arguments).args(["--namespace", namespace]);
        let output = tokio::process::Command::from(helm).output().await.unwrap();
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }

    /// In what the two clusters differ, but for what is known and wanted.
    async fn compared(&self, step: Step) -> Vec<String> {
        let [ours, theirs] = [self.installation.cluster("eu").unwrap(), &self.twin];
        let (ours, theirs) = tokio::join!(left(ours), left(theirs));
        let found = differences(&ours, &theirs).into_iter().filter(|difference| !is_known(difference));
        found
            .map(|Difference { path, ours, theirs }| {
                let told = |value: Option<Value>| {
                    value.map_or_else(|| "nothing".to_owned(), |value| value.to_string().chars().take(1500).collect())
                };
                format!("{step:?} {path}\n    drover {}\n    helm   {}", told(ours), told(theirs))
            })
            .collect()
    }

    /// Its hooks before and after a deletion run as well.
    async fn an_install_that_fails_is_taken_back_as_by_helm(&self) {
        let subject = self.subjects.iter().find(|subject| subject.name == "hooks").unwrap();
        let remediation = json!({"retries": 0, "onFailure": "Uninstall"});
        let spec =
            json!({"values": {"failing": "post-install"}, "remediation": remediation, "wait": {"timeout": "1m"}});
        let app = an_app("atomic", "eu", ("hooks", &subject.chart), &spec);
        let package = subject.package.display().to_string();
        let install = ["install", "atomic", &package, "--rollback-on-failure", "--set=failing=post-install"];
        let ours = async {
            self.installation.apply(&app).await.unwrap();
            reads(&self.installation, "catalogapp", "atomic", "Ready", "False/RetriesExhausted").await;
        };
        let theirs =
            self.person(subject.namespace, [&install[..], &WAITS].concat().iter().map(ToString::to_string).collect());
        let ((), theirs) = tokio::join!(ours, theirs);
        let failed = theirs.unwrap_err();
        assert!(failed.contains("uninstalled due to rollback-on-failure"), "{failed}");
        let message = crate::apps::condition_message(&get(&self.installation, "catalogapp", "atomic").await.unwrap());
        assert!(message.contains("hook Job atomic-post-install failed"), "{message}");
    }

    /// What of the hooks of a release was made and deleted, in order, by what their names begin with.
    fn hooks_ran_in_one_order(&self, prefix: &str, at_least: usize) {
        let planes = [(self.installation.cluster("eu").unwrap(), self.marks[0]), (&self.twin, self.marks[1])];
        let [ours, theirs] = planes.map(|(plane, mark)| {
            let all = plane.audit_events_since(mark).unwrap();
            let is_hook = |event: &&AuditEvent| {
                let is_object = ["configmaps", "jobs", "secrets"].contains(&event.resource.as_str());
                let name = event.name.strip_prefix(prefix).unwrap_or_default();
                is_object && !["", "policy-keep", "only-of-the-third"].contains(&name) && event.subresource.is_empty()
            };
            let done = all.iter().filter(is_hook).filter_map(|event| match (event.verb.as_str(), event.code) {
                ("create" | "patch", 200..300) => Some(format!("made {}", event.name)),
                ("delete", 200..300) => Some(format!("deleted {}", event.name)),
                _ => None,
            });
            done.collect::<Vec<_>>()
        });
        assert!(ours.len() > at_least, "{ours:#?}");
        assert_eq!(ours, theirs);
    }
}

/// All that releases left in a cluster.
async fn left(plane: &ControlPlane) -> Value {
    let mut all = left_of_cluster(plane, &OF_CLUSTER).await.unwrap();
    for namespace in NAMESPACES_OF_APPS {
        all.extend(left_in(plane, namespace).await.unwrap());
    }
    Value::Object(all.into_iter().map(|(key, value)| (key.replace('/', ":"), value)).collect())
}

/// The Cluster, whose owner lets the tenant have apps of the platform.
fn with_operations() -> Value {
    let mut cluster = a_cluster("eu");
    cluster["spec"]["tenants"][0]["operations"] = json!(["ClusterApps"]);
    cluster
}

fn of_the_platform() -> Value {
    let verbs = json!(["get", "list", "watch", "create", "update", "patch", "delete"]);
    let rule = |group: &str, resources: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    let rules = [
        rule("", &["configmaps", "secrets", "pods"]),
        rule("batch", &["jobs"]),
        rule("rbac.authorization.k8s.io", &["clusterroles"]),
        rule("scheduling.k8s.io", &["priorityclasses"]),
        rule("apiextensions.k8s.io", &["customresourcedefinitions"]),
        rule("charts.drover.invalid", &["gadgets"]),
    ];
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": {"name": "platform"},
        "spec": {"context": "Cluster", "rules": rules, "bindableFrom": {"names": [TEAM]}},
    })
}

const WAITS: [&str; 2] = ["--wait", "--timeout=1m"];

/// What may differ, by parts of the path, and why. All else is an error of Drover.
const KNOWN: [(&[&str], &str); 20] = [
    (&[RECORDS, "/data/chart/templates"], SLIM),
    (&[RECORDS, "/data/chart/files"], SLIM),
    (&[RECORDS, "/data/chart/schema"], SLIM),
    (&[RECORDS, "/data/chart/schemamodtime"], SLIM),
    (&[RECORDS, "/data/chart/modtime"], SLIM),
    (&[RECORDS, ".umbrella.", "/data/chart/values/"], OF_SUBCHARTS),
    (&[RECORDS, ".umbrella.", "/data/chart/metadata/dependencies"], OF_SUBCHARTS),
    (&[RECORDS, ".version-one.", "/data/chart/values/part/global"], OF_SUBCHARTS),
    (&[RECORDS, ".version-one.", "/data/chart/metadata/dependencies"], OF_SUBCHARTS),
    (&[RECORDS, "/metadata/labels/drover-app"], "the label by which Drover knows its records again"),
    (&[RECORDS, "/metadata/annotations"], "the digest of the chart, by which Drover knows it again"),
    (&[RECORDS, "/managers/"], "helm writes its records as the program Helm"),
    (&[RECORDS, ".v3/data/info/description"], "why a revision failed is told by either in its own words"),
    (&[RECORDS, ".hooks.v3/data/hooks/16/"], "what was to run again and was not says nothing of its first run"),
    (
        &["/customresourcedefinition:", "/managers/"],
        "Drover creates definitions, and never applies over one that is there",
    ),
    (&["/Secret:random/"], RANDOM),
    (&["/Secret:podless-of-", "/data/random"], RANDOM),
    (&["/Secret:keeps-password-admin/data/password"], RANDOM),
    (&[RECORDS, "/data/manifest", "password:"], RANDOM),
    (&[RECORDS, "/data/manifest", "random:"], RANDOM),
];
const RECORDS: &str = "/Secret:sh.helm.release.v1.";
const SLIM: &str = "records of Drover leave out what no command of helm needs";
const OF_SUBCHARTS: &str = "helm notes what it made of subcharts, and makes it anew at each upgrade";
const RANDOM: &str = "it is made up at each rendering";

fn is_known(difference: &Difference) -> bool {
    let Difference { path, ours, .. } = difference;
    // Manifests differ only where a password is made up.
    let told = if path.ends_with("/data/manifest") {
        format!("{path} {}", ours.clone().unwrap_or_default())
    } else {
        path.clone()
    };
    KNOWN.iter().any(|(parts, _)| parts.iter().all(|part| told.contains(part)))
}
