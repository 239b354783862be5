//! The policies of the management cluster: who may say what a role allows, and who has it.
//!
//! They judge what is created, and a change of what an object wants; nothing that is deleted, and no change of metadata but of marks that
//! say what is released: a namespace has to be able to end, and a finalizer to go.

use drover_crds::names::{
    ANNOTATION_ADOPTED, ANNOTATION_APPROVE, ANNOTATION_CREATED, ANNOTATION_DESELECTED_SINCE, ANNOTATION_HOLD,
    ANNOTATION_INPUTS, ANNOTATION_OWNER_UID, ANNOTATION_REVISION, LABEL_OWNER_KIND, LABEL_OWNER_NAME,
    LABEL_OWNER_NAMESPACE,
};

use crate::{
    policy::{Asked, Policy},
    verbs::{APPROVE, BIND, BIND_SYSTEM_SUBJECTS, ESCALATE, MANAGE, MANAGE_MEMBERS, OPERATE},
};

const WRITES: [&str; 2] = ["CREATE", "UPDATE"];
const CHANGES_THE_SPEC: (&str, &str) =
    ("changes-the-spec", "request.operation == 'CREATE' || object.spec != oldObject.spec");

/// So many clusters a binding may name: each is one question to the authorizer, at a place of its own.
const MOST_CLUSTERS: usize = 8;

/// The fields of a `RoleTemplate` that say what it allows and who may give it.
const OF_RIGHTS: [&str; 6] =
    ["rules", "clusterRules", "inherits", "externalClusterRoles", "bindableFrom", "managementRoles"];

/// The labels that say for whom an object exists.
const OF_OWNERS: [&str; 3] = [LABEL_OWNER_KIND, LABEL_OWNER_NAMESPACE, LABEL_OWNER_NAME];

/// What says of an app that it is one of a `MultiClusterApp`, and what that one wants of it.
const OF_ROLLOUTS: [&str; 6] = [
    ANNOTATION_INPUTS,
    ANNOTATION_REVISION,
    ANNOTATION_DESELECTED_SINCE,
    ANNOTATION_CREATED,
    ANNOTATION_ADOPTED,
    ANNOTATION_OWNER_UID,
];

/// What says of a backup that it is one of an `EtcdBackupSchedule`, and so is deleted with its data once that keeps it no longer.
const OF_SCHEDULES: [&str; 3] = [ANNOTATION_CREATED, ANNOTATION_ADOPTED, ANNOTATION_OWNER_UID];

/// What is wanted of an app, and what a `ControllerRevision` keeps.
const OF_CONTENT: [&str; 3] = ["spec", "data", "revision"];

/// All of them.
#[must_use]
pub fn policies() -> Vec<Policy> {
    vec![
        project_bindings(),
        cluster_bindings(),
        role_templates(),
        apps(),
        multi_cluster_apps(),
        approvals(),
        apps_of_rollouts(),
        backup_schedules(),
        backups_of_schedules(),
        scans(),
        reports(),
    ]
}

fn project_bindings() -> Policy {
    let here = |verb, resource| Asked::ours(verb, resource).in_namespace("request.namespace");
    let may_manage = here(MANAGE_MEMBERS, "projects").named("object.spec.projectName").cel();
    let (may_bind, may_bind_system) = binds("request.namespace");
    Policy::on(
        "drover-project-role-template-bindings",
        &WRITES,
        &[(drover_crds::GROUP, &["projectroletemplatebindings"])],
    )
    .only(CHANGES_THE_SPEC.0, CHANGES_THE_SPEC.1)
    .require(
        may_manage,
        "'only who has the verb manage-members on projects.drover.dev ' + object.spec.projectName + ' in namespace ' \
             + request.namespace + ' may say who has a role in it; ask for that verb, or ask who has it'",
    )
    .require(may_bind, MAY_NOT_BIND)
    .require(may_bind_system, MAY_NOT_BIND_SYSTEM)
}

fn cluster_bindings() -> Policy {
    let everywhere = Asked::ours(MANAGE_MEMBERS, "clusters").cel();
    let (may_bind, may_bind_system) = binds("");
    let mut policy = Policy::on(
        "drover-cluster-role-template-bindings",
        &WRITES,
        &[(drover_crds::GROUP, &["clusterroletemplatebindings"])],
    )
    .only(CHANGES_THE_SPEC.0, CHANGES_THE_SPEC.1)
    .with("names", "has(object.spec.clusters.names) ? object.spec.clusters.names : []")
    .require(
        format!("(variables.names.size() > 0 && variables.names.size() <= {MOST_CLUSTERS}) || {everywhere}"),
        "'only who has the verb manage-members on all clusters.drover.dev may say who has a role in clusters that are not \
         named; name the clusters, or ask for that verb'",
    )
    .require(may_bind, MAY_NOT_BIND)
    .require(may_bind_system, MAY_NOT_BIND_SYSTEM);
    for place in 0..MOST_CLUSTERS {
        let name = format!("variables.names[{place}]");
        let may_manage = Asked::ours(MANAGE_MEMBERS, "clusters").named(&name).cel();
        policy = policy.require(
            format!("variables.names.size() <= {place} || {may_manage}"),
            format!(
                "'only who has the verb manage-members on clusters.drover.dev ' + {name} + ' may say who has a role in it; \
                 ask for that verb, or ask who has it'"
            ),
        );
    }
    policy
}

