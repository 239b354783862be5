//! What the admin port answers.

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http_body_util::Full;
use hyper::{
    Method, Response, StatusCode,
    body::Bytes,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
};
use prometheus_client::encoding::text;

use super::AdminState;

/// Content type of the metrics, as the `OpenMetrics` specification 1.0.0 writes it.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// When the main runtime was last seen alive.
#[derive(Debug)]
pub(super) struct Heartbeat {
    start: Instant,
    /// Milliseconds from `start` to the last beat.
    last: AtomicU64,
    limit: Duration,
}

impl Heartbeat {
    pub(super) fn new(limit: Duration) -> Self {
        Self { start: Instant::now(), last: AtomicU64::new(0), limit }
    }

    pub(super) fn beat(&self) {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(elapsed, Ordering::Relaxed);
    }

    /// For how long the runtime has been blocked, if it is. The clock is the system's own: a paused tokio clock of the main
    /// runtime, or its lateness, must not show here.
    fn blocked(&self) -> Option<Duration> {
        let silent = self.start.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)));
        (silent > self.limit).then_some(silent)
    }
}

/// What the answers are made from.
pub(super) struct Pages {
    pub(super) state: AdminState,
    pub(super) heartbeat: Arc<Heartbeat>,
}

impl Pages {
    pub(super) fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let page: fn(&Self) -> Response<Full<Bytes>> = match path {
            "/livez" => Self::livez,
            "/readyz" => Self::readyz,
            "/metrics" => Self::metrics,
            _ => return plain(StatusCode::NOT_FOUND, "not found\n"),
        };
        if method == Method::GET || method == Method::HEAD {
            return page(self);
        }
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        response
    }

    fn livez(&self) -> Response<Full<Bytes>> {
        match self.heartbeat.blocked() {
            None => plain(StatusCode::OK, "ok\n"),
            Some(silent) => {
                plain(StatusCode::SERVICE_UNAVAILABLE, format!("runtime blocked for {} s\n", silent.as_secs()))
            }
        }
    }

    fn readyz(&self) -> Response<Full<Bytes>> {
        let waiting = self.state.readiness.waiting_for();
        if waiting.is_empty() {
            return plain(StatusCode::OK, "ok\n");
        }
        let lines: Vec<_> = waiting.iter().map(|name| format!("waiting for: {name}\n")).collect();
        plain(StatusCode::SERVICE_UNAVAILABLE, lines.concat())
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let mut body = String::new();
        let registry = self.state.registry.lock().unwrap_or_else(PoisonError::into_inner);
        if text::encode(&mut body, &registry).is_err() {
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "cannot encode the metrics\n");
        }
        respond(StatusCode::OK, OPEN_METRICS, body)
    }
}

fn plain(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", body)
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
