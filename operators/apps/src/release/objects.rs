//! Objects of a release in its cluster, within what the filters allow.

use std::sync::Arc;

use drover_releases::{
    definition,
    filter::{self, Rules, Tenancy},
    hook::{DeletePolicy, Hook},
    manifest::objects,
    object::{Identity, Object},
    ownership::applied_by_helm,
    readiness::{self, Readiness},
    record::{ApplyMethod, Record, Status},
};
use drover_runtime::{
    AccountError, ObjectKey,
    accounts::{Apply, Propagation, Resource},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{core::GroupVersionKind, discovery::Scope};
use serde_json::Value;

use super::{Found, InCluster, unreadable};
use crate::{AppCause, AppError, state::Standing};

/// So many objects of a release are read or applied at a time.
const AT_ONCE: usize = 8;
/// The annotation by which an object is a hook.
const HOOK: &str = "helm.sh/hook";

/// What there was of a release before its present revision.
pub(super) struct Former {
    /// The objects of the deployed revision: all of them were the release's. What one that failed has may belong to others.
    pub(super) deployed: Vec<Object>,
    /// Whether a client wrote some revision as Helm 3 does, whose fields stay unless they are taken over.
    pub(super) was_written: bool,
}

impl InCluster<'_> {
    pub(super) async fn hook(&self, hook: &Hook) -> Result<Standing, AppError> {
        for object in self.allowed(hook.objects().map_err(unreadable)?)? {
            let live = self.live(&object).await?;
            match readiness::of_hook(live.as_ref()) {
                Readiness::Ready => {}
                Readiness::Failed(why) => return Ok(Standing::Failed(format!("{}: {why}", object.identity()))),
                standing => return Ok(waiting(&object.identity(), standing)),
            }
        }
        Ok(Standing::Ready)
    }

    /// How the objects of a record are.
    pub(super) async fn standing(&self, record: &Record, is_going: bool) -> Result<Standing, AppError> {
        let all = objects(&record.manifest).map_err(unreadable)?;
        let all = if is_going { self.kept_by_filters(all) } else { self.allowed(all)? };
        // What is ready by being there was applied, so it is.
        let is_looked_at = |object: &Object| is_going || !readiness::is_ready_once_applied(object.as_value());
        let looked_at: Vec<_> = all.into_iter().filter(is_looked_at).collect();
        let looks = looked_at.into_iter().map(|object| self.standing_of(object, is_going));
        let mut standings = stream::iter(looks).buffered(AT_ONCE);
        while let Some(standing) = standings.try_next().await? {
            if standing != Standing::Ready {
                return Ok(standing);
            }
        }
        Ok(Standing::Ready)
    }

    async fn standing_of(&self, object: Object, is_going: bool) -> Result<Standing, AppError> {
        let live = match self.live(&object).await {
            Err(AppError::AsApp(AccountError::Forbidden { .. })) if is_going => None,
            live => live?,
        };
        let identity = object.identity();
        Ok(match (is_going, readiness::of(live.as_ref())) {
            (true, Readiness::NotFound) | (false, Readiness::Ready) => Standing::Ready,
            (true, _) if object.is_kept() || !live.is_some_and(|live| self.is_of_release(&live)) => Standing::Ready,
            (false, Readiness::Failed(why)) => Standing::Failed(format!("{identity}: {why}")),
            (_, standing) => waiting(&identity, standing),
        })
    }

    pub(super) fn is_of_release(&self, live: &Value) -> bool {
        let belongs = |object: Object| object.belongs_to(self.app.release_name(), &self.app.spec.namespace);
        Object::new(live.clone()).is_some_and(belongs)
    }

    /// What of these objects the app may have; an error if that is not all.
    pub(crate) fn allowed(&self, objects: Vec<Object>) -> Result<Vec<Object>, AppError> {
        self.allowed_with(objects, &[])
    }

    /// The same where the app brings these definitions before.
    pub(crate) fn allowed_with(&self, objects: Vec<Object>, brought: &[Object]) -> Result<Vec<Object>, AppError> {
        let scope_of = |kind: &GroupVersionKind| -> Option<Scope> {
            let Some(found) = self.kinds.get(&kind.api_version(), &kind.kind) else {
                return definition::defined_scope(brought, kind);
            };
            Some(if found.namespaced { Scope::Namespaced } else { Scope::Cluster })
        };
        let tenancy = if self.app.spec.is_of_platform() { Tenancy::Platform } else { Tenancy::Project };
        let is_held = |namespace: &str| self.held.get(&ObjectKey::cluster_scoped(namespace)).is_some();
        let rules = Rules { tenancy, namespace: &self.app.spec.namespace, is_held: &is_held, scope_of: &scope_of };
        filter::check(objects, &rules).map_err(|refusals| {
            let named: Vec<String> = refusals.iter().take(3).map(ToString::to_string).collect();
            let what = if tenancy == Tenancy::Platform { "an app" } else { "an app of a Project" };
            AppError::new(AppCause::ObjectsRefused, format!("{what} may not have {}", named.join("; ")))
        })
    }

    pub(super) async fn locate(&self, object: &Object) -> Result<(Resource, ObjectKey), AppError> {
        let kind = object.kind();
        let resource = self.client.resource(&kind.api_version(), &kind.kind).await?;
        let namespace = if resource.namespaced { object.namespace().unwrap_or(&self.app.spec.namespace) } else { "" };
        let key = ObjectKey::namespaced(namespace, object.name().unwrap_or_default());
        Ok((resource, key))
    }

    pub(super) async fn live(&self, object: &Object) -> Result<Option<Value>, AppError> {
        let (resource, key) = self.locate(object).await?;
        Ok(self.client.get(&resource, &key).await?)
    }

    /// Those of these objects that the app may have; nobody prunes others.
    pub(super) fn kept_by_filters(&self, objects: Vec<Object>) -> Vec<Object> {
        objects.into_iter().filter_map(|object| self.allowed(vec![object]).ok()?.pop()).collect()
    }

    pub(super) fn former(&self, revision: i64) -> Former {
        let found = self.records.iter().rev().find(|found| found.record.info.status == Status::Deployed);
        let deployed = found.map(|found| objects(&found.record.manifest).unwrap_or_default()).unwrap_or_default();
        let mut older = self.records.iter().filter(|found| found.record.version < revision);
        let was_written = older.any(|found| found.record.apply_method != Some(ApplyMethod::Server));
        Former { deployed, was_written }
    }

    /// What the newest deployed revision has, or what one that failed may have left.
    pub(super) fn before(&self, revision: i64) -> Vec<Object> {
        let older = self.records.iter().filter(|found| found.record.version < revision);
        let counts = |found: &&Arc<Found>| {
            matches!(found.record.info.status, Status::Deployed | Status::Failed | Status::Superseded)
        };
        let mut all = Vec::new();
        for found in older.filter(counts).rev() {
            all.extend(objects(&found.record.manifest).unwrap_or_default());
            if found.record.info.status == Status::Deployed {
                break;
            }
        }
        self.kept_by_filters(all)
    }

    /// Applies objects kind by kind, those of one kind side by side, as helm does.
    pub(super) async fn apply_all(&self, in_order: &[Object], former: &Former) -> Result<(), AppError> {
        for of_a_kind in in_order.chunk_by(|one, next| one.kind() == next.kind()) {
            let applied = of_a_kind.iter().cloned().map(|object| self.apply_one(object, former));
            stream::iter(applied).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        }
        Ok(())
    }

    async fn apply_one(&self, mut object: Object, former: &Former) -> Result<(), AppError> {
        let (resource, key) = self.locate(&object).await?;
        let identity = object.identity();
        let is_known = former.deployed.iter().any(|former| former.identity() == identity);
        // What an app of the platform released may be Drover's by now: a Project may have adopted a namespace.
        let is_checked = !is_known || self.app.spec.is_of_platform();
        if (is_checked || former.was_written)
            && let Some(live) = self.client.get(&resource, &key).await?
        {
            if is_checked {
                self.may_take(&identity, &live)?;
            }
            if let Some(managers) = applied_by_helm(&live).filter(|_| former.was_written) {
                self.client.set_managers(&resource, &key, &live, managers).await?;
            }
        }
        object.mark(self.app.release_name(), &self.app.spec.namespace);
        let force = Apply { force: true, dry_run: false };
        let applied = self.client.apply(&resource, &key, &object.to_value(), force).await?;
        if readiness::of(Some(&applied)) == Readiness::Terminating {
            let message = format!("{identity} is being deleted; Drover applies it again once it is gone");
            return Err(AppError::new(AppCause::ObjectTerminating, message));
        }
        Ok(())
    }

    /// Whether an object that is there already may become one of the release.
    fn may_take(&self, identity: &Identity, live: &Value) -> Result<(), AppError> {
        let live = Object::new(live.clone());
        if live.as_ref().is_some_and(filter::is_of_drover) {
            let message = format!("{identity} exists and is Drover's; remove it from the chart");
            return Err(AppError::new(AppCause::ObjectExists, message));
        }
        let (release, namespace) = (self.app.release_name(), &self.app.spec.namespace);
        let is_ours = live.as_ref().is_some_and(|live| live.belongs_to(release, namespace));
        let is_of_another = live.as_ref().is_some_and(|live| live.annotation("meta.helm.sh/release-name").is_some());
        if is_ours || (!is_of_another && self.app.spec.take_ownership) {
            return Ok(());
        }
        let message = format!(
            "{identity} exists and does not belong to release {release}; remove it, or set spec.takeOwnership if it belongs to no release"
        );
        Err(AppError::new(AppCause::ObjectExists, message))
    }

    /// Deletes an object that carries the marks of the release and is not to be kept.
    pub(super) async fn delete_one(&self, object: &Object) -> Result<(), AppError> {
        let (resource, key) = self.locate(object).await?;
        let live = match self.client.get(&resource, &key).await {
            // What the app may not read it did not make, or does not have any more.
            Err(AccountError::Forbidden { .. }) => None,
            live => live?,
        };
        let Some(live) = live else { return Ok(()) };
        let uid = live.pointer("/metadata/uid").and_then(Value::as_str).map(str::to_owned);
        let is_kept = object.is_kept() || Object::new(live.clone()).is_none_or(|live| live.is_kept());
        let is_of_drover = Object::new(live.clone()).is_some_and(|live| filter::is_of_drover(&live));
        if !is_kept && !is_of_drover && self.is_of_release(&live) {
            self.client.delete(&resource, &key, Propagation::Background, uid.as_deref()).await?;
        }
        Ok(())
    }

    /// What there is by the name of the object of a hook, which has to be a hook: it may be named as an object that is none.
    pub(super) async fn check_hook(&self, object: &Object) -> Result<Option<Value>, AppError> {
        let live = self.live(object).await?;
        let is_hook = |live: &Value| Object::new(live.clone()).is_some_and(|live| live.annotation(HOOK).is_some());
        if live.as_ref().is_none_or(is_hook) {
            return Ok(live);
        }
        let message = format!("{} exists and is no hook; rename or remove one of the two", object.identity());
        Err(AppError::new(AppCause::ObjectExists, message))
    }

    /// Deletes the object of a hook where this policy says so.
    pub(super) async fn delete_hook(&self, hook: &Hook, policy: &DeletePolicy) -> Result<(), AppError> {
        if !hook.is_deleted(policy) {
            return Ok(());
        }
        for object in self.allowed(hook.objects().map_err(unreadable)?)? {
            // As with helm, but of each object: the hook may be a list.
            if definition::is_one(&object) {
                continue;
            }
            let (resource, key) = self.locate(&object).await?;
            let Some(live) = self.check_hook(&object).await? else { continue };
            let uid = live.pointer("/metadata/uid").and_then(Value::as_str).map(str::to_owned);
            self.client.delete(&resource, &key, Propagation::Background, uid.as_deref()).await?;
        }
        Ok(())
    }
}

fn waiting(identity: &Identity, standing: Readiness) -> Standing {
    let why = match standing {
        Readiness::InProgress(why) | Readiness::Failed(why) => why,
        Readiness::Terminating => "it is being deleted",
        Readiness::NotFound => "it does not exist",
        Readiness::Ready => "it is still there",
    };
    Standing::Waiting { what: identity.to_string(), why }
}
