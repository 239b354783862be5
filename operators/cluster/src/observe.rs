//! What there is at a cluster whose Cluster is being deleted. Decides nothing.

use std::{borrow::Cow, time::Duration};

use drover_admission::downstream;
use drover_crds::{
    CatalogApp, Cluster, DeletionPolicy, Project, RoleTemplate,
    names::{DROVER_NAMESPACE, LABEL_MANAGED_BY, LABEL_OWNER_KIND, MANAGED_BY, MANAGED_BY_IMPORT},
};
use drover_fleet::{admission::OWNER_KIND, claim};
use drover_runtime::{
    Answer, ApiError, ClusterName, Failure, Informer, Kept, Link, ObjectKey, OwnerRecord, PlaceContext, cache::Lookup,
    cache::list_metadata, request::request,
};
use k8s_openapi::{
    ClusterResourceScope,
    api::{
        admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
        authentication::v1::SelfSubjectReview,
        coordination::v1::Lease,
        core::v1::{Namespace, ServiceAccount},
        rbac::v1::{ClusterRole, ClusterRoleBinding},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{ListParams, PostParams},
};

use crate::ClusterOperator;

/// What is known of a cluster whose Cluster is being deleted.
#[derive(Clone, Debug)]
pub struct Teardown {
    /// For how long this process has been running.
    pub running: Duration,
    /// Whether it answers, and what Drover has there.
    pub reach: Reach,
}

/// Whether a cluster whose Cluster is being deleted answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Reach {
    /// Drover connects for the first time.
    Connecting,
    /// It cannot be reached.
    Disconnected(Failure),
    /// It can be reached, but what Drover has there cannot be looked up.
    Failing(Failure),
    /// It can be reached.
    Connected(There),
}

/// What Drover has at a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct There {
    /// Who holds the claim.
    pub holder: Holder,
    /// How many namespaces carry the labels of an owner that may still release them, up to [`MOST_COUNTED`].
    pub owned: usize,
    /// How many apps have an account there, up to [`MOST_COUNTED`]; they uninstall themselves by it.
    pub apps: usize,
    /// How many roles and bindings of role templates, Projects and apps there are; their operators remove them.
    pub roles: usize,
    /// The namespaces of Projects that do not exist, up to [`MOST_COUNTED`]: nothing else releases them.
    pub left_behind: Vec<LeftBehind>,
    /// The admission policies of ours.
    pub policies: Vec<String>,
    /// UID of the namespace drover-system, if Drover created it and it is not being deleted already.
    pub namespace: Option<String>,
    /// Whether a Drover runs in that namespace, another installation was imported into it, or that is unknown: then it is
    /// not Drover's alone.
    pub hosts_others: bool,
}

/// A namespace whose Project does not exist.
#[derive(Clone, Debug, PartialEq)]
pub struct LeftBehind {
    /// As it is.
    pub live: ObjectMeta,
    /// The Project that its labels record.
    pub holder: ObjectKey,
}

/// Who holds the claim on a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// This Cluster.
    Us,
    /// Nobody.
    Nobody,
    /// Another Cluster or another installation.
    Other,
}

/// So many namespaces are looked at: whether any is left matters, and the question comes every two seconds.
pub(crate) const MOST_COUNTED: usize = 500;

/// Looks what there is. A failure is part of the answer: a cluster that keeps failing must be abandoned as well.
pub(crate) async fn look(operator: &ClusterOperator, cluster: &Cluster, context: &PlaceContext) -> Teardown {
    let link = context.fleet.get(&ClusterName::from(cluster)).map_or(Link::Connecting, |view| view.link.clone());
    let reach = match link {
        Link::Connecting | Link::Unclaimed(_) => Reach::Connecting,
        Link::Disconnected(failure) => Reach::Disconnected(failure),
        Link::Connected(cache) => match look_there(operator, cluster, context, &cache.client()).await {
            Ok(there) => Reach::Connected(there),
            Err(error) => Reach::Failing(Failure::of(&error)),
        },
    };
    Teardown { running: operator.started.elapsed(), reach }
}

