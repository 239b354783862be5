//! One attempt, from the choice of a member to the last part.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use drover_backups::{
    Check, ConfigTask, Content, Encryption, EtcdAccess, EtcdFacts, EtcdId, FailureCause, Snapshot, Success, Task,
    UploadedConfig, Verify, upload,
};
use drover_fetch::{Digest, Url};
use tokio::{task::spawn_blocking, time::timeout};

use crate::{
    Programs, SnapshotError,
    age::Recipient,
    bundle::bundle,
    etcd::{Member, RpcError, Seen, Tls, choose},
    put::{self, Uploader},
    scratch::{Before, Copied, Scratch},
    seal::{seal, seal_config},
    spool::{self, Spool},
};

/// Where an attempt works, and with what.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A folder with space for the snapshot twice.
    pub spool: PathBuf,
    /// The programs of etcd.
    pub programs: Programs,
    /// Name and version of this program.
    pub tool: String,
    /// Learns of each step, for the log.
    pub log: fn(&str),
}

/// Takes a snapshot, proves it, and stores it, within the deadline of the task. What it keeps on disk meanwhile is removed.
pub async fn take(task: &Task, settings: &Settings) -> Result<Success, SnapshotError> {
    let deadline = task.limits.deadline();
    let attempt = Attempt::new(task, settings)?;
    timeout(deadline, Box::pin(attempt.run())).await.unwrap_or_else(|_| {
        let minutes = deadline.as_secs() / 60;
        let message =
            format!("the backup took longer than {minutes} min: look at the log of the Job, or allow it more time");
        Err(SnapshotError::new(FailureCause::DeadlineExceeded, message))
    })
}

struct Attempt<'a> {
    task: &'a Task,
    settings: &'a Settings,
    recipients: Vec<Recipient>,
    uploader: Uploader,
}

/// A snapshot on disk.
struct Taken {
    path: PathBuf,
    content: Content,
    before: Before,
    /// The member's revision since.
    after: u64,
}

/// What is known of a snapshot on disk.
struct Proved {
    copied: Option<Copied>,
    checks: Vec<Check>,
}

impl<'a> Attempt<'a> {
    fn new(task: &'a Task, settings: &'a Settings) -> Result<Self, SnapshotError> {
        let parsed = task.recipients.iter().map(|text| {
            text.parse().map_err(|error| {
                SnapshotError::new(FailureCause::RecipientInvalid, format!("recipient {text} {error}"))
            })
        });
        let recipients = parsed.collect::<Result<_, _>>()?;
        Ok(Self { task, settings, recipients, uploader: Uploader::new(&task.store)? })
    }

    fn step(&self, text: &str) {
        (self.settings.log)(text);
    }

    async fn run(self) -> Result<Success, SnapshotError> {
        let spool = Spool::create(&self.settings.spool)?;
        let tls = tls(&self.task.etcd).await?;
        let (member, seen) = self.member(&tls).await?;
        self.step(&format!("member {:x} of etcd {}: {} MiB", seen.member_id, seen.version, seen.db_bytes >> 20));
        spool.require(spool::needed(seen.db_bytes), "the backup")?;
        let quorum = self.is_current(&member, &seen).await?;
        let taken = self.receive(&member, &spool).await?;
        self.step(&format!("received {} bytes, {}", taken.content.bytes, taken.content.sha256));
        let proved = self.prove(&member, &seen, &taken, &spool).await?;
        self.step(&format!("stood {:?}", proved.checks));
        let sealed = spool.path("sealed");
        let stored = self.seal(&taken.path, &sealed).await?;
        let parts = self.uploader.put_file(&sealed, stored.bytes, &self.task.snapshot).await?;
        self.step(&format!("uploaded {} bytes in {} parts", stored.bytes, parts.len()));
        let config = match &self.task.config {
            Some(config) if !self.recipients.is_empty() => Some(self.put_config(config).await?),
            _ => None,
        };
        let etcd = facts(&seen, &member.name(seen.member_id).await, quorum, &taken, proved.copied);
        let encryption = if self.recipients.is_empty() { Encryption::None } else { Encryption::Age };
        let snapshot = Snapshot { plain: taken.content, stored, encryption, etcd, verified: proved.checks };
        let (attempt, tool) = (self.task.attempt.clone(), self.settings.tool.clone());
        Ok(Success { attempt, snapshot, parts, config, tool })
    }

    /// A healthy member, and how it is.
    async fn member(&self, tls: &Tls) -> Result<(Member, Seen), SnapshotError> {
        let (mut connections, mut members) = (Vec::new(), Vec::new());
        for endpoint in &self.task.etcd.endpoints {
            let url: Option<Url> = endpoint.parse().ok().filter(Url::is_https);
            let invalid =
                || SnapshotError::new(FailureCause::TaskInvalid, format!("endpoint {endpoint} is no https URL"));
            let connected = Member::connect(&url.ok_or_else(invalid)?, tls).await;
            let seen = match &connected {
                Ok(member) => member.status().await,
                Err(error) => Err(error.clone()),
            };
            connections.push(connected.ok());
            members.push((endpoint.clone(), seen));
        }
        let chosen = choose(&members, self.task.limits.most_lag)?;
        let gone = || SnapshotError::new(FailureCause::MemberUnreachable, "the member is gone");
        let member = connections.into_iter().nth(chosen).flatten().ok_or_else(gone)?;
        let (_, seen) = members.into_iter().nth(chosen).ok_or_else(gone)?;
        Ok((member, seen.map_err(|_| gone())?))
    }

