//! A kubeconfig is code: only inline data is accepted, nothing of it is run, and no file is read.

use std::fmt;

use kube::config::{
    AuthInfo, Cluster, Config, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
};

use crate::{
    cause::ConnectionCause,
    expiry::{self, CredentialLife, SeenCertificate},
    pem::{self, DataProblem},
    prepare::{is_server, is_token},
    proxy, verifier,
};
use drover_client::{Cause, Classify, error::legible};
use http::Uri;
use rustls::{ClientConfig, pki_types::ServerName};
use secrecy::ExposeSecret as _;

pub use crate::reading::as_kubectl_reads;

/// Why a kubeconfig is refused.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum KubeconfigError {
    /// It is not a kubeconfig. The text says nothing of its content.
    #[error(
        "the kubeconfig is malformed; it must be a YAML document as `kubectl config view --flatten --raw` prints it"
    )]
    Malformed,
    /// It is so long that reading it takes long.
    #[error(
        "the kubeconfig is longer than 256 KiB; keep only the context that Drover uses, as `kubectl config view --minify --flatten --raw` prints it"
    )]
    TooLong,
    /// It names a context that it does not have, or has none.
    #[error("the kubeconfig has no usable context {0:?}; set connection.kubeconfig.context to one that it has")]
    NoContext(String),
    /// It asks for something that is not inline data.
    #[error("the kubeconfig uses `{field}`, which Drover neither runs nor reads; {remedy}")]
    Unsafe {
        /// The field.
        field: &'static str,
        /// What to do instead.
        remedy: &'static str,
    },
    /// There is a user, and perhaps a password, in the URL of the server.
    #[error("`server` in the kubeconfig contains a user, whom Drover does not send; {INLINE_CREDENTIAL}")]
    UserInServer,
    /// It lacks something without which no connection can be trusted or made.
    #[error("the kubeconfig lacks `{0}`; it must be inline")]
    Missing(&'static str),
    /// The server is no URL.
    #[error("`server` in the kubeconfig is no URL; write https://, the host and the port")]
    Server,
    /// The name to check the certificate of the server against is no name.
    #[error("`tls-server-name` in the kubeconfig is no DNS name and no IP address; correct or remove it")]
    TlsServerName,
    /// The token cannot be sent.
    #[error("the token in the kubeconfig has spaces or line breaks; put it on one line, without any")]
    Token,
    /// A certificate or a key cannot be used.
    #[error("`{field}` in the kubeconfig {problem}")]
    Data {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: DataProblem,
    },
    /// Certificates and keys were judged to be good, and yet there is no use for them.
    #[error("the certificate, key or CA in the kubeconfig cannot be used; put a valid kubeconfig into the Secret")]
    Unusable,
    /// It uses something that this version does not support.
    #[error("the kubeconfig uses `{0}`, which this version does not support yet")]
    NotYetImplemented(&'static str),
}

impl Classify for KubeconfigError {
    fn cause(&self) -> Cause {
        let cause = match self {
            Self::Unsafe { .. } | Self::UserInServer => ConnectionCause::UnsafeKubeconfig,
            Self::NotYetImplemented(_) => ConnectionCause::NotYetImplemented,
            Self::Malformed
            | Self::TooLong
            | Self::NoContext(_)
            | Self::Missing(_)
            | Self::Server
            | Self::TlsServerName
            | Self::Token
            | Self::Data { .. }
            | Self::Unusable => ConnectionCause::InvalidKubeconfig,
        };
        cause.into()
    }
}

/// What a kubeconfig says, as far as it is used.
pub struct Access {
    /// Server, authority and credential.
    pub config: Config,
    /// The same for TLS.
    pub tls: ClientConfig,
    /// The proxy that it names; its password may be in it.
    pub proxy_url: Option<String>,
    /// How long its credential is good for.
    pub life: Option<CredentialLife>,
    /// Its client certificate.
    pub certificate: Option<SeenCertificate>,
}

impl Access {
    /// The same server, authority and proxy, and no credential at all: neither a token nor, on a connection that is made of it, a
    /// client certificate. No TLS session of another connection is resumed on it either.
    pub fn without_credential(&self) -> Result<Self, kube::Error> {
        let config = without_credential(&self.config);
        let tls = verifier::client_config(&config)?;
        Ok(Self { config, tls, proxy_url: self.proxy_url.clone(), life: None, certificate: None })
    }
}

/// The same way to the same server without any credential.
#[must_use]
pub fn without_credential(config: &Config) -> Config {
    let mut config = config.clone();
    config.auth_info = AuthInfo::default();
    config
}

impl fmt::Debug for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Access").finish_non_exhaustive()
    }
}

