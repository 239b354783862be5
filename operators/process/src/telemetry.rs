//! Logs and traces: one subscriber for the process.
//!
//! Logs go to stderr, as text where a person looks on and as one JSON object per line elsewhere; panics are log lines like
//! any other. Spans go to an OpenTelemetry collector as OTLP over plain HTTP/1.1, if one is named. A collector that is slow
//! or gone costs spans and a log line, never work: they wait in a bounded queue (2,048 spans) and leave from a thread of
//! their own.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{IsTerminal as _, stderr},
    panic::{self, PanicHookInfo},
    str::FromStr,
    thread,
    time::Duration,
};

use async_trait::async_trait;
use hyper::{Uri, http::uri::Scheme};
use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response, hyper::HyperClient};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::Level;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter,
    fmt::{self, format::Writer, time::FormatTime},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
    util::TryInitError,
};

/// What the process calls itself in traces.
const SERVICE: &str = "drover";
/// Where a collector takes traces, below its endpoint (OTLP specification 1.x, "OTLP/HTTP Request").
const TRACES_PATH: &str = "/v1/traces";
/// Time for one batch of spans to reach the collector: the default of the OTLP specification.
const EXPORT_LIMIT: Duration = Duration::from_secs(10);
/// Time for the last spans to leave at the end of the process: well below the 30 s that a pod gets.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);

/// What is logged, how, and where spans go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetrySettings {
    /// Which events and spans are recorded, as `tracing_subscriber::EnvFilter` reads it: `info`, or
    /// `info,drover_runtime=debug,drover_client=debug`.
    pub filter: String,
    /// How log lines look.
    pub format: LogFormat,
    /// Base URL of an OTLP/HTTP collector, for example `http://collector:4318`. Only `http`; without it no span leaves.
    pub otlp_endpoint: Option<String>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// One line of text per event.
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for LogFormat {
    type Err = TelemetryError;

    fn from_str(text: &str) -> Result<Self, TelemetryError> {
        match text {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(TelemetryError::Format),
        }
    }
}

/// Why logs or traces cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error("cannot read the log filter: {0}")]
    Filter(#[from] filter::ParseError),
    /// There is no such format.
    #[error("the log format must be auto, text or json")]
    Format,
    /// The endpoint is not usable. It is not repeated here: it may hold a password.
    #[error("the OTLP endpoint must look like http://collector:4318; https is not supported")]
    Endpoint,
    /// The exporter cannot be made from what the `OTEL_*` environment says.
    #[error("cannot set up the export of traces: {0}")]
    Exporter(#[from] ExporterBuildError),
    /// The process already has a subscriber.
    #[error("logs are set up already: {0}")]
    Installed(#[from] TryInitError),
}

/// Keeps the export of spans running. Dropping it, at the end of `main`, sends what is left, for at most 5 s.
#[derive(Debug)]
#[must_use = "dropping the guard ends the export of traces"]
pub struct TelemetryGuard {
    spans: Option<SdkTracerProvider>,
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        let Some(spans) = &self.spans else { return };
        if let Err(error) = spans.shutdown_with_timeout(FLUSH_LIMIT) {
            tracing::warn!(%error, "the last spans did not reach the collector");
        }
    }
}

/// The times of log lines, as RFC 3339 has them in UTC.
struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{:.6}", drover_runtime::clock::now())
    }
}

/// Sets up logs, traces and the logging of panics for the whole process. Call it once, first thing in `main`.
pub fn init(settings: &TelemetrySettings) -> Result<TelemetryGuard, TelemetryError> {
    // kube prints whole responses that it cannot read, and a response may be a list of Secrets.
    let filter = EnvFilter::builder().parse(&settings.filter)?.add_directive("kube_client::client=error".parse()?);
    let guard = TelemetryGuard { spans: settings.otlp_endpoint.as_deref().map(export_to).transpose()? };
    let spans = guard.spans.as_ref().map(|spans| {
        // Thread names and numbers say nothing about tasks that move between threads.
        tracing_opentelemetry::layer().with_tracer(spans.tracer(SERVICE)).with_threads(false)
    });
    Registry::default().with(log_lines(settings.format)).with(spans).with(filter).try_init()?;
    log_panics();
    Ok(guard)
}

fn log_lines(format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    let terminal = stderr().is_terminal();
    let lines = fmt::layer().with_timer(Clock).with_writer(stderr).with_ansi(terminal);
    match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Auto if terminal => lines.boxed(),
        // Fields at the top level is what collectors of Kubernetes logs expect. The innermost span names the reconcile.
        LogFormat::Auto | LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    }
}

/// Spans in batches to the collector at `endpoint`. The standard `OTEL_*` variables set headers, sampling, attributes and
/// the size of batches.
fn export_to(endpoint: &str) -> Result<SdkTracerProvider, TelemetryError> {
    let endpoint = endpoint.trim_end_matches('/');
    let address: Uri = endpoint.parse().map_err(|_| TelemetryError::Endpoint)?;
    if address.scheme() != Some(&Scheme::HTTP) || address.query().is_some() {
        return Err(TelemetryError::Endpoint);
    }
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{endpoint}{TRACES_PATH}"))
        .with_timeout(EXPORT_LIMIT)
        .with_http_client(CollectorClient)
        .build()?;
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_service_name(SERVICE).with_attribute(version).build();
    Ok(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build())
}

/// The way of a batch to the collector.
///
/// The SDK exports from a plain thread that knows no tokio, while the HTTP client needs it. So each batch gets a small
/// runtime and a connection of its own: batches are seconds apart, and a runtime that lives no longer than its request
/// cannot be dropped in the wrong place.
#[derive(Debug)]
struct CollectorClient;

#[async_trait]
impl HttpClient for CollectorClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(HyperClient::with_default_connector(EXPORT_LIMIT, None).send_bytes(request))
    }
}

/// Panics become log lines, so that JSON stays JSON. Where the filter hides even errors, they are printed as usual.
fn log_panics() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(
        move |panic| if tracing::enabled!(Level::ERROR) { log_panic(panic) } else { print(panic) },
    ));
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("a value that is not text");
    let location = panic.location().map(tracing::field::display);
    let thread = thread::current();
    // Empty unless RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| tracing::field::display(&backtrace));
    tracing::error!(location, thread = thread.name(), backtrace, "panicked: {message}");
}

#[cfg(test)]
mod tests;