async fn look_there(
    operator: &ClusterOperator,
    cluster: &Cluster,
    context: &PlaceContext,
    client: &Client,
) -> Result<There, ApiError> {
    let projects = context.related::<Project>();
    let installation = operator.fleet.installation();
    let holder = match claim::read(client).await? {
        None => Holder::Nobody,
        Some(claim) if claim.is_held_by(installation, &cluster.name_any()) => Holder::Us,
        Some(_) => Holder::Other,
    };
    if cluster.spec.deletion_policy != DeletionPolicy::Delete {
        return Ok(There {
            holder,
            owned: 0,
            apps: 0,
            roles: 0,
            left_behind: Vec::new(),
            policies: Vec::new(),
            namespace: None,
            hosts_others: false,
        });
    }
    let api = Api::<Namespace>::all(client.clone());
    let page = u32::try_from(MOST_COUNTED).unwrap_or(u32::MAX);
    let kind = Project::kind(&());
    let ours = ListParams::default().labels(&format!("{LABEL_OWNER_KIND}={kind}")).limit(page);
    let mut listed = list_metadata("list the Namespaces that Drover manages", &api, &ours).await?;
    listed.retain(|found| OwnerRecord::recorded(found, &kind).is_some());
    let count = listed.len();
    let left_behind: Vec<_> = listed.into_iter().filter_map(|found| left_behind(&projects, found)).collect();
    let owned = count - left_behind.len();
    let api = Api::<Answer<Namespace>>::all(client.clone());
    let found = request("get Namespace drover-system", api.get_opt(DROVER_NAMESPACE)).await?;
    let namespace = found.map(|namespace| namespace.0.metadata).filter(|meta| {
        let managed_by = meta.labels.as_ref().and_then(|labels| labels.get(LABEL_MANAGED_BY));
        managed_by.is_some_and(|by| by == MANAGED_BY) && meta.deletion_timestamp.is_none()
    });
    let namespace = namespace.and_then(|meta| meta.uid);
    let hosts_others = namespace.is_some() && (hosts_drover(client).await? || hosts_another_import(client).await?);
    let apps = Api::<ServiceAccount>::namespaced(client.clone(), DROVER_NAMESPACE);
    let apps = count_owned(&apps, &[CatalogApp::kind(&())]).await?;
    // Those of Projects let their members create namespaces.
    let of_roles = [RoleTemplate::kind(&()), Project::kind(&()), CatalogApp::kind(&())];
    let roles = count_owned(&Api::<ClusterRole>::all(client.clone()), &of_roles).await?
        + count_owned(&Api::<ClusterRoleBinding>::all(client.clone()), &of_roles).await?;
    let policies = policies(client).await?;
    Ok(There { holder, owned, apps, roles, left_behind, policies, namespace, hosts_others })
}

/// How many objects of owners of these kinds there are. Who may not list them was imported for an older Drover, which wrote none.
async fn count_owned<K: Kept>(api: &Api<K>, kinds: &[Cow<'_, str>]) -> Result<usize, ApiError> {
    let page = u32::try_from(MOST_COUNTED).unwrap_or(u32::MAX);
    let ours = ListParams::default().labels(&format!("{LABEL_OWNER_KIND} in ({})", kinds.join(","))).limit(page);
    let what = format!("list the {}s that Drover manages", K::kind(&()));
    match list_metadata(&what, api, &ours).await {
        Err(error) if error.code() == Some(403) => Ok(0),
        answer => Ok(answer?.len()),
    }
}

fn left_behind(projects: &Informer<Project>, mut live: ObjectMeta) -> Option<LeftBehind> {
    live.managed_fields = None;
    let holder = OwnerRecord::recorded(&live, &Project::kind(&()))?;
    let is_gone = matches!(projects.lookup_live(&holder), Some(Lookup::Absent));
    is_gone.then_some(LeftBehind { live, holder })
}

/// Whoever leads has a Lease there, and it stays when nobody leads. Who imported the cluster for an older Drover may not list
/// them.
async fn hosts_drover(client: &Client) -> Result<bool, ApiError> {
    let leases = Api::<Lease>::namespaced(client.clone(), DROVER_NAMESPACE);
    let one = ListParams::default().limit(1);
    match list_metadata("list the Leases in drover-system", &leases, &one).await {
        Err(error) if error.code() == Some(403) => Ok(true),
        answer => Ok(!answer?.is_empty()),
    }
}

/// Another installation that waits for the claim has its account and token there already. Who imported the cluster for an older
/// Drover may not list them.
async fn hosts_another_import(client: &Client) -> Result<bool, ApiError> {
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), DROVER_NAMESPACE);
    let imported = ListParams::default().labels(&format!("{LABEL_MANAGED_BY}={MANAGED_BY_IMPORT}"));
    let listed = match list_metadata("list the ServiceAccounts in drover-system", &accounts, &imported).await {
        Err(error) if error.code() == Some(403) => return Ok(true),
        answer => answer?,
    };
    if listed.is_empty() {
        return Ok(false);
    }
    let own = own_user(client).await?;
    let user = |name: String| format!("system:serviceaccount:{DROVER_NAMESPACE}:{name}");
    Ok(listed.into_iter().any(|account| Some(user(account.name.unwrap_or_default())) != own))
}

/// Who the cluster takes us for.
async fn own_user(client: &Client) -> Result<Option<String>, ApiError> {
    let reviews = Api::<SelfSubjectReview>::all(client.clone());
    let (parameters, review) = (PostParams::default(), SelfSubjectReview::default());
    let answer = request("create a SelfSubjectReview", reviews.create(&parameters, &review)).await?;
    Ok(answer.status.and_then(|status| status.user_info?.username))
}

/// The names of our policies that are there. A credential that may not list them has written none.
async fn policies(client: &Client) -> Result<Vec<String>, ApiError> {
    let mut all = names_of::<ValidatingAdmissionPolicyBinding>(client).await?;
    all.extend(names_of::<ValidatingAdmissionPolicy>(client).await?);
    all.sort();
    all.dedup();
    Ok(all)
}

async fn names_of<K: Kept + Resource<Scope = ClusterResourceScope>>(client: &Client) -> Result<Vec<String>, ApiError> {
    let ours = ListParams::default().labels(&format!("{LABEL_OWNER_KIND}={OWNER_KIND}"));
    let api = Api::<K>::all(client.clone());
    match list_metadata("list the admission policies that Drover manages", &api, &ours).await {
        Err(error) if error.code() == Some(403) => Ok(Vec::new()),
        answer => {
            let ours = |found: &ObjectMeta| found.name.as_deref().is_some_and(|name| downstream::NAMES.contains(&name));
            Ok(answer?.into_iter().filter(ours).filter_map(|found| found.name).collect())
        }
    }
}
