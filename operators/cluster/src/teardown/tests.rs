use drover_runtime::{
    Failure, ObjectKey, Owner,
    model::{End, ModelWorld, Pace, Requests, Stop, every_crash, until_quiet},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use super::*;
use crate::{ClusterError, World};

const LONG: Duration = Duration::from_hours(1);

/// So many seconds after the deletion, which has ten minutes.
fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn cluster(name: &str, spec: &serde_json::Value, told: Option<DeletionCause>) -> Cluster {
    let mut whole = json!({"connection": {"kubeconfig": {"secretRef": {"name": "eu"}}}});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let conditions: Vec<_> =
        told.map(|cause| drover_runtime::status::condition(DELETING, true, cause, "x")).into_iter().collect();
    serde_json::from_value(json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "spec": whole,
        "metadata": {"name": name, "deletionTimestamp": at(0).to_string()},
        "status": {"conditions": conditions, "clusterUID": "u"},
    }))
    .unwrap()
}

#[test]
fn a_cluster_that_was_never_reached_goes_at_once() {
    let mut cluster = cluster("eu", &json!({"deletionPolicy": "Delete"}), None);
    let away = [Reach::Connecting, Reach::Disconnected(failure(ConnectionCause::SecretMissing))];
    assert!(away.iter().all(|reach| !told(&cluster, reach, 1, LONG).ends_with("Released")), "it may have something");
    cluster.status.as_mut().unwrap().cluster_uid = None;
    for reach in away {
        assert_eq!(told(&cluster, &reach, 1, LONG), "Released Released", "{reach:?}");
    }
}

fn failure(cause: impl Into<Cause>) -> Failure {
    let cause = cause.into();
    Failure::new(cause, format!("{} happened", cause.reason()))
}

fn there(holder: Holder, owned: usize, namespace: Option<&str>) -> Reach {
    Reach::Connected(as_found(holder, owned, namespace))
}

fn as_found(holder: Holder, owned: usize, namespace: Option<&str>) -> There {
    let namespace = namespace.map(str::to_owned);
    There {
        holder,
        owned,
        apps: 0,
        roles: 0,
        left_behind: Vec::new(),
        policies: Vec::new(),
        namespace,
        hosts_others: false,
    }
}

/// A namespace of a Project that is no more.
fn left_behind() -> LeftBehind {
    let live = ObjectMeta { name: Some("team-old".to_owned()), ..ObjectMeta::default() };
    LeftBehind { live, holder: ObjectKey::namespaced("team", "gone") }
}

/// The reason, the actions, and when it goes on, as seconds after the deletion.
fn told(cluster: &Cluster, reach: &Reach, second: i64, running: Duration) -> String {
    let Plan { place_status, groups, requeue } = plan(cluster, &Teardown { running, reach: reach.clone() }, at(second));
    let PlaceStatus::Teardown(status) = place_status else { panic!("{place_status:?}") };
    let actions = groups.iter().flatten().map(|action| match action {
        Action::ReleaseLeftBehind(all) => format!(" release {}", all.len()),
        Action::WritePolicy(name) => format!(" write {name}"),
        Action::RemovePolicies(names) => format!(" remove {}", names.len()),
        Action::ReleaseClaim => " release".to_owned(),
        Action::DeleteNamespace { uid } => format!(" delete {uid}"),
    });
    let requeue = match requeue {
        Requeue::At(time) => format!("+{}", time.as_second() - at(second).as_second()),
        other => format!("{other:?}"),
    };
    format!("{}{} {requeue}", status.cause.reason(), actions.collect::<String>())
}

#[test]
fn a_cluster_that_answers_gives_back_what_is_ours_in_order() {
    let (orphan, delete) = (json!({}), json!({"deletionPolicy": "Delete"}));
    for (spec, reach, second, expected) in [
        (&orphan, there(Holder::Us, 0, Some("u")), 1, "ReleasingClaim release +2"),
        (&orphan, there(Holder::Us, 3, Some("u")), 1, "ReleasingClaim release +2"),
        (&orphan, there(Holder::Nobody, 3, Some("u")), 1, "Released Released"),
        (&orphan, there(Holder::Other, 3, Some("u")), 1, "Released Released"),
        (&delete, there(Holder::Us, 3, Some("u")), 1, "WaitingForOwners +2"),
        (&delete, there(Holder::Us, 3, Some("u")), 599, "WaitingForOwners +1"),
        (&delete, there(Holder::Us, 3, Some("u")), 600, "ReleasingClaim release +2"),
        (&delete, there(Holder::Us, 0, Some("u")), 1, "ReleasingClaim release +2"),
        (&delete, there(Holder::Nobody, 3, Some("u")), 1, "WaitingForOwners +2"),
        (&delete, there(Holder::Nobody, 3, Some("u")), 600, "RemovingNamespace delete u +2"),
        (&delete, there(Holder::Nobody, 0, Some("u")), 1, "RemovingNamespace delete u +2"),
        (&delete, there(Holder::Nobody, 0, None), 1, "Released Released"),
        (&delete, there(Holder::Other, 3, Some("u")), 1, "Released Released"),
    ] {
        assert_eq!(told(&cluster("eu", spec, None), &reach, second, LONG), expected, "{spec} {reach:?} {second}");
    }
}

