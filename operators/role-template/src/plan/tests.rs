use std::sync::Arc;

use drover_admission::PoliciesState;
use drover_crds::{RoleSubject, RoleTemplateStatus, SubjectKind, names::ANNOTATION_APPLIED};
use drover_grants::{Admitted, GrantCause, Templates};
use drover_roles::resolve;
use drover_runtime::{
    Operator as _, Place, PlaceState, PlaceStatuses, Title, cache::Kept, owned::Change, place_status::PlaceEntry,
    write::desired_hash,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use serde_json::json;

use super::*;
use crate::uses::Use;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn reader(verbs: &[&str]) -> RoleTemplate {
    let rule = json!({"apiGroups": [""], "resources": ["pods"], "verbs": verbs});
    template(&json!({"context": "Cluster", "rules": [rule]}))
}

fn template(spec: &Value) -> RoleTemplate {
    serde_json::from_value(json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": {"name": "reader"}, "spec": spec,
    }))
    .unwrap()
}

fn given_to(people: &[&str]) -> Use {
    let user = |name: &&str| RoleSubject { kind: SubjectKind::User, name: (*name).to_owned(), namespace: None };
    Use { subjects: people.iter().map(user).collect(), expires_at: None, is_admitted: true }
}

fn frozen() -> Grants {
    Grants::Frozen { cause: GrantCause::GrantsFrozen, message: "a policy is absent".to_owned() }
}

/// A cluster at which the uses need the template, and what there is of it.
#[derive(Clone)]
struct Model(World);

impl Model {
    fn of(template: &RoleTemplate, grants: Grants, uses: &[Use]) -> Self {
        let here = AtCluster { uses: uses.to_vec(), ..AtCluster::default() };
        let resolved = Some(resolve(template, |_| None));
        let policies = UnderPolicies::default();
        Self(World { resolved, grants, bindings: uses.len(), doubt: Doubt::default(), cluster: Some(here), policies })
    }

    fn here(&mut self) -> &mut AtCluster {
        self.0.cluster.as_mut().unwrap()
    }

    fn carry_out(&mut self, plan: &Plan<RoleTemplateOperator>) {
        for action in plan.actions() {
            match action.clone() {
                Action::Role(change) => carry_out(&mut self.here().roles, change),
                Action::Binding(change) => carry_out(&mut self.here().bindings, change),
            }
        }
    }

    /// Everything that is to be done, step by step, and the plan that has nothing to do any more.
    fn at_rest(&mut self, template: &RoleTemplate) -> (Vec<String>, Plan<RoleTemplateOperator>) {
        let mut steps = Vec::new();
        for _ in 0..5 {
            let next = plan(template, &self.0, NOW);
            if next.is_idle() {
                return (steps, next);
            }
            steps.push(format!("{:?}", next.groups));
            self.carry_out(&next);
        }
        panic!("it never comes to rest: {steps:?}")
    }

    fn bound(&self) -> Vec<String> {
        let here = self.0.cluster.as_ref().unwrap();
        let subjects = live(&here.bindings).flat_map(|binding| binding.subjects.iter().flatten());
        subjects.map(|subject| subject.name.clone()).collect()
    }

    fn verbs(&self) -> Vec<String> {
        let here = self.0.cluster.as_ref().unwrap();
        live(&here.roles).flat_map(|role| role.rules.iter().flatten()).flat_map(|rule| rule.verbs.clone()).collect()
    }
}

fn carry_out<K: Kept + k8s_openapi::serde::Serialize>(all: &mut Vec<Owned<K>>, change: Change<K>) {
    let key = change.key();
    all.retain(|found| found.meta().name.as_ref() != Some(&key.name));
    if let Change::Create { desired, .. } | Change::Apply { desired, .. } = change {
        let hash = desired_hash(&*desired);
        let mut live = *desired;
        live.annotations_mut().insert(ANNOTATION_APPLIED.to_owned(), hash);
        all.push(Owned { live: Ok(Arc::new(live)), drift_conflict: None, title: Title::Created });
    }
}

