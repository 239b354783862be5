//! What the demo has to show: each scene is commands that a person can type, and what comes of them. docs/tour.md
//! lists the commands; `make demo DEMO=tour` runs them and waits for what has to come.

use std::path::Path;

use drover_crds::names::DROVER_NAMESPACE;
use serde_json::Value;

use super::backup::Backups;
use crate::control_plane::Component;
use crate::error::{Error, Result};
use crate::installation::{Installation, kubectl_on};
use crate::story::condition;

/// One thing to try.
pub(super) struct Scene {
    pub(super) title: &'static str,
    pub(super) steps: Vec<Step>,
}

pub(super) enum Step {
    /// A line for a shell.
    Type(String),
    /// What has to come of what was typed.
    Await(Expected),
    /// The management cluster is lost, and an empty one gets the same files. Nobody can type that.
    Rebuild,
    /// Drover ends, and one of this installation begins. Nor that.
    Succeed(&'static str),
}

type Question = dyn Fn(&Installation) -> Result<bool>;

/// What is waited for.
pub(super) struct Expected {
    pub(super) what: String,
    pub(super) is_so: Box<Question>,
}

/// All scenes in their order: each leaves behind what the next one needs.
pub(super) fn scenes(installation: &Installation, backups: &Backups, folder: &Path) -> Result<Vec<Scene>> {
    let stage = Stage::new(installation, folder)?;
    Ok(vec![
        stage.a_namespace_comes_back(),
        stage.a_cluster_leaves_the_selection(),
        stage.a_person_gets_a_role(),
        stage.a_quota_is_divided(),
        stage.an_app_is_released_on_both(),
        stage.an_app_goes_to_a_canary_first(),
        stage.a_backup_is_known_to_restore(backups),
        stage.the_nodes_are_scanned(),
        stage.a_rival_is_refused(),
        stage.a_broken_kubeconfig(),
        stage.a_good_kubeconfig(),
        stage.a_suspended_cluster(),
        stage.a_cluster_that_hangs(),
        stage.a_cluster_is_released(),
        stage.the_management_cluster_is_lost(),
        stage.another_installation_takes_over(),
        stage.a_project_goes(),
        stage.a_project_is_renamed(),
    ])
}

/// How the commands begin.
struct Stage {
    folder: String,
    management: String,
    rollout: String,
    eu: String,
    us: String,
    us_server: i32,
}

impl Stage {
    fn new(installation: &Installation, folder: &Path) -> Result<Self> {
        let folder = folder.display().to_string();
        let kubectl = |name: &str| format!("{folder}/kubectl --kubeconfig {folder}/{name}.kubeconfig");
        let pids = installation.cluster("us-1")?.pids();
        let us_server = pids.get(&Component::Apiserver).copied();
        let not_running = || Error::NoSuchCluster { name: "the API server of us-1".to_owned() };
        let (management, eu, us) = (kubectl("management"), kubectl("eu-1"), kubectl("us-1"));
        let rollout = format!("{folder}/drover rollout --management-kubeconfig {folder}/management.kubeconfig");
        Ok(Self { folder, management, rollout, eu, us, us_server: us_server.ok_or_else(not_running)? })
    }

    fn manage(&self, arguments: &str) -> Step {
        Step::Type(format!("{} {arguments}", self.management))
    }

