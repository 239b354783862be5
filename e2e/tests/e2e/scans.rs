//! Scans on real API servers: Jobs with the real kube-bench on nodes that run Pods as processes, and the reports of two clusters.

use std::path::PathBuf;
use std::process::Command;

use drover_e2e::installation::{Installation, drover_binary};
use drover_e2e::node::{NodeSettings, ProcessNode};
use drover_e2e::objects::api;
use drover_e2e::story::*;
use drover_e2e::wait::{becomes, eventually, patiently, soon};
use drover_e2e::{Program, Tools, require_or_skip};
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::backups::allow;

drover_e2e::tests![
    two_clusters_are_scanned_counted_and_left_as_they_were,
    a_scan_that_cannot_run_ends_in_time_and_never_passes,
];

/// The image of Jobs, as drover and the nodes know it.
pub(crate) const IMAGE: &str = "drover-bench:test";
pub(crate) const SCAN: &str = "cisscan";

pub(crate) fn a_scan(name: &str, spec: &Value) -> Value {
    let mut whole = json!({"clusters": {"names": ["eu", "us"]}, "profileName": "own"});
    whole.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap_or_default());
    let metadata = json!({"name": name, "namespace": TEAM});
    json!({"apiVersion": "drover.dev/v1alpha1", "kind": "CisScan", "metadata": metadata, "spec": whole})
}

/// A profile that leaves one check out, and one that does not apply.
pub(crate) fn a_profile() -> Value {
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "CisProfile", "metadata": {"name": "own"},
        "spec": {
            "unmapped": "Nearest",
            "skip": [{"id": "1.2.16", "reason": "no audit log here"}],
            "notApplicable": [{"id": "1.1.12", "reason": "etcd runs as root"}],
        },
    })
}

fn a_waiver(checks: &[&str]) -> Value {
    let spec = json!({
        "checks": checks, "clusters": {"names": ["us"]}, "reason": "it is being mended", "approvedBy": "grace",
        "expiresAt": "2027-01-01T00:00:00Z",
    });
    json!({"apiVersion": "drover.dev/v1alpha1", "kind": "CisWaiver", "metadata": {"name": "being-mended"}, "spec": spec})
}

/// An installation that scans, or none where a program is missing.
pub(crate) async fn prepared_to_scan(test: &str, clusters: &[&str]) -> Option<Installation> {
    if !require_or_skip(test, &[Program::KubeBench]).await.unwrap() {
        return None;
    }
    let mut installation = prepared_restful(test, clusters).await?;
    installation.environment = vec![("DROVER_SCAN_IMAGE".to_owned(), IMAGE.to_owned())];
    installation.start_drover().await.unwrap();
    installation.apply(&a_profile()).await.unwrap();
    reads(&installation, "cisprofile", "own", "Ready", "True/Ready").await;
    Some(installation)
}

/// A node of the control plane of a cluster, with the image of Jobs or without.
pub(crate) async fn node(
    installation: &Installation,
    cluster: &str,
    has_image: bool,
) -> (ProcessNode, Option<PathBuf>) {
    let plane = installation.cluster(cluster).unwrap();
    let mut settings = NodeSettings::kubeadm_with_components("control-plane-1", plane).unwrap();
    if has_image {
        let tools = Tools::from_environment().unwrap();
        let files = [
            ("/drover", drover_binary().unwrap()),
            ("/kube-bench", tools.path(Program::KubeBench).unwrap()),
            ("/cfg", tools.kube_bench_configuration().unwrap()),
        ];
        let files = files.map(|(inside, file)| (PathBuf::from(inside), file));
        settings.images.insert(IMAGE.to_owned(), files.to_vec());
    }
    let manifests = settings.host.get("/etc/kubernetes").map(|folder| folder.join("manifests"));
    (ProcessNode::start(plane, settings).await.unwrap(), manifests)
}

/// What a scan has in Drover's namespace of a cluster.
async fn leftovers(installation: &Installation, cluster: &str) -> Vec<String> {
    let plane = installation.cluster(cluster).unwrap();
    let mut found = Vec::new();
    for kind in ["job", "pod", "secret", "serviceaccount", "role", "rolebinding"] {
        let api = api(plane.client(), kind, "drover-system").await.unwrap();
        let all = api.list(&ListParams::default()).await.unwrap();
        let names = all.items.into_iter().filter_map(|object| object.metadata.name);
        found.extend(names.filter(|name| name.starts_with("cis-scan-")).map(|name| format!("{kind} {name}")));
    }
    found
}