    /// Whether the cluster has a quorum; with one, the member has all that was written up to now, or is refused.
    async fn is_current(&self, member: &Member, seen: &Seen) -> Result<bool, SnapshotError> {
        match member.confirmed_revision().await {
            Ok(_) => Ok(true),
            // What one member has is worth the more without the others.
            Err(_) if !seen.has_leader() => Ok(false),
            Err(RpcError::Timeout | RpcError::Status { .. }) => {
                let message =
                    "the member has a leader and does not confirm that it has all data: wait until etcd is healthy";
                Err(SnapshotError::new(FailureCause::MemberUnhealthy, message))
            }
            Err(error) => Err(asked(&error)),
        }
    }

    async fn receive(&self, member: &Member, spool: &Spool) -> Result<Taken, SnapshotError> {
        let revision = member.status().await.map_err(|error| asked(&error))?.revision;
        let keys = match self.task.verify {
            Verify::Restore => member.key_count(revision).await.map_err(|error| asked(&error))?,
            Verify::None | Verify::Hash => 0,
        };
        let path = spool.path("snapshot.db");
        let stall = self.task.limits.stall();
        let opening = timeout(stall.max(Duration::from_secs(1)), member.snapshot()).await;
        let mut pieces = opening.unwrap_or(Err(RpcError::Timeout)).map_err(|error| asked(&error))?;
        let content = spool::receive(&mut pieces, spool, &path, stall).await?;
        drop(pieces);
        let after = member.status().await.map_err(|error| asked(&error))?.revision;
        Ok(Taken { path, content, before: Before { revision, keys }, after })
    }

    async fn prove(&self, member: &Member, seen: &Seen, taken: &Taken, spool: &Spool) -> Result<Proved, SnapshotError> {
        match self.task.verify {
            Verify::None => Ok(Proved { copied: None, checks: Vec::new() }),
            Verify::Hash => Ok(Proved { copied: None, checks: vec![Check::Sha256] }),
            Verify::Restore => {
                let programs = &self.settings.programs;
                let mut scratch = Scratch::restore(programs, &taken.path, spool.path("scratch")).await?;
                let (copied, checks) = scratch.compare(member, seen, taken.before, taken.after).await?;
                Ok(Proved { copied: Some(copied), checks })
            }
        }
    }

    async fn seal(&self, from: &Path, to: &Path) -> Result<Content, SnapshotError> {
        let (from, to, recipients) = (from.to_owned(), to.to_owned(), self.recipients.clone());
        spawn_blocking(move || seal(&from, &to, &recipients)).await.map_err(|error| ended(&error))?
    }

    async fn put_config(&self, config: &ConfigTask) -> Result<UploadedConfig, SnapshotError> {
        let (files, facts, recipients) = (config.files.clone(), config.facts.clone(), self.recipients.clone());
        let sealing = move || seal_config(bundle(&files, &facts)?, &recipients, &upload::CONFIG_LENGTHS);
        let sealed = spawn_blocking(sealing).await.map_err(|error| ended(&error))??;
        let stored = Content { bytes: sealed.len() as u64, sha256: Digest::of(&sealed) };
        let url = config.uploads.iter().find(|url| url.length == stored.bytes);
        let lacking = || SnapshotError::new(FailureCause::TaskInvalid, "the task lacks a URL for the configuration");
        self.uploader.put(url.ok_or_else(lacking)?, &put::Content::Memory(Bytes::from(sealed))).await?;
        Ok(UploadedConfig { stored })
    }
}

fn asked(error: &RpcError) -> SnapshotError {
    SnapshotError::new(FailureCause::MemberUnreachable, format!("the member {error}: look at the log of etcd"))
}

fn ended(error: &tokio::task::JoinError) -> SnapshotError {
    SnapshotError::new(FailureCause::Ended, format!("a step was ended: {error}"))
}

async fn tls(access: &EtcdAccess) -> Result<Tls, SnapshotError> {
    let invalid = |path: &Path, why: &dyn std::fmt::Display| {
        let message = format!(
            "{} cannot be used: {why}. A backup needs the certificates of a client of etcd there",
            path.display()
        );
        SnapshotError::new(FailureCause::CertificateInvalid, message)
    };
    let mut files = Vec::new();
    for path in [&access.authority, &access.certificate, &access.key] {
        files.push(tokio::fs::read(path).await.map_err(|error| invalid(path, &error))?);
    }
    let [authority, certificate, key] = files.as_slice() else {
        return Err(invalid(&access.authority, &"it is missing"));
    };
    Tls::new(authority, certificate, key).map_err(|file| {
        use crate::etcd::TlsFile;
        match file {
            TlsFile::Authority => invalid(&access.authority, &"it holds no certificate in PEM"),
            TlsFile::Certificate => invalid(&access.certificate, &"it holds no certificate in PEM"),
            TlsFile::Key => invalid(&access.key, &"it holds no private key in PEM that belongs to the certificate"),
        }
    })
}

fn facts(seen: &Seen, name: &str, quorum: bool, taken: &Taken, copied: Option<Copied>) -> EtcdFacts {
    EtcdFacts {
        version: shown(&seen.version),
        cluster_id: EtcdId(seen.cluster_id),
        member_id: EtcdId(seen.member_id),
        member: shown(name),
        quorum,
        revision: copied.map_or(taken.before.revision, |copied| copied.revision),
        compact_revision: copied.map(|copied| copied.compact_revision),
        total_keys: copied.map(|copied| copied.total_keys),
        hash_kv: copied.map(|copied| copied.hash_kv),
    }
}

/// A name, as a report has it.
fn shown(text: &str) -> String {
    text.chars().filter(char::is_ascii_graphic).take(64).collect()
}
