//! Where something is, and what belongs to one server. Pure.

use std::{fmt, str::FromStr};

use http::{Uri, uri::Scheme};

/// Most bytes of a URL: those that clouds sign have thousands.
const URL_BYTES: usize = 8_192;

/// An `http` or `https` URL with a host, without user and password.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Url(Uri);

/// The text is no URL that can be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It has no such form.
    #[error("is no http or https URL; write it like https://charts.example.com/stable")]
    Invalid,
    /// It has a user or a password.
    #[error("has a user or a password in it; put them into a Secret")]
    Credentials,
}

impl Url {
    /// The host, without brackets around an IPv6 address.
    #[must_use]
    pub fn host(&self) -> &str {
        bare(self.bracketed_host())
    }

    /// The host as URLs spell it.
    pub(crate) fn bracketed_host(&self) -> &str {
        self.0.host().unwrap_or_default()
    }

    /// The port: 443 of `https` and 80 of `http` where it is not named.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or(if self.is_https() { 443 } else { 80 })
    }

    /// Whether TLS protects it.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.scheme() == Some(&Scheme::HTTPS)
    }

    /// Whether both are on one server: the same scheme, host and port.
    #[must_use]
    pub fn is_same_server(&self, other: &Self) -> bool {
        let server = |url: &Self| (url.is_https(), url.host().to_ascii_lowercase(), url.port());
        server(self) == server(other)
    }

    /// It as it is sent, with its query.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    pub(crate) fn path(&self) -> &str {
        self.0.path()
    }

    /// Path and query, for a request.
    pub(crate) fn path_and_query(&self) -> &str {
        self.0.path_and_query().map_or("/", |path| path.as_str())
    }

    /// Scheme, host and port.
    pub(crate) fn origin(&self) -> String {
        let scheme = if self.is_https() { "https" } else { "http" };
        format!("{scheme}://{}", self.0.authority().map_or("", |authority| authority.as_str()))
    }

    /// What a link on this page leads to (RFC 3986, 5.2).
    pub fn join(&self, link: &str) -> Result<Self, UrlError> {
        let link = link.split('#').next().unwrap_or_default();
        if has_scheme(link) {
            return link.parse();
        }
        if link.starts_with("//") {
            return format!("{}:{link}", if self.is_https() { "https" } else { "http" }).parse();
        }
        let (path, query) = link.split_once('?').map_or((link, None), |(path, query)| (path, Some(query)));
        let folder = self.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        let path = match path {
            "" => self.path().to_owned(),
            absolute if absolute.starts_with('/') => without_dots(absolute),
            relative => without_dots(&format!("{folder}/{relative}")),
        };
        self.at(&path, query.or_else(|| self.0.query().filter(|_| link.is_empty())))
    }

    /// Something in the folder that this URL is. A query of the folder, such as a token, goes with what is on the same server
    /// and has no query of its own.
    pub fn inside(&self, link: &str) -> Result<Self, UrlError> {
        let folder = self.at(&format!("{}/", self.path().trim_end_matches('/')), self.0.query())?;
        let found = folder.join(link)?;
        match self.0.query() {
            Some(query) if !has_scheme(link) && found.0.query().is_none() && found.is_same_server(self) => {
                found.at(found.path(), Some(query))
            }
            _ => Ok(found),
        }
    }

    fn at(&self, path: &str, query: Option<&str>) -> Result<Self, UrlError> {
        let query = query.map_or_else(String::new, |query| format!("?{query}"));
        format!("{}{path}{query}", self.origin()).parse()
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.len() > URL_BYTES {
            return Err(UrlError::Invalid);
        }
        let uri: Uri = text.parse().map_err(|_| UrlError::Invalid)?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(UrlError::Credentials);
        }
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        let has_host = uri.host().is_some_and(|host| !bare(host).is_empty());
        // A port that is no number is left out by `port_u16`.
        let is_port_good = uri.port().is_none_or(|port| port.as_u16() > 0);
        if is_http && has_host && is_port_good { Ok(Self(uri)) } else { Err(UrlError::Invalid) }
    }
}

/// Without its query, which may have a token in it.
impl fmt::Display for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.origin(), self.path())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

fn has_scheme(link: &str) -> bool {
    let scheme = link.split_once(':').map_or("", |(scheme, _)| scheme);
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '-' | '.');
    scheme.starts_with(|letter: char| letter.is_ascii_alphabetic()) && scheme.chars().all(is_part)
}

/// An absolute path without `.` and `..`.
fn without_dots(path: &str) -> String {
    let mut kept = Vec::new();
    for name in path.split('/').skip(1) {
        match name {
            "." => {}
            ".." => drop(kept.pop()),
            name => kept.push(name),
        }
    }
    let is_folder = path.ends_with("/.") || path.ends_with("/..");
    format!("/{}{}", kept.join("/"), if is_folder && !kept.is_empty() { "/" } else { "" })
}

/// A server that credentials may go to: `host` for the usual port of the scheme, or `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    name: String,
    port: Option<u16>,
}

/// The text names no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no host; write it like charts.example.com or charts.example.com:8443")]
pub struct HostError;

