//! `make demo`: a management cluster, two downstream ones, and Drover, on this machine.

mod backup;
mod scans;
mod scenes;
mod tour;

use std::fs;
use std::io::{IsTerminal as _, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use self::backup::Backups;
use crate::control_plane::{DetachedControlPlane, down};
use crate::error::{Error, FileContext, Result};
use crate::installation::{DROVER_USER, Installation, Plan, drover_binary, example, kubectl_on};
use crate::json_file;
use crate::process::{DetachedProcess, Process};
use crate::wait::eventually;
use crate::{Components, Program, Tools};

const CLUSTERS: [&str; 2] = ["eu-1", "us-1"];
const NODES: usize = 3;
/// Everything is Ready long before that.
const READY_LIMIT: Duration = Duration::from_secs(90);
const REFRESH: Duration = Duration::from_millis(500);
const DROVER_STATE: &str = "drover.json";

/// What happens once everything is Ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// A person tries things, until they press Enter; without a terminal it ends at once.
    Person,
    /// It goes on after this process ended, until [`stop`].
    Keep,
    /// Everything there is to try is shown, one after the other.
    Tour,
}

/// Runs the demo; `folder` remembers what runs.
pub async fn run(folder: &Path, ending: Ending) -> Result<()> {
    if running(folder) {
        return Err(Error::DemoRuns);
    }
    say("Looking for the programs of the control planes; what is missing is built once, in a few minutes.");
    Tools::from_environment()?.ensure_all(&Program::ALL).await?;
    let started = Instant::now();
    say("Starting three control planes: management, eu-1, us-1 (real API servers; the nodes are fakes by kwok).");
    let clusters = CLUSTERS.map(str::to_owned).to_vec();
    let plan = Plan { clusters, components: Components::WithScheduler, nodes: NODES, audit: false, shared_etcd: false };
    let mut installation = Installation::start(&plan).await?;
    say(
        "Starting drover; applying examples/demo: two Clusters, a Project that selects them by label, and a backup of eu-1.",
    );
    "demo".clone_into(&mut installation.name);
    let backups = Backups::start(&installation).await?;
    let _scanned = scans::start(&installation).await?;
    let images = [("DROVER_ETCD_IMAGE", backup::IMAGE), ("DROVER_SCAN_IMAGE", scans::IMAGE)];
    installation.environment = images.map(|(name, image)| (name.to_owned(), image.to_owned())).to_vec();
    installation.start_drover().await?;
    apply_files(&installation, &backups).await?;
    show_until_ready(&installation).await?;
    say(&format!("\nEverything was Ready {:.0} s after the start.\n", started.elapsed().as_secs_f64()));
    link_files(&installation, folder)?;
    let outcome = match ending {
        Ending::Keep => {
            say(&what_to_try(folder));
            leave_running(installation, folder)?;
            say(
                "The demo goes on, but for the bucket of its backup and the nodes that run Jobs. `make demo-down` ends it.",
            );
            return Ok(());
        }
        Ending::Tour => tour(installation, &backups, folder, started).await,
        Ending::Person => {
            let_try(folder).await;
            Ok(())
        }
    };
    // What we put there points at what has ended.
    let removed = fs::remove_dir_all(folder).on("remove", folder);
    outcome.and(removed)
}

async fn tour(mut installation: Installation, backups: &Backups, folder: &Path, started: Instant) -> Result<()> {
    let folder = std::path::absolute(folder).on("resolve", folder)?;
    tour::show(&mut installation, backups, &folder).await.inspect_err(|_| say(&installation.drover_log()))?;
    say(&format!("\nThe tour ended after {:.0} s.", started.elapsed().as_secs_f64()));
    Ok(())
}

async fn let_try(folder: &Path) {
    say(&what_to_try(folder));
    if std::io::stdin().is_terminal() {
        say("Press Enter or Ctrl-C to end the demo; `make demo DEMO=keep` leaves it running.");
        wait_for_person().await;
    }
}

/// What people would have in Git.
async fn apply_files(installation: &Installation, backups: &Backups) -> Result<()> {
    for name in CLUSTERS {
        // As an administrator: a role in Drover's namespace goes with it when a Cluster is deleted with the policy Delete, and
        // the demo brings such a Cluster back by its file alone.
        let kubeconfig = installation.cluster(name)?.kubeconfig_for(DROVER_USER, &["system:masters"])?;
        installation.store_secret(name, &kubeconfig).await?;
    }
    backups.apply_store(installation).await?;
    for file in ["demo/clusters.yaml", "demo/project.yaml", "demo/backup.yaml"] {
        installation.apply_text(&example(file)?).await?;
    }
    Ok(())
}

/// Ends a demo that was left running.
pub async fn stop(folder: &Path) -> Result<()> {
    if !folder.is_dir() {
        say("No demo is running.");
        return Ok(());
    }
    let drover = folder.join(DROVER_STATE);
    for process in read_processes(&drover)? {
        process.terminate().await?;
    }
    for name in planes() {
        let state = state_file(folder, name);
        if state.is_file() {
            down(&state).await?;
        }
    }
    fs::remove_dir_all(folder).on("remove", folder)?;
    say("The demo has ended.");
    Ok(())
}

fn planes() -> impl Iterator<Item = &'static str> {
    std::iter::once("management").chain(CLUSTERS)
}