/// Longest kubeconfig, in bytes: to merge many documents of many entries takes the square of their number.
const LONGEST: usize = 256 << 10;
/// Longest name that is repeated in a message, in bytes.
const NAME_LIMIT: usize = 253;
const INLINE_CREDENTIAL: &str =
    "import the cluster with a service-account token or an inline client certificate instead";
const INLINE_FILES: &str = "use the matching *-data field (`kubectl config view --flatten --raw` makes it)";

/// Reads the one context of `text` that is wanted, or the current one, and refuses everything but inline data.
pub async fn parse(text: &str, context: Option<&str>) -> Result<Access, KubeconfigError> {
    if text.len() > LONGEST {
        return Err(KubeconfigError::TooLong);
    }
    let all = as_kubectl_reads(Kubeconfig::from_yaml(text).map_err(|_| KubeconfigError::Malformed)?);
    let asked_for = context.filter(|context| !context.is_empty()).map(str::to_owned);
    let wanted = asked_for.or_else(|| all.current_context.clone()).unwrap_or_default();
    let no_context = || KubeconfigError::NoContext(legible(&wanted, NAME_LIMIT));
    let context =
        named(&all.contexts, |item| &item.name, |item| item.context.as_ref(), &wanted).ok_or_else(no_context)?;
    let cluster = named(&all.clusters, |item| &item.name, |item| item.cluster.as_ref(), &context.cluster)
        .ok_or_else(no_context)?;
    let user_name = context.user.clone().unwrap_or_default();
    let user =
        named(&all.auth_infos, |item| &item.name, |item| item.auth_info.as_ref(), &user_name).ok_or_else(no_context)?;
    check_cluster(cluster)?;
    check_user(user)?;
    let (life, certificate) = expiry::of_credential(user);
    let config = load(minimal(context, cluster, user)).await?;
    let tls = verifier::client_config(&config).map_err(|_| KubeconfigError::Unusable)?;
    Ok(Access { config, tls, proxy_url: cluster.proxy_url.clone(), life, certificate })
}

fn named<'a, T, V>(
    items: &'a [T],
    name: impl Fn(&T) -> &String,
    value: impl Fn(&'a T) -> Option<&'a V>,
    wanted: &str,
) -> Option<&'a V> {
    items.iter().find(|item| name(item) == wanted).and_then(value)
}

fn check_cluster(cluster: &Cluster) -> Result<(), KubeconfigError> {
    const AUTHORITIES: &str = "certificate-authority-data";
    refuse(
        cluster.insecure_skip_tls_verify == Some(true),
        "insecure-skip-tls-verify",
        "give the CA as certificate-authority-data",
    )?;
    refuse(cluster.certificate_authority.is_some(), "certificate-authority", INLINE_FILES)?;
    if cluster.proxy_url.as_deref().is_some_and(|url| !proxy::is_usable(url)) {
        return Err(KubeconfigError::NotYetImplemented("proxy-url with another scheme than http and https"));
    }
    check_server(cluster.server.as_deref().unwrap_or_default())?;
    if cluster.tls_server_name.as_deref().is_some_and(|name| ServerName::try_from(name).is_err()) {
        return Err(KubeconfigError::TlsServerName);
    }
    let authorities = cluster.certificate_authority_data.as_deref().ok_or(KubeconfigError::Missing(AUTHORITIES))?;
    pem::check_authorities(authorities).map_err(in_field(AUTHORITIES))
}

