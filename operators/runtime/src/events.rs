//! Events on condition transitions: best effort, off the hot path.

use drover_crds::condition::STALLED;
use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::sync::mpsc;

use crate::request::request;

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
                    tracing::debug!(%error, "an event could not be published");
                }
            }
        });
        Self(sender)
    }

    /// Publishes that `condition` of `object` changed.
    pub fn transition(&self, object: &ObjectReference, condition: &Condition) {
        let event = Event {
            type_: severity(condition),
            reason: condition.reason.clone(),
            note: Some(format!("{} is {}: {}", condition.type_, condition.status, condition.message)),
            action: ACTION.to_owned(),
            secondary: None,
        };
        // A full backlog drops the event: the condition itself is the record.
        let _ = self.0.try_send((object.clone(), event));
    }
}

/// What is only on its way is nothing to warn of.
const ON_THE_WAY: [&str; 4] = ["Progressing", "Connecting", "Deleting", "Terminating"];

fn severity(condition: &Condition) -> EventType {
    let good = (condition.status == "True") != (condition.type_ == STALLED);
    if good || ON_THE_WAY.contains(&condition.reason.as_str()) { EventType::Normal } else { EventType::Warning }
}

#[cfg(test)]
mod tests {
    use drover_crds::condition::READY;

    use super::*;
    use crate::status::condition;

    #[test]
    fn only_what_needs_a_look_is_a_warning() {
        for (kind, holds, reason, warns) in [
            (READY, true, "Ready", false),
            (READY, false, "Progressing", false),
            (READY, false, "Connecting", false),
            (READY, false, "DialFailed", true),
            (STALLED, true, "InvalidObject", true),
        ] {
            let warned = matches!(severity(&condition(kind, holds, reason, "")), EventType::Warning);
            assert_eq!(warned, warns, "{kind} {holds} {reason}");
        }
    }
}
