//! What certificates and keys of a kubeconfig lack to be used. Pure.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{
    Error, InconsistentKeys, RootCertStore,
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};

/// What is wrong with the data in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataProblem {
    /// It is no base64; often the PEM itself.
    #[error("is not base64; write it as `kubectl config view --flatten --raw` does")]
    NotBase64,
    /// It is base64 of base64.
    #[error("is encoded twice; encode the PEM in base64 once")]
    EncodedTwice,
    /// There is no certificate in it.
    #[error("has no certificate in PEM; put the certificate there")]
    NoCertificate,
    /// One of its blocks is no certificate; the first has the number 1.
    #[error("has a block of PEM that is no certificate (number {0}); remove or replace it")]
    BadCertificate(usize),
    /// There is no private key in it.
    #[error("has no private key in PEM; put the key there")]
    NoKey,
    /// A password protects the key.
    #[error("is encrypted with a password; decrypt it, for example with `openssl pkey`")]
    EncryptedKey,
    /// The key is on the curve P-521.
    #[error("is a P-521 key, which Drover does not support; use P-256, P-384, Ed25519 or RSA")]
    P521,
    /// The key is of another kind, or broken.
    #[error("is a key that Drover cannot use; use P-256, P-384, Ed25519, or RSA with 2048 to 8192 bits")]
    UnsupportedKey,
    /// Key and certificate are not a pair.
    #[error("does not belong to the certificate beside it; take both from the same place")]
    NotAPair,
}

/// Whether `data` is base64 of authorities to trust.
pub(crate) fn check_authorities(data: &str) -> Result<(), DataProblem> {
    let pem = decode(data)?;
    let mut trusted = RootCertStore::empty();
    for (number, certificate) in (1..).zip(certificates(&pem)?) {
        trusted.add(certificate).map_err(|_| DataProblem::BadCertificate(number))?;
    }
    Ok(())
}

/// The certificates in `data`, which is base64 of a client certificate and what comes between it and its authority.
pub(crate) fn client_certificates(data: &str) -> Result<Vec<CertificateDer<'static>>, DataProblem> {
    certificates(&decode(data)?)
}

/// Whether `data` is base64 of the key of `certificates`.
pub(crate) fn check_key(data: &str, certificates: Vec<CertificateDer<'static>>) -> Result<(), DataProblem> {
    let pem = decode(data)?;
    if is_encrypted(&pem) {
        return Err(DataProblem::EncryptedKey);
    }
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| DataProblem::NoKey)?;
    let is_p521 = is_p521(key.secret_der());
    let key =
        any_supported_type(&key).map_err(|_| if is_p521 { DataProblem::P521 } else { DataProblem::UnsupportedKey })?;
    match CertifiedKey::new(certificates, key).keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(()),
        Err(_) => Err(DataProblem::NotAPair),
    }
}

