//! Which server is trusted: who shows a certificate that an authority has signed, and, as for kubectl, who shows the very
//! certificate that the kubeconfig has as an authority.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::{Config, client::ConfigExt as _};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use tower::BoxError;
use x509_parser::parse_x509_certificate;

use crate::expiry::{CredentialLife, life_of_certificate};

/// How TLS with the server of `config` is to be.
pub(crate) fn client_config(config: &Config) -> Result<ClientConfig, kube::Error> {
    let mut tls = config.rustls_client_config()?;
    // Where the authorities are in a file that changes, kube reads it again and again.
    if let (Some(authorities), None, false) = (&config.root_cert, &config.root_cert_file, config.accept_invalid_certs) {
        let verifier = Verifier::new(authorities).map_err(kube::Error::Service)?;
        tls.dangerous().set_certificate_verifier(Arc::new(verifier));
    }
    Ok(tls)
}

#[derive(Debug)]
struct Verifier {
    signed: Arc<WebPkiServerVerifier>,
    authorities: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn new(authorities: &[Vec<u8>]) -> Result<Self, BoxError> {
        let authorities: Vec<_> = authorities.iter().cloned().map(CertificateDer::from).collect();
        let mut roots = RootCertStore::empty();
        authorities.iter().try_for_each(|authority| roots.add(authority.clone()))?;
        Ok(Self { signed: WebPkiServerVerifier::builder(Arc::new(roots)).build()?, authorities })
    }

    /// What rustls judges otherwise is judged here: the name, the time and the purpose.
    fn verify_authority(&self, shown: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> Result<(), Error> {
        if !self.authorities.contains(shown) {
            return Err(CertificateError::UnknownIssuer.into());
        }
        let now = i64::try_from(now.as_secs()).ok().and_then(|now| Timestamp::from_second(now).ok());
        let life = now.zip(life_of_certificate(shown));
        let (now, CredentialLife { not_before, not_after }) = life.ok_or(CertificateError::BadEncoding)?;
        if not_before.is_none_or(|start| now < start) {
            return Err(CertificateError::NotValidYet.into());
        }
        if now > not_after {
            return Err(CertificateError::Expired.into());
        }
        if !may_serve(shown) {
            return Err(CertificateError::InvalidPurpose.into());
        }
        verify_server_name(&ParsedCertificate::try_from(shown)?, name)
    }
}

fn may_serve(certificate: &[u8]) -> bool {
    let Ok((_, certificate)) = parse_x509_certificate(certificate) else { return false };
    let usage = certificate.extended_key_usage();
    usage.is_ok_and(|usage| usage.is_none_or(|usage| usage.value.any || usage.value.server_auth))
}

/// Whether rustls refused a certificate because it is that of an authority. It says so in a text only.
fn is_authority(refusal: &Error) -> bool {
    matches!(refusal, Error::InvalidCertificate(CertificateError::Other(other)) if other.to_string() == "CaUsedAsEndEntity")
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.signed.verify_server_cert(shown, intermediates, name, ocsp_response, now) {
            Err(refusal) if is_authority(&refusal) => {
                self.verify_authority(shown, name, now).map(|()| ServerCertVerified::assertion())
            }
            outcome => outcome,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};

    use super::*;
    use crate::tls_failure::{
        TlsFailure::{self, *},
        tests::{changed, make_authority, met_by, serving},
    };

    /// What a client meets that trusts `trusted`, or else the certificate that the server shows.
    fn met(change: impl FnOnce(&mut CertificateParams), trusted: Option<&[u8]>) -> Result<(), TlsFailure> {
        let key = KeyPair::generate().unwrap();
        let parameters = changed(|parameters| {
            make_authority(parameters);
            change(parameters);
        });
        let certificate = parameters.self_signed(&key).unwrap();
        let mut config = Config::new("https://eu.example".parse().unwrap());
        config.root_cert = Some(vec![trusted.unwrap_or(certificate.der()).to_vec()]);
        met_by(client_config(&config).unwrap(), serving(&certificate, &key))
    }

    #[test]
    fn a_server_may_show_the_authority_itself() {
        assert_eq!(met(|_| {}, None), Ok(()));
        let stranger = changed(make_authority).self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(met(|_| {}, Some(stranger.der())), Err(UnknownAuthority), "of the same name");
    }

    #[test]
    fn the_authority_itself_is_judged_as_every_certificate() {
        assert_eq!(met(|shown| shown.not_after = date_time_ymd(2020, 1, 2), None), Err(Expired));
        assert_eq!(met(|shown| shown.not_before = date_time_ymd(3999, 1, 1), None), Err(NotYetValid));
        let other_name = CertificateParams::new(["us.example".to_owned()]).unwrap().subject_alt_names;
        assert_eq!(met(|shown| shown.subject_alt_names = other_name, None), Err(OtherName));
        let client = vec![ExtendedKeyUsagePurpose::ClientAuth];
        assert_eq!(met(|shown| shown.extended_key_usages = client, None), Err(NotTrusted));
        let server = vec![ExtendedKeyUsagePurpose::ServerAuth];
        assert_eq!(met(|shown| shown.extended_key_usages = server, None), Ok(()));
    }
}
