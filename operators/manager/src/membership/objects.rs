//! The objects of an import. Nothing here reaches a server.

use drover_crds::names::{DROVER_NAMESPACE, LABEL_CLUSTER, LABEL_MANAGED_BY, MANAGED_BY_IMPORT};
use drover_runtime::DialPolicy;
use http::{Uri, uri::Authority};
use k8s_openapi::{ByteString, api::core::v1::Namespace};
use kube::{
    api::ObjectMeta,
    config::{Cluster, Context, Kubeconfig},
};
use serde_json::{Value, json};

use super::bindable;
use crate::{registry::Operators, rights::Rules};

/// On everything that an import makes.
pub(super) const LABEL: (&str, &str) = (LABEL_MANAGED_BY, MANAGED_BY_IMPORT);

/// Whether an import made this object.
pub(super) fn is_imported(meta: &ObjectMeta) -> bool {
    meta.labels.as_ref().and_then(|labels| labels.get(LABEL.0)).is_some_and(|value| value == LABEL.1)
}

/// What the objects in the imported cluster are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// The `ServiceAccount`, its token, the Role and the bindings, as one installation has them.
    pub(super) account: String,
}

impl Names {
    /// After the installation, so that two of them do not meet in one cluster.
    pub(super) fn of(installation: &str) -> Result<Self, String> {
        let is_label = |text: &str| text.chars().all(|each| matches!(each, 'a'..='z' | '0'..='9' | '-'));
        if installation.is_empty() || installation.len() > 50 || !is_label(installation) {
            return Err(format!(
                "objects cannot be named after the installation {installation:?}: give --installation a name of at most 50 lower-case letters, digits and dashes; it names objects only"
            ));
        }
        Ok(Self { account: format!("drover-{}", installation.trim_matches('-')) })
    }
}

/// What Drover may do in the cluster: what its code needs, and to bind the `ClusterRoles` that the command line names.
pub(super) fn rules(bindable_cluster_roles: &[String]) -> Rules {
    let mut rules = Rules::of(&Operators::all());
    rules.downstream.extend(bindable::rule(bindable_cluster_roles));
    rules
}

/// What an import makes in the cluster: the namespace, and what is applied in it and beside it.
pub(super) fn downstream_half(names: &Names, rules: &Rules) -> (Namespace, Vec<Value>) {
    let Names { account } = names;
    let metadata = ObjectMeta { name: Some(DROVER_NAMESPACE.to_owned()), ..ObjectMeta::default() };
    let labels = json!({LABEL.0: LABEL.1});
    let everywhere = json!({"name": account, "labels": labels});
    let here = json!({"name": account, "namespace": DROVER_NAMESPACE, "labels": labels});
    let token = json!({
        "name": account, "namespace": DROVER_NAMESPACE, "labels": labels,
        "annotations": {"kubernetes.io/service-account.name": account},
    });
    let subjects = json!([{"kind": "ServiceAccount", "name": account, "namespace": DROVER_NAMESPACE}]);
    let role = |kind: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": account});
    let rbac = "rbac.authorization.k8s.io/v1";
    let objects = vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": here}),
        json!({"apiVersion": rbac, "kind": "ClusterRole", "metadata": everywhere, "rules": rules.downstream}),
        json!({"apiVersion": rbac, "kind": "ClusterRoleBinding", "metadata": everywhere, "subjects": subjects, "roleRef": role("ClusterRole")}),
        json!({"apiVersion": rbac, "kind": "Role", "metadata": here, "rules": rules.downstream_namespace}),
        json!({"apiVersion": rbac, "kind": "RoleBinding", "metadata": here, "subjects": subjects, "roleRef": role("Role")}),
        json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token", "metadata": token}),
    ];
    (Namespace { metadata, ..Namespace::default() }, objects)
}

/// What an import makes in the management cluster.
pub(super) fn management_half(name: &str, namespace: &str, kubeconfig: &Value) -> [Value; 2] {
    let labels = json!({LABEL.0: LABEL.1, LABEL_CLUSTER: name});
    [
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace, "labels": labels},
            // JSON is YAML.
            "stringData": {"kubeconfig": kubeconfig.to_string()},
        }),
        json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": name},
            "spec": {"connection": {"kubeconfig": {"secretRef": {"name": name}}}},
        }),
    ]
}

/// How the API server is reached, without a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Access {
    server: String,
    authority: String,
    proxy_url: Option<String>,
    tls_server_name: Option<String>,
}

impl Access {
    /// What to tell the person of a server to which Drover does not connect by default.
    pub(super) fn warning(&self) -> Option<String> {
        let server = self.server.parse::<Uri>().ok()?;
        let refused = DialPolicy::RefuseLocal.check_host(server.host().unwrap_or_default()).err()?;
        Some(format!(
            "{} is {refused}, which Drover refuses unless the chart value allowLocalAddresses or the flag --allow-local-addresses is set: say with --server how Drover reaches the cluster",
            self.server
        ))
    }

