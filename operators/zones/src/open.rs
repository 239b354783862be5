//! From a `GlobalDNSProvider` and its Secret to its driver.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use drover_crds::{
    GlobalDNSProvider, TsigAlgorithm,
    names::{ANNOTATION_HOSTS, LABEL_USABLE_BY, USABLE_BY_DNS_PROVIDERS},
};
use drover_runtime::{ApiError, DialPolicy, request::request};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt as _};

use crate::{
    Algorithm, Gates, Key, Rfc2136, Server,
    cause::{OpenError, ProviderCause},
};

/// Where the Secret has the secret of a key, in base64 as servers have it.
const TSIG_SECRET: &str = "tsigSecret";

/// Opens providers. Clones share what is known of their servers.
#[derive(Clone, Debug)]
pub struct Zones {
    policy: DialPolicy,
    gates: Gates,
}

impl Zones {
    /// Which dials the addresses that `policy` allows.
    #[must_use]
    pub fn new(policy: DialPolicy) -> Self {
        Self { policy, gates: Gates::default() }
    }

    /// The driver of `provider`, with the key in its Secret in `namespace`, which is Drover's. Asks the provider nothing.
    pub async fn open(
        &self,
        client: &Client,
        namespace: &str,
        provider: &GlobalDNSProvider,
    ) -> Result<Rfc2136, OpenError> {
        let name = &provider.spec.credentials_secret_ref.name;
        let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
        let found = request(format!("read Secret {namespace}/{name}"), secrets.get_opt(name)).await;
        driver(found.map_err(ApiError::unquoted)?, namespace, provider, self)
    }
}

fn driver(
    found: Option<Secret>,
    namespace: &str,
    provider: &GlobalDNSProvider,
    zones: &Zones,
) -> Result<Rfc2136, OpenError> {
    let spec = &provider.spec.rfc2136;
    let server = server(&spec.server, "server", provider)?;
    let verify = spec.verify_servers.iter().map(|text| self::server(text, "verifyServers", provider));
    let verify = verify.collect::<Result<_, _>>()?;
    let secret = secret(found, namespace, provider, &server)?;
    let algorithm = match spec.algorithm {
        TsigAlgorithm::HmacSHA256 => Algorithm::HmacSha256,
        TsigAlgorithm::HmacSHA384 => Algorithm::HmacSha384,
        TsigAlgorithm::HmacSHA512 => Algorithm::HmacSha512,
    };
    let key = Key::new(&spec.key_name, algorithm, secret).map_err(|_| {
        let message = format!("spec.rfc2136.keyName of GlobalDNSProvider {} is no name of DNS", provider.name_any());
        OpenError::new(ProviderCause::ProviderInvalid, message)
    })?;
    Ok(Rfc2136 { server, key, verify, policy: zones.policy, gates: zones.gates.clone() })
}

fn server(text: &str, field: &str, provider: &GlobalDNSProvider) -> Result<Server, OpenError> {
    text.parse().map_err(|()| {
        let message = format!(
            "spec.rfc2136.{field} of GlobalDNSProvider {} is no server such as ns1.example.com:53",
            provider.name_any()
        );
        OpenError::new(ProviderCause::ProviderInvalid, message)
    })
}

fn secret(
    found: Option<Secret>,
    namespace: &str,
    provider: &GlobalDNSProvider,
    server: &Server,
) -> Result<Vec<u8>, OpenError> {
    let name = &provider.spec.credentials_secret_ref.name;
    let is_usable =
        |secret: &Secret| secret.labels().get(LABEL_USABLE_BY).is_some_and(|value| value == USABLE_BY_DNS_PROVIDERS);
    let Some(secret) = found.filter(is_usable) else {
        let message = format!(
            "there is no Secret {name} with the label {LABEL_USABLE_BY}: {USABLE_BY_DNS_PROVIDERS} in namespace {namespace}; create it, or correct spec.credentialsSecretRef"
        );
        return Err(OpenError::new(ProviderCause::ProviderSecretNotFound, message));
    };
    let invalid = |what: String| {
        OpenError::new(ProviderCause::ProviderSecretInvalid, format!("Secret {name} in namespace {namespace} {what}"))
    };
    let hosts = secret.annotations().get(ANNOTATION_HOSTS).map(String::as_str).unwrap_or_default();
    if !hosts.split([',', ' ']).any(|host| names(host, server)) {
        return Err(invalid(format!(
            "does not name host {} in its annotation {ANNOTATION_HOSTS}; add it there, or correct spec.rfc2136.server",
            server.host
        )));
    }
    let data = secret.data.unwrap_or_default();
    let text = data.get(TSIG_SECRET).and_then(|bytes| str::from_utf8(&bytes.0).ok()).map(str::trim);
    let decoded = text.and_then(|text| STANDARD.decode(text).ok()).filter(|secret| !secret.is_empty());
    decoded.ok_or_else(|| {
        invalid(format!("needs the secret of the key in base64 under the key {TSIG_SECRET}; write it there"))
    })
}