fn reasons(plan: &Plan<RoleTemplateOperator>) -> Vec<&'static str> {
    plan.place_status.obstacles.iter().map(|obstacle| obstacle.cause.reason()).collect()
}

#[test]
fn rights_grow_in_two_steps_first_the_role_and_then_who_has_it() {
    let template = reader(&["get"]);
    let mut model = Model::of(&template, Grants::Allowed, &[given_to(&["bob"]), given_to(&["ann", "bob"])]);
    let (steps, rest) = model.at_rest(&template);
    assert_eq!(steps, ["[[create ClusterRole drover:reader]]", "[[create ClusterRoleBinding drover:reader]]"]);
    assert_eq!(model.bound(), ["ann", "bob"]);
    assert!(rest.place_status.converged && reasons(&rest).is_empty());
}

#[test]
fn while_grants_are_frozen_nothing_is_given_and_what_is_withdrawn_goes() {
    let wide = reader(&["get", "list"]);
    let mut model = Model::of(&wide, frozen(), &[given_to(&["ann"])]);
    let (steps, rest) = model.at_rest(&wide);
    assert_eq!((steps, reasons(&rest)), (Vec::new(), vec!["GrantsFrozen"]));
    assert_eq!(rest.requeue, Requeue::At(NOW + LOOK_SOON));

    let mut model = Model::of(&wide, Grants::Allowed, &[given_to(&["ann", "bob"])]);
    model.at_rest(&wide);
    model.0.grants = frozen();
    assert_eq!(reasons(&model.at_rest(&wide).1), Vec::<&str>::new(), "all that is wanted is there");

    model.here().uses = vec![given_to(&["ann", "eve"])];
    let other = reader(&["delete", "get"]);
    model.0.resolved = Some(resolve(&other, |_| None));
    let (_, rest) = model.at_rest(&other);
    assert_eq!((model.bound(), model.verbs()), (vec!["ann".to_owned()], vec!["get".to_owned()]));
    assert_eq!(reasons(&rest), ["GrantsFrozen"]);
}

/// CVE-2021-36775: only of users was it looked for what they still had in the cluster.
#[test]
fn t03_groups_and_accounts_that_are_removed_keep_nothing_in_the_cluster() {
    let template = reader(&["get"]);
    let subject = |kind, name: &str, namespace: Option<&str>| {
        let namespace = namespace.map(str::to_owned);
        Use { subjects: vec![RoleSubject { kind, name: name.to_owned(), namespace }], ..given_to(&[]) }
    };
    let group = subject(SubjectKind::Group, "ops", None);
    let account = subject(SubjectKind::ServiceAccount, "ci", Some("tools"));
    let mut model = Model::of(&template, Grants::Allowed, &[given_to(&["ann"]), group.clone(), account.clone()]);
    model.at_rest(&template);
    assert_eq!(model.bound(), ["ops", "ci", "ann"]);
    for (left, names) in
        [(vec![group, account.clone()], vec!["ops", "ci"]), (vec![account], vec!["ci"]), (vec![], vec![])]
    {
        model.here().uses = left;
        model.at_rest(&template);
        assert_eq!(model.bound(), names);
    }
    let here = model.here();
    assert_eq!((here.roles.len(), here.bindings.len()), (0, 0));
}

#[test]
fn what_ends_goes_at_its_time_and_so_does_all_with_the_template() {
    let template = reader(&["get"]);
    let end = NOW + SignedDuration::from_secs(60);
    let until = |end| Use { expires_at: Some(Time(end)), ..given_to(&["ann"]) };
    let mut model = Model::of(&template, Grants::Allowed, &[until(end)]);
    assert_eq!(model.at_rest(&template).1.requeue, Requeue::At(end));
    let removal = "[[delete ClusterRoleBinding drover:reader], [delete ClusterRole drover:reader]]";
    assert_eq!(format!("{:?}", plan(&template, &model.0, end).groups), removal);

    let key = ObjectKey::cluster_scoped("reader");
    let gone = clean_up(Owner::Gone(&key), &model.0, NOW);
    assert_eq!((format!("{:?}", gone.groups), gone.requeue), (removal.to_owned(), Requeue::Watch));
    model.carry_out(&gone);
    assert_eq!(clean_up(Owner::Gone(&key), &model.0, NOW).requeue, Requeue::Released);
}