#[test]
fn namespaces_of_projects_that_are_no_more_are_let_go_first() {
    let delete = cluster("eu", &json!({"deletionPolicy": "Delete"}), None);
    let with =
        |holder, owned| Reach::Connected(There { left_behind: vec![left_behind()], ..as_found(holder, owned, None) });
    for (reach, second, expected) in [
        (with(Holder::Us, 0), 1, "ReleasingNamespaces release 1 +2"),
        (with(Holder::Us, 3), 1, "ReleasingNamespaces release 1 +2"),
        // What refuses does not keep the claim.
        (with(Holder::Us, 0), 600, "ReleasingClaim release +2"),
        (with(Holder::Other, 0), 1, "Released Released"),
        // Whose it is nobody knows, so it is not written to.
        (with(Holder::Nobody, 0), 1, "Released Released"),
    ] {
        assert_eq!(told(&delete, &reach, second, LONG), expected, "{reach:?} {second}");
    }
}

#[test]
fn apps_are_uninstalled_before_all_that_they_need_for_it() {
    let delete = cluster("eu", &json!({"deletionPolicy": "Delete"}), None);
    let orphan = cluster("eu", &json!({}), None);
    let found = There { apps: 2, roles: 2, policies: vec!["p".to_owned()], ..as_found(Holder::Us, 1, Some("u")) };
    let with_apps = Reach::Connected(found.clone());
    for (eu, second, expected) in [
        (&delete, 1, "WaitingForOwners +2"),
        (&delete, 599, "WaitingForOwners +1"),
        (&delete, 600, "ReleasingClaim release +2"),
        (&orphan, 1, "ReleasingClaim release +2"),
    ] {
        assert_eq!(told(eu, &with_apps, second, LONG), expected, "{second}");
    }
    let says = |found: &There, second: i64| {
        let seen = Teardown { running: LONG, reach: Reach::Connected(found.clone()) };
        let PlaceStatus::Teardown(status) = plan(&delete, &seen, at(second)).place_status else { panic!("it goes") };
        status.message
    };
    let waits = says(&found, 1);
    assert!(waits.starts_with("the cluster still has 2 apps that Drover uninstalls; Drover abandons it at"), "{waits}");
    let left = "; the releases of 2 apps and 1 namespace that Drover managed stay there";
    assert!(says(&found, 600).ends_with(left), "{}", says(&found, 600));
    let only_apps = There { holder: Holder::Nobody, owned: 0, apps: 1, roles: 0, namespace: None, ..found };
    let left = "Drover has released the cluster; the releases of 1 app that Drover managed stay there";
    assert_eq!(says(&only_apps, 600), left);
    assert!(says(&There { apps: 500, ..only_apps }, 1).contains("500 apps or more"));
}

#[test]
fn the_claim_stays_while_roles_are_withdrawn() {
    let delete = cluster("eu", &json!({"deletionPolicy": "Delete"}), None);
    let with_roles = Reach::Connected(There { roles: 2, ..as_found(Holder::Us, 0, None) });
    for (second, expected) in [(1, "WaitingForOwners +2"), (600, "ReleasingClaim release +2")] {
        assert_eq!(told(&delete, &with_roles, second, LONG), expected, "{second}");
    }
}

#[test]
fn admission_policies_go_after_what_they_guard_and_before_the_claim() {
    let delete = cluster("eu", &json!({"deletionPolicy": "Delete"}), None);
    let orphan = cluster("eu", &json!({"deletionPolicy": "Orphan"}), None);
    let with = |holder, owned| {
        Reach::Connected(There { policies: vec!["drover-guards".to_owned()], ..as_found(holder, owned, None) })
    };
    for (eu, reach, second, expected) in [
        (&delete, with(Holder::Us, 3), 1, "WaitingForOwners +2"),
        (&delete, with(Holder::Us, 0), 1, "RemovingPolicies remove 1 +2"),
        (&delete, with(Holder::Us, 0), 600, "ReleasingClaim release +2"),
        (&delete, with(Holder::Other, 0), 1, "Released Released"),
        (&orphan, with(Holder::Us, 0), 1, "ReleasingClaim release +2"),
    ] {
        assert_eq!(told(eu, &reach, second, LONG), expected, "{reach:?} {second}");
    }
}

