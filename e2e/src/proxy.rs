//! A TCP proxy on loopback whose connections can fail in the ways in which real ones do.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{self, AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::error::{Error, Result};

const BUFFER: usize = 16 * 1024;
const REBIND_PAUSE: Duration = Duration::from_millis(20);
/// How much later every piece of a slow link arrives, in both directions.
const SLOWNESS: Duration = Duration::from_millis(150);
/// How many connections may wait to be accepted.
const QUEUE: u32 = 1024;
/// A connection to loopback that takes longer waits for a place in the queue.
const QUEUE_IS_FULL: Duration = Duration::from_millis(100);

/// What happens to connections, open and new ones alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All bytes pass.
    Pass,
    /// Open ones are closed in good order, new ones are refused.
    Refuse,
    /// They stay open, new ones open, and nothing passes: TLS is never answered.
    Hang,
    /// Open ones stay open and nothing passes, new ones never open: a firewall that drops packets.
    HangInDial,
    /// Everything passes, piece by piece, each after a pause.
    Slow,
    /// They are reset: a machine that crashed and is back.
    Reset,
}

/// The proxy. Dropping it ends it and all its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy in front of a port of this machine.
    pub async fn start(port: u16) -> Result<Self> {
        let failed = |source| Error::Start { name: "proxy".to_owned(), source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let mode = watch::Sender::new(Mode::Pass);
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let accepting = tokio::spawn(accept(listener, address, target, mode.subscribe()));
        Ok(Self { address, mode, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what happens to connections.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(mut listener: TcpListener, address: SocketAddr, target: SocketAddr, mut mode: watch::Receiver<Mode>) {
    let mut connections = JoinSet::new();
    loop {
        let now = *mode.borrow_and_update();
        if matches!(now, Mode::Refuse | Mode::HangInDial) {
            drop(listener);
            let full = if now == Mode::HangInDial { Some(full_queue(address).await) } else { None };
            if mode.wait_for(|mode| *mode != now).await.is_err() {
                return;
            }
            drop(full);
            listener = bind_again(address, QUEUE).await;
        }
        tokio::select! {
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                connections.spawn(connect(client, target, mode.clone()));
            },
            changed = mode.changed() => if changed.is_err() { return },
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Clients know the port, so it has to be the same one. A program that is just being started holds the old listener until
/// it is one of its own.
async fn bind_again(address: SocketAddr, queue: u32) -> TcpListener {
    loop {
        if let Ok(listener) = bind(address, queue) {
            return listener;
        }
        tokio::time::sleep(REBIND_PAUSE).await;
    }
}

fn bind(address: SocketAddr, queue: u32) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(queue)
}

/// A listener that accepts nobody and whose queue is full, so that the system drops what wants to connect.
async fn full_queue(address: SocketAddr) -> (TcpListener, Vec<TcpStream>) {
    let listener = bind_again(address, 1).await;
    let mut waiting = Vec::new();
    while let Ok(Ok(connected)) = tokio::time::timeout(QUEUE_IS_FULL, TcpStream::connect(address)).await {
        waiting.push(connected);
    }
    (listener, waiting)
}

async fn connect(mut client: TcpStream, target: SocketAddr, mut mode: watch::Receiver<Mode>) {
    let pumps = mode.clone();
    let passing = async {
        let mut server = TcpStream::connect(target).await?;
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        tokio::try_join!(pump(from_client, to_server, pumps.clone()), pump(from_server, to_client, pumps.clone()))
    };
    let cut = tokio::select! {
        _ = passing => return,
        cut = mode.wait_for(|mode| matches!(mode, Mode::Refuse | Mode::Reset)) => cut.map(|mode| *mode),
    };
    if cut.is_ok_and(|mode| mode == Mode::Reset) {
        // Closing without lingering sends a reset.
        let _ = client.set_zero_linger();
    }
}

async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut mode: watch::Receiver<Mode>) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = from.read(&mut buffer).await?;
        match mode.wait_for(|mode| matches!(mode, Mode::Pass | Mode::Slow)).await.map(|mode| *mode) {
            Ok(Mode::Slow) => tokio::time::sleep(SLOWNESS).await,
            Ok(_) => {}
            Err(_) => return Ok(()),
        }
        match buffer.get(..count) {
            Some(bytes) if !bytes.is_empty() => to.write_all(bytes).await?,
            _ => return to.shutdown().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::time::timeout;

    use super::*;

    /// A server that sends back what it gets.
    async fn echo() -> (Proxy, JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = connection.split();
                    io::copy(&mut read, &mut write).await
                });
            }
        });
        (Proxy::start(port).await.unwrap(), server)
    }

    async fn round_trip(connection: &mut TcpStream) -> io::Result<u8> {
        connection.write_all(b"x").await?;
        connection.read_u8().await
    }

    async fn new_round_trip(proxy: &Proxy) -> io::Result<u8> {
        round_trip(&mut TcpStream::connect(proxy.address()).await?).await
    }

    #[tokio::test]
    async fn bytes_pass_and_after_every_fault_they_pass_again() {
        let (proxy, _server) = echo().await;
        for fault in [Mode::Refuse, Mode::Hang, Mode::HangInDial, Mode::Slow, Mode::Reset] {
            proxy.set(fault);
            proxy.set(Mode::Pass);
            let passed =
                timeout(Duration::from_secs(5), async { while new_round_trip(&proxy).await.is_err() {} }).await;
            assert!(passed.is_ok(), "{fault:?}");
        }
    }

    #[tokio::test]
    async fn refused_connections_end_and_new_ones_do_not_open() {
        let (proxy, _server) = echo().await;
        let mut open = TcpStream::connect(proxy.address()).await.unwrap();
        round_trip(&mut open).await.unwrap();
        proxy.set(Mode::Refuse);
        assert_eq!(open.read(&mut [0]).await.unwrap(), 0, "closed in good order");
        assert_eq!(new_round_trip(&proxy).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn hanging_connections_stay_open_and_lose_nothing() {
        let (proxy, _server) = echo().await;
        let mut open = TcpStream::connect(proxy.address()).await.unwrap();
        round_trip(&mut open).await.unwrap();
        proxy.set(Mode::Hang);
        assert!(timeout(Duration::from_millis(200), round_trip(&mut open)).await.is_err());
        proxy.set(Mode::Pass);
        assert_eq!(open.read_u8().await.unwrap(), b'x');
    }

    #[tokio::test]
    async fn reset_connections_break() {
        let (proxy, _server) = echo().await;
        let mut open = TcpStream::connect(proxy.address()).await.unwrap();
        round_trip(&mut open).await.unwrap();
        proxy.set(Mode::Reset);
        assert_eq!(open.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_dial_that_hangs_never_opens_and_open_connections_lose_nothing() {
        let (proxy, _server) = echo().await;
        let mut open = TcpStream::connect(proxy.address()).await.unwrap();
        round_trip(&mut open).await.unwrap();
        proxy.set(Mode::HangInDial);
        assert!(timeout(Duration::from_millis(300), round_trip(&mut open)).await.is_err());
        let dial = timeout(Duration::from_millis(300), TcpStream::connect(proxy.address())).await;
        assert!(dial.is_err(), "{dial:?}");
        proxy.set(Mode::Pass);
        assert_eq!(open.read_u8().await.unwrap(), b'x');
    }

    #[tokio::test]
    async fn a_port_that_is_held_for_a_moment_is_waited_for() {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = held.local_addr().unwrap();
        let freed = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            drop(held);
        };
        let ((_listener, _waiting), ()) = tokio::join!(full_queue(address), freed);
        let dial = timeout(Duration::from_millis(300), TcpStream::connect(address)).await;
        assert!(dial.is_err(), "{dial:?}");
    }

    #[tokio::test]
    async fn a_slow_link_takes_its_time() {
        let (proxy, _server) = echo().await;
        proxy.set(Mode::Slow);
        let started = std::time::Instant::now();
        new_round_trip(&proxy).await.unwrap();
        assert!(started.elapsed() >= 2 * SLOWNESS);
    }
}