#[test]
fn a_template_that_goes_by_labels_of_namespaces_looks_at_them_again() {
    let rule = json!({"apiGroups": ["storage.k8s.io"], "resources": ["storageclasses"], "verbs": ["list"]});
    let from = |from: Value| template(&json!({"context": "Project", "clusterRules": [rule], "bindableFrom": from}));
    let rests_until = |template: RoleTemplate| {
        let mut model = Model::of(&template, Grants::Allowed, &[given_to(&["ann"])]);
        model.at_rest(&template).1.requeue
    };
    let by_label = from(json!({"selector": {"matchLabels": {"tier": "gold"}}}));
    assert_eq!(rests_until(by_label), Requeue::At(NOW + LOOK_AGAIN));
    assert_eq!(rests_until(from(json!({"all": {}}))), Requeue::Watch);
}

/// Members of a Project, with a role in namespaces, one in the whole cluster, and one that exists there.
fn of_project(resources: &str) -> RoleTemplate {
    let rule = |resource: &str| json!({"apiGroups": [""], "resources": [resource], "verbs": ["get"]});
    template(&json!({
        "context": "Project", "rules": [rule("pods")], "clusterRules": [rule(resources)], "bindableFrom": {"all": {}},
    }))
}

fn of_cluster() -> RoleTemplate {
    let rule = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]});
    template(&json!({"context": "Cluster", "rules": [rule], "externalClusterRoles": ["view"]}))
}

fn everything(model: &Model) -> String {
    let here = model.0.cluster.as_ref().unwrap();
    let roles = live(&here.roles).map(|role| format!("{} {:?}", role.name_any(), role.rules));
    let bound = live(&here.bindings).map(|found| {
        let subjects = found.subjects.iter().flatten().map(|subject| subject.name.as_str());
        format!("{} {}", found.name_any(), subjects.collect::<Vec<_>>().join("+"))
    });
    let mut all: Vec<_> = roles.chain(bound).collect();
    all.sort();
    all.join(", ")
}

#[test]
fn an_inherited_template_that_cannot_be_decoded_gives_nothing_more_and_takes_nothing_away() {
    for (whole, known) in [(of_project("nodes"), of_project("services")), (of_cluster(), reader(&["list"]))] {
        let mut model = Model::of(&whole, Grants::Allowed, &[given_to(&["ann", "bob"])]);
        model.at_rest(&whole);
        let before = everything(&model);
        // What is left of it once the template that it inherits is unknown.
        model.0.resolved = Some(resolve(&known, |_| None));
        model.0.doubt.template = Some("parent".to_owned());
        assert_eq!(model.at_rest(&known).0, [""; 0]);
        assert_eq!(everything(&model), before);
        model.here().uses = vec![given_to(&["bob", "eve"])];
        model.at_rest(&known);
        assert_eq!(everything(&model), before.replace("ann+bob", "bob"), "who is removed loses it, nobody gains it");
        model.here().uses = Vec::new();
        model.at_rest(&known);
        assert_eq!(everything(&model), "", "nobody needs it");
    }
}

