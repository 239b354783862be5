//! The harness on the real programs.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use drover_e2e::control_plane::{Component, DataDirectory, DetachedControlPlane, NODE_SELECTOR, Revisions, down};
use drover_e2e::story::{marks, quiet, restful_story, unmoved_since};
use drover_e2e::wait::soon;
use drover_e2e::{Components, ControlPlane, Options, Program, TestCluster, require_or_skip};
use futures::{FutureExt as _, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod};
use kube::api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use serde_json::json;

drover_e2e::tests![
    a_full_control_plane_runs_pods_on_fake_nodes,
    a_stopped_api_server_comes_back_with_its_data,
    a_restore_brings_back_the_old_state,
    a_watch_from_before_a_compaction_is_gone,
    users_have_only_the_rights_of_their_groups,
    a_killed_owner_leaves_no_process_and_the_next_start_removes_its_data,
    a_detached_control_plane_outlives_its_handle_and_can_be_taken_down,
    a_test_cluster_answers_whoever_runs_it,
    a_drover_that_hangs_is_not_at_rest,
];

type Outcome = Result<(), Box<dyn std::error::Error>>;

const BARE: [Program; 2] = [Program::Etcd, Program::KubeApiserver];

async fn a_full_control_plane_runs_pods_on_fake_nodes() -> Outcome {
    if !require_or_skip("a_full_control_plane_runs_pods_on_fake_nodes", &Program::ALL).await? {
        return Ok(());
    }
    let options = Options { components: Components::WithScheduler, audit: true, ..Options::new("full") };
    let mut plane = ControlPlane::start(options).await?;
    plane.start_kwok(3).await?;
    let client = plane.client();

    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default().labels(NODE_SELECTOR)).await?;
    assert_eq!(nodes.items.len(), 3);
    let mark = plane.audit_mark()?;
    create_namespace(&client, "stories").await?;
    run_pod(&client, "stories").await?;
    delete_namespace(&client, "stories").await?;

    eventually("the requests are in the audit log", async || {
        let requests = plane.requests_since(mark)?;
        let created =
            |resource: &str| requests.iter().any(|(kind, _)| kind.verb == "create" && kind.resource == resource);
        let bound = requests.keys().any(|kind| kind.user == "system:kube-scheduler" && kind.resource == "pods/binding");
        Ok(created("namespaces") && created("pods") && bound)
    })
    .await?;
    let output = plane.kubectl()?.args(["get", "nodes", "-o", "name"]).output()?;
    assert_eq!(String::from_utf8(output.stdout)?.lines().count(), 3);
    Ok(())
}

async fn a_stopped_api_server_comes_back_with_its_data() -> Outcome {
    if !require_or_skip("a_stopped_api_server_comes_back_with_its_data", &BARE).await? {
        return Ok(());
    }
    let mut plane = ControlPlane::start(Options::new("stopped")).await?;
    let client = plane.client();
    create_namespace(&client, "kept").await?;

    plane.stop(Component::Apiserver).await?;
    assert!(namespace_exists(&client, "kept").await.is_err(), "nobody should answer");
    plane.start_again(Component::Apiserver).await?;
    assert!(namespace_exists(&client, "kept").await?);

    plane.kill(Component::Apiserver).await?;
    plane.start_again(Component::Apiserver).await?;
    assert!(namespace_exists(&client, "kept").await?);

    plane.pause(Component::Apiserver).await?;
    let frozen = tokio::time::timeout(Duration::from_millis(500), namespace_exists(&client, "kept")).await;
    // A pooled connection that broke with the kill is an error at once, which is no answer either.
    assert!(!matches!(frozen, Ok(Ok(_))), "a frozen server should not answer");
    plane.resume(Component::Apiserver)?;
    assert!(namespace_exists(&client, "kept").await?);

    plane.restart(Component::Etcd).await?;
    plane.wait_for_apiserver().await?;
    assert!(namespace_exists(&client, "kept").await?);
    Ok(())
}

