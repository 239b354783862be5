//! The account that an app is released as, and the roles that it has: in its namespace, or in the whole cluster without a Project. Pure.
//!
//! Each app has a `ServiceAccount` of its own in Drover's namespace of the cluster, where no tenant writes, so that nobody who edits in
//! the namespace of the app can use it. Two apps never share rights.

use std::collections::BTreeSet;

use drover_crds::{CatalogApp, names::DROVER_NAMESPACE};
use drover_roles::BoundRole;
use drover_runtime::{
    AccountName, Kept, Title,
    owned::{Change, Owned, difference, difference_of_whole},
};
use k8s_openapi::{
    api::{
        core::v1::ServiceAccount,
        rbac::v1::{ClusterRoleBinding, RoleBinding, RoleRef, Subject},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::Serialize;
use serde_json::{Value, json};

const RBAC: &str = "rbac.authorization.k8s.io";

fn account_name(app: &CatalogApp) -> String {
    let [namespace, name] =
        [&app.metadata.namespace, &app.metadata.name].map(|text| text.as_deref().unwrap_or_default());
    AccountName::of_app(namespace, name).as_str().to_owned()
}

/// What an app needs to act, against what there is.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// The `ServiceAccounts` that carry the labels of the app.
    pub accounts: Vec<Owned<ServiceAccount>>,
    /// The role bindings that do.
    pub bindings: Vec<Owned<RoleBinding>>,
    /// Those for the whole cluster that do.
    pub cluster_bindings: Vec<Owned<ClusterRoleBinding>>,
}

/// One step to it.
#[derive(Clone, Debug, PartialEq)]
pub enum AccountChange {
    /// Of the account.
    Account(Change<ServiceAccount>),
    /// Of a role binding.
    Binding(Change<RoleBinding>),
    /// Of one for the whole cluster.
    ClusterBinding(Change<ClusterRoleBinding>),
}

impl Account {
    /// The way to an account with these roles, and no others.
    #[must_use]
    pub fn towards(&self, app: &CatalogApp, roles: &BTreeSet<BoundRole>) -> Vec<AccountChange> {
        let bindings = self.bindings_towards(Wanted::of(app, roles));
        let accounts = difference(vec![account(app)], &self.accounts, |_| Value::Null).changes;
        accounts.into_iter().map(AccountChange::Account).chain(bindings).collect()
    }

    /// What takes away from the account what is not among `roles`, and gives nothing.
    #[must_use]
    pub fn no_more_than(&self, app: &CatalogApp, roles: &BTreeSet<BoundRole>) -> Vec<AccountChange> {
        let mut wanted = Wanted::of(app, roles);
        wanted.in_namespace.retain(|wanted| is_there(wanted, &self.bindings));
        wanted.in_cluster.retain(|wanted| is_there(wanted, &self.cluster_bindings));
        self.bindings_towards(wanted)
    }

    /// What takes away all rights, and leaves the account.
    #[must_use]
    pub fn withdraw(&self) -> Vec<AccountChange> {
        self.bindings_towards(Wanted::default())
    }

    /// What takes away rights and account.
    #[must_use]
    pub fn remove(&self) -> Vec<AccountChange> {
        let accounts = difference(Vec::new(), &self.accounts, |_| Value::Null).changes;
        self.withdraw().into_iter().chain(accounts.into_iter().map(AccountChange::Account)).collect()
    }

    /// Whether nothing of it is left.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.accounts.is_empty() && !self.has_roles()
    }

    /// Whether any role is bound to it.
    #[must_use]
    pub fn has_roles(&self) -> bool {
        !self.bindings.is_empty() || !self.cluster_bindings.is_empty()
    }

    /// The roles that are bound to it, as far as their bindings can be decoded.
    pub fn role_names(&self) -> impl Iterator<Item = &str> {
        let in_namespace = self.bindings.iter().filter_map(|found| Some(&found.live.as_ref().ok()?.role_ref));
        let in_cluster = self.cluster_bindings.iter().filter_map(|found| Some(&found.live.as_ref().ok()?.role_ref));
        in_namespace.chain(in_cluster).map(|role| role.name.as_str())
    }

    /// Whether the account exists and is ours.
    #[must_use]
    pub fn exists(&self) -> bool {
        let is_ours = |found: &Owned<ServiceAccount>| matches!(found.title, Title::Created | Title::Adopted);
        self.accounts.iter().any(|found| is_ours(found) && found.meta().deletion_timestamp.is_none())
    }

    fn bindings_towards(&self, wanted: Wanted) -> Vec<AccountChange> {
        let in_namespace = changes(wanted.in_namespace, &self.bindings, |binding| &binding.role_ref);
        let in_cluster = changes(wanted.in_cluster, &self.cluster_bindings, |binding| &binding.role_ref);
        let in_cluster = in_cluster.into_iter().map(AccountChange::ClusterBinding);
        in_namespace.into_iter().map(AccountChange::Binding).chain(in_cluster).collect()
    }
}