pub(crate) async fn nothing_is_left(installation: &Installation, cluster: &str) {
    let is_clean = async || Ok(leftovers(installation, cluster).await.is_empty().then_some(()));
    eventually("nothing of the scan is left in the cluster", soon(), is_clean).await.unwrap();
}

/// The report of a scan on a cluster.
pub(crate) async fn report(installation: &Installation, scan: &str, cluster: &str) -> Value {
    let api = api(installation.management.client(), "cisreport", TEAM).await.unwrap();
    let all = api.list(&ListParams::default()).await.unwrap();
    let found = all.items.into_iter().map(|object| serde_json::to_value(object).unwrap());
    let is_it = |found: &Value| found["spec"]["scanName"] == scan && found["spec"]["clusterName"] == cluster;
    found.into_iter().find(is_it).expect("a report")
}

fn result<'a>(report: &'a Value, id: &str) -> &'a Value {
    let mut results = report["status"]["results"].as_array().unwrap().iter();
    results.find(|result| result["id"] == id).unwrap_or_else(|| panic!("no check {id}: {report}"))
}

pub(crate) async fn ended(installation: &Installation, scan: &str, expected: &str) -> Value {
    let limit = patiently(std::time::Duration::from_mins(2));
    let scans = api(installation.management.client(), SCAN, TEAM).await.unwrap();
    let is_over = |found: Option<&Value>| found.is_some_and(|found| !found["status"]["completedAt"].is_null());
    becomes(&scans, scan, "the scan has ended", limit, is_over).await.unwrap();
    let found = get(installation, SCAN, scan).await.unwrap();
    assert_eq!(condition(&found, "Ready").as_deref(), Some(expected), "{found}");
    found
}

async fn two_clusters_are_scanned_counted_and_left_as_they_were() {
    let Some(installation) = prepared_to_scan("scans", &["eu", "us"]).await else { return };
    let installation = &installation;
    let (_eu, _) = node(installation, "eu", true).await;
    let (_us, manifests) = node(installation, "us", true).await;
    let loose = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(manifests.unwrap().join("kube-apiserver.yaml"), loose).unwrap();
    installation.apply(&a_scan("first", &json!({}))).await.unwrap();
    reads(installation, SCAN, "first", "Ready", "False/ScansNotAllowed").await;
    for cluster in ["eu", "us"] {
        assert_eq!(leftovers(installation, cluster).await, [""; 0]);
        allow(installation, cluster, &["Scan"]).await;
    }
    both_are_counted(installation).await;
    a_waiver_counts_where_it_is_for(installation).await;
    what_was_found_can_be_read(installation);
    quiet(installation, "both clusters were scanned").await;
    deleted(installation, SCAN, "first").await;
    let reports = api(installation.management.client(), "cisreport", TEAM).await.unwrap();
    let are_gone = async || {
        let all = reports.list(&ListParams::default()).await.unwrap();
        let of_first = |object: &kube::core::DynamicObject| object.data["spec"]["scanName"] == "first";
        Ok((!all.items.iter().any(of_first)).then_some(()))
    };
    eventually("the reports go with their scan", soon(), are_gone).await.unwrap();
}

async fn both_are_counted(installation: &Installation) {
    let scan = ended(installation, "first", "True/Ready").await;
    let status = &scan["status"];
    assert_eq!((&status["verdict"], &status["nodes"]["summary"]), (&json!("Fail"), &json!("2/2")), "{status}");
    assert_eq!(condition(&scan, "Compliant").as_deref(), Some("False/ChecksFailed"));
    let counts = status["counts"].as_object().unwrap();
    let sum: i64 = counts.iter().filter(|(name, _)| *name != "total").map(|(_, count)| count.as_i64().unwrap()).sum();
    assert_eq!(Some(sum), counts["total"].as_i64(), "{status}");
    let (eu, us) = (report(installation, "first", "eu").await, report(installation, "first", "us").await);
    assert_eq!(eu["status"]["benchmark"]["name"], "cis-1.12");
    assert!(eu["status"]["benchmark"]["why"].as_str().unwrap().contains("nearest"), "{eu}");
    // The file of the one is readable by all, that of the other is not.
    assert_eq!((&result(&eu, "1.1.1")["state"], &result(&us, "1.1.1")["state"]), (&json!("Pass"), &json!("Fail")));
    assert_eq!(result(&us, "1.1.1")["nodeNames"], json!(["control-plane-1"]), "{us}");
    assert_eq!(
        (&result(&eu, "1.2.16")["state"], &result(&eu, "1.1.12")["state"]),
        (&json!("Skip"), &json!("NotApplicable"))
    );
    assert_eq!(result(&eu, "4.3.1")["state"], "Error", "there is no kube-proxy to look at");
    assert_ne!(eu["status"]["digest"], us["status"]["digest"]);
    for cluster in ["eu", "us"] {
        nothing_is_left(installation, cluster).await;
    }
}

