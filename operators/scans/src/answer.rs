//! What one node answers: the checks of each target that was asked for, or why there are none.

use std::io::{self, Read as _, Write as _};

use drover_client::error::legible;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};

use crate::benchmark::ENGINE;

/// Under which key the answer lies in the Secret that was made for it.
pub const KEY: &str = "answer";
/// Most bytes of an answer as it lies there: a Secret may have 1 MiB in all.
pub const MAX_STORED: usize = 700 * 1024;
/// Most bytes of an answer that is read.
pub const MAX_PLAIN: u64 = 8 << 20;

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeAnswer {
    /// Which attempt it belongs to: another one says nothing.
    pub attempt: String,
    /// The node.
    pub node: String,
    /// What judged, with its version, such as `kube-bench 0.15.6`.
    pub engine: String,
    /// By which benchmark.
    pub benchmark: String,
    /// One for each target that was asked for.
    pub targets: Vec<TargetAnswer>,
}

/// What came of one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetAnswer {
    /// Such as `master`.
    pub target: String,
    /// Why there are no checks; none if there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<TargetFailure>,
    /// The checks, in the order of the benchmark.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
}

/// Why a target has no checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetFailure {
    /// One word for programs.
    pub reason: FailureReason,
    /// For people.
    pub message: String,
}

/// Why a target has no checks, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureReason {
    /// The engine ended with an error.
    EngineFailed,
    /// What the engine printed is none of its results, or is not about this target.
    NoResults,
    /// It took too long.
    TimedOut,
    /// It printed too much.
    TooLarge,
}

/// One check on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Its number in the benchmark.
    pub id: String,
    /// What it looks at.
    pub title: String,
    /// What the engine says of it.
    pub state: EngineState,
    /// What was found, without what may be secret, or why it could not be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// What the engine says of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EngineState {
    /// As it should be.
    Pass,
    /// Otherwise.
    Fail,
    /// For a person to look at.
    Warn,
    /// The benchmark itself leaves it out.
    Skip,
    /// It could not be looked at.
    Error,
}

impl EngineState {
    /// Of two results of one check the one with the higher severity counts.
    #[must_use]
    pub const fn severity(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Skip => 1,
            Self::Warn => 2,
            Self::Error => 3,
            Self::Fail => 4,
        }
    }
}

/// Why an answer cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// It is not compressed as it should be, or is too large.
    #[error("it cannot be unpacked: {0}")]
    Packed(#[from] io::Error),
    /// It is no answer.
    #[error("it is no answer of a node: {0}")]
    Json(#[from] serde_json::Error),
    /// It is too large once it is unpacked.
    #[error("it has more than {MAX_PLAIN} bytes")]
    TooLarge,
}

impl NodeAnswer {
    /// As it is stored.
    pub fn pack(&self) -> Result<Vec<u8>, AnswerError> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&serde_json::to_vec(self)?)?;
        Ok(encoder.finish()?)
    }

    /// Reads what was stored, never more than [`MAX_PLAIN`] bytes of it.
    pub fn unpack(stored: &[u8]) -> Result<Self, AnswerError> {
        let mut plain = Vec::new();
        GzDecoder::new(stored).take(MAX_PLAIN + 1).read_to_end(&mut plain)?;
        if plain.len() as u64 > MAX_PLAIN {
            return Err(AnswerError::TooLarge);
        }
        Ok(serde_json::from_slice(&plain)?)
    }
}

/// The answer of a node, or why it does not count: no node answers for another one, for another scan, or by other checks.
pub fn accepted(answer: NodeAnswer, node: &str, scan_uid: Option<&str>, benchmark: &str) -> Result<NodeAnswer, String> {
    if answer.node != node || Some(answer.attempt.as_str()) != scan_uid {
        return Err("its answer is of another node or another scan; find out who changes Secrets of drover-system in the cluster".to_owned());
    }
    if answer.benchmark != benchmark {
        return Err("its answer is by another benchmark: the CisProfile or the version of the cluster changed while it was scanned, or another client changes Secrets of drover-system in the cluster; create another CisScan".to_owned());
    }
    if answer.engine != ENGINE {
        let engine = legible(&answer.engine, 64);
        return Err(format!(
            "its answer is by {engine} and not by {ENGINE}; let scans.image of the chart be the image of this version of Drover"
        ));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> NodeAnswer {
        NodeAnswer {
            attempt: "uid".to_owned(),
            node: "node-1".to_owned(),
            engine: ENGINE.to_owned(),
            benchmark: "cis-1.12".to_owned(),
            targets: Vec::new(),
        }
    }

    fn judged(change: impl FnOnce(&mut NodeAnswer)) -> Result<NodeAnswer, String> {
        let mut answer = answer();
        change(&mut answer);
        accepted(answer, "node-1", Some("uid"), "cis-1.12")
    }

    #[test]
    fn c6_an_answer_of_another_node_scan_benchmark_or_engine_does_not_count() {
        assert!(judged(|_| ()).is_ok());
        let of_another = judged(|answer| answer.node = "node-2".to_owned()).unwrap_err();
        assert!(of_another.contains("another node"), "{of_another}");
        assert!(judged(|answer| answer.attempt = "other".to_owned()).is_err());
        assert!(judged(|answer| answer.benchmark = "cis-1.5".to_owned()).unwrap_err().contains("changed while"));
        assert!(judged(|answer| answer.engine = "own 1\u{1b}".to_owned()).unwrap_err().contains("scans.image"));
        assert!(accepted(answer(), "node-1", None, "cis-1.12").is_err(), "a scan without a UID has no answers");
    }
}
