//! The account that an app is released as, and the roles that it has in its namespace. Pure.
//!
//! Each app has a `ServiceAccount` of its own in Drover's namespace of the cluster, where no tenant writes, so that nobody who edits in
//! the namespace of the app can use it. Two apps never share rights.

use std::collections::BTreeSet;

use drover_crds::{CatalogApp, names::DROVER_NAMESPACE};
use drover_roles::BoundRole;
use drover_runtime::{
    AccountName, Title,
    owned::{Change, Difference, Owned, difference, difference_of_whole},
};
use k8s_openapi::{
    api::{
        core::v1::ServiceAccount,
        rbac::v1::{RoleBinding, RoleRef, Subject},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
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
}

/// One step to it.
#[derive(Clone, Debug, PartialEq)]
pub enum AccountChange {
    /// Of the account.
    Account(Change<ServiceAccount>),
    /// Of a role binding.
    Binding(Change<RoleBinding>),
}

impl Account {
    /// The way to an account with these roles in the namespace of the app.
    #[must_use]
    pub fn towards(&self, app: &CatalogApp, roles: &BTreeSet<BoundRole>) -> Vec<AccountChange> {
        let wanted = roles.iter().map(|role| role_binding(app, role)).collect();
        let bindings = self.bindings_towards(wanted);
        let accounts = difference(vec![account(app)], &self.accounts, |_| Value::Null).changes;
        accounts.into_iter().map(AccountChange::Account).chain(bindings).collect()
    }

    /// What takes away from the account what is not among `roles`, and gives nothing.
    #[must_use]
    pub fn no_more_than(&self, app: &CatalogApp, roles: &BTreeSet<BoundRole>) -> Vec<AccountChange> {
        let wanted = roles.iter().map(|role| role_binding(app, role));
        let there = |wanted: &RoleBinding| self.bindings.iter().any(|found| found.meta().name == wanted.metadata.name);
        self.bindings_towards(wanted.filter(there).collect())
    }

    /// What takes away all rights, and leaves the account.
    #[must_use]
    pub fn withdraw(&self) -> Vec<AccountChange> {
        self.bindings_towards(Vec::new())
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
        self.accounts.is_empty() && self.bindings.is_empty()
    }

    /// Whether the account exists and is ours.
    #[must_use]
    pub fn exists(&self) -> bool {
        let is_ours = |found: &Owned<ServiceAccount>| matches!(found.title, Title::Created | Title::Adopted);
        self.accounts.iter().any(|found| is_ours(found) && found.meta().deletion_timestamp.is_none())
    }

    fn bindings_towards(&self, wanted: Vec<RoleBinding>) -> Vec<AccountChange> {
        let seed = |binding: &RoleBinding| json!({"roleRef": binding.role_ref});
        let owned: Vec<_> = self.bindings.iter().map(|found| uncontested(found, &wanted)).collect();
        let Difference { changes, .. } = difference_of_whole(wanted, &owned, seed, &["/subjects"]);
        changes.into_iter().map(AccountChange::Binding).collect()
    }
}

impl AccountChange {
    /// Whether it takes a right away.
    #[must_use]
    pub fn is_revocation(&self) -> bool {
        matches!(self, Self::Binding(change) if !matches!(change, Change::Create { .. }))
    }
}

/// A withdrawal is not held up by whoever changes a role binding again and again.
fn uncontested(found: &Owned<RoleBinding>, wanted: &[RoleBinding]) -> Owned<RoleBinding> {
    let is_wanted = wanted.iter().any(|desired| desired.metadata.name == found.meta().name);
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
fn role_binding(app: &CatalogApp, role: &BoundRole) -> RoleBinding {
    let account = account_name(app);
    RoleBinding {
        metadata: ObjectMeta {
            name: Some(format!("drover:{account}:{}", role.role_name())),
            namespace: Some(app.spec.namespace.clone()),
            ..ObjectMeta::default()
        },
        role_ref: RoleRef { api_group: Some(RBAC.to_owned()), kind: "ClusterRole".to_owned(), name: role.role_name() },
        subjects: Some(vec![Subject {
            api_group: None,
            kind: "ServiceAccount".to_owned(),
            name: account,
            namespace: Some(DROVER_NAMESPACE.to_owned()),
        }]),
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
    fn no_two_apps_share_an_account() {
        let pairs = [("team-a", "web"), ("team", "a-web"), ("team-a-web", "x"), ("team-a", "web-x")];
        let names: BTreeSet<String> =
            pairs.iter().map(|(namespace, name)| account_name(&app(namespace, name))).collect();
        assert_eq!(names.len(), pairs.len());
    }
}
