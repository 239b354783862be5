//! One function per action.

use std::fmt;

use drover_apps::{
    AppCause, AppError,
    drift::Finding,
    inputs::{self, EntryKind, Inputs},
    release::{InCluster, With},
    state::Failure,
};
use drover_crds::{CatalogApp, Release};
use drover_runtime::{AccountError, Class, Classify as _, ObjectKey, Owner, PlaceContext};
use k8s_openapi::jiff::Timestamp;

use crate::{CatalogAppOperator, account::AccountChange};

/// One idempotent change.
#[derive(Clone)]
pub enum Action {
    /// Of the account of the app, or of a role that it has.
    Account(AccountChange),
    /// Of the release.
    Step {
        /// Which.
        step: Step,
        /// When it was decided.
        now: Timestamp,
    },
}

/// One step of a release.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Render the chart; nothing is sent to the cluster.
    Prepare(Inputs),
    /// Create the record of this revision.
    Begin(Box<Release>),
    /// Create the record of this revision out of an older one.
    RollBack {
        /// What it becomes.
        to: Box<Release>,
        /// The revision that it repeats.
        from: i64,
    },
    /// Note that the release is being uninstalled.
    BeginUninstall(i64),
    /// Start a hook.
    StartHook(usize),
    /// Note how a hook ended.
    EndHook {
        /// Its position.
        at: usize,
        /// Whether it succeeded.
        succeeded: bool,
    },
    /// Apply all objects or, while it is uninstalled, delete them.
    Apply,
    /// Note that all is done.
    Finish,
    /// Note that it failed.
    Fail(Failure),
    /// Count the run of another client as failed.
    Unlock(i64),
    /// Look whether the deployed revision is still there as it says.
    Look {
        /// What was found so far.
        former: Box<Finding>,
        /// Whether what differs is applied again.
        corrects: bool,
    },
    /// Nothing was found yet: look when that is due.
    LookLater(Box<Finding>),
}

impl fmt::Debug for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(AccountChange::Account(change)) => change.fmt(formatter),
            Self::Account(AccountChange::Binding(change)) => change.fmt(formatter),
            Self::Account(AccountChange::ClusterBinding(change)) => change.fmt(formatter),
            Self::Step { step, .. } => step.fmt(formatter),
        }
    }
}

impl Action {
    pub(crate) async fn carry_out(
        self,
        operator: &CatalogAppOperator,
        owner: Owner<'_, CatalogApp>,
        place: &PlaceContext,
    ) -> Result<(), AppError> {
        match self {
            Self::Account(AccountChange::Account(change)) => {
                change.carry_out::<CatalogAppOperator>(owner, place).await?;
            }
            Self::Account(AccountChange::Binding(change)) => {
                change.carry_out::<CatalogAppOperator>(owner, place).await?;
            }
            Self::Account(AccountChange::ClusterBinding(change)) => {
                change.carry_out::<CatalogAppOperator>(owner, place).await?;
            }
            Self::Step { step, now } => {
                if let Some(app) = owner.object() {
                    carry_out(step, operator, app, place, now).await?;
                }
            }
        }
        Ok(())
    }
}

async fn carry_out(
    step: Step,
    operator: &CatalogAppOperator,
    app: &CatalogApp,
    place: &PlaceContext,
    now: Timestamp,
) -> Result<(), AppError> {
    let step = match step {
        Step::LookLater(nothing) => {
            operator.findings.keep(app, *nothing);
            return Ok(());
        }
        step => step,
    };
    let seal = operator.seal.get(place).await?;
    let with = With { seal: &seal, recall: &operator.recall, now };
    let mut release = InCluster::of(app, place, with).await?;
    match step {
        Step::LookLater(_) => Ok(()),
        Step::Look { former, corrects } => {
            let found = release.look(&former, corrects, now).await;
            operator.findings.keep(app, found.map_err(|error| quiet(app, error))?);
            Ok(())
        }
        Step::Prepare(inputs) => operator.preparations.prepare(app, place, &release, &inputs, now).await,
        Step::Begin(to) => match operator.preparations.prepared(app, &to) {
            // Looked at again soon: definitions come first.
            Some((_, definitions)) if !release.define(&definitions, now).await? => Ok(()),
            Some((record, _)) => {
                release.begin(record, &to, now).await?;
                operator.preparations.forget(&ObjectKey::of(&app.metadata));
                Ok(())
            }
            // It was rendered by a process that is gone; it is rendered again.
            None => Ok(()),
        },
        Step::RollBack { to, from } => release.roll_back(&to, from, now).await,
        Step::BeginUninstall(revision) => release.begin_uninstall(revision, now).await,
        Step::StartHook(at) => {
            let outcome = release.start_hook(at, now).await;
            failing(app, outcome, &mut release, AppCause::HookFailed, now).await
        }
        Step::EndHook { at, succeeded } => release.end_hook(at, succeeded, now).await,
        Step::Apply if release.is_uninstalling() => release.delete_all(now).await,
        Step::Apply => {
            let outcome = release.apply(now).await;
            failing(app, outcome, &mut release, AppCause::ApplyFailed, now).await
        }
        Step::Finish => {
            release.finish(now).await?;
            operator.preparations.forget(&ObjectKey::of(&app.metadata));
            Ok(())
        }
        Step::Fail(failure) => release.fail_by(&failure, now).await,
        Step::Unlock(revision) => release.unlock(revision, now).await,
    }
}

