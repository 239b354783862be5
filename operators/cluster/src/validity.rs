//! Whether certificates and the credential are good for long enough. Pure.
//!
//! The judgement is part of the plan: a status is written only when a part changes, so nothing may be judged later.

use std::{collections::BTreeSet, time::Duration};

use drover_crds::{CertificateStatus, cluster::MAX_CERTIFICATES};
use drover_fleet::{CredentialLife, SeenCertificate};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

/// How long something is still good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Nothing with a known end was seen.
    NotObserved,
    /// Long enough.
    Valid,
    /// It ends soon: what and when.
    Expiring(String),
    /// It has ended: what and when.
    Expired(String),
}

/// A judgement, and when it changes by itself.
pub(crate) struct Judged {
    pub(crate) validity: Validity,
    pub(crate) changes: Option<Timestamp>,
}

/// The certificates as the status lists them: those that end first.
pub(crate) fn listed(seen: &[SeenCertificate]) -> Vec<CertificateStatus> {
    let mut seen: Vec<_> = seen.iter().collect();
    seen.sort_by_key(|certificate| (certificate.not_after, certificate.name));
    let mut names = BTreeSet::new();
    // The list is keyed by name.
    seen.retain(|certificate| names.insert(certificate.name));
    let told = |certificate: &SeenCertificate| CertificateStatus {
        name: certificate.name.to_owned(),
        source: certificate.source.to_owned(),
        not_after: Time(certificate.not_after),
    };
    seen.into_iter().take(MAX_CERTIFICATES).map(told).collect()
}

/// Judges the certificates, of which the first ends first.
pub(crate) fn of_certificates(listed: &[CertificateStatus], warn_before: Duration, now: Timestamp) -> Judged {
    let Some(first) = listed.first() else { return Judged { validity: Validity::NotObserved, changes: None } };
    let end = first.not_after.0;
    let what = format!("the certificate {} ({})", first.name, first.source);
    judge(&what, "; renew it", end, warn_before, now)
}

/// Judges the credential. A short-lived one is no warning all its life long: it has to have used up four fifths of it.
pub(crate) fn of_credential(life: Option<CredentialLife>, warn_before: Duration, now: Timestamp) -> Judged {
    let Some(CredentialLife { not_before, not_after }) = life else {
        return Judged { validity: Validity::NotObserved, changes: None };
    };
    let whole = not_before.map(|start| Duration::try_from(not_after.duration_since(start)).unwrap_or_default());
    let warn_before = whole.map_or(warn_before, |whole| warn_before.min(whole / 5));
    let what = "the credential in the kubeconfig";
    judge(what, "; put a kubeconfig with a new one into the Secret", not_after, warn_before, now)
}

fn judge(what: &str, remedy: &str, end: Timestamp, warn_before: Duration, now: Timestamp) -> Judged {
    let warning = end.checked_sub(warn_before).unwrap_or(Timestamp::MIN);
    if now >= end {
        Judged { validity: Validity::Expired(format!("{what} ended at {end}{remedy}")), changes: None }
    } else if now >= warning {
        Judged { validity: Validity::Expiring(format!("{what} ends at {end}{remedy}")), changes: Some(end) }
    } else {
        Judged { validity: Validity::Valid, changes: Some(warning) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WARN: Duration = Duration::from_secs(100);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn seen(name: &'static str, end: i64) -> SeenCertificate {
        SeenCertificate { name, source: "kubeconfig", not_after: at(end) }
    }

    /// What the judgement is called, and when it changes.
    fn told(judged: &Judged) -> (&'static str, Option<i64>) {
        let name = match judged.validity {
            Validity::NotObserved => "none",
            Validity::Valid => "valid",
            Validity::Expiring(_) => "expiring",
            Validity::Expired(_) => "expired",
        };
        (name, judged.changes.map(Timestamp::as_second))
    }

    #[test]
    fn the_certificate_that_ends_first_decides() {
        let listed = listed(&[seen("client", 2000), seen("api-server", 1000), seen("api-server", 3000)]);
        let names: Vec<_> = listed.iter().map(|certificate| certificate.name.as_str()).collect();
        assert_eq!(names, ["api-server", "client"]);
        for (now, expected) in [
            (899, ("valid", Some(900))),
            (900, ("expiring", Some(1000))),
            (999, ("expiring", Some(1000))),
            (1000, ("expired", None)),
        ] {
            assert_eq!(told(&of_certificates(&listed, WARN, at(now))), expected, "{now}");
        }
        let Validity::Expiring(message) = of_certificates(&listed, WARN, at(950)).validity else { panic!() };
        assert_eq!(message, "the certificate api-server (kubeconfig) ends at 1970-01-01T00:16:40Z; renew it");
    }

    #[test]
    fn none_seen_is_not_valid() {
        assert_eq!(told(&of_certificates(&[], WARN, at(0))), ("none", None));
        assert_eq!(told(&of_credential(None, WARN, at(0))), ("none", None));
    }

    #[test]
    fn a_short_lived_credential_is_no_warning_all_its_life() {
        let life =
            |not_before: Option<i64>| Some(CredentialLife { not_before: not_before.map(at), not_after: at(1000) });
        for (not_before, now, expected) in [
            (None, 899, ("valid", Some(900))),
            (None, 900, ("expiring", Some(1000))),
            (Some(0), 900, ("expiring", Some(1000))),
            (Some(900), 979, ("valid", Some(980))),
            (Some(900), 980, ("expiring", Some(1000))),
            (Some(900), 1000, ("expired", None)),
            (Some(2000), 999, ("valid", Some(1000))),
        ] {
            let judged = of_credential(life(not_before), WARN, at(now));
            assert_eq!(told(&judged), expected, "{not_before:?} {now}");
        }
    }

    #[test]
    fn absurd_warnings_are_no_defect() {
        let judged = of_certificates(&listed(&[seen("client", 1000)]), Duration::MAX, at(0));
        assert_eq!(told(&judged), ("expiring", Some(1000)));
    }
}
