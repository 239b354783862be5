//! Definitions of kinds in `crds/` of a chart. As with helm they come before all else, and no revision deletes them.

use std::time::Duration;

use drover_crds::CrdPolicy;
use drover_releases::{definition, filter, object::Object};
use drover_runtime::accounts::Apply;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::InCluster;
use crate::{AppCause, AppError};

/// A cluster serves what a definition says within this time, or never.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long a definition is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Defined {
    /// It is not Established yet.
    NotYet,
    /// It is, and what it defines may be served in a moment.
    Recently,
    /// It is for so long that what it defines is served, or never will be.
    LongAgo,
}

impl InCluster<'_> {
    /// What of `crds/` of the chart the app brings, by its spec; an error if it may not.
    pub(crate) fn definitions(&self, found: &[Object]) -> Result<Vec<Object>, AppError> {
        if self.app.spec.crds == CrdPolicy::Skip {
            return Ok(Vec::new());
        }
        if let Some(other) = found.iter().find(|object| !definition::is_one(object)) {
            let message =
                format!("crds/ of the chart has {}, which defines no kind; move it to templates/", other.identity());
            return Err(AppError::new(AppCause::ObjectsRefused, message));
        }
        if self.app.spec.is_of_platform() {
            return self.allowed_with(found.to_vec(), found);
        }
        let missing: Vec<_> = found.iter().filter(|definition| !self.is_served(definition)).collect();
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let named: Vec<_> = missing.iter().filter_map(|definition| definition.name()).take(5).collect();
        let message = format!(
            "an app of a Project may not define kinds, and cluster {} lacks {}; define them there by an app of the platform, or set spec.crds to Skip",
            self.app.spec.cluster_name,
            named.join(", ")
        );
        Err(AppError::new(AppCause::DefinitionsMissing, message))
    }

    fn is_served(&self, definition: &Object) -> bool {
        is_served(definition, |api_version, kind| self.kinds.get(api_version, kind).is_some())
    }

    /// Creates definitions or, if the spec says so, replaces them. Whether the cluster serves all of them by now.
    pub async fn define(&self, definitions: &[Object], now: Timestamp) -> Result<bool, AppError> {
        let (mut is_served, mut is_late) = (true, true);
        for definition in definitions {
            let defined = self.define_one(definition, now).await?;
            is_served &= defined != Defined::NotYet;
            is_late &= defined == Defined::LongAgo;
        }
        if is_served && !definitions.iter().all(|definition| self.is_served(definition)) {
            // What is known of kinds is older than they are.
            self.accounts.kinds_changed();
            for kind in definitions.iter().flat_map(definition::kinds) {
                is_served &= self.client.resource(&kind.api_version(), &kind.kind).await.is_ok();
            }
            if !is_served && is_late {
                // Asking again and again would not change it.
                let named: Vec<_> = definitions.iter().filter_map(Object::name).take(5).collect();
                let message = format!(
                    "the cluster does not serve what crds/ of the chart says of {}; set spec.crds to CreateReplace, or correct the definitions there",
                    named.join(", ")
                );
                return Err(AppError::new(AppCause::NotReadyInTime, message));
            }
        }
        Ok(is_served)
    }

    async fn define_one(&self, definition: &Object, now: Timestamp) -> Result<Defined, AppError> {
        let (resource, key) = self.locate(definition).await?;
        let body = definition.to_value();
        let live = match self.client.get(&resource, &key).await? {
            None => self.client.create(&resource, &key, &body).await?,
            Some(live) if self.app.spec.crds == CrdPolicy::CreateReplace => {
                self.check_replaceable(definition, &live)?;
                self.client.apply(&resource, &key, &body, Apply { force: true, dry_run: false }).await?
            }
            Some(live) => live,
        };
        let name = definition.identity();
        if let Some(why) = definition::refusal(&live) {
            let message = format!(
                "the cluster does not serve what {name} defines: {why}; rename its kind, or remove the other one"
            );
            return Err(AppError::new(AppCause::ApplyFailed, message));
        }
        match (definition::is_established(&live), is_old(&live, now)) {
            (true, false) => Ok(Defined::Recently),
            (true, true) => Ok(Defined::LongAgo),
            (false, false) => Ok(Defined::NotYet),
            (false, true) => {
                let message = format!("{name} is not Established; look at its conditions in the cluster");
                Err(AppError::new(AppCause::NotReadyInTime, message))
            }
        }
    }

    fn check_replaceable(&self, definition: &Object, live: &Value) -> Result<(), AppError> {
        let is_of_another = Object::new(live.clone()).is_none_or(|live| {
            let is_of_helm = live.annotation("meta.helm.sh/release-name").is_some();
            filter::is_of_drover(&live)
                || (is_of_helm && !live.belongs_to(self.app.release_name(), &self.app.spec.namespace))
        });
        if !is_of_another {
            return Ok(());
        }
        let message =
            format!("{} exists and belongs to another release; set spec.crds to Create", definition.identity());
        Err(AppError::new(AppCause::ObjectExists, message))
    }
}

/// Whether a cluster with these kinds serves what a definition says, in each of its versions.
fn is_served(definition: &Object, is_known: impl Fn(&str, &str) -> bool) -> bool {
    let defined = definition::kinds(definition);
    !defined.is_empty() && defined.iter().all(|kind| is_known(&kind.api_version(), &kind.kind))
}

fn is_old(live: &Value, now: Timestamp) -> bool {
    let created = live.pointer("/metadata/creationTimestamp").and_then(Value::as_str);
    let created = created.and_then(|text| text.parse::<Timestamp>().ok());
    let patience = SignedDuration::try_from(PATIENCE).unwrap_or(SignedDuration::ZERO);
    created.and_then(|created| created.checked_add(patience).ok()).is_some_and(|end| end < now)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_definition_that_is_served_in_another_version_is_not_served() {
        let definition = |versions: &[(&str, bool)]| {
            let versions: Vec<_> =
                versions.iter().map(|(name, served)| json!({"name": name, "served": served})).collect();
            let value = json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": "toys.a.example"},
                "spec": {"group": "a.example", "names": {"kind": "Toy"}, "versions": versions},
            });
            Object::new(value).unwrap()
        };
        let is_known = |api_version: &str, kind: &str| (api_version, kind) == ("a.example/v1", "Toy");
        for (versions, expected) in [
            (&[("v1", true)][..], true),
            (&[("v2", true)], false),
            (&[("v1", true), ("v2", true)], false),
            (&[("v1", true), ("v2", false)], true),
            (&[], false),
        ] {
            assert_eq!(is_served(&definition(versions), is_known), expected, "{versions:?}");
        }
    }
}
