//! Who may create namespaces of a Project at a cluster: a role and its bindings that should be there, against those that are.

use drover_admission::verbs::{CREATE_NAMESPACES, SELF_SERVICE};
use drover_roles::{MAX_SUBJECTS, in_bindings_of, narrowed};
use drover_runtime::{
    ObjectKey, Title,
    owned::{Difference, Owned, difference_of_whole},
};
use k8s_openapi::{
    api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::Resource;
use serde_json::{Value, json};

const RBAC: &str = "rbac.authorization.k8s.io";
const PROJECTS: &str = "projects";

/// Who may create namespaces of a Project at a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Creators {
    /// The Project, by its namespace and name in the management cluster.
    pub project: ObjectKey,
    /// What the names of these namespaces may begin with there.
    pub prefixes: Vec<String>,
    /// Them, as the cluster spells them.
    pub subjects: Vec<Subject>,
}

/// To whom a role is given that lets members of a Project create namespaces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MayCreate {
    /// They have such a role.
    pub given: Vec<Subject>,
    /// It is not known whether the role that they have is such a one.
    pub in_doubt: Vec<Subject>,
    /// It is not known who else has one.
    pub all_in_doubt: bool,
}

impl MayCreate {
    /// All of them. Who is in doubt keeps what they have.
    #[must_use]
    pub fn subjects(&self, there: &Given) -> Vec<Subject> {
        let stays = |subject: &&Subject| self.all_in_doubt || self.in_doubt.contains(subject);
        let live = there.bindings.iter().filter_map(|found| found.live.as_ref().ok());
        let kept = live.flat_map(|binding| subjects(binding)).filter(stays);
        self.given.iter().chain(kept).cloned().collect()
    }
}

/// The roles and bindings of the whole cluster that carry the labels of a Project.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The roles.
    pub roles: Vec<Owned<ClusterRole>>,
    /// The bindings.
    pub bindings: Vec<Owned<ClusterRoleBinding>>,
}

/// What lies between what there is and what should be.
#[derive(Debug)]
pub struct Towards {
    /// The changes of roles.
    pub roles: Difference<ClusterRole>,
    /// The changes of bindings.
    pub bindings: Difference<ClusterRoleBinding>,
    /// Bindings that should be there.
    pub wanted: usize,
    /// Those that are as they should be.
    pub ready: usize,
}

/// Whether rules let members of a Project create namespaces.
#[must_use]
pub fn lets_create(rules: &[PolicyRule]) -> bool {
    let names = |list: &Option<Vec<String>>, what: &str| list.iter().flatten().any(|each| each == what || each == "*");
    rules.iter().any(|rule| {
        names(&rule.api_groups, drover_crds::GROUP)
            && names(&rule.resources, PROJECTS)
            && rule.resource_names.as_ref().is_none_or(Vec::is_empty)
            && rule.verbs.iter().any(|verb| verb == CREATE_NAMESPACES)
    })
}

impl Given {
    /// Whether nothing is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.bindings.is_empty()
    }
}

impl Given {
    /// Whether `desired` allows what the role of its name does not allow yet.
    #[must_use]
    pub fn lets_grow(&self, desired: &ClusterRole) -> bool {
        let live = self.roles.iter().filter_map(|found| found.live.as_ref().ok());
        let mut live = live.filter(|live| live.metadata.name == desired.metadata.name);
        let have = live.next().and_then(|live| live.rules.as_deref()).unwrap_or_default();
        desired.rules.as_deref().is_some_and(|wanted| narrowed(wanted, have) != wanted)
    }
}

