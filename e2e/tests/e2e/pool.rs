//! The pool of control planes: what comes out of it is in its first state, and what was harmed does not come out again.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use drover_e2e::control_plane::Component;
use drover_e2e::installation::kubectl_on;
use drover_e2e::objects::{apply_to, delete_from, find, patch_on};
use drover_e2e::pool::{Outcome, OwnedPool, Shape, give_back};
use drover_e2e::story::a_namespace;
use drover_e2e::wait::{eventually, soon};
use drover_e2e::{Components, ControlPlane, Program, require_or_skip};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{WatchEvent, WatchParams};
use serde_json::{Value, json};

drover_e2e::tests![
    a_plane_that_comes_back_is_as_it_was_and_its_watches_live => weight(2),
    what_a_failed_test_left_stays_when_planes_are_asked_for_again,
    a_harmed_plane_is_thrown_away,
    a_plane_whose_definitions_changed_is_thrown_away,
    a_pool_ends_with_the_process_that_owns_it,
];

/// A pool of this test alone, in which it knows every control plane.
async fn pool(test: &str) -> Option<OwnedPool> {
    let mut programs = Components::WithControllerManager.programs();
    programs.extend([Program::Kubectl, Program::Helm]);
    require_or_skip(test, &programs).await.unwrap().then(|| OwnedPool::create().unwrap())
}

/// Everything that kubectl can list, without what changes by itself.
fn everything(plane: &ControlPlane) -> BTreeMap<String, String> {
    let kinds = kubectl_on(plane, &["api-resources", "--verbs=list", "--output=name"]).unwrap();
    let kinds: Vec<&str> =
        kinds.lines().filter(|kind| !["events", "leases"].iter().any(|own| kind.starts_with(own))).collect();
    let all = kubectl_on(plane, &["get", &kinds.join(","), "--all-namespaces", "--output=json"]).unwrap();
    let all: Value = serde_json::from_str(&all).unwrap();
    let told = |item: &Value| {
        let of = |path: &str| item.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let name = [of("/kind"), of("/metadata/namespace"), of("/metadata/name")].join("/");
        let mut item = item.clone();
        item["metadata"]["resourceVersion"] = Value::Null;
        (name, item.to_string())
    };
    all["items"].as_array().unwrap().iter().map(told).collect()
}

/// What tests leave behind at their worst: changed and deleted objects of Kubernetes itself, and a namespace that does not end.
async fn make_a_mess(plane: &ControlPlane) {
    for object in [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "stuck", "finalizers": ["example.com/stuck"]}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "left", "namespace": "default"}, "data": {"a": "b"}}),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "pods", "namespace": "default"},
            "spec": {
                "replicas": 2, "selector": {"matchLabels": {"app": "x"}},
                "template": {
                    "metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "x", "image": "none"}]},
                },
            },
        }),
    ] {
        apply_to(plane, &object).await.unwrap();
    }
    kubectl_on(plane, &["label", "namespace", "kube-system", "changed=yes"]).unwrap();
    delete_from(plane, "configmap", "kube-public", "kube-root-ca.crt").await.unwrap();
    delete_from(plane, "clusterrole", "", "view").await.unwrap();
    delete_from(plane, "namespace", "", "stuck").await.unwrap();
    eventually("the pods are there", soon(), async || {
        let pods = kubectl_on(plane, &["get", "pods", "--namespace=default", "--output=name"])?;
        Ok((pods.lines().count() == 2).then_some(()))
    })
    .await
    .unwrap();
}

