use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::progress::Progress;
use super::{Origin, Program};
use crate::error::{Error, FileContext, Result};
use crate::process::tail_of;

const POLL: Duration = Duration::from_millis(200);

/// The program from the cache, else a new build of it that is then in the cache.
pub(super) fn cached_or_built(cache: &Path, modules: &Path, program: Program) -> Result<(PathBuf, Origin)> {
    let source = modules.join(program.module());
    let directory = cache.join("tools").join(format!("{}-{}", program.module(), fingerprint(&source, program)?));
    let target = directory.join(program.name());
    if target.is_file() {
        return Ok((target, Origin::Cached));
    }
    fs::create_dir_all(&directory).on("create", &directory)?;
    let _lock = lock(&directory.join(".lock"), program)?;
    if target.is_file() {
        return Ok((target, Origin::Cached));
    }
    let started = Instant::now();
    build(&source, &directory, program)?;
    Ok((target, Origin::Built(started.elapsed())))
}

/// `go SUBCOMMAND` in a module of ours; neither switches toolchains nor changes go.mod.
pub(super) fn go_command(source: &Path, subcommand: &[&str]) -> Command {
    let mut command = Command::new("go");
    command.args(subcommand).current_dir(source);
    command.env("GOTOOLCHAIN", "local").env("GOWORK", "off").env("GOFLAGS", "-mod=readonly").env("CGO_ENABLED", "0");
    command
}

pub(super) fn fingerprint(source: &Path, program: Program) -> Result<String> {
    let mut input = Vec::new();
    for name in ["go.mod", "go.sum"] {
        let path = source.join(name);
        input.extend(fs::read(&path).on("read", path)?);
    }
    input.extend(program.build_flags().join(" ").into_bytes());
    input.extend(format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH).into_bytes());
    Ok(short_digest(&input))
}

pub(crate) fn short_digest(input: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, input);
    let bytes = digest.as_ref().iter().take(8);
    bytes.fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Differs when a name or the content of a file in this folder does.
pub(crate) fn digest_of_tree(folder: &Path) -> Result<String> {
    let mut input = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(&folder).on("list", &folder)?.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            input.extend(path.as_os_str().as_encoded_bytes());
            if path.is_dir() {
                folders.push(path);
            } else {
                input.extend(fs::read(&path).on("read", path)?);
            }
        }
    }
    Ok(short_digest(&input))
}

/// Held until dropped; the system releases it too when we are killed.
pub(super) fn lock(path: &Path, program: Program) -> Result<File> {
    let file = File::create(path).on("create", path)?;
    if file.try_lock().is_err() {
        let progress = Progress::start(&format!("waiting for another process that builds {}", program.name()), None);
        file.lock().on("lock", path)?;
        progress.finish();
    }
    Ok(file)
}

fn build(source: &Path, directory: &Path, program: Program) -> Result<()> {
    let partial = directory.join(format!(".{}.partial", program.name()));
    let log_path = directory.join(format!("{}.build.log", program.name()));
    let log = File::create(&log_path).on("create", &log_path)?;
    let mut command = go_command(source, &["build"]);
    command.args(program.build_flags()).arg("-o").arg(&partial).arg(program.package());
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
    let child = child.map_err(|source| start_error(source, program))?;
    let progress = Progress::start(&format!("building {}", program.name()), Some(program.expected_build_time()));
    let status = wait(child, &progress).on("wait for the build of", &partial)?;
    progress.finish();
    if !status.success() {
        return Err(Error::Build {
            program: program.name(),
            status: status.to_string(),
            output: tail_of(&log_path, 20),
        });
    }
    if program == Program::Kwok && !directory.join("kwok-stages").is_dir() {
        super::stages::copy_from_module(source, &directory.join("kwok-stages"))?;
    }
    let target = directory.join(program.name());
    fs::rename(&partial, &target).on("rename the new program to", &target)
}

pub(super) fn start_error(source: std::io::Error, program: Program) -> Error {
    if source.kind() == ErrorKind::NotFound {
        Error::GoMissing { program: program.name(), variable: program.variable() }
    } else {
        Error::Start { name: "go".to_owned(), source }
    }
}

fn wait(mut child: Child, progress: &Progress) -> std::io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        progress.tick();
        std::thread::sleep(POLL);
    }
}
