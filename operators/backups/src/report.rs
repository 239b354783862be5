//! What a Job answers, in the termination message of its container.

use serde::{Deserialize, Serialize};

use crate::{AttemptId, Check, Content, ETag, Encryption, FailureCause, Snapshot, Verify, upload};

/// Most bytes of a termination message: the kubelet cuts longer ones.
pub const MOST_REPORT_BYTES: usize = 4096;
/// Most bytes of the text of a failure.
const MOST_TEXT_BYTES: usize = 1024;
/// Most bytes of a name or version.
const MOST_NAME_BYTES: usize = 128;

/// The answer of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Report {
    /// All is uploaded.
    Success(Box<Success>),
    /// Nothing of it counts.
    Failure(Failure),
}

/// What was uploaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Success {
    /// Which attempt.
    pub attempt: AttemptId,
    /// The snapshot.
    pub snapshot: Snapshot,
    /// What the store called the parts of the snapshot, from part 1 on.
    pub parts: Vec<ETag>,
    /// The configuration, encrypted, if it was asked for and recipients are named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<UploadedConfig>,
    /// Version of the program.
    pub tool: String,
}

/// The configuration, as it was uploaded: in one part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UploadedConfig {
    /// What is stored.
    pub stored: Content,
}

/// Why nothing was uploaded, or not all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Which attempt; none if not even that could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<AttemptId>,
    /// For decisions.
    pub cause: FailureCause,
    /// For people: what happened, where, and what to do. Without secrets.
    pub message: String,
}

/// Why a termination message counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// It is no report.
    #[error("the termination message of the Job is no report of drover etcd-snapshot; look at the log of its Pod")]
    Unreadable,
    /// It is one of another attempt.
    #[error("the termination message of the Job is of another attempt; Drover ignores it")]
    OtherAttempt,
    /// It contradicts itself.
    #[error("the termination message of the Job contradicts itself; look at the log of its Pod")]
    Contradictory,
}

impl Report {
    /// Reads the termination message of a Job that was started for `attempt`. A cluster may send anything: what does not fit
    /// together counts for nothing, and texts are cut.
    pub fn parse(message: &[u8], attempt: &AttemptId) -> Result<Self, ReportError> {
        if message.len() > MOST_REPORT_BYTES {
            return Err(ReportError::Unreadable);
        }
        let report = serde_json::from_slice(message).map_err(|_| ReportError::Unreadable)?;
        match report {
            Self::Success(success) if success.attempt != *attempt => Err(ReportError::OtherAttempt),
            Self::Success(success) if !success.is_coherent() => Err(ReportError::Contradictory),
            Self::Success(success) => Ok(Self::Success(success)),
            Self::Failure(failure) if failure.attempt.as_ref().is_some_and(|found| found != attempt) => {
                Err(ReportError::OtherAttempt)
            }
            Self::Failure(failure) => Ok(Self::Failure(failure.cut())),
        }
    }

    /// As a termination message. A text that is too long is cut.
    #[must_use]
    pub fn to_message(&self) -> String {
        let cut = match self {
            Self::Success(_) => self.clone(),
            Self::Failure(failure) => Self::Failure(failure.clone().cut()),
        };
        // Only a map with keys that are no texts could not be written.
        serde_json::to_string(&cut).unwrap_or_default()
    }
}

impl Success {
    /// Whether it answers what was asked: who runs the Job may say anything.
    #[must_use]
    pub fn answers(&self, encryption: Encryption, verify: Verify) -> bool {
        let (snapshot, all) = (&self.snapshot, &self.snapshot.verified);
        let is_known = |check: &Check| match check {
            Check::Sha256 => true,
            Check::Revision => verify == Verify::Restore,
            Check::Keys => verify == Verify::Restore && snapshot.etcd.total_keys.is_some(),
            Check::HashKv => verify == Verify::Restore && snapshot.etcd.hash_kv.is_some(),
        };
        let is_once = |check: &Check| all.iter().filter(|other| *other == check).count() == 1;
        snapshot.encryption == encryption
            && (self.config.is_none() || encryption == Encryption::Age)
            && all.iter().all(|check| is_known(check) && is_once(check))
    }

    fn is_coherent(&self) -> bool {
        let stored = self.snapshot.stored.bytes;
        let etcd = &self.snapshot.etcd;
        let names = [&etcd.version, &etcd.member, &self.tool];
        let is_name = |text: &str| {
            text.len() <= MOST_NAME_BYTES && text.bytes().all(|letter| letter.is_ascii_graphic() || letter == b' ')
        };
        upload::parts(stored).is_some_and(|parts| parts.len() == self.parts.len())
            && names.into_iter().all(|text| is_name(text))
            && self.snapshot.verified.len() <= 4
            && etcd.compact_revision.is_none_or(|compacted| compacted <= etcd.revision)
    }
}

impl Failure {
    fn cut(mut self) -> Self {
        self.message.retain(|letter| !letter.is_control());
        let end = (0..=MOST_TEXT_BYTES.min(self.message.len())).rev().find(|end| self.message.is_char_boundary(*end));
        self.message.truncate(end.unwrap_or_default());
        self
    }
}
