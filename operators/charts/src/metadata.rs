//! Chart.yaml, as Helm reads it, and the requirements.yaml of older charts.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};

use crate::{
    events::Events,
    version::{Version, VersionError},
};

/// Most bytes of Chart.yaml and of requirements.yaml.
const METADATA_BYTES: usize = 512 * 1024;
/// Most lists and maps in one another.
const DEPTH: usize = 32;
/// Most characters of a text that is only shown.
const SHOWN_CHARACTERS: usize = 1_024;
/// Most bytes of a name.
const NAME_BYTES: usize = 250;

/// The format of a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiVersion {
    /// Of Helm 2: dependencies stand in requirements.yaml.
    V1,
    /// Of Helm 3 and later.
    V2,
}

/// What a chart is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChartType {
    /// It is installed.
    Application,
    /// It holds templates for other charts.
    Library,
}

/// A chart that another one needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependency {
    /// Its name.
    pub name: String,
    /// The name that it goes by in the values; empty for its own name.
    pub alias: String,
    /// Which versions of it do.
    pub version: String,
    /// Paths of values, with commas between them, of which the first one that is there says whether it is used.
    pub condition: String,
    /// Tags, of which one that is true lets it be used.
    pub tags: Vec<String>,
    /// Which of its values go to the chart that needs it.
    pub import_values: Vec<ImportValues>,
}

/// Values of a dependency that go to the chart that needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportValues {
    /// The path in the values of the dependency.
    pub child: String,
    /// The path in the values of the chart; `.` is their top.
    pub parent: String,
}

/// What Chart.yaml says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Name: at most 250 letters, digits, `-`, `_` and `.`; it begins with none of these three.
    pub name: String,
    /// Version.
    pub version: Version,
    /// Version of what it installs; empty if it does not say. At most 1,024 characters.
    pub app_version: String,
    /// Its format.
    pub api_version: ApiVersion,
    /// What it is for.
    pub chart_type: ChartType,
    /// Constraint on the version of Kubernetes; empty if there is none.
    pub kube_version: String,
    /// One sentence; at most 1,024 characters.
    pub description: String,
    /// URL of an image; at most 1,024 characters.
    pub icon: String,
    /// URL of its home page; at most 1,024 characters.
    pub home: String,
    /// Whether nobody should begin to use it.
    pub is_deprecated: bool,
    /// What other programs know of it.
    pub annotations: BTreeMap<String, String>,
    /// The charts that it needs, each of which lies in its folder charts.
    pub dependencies: Vec<Dependency>,
}

/// Why the metadata of a chart cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// There is none.
    #[error("there is no Chart.yaml; package a chart with `helm package`")]
    Missing,
    /// A file is too large.
    #[error("{file} has more than {METADATA_BYTES} bytes; shorten it")]
    TooLarge {
        /// The file.
        file: &'static str,
    },
    /// A file cannot be read.
    #[error("{file} is not what Helm reads (line {line}); correct it")]
    Invalid {
        /// The file.
        file: &'static str,
        /// The line, from 1; 0 if it is unknown.
        line: usize,
    },
    /// The name is missing or not usable.
    #[error("the name in Chart.yaml is none; use letters, digits and hyphens")]
    Name,
    /// The version is missing or none.
    #[error("the version in Chart.yaml is none: {0}")]
    Version(VersionError),
    /// The format is unknown.
    #[error("the apiVersion in Chart.yaml is neither v1 nor v2; use a chart of one of these")]
    ApiVersion,
    /// The type is unknown.
    #[error("the type in Chart.yaml is neither application nor library; correct it")]
    Type,
}

const CHART: &str = "Chart.yaml";
const REQUIREMENTS: &str = "requirements.yaml";

