//! An app of the Project in memory: its release, what it is uninstalled by, and the operators of apps and of roles at work on them.

use std::{collections::BTreeSet, sync::Arc};

use drover_apps::state::{Head, Seen, Standing};
use drover_catalog_app::{
    CatalogAppOperator,
    account::{Account, AccountChange},
    act::{Action, Step},
    consent::{Admission, Facts, Hold, ProjectState},
    observe::World,
};
use drover_crds::{CatalogApp, Cluster, RoleTemplate, names::ANNOTATION_APPLIED};
use drover_grants::{Admitted, Grants};
use drover_releases::record::Status;
use drover_role_template::{RoleTemplateOperator, act::Action as RoleAction, observe as roles};
use drover_roles::resolve;
use drover_runtime::{
    Kept, Operator, Owner, Requeue, Title,
    owned::{Change, Owned},
    write::desired_hash,
};
use k8s_openapi::{
    api::{
        core::v1::ServiceAccount,
        rbac::v1::{ClusterRole, RoleBinding},
    },
    jiff::Timestamp,
};
use serde::Serialize;
use serde_json::{Value, json};

/// What becomes of an app while its Cluster is deleted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum AppFate {
    /// There is none.
    Absent,
    /// It lives.
    Kept,
    /// It is deleted together with the Cluster.
    Deleted,
    /// It lives, and its release is to stay whatever happens.
    Orphan,
    /// It lives, and what it made never goes.
    Stuck,
}

/// The app, and what it has at the cluster.
pub(super) struct ModelApp {
    fate: AppFate,
    object: Option<CatalogApp>,
    template: RoleTemplate,
    pub(super) release: Option<Status>,
    objects_are_deleted: bool,
    pub(super) accounts: Vec<Owned<ServiceAccount>>,
    bindings: Vec<Owned<RoleBinding>>,
    pub(super) roles: Vec<Owned<ClusterRole>>,
}

/// What an app can see of where it is.
pub(super) struct Around<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) project: ProjectState,
    /// Whether the namespace of the release exists, and whether the Project holds it.
    pub(super) namespace: Option<bool>,
    pub(super) now: Timestamp,
}

/// An object that Drover made, as it wants it.
fn owned<K: Kept + Serialize>(object: Value) -> Owned<K> {
    let mut object: K = serde_json::from_value(object).unwrap();
    let applied = desired_hash(&object);
    object.meta_mut().annotations = Some([(ANNOTATION_APPLIED.to_owned(), applied)].into());
    Owned { live: Ok(Arc::new(object)), drift_conflict: None, title: Title::Created }
}

