use std::fs;
use std::path::{Path, PathBuf};

use super::Program;
use super::build::{go_command, lock, start_error};
use crate::error::{Error, FileContext, Result};

const MODULE: &str = "sigs.k8s.io/kwok";
/// The directories of the kwok module whose stages make nodes ready, keep them so, and run pods at once.
const DIRECTORIES: [&str; 3] = ["node/fast", "node/heartbeat", "pod/fast"];
const VARIABLE: &str = "TEST_ASSET_KWOK_STAGES";

/// The Stage files that `TEST_ASSET_KWOK_STAGES` names, that lie in `kwok-stages` beside the program, or else copies
/// from the pinned module, which needs Go only the first time.
pub(super) fn find(kwok: &Path, cache: &Path, modules: &Path) -> Result<Vec<PathBuf>> {
    if let Some(path) = super::variable(VARIABLE).map(PathBuf::from) {
        return if path.is_dir() {
            stage_files(&path)
        } else {
            Err(Error::NotThere { variable: VARIABLE.to_owned(), path })
        };
    }
    let beside = kwok.with_file_name("kwok-stages");
    if beside.is_dir() {
        return stage_files(&beside);
    }
    let fingerprint = super::build::fingerprint(&modules.join("kwok"), Program::Kwok)?;
    let parent = cache.join("tools").join(format!("kwok-{fingerprint}"));
    fs::create_dir_all(&parent).on("create", &parent)?;
    let target = parent.join("kwok-stages");
    let _lock = lock(&parent.join(".stages.lock"), Program::Kwok)?;
    if !target.is_dir() {
        copy_from_module(&modules.join("kwok"), &target)?;
    }
    stage_files(&target)
}

/// Stages of ours for Pods that fail, crash or never become ready: see the label in them.
pub(super) fn own() -> Result<Vec<PathBuf>> {
    stage_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("stages"))
}

/// Copies the Stage files of the module that `source` pins.
pub(super) fn copy_from_module(source: &Path, target: &Path) -> Result<()> {
    let module = module_directory(source, MODULE, Program::Kwok)?;
    let partial = target.with_extension("partial");
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir_all(&partial).on("create", &partial)?;
    for directory in DIRECTORIES {
        let from = module.join("kustomize/stage").join(directory);
        for file in yaml_files(&from)? {
            let Some(name) = file.file_name().and_then(|name| name.to_str()) else { continue };
            if name != "kustomization.yaml" {
                let to = partial.join(name);
                let text = fs::read(&file).on("read", &file)?;
                fs::write(&to, text).on("write", &to)?;
            }
        }
    }
    fs::rename(&partial, target).on("rename the stages to", target)
}

/// Where the source of this module is, in the version that `source` pins.
pub(super) fn module_directory(source: &Path, module: &str, program: Program) -> Result<PathBuf> {
    let output = go_command(source, &["mod", "download", "-json", module]).output();
    let output = output.map_err(|error| start_error(error, program))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    match value.get("Dir").and_then(serde_json::Value::as_str) {
        Some(directory) => Ok(PathBuf::from(directory)),
        None => Err(Error::Command {
            command: format!("go mod download -json {module}"),
            status: output.status.to_string(),
            output: format!("{text}{}", String::from_utf8_lossy(&output.stderr)),
        }),
    }
}

fn stage_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = yaml_files(directory)?;
    files.sort();
    Ok(files)
}

fn yaml_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).on("list", directory)?;
    let files = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    Ok(files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect())
}
