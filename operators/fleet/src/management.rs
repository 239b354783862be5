//! The management cluster.

use std::{fmt, sync::Arc};

use drover_dial::{PrepareError, TlsProbe, connect, without_credential};
use drover_runtime::accounts::Accounts;
use kube::{Client, Config};

/// The management cluster, which may be the Cluster `local` of the fleet.
#[derive(Clone)]
pub struct Management {
    /// A client for it.
    pub client: Client,
    /// To see what its server presents; none for whoever does not ask.
    pub(crate) server: Option<Arc<TlsProbe>>,
    /// How requests are sent as its accounts; none where only the client is known.
    pub(crate) accounts: Option<Accounts>,
}

impl Management {
    /// Connects to it as [`connect`] does.
    pub fn connect(config: &Config) -> Result<Self, PrepareError> {
        let client = connect(config, None)?;
        let bare = without_credential(config);
        let connect_bare = move || connect(&bare, None).map_err(|error| kube::Error::Service(error.into()));
        let accounts = Some(Accounts::new(client.clone(), connect_bare));
        Ok(Self { client, server: Some(Arc::new(TlsProbe::of(config)?)), accounts })
    }
}

impl From<Client> for Management {
    fn from(client: Client) -> Self {
        Self { client, server: None, accounts: None }
    }
}

impl fmt::Debug for Management {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Management").finish_non_exhaustive()
    }
}