/// The bindings that an app is to have. One of a Project has none in the whole cluster, one of the platform none in a namespace.
#[derive(Default)]
struct Wanted {
    in_namespace: Vec<RoleBinding>,
    in_cluster: Vec<ClusterRoleBinding>,
}

impl Wanted {
    fn of(app: &CatalogApp, roles: &BTreeSet<BoundRole>) -> Self {
        if app.spec.is_of_platform() {
            Self { in_cluster: roles.iter().map(|role| cluster_role_binding(app, role)).collect(), ..Self::default() }
        } else {
            Self { in_namespace: roles.iter().map(|role| role_binding(app, role)).collect(), ..Self::default() }
        }
    }
}

fn changes<K: Kept + Serialize>(
    wanted: Vec<K>,
    there: &[Owned<K>],
    role_of: impl Fn(&K) -> &RoleRef,
) -> Vec<Change<K>> {
    let owned: Vec<_> = there.iter().map(|found| uncontested(found, &wanted)).collect();
    let seed = |binding: &K| json!({"roleRef": role_of(binding)});
    difference_of_whole(wanted, &owned, seed, &["/subjects"]).changes
}

fn is_there<K: Kept>(wanted: &K, there: &[Owned<K>]) -> bool {
    there.iter().any(|found| found.meta().name == wanted.meta().name)
}

impl AccountChange {
    /// Whether it takes a right away.
    #[must_use]
    pub fn is_revocation(&self) -> bool {
        match self {
            Self::Account(_) => false,
            Self::Binding(change) => !matches!(change, Change::Create { .. }),
            Self::ClusterBinding(change) => !matches!(change, Change::Create { .. }),
        }
    }
}

/// A withdrawal is not held up by whoever changes a role binding again and again.
fn uncontested<K: Kept>(found: &Owned<K>, wanted: &[K]) -> Owned<K> {
    let is_wanted = wanted.iter().any(|desired| desired.meta().name == found.meta().name);
    Owned { drift_conflict: found.drift_conflict.clone().filter(|_| is_wanted), ..found.clone() }
}

