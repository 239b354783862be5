//! One Pod as a process.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, Secret, Volume};
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use super::NodeSettings;
use crate::error::{Error, FileContext, Result};
use crate::process::{Process, Specification};

/// What programs of this machine need to run.
const SYSTEM: [&str; 2] = ["usr", "proc"];
const LINKS: [&str; 4] = ["bin", "lib", "lib64", "sbin"];
const DEVICES: [&str; 3] = ["null", "zero", "urandom"];
/// Where a container writes what it has to say at its end, unless the Pod names another file.
const TERMINATION_LOG: &str = "/dev/termination-log";
/// Most bytes of it.
const MOST_MESSAGE: usize = 4096;

/// A Pod that runs.
#[derive(Debug)]
pub(super) struct Running {
    process: Process,
    container: String,
    image: String,
    message: PathBuf,
    started: String,
}

impl Running {
    /// Its status while it runs.
    pub(super) fn status(&self) -> Value {
        let state = json!({"running": {"startedAt": self.started}});
        json!({"phase": "Running", "startTime": self.started, "containerStatuses": [self.container(&state, true)]})
    }

    /// Its status once it has ended.
    pub(super) fn ended(&mut self) -> Result<Option<Value>> {
        if self.process.is_running() {
            return Ok(None);
        }
        let code = self.process.exit_code().unwrap_or(137);
        let message = fs::read(&self.message).on("read", &self.message)?;
        let message = String::from_utf8_lossy(message.get(..MOST_MESSAGE).unwrap_or(&message)).into_owned();
        let (phase, reason) = if code == 0 { ("Succeeded", "Completed") } else { ("Failed", "Error") };
        if code != 0 {
            println!("container {} ended with {code}:\n{}\n{message}", self.container, self.process.log_tail());
        }
        let state = json!({"terminated": {
            "exitCode": code, "reason": reason, "message": message, "startedAt": self.started, "finishedAt": now(),
        }});
        Ok(Some(json!({"phase": phase, "containerStatuses": [self.container(&state, false)]})))
    }

