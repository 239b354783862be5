//! Hooks: objects that exist for an event in the life of a release.

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    manifest::{ManifestError, first, objects},
    object::Object,
    serial,
};

pub(crate) const EVENTS: &str = "helm.sh/hook";
const WEIGHT: &str = "helm.sh/hook-weight";
const DELETE_POLICIES: &str = "helm.sh/hook-delete-policy";
const LOG_POLICIES: &str = "helm.sh/hook-output-log-policy";

/// When a hook runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are Helm's and say it")]
pub enum HookEvent {
    PreInstall,
    PostInstall,
    PreDelete,
    PostDelete,
    PreUpgrade,
    PostUpgrade,
    PreRollback,
    PostRollback,
    /// `helm test` runs it; Drover never does.
    Test,
    /// One that this version does not know.
    #[serde(untagged)]
    Other(String),
}

/// When the object of a hook is deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeletePolicy {
    /// Before the hook runs again. The default.
    BeforeHookCreation,
    /// After all hooks of the event succeeded.
    HookSucceeded,
    /// After it failed.
    HookFailed,
    /// One that this version does not know.
    #[serde(untagged)]
    Other(String),
}

/// How the last run of a hook went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are Helm's and say it")]
pub enum HookPhase {
    /// It never ran.
    #[default]
    #[serde(rename = "")]
    Never,
    Running,
    Succeeded,
    Failed,
    #[serde(other)]
    Unknown,
}

/// The last run of a hook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HookRun {
    /// When the object was created.
    #[serde(with = "serial::time", skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it succeeded or failed.
    #[serde(with = "serial::time", skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// How it went.
    #[serde(deserialize_with = "serial::or_default")]
    pub phase: HookPhase,
}

/// One hook, as Helm records it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hook {
    /// The name of its object.
    pub name: String,
    /// The kind of its object.
    pub kind: String,
    /// The template that it comes from, such as `chart/templates/job.yaml`.
    pub path: String,
    /// Its object as YAML.
    pub manifest: String,
    /// When it runs.
    #[serde(deserialize_with = "serial::or_default", skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<HookEvent>,
    /// Its last run.
    #[serde(deserialize_with = "serial::or_default")]
    pub last_run: HookRun,
    /// Hooks of one event run in the order of their weights, then of their names.
    #[serde(skip_serializing_if = "is_zero")]
    pub weight: i64,
    /// When its object is deleted; none means before it runs again.
    #[serde(deserialize_with = "serial::or_default", skip_serializing_if = "Vec::is_empty")]
    pub delete_policies: Vec<DeletePolicy>,
    /// When Helm prints the logs of its Pods. Drover prints none.
    #[serde(deserialize_with = "serial::or_default", skip_serializing_if = "Vec::is_empty")]
    pub output_log_policies: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(weight: &i64) -> bool {
    *weight == 0
}

impl Hook {
    /// The hook that an object is by its annotations. An object with an unknown event is none, and Helm leaves it out.
    pub(crate) fn of(object: &Object, path: &str, manifest: &str) -> Option<Self> {
        let events: Vec<_> = words(object.annotation(EVENTS)?).map(HookEvent::parse).collect();
        if events.iter().any(|event| matches!(event, HookEvent::Other(_))) {
            return None;
        }
        let list = |key: &str| object.annotation(key).into_iter().flat_map(words);
        let weight = object.annotation(WEIGHT).and_then(|weight| weight.parse().ok());
        Some(Self {
            name: object.name().unwrap_or_default().to_owned(),
            kind: object.kind().kind,
            path: path.to_owned(),
            manifest: manifest.to_owned(),
            events,
            last_run: HookRun::default(),
            weight: weight.unwrap_or_default(),
            delete_policies: list(DELETE_POLICIES).map(DeletePolicy::parse).collect(),
            output_log_policies: list(LOG_POLICIES).collect(),
        })
    }

    /// The same hook with nothing believed but its path and its manifest: a record can be written by tenants. One that is no hook by
    /// its annotations runs at no event.
    pub fn reread(&self) -> Result<Self, ManifestError> {
        let read = first(&self.manifest)?.and_then(|object| Self::of(&object, &self.path, &self.manifest));
        let none = || Self { path: self.path.clone(), manifest: self.manifest.clone(), ..Self::default() };
        let mut read = Self { last_run: self.last_run.clone(), ..read.unwrap_or_else(none) };
        if read.last_run.phase != HookPhase::Never {
            read.write_default_out();
        }
        Ok(read)
    }

    /// Its object. A list has several.
    pub fn objects(&self) -> Result<Vec<Object>, ManifestError> {
        objects(&self.manifest)
    }

    /// Whether its object is deleted by a policy. Definitions of kinds never are: all their objects would go with them.
    #[must_use]
    pub fn is_deleted(&self, policy: &DeletePolicy) -> bool {
        let is_default = self.delete_policies.is_empty() && *policy == DeletePolicy::BeforeHookCreation;
        self.kind != "CustomResourceDefinition" && (is_default || self.delete_policies.contains(policy))
    }

    /// Records that it begins now, with the default delete policy written out, as Helm does.
    pub fn start(&mut self, now: Timestamp) {
        self.write_default_out();
        self.last_run = HookRun { started_at: Some(now), completed_at: None, phase: HookPhase::Running };
    }

    fn write_default_out(&mut self) {
        if self.delete_policies.is_empty() {
            self.delete_policies.push(DeletePolicy::BeforeHookCreation);
        }
    }

