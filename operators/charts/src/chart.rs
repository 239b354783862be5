//! A packed chart, checked: its files, metadata and subcharts.

use std::{collections::BTreeMap, str};

use bytes::Bytes;

use crate::{
    archive::{ArchiveError, Budget, Files, unpack},
    limits::Limits,
    metadata::{ChartType, Metadata, MetadataError},
};
use drover_fetch::Digest;

/// The folder of the subcharts.
const SUBCHARTS: &str = "charts/";
/// The folder of the templates.
const TEMPLATES: &str = "templates/";

/// A chart whose archive was checked, and all charts in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chart {
    metadata: Metadata,
    files: Files,
    subcharts: Vec<Chart>,
    digest: Digest,
}

/// Why a packed chart is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChartError {
    /// For what its archive is.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// For what its Chart.yaml says.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// For a chart in it.
    #[error("in {path}: {error}")]
    Subchart {
        /// Where it lies in the outermost chart.
        path: String,
        /// Why it is refused.
        error: Box<ChartError>,
    },
}

/// Why a chart cannot be installed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotInstallable {
    /// It holds templates for other charts.
    #[error("the chart is a library, which nothing installs; name a chart that uses it")]
    Library,
    /// Charts that it needs are not in it.
    #[error("the chart needs {}, which its folder charts does not have; package it after `helm dependency update`", .0.join(", "))]
    MissingDependencies(Vec<String>),
}

impl Chart {
    /// Unpacks and checks a packed chart. It takes time in proportion to [`Limits::unpacked_bytes`]: call it where blocking is
    /// allowed.
    pub fn unpack(packed: &[u8], limits: &Limits) -> Result<Self, ChartError> {
        let budget = Budget::new(*limits);
        let reading = Reading { digest: Digest::of(packed), budget: &budget };
        reading.archive(packed, 0)
    }

    /// What Chart.yaml says.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// SHA-256 of the packed chart; a subchart has that of the chart it came in.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// All files, by their paths below the folder of the chart; subcharts are among them.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<String, Bytes> {
        &self.files
    }

    /// The charts in its folder charts, and in theirs.
    #[must_use]
    pub fn subcharts(&self) -> &[Self] {
        &self.subcharts
    }

    /// The text of a file; none if there is no such file or it is not UTF-8.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).and_then(|bytes| str::from_utf8(bytes).ok())
    }

    /// Default values, YAML.
    #[must_use]
    pub fn values(&self) -> Option<&str> {
        self.text("values.yaml")
    }

    /// The JSON schema of the values.
    #[must_use]
    pub fn values_schema(&self) -> Option<&str> {
        self.text("values.schema.json")
    }

    /// What Rancher asks people who install it, YAML.
    #[must_use]
    pub fn questions(&self) -> Option<&str> {
        self.text("questions.yaml").or_else(|| self.text("questions.yml"))
    }

    /// What people read before they install it, Markdown.
    #[must_use]
    pub fn app_readme(&self) -> Option<&str> {
        self.text("app-readme.md").or_else(|| self.text("README.md"))
    }

    /// The template of the notes.
    #[must_use]
    pub fn notes(&self) -> Option<&str> {
        self.text("templates/NOTES.txt")
    }

    /// The files in the folders crds, by path: those of subcharts after its own, in the order of Helm, which leaves out those of
    /// subcharts that the values turn off.
    pub fn crds(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        let is_crd = |path: &str| path.starts_with("crds/") && is_manifest(path);
        let own = self.files.iter().map(|(path, bytes)| (path.as_str(), bytes)).filter(move |(path, _)| is_crd(path));
        let nested = self.subcharts.iter().flat_map(|chart| chart.crds().collect::<Vec<_>>());
        own.chain(nested)
    }

    /// Whether a template or default values, its own or of a subchart, have this text in them. A template that builds the text
    /// from pieces is not found.
    #[must_use]
    pub fn mentions(&self, text: &str) -> bool {
        let is_rendered = |path: &str| path.starts_with(TEMPLATES) || path == "values.yaml";
        let has_text = |bytes: &Bytes| bytes.windows(text.len().max(1)).any(|window| window == text.as_bytes());
        self.files.iter().any(|(path, bytes)| is_rendered(path) && has_text(bytes))
            || self.subcharts.iter().any(|chart| chart.mentions(text))
    }

    /// Names of charts that it needs and does not have in its folder charts.
    #[must_use]
    pub fn missing_dependencies(&self) -> Vec<String> {
        let has = |name: &str| self.subcharts.iter().any(|chart| chart.metadata.name == name);
        let names = self.metadata.dependencies.iter().map(|dependency| &dependency.name);
        names.filter(|name| !has(name)).cloned().collect()
    }

    /// Whether it can be installed.
    pub fn check_installable(&self) -> Result<(), NotInstallable> {
        if self.metadata.chart_type == ChartType::Library {
            return Err(NotInstallable::Library);
        }
        let missing = self.missing_dependencies();
        if missing.is_empty() { Ok(()) } else { Err(NotInstallable::MissingDependencies(missing)) }
    }
}

fn is_manifest(path: &str) -> bool {
    ["yaml", "yml", "json"].iter().any(|extension| ends_with(path, extension))
}

fn ends_with(path: &str, extension: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, found)| found == extension)
}

/// Reads one packed chart and those in it.
struct Reading<'a> {
    digest: Digest,
    budget: &'a Budget,
}

impl Reading<'_> {
    /// A packed chart that lies `outer` names deep.
    fn archive(&self, packed: &[u8], outer: usize) -> Result<Chart, ChartError> {
        self.chart(unpack(packed, outer, self.budget)?, outer)
    }

    /// The chart that these files are. The bound on their depth bounds the recursion.
    fn chart(&self, files: Files, outer: usize) -> Result<Chart, ChartError> {
        let read = |path: &str| files.get(path).map(AsRef::as_ref);
        let metadata = Metadata::read(read("Chart.yaml"), read("requirements.yaml"))?;
        let within = |path: &str, error| ChartError::Subchart { path: path.to_owned(), error: Box::new(error) };
        let mut subcharts = Vec::new();
        for (name, content) in subcharts_of(&files) {
            let path = format!("{SUBCHARTS}{name}");
            let chart = match content {
                Subchart::Packed(bytes) => self.archive(&bytes, outer + 2),
                Subchart::Folder(files) => self.chart(files, outer + 2),
            };
            subcharts.push(chart.map_err(|error| within(&path, error))?);
        }
        Ok(Chart { metadata, files, subcharts, digest: self.digest })
    }
}

/// How a subchart lies in the folder charts.
enum Subchart {
    Packed(Bytes),
    Folder(Files),
}

/// What Helm takes for subcharts: archives and folders in charts, but those that begin with `_` or `.`.
fn subcharts_of(files: &Files) -> BTreeMap<&str, Subchart> {
    let mut found = BTreeMap::new();
    for (path, bytes) in files {
        let Some(below) = path.strip_prefix(SUBCHARTS).filter(|below| !below.starts_with(['_', '.'])) else { continue };
        match below.split_once('/') {
            None if ends_with(below, "prov") => {}
            None if ends_with(below, "tgz") => {
                found.insert(below, Subchart::Packed(bytes.clone()));
            }
            None => {
                found.entry(below).or_insert_with(|| Subchart::Folder(Files::new()));
            }
            Some((name, rest)) => {
                if let Subchart::Folder(files) = found.entry(name).or_insert_with(|| Subchart::Folder(Files::new())) {
                    files.insert(rest.to_owned(), bytes.clone());
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
