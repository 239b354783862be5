//! The audit log of an API server: who asked for what.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;
use serde_json::json;

use crate::error::{Error, FileContext, Result};

/// A place in the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditMark(u64);

/// One request. A watch counts when it starts, everything else when it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// Who asked.
    pub user: String,
    /// With which program.
    pub user_agent: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// The API group; empty for the core group.
    pub group: String,
    /// The resource in plural; empty for requests that are not about resources.
    pub resource: String,
    /// The subresource, such as `status`; empty for none.
    pub subresource: String,
    /// The namespace; empty for none.
    pub namespace: String,
    /// The name of the object; empty where a request has none.
    pub name: String,
    /// The HTTP status of the answer.
    pub code: u16,
}

/// `VERB RESOURCE NAMESPACE/NAME CODE`, without a namespace for what is in none.
impl fmt::Display for AuditEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, namespace, name, code, .. } = self;
        let resource = self.kind().resource;
        // The API server takes a Namespace to be in itself.
        if namespace.is_empty() || self.resource == "namespaces" {
            write!(formatter, "{verb} {resource} {name} {code}")
        } else {
            write!(formatter, "{verb} {resource} {namespace}/{name} {code}")
        }
    }
}

/// What requests are counted by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestKind {
    /// Who asked.
    pub user: String,
    /// With which program.
    pub user_agent: String,
    /// The verb.
    pub verb: String,
    /// `RESOURCE` or `RESOURCE/SUBRESOURCE`.
    pub resource: String,
}

impl AuditEvent {
    /// Whether it is a request to change something. Whoever creates a review asks a question: nothing is stored.
    #[must_use]
    pub fn changes(&self) -> bool {
        let asks = ["authentication.k8s.io", "authorization.k8s.io"].contains(&self.group.as_str());
        !["get", "list", "watch"].contains(&self.verb.as_str()) && !asks
    }

    /// What this request is counted by.
    #[must_use]
    pub fn kind(&self) -> RequestKind {
        let resource = if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        };
        RequestKind { user: self.user.clone(), user_agent: self.user_agent.clone(), verb: self.verb.clone(), resource }
    }
}

/// Everything but probes, the API server's requests to itself, and the reads of Kubernetes' own controllers.
pub(crate) fn policy() -> String {
    let controllers = ["system:kube-controller-manager", "system:kube-scheduler", "kwok"];
    let reads = ["get", "list", "watch"];
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            { "level": "None", "nonResourceURLs": ["/readyz*", "/livez*", "/healthz*", "/metrics"] },
            { "level": "None", "users": ["system:apiserver"] },
            { "level": "None", "users": controllers, "verbs": reads },
            { "level": "None", "userGroups": ["system:serviceaccounts:kube-system"], "verbs": reads },
            { "level": "Metadata" },
        ],
    })
    .to_string()
}

/// The current end of the log.
pub(crate) fn mark(log: &Path) -> Result<AuditMark> {
    match std::fs::metadata(log) {
        Ok(metadata) => Ok(AuditMark(metadata.len())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(AuditMark(0)),
        Err(error) => Err(error).on("read", log),
    }
}

/// The requests after a mark.
pub(crate) fn events_since(log: &Path, mark: AuditMark) -> Result<Vec<AuditEvent>> {
    let mut text = String::new();
    let mut file = File::open(log).on("read", log)?;
    let length = file.metadata().on("read", log)?.len();
    if length < mark.0 {
        return Err(Error::AuditLogShrank { log: log.to_owned(), length, mark: mark.0 });
    }
    file.seek(SeekFrom::Start(mark.0)).on("read", log)?;
    file.read_to_string(&mut text).on("read", log)?;
    parse(&text)
}

/// A line without its end is still being written and is left for the next call.
fn parse(text: &str) -> Result<Vec<AuditEvent>> {
    let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
    let mut events = Vec::new();
    for line in complete.lines() {
        let entry: Entry =
            serde_json::from_str(line).map_err(|source| Error::Json { what: "the audit log".to_owned(), source })?;
        if entry.counts() {
            events.push(entry.into_event());
        }
    }
    Ok(events)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    stage: String,
    verb: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectReference,
    #[serde(default)]
    response_status: ResponseStatus,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ObjectReference {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

impl Entry {
    fn counts(&self) -> bool {
        let starts = self.stage == "ResponseStarted";
        if self.verb == "watch" { starts } else { !starts }
    }

    fn into_event(self) -> AuditEvent {
        AuditEvent {
            user: self.user.username,
            user_agent: self.user_agent,
            verb: self.verb,
            group: self.object_ref.api_group,
            resource: self.object_ref.resource,
            subresource: self.object_ref.subresource,
            namespace: self.object_ref.namespace,
            name: self.object_ref.name,
            code: self.response_status.code,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(stage: &str, verb: &str) -> String {
        let user = json!({ "username": "alice" });
        let object = json!({ "resource": "pods", "subresource": "status", "namespace": "n", "name": "p" });
        let status = json!({ "code": 200 });
        json!({ "stage": stage, "verb": verb, "user": user, "objectRef": object, "responseStatus": status }).to_string()
    }

    #[test]
    fn a_watch_counts_once_when_it_starts() {
        let log = format!("{}\n{}\n", line("ResponseStarted", "watch"), line("ResponseComplete", "watch"));
        assert_eq!(parse(&log).unwrap().len(), 1);
    }

    #[test]
    fn a_mark_beyond_the_end_of_a_log_is_an_error() {
        let log = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(log.path(), format!("{}\n", line("ResponseComplete", "get"))).unwrap();
        let end = mark(log.path()).unwrap();
        assert_eq!(events_since(log.path(), end).unwrap(), []);
        let error = events_since(log.path(), AuditMark(end.0 + 1)).unwrap_err().to_string();
        assert!(error.contains("shorter"), "{error}");
    }

    #[test]
    fn a_line_that_is_still_written_is_left() {
        let log = format!("{}\n{{\"stage\":", line("ResponseComplete", "get"));
        let events = parse(&log).unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].kind().resource, "pods/status");
        assert_eq!(events[0].to_string(), "get pods/status n/p 200");
    }
}
