//! The data of backups, on a real etcd: taken and stored by `drover etcd-snapshot`, and got back by `drover backup`. What the manager
//! does between the two, the tests do.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use drover_backups::{
    BackupIdentity, Check, ClusterIdentity, FORMAT_VERSION, Failure, FailureCause, MOST_REPORT_BYTES, Manifest,
    PresignedUrl, Report, StoredConfig, StoredObject, Success, Task, upload,
};
use drover_e2e::installation::drover_binary;
use drover_e2e::process::{Process, Specification};
use drover_e2e::s3::{ACCESS_KEY, BUCKET, SECRET_KEY};
use drover_e2e::wait::{eventually, soon};
use drover_e2e::{Program, require_or_skip};
use drover_stores::Part;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::RngExt as _;
use serde_json::{Value, json};

use crate::attempts::{Opened, PROGRAMS, Place, RECIPIENT};

drover_e2e::tests![
    b1_a_backup_comes_back_with_nothing_but_bucket_and_key,
    b2_a_byte_that_changed_in_the_store_is_never_accepted,
    b6_a_member_that_stands_still_ends_in_time_and_leaves_nothing,
    what_an_attempt_started_ends_with_it,
    an_attempt_says_why_it_failed_and_tells_no_secret,
];

/// What a presigned URL has.
const SIGNATURE: &str = "X-Amz-Signature";

impl Place {
    async fn begin(test: &str) -> Option<Self> {
        require_or_skip(test, &PROGRAMS).await.unwrap().then_some(())?;
        Some(Self::new().await)
    }

