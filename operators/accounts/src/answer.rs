//! Reads answers of API servers within bounds, without a word to the log: what cannot be decoded may be a secret.

use drover_client::cache::WholeAnswer;
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::{client::Body, core::Status};

use crate::account::Answer;

/// An answer is longer than is accepted, or would decode to too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Excess;

/// Longest answer that says no, in bytes.
const REFUSAL_LIMIT: usize = 64 << 10;

/// Reads an answer of at most `limit` bytes.
pub(crate) async fn read(response: Response<Body>, limit: usize) -> kube::Result<Result<Answer, Excess>> {
    let (head, mut body) = response.into_parts();
    let limit = if head.status.is_success() { limit } else { limit.min(REFUSAL_LIMIT) };
    let (mut read, mut whole) = (Vec::new(), WholeAnswer::of_objects());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if data.len() > limit - read.len() || !whole.takes(&data) {
            return Ok(Err(Excess));
        }
        read.extend_from_slice(&data);
    }
    Ok(Ok(Answer { status: head.status, body: read }))
}

/// Reads an answer that says yes as [`read`] does; any other is the error that it tells.
pub(crate) async fn read_successful(response: Response<Body>, limit: usize) -> kube::Result<Result<Vec<u8>, Excess>> {
    match read(response, limit).await? {
        Ok(answer) => successful(answer).map(Ok),
        Err(excess) => Ok(Err(excess)),
    }
}

/// The body of an answer that says yes; any other is the error that it tells.
pub(crate) fn successful(Answer { status, body }: Answer) -> kube::Result<Vec<u8>> {
    if status.is_success() { Ok(body) } else { Err(kube::Error::Api(Box::new(refusal(status, &body)))) }
}

/// What an answer says that says no.
fn refusal(status: StatusCode, body: &[u8]) -> Status {
    let told = serde_json::from_slice::<Status>(body).ok().filter(|told| told.code == status.as_u16());
    told.unwrap_or_else(|| Status::failure(&String::from_utf8_lossy(body), "").with_code(status.as_u16()))
}
