//! The names of accounts, and what is sent as one of them.

use std::{fmt, sync::Arc};

use drover_client::{ApiError, request::request};
use drover_crds::names::DROVER_NAMESPACE;
use http::{HeaderValue, Request, StatusCode, Uri, header::AUTHORIZATION};
use kube::{Client, client::Body};

use crate::{
    accounts::Accounts,
    answer,
    error::AccountError,
    identity::{ActsAs, Unidentified, unidentified},
};

/// The name of a account in Drover's namespace of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountName(Arc<str>);

impl AccountName {
    /// That of the app `app` in the management namespace `namespace`. Two apps never have the same: no namespace has a dot in its
    /// name.
    #[must_use]
    pub fn of_app(namespace: &str, app: &str) -> Self {
        Self(format!("app.{namespace}.{app}").into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The user that the account is to an API server.
    #[must_use]
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{DROVER_NAMESPACE}:{}", self.0)
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{DROVER_NAMESPACE}/{}", self.0)
    }
}

/// Sends requests as one account, with its token and nothing else.
#[derive(Clone, Debug)]
pub struct AccountClient {
    pub(crate) accounts: Accounts,
    pub(crate) name: AccountName,
}

/// What an API server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body.
    pub body: Vec<u8>,
}

/// Longest answer to a GET of whatever path, in bytes.
const PATH_LIMIT: usize = 4 << 20;

impl AccountClient {
    /// As which account it sends.
    #[must_use]
    pub fn account(&self) -> &AccountName {
        &self.name
    }

    /// What the server answers to a GET of `path`, which begins with a slash and may have a query: at most 4 MiB of it, whatever
    /// its status is. It is no watch.
    pub async fn get_path(&self, path: &str) -> Result<Answer, AccountError> {
        let asked = Request::get(path).body(Vec::new()).map_err(|_| AccountError::InvalidPath)?;
        let is_path = asked.uri().authority().is_none() && path.starts_with('/') && !path.starts_with("//");
        if !is_path || is_watch(asked.uri()) {
            return Err(AccountError::InvalidPath);
        }
        self.send("read what a chart looks up", asked, PATH_LIMIT).await
    }

    /// Sends `request` with the token of the account. A token that the server does not accept is renewed once: whatever it
    /// came with was not done.
    pub(crate) async fn send(
        &self,
        what: &str,
        request: Request<Vec<u8>>,
        limit: usize,
    ) -> Result<Answer, AccountError> {
        let token = self.accounts.token(&self.name).await?;
        let client = self.accounts.credentialless()?;
        if let Some(answer) = self.send_with(&client, &token, what, request.clone(), limit).await? {
            return Ok(answer);
        }
        self.accounts.forget(&self.name, &token).await;
        let renewed = self.accounts.token(&self.name).await?;
        let answer = self.send_with(&client, &renewed, what, request, limit).await?;
        answer.ok_or_else(|| AccountError::TokenRefused { account: self.name.clone() })
    }

    /// The answer; none where the server does not accept the token.
    async fn send_with(
        &self,
        client: &Client,
        token: &HeaderValue,
        what: &str,
        mut asked: Request<Vec<u8>>,
        limit: usize,
    ) -> Result<Option<Answer>, AccountError> {
        asked.headers_mut().insert(AUTHORIZATION, token.clone());
        asked.extensions_mut().insert(ActsAs::user(&self.name.user()));
        let answered = async { answer::read(client.send(asked.map(Body::from)).await?, limit).await };
        match request(what, answered).await {
            Ok(Ok(answer)) => Ok(Some(answer).filter(|answer| answer.status != StatusCode::UNAUTHORIZED)),
            Ok(Err(answer::Excess)) => Err(ApiError::TooLarge { what: what.to_owned() }.into()),
            Err(ApiError::Broken { what, source }) => match unidentified(&*source) {
                Some(Unidentified::TokenNotAccepted) => Ok(None),
                Some(Unidentified::OtherUser) => Err(AccountError::OtherUser { account: self.name.clone() }),
                None => Err(ApiError::Broken { what, source }.into()),
            },
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether a GET of this would be answered for minutes.
fn is_watch(uri: &Uri) -> bool {
    let mut keys = uri.query().unwrap_or_default().split('&').map(|pair| pair.split('=').next().unwrap_or(pair));
    let by_query = keys.any(|key| key == "watch" || key.contains('%'));
    let segments: Vec<_> = uri.path().split('/').collect();
    let by_path = matches!(*segments, ["", "api", _, "watch", ..] | ["", "apis", _, _, "watch", ..]);
    by_query || by_path || uri.path().contains('%')
}
