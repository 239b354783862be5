//! What holds for every Project in every cluster.

use drover_crds::{DeletionPolicy, Project};
use drover_runtime::{
    Place, PlaceState, Requeue,
    model::{End, Pace, Restless, decide, every_crash, until_quiet},
    place_status::PlaceEntry,
    request::Urgency,
};
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;

use super::{
    safety::{held_by, is_created, key, no_room, violations},
    strategies::{any_cluster, any_project, any_project_alive_or_not, any_world, deleted, going},
    world::ModelCluster,
};
use crate::{ProjectOperator, summary::summarise};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn rest(project: &Project, world: &mut ModelCluster) -> Result<End, Restless> {
    until_quiet::<ProjectOperator>(project, world, NOW)
}

fn crashes(project: &Project, world: &ModelCluster) -> Result<Vec<ModelCluster>, Restless> {
    every_crash::<ProjectOperator, _>(project, world, NOW, Pace::SideBySide)
}

/// A Project, and the same with its list in another order.
fn any_order() -> impl Strategy<Value = (Vec<Project>, Vec<Project>)> {
    any_project().prop_flat_map(|project| {
        let shuffled = Just(project.spec.namespaces.clone()).prop_shuffle();
        (Just(project), shuffled).prop_map(|(project, namespaces)| {
            let mut other = project.clone();
            other.spec.namespaces = namespaces;
            (vec![project], vec![other])
        })
    })
}

drover_runtime::model_properties!(ProjectOperator {
    objects: any_project_alive_or_not(),
    worlds: any_world(),
    orders: any_order(),
    deletions: (any_project(), any_cluster()),
});

proptest! {
    #[test]
    fn nothing_unsafe_happens_on_the_way(project in any_project_alive_or_not(), world in any_world()) {
        let way = crashes(&project, &world)?;
        for step in way.windows(2) {
            prop_assert_eq!(violations(&project, &step[0], &step[1]), Vec::<String>::new());
        }
    }

    #[test]
    fn a_suspended_project_plans_nothing_while_it_lives_but_to_take_rights_away(
        mut project in any_project(),
        world in any_world(),
    ) {
        project.spec.suspend = true;
        let plan = decide::<ProjectOperator>(&project, &world, NOW);
        prop_assert!(plan.actions().all(|action| action.urgency() == Urgency::Revocation), "{:?}", plan);
    }

    #[test]
    fn deletion_with_orphan_or_while_suspended_takes_nothing_away(
        mut project in any_project(),
        mut world in any_cluster(),
        lived in any::<bool>(),
    ) {
        if !project.spec.suspend {
            project.spec.deletion_policy = DeletionPolicy::Orphan;
        }
        if lived {
            rest(&project, &mut world)?;
        }
        let before = world.clone();
        rest(&deleted(project), &mut world)?;
        let stays = before.namespaces.iter().filter(|(_, namespace)| !namespace.terminating);
        let gone: Vec<_> = stays.map(|(name, _)| name).filter(|name| !world.namespaces.contains_key(*name)).collect();
        prop_assert!(gone.is_empty(), "{:?} are gone", gone);
    }

    #[test]
    fn in_a_cluster_that_is_being_deleted_everything_is_released_and_stays(mut project in any_project(), world in any_cluster()) {
        project.spec.suspend = false;
        let mut world = going(world, DeletionPolicy::Delete);
        let stays = world.namespaces.iter().filter(|(_, namespace)| !namespace.terminating);
        let stays: Vec<_> = stays.map(|(name, _)| name.clone()).collect();
        prop_assert_eq!(rest(&project, &mut world)?, End::Released);
        prop_assert!(world.namespaces.values().all(|namespace| held_by(namespace) != Some(key(&project))));
        prop_assert_eq!(world.namespaces.keys().cloned().collect::<Vec<_>>(), stays);
    }

    #[test]
    fn in_a_cluster_that_is_orphaned_nothing_is_done(project in any_project_alive_or_not(), world in any_cluster()) {
        let plan = decide::<ProjectOperator>(&project, &going(world, DeletionPolicy::Orphan), NOW);
        prop_assert!(plan.is_idle());
        prop_assert_eq!(plan.requeue, Requeue::Released);
    }

    /// Equal states give equal text, or a status would be written for nothing.
    #[test]
    fn what_is_told_depends_on_no_time_and_no_id(project in any_project_alive_or_not(), world in any_world()) {
        let mut other = project.clone();
        other.metadata.uid = Some("another".to_owned());
        let later = Timestamp::from_second(1_000_000).unwrap();
        let statuses = [
            decide::<ProjectOperator>(&project, &world, NOW).place_status,
            decide::<ProjectOperator>(&other, &world.with_other_ids(), later).place_status,
        ];
        prop_assert_eq!(&statuses[0], &statuses[1]);
        let [one, two] = statuses.map(|place_status| {
            let entry = PlaceEntry { known: Some(place_status), state: PlaceState::Current };
            summarise(&project, &[(Place::cluster("eu"), entry)].into_iter().collect())
        });
        prop_assert_eq!(one, two);
    }

    /// What was created and released is adopted again by the same Project: names are identities. What was there before needs consent
    /// again.
    #[test]
    fn a_project_that_is_deleted_and_created_again_takes_up_what_it_held(
        mut project in any_project(),
        mut world in any_cluster(),
    ) {
        (project.spec.suspend, project.spec.deletion_policy) = (false, DeletionPolicy::Orphan);
        let end = rest(&project, &mut world)?;
        let held = |world: &ModelCluster| -> Vec<String> {
            let listed = project.spec.namespaces.iter().map(|wanted| &wanted.name);
            let ours = |name: &&String| {
                let found = world.namespaces.get(*name);
                found.is_some_and(|found| held_by(found) == Some(key(&project)) && is_created(name, found))
            };
            listed.filter(ours).cloned().collect()
        };
        let (before, place_status) = (held(&world), decide::<ProjectOperator>(&project, &world, NOW).place_status);
        let within_limits = before.iter().all(|name| !no_room(&world, name));
        rest(&deleted(project.clone()), &mut world)?;
        rest(&project, &mut world)?;
        // Only where all was well: what the Project may not hold any more is released for good,
        // and so is what it held beyond a lower limit.
        if end == End::Quiet && place_status.ready == place_status.wanted && within_limits {
            prop_assert_eq!(held(&world), before);
        }
    }
}
