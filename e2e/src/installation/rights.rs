//! What users may do downstream: exactly what Drover asks for, or everything.

use drover_crds::names::{DROVER_NAMESPACE, LABEL_MANAGED_BY, MANAGED_BY};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::repository;
use crate::ControlPlane;
use crate::error::{FileContext, Result};
use crate::objects::{apply_text_to, apply_to};

const RBAC: &str = "rbac.authorization.k8s.io";
/// How both roles in the file are called.
const ROLE: &str = "drover-downstream";

/// The roles that Drover needs in a downstream cluster, `config/rbac/downstream.yaml`.
pub fn downstream_roles() -> Result<String> {
    let path = repository().join("config/rbac/downstream.yaml");
    std::fs::read_to_string(&path).on("read", &path)
}

/// Gives a user exactly the rights that Drover needs in a downstream cluster. Done twice it ends the same.
///
/// One of the roles lies in Drover's namespace there, which is made as Drover makes it: it goes with the Cluster that it is
/// deleted for, and the role with it.
pub async fn grant_downstream_roles(plane: &ControlPlane, user: &str) -> Result<()> {
    let metadata = json!({"name": DROVER_NAMESPACE, "labels": {LABEL_MANAGED_BY: MANAGED_BY}});
    apply_to(plane, &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})).await?;
    apply_text_to(plane, &downstream_roles()?).await?;
    apply_to(plane, &binding("ClusterRoleBinding", "ClusterRole", &json!({"name": user}), user)).await?;
    let metadata = json!({"name": user, "namespace": DROVER_NAMESPACE});
    apply_to(plane, &binding("RoleBinding", "Role", &metadata, user)).await
}

fn binding(kind: &str, role: &str, metadata: &Value, user: &str) -> Value {
    json!({
        "apiVersion": format!("{RBAC}/v1"), "kind": kind, "metadata": metadata,
        "subjects": [{"kind": "User", "name": user, "apiGroup": RBAC}],
        "roleRef": {"kind": role, "name": ROLE, "apiGroup": RBAC},
    })
}

/// Gives the service account `account` in a namespace of a control plane exactly the rights that Drover needs in a downstream
/// cluster, and returns a new token of it. The namespace has to be there, or be Drover's.
pub async fn downstream_token(plane: &ControlPlane, namespace: &str, account: &str) -> Result<String> {
    grant_downstream_roles(plane, &format!("system:serviceaccount:{namespace}:{account}")).await?;
    ensure_account(plane, namespace, account).await?;
    token(plane, namespace, account).await
}

/// Makes the service account `account` in a namespace of a control plane a cluster administrator, and returns a new token of
/// it. The namespace has to be there.
pub async fn administrator_token(plane: &ControlPlane, namespace: &str, account: &str) -> Result<String> {
    ensure_account(plane, namespace, account).await?;
    let subject = json!({"kind": "ServiceAccount", "name": account, "namespace": namespace});
    let binding = json!({
        "apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": account},
        "subjects": [subject], "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "cluster-admin"},
    });
    apply_to(plane, &binding).await?;
    token(plane, namespace, account).await
}

async fn ensure_account(plane: &ControlPlane, namespace: &str, account: &str) -> Result<()> {
    let metadata = json!({"name": account, "namespace": namespace});
    apply_to(plane, &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})).await
}

/// A new token of a service account, good for two hours.
pub(super) async fn token(plane: &ControlPlane, namespace: &str, account: &str) -> Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(plane.client(), namespace);
    let spec = TokenRequestSpec { expiration_seconds: Some(7200), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let answer = accounts.create_token_request(account, &PostParams::default(), &request).await?;
    Ok(answer.status.and_then(|status| status.token).unwrap_or_default())
}
