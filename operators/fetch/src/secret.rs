//! Credentials and certificates out of the data of Secrets. Pure.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::SecretString;
use serde::Deserialize;

use crate::{
    source::{ClientCertificate, Credentials, PemError, Source, Trust},
    url::{Host, HostError},
};

/// Most hosts of one Secret.
const HOSTS: usize = 16;
/// The servers that Docker Hub is made of, for the names that `docker login` gives it.
const DOCKER_HUB: [&str; 2] = ["registry-1.docker.io", "auth.docker.io"];
const DOCKER_HUB_NAMES: [&str; 2] = ["docker.io", "index.docker.io"];

/// The data of a Secret.
type Data = BTreeMap<String, Vec<u8>>;

/// Why a Secret cannot be used. The texts follow its name, and show nothing of its data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It has none of the keys, or not all that belong together.
    #[error("needs the keys username and password, or token, or .dockerconfigjson; add them")]
    NoCredentials,
    /// It has keys of several kinds.
    #[error("has credentials of several kinds; leave one of username with password, token, and .dockerconfigjson")]
    SeveralKinds,
    /// A key holds what cannot be sent.
    #[error("has something under {0} that cannot be sent; write it as one line of text")]
    NotText(&'static str),
    /// It does not say where its credentials may go.
    #[error("does not say which hosts may get its credentials; name them in its annotation drover.dev/hosts")]
    NoHosts,
    /// It names too many hosts.
    #[error("names more than {HOSTS} hosts; use several Secrets")]
    TooManyHosts,
    /// A host is none.
    #[error("names in drover.dev/hosts or .dockerconfigjson what {0}")]
    Host(#[from] HostError),
    /// It is no configuration of Docker.
    #[error(
        "has no configuration of Docker with auths under .dockerconfigjson; create it with `kubectl create secret docker-registry`"
    )]
    DockerConfig,
    /// It has neither an authority nor a certificate.
    #[error("needs the key ca.crt, or tls.crt and tls.key; add them")]
    NoCertificates,
    /// A certificate or key cannot be used.
    #[error("under {key} {error}")]
    Pem {
        /// The key of the Secret.
        key: &'static str,
        /// What is wrong.
        error: PemError,
    },
}

impl Source {
    /// The same with the credentials in a Secret: `username` and `password`, `token`, or `.dockerconfigjson`, which names its
    /// hosts itself. `hosts` are those of the annotation, with commas or blanks between them.
    pub fn with_credentials(mut self, data: &Data, hosts: Option<&str>) -> Result<Self, SecretError> {
        let of = |key: &'static str| data.get(key).map(|bytes| line(key, bytes)).transpose();
        let password = data.get("password").map(|bytes| text("password", bytes)).transpose()?;
        self.credentials = match (of("username")?, password, of("token")?, data.get(".dockerconfigjson")) {
            (Some(user), Some(password), None, None) => {
                vec![(Credentials::Basic { user, password: password.into() }, read_hosts(hosts)?)]
            }
            (None, None, Some(token), None) => vec![(Credentials::Bearer(token.into()), read_hosts(hosts)?)],
            (None, None, None, Some(config)) => docker(config)?,
            (Some(_) | None, None, None, None) | (None, Some(_), None, None) => {
                return Err(SecretError::NoCredentials);
            }
            _ => return Err(SecretError::SeveralKinds),
        };
        Ok(self)
    }

    /// The same with the certificates in a Secret: `ca.crt` is trusted instead of the authorities of this machine; `tls.crt` and
    /// `tls.key` are shown to the hosts of the annotation.
    pub fn with_certificates(mut self, data: &Data, hosts: Option<&str>) -> Result<Self, SecretError> {
        let pem = |key: &'static str| move |error| SecretError::Pem { key, error };
        let authorities = data.get("ca.crt");
        if let Some(authorities) = authorities {
            self.trust = Trust::from_pem(authorities).map_err(pem("ca.crt"))?;
        }
        self.certificate = match (data.get("tls.crt"), data.get("tls.key")) {
            (Some(chain), Some(key)) => {
                let certificate = ClientCertificate::from_pem(chain, key);
                let certificate = certificate.map_err(|error| SecretError::Pem {
                    key: if error == PemError::Key { "tls.key" } else { "tls.crt" },
                    error,
                });
                Some((certificate?, read_hosts(hosts)?))
            }
            (None, None) if authorities.is_some() => None,
            _ => return Err(SecretError::NoCertificates),
        };
        Ok(self)
    }
}

/// A value without the line break at its end, which comes from the file that it was made of. A password may have others in
/// it, such as a key of Google.
fn text(key: &'static str, bytes: &[u8]) -> Result<String, SecretError> {
    let text = str::from_utf8(bytes).map_err(|_| SecretError::NotText(key))?.trim_end_matches(['\n', '\r']);
    if text.is_empty() { Err(SecretError::NotText(key)) } else { Ok(text.to_owned()) }
}

