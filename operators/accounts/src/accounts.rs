//! What all accounts of one API server share, for as long as Drover is connected to it.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use http::HeaderValue;
use kube::Client;

use crate::{
    account::{AccountClient, AccountName},
    error::AccountError,
    kinds::{Discovery, Kinds},
    tokens::Tokens,
};

/// The accounts of one API server. Cheap to clone; all clones share their tokens and what is known of kinds.
#[derive(Clone)]
pub struct Accounts(Arc<Inner>);

struct Inner {
    /// With the credential of Drover, for tokens and discovery only.
    own: Client,
    /// Without any credential; none until the first request.
    credentialless: Mutex<Option<Client>>,
    connect: Box<Connect>,
    tokens: Tokens,
    discovery: Discovery,
}

type Connect = dyn Fn() -> kube::Result<Client> + Send + Sync;

impl fmt::Debug for Accounts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Accounts").finish_non_exhaustive()
    }
}

impl Accounts {
    /// Those of the API server that `own` reaches with the credential of Drover. `connect` makes a client that sends nothing of that
    /// credential: neither a token nor, on its connection, a client certificate. It is asked for one when it is needed.
    #[must_use]
    pub fn new(own: Client, connect: impl Fn() -> kube::Result<Client> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner {
            own,
            credentialless: Mutex::default(),
            connect: Box::new(connect),
            tokens: Tokens::default(),
            discovery: Discovery::default(),
        }))
    }

    /// Sends as the account `name`. Nothing is asked for yet.
    #[must_use]
    pub fn client(&self, name: &AccountName) -> AccountClient {
        AccountClient { accounts: self.clone(), name: name.clone() }
    }

    /// The version of the server and the kinds that it has, as they were within the last ten minutes.
    pub async fn kinds(&self) -> Result<Arc<Kinds>, AccountError> {
        Ok(self.0.discovery.recent(&self.0.own).await?)
    }

    /// The same as they were within the last minute, for whoever waits for a kind.
    pub async fn kinds_of_late(&self) -> Result<Arc<Kinds>, AccountError> {
        Ok(self.0.discovery.of_late(&self.0.own).await?)
    }

    /// Notes that kinds came or went: whoever looks for one that is unknown does not wait.
    pub fn kinds_changed(&self) {
        self.0.discovery.outdate();
    }

    pub(crate) fn discovery(&self) -> (&Discovery, &Client) {
        (&self.0.discovery, &self.0.own)
    }

    pub(crate) async fn token(&self, name: &AccountName) -> Result<HeaderValue, AccountError> {
        self.0.tokens.get(&self.0.own, name).await.map_err(AccountError::Token)
    }

    pub(crate) async fn forget(&self, name: &AccountName, token: &HeaderValue) {
        self.0.tokens.forget(name, token).await;
    }

    pub(crate) fn credentialless(&self) -> Result<Client, AccountError> {
        let mut known = self.0.credentialless.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*known {
            return Ok(client.clone());
        }
        let client = (self.0.connect)().map_err(|_| AccountError::Unavailable)?;
        Ok(known.insert(client).clone())
    }
}
