//! Runs the scenes of the demo one after the other, and shows what comes of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::backup::Backups;
use super::scenes::{Step, scenes};
use super::{CLUSTERS, apply_files, link_files, say};
use crate::error::{Error, Result};
use crate::installation::{End, Installation, finished, kubectl_on, repository};
use crate::wait::eventually;

/// A cluster that hangs is given up after three probes, which is the longest that anything takes.
const LIMIT: Duration = Duration::from_secs(90);

/// UIDs of the namespaces that Projects hold, by cluster.
type Identities = BTreeMap<&'static str, String>;

/// Shows everything. What does not come in time is an error that says what it was.
pub(super) async fn show(installation: &mut Installation, backups: &Backups, folder: &Path) -> Result<()> {
    for (number, scene) in (1..).zip(scenes(installation, backups, folder)?) {
        say(&format!("\n{number}. {}", scene.title));
        for step in scene.steps {
            match step {
                Step::Type(line) => run(&line)?,
                Step::Await(expected) => {
                    let is_so = async || Ok((expected.is_so)(installation)?.then_some(()));
                    let came = eventually(&expected.what, LIMIT, is_so).await;
                    if came.is_err() {
                        say(&kubectl_on(&installation.management, &["get", "drover", "--all-namespaces"])?);
                    }
                    came?;
                    say(&format!("   → {}", expected.what));
                }
                Step::Rebuild => rebuild(installation, backups, folder).await?,
                Step::Succeed(name) => {
                    installation.stop_drover(End::Terminate).await?;
                    name.clone_into(&mut installation.name);
                    installation.start_drover().await?;
                }
            }
        }
    }
    Ok(())
}

fn run(line: &str) -> Result<()> {
    say(&format!("   $ {line}"));
    let start = |source| Error::Start { name: line.to_owned(), source };
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).current_dir(repository()).stdin(Stdio::null());
    let printed = finished(line, &shell.output().map_err(start)?)?;
    printed.lines().for_each(|line| say(&format!("   {line}")));
    Ok(())
}

async fn rebuild(installation: &mut Installation, backups: &Backups, folder: &Path) -> Result<()> {
    let before = identities(installation)?;
    installation.stop_drover(End::Kill).await?;
    installation.rebuild_management().await?;
    link_files(installation, folder)?;
    installation.start_drover().await?;
    apply_files(installation, backups).await?;
    let is_as_before = async || {
        let ready = super::table(installation)?.ready;
        Ok((ready && identities(installation)? == before).then_some(()))
    };
    eventually("everything is Ready again, with the namespaces of before", LIMIT, is_as_before).await?;
    say("   → the new management cluster holds the clusters and their namespaces again");
    Ok(())
}

fn identities(installation: &Installation) -> Result<Identities> {
    let selector = "--selector=drover.dev/owner-kind=Project";
    let arguments = ["get", "namespaces", selector, "--output=jsonpath={.items[*].metadata.uid}"];
    CLUSTERS.iter().map(|name| Ok((*name, kubectl_on(installation.cluster(name)?, &arguments)?))).collect()
}
