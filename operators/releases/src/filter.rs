//! Which objects an app may have. Tenants write charts, values and release records: what leaves here is all that is ever applied or
//! deleted, and it passes through here again before each time.

use std::collections::BTreeSet;

use kube::{core::GroupVersionKind, discovery::Scope};
use serde_json::{Map, Value};

use crate::{
    object::{Identity, Object},
    record::{SECRET_TYPE, is_name_of_a_record},
};

/// Refusals that are reported of one release.
pub const MAX_REFUSALS: usize = 20;
/// The API group of Drover, and the domain of its labels, annotations and finalizers.
const DROVER: &str = "drover.dev";
/// Where Drover keeps its credentials, and the accounts of apps.
const OPERATOR_NAMESPACE: &str = "drover-system";
/// Namespaces that no app may write as objects.
const PROTECTED_NAMESPACES: [&str; 5] =
    ["default", "kube-system", "kube-public", "kube-node-lease", OPERATOR_NAMESPACE];
const TOKENS: [&str; 2] = ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"];
/// What only the API server sets. Charts carry it along from `kubectl get`.
const SET_BY_SERVER: [&str; 8] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Whose app it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tenancy {
    /// An app of a Project: its namespace, and nothing of the whole cluster.
    Project,
    /// An app of the platform: the whole cluster, but for what is Drover's, the cluster's own, or in a namespace that a Project holds.
    Platform,
}

/// What a release is judged by.
pub struct Rules<'a> {
    /// Whose app it is.
    pub tenancy: Tenancy,
    /// The namespace of the release.
    pub namespace: &'a str,
    /// Whether a Project holds a namespace: its members act there, and its apps.
    pub is_held: &'a (dyn Fn(&str) -> bool + Sync),
    /// Where objects of a kind live, by the discovery of the cluster and by the definitions of the chart itself; none: no such kind.
    pub scope_of: &'a (dyn Fn(&GroupVersionKind) -> Option<Scope> + Sync),
}

/// Why an object is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// Only a fixed name can be applied again.
    #[error("it has no fixed name: set metadata.name")]
    NoName,
    /// Each revision would write both.
    #[error("the release has it twice")]
    Twice,
    /// The cluster serves no such kind.
    #[error("the cluster has no such kind: install what defines it first")]
    UnknownKind,
    /// Only apps of the platform may have it.
    #[error("it belongs to the whole cluster, and an app of a Project has its namespace only")]
    ClusterScoped,
    /// An app of a Project has one namespace.
    #[error("it names another namespace than that of the release")]
    ForeignNamespace,
    /// What is there belongs to the members of the Project.
    #[error("it is, or lies in, a namespace that a Project holds: release it there by an app of the Project")]
    ProjectNamespace,
    /// Credentials lie there.
    #[error("it lies in the namespace drover-system, which is Drover's")]
    OperatorNamespace,
    /// The cluster's own namespaces are no parts of apps.
    #[error("it is a namespace of the cluster itself")]
    ProtectedNamespace,
    /// Kinds of Drover, and what defines or serves them.
    #[error("its API group is Drover's")]
    DroverKind,
    /// Labels, annotations and finalizers of Drover say who owns what.
    #[error("it has a label, annotation or finalizer of the domain drover.dev")]
    DroverKey,
    /// By an owner an object can be deleted, or be taken for a part of another one.
    #[error("it has ownerReferences")]
    OwnerReference,
    /// Guards of the Project.
    #[error("it is a guard of the namespace, which the Project sets")]
    Guard,
    /// Roles, policies and guards that are named as Drover's.
    #[error("its name is reserved for Drover: choose one that does not begin with drover")]
    DroverName,
    /// Roles of the cluster's own components.
    #[error("its name begins with system:, which is the cluster's own")]
    SystemName,
    /// Records are Drover's to write.
    #[error("it is a Helm release record")]
    ReleaseRecord,
    /// A token is a credential of an account that may hold more than the app.
    #[error(
        "it is a Secret for a token, which an app may not request outside of its namespace, nor an app of a Project at all"
    )]
    TokenSecret,
}

