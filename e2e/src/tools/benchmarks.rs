use std::fs;
use std::path::{Path, PathBuf};

use super::Program;
use super::build::lock;
use super::stages::module_directory;
use crate::error::{Error, FileContext, Result};

const MODULE: &str = "github.com/aquasecurity/kube-bench";
const VARIABLE: &str = "TEST_ASSET_KUBE_BENCH_CFG";
/// Beside the program.
const FOLDER: &str = "kube-bench-cfg";

/// The folder with the benchmarks of kube-bench: the one that `TEST_ASSET_KUBE_BENCH_CFG` names, that lies in
/// `kube-bench-cfg` beside the program, or else a copy from the pinned module, which needs Go only the first time.
pub(super) fn find(kube_bench: &Path, cache: &Path, modules: &Path) -> Result<PathBuf> {
    if let Some(path) = super::variable(VARIABLE).map(PathBuf::from) {
        let is_there = path.is_dir();
        return is_there.then(|| path.clone()).ok_or(Error::NotThere { variable: VARIABLE.to_owned(), path });
    }
    let beside = kube_bench.with_file_name(FOLDER);
    if beside.is_dir() {
        return Ok(beside);
    }
    let source = modules.join(Program::KubeBench.module());
    let fingerprint = super::build::fingerprint(&source, Program::KubeBench)?;
    let parent = cache.join("tools").join(format!("{}-{fingerprint}", Program::KubeBench.module()));
    fs::create_dir_all(&parent).on("create", &parent)?;
    let target = parent.join(FOLDER);
    let _lock = lock(&parent.join(".cfg.lock"), Program::KubeBench)?;
    if !target.is_dir() {
        let partial = target.with_extension("partial");
        let _ = fs::remove_dir_all(&partial);
        copy(&module_directory(&source, MODULE, Program::KubeBench)?.join("cfg"), &partial)?;
        fs::rename(&partial, &target).on("rename the benchmarks to", &target)?;
    }
    Ok(target)
}

/// Copies a folder, with what is below it: what is in Go's cache of modules cannot be removed or changed.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).on("create", to)?;
    for entry in fs::read_dir(from).on("list", from)?.flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to)?;
        } else {
            let content = fs::read(&from).on("read", &from)?;
            fs::write(&to, content).on("write", &to)?;
        }
    }
    Ok(())
}
