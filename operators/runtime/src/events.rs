//! Events: one for each change of an object, with its cause. Best effort, off the hot path.

use drover_crds::{
    Cluster,
    condition::{ALERT, DELETING, ENDS_SOON, READY, STALLED},
};
use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    Client, Resource as _,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::sync::mpsc;

use crate::{
    cause::Cause,
    error::{Failure, legible},
    request::request,
};

/// Events that wait to be published; more are dropped, as events are a courtesy.
const BACKLOG: usize = 256;
/// An API server refuses longer notes, in bytes.
const NOTE_LIMIT: usize = 1024;

/// Hands events to a background task.
#[derive(Clone, Debug)]
pub struct EventSink(mpsc::Sender<(ObjectReference, Event)>);

/// A condition that changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changed<'a> {
    pub(crate) condition: &'a Condition,
    /// Why it is as it is, if that is known.
    pub(crate) cause: Option<Cause>,
}

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

    /// Publishes that these conditions of `object` changed at once, because of this Cluster if it is about one.
    pub(crate) fn changed(&self, object: &ObjectReference, changed: &[Changed<'_>], cluster: Option<&str>) {
        let Some(event) = event(changed, cluster) else { return };
        // A full backlog drops the event: the condition itself is the record.
        let _ = self.0.try_send((object.clone(), event));
    }

    /// Publishes that the management cluster refuses what Drover writes to `object`.
    pub(crate) fn refused(&self, object: &ObjectReference, failure: &Failure) {
        let event = Event {
            type_: EventType::Warning,
            reason: failure.reason().to_owned(),
            note: Some(legible(&failure.message, NOTE_LIMIT)),
            action: "Write".to_owned(),
            secondary: None,
        };
        let _ = self.0.try_send((object.clone(), event));
    }
}

impl Changed<'_> {
    fn is_good(self) -> bool {
        let Condition { type_, status, .. } = self.condition;
        (status == "True") != [STALLED, DELETING, ALERT, ENDS_SOON].contains(&type_.as_str())
    }

    fn warns(self) -> bool {
        !(self.is_good() || self.cause.is_some_and(Cause::is_expected))
    }

    fn is_ready(self) -> bool {
        self.condition.type_ == READY
    }

    fn reason(self) -> String {
        self.condition.reason.clone()
    }
}

/// One event for all that changed: what needs a look comes first, then what the whole object says.
fn event(changed: &[Changed<'_>], cluster: Option<&str>) -> Option<Event> {
    let urgency = |changed: &&Changed<'_>| (!changed.warns(), !changed.is_ready());
    let first = changed.iter().min_by_key(urgency)?;
    let Condition { type_, status, message, .. } = first.condition;
    // What is unknown follows from what is not.
    let also = |other: &&Changed<'_>| {
        other.warns() && other.condition.status != "Unknown" && other.condition.reason != first.condition.reason
    };
    let also = changed.iter().filter(also).map(|Changed { condition, .. }| {
        format!("; {} is {} ({})", condition.type_, condition.status, condition.reason)
    });
    let note = format!("{type_} is {status}: {message}{}", also.collect::<String>());
    Some(Event {
        type_: if first.warns() { EventType::Warning } else { EventType::Normal },
        reason: first.reason(),
        note: Some(legible(&note, NOTE_LIMIT)),
        // Events of one reason and one action count as one.
        action: type_.clone(),
        // What holds is about no cluster in particular.
        secondary: cluster.filter(|_| !first.is_good()).map(reference),
    })
}

fn reference(cluster: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some(Cluster::api_version(&()).into_owned()),
        kind: Some(Cluster::kind(&()).into_owned()),
        name: Some(cluster.to_owned()),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use drover_crds::condition::{CERTIFICATES_VALID, CONNECTED, NODES_HEALTHY};

    use super::*;
    use crate::{
        ApiCause, StatusCause,
        status::{State, condition},
    };

    type Change<'a> = (&'a str, State, Cause);

    /// The event of these changes: type, reason, note and action.
    fn told(changes: &[Change<'_>]) -> (String, Option<String>) {
        let conditions: Vec<_> =
            changes.iter().map(|(kind, state, cause)| (condition(kind, *state, *cause, "so it is"), *cause)).collect();
        let all: Vec<_> =
            conditions.iter().map(|(condition, cause)| Changed { condition, cause: Some(*cause) }).collect();
        let event = event(&all, Some("eu-1")).unwrap();
        let warns = if matches!(event.type_, EventType::Warning) { "Warning" } else { "Normal" };
        let related = event.secondary.and_then(|cluster| cluster.name);
        (format!("{warns} {} {}: {}", event.action, event.reason, event.note.unwrap()), related)
    }

    #[test]
    fn what_is_wrong_at_a_cluster_names_it_as_the_related_object() {
        assert_eq!(told(&[(READY, State::False, StatusCause::Failed.cause())]).1.as_deref(), Some("eu-1"));
        assert_eq!(told(&[(READY, State::True, StatusCause::Ready.cause())]).1, None);
    }

    #[test]
    fn only_what_needs_a_look_is_a_warning() {
        for (kind, state, cause, warns) in [
            (READY, State::True, StatusCause::Ready.cause(), false),
            (READY, State::False, StatusCause::Progressing.cause(), false),
            (READY, State::False, StatusCause::Deleting.cause(), false),
            (READY, State::False, ApiCause::Forbidden.cause(), true),
            (STALLED, State::True, StatusCause::InvalidObject.cause(), true),
            (DELETING, State::True, StatusCause::Deleting.cause(), false),
            (DELETING, State::True, ApiCause::Timeout.cause(), true),
        ] {
            let told = told(&[(kind, state, cause)]).0;
            assert_eq!(told.starts_with("Warning"), warns, "{told}");
        }
        assert!(event(&[], None).is_none());
    }

    /// An outage changes seven conditions, and so does its end.
    #[test]
    fn one_change_of_an_object_is_one_event_with_its_cause() {
        let (away, lost) = (ApiCause::ConnectionFailed.cause(), ApiCause::Timeout.cause());
        let outage =
            [(READY, State::False, away), (CONNECTED, State::False, away), (NODES_HEALTHY, State::Unknown, lost)];
        assert_eq!(told(&outage).0, "Warning Ready ConnectionFailed: Ready is False: so it is");
        let ready = StatusCause::Ready.cause();
        let back = [(CONNECTED, State::True, ready), (NODES_HEALTHY, State::True, ready), (READY, State::True, ready)];
        assert_eq!(told(&back).0, "Normal Ready Ready: Ready is True: so it is");
        let found = [
            (READY, State::True, ready),
            (NODES_HEALTHY, State::False, away),
            (CERTIFICATES_VALID, State::False, lost),
        ];
        let expected = "Warning NodesHealthy ConnectionFailed: NodesHealthy is False: so it is; CertificatesValid is False (Timeout)";
        assert_eq!(told(&found).0, expected, "a healthy object may have something that needs a look");
    }
}
