//! Whether a request can be made of what a kubeconfig says. Pure.
//!
//! kube panics where a token or a URL cannot be sent, so both are judged before.

use std::panic::{AssertUnwindSafe, catch_unwind};

use http::Uri;
use kube::Config;
use secrecy::ExposeSecret as _;

use crate::proxy;

/// Why no request can be made of what a kubeconfig says. The texts repeat nothing of it.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The server is no URL that Drover can ask.
    #[error("`server` in the kubeconfig is no https:// URL of an API server; correct it")]
    Server,
    /// The token cannot be sent.
    #[error("the token in the kubeconfig is empty, or has spaces or line breaks; put it on one line, without any")]
    Token,
    /// A program gave what cannot be sent.
    #[error("the program that the kubeconfig names gives no token that can be sent; try it by hand")]
    TokenOfProgram,
    /// The proxy cannot be used.
    #[error("`proxy-url` in the kubeconfig is no http:// or https:// URL; Drover supports no other proxies")]
    Proxy,
    /// Something else.
    #[error(transparent)]
    Client(#[from] kube::Error),
}

/// Longest URL of a server, in bytes.
const URL_LIMIT: usize = 2048;

/// Whether a request to the server of `config` can be made, through the proxy that its kubeconfig names.
pub(crate) fn check(config: &Config, proxy_url: Option<&str>) -> Result<(), PrepareError> {
    if !is_server(&config.cluster_url) {
        return Err(PrepareError::Server);
    }
    if config.auth_info.token.as_ref().is_some_and(|token| !is_token(token.expose_secret())) {
        return Err(PrepareError::Token);
    }
    if proxy_url.is_some_and(|url| !proxy::is_usable(url)) {
        return Err(PrepareError::Proxy);
    }
    Ok(())
}

/// Whether an API server can be asked at this URL.
pub(crate) fn is_server(url: &Uri) -> bool {
    let is_short = url.to_string().len() <= URL_LIMIT;
    is_short && url.scheme_str() == Some("https") && url.host().is_some_and(|host| !host.is_empty())
}

/// Whether this can be sent as a bearer token.
pub(crate) fn is_token(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What `prepare` makes. It may run a program for a token, and kube panics if that one cannot be sent.
pub(crate) fn with_token_of_program<T>(prepare: impl FnOnce() -> Result<T, kube::Error>) -> Result<T, PrepareError> {
    catch_unwind(AssertUnwindSafe(prepare)).map_err(|_| PrepareError::TokenOfProgram)?.map_err(PrepareError::Client)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use kube::client::{Body, ConfigExt as _};
    use proptest::prelude::*;
    use tower::{Layer as _, Service as _, service_fn};

    use super::*;
    use crate::dial::connect;

    fn config(url: &str) -> Option<Config> {
        Some(Config::new(url.parse().ok()?))
    }

    /// Makes a request, and sends it to nobody.
    fn request(config: &Config) {
        let nobody = service_fn(|_| async { Ok::<_, Infallible>(http::Response::new(Body::empty())) });
        let mut service = config.base_uri_layer().layer(nobody);
        drop(service.call(http::Request::get("/api/v1/namespaces/kube-system").body(Body::empty()).unwrap()));
    }

    #[tokio::test]
    async fn what_cannot_be_sent_is_refused() {
        let long = format!("https://127.0.0.1/{}", "x".repeat(65_000));
        for url in ["http://127.0.0.1", "127.0.0.1:6443", "example.com", "/path", "*", &long] {
            let refused = connect(&config(url).unwrap(), None).map(drop).unwrap_err();
            assert!(matches!(refused, PrepareError::Server), "{url}: {refused}");
        }
        let mut good = config("https://127.0.0.1:6443/k8s/c1/").unwrap();
        assert!(connect(&good, None).is_ok());
        for url in ["socks5://127.0.0.1:1080", "proxy:3128", ""] {
            let refused = connect(&good, Some(url)).map(drop).unwrap_err();
            assert!(matches!(refused, PrepareError::Proxy), "{url}: {refused}");
        }
        for token in ["s3cr3t\n", "", "s3 cr3t", "s3cr3t\u{e9}", "\r\ns3cr3t"] {
            good.auth_info.token = Some(token.to_owned().into());
            let refused = connect(&good, None).map(drop).unwrap_err();
            assert!(matches!(refused, PrepareError::Token), "{token:?}: {refused}");
            assert!(!refused.to_string().contains("s3"), "{refused}");
        }
    }

    #[tokio::test]
    async fn a_program_that_gives_a_token_with_a_line_break_is_no_panic() {
        let mut config = config("https://127.0.0.1:6443").unwrap();
        let credential = r#"{"apiVersion": "client.authentication.k8s.io/v1", "status": {"token": "s3cr3t\n"}}"#;
        config.auth_info.exec = serde_json::from_value(serde_json::json!({
            "apiVersion": "client.authentication.k8s.io/v1", "command": "echo", "args": [credential],
            "interactiveMode": "Never",
        }))
        .unwrap();
        let refused = connect(&config, None).map(drop).unwrap_err();
        assert!(matches!(refused, PrepareError::TokenOfProgram), "{refused}");
    }

    proptest! {
        #[test]
        fn a_request_is_made_of_every_url_that_is_not_refused(
            scheme in "(https://|HTTPS://|http://|//|)",
            host in "[-a-z0-9.:@%\\[\\]_]{0,20}",
            path in "(/[!-~]{0,20}){0,3}",
            any in "\\PC{0,12}",
        ) {
            for url in [format!("{scheme}{host}{path}"), format!("https://{host}{any}"), format!("{any}{host}"), any] {
                if let Some(config) = config(&url).filter(|config| is_server(&config.cluster_url)) {
                    request(&config);
                }
            }
        }

        #[test]
        fn every_token_that_is_not_refused_is_sent(token in "(\\PC|[\\r\\n\\t ]){0,12}") {
            let mut config = config("https://127.0.0.1:6443").unwrap();
            config.auth_info.token = Some(token.clone().into());
            prop_assert!(check(&config, None).is_err() || config.auth_layer().is_ok(), "{:?}", token);
        }
    }
}
