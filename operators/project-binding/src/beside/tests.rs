//! What members may do beside their Project, and until when.

use std::collections::BTreeMap;

use drover_crds::names::ANNOTATION_APPLIED;
use drover_grants::{Admitted, Templates};
use drover_runtime::{
    ObjectKey, Title,
    cache::{Lookup, Undecodable},
    write::desired_hash,
};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};

use super::*;
use crate::observe::World;

const VIEW: &str = "drover-view";
const ADMIN: &str = "drover-admin";

fn binding(name: &str, subjects: &Value) -> ProjectRoleTemplateBinding {
    let spec = json!({"projectName": "shop", "roleTemplateName": "owner", "subjects": subjects});
    let mut binding = ProjectRoleTemplateBinding::new(name, serde_json::from_value(spec).unwrap());
    binding.metadata.namespace = Some("team-a".to_owned());
    binding
}

fn ada() -> Value {
    json!({"kind": "User", "name": "ada"})
}

fn ops() -> Value {
    json!({"kind": "Group", "name": "ops"})
}

fn owners() -> ProjectRoleTemplateBinding {
    binding("owners", &json!([ada(), ops()]))
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn here() -> Here {
    Here { allowed: Arc::new(names(&[VIEW, ADMIN])), projects: vec!["shop".to_owned()], ..Here::default() }
}

/// The same once these changes are made.
fn after(here: &Here, changes: Vec<Change<RoleBinding>>) -> Here {
    let mut owned = here.owned.clone();
    for change in changes {
        owned.retain(|found| ObjectKey::of(found.meta()) != change.key());
        let (Change::Create { mut desired, .. } | Change::Apply { mut desired, .. }) = change else { continue };
        let hash = desired_hash(&*desired);
        desired.metadata.annotations = Some(BTreeMap::from([(ANNOTATION_APPLIED.to_owned(), hash)]));
        owned.push(Owned { live: Ok(Arc::from(desired)), drift_conflict: None, title: Title::Created });
    }
    Here { owned, ..here.clone() }
}

/// What there is once all is done for `owners` that name these roles.
fn given(named: &[&str]) -> Here {
    after(&here(), decide(&owners(), &names(named), &here()).changes)
}

/// Who has which role, as `role: kind name`.
fn have(here: &Here) -> Vec<String> {
    let live = here.owned.iter().map(|found| found.live.as_deref().unwrap());
    let each = live.flat_map(|found| {
        let subjects = found.subjects.iter().flatten();
        subjects.map(|subject| format!("{}: {} {}", found.role_ref.name, subject.kind, subject.name))
    });
    each.collect()
}

fn reason(decision: &Decision) -> &'static str {
    decision.told.as_ref().unwrap().cause.reason()
}

fn frozen() -> Grants {
    Grants::Frozen { cause: GrantCause::GrantsFrozen, message: "the policies are altered".to_owned() }
}

#[test]
fn users_and_groups_have_the_roles_that_the_template_names_and_it_comes_to_rest() {
    let here = given(&[VIEW, ADMIN]);
    let expected = ["Group ops", "User ada"];
    let both = [ADMIN, VIEW].iter().flat_map(|role| expected.map(|subject| format!("{role}: {subject}")));
    assert_eq!(have(&here), both.collect::<Vec<_>>());
    let rest = decide(&owners(), &names(&[VIEW, ADMIN]), &here);
    assert_eq!((rest.changes.len(), reason(&rest)), (0, "ManagementRolesBound"));
    assert_eq!(rest.told.unwrap().condition().status, "True");
    assert!(decide(&owners(), &names(&[]), &Here::default()).told.is_none(), "no template asks for any");
}

#[test]
fn t20_accounts_and_names_of_kubernetes_have_nothing() {
    let account = json!({"kind": "ServiceAccount", "name": "ci", "namespace": "team-a"});
    let of_system = ["system:serviceaccounts", "system:authenticated", "system:unauthenticated", "System:masters"];
    let groups = of_system.iter().map(|name| json!({"kind": "Group", "name": name}));
    let users = ["system:anonymous", "system:serviceaccount:team-a:ci", "system:kube-scheduler"];
    let users = users.iter().map(|name| json!({"kind": "User", "name": name}));
    let subjects: Vec<Value> = groups.chain(users).chain([account]).collect();
    let decision = decide(&binding("accounts", &subjects.into()), &names(&[ADMIN]), &here());
    assert_eq!(decision.changes, vec![]);
}

#[test]
fn a_role_that_the_installation_does_not_allow_is_not_given_and_that_is_told() {
    let decision = decide(&owners(), &names(&["cluster-admin"]), &here());
    assert_eq!((decision.changes.len(), reason(&decision)), (0, "ManagementRoleNotAllowed"));
    let told = decision.told.unwrap();
    assert!(told.holds_up && told.message.contains("RoleTemplate owner gives the management role cluster-admin"));
    let with_another = after(&here(), decide(&owners(), &names(&[VIEW, "cluster-admin"]), &here()).changes);
    assert_eq!(have(&with_another), ["drover-view: Group ops", "drover-view: User ada"]);
    let narrower = Here { allowed: Arc::default(), ..given(&[VIEW]) };
    let changes = decide(&owners(), &names(&[VIEW]), &narrower).changes;
    assert_eq!(have(&after(&narrower, changes)), Vec::<String>::new(), "it was allowed before");
}

#[test]
fn a_second_project_in_the_namespace_takes_the_rights_away() {
    let shared = Here { projects: vec!["shop".to_owned(), "till".to_owned()], ..given(&[VIEW, ADMIN]) };
    let decision = decide(&owners(), &names(&[VIEW, ADMIN]), &shared);
    assert_eq!(reason(&decision), "SeveralProjects");
    assert!(decision.told.as_ref().unwrap().message.contains("namespace team-a also has Project till"));
    assert_eq!(have(&after(&shared, decision.changes)), Vec::<String>::new());
}

