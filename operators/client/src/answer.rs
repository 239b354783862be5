//! Objects as single requests are answered with them.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned, de::Error as _};
use serde_json::Value;

/// An object of an answer, for `Api<Answer<K>>`. Its managed fields are left out before it is decoded.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Answer<K>(pub K);

impl<'de, K: DeserializeOwned> Deserialize<'de> for Answer<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = without_managed_fields(Value::deserialize(deserializer)?);
        K::deserialize(value).map(Self).map_err(D::Error::custom)
    }
}

impl<K: Resource> Resource for Answer<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dynamic)
    }

    fn group(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dynamic)
    }

    fn version(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dynamic)
    }

    fn plural(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dynamic)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.meta_mut()
    }
}

/// Whoever may change an object may write times into its managed fields that nothing decodes, and the API server keeps them. Nothing
/// reads these fields, so they keep no object from being known, nor all others on its page, and fail no request that was carried out.
pub(crate) fn without_managed_fields(mut value: Value) -> Value {
    if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
        metadata.remove("managedFields");
    }
    value
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Namespace;
    use kube::core::DynamicObject;

    use super::*;

    #[test]
    fn times_in_managed_fields_that_nothing_decodes_spoil_no_answer() {
        let managed = r#""managedFields": [{"manager": "x", "operation": "Update", "time": "9999-12-31T23:59:59Z"}]"#;
        let json = format!(
            r#"{{"apiVersion": "v1", "kind": "Namespace", "metadata": {{"name": "web", "uid": "1", {managed}}}, "status": {{"phase": "Active"}}}}"#
        );
        assert!(serde_json::from_str::<Namespace>(&json).is_err(), "this test needs a time that nothing decodes");
        let Answer(namespace) = serde_json::from_str::<Answer<Namespace>>(&json).unwrap();
        assert_eq!((namespace.metadata.uid.as_deref(), namespace.metadata.managed_fields), (Some("1"), None));
        let object = serde_json::from_str::<Answer<DynamicObject>>(&json).unwrap();
        assert_eq!(object.0.data["status"]["phase"], "Active");
        assert_eq!(serde_json::to_value(&object).unwrap()["metadata"]["name"], "web", "a request carries it as it is");
        assert_eq!(Answer::<Namespace>::url_path(&(), None), "/api/v1/namespaces");
    }
}
