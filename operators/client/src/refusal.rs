//! Who refused a request, and with what words. An API server says it in the text of its answer only.

use std::fmt;

use kube::core::Status;

use crate::{cause::ApiCause, error::legible};

/// Longest words of whoever refused, in bytes: they are the cluster's, and end up in status, events and logs.
const WORDS_LIMIT: usize = 256;
/// Longest name, in bytes; that of a webhook is a DNS name.
const NAME_LIMIT: usize = 253;

const TERMINATING: &str = "NamespaceTerminating";
/// What stands before the words of the store: the object exists already.
const BEING_DELETED: &str = "object is being deleted: ";
const WEBHOOK: &str = "admission webhook \"";
const WEBHOOK_FAILED: &str = "failed calling webhook \"";
const POLICY: &str = "AdmissionPolicy '";
const QUOTAS: [&str; 2] = ["exceeded quota: ", "failed quota: "];
const DENIED: [&str; 2] = ["denied the request: ", "denied request: "];
const FORBIDDEN: &str = " is forbidden: ";
/// The words of the check of rights, and of the one that keeps rights from being handed on.
const ABOUT_RIGHTS: [&str; 2] = ["User \"", "RBAC permissions not currently held"];

/// Who refused a request that the credential may make.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refuser {
    kind: Kind,
    /// Its name, for example of the webhook.
    name: String,
    /// Why, in its own words.
    words: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Webhook,
    WebhookDown,
    Policy,
    Quota,
    Namespace,
    /// An object of the same name that is on its way out.
    Predecessor,
    /// Another part of admission, which does not say its name.
    Admission,
}

impl Refuser {
    /// Who answered with this status; none if it says nothing of admission.
    pub(crate) fn of(status: &Status) -> Option<Self> {
        let text = status.message.as_str();
        let between = |begin: &str, end: char| text.split_once(begin).and_then(|(_, rest)| rest.split_once(end));
        let named = |kind, name: &str, words: &str| {
            let words = DENIED.iter().find_map(|said| words.split_once(said)).map_or("", |(_, words)| words);
            Some(Self::new(kind, name, words))
        };
        let causes = status.details.iter().flat_map(|details| &details.causes);
        if causes.into_iter().any(|cause| cause.reason == TERMINATING) {
            return Some(Self::new(Kind::Namespace, "", ""));
        }
        if text.starts_with(BEING_DELETED) {
            return Some(Self::new(Kind::Predecessor, "", ""));
        }
        if let Some((name, _)) = between(WEBHOOK_FAILED, '"') {
            return Some(Self::new(Kind::WebhookDown, name, ""));
        }
        if let Some((name, words)) = between(WEBHOOK, '"') {
            return named(Kind::Webhook, name, words);
        }
        if let Some((name, words)) = between(POLICY, '\'') {
            return named(Kind::Policy, name, words);
        }
        let after_forbidden = text.split_once(FORBIDDEN).map(|(_, words)| words)?;
        if let Some(rest) = QUOTAS.iter().find_map(|said| after_forbidden.strip_prefix(said)) {
            let name = rest.split([',', ':']).next().unwrap_or_default();
            return Some(Self::new(Kind::Quota, name, after_forbidden));
        }
        let is_about_rights = ABOUT_RIGHTS.iter().any(|said| after_forbidden.contains(said));
        (!is_about_rights).then(|| Self::new(Kind::Admission, "", after_forbidden))
    }

    fn new(kind: Kind, name: &str, words: &str) -> Self {
        let words = legible(words.trim(), WORDS_LIMIT);
        Self { kind, name: legible(name, NAME_LIMIT), words }
    }

    pub(crate) fn cause(&self) -> ApiCause {
        match self.kind {
            Kind::Webhook | Kind::Policy | Kind::Admission => ApiCause::Rejected,
            Kind::WebhookDown => ApiCause::WebhookFailed,
            Kind::Quota => ApiCause::QuotaExceeded,
            Kind::Namespace | Kind::Predecessor => ApiCause::NamespaceTerminating,
        }
    }

    /// It without its words, which may quote what it refuses.
    pub(crate) fn without_words(self) -> Self {
        Self { words: String::new(), ..self }
    }

    /// Its name only: its words may differ from one answer to the next.
    pub(crate) fn who(&self) -> String {
        let name = &self.name;
        match self.kind {
            Kind::Webhook | Kind::WebhookDown => format!("the admission webhook {name}"),
            Kind::Policy => format!("the admission policy {name}"),
            Kind::Quota => format!("the resource quota {name}"),
            Kind::Namespace => "the namespace".to_owned(),
            Kind::Predecessor => "the one of that name before it".to_owned(),
            Kind::Admission => "the admission of the API server".to_owned(),
        }
    }
}

