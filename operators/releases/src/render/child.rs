//! One child process, from its start to its end: within its deadline, and gone with all that it started.

use std::{ffi::OsString, process::ExitStatus, process::Stdio};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    time::timeout,
};

use super::{MAX_OUTPUT, RenderError, RenderFolder, Settings};
use crate::confine::{Confinement, NOT_CONFINED, NOT_STARTED};

/// Bytes of what helm says of an error.
const MAX_ERROR: usize = 64 << 10;
/// What Go says before it ends for lack of memory.
const NO_MEMORY: [&str; 2] = ["out of memory", "cannot allocate memory"];

/// What a child printed.
pub(super) struct Output {
    pub(super) is_success: bool,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

pub(super) async fn run(
    settings: &Settings,
    folder: &RenderFolder,
    port: u16,
    args: &[OsString],
) -> Result<Output, RenderError> {
    if !settings.helm.is_file() {
        return Err(RenderError::HelmMissing);
    }
    let mut group = Group(command(settings, folder, port, args)?.spawn()?);
    let (stdout, stderr) = (group.0.stdout.take(), group.0.stderr.take());
    let ended = async {
        let (stdout, stderr) = tokio::try_join!(read_output(stdout), read_error(stderr))?;
        Ok::<_, RenderError>((group.0.wait().await?, stdout, stderr))
    };
    let (status, stdout, stderr) = timeout(settings.deadline, ended).await.map_err(|_| RenderError::Deadline)??;
    let [stdout, stderr] = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    judge(status, &stderr)?;
    Ok(Output { is_success: status.success(), stdout, stderr })
}

fn command(settings: &Settings, folder: &RenderFolder, port: u16, args: &[OsString]) -> Result<Command, RenderError> {
    let (program, confine) = settings.confine.split_first().ok_or(RenderError::NotConfined)?;
    let confinement = Confinement {
        memory: settings.memory,
        // Of two processors, so that the deadline is what ends it.
        cpu: settings.deadline.as_secs().saturating_mul(2).saturating_add(1),
        port,
        folder: folder.root().to_owned(),
        program: settings.helm.clone(),
    };
    let home = folder.home();
    let mut command = Command::new(program);
    command.args(confine).args(confinement.to_args()).args(args);
    command.env_clear().envs(["HOME", "TMPDIR"].map(|name| (name, &home)));
    command.envs(["CACHE", "CONFIG", "DATA"].map(|kind| (format!("HELM_{kind}_HOME"), home.join(kind))));
    command.env("HELM_PLUGINS", home.join("plugins")).env("TZ", "UTC");
    command.env("GOMAXPROCS", "2").env("GOMEMLIMIT", (settings.memory / 4 * 3).to_string());
    command.current_dir(folder.root()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    Ok(command)
}

/// A process with all that it started, which end when this is dropped.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // After the process was waited for, its number can be that of another one.
        let number = self.0.id().and_then(|id| i32::try_from(id).ok());
        if let Some(number) = number
            && let Err(error) = killpg(Pid::from_raw(number), Signal::SIGKILL)
        {
            tracing::warn!(%error, "a render could not be ended");
        }
    }
}

/// Reads all, unless it is too much.
async fn read_output(pipe: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, RenderError> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(MAX_OUTPUT as u64 + 1).read_to_end(&mut bytes).await?;
    }
    if bytes.len() > MAX_OUTPUT { Err(RenderError::TooMuchOutput) } else { Ok(bytes) }
}

/// Reads the beginning, and lets the rest go by.
async fn read_error(pipe: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, RenderError> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        (&mut pipe).take(MAX_ERROR as u64).read_to_end(&mut bytes).await?;
        tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    }
    Ok(bytes)
}

/// What an exit says beside that the chart failed.
fn judge(status: ExitStatus, stderr: &str) -> Result<(), RenderError> {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(NOT_CONFINED), _) => Err(RenderError::NotConfined),
        (Some(NOT_STARTED), _) => Err(RenderError::HelmMissing),
        (_, Some(signal)) if signal == Signal::SIGXCPU as i32 => Err(RenderError::Deadline),
        (_, Some(signal)) if signal == Signal::SIGKILL as i32 => Err(RenderError::OutOfMemory),
        (Some(2), _) if NO_MEMORY.iter().any(|text| stderr.contains(text)) => Err(RenderError::OutOfMemory),
        _ => Ok(()),
    }
}