#[test]
fn who_may_have_the_role_by_a_binding_that_cannot_be_decoded_keeps_it() {
    let over = |people: &[&str]| Use { expires_at: Some(Time(NOW)), ..given_to(people) };
    for template in [of_project("nodes"), of_cluster()] {
        let mut model = Model::of(&template, Grants::Allowed, &[given_to(&["ann", "bob"])]);
        model.at_rest(&template);
        let before = everything(&model);
        model.0.doubt.binding = Some("ClusterRoleTemplateBinding ops".to_owned());
        for (uses, left) in [
            (vec![], "ann+bob"),
            (vec![given_to(&["bob"])], "ann+bob"),
            (vec![given_to(&["bob", "eve"])], "ann+bob+eve"),
            (vec![given_to(&["bob"]), over(&["eve"])], "ann+bob"),
            (vec![over(&["ann"])], "bob"),
        ] {
            model.here().uses = uses;
            let (_, rest) = model.at_rest(&template);
            assert_eq!(everything(&model), before.replace("ann+bob", left));
            assert_eq!(rest.requeue, Requeue::At(NOW + LOOK_AGAIN), "no watch tells that it is gone");
        }
        let kept = clean_up(Owner::Present(&template), &model.0, NOW);
        assert!(kept.is_idle() && kept.requeue == Requeue::At(NOW + LOOK_AGAIN), "{kept:?}");
        let key = ObjectKey::cluster_scoped("reader");
        assert!(!clean_up(Owner::Gone(&key), &model.0, NOW).is_idle(), "no binding gives what is not there");
        model.0.doubt.binding = None;
        model.here().uses = Vec::new();
        model.at_rest(&template);
        assert_eq!(everything(&model), "");
    }
}

#[test]
fn at_a_cluster_that_is_being_deleted_a_role_stays_for_apps_and_for_nobody_else() {
    let role = |name: &str| format!("drover:reader{name}");
    for (template, roles) in [(of_project("nodes"), ["", ":cluster"]), (of_cluster(), ["", ""])] {
        let mut model = Model::of(&template, Grants::Allowed, &[given_to(&["ann"])]);
        model.at_rest(&template);
        let cleaned = |model: &Model, owner| {
            let mut model = model.clone();
            let plan = clean_up(owner, &model.0, NOW);
            model.carry_out(&plan);
            let left = live(&model.here().roles).map(ResourceExt::name_any).collect::<Vec<_>>();
            (left, model.bound().len(), clean_up(owner, &model.0, NOW))
        };
        let living = Owner::Present(&template);
        assert_eq!(cleaned(&model, living).0, [""; 0], "no app is there");
        model.here().needed_by_apps = BTreeSet::from([role(roles[1])]);
        let (left, bound, next) = cleaned(&model, living);
        assert_eq!((left, bound), (vec![role(roles[1])], 0), "people lose it at once");
        assert!(next.is_idle() && next.requeue == Requeue::Watch, "{next:?}");
        let key = ObjectKey::cluster_scoped("reader");
        assert_eq!(cleaned(&model, Owner::Gone(&key)).0, [""; 0], "a template that is gone gives nothing");
        model.0.grants = frozen();
        assert_eq!(cleaned(&model, living).0, [role(roles[1])]);
    }
}

#[test]
fn a_binding_that_cannot_be_decoded_creates_nothing() {
    let template = of_cluster();
    let mut model = Model::of(&template, Grants::Allowed, &[]);
    model.0.doubt.binding = Some("ClusterRoleTemplateBinding ops".to_owned());
    assert_eq!(model.at_rest(&template).0, [""; 0]);
}

#[test]
fn t11_whom_a_binding_names_that_was_written_without_policies_only_keep_what_they_have() {
    let unadmitted = |people: &[&str]| Use { is_admitted: false, ..given_to(people) };
    for template in [of_project("nodes"), of_cluster()] {
        let mut model = Model::of(&template, Grants::Allowed, &[unadmitted(&["ann"])]);
        assert_eq!(model.at_rest(&template).0, [""; 0], "no role is created for it");
        model.here().uses = vec![given_to(&["ann", "bob"])];
        model.at_rest(&template);
        let before = everything(&model);
        model.here().uses = vec![unadmitted(&["bob", "eve"])];
        model.at_rest(&template);
        assert_eq!(everything(&model), before.replace("ann+bob", "bob"));
        model.here().uses.push(given_to(&["carl"]));
        model.at_rest(&template);
        assert_eq!(everything(&model), before.replace("ann+bob", "bob+carl"));
    }
}