fn check_server(server: &str) -> Result<(), KubeconfigError> {
    if server.is_empty() || server.starts_with("http://") {
        return Err(KubeconfigError::Missing("server (an https:// URL)"));
    }
    let url = server.parse::<Uri>().map_err(|_| KubeconfigError::Server)?;
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(KubeconfigError::UserInServer);
    }
    if is_server(&url) { Ok(()) } else { Err(KubeconfigError::Server) }
}

fn check_user(user: &AuthInfo) -> Result<(), KubeconfigError> {
    refuse(user.exec.is_some(), "exec", INLINE_CREDENTIAL)?;
    refuse(user.auth_provider.is_some(), "auth-provider", INLINE_CREDENTIAL)?;
    refuse(user.token_file.is_some(), "tokenFile", INLINE_CREDENTIAL)?;
    refuse(user.client_certificate.is_some(), "client-certificate", INLINE_FILES)?;
    refuse(user.client_key.is_some(), "client-key", INLINE_FILES)?;
    refuse(user.username.is_some() || user.password.is_some(), "username/password", INLINE_CREDENTIAL)?;
    let is_another = user.impersonate.is_some()
        || user.impersonate_uid.is_some()
        || user.impersonate_groups.is_some()
        || user.impersonate_user_extra.is_some();
    refuse(is_another, "as", "use a credential that has the rights itself")?;
    if user.token.as_ref().is_some_and(|token| !is_token(token.expose_secret())) {
        return Err(KubeconfigError::Token);
    }
    check_pair(user)
}

fn check_pair(user: &AuthInfo) -> Result<(), KubeconfigError> {
    const CERTIFICATE: &str = "client-certificate-data";
    const KEY: &str = "client-key-data";
    match (&user.client_certificate_data, &user.client_key_data) {
        (Some(certificate), Some(key)) => {
            let certificates = pem::client_certificates(certificate).map_err(in_field(CERTIFICATE))?;
            pem::check_key(key.expose_secret(), certificates).map_err(in_field(KEY))
        }
        (Some(_), None) => Err(KubeconfigError::Missing(KEY)),
        (None, Some(_)) => Err(KubeconfigError::Missing(CERTIFICATE)),
        (None, None) if user.token.is_none() => Err(KubeconfigError::Missing("token or client-certificate-data")),
        (None, None) => Ok(()),
    }
}

fn in_field(field: &'static str) -> impl Fn(DataProblem) -> KubeconfigError {
    move |problem| KubeconfigError::Data { field, problem }
}

fn refuse(used: bool, field: &'static str, remedy: &'static str) -> Result<(), KubeconfigError> {
    if used { Err(KubeconfigError::Unsafe { field, remedy }) } else { Ok(()) }
}

/// Only what was checked goes on: a field that was overlooked here cannot have an effect.
fn minimal(context: &Context, cluster: &Cluster, user: &AuthInfo) -> Kubeconfig {
    const NAME: &str = "drover";
    let cluster = Cluster {
        server: cluster.server.clone(),
        certificate_authority_data: cluster.certificate_authority_data.clone(),
        tls_server_name: cluster.tls_server_name.clone(),
        ..Cluster::default()
    };
    let user = AuthInfo {
        token: user.token.clone(),
        client_certificate_data: user.client_certificate_data.clone(),
        client_key_data: user.client_key_data.clone(),
        ..AuthInfo::default()
    };
    let context = Context { cluster: NAME.into(), user: Some(NAME.into()), namespace: None, ..context.clone() };
    Kubeconfig {
        clusters: vec![NamedCluster { name: NAME.into(), cluster: Some(cluster), ..NamedCluster::default() }],
        auth_infos: vec![NamedAuthInfo { name: NAME.into(), auth_info: Some(user), ..NamedAuthInfo::default() }],
        contexts: vec![NamedContext { name: NAME.into(), context: Some(context), ..NamedContext::default() }],
        current_context: Some(NAME.into()),
        ..Kubeconfig::default()
    }
}

