//! The Secret for the answer of one node, and the account that may write it. Pure.

use std::{borrow::Cow, fmt};

use drover_crds::names::DROVER_NAMESPACE;
use k8s_openapi::{
    ByteString,
    api::{
        core::v1::{Secret, ServiceAccount},
        rbac::v1::{Role, RoleBinding},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::Resource;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Value, json};

/// The Secret for an answer, as far as it is kept: whether there is one, and not what it says.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AnswerSecret {
    metadata: ObjectMeta,
    #[serde(default, skip_serializing, deserialize_with = "any", rename = "data")]
    has_data: bool,
}

fn any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    deserializer.deserialize_any(Any)
}

/// Tells whether a map has entries, and keeps none of them.
struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map or nothing")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<bool, A::Error> {
        let mut has_entries = false;
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            has_entries = true;
        }
        Ok(has_entries)
    }
}

impl AnswerSecret {
    /// The one of this name, before there is an answer.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let (name, namespace) = (Some(name.to_owned()), Some(DROVER_NAMESPACE.to_owned()));
        Self { metadata: ObjectMeta { name, namespace, ..ObjectMeta::default() }, has_data: false }
    }

    /// Whether there is an answer.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.has_data
    }
}

impl Resource for AnswerSecret {
    type DynamicType = ();
    type Scope = <Secret as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        Secret::kind(&())
    }
    fn group((): &()) -> Cow<'_, str> {
        Secret::group(&())
    }
    fn version((): &()) -> Cow<'_, str> {
        Secret::version(&())
    }
    fn plural((): &()) -> Cow<'_, str> {
        Secret::plural(&())
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The same while it is read for what it says: nothing else in it can keep it from being read.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Answered {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    data: Content,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Content {
    #[serde(default)]
    answer: Option<ByteString>,
}

impl Answered {
    /// What the collector wrote, as it is stored.
    #[must_use]
    pub fn stored(&self) -> Option<&[u8]> {
        self.data.answer.as_ref().map(|answer| answer.0.as_slice())
    }
}

impl Resource for Answered {
    type DynamicType = ();
    type Scope = <Secret as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        Secret::kind(&())
    }
    fn group((): &()) -> Cow<'_, str> {
        Secret::group(&())
    }
    fn version((): &()) -> Cow<'_, str> {
        Secret::version(&())
    }
    fn plural((): &()) -> Cow<'_, str> {
        Secret::plural(&())
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The account of a collector with its right: to change the Secret of its own name, and nothing else.
#[derive(Clone, Debug)]
pub struct Account {
    /// Who it is.
    pub account: ServiceAccount,
    /// What it may do.
    pub role: Role,
    /// That it may.
    pub binding: RoleBinding,
}

impl Account {
    /// That of the Secret of this name; none if the types do not know it, which a test rules out.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let metadata = json!({
            "name": name, "namespace": DROVER_NAMESPACE,
            "labels": {"app.kubernetes.io/managed-by": "drover"},
        });
        let subject = json!({"kind": "ServiceAccount", "name": name, "namespace": DROVER_NAMESPACE});
        let rule = json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": [name], "verbs": ["patch"]});
        Some(Self {
            account: typed(json!({"metadata": metadata, "automountServiceAccountToken": false}))?,
            role: typed(json!({"metadata": metadata, "rules": [rule]}))?,
            binding: typed(json!({
                "metadata": metadata, "subjects": [subject],
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            }))?,
        })
    }
}

fn typed<K: serde::de::DeserializeOwned>(whole: Value) -> Option<K> {
    serde_json::from_value(whole).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_may_change_one_secret() {
        let Account { role, binding, .. } = Account::of("cis-scan-1").unwrap();
        let rules = role.rules.unwrap();
        assert_eq!(
            serde_json::to_value(&rules).unwrap(),
            json!([
                {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["cis-scan-1"], "verbs": ["patch"]},
            ])
        );
        assert_eq!(binding.role_ref.name, "cis-scan-1");
    }

    #[test]
    fn whether_there_is_an_answer_is_kept_and_not_the_answer() {
        let read = |data: Value| {
            serde_json::from_value::<AnswerSecret>(json!({"metadata": {"name": "a"}, "data": data})).unwrap()
        };
        assert!(!read(Value::Null).is_answered() && !read(json!({})).is_answered());
        let answered = read(json!({"answer": "c2VjcmV0", "other": 1}));
        assert!(answered.is_answered() && !serde_json::to_string(&answered).unwrap().contains("c2VjcmV0"));
    }

    #[test]
    fn nothing_beside_an_answer_keeps_it_from_being_read() {
        let whole = json!({"metadata": {"name": "a"}, "data": {"answer": "YQ==", "x": "not base64"}, "type": 7, "immutable": "x"});
        assert_eq!(serde_json::from_value::<Answered>(whole).unwrap().stored(), Some(b"a".as_slice()));
    }
}
