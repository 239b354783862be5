//! Error classes: one table decides retry, condition and event for every operator.

use std::fmt;

use kube::core::Status;

use crate::{
    cause::{ApiCause, Cause},
    refusal::Refuser,
};

/// What kind of failure it was. The class decides what the runtime does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Goes away by itself: 5xx, 429, a timeout. Retried with back-off.
    Transient,
    /// Another client wrote at the same time. Retried at once, with back-off from the third time in a row.
    Conflict,
    /// Something else has to change first. Its watch enqueues the key, or a minute does.
    Blocked,
    /// The cluster cannot be reached. Its reconnect enqueues the key; retried with back-off, in case it was one request only.
    Unreachable,
    /// The object asks for something that cannot be. It waits for a change of the object, or a minute.
    Invalid,
    /// A defect of Drover: a panic or a broken invariant. Retried with back-off, counted for the alarm.
    Bug,
}

/// When a key runs again after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// With exponential back-off.
    BackOff,
    /// At once; with exponential back-off from the third time in a row.
    AtOnce,
    /// After a minute, in case nothing tells of the change that it waits for: a right that was granted, a policy that went.
    Later,
}

impl Class {
    /// When to run again.
    #[must_use]
    pub fn retry(self) -> Retry {
        match self {
            Self::Transient | Self::Unreachable | Self::Bug => Retry::BackOff,
            Self::Conflict => Retry::AtOnce,
            Self::Blocked | Self::Invalid => Retry::Later,
        }
    }

    /// Whether the failure is about one thing that was asked for, and not about the whole server: then something
    /// independent of it may succeed all the same.
    #[must_use]
    pub fn is_about_one_thing(self) -> bool {
        match self {
            Self::Conflict | Self::Blocked | Self::Invalid => true,
            Self::Transient | Self::Unreachable | Self::Bug => false,
        }
    }

    /// Whether it often goes away by itself: then the first failures in a row are no news.
    #[must_use]
    pub fn often_heals(self) -> bool {
        match self {
            Self::Transient | Self::Conflict | Self::Unreachable => true,
            Self::Blocked | Self::Invalid | Self::Bug => false,
        }
    }

    /// Whether it makes the connection doubtful, so that the next probe should come soon.
    #[must_use]
    pub fn doubts_the_connection(self) -> bool {
        matches!(self, Self::Transient | Self::Unreachable)
    }

    /// The value of the metric label `class`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Conflict => "conflict",
            Self::Blocked => "blocked",
            Self::Unreachable => "unreachable",
            Self::Invalid => "invalid",
            Self::Bug => "bug",
        }
    }
}

/// An operator's error names its cause, from which everything else follows.
///
/// The text (`Display`) is a function of the cause and of stable names: no ports, times or attempt counts, so that equal
/// states give equal status.
pub trait Classify: fmt::Display + Send + 'static {
    /// The row of the table of causes.
    fn cause(&self) -> Cause;

    /// What kind of failure it is.
    fn class(&self) -> Class {
        self.cause().class()
    }

    /// The condition reason, in `CamelCase`.
    fn reason(&self) -> &'static str {
        self.cause().reason()
    }

    /// Who refused it, if its text quotes whoever refused, in words that may differ from one time to the next.
    fn refuser(&self) -> Option<String> {
        None
    }
}

/// An error reduced to what a status may show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub cause: Cause,
    /// What happened, where, and what to do next.
    pub message: String,
    /// Who refused it, if the message quotes whoever refused.
    pub refuser: Option<String>,
}

impl Failure {
    /// A failure for this cause.
    pub fn new(cause: impl Into<Cause>, message: impl Into<String>) -> Self {
        Self { cause: cause.into(), message: message.into(), refuser: None }
    }

    /// The failure that `error` describes.
    pub fn of(error: &impl Classify) -> Self {
        Self { cause: error.cause(), message: error.to_string(), refuser: error.refuser() }
    }

    /// Whether it is the same, though whoever refused it may have said it in other words.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let is_refused_alike = self.refuser.is_some() && self.refuser == other.refuser;
        self.cause == other.cause && (is_refused_alike || self.message == other.message)
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn class(&self) -> Class {
        self.cause.class()
    }

    /// The condition reason.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.cause.reason()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

/// A request to an API server that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The server answered with an error status.
    #[error("cannot {what}: {}", explain(.status))]
    Refused {
        /// The request, for example `apply Namespace team-a`.
        what: String,
        /// The answer.
        status: Box<Status>,
    },
    /// The same about what nobody may see: the words of whoever refused it may quote it, so they are not kept.
    #[error("cannot {what}: {reason}")]
    Unquoted {
        /// The request.
        what: String,
        /// The HTTP status code.
        code: u16,
        /// Why.
        cause: ApiCause,
        /// Who refused it, in words of ours.
        reason: String,
        /// Who refused it, if an admission did.
        refuser: Option<String>,
    },
    /// No answer within the limit, queueing included.
    #[error("cannot {what}: the API server did not answer in time")]
    Timeout {
        /// The request.
        what: String,
    },
    /// More came than a cache may hold.
    #[error("cannot {what}: the cluster holds more of it than Drover accepts")]
    TooLarge {
        /// The request.
        what: String,
    },
    /// The connection failed, or the answer could not be read.
    #[error("cannot {what}: the connection to the API server failed")]
    Broken {
        /// The request.
        what: String,
        /// Why; for logs only, it may hold addresses and ports.
        #[source]
        source: Box<kube::Error>,
    },
}

