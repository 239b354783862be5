use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use serde_json::Value;

use crate::error::{Error, FileContext, Result};

/// Where the charts for tests lie, each in a folder of its name.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts")
}

/// The files of a chart, to be changed and packed. Equal files make equal packages.
#[derive(Debug, Clone, Default)]
pub struct ChartFiles {
    files: BTreeMap<String, Vec<u8>>,
}

impl ChartFiles {
    /// A chart of `e2e/charts`.
    pub fn of(name: &str) -> Result<Self> {
        Self::read(&folder().join(name))
    }

    /// A chart in any folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        read_into(folder, "", &mut files)?;
        Ok(Self { files })
    }

    /// The same with another version.
    pub fn with_version(self, version: &str) -> Result<Self> {
        let mut metadata = self.metadata()?;
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("version".to_owned(), Value::from(version));
        }
        Ok(self.with_file("Chart.yaml", metadata.to_string()))
    }

    /// The same with another file; the path is relative to the chart.
    #[must_use]
    pub fn with_file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.to_owned(), content.into());
        self
    }

    /// The same with another chart in `charts`.
    #[must_use]
    pub fn with_subchart(mut self, name: &str, chart: &Self) -> Self {
        let files = chart.files.iter().map(|(path, content)| (format!("charts/{name}/{path}"), content.clone()));
        self.files.extend(files);
        self
    }

    /// The same without a file.
    #[must_use]
    pub fn without_file(mut self, path: &str) -> Self {
        self.files.remove(path);
        self
    }

    /// What `Chart.yaml` says.
    pub fn metadata(&self) -> Result<Value> {
        let text = self.files.get("Chart.yaml").map(Vec::as_slice).unwrap_or_default();
        serde_yaml::from_slice(text).map_err(|error| Error::Yaml(error.to_string()))
    }

    /// Its name and version.
    pub fn identity(&self) -> Result<(String, String)> {
        let metadata = self.metadata()?;
        let field = |name: &str| match metadata.get(name).and_then(Value::as_str) {
            Some(text) => Ok(text.to_owned()),
            None => Err(Error::Yaml(format!("Chart.yaml has no {name}"))),
        };
        Ok((field("name")?, field("version")?))
    }

    /// As `helm package` packs it: a gzipped tar, with all in a folder of the chart's name.
    pub fn package(&self) -> Result<Vec<u8>> {
        let (name, _) = self.identity()?;
        let failed = |error: io::Error| Error::Yaml(format!("{name} cannot be packed: {error}"));
        let mut archive = tar::Builder::new(GzBuilder::new().mtime(0).write(Vec::new(), Compression::default()));
        for (path, content) in &self.files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_mtime(0);
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, format!("{name}/{path}"), content.as_slice()).map_err(failed)?;
        }
        archive.into_inner().and_then(flate2::write::GzEncoder::finish).map_err(failed)
    }
}

fn read_into(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    for entry in fs::read_dir(folder).on("list", folder)? {
        let path = entry.on("list", folder)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            read_into(&path, &format!("{name}/"), files)?;
        } else {
            files.insert(name, fs::read(&path).on("read", &path)?);
        }
    }
    Ok(())
}
