//! Random Projects and clusters. Names come from a small pool, so that everything meets everything.

use std::{collections::BTreeMap, sync::Arc};

use drover_crds::{
    AdoptPolicy, Cluster, ContainerDefaults, DeletionPolicy, IsolationMode, NamespaceMetadata, NamespaceSelection,
    NetworkIsolation, OnExisting, PodSecurity, PodSecurityFloor, PodSecurityLevel, Project, ProjectNamespace,
    ProjectQuota, ProjectRoleTemplateBinding, ProjectSecret, ProjectSpec, QuotaOverflow, RoleTemplate, SelfService,
    Tenant,
};
pub(super) use drover_runtime::model::deleted;
use k8s_openapi::{
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Time},
    jiff::{SignedDuration, Timestamp},
};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::json;

use super::world::{Foreign, Held, ModelCluster, Texts};

/// Names of namespaces: the team's own, a shared one, one that a cluster may protect, and one that is always protected.
pub(super) const NAMES: [&str; 6] = ["team-a-web", "team-a-db", "team-a-log", "shared", "vault", "kube-system"];
/// Keys of labels and annotations.
const KEYS: [&str; 3] = ["team", "tier", "note"];
const VALUES: [&str; 2] = ["blue", "red"];

/// The Project that all tests are about is `team-a/shop`.
pub(super) fn project(namespace: &str, name: &str, spec: ProjectSpec) -> Project {
    let mut project = Project::new(name, spec);
    project.metadata.namespace = Some(namespace.to_owned());
    project.metadata.uid = Some(format!("uid-of-{namespace}/{name}"));
    project.metadata.generation = Some(1);
    project
}

fn texts() -> impl Strategy<Value = Texts> {
    let text = |pool: &'static [&'static str]| select(pool).prop_map(ToOwned::to_owned);
    prop::collection::btree_map(text(&KEYS), text(&VALUES), 0..3)
}

fn wanted(name: &'static str) -> impl Strategy<Value = ProjectNamespace> {
    let levels = any_pod_security();
    let own = (
        prop::option::weighted(0.2, any_container_defaults()),
        prop::option::weighted(0.2, any_isolation()),
        prop_oneof![3 => Just(BTreeMap::new()), 1 => any_requests()],
    );
    (texts(), texts(), any::<bool>(), prop::option::weighted(0.2, levels), own).prop_map(
        move |(labels, annotations, adopt, pod_security, (container_defaults, network_isolation, quota))| {
            ProjectNamespace {
                name: name.to_owned(),
                labels,
                annotations,
                pod_security,
                quota,
                container_defaults,
                network_isolation,
                on_existing: if adopt { OnExisting::Adopt } else { OnExisting::Refuse },
            }
        },
    )
}

fn any_level() -> impl Strategy<Value = Option<PodSecurityLevel>> {
    use PodSecurityLevel::{Baseline, Privileged, Restricted};
    prop::option::of(select(vec![Privileged, Baseline, Restricted]))
}

/// Levels that a Project asks for.
pub(super) fn any_pod_security() -> impl Strategy<Value = PodSecurity> {
    let version = prop::option::of(select(vec!["latest", "v1.25"]));
    (any_level(), version, any_level(), any_level()).prop_map(|(enforce, version, audit, warn)| PodSecurity {
        enforce,
        enforce_version: version.filter(|_| enforce.is_some()).map(ToOwned::to_owned),
        audit,
        warn,
    })
}

/// Among them none at all, and one that no API server keeps.
pub(super) fn any_container_defaults() -> impl Strategy<Value = ContainerDefaults> {
    let amounts = || {
        let amount = prop_oneof![9 => select(vec!["1", "500m", "1000m", "2Gi", "1e3"]), 1 => Just("1e39")];
        let amount = amount.prop_map(|text| Quantity(text.to_owned()));
        prop::collection::btree_map(select(vec!["cpu", "memory"]).prop_map(ToOwned::to_owned), amount, 0..2)
    };
    (amounts(), amounts(), amounts(), amounts()).prop_map(|(requests, limits, min, max)| ContainerDefaults {
        requests,
        limits,
        min,
        max,
    })
}

/// Among them what no API server keeps for pods.
pub(super) fn any_requests() -> impl Strategy<Value = BTreeMap<String, Quantity>> {
    let amount = prop_oneof![19 => select(vec!["0", "1", "2", "3000m", "4"]), 1 => Just("500m")];
    let amount = amount.prop_map(|text| Quantity(text.to_owned()));
    prop::collection::btree_map(select(vec!["pods", "limits.cpu"]).prop_map(ToOwned::to_owned), amount, 0..=2)
}