impl ModelApp {
    pub(super) fn new(fate: AppFate) -> Self {
        let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]);
        let template = json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": {"name": "deployer"},
            "spec": {"context": "Project", "bindableFrom": {"all": {}}, "rules": rules},
        });
        let app = json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "CatalogApp", "metadata": {"name": "web", "namespace": "team"},
            "spec": {
                "clusterName": "eu", "namespace": "created", "projectName": "shop", "roleTemplateName": "deployer",
                "chart": {"configMap": {"name": "c", "key": "c.tgz", "digest": ""}},
                "deletionPolicy": if fate == AppFate::Orphan { "Orphan" } else { "Uninstall" },
            },
        });
        let named = |name: &str| json!({"metadata": {"name": name, "namespace": "drover-system"}});
        let role = json!({"metadata": {"name": "drover:deployer"}, "rules": rules});
        let role_ref =
            json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "drover:deployer"});
        let binding = json!({"metadata": {"name": "web", "namespace": "created"}, "roleRef": role_ref});
        let mut model = Self {
            fate,
            object: None,
            template: serde_json::from_value(template).unwrap(),
            release: None,
            objects_are_deleted: false,
            accounts: Vec::new(),
            bindings: Vec::new(),
            roles: Vec::new(),
        };
        if fate != AppFate::Absent {
            model.object = Some(serde_json::from_value(app).unwrap());
            model.release = Some(Status::Deployed);
            model.accounts.push(owned(named("app.team.web")));
            model.bindings.push(owned(binding));
            model.roles.push(owned(role));
        }
        model
    }

    /// Whether it has its role in the namespace.
    pub(super) fn has_role(&self) -> bool {
        !self.bindings.is_empty()
    }

    /// With the namespace goes all that is in it.
    pub(super) fn lose_namespace(&mut self) {
        (self.release, self.bindings) = (None, Vec::new());
    }

    fn facts(&self, around: &Around<'_>) -> Facts {
        Facts {
            cluster: Arc::new(around.cluster.clone()),
            admission: Admission::Admitted,
            project: around.project,
            hold: if around.namespace == Some(true) { Hold::Guarded } else { Hold::No },
            templates: [self.template.clone()].into_iter().collect(),
            labels: [].into(),
            grants: Grants::Allowed,
            admitted: Admitted::Yes,
            holder: None,
        }
    }

    /// As the operator sees it: without an account that has a role it looks at nothing.
    fn world(&self, around: &Around<'_>) -> World {
        let record = self.release.map(|status| Head {
            revision: 1,
            status,
            manifest_digest: "m".to_owned(),
            is_applied: status == Status::Deployed || self.objects_are_deleted,
            description: String::new(),
            began: around.now,
            is_ours: true,
            is_noted: true,
            before: Vec::new(),
            after: Vec::new(),
        });
        let left = self.objects_are_deleted && self.fate == AppFate::Stuck;
        let objects = Some(if left {
            Standing::Waiting { what: "Pod x".to_owned(), why: "it is still there" }
        } else {
            Standing::Ready
        });
        let may_look = !self.accounts.is_empty() && self.has_role();
        let seen =
            may_look.then(|| Seen { records: record.into_iter().collect(), hook: None, objects, likeness: None });
        let account =
            Account { accounts: self.accounts.clone(), bindings: self.bindings.clone(), ..Account::default() };
        World { facts: Some(self.facts(around)), account, seen, ..World::default() }
    }

    /// What the operator of apps is to do next, for an app that is to be at this cluster no more.
    pub(super) fn next(&self, around: &Around<'_>) -> Vec<Action> {
        let Some(app) = &self.object else { return Vec::new() };
        let owner = if self.fate == AppFate::Deleted { Owner::Deleting(app) } else { Owner::Present(app) };
        let plan = CatalogAppOperator::clean_up(owner, &self.world(around), around.now);
        assert!(plan.requeue != Requeue::Released || self.accounts.is_empty(), "it is done when its account is gone");
        plan.groups.into_iter().flatten().collect()
    }

    /// What it is to do at a cluster that stays, where the app lost its Project.
    pub(super) fn withdraw(&self, around: &Around<'_>) -> Vec<Action> {
        let Some(app) = &self.object else { return Vec::new() };
        let actions = CatalogAppOperator::plan(app, &self.world(around), around.now).groups.into_iter().flatten();
        actions.filter(|action| matches!(action, Action::Account(_))).collect()
    }

    pub(super) fn act(&mut self, action: Action, around: &Around<'_>) {
        match action {
            Action::Account(AccountChange::Account(Change::Delete(_))) => self.accounts.clear(),
            Action::Account(AccountChange::Binding(Change::Delete(_))) => self.bindings.clear(),
            Action::Step { step, .. } => {
                assert!(
                    self.has_role() && !self.roles.is_empty() && !self.accounts.is_empty(),
                    "{step:?} needs its role"
                );
                let is_guarded = around.project != ProjectState::Present || around.namespace == Some(true);
                assert!(is_guarded, "{step:?} in a namespace that its Project does not hold");
                match step {
                    Step::BeginUninstall(1) => self.release = Some(Status::Uninstalling),
                    Step::Apply => self.objects_are_deleted = true,
                    Step::Finish => self.release = None,
                    step => panic!("{step:?}"),
                }
            }
            Action::Account(change) => panic!("{change:?}"),
        }
    }

    /// What the operator of role templates is to do next at a cluster that is being deleted.
    pub(super) fn next_of_roles(&self, now: Timestamp) -> Vec<RoleAction> {
        let needed = self.roles.iter().filter(|_| self.has_role()).filter_map(|role| role.meta().name.clone());
        let needed_by_apps: BTreeSet<String> = needed.collect();
        let cluster = roles::AtCluster { roles: self.roles.clone(), needed_by_apps, ..roles::AtCluster::default() };
        let world = roles::World {
            resolved: Some(resolve(&self.template, |_| None)),
            grants: Grants::Allowed,
            bindings: 0,
            doubt: roles::Doubt::default(),
            cluster: Some(cluster),
            policies: roles::UnderPolicies::default(),
        };
        let plan = RoleTemplateOperator::clean_up(Owner::Present(&self.template), &world, now);
        plan.groups.into_iter().flatten().collect()
    }

    pub(super) fn act_on_roles(&mut self, action: &RoleAction) {
        match action {
            RoleAction::Role(Change::Delete(_)) => self.roles.clear(),
            other => panic!("{other:?}"),
        }
    }
}
