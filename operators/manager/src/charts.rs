//! `drover charts`: what there is in the chart repositories, with the rights of the person who asks and from where that person is.

use std::{env, fs, path::PathBuf, process, sync::Arc};

use drover_charts::{Chart, ChartSummary, IndexRow, Limits, UpgradePolicy};
use drover_crds::ChartRepository;
use drover_runtime::clock::now;
use drover_sources::{Settings, SourceCause, SourceError, Sources, Wanted};
use kube::{Api, ResourceExt as _};
use serde::Serialize;

use crate::{
    access::{columns, list},
    command_line::{AnswerFormat, ChartArguments, ChartsArguments, ChartsCommand, ListArguments},
    membership::{MembershipError, Side},
    output::{print, shown},
};

/// Most bytes of packed charts that are kept while the command runs.
const CACHE: u64 = 64 << 20;

/// Tells what there is.
pub(crate) async fn charts(arguments: &ChartsArguments) -> Result<(), MembershipError> {
    let folder = Folder::new();
    let settings = Settings { folder: folder.0.clone(), cache_bytes: CACHE, addresses: arguments.addresses.policy() };
    let sources = Sources::open(&settings)
        .map_err(|error| MembershipError::Input(format!("{}: {error}; set TMPDIR", settings.folder.display())))?;
    let browser = Browser { management: Side::management(&arguments.management).await?, sources };
    let text = match &arguments.command {
        ChartsCommand::List(asked) => browser.list(asked).await?,
        ChartsCommand::Versions(asked) => browser.versions(asked).await?,
        ChartsCommand::Show(asked) => browser.file(asked, |chart| chart.text("Chart.yaml")).await?,
        ChartsCommand::Values(asked) => browser.file(asked, Chart::values).await?,
        ChartsCommand::Questions(asked) => browser.file(asked, Chart::questions).await?,
    };
    print(&text).map_err(MembershipError::Print)
}

/// A folder for one command.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        Self(env::temp_dir().join(format!("drover-charts-{}", process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays goes with the folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Browser {
    management: Side,
    sources: Sources,
}

/// A row of an answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    repository: String,
    chart: String,
    version: String,
    app_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    versions: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    deprecated: bool,
    description: String,
}

impl Row {
    fn of(repository: &ChartRepository, chart: &str, row: &IndexRow) -> Self {
        Self {
            repository: named(repository),
            chart: chart.to_owned(),
            version: row.version.to_string(),
            app_version: row.app_version.clone(),
            versions: None,
            digest: row.digest.map(|digest| digest.to_string()),
            deprecated: row.is_deprecated,
            description: row.description.clone(),
        }
    }

    fn newest(repository: &ChartRepository, chart: &ChartSummary) -> Self {
        Self { versions: Some(chart.versions), ..Self::of(repository, &chart.name, &chart.newest) }
    }

    fn cells(&self) -> [String; 5] {
        let description =
            if self.deprecated { format!("deprecated: {}", self.description) } else { self.description.clone() };
        let cell = |text: &str| if text.is_empty() { "-".to_owned() } else { shown(text) };
        [&self.repository, &self.chart, &self.version, &self.app_version, &description].map(|text| cell(text))
    }
}

fn answer(rows: &[Row], format: AnswerFormat) -> Result<String, MembershipError> {
    let head = ["REPOSITORY", "CHART", "VERSION", "APP VERSION", "DESCRIPTION"].map(str::to_owned);
    Ok(match format {
        AnswerFormat::Table => columns(&std::iter::once(head).chain(rows.iter().map(Row::cells)).collect::<Vec<_>>()),
        AnswerFormat::Json => serde_json::to_string_pretty(rows)? + "\n",
    })
}

fn named(repository: &ChartRepository) -> String {
    format!("{}/{}", repository.namespace().unwrap_or_default(), repository.name_any())
}

fn failed(repository: &ChartRepository, error: SourceError) -> MembershipError {
    let error = error.about(&format!("ChartRepository {}", named(repository)));
    let own = if error.cause == SourceCause::SecretsNotPermitted.cause() {
        "; its Secret is read with your own rights, which do not allow it"
    } else {
        ""
    };
    MembershipError::Input(format!("{error}{own}"))
}