impl ApiError {
    /// Wraps an error of kube with the request `what` that it answers.
    pub fn new(what: impl Into<String>, error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused { what: what.into(), status },
            other => Self::Broken { what: what.into(), source: Box::new(other) },
        }
    }

    /// The same without anything that may quote what the request or its answer holds.
    #[must_use]
    pub fn unquoted(self) -> Self {
        let refuser = self.refuser();
        match self {
            Self::Refused { what, status } => {
                let (code, cause) = (status.code, cause_of(&status));
                let reason = match (Refuser::of(&status), cause) {
                    (Some(refuser), _) => refuser.without_words().to_string(),
                    (None, ApiCause::Forbidden) => "the credential may not do it".to_owned(),
                    (None, ApiCause::Rejected | ApiCause::NotFound) => "the API server refuses it".to_owned(),
                    (None, _) => explain(&status),
                };
                Self::Unquoted { what, code, cause, reason, refuser }
            }
            // An answer that cannot be read is quoted by whoever tried.
            Self::Broken { what, source } if matches!(*source, kube::Error::SerdeError(_)) => {
                let source = std::io::Error::other("the answer cannot be read");
                Self::Broken { what, source: Box::new(kube::Error::ReadEvents(source)) }
            }
            other => other,
        }
    }

    /// The HTTP status code, when the server answered.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(status.code),
            Self::Unquoted { code, .. } => Some(*code),
            Self::Timeout { .. } | Self::TooLarge { .. } | Self::Broken { .. } => None,
        }
    }
}

impl Classify for ApiError {
    fn cause(&self) -> Cause {
        let cause = match self {
            Self::Timeout { .. } => ApiCause::Timeout,
            Self::TooLarge { .. } => ApiCause::TooLarge,
            Self::Broken { .. } => ApiCause::ConnectionFailed,
            Self::Refused { status, .. } => cause_of(status),
            Self::Unquoted { cause, .. } => *cause,
        };
        cause.into()
    }

    fn refuser(&self) -> Option<String> {
        match self {
            Self::Refused { what, status } => Refuser::of(status).map(|refuser| format!("{what}: {}", refuser.who())),
            Self::Unquoted { refuser, .. } => refuser.clone(),
            Self::Timeout { .. } | Self::TooLarge { .. } | Self::Broken { .. } => None,
        }
    }
}

/// A server that fails to read a malformed apply answers 500, not 422; retried, it would be retried for ever.
const MALFORMED_APPLY: [&str; 2] = ["failed to create typed patch object", "failed to convert new object"];

fn cause_of(status: &Status) -> ApiCause {
    if let Some(refuser) = Refuser::of(status) {
        return refuser.cause();
    }
    match status.code {
        401 => ApiCause::Unauthorized,
        403 => ApiCause::Forbidden,
        404 => ApiCause::NotFound,
        409 => ApiCause::Conflict,
        // An apply that names the UID of an object that was deleted and created again.
        422 if status.message.contains("field is immutable") && status.message.contains("metadata.uid") => {
            ApiCause::Conflict
        }
        400 | 405 | 413 | 415 | 422 => ApiCause::Rejected,
        500 if MALFORMED_APPLY.iter().any(|text| status.message.contains(text)) => ApiCause::Rejected,
        _ => ApiCause::ApiServerError,
    }
}

/// The server's own words where they are about the request; where they are about the server's state they may change with
/// every attempt, and a fixed text stands for them.
fn explain(status: &Status) -> String {
    if let Some(refuser) = Refuser::of(status) {
        return refuser.to_string();
    }
    match cause_of(status).cause().class() {
        Class::Invalid | Class::Blocked => legible(&status.message, MESSAGE_LIMIT),
        Class::Conflict => "another client changed it at the same time".into(),
        Class::Unreachable => "the API server does not accept the credential".into(),
        Class::Transient | Class::Bug => format!("the API server answered {}", status.code),
    }
}

/// Longest server message that goes into a status, in bytes: 20 problems of this size stay well below 16 KiB.
pub const MESSAGE_LIMIT: usize = 300;

/// The text as it may be shown in status, events and logs, whoever's it is: spaces stand for control characters and for those
/// that change how others look (bidirectional marks, characters without width), and it has at most `limit` bytes, with an
/// ellipsis if anything is cut.
#[must_use]
pub fn legible(text: &str, limit: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(limit));
    for character in text.chars() {
        let character = if disturbs(character) { ' ' } else { character };
        if shown.len() + character.len_utf8() > limit {
            let room = limit.saturating_sub('…'.len_utf8());
            let end = shown.floor_char_boundary(room);
            shown.truncate(end);
            shown.push('…');
            break;
        }
        shown.push(character);
    }
    shown
}