/// So little that most are short.
pub(super) fn any_quota() -> impl Strategy<Value = ProjectQuota> {
    let per_cluster = prop::collection::btree_map(
        select(vec!["pods", "limits.cpu"]).prop_map(ToOwned::to_owned),
        (0..8_u8).prop_map(|count| Quantity(count.to_string())),
        0..=2,
    );
    let overflow = select(vec![QuotaOverflow::Remaining, QuotaOverflow::Zero]);
    (per_cluster, any_requests(), overflow).prop_map(|(per_cluster, namespace_default, overflow)| ProjectQuota {
        per_cluster,
        namespace_default,
        overflow,
    })
}

pub(super) fn any_isolation() -> impl Strategy<Value = NetworkIsolation> {
    let from = json!([{"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}]);
    let allow_from = select(vec![json!([]), from]).prop_map(|from| serde_json::from_value(from).unwrap());
    (select(vec![IsolationMode::Project, IsolationMode::None]), allow_from)
        .prop_map(|(mode, allow_from)| NetworkIsolation { mode, allow_from })
}

/// Levels that a cluster asks for.
pub(super) fn any_floor() -> impl Strategy<Value = PodSecurityFloor> {
    let exempt = prop::option::of(select(NAMES.to_vec()).prop_map(ToOwned::to_owned));
    (any_level(), any_level(), any_level(), exempt).prop_map(|(enforce, audit, warn, exempt)| PodSecurityFloor {
        enforce,
        audit,
        warn,
        exempt: exempt.into_iter().collect(),
    })
}

/// A Project that is not being deleted.
pub(super) fn any_project() -> impl Strategy<Value = Project> {
    let namespaces = prop::sample::subsequence(NAMES.to_vec(), 0..=NAMES.len()).prop_shuffle();
    let namespaces = namespaces.prop_flat_map(|names| names.into_iter().map(wanted).collect::<Vec<_>>());
    let common = proptest::option::of((texts(), texts()));
    let guards = (
        prop::option::of(any_pod_security()),
        prop::option::of(any_container_defaults()),
        prop::option::of(any_isolation()),
        prop::option::of(any_quota()),
        prop::sample::subsequence(vec!["registry", "tls"], 0..=2),
        prop::option::weighted(
            0.4,
            (1..3_i32).prop_map(|most| SelfService { name_prefixes: vec!["team-a-".to_owned()], max_namespaces: most }),
        ),
    );
    (namespaces, common, prop::bool::weighted(0.1), any::<bool>(), guards).prop_map(
        |(
            namespaces,
            common,
            suspend,
            delete,
            (pod_security, container_defaults, network_isolation, quota, secrets, self_service),
        )| {
            let spec = json!({"clusters": {"all": {}}, "suspend": suspend});
            let mut spec: ProjectSpec = serde_json::from_value(spec).unwrap();
            spec.namespaces = namespaces;
            spec.namespace_metadata = common.map(|(labels, annotations)| NamespaceMetadata { labels, annotations });
            spec.deletion_policy = if delete { DeletionPolicy::Delete } else { DeletionPolicy::Orphan };
            spec.pod_security = pod_security;
            spec.container_defaults = container_defaults;
            spec.network_isolation = network_isolation;
            spec.quota = quota;
            spec.secrets = secrets.into_iter().map(|name| ProjectSecret { name: name.to_owned() }).collect();
            spec.self_service = self_service;
            project("team-a", "shop", spec)
        },
    )
}

/// A Project that may be being deleted.
pub(super) fn any_project_alive_or_not() -> impl Strategy<Value = Project> {
    (any_project(), prop::bool::weighted(0.3))
        .prop_map(|(project, deleting)| if deleting { deleted(project) } else { project })
}

fn tenant() -> impl Strategy<Value = Tenant> {
    let from = prop_oneof![
        4 => Just(json!({"names": ["team-a"]})),
        1 => Just(json!({"names": ["team-b"]})),
        2 => Just(json!({"selector": {"matchLabels": {"grade": "gold"}}})),
    ];
    let patterns = prop::sample::subsequence(vec!["team-a-*", "shared", "*"], 0..=3);
    let most = prop::option::weighted(0.3, 0..4);
    let keys = prop::sample::subsequence(vec!["team", "t*", "*"], 1..=3);
    (from, patterns, most, keys, any::<bool>()).prop_map(|(from, patterns, most, keys, adopt)| Tenant {
        name: "entry".into(),
        from: serde_json::from_value::<NamespaceSelection>(from).unwrap(),
        namespace_patterns: patterns.into_iter().map(ToOwned::to_owned).collect(),
        adopt: if adopt { AdoptPolicy::Allowed } else { AdoptPolicy::Never },
        max_namespaces: most,
        metadata_keys: keys.into_iter().map(ToOwned::to_owned).collect(),
        operations: Vec::new(),
    })
}

/// A cluster that may be being deleted.
pub(super) fn any_world() -> impl Strategy<Value = ModelCluster> {
    let policy = select(vec![DeletionPolicy::Orphan, DeletionPolicy::Delete]);
    (any_cluster(), prop::option::weighted(0.2, policy)).prop_map(|(model, policy)| match policy {
        Some(policy) => going(model, policy),
        None => model,
    })
}

/// The same cluster while its Cluster is being deleted.
pub(super) fn going(mut model: ModelCluster, policy: DeletionPolicy) -> ModelCluster {
    let cluster = Arc::make_mut(&mut model.cluster);
    cluster.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    cluster.spec.deletion_policy = policy;
    model
}

pub(super) fn cluster(tenants: Vec<Tenant>, protected: &[&str]) -> Cluster {
    let spec = json!({"connection": {"kubeconfig": {"secretRef": {"name": "eu"}}}, "protectedNamespaces": protected});
    let mut cluster = Cluster::new("eu", serde_json::from_value(spec).unwrap());
    cluster.spec.tenants = tenants;
    cluster
}

fn holder() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just("team-a/shop"), 1 => Just("team-b/shop"), 1 => Just("team-a/other")]
}

fn any_foreign() -> impl Strategy<Value = Foreign> {
    let released_by = prop::option::of(holder().prop_map(ToOwned::to_owned));
    let created_for = prop::option::of(holder().prop_map(ToOwned::to_owned));
    (texts(), texts(), released_by, created_for, prop::bool::weighted(0.1)).prop_map(
        |(labels, annotations, released_by, created_for, terminating)| Foreign {
            labels,
            annotations,
            released_by,
            created_for,
            terminating,
        },
    )
}

fn held() -> impl Strategy<Value = Held> {
    let applied = prop::option::weighted(0.8, texts());
    (holder(), applied, any::<bool>(), texts(), prop::bool::weighted(0.1)).prop_map(
        |(holder, applied, adopted, changed, terminating)| Held {
            holder: holder.to_owned(),
            applied,
            adopted,
            changed,
            reverts: 0,
            terminating,
        },
    )
}

/// What stands behind a name before the Project is looked at.
#[derive(Clone, Debug)]
enum Before {
    Nothing,
    Foreign(Foreign),
    Held(Held),
}

fn before() -> impl Strategy<Value = Before> {
    prop_oneof![
        2 => Just(Before::Nothing),
        3 => any_foreign().prop_map(Before::Foreign),
        4 => held().prop_map(Before::Held),
    ]
}

/// A role template that every namespace may use: `viewer` binds what exists, every other one has rules of its own.
pub(super) fn a_template(name: &str) -> RoleTemplate {
    let mut spec = json!({"context": "Project", "bindableFrom": {"all": {}}});
    spec[if name == "viewer" { "externalClusterRoles" } else { "rules" }] = match name {
        "viewer" => json!(["view"]),
        "maker" => json!([{"apiGroups": ["drover.dev"], "resources": ["projects"], "verbs": ["create-namespaces"]}]),
        _ => json!([{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}]),
    };
    RoleTemplate::new(name, serde_json::from_value(spec).unwrap())
}

/// A binding of this role in `team-a/shop`.
pub(super) fn a_binding(name: &str, template: &str, subjects: &serde_json::Value) -> ProjectRoleTemplateBinding {
    let spec = json!({"projectName": "shop", "roleTemplateName": template, "subjects": subjects});
    let mut binding = ProjectRoleTemplateBinding::new(name, serde_json::from_value(spec).unwrap());
    binding.metadata.namespace = Some("team-a".to_owned());
    binding
}

fn any_binding() -> impl Strategy<Value = ProjectRoleTemplateBinding> {
    let names = vec(select(vec!["ada", "bob", "eve"]), 0..3);
    let template = select(vec!["viewer", "deployer", "maker", "missing"]);
    (select(vec!["one", "two", "three"]), template, names, prop::option::weighted(0.2, any::<bool>())).prop_map(
        |(name, template, users, ends)| {
            let subjects: Vec<_> = users.into_iter().map(|name| json!({"kind": "User", "name": name})).collect();
            let mut binding = a_binding(name, template, &json!(subjects));
            let end = |over| if over { Timestamp::UNIX_EPOCH } else { Timestamp::MAX };
            binding.spec.expires_at = ends.map(|over| Time(end(over)));
            binding
        },
    )
}

/// What a Project granted before: in which namespace, which role, and to whom.
fn any_grants() -> impl Strategy<Value = Vec<(&'static str, &'static str, &'static str, &'static str)>> {
    let who = select(vec!["ada", "bob", "mallory"]);
    vec((holder(), select(NAMES.to_vec()), select(vec!["viewer", "deployer", "former"]), who), 0..4)
}

/// A Secret beside the Projects of `team-a` that names one of them.
pub(super) fn a_secret(name: &str, of: &str, kind: &str, value: &str) -> serde_json::Value {
    json!({
        "metadata": {"name": name, "namespace": "team-a", "uid": name, "labels": {"drover.dev/project": of}},
        "type": kind, "data": {"key": value},
    })
}

/// The Secrets beside the Project.
fn any_sources() -> impl Strategy<Value = Vec<serde_json::Value>> {
    let (of, value) = (select(vec!["shop", "shop", "other"]), select(vec!["b25l", "dHdv"]));
    let kind = select(vec!["Opaque", "kubernetes.io/basic-auth", "helm.sh/release.v1"]);
    let source = (select(vec!["registry", "tls"]), of, kind, value);
    vec(source.prop_map(|(name, of, kind, value)| a_secret(name, of, kind, value)), 0..3)
}

/// What was copied before: for which Project, into which namespace, under which name, and what it held.
fn any_copies() -> impl Strategy<Value = Vec<(&'static str, &'static str, &'static str, &'static str)>> {
    vec((holder(), select(NAMES.to_vec()), select(vec!["registry", "tls"]), select(vec!["b25l", "old"])), 0..4)
}

/// A cluster with random tenants, protected names, namespaces, members and Secrets.
pub(super) fn any_cluster() -> impl Strategy<Value = ModelCluster> {
    let parts = (any_cluster_without_members(), vec(any_binding(), 0..4), any_grants(), (any_sources(), any_copies()));
    parts.prop_map(|(mut model, bindings, grants, (sources, copies))| {
        for (project, namespace, name, value) in copies {
            if model.namespaces.contains_key(namespace) {
                model.copy_by(project, namespace, name, value);
            }
        }
        model.set_sources(sources);
        model.add_templates(&[a_template("viewer"), a_template("deployer"), a_template("maker")]);
        // An API server has one of each name.
        let bindings: BTreeMap<_, _> =
            bindings.into_iter().map(|binding| (binding.metadata.name.clone(), binding)).collect();
        model.set_bindings(bindings.into_values().collect());
        for (project, namespace, template, user) in grants {
            if model.namespaces.contains_key(namespace) {
                model.grant_by(project, namespace, template, &[user]);
            }
        }
        model
    })
}

/// A cluster with random tenants, protected names and namespaces.
fn any_cluster_without_members() -> impl Strategy<Value = ModelCluster> {
    let gold = Just(Some(Texts::from([("grade".to_owned(), "gold".to_owned())])));
    let tenant_labels = prop_oneof![Just(None), gold];
    let protected = prop_oneof![Just(&[][..]), Just(&["vault"][..])];
    let namespaces = vec((before(), prop::bool::weighted(0.1), prop::bool::weighted(0.4)), NAMES.len());
    let guarded = prop::bool::weighted(0.8);
    let left = prop::sample::subsequence(vec!["team-b/shop", "team-a/other"], 0..=2);
    let floor = prop::option::of(any_floor());
    let refused = prop_oneof![4 => Just(&[][..]), 1 => Just(&["LimitRange"][..]), 1 => Just(&["NetworkPolicy"][..]), 1 => Just(&["ResourceQuota"][..])];
    (vec(tenant(), 0..3), protected, tenant_labels, namespaces, left, (floor, refused, guarded)).prop_map(
        |(tenants, protected, tenant_labels, namespaces, left, (floor, refused, guarded))| {
            let mut cluster = cluster(tenants, protected);
            cluster.spec.pod_security = floor;
            let mut model = ModelCluster::new(cluster, tenant_labels);
            model.left = left.into_iter().map(ToOwned::to_owned).collect();
            model.refused = refused.iter().copied().collect();
            model.guarded_since = guarded.then(|| Timestamp::UNIX_EPOCH - SignedDuration::from_mins(1));
            for (name, (before, drifting, asks)) in NAMES.into_iter().zip(namespaces) {
                match before {
                    Before::Nothing => continue,
                    Before::Foreign(foreign) => model.add_foreign(name, foreign),
                    Before::Held(held) => model.add_held(name, held),
                }
                if asks {
                    model.ask(name);
                }
                if drifting {
                    model.namespaces.get_mut(name).unwrap().keep_changing("team", "green");
                }
            }
            model
        },
    )
}