/// A value of one line.
fn line(key: &'static str, bytes: &[u8]) -> Result<String, SecretError> {
    text(key, bytes)
        .and_then(|text| if text.chars().any(char::is_control) { Err(SecretError::NotText(key)) } else { Ok(text) })
}

/// The hosts that the annotation `drover.dev/hosts` names, with commas or blanks between them; at most 16.
pub fn read_hosts(hosts: Option<&str>) -> Result<Vec<Host>, SecretError> {
    let names = hosts.unwrap_or_default().split([',', ' ', '\n', '\t']).filter(|name| !name.is_empty());
    let found: Vec<Host> = names.take(HOSTS + 1).map(str::parse).collect::<Result<_, _>>()?;
    match found.len() {
        0 => Err(SecretError::NoHosts),
        1..=HOSTS => Ok(found),
        _ => Err(SecretError::TooManyHosts),
    }
}

#[derive(Deserialize)]
struct DockerConfig {
    auths: BTreeMap<String, DockerAuth>,
}

#[derive(Deserialize)]
struct DockerAuth {
    username: Option<String>,
    password: Option<String>,
    auth: Option<String>,
}

fn docker(config: &[u8]) -> Result<Vec<(Credentials, Vec<Host>)>, SecretError> {
    let config: DockerConfig = serde_json::from_slice(config).map_err(|_| SecretError::DockerConfig)?;
    match config.auths.len() {
        0 => Err(SecretError::DockerConfig),
        1..=HOSTS => config.auths.into_iter().map(|(server, auth)| Ok((auth.read()?, servers(&server)?))).collect(),
        _ => Err(SecretError::TooManyHosts),
    }
}

/// The hosts that `docker login` means by the name of a server, which may be a URL.
fn servers(server: &str) -> Result<Vec<Host>, HostError> {
    let bare = server.trim_start_matches("https://").trim_start_matches("http://");
    let host = bare.split('/').next().unwrap_or_default();
    let is_hub = DOCKER_HUB_NAMES.contains(&host);
    if is_hub { DOCKER_HUB.iter().map(|host| host.parse()).collect() } else { Ok(vec![host.parse()?]) }
}

impl DockerAuth {
    fn read(self) -> Result<Credentials, SecretError> {
        let pair = match (self.username, self.password, self.auth) {
            (Some(user), Some(password), _) => Some((user, password)),
            (_, _, Some(auth)) => decoded(&auth),
            _ => None,
        };
        let (user, password) = pair.ok_or(SecretError::DockerConfig)?;
        Ok(Credentials::Basic { user, password: SecretString::from(password) })
    }
}

