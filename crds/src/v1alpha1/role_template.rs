//! RoleTemplate: a role that is defined once, and which bindings give to people on many clusters.

#![expect(clippy::doc_markdown, reason = "kubectl explain shows these texts as they are")]
#![expect(unreachable_pub, reason = "KubeSchema copies each struct, with its `pub`, into a function")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    NamespaceSelection,
    condition::{UNOBSERVED, status_conditions, unobserved},
    no_effect::{self, NoEffect},
    schema,
    v1alpha1::{Admission, Problem, TargetSummary},
};

/// Most templates that a status lists as inherited.
pub const MAX_CLOSURE: usize = 50;

/// The wanted state of a role template: what whoever is bound to it may do.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "drover.dev",
    version = "v1alpha1",
    kind = "RoleTemplate",
    plural = "roletemplates",
    shortname = "rt",
    category = "drover",
    status = "RoleTemplateStatus",
    derive = "PartialEq",
    doc = "A role that is defined once: bindings give it to people in a Project or on clusters.",
    validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')")
        .message("the name must be a DNS label: at most 63 characters, no dots"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Context", type_ = "string", json_path = ".spec.context"),
    printcolumn(name = "Bindings", type_ = "integer", json_path = ".status.bindings"),
    printcolumn(name = "Clusters", type_ = "string", json_path = ".status.clusters.summary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = "1"
    )
)]
#[x_kube(validation = ("self.context == 'Project' || !has(self.clusterRules)",
    "clusterRules belong to a template of context Project; write rules in one of context Cluster"))]
#[x_kube(validation = ("self.context == 'Cluster' || !has(self.rules) || self.rules.all(r, !has(r.nonResourceURLs))",
    "nonResourceURLs lie outside of namespaces; write them into clusterRules, or use context Cluster"))]
#[x_kube(validation = ("self.context == 'Project' || !has(self.managementRoles)",
    "managementRoles belong to a template of context Project"))]
#[serde(rename_all = "camelCase")]
pub struct RoleTemplateSpec {
    /// Where the role is given: Project means in the namespaces of a Project, Cluster means in whole clusters. It cannot be
    /// changed.
    #[x_kube(validation = ("self == oldSelf", "the context cannot be changed; create another RoleTemplate"))]
    pub context: RoleContext,
    /// Name for people. Default: the name of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<253>")]
    pub display_name: Option<String>,
    /// What the role is for, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<2048>")]
    pub description: Option<String>,
    /// What the role allows: in every namespace of the Project, or in the whole cluster with context Cluster. Default: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub rules: Vec<RoleRule>,
    /// What members of a Project with this role may do in the whole cluster, such as reading storage classes. Default: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub cluster_rules: Vec<RoleRule>,
    /// Names of RoleTemplates of the same context, all of whose rights this one has too. They may come later. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::names::<50>")]
    pub inherits: Vec<String>,
    /// Names of ClusterRoles that exist in the clusters and are bound as they are, such as view. The import of a cluster says
    /// which ones Drover may bind there: view, edit and admin unless more are asked for. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::role_names::<20>")]
    pub external_cluster_roles: Vec<String>,
    /// The namespaces of the management cluster whose ProjectRoleTemplateBindings and apps may use this template: exactly one of
    /// names, selector and all. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bindable_from: Option<NamespaceSelection>,
    /// Names of ClusterRoles of the management cluster that users and groups with this role have beside the Project, in its
    /// namespace, such as drover-view, while no other Project is there. The installation says which ones are allowed. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::role_names::<4>")]
    pub management_roles: Vec<String>,
}

impl RoleTemplateSpec {
    pub(crate) const NO_EFFECT: NoEffect<Self> = &[];

    /// Paths of the fields that are set but that this version does not act on.
    #[must_use]
    pub fn unimplemented(&self) -> Vec<&'static str> {
        no_effect::set_in(self, Self::NO_EFFECT)
    }
}

/// Where a role is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RoleContext {
    /// In the namespaces of a Project.
    Project,
    /// In whole clusters.
    Cluster,
}

/// What a role allows, as in a ClusterRole, but without the verb `*`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = ("has(self.nonResourceURLs) != (has(self.apiGroups) && has(self.resources))",
    "a rule has either apiGroups and resources, or nonResourceURLs"))]
#[x_kube(validation = ("!has(self.resourceNames) || has(self.resources)", "resourceNames need resources"))]
#[serde(rename_all = "camelCase")]
pub struct RoleRule {
    /// API groups of the resources; "" is the core group, * is every one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::rule_texts::<50>")]
    pub api_groups: Vec<String>,
    /// Resources in plural, such as pods or pods/log; * is every one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::rule_texts::<50>")]
    pub resources: Vec<String>,
    /// Names of the objects that are meant. Default: every one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::rule_texts::<50>")]
    pub resource_names: Vec<String>,
    /// Paths outside of resources, such as /metrics.
    #[serde(default, rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::rule_texts::<50>")]
    pub non_resource_urls: Vec<String>,
    /// Verbs, such as get, list and watch; at least one. The verb * is refused: it would include escalate, bind and impersonate.
    #[schemars(schema_with = "schema::verbs")]
    pub verbs: Vec<String>,
}

/// The observed state of a role template.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleTemplateStatus {
    /// The metadata.generation that this status judges; -1 before the first reconcile.
    #[serde(default = "unobserved")]
    pub observed_generation: i64,
    /// Hash of what the role allows, inherited rights included: equal where the rights are equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<64>")]
    pub resolved_hash: Option<String>,
    /// How many rules the role has, inherited ones included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub resolved_rules: Option<i64>,
    /// Names of the templates whose rights it has; at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::names::<50>")]
    pub closure: Vec<String>,
    /// How many bindings name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub bindings: Option<i64>,
    /// How many clusters it is needed on, and how they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<TargetSummary>,
    /// Whether its rights were written while the admission policies were in place; unset until Drover saw both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<Admission>,
    /// What is wrong and where; at most 20 entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub problems: Vec<Problem>,
    /// Ready, and what it is made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

status_conditions!(RoleTemplateStatus, problems);

impl Default for RoleTemplateStatus {
    fn default() -> Self {
        Self {
            observed_generation: UNOBSERVED,
            resolved_hash: None,
            resolved_rules: None,
            closure: Vec::new(),
            bindings: None,
            clusters: None,
            admission: None,
            problems: Vec::new(),
            conditions: Vec::new(),
        }
    }
}
