//! The management cluster.

use std::{fmt, sync::Arc};

use drover_dial::{PrepareError, TlsProbe, connect};
use kube::{Client, Config};

/// The management cluster, which may be the Cluster `local` of the fleet.
#[derive(Clone)]
pub struct Management {
    /// A client for it.
    pub client: Client,
    /// To see what its server presents; none for whoever does not ask.
    pub(crate) server: Option<Arc<TlsProbe>>,
}

impl Management {
    /// Connects to it as [`connect`] does.
    pub fn connect(config: &Config) -> Result<Self, PrepareError> {
        let client = connect(config, None)?;
        Ok(Self { client, server: Some(Arc::new(TlsProbe::of(config)?)) })
    }
}

impl From<Client> for Management {
    fn from(client: Client) -> Self {
        Self { client, server: None }
    }
}

impl fmt::Debug for Management {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Management").finish_non_exhaustive()
    }
}