impl Creators {
    /// The way to what these may do. While nothing `may_grow`, nobody gets more than they have.
    #[must_use]
    pub fn towards(&self, given: &Given, may_grow: bool) -> Towards {
        let all = self.bindings(self.subjects.clone());
        let is_there = |desired: &&ClusterRoleBinding| given.bindings.iter().any(|found| gives_exactly(found, desired));
        let ready = all.iter().filter(is_there).count();
        let role = self.role(given, may_grow);
        let mut bindings = match &role {
            Some(_) if may_grow => all.clone(),
            Some(_) => self.bindings(self.those_of(given)),
            None => Vec::new(),
        };
        bindings.extend(emptied(&given.bindings, &bindings));
        let found: Vec<_> = given.bindings.iter().map(|found| uncontested(found, &bindings)).collect();
        let seed = |binding: &ClusterRoleBinding| json!({"roleRef": binding.role_ref});
        Towards {
            roles: difference_of_whole(
                role.into_iter().collect(),
                &given.roles,
                |_| Value::Null,
                &["/rules", "/aggregationRule"],
            ),
            bindings: difference_of_whole(bindings, &found, seed, &["/subjects"]),
            wanted: all.len(),
            ready,
        }
    }

    /// Templates have names without dots, so that none of their roles has this name.
    fn name(&self) -> String {
        format!("drover:{}:{CREATE_NAMESPACES}", self.in_cluster())
    }

    /// The name of the Project in rules.
    fn in_cluster(&self) -> String {
        format!("{}.{}", self.project.namespace, self.project.name)
    }

    fn is_nobody(&self) -> bool {
        self.subjects.is_empty() || self.prefixes.is_empty()
    }

    /// Creating takes `patch`, too, where it is done by applying. The admission policy holds who has the verb `self-service` to what the
    /// second rule names.
    fn rules(&self) -> Vec<PolicyRule> {
        let project = self.in_cluster();
        let mut names: Vec<_> = self.prefixes.iter().map(|prefix| format!("{project}.{prefix}")).collect();
        names.push(project);
        names.sort();
        let rule = |group: &str, resource: &str, names: Option<Vec<String>>, verbs: &[&str]| PolicyRule {
            api_groups: Some(vec![group.to_owned()]),
            resources: Some(vec![resource.to_owned()]),
            resource_names: names,
            verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
            ..PolicyRule::default()
        };
        vec![
            rule("", "namespaces", None, &["create", "patch", SELF_SERVICE]),
            rule(drover_crds::GROUP, PROJECTS, Some(names), &[CREATE_NAMESPACES]),
        ]
    }

    fn role(&self, given: &Given, may_grow: bool) -> Option<ClusterRole> {
        if self.is_nobody() {
            return None;
        }
        let (name, mut rules) = (self.name(), self.rules());
        if !may_grow {
            let live = given.roles.iter().filter_map(|found| found.live.as_ref().ok());
            let live = live.into_iter().find(|role| role.metadata.name.as_ref() == Some(&name))?;
            rules = narrowed(&rules, live.rules.as_deref().unwrap_or_default());
        }
        let metadata = ObjectMeta { name: Some(name), ..ObjectMeta::default() };
        Some(ClusterRole { metadata, rules: Some(rules), aggregation_rule: None })
    }

    /// Those of them who may create namespaces already.
    fn those_of(&self, given: &Given) -> Vec<Subject> {
        let there: Vec<_> = given.bindings.iter().filter_map(|found| found.live.as_ref().ok()).collect();
        let has_it = |subject: &&Subject| there.iter().any(|binding| subjects(binding).contains(subject));
        self.subjects.iter().filter(has_it).cloned().collect()
    }

    fn bindings(&self, subjects: Vec<Subject>) -> Vec<ClusterRoleBinding> {
        if self.is_nobody() {
            return Vec::new();
        }
        let role = self.name();
        let role_ref = RoleRef { api_group: Some(RBAC.to_owned()), kind: "ClusterRole".to_owned(), name: role.clone() };
        let name = |number: usize| match number {
            0 => role.clone(),
            number => format!("{role}:{}", number.saturating_add(1)),
        };
        let binding = |(number, subjects)| ClusterRoleBinding {
            metadata: ObjectMeta { name: Some(name(number)), ..ObjectMeta::default() },
            role_ref: role_ref.clone(),
            subjects: Some(subjects),
        };
        in_bindings_of(subjects, MAX_SUBJECTS).into_iter().enumerate().map(binding).collect()
    }
}

fn subjects(binding: &ClusterRoleBinding) -> &[Subject] {
    binding.subjects.as_deref().unwrap_or_default()
}

fn named<'a>(all: &'a [ClusterRoleBinding], meta: &ObjectMeta) -> Option<&'a ClusterRoleBinding> {
    all.iter().find(|desired| desired.metadata.name == meta.name)
}

