//! Why there is no trusted TLS session with an API server. Pure.

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// What a person has to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsFailure {
    /// The validity of the server's certificate is over.
    #[error("the certificate of the API server has ended; renew it there")]
    Expired,
    /// The validity of the server's certificate has not begun.
    #[error("the certificate of the API server is not valid yet; check the clocks of both sides")]
    NotYetValid,
    /// The server's certificate is for other names.
    #[error(
        "the certificate of the API server is for another name than `server` has; use one that it is for, or set tls-server-name"
    )]
    OtherName,
    /// Whoever signed the server's certificate is not in the kubeconfig.
    #[error(
        "certificate-authority-data has not signed the certificate of the API server; put the CA of the cluster into the kubeconfig"
    )]
    UnknownAuthority,
    /// Something else is wrong with the server's certificate.
    #[error(
        "the certificate of the API server is not trusted; check it, and certificate-authority-data in the kubeconfig"
    )]
    NotTrusted,
    /// The server does not accept the client certificate, before it sees any request.
    #[error(
        "the server does not accept the client certificate in the kubeconfig; check what stands before the API server"
    )]
    ClientRefused,
    /// What answers speaks no TLS.
    #[error("what answers speaks no TLS; check the port of `server` in the kubeconfig")]
    NoTls,
    /// The server closed the connection.
    #[error("the connection was closed during the handshake; check what stands before the API server")]
    Closed,
    /// Anything else.
    #[error("the handshake failed; check `server` in the kubeconfig, and what stands before the API server")]
    Handshake,
}

impl TlsFailure {
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => Self::of_certificate(error),
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => Self::NoTls,
            Error::AlertReceived(alert) if is_about_the_client(*alert) => Self::ClientRefused,
            _ => Self::Handshake,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::OtherName,
            // One that has the name of another authority fails at the signature.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownAuthority,
            _ => Self::NotTrusted,
        }
    }

    /// Whether one failure is enough for a verdict: the certificate of the server says so.
    #[must_use]
    pub fn is_certain(self) -> bool {
        match self {
            Self::Expired
            | Self::NotYetValid
            | Self::OtherName
            | Self::UnknownAuthority
            | Self::NotTrusted
            | Self::ClientRefused => true,
            Self::NoTls | Self::Closed | Self::Handshake => false,
        }
    }
}

fn is_about_the_client(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateRequired
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
    use rustls::{
        ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
        pki_types::PrivateKeyDer,
    };

    use super::*;

    const NAME: &str = "eu.example";

    struct Authority {
        certificate: Certificate,
        issuer: Issuer<'static, KeyPair>,
    }

    impl Authority {
        fn new() -> Self {
            let key = KeyPair::generate().unwrap();
            let parameters = changed(make_authority);
            let certificate = parameters.self_signed(&key).unwrap();
            Self { certificate, issuer: Issuer::new(parameters, key) }
        }

        fn server(&self, parameters: &CertificateParams) -> Arc<ServerConfig> {
            let key = KeyPair::generate().unwrap();
            serving(&parameters.signed_by(&key, &self.issuer).unwrap(), &key)
        }
    }

    fn parameters() -> CertificateParams {
        let mut parameters = CertificateParams::new([NAME.to_owned()]).unwrap();
        (parameters.not_before, parameters.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(4000, 1, 1));
        parameters
    }

    pub(crate) fn changed(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
        let mut parameters = parameters();
        change(&mut parameters);
        parameters
    }

    pub(crate) fn make_authority(parameters: &mut CertificateParams) {
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }

    pub(crate) fn serving(certificate: &Certificate, key: &KeyPair) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = ServerConfig::builder().with_no_client_auth();
        Arc::new(config.with_single_cert(vec![certificate.der().clone()], key).unwrap())
    }

    /// What the client meets that trusts `trusted`.
    fn met(server: Arc<ServerConfig>, trusted: &Certificate) -> Result<(), TlsFailure> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.der().clone()).unwrap();
        met_by(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth(), server)
    }

    /// What this client meets.
    pub(crate) fn met_by(config: ClientConfig, server: Arc<ServerConfig>) -> Result<(), TlsFailure> {
        let client = ClientConnection::new(Arc::new(config), NAME.try_into().unwrap()).unwrap();
        let (mut client, mut server) = (client.into(), ServerConnection::new(server).unwrap().into());
        for _ in 0..5 {
            // Of the server's errors the client knows what an alert says.
            let _ = deliver(&mut client, &mut server);
            deliver(&mut server, &mut client).map_err(|error| TlsFailure::of(&error))?;
        }
        Ok(())
    }

    fn deliver(from: &mut Connection, to: &mut Connection) -> Result<(), Error> {
        let mut bytes = Vec::new();
        while from.wants_write() {
            from.write_tls(&mut bytes).unwrap();
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            to.read_tls(&mut rest).unwrap();
            to.process_new_packets()?;
        }
        Ok(())
    }

    #[test]
    fn what_is_wrong_with_the_certificate_is_told_apart() {
        let (ours, stranger) = (Authority::new(), Authority::new());
        assert_eq!(met(ours.server(&parameters()), &ours.certificate), Ok(()));
        let expired = changed(|parameters| parameters.not_after = date_time_ymd(2020, 1, 2));
        let early = changed(|parameters| parameters.not_before = date_time_ymd(3999, 1, 1));
        let other_name = CertificateParams::new(["us.example".to_owned()]).unwrap();
        for (server, failure) in [
            (ours.server(&expired), TlsFailure::Expired),
            (ours.server(&early), TlsFailure::NotYetValid),
            (ours.server(&other_name), TlsFailure::OtherName),
            (stranger.server(&parameters()), TlsFailure::UnknownAuthority),
        ] {
            assert_eq!(met(server, &ours.certificate), Err(failure));
        }
    }

    #[test]
    fn who_speaks_no_tls_or_refuses_the_client_is_told_apart() {
        for (error, failure) in [
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), TlsFailure::NoTls),
            (Error::AlertReceived(AlertDescription::CertificateRequired), TlsFailure::ClientRefused),
            (Error::AlertReceived(AlertDescription::UnknownCA), TlsFailure::ClientRefused),
            (Error::AlertReceived(AlertDescription::HandshakeFailure), TlsFailure::Handshake),
            (Error::NoCertificatesPresented, TlsFailure::Handshake),
        ] {
            assert_eq!(TlsFailure::of(&error), failure, "{error}");
        }
    }
}
