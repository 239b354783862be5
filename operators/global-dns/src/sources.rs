//! What offers addresses in a cluster, as far as it is kept: names, addresses and labels of Ingresses and Services.

use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::{
    api::{core::v1::Service, networking::v1::Ingress},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::Resource;
use serde::Deserialize;

/// The names that a Service offers, with commas between them: as external-dns has it.
pub const ANNOTATION_HOSTNAME: &str = "external-dns.alpha.kubernetes.io/hostname";
/// Most names of one object.
const MOST_NAMES: usize = 256;
/// Most addresses of one object.
const MOST_ADDRESSES: usize = 64;

/// Something that offers addresses.
pub trait Source: Resource<DynamicType = ()> {
    /// The names that it offers, which may be anything.
    fn names(&self) -> &[String];
    /// Its addresses, which may be anything.
    fn addresses(&self) -> &[String];
}

/// An Ingress.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "WholeIngress")]
pub struct SlimIngress(Slim);

/// A Service; one of another type than `LoadBalancer` offers nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "WholeService")]
pub struct SlimService(Slim);

#[derive(Clone, Debug)]
struct Slim {
    metadata: ObjectMeta,
    names: Vec<String>,
    addresses: Vec<String>,
}

#[derive(Deserialize)]
struct WholeIngress {
    metadata: Meta,
    #[serde(default)]
    spec: IngressSpec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct IngressSpec {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    host: Option<String>,
}

#[derive(Deserialize)]
struct WholeService {
    metadata: Meta,
    #[serde(default)]
    spec: ServiceSpec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ServiceSpec {
    r#type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    load_balancer: LoadBalancer,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    ingress: Vec<Point>,
}

#[derive(Deserialize)]
struct Point {
    ip: Option<String>,
    hostname: Option<String>,
}

impl Slim {
    fn new(meta: Meta, names: impl Iterator<Item = String>, status: Status) -> Self {
        let metadata = ObjectMeta {
            name: meta.name,
            namespace: meta.namespace,
            uid: meta.uid,
            resource_version: meta.resource_version,
            labels: meta.labels,
            ..ObjectMeta::default()
        };
        let points = status.load_balancer.ingress.into_iter().filter_map(|point| point.ip.or(point.hostname));
        let is_short = |text: &String| !text.is_empty() && text.len() <= 253;
        let names = names.filter(is_short).take(MOST_NAMES).collect();
        Self { metadata, names, addresses: points.filter(is_short).take(MOST_ADDRESSES).collect() }
    }
}

impl From<WholeIngress> for SlimIngress {
    fn from(whole: WholeIngress) -> Self {
        let names = whole.spec.rules.into_iter().filter_map(|rule| rule.host);
        Self(Slim::new(whole.metadata, names, whole.status))
    }
}

impl From<WholeService> for SlimService {
    fn from(mut whole: WholeService) -> Self {
        let offers = whole.spec.r#type == "LoadBalancer";
        let text = whole.metadata.annotations.remove(ANNOTATION_HOSTNAME).filter(|_| offers).unwrap_or_default();
        let names = text.split(',').map(|name| name.trim().trim_end_matches('.').to_owned());
        let status = if offers { whole.status } else { Status::default() };
        Self(Slim::new(whole.metadata, names, status))
    }
}

macro_rules! source {
    ($slim:ty, $whole:ty) => {
        impl Resource for $slim {
            type DynamicType = ();
            type Scope = <$whole as Resource>::Scope;

            fn kind((): &()) -> Cow<'_, str> {
                <$whole>::kind(&())
            }
            fn group((): &()) -> Cow<'_, str> {
                <$whole>::group(&())
            }
            fn version((): &()) -> Cow<'_, str> {
                <$whole>::version(&())
            }
            fn plural((): &()) -> Cow<'_, str> {
                <$whole>::plural(&())
            }
            fn meta(&self) -> &ObjectMeta {
                &self.0.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.0.metadata
            }
        }

        impl Source for $slim {
            fn names(&self) -> &[String] {
                &self.0.names
            }
            fn addresses(&self) -> &[String] {
                &self.0.addresses
            }
        }
    };
}

source!(SlimIngress, Ingress);
source!(SlimService, Service);