fn decode(data: &str) -> Result<Vec<u8>, DataProblem> {
    let bytes = STANDARD.decode(data).map_err(|_| DataProblem::NotBase64)?;
    let inner: Vec<_> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    match STANDARD.decode(inner) {
        Ok(inner) if inner.starts_with(b"-----BEGIN") => Err(DataProblem::EncodedTwice),
        _ => Ok(bytes),
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, DataProblem> {
    let blocks = (1..).zip(CertificateDer::pem_slice_iter(pem));
    let certificates: Vec<_> = blocks
        .map(|(number, block)| block.map_err(|_| DataProblem::BadCertificate(number)))
        .collect::<Result<_, _>>()?;
    if certificates.is_empty() { Err(DataProblem::NoCertificate) } else { Ok(certificates) }
}

/// In PKCS #8, or as OpenSSL did it before (RFC 1421).
fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED")
}

/// Whether the key names the curve secp521r1, 1.3.132.0.35.
fn is_p521(key: &[u8]) -> bool {
    const CURVE: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];
    key.windows(CURVE.len()).any(|window| window == CURVE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn encoded(text: &str) -> String {
        STANDARD.encode(text)
    }

    fn of_key(certificate: &str, key: &str) -> Result<(), DataProblem> {
        check_key(&encoded(key), client_certificates(&encoded(certificate))?)
    }

    fn block(label: &str, content: &str) -> String {
        format!("-----BEGIN {label}-----\n{content}\n-----END {label}-----\n")
    }

    #[test]
    fn what_authorities_lack_is_told_apart() {
        let (one, other) = (pair().0, pair().0);
        let bundle = format!("# Two of them.\n{one}\n{other}");
        let cut_off = one.lines().take(3).collect::<Vec<_>>().join("\n");
        for (data, expected) in [
            (encoded(&bundle), Ok(())),
            (one.clone(), Err(DataProblem::NotBase64)),
            ("%".to_owned(), Err(DataProblem::NotBase64)),
            (encoded(&encoded(&one)), Err(DataProblem::EncodedTwice)),
            (encoded(&format!("{}\n", encoded(&one))), Err(DataProblem::EncodedTwice)),
            (String::new(), Err(DataProblem::NoCertificate)),
            (encoded("not PEM"), Err(DataProblem::NoCertificate)),
            (encoded(&pair().1), Err(DataProblem::NoCertificate)),
            (encoded(&format!("{one}{}", block("CERTIFICATE", "MAA="))), Err(DataProblem::BadCertificate(2))),
            (encoded(&format!("{}{one}", block("CERTIFICATE", "%%%%"))), Err(DataProblem::BadCertificate(1))),
            (encoded(&cut_off), Err(DataProblem::BadCertificate(1))),
        ] {
            assert_eq!(check_authorities(&data), expected, "{data}");
        }
    }

    /// As `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521` writes it.
    const P521: &str = "MIHuAgEAMBAGByqGSM49AgEGBSuBBAAjBIHWMIHTAgEBBEIA4wZSVCE57+aOCBfXwd2mBqOngR4qRXyUaVWEoaMw50vntLH6X8LXBf0Uy696mjc8j8MPY7Gsw8gPUHxBmGesVNOhgYkDgYYABACTPT1Uere6XrPH+9v+ltGvvM7X2bhfOniI1NSswWZQnsPFrIYp2uX2hqxMGpwLvYXiCrveGkxPxTbkOJKO+FA51QCeYbzCOSJQ+Symlp7rwqeBsYLuDKki+GXAey9X2AEWskNgy57wlN17F+nBxl53YBNeVT6M2KZ3ni+1Ed74a3Srnw==";

    #[test]
    fn what_a_key_lacks_is_told_apart() {
        let ((certificate, key), (_, stranger)) = (pair(), pair());
        assert_eq!(of_key(&certificate, &key), Ok(()));
        let parameters = block("EC PARAMETERS", "BggqhkjOPQMBBw==");
        assert_eq!(of_key(&certificate, &format!("{parameters}{key}")), Ok(()));
        for (key, expected) in [
            (stranger, DataProblem::NotAPair),
            (block("PRIVATE KEY", P521), DataProblem::P521),
            (block("PRIVATE KEY", "MAA="), DataProblem::UnsupportedKey),
            (block("ENCRYPTED PRIVATE KEY", "MAA="), DataProblem::EncryptedKey),
            (
                block("EC PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMAA="),
                DataProblem::EncryptedKey,
            ),
            (certificate.clone(), DataProblem::NoKey),
            (encoded(&key), DataProblem::EncodedTwice),
        ] {
            assert_eq!(of_key(&certificate, &key), Err(expected), "{key}");
        }
        assert_eq!(of_key(&key, &key), Err(DataProblem::NoCertificate));
    }

    proptest! {
        #[test]
        fn any_data_can_be_judged(bytes: Vec<u8>, text in "\\PC*", at: prop::sample::Index) {
            let (certificate, key) = pair();
            let cut = |pem: &str| {
                let mut pem = pem.to_owned();
                pem.insert_str(at.index(pem.len()), &text);
                pem
            };
            let _ = check_authorities(&text);
            let _ = check_authorities(&STANDARD.encode(&bytes));
            let _ = check_authorities(&encoded(&cut(&certificate)));
            let _ = of_key(&cut(&certificate), &key);
            let _ = of_key(&certificate, &cut(&key));
        }
    }
}