    fn change_cluster(&self, name: &str, field: &str, value: &str) -> Step {
        self.manage(&format!(r#"patch cluster.drover.dev {name} --type=merge -p '{{"spec":{{"{field}":{value}}}}}'"#))
    }

    fn look(&self) -> Step {
        self.manage("get drover --all-namespaces")
    }

    fn apply_clusters(&self) -> Step {
        self.manage("apply --server-side -f examples/demo/clusters.yaml")
    }

    fn a_namespace_comes_back(&self) -> Scene {
        scene(
            "Delete a namespace downstream, and see it come back",
            [
                Step::Type(format!("{} delete namespace shop-cart", self.eu)),
                has_namespace("eu-1", "shop-cart"),
                Step::Type(format!("{} get namespaces --show-labels", self.eu)),
            ],
        )
    }

    fn a_cluster_leaves_the_selection(&self) -> Scene {
        scene(
            "Take a cluster out of the selection: its namespaces stay, the Project goes on with the other; and back",
            [
                self.manage("label cluster.drover.dev us-1 env=test --overwrite"),
                is_ready_on("1/1"),
                self.look(),
                has_namespace("us-1", "shop-cart"),
                self.manage("label cluster.drover.dev us-1 env=prod --overwrite"),
                is_ready_on("2/2"),
            ],
        )
    }

    fn a_person_gets_a_role(&self) -> Scene {
        let ask = |kubectl: &str| Step::Type(format!("{kubectl} auth can-i list pods -n shop-web --as=ann"));
        let read_only = "{.spec.roleTemplateName}{\"\\n\"}";
        scene(
            "Give a person a role in the Project: she may on every cluster; take it away, and she may nowhere",
            [
                self.manage("apply --server-side -f examples/demo/members.yaml"),
                may_list_pods("eu-1", "yes"),
                may_list_pods("us-1", "yes"),
                ask(&self.eu),
                self.manage(&format!("-n team-shop get prtb readers -o jsonpath='{read_only}'")),
                self.manage("delete -f examples/demo/members.yaml"),
                may_list_pods("eu-1", "no"),
                may_list_pods("us-1", "no"),
            ],
        )
    }

    fn a_quota_is_divided(&self) -> Scene {
        let quota = r#"{"perCluster":{"pods":"50"},"namespaceDefault":{"pods":"20"}}"#;
        let patch = |quota: &str| {
            format!(r#"-n team-shop patch project.drover.dev shop --type=merge -p '{{"spec":{{"quota":{quota}}}}}'"#)
        };
        scene(
            "Give the Project a quota: each namespace gets its share on every cluster, and the status says who is short",
            [
                self.manage(&patch(quota)),
                has_quota("eu-1", "shop-web", "20"),
                // The youngest, as it was deleted and came back.
                has_quota("eu-1", "shop-cart", "10"),
                Step::Type(format!("{} get resourcequotas --all-namespaces", self.eu)),
                reads("project", "shop", "QuotaReady", "False/QuotaExhausted"),
                self.manage(&patch("null")),
                is_ready_on("2/2"),
            ],
        )
    }

    fn an_app_is_released_on_both(&self) -> Scene {
        let upgrade = r#"-n team-shop patch catalogapp hello-eu --type=merge -p '{"spec":{"values":{"replicas":3}}}'"#;
        let wrong =
            r#"-n team-shop patch catalogapp hello-eu --type=merge -p '{"spec":{"values":{"replicas":"many"}}}'"#;
        scene(
            "Release a Helm chart on both clusters, upgrade it, give it wrong values, and remove it",
            [
                self.manage("apply --server-side -f examples/demo/apps.yaml"),
                reads("catalogapp", "hello-eu", "Ready", "True/Ready"),
                reads("catalogapp", "hello-us", "Ready", "True/Ready"),
                Step::Type(format!("{} get deployments,pods -n shop-web", self.us)),
                self.manage(upgrade),
                reads("catalogapp", "hello-eu", "Ready", "True/Ready"),
                Step::Type(format!(
                    "{}/helm --kubeconfig {}/eu-1.kubeconfig history hello -n shop-web",
                    self.folder, self.folder
                )),
                self.manage(wrong),
                reads("catalogapp", "hello-eu", "Ready", "False/ValuesInvalid"),
                self.manage("get catalogapps -n team-shop -o wide"),
                self.manage("delete catalogapps --all -n team-shop"),
            ],
        )
    }

    fn an_app_goes_to_a_canary_first(&self) -> Scene {
        let rollout = |command: &str| Step::Type(format!("{} {command} hello -n team-shop", self.rollout));
        let upgrade = r#"-n team-shop patch mca hello --type=merge -p '{"spec":{"template":{"values":{"greeting":"Good evening"}}}}'"#;
        scene(
            "Roll the chart out to both clusters and upgrade it: a canary first, and the other one once the revision is approved",
            [
                self.manage("apply --server-side -f examples/demo/rollout.yaml"),
                reads("multiclusterapp", "hello", "Ready", "False/WaitingForApproval"),
                rollout("approve"),
                reads("multiclusterapp", "hello", "Ready", "True/Ready"),
                self.manage("get mca,catalogapps -n team-shop"),
                self.manage(upgrade),
                greets("eu-1", "Good evening"),
                reads("multiclusterapp", "hello", "Ready", "False/WaitingForApproval"),
                greets("us-1", "Good morning"),
                rollout("status"),
                rollout("diff"),
                rollout("approve"),
                reads("multiclusterapp", "hello", "Ready", "True/Ready"),
                greets("us-1", "Good evening"),
                self.manage("get controllerrevisions -n team-shop"),
                self.manage("delete mca hello -n team-shop --timeout=60s"),
                self.manage("delete -f examples/demo/apps.yaml --ignore-not-found"),
            ],
        )
    }

    fn a_backup_is_known_to_restore(&self, backups: &Backups) -> Scene {
        let drover = format!("{}/drover", self.folder);
        scene(
            "Look at the backup of a cluster, and find it with nothing but the bucket",
            [
                self.manage("-n team-shop get etcdbackups"),
                self.manage("get cluster.drover.dev eu-1 -o jsonpath='{.status.conditions[?(@.type==\"BackupSupported\")].message}{\"\\n\"}'"),
                Step::Type(backups.command(&drover, "list")),
            ],
        )
    }

    fn the_nodes_are_scanned(&self) -> Scene {
        let ended = "wait cisscan/demo -n team-shop --for=jsonpath='{.status.completedAt}' --timeout=5m";
        let folder = &self.folder;
        let scan = format!("{folder}/drover scan --management-kubeconfig {folder}/management.kubeconfig");
        scene(
            "Scan the nodes of both clusters by a CIS benchmark. Three nodes of each are fakes, so the reports say that they are missing",
            [
                self.manage("apply --server-side -f examples/demo/scan.yaml"),
                self.manage(ended),
                self.manage("get cisscans,cisreports -n team-shop"),
                Step::Type(format!("{scan} check 1.2.15 -n team-shop")),
                self.manage("delete -f examples/demo/scan.yaml"),
            ],
        )
    }

    fn a_rival_is_refused(&self) -> Scene {
        let message = "-o jsonpath='{.status.problems[0].message}{\"\\n\"}'";
        scene(
            "Let another Project ask for a namespace that has an owner: its status names the owner",
            [
                self.manage("apply --server-side -f examples/demo/rival.yaml"),
                reads("project", "rival", "Ready", "False/NamespaceTaken"),
                self.manage(&format!("-n team-shop get project.drover.dev rival {message}")),
                self.manage("delete -f examples/demo/rival.yaml"),
            ],
        )
    }

    fn a_broken_kubeconfig(&self) -> Scene {
        let nonsense = r#"-p '{"stringData":{"kubeconfig":"nonsense"}}'"#;
        scene(
            "Give Drover a broken kubeconfig. The old connection goes on, and CredentialValid says why",
            [
                self.manage(&format!("-n {DROVER_NAMESPACE} patch secret eu-1 {nonsense}")),
                reads("cluster", "eu-1", "CredentialValid", "False/NewCredentialRejected"),
                reads("cluster", "eu-1", "Connected", "True/Connected"),
                self.manage("describe cluster.drover.dev eu-1"),
            ],
        )
    }

    fn a_good_kubeconfig(&self) -> Scene {
        let file = format!("--from-file=kubeconfig={}/eu-1.kubeconfig --dry-run=client -o yaml", self.folder);
        let apply = format!("{} apply --server-side --force-conflicts -f -", self.management);
        scene(
            "Give it a good one, here another administrator's, without a gap",
            [
                self.manage(&format!("-n {DROVER_NAMESPACE} create secret generic eu-1 {file} | {apply}")),
                reads("cluster", "eu-1", "CredentialValid", "True/Accepted"),
            ],
        )
    }

    fn a_suspended_cluster(&self) -> Scene {
        scene(
            "Suspend a cluster: Drover watches it and writes nothing to it, until it goes on",
            [
                self.change_cluster("eu-1", "suspend", "true"),
                reads("cluster", "eu-1", "Ready", "True/Suspended"),
                Step::Type(format!("{} delete namespace shop-cart", self.eu)),
                reads("project", "shop", "Ready", "False/ClusterSuspended"),
                self.look(),
                self.change_cluster("eu-1", "suspend", "false"),
                has_namespace("eu-1", "shop-cart"),
                is_ready_on("2/2"),
            ],
        )
    }

    fn a_cluster_that_hangs(&self) -> Scene {
        scene(
            "Let a cluster hang: the Project goes on with the other. Deleted meanwhile, Drover abandons it at its deadline; and it returns",
            [
                self.change_cluster("us-1", "deletionTimeout", r#""20s""#),
                Step::Type(format!("kill -STOP {}", self.us_server)),
                reads("cluster", "us-1", "Connected", "False/Timeout"),
                reads("project", "shop", "Ready", "True/ReadyExceptUnreachable"),
                self.look(),
                self.manage("delete cluster.drover.dev us-1 --timeout=60s"),
                is_ready_on("1/1"),
                Step::Type(format!("kill -CONT {}", self.us_server)),
                self.apply_clusters(),
                is_ready_on("2/2"),
            ],
        )
    }

    fn a_cluster_is_released(&self) -> Scene {
        scene(
            "See who owns a cluster, and delete its Cluster: its namespaces stay, with deletionPolicy Delete without Drover's labels",
            [
                Step::Type(format!("{} -n {DROVER_NAMESPACE} get configmap drover-claim -o yaml", self.us)),
                self.change_cluster("us-1", "deletionPolicy", r#""Delete""#),
                self.manage("delete cluster.drover.dev us-1 --timeout=60s"),
                has_namespace("us-1", "shop-cart"),
                Step::Type(format!("{} get namespaces --show-labels", self.us)),
                self.apply_clusters(),
                is_ready_on("2/2"),
            ],
        )
    }

    fn the_management_cluster_is_lost(&self) -> Scene {
        scene(
            "Lose the management cluster, and build it anew from the same files: the namespaces are those of before",
            [Step::Rebuild, is_ready_on("2/2"), self.look()],
        )
    }

    fn another_installation_takes_over(&self) -> Scene {
        let take = r#"{"takeFrom":"demo"}"#;
        scene(
            "Start Drover as another installation: it writes nothing to clusters that the first one claimed, until their spec says so",
            [
                Step::Succeed("successor"),
                reads("cluster", "eu-1", "Accepted", "False/ClaimedByOther"),
                reads("cluster", "us-1", "Accepted", "False/ClaimedByOther"),
                self.look(),
                self.change_cluster("eu-1", "claim", take),
                self.change_cluster("us-1", "claim", take),
                is_ready_on("2/2"),
            ],
        )
    }

    fn a_project_is_renamed(&self) -> Scene {
        scene(
            "Rename a Project: the new one takes over what the old one releases, as both sides allow it",
            [
                self.manage("apply --server-side -f examples/demo/project.yaml"),
                is_ready_on("2/2"),
                self.manage("-n team-shop delete project.drover.dev shop --timeout=60s"),
                self.manage("apply --server-side -f examples/demo/renamed.yaml"),
                reads("project", "store", "Ready", "True/Ready"),
                Step::Type(format!("{} get namespaces --label-columns=drover.dev/owner-name", self.eu)),
            ],
        )
    }

    fn a_project_goes(&self) -> Scene {
        let delete = r#"--type=merge -p '{"spec":{"deletionPolicy":"Delete"}}'"#;
        scene(
            "Delete a Project with its namespaces; what another installation created, or was adopted, stays",
            [
                self.manage(&format!("-n team-shop patch project.drover.dev shop {delete}")),
                self.manage("-n team-shop delete project.drover.dev shop --timeout=60s"),
                has_namespace("eu-1", "shop-cart"),
                has_namespace("us-1", "shop-cart"),
            ],
        )
    }
}

fn scene(title: &'static str, steps: impl IntoIterator<Item = Step>) -> Scene {
    Scene { title, steps: steps.into_iter().collect() }
}

fn awaited(what: String, is_so: impl Fn(&Installation) -> Result<bool> + 'static) -> Step {
    Step::Await(Expected { what, is_so: Box::new(is_so) })
}

fn reads(kind: &'static str, name: &'static str, type_: &'static str, expected: &'static str) -> Step {
    awaited(format!("{kind} {name}: {type_} reads {expected}"), move |installation| {
        Ok(condition(&get(installation, kind, name)?, type_).as_deref() == Some(expected))
    })
}

/// The Project is Ready, on so many clusters of so many.
fn is_ready_on(summary: &'static str) -> Step {
    awaited(format!("Project shop is Ready on {summary} clusters"), move |installation| {
        let shop = get(installation, "project", "shop")?;
        let told = shop.pointer("/status/clusters/summary").and_then(Value::as_str);
        Ok(told == Some(summary) && condition(&shop, "Ready").as_deref() == Some("True/Ready"))
    })
}

fn has_namespace(cluster: &'static str, name: &'static str) -> Step {
    awaited(format!("{cluster} has namespace {name}"), move |installation| {
        namespace_is(installation, cluster, name, "Active")
    })
}

/// What the API server of a cluster says of Ann.
fn may_list_pods(cluster: &'static str, answer: &'static str) -> Step {
    awaited(format!("may ann list pods in shop-web on {cluster}: {answer}"), move |installation| {
        let arguments = ["auth", "can-i", "list", "pods", "--namespace=shop-web", "--as=ann"];
        // kubectl fails where the answer is no.
        let told = kubectl_on(installation.cluster(cluster)?, &arguments);
        Ok(told.is_ok_and(|told| told.trim() == "yes") == (answer == "yes"))
    })
}

/// What the page of the demo's chart says.
fn greets(cluster: &'static str, greeting: &'static str) -> Step {
    awaited(format!("the page on {cluster} says {greeting}"), move |installation| {
        let arguments = ["get", "configmap", "hello", "--namespace=shop-web", "--ignore-not-found"];
        let arguments = [&arguments[..], &[r"--output=jsonpath={.data.index\.html}"]].concat();
        Ok(kubectl_on(installation.cluster(cluster)?, &arguments)? == greeting)
    })
}

fn has_quota(cluster: &'static str, namespace: &'static str, pods: &'static str) -> Step {
    awaited(format!("{namespace} on {cluster} may have {pods} pods"), move |installation| {
        let arguments = ["get", "resourcequota", "drover", "--namespace", namespace, "--ignore-not-found"];
        let arguments = [&arguments[..], &["--output=jsonpath={.spec.hard.pods}"]].concat();
        Ok(kubectl_on(installation.cluster(cluster)?, &arguments)? == pods)
    })
}

fn namespace_is(installation: &Installation, cluster: &str, name: &str, phase: &str) -> Result<bool> {
    let arguments = ["get", "namespace", name, "--ignore-not-found", "--output=jsonpath={.status.phase}"];
    Ok(kubectl_on(installation.cluster(cluster)?, &arguments)? == phase)
}

fn get(installation: &Installation, kind: &str, name: &str) -> Result<Value> {
    let kind = format!("{kind}.drover.dev");
    let text = installation.kubectl(&["get", &kind, name, "--namespace=team-shop", "--output=json"])?;
    serde_json::from_str(&text)
        .map_err(|source| Error::Json { what: format!("what kubectl get {kind} printed"), source })
}
