//! Certificates and kubeconfigs for control planes: elliptic-curve keys (P-256), nothing that outlives a test.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::json;

use crate::error::{Error, FileContext, Result};

const SERVER_NAMES: [&str; 5] =
    ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
/// The address that the `kubernetes` Service gets.
const SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// A certificate and its private key, both as PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl Identity {
    /// Writes `NAME.crt` and `NAME.key`.
    pub fn write(&self, directory: &Path, name: &str) -> Result<()> {
        write_private(&directory.join(format!("{name}.crt")), &self.certificate)?;
        write_private(&directory.join(format!("{name}.key")), &self.key)
    }
}

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    identity: Identity,
}

impl Authority {
    /// A new authority.
    pub fn new(common_name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let certificate = authority_parameters(common_name).self_signed(&key)?.pem();
        Ok(Self::of(common_name, Identity { certificate, key: key.serialize_pem() }, key))
    }

    /// The authority whose `NAME.crt` and `NAME.key` are in the directory; a new one when there are none.
    pub fn load_or_create(directory: &Path, name: &str) -> Result<Self> {
        let (certificate_path, key_path) =
            (directory.join(format!("{name}.crt")), directory.join(format!("{name}.key")));
        if !certificate_path.is_file() || !key_path.is_file() {
            let authority = Self::new(name)?;
            authority.identity.write(directory, name)?;
            return Ok(authority);
        }
        let certificate = fs::read_to_string(&certificate_path).on("read", certificate_path)?;
        let key_text = fs::read_to_string(&key_path).on("read", key_path)?;
        let key = KeyPair::from_pem(&key_text)?;
        Ok(Self::of(name, Identity { certificate, key: key_text }, key))
    }

    /// Its own certificate, as PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.identity.certificate
    }

    /// A certificate for an API server on loopback.
    pub fn server(&self, common_name: &str) -> Result<Identity> {
        let mut parameters = CertificateParams::new(SERVER_NAMES.map(str::to_owned))?;
        parameters.distinguished_name = common_name_only(common_name);
        for address in [Ipv4Addr::LOCALHOST, SERVICE_ADDRESS] {
            parameters.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(address)));
        }
        self.issue(parameters, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate that Kubernetes takes for a user in at most two groups.
    pub fn client(&self, user: &str, groups: &[&str]) -> Result<Identity> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = subject(user, groups)?;
        self.issue(parameters, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// The same, but it ends at the beginning of a day: year, month and day.
    pub fn client_until(&self, user: &str, groups: &[&str], (year, month, day): (i32, u8, u8)) -> Result<Identity> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = subject(user, groups)?;
        parameters.not_after = rcgen::date_time_ymd(year, month, day);
        self.issue(parameters, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn of(common_name: &str, identity: Identity, key: KeyPair) -> Self {
        Self { issuer: Issuer::new(authority_parameters(common_name), key), identity }
    }

    fn issue(&self, mut parameters: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Result<Identity> {
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![usage];
        parameters.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &self.issuer)?.pem();
        Ok(Identity { certificate, key: key.serialize_pem() })
    }
}

/// Writes `NAME.key` and `NAME.pub`, with which the API server signs and checks tokens, unless they are there.
pub fn ensure_signing_key(directory: &Path, name: &str) -> Result<()> {
    let (private, public) = (directory.join(format!("{name}.key")), directory.join(format!("{name}.pub")));
    if private.is_file() && public.is_file() {
        return Ok(());
    }
    let key = KeyPair::generate()?;
    write_private(&private, &key.serialize_pem())?;
    write_private(&public, &key.public_key_pem())
}

/// A kubeconfig with everything inline.
#[must_use]
pub fn kubeconfig(cluster: &str, server: &str, authority: &str, user: &str, identity: &Identity) -> String {
    let credential = json!({
        "client-certificate-data": BASE64.encode(&identity.certificate),
        "client-key-data": BASE64.encode(&identity.key),
    });
    kubeconfig_with(cluster, server, authority, user, &credential)
}

/// A kubeconfig with a bearer token.
#[must_use]
pub fn kubeconfig_with_token(cluster: &str, server: &str, authority: &str, user: &str, token: &str) -> String {
    kubeconfig_with(cluster, server, authority, user, &json!({ "token": token }))
}

fn kubeconfig_with(cluster: &str, server: &str, authority: &str, user: &str, credential: &serde_json::Value) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": cluster, "cluster": { "server": server, "certificate-authority-data": BASE64.encode(authority) } }],
        "users": [{ "name": user, "user": credential }],
        "contexts": [{ "name": cluster, "context": { "cluster": cluster, "user": user } }],
        "current-context": cluster,
    });
    serde_yaml::to_string(&config).unwrap_or_else(|_| config.to_string())
}

/// Writes a file that only its owner may read.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path).on("write", path)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).on("write", path)
}

fn authority_parameters(common_name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = common_name_only(common_name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    parameters
}

fn common_name_only(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// rcgen keeps one value per type of attribute, so a second organization needs a second way to write the same type.
fn subject(user: &str, groups: &[&str]) -> Result<DistinguishedName> {
    let mut name = common_name_only(user);
    let organization_types = [DnType::OrganizationName, DnType::CustomDnType(vec![2, 5, 4, 10])];
    if groups.len() > organization_types.len() {
        return Err(Error::TooManyGroups { user: user.to_owned(), groups: groups.len() });
    }
    for (kind, group) in organization_types.into_iter().zip(groups) {
        name.push(kind, *group);
    }
    Ok(name)
}
