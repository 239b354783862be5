//! Events on condition transitions: best effort, off the hot path.

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
        let good = (condition.status == "True") != is_negative(&condition.type_);
        let event = Event {
            type_: if good { EventType::Normal } else { EventType::Warning },
            reason: condition.reason.clone(),
            note: Some(format!("{} is {}: {}", condition.type_, condition.status, condition.message)),
            action: ACTION.to_owned(),
            secondary: None,
        };
        // A full backlog drops the event: the condition itself is the record.
        let _ = self.0.try_send((object.clone(), event));
    }
}

fn is_negative(condition: &str) -> bool {
    condition == drover_crds::condition::STALLED
}