impl Host {
    /// Whether `url` is on it.
    #[must_use]
    pub fn serves(&self, url: &Url) -> bool {
        let port = self.port.unwrap_or(if url.is_https() { 443 } else { 80 });
        self.name == url.host().to_ascii_lowercase() && port == url.port()
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let authority: http::uri::Authority = text.parse().map_err(|_| HostError)?;
        let name = bare(authority.host()).to_ascii_lowercase();
        if name.is_empty() || text.contains('@') || text.ends_with(':') {
            return Err(HostError);
        }
        Ok(Self { name, port: authority.port_u16() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    fn whole(url: &Url) -> String {
        url.uri().to_string()
    }

    #[test]
    fn only_servers_of_http_are_urls() {
        for (text, error) in [
            ("", UrlError::Invalid),
            ("charts.example.com", UrlError::Invalid),
            ("/charts", UrlError::Invalid),
            ("https://", UrlError::Invalid),
            ("https:///charts", UrlError::Invalid),
            ("file:///etc/passwd", UrlError::Invalid),
            ("oci://example.com/charts", UrlError::Invalid),
            ("https://a b/", UrlError::Invalid),
            ("https://a:0/", UrlError::Invalid),
            ("https://a:b@example.com/", UrlError::Credentials),
            ("https://a@example.com/", UrlError::Credentials),
        ] {
            assert_eq!(text.parse::<Url>(), Err(error), "{text}");
        }
        assert_eq!((url("https://a").port(), url("http://a/b").port(), url("http://[::1]:8/").port()), (443, 80, 8));
        assert_eq!(url("http://[::1]:8/").host(), "::1");
        assert_eq!(url("https://a/b?token=x").to_string(), "https://a/b");
    }

    #[test]
    fn links_are_resolved_as_in_browsers() {
        let page = url("https://a.example:8443/b/c/d?q");
        for (link, expected) in [
            ("g", "https://a.example:8443/b/c/g"),
            ("./g", "https://a.example:8443/b/c/g"),
            ("g/", "https://a.example:8443/b/c/g/"),
            ("/g", "https://a.example:8443/g"),
            ("//other.example", "https://other.example/"),
            ("?y", "https://a.example:8443/b/c/d?y"),
            ("g?y#s", "https://a.example:8443/b/c/g?y"),
            ("", "https://a.example:8443/b/c/d?q"),
            (".", "https://a.example:8443/b/c/"),
            ("..", "https://a.example:8443/b/"),
            ("../g", "https://a.example:8443/b/g"),
            ("../../../g", "https://a.example:8443/g"),
            ("http://other.example/x", "http://other.example/x"),
            ("a:b", "refused"),
            ("file:///etc/passwd", "refused"),
            ("//user@other.example", "refused"),
        ] {
            let found = page.join(link).map_or("refused".to_owned(), |url| whole(&url));
            assert_eq!(found, expected, "{link}");
        }
    }

    #[test]
    fn charts_lie_in_the_folder_of_their_repository() {
        for (repository, link, expected) in [
            ("https://a.example/charts", "web-1.tgz", "https://a.example/charts/web-1.tgz"),
            ("https://a.example/charts/", "web-1.tgz", "https://a.example/charts/web-1.tgz"),
            ("https://a.example", "index.yaml", "https://a.example/index.yaml"),
            ("https://a.example/charts", "/web-1.tgz", "https://a.example/web-1.tgz"),
            ("https://a.example/charts?token=x", "web-1.tgz", "https://a.example/charts/web-1.tgz?token=x"),
            ("https://a.example/charts?token=x", "web-1.tgz?y", "https://a.example/charts/web-1.tgz?y"),
            ("https://a.example/charts?token=x", "//b.example/w", "https://b.example/w"),
            ("https://a.example/charts?token=x", "https://a.example/w", "https://a.example/w"),
        ] {
            assert_eq!(whole(&url(repository).inside(link).unwrap()), expected, "{repository} {link}");
        }
    }

    #[test]
    fn a_host_is_one_port_of_one_name() {
        for (host, address, expected) in [
            ("a.example", "https://a.example/x", true),
            ("A.example", "https://a.EXAMPLE/x", true),
            ("a.example", "http://a.example/x", true),
            ("a.example:443", "https://a.example/x", true),
            ("a.example:443", "http://a.example/x", false),
            ("a.example", "https://a.example:8443/x", false),
            ("a.example:8443", "https://a.example:8443/x", true),
            ("a.example", "https://b.a.example/x", false),
            ("a.example", "https://a.example.evil/x", false),
            ("[::1]:8", "http://[::1]:8/", true),
        ] {
            assert_eq!(host.parse::<Host>().unwrap().serves(&url(address)), expected, "{host} {address}");
        }
        for bad in ["", "a b", "a@b", "https://a", "a/b", "a:"] {
            assert_eq!(bad.parse::<Host>(), Err(HostError), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_link_can_be_resolved(link in "\\PC{0,30}") {
            let page = url("https://a.example/b/c?d");
            if let Ok(found) = page.join(&link) {
                prop_assert!(!found.path().split('/').any(|name| name == "..") || has_scheme(&link) || link.starts_with("//"));
            }
            let _ = page.inside(&link);
            let _ = link.parse::<Host>();
        }
    }
}
