//! One of the two clusters that a membership is between, as the person reaches it.

use std::{fmt::Debug, path::Path};

use drover_runtime::{ApiError, request::request};
use k8s_openapi::serde::de::DeserializeOwned;
use kube::{
    Api, Client, Config, Resource, ResourceExt as _,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;

use super::{MembershipError, objects};
use crate::{
    command_line::{ManagementArguments, MembershipArguments},
    identity::cluster_uid,
    kubeconfig,
};

/// Who applies what an import makes.
pub(super) const FIELD_MANAGER: &str = "drover-import";

/// The management cluster or the downstream one.
pub(crate) struct Side {
    pub(crate) client: Client,
    name: &'static str,
}

impl Side {
    /// The management cluster.
    pub(crate) async fn management(arguments: &ManagementArguments) -> Result<Self, MembershipError> {
        const NAME: &str = "management cluster";
        let kubeconfig = read(arguments.management_kubeconfig.as_deref(), NAME)?;
        Self::reach(NAME, &kubeconfig, arguments.management_context.as_deref()).await
    }

    /// The cluster behind `context`, and the kubeconfig that says so.
    pub(super) async fn downstream(
        arguments: &MembershipArguments,
        context: &str,
    ) -> Result<(Self, Kubeconfig), MembershipError> {
        const NAME: &str = "downstream cluster";
        let kubeconfig = read(arguments.kubeconfig.as_deref(), NAME)?;
        Ok((Self::reach(NAME, &kubeconfig, Some(context)).await?, kubeconfig))
    }

    async fn reach(
        name: &'static str,
        kubeconfig: &Kubeconfig,
        context: Option<&str>,
    ) -> Result<Self, MembershipError> {
        let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
        let config = Config::from_custom_kubeconfig(kubeconfig.clone(), &options).await;
        let config = config.map_err(|error| MembershipError::Kubeconfig(name, error))?;
        let context = context.or(kubeconfig.current_context.as_deref()).unwrap_or_default();
        let proxy_url = objects::cluster(kubeconfig, context).and_then(|cluster| cluster.proxy_url.as_deref());
        let client = drover_fleet::connect(&config, proxy_url);
        Ok(Self { client: client.map_err(|error| MembershipError::Client(name, error))?, name })
    }

    /// The identity of the cluster.
    pub(super) async fn uid(&self) -> Result<String, MembershipError> {
        self.said(cluster_uid(&self.client).await)
    }

    /// Makes a request.
    pub(crate) async fn ask<T>(
        &self,
        what: impl Into<String>,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, MembershipError> {
        self.said(request(what, call).await)
    }

    /// The error with the name of the cluster.
    pub(crate) fn said<T>(&self, answer: Result<T, ApiError>) -> Result<T, MembershipError> {
        answer.map_err(|error| MembershipError::Request(self.name, error))
    }

    /// Applies an object without force: a field that another field manager set differently stays, and the error names it.
    pub(super) async fn apply(&self, object: &Value) -> Result<(), MembershipError> {
        let object: DynamicObject = serde_json::from_value(object.clone())?;
        let Some(types) = object.types.clone() else { return Ok(()) };
        let kind = ApiResource::from_gvk(&(&types).try_into()?);
        let api = match object.namespace() {
            Some(namespace) => Api::<DynamicObject>::namespaced_with(self.client.clone(), &namespace, &kind),
            None => Api::all_with(self.client.clone(), &kind),
        };
        let name = object.name_any();
        let (parameters, patch) = (PatchParams::apply(FIELD_MANAGER), Patch::Apply(&object));
        self.ask(format!("apply {} {name}", types.kind), api.patch(&name, &parameters, &patch)).await?;
        say!("{}: {} {name} applied", self.name, types.kind);
        Ok(())
    }

    /// Deletes an object if an import made it.
    pub(super) async fn delete_imported<K>(&self, api: &Api<K>, name: &str) -> Result<(), MembershipError>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let kind = K::kind(&());
        let found = self.ask(format!("get the {kind} {name}"), api.get_metadata_opt(name)).await?;
        match found {
            None => {
                say!("{}: there is no {kind} {name}", self.name);
                Ok(())
            }
            Some(found) if objects::is_imported(&found.metadata) => self.delete(api, name).await,
            Some(_) => {
                say!("{}: {kind} {name} was not made by an import, and stays", self.name);
                Ok(())
            }
        }
    }

    /// Deletes an object. One that is gone is none to fail for.
    pub(super) async fn delete<K>(&self, api: &Api<K>, name: &str) -> Result<(), MembershipError>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let kind = K::kind(&());
        match request(format!("delete the {kind} {name}"), api.delete(name, &DeleteParams::default())).await {
            Ok(_) => say!("{}: {kind} {name} deleted", self.name),
            Err(ApiError::Refused { status, .. }) if status.is_not_found() => {}
            Err(error) => return self.said(Err(error)),
        }
        Ok(())
    }
}

fn read(path: Option<&Path>, which: &'static str) -> Result<Kubeconfig, MembershipError> {
    kubeconfig::read(path).map_err(|error| MembershipError::Kubeconfig(which, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_person_pastes_is_refused_without_a_panic() {
        for (server, more, user, said) in [
            ("https://127.0.0.1:1", "", r#"token: "s3cr3t\n""#, "line breaks"),
            ("http://127.0.0.1:1", "", "token: s3cr3t", "https://"),
            ("/path", "", "token: s3cr3t", "https://"),
            ("*", "", "token: s3cr3t", "https://"),
            ("https://127.0.0.1:1", "proxy-url: 'socks5://127.0.0.1:1'", "token: s3cr3t", "proxy-url"),
        ] {
            let person = Kubeconfig::from_yaml(&format!(
                "{{current-context: c, contexts: [{{name: c, context: {{cluster: k, user: u}}}}], \
                 clusters: [{{name: k, cluster: {{server: '{server}', {more}}}}}], users: [{{name: u, user: {{{user}}}}}]}}"
            ))
            .unwrap();
            let refused = Side::reach("downstream cluster", &person, None).await.map(drop).unwrap_err().to_string();
            assert!(refused.contains(said) && !refused.contains("s3cr3t"), "{server}: {refused}");
        }
    }
}
