//! When certificates and credentials end. Pure.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use k8s_openapi::jiff::Timestamp;
use kube::config::AuthInfo;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use x509_parser::{parse_x509_certificate, pem::parse_x509_pem};

/// A certificate that was seen while a connection was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenCertificate {
    /// What it is for: `api-server` or `client`.
    pub name: &'static str,
    /// Where it was seen: `presented by the API server` or `kubeconfig`.
    pub source: &'static str,
    /// When it ends.
    pub not_after: Timestamp,
}

/// How long the credential in a kubeconfig is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialLife {
    /// When it began, if it says so: the start of a client certificate, or a token's `iat`.
    pub not_before: Option<Timestamp>,
    /// When it ends: the end of a client certificate, or a token's `exp`.
    pub not_after: Timestamp,
}

/// Tokens come with and without padding.
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How long the certificate in these DER bytes is good for; none if they are no certificate.
#[must_use]
pub fn life_of_certificate(der: &[u8]) -> Option<CredentialLife> {
    let (_, certificate) = parse_x509_certificate(der).ok()?;
    let validity = certificate.validity();
    Some(CredentialLife {
        not_before: Timestamp::from_second(validity.not_before.timestamp()).ok(),
        not_after: Timestamp::from_second(validity.not_after.timestamp()).ok()?,
    })
}

/// How long the client certificate of a kubeconfig is good for, as its `client-certificate-data` holds it.
fn life_of_client_certificate(data: &str) -> Option<CredentialLife> {
    let pem = BASE64.decode(data.trim()).ok()?;
    let (_, pem) = parse_x509_pem(&pem).ok()?;
    life_of_certificate(&pem.contents)
}

/// The dates that a JSON Web Token states (RFC 7519 §4.1); none if it states no end or is of another format.
fn life_of_token(token: &str) -> Option<CredentialLife> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
        iat: Option<f64>,
    }
    let payload = BASE64_URL.decode(token.split('.').nth(1)?).ok()?;
    let claims: Claims = serde_json::from_slice(&payload).ok()?;
    Some(CredentialLife { not_before: claims.iat.and_then(seconds), not_after: seconds(claims.exp)? })
}

/// A date beyond what a timestamp can say is no date.
fn seconds(value: f64) -> Option<Timestamp> {
    let nanoseconds = std::time::Duration::try_from_secs_f64(value).ok()?;
    Timestamp::from_second(i64::try_from(nanoseconds.as_secs()).ok()?).ok()
}

/// How long the credential of a kubeconfig is good for, and its client certificate if it has one. A token wins, as it does
/// for the API server.
pub(crate) fn of_credential(user: &AuthInfo) -> (Option<CredentialLife>, Option<SeenCertificate>) {
    if let Some(token) = &user.token {
        return (life_of_token(token.expose_secret()), None);
    }
    let life = user.client_certificate_data.as_deref().and_then(life_of_client_certificate);
    let seen =
        |life: CredentialLife| SeenCertificate { name: "client", source: "kubeconfig", not_after: life.not_after };
    (life, life.map(seen))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn token(payload: &str) -> String {
        format!("e30.{}.c2ln", BASE64_URL.encode(payload))
    }

    #[test]
    fn a_certificate_tells_its_dates() {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.not_before = date_time_ymd(2026, 1, 1);
        parameters.not_after = date_time_ymd(2027, 3, 4);
        let certificate = parameters.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let expected =
            CredentialLife { not_before: Some(at("2026-01-01T00:00:00Z")), not_after: at("2027-03-04T00:00:00Z") };
        assert_eq!(life_of_certificate(certificate.der()), Some(expected));
        let data = BASE64.encode(certificate.pem());
        let user = AuthInfo { client_certificate_data: Some(data), ..AuthInfo::default() };
        let (life, seen) = of_credential(&user);
        assert_eq!((life, seen.unwrap().not_after), (Some(expected), expected.not_after));
    }

    #[test]
    fn a_token_tells_its_dates_if_it_has_any() {
        let full = token(r#"{"iat": 1767225600, "exp": 1767229200.0, "sub": "x"}"#);
        let life = life_of_token(&full).unwrap();
        assert_eq!(life.not_before, Some(at("2026-01-01T00:00:00Z")));
        assert_eq!(life.not_after, at("2026-01-01T01:00:00Z"));
        let endless = ["opaque", "a.b.c", &token("{}"), &token(r#"{"exp": 1e300}"#), &token(r#"{"exp": -1}"#), ""];
        for text in endless {
            assert_eq!(life_of_token(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_dates() {
        assert_eq!(life_of_certificate(b"no"), None);
        assert_eq!(life_of_client_certificate("%%%"), None);
    }
}
