//! Promises by their numbers, as far as namespaces are concerned.

use drover_crds::Project;
use drover_runtime::model::{ModelObject, ModelWorld as _, Pace, decide, every_crash, until_quiet};
use proptest::prelude::*;

use super::{
    decisions::NOW,
    safety::{came_from_us, held_by, requested},
    strategies::{NAMES, any_project, any_project_alive_or_not, any_world, deleted, project},
    world::ModelCluster,
};
use crate::ProjectOperator;

/// What of `model` neither is the Project's nor was offered to it: no side agreed that it be adopted, or a Project that is
/// still there holds it.
fn foreign(this: &Project, model: &ModelCluster) -> Vec<(String, ModelObject)> {
    let ours = this.metadata.namespace.clone().zip(this.metadata.name.clone());
    let asked = |name: &str| {
        this.spec.namespaces.iter().any(|n| n.name == name && n.on_existing == drover_crds::OnExisting::Adopt)
    };
    let asked = |name: &str, namespace: &ModelObject| asked(name) || requested(this, model, name, namespace, false);
    let is_foreign = |name: &str, namespace: &ModelObject| match held_by(namespace) {
        holder if holder == ours => false,
        Some((space, holder)) => !model.left.contains(&format!("{space}/{holder}")) || !asked(name, namespace),
        None => !asked(name, namespace) && !came_from_us(name, namespace),
    };
    let all = model.namespaces.iter().filter(|(_, namespace)| !namespace.terminating);
    let found = all.filter(|(name, namespace)| is_foreign(name, namespace));
    found.map(|(name, namespace)| (name.clone(), namespace.clone())).collect()
}

proptest! {
    #[test]
    fn b6_projects_of_equal_names_never_touch_what_the_other_holds(spec in any_project(), mut model in any_world()) {
        // The model is about `team-a`; a Project of the same name elsewhere meets the same tenants as `all` lets in.
        model.left.clear();
        let one = spec;
        let other = project("team-b", "shop", one.spec.clone());
        until_quiet::<ProjectOperator>(&one, &mut model, NOW)?;
        let held = |model: &ModelCluster| -> Vec<_> {
            let ours = |namespace: &&ModelObject| held_by(namespace) == Some(("team-a".into(), "shop".into()));
            model.namespaces.values().filter(ours).cloned().collect()
        };
        let before = held(&model);
        until_quiet::<ProjectOperator>(&other, &mut model, NOW)?;
        until_quiet::<ProjectOperator>(&deleted(other), &mut model, NOW)?;
        prop_assert_eq!(held(&model), before);
    }

    #[test]
    fn b7_what_is_foreign_is_never_touched(this in any_project_alive_or_not(), mut model in any_world()) {
        for namespace in model.namespaces.values_mut() {
            namespace.drifting = None; // Changes of another client are not the question.
        }
        let before = foreign(&this, &model);
        for world in every_crash::<ProjectOperator, _>(&this, &model, NOW, Pace::SideBySide)? {
            for (name, was) in &before {
                prop_assert_eq!(world.namespaces.get(name), Some(was), "{}", name);
            }
        }
    }

    #[test]
    fn b7_what_another_client_deletes_or_changes_comes_back(mut this in any_project(), name in 0..NAMES.len()) {
        this.spec.suspend = false;
        let everything = "tenants: [{name: all, from: {all: {}}, namespacePatterns: ['*'], adopt: Allowed}]";
        let mut model = super::decisions::cluster_of(everything, "{}");
        until_quiet::<ProjectOperator>(&this, &mut model, NOW)?;
        let before = model.shape();
        let name = NAMES[name];
        if let Some(found) = model.namespaces.get_mut(name) {
            found.labels.retain(|key, _| key.starts_with("drover.dev/") || key.starts_with("app.kubernetes.io/"));
            until_quiet::<ProjectOperator>(&this, &mut model, NOW)?;
            prop_assert_eq!(model.shape(), before.clone(), "changed");
            let values = |model: &ModelCluster| {
                let labels = model.namespaces.get(name).map(|found| found.labels.clone()).unwrap_or_default();
                labels.into_iter().map(|(key, field)| (key, field.value)).collect::<Vec<_>>()
            };
            let recorded = values(&model);
            model.namespaces.entry(name.to_owned()).and_modify(|found| found.labels.clear());
            until_quiet::<ProjectOperator>(&this, &mut model, NOW)?;
            prop_assert_eq!(values(&model), recorded, "the record of its owner");
            model.namespaces.remove(name);
            until_quiet::<ProjectOperator>(&this, &mut model, NOW)?;
            prop_assert_eq!(model.shape(), before, "deleted");
        }
    }

    /// A restart looks at everything anew, which is what a second run does.
    #[test]
    fn b9_at_rest_nothing_is_written_also_after_a_restart(this in any_project_alive_or_not(), mut model in any_world()) {
        for namespace in model.namespaces.values_mut() {
            namespace.drifting = None;
        }
        until_quiet::<ProjectOperator>(&this, &mut model, NOW)?;
        let before = model.clone();
        until_quiet::<ProjectOperator>(&this, &mut model, NOW)?;
        prop_assert_eq!(&model, &before);
        let later = decide::<ProjectOperator>(&this, &model, NOW + k8s_openapi::jiff::SignedDuration::from_hours(24));
        let now = decide::<ProjectOperator>(&this, &model, NOW);
        prop_assert_eq!((later.place_status, later.groups), (now.place_status, now.groups));
    }
}
