//! The programs of a run: a build beside it does not change what is tested.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, FileContext, Result};
use crate::installation::drover_binary;
use crate::tools::variable;

/// Names the program under test.
const DROVER: &str = "DROVER_BINARY";
/// Names the static program that `make static` built.
const STATIC: &str = "DROVER_E2E_STATIC";

/// Programs in a folder of the run.
#[derive(Debug)]
pub(super) struct Pinned {
    /// The tests.
    pub(super) executable: PathBuf,
    /// What tells them of the others.
    pub(super) variables: Vec<(String, String)>,
}

impl Pinned {
    pub(super) fn in_folder(folder: &Path) -> Result<Self> {
        fs::create_dir(folder).on("create", folder)?;
        let executable = pin(&own()?, &folder.join("e2e"))?;
        let mut variables = Vec::new();
        let programs = [(DROVER, drover_binary(), "drover"), (STATIC, static_program(), "drover-static")];
        for (variable, program, name) in programs {
            // A test that needs one that is not there says so.
            let Some(program) = program.ok().filter(|program| program.is_file()) else { continue };
            let pinned = pin(&program, &folder.join(name))?;
            variables.push((variable.to_owned(), pinned.display().to_string()));
        }
        Ok(Self { executable, variables })
    }
}

/// `drover` as it is in the image, if it was built.
pub fn static_program() -> Result<PathBuf> {
    if let Some(path) = variable(STATIC) {
        return Ok(path.into());
    }
    let own = own()?;
    // TARGET/debug/deps/TEST
    let target = own.ancestors().nth(3).unwrap_or(&own);
    Ok(target.join(format!("{}-unknown-linux-musl/debug/drover", std::env::consts::ARCH)))
}

fn own() -> Result<PathBuf> {
    std::env::current_exe().map_err(|source| Error::Start { name: "the tests".to_owned(), source })
}

/// A linker makes a new file, so a hard link keeps the old one.
fn pin(program: &Path, pinned: &Path) -> Result<PathBuf> {
    let program = fs::canonicalize(program).on("resolve", program)?;
    let outcome = fs::hard_link(&program, pinned).or_else(|_| fs::copy(&program, pinned).map(drop));
    outcome.on("link or copy a program to", pinned).map(|()| pinned.to_owned())
}