#[test]
fn a_few_namespaces_are_let_go_at_a_time_and_named_in_the_log() {
    let delete = cluster("eu", &json!({"deletionPolicy": "Delete"}), None);
    let there = There { left_behind: vec![left_behind(); 50], ..as_found(Holder::Us, 0, None) };
    let world = Teardown { running: LONG, reach: Reach::Connected(there) };
    let Plan { place_status, groups, .. } = plan(&delete, &world, at(1));
    let PlaceStatus::Teardown(status) = place_status else { panic!("{place_status:?}") };
    assert!(status.message.contains("releases 50 namespaces"), "{}", status.message);
    assert_eq!(format!("{groups:?}").matches("team-old").count(), 20, "{groups:?}");
}

#[test]
fn a_namespace_in_which_another_drover_runs_stays_with_its_kubeconfigs() {
    let delete = cluster("eu", &json!({"deletionPolicy": "Delete"}), None);
    let with_drover = |holder| Reach::Connected(There { hosts_others: true, ..as_found(holder, 0, Some("u")) });
    assert_eq!(told(&delete, &with_drover(Holder::Us), 1, LONG), "ReleasingClaim release +2");
    assert_eq!(told(&delete, &with_drover(Holder::Nobody), 1, LONG), "Released Released");
}

#[test]
fn the_namespace_of_the_management_cluster_stays() {
    let local = cluster("local", &json!({"deletionPolicy": "Delete"}), None);
    assert_eq!(told(&local, &there(Holder::Us, 0, Some("u")), 1, LONG), "ReleasingClaim release +2");
    assert_eq!(told(&local, &there(Holder::Nobody, 0, Some("u")), 1, LONG), "Released Released");
}

#[test]
fn a_cluster_that_is_away_is_waited_for_until_the_deadline_and_let_go_aloud() {
    let (eu, said) = (cluster("eu", &json!({}), None), cluster("eu", &json!({}), Some(DeletionCause::Abandoned)));
    let (away, failing) =
        (Reach::Disconnected(failure(ConnectionCause::Timeout)), Reach::Failing(failure(ApiCause::Forbidden)));
    let just_started = Duration::from_secs(3);
    for (cluster, reach, second, running, expected) in [
        (&eu, &away, 1, LONG, "WaitingForCluster +2"),
        (&eu, &away, 599, LONG, "WaitingForCluster +1"),
        (&eu, &away, 600, LONG, "Abandoned +2"),
        (&said, &away, 602, LONG, "Abandoned Released"),
        // Should the status not be writable, it ends all the same.
        (&eu, &away, 660, LONG, "Abandoned Released"),
        (&eu, &away, 660, just_started, "Abandoned +2"),
        (&eu, &failing, 1, LONG, "Forbidden +2"),
        (&eu, &failing, 600, LONG, "Abandoned +2"),
        (&said, &failing, 602, LONG, "Abandoned Released"),
        (&eu, &Reach::Connecting, 1, LONG, "Connecting +2"),
        (&eu, &Reach::Connecting, 600, LONG, "Abandoned +2"),
        // After a restart there is no verdict yet, which is no reason to give up.
        (&eu, &Reach::Connecting, 9_000, just_started, "Connecting +2"),
        (&eu, &failing, 9_000, just_started, "Forbidden +2"),
    ] {
        assert_eq!(told(cluster, reach, second, running), expected, "{reach:?} {second}");
    }
}

#[test]
fn where_nothing_is_ours_nothing_is_waited_for() {
    for cause in [ConnectionCause::DuplicateOf, ConnectionCause::ClaimedByOther, ConnectionCause::IdentityMismatch] {
        let reach = Reach::Disconnected(failure(cause));
        assert_eq!(told(&cluster("eu", &json!({}), None), &reach, 1, LONG), "Released Released");
    }
}

