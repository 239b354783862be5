use std::collections::BTreeMap;

use super::ControlPlane;
use crate::audit::{self, AuditEvent, AuditMark, RequestKind};
use crate::error::{Error, Result};

impl ControlPlane {
    /// The current end of the audit log: what comes later is counted from here.
    pub fn audit_mark(&self) -> Result<AuditMark> {
        self.check_audit()?;
        audit::mark(&self.layout.audit_log())
    }

    /// The requests since a mark. A request appears in the log moments after its answer.
    pub fn audit_events_since(&self, mark: AuditMark) -> Result<Vec<AuditEvent>> {
        self.check_audit()?;
        audit::events_since(&self.layout.audit_log(), mark)
    }

    /// The numbers of requests since a mark.
    pub fn requests_since(&self, mark: AuditMark) -> Result<BTreeMap<RequestKind, usize>> {
        let mut counts = BTreeMap::new();
        for event in self.audit_events_since(mark)? {
            *counts.entry(event.kind()).or_default() += 1;
        }
        Ok(counts)
    }

    fn check_audit(&self) -> Result<()> {
        if self.options.audit { Ok(()) } else { Err(Error::NoAudit(self.options.name.clone())) }
    }
}