/// A text may be left out, null, or a number.
type Text = Option<String>;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ChartFile {
    name: Text,
    version: Text,
    app_version: Text,
    api_version: Text,
    r#type: Text,
    kube_version: Text,
    description: Text,
    icon: Text,
    home: Text,
    deprecated: Option<bool>,
    annotations: Option<BTreeMap<String, Text>>,
    dependencies: Option<Vec<DependencyEntry>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RequirementsFile {
    dependencies: Option<Vec<DependencyEntry>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DependencyEntry {
    name: Text,
    alias: Text,
    version: Text,
    condition: Text,
    tags: Option<Vec<Text>>,
    #[serde(rename = "import-values")]
    import_values: Option<Vec<ImportEntry>>,
}

/// A name stands for what is exported under it.
#[derive(Deserialize)]
#[serde(untagged)]
enum ImportEntry {
    Exported(String),
    Paths {
        #[serde(default)]
        child: String,
        #[serde(default)]
        parent: String,
    },
    Other(IgnoredAny),
}

impl ImportEntry {
    fn read(self) -> Option<ImportValues> {
        match self {
            Self::Exported(name) => Some(ImportValues { child: format!("exports.{name}"), parent: ".".to_owned() }),
            Self::Paths { child, parent } => Some(ImportValues { child, parent }),
            Self::Other(_) => None,
        }
    }
}

impl Metadata {
    /// From the bytes of Chart.yaml and requirements.yaml.
    pub(crate) fn read(chart: Option<&[u8]>, requirements: Option<&[u8]>) -> Result<Self, MetadataError> {
        let file: ChartFile = parse(CHART, chart.ok_or(MetadataError::Missing)?)?;
        let required: RequirementsFile =
            requirements.map_or_else(|| Ok(RequirementsFile::default()), |bytes| parse(REQUIREMENTS, bytes))?;
        Ok(Self {
            name: name(file.name)?,
            version: file.version.unwrap_or_default().parse().map_err(MetadataError::Version)?,
            app_version: shown(file.app_version),
            api_version: api_version(file.api_version.as_deref())?,
            chart_type: chart_type(file.r#type.as_deref())?,
            kube_version: shown(file.kube_version),
            description: shown(file.description),
            icon: shown(file.icon),
            home: shown(file.home),
            is_deprecated: file.deprecated.unwrap_or_default(),
            annotations: texts(file.annotations.unwrap_or_default()),
            // As with Helm, the older file wins where there are both.
            dependencies: dependencies(required.dependencies.or(file.dependencies).unwrap_or_default()),
        })
    }
}

fn parse<T: for<'a> Deserialize<'a>>(file: &'static str, bytes: &[u8]) -> Result<T, MetadataError> {
    if bytes.len() > METADATA_BYTES {
        return Err(MetadataError::TooLarge { file });
    }
    if let Some(line) = Events::too_deep(bytes, DEPTH) {
        return Err(MetadataError::Invalid { file, line });
    }
    serde_yaml::from_slice(bytes)
        .map_err(|error| MetadataError::Invalid { file, line: error.location().map_or(0, |at| at.line()) })
}

fn name(text: Text) -> Result<String, MetadataError> {
    let is_usable = |name: &String| {
        let is_allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
        let first = name.chars().next().is_some_and(|letter| letter.is_ascii_alphanumeric());
        first && name.len() <= NAME_BYTES && name.chars().all(is_allowed)
    };
    text.filter(is_usable).ok_or(MetadataError::Name)
}

fn api_version(text: Option<&str>) -> Result<ApiVersion, MetadataError> {
    match text {
        // Helm 2 did not ask for one.
        None | Some("" | "v1") => Ok(ApiVersion::V1),
        Some("v2") => Ok(ApiVersion::V2),
        Some(_) => Err(MetadataError::ApiVersion),
    }
}

fn chart_type(text: Option<&str>) -> Result<ChartType, MetadataError> {
    match text {
        None | Some("" | "application") => Ok(ChartType::Application),
        Some("library") => Ok(ChartType::Library),
        Some(_) => Err(MetadataError::Type),
    }
}

/// A text that can be shown: without control characters, cut.
fn shown(text: Text) -> String {
    let text = text.unwrap_or_default();
    let spaced = text.chars().map(|letter| if letter.is_whitespace() { ' ' } else { letter });
    spaced.filter(|letter| !letter.is_control()).take(SHOWN_CHARACTERS).collect()
}

fn texts(map: BTreeMap<String, Text>) -> BTreeMap<String, String> {
    map.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect()
}

fn dependencies(entries: Vec<DependencyEntry>) -> Vec<Dependency> {
    let read = |entry: DependencyEntry| Dependency {
        name: shown(entry.name),
        alias: shown(entry.alias),
        version: shown(entry.version),
        condition: shown(entry.condition),
        tags: entry.tags.unwrap_or_default().into_iter().map(shown).collect(),
        import_values: entry.import_values.unwrap_or_default().into_iter().filter_map(ImportEntry::read).collect(),
    };
    entries.into_iter().map(read).collect()
}
