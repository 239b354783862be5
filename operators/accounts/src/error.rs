//! Why a request as a account did not succeed.

use std::fmt;

use drover_client::{
    ApiCause, ApiError, Cause, Classify, ObjectKey, WriteCause,
    error::{MESSAGE_LIMIT, legible},
};
use kube::core::{Status, response::StatusCause};

use crate::account::AccountName;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// To read one object.
    Get,
    /// To read the objects with a label.
    List,
    /// To make an object that does not exist.
    Create,
    /// To apply an object.
    Apply,
    /// To replace an object that was read.
    Update,
    /// To delete an object.
    Delete,
}

impl fmt::Display for Verb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Create => "create",
            Self::Apply => "apply",
            Self::Update => "update",
            Self::Delete => "delete",
        })
    }
}

/// A request: what is asked for, and of which object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What is asked for.
    pub verb: Verb,
    /// The kind.
    pub kind: String,
    /// The object. Of a list it is the namespace only.
    pub key: ObjectKey,
}

impl fmt::Display for Asked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.verb, legible(&self.kind, NAME_LIMIT))?;
        let Self { verb: _, kind: _, key: ObjectKey { namespace, name } } = self;
        let key = match (namespace.as_str(), name.as_str()) {
            ("", "") => return Ok(()),
            ("", name) => name.to_owned(),
            (namespace, "") => format!("in {namespace}"),
            (namespace, name) => format!("{namespace}/{name}"),
        };
        write!(formatter, " {}", legible(&key, NAME_LIMIT))
    }
}

/// A field that another field manager owns and that the request wants otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldConflict {
    /// The other field manager.
    pub manager: String,
    /// The field, for example `.spec.replicas`.
    pub field: String,
}

/// A request as a account that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// There is no connection on which a account could be used.
    #[error("Drover has no connection to this place on which it sends as a ServiceAccount")]
    Unavailable,
    /// There is no token, and without one nothing is sent.
    #[error(transparent)]
    Token(ApiError),
    /// A token is not accepted, and neither is the next one.
    #[error(
        "the API server does not accept tokens of the ServiceAccount {account} that it gave; name the API server itself in `server` of the kubeconfig"
    )]
    TokenRefused {
        /// Which.
        account: AccountName,
    },
    /// What answers takes the account for another user, so nothing was sent.
    #[error(
        "what answers for the API server takes the ServiceAccount {account} for another user, so Drover sends nothing as it; name the API server itself in `server` of the kubeconfig"
    )]
    OtherUser {
        /// Which.
        account: AccountName,
    },
    /// The account may not do it, or may not give others what it gives them.
    #[error("cannot {asked}: {reason}")]
    Forbidden {
        /// The request.
        asked: Asked,
        /// The words of the server, cut.
        reason: String,
    },
    /// Other field managers own fields of the object.
    #[error("cannot {asked}: {}", shown(.conflicts))]
    FieldConflict {
        /// The request.
        asked: Asked,
        /// At most ten of them.
        conflicts: Vec<FieldConflict>,
    },
    /// The object that was to be created exists.
    #[error("cannot {asked}: it exists")]
    AlreadyExists {
        /// The request.
        asked: Asked,
    },
    /// A field that cannot change would have to.
    #[error("cannot {asked}: {reason}")]
    Immutable {
        /// The request.
        asked: Asked,
        /// The words of the server, cut.
        reason: String,
    },
    /// The server has no such kind.
    #[error("the API server has no {kind} in {api_version}")]
    UnknownKind {
        /// Group and version.
        api_version: String,
        /// The kind.
        kind: String,
    },
    /// A name or a namespace that no object of the kind can have.
    #[error("cannot {asked}: no object of that kind can have this name and namespace")]
    InvalidName {
        /// The request.
        asked: Asked,
    },
    /// What is to be read is no path of an API server.
    #[error("what is to be read is no path of an API server")]
    InvalidPath,
    /// Anything else.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// Longest name of an object or a field manager in a message, in bytes.
const NAME_LIMIT: usize = 253;
/// Most fields that an error names.
const FIELDS: usize = 10;
/// What API servers say, in the messages of causes only, of fields that cannot change.
const IMMUTABLE: [&str; 5] = [
    "immutable",
    "may not change once set",
    "may not be changed",
    "cannot change roleRef",
    "updates to statefulset spec for fields other than",
];

impl AccountError {
    /// What `error` means as the answer to `asked`.
    pub(crate) fn of(asked: Asked, error: ApiError) -> Self {
        let (ApiError::Refused { status, .. }, None) = (&error, error.refuser()) else { return Self::Api(error) };
        let reason = legible(&status.message, MESSAGE_LIMIT);
        let conflicts = conflicts(status);
        match status.code {
            403 if error.cause() == ApiCause::Forbidden.into() => Self::Forbidden { asked, reason },
            409 if !conflicts.is_empty() => Self::FieldConflict { asked, conflicts },
            409 if asked.verb == Verb::Create && status.is_already_exists() => Self::AlreadyExists { asked },
            422 if IMMUTABLE.iter().any(|words| status.message.contains(words))
                && error.cause() == ApiCause::Rejected.into() =>
            {
                Self::Immutable { asked, reason }
            }
            _ => Self::Api(error),
        }
    }
}

