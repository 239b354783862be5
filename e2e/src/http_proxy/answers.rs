//! Answers of a server in trouble.

use bytes::Bytes;
use futures::stream::{self, Stream};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::watch;

use super::{Answers, Body, whole};

/// A `Status` with this code, in the API server's own form.
pub(super) fn status(code: StatusCode) -> Result<Response<Body>, http::Error> {
    let reason = if code == StatusCode::TOO_MANY_REQUESTS { "TooManyRequests" } else { "InternalError" };
    let text = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code.as_u16(),
        "reason": reason, "message": "the proxy of the test says so",
    });
    let response = Response::builder().status(code).header("Content-Type", "application/json");
    // As priority and fairness does.
    response.header("Retry-After", "1").body(whole(&text.to_string()))
}

/// The body of a watch, which the fault of the moment can break or silence.
pub(super) fn watched(body: Incoming, answers: watch::Receiver<Answers>) -> Body {
    BodyExt::boxed(StreamBody::new(Box::pin(frames(body, answers))))
}

async fn turned(answers: &mut watch::Receiver<Answers>, into: Answers) {
    // A proxy that is being dropped changes nothing any more.
    if answers.wait_for(|now| *now == into).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn frames(
    body: Incoming,
    answers: watch::Receiver<Answers>,
) -> impl Stream<Item = Result<Frame<Bytes>, hyper::Error>> + Send + Sync {
    stream::unfold((Some(body), answers), |(body, mut answers)| async move {
        let mut body = body?;
        let frame = tokio::select! {
            // Silent for good: the stream stays, and nothing comes out of it.
            () = turned(&mut answers, Answers::SilentWatches) => std::future::pending().await,
            frame = body.frame() => frame?,
        };
        let truncated = *answers.borrow() == Answers::TruncatedWatches;
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) if truncated => Some((Ok(Frame::data(data.slice(..data.len() / 2))), (None, answers))),
            Ok(Ok(data)) => Some((Ok(Frame::data(data)), (Some(body), answers))),
            Ok(Err(trailers)) => Some((Ok(trailers), (Some(body), answers))),
            Err(error) => Some((Err(error), (None, answers))),
        }
    })
}
