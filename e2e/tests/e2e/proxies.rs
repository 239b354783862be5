//! Clusters behind a proxy, which is reached with TLS or without. It leads to a real API server.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use drover_e2e::certificates::Authority;
use drover_e2e::http_proxy::acceptor;
use drover_e2e::installation::{DROVER_USER, End, Installation, drover_binary};
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, soon};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

drover_e2e::tests![
    a_proxy_in_the_kubeconfig_is_used_and_its_password_shows_nowhere,
    a_proxy_with_tls_is_used_if_an_authority_of_this_machine_vouches_for_it,
];

/// A proxy that only knows CONNECT, and only who comes as `user` with the password `s3cr3t`.
struct ConnectProxy {
    address: SocketAddr,
    /// How often it opened a way.
    opened: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Drop for ConnectProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl ConnectProxy {
    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let opened = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&opened);
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, tls.clone(), Arc::clone(&count)));
            }
        });
        Self { address, opened, serving }
    }

    fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }
}

async fn serve(client: TcpStream, tls: Option<TlsAcceptor>, opened: Arc<AtomicUsize>) -> Option<()> {
    match tls {
        Some(tls) => tunnel(tls.accept(client).await.ok()?, &opened).await,
        None => tunnel(client, &opened).await,
    }
}

async fn tunnel(mut client: impl AsyncRead + AsyncWrite + Unpin, opened: &AtomicUsize) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let target = head.strip_prefix("CONNECT ")?.split(' ').next()?;
    if !head.to_lowercase().contains("proxy-authorization: basic dXNlcjpzM2NyM3Q=".to_lowercase().as_str()) {
        client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await.ok()?;
        return None;
    }
    opened.fetch_add(1, Ordering::Relaxed);
    let mut server = TcpStream::connect(target).await.ok()?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
    copy_bidirectional(&mut client, &mut server).await.ok().map(drop)
}

/// Drover's kubeconfig of the cluster `eu` with the proxy `url` in it.
fn drovers_kubeconfig(installation: &Installation, url: &str) -> String {
    through(&installation.cluster("eu").unwrap().kubeconfig_for(DROVER_USER, &[]).unwrap(), url)
}

/// A kubeconfig with the proxy `url` in it.
fn through(kubeconfig: &str, url: &str) -> String {
    let server = kubeconfig.lines().find(|line| line.trim_start().starts_with("server:")).unwrap();
    let indent = &server[..server.len() - server.trim_start().len()];
    kubeconfig.replace(server, &format!("{server}\n{indent}proxy-url: {url}"))
}

async fn a_proxy_in_the_kubeconfig_is_used_and_its_password_shows_nowhere() {
    let Some(mut installation) = prepared("a proxy", &["eu"]).await else { return };
    let proxy = ConnectProxy::start(None).await;
    let url = |user: &str| format!("http://{user}@{}", proxy.address);
    let wrong = drovers_kubeconfig(&installation, &url("wrong:guess"));
    installation.store_secret("eu", &wrong).await.unwrap();
    installation.start_drover().await.unwrap();
    reads(&installation, "cluster", "eu", "Ready", "False/DialFailed").await;
    assert_eq!(proxy.opened(), 0);
    let right = url("user:s3cr3t");
    installation.store_secret("eu", &drovers_kubeconfig(&installation, &right)).await.unwrap();
    is_used(&installation, &proxy, &right).await;
}

async fn a_proxy_with_tls_is_used_if_an_authority_of_this_machine_vouches_for_it() {
    let Some(mut installation) = prepared("a proxy with TLS", &["eu"]).await else { return };
    let authority = Authority::new("proxy").unwrap();
    let proxy = ConnectProxy::start(Some(acceptor(&authority).unwrap())).await;
    let url = format!("https://user:s3cr3t@{}", proxy.address);
    installation.store_secret("eu", &drovers_kubeconfig(&installation, &url)).await.unwrap();
    installation.start_drover().await.unwrap();
    reads(&installation, "cluster", "eu", "Ready", "False/DialFailed").await;
    assert_eq!(proxy.opened(), 0, "a stranger was told the password");

    let bundle = installation.directory().join("authorities.crt");
    std::fs::write(&bundle, authority.certificate()).unwrap();
    installation.stop_drover(End::Terminate).await.unwrap();
    installation.environment = vec![("SSL_CERT_FILE".to_owned(), bundle.display().to_string())];
    installation.start_drover().await.unwrap();
    is_used(&installation, &proxy, &url).await;
}

/// Everything goes through the proxy, for drover and for a person who imports, and the password shows nowhere.
async fn is_used(installation: &Installation, proxy: &ConnectProxy, url: &str) {
    reads(installation, "cluster", "eu", "Ready", "True/Connected").await;
    ready_with(installation, &a_project("shop", &["team-web"])).await;
    assert!(proxy.opened() > 0, "the proxy was not asked");
    let administrator = installation.cluster("eu").unwrap().kubeconfig();
    import_through(installation, proxy, &through(&administrator, url)).await;
    let shown =
        eventually("the status", soon(), async || Ok(Some(get(installation, "cluster", "eu").await?))).await.unwrap();
    for text in [shown.to_string(), installation.drover_log()] {
        assert!(!text.contains("s3cr3t") && !text.contains("guess"), "{text}");
    }
}

/// A person whose kubeconfig names a proxy imports by it, and what is stored names it as well.
async fn import_through(installation: &Installation, proxy: &ConnectProxy, person: &str) {
    let before = proxy.opened();
    let path = installation.directory().join("person.kubeconfig");
    std::fs::write(&path, person).unwrap();
    let context = person.lines().find_map(|line| line.strip_prefix("current-context: ")).unwrap();
    let mut command = Command::new(drover_binary().unwrap());
    command.args(["import", "--name=printed", "--context", context, "--kubeconfig"]).arg(&path);
    command.arg("--management-kubeconfig").arg(installation.management.kubeconfig_path());
    command.envs(installation.environment.iter().cloned());
    // Whoever waits for a process on a thread of the runtime may hold up the proxy, which runs there.
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(proxy.opened() > before, "the import went another way");
    assert!(String::from_utf8_lossy(&output.stdout).contains("proxy-url"));
}