    fn container(&self, state: &Value, ready: bool) -> Value {
        json!({
            "name": self.container, "image": self.image, "imageID": self.image, "state": state, "lastState": {},
            "ready": ready, "started": ready, "restartCount": 0,
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "a kubelet has a clock")]
fn now() -> String {
    let now = Timestamp::now();
    now.round(k8s_openapi::jiff::Unit::Second).unwrap_or(now).to_string()
}

/// What a kubelet says of a Pod whose image it cannot pull; none if this node has it.
pub(super) fn without_image(settings: &NodeSettings, pod: &Pod) -> Option<Value> {
    let container = pod.spec.as_ref()?.containers.first()?;
    let image = container.image.as_deref().unwrap_or_default();
    if settings.images.contains_key(image) {
        return None;
    }
    let message = format!("Back-off pulling image \"{image}\"");
    let state = json!({"waiting": {"reason": "ImagePullBackOff", "message": message}});
    let status = json!({
        "name": container.name, "image": image, "imageID": "", "state": state, "lastState": {}, "ready": false, "restartCount": 0,
    });
    Some(json!({"phase": "Pending", "containerStatuses": [status]}))
}

/// Starts a Pod with one container; none while something that it mounts is not there.
pub(super) async fn start(
    client: &Client,
    settings: &NodeSettings,
    folder: &Path,
    pod: &Pod,
) -> Result<Option<Running>> {
    let Some(spec) = &pod.spec else { return Ok(None) };
    let Some(container) = spec.containers.first() else { return Ok(None) };
    let image = container.image.clone().unwrap_or_default();
    let Some(programs) = settings.images.get(&image) else { return Ok(None) };
    let folder = folder.join(pod.uid().unwrap_or_default());
    let root = Root::new(&folder.join("root"))?;
    let mut mounts: Vec<Mount> = programs.iter().map(|(inside, file)| Mount::read_only(file, inside)).collect();
    for mount in container.volume_mounts.iter().flatten() {
        let volume = spec.volumes.iter().flatten().find(|volume| volume.name == mount.name);
        let namespace = pod.namespace().unwrap_or_default();
        let source = folder.join(&mount.name);
        let Some(source) = prepared(client, settings, &namespace, volume, source).await? else { return Ok(None) };
        let inside = PathBuf::from(&mount.mount_path);
        mounts.push(Mount { source, inside, is_read_only: mount.read_only == Some(true) });
    }
    let message = root.file(container.termination_message_path.as_deref().unwrap_or(TERMINATION_LOG))?;
    let script = root.script(&mounts, container)?;
    // Root of a namespace of its own does where there is no other.
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    let mut arguments = vec!["--mount".to_owned()];
    arguments.extend((!is_root).then(|| "--map-root-user".to_owned()));
    arguments.extend(["sh", "-ec"].map(str::to_owned));
    arguments.push(script);
    let process = Process::start(&Specification {
        name: container.name.clone(),
        program: PathBuf::from("unshare"),
        arguments,
        environment: Vec::new(),
        log: folder.join("container.log"),
    })?;
    Ok(Some(Running { process, container: container.name.clone(), image, message, started: now() }))
}

/// The folder of a volume; none while what is in it is not there.
async fn prepared(
    client: &Client,
    settings: &NodeSettings,
    namespace: &str,
    volume: Option<&Volume>,
    folder: PathBuf,
) -> Result<Option<PathBuf>> {
    let Some(volume) = volume else { return Ok(None) };
    if let Some(host) = &volume.host_path {
        return Ok(settings.host.get(&host.path).cloned());
    }
    fs::create_dir_all(&folder).on("create", &folder)?;
    let Some(name) = volume.secret.as_ref().and_then(|secret| secret.secret_name.as_ref()) else {
        return Ok(volume.empty_dir.is_some().then_some(folder));
    };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let Some(secret) = secrets.get_opt(name).await? else { return Ok(None) };
    for (key, content) in secret.data.unwrap_or_default() {
        let mut text = String::from_utf8_lossy(&content.0).into_owned();
        for (from, to) in &settings.addresses {
            text = text.replace(from, to);
        }
        let file = folder.join(key);
        fs::write(&file, text).on("write", &file)?;
    }
    Ok(Some(folder))
}

struct Mount {
    source: PathBuf,
    inside: PathBuf,
    is_read_only: bool,
}

impl Mount {
    fn read_only(source: &Path, inside: &Path) -> Self {
        Self { source: source.to_owned(), inside: inside.to_owned(), is_read_only: true }
    }
}

/// The root folder of a Pod.
struct Root(PathBuf);

impl Root {
    fn new(folder: &Path) -> Result<Self> {
        for name in SYSTEM.iter().chain(&["dev", "etc", "tmp"]) {
            let folder = folder.join(name);
            fs::create_dir_all(&folder).on("create", &folder)?;
        }
        for name in LINKS {
            let link = folder.join(name);
            if !link.is_symlink() {
                symlink(Path::new("usr").join(name), &link).on("create", &link)?;
            }
        }
        Ok(Self(folder.to_owned()))
    }

    fn at(&self, inside: &Path) -> PathBuf {
        self.0.join(inside.strip_prefix("/").unwrap_or(inside))
    }

    /// An empty file that anyone may write.
    fn file(&self, inside: &str) -> Result<PathBuf> {
        let path = self.at(Path::new(inside));
        fs::write(&path, "").on("write", &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).on("write", &path)?;
        Ok(path)
    }

    /// Where something is mounted: a folder, or a file.
    fn target(&self, mount: &Mount) -> Result<PathBuf> {
        let target = self.at(&mount.inside);
        if mount.source.is_dir() {
            fs::create_dir_all(&target).on("create", &target)?;
        } else {
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent).on("create", parent)?;
            }
            fs::write(&target, "").on("write", &target)?;
        }
        Ok(target)
    }

    /// Mounts everything and becomes the program of the container.
    fn script(&self, mounts: &[Mount], container: &Container) -> Result<String> {
        let mut script = "mount --make-rprivate / 2>/dev/null || true\n".to_owned();
        let system = SYSTEM.map(|name| Mount::read_only(&Path::new("/").join(name), &Path::new("/").join(name)));
        let devices = DEVICES.map(|name| Path::new("/dev").join(name)).map(|path| Mount {
            source: path.clone(),
            inside: path,
            is_read_only: false,
        });
        for mount in system.iter().chain(&devices).chain(mounts) {
            let (source, target) = (mount.source.display().to_string(), self.target(mount)?.display().to_string());
            let (source, target) = (quoted(&source), quoted(&target));
            let _ = writeln!(script, "mount --rbind {source} {target}");
            if mount.is_read_only && mount.source != Path::new("/proc") {
                let _ = writeln!(script, "mount -o remount,bind,ro {target}");
            }
        }
        let words = container.command.iter().flatten().chain(container.args.iter().flatten());
        let command = words.map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        let root = quoted(&self.0.display().to_string());
        let _ = writeln!(script, "exec chroot {root} /usr/bin/env -i PATH=/:/usr/bin:/usr/sbin HOME=/tmp {command}");
        if command.is_empty() {
            return Err(Error::Start { name: container.name.clone(), source: std::io::Error::other("no command") });
        }
        Ok(script)
    }
}

/// A word of a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