/// Whether it is of Unicode's categories Cc, Cf, Zl or Zp, as far as text that people write has no use for it.
fn disturbs(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, message: &str) -> ApiError {
        let status = Status { code, message: message.into(), ..Status::default() };
        ApiError::new("apply Namespace team-a", kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn every_answer_has_the_class_that_heals_it() {
        for (code, message, class, reason) in [
            (401, "Unauthorized", Class::Unreachable, "Unauthorized"),
            (403, "forbidden", Class::Blocked, "Forbidden"),
            (401, "AdmissionPolicy 'p' with binding 'b' denied request: no", Class::Invalid, "Rejected"),
            (403, "admission webhook \"w\" denied the request: no", Class::Invalid, "Rejected"),
            (500, "failed calling webhook \"w\": no route", Class::Blocked, "WebhookFailed"),
            (403, "pods \"p\" is forbidden: exceeded quota: q, used: 5", Class::Blocked, "QuotaExceeded"),
            (404, "not found", Class::Blocked, "NotFound"),
            (409, "conflict", Class::Conflict, "Conflict"),
            (422, "metadata.uid: Invalid value: field is immutable", Class::Conflict, "Conflict"),
            (422, "spec.x: Invalid value", Class::Invalid, "Rejected"),
            (429, "slow down", Class::Transient, "APIServerError"),
            (500, "failed to create typed patch object (…)", Class::Invalid, "Rejected"),
            (500, "etcdserver: request timed out", Class::Transient, "APIServerError"),
            (503, "", Class::Transient, "APIServerError"),
        ] {
            let error = refused(code, message);
            assert_eq!((error.class(), error.reason()), (class, reason), "{code} {message}");
        }
    }

    #[test]
    fn a_message_of_a_passing_fault_does_not_change_with_the_attempt() {
        let one = refused(500, "rpc error after 3.1s").to_string();
        let two = refused(500, "rpc error after 9.7s").to_string();
        assert_eq!(one, two);
        assert_eq!(one, "cannot apply Namespace team-a: the API server answered 500");
    }

    #[test]
    fn who_refuses_in_other_words_says_the_same() {
        let failure = |message: &str| Failure::of(&refused(403, message));
        let (one, two) = (
            r#"admission webhook "w" denied the request: at 10:01"#,
            r#"admission webhook "w" denied the request: at 10:02"#,
        );
        assert!(failure(one).is_like(&failure(two)) && failure(one) != failure(two));
        assert!(!failure(one).is_like(&failure(r#"admission webhook "v" denied the request: at 10:01"#)));
        assert!(failure("forbidden").is_like(&failure("forbidden")));
        assert!(!failure("forbidden").is_like(&failure("forbidden as well")));
    }

    #[test]
    fn an_error_about_what_nobody_may_see_quotes_nothing() {
        for (code, message, told) in [
            (422, "data: Invalid value: \"hunter2\"", "the API server refuses it"),
            (403, "cannot patch hunter2", "the credential may not do it"),
            (403, "admission webhook \"w\" denied the request: hunter2", "the admission webhook w refuses it"),
            (422, "AdmissionPolicy 'p' with binding 'b' denied request: hunter2", "the admission policy p refuses it"),
            (409, "hunter2", "another client changed it at the same time"),
            (500, "hunter2", "the API server answered 500"),
        ] {
            let quoted = refused(code, message);
            let (class, reason, refuser) = (quoted.class(), quoted.reason(), quoted.refuser());
            let unquoted = quoted.unquoted();
            assert_eq!(unquoted.to_string(), format!("cannot apply Namespace team-a: {told}"));
            assert!(!format!("{unquoted:?}").contains("hunter2"), "{unquoted:?}");
            let kept = (unquoted.class(), unquoted.reason(), unquoted.refuser(), unquoted.code());
            assert_eq!(kept, (class, reason, refuser, Some(code)), "{message}");
        }
        let unreadable = serde_json::from_str::<u8>("\"hunter2\"").unwrap_err();
        let broken = ApiError::new("get it", kube::Error::SerdeError(unreadable));
        assert!(format!("{broken:?}").contains("hunter2") && !format!("{:?}", broken.unquoted()).contains("hunter2"));
    }

    #[test]
    fn a_cut_text_stays_within_its_limit_and_whole_characters() {
        assert_eq!(legible("short", 10), "short");
        assert_eq!(legible("ääääää", 8), "ää…");
        assert!(legible(&"x".repeat(1000), MESSAGE_LIMIT).len() <= MESSAGE_LIMIT);
    }

    #[test]
    fn what_would_change_how_the_rest_looks_is_a_space() {
        assert_eq!(legible("a\n\u{1b}[31mb\u{202e}c\u{200b}d\u{feff}", 100), "a  [31mb c d ");
        assert_eq!(legible("grün 東京 🚀", 100), "grün 東京 🚀");
        assert_eq!(legible(&"\u{202e}".repeat(10), 4), " …");
    }
}
