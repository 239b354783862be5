//! The policies of a downstream cluster: what Drover records and writes there is changed by Drover, and Drover itself gives no
//! role that it was not trusted with.
//!
//! Who holds the verb `manage` on namespaces is Drover to them. A namespace has to be able to end, whoever deletes it, and so has
//! what lies in it; and controllers report the state of an object of ours as of any other.

use drover_crds::names::{
    DROVER_NAMESPACE, LABEL_MANAGED_BY, LABEL_OWNER_KIND, LABEL_PROJECT, LABEL_PROJECT_NAMESPACE, PREFIX,
};

use crate::{
    policy::{Asked, Policy},
    self_service,
    verbs::{BIND_EXTERNAL, FENCED, MANAGE, SET_POD_SECURITY, WRITE_EXTERNAL},
};

const WRITES: [&str; 2] = ["CREATE", "UPDATE"];
const CHANGES: [&str; 3] = ["CREATE", "UPDATE", "DELETE"];
const RBAC: &str = "rbac.authorization.k8s.io";
/// The beginning of the names of all `ClusterRoles` that Drover writes.
const OWN_ROLES: &str = "drover:";
const POD_SECURITY: &str = "pod-security.kubernetes.io/";

/// The name of the one that lets Drover bind only what the import names.
pub const FENCE_OF_BINDINGS: &str = "drover-fence-bindings";

/// What the names of accounts, Roles and `RoleBindings` of scans begin with, in Drover's namespace of a cluster.
pub const OF_SCANS: &str = "cis-scan-";

/// The names of all of them, which are those of their bindings too.
pub const NAMES: &[&str] = &[
    "drover-namespaces",
    "drover-self-service",
    "drover-guards",
    "drover-bindings",
    "drover-cluster-roles",
    FENCE_OF_BINDINGS,
    "drover-fence-cluster-roles",
];

/// All of them.
#[must_use]
pub fn policies() -> Vec<Policy> {
    vec![
        namespaces(),
        self_service::policy(),
        guards(),
        bindings(),
        cluster_roles(),
        fenced_bindings(),
        fenced_cluster_roles(),
    ]
}

/// `variables.labels` and `variables.annotations`, and what they were before; empty where there are none.
pub(crate) fn with_metadata(policy: Policy) -> Policy {
    ["labels", "annotations"].into_iter().fold(policy, |policy, field| {
        let of = |object: &str| format!("has({object}.metadata.{field}) ? {object}.metadata.{field} : {{}}");
        policy
            .with(field, format!("request.operation == 'DELETE' ? {{}} : ({})", of("object")))
            .with(&format!("old_{field}"), format!("request.operation == 'CREATE' ? {{}} : ({})", of("oldObject")))
    })
}

/// Whether no `key` of the map `variables.field` for which the expression `is_kept` is true was added, changed or removed.
pub(crate) fn keeps(field: &str, is_kept: &str) -> String {
    let (now, before) = (format!("variables.{field}"), format!("variables.old_{field}"));
    format!(
        "{now}.all(key, !({is_kept}) || (key in {before} && {before}[key] == {now}[key])) && \
         {before}.all(key, !({is_kept}) || key in {now})"
    )
}

/// Whether `key` begins like this.
fn begins(prefix: &str) -> String {
    format!("key.startsWith('{prefix}')")
}

fn namespaces() -> Policy {
    let named = |verb| Asked::on("", "namespaces", verb).named("request.name").cel();
    let is_record = begins(PREFIX);
    // Of who may set these two, the policy of self-service judges.
    let is_recorded_label = format!("{is_record} && !(key in ['{LABEL_PROJECT}', '{LABEL_PROJECT_NAMESPACE}'])");
    let is_held = format!("'{LABEL_OWNER_KIND}' in variables.labels || '{LABEL_OWNER_KIND}' in variables.old_labels");
    let resources = ["namespaces", "namespaces/finalize", "namespaces/status"];
    with_metadata(Policy::on("drover-namespaces", &WRITES, &[("", &resources)]))
        .require(
            format!("({} && {}) || {}", keeps("labels", &is_recorded_label), keeps("annotations", &is_record), named(MANAGE)),
            format!(
                "'labels and annotations {PREFIX}* of namespace ' + request.name + ' record who owns it, and Drover sets them; \
                 leave them as they are'"
            ),
        )
        .require(
            format!("!({is_held}) || ({}) || {}", keeps("labels", &begins(POD_SECURITY)), named(SET_POD_SECURITY)),
            "'the pod security of namespace ' + request.name + ' comes from its Project; set spec.podSecurity there, or ask for \
             the verb set-pod-security on namespaces'",
        )
}

/// Whether an object has the labels of what Drover writes.
fn is_ours(object: &str) -> String {
    format!("has({object}.metadata.labels) && '{LABEL_OWNER_KIND}' in {object}.metadata.labels")
}