    /// Starts an attempt.
    fn start(&self, task: &Task) -> Child {
        let mut command = Command::new(drover_binary().unwrap());
        command.args(self.arguments(task)).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// What an attempt reports, and what it says; nothing of it is left on the disk, and nothing secret is in it.
    async fn ended(&self, child: Child, task: &Task) -> Report {
        let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
        let message = fs::read(self.path("report.json")).unwrap();
        let said = [&output.stdout[..], &output.stderr, &message].map(String::from_utf8_lossy).concat();
        for secret in [SIGNATURE, SECRET_KEY, "PRIVATE KEY", "uploadId"] {
            assert!(!said.contains(secret), "{said}");
        }
        assert!(message.len() <= MOST_REPORT_BYTES);
        assert_eq!(fs::read_dir(self.path("spool")).unwrap().count(), 0, "{said}");
        let report = Report::parse(&message, &task.attempt).unwrap();
        assert_eq!(matches!(report, Report::Success(_)), output.status.success(), "{said}");
        report
    }

    async fn failure(&self, task: &Task) -> Failure {
        match self.ended(self.start(task), task).await {
            Report::Failure(failure) => failure,
            Report::Success(success) => panic!("{success:?}"),
        }
    }

    /// Takes a backup, as the manager does: the manifest comes last.
    async fn backup(&self, name: &str, recipients: &[&str]) -> Manifest {
        let opened = self.opened(name, recipients).await;
        let report = self.ended(self.start(&opened.task), &opened.task).await;
        let Report::Success(success) = report else { panic!("{report:?}") };
        self.complete(&opened, *success).await
    }

    async fn complete(&self, opened: &Opened, success: Success) -> Manifest {
        let (store, folder) = (self.store(), &opened.folder);
        let encryption = success.snapshot.encryption;
        let key = folder.snapshot(&success.attempt, encryption);
        let named = |(number, tag): (u32, &drover_backups::ETag)| Part { number, etag: tag.to_string() };
        let parts: Vec<_> = (1..).zip(&success.parts).map(named).collect();
        store.complete_upload(&key, &opened.snapshot, &parts).await.unwrap();
        let config_key = folder.config(&success.attempt);
        let time = Time(Timestamp::from_second(1_795_000_000).unwrap());
        let cluster = ClusterIdentity {
            uid: folder.cluster.clone(),
            name: "eu-1".to_owned(),
            kubernetes_version: "v1.37.1".to_owned(),
            distribution: "kubeadm".to_owned(),
        };
        let (uid, namespace) = (folder.backup.clone(), "team".to_owned());
        let backup = BackupIdentity { uid, namespace, name: "nightly".to_owned(), attempt: success.attempt };
        let manifest = Manifest {
            format_version: FORMAT_VERSION,
            cluster,
            backup,
            taken_at: time.clone(),
            completed_at: time,
            object: StoredObject { key, part_bytes: upload::PART_BYTES },
            snapshot: success.snapshot,
            config: success.config.map(|config| StoredConfig { key: config_key, stored: config.stored }),
            recipients: opened.task.recipients.clone(),
            tool: success.tool,
        };
        store.put_new(&folder.manifest(), manifest.to_text().into()).await.unwrap();
        manifest
    }

    /// Runs `drover backup` with the keys of the store, and the private key where `identity` says so.
    async fn get_back(&self, arguments: &[&str], identity: bool) -> Output {
        let mut command = Command::new(drover_binary().unwrap());
        command.arg("backup").args(arguments);
        command.args(["--endpoint", &self.s3.endpoint(), "--bucket", BUCKET, "--prefix", "fleet"]);
        command.args(["--allow-local-addresses"]);
        if identity {
            command.args(["--identity".as_ref(), self.path("identity").as_os_str()]);
        }
        if arguments.first() == Some(&"verify") {
            command.args(["--etcd".as_ref(), self.program(Program::Etcd).as_os_str()]);
            command.args(["--etcdutl".as_ref(), self.program(Program::Etcdutl).as_os_str()]);
            command.args(["--spool".as_ref(), self.path("spool").as_os_str()]);
        }
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    async fn printed(&self, arguments: &[&str], identity: bool) -> String {
        let output = self.get_back(arguments, identity).await;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What `drover backup` says of a failure.
    async fn refused(&self, arguments: &[&str], identity: bool) -> String {
        let output = self.get_back(arguments, identity).await;
        assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }
}

/// All keys with their values, and the revision of each.
type Contents = BTreeMap<String, (String, u64)>;

fn contents(printed: &str) -> Contents {
    let answer: Value = serde_json::from_str(printed).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pair = |pair: &Value| (text(&pair["key"]), (text(&pair["value"]), pair["mod_revision"].as_u64().unwrap()));
    answer["kvs"].as_array().into_iter().flatten().map(pair).collect()
}

/// Restores a snapshot as a person does, and reads what is in it.
async fn restored(place: &Place, snapshot: &Path) -> Contents {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let (data, url) = (place.path("restored"), format!("http://127.0.0.1:{port}"));
    let restoring = Command::new(place.program(Program::Etcdutl))
        .args(["snapshot", "restore"])
        .arg(snapshot)
        .args(["--data-dir".as_ref(), data.as_os_str()])
        .output()
        .unwrap();
    assert!(restoring.status.success(), "{}", String::from_utf8_lossy(&restoring.stderr));
    let arguments = [format!("--data-dir={}", data.display()), format!("--listen-client-urls={url}")];
    let arguments = arguments.into_iter().chain([
        format!("--advertise-client-urls={url}"),
        "--listen-peer-urls=unix://peer.sock".to_owned(),
        "--log-level=error".to_owned(),
    ]);
    let specification = Specification {
        name: "restored etcd".to_owned(),
        program: "sh".into(),
        arguments: ["-c".to_owned(), "cd \"$1\"; shift; exec \"$@\"".to_owned(), "sh".to_owned()]
            .into_iter()
            .chain([place.folder.path().display().to_string(), place.program(Program::Etcd).display().to_string()])
            .chain(arguments)
            .collect(),
        environment: Vec::new(),
        log: place.path("restored.log"),
    };
    let process = Process::start(&specification).unwrap();
    let etcdctl = place.program(Program::Etcdctl);
    let all = eventually("the restored etcd answers", soon(), async || {
        let output =
            Command::new(&etcdctl).args(["--endpoints", &url, "get", "", "--prefix", "-w", "json"]).output().unwrap();
        Ok(output.status.success().then(|| contents(&String::from_utf8(output.stdout).unwrap())))
    });
    let all = all.await.unwrap();
    drop(process);
    all
}

async fn b1_a_backup_comes_back_with_nothing_but_bucket_and_key() {
    let Some(place) = Place::begin("backup data").await else { return };
    place.fill("key", 3, 2_000);
    let opened = place.opened("b-1", &[RECIPIENT]).await;
    // Somebody writes all the time.
    let is_over = Arc::new(AtomicBool::new(false));
    let writer = {
        let (is_over, mut command) = (Arc::clone(&is_over), place.etcd.command());
        command.arg("put");
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let program = command.get_program().to_owned();
        std::thread::spawn(move || {
            let mut count = 0;
            while !is_over.load(Ordering::SeqCst) {
                let mut put = Command::new(&program);
                put.args(&arguments).args([format!("counter-{count:05}"), count.to_string()]);
                assert!(put.stdout(Stdio::null()).status().unwrap().success());
                count += 1;
            }
            count
        })
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    let report = place.ended(place.start(&opened.task), &opened.task).await;
    is_over.store(true, Ordering::SeqCst);
    assert!(writer.join().unwrap() > 3);
    let Report::Success(success) = report else { panic!("{report:?}") };
    let expected_checks = [Check::Sha256, Check::Revision, Check::Keys, Check::HashKv];
    assert_eq!(success.snapshot.verified, expected_checks);
    let manifest = place.complete(&opened, *success).await;

    let list: Value = serde_json::from_str(&place.printed(&["list", "--output", "json"], false).await).unwrap();
    assert_eq!(list, json!([serde_json::to_value(&manifest).unwrap()]));
    assert!(place.printed(&["list"], false).await.contains("Sha256,Revision,Keys,HashKv"));
    let output = place.path("back.db");
    place.printed(&["fetch", "b-1", "--output", output.to_str().unwrap()], true).await;
    let back = restored(&place, &output).await;
    let live = contents(&place.etcd.etcdctl(&["get", "", "--prefix", "-w", "json"]).unwrap());
    let revision = manifest.snapshot.etcd.revision;
    let expected: Contents = live.into_iter().filter(|(_, (_, written))| *written <= revision).collect();
    assert!(expected.len() > 300, "{} keys", expected.len());
    assert!(back == expected, "{} keys instead of {}", back.len(), expected.len());
    assert_eq!(manifest.snapshot.etcd.total_keys, Some(expected.len() as u64));
    assert_eq!(manifest.snapshot.etcd.member, "control-plane-1");

    let digest = drover_fetch::Digest::of(manifest.to_text().as_bytes()).to_string();
    let other = drover_fetch::Digest::of(b"other").to_string();
    for arguments in [["verify", "b-1"].as_slice(), &["fetch", "b-1", "--config"]] {
        let named = |digest| [arguments, &["--manifest-digest", digest]].concat();
        place.printed(&named(&digest), true).await;
        assert!(place.refused(&named(&other), true).await.contains(&digest));
    }

    let said = place.printed(&["verify", "b-1"], true).await;
    assert!(said.contains(&format!("revision {revision}, {} keys", expected.len())), "{said}");
    let config = place.printed(&["fetch", "b-1", "--config"], true).await;
    assert!(
        config.contains("# facts.json") && config.contains("v1.37.1") && config.contains("BEGIN CERTIFICATE"),
        "{config}"
    );
    assert!(config.contains("# missing.json") && config.contains("/not/there"), "{config}");
    assert_eq!(fs::read_dir(place.path("spool")).unwrap().count(), 0);
    for arguments in
        [["verify", "b-1"].as_slice(), &["fetch", "b-1", "--output", "/nowhere/x"], &["fetch", "b-1", "--config"]]
    {
        assert!(place.refused(arguments, false).await.contains(if arguments[0] == "fetch" && arguments.len() > 3 {
            "nowhere"
        } else {
            "--identity"
        }));
    }
    assert!(place.refused(&["verify", "b-2"], true).await.contains("no backup b-2"));
}

async fn b2_a_byte_that_changed_in_the_store_is_never_accepted() {
    let Some(place) = Place::begin("backup data").await else { return };
    place.fill("key", 1, 500);
    for (name, recipients) in [("b-1", &[RECIPIENT][..]), ("b-2", &[])] {
        let manifest = place.backup(name, recipients).await;
        let path = place.s3.file(&manifest.object.key);
        let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let length = file.metadata().unwrap().len();
        for _ in 0..3 {
            let at = rand::rng().random_range(0..length);
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 1], at).unwrap();
            assert!(place.refused(&["verify", name], true).await.contains("other bytes than its manifest says"));
            file.write_all_at(&byte, at).unwrap();
        }
        place.printed(&["verify", name], true).await;
        file.set_len(length - 1).unwrap();
        place.refused(&["verify", name], true).await;
    }
    // A manifest in the folder of another backup.
    let manifest = fs::read(place.s3.file("fleet/c-1/b-2/manifest.json")).unwrap();
    place.store().put_new("fleet/c-1/b-3/manifest.json", manifest.into()).await.unwrap();
    assert!(place.refused(&["verify", "b-3"], true).await.contains("moved or forged"));
    let output = place.get_back(&["list"], false).await;
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 3);
    assert!(String::from_utf8_lossy(&output.stderr).contains("fleet/c-1/b-3/manifest.json"));
}

/// Waits until an attempt has this in its spool.
async fn spooled(place: &Place, name: &str) -> PathBuf {
    eventually("an attempt has begun", soon(), async || {
        let folders = fs::read_dir(place.path("spool")).unwrap().flatten();
        Ok(folders.map(|folder| folder.path().join(name)).find(|path| path.exists()))
    })
    .await
    .unwrap()
}

async fn b6_a_member_that_stands_still_ends_in_time_and_leaves_nothing() {
    let Some(mut place) = Place::begin("backup data").await else { return };
    // So much that there is a middle to stop it in.
    place.fill("key", 80, 8_000);
    let opened = place.opened("b-1", &[]).await;
    let child = place.start(&opened.task);
    spooled(&place, "snapshot.db").await;
    place.etcd.process.pause().await.unwrap();
    let started = Instant::now();
    let report = place.ended(child, &opened.task).await;
    let Report::Failure(failure) = report else { panic!("{report:?}") };
    assert_eq!(failure.cause, FailureCause::Stalled, "{failure:?}");
    assert!(started.elapsed() < Duration::from_mins(1), "{:?}", started.elapsed());
}

async fn what_an_attempt_started_ends_with_it() {
    let Some(place) = Place::begin("backup data").await else { return };
    place.fill("key", 1, 500);
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let opened = place.opened(&format!("b-{}", signal as i32), &[]).await;
        let child = place.start(&opened.task);
        let id = i32::try_from(child.id()).unwrap();
        let socket = spooled(&place, "scratch").await;
        kill(Pid::from_raw(id), signal).unwrap();
        if signal == Signal::SIGTERM {
            let report = place.ended(child, &opened.task).await;
            assert!(matches!(report, Report::Failure(failure) if failure.cause == FailureCause::Ended));
        } else {
            let mut child = child;
            child.wait().unwrap();
        }
        let spool = place.path("spool");
        eventually("its children end", soon(), async || Ok((!any_works_in(&spool)).then_some(()))).await.unwrap();
        if signal == Signal::SIGKILL {
            fs::remove_dir_all(socket.parent().unwrap()).unwrap();
        }
    }
}

