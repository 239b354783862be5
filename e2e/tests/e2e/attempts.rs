//! One attempt of a backup without the manager: an etcd, a store, and what the manager opens for it. For tests and for a benchmark.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use drover_backups::{
    ConfigTask, Encryption, EtcdAccess, FORMAT_VERSION, Folder, Limits, Prefix, PresignedUrl, StoreAccess, Task,
    Verify, upload,
};
use drover_e2e::node::etcd::KubeadmEtcd;
use drover_e2e::s3::{ACCESS_KEY, BUCKET, S3, SECRET_KEY};
use drover_e2e::{Program, Tools};
use drover_fetch::{Fetcher, Source};
use drover_runtime::DialPolicy;
use drover_stores::{Addressing, Bucket, Keys, Store};
use rand::RngExt as _;
use serde_json::json;
use tempfile::TempDir;

/// A key of age, as age-keygen writes it, and what belongs to it.
pub(crate) const IDENTITY: &str =
    "# created: 2026-11-27\nAGE-SECRET-KEY-180L6AAUR4A56N6FXV4SMCE6TCVH9G4PA5E3A6NLQFU2KUJ970KWQLZPMRN\n";
pub(crate) const RECIPIENT: &str = "age1xyhhvc4vp5ff94p52vh4xpyycgzd0fm7v7mh3tjr3lvquvrmsyjs9ej94q";
/// What an attempt runs.
pub(crate) const PROGRAMS: [Program; 3] = [Program::Etcd, Program::Etcdctl, Program::Etcdutl];

/// An etcd, a store, and a folder.
pub(crate) struct Place {
    pub(crate) etcd: KubeadmEtcd,
    pub(crate) s3: S3,
    pub(crate) folder: TempDir,
    pub(crate) tools: Tools,
}

/// Uploads that were opened, and the task for them.
pub(crate) struct Opened {
    pub(crate) folder: Folder,
    pub(crate) task: Task,
    pub(crate) snapshot: String,
}

impl Place {
    /// Nothing is stored, and the etcd is empty.
    pub(crate) async fn new() -> Self {
        let tools = Tools::from_environment().unwrap();
        let (etcd, s3) = (KubeadmEtcd::start(&tools).await.unwrap(), S3::start().await.unwrap());
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("identity"), IDENTITY).unwrap();
        fs::create_dir(folder.path().join("spool")).unwrap();
        Self { etcd, s3, folder, tools }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn program(&self, program: Program) -> PathBuf {
        self.tools.path(program).unwrap()
    }

    pub(crate) fn store(&self) -> Store {
        let bucket = Bucket::new(&self.s3.endpoint(), Addressing::Path, BUCKET, "us-east-1").unwrap();
        let keys = Keys { access: ACCESS_KEY.to_owned(), secret: SECRET_KEY.into(), session: None };
        let fetcher = Fetcher::new(DialPolicy::AllowLocal);
        Store::new(fetcher, Source::default(), bucket, keys, drover_runtime::clock::now)
    }

    /// Opens the uploads of a backup, as the manager does.
    pub(crate) async fn opened(&self, backup: &str, recipients: &[&str]) -> Opened {
        let store = self.store();
        let prefix: Prefix = "fleet".parse().unwrap();
        let folder = Folder { prefix, cluster: "c-1".parse().unwrap(), backup: backup.parse().unwrap() };
        let attempt = "1-x".parse().unwrap();
        let encryption = if recipients.is_empty() { Encryption::None } else { Encryption::Age };
        let hour = Duration::from_hours(1);
        let key = folder.snapshot(&attempt, encryption);
        let snapshot = store.create_upload(&key).await.unwrap();
        let part = |(number, length): (u16, u64)| {
            let url = store.presign_part(&key, &snapshot, number.into(), length, hour).unwrap();
            PresignedUrl::new(number, length, url.expose().to_owned())
        };
        let parts = upload::lengths().map(part).collect();
        let config_key = folder.config(&attempt);
        let of_config = |length: &u64| {
            let url = store.presign_put_new(&config_key, *length, hour).unwrap();
            PresignedUrl::new(1, *length, url.expose().to_owned())
        };
        let pki = self.etcd.certificates();
        let task = Task {
            format_version: FORMAT_VERSION,
            attempt,
            etcd: EtcdAccess {
                endpoints: vec![format!("https://{}", self.etcd.address())],
                authority: pki.join("ca.crt"),
                certificate: pki.join("healthcheck-client.crt"),
                key: pki.join("healthcheck-client.key"),
            },
            limits: Limits { stall_seconds: 2, deadline_seconds: 120, most_lag: 5_000 },
            verify: Verify::Restore,
            recipients: recipients.iter().map(|text| (*text).to_owned()).collect(),
            store: StoreAccess { authorities: None, allow_local_addresses: true },
            snapshot: parts,
            config: Some(ConfigTask {
                files: vec![pki.join("ca.crt"), "/not/there".into()],
                facts: json!({"kubernetesVersion": "v1.37.1"}),
                uploads: upload::CONFIG_LENGTHS.iter().map(of_config).collect(),
            }),
        };
        Opened { folder, task, snapshot }
    }

    /// Writes the task of an attempt, and says with what arguments drover does it.
    pub(crate) fn arguments(&self, task: &Task) -> Vec<String> {
        fs::write(self.path("task.json"), serde_json::to_vec(task).unwrap()).unwrap();
        let paths = [
            ("--task", self.path("task.json")),
            ("--spool", self.path("spool")),
            ("--report", self.path("report.json")),
            ("--etcd", self.program(Program::Etcd)),
            ("--etcdutl", self.program(Program::Etcdutl)),
        ];
        let paths = paths.into_iter().flat_map(|(flag, path)| [flag.to_owned(), path.display().to_string()]);
        std::iter::once("etcd-snapshot".to_owned()).chain(paths).collect()
    }

    /// Writes random keys, 100 at a time, with values of `bytes` each.
    pub(crate) fn fill(&self, name: &str, hundreds: usize, bytes: usize) {
        for hundred in 0..hundreds {
            let value = || {
                let mut value = vec![0; bytes];
                rand::rng().fill(&mut value[..]);
                BASE64.encode(value)
            };
            let puts = (0..100).map(|key| format!("put {name}-{hundred}-{key} {}", value())).collect::<Vec<_>>();
            self.transaction(&format!("\n{}\n\n\n", puts.join("\n")));
        }
    }

    fn transaction(&self, text: &str) {
        let mut command = self.etcd.command();
        let mut child = command.arg("txn").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }
}