fn state_file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.json"))
}

fn running(folder: &Path) -> bool {
    planes().any(|name| DetachedControlPlane::load(&state_file(folder, name)).is_ok_and(|plane| plane.is_running()))
}

fn leave_running(installation: Installation, folder: &Path) -> Result<()> {
    let (planes, replicas) = installation.into_parts();
    for plane in planes {
        let file = state_file(folder, plane.name());
        plane.detach(&file)?;
    }
    let processes = replicas.iter().map(Process::observe).collect::<Result<Vec<_>>>()?;
    json_file::write(&folder.join(DROVER_STATE), &processes)?;
    replicas.into_iter().try_for_each(|process| process.detach().map(drop))
}

fn read_processes(file: &Path) -> Result<Vec<DetachedProcess>> {
    if !file.is_file() {
        return Ok(Vec::new());
    }
    json_file::read(file)
}

/// Shows the fleet until everything is Ready: on a terminal the table stays in place.
async fn show_until_ready(installation: &Installation) -> Result<()> {
    let mut shown = 0;
    let mut last = String::new();
    let outcome = eventually("everything is Ready", READY_LIMIT, async || {
        let table = table(installation)?;
        if table.text != last {
            if std::io::stdout().is_terminal() && shown > 0 {
                print(&format!("\x1b[{shown}A\x1b[J"));
            }
            shown = table.text.lines().count();
            print(&table.text);
            last = table.text;
        }
        if !table.ready {
            tokio::time::sleep(REFRESH).await;
        }
        Ok(table.ready.then_some(()))
    });
    outcome.await.inspect_err(|_| say(&installation.drover_log()))
}

struct Table {
    text: String,
    ready: bool,
}

/// What converged where: the fleet as `kubectl get drover -A` shows it, and the namespaces as each cluster has them.
fn table(installation: &Installation) -> Result<Table> {
    let mut text = installation.kubectl(&["get", "drover", "--all-namespaces"])?;
    let all: Value =
        serde_json::from_str(&installation.kubectl(&["get", "drover", "--all-namespaces", "--output=json"])?)
            .map_err(|source| Error::Json { what: "the output of kubectl get drover".to_owned(), source })?;
    let objects = all.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let ready = objects.len() > CLUSTERS.len() && objects.iter().all(is_ready);
    text.push('\n');
    for name in CLUSTERS {
        let selector = "--selector=drover.dev/owner-kind=Project";
        let namespaces = kubectl_on(installation.cluster(name)?, &["get", "namespaces", selector, "--output=name"])?;
        let names: Vec<_> = namespaces.lines().map(|line| line.trim_start_matches("namespace/")).collect();
        let names = if names.is_empty() { "nothing yet".to_owned() } else { names.join(", ") };
        let cluster = objects.iter().find(|object| object.pointer("/metadata/name") == Some(&name.into()));
        let told = |path: &str| cluster.and_then(|cluster| cluster.pointer(path)?.as_str()).unwrap_or("?");
        let (cpu, end) = (told("/status/resources/allocatable/cpu"), told("/status/certificates/0/notAfter"));
        text.extend([name, " has ", &names, "; ", cpu, " CPUs; its first certificate ends ", end, "\n"]);
    }
    Ok(Table { text, ready })
}

fn is_ready(object: &Value) -> bool {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let generation = object.pointer("/metadata/generation");
    conditions.into_iter().flatten().any(|condition| {
        condition.get("type") == Some(&"Ready".into()) && condition.get("status") == Some(&"True".into())
    }) && object.pointer("/status/observedGeneration") == generation
}

/// Puts kubectl and the kubeconfigs at short paths.
fn link_files(installation: &Installation, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).on("create", folder)?;
    let tools = Tools::from_environment()?;
    let mut links =
        vec![("kubectl".to_owned(), tools.path(Program::Kubectl)?), ("helm".to_owned(), tools.path(Program::Helm)?)];
    links.push(("drover".to_owned(), drover_binary()?));
    let planes = std::iter::once(&installation.management).chain(installation.downstream.values());
    links.extend(planes.map(|plane| (format!("{}.kubeconfig", plane.name()), plane.kubeconfig_path())));
    for (name, target) in links {
        let link = folder.join(name);
        let _ = fs::remove_file(&link);
        symlink(&target, &link).on("link", &link)?;
    }
    Ok(())
}

/// Where to begin; the tour has the rest.
fn what_to_try(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "Try it, in the folder of the repository:\n  \
           alias manage='{folder}/kubectl --kubeconfig {folder}/management.kubeconfig'\n  \
           alias eu='{folder}/kubectl --kubeconfig {folder}/eu-1.kubeconfig'\n  \
           alias us='{folder}/kubectl --kubeconfig {folder}/us-1.kubeconfig'\n  \
           manage get drover --all-namespaces\n  \
           eu delete namespace shop-cart    # it comes back\n\
         docs/tour.md has fifteen scenes more; `make demo DEMO=tour` plays them all."
    )
}

async fn wait_for_person() {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // On a thread of its own: the runtime would wait at its end for a read that it started.
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_line(&mut String::new());
        sender.send(())
    });
    tokio::select! { _ = receiver => {}, _ = tokio::signal::ctrl_c() => {} }
}

fn say(line: &str) {
    print(&format!("{line}\n"));
}

fn print(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
