//! The commands of docs/restoring.md, to the letter, with a backup that Drover took of a real control plane.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use drover_e2e::installation::{drover_binary, kubectl_on, repository};
use drover_e2e::node::TlsFront;
use drover_e2e::process::{Process, Specification};
use drover_e2e::s3::{ACCESS_KEY, BUCKET, S3, SECRET_KEY};
use drover_e2e::story::*;
use drover_e2e::wait::eventually;
use drover_e2e::{Program, Tools};
use serde_json::json;

use crate::attempts::{IDENTITY, RECIPIENT};
use crate::backups::{IMAGE, a_backup, a_store, allow, keys_of, node_before};

drover_e2e::tests![what_was_deleted_is_got_back_by_the_commands_of_the_documentation,];

/// How long all of the commands may take.
const LIMIT: Duration = Duration::from_mins(2);
/// What the commands run, besides what every machine has.
const PROGRAMS: [Program; 4] = [Program::Etcd, Program::Etcdutl, Program::KubeApiserver, Program::Kubectl];

async fn what_was_deleted_is_got_back_by_the_commands_of_the_documentation() {
    let Some(mut installation) = prepared_restful("restoring", &["eu"]).await else { return };
    installation.environment = vec![("DROVER_ETCD_IMAGE".to_owned(), IMAGE.to_owned())];
    installation.start_drover().await.unwrap();
    let tools = Tools::from_environment().unwrap();
    let plane = installation.cluster("eu").unwrap();
    let front = TlsFront::before(plane).await.unwrap();
    let etcd = (front.certificates(), front.address());
    let _node = node_before(&installation, "eu", etcd, &tools).await;
    let store = S3::start().await.unwrap();
    let mut main = a_store("main", &store, "store-keys");
    main["spec"]["encryption"] = json!({"recipients": [RECIPIENT], "required": true});
    for object in [keys_of(&store, "store-keys", SECRET_KEY), main] {
        installation.apply(&object).await.unwrap();
    }
    allow(&installation, "eu", &["Backup"]).await;
    kubectl_on(plane, &["create", "configmap", "dear-thing", "--from-literal=is=here"]).unwrap();
    installation.apply(&a_backup("all", &json!({}))).await.unwrap();
    reads(&installation, "etcdbackup", "all", "Ready", "True/Ready").await;
    kubectl_on(plane, &["delete", "configmap", "dear-thing"]).unwrap();

    let uid = get(&installation, "etcdbackup", "all").await.unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("key.txt"), IDENTITY).unwrap();
    let at = format!("--endpoint {} --bucket {BUCKET} --allow-local-addresses", store.endpoint());
    let printed = typed(folder.path(), &commands(&at, &uid), &tools).await;
    assert!(printed.lines().any(|line| line.contains("dear-thing")), "{printed}");
    assert!(printed.contains(" restores: revision "), "{printed}");
}

/// All that the page has a person type to get a backup and to take objects out of it, with what differs from place to place. What needs a
/// management cluster is in blocks of another kind, and tried with imports.
fn commands(at: &str, backup: &str) -> String {
    let page = fs::read_to_string(repository().join("docs/restoring.md")).unwrap();
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut typed: String = blocks.collect();
    for port in ["12379", "12380", "16443"] {
        assert!(typed.contains(port), "the page names port {port}");
        typed = typed.replace(port, &free_port().to_string());
    }
    let lines = typed.lines().map(|line| match line.split_once('=') {
        Some(("at", _)) => format!("at='{at}'"),
        Some(("backup", _)) => format!("backup={backup}"),
        _ if line.starts_with("export AWS_") => String::new(),
        _ => line.to_owned(),
    });
    let lines: Vec<_> = lines.collect();
    assert!(!lines.iter().any(|line| line.contains('…')), "all that a person fills in is filled in: {lines:?}");
    lines.join("\n")
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Runs the commands in a folder, and returns what they printed. What they leave in the background ends with them.
async fn typed(folder: &Path, commands: &str, tools: &Tools) -> String {
    let mut path: Vec<PathBuf> = vec![drover_binary().unwrap().parent().unwrap().to_owned()];
    for program in PROGRAMS {
        path.push(tools.path(program).unwrap().parent().unwrap().to_owned());
    }
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    let environment = [
        ("PATH", std::env::join_paths(path).unwrap().into_string().unwrap()),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
    ];
    let log = folder.join("printed");
    let mut shell = Process::start(&Specification {
        name: "the commands of the page".to_owned(),
        program: "/bin/bash".into(),
        arguments: vec!["-euc".to_owned(), format!("cd {}\n{commands}", folder.display())],
        environment: environment.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        log: log.clone(),
    })
    .unwrap();
    let ended = eventually("the commands end", LIMIT, async || Ok(shell.exit_code())).await;
    let printed = fs::read_to_string(&log).unwrap();
    assert_eq!(ended.ok(), Some(0), "{printed}");
    printed
}
