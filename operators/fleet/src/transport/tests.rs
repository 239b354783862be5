use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use drover_dial::{
    ConnectionError, kubeconfig,
    testing::{good_cluster, kubeconfig},
};
use drover_runtime::{Classify as _, DialPolicy};
use rcgen::{CertificateParams, KeyPair};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{io::AsyncReadExt as _, net::TcpListener};
use tokio_rustls::TlsAcceptor;

use super::dialled;
use crate::{
    connection_guard::{self, ConnectionGuard},
    probe,
    required_permissions::RequiredPermissions,
};

/// A server with its own certificate that offers `protocols` and never answers, and what is said of it.
async fn told(protocols: &[&[u8]]) -> &'static str {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let chain = vec![certificate.der().clone()];
    let mut server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    server.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        if let Ok(mut stream) = acceptor.accept(stream).await {
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    let authority = STANDARD.encode(certificate.pem());
    let cluster = format!("server: 'https://{address}', certificate-authority-data: {authority}");
    let access = kubeconfig::parse(&kubeconfig(&cluster, "token: t"), None).await.unwrap();
    let client = dialled(&access, DialPolicy::AllowLocal, &Arc::new(ConnectionGuard::new(Arc::default()))).unwrap();
    let asked = probe::ready(&client, std::time::Duration::from_millis(500));
    let outcome = connection_guard::probing(Box::pin(asked)).await;
    serving.abort();
    outcome.unwrap_err().reason()
}

#[tokio::test]
async fn a_server_without_http2_is_told_apart() {
    assert_eq!(told(&[b"http/1.1"]).await, "HTTP2Required");
    assert_eq!(told(&[]).await, "HTTP2Required");
    assert_eq!(told(&[b"h2", b"http/1.1"]).await, "Timeout", "it would only have to answer");
}

#[tokio::test]
async fn neither_a_server_nor_a_proxy_may_be_at_a_local_address() {
    let good = good_cluster();
    let elsewhere = good.replace("127.0.0.1", "eu.example");
    for cluster in [
        good.clone(),
        good.replace("127.0.0.1", "localhost"),
        format!("{good}, proxy-url: 'http://proxy.example:3128'"),
        format!("{elsewhere}, proxy-url: 'http://127.0.0.1:3128'"),
        format!("{elsewhere}, proxy-url: 'https://localhost:3128'"),
        format!("{elsewhere}, proxy-url: 'http://[::ffff:169.254.169.254]'"),
    ] {
        let text = kubeconfig(&cluster, "token: t");
        let access = kubeconfig::parse(&text, None).await.unwrap();
        let guard = Arc::new(ConnectionGuard::new(Arc::default()));
        let client = dialled(&access, DialPolicy::RefuseLocal, &guard).unwrap();
        let asked = probe::ready(&client, std::time::Duration::from_secs(10));
        let refused = connection_guard::probing(Box::pin(asked)).await.unwrap_err();
        assert!(matches!(refused, ConnectionError::AddressNotAllowed(_)), "{cluster}: {refused:?}");
    }
}

/// Another server may answer under the same address after a connection was lost.
#[tokio::test]
async fn who_asks_for_rights_does_not_dial() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cluster = good_cluster().replace("127.0.0.1:6443", &listener.local_addr().unwrap().to_string());
    let access = kubeconfig::parse(&kubeconfig(&cluster, "token: t"), None).await.unwrap();
    let guard = Arc::new(ConnectionGuard::new(Arc::default()));
    let client = dialled(&access, DialPolicy::AllowLocal, &guard).unwrap();
    let required = RequiredPermissions::default();
    let asked = required.missing(&client, std::time::Duration::from_millis(500));
    assert_eq!(connection_guard::probing(Box::pin(asked)).await, None);
    let dialled = tokio::time::timeout(std::time::Duration::from_millis(100), listener.accept()).await;
    assert!(dialled.is_err(), "a server was dialled that nobody identified");
}
