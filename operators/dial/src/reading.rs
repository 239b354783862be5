//! Reads a kubeconfig as kubectl does. Pure.

use kube::config::{AuthInfo, Cluster, Context, Kubeconfig};
use secrecy::{ExposeSecret as _, SecretString};

/// The same kubeconfig as client-go understands it: an empty field is unset, base64 may be broken into lines, data wins over
/// files, and a server without a scheme is reached by TLS.
#[must_use]
pub fn as_kubectl_reads(mut kubeconfig: Kubeconfig) -> Kubeconfig {
    let Kubeconfig { current_context, clusters, contexts, auth_infos, .. } = &mut kubeconfig;
    unset_empty(current_context);
    clusters.iter_mut().filter_map(|named| named.cluster.as_mut()).for_each(read_cluster);
    contexts.iter_mut().filter_map(|named| named.context.as_mut()).for_each(read_context);
    auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()).for_each(read_user);
    kubeconfig
}

fn read_cluster(cluster: &mut Cluster) {
    let Cluster { server, certificate_authority, certificate_authority_data, proxy_url, tls_server_name, .. } = cluster;
    [&mut *certificate_authority_data, certificate_authority, proxy_url, tls_server_name, server]
        .into_iter()
        .for_each(unset_empty);
    join_lines(certificate_authority_data);
    if certificate_authority_data.is_some() {
        *certificate_authority = None;
    }
    if let Some(server) = server.as_mut().filter(|server| !server.contains("://")) {
        server.insert_str(0, "https://");
    }
}

fn read_context(context: &mut Context) {
    unset_empty(&mut context.user);
    unset_empty(&mut context.namespace);
}

fn read_user(user: &mut AuthInfo) {
    let AuthInfo { username, password, token, token_file, impersonate, impersonate_uid, .. } = user;
    [username, token_file, impersonate, impersonate_uid].into_iter().for_each(unset_empty);
    [password, token].into_iter().for_each(unset_empty_secret);
    user.impersonate_groups.take_if(|groups| groups.is_empty());
    user.impersonate_user_extra.take_if(|extra| extra.is_empty());
    read_pair(user);
}

fn read_pair(user: &mut AuthInfo) {
    let AuthInfo { client_certificate, client_certificate_data, client_key, client_key_data, .. } = user;
    [&mut *client_certificate, client_certificate_data, client_key].into_iter().for_each(unset_empty);
    unset_empty_secret(client_key_data);
    join_lines(client_certificate_data);
    if let Some(key) = client_key_data {
        *key = joined(key.expose_secret()).into();
        *client_key = None;
    }
    if client_certificate_data.is_some() {
        *client_certificate = None;
    }
}

fn unset_empty(field: &mut Option<String>) {
    field.take_if(|text| text.is_empty());
}

fn unset_empty_secret(field: &mut Option<SecretString>) {
    field.take_if(|secret| secret.expose_secret().is_empty());
}

fn join_lines(base64: &mut Option<String>) {
    if let Some(base64) = base64 {
        *base64 = joined(base64);
    }
}

/// Go's decoder of base64 passes over these, and over nothing else.
fn joined(base64: &str) -> String {
    base64.replace(['\r', '\n'], "")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(kubeconfig: &Value) -> Value {
        let read = as_kubectl_reads(serde_json::from_value(kubeconfig.clone()).unwrap());
        assert_eq!(json!(as_kubectl_reads(read.clone())), json!(read), "what was read is read the same");
        json!(read)
    }

    fn read_cluster(cluster: &Value) -> Value {
        read(&json!({"clusters": [{"name": "k", "cluster": cluster}]}))["clusters"][0]["cluster"].clone()
    }

    fn read_user(user: &Value) -> Value {
        read(&json!({"users": [{"name": "u", "user": user}]}))["users"][0]["user"].clone()
    }

    #[test]
    fn what_is_empty_is_unset() {
        let empty = |keys: &[&str]| keys.iter().map(|key| ((*key).to_owned(), json!(""))).collect::<Value>();
        let files = ["server", "certificate-authority", "certificate-authority-data", "proxy-url", "tls-server-name"];
        assert_eq!(read_cluster(&empty(&files)), json!({}));
        let mut user = empty(&["username", "password", "token", "tokenFile", "as", "as-uid", "client-certificate"]);
        user["client-certificate-data"] = json!("");
        user["client-key"] = json!("");
        user["client-key-data"] = json!("");
        user["as-groups"] = json!([]);
        user["as-user-extra"] = json!({});
        assert_eq!(read_user(&user), json!({}));
        assert_eq!(read(&json!({"current-context": ""})).get("current-context"), None);
    }

    #[test]
    fn base64_may_have_line_breaks_and_wins_over_files() {
        let cluster = json!({"certificate-authority-data": "QU\r\nJD\n", "certificate-authority": "/etc/ca"});
        assert_eq!(read_cluster(&cluster), json!({"certificate-authority-data": "QUJD"}));
        let user = json!({
            "client-certificate-data": "\nQUJD", "client-certificate": "/etc/crt", "client-key-data": "QU\nJD",
            "client-key": "/etc/key",
        });
        assert_eq!(read_user(&user), json!({"client-certificate-data": "QUJD", "client-key-data": "QUJD"}));
        assert_eq!(read_user(&json!({"client-key": "/etc/key"})), json!({"client-key": "/etc/key"}));
    }

    #[test]
    fn a_server_without_a_scheme_is_reached_by_tls() {
        for (written, read) in [
            ("10.0.0.1:6443", "https://10.0.0.1:6443"),
            ("eu.example/k8s", "https://eu.example/k8s"),
            ("http://eu.example", "http://eu.example"),
            ("https://eu.example", "https://eu.example"),
        ] {
            assert_eq!(read_cluster(&json!({"server": written}))["server"], read);
        }
    }
}