fn conflicts(status: &Status) -> Vec<FieldConflict> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let conflict = |StatusCause { message, field, .. }: &StatusCause| FieldConflict {
        // conflict with "kubectl" using apps/v1
        manager: legible(message.split('"').nth(1).unwrap_or("another"), NAME_LIMIT),
        field: legible(field, NAME_LIMIT),
    };
    causes.filter(|cause| cause.reason == "FieldManagerConflict").take(FIELDS).map(conflict).collect()
}

fn shown(conflicts: &[FieldConflict]) -> String {
    let shown = conflicts.iter().map(|FieldConflict { manager, field }| format!("{manager} owns {field}"));
    legible(&shown.collect::<Vec<_>>().join(", "), MESSAGE_LIMIT)
}

impl Classify for AccountError {
    fn cause(&self) -> Cause {
        match self {
            Self::Unavailable => ApiCause::ConnectionFailed.into(),
            Self::Token(error) | Self::Api(error) => error.cause(),
            Self::TokenRefused { .. } | Self::OtherUser { .. } => ApiCause::Unauthorized.into(),
            Self::Forbidden { .. } => ApiCause::Forbidden.into(),
            Self::FieldConflict { .. } => WriteCause::FieldConflict.into(),
            Self::AlreadyExists { .. } => WriteCause::AlreadyExists.into(),
            Self::Immutable { .. } | Self::InvalidName { .. } | Self::InvalidPath => ApiCause::Rejected.into(),
            Self::UnknownKind { .. } => ApiCause::NotFound.into(),
        }
    }

    fn refuser(&self) -> Option<String> {
        match self {
            Self::Token(error) | Self::Api(error) => error.refuser(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(verb: Verb, status: Value) -> (&'static str, String) {
        let asked = Asked { verb, kind: "Deployment".into(), key: ObjectKey::namespaced("web", "shop") };
        let status: Status = serde_json::from_value(status).unwrap();
        let error = ApiError::new(asked.to_string(), kube::Error::Api(Box::new(status)));
        let error = AccountError::of(asked, error);
        let variant = match &error {
            AccountError::Forbidden { .. } => "Forbidden",
            AccountError::FieldConflict { .. } => "FieldConflict",
            AccountError::AlreadyExists { .. } => "AlreadyExists",
            AccountError::Immutable { .. } => "Immutable",
            _ => "Api",
        };
        (variant, format!("{}: {error}", error.reason()))
    }

    #[test]
    fn every_refusal_is_told_apart() {
        let may_not = r#"deployments.apps "shop" is forbidden: User "system:serviceaccount:drover-system:app.team.shop" cannot patch resource "deployments" in API group "apps" in the namespace "web""#;
        let (variant, text) = told(Verb::Apply, json!({"code": 403, "reason": "Forbidden", "message": may_not}));
        assert_eq!(variant, "Forbidden");
        assert_eq!(text, format!("Forbidden: cannot apply Deployment web/shop: {may_not}"));

        let cause = json!({
            "reason": "FieldManagerConflict", "field": ".spec.replicas", "message": "conflict with \"kubectl\" using apps/v1",
        });
        let conflict =
            json!({"code": 409, "reason": "Conflict", "message": "1 conflict", "details": {"causes": [cause]}});
        let owns = "FieldConflict: cannot apply Deployment web/shop: kubectl owns .spec.replicas";
        assert_eq!(told(Verb::Apply, conflict), ("FieldConflict", owns.to_owned()));

        let exists = json!({"code": 409, "reason": "AlreadyExists", "message": "exists"});
        assert_eq!(told(Verb::Create, exists.clone()).0, "AlreadyExists");
        assert_eq!(told(Verb::Update, exists).0, "Api");
        let stale = json!({"code": 409, "reason": "Conflict", "message": "the object has been modified"});
        assert!(told(Verb::Update, stale).1.starts_with("Conflict: "));

        for (message, variant) in [
            ("Deployment.apps \"shop\" is invalid: spec.selector: Invalid value: {}: field is immutable", "Immutable"),
            (
                "spec: Forbidden: updates to statefulset spec for fields other than 'replicas' are forbidden",
                "Immutable",
            ),
            ("spec.clusterIPs[0]: Invalid value: []: may not change once set", "Immutable"),
            ("spec.replicas: Invalid value: -1", "Api"),
            ("ValidatingAdmissionPolicy 'p' with binding 'b' denied request: it is immutable", "Api"),
            ("metadata.uid: Invalid value: field is immutable", "Api"),
        ] {
            assert_eq!(told(Verb::Apply, json!({"code": 422, "message": message})).0, variant, "{message}");
        }
        assert_eq!(told(Verb::Get, json!({"code": 500, "message": "etcd"})).0, "Api");
    }

    #[test]
    fn what_is_named_is_shown_as_text() {
        let asked = |namespace: &str, name: &str| {
            let asked =
                Asked { verb: Verb::List, kind: "A\u{202e}".into(), key: ObjectKey::namespaced(namespace, name) };
            asked.to_string()
        };
        assert_eq!(asked("", ""), "list A ");
        assert_eq!(asked("web", ""), "list A  in web");
        assert_eq!(asked("", "x\ny"), "list A  x y");
        assert!(asked("", &"x".repeat(1000)).len() < 300);
    }
}
