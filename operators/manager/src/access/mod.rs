//! `drover access`: who has which role where, from the bindings of the management cluster, with the rights of the person who asks.

mod answer;
mod quota;
mod table;

use std::{collections::BTreeMap, fmt::Debug};

use drover_crds::{Cluster, ClusterRoleTemplateBinding, Project, ProjectRoleTemplateBinding, SubjectKind};
use drover_runtime::clock::now;
use k8s_openapi::{api::core::v1::Namespace, serde::de::DeserializeOwned};
use kube::{Api, Resource, ResourceExt as _, api::ListParams};

use crate::{
    command_line::{AccessArguments, AnswerFormat},
    membership::{MembershipError, Side},
    output::print,
};
use answer::{Inventory, Question};
pub(crate) use table::columns;

/// Objects of one kind that one request fetches.
const PAGE: u32 = 500;

/// Tells who has which role.
pub(crate) async fn access(arguments: &AccessArguments) -> Result<(), MembershipError> {
    let management = Side::management(&arguments.management).await?;
    let inventory = inventory(&management).await?;
    let question = question(arguments);
    let mut answer = answer::of(&question, &inventory, now());
    if let Some(namespace) = question.namespace.as_deref().filter(|_| question.people.is_empty()) {
        answer.quota = quota::in_clusters(&management, arguments, &inventory, &question, namespace).await?;
    }
    let text = match arguments.output {
        AnswerFormat::Table => table::of(&question, &answer),
        AnswerFormat::Json => serde_json::to_string_pretty(&answer)? + "\n",
    };
    print(&text).map_err(MembershipError::Print)
}

fn question(arguments: &AccessArguments) -> Question {
    let AccessArguments { user, group, service_account, namespace, cluster, .. } = arguments;
    let of = |kind, names: &[String]| names.iter().map(move |name| (kind, name.clone())).collect::<Vec<_>>();
    let people =
        [of(SubjectKind::User, user), of(SubjectKind::Group, group), of(SubjectKind::ServiceAccount, service_account)];
    Question { people: people.into_iter().flatten().collect(), namespace: namespace.clone(), cluster: cluster.clone() }
}

async fn inventory(management: &Side) -> Result<Inventory, MembershipError> {
    let client = || management.client.clone();
    let namespaces = list(management, &Api::<Namespace>::all(client())).await?;
    let labels = |namespace: Namespace| (namespace.name_any(), namespace.metadata.labels.unwrap_or_default());
    Ok(Inventory {
        namespaces: namespaces.into_iter().map(labels).collect::<BTreeMap<_, _>>(),
        clusters: list(management, &Api::<Cluster>::all(client())).await?,
        projects: list(management, &Api::<Project>::all(client())).await?,
        project_bindings: list(management, &Api::<ProjectRoleTemplateBinding>::all(client())).await?,
        cluster_bindings: list(management, &Api::<ClusterRoleTemplateBinding>::all(client())).await?,
    })
}

pub(crate) async fn list<K>(management: &Side, api: &Api<K>) -> Result<Vec<K>, MembershipError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let (what, mut found) = (format!("list the {}", K::plural(&())), Vec::new());
    let mut parameters = ListParams::default().limit(PAGE);
    loop {
        let page = management.ask(what.clone(), api.list(&parameters)).await?;
        found.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters.continue_token = Some(token),
            None => return Ok(found),
        }
    }
}
