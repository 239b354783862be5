//! Tests on a cluster that somebody else runs, and what to do when the programs of our own are missing.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::control_plane::client_from;
use crate::error::{Error, FileContext, Result};
use crate::tools::{Program, Tools, say, variable};
use crate::{ControlPlane, Options};

/// The cluster of `KUBECONFIG`, which we did not start and do not stop.
pub struct ExistingCluster {
    kubeconfig: String,
    client: kube::Client,
}

impl ExistingCluster {
    /// The cluster, when `USE_EXISTING_CLUSTER=true`.
    pub async fn from_environment() -> Result<Option<Self>> {
        if !is_wanted() {
            return Ok(None);
        }
        let path = variable("KUBECONFIG").ok_or(Error::NoKubeconfig)?;
        let kubeconfig = std::fs::read_to_string(&path).on("read", &path)?;
        let client = client_from(&kubeconfig).await?;
        Ok(Some(Self { kubeconfig, client }))
    }
}

/// A cluster for a test that needs only a client.
pub enum TestCluster {
    /// One that this test started.
    Own(Box<ControlPlane>),
    /// One that was there.
    Existing(ExistingCluster),
}

impl TestCluster {
    /// The existing cluster when the environment asks for it, else a new control plane; nothing when the test should
    /// return because neither can be had: see [`require_or_skip`].
    pub async fn start_or_skip(test: &str, options: Options) -> Result<Option<Self>> {
        if let Some(cluster) = ExistingCluster::from_environment().await? {
            return Ok(Some(Self::Existing(cluster)));
        }
        if !require_or_skip(test, &options.components.programs()).await? {
            return Ok(None);
        }
        Ok(Some(Self::Own(Box::new(ControlPlane::start(options).await?))))
    }

    /// A client of an administrator.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        match self {
            Self::Own(plane) => plane.client(),
            Self::Existing(cluster) => cluster.client.clone(),
        }
    }

    /// The kubeconfig of an administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        match self {
            Self::Own(plane) => plane.kubeconfig(),
            Self::Existing(cluster) => cluster.kubeconfig.clone(),
        }
    }
}

/// For a test that starts control planes of its own: true when it can. When it cannot, a loud line says so and the test
/// should return; with `CI=true` or `E2E_REQUIRE=1` it is an error instead.
pub async fn require_or_skip(test: &str, programs: &[Program]) -> Result<bool> {
    if is_wanted() {
        leave_out(test, "it starts control planes of its own and USE_EXISTING_CLUSTER=true forbids that");
        return Ok(false);
    }
    match Tools::from_environment()?.ensure_all(programs).await {
        Ok(_) => Ok(true),
        Err(error) if is_required() => Err(error),
        Err(error) => {
            skip(test, &error.to_string());
            Ok(false)
        }
    }
}

/// The loud line of a test that cannot run, which fails with `CI=true` or `E2E_REQUIRE=1`.
pub fn skip(test: &str, reason: &str) {
    leave_out(test, reason);
    MISSED.store(is_required(), Ordering::Relaxed);
}

/// The same for one that somebody chose not to run.
fn leave_out(test: &str, reason: &str) {
    SKIPPED.store(true, Ordering::Relaxed);
    say(&format!("SKIPPED {test}: {reason}"));
}

/// Whether the test of this process was skipped.
pub(crate) fn skipped() -> bool {
    SKIPPED.load(Ordering::Relaxed)
}

/// Whether it was, and may not be.
pub(crate) fn missed() -> bool {
    MISSED.load(Ordering::Relaxed)
}

static SKIPPED: AtomicBool = AtomicBool::new(false);
static MISSED: AtomicBool = AtomicBool::new(false);

fn is_wanted() -> bool {
    variable("USE_EXISTING_CLUSTER").is_some_and(|value| value == "true")
}

/// Whether what cannot run fails.
pub(crate) fn is_required() -> bool {
    variable("CI").is_some_and(|value| value == "true") || variable("E2E_REQUIRE").is_some_and(|value| value == "1")
}