#[test]
fn t11_what_a_template_allows_that_was_written_without_policies_takes_rights_away_and_gives_none() {
    let before = reader(&["get", "list"]);
    let mut model = Model::of(&before, Grants::Allowed, &[given_to(&["ann", "bob"])]);
    model.at_rest(&before);
    let other = reader(&["delete", "get"]);
    let resolved = resolve(&other, |_| None);
    let mut templates = Templates::from_iter([other.clone()]);
    for (admitted, told) in [(Admitted::Unjudged, vec![]), (Admitted::No, vec!["NotAdmitted"])] {
        templates.judge("reader", |_| admitted);
        model.0.resolved = Some(resolved.clone());
        model.0.grants = Grants::Allowed.and_of(&resolved, &templates);
        model.here().uses = vec![given_to(&["bob", "eve"])];
        let (_, rest) = model.at_rest(&other);
        assert_eq!((model.bound(), model.verbs()), (vec!["bob".to_owned()], vec!["get".to_owned()]), "{admitted:?}");
        assert_eq!((reasons(&rest), rest.requeue), (told, Requeue::Watch));
    }
    assert_eq!(frozen().and_of(&resolved, &templates), frozen(), "that the policies are missing says more");
    templates.judge("reader", |_| Admitted::Yes);
    model.0.grants = Grants::Allowed.and_of(&resolved, &templates);
    model.at_rest(&other);
    assert_eq!(
        (model.bound(), model.verbs()),
        (vec!["bob".to_owned(), "eve".to_owned()], vec!["delete".to_owned(), "get".to_owned()])
    );
}

/// What the template tells, looked at as a whole under these policies.
fn told_under(template: &RoleTemplate, policies: UnderPolicies) -> (String, Option<Admission>) {
    let resolved = Some(resolve(template, |_| None));
    let grants = Grants::Allowed;
    let world = World { resolved, grants, bindings: 0, doubt: Doubt::default(), cluster: None, policies };
    let known = Some(plan(template, &world, NOW).place_status);
    let entry = PlaceEntry { known, state: PlaceState::Current };
    let statuses: PlaceStatuses<PlaceStatus> = [(Place::Management, entry)].into_iter().collect();
    let status = RoleTemplateOperator::summarise(template, &statuses, NOW);
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    (format!("{}/{}", ready.status, ready.reason), status.admission)
}

#[test]
fn t11_a_template_tells_that_it_or_one_that_it_inherits_was_written_without_policies() {
    let under = |id: &str| {
        let state = Some(PoliciesState { id: id.to_owned(), since: None });
        UnderPolicies { state, ..UnderPolicies::default() }
    };
    let written = |verbs: &[&str], generation, admission| {
        let mut template = reader(verbs);
        template.metadata.generation = Some(generation);
        template.status = Some(RoleTemplateStatus { admission, ..RoleTemplateStatus::default() });
        template
    };
    let (ready, record) = told_under(&written(&["get"], 1, None), under("a"));
    assert_eq!(ready, "True/Ready");
    let missing = told_under(&written(&["delete"], 2, record.clone()), UnderPolicies::default());
    assert_eq!(missing, ("True/Ready".to_owned(), record.clone()), "nothing is recorded while policies are missing");
    let (ready, refused) = told_under(&written(&["delete"], 2, record.clone()), under("b"));
    assert_eq!(ready, "False/NotAdmitted");
    assert_eq!(told_under(&written(&["get"], 3, refused.clone()), under("b")).0, "True/Ready", "it is put back");
    let ships = UnderPolicies { ships: true, ..under("b") };
    assert_eq!(told_under(&written(&["delete"], 2, refused), ships).0, "True/Ready", "it ships");
    let inherits = UnderPolicies { unadmitted: Some("parent".to_owned()), ..under("a") };
    assert_eq!(told_under(&written(&["get"], 1, record), inherits).0, "False/NotAdmitted");
}
