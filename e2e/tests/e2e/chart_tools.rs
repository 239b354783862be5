//! What stories about apps stand on: charts for tests, where they are served from, and how Pods of theirs end.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use drover_e2e::certificates::Authority;
use drover_e2e::charts::{ChartFiles, LOGIN, Registry, Repository, Trouble, folder};
use drover_e2e::wait::{eventually, soon};
use drover_e2e::{Components, ControlPlane, Options, Program, Tools, require_or_skip};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use serde_json::{Value, json};

drover_e2e::tests![
    every_chart_for_tests_renders_alike_with_both_helms => limit(FIRST_BUILD),
    what_was_recorded_of_helm_is_what_it_does,
    a_repository_serves_what_helm_pulls,
    a_repository_can_be_in_trouble,
    a_registry_serves_what_helm_pushed => limit(FIRST_BUILD),
    workloads_of_a_chart_end_as_their_label_says,
];

/// The programs that only these tests and stories about apps take are built by the first of them.
const FIRST_BUILD: Duration = Duration::from_mins(15);

/// `helm` with folders of its own.
fn helm(program: Program, home: &Path) -> Command {
    let mut command = Command::new(Tools::from_environment().unwrap().path(program).unwrap());
    for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(variable, home);
    }
    command.current_dir(home);
    command
}

fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

async fn every_chart_for_tests_renders_alike_with_both_helms() {
    if !require_or_skip("charts for tests", &[Program::Helm, Program::Helm3]).await.unwrap() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let mut names: Vec<_> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    for name in names.iter().map(|name| name.to_str().unwrap()) {
        let package = home.path().join("chart.tgz");
        fs::write(&package, ChartFiles::of(name).unwrap().package().unwrap()).unwrap();
        let rendered = [Program::Helm, Program::Helm3].map(|program| {
            let arguments = ["template", "web", "chart.tgz", "--namespace=team", "--kube-version=1.37.1"];
            let manifest = output(helm(program, home.path()).args(arguments)).unwrap();
            // Helm 4 has an empty line before each document.
            manifest.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        });
        let kinds = rendered.each_ref().map(|lines| lines.iter().filter(|line| line.starts_with("kind:")).count());
        assert!(kinds[0] > 0 && kinds[0] == kinds[1], "{name}: {kinds:?}");
        if !["random", "keeps-password", "podless"].contains(&name) {
            assert_eq!(rendered[0], rendered[1], "{name}");
        }
    }
}

/// Prints the values that a chart sees.
const PRINTS_VALUES: &str = "---\nout: {{ .Values | toJson }}\n";

/// The tables that the tests of `drover-values` hold themselves to.
async fn what_was_recorded_of_helm_is_what_it_does() {
    if !require_or_skip("recorded", &[Program::Helm]).await.unwrap() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let plain = a_chart(&json!({}), "plain").with_file("templates/out.yaml", PRINTS_VALUES);
    for row in recorded("answers") {
        let set = format!("--set={}={}", row["key"].as_str().unwrap(), row["text"].as_str().unwrap());
        let mut found = seen(home.path(), &plain, &row["base"], &[&set]);
        if let Some(items) = found["a"].as_array().map(Vec::len).filter(|items| *items > 99) {
            found = json!({ "a": format!("{items} items") });
        }
        // Helm leaves out a value without a whole key; Drover says so.
        let found = if found == json!({}) { Value::Null } else { found };
        assert_eq!(found, row["values"], "{row}");
    }
    for row in recorded("charts") {
        let chart = a_chart(&row["chart"], "top").with_file("templates/out.yaml", PRINTS_VALUES);
        assert_eq!(seen(home.path(), &chart, &row["said"], &[]), row["values"], "{row}");
    }
    // All in one run; several documents are read by `--values` only.
    let is_one = |row: &Value| !row["text"].as_str().unwrap().contains("---");
    let texts: Vec<Value> = recorded("yaml").into_iter().filter(is_one).collect();
    let read = "out: [{{ range .Values.texts }}{{ fromYaml . | toJson }},{{ end }}null]\n";
    let said = json!({ "texts": texts.iter().map(|row| &row["text"]).collect::<Vec<_>>() });
    let found = seen(home.path(), &plain.with_file("templates/out.yaml", read), &said, &[]);
    for (row, found) in texts.iter().zip(found.as_array().unwrap()) {
        let is_refused = found.get("Error").is_some();
        assert!(if row["values"].is_null() { is_refused } else { *found == row["values"] }, "{row}: {found}");
    }
}