/// What Drover writes of `kinds`: it alone changes it, in the `fields` that hold its content and in its metadata.
fn written(name: &'static str, rules: &[(&str, &[&str])], fields: &[&str]) -> Policy {
    let condition = format!(
        "(request.operation != 'DELETE' && {}) || (request.operation != 'CREATE' && {})",
        is_ours("object"),
        is_ours("oldObject")
    );
    let same =
        fields.iter().map(|field| format!("object.?{field} == oldObject.?{field}")).collect::<Vec<_>>().join(" && ");
    let policy = with_metadata(Policy::on(name, &CHANGES, rules).only("is-written-by-drover", condition));
    policy
        .with(
            "ends_with_its_namespace",
            "request.operation == 'DELETE' && namespaceObject != null && has(namespaceObject.metadata.deletionTimestamp)",
        )
        .with("keeps_content", format!("request.operation == 'UPDATE' && {same}"))
        .with("answers", answers())
        .with(
            "keeps_metadata",
            "variables.labels == variables.old_labels && variables.annotations == variables.old_annotations && \
             object.metadata.?ownerReferences == oldObject.metadata.?ownerReferences && \
             object.metadata.?finalizers.orValue([]).all(each, each in oldObject.metadata.?finalizers.orValue([]))",
        )
        .require(
            format!(
                "variables.ends_with_its_namespace || ((variables.keeps_content || variables.answers) && variables.keeps_metadata) || {}",
                Asked::on("", "namespaces", MANAGE).cel()
            ),
            "'Drover writes ' + request.resource.resource + ' ' + request.name + ', and nothing else may change it; change \
             what it is made for in the management cluster'",
        )
}

/// Whether the account of a scan writes its answer into the one Secret of its name.
fn answers() -> String {
    format!(
        "request.operation == 'UPDATE' && request.resource.resource == 'secrets' && request.namespace == '{DROVER_NAMESPACE}' && \
         request.name.startsWith('{OF_SCANS}') && \
         request.userInfo.username == 'system:serviceaccount:{DROVER_NAMESPACE}:' + request.name"
    )
}

fn guards() -> Policy {
    // Copies of Secrets are no guards; a policy of their own would be one that an import of before does not let Drover write.
    let core = ["limitranges", "resourcequotas", "resourcequotas/status", "secrets"];
    let fields = ["spec", "data", "type", "immutable"];
    written("drover-guards", &[("", &core), ("networking.k8s.io", &["networkpolicies"])], &fields)
}

fn bindings() -> Policy {
    written("drover-bindings", &[(RBAC, &["clusterrolebindings", "rolebindings"])], &["subjects", "roleRef"])
}

fn cluster_roles() -> Policy {
    written("drover-cluster-roles", &[(RBAC, &["clusterroles"])], &["rules", "aggregationRule"])
}

/// Only requests of whoever has the verb `fenced`. Who has every verb has `bind-external` and `write-external`, too.
fn fenced(name: &'static str, resources: &[&str]) -> Policy {
    Policy::on(name, &CHANGES, &[(RBAC, resources)])
        .only("is-fenced", Asked::on(RBAC, "clusterroles", FENCED).cel())
        .with("written", "request.operation == 'DELETE' ? oldObject : object")
}

fn fenced_bindings() -> Policy {
    let asked = |verb| Asked::on(RBAC, "clusterroles", verb).named("variables.written.roleRef.name").cel();
    // What an earlier import let it bind is withdrawn without the leave of the present one.
    let takes_away = format!(
        "request.operation != 'CREATE' && {} && (request.operation == 'DELETE' || \
         object.?subjects.orValue([]).all(each, each in oldObject.?subjects.orValue([])))",
        is_ours("oldObject")
    );
    // A Role may give no more than Drover has, and here its account of the same name alone has it.
    let is_of_scan = format!(
        "(request.namespace == '{DROVER_NAMESPACE}' && variables.written.roleRef.name.startsWith('{OF_SCANS}') && \
         variables.written.?subjects.orValue([]).all(each, each.kind == 'ServiceAccount' && \
         each.?namespace.orValue('') == '{DROVER_NAMESPACE}' && each.name == variables.written.roleRef.name))"
    );
    let policy = fenced(FENCE_OF_BINDINGS, &["clusterrolebindings", "rolebindings"]);
    policy.with("takes_away", takes_away).require(
        format!(
            "(variables.written.roleRef.kind == 'ClusterRole' ? \
             (variables.written.roleRef.name.startsWith('{OWN_ROLES}') || {}) : ({is_of_scan} || {})) || variables.takes_away",
            asked(BIND_EXTERNAL),
            asked(WRITE_EXTERNAL)
        ),
        "'Drover binds no ' + variables.written.roleRef.kind + ' ' + variables.written.roleRef.name + ' here, as the import \
         does not name it; import the cluster again with --bindable-cluster-role'",
    )
}

fn fenced_cluster_roles() -> Policy {
    let may_write = Asked::on(RBAC, "clusterroles", WRITE_EXTERNAL).named("request.name").cel();
    let aggregates = "has(variables.written.aggregationRule)";
    let is_plain = format!(
        "(!has(variables.written.metadata.labels) || variables.written.metadata.labels.all(key, \
         key.startsWith('{PREFIX}') || key == '{LABEL_MANAGED_BY}'))"
    );
    fenced("drover-fence-cluster-roles", &["clusterroles"]).require(
        format!("(request.name.startsWith('{OWN_ROLES}') && !{aggregates} && {is_plain}) || {may_write}"),
        format!(
            "'Drover may write ClusterRoles {OWN_ROLES}* that aggregate nothing and are aggregated by none, and ' + request.name \
             + ' is not of them; write it yourself'"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rights_name_each_policy() {
        assert_eq!(policies().iter().map(|policy| policy.name).collect::<Vec<_>>(), NAMES);
    }
}
