//! The way through an HTTP proxy: the one that the kubeconfig names, else the one of the environment.

use drover_client::DialPolicy;
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;

/// A proxy, asked by `CONNECT`. What goes through it is TLS with the API server all the same.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Proxy {
    /// Scheme, host and port.
    pub(crate) uri: Uri,
    /// User and password from its URL.
    pub(crate) authorization: Option<HeaderValue>,
    /// Where it may be. The one of the environment may be anywhere: whoever runs Drover chose it.
    pub(crate) policy: DialPolicy,
}

impl Proxy {
    /// The proxy to reach `server` by, if there is one. As for client-go, `proxy-url` of the kubeconfig wins over
    /// `HTTPS_PROXY` and `NO_PROXY` of the environment. `policy` is for what the kubeconfig names.
    pub(crate) fn to(server: &Uri, proxy_url: Option<&str>, policy: DialPolicy) -> Option<Self> {
        let (matcher, policy) = match proxy_url {
            Some(url) => (Matcher::builder().all(url.to_owned()).build(), policy),
            None => (Matcher::from_env(), DialPolicy::AllowLocal),
        };
        let found = matcher.intercept(server)?;
        Some(Self { uri: found.uri().clone(), authorization: found.basic_auth().cloned(), policy })
    }
}

/// Whether this is a proxy that can be used: `http` or `https`, with a host.
pub(crate) fn is_usable(proxy_url: &str) -> bool {
    let Ok(uri) = proxy_url.parse::<Uri>() else { return false };
    matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubeconfig_names_the_proxy_and_its_password_goes_into_a_header() {
        let server = "https://10.0.0.1:6443".parse().unwrap();
        let proxy = Proxy::to(&server, Some("http://user:s3cr3t@proxy:3128"), DialPolicy::RefuseLocal).unwrap();
        assert_eq!((proxy.uri.host(), proxy.uri.port_u16()), (Some("proxy"), Some(3128)));
        assert_eq!(proxy.authorization.unwrap(), "Basic dXNlcjpzM2NyM3Q=");
        assert_eq!(proxy.policy, DialPolicy::RefuseLocal);
    }

    #[test]
    fn only_http_proxies_are_usable() {
        for (url, usable) in [
            ("http://proxy:3128", true),
            ("https://proxy", true),
            ("socks5://proxy:1080", false),
            ("proxy:3128", false),
            ("http://", false),
            ("", false),
        ] {
            assert_eq!(is_usable(url), usable, "{url}");
        }
    }
}
