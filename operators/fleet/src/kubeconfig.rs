//! A kubeconfig is code: only inline data is accepted, nothing of it is run, and no file is read.

use std::fmt;

use kube::config::{
    AuthInfo, Cluster, Config, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
};

use crate::{
    cause::ConnectionCause,
    expiry::{self, CredentialLife, SeenCertificate},
    prepare::is_token,
    proxy,
};
use drover_runtime::{Cause, Classify, error::truncate};
use secrecy::ExposeSecret as _;

/// Why a kubeconfig is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KubeconfigError {
    /// It is not a kubeconfig. The text says nothing of its content.
    #[error(
        "the kubeconfig is malformed; it must be a YAML document as `kubectl config view --flatten --raw` prints it"
    )]
    Malformed,
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
    /// It lacks something without which no connection can be trusted or made.
    #[error("the kubeconfig lacks `{0}`; it must be inline")]
    Missing(&'static str),
    /// The token cannot be sent.
    #[error("the token in the kubeconfig is empty, or has spaces or line breaks; put it on one line, without any")]
    Token,
    /// It uses something that this version does not support.
    #[error("the kubeconfig uses `{0}`, which this version does not support yet")]
    NotYetImplemented(&'static str),
}

impl Classify for KubeconfigError {
    fn cause(&self) -> Cause {
        let cause = match self {
            Self::Unsafe { .. } => ConnectionCause::UnsafeKubeconfig,
            Self::NotYetImplemented(_) => ConnectionCause::NotYetImplemented,
            Self::Malformed | Self::NoContext(_) | Self::Missing(_) | Self::Token => ConnectionCause::InvalidKubeconfig,
        };
        cause.into()
    }
}

/// What a kubeconfig says, as far as it is used.
pub struct Access {
    /// Server, authority and credential.
    pub config: Config,
    /// The proxy that it names; its password may be in it.
    pub(crate) proxy_url: Option<String>,
    /// How long its credential is good for.
    pub(crate) life: Option<CredentialLife>,
    /// Its client certificate.
    pub(crate) certificate: Option<SeenCertificate>,
}

impl fmt::Debug for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Access").finish_non_exhaustive()
    }
}

/// Longest name that is repeated in a message, in bytes.
const NAME_LIMIT: usize = 253;
const INLINE_CREDENTIAL: &str =
    "import the cluster with a service-account token or an inline client certificate instead";
const INLINE_FILES: &str = "use the matching *-data field (`kubectl config view --flatten --raw` makes it)";

/// Reads the one context of `text` that is wanted, or the current one, and refuses everything but inline data.
pub async fn parse(text: &str, context: Option<&str>) -> Result<Access, KubeconfigError> {
    let all = Kubeconfig::from_yaml(text).map_err(|_| KubeconfigError::Malformed)?;
    let wanted = context.map(str::to_owned).or_else(|| all.current_context.clone()).unwrap_or_default();
    let no_context = || KubeconfigError::NoContext(truncate(&wanted, NAME_LIMIT));
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
    Ok(Access { config, proxy_url: cluster.proxy_url.clone(), life, certificate })
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
    refuse(
        cluster.insecure_skip_tls_verify == Some(true),
        "insecure-skip-tls-verify",
        "give the CA as certificate-authority-data",
    )?;
    refuse(cluster.certificate_authority.is_some(), "certificate-authority", INLINE_FILES)?;
    if cluster.proxy_url.as_deref().is_some_and(|url| !proxy::is_usable(url)) {
        return Err(KubeconfigError::NotYetImplemented("proxy-url with another scheme than http and https"));
    }
    if !cluster.server.as_deref().is_some_and(|server| server.starts_with("https://")) {
        return Err(KubeconfigError::Missing("server (an https:// URL)"));
    }
    present(cluster.certificate_authority_data.as_deref(), "certificate-authority-data")
}

fn check_user(user: &AuthInfo) -> Result<(), KubeconfigError> {
    refuse(user.exec.is_some(), "exec", INLINE_CREDENTIAL)?;
    refuse(user.auth_provider.is_some(), "auth-provider", INLINE_CREDENTIAL)?;
    refuse(user.token_file.is_some(), "tokenFile", INLINE_CREDENTIAL)?;
    refuse(user.client_certificate.is_some(), "client-certificate", INLINE_FILES)?;
    refuse(user.client_key.is_some(), "client-key", INLINE_FILES)?;
    refuse(user.username.is_some() || user.password.is_some(), "username/password", INLINE_CREDENTIAL)?;
    refuse(
        user.impersonate.is_some() || user.impersonate_groups.is_some(),
        "as",
        "use a credential that has the rights itself",
    )?;
    if let Some(token) = &user.token {
        return if is_token(token.expose_secret()) { Ok(()) } else { Err(KubeconfigError::Token) };
    }
    present(user.client_certificate_data.as_deref(), "token or client-certificate-data")?;
    if user.client_key_data.is_none() {
        return Err(KubeconfigError::Missing("client-key-data"));
    }
    Ok(())
}

fn refuse(used: bool, field: &'static str, remedy: &'static str) -> Result<(), KubeconfigError> {
    if used { Err(KubeconfigError::Unsafe { field, remedy }) } else { Ok(()) }
}

fn present(value: Option<&str>, field: &'static str) -> Result<(), KubeconfigError> {
    if value.is_some_and(|value| !value.is_empty()) { Ok(()) } else { Err(KubeconfigError::Missing(field)) }
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
    use super::*;

    // A CA certificate is only decoded when a connection is made; any PEM will do for reading.
    const CA: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1BPT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo=";

    fn kubeconfig(cluster: &str, user: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
             clusters: [{{name: k, cluster: {{{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
        )
    }

    fn good_cluster() -> String {
        format!("server: 'https://127.0.0.1:6443', certificate-authority-data: {CA}")
    }

    #[tokio::test]
    async fn inline_data_is_accepted() {
        let config = parse(&kubeconfig(&good_cluster(), "token: secret"), None).await.unwrap().config;
        assert_eq!(config.cluster_url.host(), Some("127.0.0.1"));
        assert!(!config.default_retry);
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
            ("insecure-skip-tls-verify", format!("{}, insecure-skip-tls-verify: true", good_cluster()), "token: t"),
            ("certificate-authority", "server: 'https://x', certificate-authority: /etc/passwd".into(), "token: t"),
        ] {
            let error = parse(&kubeconfig(&cluster, user), None).await.unwrap_err();
            assert_eq!(error.reason(), "UnsafeKubeconfig", "{field}");
            assert!(error.to_string().contains(field), "{error}");
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
}