/// A withdrawal is not held up by whoever changes a binding again and again.
fn uncontested(found: &Owned<ClusterRoleBinding>, all: &[ClusterRoleBinding]) -> Owned<ClusterRoleBinding> {
    let wanted = named(all, found.meta()).map(subjects).unwrap_or_default();
    let gives_too_much = found.live.as_ref().is_ok_and(|live| subjects(live).iter().any(|one| !wanted.contains(one)));
    Owned { drift_conflict: found.drift_conflict.clone().filter(|_| !gives_too_much), ..found.clone() }
}

/// What another installation created for a Project of this name is never deleted. Nobody has a right by it any more.
fn emptied(given: &[Owned<ClusterRoleBinding>], wanted: &[ClusterRoleBinding]) -> Vec<ClusterRoleBinding> {
    let unwanted = given.iter().filter(|found| found.title == Title::Adopted && named(wanted, found.meta()).is_none());
    let in_force = unwanted.filter_map(|found| found.live.as_ref().ok()).filter(|live| !subjects(live).is_empty());
    let empty = |live: &std::sync::Arc<ClusterRoleBinding>| ClusterRoleBinding {
        metadata: ObjectMeta { name: live.meta().name.clone(), ..ObjectMeta::default() },
        role_ref: live.role_ref.clone(),
        subjects: None,
    };
    in_force.map(empty).collect()
}

