//! Values in files, as JSON.

use std::fs;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, FileContext, Result};

/// What a file holds.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = fs::read(path).on("read", path)?;
    serde_json::from_slice(&bytes).map_err(|source| error(path, source))
}

/// Writes a file in one step: nobody reads half of it, and a kill leaves the old one.
pub(crate) fn write(path: &Path, value: &(impl Serialize + ?Sized)) -> Result<()> {
    let next = path.with_extension("next");
    let text = serde_json::to_vec_pretty(value).map_err(|source| error(path, source))?;
    fs::write(&next, text).on("write", &next)?;
    fs::rename(&next, path).on("rename to", path)
}

fn error(path: &Path, source: serde_json::Error) -> Error {
    Error::Json { what: path.display().to_string(), source }
}
