//! How this process renders charts: by helm as its child, which Drover itself confines.

use std::{
    env, fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use drover_releases::render::{Renderer, Settings};
use drover_runtime::DialPolicy;
use drover_sources::Sources;

/// The hidden command by which a child confines itself before it becomes helm.
pub(crate) const CHILD: &str = "render-child";
/// Renders at once: each takes a processor for some 50 ms, and memory.
const AT_ONCE: usize = 2;
/// Memory of one render, in bytes.
const MEMORY: u64 = 256 << 20;
/// Most bytes of packed charts that are kept on disk.
const CHART_CACHE: u64 = 256 << 20;
/// After so long a render is ended.
const DEADLINE: Duration = Duration::from_mins(1);

/// What the command line says of it.
#[derive(Clone, Debug)]
pub(crate) struct Rendering {
    pub(crate) helm: PathBuf,
    pub(crate) scratch_folder: Option<PathBuf>,
}

impl Rendering {
    /// The renderer; none where there is no folder for it, which the log says.
    pub(crate) fn renderer(&self) -> Option<Renderer> {
        let folder = self.folder();
        let made = || -> Result<Renderer, Box<dyn std::error::Error>> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            let settings = Settings {
                helm: found(&self.helm, env::var_os("PATH").as_deref()),
                confine: vec![env::current_exe()?.into(), CHILD.into()],
                folder: folder.clone(),
                at_once: AT_ONCE,
                deadline: DEADLINE,
                memory: MEMORY,
            };
            Ok(Renderer::new(settings)?)
        };
        made()
            .inspect_err(|error| {
                tracing::error!(%error, folder = %folder.display(), "charts cannot be rendered; name another folder with --scratch-folder");
            })
            .ok()
    }
}

impl Rendering {
    fn folder(&self) -> PathBuf {
        let folder = self.scratch_folder.clone();
        folder.unwrap_or_else(|| env::temp_dir().join(format!("drover-{}", process::id())))
    }

    /// Fetches charts from where `addresses` allow; none where there is no folder for it, which the log says.
    pub(crate) fn sources(&self, addresses: DialPolicy) -> Option<Sources> {
        let folder = self.folder().join("sources");
        let settings = drover_sources::Settings { folder, cache_bytes: CHART_CACHE, addresses };
        Sources::open(&settings)
            .inspect_err(|error| {
                tracing::error!(%error, folder = %settings.folder.display(), "charts cannot be fetched; name another folder with --scratch-folder");
            })
            .ok()
    }
}

/// The program of this name in `path`, as a shell finds it; a path is taken as it is.
pub(crate) fn found(program: &Path, path: Option<&std::ffi::OsStr>) -> PathBuf {
    if program.components().count() > 1 {
        return program.to_owned();
    }
    let folders = path.map(|path| env::split_paths(path).collect::<Vec<_>>()).unwrap_or_default();
    let files = folders.into_iter().map(|folder| folder.join(program));
    files.into_iter().find(|file| file.is_file()).unwrap_or_else(|| program.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_where_a_shell_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("helm");
        fs::write(&file, "").unwrap();
        let path = env::join_paths([Path::new("/nowhere"), folder.path()]).unwrap();
        assert_eq!(found(Path::new("helm"), Some(&path)), file);
        assert_eq!(found(Path::new("helm"), None), Path::new("helm"));
        assert_eq!(found(Path::new("/opt/helm"), Some(&path)), Path::new("/opt/helm"));
    }
}
