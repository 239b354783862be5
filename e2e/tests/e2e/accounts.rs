//! Requests as accounts of a cluster: with the rights of the account, never with those of Drover.

use std::collections::BTreeSet;
use std::sync::Arc;

use drover_e2e::ControlPlane;
use drover_e2e::installation::{DROVER_USER, Installation};
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, soon};
use drover_runtime::accounts::{Accounts, Apply, Propagation};
use drover_runtime::{AccountClient, AccountError, AccountName, Classify as _, LabelQuery, ObjectKey};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use super::connections::connected;

drover_e2e::tests![
    an_app_has_the_rights_of_its_account_and_not_those_of_drover,
    a_refusal_to_an_account_says_what_stands_in_the_way,
];

const NAMESPACE: &str = "web";
const ACCOUNT: &str = "app.team.shop";

/// The credential of Drover is a client certificate, which an API server takes before any token.
async fn an_app_has_the_rights_of_its_account_and_not_those_of_drover() {
    let Some(rig) = Rig::start("the rights of an account").await else { return };
    let mark = rig.eu().audit_mark().unwrap();
    let (client, map) = (&rig.client, rig.client.resource("v1", "ConfigMap").await.unwrap());
    let key = ObjectKey::namespaced(NAMESPACE, "shop");
    assert_eq!(client.get(&map, &key).await.unwrap(), None);
    let body = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"mode": "a"},
        "metadata": {"name": "shop", "namespace": NAMESPACE, "labels": {"owner": "helm"}},
    });
    let dry_run = Apply { dry_run: true, ..Apply::default() };
    client.apply(&map, &key, &body, dry_run).await.unwrap();
    assert_eq!(client.get(&map, &key).await.unwrap(), None, "nothing was stored");
    let applied = client.apply(&map, &key, &body, Apply::default()).await.unwrap();
    assert_eq!(applied["metadata"]["managedFields"][0]["manager"], "helm");
    let exists = client.create(&map, &key, &body).await.unwrap_err();
    assert!(matches!(exists, AccountError::AlreadyExists { .. }), "{exists:?}");
    for number in 0..25 {
        let name = format!("shop-{number}");
        let mut another = body.clone();
        another["metadata"]["name"] = json!(name);
        client.create(&map, &ObjectKey::namespaced(NAMESPACE, &name), &another).await.unwrap();
    }
    let labelled = LabelQuery::equals("owner", "helm");
    let found = client.list(&map, NAMESPACE, &labelled).await.unwrap();
    let metadata = client.list_metadata(&map, NAMESPACE, &labelled).await.unwrap();
    assert_eq!((found.len(), metadata.len()), (26, 26), "of two pages");
    assert!(found.iter().all(|object| object["data"]["mode"] == "a" && object["kind"] == "ConfigMap"));
    assert!(metadata.iter().all(|object| object["data"] == Value::Null && object["metadata"]["uid"].is_string()));
    let looked_up = client.get_path(&format!("/api/v1/namespaces/{NAMESPACE}/configmaps/shop")).await.unwrap();
    assert_eq!(looked_up.status.as_u16(), 200);
    assert!(
        !client.delete(&map, &ObjectKey::namespaced(NAMESPACE, "none"), Propagation::Background, None).await.unwrap()
    );
    let other = client.delete(&map, &key, Propagation::Background, Some("another")).await.unwrap_err();
    assert_eq!(other.reason(), "Conflict", "{other}");
    let uid = applied["metadata"]["uid"].as_str();
    assert!(client.delete(&map, &key, Propagation::Background, uid).await.unwrap());

    // Drover may create namespaces in this cluster.
    let namespaces = client.resource("v1", "Namespace").await.unwrap();
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "stolen"}});
    let refused = client.create(&namespaces, &ObjectKey::cluster_scoped("stolen"), &body).await.unwrap_err();
    assert!(matches!(refused, AccountError::Forbidden { .. }), "{refused:?}");
    let expected =
        format!("User \"system:serviceaccount:drover-system:{ACCOUNT}\" cannot create resource \"namespaces\"");
    assert!(refused.to_string().contains(&expected), "{refused}");
    assert_eq!(client.get_path("/api/v1/namespaces/drover-system/configmaps/drover-claim").await.unwrap().status, 403);

    let events = rig.eu().audit_events_since(mark).unwrap();
    let by = |user: &str| {
        let theirs = events.iter().filter(|event| event.user == user && event.resource == "configmaps");
        theirs.filter(|event| event.namespace == NAMESPACE).count()
    };
    assert!(by(&format!("system:serviceaccount:drover-system:{ACCOUNT}")) > 30, "{events:?}");
    assert_eq!(by(DROVER_USER), 0, "{events:?}");
    let resources: BTreeSet<_> =
        events.iter().filter(|event| event.user == DROVER_USER).map(|event| event.kind().resource).collect();
    assert!(resources.contains("serviceaccounts/token"), "{resources:?}");

    // Without its account it has no token, and nothing goes on with another one.
    let accounts = Api::<ServiceAccount>::namespaced(rig.eu().client(), "drover-system");
    accounts.delete(ACCOUNT, &DeleteParams::default()).await.unwrap();
    let gone =
        eventually("its token is refused", soon(), async || Ok(client.get(&map, &key).await.err())).await.unwrap();
    assert!(matches!(gone, AccountError::Token(_)), "{gone:?}");
    assert_eq!(gone.reason(), "NotFound", "{gone}");
}

