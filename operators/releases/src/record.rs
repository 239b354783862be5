//! Helm's record of one revision of a release: a Secret beside the release, which Helm 3 and 4 read and write.
//!
//! The records of Drover are slim: they leave out templates and files of the chart, which take most of the room and which no command of
//! Helm needs. Tenants can write records: nothing in one is believed beyond its shape.

use std::{collections::BTreeMap, fmt, io::Read as _, str::FromStr};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta, jiff::Timestamp};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{hook::Hook, serial};

/// Bytes of a record as it lies in a Secret; the API server refuses more.
pub const MAX_PACKED: usize = 1 << 20;
/// Bytes of a record unpacked.
pub const MAX_UNPACKED: usize = 32 << 20;
/// Values, keys and brackets of a record's JSON. A manifest is one text, however long; those of the largest charts are 20,000.
const MAX_NODES: usize = 150_000;
/// The type of the Secrets.
pub const SECRET_TYPE: &str = "helm.sh/release.v1";
/// The label and value by which Helm finds its records.
pub const OWNER_LABEL: (&str, &str) = ("owner", "helm");
/// The label that names the release.
pub const NAME_LABEL: &str = "name";
/// The label that says the [`Status`].
pub const STATUS_LABEL: &str = "status";
/// The label that says the revision.
pub const VERSION_LABEL: &str = "version";
const KEY: &str = "release";
const PREFIX: &str = "sh.helm.release.v1.";
const GZIP: [u8; 3] = [0x1f, 0x8b, 0x08];

/// Where a revision is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are Helm's and say it")]
pub enum Status {
    Deployed,
    Uninstalled,
    Superseded,
    Failed,
    Uninstalling,
    PendingInstall,
    PendingUpgrade,
    PendingRollback,
    #[default]
    #[serde(other)]
    Unknown,
}

impl Status {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Deployed, "deployed"),
        (Self::Uninstalled, "uninstalled"),
        (Self::Superseded, "superseded"),
        (Self::Failed, "failed"),
        (Self::Uninstalling, "uninstalling"),
        (Self::PendingInstall, "pending-install"),
        (Self::PendingUpgrade, "pending-upgrade"),
        (Self::PendingRollback, "pending-rollback"),
        (Self::Unknown, "unknown"),
    ];

    /// Whether an operation is under way, or ended without saying so.
    #[must_use]
    pub fn is_pending(self) -> bool {
        matches!(self, Self::PendingInstall | Self::PendingUpgrade | Self::PendingRollback)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(status, _)| status == self).map_or("unknown", |(_, name)| name);
        formatter.write_str(name)
    }
}

impl FromStr for Status {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::ALL.iter().find(|(_, name)| *name == text).map_or(Self::Unknown, |(status, _)| *status))
    }
}

/// How the objects of a revision were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApplyMethod {
    /// Server-side apply.
    #[serde(rename = "ssa")]
    Server,
    /// As Helm 3 did it; also where a record says nothing.
    #[serde(rename = "csa", other)]
    Client,
}

/// What a record tells about the operation that made it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Info {
    /// When the release was first installed.
    #[serde(with = "serial::time", skip_serializing_if = "Option::is_none")]
    pub first_deployed: Option<Timestamp>,
    /// When this revision was made.
    #[serde(with = "serial::time", skip_serializing_if = "Option::is_none")]
    pub last_deployed: Option<Timestamp>,
    /// When the release was uninstalled.
    #[serde(with = "serial::time", skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Timestamp>,
    /// One sentence for `helm history`.
    #[serde(deserialize_with = "serial::or_default")]
    pub description: String,
    /// Where the revision is in its life.
    #[serde(deserialize_with = "serial::or_default")]
    pub status: Status,
    /// The revision that this one repeats; 0: none.
    #[serde(deserialize_with = "serial::or_default", skip_serializing_if = "is_zero")]
    pub rollback_revision: i64,
    /// What the chart tells a person.
    #[serde(deserialize_with = "serial::or_default", skip_serializing_if = "String::is_empty")]
    pub notes: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(revision: &i64) -> bool {
    *revision == 0
}

/// What a record keeps of a chart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChartRecord {
    /// `Chart.yaml`.
    #[serde(deserialize_with = "serial::or_default")]
    pub metadata: Map<String, Value>,
    /// `Chart.lock`.
    pub lock: Option<Value>,
    /// `values.yaml`, which `helm upgrade --reuse-values` needs.
    #[serde(deserialize_with = "serial::or_default")]
    pub values: Map<String, Value>,
    // Helm expects the lists, so they are written though they are empty.
    #[serde(skip_deserializing)]
    templates: [(); 0],
    #[serde(skip_deserializing)]
    files: [(); 0],
}

