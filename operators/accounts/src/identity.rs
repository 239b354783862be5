//! Whom a server takes the sender of a token for.
//!
//! A account's token is good at the cluster that issued it and nowhere else, so another cluster that answers under the same
//! address refuses it. What stands before an API server and sends requests on under a name of its own does not: there an app would
//! have that one's rights. So each new connection begins with the question who its sender is.

use std::{error::Error, iter::successors, sync::Arc};

use http::{HeaderValue, Request, StatusCode, header};
use serde::Deserialize;

/// On a request: the user that its token is to stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActsAs(Arc<str>);

/// Why nothing is sent on a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unidentified {
    /// The server does not accept the token.
    #[error("the API server does not accept the token of the ServiceAccount")]
    TokenNotAccepted,
    /// The server takes the sender for another user, or does not say.
    #[error("what answers takes the ServiceAccount for another user")]
    OtherUser,
}

/// Longest answer to the question, in bytes.
pub const ANSWER_LIMIT: usize = 64 << 10;

const PATH: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const QUESTION: &str = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#;

impl ActsAs {
    pub(crate) fn user(user: &str) -> Self {
        Self(user.into())
    }

    /// Judges the answer to the [`question`]: whether the server takes the sender for this user.
    pub fn judge(&self, status: StatusCode, body: &[u8]) -> Result<(), Unidentified> {
        if status == StatusCode::UNAUTHORIZED {
            return Err(Unidentified::TokenNotAccepted);
        }
        let told = serde_json::from_slice::<Review>(body).ok().filter(|_| status.is_success());
        if told.is_some_and(|told| told.status.user_info.username == *self.0) {
            Ok(())
        } else {
            Err(Unidentified::OtherUser)
        }
    }
}

#[derive(Deserialize)]
struct Review {
    status: ReviewStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReviewStatus {
    user_info: UserInfo,
}

#[derive(Deserialize)]
struct UserInfo {
    username: String,
}

/// The question to the server at `base`, a URL that may have a path, whom it takes the sender of `authorization` for. Whoever is
/// authenticated may ask it.
pub fn question(base: &http::Uri, authorization: &HeaderValue) -> http::Result<Request<String>> {
    let base = base.to_string();
    Request::post(format!("{}{PATH}", base.trim_end_matches('/')))
        .header(header::AUTHORIZATION, authorization)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .body(QUESTION.to_owned())
}

/// Why nothing was sent, if that is what lies below `error`.
pub(crate) fn unidentified(error: &(dyn Error + 'static)) -> Option<Unidentified> {
    successors(Some(error), |&cause| cause.source()).find_map(|cause| cause.downcast_ref()).copied()
}