/// An object that an app may not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {rule}")]
pub struct Refusal {
    /// The object.
    pub object: Identity,
    /// Why.
    pub rule: Rule,
}

/// Whether Drover keeps its credentials and the accounts of apps in this namespace.
#[must_use]
pub fn is_drovers_namespace(namespace: &str) -> bool {
    namespace == OPERATOR_NAMESPACE
}

/// Judges all objects of a release, and puts them into its namespace; the refusals, at most [`MAX_REFUSALS`], if there are any.
pub fn check(objects: Vec<Object>, rules: &Rules<'_>) -> Result<Vec<Object>, Vec<Refusal>> {
    let (mut allowed, mut refused) = (Vec::with_capacity(objects.len()), Vec::new());
    let mut seen = BTreeSet::new();
    for object in objects {
        let identity = object.identity();
        let judged = judge(object, rules);
        match judged.and_then(|object| if seen.insert(object.identity()) { Ok(object) } else { Err(Rule::Twice) }) {
            Ok(object) => allowed.push(object),
            Err(rule) if refused.len() < MAX_REFUSALS => refused.push(Refusal { object: identity, rule }),
            Err(_) => {}
        }
    }
    if refused.is_empty() { Ok(allowed) } else { Err(refused) }
}

/// Judges one object, and puts it into the namespace of the release where its kind has namespaces and it names none.
pub fn judge(mut object: Object, rules: &Rules<'_>) -> Result<Object, Rule> {
    let kind = object.kind();
    if is_drover(&kind.group) {
        return Err(Rule::DroverKind);
    }
    let Some(name) = object.name().map(ToOwned::to_owned) else { return Err(Rule::NoName) };
    let scope = (rules.scope_of)(&kind).ok_or(Rule::UnknownKind)?;
    match (&scope, rules.tenancy) {
        (Scope::Cluster, Tenancy::Project) => return Err(Rule::ClusterScoped),
        (Scope::Cluster, Tenancy::Platform) => of_cluster(&kind, &name, rules)?,
        (Scope::Namespaced, _) => in_namespace(&object, rules)?,
    }
    of_every_app(&object, &kind, &name)?;
    of_tenancy(&object, &kind, rules)?;
    place(&mut object, &scope, rules.namespace);
    Ok(object)
}

fn of_cluster(kind: &GroupVersionKind, name: &str, rules: &Rules<'_>) -> Result<(), Rule> {
    if kind.group.is_empty() && kind.kind == "Namespace" {
        if PROTECTED_NAMESPACES.contains(&name) {
            return Err(Rule::ProtectedNamespace);
        }
        if (rules.is_held)(name) {
            return Err(Rule::ProjectNamespace);
        }
    }
    // Definitions and API services are named after what they serve.
    if is_drover(name.split_once('.').map_or("", |(_, group)| group)) {
        return Err(Rule::DroverKind);
    }
    Ok(())
}

fn in_namespace(object: &Object, rules: &Rules<'_>) -> Result<(), Rule> {
    let namespace = object.namespace().unwrap_or(rules.namespace);
    if is_drovers_namespace(namespace) {
        return Err(Rule::OperatorNamespace);
    }
    match rules.tenancy {
        Tenancy::Project if namespace != rules.namespace => Err(Rule::ForeignNamespace),
        Tenancy::Platform if (rules.is_held)(namespace) => Err(Rule::ProjectNamespace),
        Tenancy::Project | Tenancy::Platform => Ok(()),
    }
}

fn of_every_app(object: &Object, kind: &GroupVersionKind, name: &str) -> Result<(), Rule> {
    templates(object.as_value())?;
    if is_guarded(kind) && is_drovers_name(name) {
        return Err(Rule::DroverName);
    }
    if kind.group == "rbac.authorization.k8s.io" && name.starts_with("system:") {
        return Err(Rule::SystemName);
    }
    let is_record = is_name_of_a_record(name) || secret_type(object, kind) == Some(SECRET_TYPE);
    if is_secret(kind) && is_record { Err(Rule::ReleaseRecord) } else { Ok(()) }
}