const MAY_NOT_BIND: &str = "'only who has the verb bind on roletemplates.drover.dev ' + object.spec.roleTemplateName + ' may give \
    this role; ask for that verb, or ask who has it'";
const MAY_NOT_BIND_SYSTEM: &str = "'only who has the verb bind-system-subjects on roletemplates.drover.dev ' \
    + object.spec.roleTemplateName + ' may give this role to subjects named system:…; remove them, or ask \
    for that verb'";

/// Whether the role may be given, and whether it may be given to these subjects. In a namespace the right may be had there.
fn binds(namespace: &str) -> (String, String) {
    let asked = |verb| {
        let asked = Asked::ours(verb, "roletemplates").named("object.spec.roleTemplateName");
        if namespace.is_empty() { asked.cel() } else { asked.in_namespace(namespace).cel() }
    };
    let is_ordinary = "object.spec.subjects.all(subject, !subject.name.lowerAscii().startsWith('system:'))";
    (asked(BIND), format!("{is_ordinary} || {}", asked(BIND_SYSTEM_SUBJECTS)))
}

/// An app has a role as a member has: who writes what it runs acts with its rights. One of no Project acts in the whole cluster, and so
/// does a backup.
fn apps() -> Policy {
    let bind = Asked::ours(BIND, "roletemplates").named("object.spec.roleTemplateName");
    let operate = Asked::ours(OPERATE, "clusters").named("object.spec.clusterName").cel();
    let is_backup = "request.resource.resource == 'etcdbackups'";
    Policy::on("drover-catalog-apps", &WRITES, &[(drover_crds::GROUP, &["catalogapps", "etcdbackups"])])
        .only(CHANGES_THE_SPEC.0, CHANGES_THE_SPEC.1)
        .require(format!("{is_backup} || {}", bind.in_namespace("request.namespace").cel()), MAY_NOT_BIND)
        .require(
            format!("({is_backup} ? false : has(object.spec.projectName)) || {operate}"),
            format!(
                "'only who has the verb operate on clusters.drover.dev ' + object.spec.clusterName + ({is_backup} ? ' may write a backup \
                 of it, which holds all of its Secrets; ask for that verb' : ' may write an app for the whole cluster; name a Project in \
                 spec.projectName, or ask for that verb')"
            ),
        )
}

/// The same of an app on many clusters, wherever these are.
fn multi_cluster_apps() -> Policy {
    let bind = Asked::ours(BIND, "roletemplates").named("object.spec.template.roleTemplateName");
    let policy = Policy::on("drover-multi-cluster-apps", &WRITES, &[(drover_crds::GROUP, &["multiclusterapps"])])
        .only(CHANGES_THE_SPEC.0, CHANGES_THE_SPEC.1)
        .with("ofProjects", "has(object.spec.template.projectName)")
        .require(
            bind.in_namespace("request.namespace").cel(),
            "'only who has the verb bind on roletemplates.drover.dev ' + object.spec.template.roleTemplateName + ' may give this \
             role to an app; ask for that verb, or ask who has it'",
        );
    let remedies = ["name the clusters, set spec.template.projectName", "set spec.template.projectName"];
    on_clusters(policy, "variables.ofProjects || ", "an app", remedies)
}

/// The same of backups of many clusters at times that repeat: each holds all Secrets of its cluster.
fn backup_schedules() -> Policy {
    let policy = Policy::on("drover-etcd-backup-schedules", &WRITES, &[(drover_crds::GROUP, &["etcdbackupschedules"])])
        .only(CHANGES_THE_SPEC.0, CHANGES_THE_SPEC.1);
    on_clusters(policy, "", "backups", ["name the clusters", "leave it out"])
}

/// The same of scans, which run on every node, and of what makes them again and again.
fn scans() -> Policy {
    let policy = Policy::on("drover-cis-scans", &WRITES, &[(drover_crds::GROUP, &["cisscans", "cisscanschedules"])])
        .only(CHANGES_THE_SPEC.0, CHANGES_THE_SPEC.1);
    on_clusters(policy, "", "scans", ["name the clusters", "leave it out"])
}

