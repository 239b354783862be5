//! Which member a snapshot is taken from. Pure.

use drover_backups::FailureCause;

use super::RpcError;
use crate::SnapshotError;

/// How a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Such as `3.7.1`.
    pub(crate) version: String,
    pub(crate) cluster_id: u64,
    pub(crate) member_id: u64,
    /// Id of the leader; 0: there is none.
    pub(crate) leader: u64,
    pub(crate) revision: u64,
    /// Bytes of its database, as a snapshot has them.
    pub(crate) db_bytes: u64,
    /// Entries that it has received and not applied.
    pub(crate) lag: u64,
    pub(crate) is_learner: bool,
    /// What it says of itself: alarms, and that there is no leader.
    pub(crate) errors: Vec<String>,
}

/// Codes of gRPC: it wants another identity.
const REFUSALS: [u32; 2] = [7, 16];

impl Seen {
    /// Whether there is a leader.
    pub(crate) fn has_leader(&self) -> bool {
        self.leader != 0
    }

    /// The minor version, by which hashes can be compared.
    pub(crate) fn minor(&self) -> Option<(&str, &str)> {
        let mut parts = self.version.split('.');
        Some((parts.next()?, parts.next()?))
    }

    /// The kind of an alarm, such as `NOSPACE`.
    fn alarm(&self) -> Option<String> {
        let kind = self.errors.iter().find_map(|error| error.split("alarm:").nth(1))?;
        Some(kind.chars().take_while(char::is_ascii_alphanumeric).take(32).collect())
    }

    /// Why no snapshot is taken from it.
    fn objection(&self, most_lag: u64) -> Option<String> {
        if self.is_learner {
            return Some("is a learner, which may lack data; promote it, or name another endpoint".to_owned());
        }
        if let Some(kind) = self.alarm() {
            return Some(format!("has the alarm {kind}; see to it, then clear it with etcdctl alarm disarm"));
        }
        let is_late = self.lag > most_lag;
        is_late.then(|| format!("lags {} entries behind, more than {most_lag}; wait, or look at its disk", self.lag))
    }
}

/// The member to take the snapshot from, as an index: the first healthy one that does not lead, else the one that leads.
pub(crate) fn choose(members: &[(String, Result<Seen, RpcError>)], most_lag: u64) -> Result<usize, SnapshotError> {
    let healthy = |(_, seen): &&(String, Result<Seen, RpcError>)| {
        seen.as_ref().is_ok_and(|seen| seen.objection(most_lag).is_none())
    };
    let leads = |seen: &Seen| seen.leader == seen.member_id;
    let of = |led: bool| {
        members.iter().position(|member| healthy(&member) && member.1.as_ref().is_ok_and(|seen| leads(seen) == led))
    };
    of(false).or_else(|| of(true)).ok_or_else(|| refusal(members, most_lag))
}

fn refusal(members: &[(String, Result<Seen, RpcError>)], most_lag: u64) -> SnapshotError {
    let why = |(endpoint, seen): &(String, Result<Seen, RpcError>)| match seen {
        Ok(seen) => format!("{endpoint} {}", seen.objection(most_lag).unwrap_or_default()),
        Err(error) => format!("{endpoint} {error}"),
    };
    let all: Vec<_> = members.iter().map(why).collect();
    let is_refused = |seen: &Result<Seen, RpcError>| {
        matches!(seen, Err(RpcError::Tls))
            || matches!(seen, Err(RpcError::Status { code, .. }) if REFUSALS.contains(code))
    };
    let cause = if members.iter().any(|(_, seen)| seen.is_ok()) {
        FailureCause::MemberUnhealthy
    } else if members.iter().any(|(_, seen)| is_refused(seen)) {
        FailureCause::MemberRefused
    } else {
        FailureCause::MemberUnreachable
    };
    let advice = match cause {
        FailureCause::MemberUnhealthy => "no snapshot is taken from such a member",
        FailureCause::MemberRefused => "check the certificate of the client and the authority",
        _ => "check that etcd runs there",
    };
    SnapshotError::new(cause, format!("etcd at {}: {advice}", all.join(", ")))
}