fn of_tenancy(object: &Object, kind: &GroupVersionKind, rules: &Rules<'_>) -> Result<(), Rule> {
    let is_of_project = rules.tenancy == Tenancy::Project;
    if is_of_project && kind.group.is_empty() && matches!(kind.kind.as_str(), "ResourceQuota" | "LimitRange") {
        return Err(Rule::Guard);
    }
    // By its token an app would be any account of that namespace, such as those of the cluster's own controllers.
    let is_elsewhere = object.namespace().is_some_and(|namespace| namespace != rules.namespace);
    let is_token = secret_type(object, kind).is_some_and(|type_| TOKENS.contains(&type_));
    if is_token && (is_of_project || is_elsewhere) { Err(Rule::TokenSecret) } else { Ok(()) }
}

/// Whether a live object has a label or an annotation of Drover, of this installation or another one: no app writes or deletes it.
#[must_use]
pub fn is_of_drover(live: &Object) -> bool {
    let metadata = live.as_value().get("metadata").and_then(Value::as_object);
    metadata.is_some_and(|metadata| has_own_key(metadata, &["labels", "annotations"]))
}

/// Judges the metadata of an object, and of all objects that are templates in it.
fn templates(value: &Value) -> Result<(), Rule> {
    match value {
        Value::Object(fields) => fields.iter().try_for_each(|(field, value)| {
            let metadata = value.as_object().filter(|_| field == "metadata");
            metadata.map_or(Ok(()), keys)?;
            templates(value)
        }),
        Value::Array(items) => items.iter().try_for_each(templates),
        _ => Ok(()),
    }
}

fn keys(metadata: &Map<String, Value>) -> Result<(), Rule> {
    let list = |field: &str| metadata.get(field).and_then(Value::as_array).into_iter().flatten();
    let mut finalizers = list("finalizers").filter_map(Value::as_str);
    if has_own_key(metadata, &["labels", "annotations"]) || finalizers.any(is_own_key) {
        return Err(Rule::DroverKey);
    }
    if list("ownerReferences").next().is_some() { Err(Rule::OwnerReference) } else { Ok(()) }
}

fn has_own_key(metadata: &Map<String, Value>, maps: &[&str]) -> bool {
    let maps = maps.iter().filter_map(|map| metadata.get(*map).and_then(Value::as_object));
    maps.flat_map(Map::keys).any(|key| is_own_key(key))
}

fn is_own_key(key: &str) -> bool {
    is_drover(key.split_once('/').map_or(key, |(domain, _)| domain))
}

fn place(object: &mut Object, scope: &Scope, namespace: &str) {
    let Some(metadata) = object.metadata_mut() else { return };
    metadata.retain(|field, _| !SET_BY_SERVER.contains(&field.as_str()));
    if *scope == Scope::Cluster {
        metadata.remove("namespace");
    } else if metadata.get("namespace").and_then(Value::as_str).is_none_or(str::is_empty) {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
}

/// Whether Drover writes objects of the kind beside those of others.
fn is_guarded(kind: &GroupVersionKind) -> bool {
    match kind.group.as_str() {
        "rbac.authorization.k8s.io" | "admissionregistration.k8s.io" => true,
        "networking.k8s.io" => kind.kind == "NetworkPolicy",
        "" => matches!(kind.kind.as_str(), "ResourceQuota" | "LimitRange"),
        _ => false,
    }
}

fn is_drovers_name(name: &str) -> bool {
    name.strip_prefix("drover").is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', ':', '.']))
}

/// Whether a domain is Drover's, or below it.
fn is_drover(domain: &str) -> bool {
    let domain = domain.trim_end_matches('.');
    domain.strip_suffix(DROVER).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn is_secret(kind: &GroupVersionKind) -> bool {
    kind.group.is_empty() && kind.kind == "Secret"
}

fn secret_type<'a>(object: &'a Object, kind: &GroupVersionKind) -> Option<&'a str> {
    object.as_value().get("type").and_then(Value::as_str).filter(|_| is_secret(kind))
}

#[cfg(test)]
mod tests;