impl Browser {
    /// The newest version of every chart. A repository that cannot be read is told, and the others go on.
    async fn list(&self, asked: &ListArguments) -> Result<String, MembershipError> {
        let client = self.management.client.clone();
        let api = match &asked.namespace {
            _ if asked.all_namespaces => Api::all(client),
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::default_namespaced(client),
        };
        let mut rows = Vec::new();
        for repository in list::<ChartRepository>(&self.management, &api).await? {
            if repository.spec.oci.is_some() {
                say!("ChartRepository {} is a registry, which has no list of its charts: name one", named(&repository));
                continue;
            }
            match self.sources.charts(&self.management.client, &repository, now()).await {
                Ok(charts) => rows.extend(charts.iter().map(|chart| Row::newest(&repository, chart))),
                Err(error) => say!("{}", failed(&repository, error)),
            }
        }
        answer(&rows, asked.output)
    }

    async fn versions(&self, asked: &ChartArguments) -> Result<String, MembershipError> {
        let repository = self.repository(asked).await?;
        let found = self.found(&repository, asked).await?;
        let rows: Vec<_> = found.iter().map(|row| Row::of(&repository, &asked.chart, row)).collect();
        answer(&rows, asked.output)
    }

    async fn found(
        &self,
        repository: &ChartRepository,
        asked: &ChartArguments,
    ) -> Result<Arc<Vec<IndexRow>>, MembershipError> {
        let client = &self.management.client;
        let found = self.sources.versions(client, repository, &asked.chart, now()).await;
        let found = found.map_err(|error| failed(repository, error))?;
        if found.is_empty() {
            let message = format!("ChartRepository {} has no chart {}", named(repository), asked.chart);
            return Err(MembershipError::Input(message));
        }
        Ok(found)
    }

    /// A file of one version of a chart.
    async fn file(
        &self,
        asked: &ChartArguments,
        of: impl FnOnce(&Chart) -> Option<&str>,
    ) -> Result<String, MembershipError> {
        let repository = self.repository(asked).await?;
        let (client, failed) = (&self.management.client, |error| failed(&repository, error));
        let wanted = Wanted {
            chart: asked.chart.clone(),
            version: asked.version.clone().unwrap_or_default(),
            policy: UpgradePolicy::None,
            allow_prerelease: false,
            current: None,
        };
        let chosen = self.sources.choose(client, &repository, &wanted, now()).await.map_err(failed)?;
        let Some(digest) = chosen.digest else { return Ok(String::new()) };
        let packed = self.sources.chart(client, &repository, &asked.chart, (&chosen.version, digest), now()).await;
        let packed = packed.map_err(failed)?;
        let chart = Chart::unpack(&packed, &Limits::default());
        let chart = chart.map_err(|error| MembershipError::Input(format!("chart {}: {error}", asked.chart)))?;
        Ok(shown(of(&chart).unwrap_or_default()))
    }

    async fn repository(&self, asked: &ChartArguments) -> Result<ChartRepository, MembershipError> {
        let client = self.management.client.clone();
        let (api, name) = match asked.repository.split_once('/') {
            Some((namespace, name)) => (Api::<ChartRepository>::namespaced(client, namespace), name),
            None => (Api::default_namespaced(client), asked.repository.as_str()),
        };
        self.management.ask(format!("get the ChartRepository {}", asked.repository), api.get(name)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_chart_says_does_not_play_with_a_terminal() {
        assert_eq!(shown("a: \u{1b}[31mred\u{7}\n\tb"), "a: [31mred\n\tb");
        let row = Row {
            repository: "team/stable".to_owned(),
            chart: "web".to_owned(),
            version: "1.0.0".to_owned(),
            app_version: String::new(),
            versions: None,
            digest: None,
            deprecated: true,
            description: "Serves".to_owned(),
        };
        assert_eq!(
            answer(&[row], AnswerFormat::Table).unwrap(),
            "REPOSITORY    CHART   VERSION   APP VERSION   DESCRIPTION\nteam/stable   web     1.0.0     -             deprecated: Serves\n"
        );
    }
}