/// Whoever writes `what` for whole clusters needs the verb on each of them that is named, or on all; but for what `free`, an alternative,
/// lets through.
fn on_clusters(policy: Policy, free: &str, what: &str, [of_all, of_one]: [&str; 2]) -> Policy {
    let everywhere = Asked::ours(OPERATE, "clusters").cel();
    let mut policy = policy
        .with("names", "has(object.spec.clusters.names) ? object.spec.clusters.names : []")
        .require(
            format!("{free}(variables.names.size() > 0 && variables.names.size() <= {MOST_CLUSTERS}) || {everywhere}"),
            format!(
                "'only who has the verb operate on all clusters.drover.dev may write {what} for whole clusters that are not named; \
                 {of_all}, or ask for that verb'"
            ),
        );
    for place in 0..MOST_CLUSTERS {
        let name = format!("variables.names[{place}]");
        let operate = Asked::ours(OPERATE, "clusters").named(&name).cel();
        policy = policy.require(
            format!("{free}variables.names.size() <= {place} || {operate}"),
            format!(
                "'only who has the verb operate on clusters.drover.dev ' + {name} + ' may write {what} for the whole cluster; \
                 {of_one}, or ask for that verb'"
            ),
        );
    }
    policy
}

/// Who lets a revision go on answers for it, and so does who holds one, or decides which clusters wait for an approval.
fn approvals() -> Policy {
    let approve = Asked::ours(APPROVE, "multiclusterapps").named("object.metadata.name");
    let value = |object: &str| {
        let all = format!("{object}.metadata.annotations");
        format!("has({all}) && key in {all} ? {all}[key] : ''")
    };
    let (new, old) = (value("object"), value("oldObject"));
    let changes = format!(
        "['{ANNOTATION_APPROVE}', '{ANNOTATION_HOLD}'].exists(key, ({new}) != (request.operation == 'UPDATE' ? ({old}) : ''))"
    );
    let stages = |object: &str| format!("{object}.?spec.?rollout.?stages.orValue([])");
    let gates = |object: &str| {
        let each = "[dyn(stage.name), dyn(stage.?selector.orValue({})), dyn(stage.?approval.orValue('None'))]";
        format!("{}.map(stage, {each})", stages(object))
    };
    let loosens = format!(
        "request.operation == 'UPDATE' && {}.exists(stage, stage.?approval.orValue('None') == 'Required') \
         && ({} != {} || object.?spec.?clusters != oldObject.?spec.?clusters)",
        stages("oldObject"),
        gates("object"),
        gates("oldObject")
    );
    Policy::on("drover-multi-cluster-app-approvals", &WRITES, &[(drover_crds::GROUP, &["multiclusterapps"])])
        .only("changes-approvals", format!("{changes} || ({loosens})"))
        .require(
            approve.in_namespace("request.namespace").cel(),
            "'only who has the verb approve on multiclusterapps.drover.dev ' + object.metadata.name + ' in namespace ' \
             + request.namespace + ' may change the annotations drover.dev/approve and drover.dev/hold, and, where a stage \
             needs approval, clusters and the names, selectors and approvals of stages; ask for that verb, or ask who has it'",
        )
}

/// What a `MultiClusterApp` releases is decided there, and there alone: by its spec, its stages and its approvals. Whoever may write apps
/// changes none of its apps and none of its revisions by hand, nor makes up one of another namespace.
fn apps_of_rollouts() -> Policy {
    let policy = Policy::on(
        "drover-apps-of-rollouts",
        &WRITES,
        &[(drover_crds::GROUP, &["catalogapps"]), ("apps", &["controllerrevisions"])],
    )
    .only("is-of-a-rollout", either(is_of_a_rollout))
    .only("changes-what-a-rollout-decides", changes_what_a_rollout_decides());
    let instead = "its apps and revisions, and Drover does; change the MultiClusterApp instead";
    made_by_drover(policy, "multiclusterapps", instead)
}

/// Which backups a schedule deletes, with their data, is decided by its retention: nobody makes up one of it. What their specs say,
/// whoever may write backups of the cluster may change.
fn backups_of_schedules() -> Policy {
    let is_of_one =
        |object: &str| format!("{object}.metadata.?labels[?'{LABEL_OWNER_KIND}'].orValue('') == 'EtcdBackupSchedule'");
    let (labels, annotations) = (differs("labels", &OF_OWNERS), differs("annotations", &OF_SCHEDULES));
    let policy = Policy::on("drover-backups-of-schedules", &WRITES, &[(drover_crds::GROUP, &["etcdbackups"])])
        .only("is-of-a-schedule", either(is_of_one))
        .only("changes-the-owner", format!("request.operation == 'CREATE' || {labels} || {annotations}"));
    made_by_drover(policy, "etcdbackupschedules", "that a backup is one of it, and Drover does")
}

