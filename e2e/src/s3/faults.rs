//! What goes wrong between Drover and a store.

use std::sync::{Arc, Mutex, PoisonError};

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use s3s::Body;
use s3s::service::S3Service;

use crate::http_proxy::WriteTrap;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with this status and this code.
    Answer(u16, &'static str),
    /// The connection ends before anything is done.
    Reset,
    /// It is done, and the connection ends before the answer.
    LoseAnswer,
}

/// Which requests are about what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An upload is opened.
    Open,
    /// A part is put.
    Part,
    /// An upload is completed.
    Complete,
    /// An object is put.
    Put,
    /// Any of them, and all others.
    Any,
}

impl Step {
    fn is(self, method: &Method, query: &str) -> bool {
        let (opens, is_of_upload) =
            (query.split('&').any(|pair| pair == "uploads" || pair == "uploads="), query.contains("uploadId="));
        match self {
            Self::Open => *method == Method::POST && opens,
            Self::Part => *method == Method::PUT && is_of_upload,
            Self::Complete => *method == Method::POST && is_of_upload,
            Self::Put => *method == Method::PUT && !is_of_upload,
            Self::Any => true,
        }
    }
}

/// The faults that are to come, and who counts what is changed. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) to_come: Arc<Mutex<Vec<(Step, Fault, usize)>>>,
    pub(super) trap: Option<Arc<WriteTrap>>,
}

impl Faults {
    pub(super) fn add(&self, step: Step, fault: Fault, times: usize) {
        self.to_come.lock().unwrap_or_else(PoisonError::into_inner).push((step, fault, times));
    }

    pub(super) fn forget(&self) {
        self.to_come.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn are_over(&self) -> bool {
        self.to_come.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn next(&self, method: &Method, query: &str) -> Option<Fault> {
        let mut all = self.to_come.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all.iter_mut().find(|(step, ..)| step.is(method, query))?;
        found.2 = found.2.saturating_sub(1);
        let fault = found.1;
        all.retain(|(.., times)| *times > 0);
        Some(fault)
    }

    /// Answers a request, unless its connection is to end.
    pub(super) async fn serve(
        &self,
        service: &S3Service,
        asked: Request<Incoming>,
    ) -> Result<Response<Body>, std::io::Error> {
        let query = asked.uri().query().unwrap_or_default().to_owned();
        let fault = self.next(asked.method(), &query);
        // Parts are what the Job puts.
        let changes = !matches!(*asked.method(), Method::GET | Method::HEAD) && !Step::Part.is(asked.method(), &query);
        let ended = || std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        match fault {
            Some(Fault::Reset) => Err(ended()),
            Some(Fault::Answer(status, code)) => {
                // Whoever is answered while it still sends may see its connection break instead, and try again.
                asked.into_body().collect().await.map_err(std::io::Error::other)?;
                let body = format!("<Error><Code>{code}</Code></Error>");
                Response::builder().status(status).body(Body::from(body)).map_err(std::io::Error::other)
            }
            Some(Fault::LoseAnswer) => {
                answered(service, asked).await?;
                Err(ended())
            }
            None => {
                let answer = answered(service, asked).await?;
                let is_killed = changes && self.trap.as_ref().is_some_and(|trap| trap.springs());
                if is_killed { Err(ended()) } else { Ok(answer) }
            }
        }
    }
}

async fn answered(service: &S3Service, asked: Request<Incoming>) -> Result<Response<Body>, std::io::Error> {
    service.call(asked.map(Body::from)).await.map_err(|error| std::io::Error::other(format!("{error:?}")))
}