/// Whether a process has its folder below this one.
fn any_works_in(folder: &Path) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut folders = processes.filter_map(|process| fs::read_link(process.path().join("cwd")).ok());
    folders.any(|found| found.starts_with(folder))
}

/// Makes a task one that cannot be done.
type Spoil<'a> = Box<dyn Fn(&mut Task) + 'a>;

async fn an_attempt_says_why_it_failed_and_tells_no_secret() {
    let Some(place) = Place::begin("backup data").await else { return };
    let good = place.opened("b-1", &[RECIPIENT]).await.task;
    let pki = place.etcd.certificates();
    let spoil: [(Spoil<'_>, FailureCause, &str); 9] = [
        (Box::new(|task| task.etcd.key = "/not/there".into()), FailureCause::CertificateInvalid, "/not/there"),
        (Box::new(|task| task.etcd.key = pki.join("ca.crt")), FailureCause::CertificateInvalid, "private key"),
        (Box::new(|task| task.etcd.key = pki.join("server.key")), FailureCause::CertificateInvalid, "belongs"),
        (Box::new(|task| task.etcd.authority = pki.join("server.crt")), FailureCause::MemberRefused, "certificate"),
        (
            Box::new(|task| task.etcd.endpoints = vec!["https://127.0.0.1:1".into()]),
            FailureCause::MemberUnreachable,
            "127.0.0.1:1",
        ),
        (Box::new(|task| task.etcd.endpoints = vec!["http://127.0.0.1:1".into()]), FailureCause::TaskInvalid, "https"),
        (
            Box::new(|task| task.recipients = vec!["age1nonsense".into()]),
            FailureCause::RecipientInvalid,
            "age1nonsense",
        ),
        (Box::new(|task| task.snapshot.clear()), FailureCause::TaskInvalid, "URL"),
        (Box::new(forged), FailureCause::StoreRefused, "403"),
    ];
    for (spoil, cause, part) in spoil {
        let mut task = good.clone();
        spoil(&mut task);
        let failure = place.failure(&task).await;
        assert!(failure.cause == cause && failure.message.contains(part), "{failure:?} instead of {cause:?}");
    }
    assert!(place.s3.keys().unwrap().is_empty());
}

/// Another signature than the store made.
fn forged(task: &mut Task) {
    for url in &mut task.snapshot {
        let changed = url.expose_url().replace(SIGNATURE, "X-Amz-Signatur");
        *url = PresignedUrl::new(url.part, url.length, changed);
    }
}