/// Whether an entry of the annotation means a server: its host, or its host and port.
fn names(entry: &str, server: &Server) -> bool {
    !entry.is_empty() && (entry.eq_ignore_ascii_case(&server.host) || entry.eq_ignore_ascii_case(&server.to_string()))
}

#[cfg(test)]
mod tests {
    use drover_runtime::Classify as _;
    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::*;

    fn provider(rfc2136: &serde_json::Value) -> GlobalDNSProvider {
        let mut spec = json!({"server": "ns1.example.com", "keyName": "drover"});
        spec.as_object_mut().unwrap().extend(rfc2136.as_object().unwrap().clone());
        serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "GlobalDNSProvider", "metadata": {"name": "main"},
            "spec": {"rfc2136": spec, "credentialsSecretRef": {"name": "key"}, "domains": ["example.com"]},
        }))
        .unwrap()
    }

    fn with(hosts: &str, text: &str) -> Secret {
        let data = [(TSIG_SECRET.to_owned(), ByteString(text.into()))].into();
        let mut secret = Secret { data: Some(data), ..Secret::default() };
        secret.labels_mut().insert(LABEL_USABLE_BY.to_owned(), USABLE_BY_DNS_PROVIDERS.to_owned());
        secret.annotations_mut().insert(ANNOTATION_HOSTS.to_owned(), hosts.to_owned());
        secret
    }

    fn open(found: Option<Secret>, rfc2136: &serde_json::Value) -> Result<Rfc2136, OpenError> {
        driver(found, "drover", &provider(rfc2136), &Zones::new(DialPolicy::RefuseLocal))
    }

    #[test]
    fn a_key_is_read_for_the_server_that_may_get_what_it_signs() {
        let opened = open(Some(with("a.example, NS1.example.com", "c2VjcmV0\n")), &json!({})).unwrap();
        assert_eq!(opened.server.to_string(), "ns1.example.com:53");
        assert!(!format!("{opened:?}").contains("secret"), "{opened:?}");
        let elsewhere = json!({"server": "[2001:db8::1]:5353", "verifyServers": ["2001:db8::2", "a:1"]});
        let opened = open(Some(with("[2001:db8::1]:5353", "c2VjcmV0")), &elsewhere).unwrap();
        assert_eq!(opened.verify.iter().map(ToString::to_string).collect::<Vec<_>>(), ["[2001:db8::2]:53", "a:1"]);
        for (found, rfc2136, expected) in [
            (None, json!({}), ProviderCause::ProviderSecretNotFound),
            (Some(Secret::default()), json!({}), ProviderCause::ProviderSecretNotFound),
            (Some(with("", "c2VjcmV0")), json!({}), ProviderCause::ProviderSecretInvalid),
            (Some(with("ns2.example.com", "c2VjcmV0")), json!({}), ProviderCause::ProviderSecretInvalid),
            (Some(with("ns1.example.com", "")), json!({}), ProviderCause::ProviderSecretInvalid),
            (Some(with("ns1.example.com", "s3cr3t!")), json!({}), ProviderCause::ProviderSecretInvalid),
            (Some(with("ns1.example.com", "c2VjcmV0")), json!({"server": "a:b"}), ProviderCause::ProviderInvalid),
            (
                Some(with("ns1.example.com", "c2VjcmV0")),
                json!({"verifyServers": ["a:0"]}),
                ProviderCause::ProviderInvalid,
            ),
        ] {
            let error = open(found, &rfc2136).unwrap_err();
            assert_eq!(error.cause(), expected.cause(), "{error}");
            assert!(!error.to_string().contains("s3cr3t"), "{error}");
        }
    }
}
