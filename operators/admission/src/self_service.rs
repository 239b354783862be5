//! The policy by which members of a Project create namespaces in a cluster, and reach no further than its prefixes.
//!
//! The labels by which a namespace asks for a Project say who is to have rights in it, so they are set as it is created, by whoever
//! has the verb [`CREATE_NAMESPACES`] for the beginning of its name. RBAC lets members create and patch any namespace; the verb
//! [`SELF_SERVICE`], which they are given together with that, holds them to those of their Project.

use drover_crds::{
    metadata_key::is_the_cluster_owners_in_cel,
    names::{LABEL_PROJECT, LABEL_PROJECT_NAMESPACE},
};

use crate::{
    downstream::{keeps, with_metadata},
    policy::{Asked, Policy},
    verbs::{CREATE_NAMESPACES, MANAGE, SELF_SERVICE},
};

const WRITES: [&str; 2] = ["CREATE", "UPDATE"];

/// Up to so many dashes of a name it is tried whether it begins with a prefix: each is one question to the authorizer.
const MOST_DASHES: usize = 4;

/// Keys that look like the cluster owner's, and that the API server or kubectl sets for everybody.
const SET_FOR_EVERYBODY: [&str; 2] =
    ["kubernetes.io/metadata.name", "kubectl.kubernetes.io/last-applied-configuration"];

/// How labels begin that members may set themselves: those of Kubernetes for people, and by which Argo CD and Flux know what they
/// applied. Others may open doors, such as policies that select namespaces; a Project sets those that `metadataKeys` allow.
const FREE_LABELS: [&str; 4] =
    ["app.kubernetes.io/", "argocd.argoproj.io/", "kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/"];

pub(crate) fn policy() -> Policy {
    let resources = ["namespaces", "namespaces/finalize", "namespaces/status"];
    let policy = with_metadata(Policy::on("drover-self-service", &WRITES, &[("", &resources)]));
    fenced(requested(judged(with_requests(policy))))
}

/// For which Project a namespace asks, as `NAMESPACE.PROJECT`, and for which one it did; `.` for none.
fn with_requests(policy: Policy) -> Policy {
    ["", "old_"].into_iter().fold(policy, |policy, when| {
        let label = |name| format!("variables.{when}labels[?'{name}'].orValue('')");
        policy.with(
            &format!("{when}project"),
            format!("{} + '.' + {}", label(LABEL_PROJECT_NAMESPACE), label(LABEL_PROJECT)),
        )
    })
}

/// What the requester may do. A variable is worked out only where an expression needs it.
fn judged(policy: Policy) -> Policy {
    let on_namespaces = |verb| Asked::on("", "namespaces", verb);
    let policy = policy
        .with("name", "object.metadata.name")
        .with("is_drover", on_namespaces(MANAGE).named("variables.name").cel())
        .with("is_fenced", format!("{} && !variables.is_drover", on_namespaces(SELF_SERVICE).cel()))
        // The fence comes with `patch` alone, so whoever may update a namespace has that right from elsewhere.
        .with("may_update", on_namespaces("update").in_namespace("variables.name").named("variables.name").cel())
        .with("may_withdraw", Asked::ours(CREATE_NAMESPACES, "projects").named("variables.old_project").cel());
    (1..=MOST_DASHES).fold(policy, |policy, dashes| policy.with(&begins_at(dashes), may_begin_at(dashes)))
}

fn begins_at(dashes: usize) -> String {
    format!("may_begin_at_dash_{dashes}")
}

/// Whether the requester may create namespaces for the Project whose names begin as this one does up to one of its dashes.
fn may_begin_at(dashes: usize) -> String {
    let parts = format!("variables.name.split('-', {})", dashes + 1);
    let prefix = format!("variables.name.substring(0, variables.name.size() - {parts}[{dashes}].size())");
    let name = format!("variables.project + '.' + {prefix}");
    let asked = Asked::ours(CREATE_NAMESPACES, "projects").named(&name).cel();
    format!("{parts}.size() > {dashes} && {asked}")
}

/// Who may ask for a Project, and who may take that back.
fn requested(policy: Policy) -> Policy {
    let changes = "variables.project != variables.old_project";
    let may_begin: Vec<_> = (1..=MOST_DASHES).map(|dashes| format!("variables.{}", begins_at(dashes))).collect();
    let was_asked = "request.operation == 'CREATE' || variables.old_project != '.'";
    policy
        .require(
            format!(
                "!({changes}) || variables.old_project == '.' || variables.is_drover"
            ),
            // What leaves a Project takes its workloads along, and frees its share of the quota.
            format!(
                "'namespace ' + variables.name + ' asks for Project ' + variables.old_project + ', and only who has the verb {MANAGE} \
                 on namespaces may change that; leave the labels {LABEL_PROJECT} and {LABEL_PROJECT_NAMESPACE} as they are, or delete \
                 the namespace'"
            ),
        )
        .require(
            format!(
                "!({changes}) || variables.project == '.' || (({was_asked}) && ({})) || variables.is_drover",
                may_begin.join(" || ")
            ),
            format!(
                "'namespace ' + variables.name + ' may not ask for Project ' + variables.project + ': whoever creates it has to have \
                 the verb {CREATE_NAMESPACES} there for the beginning of this name; choose a name that namePrefixes of the Project \
                 allow, and set both labels {LABEL_PROJECT} and {LABEL_PROJECT_NAMESPACE} as the namespace is created'"
            ),
        )
}

/// What those may do whom a Project lets create namespaces.
fn fenced(policy: Policy) -> Policy {
    let exempt = SET_FOR_EVERYBODY.map(|key| format!("'{key}'")).join(", ");
    let is_kept = format!("!(key in [{exempt}]) && {}", is_the_cluster_owners_in_cel("key"));
    let free = FREE_LABELS.map(|begins| format!("key.startsWith('{begins}')")).join(" || ");
    let is_label_kept = format!("!(key in [{exempt}, '{LABEL_PROJECT}', '{LABEL_PROJECT_NAMESPACE}']) && !({free})");
    let finalizers = |object: &str| format!("{object}.metadata.?finalizers.orValue([])");
    let added = format!(
        "{}.all(each, request.operation == 'UPDATE' && each in {})",
        finalizers("object"),
        finalizers("oldObject")
    );
    policy
        .require(
            "request.operation != 'CREATE' || variables.project != '.' || !variables.is_fenced",
            format!(
                "'namespace ' + variables.name + ' has to name its Project; set the labels {LABEL_PROJECT} and \
                 {LABEL_PROJECT_NAMESPACE}'"
            ),
        )
        .require(
            "request.operation != 'UPDATE' || !variables.is_fenced || variables.may_update || variables.may_withdraw",
            "'namespace ' + variables.name + ' is none that the requester may create, so no Project lets them change it; ask who \
             owns it'",
        )
        .require(
            format!(
                "!variables.is_fenced || variables.may_update || ({} && {} && {added})",
                keeps("labels", &is_label_kept),
                keeps("annotations", &is_kept)
            ),
            "'namespace ' + variables.name + ' may carry no finalizer, no label but app.kubernetes.io/* and those of Argo CD and \
             Flux, and no annotation that means something to the cluster; remove them, or ask for the label in the Project'",
        )
}