async fn a_restore_brings_back_the_old_state() -> Outcome {
    let programs = [Program::Etcd, Program::KubeApiserver, Program::Etcdctl, Program::Etcdutl];
    if !require_or_skip("a_restore_brings_back_the_old_state", &programs).await? {
        return Ok(());
    }
    let mut plane = ControlPlane::start(Options::new("restored")).await?;
    let client = plane.client();
    create_namespace(&client, "before").await?;
    let snapshot = plane.backup_etcd().await?;
    let later = create_namespace(&client, "after").await?;

    plane.restore_etcd(&snapshot, Revisions::GoBack).await?;
    assert!(namespace_exists(&client, "before").await?);
    assert!(!namespace_exists(&client, "after").await?);
    let version_after_plain_restore = create_namespace(&client, "again").await?;
    assert!(version_after_plain_restore < later + 1_000);

    plane.restore_etcd(&snapshot, Revisions::Bump).await?;
    assert!(namespace_exists(&client, "before").await?);
    assert!(!namespace_exists(&client, "again").await?);
    assert!(create_namespace(&client, "again").await? > 1_000_000_000);
    Ok(())
}

async fn a_watch_from_before_a_compaction_is_gone() -> Outcome {
    let programs = [Program::Etcd, Program::KubeApiserver, Program::Etcdctl];
    if !require_or_skip("a_watch_from_before_a_compaction_is_gone", &programs).await? {
        return Ok(());
    }
    let mut plane = ControlPlane::start(Options::new("compacted")).await?;
    let maps: Api<ConfigMap> = Api::namespaced(plane.client(), "default");
    let version = maps.list(&ListParams::default()).await?.metadata.resource_version.unwrap_or_default();

    plane.expire_watches().await?;
    let outcome = match maps.watch(&WatchParams::default(), &version).await {
        Ok(stream) => std::pin::pin!(stream).next().await.ok_or("the watch said nothing")?,
        Err(error) => Err(error),
    };
    let code = match outcome {
        Ok(WatchEvent::Error(status)) | Err(kube::Error::Api(status)) => status.code,
        other => return Err(format!("not an error but {other:?}").into()),
    };
    assert_eq!(code, 410);
    Ok(())
}

async fn users_have_only_the_rights_of_their_groups() -> Outcome {
    if !require_or_skip("users_have_only_the_rights_of_their_groups", &BARE).await? {
        return Ok(());
    }
    let plane = ControlPlane::start(Options::new("users")).await?;
    let nobody = plane.client_for("alice", &["readers"]).await?;
    let administrator = plane.client_for("bob", &["readers", "system:masters"]).await?;
    assert!(matches!(namespace_exists(&nobody, "default").await, Err(kube::Error::Api(status)) if status.code == 403));
    assert!(namespace_exists(&administrator, "default").await?);
    assert!(plane.kubeconfig_for("carol", &["a", "b", "c"]).is_err());
    Ok(())
}

