//! Runs `helm template` as a confined child process.

mod child;
mod failure;
mod folder;
mod pool;

use std::{collections::BTreeSet, ffi::OsString, io, path::PathBuf, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{sync::OnceCell, task::spawn_blocking};

pub use self::{
    failure::Failure,
    folder::{ASKS, RenderFolder},
    pool::{Pool, Slot},
};
use crate::{
    confine,
    manifest::{ManifestError, Rendered},
};

/// Bytes that a chart may render to.
pub const MAX_OUTPUT: usize = 32 << 20;
/// The version of helm that is known to print what is expected.
const HELM: &str = "v4.";
/// What helm says where a cluster serves no such kind.
const UNKNOWN_KIND: &str = "ensure CRDs are installed first";
/// Bytes of one argument that names kinds of a cluster, and of all of them.
const LONGEST_ARGUMENT: usize = 64 << 10;
const LONGEST_ARGUMENTS: usize = 512 << 10;

/// How charts are rendered.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program helm, version 4.
    pub helm: PathBuf,
    /// The command that calls [`confine::run`] with what follows it, such as this program and `render-child`.
    pub confine: Vec<OsString>,
    /// An existing folder for this process alone. Folders of renders that are left behind in it are removed.
    pub folder: PathBuf,
    /// Renders at once. Each takes up to `memory`.
    pub at_once: usize,
    /// After so long a render is ended, with all processes that it started.
    pub deadline: Duration,
    /// Bytes of memory for one render. Helm needs 128 MiB for a small chart.
    pub memory: u64,
}

/// What to render.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The name of the release.
    pub release: &'a str,
    /// The namespace of the release.
    pub namespace: &'a str,
    /// `.Release.Revision`, from 1 on.
    pub revision: i64,
    /// Whether `.Release.IsUpgrade` is true, and not `.Release.IsInstall`.
    pub is_upgrade: bool,
    /// The values over those of the chart. They never reach arguments.
    pub values: &'a Value,
    /// The cluster that the chart is rendered for.
    pub cluster: Cluster<'a>,
    /// Whether any value is secret. Then an error repeats nothing that the chart prints. Always so where the cluster is asked.
    pub is_secret: bool,
}

/// What a chart learns of its cluster.
#[derive(Clone, Copy, Debug)]
pub enum Cluster<'a> {
    /// A version such as `v1.37.1`, and group-versions and kinds such as `apps/v1` and `apps/v1/Deployment`; `lookup` finds nothing.
    Described {
        /// The version of Kubernetes.
        version: &'a str,
        /// What it serves.
        apis: &'a [String],
    },
    /// What a server on this machine answers at `http://127.0.0.1:PORT/PATH`. It is the only one that the child connects to.
    Asked {
        /// Its port.
        port: u16,
        /// The path before that of each request, without `/` at its ends.
        path: &'a str,
    },
}

/// Why a chart was not rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// There is no such program.
    #[error("the program helm is missing: use the image of Drover that has it")]
    HelmMissing,
    /// Another version of helm.
    #[error("the program helm is not version 4: use the image of Drover that has it")]
    WrongHelmVersion,
    /// Helm was not started, because it could not be confined.
    #[error("helm could not be confined and was not started")]
    NotConfined,
    /// It took longer than the deadline.
    #[error("rendering the chart took too long and was ended: look for loops in its templates")]
    Deadline,
    /// It took more memory than it may.
    #[error("rendering the chart took too much memory and was ended: look for loops in its templates")]
    OutOfMemory,
    /// It printed more than [`MAX_OUTPUT`].
    #[error("the chart renders to more than 32 MiB: split it")]
    TooMuchOutput,
    /// The chart asks the cluster, and brings objects of kinds that the cluster does not serve. Once the definitions in its `crds/` are
    /// applied it may render.
    #[error(
        "the chart asks the cluster and has objects of kinds that the cluster does not serve: install their definitions first"
    )]
    UnknownKinds,
    /// The chart does not render.
    #[error("{0}")]
    Failed(Failure),
    /// What it renders to is no list of objects.
    #[error("what the chart renders to cannot be used: {0}")]
    Malformed(#[from] ManifestError),
    /// The folder of the render cannot be used.
    #[error("the folder for rendering cannot be used: {0}")]
    Folder(#[from] io::Error),
}

/// Renders charts, a bounded number at a time.
#[derive(Clone, Debug)]
pub struct Renderer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: Settings,
    slots: Arc<Pool>,
    version: OnceCell<()>,
}

impl Renderer {
    /// Removes what an earlier process left in the folder, and says if the kernel cannot confine helm.
    pub fn new(settings: Settings) -> Result<Self, RenderError> {
        RenderFolder::remove_left_behind(&settings.folder)?;
        if !confine::is_supported() {
            tracing::warn!("this kernel has no Landlock: helm can read all files that Drover can while it renders");
        }
        let slots = Pool::new(settings.at_once);
        Ok(Self(Arc::new(Shared { settings, slots, version: OnceCell::new() })))
    }