/// What the chart sees as values where a file says `said`; null where Helm refuses.
fn seen(home: &Path, chart: &ChartFiles, said: &Value, arguments: &[&str]) -> Value {
    fs::write(home.join("chart.tgz"), chart.package().unwrap()).unwrap();
    fs::write(home.join("said.json"), said.to_string()).unwrap();
    let mut command = helm(Program::Helm, home);
    let rendered = output(command.args(["template", "web", "chart.tgz", "--values=said.json"]).args(arguments));
    let Ok(rendered) = rendered else { return Value::Null };
    let line = rendered.lines().find_map(|line| line.strip_prefix("out: ")).unwrap();
    serde_json::from_str(line).unwrap()
}

fn recorded(table: &str) -> Vec<Value> {
    let path = folder().join(format!("../../operators/values/testdata/{table}.json"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The chart of a row, with those in it.
fn a_chart(row: &Value, name: &str) -> ChartFiles {
    let mut chart = ChartFiles::default().with_file("values.yaml", row["values"].as_str().unwrap_or_default());
    let mut dependencies = Vec::new();
    for part in row["subcharts"].as_array().into_iter().flatten() {
        let name = part["name"].as_str().unwrap();
        chart = chart.with_subchart(name, &a_chart(&part["chart"], name));
        dependencies.push(json!({
            "name": name, "version": "1.0.0", "condition": part["condition"], "tags": part["tags"],
            "import-values": part["imports"],
        }));
    }
    let metadata = json!({"apiVersion": "v2", "name": name, "version": "1.0.0", "dependencies": dependencies});
    chart.with_file("Chart.yaml", metadata.to_string())
}

async fn a_repository_serves_what_helm_pulls() {
    if !require_or_skip("a repository", &[Program::Helm]).await.unwrap() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let authority = Authority::new("charts").unwrap();
    fs::write(home.path().join("ca.crt"), authority.certificate()).unwrap();
    let repository = Repository::start_with_tls(&authority).await.unwrap();
    repository.require(LOGIN.0, LOGIN.1);
    let tiny = ChartFiles::of("tiny").unwrap();
    repository.add(&tiny).unwrap();
    repository.add(&tiny.clone().with_version("1.1.0").unwrap()).unwrap();
    let pull = |arguments: &[&str]| {
        let mut command = helm(Program::Helm, home.path());
        command.args(["pull", "tiny", "--ca-file=ca.crt", "--repo", repository.url()]).args(arguments);
        tokio::task::spawn_blocking(move || output(&mut command))
    };
    let refused = pull(&["--version=1.0.0"]).await.unwrap().unwrap_err();
    assert!(refused.contains("401"), "{refused}");
    let login = ["--version=1.0.0", "--username", LOGIN.0, "--password", LOGIN.1];
    pull(&login).await.unwrap().unwrap();
    assert_eq!(fs::read(home.path().join("tiny-1.0.0.tgz")).unwrap(), tiny.package().unwrap());
    assert_eq!([repository.requests("/index.yaml"), repository.requests("/charts/tiny-1.0.0.tgz")], [2, 1]);
    assert_eq!(repository.all_requests(), 3);
}

async fn a_repository_can_be_in_trouble() {
    if !require_or_skip("trouble", &[Program::Helm]).await.unwrap() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let [repository, other] = [Repository::start().await.unwrap(), Repository::start().await.unwrap()];
    repository.add(&ChartFiles::of("tiny").unwrap()).unwrap();
    other.add(&ChartFiles::of("tiny").unwrap()).unwrap();
    let pull = || {
        let mut command = helm(Program::Helm, home.path());
        command.args(["pull", "tiny", "--repo", repository.url()]);
        tokio::task::spawn_blocking(move || output(&mut command))
    };
    for (trouble, said) in [(Trouble::Status(429), "429"), (Trouble::Status(500), "500"), (Trouble::Truncated, "EOF")] {
        repository.set(trouble.clone());
        let refused = pull().await.unwrap().unwrap_err();
        assert!(refused.contains(said), "{trouble:?}: {refused}");
    }
    repository.set(Trouble::Redirect(other.url().to_owned()));
    pull().await.unwrap().unwrap();
    assert_eq!(other.requests("/index.yaml"), 1);
    repository.set(Trouble::Slow(Duration::from_millis(1)));
    pull().await.unwrap().unwrap();
    repository.set(Trouble::Hangs);
    assert!(tokio::time::timeout(Duration::from_secs(1), pull()).await.is_err());
    repository.set(Trouble::None);
}

async fn a_registry_serves_what_helm_pushed() {
    if !require_or_skip("a registry", &[Program::Helm, Program::Registry]).await.unwrap() {
        return;
    }
    let tools = Tools::from_environment().unwrap();
    let home = tempfile::tempdir().unwrap();
    let tiny = ChartFiles::of("tiny").unwrap();
    let pull = |registry: &Registry, arguments: &[&str]| {
        let mut command = helm(Program::Helm, home.path());
        command.args(["pull", "--plain-http", &registry.url("team/tiny")]).args(arguments);
        output(&mut command)
    };
    let open = Registry::start(&tools).await.unwrap();
    open.push("team", &tiny).unwrap();
    pull(&open, &["--version=1.0.0"]).unwrap();
    assert_eq!(fs::read(home.path().join("tiny-1.0.0.tgz")).unwrap(), tiny.package().unwrap());
    let closed = Registry::start_with_login(&tools).await.unwrap();
    closed.push("team", &tiny).unwrap();
    let refused = pull(&closed, &[]).unwrap_err();
    assert!(refused.contains("401") || refused.contains("basic credential not found"), "{refused}");
    pull(&closed, &["--username", LOGIN.0, "--password", LOGIN.1]).unwrap();
}

async fn workloads_of_a_chart_end_as_their_label_says() {
    let mut programs = Components::WithScheduler.programs();
    programs.extend([Program::Helm, Program::Kwok]);
    if !require_or_skip("workloads", &programs).await.unwrap() {
        return;
    }
    let options = Options { components: Components::WithScheduler, ..Options::new("workloads") };
    let mut plane = ControlPlane::start(options).await.unwrap();
    plane.start_kwok(1).await.unwrap();
    let chart = folder().join("workloads").display().to_string();
    for pods in ["ready", "never-ready", "fails", "crashes"] {
        output(plane.helm().unwrap().args(["install", pods, &chart, "--set", &format!("pods={pods}")])).unwrap();
    }
    replicas_become(&plane, "ready", 2).await;
    job_becomes(&plane, "ready", "Complete").await;
    job_becomes(&plane, "fails", "Failed").await;
    // What crashes was ready before, or its Job would not have ended.
    job_becomes(&plane, "crashes", "Complete").await;
    for pods in ["never-ready", "fails", "crashes"] {
        replicas_become(&plane, pods, 0).await;
    }
    let job: Job = Api::default_namespaced(plane.client()).get("never-ready-job").await.unwrap();
    assert_eq!(job.status.and_then(|status| status.active), Some(1));
    let hooks = folder().join("hooks").display().to_string();
    output(plane.helm().unwrap().args(["install", "hooks", &hooks])).unwrap();
    let failed =
        output(plane.helm().unwrap().args(["upgrade", "hooks", &hooks, "--set=failing=pre-upgrade"])).unwrap_err();
    assert!(failed.contains("pre-upgrade hooks failed"), "{failed}");
    let endless = ["upgrade", "hooks", &hooks, "--set=endless=post-upgrade", "--timeout=3s"];
    let failed = output(plane.helm().unwrap().args(endless)).unwrap_err();
    assert!(failed.contains("post-upgrade hooks failed"), "{failed}");
    let history = output(plane.helm().unwrap().args(["history", "hooks", "--output=json"])).unwrap();
    let history: Value = serde_json::from_str(&history).unwrap();
    assert_eq!(history.as_array().unwrap().len(), 3, "{history}");
}

async fn replicas_become(plane: &ControlPlane, pods: &str, wanted: i32) {
    let deployments: Api<Deployment> = Api::default_namespaced(plane.client());
    let what = format!("{wanted} replicas of {pods} are ready");
    let observed = eventually(&what, soon(), async || {
        let status = deployments.get(&format!("{pods}-deployment")).await?.status.unwrap_or_default();
        let is_so = status.replicas == Some(2) && status.ready_replicas.unwrap_or_default() == wanted;
        Ok(is_so.then_some(()))
    });
    observed.await.unwrap();
}

async fn job_becomes(plane: &ControlPlane, pods: &str, wanted: &str) {
    let jobs: Api<Job> = Api::default_namespaced(plane.client());
    let what = format!("the Job of {pods} becomes {wanted}");
    let observed = eventually(&what, soon(), async || {
        let status = jobs.get(&format!("{pods}-job")).await?.status.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        Ok(conditions.iter().any(|condition| condition.type_ == wanted && condition.status == "True").then_some(()))
    });
    observed.await.unwrap();
}
