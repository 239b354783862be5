//! The admin port: `/livez`, `/readyz` and `/metrics` over plain HTTP/1.1, for the kubelet and for Prometheus.
//!
//! It runs on a thread and a runtime of its own, so that it answers, and says so, when the runtime that does the work is
//! blocked. What a peer may take is bounded: connections at a time, the time for the head of a request, the time for all
//! of it. A connection carries one request; bodies are not read.

mod pages;
mod readiness;
#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    pin::pin,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use pages::{Heartbeat, Pages};
pub use readiness::{Gate, Readiness};

/// How often the main runtime shows that it is alive.
const HEARTBEAT_PERIOD: Duration = Duration::from_secs(1);
/// A main runtime that shows no heartbeat for this long is blocked. A busy machine delays a beat by a few seconds at most,
/// and a restart too many costs more than one that comes half a minute late.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(30);
/// Connections at a time; further ones wait in the backlog of the socket. The kubelet and Prometheus need three.
const CONNECTIONS: usize = 16;
/// Time for the head of a request. The kubelet's probes give up after 1 s by default.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
/// Time for a whole connection: Prometheus' default scrape timeout.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);
/// Pause after a connection could not be accepted: the process is out of file descriptors, usually.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the admin port shows.
#[derive(Clone, Debug)]
pub struct AdminState {
    /// Behind `/readyz`.
    pub readiness: Readiness,
    /// Behind `/metrics`. Locked while the text is written, so it must not be held for long.
    pub registry: Arc<Mutex<Registry>>,
}

/// An admin port that listens and does not answer yet.
#[derive(Debug)]
pub struct AdminServer {
    listener: TcpListener,
    heartbeat_limit: Duration,
}

impl AdminServer {
    /// Listens on `address`; port 0 lets the system choose.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, heartbeat_limit: HEARTBEAT_LIMIT })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop` is cancelled, or this future is dropped.
    ///
    /// The answers come from a thread of their own. The future itself is the heartbeat: spawn it on the runtime that
    /// `/livez` is to watch. An error means that the thread or its runtime could not be started.
    pub async fn serve(self, state: AdminState, stop: CancellationToken) -> io::Result<()> {
        let heartbeat = Arc::new(Heartbeat::new(self.heartbeat_limit));
        let pages = Arc::new(Pages { state, heartbeat: heartbeat.clone() });
        let stop = stop.child_token();
        let _stop_when_dropped = stop.clone().drop_guard();
        let (listener, stopped) = (self.listener, stop.clone());
        let serve = move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                stopped.run_until_cancelled(accept(listener, pages)).await;
                Ok(())
            })
        };
        let thread = thread::Builder::new().name("admin".into()).spawn(serve)?;

        let mut ticks = interval(HEARTBEAT_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !thread.is_finished() && stop.run_until_cancelled(ticks.tick()).await.is_some() {
            heartbeat.beat();
        }
        // The thread ends as soon as it sees the token; a panic in it is a bug that must not be silent.
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the admin thread panicked")))
    }
}

async fn accept(listener: tokio::net::TcpListener, pages: Arc<Pages>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    // The permit comes first, so that whom we cannot serve waits in the backlog and costs us nothing.
    while let Ok(permit) = connections.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve_connection(stream, pages.clone(), permit))),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection on the admin port");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, pages: Arc<Pages>, _permit: OwnedSemaphorePermit) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = pages.answer(request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // A peer that goes away, stalls or talks nonsense is its own problem.
    let _ = timeout(CONNECTION_LIMIT, pin!(connection)).await;
}
