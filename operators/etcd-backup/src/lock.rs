//! One operation on a whole cluster at a time: the one that has the Lease of the cluster. Pure.

use drover_crds::EtcdBackup;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt as _;

/// The name of the Lease of a cluster, in Drover's namespace of the management cluster.
#[must_use]
pub fn name(cluster: &str) -> String {
    format!("operation-{cluster}")
}

/// Who a backup is, as a holder.
#[must_use]
pub fn holder(backup: &EtcdBackup) -> String {
    let (namespace, uid) = (backup.namespace().unwrap_or_default(), backup.uid().unwrap_or_default());
    format!("EtcdBackup/{namespace}/{}/{uid}", backup.name_any())
}

/// What is to be done to hold a Lease.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// Nothing: it is held already.
    Held,
    /// Write it like this.
    Write(Box<LeaseSpec>),
    /// Wait: this one holds it.
    Taken(String),
}

/// A Lease that its holder asks for again is renewed once so much of it is over.
const RENEW_AFTER_SECONDS: i64 = 60;

/// Whether `holder` may have the Lease for `seconds`. One that has expired is nobody's: its holder may be gone with its object.
#[must_use]
pub fn claim(found: Option<&LeaseSpec>, holder: &str, seconds: i32, now: Timestamp) -> Claim {
    let present = found.and_then(|spec| spec.holder_identity.as_deref()).filter(|present| !present.is_empty());
    let renewal = now.checked_sub(SignedDuration::from_secs(RENEW_AFTER_SECONDS)).unwrap_or(now);
    let is_fresh = |spec: &LeaseSpec| renewed(spec).is_some_and(|renewed| renewed > renewal);
    match (present, found) {
        (Some(present), Some(spec)) if present == holder && is_fresh(spec) => Claim::Held,
        (Some(present), Some(spec)) if present != holder && !has_expired(spec, now) => Claim::Taken(present.to_owned()),
        _ => Claim::Write(Box::new(LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(seconds),
            acquire_time: Some(MicroTime(now)),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        })),
    }
}

/// The Lease without its holder, if it is this one.
#[must_use]
pub fn released(found: &Lease, holder: &str) -> Option<Lease> {
    let spec = found.spec.as_ref()?;
    (spec.holder_identity.as_deref() == Some(holder)).then(|| {
        let mut lease = found.clone();
        lease.spec = Some(LeaseSpec::default());
        lease
    })
}

/// Who holds a cluster is told within its namespace only.
#[must_use]
pub fn running(backup: &EtcdBackup, holder: &str) -> String {
    let own = format!("EtcdBackup/{}/", backup.namespace().unwrap_or_default());
    let name = holder.strip_prefix(&own).and_then(|rest| rest.split('/').next());
    let who = name.map(|name| format!(" (EtcdBackup {name})")).unwrap_or_default();
    let cluster = &backup.spec.cluster_name;
    format!("another operation on cluster {cluster} is under way{who}; this one begins when that one is done")
}

fn has_expired(spec: &LeaseSpec, now: Timestamp) -> bool {
    let length = SignedDuration::from_secs(spec.lease_duration_seconds.unwrap_or_default().into());
    renewed(spec).is_none_or(|renewed| renewed.checked_add(length).is_ok_and(|end| end < now))
}

fn renewed(spec: &LeaseSpec) -> Option<Timestamp> {
    spec.renew_time.as_ref().or(spec.acquire_time.as_ref()).map(|time| time.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
    }

    #[test]
    fn a_lease_has_one_holder_until_it_is_released_or_expires() {
        let Claim::Write(first) = claim(None, "a", 60, at(0)) else { panic!("nobody has it") };
        assert_eq!(claim(Some(&first), "a", 60, at(30)), Claim::Held);
        let Claim::Write(again) = claim(Some(&first), "a", 60, at(90)) else { panic!("it is renewed") };
        assert_eq!(again.renew_time, Some(MicroTime(at(90))));
        assert_eq!(claim(Some(&again), "b", 60, at(120)), Claim::Taken("a".to_owned()));
        assert_eq!(claim(Some(&first), "b", 60, at(60)), Claim::Taken("a".to_owned()));
        let Claim::Write(second) = claim(Some(&first), "b", 60, at(61)) else { panic!("it has expired") };
        assert_eq!(second.holder_identity.as_deref(), Some("b"));

        let lease = Lease { spec: Some(*first), ..Lease::default() };
        assert_eq!(released(&lease, "b"), None);
        let free = released(&lease, "a").unwrap();
        assert!(matches!(claim(free.spec.as_ref(), "b", 60, at(1)), Claim::Write(_)));
        assert_eq!(released(&free, "a"), None);
    }
}
