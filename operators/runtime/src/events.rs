//! Events on condition transitions: best effort, off the hot path.

use drover_crds::{Cluster, condition::STALLED};
use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    Client, Resource as _,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::sync::mpsc;

use crate::{cause::Cause, request::request};

/// Events that wait to be published; more are dropped, as events are a courtesy.
const BACKLOG: usize = 256;
/// What a condition change did, as `action` of the event.
const ACTION: &str = "Reconcile";

/// Hands events to a background task.
#[derive(Clone, Debug)]
pub struct EventSink(mpsc::Sender<(ObjectReference, Event)>);

impl EventSink {
    /// Starts the background task that publishes for `controller`. It ends when the last sink is dropped.
    #[must_use]
    pub fn start(client: Client, controller: &str) -> Self {
        let (sender, mut receiver) = mpsc::channel::<(ObjectReference, Event)>(BACKLOG);
        let recorder = Recorder::new(client, Reporter { controller: controller.to_owned(), instance: None });
        tokio::spawn(async move {
            while let Some((object, event)) = receiver.recv().await {
                if let Err(error) = request("publish an event", recorder.publish(&event, &object)).await {
                    tracing::debug!(%error, "cannot publish an event");
                }
            }
        });
        Self(sender)
    }

    /// Publishes that `condition` of `object` changed, for this cause if it is known, and because of this Cluster if it is about
    /// one.
    pub fn transition(
        &self,
        object: &ObjectReference,
        condition: &Condition,
        cause: Option<Cause>,
        cluster: Option<&str>,
    ) {
        // A full backlog drops the event: the condition itself is the record.
        let _ = self.0.try_send((object.clone(), event(condition, cause, cluster)));
    }
}

fn event(condition: &Condition, cause: Option<Cause>, cluster: Option<&str>) -> Event {
    // What holds is about no cluster in particular.
    let related = cluster.filter(|_| !is_good(condition)).map(|name| ObjectReference {
        api_version: Some(Cluster::api_version(&()).into_owned()),
        kind: Some(Cluster::kind(&()).into_owned()),
        name: Some(name.to_owned()),
        ..ObjectReference::default()
    });
    Event {
        type_: severity(condition, cause),
        reason: condition.reason.clone(),
        note: Some(format!("{} is {}: {}", condition.type_, condition.status, condition.message)),
        action: ACTION.to_owned(),
        secondary: related,
    }
}

fn is_good(condition: &Condition) -> bool {
    (condition.status == "True") != (condition.type_ == STALLED)
}

fn severity(condition: &Condition, cause: Option<Cause>) -> EventType {
    if is_good(condition) || cause.is_some_and(Cause::is_expected) { EventType::Normal } else { EventType::Warning }
}

#[cfg(test)]
mod tests {
    use drover_crds::condition::READY;

    use super::*;
    use crate::{ApiCause, StatusCause, status::condition};

    #[test]
    fn what_is_wrong_at_a_cluster_names_it_as_the_related_object() {
        let ready = |holds, cause: StatusCause| condition(READY, holds, cause, "");
        let related = |condition: &Condition| event(condition, None, Some("eu-1")).secondary;
        let found = related(&ready(false, StatusCause::Failed)).unwrap();
        assert_eq!((found.kind.as_deref(), found.name.as_deref()), (Some("Cluster"), Some("eu-1")));
        assert_eq!(related(&ready(true, StatusCause::Ready)), None);
    }

    #[test]
    fn only_what_needs_a_look_is_a_warning() {
        for (kind, holds, cause, warns) in [
            (READY, true, StatusCause::Ready.cause(), false),
            (READY, false, StatusCause::Progressing.cause(), false),
            (READY, false, StatusCause::Deleting.cause(), false),
            (READY, false, ApiCause::Forbidden.cause(), true),
            (STALLED, true, StatusCause::InvalidObject.cause(), true),
        ] {
            let warned = matches!(severity(&condition(kind, holds, cause, ""), Some(cause)), EventType::Warning);
            assert_eq!(warned, warns, "{kind} {holds} {}", cause.reason());
        }
    }
}
