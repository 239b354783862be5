//! What a chart finds by `lookup` while it is rendered: a server on loopback that lives for one render, and asks the cluster with the rights
//! of the app. helm has no token; who knows the path of 128 random bits may read what the app may read.

use std::{
    convert::Infallible,
    io,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use drover_releases::filter;
use drover_runtime::{AccountClient, Informer, ObjectKey, accounts::Kinds};
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Namespace;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

use crate::brought::Brought;

/// Connections at a time: helm needs one or two.
const CONNECTIONS: usize = 16;

/// Answers look-ups until it is dropped.
#[derive(Debug)]
pub(crate) struct LookupServer {
    pub(crate) port: u16,
    /// What every path begins with, without slashes at its ends.
    pub(crate) path: String,
    refused: Refused,
    serving: JoinHandle<()>,
}

/// The first path that was refused, and why.
type Refused = Arc<Mutex<Option<(String, Refuser)>>>;

/// Who refuses a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refuser {
    /// The role of the app does not allow it.
    Role,
    /// What is Drover's or a Project's is none of its business, whatever the role allows.
    Reach,
}

/// Where an app may look things up, as far as its role allows that.
#[derive(Clone)]
pub(crate) enum Reach {
    /// Its role is bound in one namespace.
    Namespace,
    /// Its role is bound in the whole cluster, where these namespaces are held. The kinds, and those that the app brings, say what lies in
    /// namespaces.
    Cluster { held: Informer<Namespace>, kinds: Arc<Kinds>, brought: Arc<Brought> },
}

impl Reach {
    fn has(&self, path: &str) -> bool {
        let Self::Cluster { held, kinds, brought } = self else { return true };
        let is_held = |namespace: &str| held.get(&ObjectKey::cluster_scoped(namespace)).is_some();
        let is_of_cluster = |group: &str, version: &str, plural: &str| {
            let mut named =
                kinds.iter().filter(|kind| (&*kind.group, &*kind.version, &*kind.plural) == (group, version, plural));
            match named.next() {
                Some(kind) => !kind.namespaced,
                None => brought.is_of_cluster(group, version, plural),
            }
        };
        is_within_reach(path, &is_held, &is_of_cluster)
    }

    /// What the chart brings is served for it.
    fn completed(&self, path: &str, status: StatusCode, body: Vec<u8>) -> (StatusCode, Vec<u8>) {
        let Self::Cluster { brought, .. } = self else { return (status, body) };
        brought.discovered(path, status, &body).map_or((status, body), |whole| (StatusCode::OK, whole))
    }
}

impl LookupServer {
    /// Starts one for an app.
    pub(crate) async fn start(client: AccountClient, reach: Reach) -> io::Result<Self> {
        let mut random = [0; 16];
        SystemRandom::new().fill(&mut random).map_err(|_| io::Error::other("the system has no random numbers"))?;
        let path = format!("{:032x}", u128::from_be_bytes(random));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let refused = Refused::default();
        let answering = Answering { client, reach, path: Arc::from(path.as_str()), refused: Arc::clone(&refused) };
        Ok(Self { port, path, refused, serving: tokio::spawn(serve(listener, answering)) })
    }

    /// What the app looked up and may not read, and who says so.
    pub(crate) fn refused(&self) -> Option<(String, Refuser)> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for LookupServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Clone)]
struct Answering {
    client: AccountClient,
    reach: Reach,
    path: Arc<str>,
    refused: Refused,
}

async fn serve(listener: TcpListener, answering: Answering) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.len() >= CONNECTIONS {
            connections.join_next().await;
        }
        let answering = answering.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let answering = answering.clone();
                async move { Ok::<_, Infallible>(answering.answer(&request).await) }
            });
            // Whoever hangs up early has what it wants.
            _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

impl Answering {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let uri = request.uri();
        let asked = uri.path().strip_prefix('/').and_then(|path| path.strip_prefix(&*self.path));
        let Some(path) = asked.filter(|path| *request.method() == Method::GET && may_be_asked(path, uri.query()))
        else {
            return empty(StatusCode::NOT_FOUND);
        };
        if !self.reach.has(path) {
            self.refuse(path, Refuser::Reach);
            return empty(StatusCode::FORBIDDEN);
        }
        let whole = uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        match self.client.get_path(&whole).await {
            Ok(answer) if answer.status == StatusCode::OK || answer.status == StatusCode::NOT_FOUND => {
                let (status, body) = self.reach.completed(path, answer.status, answer.body);
                let mut response = Response::new(Full::new(Bytes::from(body)));
                *response.status_mut() = status;
                response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
                response
            }
            Ok(answer) => {
                if answer.status == StatusCode::FORBIDDEN {
                    self.refuse(path, Refuser::Role);
                }
                empty(StatusCode::FORBIDDEN)
            }
            Err(_) => empty(StatusCode::BAD_GATEWAY),
        }
    }

    fn refuse(&self, path: &str, refuser: Refuser) {
        let mut first = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| (path.to_owned(), refuser));
    }
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// Whether this is the version, discovery, or an object or a list of them: no subresource, and no watch.
fn may_be_asked(path: &str, query: Option<&str>) -> bool {
    let Some(path) = path.strip_prefix('/') else { return false };
    let segments: Vec<&str> = path.split('/').collect();
    let is_plain = |segment: &&str| {
        !segment.is_empty()
            && *segment != ".."
            && *segment != "."
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte))
    };
    let of_objects = match segments.as_slice() {
        ["version" | "api" | "apis"] => return query.is_none_or(str::is_empty) || is_timeout(query),
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        ["apis", _] => &[],
        _ => return false,
    };
    // An older way to ask for a watch.
    if of_objects.first() == Some(&"watch") {
        return false;
    }
    let (["namespaces", _, named @ ..] | named) = of_objects;
    let watches =
        query.is_some_and(|query| query.split('&').any(|part| part.starts_with("watch") || part.starts_with("follow")));
    segments.iter().all(is_plain) && named.len() <= 2 && !watches
}