#[test]
fn while_policies_are_altered_or_the_project_is_suspended_nothing_grows_and_all_may_shrink() {
    let suspended = Here { suspended: true, ..Here::default() };
    for (stopped, expected) in
        [(Here { grants: frozen(), ..Here::default() }, "GrantsFrozen"), (suspended, "NotYetGranted")]
    {
        let stop = |here: Here| Here { grants: stopped.grants.clone(), suspended: stopped.suspended, ..here };
        let nothing = decide(&owners(), &names(&[VIEW]), &stop(here()));
        assert_eq!((nothing.changes.len(), reason(&nothing), nothing.is_frozen), (0, expected, true));

        let there = stop(given(&[VIEW, ADMIN]));
        let more = binding("owners", &json!([ada(), {"kind": "User", "name": "eve"}]));
        let changes = decide(&more, &names(&[VIEW]), &there).changes;
        assert_eq!(have(&after(&there, changes)), ["drover-view: User ada"]);
        let rest = decide(&owners(), &names(&[VIEW, ADMIN]), &there);
        assert!(rest.changes.is_empty() && !rest.is_frozen, "{rest:?}");
    }
}

#[test]
fn rights_go_with_their_binding_its_expiry_its_project_and_its_template() {
    let world = World { here: given(&[VIEW, ADMIN]), ..World::default() };
    let deletes = |plan: drover_runtime::Plan<crate::ProjectBindingOperator>| {
        plan.groups.concat().iter().filter(|change| matches!(change, Change::Delete(_))).count()
    };
    let now = Timestamp::UNIX_EPOCH;
    let without_project = crate::plan::plan(&owners(), &world, now);
    assert_eq!(deletes(without_project), 2);
    let without_template = crate::plan::plan(&owners(), &World { has_project: true, ..world.clone() }, now);
    assert_eq!(deletes(without_template), 2);
    assert_eq!(deletes(crate::plan::clean_up(&world)), 2);
    assert_eq!(crate::plan::clean_up(&World::default()).requeue, drover_runtime::Requeue::Released);
}

#[test]
fn whoever_keeps_changing_a_role_binding_holds_no_withdrawal_up() {
    let mut there = given(&[VIEW]);
    for found in &mut there.owned {
        found.drift_conflict = Some(desired_hash(found.live.as_deref().unwrap()));
    }
    let only_ada = binding("owners", &json!([ada()]));
    let there_now = after(&there, decide(&only_ada, &names(&[VIEW]), &there).changes);
    assert_eq!(have(&there_now), ["drover-view: User ada"]);
}

#[test]
fn while_the_template_cannot_be_decoded_nobody_gains_or_loses_a_role_but_whom_the_binding_names_no_more() {
    let undecodable = Undecodable { meta: ObjectMeta::default(), error: "nonsense".to_owned() };
    let mut world = World { here: given(&[VIEW, ADMIN]), has_project: true, ..World::default() };
    world.templates.insert("owner", Lookup::Undecodable(Arc::new(undecodable)));
    let now = Timestamp::UNIX_EPOCH;
    let changes = |binding: &ProjectRoleTemplateBinding| crate::plan::plan(binding, &world, now).groups.concat();
    assert_eq!(changes(&owners()), vec![]);
    let other = binding("owners", &json!([ada(), {"kind": "User", "name": "eve"}]));
    let there = after(&world.here, changes(&other));
    assert_eq!(have(&there), ["drover-admin: User ada", "drover-view: User ada"]);
    let mut expired = owners();
    expired.spec.expires_at = Some(Time(now - SignedDuration::from_secs(1)));
    assert_eq!(have(&after(&world.here, changes(&expired))), Vec::<String>::new());
}

#[test]
fn t11_while_the_template_was_not_admitted_nobody_gains_a_role_beside_the_project_and_what_it_drops_goes() {
    let template = |roles: &[&str]| {
        let spec = serde_json::json!({"context": "Project", "bindableFrom": {"all": {}}, "managementRoles": roles});
        drover_crds::RoleTemplate::new("owner", serde_json::from_value(spec).unwrap())
    };
    let now = Timestamp::UNIX_EPOCH;
    for (admitted, told) in [(Admitted::No, "NotAdmitted"), (Admitted::Unjudged, "Progressing")] {
        for (roles, expected) in
            [(&[VIEW, ADMIN][..], vec!["drover-view: Group ops", "drover-view: User ada"]), (&[ADMIN], vec![])]
        {
            let mut templates = Templates::from_iter([template(roles)]);
            templates.judge("owner", |_| admitted);
            let world = World { here: given(&[VIEW]), has_project: true, templates, ..World::default() };
            let plan = crate::plan::plan(&owners(), &world, now);
            assert_eq!(plan.place_status.denied.as_ref().map(|(cause, _)| cause.reason()), Some(told));
            assert_eq!(have(&after(&world.here, plan.groups.concat())), expected, "{roles:?}");
        }
    }
}

#[test]
fn no_two_bindings_share_the_name_of_a_role_binding() {
    let mut all = BTreeSet::new();
    let bindings = ["a", "management", "a-management"];
    let roles = ["a", "management:a", "a:management:a", ":", "external:a"];
    let here = Here { allowed: Arc::new(names(&roles)), ..here() };
    for name in bindings {
        for change in decide(&binding(name, &json!([ada()])), &names(&roles), &here).changes {
            assert!(all.insert(change.key()), "{:?}", change.key());
        }
    }
    assert_eq!(all.len(), bindings.len() * roles.len());
}
