//! The volumes of a Pod as folders.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapProjection, HostPathVolumeSource, Pod, PodSpec, ProjectedVolumeSource, Secret, ServiceAccount,
    ServiceAccountTokenProjection, Volume, VolumeProjection,
};
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};

use super::{Host, environment};
use crate::error::{FileContext, Result};

/// The folder of each volume, by its name.
pub(super) type Volumes = BTreeMap<String, PathBuf>;

/// All volumes of a Pod, below `folder`; none while something that is in one is not there.
pub(super) async fn prepared(host: &Host, pod: &Pod, spec: &PodSpec, folder: &Path) -> Result<Option<Volumes>> {
    let mut volumes = Volumes::new();
    for volume in spec.volumes.iter().flatten() {
        let maker = Maker { host, pod, spec, folder: folder.join(&volume.name) };
        let Some(source) = maker.prepare(volume).await? else { return Ok(None) };
        volumes.insert(volume.name.clone(), source);
    }
    Ok(Some(volumes))
}

/// Fills one folder.
struct Maker<'a> {
    host: &'a Host,
    pod: &'a Pod,
    spec: &'a PodSpec,
    folder: PathBuf,
}

impl Maker<'_> {
    async fn prepare(self, volume: &Volume) -> Result<Option<PathBuf>> {
        if let Some(wanted) = &volume.host_path {
            return host_folder(self.host, wanted);
        }
        fs::create_dir_all(&self.folder).on("create", &self.folder)?;
        let is_there = if volume.empty_dir.is_some() {
            // Whichever user a container has: it may write there.
            fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o777)).on("open", &self.folder)?;
            true
        } else if let Some(projected) = &volume.projected {
            self.project(projected).await?
        } else if let Some(name) = volume.secret.as_ref().and_then(|secret| secret.secret_name.as_ref()) {
            self.secret(name).await?
        } else {
            false
        };
        Ok(is_there.then_some(self.folder))
    }

    fn namespace(&self) -> String {
        self.pod.namespace().unwrap_or_default()
    }

    async fn secret(&self, name: &str) -> Result<bool> {
        let secrets: Api<Secret> = Api::namespaced(self.host.client.clone(), &self.namespace());
        let Some(secret) = secrets.get_opt(name).await? else { return Ok(false) };
        for (key, content) in secret.data.unwrap_or_default() {
            let mut text = String::from_utf8_lossy(&content.0).into_owned();
            for (from, to) in &self.host.settings.addresses {
                text = text.replace(from, to);
            }
            self.write(&key, &text)?;
        }
        Ok(true)
    }

    async fn project(&self, projected: &ProjectedVolumeSource) -> Result<bool> {
        for source in projected.sources.iter().flatten() {
            if !self.project_one(source).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn project_one(&self, source: &VolumeProjection) -> Result<bool> {
        if let Some(wanted) = &source.service_account_token {
            return self.token(wanted).await;
        }
        if let Some(wanted) = &source.config_map {
            return self.config_map(wanted).await;
        }
        for item in source.downward_api.iter().flat_map(|wanted| wanted.items.iter().flatten()) {
            let field = item.field_ref.as_ref().map(|field| field.field_path.as_str()).unwrap_or_default();
            self.write(&item.path, &environment::field(self.pod, self.spec, field))?;
        }
        Ok(source.downward_api.is_some())
    }

    /// A token that ends with the Pod.
    async fn token(&self, wanted: &ServiceAccountTokenProjection) -> Result<bool> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.host.client.clone(), &self.namespace());
        let account = self.spec.service_account_name.as_deref().unwrap_or("default");
        let bound = BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: self.pod.metadata.name.clone(),
            uid: self.pod.metadata.uid.clone(),
        };
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: Some(wanted.audience.iter().cloned().collect()),
                bound_object_ref: Some(bound),
                expiration_seconds: wanted.expiration_seconds,
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let answer = accounts.create_token_request(account, &PostParams::default(), &request).await?;
        let Some(token) = answer.status.and_then(|status| status.token) else { return Ok(false) };
        self.write(&wanted.path, &token)?;
        Ok(true)
    }

    async fn config_map(&self, wanted: &ConfigMapProjection) -> Result<bool> {
        let maps: Api<ConfigMap> = Api::namespaced(self.host.client.clone(), &self.namespace());
        let Some(map) = maps.get_opt(&wanted.name).await? else { return Ok(wanted.optional == Some(true)) };
        let data = map.data.unwrap_or_default();
        let Some(items) = &wanted.items else {
            data.iter().try_for_each(|(key, text)| self.write(key, text))?;
            return Ok(true);
        };
        for item in items {
            let Some(text) = data.get(&item.key) else { return Ok(wanted.optional == Some(true)) };
            self.write(&item.path, text)?;
        }
        Ok(true)
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        let file = self.folder.join(path);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent).on("create", parent)?;
        }
        fs::write(&file, text).on("write", &file)
    }
}

/// The folder here that a path of the host is: the one that the settings name, or lies below it. One that is not there is made, as
/// container runtimes do where the Pod does not ask for one that is there; none otherwise.
fn host_folder(host: &Host, wanted: &HostPathVolumeSource) -> Result<Option<PathBuf>> {
    let path = Path::new(&wanted.path);
    let known = host.settings.host.iter().filter_map(|(known, here)| Some((here, path.strip_prefix(known).ok()?)));
    // Below the longest one.
    let named = known.min_by_key(|(_, rest)| rest.components().count()).map(|(here, rest)| here.join(rest));
    let own = host.folder.path().join("host").join(path.strip_prefix("/").unwrap_or(path));
    let folder = named.unwrap_or(own);
    let is_made = matches!(wanted.type_.as_deref().unwrap_or_default(), "" | "DirectoryOrCreate");
    if is_made && !folder.exists() {
        fs::create_dir_all(&folder).on("create", &folder)?;
    }
    Ok(folder.exists().then_some(folder))
}