async fn a_waiver_counts_where_it_is_for(installation: &Installation) {
    installation.apply(&a_waiver(&["1.1.1", "2.1"])).await.unwrap();
    reads(installation, "ciswaiver", "being-mended", "Ready", "True/Ready").await;
    installation.apply(&a_scan("second", &json!({"baselineName": "first"}))).await.unwrap();
    // It waits for the second one on both clusters.
    installation.apply(&a_scan("third", &json!({"baselineName": "second"}))).await.unwrap();
    let second = ended(installation, "second", "True/Ready").await;
    assert_eq!(second["status"]["changes"], json!({"newFailures": 0, "fixed": 0}), "{second}");
    let third = ended(installation, "third", "True/Ready").await;
    assert_eq!(third["status"]["changes"], json!({"newFailures": 0, "fixed": 0}), "{third}");
    reads(installation, "ciswaiver", "being-mended", "InUse", "True/Ready").await;
    let (eu, us) = (report(installation, "second", "eu").await, report(installation, "second", "us").await);
    assert_eq!(
        (&result(&us, "1.1.1")["state"], &result(&us, "1.1.1")["waiverName"]),
        (&json!("Waived"), &json!("being-mended"))
    );
    assert_eq!((&result(&us, "2.1")["state"], &result(&eu, "2.1")["state"]), (&json!("Waived"), &json!("Fail")));
}

/// As people read it: reports for other programs, and one check across the fleet.
fn what_was_found_can_be_read(installation: &Installation) {
    let drover = |arguments: &[&str]| {
        let mut command = Command::new(drover_binary().unwrap());
        command.env_clear().env("KUBECONFIG", installation.management.kubeconfig_path()).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let csv = drover(&["scan", "report", "first", "--namespace", TEAM, "--output", "csv"]);
    assert!(
        csv.lines().any(|line| line.starts_with("us,") && line.contains(",1.1.1,") && line.contains("control-plane-1")),
        "{csv}"
    );
    let junit = drover(&["scan", "report", "first", "--namespace", TEAM, "--output", "junit"]);
    assert!(junit.contains("<failure") && junit.contains("<skipped"), "{junit}");
    let json: Value =
        serde_json::from_str(&drover(&["scan", "report", "first", "--namespace", TEAM, "--output", "json"])).unwrap();
    assert_eq!(json.as_array().map(Vec::len), Some(2));
    let check = drover(&["scan", "check", "1.1.1", "--namespace", TEAM]);
    let of = |cluster: &str| check.lines().find(|line| line.starts_with(cluster)).unwrap_or_default().to_owned();
    assert!(of("us").contains("Waived") && of("eu").contains("Pass"), "{check}");
}

async fn a_scan_that_cannot_run_ends_in_time_and_never_passes() {
    let Some(installation) = prepared_to_scan("scans-bad", &["eu"]).await else { return };
    let installation = &installation;
    let (_eu, _) = node(installation, "eu", false).await;
    allow(installation, "eu", &["Scan"]).await;
    let spec = json!({"clusters": {"names": ["eu"]}, "nodeTimeout": "1m", "timeout": "5m"});
    installation.apply(&a_scan("blind", &spec)).await.unwrap();
    reads(installation, SCAN, "blind", "Ready", "False/JobNotRunning").await;
    let scan = ended(installation, "blind", "False/ScanIncomplete").await;
    assert_eq!(scan["status"]["verdict"], "Incomplete");
    let report = report(installation, "blind", "eu").await;
    assert_eq!(
        (&report["status"]["missing"][0]["reason"], &report["status"]["nodes"]["summary"]),
        (&json!("TimedOut"), &json!("0/1"))
    );
    nothing_is_left(installation, "eu").await;
    let unmapped =
        json!({"apiVersion": "drover.dev/v1alpha1", "kind": "CisProfile", "metadata": {"name": "strict"}, "spec": {}});
    installation.apply(&unmapped).await.unwrap();
    installation
        .apply(&a_scan("strict", &json!({"clusters": {"names": ["eu"]}, "profileName": "strict"})))
        .await
        .unwrap();
    let scan = ended(installation, "strict", "False/ScanIncomplete").await;
    assert!(scan["status"]["problems"][0]["message"].as_str().unwrap().contains("CisReport"), "{scan}");
    quiet(installation, "both scans have ended").await;
}