/// What a scan found is said by Drover alone: one that another client makes up would be a verdict without a scan.
fn reports() -> Policy {
    let policy = Policy::on("drover-cis-reports", &WRITES, &[(drover_crds::GROUP, &["cisreports", "cisreports/status"])])
        .only(
            "changes-a-report",
            format!(
                "request.operation == 'CREATE' || object.?spec != oldObject.?spec || object.?status != oldObject.?status || {}",
                differs("labels", &OF_OWNERS)
            ),
        );
    made_by_drover(policy, "cisscans", "its reports, and Drover does")
}

/// Of the object as it was, or as it is to be.
fn either(is_so: impl Fn(&str) -> String) -> String {
    format!("{} || (request.operation == 'UPDATE' && ({}))", is_so("object"), is_so("oldObject"))
}

/// Only Drover writes what an owner of this resource has, by the owner labels before and after.
fn made_by_drover(policy: Policy, owners: &str, what: &str) -> Policy {
    let owner = |object: &str| format!("{object}.metadata.?labels[?'{LABEL_OWNER_NAME}'].orValue('')");
    let manage = |name| Asked::ours(MANAGE, owners).in_namespace("request.namespace").named(name).cel();
    let refused = |owner: &str| {
        format!(
            "'only who has the verb {MANAGE} on {owners}.drover.dev ' + {owner} + ' in namespace ' + request.namespace + ' may write \
             {what}, or leave out the labels and annotations that Drover sets'"
        )
    };
    policy
        .with("owner", owner("object"))
        .with("formerOwner", format!("request.operation == 'UPDATE' ? {} : variables.owner", owner("oldObject")))
        .require(manage("variables.owner"), refused("variables.owner"))
        .require(
            format!("variables.formerOwner == variables.owner || {}", manage("variables.formerOwner")),
            refused("variables.formerOwner"),
        )
}

/// By its owner labels. Annotations of a `StatefulSet` are copied to its revisions, so those of a `ControllerRevision` tell nothing.
fn is_of_a_rollout(object: &str) -> String {
    format!(
        "{object}.metadata.?labels[?'{LABEL_OWNER_KIND}'].orValue('') == 'MultiClusterApp' || (request.resource.resource == 'catalogapps' \
         && [{}].exists(key, key in {object}.metadata.?annotations.orValue({{}})))",
        listed(&OF_ROLLOUTS)
    )
}

fn changes_what_a_rollout_decides() -> String {
    let content = OF_CONTENT.map(|field| format!("object.?{field} != oldObject.?{field}")).join(" || ");
    let (labels, annotations) = (differs("labels", &OF_OWNERS), differs("annotations", &OF_ROLLOUTS));
    format!("request.operation == 'CREATE' || {content} || {labels} || {annotations}")
}

fn differs(kind: &str, keys: &[&str]) -> String {
    format!("[{}].exists(key, object.metadata.?{kind}[?key] != oldObject.metadata.?{kind}[?key])", listed(keys))
}

fn listed(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("'{key}'")).collect::<Vec<_>>().join(", ")
}

fn role_templates() -> Policy {
    let changed = OF_RIGHTS.map(|field| format!("object.spec.?{field} != oldObject.spec.?{field}")).join(" || ");
    Policy::on("drover-role-templates", &WRITES, &[(drover_crds::GROUP, &["roletemplates"])])
        .only("changes-rights", format!("request.operation == 'CREATE' || {changed}"))
        .require(
            Asked::ours(ESCALATE, "roletemplates").named("object.metadata.name").cel(),
            "'only who has the verb escalate on roletemplates.drover.dev ' + object.metadata.name + ' may write what this \
             role allows and who may give it; ask for that verb, or ask who has it'",
        )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use drover_crds::RoleTemplate;
    use kube::CustomResourceExt as _;

    use super::*;

    /// The fields that say nothing of rights, or cannot be changed.
    const FREE_OF_RIGHTS: [&str; 3] = ["context", "displayName", "description"];

    #[test]
    fn every_field_of_a_role_template_is_judged_or_says_nothing_of_rights() {
        let definition = serde_json::to_value(RoleTemplate::crd()).unwrap();
        let spec = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
        let fields: BTreeSet<&str> = spec.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, OF_RIGHTS.into_iter().chain(FREE_OF_RIGHTS).collect());
    }

    #[test]
    fn no_expression_asks_the_authorizer_more_than_twice() {
        for policy in policies() {
            for validation in policy.spec.validations.unwrap_or_default() {
                let asked = validation.expression.matches(".check(").count();
                assert!((1..=2).contains(&asked), "{}: {}", policy.name, validation.expression);
            }
        }
    }
}