    /// Waits for the turn of a tenant to render: those who wait take turns by tenant. Who reads a chart into memory does so after it.
    pub async fn slot(&self, tenant: &str) -> Slot {
        self.0.slots.slot(tenant).await
    }

    /// A folder for one render, into which the chart is written. Blocks.
    pub fn folder(&self) -> Result<RenderFolder, RenderError> {
        Ok(RenderFolder::create(&self.0.settings.folder)?)
    }

    /// Renders the chart in `folder`, in the slot of a tenant. If this future is dropped, helm ends and the folder is removed.
    pub async fn render(&self, _: &Slot, folder: RenderFolder, request: &Request<'_>) -> Result<Rendered, RenderError> {
        self.0.version.get_or_try_init(|| self.check_version()).await?;
        folder.add_templates(request.revision, request.is_upgrade)?;
        let (args, port) = arguments(&folder, request)?;
        let output = child::run(&self.0.settings, &folder, port, &args).await?;
        if output.is_success {
            let read = spawn_blocking(move || Rendered::read(&output.stdout));
            return Ok(read.await.map_err(io::Error::from)??);
        }
        let is_asked = matches!(request.cluster, Cluster::Asked { .. });
        if is_asked && output.stderr.contains(UNKNOWN_KIND) {
            return Err(RenderError::UnknownKinds);
        }
        let is_secret = request.is_secret || is_asked;
        Err(RenderError::Failed(Failure::read(&output.stderr, folder.root(), is_secret)))
    }

    async fn check_version(&self) -> Result<(), RenderError> {
        let folder = self.folder()?;
        let args = ["version", "--template={{.Version}}"].map(OsString::from);
        let output = child::run(&self.0.settings, &folder, 0, &args).await?;
        let is_known = output.is_success && output.stdout.trim_start().starts_with(HELM);
        if is_known { Ok(()) } else { Err(RenderError::WrongHelmVersion) }
    }
}

/// The arguments of helm, and the port that it may connect to.
fn arguments(folder: &RenderFolder, request: &Request<'_>) -> io::Result<(Vec<OsString>, u16)> {
    let values = folder.write("values.json", request.values.to_string().as_bytes())?;
    let mut args = ["template", "--include-crds", "--skip-schema-validation"].map(OsString::from).to_vec();
    let mut flag = |name: &str, value: &std::ffi::OsStr| {
        let mut text = OsString::from(format!("--{name}="));
        text.push(value);
        args.push(text);
    };
    flag("namespace", request.namespace.as_ref());
    flag("values", values.as_ref());
    let port = match request.cluster {
        Cluster::Described { version, apis } => {
            flag("kube-version", version.as_ref());
            for list in api_versions(apis) {
                flag("api-versions", list.as_ref());
            }
            0
        }
        Cluster::Asked { port, path } => {
            flag("dry-run", "server".as_ref());
            flag("kubeconfig", folder.write("kubeconfig.json", kubeconfig(port, path).as_bytes())?.as_ref());
            // By --is-upgrade helm asks for none of the objects themselves: who owns them is judged later.
            args.extend(["--disable-openapi-validation", "--is-upgrade"].map(OsString::from));
            port
        }
    };
    args.extend(["--".into(), request.release.into(), folder.chart().into()]);
    Ok((args, port))
}

/// What a cluster serves, in lists that fit into arguments. Names that would not survive in a list are left out.
fn api_versions(apis: &[String]) -> Vec<String> {
    let is_plain = |api: &&String| api.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"./-".contains(&byte));
    let (mut lists, mut length) = (vec![String::new()], 0);
    for api in apis.iter().filter(is_plain).collect::<BTreeSet<_>>() {
        length += api.len() + 1;
        if length > LONGEST_ARGUMENTS {
            break;
        }
        match lists.last_mut() {
            Some(list) if list.is_empty() => list.push_str(api),
            Some(list) if list.len() + api.len() < LONGEST_ARGUMENT => {
                list.push(',');
                list.push_str(api);
            }
            _ => lists.push(api.clone()),
        }
    }
    lists.retain(|list| !list.is_empty());
    lists
}

fn kubeconfig(port: u16, path: &str) -> String {
    let named = |kind: &str, content: Value| json!([{"name": "target", kind: content}]);
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "target",
        "clusters": named("cluster", json!({"server": format!("http://127.0.0.1:{port}/{path}")})),
        "contexts": named("context", json!({"cluster": "target", "user": "target"})),
        "users": named("user", json!({})),
    });
    config.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cluster_serves_fits_into_arguments_and_cannot_add_any() {
        let apis = ["apps/v1", "a,b", "\"", "apps/v1", "v1/Pod", "x y", "-f/etc\n"].map(ToOwned::to_owned);
        assert_eq!(api_versions(&apis), ["apps/v1,v1/Pod"]);
        assert!(api_versions(&[]).is_empty());
        let many: Vec<_> = (0..20_000).map(|number| format!("{}{number:08}.example/v1", "g".repeat(60))).collect();
        let lists = api_versions(&many);
        assert!(lists.iter().all(|list| list.len() <= LONGEST_ARGUMENT));
        assert!(lists.iter().map(String::len).sum::<usize>() <= LONGEST_ARGUMENTS);
    }
}
