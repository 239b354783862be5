//! One Pod as processes: one for each container.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::root::{Mount, Root, Start};
use super::volumes::{Volumes, prepared};
use super::{Host, NodeSettings, environment};
use crate::error::{Error, FileContext, Result};
use crate::process::{Process, Specification};

/// Where a container writes what it has to say at its end, unless the Pod names another file.
const TERMINATION_LOG: &str = "/dev/termination-log";
/// Most bytes of it.
const MOST_MESSAGE: usize = 4096;
/// What a container that was killed ends with.
const KILLED: i32 = 137;

/// A Pod that runs.
#[derive(Debug)]
pub(super) struct Running {
    containers: Vec<Started>,
    since: String,
    /// How many containers had ended when its status was last written; none before.
    reported: Option<usize>,
}

/// A container of it.
#[derive(Debug)]
struct Started {
    process: Process,
    name: String,
    image: String,
    message: PathBuf,
    since: String,
    end: Option<End>,
}

#[derive(Debug)]
struct End {
    code: i32,
    message: String,
    at: String,
}

impl Running {
    /// Its status, if it was not written since a container started or ended.
    pub(super) fn news(&mut self) -> Result<Option<Value>> {
        for container in &mut self.containers {
            container.look()?;
        }
        Ok((self.reported != Some(self.ended())).then(|| self.status()))
    }

    /// Its status was written.
    pub(super) fn is_reported(&mut self) {
        self.reported = Some(self.ended());
    }

    /// Whether all its containers ended.
    pub(super) fn is_over(&self) -> bool {
        self.ended() == self.containers.len()
    }

    fn ended(&self) -> usize {
        self.containers.iter().filter(|container| container.end.is_some()).count()
    }

    /// Its status now.
    fn status(&self) -> Value {
        let mut ends = self.containers.iter().filter_map(|container| container.end.as_ref());
        let phase = match (self.is_over(), ends.any(|end| end.code != 0)) {
            (false, _) => "Running",
            (true, false) => "Succeeded",
            (true, true) => "Failed",
        };
        let containers: Vec<Value> = self.containers.iter().map(Started::status).collect();
        json!({"phase": phase, "startTime": self.since, "containerStatuses": containers})
    }
}

impl Started {
    fn look(&mut self) -> Result<()> {
        if self.end.is_some() || self.process.is_running() {
            return Ok(());
        }
        let code = self.process.exit_code().unwrap_or(KILLED);
        let message = fs::read(&self.message).on("read", &self.message)?;
        let message = String::from_utf8_lossy(message.get(..MOST_MESSAGE).unwrap_or(&message)).into_owned();
        if code != 0 {
            println!("container {} ended with {code}:\n{}\n{message}", self.name, self.process.log_tail());
        }
        self.end = Some(End { code, message, at: now() });
        Ok(())
    }

    fn status(&self) -> Value {
        let is_running = self.end.is_none();
        let state = match &self.end {
            None => json!({"running": {"startedAt": self.since}}),
            Some(end) => json!({"terminated": {
                "exitCode": end.code, "reason": if end.code == 0 { "Completed" } else { "Error" }, "message": end.message,
                "startedAt": self.since, "finishedAt": end.at,
            }}),
        };
        json!({
            "name": self.name, "image": self.image, "imageID": self.image, "state": state, "lastState": {},
            "ready": is_running, "started": is_running, "restartCount": 0,
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "a kubelet has a clock")]
fn now() -> String {
    let now = Timestamp::now();
    now.round(k8s_openapi::jiff::Unit::Second).unwrap_or(now).to_string()
}

/// What a kubelet says of a Pod with an image that it cannot pull; none if this node has all.
pub(super) fn without_image(settings: &NodeSettings, pod: &Pod) -> Option<Value> {
    let containers = &pod.spec.as_ref()?.containers;
    let image = |container: &Container| container.image.clone().unwrap_or_default();
    if containers.iter().all(|container| settings.images.contains_key(&image(container))) {
        return None;
    }
    let status = |container: &Container| {
        let image = image(container);
        let waiting = if settings.images.contains_key(&image) {
            json!({"reason": "ContainerCreating"})
        } else {
            json!({"reason": "ImagePullBackOff", "message": format!("Back-off pulling image \"{image}\"")})
        };
        json!({
            "name": container.name, "image": image, "imageID": "", "state": {"waiting": waiting}, "lastState": {}, "ready": false,
            "restartCount": 0,
        })
    };
    let statuses: Vec<Value> = containers.iter().map(status).collect();
    Some(json!({"phase": "Pending", "containerStatuses": statuses}))
}

/// Starts the containers of a Pod; none while something that it mounts is not there.
pub(super) async fn start(host: &Host, pod: &Pod) -> Result<Option<Running>> {
    let Some(spec) = &pod.spec else { return Ok(None) };
    let folder = host.folder.path().join("pods").join(pod.uid().unwrap_or_default());
    let Some(volumes) = prepared(host, pod, spec, &folder.join("volumes")).await? else { return Ok(None) };
    let mut containers = Vec::new();
    for container in &spec.containers {
        containers.push(started(host, pod, spec, container, &volumes, &folder.join(&container.name))?);
    }
    Ok(Some(Running { containers, since: now(), reported: None }))
}

fn started(
    host: &Host,
    pod: &Pod,
    spec: &PodSpec,
    container: &Container,
    volumes: &Volumes,
    folder: &Path,
) -> Result<Started> {
    let failed =
        |what: &str| Error::Start { name: container.name.clone(), source: std::io::Error::other(what.to_owned()) };
    let image = container.image.clone().unwrap_or_default();
    let programs = host.settings.images.get(&image).ok_or_else(|| failed("the node does not have its image"))?;
    let root = Root::new(&folder.join("root"))?;
    let mut mounts: Vec<Mount> = programs.iter().map(|(inside, file)| Mount::read_only(file, inside)).collect();
    if let Some(components) = &host.settings.components {
        mounts.extend(components.mounts(spec.host_pid == Some(true), folder)?);
    }
    for mount in container.volume_mounts.iter().flatten() {
        let source = volumes.get(&mount.name).ok_or_else(|| failed(&format!("no volume {}", mount.name)))?;
        let (source, inside) = (source.clone(), PathBuf::from(&mount.mount_path));
        mounts.push(Mount { source, inside, is_read_only: mount.read_only == Some(true) });
    }
    let message = root.file(container.termination_message_path.as_deref().unwrap_or(TERMINATION_LOG))?;
    // Root of a namespace of its own does where there is no other; it has no other users.
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    let words = container.command.iter().flatten().chain(container.args.iter().flatten());
    let command: Vec<String> = words.cloned().collect();
    if command.is_empty() {
        return Err(failed("no command"));
    }
    let environment = environment::of(host, pod, spec, container);
    let user = if is_root { user(spec, container) } else { None };
    let script = root.script(mounts, &Start { user, environment, command })?;
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
    Ok(Started { process, name: container.name.clone(), image, message, since: now(), end: None })
}

/// The user and the group that it runs as; none is that of the image, which is root.
fn user(spec: &PodSpec, container: &Container) -> Option<(i64, i64)> {
    let (of_pod, own) = (spec.security_context.as_ref(), container.security_context.as_ref());
    let user = own.and_then(|own| own.run_as_user).or_else(|| of_pod?.run_as_user)?;
    let group = own.and_then(|own| own.run_as_group).or_else(|| of_pod?.run_as_group).unwrap_or_default();
    Some((user, group))
}