async fn load(kubeconfig: Kubeconfig) -> Result<Config, KubeconfigError> {
    let options = KubeConfigOptions::default();
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|_| KubeconfigError::Malformed)?;
    // Retries are ours: one call must not hold a reconcile for minutes.
    config.default_retry = false;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use proptest::prelude::*;
    use rcgen::KeyPair;

    use super::*;
    use crate::{
        dial::connect,
        testing::{PAIR, good_cluster, kubeconfig},
    };

    fn pair() -> String {
        format!("client-certificate-data: {}, client-key-data: {}", PAIR[0], PAIR[1])
    }

    async fn refusal(cluster: &str, user: &str) -> KubeconfigError {
        parse(&kubeconfig(cluster, user), None).await.unwrap_err()
    }

    #[tokio::test]
    async fn inline_data_is_accepted() {
        for user in ["token: secret".to_owned(), pair(), format!("token: secret, {}", pair())] {
            let config = parse(&kubeconfig(&good_cluster(), &user), None).await.unwrap().config;
            assert_eq!(config.cluster_url.host(), Some("127.0.0.1"));
            assert!(!config.default_retry);
        }
    }

    #[tokio::test]
    async fn what_kubectl_takes_as_unset_is_unset() {
        let ca = PAIR[0].as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap());
        let ca = ca.collect::<Vec<_>>().join("\\n");
        let cluster = format!(
            "server: '127.0.0.1:6443', certificate-authority-data: \"{ca}\", certificate-authority: /gone, \
             proxy-url: '', tls-server-name: '', insecure-skip-tls-verify: false"
        );
        let user = "token: t, tokenFile: '', username: '', password: '', client-certificate: '', client-key-data: '', \
                    as: '', as-groups: [], as-user-extra: {}, exec: null";
        let access = parse(&kubeconfig(&cluster, user), Some("")).await.unwrap();
        assert_eq!(access.config.cluster_url, "https://127.0.0.1:6443");
        assert_eq!((access.proxy_url, access.config.tls_server_name), (None, None));
    }

    #[tokio::test]
    async fn everything_that_runs_or_reads_is_refused_with_a_remedy() {
        for (field, cluster, user) in [
            (
                "exec",
                good_cluster(),
                "exec: {apiVersion: client.authentication.k8s.io/v1, command: touch, args: [/tmp/x]}",
            ),
            ("auth-provider", good_cluster(), "auth-provider: {name: gcp, config: {}}"),
            ("tokenFile", good_cluster(), "tokenFile: /etc/passwd"),
            ("client-certificate", good_cluster(), "client-certificate: /etc/passwd"),
            ("client-key", good_cluster(), "client-key: /etc/passwd"),
            ("`as`", good_cluster(), "token: t, as-uid: root"),
            ("`as`", good_cluster(), "token: t, as-user-extra: {a: [b]}"),
            ("insecure-skip-tls-verify", format!("{}, insecure-skip-tls-verify: true", good_cluster()), "token: t"),
            ("certificate-authority", "server: 'https://x', certificate-authority: /etc/passwd".into(), "token: t"),
            ("contains a user", good_cluster().replace("https://", "https://root:s3cr3t@"), "token: t"),
        ] {
            let error = refusal(&cluster, user).await;
            assert_eq!(error.reason(), "UnsafeKubeconfig", "{field}");
            assert!(error.to_string().contains(field), "{error}");
            assert!(!error.to_string().contains("s3cr3t"), "{error}");
        }
    }

    #[tokio::test]
    async fn what_is_missing_or_malformed_is_said_without_showing_it() {
        for (text, reason) in [
            (String::new(), "InvalidKubeconfig"),
            ("{{{ not yaml s3cr3t".into(), "InvalidKubeconfig"),
            (kubeconfig("server: 'http://plain'", "token: s3cr3t"), "InvalidKubeconfig"),
            (kubeconfig("server: 'https://x'", "token: s3cr3t"), "InvalidKubeconfig"),
            (kubeconfig(&good_cluster(), ""), "InvalidKubeconfig"),
            (kubeconfig(&good_cluster(), r#"token: "s3cr3t\n""#), "InvalidKubeconfig"),
            (kubeconfig(&good_cluster(), "token: ''"), "InvalidKubeconfig"),
            (kubeconfig(&format!("{}, proxy-url: 'socks5://p'", good_cluster()), "token: s3cr3t"), "NotYetImplemented"),
        ] {
            let error = parse(&text, None).await.unwrap_err();
            assert_eq!(error.reason(), reason, "{text}");
            assert!(!error.to_string().contains("s3cr3t"), "{error}");
        }
        let error = parse(&kubeconfig(&good_cluster(), "token: t"), Some("other")).await.unwrap_err();
        assert_eq!(error, KubeconfigError::NoContext("other".into()));
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_field_has_its_own_words() {
        let [certificate, key] = &*PAIR;
        let stranger = STANDARD.encode(KeyPair::generate().unwrap().serialize_pem());
        let with_name = |name: &str| format!("{}, tls-server-name: '{name}'", good_cluster());
        let at = |server: &str| good_cluster().replace("https://127.0.0.1:6443", server);
        let twice = STANDARD.encode(certificate);
        for (cluster, user, words) in [
            (with_name("a b"), "token: t".to_owned(), "tls-server-name"),
            (at("https://a b"), "token: t".to_owned(), "no URL"),
            (at("https://"), "token: t".to_owned(), "no URL"),
            (at("ftp://x"), "token: t".to_owned(), "no URL"),
            (good_cluster().replace(certificate, &twice), "token: t".to_owned(), "encoded twice"),
            (good_cluster(), pair().replace(key, &stranger), "`client-key-data` in the kubeconfig does not belong"),
            (good_cluster(), format!("token: t, client-key-data: {key}"), "lacks `client-certificate-data`"),
            (good_cluster(), format!("client-certificate-data: {certificate}"), "lacks `client-key-data`"),
            (good_cluster(), pair().replace(certificate, key), "`client-certificate-data` in the kubeconfig has no"),
        ] {
            let error = refusal(&cluster, &user).await;
            assert_eq!(error.reason(), "InvalidKubeconfig", "{error}");
            assert!(error.to_string().contains(words), "{words}: {error}");
        }
        for name in ["eu.example", "10.0.0.1", "::1"] {
            assert!(parse(&kubeconfig(&with_name(name), "token: t"), None).await.is_ok(), "{name}");
        }
    }

    #[tokio::test]
    async fn what_is_nested_deeply_is_refused() {
        for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", "")] {
            let text = format!("extensions: {}{}", open.repeat(100_000), close.repeat(100_000));
            assert!(parse(&text, None).await.is_err(), "{open}");
        }
    }

    /// What Drover makes of `text`, in a Secret and as the kubeconfig of a person.
    async fn use_up(text: &str) {
        let _ = parse(text, None).await;
        let Ok(person) = Kubeconfig::from_yaml(text) else { return };
        if let Ok(config) =
            Config::from_custom_kubeconfig(as_kubectl_reads(person), &KubeConfigOptions::default()).await
        {
            let _ = connect(&config, None);
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(any in "(\\PC|\\n){0,40}", at: prop::sample::Index, to: prop::sample::Index) {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let good = kubeconfig(&format!("{}, proxy-url: 'http://p:1'", good_cluster()), &format!("token: t, {}", pair()));
            let (at, to) = (at.index(good.len()), to.index(good.len()));
            let mut changed = good.clone();
            changed.replace_range(at.min(to)..at.max(to), &any);
            let mut longer = good;
            longer.insert_str(at, &any);
            for text in [any, changed, longer] {
                runtime.block_on(use_up(&text));
            }
        }
    }
}
