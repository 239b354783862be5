//! A wall clock that jumps, for one process and those that it starts: the machine's own stays as it is.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::error::{Error, FileContext, Result};

/// The clock of every process that was started with its environment. Keep it for as long as they run.
#[derive(Debug)]
pub struct JumpingClock {
    folder: TempDir,
}

impl JumpingClock {
    /// Compiles what is preloaded into the processes. The clock is right at first.
    pub fn compile() -> Result<Self> {
        let folder = TempDir::new().on("create", std::env::temp_dir())?;
        let clock = Self { folder };
        clock.set(0)?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/clock_jump.c");
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-O1", "-o"]).arg(clock.library()).arg(source);
        let output = command.output().map_err(|source| Error::Start { name: "cc".to_owned(), source })?;
        if output.status.success() {
            return Ok(clock);
        }
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Error::Command { command: "cc".to_owned(), status: output.status.to_string(), output: text })
    }

    /// What a process that follows this clock is started with. It has to be linked dynamically.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let of = |name: &str, path: PathBuf| (name.to_owned(), path.display().to_string());
        vec![of("LD_PRELOAD", self.library()), of("CLOCK_JUMP_FILE", self.jump())]
    }

    /// From now on it differs from the machine's clock by so many seconds.
    pub fn set(&self, seconds: i64) -> Result<()> {
        let next = self.folder.path().join("next");
        std::fs::write(&next, seconds.to_string()).on("write", &next)?;
        // At once, so that nobody reads half a number.
        std::fs::rename(&next, self.jump()).on("write", self.jump())
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("clock_jump.so")
    }

    fn jump(&self) -> PathBuf {
        self.folder.path().join("jump")
    }
}
