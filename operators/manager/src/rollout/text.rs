//! What a person reads of a rollout. Pure.

use drover_crds::{
    MultiClusterApp, MultiClusterAppStatus, RevisionRef,
    condition::{PAUSED, PROGRESSING, RECONCILING, STALLED, StatusConditions as _, TARGETS_RESOLVED},
};
use drover_rollouts::Difference;
use drover_runtime::StatusCause;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;

use super::{Kept, asked::is_decided};
use crate::{access::columns, output::shown};

/// What is compared.
pub(super) struct Compared<'a> {
    /// None where no revision was completed before.
    pub(super) from: Option<&'a Kept>,
    pub(super) to: &'a Kept,
    /// The fields that differ.
    pub(super) differs: &'a Difference,
}

/// How far a rollout is.
pub(super) fn status(app: &MultiClusterApp) -> String {
    let status = app.status.clone().unwrap_or_default();
    let mut text = format!("MultiClusterApp {}\n", title(app));
    if !is_decided(app, &status) {
        text += "Drover has not decided about the present spec: all but Ready may be of before.\n";
    }
    text += &columns(&facts(app, &status));
    text += &stages(&status);
    if !status.not_ready.is_empty() {
        let head = ["NOT READY", "REASON"].map(str::to_owned);
        let rows = status.not_ready.iter().map(|target| [target.cluster.clone(), target.reason.clone()]);
        text += "\n";
        text += &columns(&std::iter::once(head).chain(rows).collect::<Vec<_>>());
    }
    shown(&text)
}

/// What differs between two revisions, and whom it concerns.
pub(super) fn difference(app: &MultiClusterApp, compared: &Compared<'_>) -> String {
    let Compared { from, to, differs: Difference { fields, more } } = compared;
    let to = format!("{} ({})", to.number, to.name);
    let mut text = match from {
        None => format!("Revision {to} of MultiClusterApp {} follows no other one.\n", title(app)),
        Some(from) if fields.is_empty() => {
            format!(
                "Revisions {} ({}) and {to} of MultiClusterApp {} are the same.\n",
                from.number,
                from.name,
                title(app)
            )
        }
        Some(from) => format!(
            "From revision {} ({}) to {to} of MultiClusterApp {} these fields differ:\n",
            from.number,
            from.name,
            title(app)
        ),
    };
    text.extend(fields.iter().map(|field| format!("  {field}\n")));
    text.extend((*more > 0).then(|| format!("  ... and {more} more\n")));
    text += &stages(&app.status.clone().unwrap_or_default());
    shown(&text)
}

fn title(app: &MultiClusterApp) -> String {
    format!("{}/{}", app.namespace().unwrap_or_default(), app.name_any())
}

fn facts(app: &MultiClusterApp, status: &MultiClusterAppStatus) -> Vec<[String; 2]> {
    let revision = |found: &Option<RevisionRef>| {
        found.as_ref().map_or_else(|| "none".to_owned(), |found| format!("{} ({})", found.number, found.name))
    };
    let mut facts = vec![("Revision", revision(&status.target_revision))];
    if status.current_revision != status.target_revision {
        facts.push(("Completed last", revision(&status.current_revision)));
    }
    if let Some(phase) = status.phase {
        let stage = status.stage.as_ref().map(|stage| format!(" at stage {stage}")).unwrap_or_default();
        facts.push(("Phase", format!("{phase:?}{stage}")));
    }
    if let Some(counts) = &status.counts {
        let without = match counts.without_consent {
            0 => String::new(),
            without => format!("; {without} more clusters do not admit the namespace"),
        };
        let text = format!(
            "{} updated, {} ready, {} failed, {} offline{without}",
            counts.summary, counts.ready, counts.failed, counts.offline
        );
        facts.push(("Targets", text));
    }
    let annotations = [("Approved", app.approved()), ("Held", app.held())];
    facts.extend(annotations.into_iter().filter_map(|(name, value)| Some((name, value?.to_owned()))));
    let told = status.conditions().iter().filter(|condition| tells(condition));
    let mut facts: Vec<_> = facts.into_iter().map(|(name, value)| [name.to_owned(), value]).collect();
    facts.extend(told.map(|one| [one.type_.clone(), format!("{}, {}: {}", one.status, one.reason, one.message)]));
    facts
}

/// Whether a condition says more than the others do: Ready has what the rollout waits for.
fn tells(condition: &Condition) -> bool {
    match condition.type_.as_str() {
        RECONCILING | STALLED | PROGRESSING | PAUSED => false,
        TARGETS_RESOLVED => StatusCause::from_reason(&condition.reason) != Some(StatusCause::Ready),
        _ => true,
    }
}

fn stages(status: &MultiClusterAppStatus) -> String {
    if status.stages.is_empty() {
        return String::new();
    }
    let head = ["STAGE", "TARGETS", "UPDATED", "READY", "LAST START"].map(str::to_owned);
    let rows = status.stages.iter().map(|stage| {
        let since = stage.since.as_ref().map_or_else(|| "-".to_owned(), |since| since.0.to_string());
        [stage.name.clone(), stage.total.to_string(), stage.updated.to_string(), stage.ready.to_string(), since]
    });
    format!("\n{}", columns(&std::iter::once(head).chain(rows).collect::<Vec<_>>()))
}