fn gives_exactly(found: &Owned<ClusterRoleBinding>, desired: &ClusterRoleBinding) -> bool {
    let is_ours = matches!(found.title, Title::Created | Title::Adopted);
    let gives = found.live.as_ref().is_ok_and(|live| {
        live.metadata.name == desired.metadata.name
            && live.role_ref == desired.role_ref
            && subjects(live) == subjects(desired)
    });
    is_ours && gives && found.meta().deletion_timestamp.is_none()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn user(name: &str) -> Subject {
        Subject { api_group: Some(RBAC.to_owned()), kind: "User".to_owned(), name: name.to_owned(), namespace: None }
    }

    fn creators(prefixes: &[&str], users: &[&str]) -> Creators {
        Creators {
            project: ObjectKey::namespaced("team", "shop"),
            prefixes: prefixes.iter().map(|prefix| (*prefix).to_owned()).collect(),
            subjects: users.iter().map(|name| user(name)).collect(),
        }
    }

    fn owned<K>(live: K) -> Owned<K> {
        Owned { live: Ok(Arc::new(live)), drift_conflict: None, title: Title::Created }
    }

    /// What there is once these were given what they may.
    fn given(creators: &Creators) -> Given {
        let role = creators.role(&Given::default(), true);
        let bindings = creators.bindings(creators.subjects.clone());
        Given { roles: role.into_iter().map(owned).collect(), bindings: bindings.into_iter().map(owned).collect() }
    }

    fn changes(creators: &Creators, given: &Given, may_grow: bool) -> Vec<String> {
        let Towards { roles, bindings, .. } = creators.towards(given, may_grow);
        let roles = roles.changes.iter().map(|change| format!("{change:?}"));
        roles.chain(bindings.changes.iter().map(|change| format!("{change:?}"))).collect()
    }

    const ROLE: &str = "ClusterRole drover:team.shop:create-namespaces";
    const BINDING: &str = "ClusterRoleBinding drover:team.shop:create-namespaces";

    #[test]
    fn a_role_lets_create_namespaces_by_the_verb_on_projects_of_any_name() {
        let rules = |groups: &[&str], resources: &[&str], names: Option<&[&str]>, verbs: &[&str]| {
            let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            vec![PolicyRule {
                api_groups: Some(list(groups)),
                resources: Some(list(resources)),
                resource_names: names.map(list),
                verbs: list(verbs),
                ..PolicyRule::default()
            }]
        };
        let verbs = ["get", "create-namespaces"];
        assert!(lets_create(&rules(&["drover.dev"], &["projects"], None, &verbs)));
        assert!(lets_create(&rules(&["*"], &["pods", "*"], Some(&[]), &verbs)));
        assert!(!lets_create(&rules(&["drover.dev"], &["projects"], None, &["get", "create"])));
        assert!(!lets_create(&rules(&["drover.dev"], &["projects"], Some(&["shop"]), &verbs)));
        assert!(!lets_create(&rules(&[""], &["projects"], None, &verbs)));
        assert!(!lets_create(&rules(&["drover.dev"], &["clusters"], None, &verbs)));
        assert!(!lets_create(&[]));
    }

    #[test]
    fn the_role_names_the_project_with_each_prefix_and_no_other() {
        let role = creators(&["shop-", "eu-shop-"], &["ada"]).role(&Given::default(), true).unwrap();
        let rules = serde_json::to_value(role.rules).unwrap();
        let names = ["team.shop", "team.shop.eu-shop-", "team.shop.shop-"];
        let expected = json!([
            {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["create", "patch", "self-service"]},
            {"apiGroups": ["drover.dev"], "resources": ["projects"], "resourceNames": names, "verbs": ["create-namespaces"]},
        ]);
        assert_eq!(rules, expected);
    }

    #[test]
    fn nobody_is_given_anything_where_there_is_nobody_or_no_prefix() {
        let nothing = Given::default();
        assert_eq!(
            changes(&creators(&["shop-"], &["ada"]), &nothing, true),
            [format!("create {ROLE}"), format!("create {BINDING}")]
        );
        assert!(changes(&creators(&["shop-"], &[]), &nothing, true).is_empty());
        assert!(changes(&creators(&[], &["ada"]), &nothing, true).is_empty());
    }

    #[test]
    fn what_is_withdrawn_goes_and_while_nothing_may_grow_too() {
        let before = creators(&["shop-", "eu-shop-"], &["ada", "bob"]);
        let there = given(&before);
        for may_grow in [true, false] {
            let unwanted = [format!("delete {ROLE}"), format!("delete {BINDING}")];
            assert_eq!(changes(&creators(&["shop-"], &[]), &there, may_grow), unwanted);
            assert_eq!(
                changes(&creators(&["shop-", "eu-shop-"], &["bob"]), &there, may_grow).last(),
                Some(&format!("apply {BINDING}"))
            );
            assert_eq!(
                changes(&creators(&["shop-"], &["ada", "bob"]), &there, may_grow).first(),
                Some(&format!("apply {ROLE}"))
            );
        }
        assert!(changes(&creators(&["shop-"], &["ada"]), &Given::default(), false).is_empty());
        let grown = creators(&["shop-", "eu-shop-", "us-shop-"], &["ada", "bob", "carl"]);
        let Towards { roles, bindings, wanted, ready } = grown.towards(&there, false);
        let named = format!("{:?} {:?}", roles.changes, bindings.changes);
        assert!(!named.contains("us-shop-") && !named.contains("carl"), "{named}");
        assert_eq!((wanted, ready), (1, 0));
    }

    #[test]
    fn who_is_in_doubt_keeps_what_they_have_and_gets_nothing() {
        let there = given(&creators(&["shop-"], &["ada", "bob"]));
        let names = |may: &MayCreate| may.subjects(&there).into_iter().map(|subject| subject.name).collect::<Vec<_>>();
        let of = |given: &[&str], in_doubt: &[&str], all_in_doubt| MayCreate {
            given: given.iter().map(|name| user(name)).collect(),
            in_doubt: in_doubt.iter().map(|name| user(name)).collect(),
            all_in_doubt,
        };
        assert_eq!(names(&of(&["carl"], &["ada", "eve"], false)), ["carl", "ada"]);
        assert_eq!(names(&of(&[], &[], true)), ["ada", "bob"]);
        assert_eq!(names(&of(&[], &[], false)), [""; 0]);
    }

    #[test]
    fn what_another_installation_gave_is_emptied_and_not_deleted() {
        let mut there = given(&creators(&["shop-"], &["ada"]));
        there.bindings[0].title = Title::Adopted;
        there.roles[0].title = Title::Adopted;
        let expected = [format!("release {ROLE}"), format!("apply {BINDING}")];
        assert_eq!(changes(&creators(&["shop-"], &[]), &there, true), expected);
    }
}