    /// As the person reaches it by `context`, except for `server`. The authority is the person's, or else `of_accounts`, the one
    /// that the cluster itself gives to service accounts.
    pub(super) fn of(
        person: &Kubeconfig,
        context: &str,
        server: Option<&str>,
        of_accounts: Option<String>,
    ) -> Result<Self, String> {
        let cluster = cluster(person, context).ok_or_else(|| format!("the kubeconfig has no context {context}"))?;
        let server = server.map(str::to_owned).or_else(|| cluster.server.clone()).unwrap_or_default();
        if !is_server(&server) {
            return Err(
                "the URL of the API server is no https:// URL without a user: say with --server how Drover reaches the cluster"
                    .to_owned(),
            );
        }
        let file = cluster.certificate_authority.as_ref().map(|path| {
            let bytes = std::fs::read(path).map_err(|error| format!("cannot read {path}: {error}"))?;
            base64(&ByteString(bytes)).map_err(|error| error.to_string())
        });
        let given = match &cluster.certificate_authority_data {
            Some(data) => Some(data.clone()),
            None => file.transpose()?,
        };
        let authority =
            given.or(of_accounts).ok_or("the kubeconfig has no certificate authority, and the cluster names none")?;
        let Cluster { proxy_url, tls_server_name, .. } = cluster.clone();
        Ok(Self { server, authority, proxy_url, tls_server_name })
    }

    /// A kubeconfig with everything inline.
    pub(super) fn kubeconfig(&self, name: &str, token: &str) -> Value {
        let mut cluster = serde_json::Map::new();
        cluster.insert("server".to_owned(), json!(self.server));
        cluster.insert("certificate-authority-data".to_owned(), json!(self.authority));
        cluster.extend(self.proxy_url.iter().map(|url| ("proxy-url".to_owned(), json!(url))));
        cluster.extend(self.tls_server_name.iter().map(|name| ("tls-server-name".to_owned(), json!(name))));
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": name,
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        })
    }
}

/// Whether Drover connects to such a URL: of a user in it there may be a password, which Drover does not send.
fn is_server(url: &str) -> bool {
    let Ok(url) = url.parse::<Uri>() else { return false };
    let is_host = |authority: &Authority| !authority.host().is_empty() && !authority.as_str().contains('@');
    url.scheme_str() == Some("https") && url.authority().is_some_and(is_host)
}

/// The cluster behind a context.
pub(super) fn cluster<'person>(person: &'person Kubeconfig, context: &str) -> Option<&'person Cluster> {
    let Context { cluster, .. } = person.contexts.iter().find(|named| named.name == context)?.context.as_ref()?;
    person.clusters.iter().find(|named| named.name == *cluster)?.cluster.as_ref()
}

/// Bytes as base64, as the API spells them.
pub(super) fn base64(bytes: &ByteString) -> Result<String, serde_json::Error> {
    serde_json::from_value(serde_json::to_value(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERSON: &str = r"
        contexts: [{name: prod, context: {cluster: eu, user: me}}, {name: bare, context: {cluster: bare, user: me}}]
        clusters:
          - {name: eu, cluster: {server: 'https://127.0.0.1:1', certificate-authority-data: UEVN, proxy-url: 'http://p:1', tls-server-name: eu}}
          - {name: bare, cluster: {server: 'http://plain'}}
        users: [{name: me, user: {exec: {command: login, apiVersion: client.authentication.k8s.io/v1}}}]";

    #[test]
    fn the_stored_kubeconfig_reaches_the_cluster_as_the_person_does_without_the_persons_credential() {
        let person = Kubeconfig::from_yaml(PERSON).unwrap();
        let access = Access::of(&person, "prod", Some("https://eu.example:6443"), None).unwrap();
        let kubeconfig = access.kubeconfig("eu", "a-token");
        let text = kubeconfig.to_string();
        for part in ["https://eu.example:6443", "UEVN", "http://p:1", "a-token", "\"tls-server-name\":\"eu\""] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("login"), "{text}");
    }

    #[test]
    fn a_server_that_drover_refuses_by_default_is_said() {
        let person = Kubeconfig::from_yaml(PERSON).unwrap();
        let warning = |server| Access::of(&person, "prod", server, None).unwrap().warning();
        assert!(warning(None).unwrap().contains("https://127.0.0.1:1 is a loopback address"));
        assert_eq!(warning(Some("https://eu.example:6443")), None);
    }

    #[test]
    fn what_cannot_be_reached_is_said() {
        let person = Kubeconfig::from_yaml(PERSON).unwrap();
        let refusal = |context, server| Access::of(&person, context, server, None).unwrap_err();
        assert!(refusal("nowhere", None).contains("no context nowhere"));
        for server in [None, Some("https://a b"), Some("https://"), Some("eu.example"), Some("https://me:s3cr3t@eu")] {
            let said = refusal("bare", server);
            assert!(said.contains("--server") && !said.contains("s3cr3t"), "{server:?}: {said}");
        }
        assert!(refusal("bare", Some("https://bare")).contains("no certificate authority"));
    }

    #[test]
    fn objects_are_named_after_the_installation() {
        assert_eq!(Names::of("blue").unwrap().account, "drover-blue");
        for bad in ["", "Blue", "a b", &"x".repeat(51)] {
            assert!(Names::of(bad).unwrap_err().contains("--installation"), "{bad}");
        }
    }
}
