//! One operation on a whole cluster at a time: the one that has the Lease of the cluster. Pure.

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::{SignedDuration, Timestamp},
};
use kube::Resource;

/// The name of the Lease of a cluster, in Drover's namespace of the management cluster.
#[must_use]
pub fn name(cluster: &str) -> String {
    format!("operation-{cluster}")
}

/// An operation on a whole cluster: the object that asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID; empty where it is gone, and only what it holds is released.
    pub uid: String,
}

impl Operation {
    /// The operation that `object` asks for.
    #[must_use]
    pub fn of<K: Resource<DynamicType = ()>>(kind: &'static str, object: &K) -> Self {
        let meta = object.meta().clone();
        Self {
            kind,
            namespace: meta.namespace.unwrap_or_default(),
            name: meta.name.unwrap_or_default(),
            uid: meta.uid.unwrap_or_default(),
        }
    }

    /// Who it is, as a holder.
    #[must_use]
    pub fn holder(&self) -> String {
        let Self { kind, namespace, name, uid } = self;
        format!("{kind}/{namespace}/{name}/{uid}")
    }

    /// Who else holds `cluster` is told within its namespace only.
    #[must_use]
    pub fn waits_for(&self, cluster: &str, holder: &str) -> String {
        let mut words = holder.split('/');
        let who = match (words.next(), words.next(), words.next()) {
            (Some(kind), Some(namespace), Some(name)) if namespace == self.namespace => format!(" ({kind} {name})"),
            _ => String::new(),
        };
        format!("another operation on cluster {cluster} is under way{who}; this one begins when that one is done")
    }

    /// Whether this is its holder; of what is gone the UID is not asked for.
    fn is(&self, holder: &str) -> bool {
        if self.uid.is_empty() { holder.starts_with(&self.holder()) } else { holder == self.holder() }
    }
}

/// What is to be done to hold a Lease.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Claim {
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
pub(crate) fn claim(found: Option<&LeaseSpec>, holder: &str, seconds: i32, now: Timestamp) -> Claim {
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
pub(crate) fn released(found: &Lease, operation: &Operation) -> Option<Lease> {
    let holder = found.spec.as_ref()?.holder_identity.as_deref()?;
    operation.is(holder).then(|| {
        let mut lease = found.clone();
        lease.spec = Some(LeaseSpec::default());
        lease
    })
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
        assert_eq!(released(&lease, &operation("b")), None);
    }

    fn operation(uid: &str) -> Operation {
        let (namespace, name) = ("team".to_owned(), "nightly".to_owned());
        Operation { kind: "EtcdBackup", namespace, name, uid: uid.to_owned() }
    }

    #[test]
    fn what_is_released_is_what_the_operation_holds() {
        let (one, gone, other) =
            (operation("1"), operation(""), Operation { name: "night".to_owned(), ..operation("") });
        let Claim::Write(spec) = claim(None, &one.holder(), 60, at(0)) else { panic!("nobody has it") };
        let lease = Lease { spec: Some(*spec), ..Lease::default() };
        assert_eq!((released(&lease, &operation("2")), released(&lease, &other)), (None, None));
        let free = released(&lease, &one).unwrap();
        assert_eq!(Some(&free), released(&lease, &gone).as_ref());
        assert!(matches!(claim(free.spec.as_ref(), "b", 60, at(1)), Claim::Write(_)));
        assert_eq!(released(&free, &one), None);
        assert!(other.waits_for("eu", &one.holder()).contains("(EtcdBackup nightly)"));
        let foreign = Operation { namespace: "shop".to_owned(), ..one };
        assert!(!other.waits_for("eu", &foreign.holder()).contains("nightly"));
    }
}