#[test]
fn a_credential_that_went_with_the_namespace_ends_the_deletion() {
    let delete = json!({"deletionPolicy": "Delete"});
    let (before, after) =
        (cluster("eu", &delete, None), cluster("eu", &delete, Some(DeletionCause::RemovingNamespace)));
    for reach in
        [Reach::Disconnected(failure(ConnectionCause::Unauthorized)), Reach::Failing(failure(ApiCause::Unauthorized))]
    {
        assert_eq!(told(&after, &reach, 5, LONG), "Released Released");
        assert_ne!(told(&before, &reach, 5, LONG), "Released Released");
    }
    assert_eq!(told(&after, &Reach::Disconnected(failure(ConnectionCause::Timeout)), 5, LONG), "WaitingForCluster +2");
}

#[test]
fn a_claim_that_cannot_be_released_does_not_hold_the_deletion_for_ever() {
    let (eu, reach) = (cluster("eu", &json!({}), None), there(Holder::Us, 0, None));
    assert_eq!(told(&eu, &reach, 659, LONG), "ReleasingClaim release +2");
    assert_eq!(told(&eu, &reach, 660, LONG), "Abandoned Released");
    assert_eq!(told(&eu, &reach, 660, Duration::ZERO), "ReleasingClaim release +2");
}

#[test]
fn while_suspended_nothing_is_done_whatever_the_time() {
    for policy in ["Orphan", "Delete"] {
        let suspended =
            cluster("eu", &json!({"suspend": true, "deletionPolicy": policy}), Some(DeletionCause::Abandoned));
        for reach in
            [Reach::Connecting, Reach::Disconnected(failure(ConnectionCause::Timeout)), there(Holder::Us, 0, Some("u"))]
        {
            assert_eq!(told(&suspended, &reach, 9_000, LONG), "Suspended Watch");
        }
    }
}

#[test]
fn what_is_left_behind_is_counted() {
    let delete = cluster("eu", &json!({"deletionPolicy": "Delete"}), None);
    let left = |second| {
        let world = Teardown { running: LONG, reach: there(Holder::Us, 2, None) };
        let PlaceStatus::Teardown(status) = plan(&delete, &world, at(second)).place_status else { panic!() };
        status.message
    };
    assert!(left(1).contains("still has 2 namespaces"), "{}", left(1));
    assert!(left(600).contains("2 namespaces that Drover managed stay there"), "{}", left(600));
}

/// A cluster in memory that always answers.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    there: There,
}

impl ModelWorld<ClusterOperator> for Model {
    fn observe(&self, _: Owner<'_, Cluster>) -> World {
        let reach = Reach::Connected(self.there.clone());
        World::Teardown(Box::new(Teardown { running: LONG, reach }))
    }

    fn act(
        &mut self,
        _: Owner<'_, Cluster>,
        action: Action,
        requests: &mut Requests,
    ) -> Result<(), Stop<ClusterError>> {
        requests.send()?;
        match action {
            Action::ReleaseLeftBehind(all) => {
                assert_eq!(self.there.holder, Holder::Us, "what is ours is written to while it is claimed");
                self.there.left_behind.retain(|there| !all.contains(there));
            }
            Action::WritePolicy(name) => panic!("{name} is written to a cluster that is being released"),
            Action::RemovePolicies(names) => {
                assert_eq!((self.there.holder, self.there.owned), (Holder::Us, 0), "they guard to the end");
                self.there.policies.retain(|name| !names.contains(name));
            }
            Action::ReleaseClaim => self.there.holder = Holder::Nobody,
            Action::DeleteNamespace { uid } => {
                assert_eq!(self.there.holder, Holder::Nobody, "the claim goes first");
                assert_eq!(self.there.namespace.take(), Some(uid));
            }
        }
        Ok(())
    }
}

#[test]
fn a_deletion_ends_the_same_after_a_crash_anywhere() {
    for (policy, namespace) in [("Orphan", Some("u".to_owned())), ("Delete", None)] {
        let eu = cluster("eu", &json!({"deletionPolicy": policy}), None);
        let left_behind = if policy == "Delete" { vec![left_behind()] } else { Vec::new() };
        let policies = vec!["drover-guards".to_owned()];
        let model = Model { there: There { left_behind, policies, ..as_found(Holder::Us, 0, Some("u")) } };
        for mut left_behind in every_crash::<ClusterOperator, _>(&eu, &model, at(1), Pace::InTurn).unwrap() {
            assert_eq!(until_quiet(&eu, &mut left_behind, at(1)).unwrap(), End::Released);
            assert_eq!((left_behind.there.holder, &left_behind.there.namespace), (Holder::Nobody, &namespace));
            assert_eq!(left_behind.there.left_behind, Vec::new());
            assert_eq!(left_behind.there.policies.is_empty(), policy == "Delete", "{policy}");
        }
    }
}