impl ChartRecord {
    /// Keeps `Chart.yaml` and `values.yaml`.
    #[must_use]
    pub fn new(metadata: Map<String, Value>, values: Map<String, Value>) -> Self {
        Self { metadata, values, ..Self::default() }
    }
}

/// One revision of a release.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The name of the release.
    pub name: String,
    /// The operation that made it.
    #[serde(deserialize_with = "serial::or_default")]
    pub info: Info,
    /// Its chart.
    #[serde(deserialize_with = "serial::or_default")]
    pub chart: ChartRecord,
    /// Its values over those of the chart.
    #[serde(deserialize_with = "serial::or_default", skip_serializing_if = "Map::is_empty")]
    pub config: Map<String, Value>,
    /// What `helm get manifest` prints.
    #[serde(deserialize_with = "serial::or_default")]
    pub manifest: String,
    /// Its hooks.
    #[serde(deserialize_with = "serial::or_default", skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
    /// The revision, from 1 on.
    pub version: i64,
    /// The namespace of the release.
    pub namespace: String,
    /// How its objects were written; none: by the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apply_method: Option<ApplyMethod>,
}

/// A record does not fit into a Secret, or is more than is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the release record is too large (1 MiB as a Secret, 32 MiB unpacked, 150000 values): split the chart, or take files out of its ConfigMaps"
)]
pub struct TooLarge {
    /// Its size packed.
    pub bytes: usize,
}

/// Why a Secret is no record that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not of the type of records, or without the key `release`.
    #[error("the Secret is not a release record")]
    NoRecord,
    /// Not base64, gzip and JSON as Helm writes it.
    #[error("the release record is damaged")]
    Damaged,
    /// Beyond 1 MiB packed, 32 MiB unpacked, or too many values.
    #[error("the release record is larger than Helm writes any")]
    TooLarge,
    /// It says another release, namespace or revision than its Secret.
    #[error("the release record contradicts the name or namespace of its Secret")]
    Contradiction,
}

/// The name of the Secret of a revision.
#[must_use]
pub fn secret_name(release: &str, revision: i64) -> String {
    format!("{PREFIX}{release}.v{revision}")
}

/// Whether an object with this name would stand where a record belongs.
#[must_use]
pub fn is_name_of_a_record(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Which label of time a Secret carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// `createdAt`.
    Created,
    /// `modifiedAt`.
    Modified,
}

/// How much the records of one release may still hold together: they lie where tenants write.
#[derive(Debug)]
pub struct Room {
    /// Unpacked.
    bytes: usize,
    nodes: usize,
}

/// What a decoded value takes at most, where it is a map of its own.
const NODE_BYTES: usize = 200;

/// 64 MiB unpacked, with 400,000 values, keys and brackets.
impl Default for Room {
    fn default() -> Self {
        Self { bytes: 64 << 20, nodes: 400_000 }
    }
}

impl Room {
    fn take(&mut self, json: &[u8]) -> Option<()> {
        let nodes = Some(nodes(json)).filter(|nodes| *nodes <= MAX_NODES)?;
        let left = (self.bytes.checked_sub(json.len())?, self.nodes.checked_sub(nodes)?);
        (self.bytes, self.nodes) = left;
        Some(())
    }
}

impl Record {
    /// The record as it lies in a Secret: gzip in base64.
    pub fn encode(&self) -> Result<Vec<u8>, TooLarge> {
        // Neither fails in memory, and maps have text for keys.
        let json = serde_json::to_vec(self).unwrap_or_default();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        let packed = std::io::Write::write_all(&mut gzip, &json).and_then(|()| gzip.finish()).unwrap_or_default();
        let bytes = BASE64_STANDARD.encode(packed).into_bytes();
        let fits = bytes.len() <= MAX_PACKED && json.len() <= MAX_UNPACKED && nodes(&json) <= MAX_NODES;
        if fits { Ok(bytes) } else { Err(TooLarge { bytes: bytes.len() }) }
    }

    /// Reads what lies in a Secret, within bounds.
    pub fn decode(packed: &[u8]) -> Result<Self, RecordError> {
        Self::decode_within(packed, &mut Room::default())
    }

