//! Who asked the API servers for what.

use crate::ControlPlane;
use crate::audit::{AuditEvent, AuditMark};
use crate::error::Result;
use crate::installation::{DROVER_USER, Installation};

/// A place in the audit log of every cluster of an installation.
pub type Marks = Vec<AuditMark>;

/// Where the audit logs end now.
pub fn marks(installation: &Installation) -> Result<Marks> {
    installation.planes().map(ControlPlane::audit_mark).collect()
}

/// The requests that drover made on any cluster since `marks`, with the cluster's name; the leader Lease is left out.
pub fn requests_since(installation: &Installation, marks: &Marks) -> Result<Vec<(String, AuditEvent)>> {
    let mut requests = Vec::new();
    for (plane, mark) in installation.planes().zip(marks) {
        let events = plane.audit_events_since(*mark)?.into_iter();
        let ours = events.filter(|event| event.user == DROVER_USER && event.resource != "leases");
        requests.extend(ours.map(|event| (plane.name().to_owned(), event)));
    }
    Ok(requests)
}

/// Those of them that change something, for people.
pub fn writes_since(installation: &Installation, marks: &Marks) -> Result<Vec<String>> {
    let requests = requests_since(installation, marks)?.into_iter().filter(|(_, event)| event.changes());
    Ok(requests.map(|(plane, event)| format!("{plane}: {event}")).collect())
}

/// What `user` changed on a control plane since `mark`, in order, each as `VERB RESOURCE NAMESPACE/NAME CODE`.
pub fn writes_by(user: &str, plane: &ControlPlane, mark: AuditMark) -> Result<Vec<String>> {
    let events = plane.audit_events_since(mark)?.into_iter();
    Ok(events.filter(|event| event.user == user && event.changes()).map(|event| event.to_string()).collect())
}
