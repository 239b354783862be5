//! Short tokens of accounts: in memory only, renewed before they end, and one request at a time for each.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use drover_client::{ApiError, request::request};
use drover_crds::names::DROVER_NAMESPACE;
use http::{HeaderValue, Request};
use kube::{Client, client::Body};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use crate::{account::AccountName, answer};

/// How long a token is good for: the shortest time that an API server gives one for.
const LIFE: Duration = Duration::from_mins(10);
/// Longest answer with a token, in bytes.
const ANSWER_LIMIT: usize = 64 << 10;

/// The tokens of the accounts of one server.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<HashMap<AccountName, Slot>>);

/// The token of one account. Whoever makes a new one holds the lock, and the others wait for it.
type Slot = Arc<tokio::sync::Mutex<Option<Token>>>;

struct Token {
    /// `Bearer …`, marked as sensitive.
    header: HeaderValue,
    renew_at: Instant,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Token {
    fn is_fresh(&self) -> bool {
        Instant::now() < self.renew_at
    }
}

impl Tokens {
    /// What goes into the header `Authorization` of a request as the account `name`. `own` asks for a token where none is
    /// known that is good for a while.
    pub(crate) async fn get(&self, own: &Client, name: &AccountName) -> Result<HeaderValue, ApiError> {
        let slot = self.slot(name);
        let mut known = slot.lock().await;
        if let Some(token) = known.as_ref().filter(|token| token.is_fresh()) {
            return Ok(token.header.clone());
        }
        // What has ended is of no use to anybody, whether there is another one or not.
        *known = None;
        let token = ask(own, name).await?;
        Ok(known.insert(token).header.clone())
    }

    /// Drops this token of `name`, unless there is another one already.
    pub(crate) async fn forget(&self, name: &AccountName, header: &HeaderValue) {
        let slot = self.slot(name);
        slot.lock().await.take_if(|token| token.header == *header);
    }

    fn slot(&self, name: &AccountName) -> Slot {
        let mut slots = self.lock();
        if let Some(slot) = slots.get(name) {
            return Arc::clone(slot);
        }
        let in_use = |slot: &Slot| slot.try_lock().map_or(true, |token| token.as_ref().is_some_and(Token::is_fresh));
        slots.retain(|_, slot| in_use(slot));
        Arc::clone(slots.entry(name.clone()).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AccountName, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer as far as it is used. kube would log one that it cannot decode.
#[derive(Deserialize)]
struct TokenRequest {
    spec: Spec,
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    expiration_seconds: u64,
}

#[derive(Deserialize)]
struct Status {
    token: String,
}

/// Asks for a token that is bound to nothing and is good for the API server only.
async fn ask(own: &Client, name: &AccountName) -> Result<Token, ApiError> {
    let what = format!("create a token for the ServiceAccount {name}");
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"audiences": [], "expirationSeconds": LIFE.as_secs()},
    });
    let path = format!("/api/v1/namespaces/{DROVER_NAMESPACE}/serviceaccounts/{}/token", name.as_str());
    let asked_at = Instant::now();
    let answered = async {
        let post = Request::post(path).header("content-type", "application/json").body(body.to_string().into_bytes());
        let post = post.map_err(kube::Error::HttpError)?;
        answer::read_successful(own.send(post.map(Body::from)).await?, ANSWER_LIMIT).await
    };
    let answer =
        request(&*what, answered).await?.map_err(|answer::Excess| ApiError::TooLarge { what: what.clone() })?;
    let unreadable = || ApiError::new(&*what, kube::Error::Service("the answer holds no token".into()));
    let TokenRequest { spec, status } = serde_json::from_slice(&answer).map_err(|_| unreadable())?;
    let mut header = HeaderValue::try_from(format!("Bearer {}", status.token)).map_err(|_| unreadable())?;
    header.set_sensitive(true);
    let life = Duration::from_secs(spec.expiration_seconds).min(LIFE);
    Ok(Token { header, renew_at: asked_at + life * 4 / 5 })
}