/// Whether nothing that this path asks for lies in a namespace that is Drover's or a Project's: neither that namespace, nor all of them.
fn is_within_reach(
    path: &str,
    is_held: &dyn Fn(&str) -> bool,
    is_of_cluster: &dyn Fn(&str, &str, &str) -> bool,
) -> bool {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let (group, version, objects) = match segments.as_slice() {
        ["api", version, objects @ ..] => ("", *version, objects),
        ["apis", group, version, objects @ ..] => (*group, *version, objects),
        _ => return true,
    };
    match objects {
        ["namespaces", namespace, _, ..] => !filter::is_drovers_namespace(namespace) && !is_held(namespace),
        // No object of a namespace is found by its name alone.
        [plural] => is_of_cluster(group, version, plural),
        _ => true,
    }
}

fn is_timeout(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.split('&').all(|part| part.starts_with("timeout=")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_version_discovery_and_objects_may_be_asked() {
        for path in [
            "/version",
            "/api",
            "/apis",
            "/api/v1",
            "/apis/apps/v1",
            "/api/v1/namespaces",
            "/api/v1/namespaces/shop",
            "/api/v1/namespaces/shop/secrets",
            "/api/v1/namespaces/shop/secrets/password",
            "/apis/apps/v1/namespaces/shop/deployments/web",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/drover:deployer",
        ] {
            assert!(may_be_asked(path, None), "{path}");
        }
        for (path, query) in [
            ("", None),
            ("/", None),
            ("/metrics", None),
            ("/openapi/v3", None),
            ("/api/v1/namespaces/shop/pods/web/log", None),
            ("/api/v1/namespaces/shop/pods/web/exec", Some("command=sh")),
            ("/api/v1/namespaces/shop/services/web/proxy/admin", None),
            ("/api/v1/namespaces/shop/secrets", Some("watch=true")),
            ("/api/v1/namespaces/shop/secrets", Some("limit=1&watch=1")),
            ("/api/v1/watch/secrets", None),
            ("/apis/apps/v1/watch/deployments", None),
            ("/api/v1/namespaces/../secrets", None),
            ("/api/v1/namespaces/shop//secrets", None),
            ("/api/v1/namespaces/sh%6fp/secrets", None),
        ] {
            assert!(!may_be_asked(path, query), "{path}");
        }
    }

    #[test]
    fn what_is_held_is_out_of_reach_by_whatever_path() {
        let is_held = |namespace: &str| namespace == "team-web";
        let is_of_cluster = |group: &str, version: &str, plural: &str| {
            matches!(
                (group, version, plural),
                ("", "v1", "namespaces" | "nodes") | ("scheduling.k8s.io", "v1", "priorityclasses")
            )
        };
        let has = |path: &str| is_within_reach(path, &is_held, &is_of_cluster);
        for path in [
            "/version",
            "/apis/apps/v1",
            "/api/v1/namespaces",
            "/api/v1/namespaces/team-web",
            "/api/v1/nodes",
            "/api/v1/nodes/node-1",
            "/api/v1/namespaces/ops/secrets",
            "/api/v1/namespaces/ops/secrets/password",
            "/apis/apps/v1/namespaces/kube-system/deployments/coredns",
            "/apis/scheduling.k8s.io/v1/priorityclasses",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/admin",
        ] {
            assert!(has(path), "{path}");
        }
        for path in [
            "/api/v1/secrets",
            "/api/v1/configmaps",
            "/apis/apps/v1/deployments",
            "/apis/charts.invalid/v1/unknown",
            "/api/v1/namespaces/drover-system/secrets/app.team.web",
            "/api/v1/namespaces/drover-system/secrets",
            "/api/v1/namespaces/team-web/secrets",
            "/api/v1/namespaces/team-web/configmaps/settings",
            "/apis/apps/v1/namespaces/team-web/deployments/web",
        ] {
            assert!(!has(path), "{path}");
        }
    }
}
