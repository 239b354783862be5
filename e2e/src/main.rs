//! Builds the programs of control planes, and runs one for a developer.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use drover_e2e::pool::{OwnedPool, Pool, Shape};
use drover_e2e::tools::Origin;
use drover_e2e::{Components, ControlPlane, Error, Options, Program, Result, Tools};
use drover_e2e::{bench, bind, demo};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(about, version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find or build every program, and say where each is.
    Tools,
    /// Run a control plane until standard input closes or SIGTERM comes.
    ControlPlane {
        /// Its name.
        #[arg(long, default_value = "local")]
        name: String,
        /// Which components to run.
        #[arg(long, value_enum, default_value = "scheduler")]
        up_to: UpTo,
        /// Start kwok with this many fake nodes.
        #[arg(long, default_value_t = 0)]
        nodes: usize,
    },
    /// Run the demo: a management cluster, two downstream ones, and Drover.
    Demo {
        /// Leave it running.
        #[arg(long)]
        keep: bool,
        /// Show everything there is to try, one after the other.
        #[arg(long, conflicts_with = "keep")]
        tour: bool,
        /// Where to remember what runs.
        #[arg(long, default_value = ".demo")]
        folder: PathBuf,
    },
    /// Measure what a fleet costs, and print tables in Markdown.
    Bench {
        /// Downstream clusters.
        #[arg(long, default_value = "20")]
        clusters: NonZeroUsize,
        /// Nodes of one cluster.
        #[arg(long, default_value = "5000")]
        nodes: NonZeroUsize,
        /// Projects on one cluster, each with ten namespaces, a quota and two roles.
        #[arg(long, default_value = "1000")]
        projects: NonZeroUsize,
        /// Namespaces of the Project with many members.
        #[arg(long, default_value = "100")]
        namespaces: NonZeroUsize,
        /// Its members, each of whom has three roles.
        #[arg(long, default_value = "200")]
        members: NonZeroUsize,
        /// Apps on one cluster, beside as many runs of helm.
        #[arg(long, default_value = "100")]
        apps: NonZeroUsize,
        /// How long nothing happens while requests and CPU time are counted.
        #[arg(long, default_value_t = 300)]
        idle_seconds: u64,
        /// Take each figure once or a few times only, to see that it can be taken.
        #[arg(long)]
        quick: bool,
        /// Only these tables; may be named several times.
        #[arg(long, value_enum)]
        only: Vec<bench::Part>,
    },
    /// Start control planes that stay, so that single tests start at once; tests take them where they are there.
    Planes {
        /// How many downstream ones, beside a management one.
        #[arg(long, default_value_t = 2)]
        bare: usize,
    },
    /// End the control planes that stayed.
    PlanesDown,
    /// Own a pool with one control plane until standard input closes.
    #[command(hide = true)]
    OwnPool,
    /// End a demo that was left running.
    DemoDown {
        /// Where it was remembered.
        #[arg(long, default_value = ".demo")]
        folder: PathBuf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum UpTo {
    Apiserver,
    ControllerManager,
    Scheduler,
}

impl From<UpTo> for Components {
    fn from(up_to: UpTo) -> Self {
        match up_to {
            UpTo::Apiserver => Self::ApiserverOnly,
            UpTo::ControllerManager => Self::WithControllerManager,
            UpTo::Scheduler => Self::WithScheduler,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Tools => tools().await,
        Command::ControlPlane { name, up_to, nodes } => control_plane(&name, up_to.into(), nodes).await,
        Command::Demo { keep, tour, folder } => {
            let ending = match (keep, tour) {
                (true, _) => demo::Ending::Keep,
                (false, true) => demo::Ending::Tour,
                (false, false) => demo::Ending::Person,
            };
            demo::run(&folder, ending).await
        }
        Command::Bench { clusters, nodes, projects, namespaces, members, apps, idle_seconds, quick, only } => {
            let idle = Duration::from_secs(idle_seconds);
            let size = bench::Size { clusters, nodes, projects, namespaces, members, apps, idle, thorough: !quick };
            let parts = if only.is_empty() { bench::Part::value_variants() } else { &only };
            bench::run(size, parts).await.map(drop)
        }
        Command::DemoDown { folder } => demo::stop(&folder).await,
        Command::Planes { bare } => planes(bare).await,
        Command::PlanesDown => planes_down().await,
        Command::OwnPool => own_pool().await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "drover-e2e: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn tools() -> Result<()> {
    let tools = Tools::from_environment()?;
    for program in Program::ALL {
        for found in tools.ensure_all(&[program]).await? {
            let origin = match found.origin {
                Origin::Provided => "provided".to_owned(),
                Origin::Cached => "cached".to_owned(),
                Origin::Built(duration) => format!("built in {} s", duration.as_secs()),
            };
            print(&format!("{:<24} {origin:<14} {}", found.program.name(), found.path.display()));
        }
    }
    // Only the tests of DNS need it: whoever has no packages of Debian can run the others.
    match bind::named(&tools) {
        Ok((named, _)) => print(&format!("{:<24} {:<14} {}", "named", "found", named.display())),
        Err(error) => print(&format!("{:<24} {:<14} {error}", "named", "missing")),
    }
    tools.kube_bench_configuration()?;
    tools.kwok_stages().map(drop)
}

async fn planes(bare: usize) -> Result<()> {
    let pool = Pool::kept()?;
    let shapes: Vec<Shape> = std::iter::once(Shape::Management).chain(std::iter::repeat_n(Shape::Bare, bare)).collect();
    pool.fill(&shapes).await?;
    pool.describe()?.iter().for_each(|line| print(line));
    Ok(())
}

async fn planes_down() -> Result<()> {
    let pool = Pool::kept()?;
    if pool.exists() { pool.end().await } else { Ok(()) }
}

async fn own_pool() -> Result<()> {
    let owned = OwnedPool::create()?;
    let plane = owned.pool().take(Shape::Bare, "owned").await?;
    let pids: Vec<String> = plane.pids().values().map(ToString::to_string).collect();
    print(&pids.join(" "));
    end_of_input().await;
    drop(plane);
    owned.end().await
}

async fn control_plane(name: &str, components: Components, nodes: usize) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|source| start_error(name, source))?;
    let mut plane = ControlPlane::start(Options { components, ..Options::new(name) }).await?;
    if nodes > 0 {
        plane.start_kwok(nodes).await?;
    }
    for (component, pid) in plane.pids() {
        print(&format!("pid {} {pid}", component.name()));
    }
    print(&format!("endpoint {}", plane.endpoint()));
    print(&format!("kubeconfig {}", plane.kubeconfig_path().display()));
    print("ready");
    tokio::select! {
        () = end_of_input() => {}
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(())
}

/// Reads on a thread of its own: the runtime would wait at its end for a read that it started.
async fn end_of_input() {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        sender.send(())
    });
    let _ = receiver.await;
}

fn start_error(name: &str, source: std::io::Error) -> Error {
    Error::Start { name: name.to_owned(), source }
}

fn print(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