    /// Forgets the last run if this operation runs the hook anew. Of the others Helm keeps what they did for an older revision.
    pub fn forget_run(&mut self, of: &[Option<HookEvent>]) {
        if of.iter().flatten().any(|event| self.events.contains(event)) {
            self.last_run = HookRun::default();
        }
    }

    /// Records that it ended now.
    pub fn finish(&mut self, phase: HookPhase, now: Timestamp) {
        self.last_run.completed_at = Some(now);
        self.last_run.phase = phase;
    }
}

impl HookEvent {
    fn parse(text: String) -> Self {
        match text.as_str() {
            // As Helm 2 named it.
            "test-success" => Self::Test,
            _ => known(text, Self::Other),
        }
    }
}

impl DeletePolicy {
    fn parse(text: String) -> Self {
        known(text, Self::Other)
    }
}

fn known<T: for<'a> Deserialize<'a>>(text: String, other: impl Fn(String) -> T) -> T {
    serde_json::from_value(text.clone().into()).unwrap_or_else(|_| other(text))
}

fn words(list: &str) -> impl Iterator<Item = String> {
    list.split(',').map(|word| word.trim().to_ascii_lowercase())
}

/// The positions of the hooks of an event, in the order in which they run.
#[must_use]
pub fn in_order(hooks: &[Hook], event: &HookEvent) -> Vec<usize> {
    let mut found: Vec<_> = hooks.iter().enumerate().filter(|(_, hook)| hook.events.contains(event)).collect();
    found.sort_by(|(_, a), (_, b)| (a.weight, &a.name).cmp(&(b.weight, &b.name)));
    found.into_iter().map(|(position, _)| position).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hook(name: &str, annotations: &serde_json::Value) -> Option<Hook> {
        let object =
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "annotations": annotations}});
        Hook::of(&Object::new(object.clone()).unwrap(), "c/templates/job.yaml", &object.to_string())
    }

    #[test]
    fn annotations_say_when_a_hook_runs_and_is_deleted() {
        let hook = hook(
            "a",
            &json!({"helm.sh/hook": "pre-install, Post-Upgrade", "helm.sh/hook-weight": "-5",
            "helm.sh/hook-delete-policy": "hook-succeeded,hook-failed"}),
        )
        .unwrap();
        assert_eq!(hook.events, [HookEvent::PreInstall, HookEvent::PostUpgrade]);
        assert_eq!(hook.weight, -5);
        assert!(hook.is_deleted(&DeletePolicy::HookSucceeded) && hook.is_deleted(&DeletePolicy::HookFailed));
        assert!(!hook.is_deleted(&DeletePolicy::BeforeHookCreation));
    }

    #[test]
    fn without_a_policy_it_is_deleted_before_it_runs_again_but_a_definition_never() {
        let mut hook = hook("a", &json!({"helm.sh/hook": "test-success", "helm.sh/hook-weight": "heavy"})).unwrap();
        assert_eq!((hook.events.clone(), hook.weight), (vec![HookEvent::Test], 0));
        assert!(hook.is_deleted(&DeletePolicy::BeforeHookCreation) && !hook.is_deleted(&DeletePolicy::HookFailed));
        hook.kind = "CustomResourceDefinition".to_owned();
        assert!(!hook.is_deleted(&DeletePolicy::BeforeHookCreation));
    }

    #[test]
    fn an_unknown_event_makes_no_hook() {
        assert_eq!(hook("a", &json!({"helm.sh/hook": "pre-install,crd-install"})), None);
        assert_eq!(hook("a", &json!({})), None);
    }

    #[test]
    fn hooks_run_by_weight_then_by_name() {
        let of = |name: &str, weight: &str, event: &str| {
            hook(name, &json!({"helm.sh/hook": event, "helm.sh/hook-weight": weight})).unwrap()
        };
        let hooks = [
            of("b", "1", "pre-install"),
            of("c", "-1", "pre-install,pre-upgrade"),
            of("a", "1", "pre-install"),
            of("d", "0", "post-install"),
        ];
        assert_eq!(in_order(&hooks, &HookEvent::PreInstall), [1, 2, 0]);
        assert_eq!(in_order(&hooks, &HookEvent::PostInstall), [3]);
        assert!(in_order(&hooks, &HookEvent::PreDelete).is_empty());
    }

    #[test]
    fn an_operation_forgets_the_runs_of_its_own_hooks_only() {
        let mut hook = hook("a", &json!({"helm.sh/hook": "pre-upgrade,pre-rollback"})).unwrap();
        hook.last_run.phase = HookPhase::Succeeded;
        hook.forget_run(&[Some(HookEvent::PreDelete), None]);
        assert_eq!(hook.last_run.phase, HookPhase::Succeeded);
        hook.forget_run(&[Some(HookEvent::PreRollback), Some(HookEvent::PostRollback)]);
        assert_eq!(hook.last_run, HookRun::default());
    }

    #[test]
    fn what_a_record_claims_of_a_hook_is_read_again_from_its_manifest() {
        let honest = hook("a", &json!({"helm.sh/hook": "pre-delete"})).unwrap();
        let forged =
            Hook { events: vec![HookEvent::PreInstall], weight: 7, kind: "Secret".to_owned(), ..honest.clone() };
        assert_eq!(forged.reread().unwrap(), honest);
        let ran = Hook { last_run: HookRun { phase: HookPhase::Running, ..HookRun::default() }, ..honest.clone() };
        assert_eq!(ran.reread().unwrap().delete_policies, [DeletePolicy::BeforeHookCreation], "as Helm writes it out");
        let none = Hook { manifest: "apiVersion: v1\nkind: Pod\nmetadata: {name: x}".to_owned(), ..forged };
        assert!(none.reread().unwrap().events.is_empty());
    }
}