async fn a_killed_owner_leaves_no_process_and_the_next_start_removes_its_data() -> Outcome {
    let test = "a_killed_owner_leaves_no_process_and_the_next_start_removes_its_data";
    if !require_or_skip(test, &BARE).await? {
        return Ok(());
    }
    let mut owner = Command::new(env!("CARGO_BIN_EXE_drover-e2e"))
        .args(["control-plane", "--name", "orphan", "--up-to", "apiserver"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (mut pids, mut directory) = (BTreeSet::new(), None);
    for line in BufReader::new(owner.stdout.take().ok_or("no output")?).lines() {
        let line = line?;
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["pid", _, pid] => drop(pids.insert(pid.to_owned())),
            ["kubeconfig", path] => directory = Path::new(path).parent().map(Path::to_owned),
            ["ready"] => break,
            _ => {}
        }
    }
    let directory = directory.ok_or("no kubeconfig was printed")?;
    assert_eq!(pids.len(), 2);
    assert!(pids.iter().all(|pid| is_alive(pid)));

    owner.kill()?;
    owner.wait()?;
    eventually("the processes are gone", async || Ok(!pids.iter().any(|pid| is_alive(pid)))).await?;
    assert!(directory.is_dir());
    let _next = ControlPlane::start(Options::new("next")).await?;
    assert!(!directory.exists());
    Ok(())
}

async fn a_detached_control_plane_outlives_its_handle_and_can_be_taken_down() -> Outcome {
    if !require_or_skip("a_detached_control_plane_outlives_its_handle_and_can_be_taken_down", &BARE).await? {
        return Ok(());
    }
    let scratch = tempfile::tempdir()?;
    let state_file = scratch.path().join("state.json");
    let data_directory = DataDirectory::Given(scratch.path().join("data"));
    let options = Options { data_directory, ..Options::new("detached") };
    ControlPlane::start(options.clone()).await?.detach(&state_file)?;

    let state = DetachedControlPlane::load(&state_file)?;
    assert!(state.is_running());
    create_namespace(&state.client().await?, "kept").await?;
    let ended = down(&state_file).await?;
    assert!(!ended.is_running());
    assert!(!state_file.exists());

    let plane = ControlPlane::start(options).await?;
    assert!(namespace_exists(&plane.client(), "kept").await?, "a given directory keeps its data");
    Ok(())
}

async fn a_test_cluster_answers_whoever_runs_it() -> Outcome {
    let test = "a_test_cluster_answers_whoever_runs_it";
    let Some(cluster) = TestCluster::start_or_skip(test, Options::new("any")).await? else { return Ok(()) };
    assert!(namespace_exists(&cluster.client(), "default").await?);
    assert!(cluster.kubeconfig().contains("certificate-authority"));
    Ok(())
}

async fn create_namespace(client: &Client, name: &str) -> Result<u64, Box<dyn std::error::Error>> {
    let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
    let created = Api::all(client.clone()).create(&PostParams::default(), &namespace).await?;
    Ok(created.metadata.resource_version.unwrap_or_default().parse()?)
}

async fn namespace_exists(client: &Client, name: &str) -> kube::Result<bool> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.get_opt(name).await.map(|namespace| namespace.is_some())
}

async fn delete_namespace(client: &Client, name: &str) -> Outcome {
    Api::<Namespace>::all(client.clone()).delete(name, &DeleteParams::default()).await?;
    eventually("the namespace is gone", async || Ok(!namespace_exists(client, name).await?)).await
}

async fn run_pod(client: &Client, namespace: &str) -> Outcome {
    eventually("the namespace has its service account", async || {
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(client.clone(), namespace);
        Ok(accounts.get_opt("default").await?.is_some())
    })
    .await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "c", "image": "none" }] } });
    pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    eventually("the pod runs", async || {
        let phase = pods.get("p").await?.status.and_then(|status| status.phase);
        Ok(phase.as_deref() == Some("Running"))
    })
    .await
}

async fn eventually(what: &str, check: impl AsyncFn() -> Result<bool, Box<dyn std::error::Error>>) -> Outcome {
    let started = Instant::now();
    while started.elapsed() < soon() {
        if check().await? {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(format!("not in time: {what}").into())
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.starts_with(" Z"))
}

/// Nothing that it does not do proves anything.
async fn a_drover_that_hangs_is_not_at_rest() {
    let Some(mut installation) = restful_story("a drover that hangs", &["eu"]).await else { return };
    quiet(&installation, "the start").await;
    let before = marks(&installation).unwrap();
    unmoved_since(&installation, &before, "the start").await;
    installation.replica(0).unwrap().pause().await.unwrap();
    let at_rest = AssertUnwindSafe(quiet(&installation, "it hangs")).catch_unwind().await;
    assert!(at_rest.is_err(), "quiet");
    let at_rest = AssertUnwindSafe(unmoved_since(&installation, &before, "it hangs")).catch_unwind().await;
    assert!(at_rest.is_err(), "unmoved");
}