/// User and password out of base64 with a colon between them.
fn decoded(auth: &str) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{testing::Authority, url::Url};

    fn data(entries: &[(&str, &str)]) -> Data {
        entries.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
    }

    fn read(entries: &[(&str, &str)], hosts: &str) -> Result<Source, SecretError> {
        Source::default().with_credentials(&data(entries), Some(hosts))
    }

    /// What the server of this URL is told.
    fn told(source: &Source, url: &str) -> Option<String> {
        source.authorization(&url.parse::<Url>().unwrap()).map(|header| header.to_str().unwrap().to_owned())
    }

    #[test]
    fn credentials_are_read_for_the_hosts_of_the_annotation() {
        let basic = read(&[("username", "ann\n"), ("password", "s3cr3t\n")], "a.example, b.example:8443").unwrap();
        let header = Some("Basic YW5uOnMzY3IzdA==".to_owned());
        assert_eq!(
            (told(&basic, "https://a.example/x"), told(&basic, "https://b.example:8443")),
            (header.clone(), header)
        );
        assert_eq!((told(&basic, "https://b.example"), told(&basic, "https://c.example")), (None, None));
        let google = read(&[("username", "_json_key"), ("password", "{\n}")], "a.example").unwrap();
        assert_eq!(told(&google, "https://a.example"), Some(format!("Basic {}", STANDARD.encode("_json_key:{\n}"))));
        let token = read(&[("token", "t0k3n")], "a.example").unwrap();
        assert_eq!(told(&token, "https://a.example").as_deref(), Some("Bearer t0k3n"));
        assert!(!format!("{basic:?} {token:?}").contains("3cr3t") && !format!("{token:?}").contains("t0k3n"));
    }

    #[test]
    fn a_configuration_of_docker_names_its_hosts() {
        let config = r#"{"auths": {"https://index.docker.io/v1/": {"username": "hub", "password": "p"},
            "ghcr.io": {"auth": "YW5uOnA6cQ=="}, "localhost:5000": {"username": "a", "password": "b", "email": "c"}}}"#;
        let source = read(&[(".dockerconfigjson", config)], "").unwrap();
        let basic = |text: &str| Some(format!("Basic {}", STANDARD.encode(text)));
        assert_eq!(told(&source, "https://registry-1.docker.io/v2/"), basic("hub:p"));
        assert_eq!(told(&source, "https://auth.docker.io/token"), basic("hub:p"));
        assert_eq!(told(&source, "https://ghcr.io/v2/"), basic("ann:p:q"));
        assert_eq!(told(&source, "http://localhost:5000"), basic("a:b"));
        assert_eq!(told(&source, "https://quay.io"), None);
    }

    #[test]
    fn a_secret_that_cannot_be_used_is_told() {
        let user = ("username", "ann");
        let many = vec!["a.example"; 17].join(" ");
        for (entries, hosts, expected) in [
            (&[][..], "a", SecretError::NoCredentials),
            (&[user], "a", SecretError::NoCredentials),
            (&[user, ("password", "p"), ("token", "t")], "a", SecretError::SeveralKinds),
            (&[user, ("token", "t")], "a", SecretError::SeveralKinds),
            (&[("username", "a\nb"), ("password", "p")], "a", SecretError::NotText("username")),
            (&[user, ("password", "\n")], "a", SecretError::NotText("password")),
            (&[("token", "")], "a", SecretError::NotText("token")),
            (&[("token", "t")], " , ", SecretError::NoHosts),
            (&[("token", "t")], "https://a", SecretError::Host(HostError)),
            (&[("token", "t")], &many, SecretError::TooManyHosts),
            (&[(".dockerconfigjson", "{}")], "", SecretError::DockerConfig),
            (&[(".dockerconfigjson", r#"{"auths": {}}"#)], "", SecretError::DockerConfig),
            (&[(".dockerconfigjson", r#"{"auths": {"a": {}}}"#)], "", SecretError::DockerConfig),
            (&[(".dockerconfigjson", r#"{"auths": {"a": {"auth": "%"}}}"#)], "", SecretError::DockerConfig),
            (&[(".dockerconfigjson", r#"{"auths": {"a b": {"auth": "YTpi"}}}"#)], "", SecretError::Host(HostError)),
        ] {
            assert_eq!(read(entries, hosts).map(drop), Err(expected), "{entries:?}");
        }
        let without = Source::default().with_credentials(&data(&[("token", "t")]), None);
        assert_eq!(without.map(drop), Err(SecretError::NoHosts));
    }

    #[test]
    fn certificates_are_read_for_trust_and_for_who_asks() {
        let authority = Authority::generate();
        let ca = str::from_utf8(authority.pem()).unwrap();
        let (certificate, key) = authority.signed();
        let (chain, key) = (certificate.pem(), key.serialize_pem());
        let (_, foreign) = authority.signed();
        let foreign = foreign.serialize_pem();
        let read = |entries: &[(&str, &str)], hosts| Source::default().with_certificates(&data(entries), hosts);
        let trusting = read(&[("ca.crt", ca)], None).unwrap();
        assert!(matches!(trusting.trust, Trust::Authorities(_)) && trusting.certificate.is_none());
        let both = read(&[("ca.crt", ca), ("tls.crt", &chain), ("tls.key", &key)], Some("a")).unwrap();
        assert!(matches!(both.trust, Trust::Authorities(_)) && both.certificate.is_some());
        let pem = |key, error| SecretError::Pem { key, error };
        for (entries, hosts, expected) in [
            (&[][..], None, SecretError::NoCertificates),
            (&[("tls.crt", chain.as_str())], Some("a"), SecretError::NoCertificates),
            (&[("ca.crt", ca), ("tls.key", &key)], Some("a"), SecretError::NoCertificates),
            (&[("tls.crt", &chain), ("tls.key", &key)], None, SecretError::NoHosts),
            (&[("tls.crt", &chain), ("tls.key", &foreign)], Some("a"), pem("tls.key", PemError::Key)),
            (&[("tls.crt", "x"), ("tls.key", &key)], Some("a"), pem("tls.crt", PemError::Certificate)),
            (&[("tls.crt", &chain), ("tls.key", "x")], Some("a"), pem("tls.key", PemError::Key)),
            (&[("ca.crt", "x")], None, pem("ca.crt", PemError::Certificate)),
        ] {
            assert_eq!(read(entries, hosts).map(drop), Err(expected));
        }
    }

    proptest! {
        #[test]
        fn any_secret_can_be_read(value in proptest::collection::vec(any::<u8>(), 0..60), hosts in "\\PC{0,20}") {
            for key in ["token", ".dockerconfigjson"] {
                let data = Data::from([(key.to_owned(), value.clone())]);
                let _ = Source::default().with_credentials(&data, Some(&hosts));
            }
        }
    }
}