/// What the cluster refuses for good makes the revision fail; all else is tried again as it is.
async fn failing(
    app: &CatalogApp,
    outcome: Result<(), AppError>,
    release: &mut InCluster<'_>,
    otherwise: AppCause,
    now: Timestamp,
) -> Result<(), AppError> {
    let Err(error) = outcome else { return Ok(()) };
    if release.is_uninstalling() || !matches!(error.cause().class(), Class::Blocked | Class::Invalid) {
        return Err(error);
    }
    let cause = AppCause::from_reason(error.cause().reason()).unwrap_or(otherwise);
    release.fail(cause, &told(app, &error), now).await
}

/// The same error, of which nothing is told that may quote a value of a Secret.
fn quiet(app: &CatalogApp, error: AppError) -> AppError {
    let is_ours = matches!(error, AppError::Other { .. });
    if is_ours || matches!(error.cause().class(), Class::Transient | Class::Unreachable) {
        return error;
    }
    AppError::Other { cause: error.cause(), message: told(app, &error) }
}

/// What is told of an error: where a value comes out of a Secret, nothing that the cluster says, as it may quote the value.
fn told(app: &CatalogApp, error: &AppError) -> String {
    let is_secret = inputs::entries(app).any(|entry| entry.kind == EntryKind::Secret);
    match error {
        AppError::AsApp(AccountError::Forbidden { asked, .. }) if is_secret => {
            format!("cannot {asked}: the role of the app does not allow it")
        }
        AppError::AsApp(error @ AccountError::Immutable { asked, .. }) => {
            let what = if is_secret { format!("cannot {asked}: a field cannot be changed") } else { error.to_string() };
            format!("{what}; delete the object, which is created anew then, or take the change back")
        }
        AppError::AsApp(AccountError::FieldConflict { asked, .. } | AccountError::AlreadyExists { asked })
            if is_secret =>
        {
            format!("cannot {asked}: the cluster refuses it")
        }
        AppError::AsApp(_) if is_secret => "the cluster refuses an object; apply it by hand to see why".to_owned(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use drover_runtime::accounts::{Asked, Verb};
    use serde_json::json;

    use super::*;

    fn app(kind: &str) -> CatalogApp {
        serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "CatalogApp", "metadata": {"name": "web", "namespace": "team-a"},
            "spec": {
                "clusterName": "eu", "namespace": "web", "roleTemplateName": "deployer", "chart": {},
                "valuesFrom": [{"kind": kind, "name": "values"}],
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_field_that_cannot_change_says_what_to_do_and_quotes_no_secret() {
        let asked =
            Asked { verb: Verb::Apply, kind: "Deployment".to_owned(), key: ObjectKey::namespaced("web", "shop") };
        let reason = "spec.selector: Invalid value: hunter2: field is immutable".to_owned();
        let error = AppError::AsApp(AccountError::Immutable { asked, reason });
        let remedy = "; delete the object, which is created anew then, or take the change back";
        let open = told(&app("ConfigMap"), &error);
        assert!(
            open.starts_with("cannot apply Deployment web/shop: spec.selector") && open.ends_with(remedy),
            "{open}"
        );
        let secret = told(&app("Secret"), &error);
        assert_eq!(secret, format!("cannot apply Deployment web/shop: a field cannot be changed{remedy}"));
    }
}