async fn a_plane_that_comes_back_is_as_it_was_and_its_watches_live() {
    let Some(owned) = pool("a plane comes back").await else { return };
    let plane = owned.pool().take(Shape::Management, "first").await.unwrap();
    let (before, folder) = (everything(&plane), plane.directory());
    let events =
        |plane: &ControlPlane| kubectl_on(plane, &["get", "events", "--all-namespaces", "--output=name"]).unwrap();
    let namespaces: Api<Namespace> = Api::all(plane.client());
    let mut watch = namespaces.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    make_a_mess(&plane).await;
    assert_ne!(events(&plane), "", "the pods are told of");
    drop(plane);
    give_back(Outcome::Passed).await.unwrap();

    let plane = owned.pool().take(Shape::Management, "second").await.unwrap();
    assert_eq!(plane.directory(), folder, "it is the same one");
    assert_eq!(everything(&plane), before);
    assert_eq!(events(&plane), "");
    let gone = async {
        loop {
            if let Some(Ok(WatchEvent::Deleted(namespace))) = watch.next().await {
                return namespace.metadata.name;
            }
        }
    };
    let told = tokio::time::timeout(soon(), gone).await.expect("a watch of before is told of the reset");
    assert_eq!(told.as_deref(), Some("stuck"));
    // It works as before.
    apply_to(&plane, &a_namespace("stuck")).await.unwrap();
    eventually("its controllers work", soon(), async || {
        let found =
            kubectl_on(&plane, &["get", "serviceaccount", "default", "--namespace=stuck", "--ignore-not-found"])?;
        Ok((!found.is_empty()).then_some(()))
    })
    .await
    .unwrap();
    drop(plane);
    give_back(Outcome::Passed).await.unwrap();
    owned.end().await.unwrap();
}

async fn what_a_failed_test_left_stays_when_planes_are_asked_for_again() {
    let Some(owned) = pool("a plane that a test left").await else { return };
    let plane = owned.pool().take(Shape::Bare, "first").await.unwrap();
    apply_to(&plane, &a_namespace("left")).await.unwrap();
    let client = plane.client();
    drop(plane);
    give_back(Outcome::Failed).await.unwrap();
    let before = owned.pool().describe().unwrap();
    owned.pool().fill(&[Shape::Bare]).await.unwrap();
    assert_eq!(owned.pool().describe().unwrap(), before, "none was missing");
    assert!(find(client, "namespace", "", "left").await.unwrap().is_some());
    owned.pool().fill(&[Shape::Bare, Shape::Bare]).await.unwrap();
    assert_eq!(owned.pool().describe().unwrap().len(), 2);
    owned.end().await.unwrap();
}

async fn a_harmed_plane_is_thrown_away() {
    let Some(owned) = pool("a harmed plane").await else { return };
    let mut plane = owned.pool().take(Shape::Bare, "first").await.unwrap();
    let folder = plane.directory();
    plane.restart(Component::Apiserver).await.unwrap();
    drop(plane);
    give_back(Outcome::Passed).await.unwrap();
    assert!(!folder.exists(), "nothing of it stays");
    let plane = owned.pool().take(Shape::Bare, "second").await.unwrap();
    assert_ne!(plane.directory(), folder);
    drop(plane);
    give_back(Outcome::Passed).await.unwrap();
    owned.end().await.unwrap();
}

async fn a_plane_whose_definitions_changed_is_thrown_away() {
    let Some(owned) = pool("a reconfigured plane").await else { return };
    let plane = owned.pool().take(Shape::Management, "first").await.unwrap();
    let folder = plane.directory();
    let change = json!({"metadata": {"labels": {"changed": "yes"}}});
    patch_on(&plane, "customresourcedefinition", "", "projects.drover.dev", change).await.unwrap();
    drop(plane);
    give_back(Outcome::Passed).await.unwrap();
    assert!(!folder.exists(), "what the API server serves follows a definition late");
    owned.end().await.unwrap();
}

/// A process that takes a control plane of its own pool and is killed.
async fn a_pool_ends_with_the_process_that_owns_it() {
    let Some(unused) = pool("a pool ends").await else { return };
    unused.end().await.unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_drover-e2e"))
        .arg("own-pool")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(process.stdout.take().unwrap()));
    let pids: Vec<String> = lines.next().unwrap().unwrap().split(' ').map(str::to_owned).collect();
    assert_eq!(pids.len(), 3);
    assert!(pids.iter().all(|pid| is_alive(pid)));
    process.kill().unwrap();
    process.wait().unwrap();
    eventually("the processes are gone", soon(), async || Ok((!pids.iter().any(|pid| is_alive(pid))).then_some(())))
        .await
        .unwrap();
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.starts_with(" Z"))
}