    fn decode_within(packed: &[u8], room: &mut Room) -> Result<Self, RecordError> {
        if packed.len() > MAX_PACKED {
            return Err(RecordError::TooLarge);
        }
        let bytes = BASE64_STANDARD.decode(packed).map_err(|_| RecordError::Damaged)?;
        let json = if bytes.starts_with(&GZIP) { unpack(&bytes)? } else { bytes };
        room.take(&json).ok_or(RecordError::TooLarge)?;
        serde_json::from_slice(&json).map_err(|_| RecordError::Damaged)
    }

    /// The Secret of this revision, written at `now`.
    pub fn to_secret(&self, written: Written, now: Timestamp) -> Result<Secret, TooLarge> {
        let data = self.encode()?;
        let time = match written {
            Written::Created => "createdAt",
            Written::Modified => "modifiedAt",
        };
        let labels = [
            (NAME_LABEL, self.name.clone()),
            (OWNER_LABEL.0, OWNER_LABEL.1.to_owned()),
            (STATUS_LABEL, self.info.status.to_string()),
            (VERSION_LABEL, self.version.to_string()),
            (time, now.as_second().to_string()),
        ];
        let labels: BTreeMap<_, _> = labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let metadata = ObjectMeta {
            name: Some(secret_name(&self.name, self.version)),
            namespace: Some(self.namespace.clone()),
            labels: Some(labels),
            ..ObjectMeta::default()
        };
        let data = [(KEY.to_owned(), ByteString(data))].into();
        Ok(Secret { metadata, type_: Some(SECRET_TYPE.to_owned()), data: Some(data), ..Secret::default() })
    }

    /// Reads the record in a Secret, which has to agree with the Secret about what it is a record of.
    pub fn from_secret(secret: &Secret) -> Result<Self, RecordError> {
        Self::from_secret_within(secret, &mut Room::default())
    }

    /// The same, if there is still room for it: the whole of it counts, what is not read of it included.
    pub fn from_secret_within(secret: &Secret, room: &mut Room) -> Result<Self, RecordError> {
        let data = secret.data.as_ref().and_then(|data| data.get(KEY));
        let data = data.filter(|_| secret.type_.as_deref() == Some(SECRET_TYPE)).ok_or(RecordError::NoRecord)?;
        let record = Self::decode_within(&data.0, room)?;
        let agrees = record.version > 0
            && secret.metadata.namespace.as_deref() == Some(record.namespace.as_str())
            && secret.metadata.name.as_deref() == Some(secret_name(&record.name, record.version).as_str());
        if agrees { Ok(record) } else { Err(RecordError::Contradiction) }
    }

    /// How many bytes it takes in memory, about.
    #[must_use]
    pub fn weight(&self) -> usize {
        let json = serde_json::to_vec(self).unwrap_or_default();
        nodes(&json).saturating_mul(NODE_BYTES).saturating_add(json.len())
    }

    /// The SHA-256, in hexadecimal digits, of all that is applied from this record: its manifest, and its hooks in their order. What is
    /// not under a digest that the management cluster knows is never applied.
    #[must_use]
    pub fn digest(&self) -> String {
        digest(&self.manifest, &self.hooks)
    }
}

/// As [`Record::digest`], of what is not recorded yet.
#[must_use]
pub fn digest(manifest: &str, hooks: &[Hook]) -> String {
    let mut context = Context::new(&SHA256);
    let texts = hooks.iter().flat_map(|hook| [&hook.path, &hook.manifest]);
    for text in std::iter::once(manifest).chain(texts.map(String::as_str)) {
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    }
    context.finish().as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>, RecordError> {
    let mut json = Vec::new();
    let most = MAX_UNPACKED as u64 + 1;
    MultiGzDecoder::new(packed).take(most).read_to_end(&mut json).map_err(|_| RecordError::Damaged)?;
    if json.len() > MAX_UNPACKED { Err(RecordError::TooLarge) } else { Ok(json) }
}

/// How many values a text of JSON has at most, without reading it.
fn nodes(json: &[u8]) -> usize {
    let (mut count, mut in_text, mut is_escaped) = (0, false, false);
    for byte in json {
        match byte {
            b'"' if !is_escaped => in_text = !in_text,
            b',' | b':' | b'[' | b'{' if !in_text => count += 1,
            _ => {}
        }
        is_escaped = in_text && *byte == b'\\' && !is_escaped;
    }
    count
}

#[cfg(test)]
mod tests;