impl fmt::Display for Refuser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, words, .. } = self;
        let does = match kind {
            Kind::Namespace | Kind::Predecessor => "is being deleted; Drover tries again once it is gone",
            Kind::WebhookDown => "does not answer; look at the service behind it",
            Kind::Webhook | Kind::Policy | Kind::Quota | Kind::Admission => "refuses it",
        };
        write!(formatter, "{} {does}", self.who())?;
        if words.is_empty() { Ok(()) } else { write!(formatter, ": {words}") }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(message: &str) -> Status {
        Status { message: message.to_owned(), ..Status::default() }
    }

    fn told(message: &str) -> Option<String> {
        let refuser = Refuser::of(&status(message))?;
        Some(format!("{}: {refuser}", refuser.cause().reason()))
    }

    /// The texts are those of a kube-apiserver 1.37.
    #[test]
    fn whoever_refuses_is_named_with_its_words() {
        for (message, expected) in [
            (
                r#"admission webhook "names.example.com" denied the request: no team called team-web"#,
                "Rejected: the admission webhook names.example.com refuses it: no team called team-web",
            ),
            (
                r#"admission webhook "names.example.com" denied the request without explanation"#,
                "Rejected: the admission webhook names.example.com refuses it",
            ),
            (
                r#"Internal error occurred: failed calling webhook "names.example.com": failed to call webhook: Post "https://names.team.svc:443/check?timeout=10s": dial tcp 10.0.0.7:443: connect: connection refused"#,
                "WebhookFailed: the admission webhook names.example.com does not answer; look at the service behind it",
            ),
            (
                r#"namespaces "team-web" is forbidden: ValidatingAdmissionPolicy 'frozen' with binding 'frozen-all' denied request: no changes until Monday"#,
                "Rejected: the admission policy frozen refuses it: no changes until Monday",
            ),
            (
                r#"rolebindings.rbac.authorization.k8s.io "viewers" is forbidden: exceeded quota: small, requested: count/rolebindings=1, used: count/rolebindings=5, limited: count/rolebindings=5"#,
                "QuotaExceeded: the resource quota small refuses it: exceeded quota: small, requested: count/rolebindings=1, used: count/rolebindings=5, limited: count/rolebindings=5",
            ),
            (
                r#"pods "web" is forbidden: failed quota: small: must specify limits.cpu"#,
                "QuotaExceeded: the resource quota small refuses it: failed quota: small: must specify limits.cpu",
            ),
            (
                r#"object is being deleted: namespaces "team-web" already exists"#,
                "NamespaceTerminating: the one of that name before it is being deleted; Drover tries again once it is gone",
            ),
            (
                r#"pods "web" is forbidden: violates PodSecurity "restricted:latest": host namespaces"#,
                r#"Rejected: the admission of the API server refuses it: violates PodSecurity "restricted:latest": host namespaces"#,
            ),
        ] {
            assert_eq!(told(message).as_deref(), Some(expected), "{message}");
        }
    }

    #[test]
    fn what_is_about_rights_or_says_nothing_is_no_refusal_of_admission() {
        for message in [
            r#"namespaces "team-web" is forbidden: User "drover" cannot patch resource "namespaces" in API group "" at the cluster scope"#,
            r#"clusterroles.rbac.authorization.k8s.io "x" is forbidden: user "drover" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:"#,
            "forbidden",
            "etcdserver: request timed out",
            "",
        ] {
            assert_eq!(told(message), None, "{message}");
        }
    }

    #[test]
    fn a_namespace_that_is_being_deleted_says_so() {
        let status: Status = serde_json::from_value(json!({
            "message": r#"rolebindings "viewers" is forbidden: unable to create new content in namespace team-web because it is being terminated"#,
            "details": {"causes": [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]},
        }))
        .unwrap();
        let refuser = Refuser::of(&status).unwrap();
        assert_eq!(refuser.cause(), ApiCause::NamespaceTerminating);
        assert_eq!(refuser.to_string(), "the namespace is being deleted; Drover tries again once it is gone");
    }

    #[test]
    fn words_of_a_cluster_are_filtered_and_cut() {
        let words = format!("line\n\u{1b}[31m{}", "ä".repeat(1000));
        let told = told(&format!(r#"admission webhook "w" denied the request: {words}"#)).unwrap();
        assert!(told.len() < 400 && !told.contains(char::is_control), "{told}");
        let name = "w".repeat(5000);
        assert!(Refuser::of(&status(&format!(r#"failed calling webhook "{name}": x"#))).unwrap().who().len() < 300);
    }
}