fn account(app: &CatalogApp) -> ServiceAccount {
    ServiceAccount {
        metadata: ObjectMeta {
            name: Some(account_name(app)),
            namespace: Some(DROVER_NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        // Nothing runs as it, so nothing mounts its token.
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

/// The name tells the role that is bound, as that cannot be changed.
fn binding_name(app: &CatalogApp, role: &BoundRole) -> String {
    format!("drover:{}:{}", account_name(app), role.role_name())
}

fn role_binding(app: &CatalogApp, role: &BoundRole) -> RoleBinding {
    let namespace = Some(app.spec.namespace.clone());
    RoleBinding {
        metadata: ObjectMeta { name: Some(binding_name(app, role)), namespace, ..ObjectMeta::default() },
        role_ref: role_ref(role),
        subjects: Some(vec![subject(app)]),
    }
}

fn cluster_role_binding(app: &CatalogApp, role: &BoundRole) -> ClusterRoleBinding {
    ClusterRoleBinding {
        metadata: ObjectMeta { name: Some(binding_name(app, role)), ..ObjectMeta::default() },
        role_ref: role_ref(role),
        subjects: Some(vec![subject(app)]),
    }
}

fn role_ref(role: &BoundRole) -> RoleRef {
    RoleRef { api_group: Some(RBAC.to_owned()), kind: "ClusterRole".to_owned(), name: role.role_name() }
}

fn subject(app: &CatalogApp) -> Subject {
    Subject {
        api_group: None,
        kind: "ServiceAccount".to_owned(),
        name: account_name(app),
        namespace: Some(DROVER_NAMESPACE.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(namespace: &str, name: &str) -> CatalogApp {
        serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "CatalogApp", "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "clusterName": "eu", "namespace": "team-a-web", "projectName": "shop", "roleTemplateName": "deployer",
                "chart": {"configMap": {"name": "c", "key": "c.tgz", "digest": format!("sha256:{}", "0".repeat(64))}},
            },
        }))
        .unwrap()
    }

    #[test]
    fn the_account_lies_where_no_tenant_writes_and_has_its_roles_in_one_namespace() {
        let roles = BTreeSet::from([BoundRole::Own("deployer".to_owned())]);
        let changes = Account::default().towards(&app("team-a", "web"), &roles);
        let shown: Vec<String> = changes
            .iter()
            .map(|change| match change {
                AccountChange::Account(change) => format!("{change:?}"),
                AccountChange::Binding(change) => format!("{change:?}"),
                AccountChange::ClusterBinding(change) => format!("{change:?}"),
            })
            .collect();
        let binding = "create RoleBinding team-a-web/drover:app.team-a.web:drover:deployer";
        assert_eq!(shown, ["create ServiceAccount drover-system/app.team-a.web", binding]);
        assert!(!changes.iter().any(AccountChange::is_revocation));
        assert_eq!(Account::default().no_more_than(&app("team-a", "web"), &roles), []);
        let subject = role_binding(&app("team-a", "web"), &BoundRole::Own("deployer".to_owned())).subjects.unwrap();
        assert_eq!(
            (subject[0].kind.as_str(), subject[0].namespace.as_deref()),
            ("ServiceAccount", Some(DROVER_NAMESPACE))
        );
    }

    #[test]
    fn an_app_of_the_platform_has_its_role_in_the_whole_cluster_and_nowhere_else() {
        let mut platform = app("ops", "metrics");
        platform.spec.project_name = None;
        let roles = BTreeSet::from([BoundRole::Own("operator".to_owned())]);
        let changes = Account::default().towards(&platform, &roles);
        let [AccountChange::Account(_), AccountChange::ClusterBinding(binding)] = &changes[..] else {
            panic!("{changes:?}")
        };
        assert_eq!(format!("{binding:?}"), "create ClusterRoleBinding drover:app.ops.metrics:drover:operator");
        let binding = cluster_role_binding(&platform, &BoundRole::Own("operator".to_owned()));
        let subjects = binding.subjects.unwrap();
        assert_eq!((subjects.len(), subjects[0].name.as_str()), (1, "app.ops.metrics"));
        let of_project = Account::default().towards(&app("ops", "metrics"), &roles);
        assert!(!of_project.iter().any(|change| matches!(change, AccountChange::ClusterBinding(_))));
    }

    #[test]
    fn no_two_apps_share_an_account() {
        let pairs = [("team-a", "web"), ("team", "a-web"), ("team-a-web", "x"), ("team-a", "web-x")];
        let names: BTreeSet<String> =
            pairs.iter().map(|(namespace, name)| account_name(&app(namespace, name))).collect();
        assert_eq!(names.len(), pairs.len());
    }
}