async fn a_refusal_to_an_account_says_what_stands_in_the_way() {
    let Some(rig) = Rig::start("refusals to an account").await else { return };
    let (client, key) = (&rig.client, ObjectKey::namespaced(NAMESPACE, "shop"));
    let kinds = rig.accounts.kinds().await.unwrap();
    assert!(kinds.version.starts_with("v1."), "{}", kinds.version);
    let versions: BTreeSet<_> = kinds.api_versions().collect();
    for version in ["v1", "v1/Secret", "apps/v1", "apps/v1/Deployment", "rbac.authorization.k8s.io/v1/ClusterRole"] {
        assert!(versions.contains(version), "{version}");
    }
    let unknown = client.resource("example.com/v1", "Toy").await.unwrap_err();
    assert_eq!(unknown.to_string(), "the API server has no Toy in example.com/v1");

    let deployment = client.resource("apps/v1", "Deployment").await.unwrap();
    let of = |app: &str, replicas: u32| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop", "namespace": NAMESPACE},
            "spec": {
                "replicas": replicas, "selector": {"matchLabels": {"app": app}},
                "template": {"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
            },
        })
    };
    client.apply(&deployment, &key, &of("shop", 0), Apply::default()).await.unwrap();
    let immutable = client.apply(&deployment, &key, &of("other", 0), Apply::default()).await.unwrap_err();
    assert!(matches!(immutable, AccountError::Immutable { .. }), "{immutable:?}");
    assert!(immutable.to_string().starts_with("cannot apply Deployment web/shop: "), "{immutable}");

    let deployments = Api::<k8s_openapi::api::apps::v1::Deployment>::namespaced(rig.eu().client(), NAMESPACE);
    let scaled = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 1}});
    deployments.patch("shop", &PatchParams::apply("scaler").force(), &Patch::Apply(&scaled)).await.unwrap();
    let conflict = client.apply(&deployment, &key, &of("shop", 2), Apply::default()).await.unwrap_err();
    assert_eq!(conflict.to_string(), "cannot apply Deployment web/shop: scaler owns .spec.replicas");
    let force = Apply { force: true, ..Apply::default() };
    let forced = client.apply(&deployment, &key, &of("shop", 2), force).await.unwrap();
    assert_eq!(forced["spec"]["replicas"], 2);
    let mut stale = forced;
    stale["metadata"]["resourceVersion"] = json!("1");
    assert_eq!(client.update(&deployment, &key, &stale).await.unwrap_err().reason(), "Conflict");
    let map = client.resource("v1", "ConfigMap").await.unwrap();
    let nowhere = ObjectKey::namespaced("nowhere", "shop");
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shop", "namespace": "nowhere"}});
    assert!(matches!(client.create(&map, &nowhere, &body).await, Err(AccountError::Forbidden { .. })));
}

/// A cluster with an account of an app, in which that may do what people may who edit a namespace, and Drover may get tokens of it.
struct Rig {
    installation: Installation,
    accounts: Arc<Accounts>,
    client: AccountClient,
    _fleet: AbortOnDropHandle<()>,
}

impl Rig {
    async fn start(test: &str) -> Option<Self> {
        let installation = story(test, &["eu"]).await?;
        reads(&installation, "cluster", "eu", "Ready", "True/Connected").await;
        grant(installation.cluster("eu").unwrap()).await;
        let (cache, fleet) = connected(&installation, "eu").await;
        let accounts = cache.attached::<Accounts>().unwrap();
        let client = accounts.client(&AccountName::of_app(TEAM, "shop"));
        Some(Self { installation, accounts, client, _fleet: fleet })
    }

    fn eu(&self) -> &ControlPlane {
        self.installation.cluster("eu").unwrap()
    }
}

async fn grant(plane: &ControlPlane) {
    let account = json!({"kind": "ServiceAccount", "name": ACCOUNT, "namespace": "drover-system"});
    let drover = json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": DROVER_USER});
    let role = |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    let namespaces = Api::<Namespace>::all(plane.client());
    namespaces.create(&PostParams::default(), &object(&json!({"metadata": {"name": NAMESPACE}}))).await.unwrap();
    create::<ServiceAccount>(plane, "drover-system", &json!({"metadata": {"name": ACCOUNT}})).await;
    let tokens = json!([{"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]}]);
    let tokens = json!({"metadata": {"name": "tokens"}, "rules": tokens});
    create::<Role>(plane, "drover-system", &tokens).await;
    let binding = json!({"metadata": {"name": "tokens"}, "roleRef": role("Role", "tokens"), "subjects": [drover]});
    create::<RoleBinding>(plane, "drover-system", &binding).await;
    let binding = json!({"metadata": {"name": "shop"}, "roleRef": role("ClusterRole", "edit"), "subjects": [account]});
    create::<RoleBinding>(plane, NAMESPACE, &binding).await;
}

async fn create<K>(plane: &ControlPlane, namespace: &str, body: &Value)
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    K: Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    Api::<K>::namespaced(plane.client(), namespace).create(&PostParams::default(), &object(body)).await.unwrap();
}

fn object<K: DeserializeOwned>(body: &Value) -> K {
    serde_json::from_value(body.clone()).unwrap()
}
