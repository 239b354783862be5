//! Waits: the one bound, and the ways to wait for something.

use std::time::{Duration, Instant};

use kube::api::DynamicObject;
use kube::runtime::wait::await_condition;
use kube::{Api, ResourceExt};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::tools::variable;

/// Multiplies every limit, for a machine that has more to do than the tests.
const PATIENCE: &str = "DROVER_E2E_PATIENCE";
/// Between two questions where nothing can be watched, and after a watch that failed.
const PAUSE: Duration = Duration::from_millis(50);

/// The bound of everything that should happen soon: a loaded machine needs more than the second that it takes.
#[must_use]
pub fn soon() -> Duration {
    patiently(Duration::from_secs(40))
}

/// This limit, for this machine.
#[must_use]
pub fn patiently(limit: Duration) -> Duration {
    let factor = variable(PATIENCE).and_then(|text| text.parse::<u32>().ok());
    limit * factor.unwrap_or(1).clamp(1, 100)
}

/// Asks again until there is an answer, for at most `limit`. For what no API server tells by a watch.
pub async fn eventually<T>(what: &str, limit: Duration, mut ask: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        match ask().await {
            Ok(Some(answer)) => return Ok(answer),
            Err(error) if error.is_final() => return Err(error),
            Ok(None) | Err(_) if started.elapsed() < limit => tokio::time::sleep(PAUSE).await,
            Ok(None) => return Err(Error::NeverHappened { what: what.to_owned(), seconds: limit.as_secs() }),
            Err(error) => return Err(error),
        }
    }
}

/// Watches one object until it is as `wanted` says; none is one that is not there. An API server that does not answer is asked
/// again until the limit. The error names what the object was last.
pub async fn becomes(
    api: &Api<DynamicObject>,
    name: &str,
    what: &str,
    limit: Duration,
    wanted: impl Fn(Option<&Value>) -> bool,
) -> Result<Option<Value>> {
    let last = std::sync::Mutex::new(Value::Null);
    let watching = async {
        loop {
            let condition = |object: Option<&DynamicObject>| {
                let object = object.map(as_json);
                let is_so = wanted(object.as_ref());
                *last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = object.unwrap_or_default();
                is_so
            };
            if let Ok(object) = await_condition(api.clone(), name, condition).await {
                return object.as_ref().map(as_json);
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let outcome = tokio::time::timeout(limit, watching).await;
    outcome.map_err(|_| {
        let last = last.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let last = if last.is_null() { format!("{name} is not there") } else { format!("{last:#}") };
        Error::NeverHappened { what: format!("{what}; last: {last}"), seconds: limit.as_secs() }
    })
}

/// An object as kubectl shows it.
pub(crate) fn as_json(object: &DynamicObject) -> Value {
    let mut object = object.clone();
    object.managed_fields_mut().clear();
    serde_json::to_value(object).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_in_vain_is_asked_once() {
        let mut asked = 0;
        let outcome: Result<()> = eventually("an answer", Duration::from_secs(3), async || {
            asked += 1;
            Err(Error::UnknownKind("projekt".to_owned()))
        })
        .await;
        assert!(matches!(outcome, Err(Error::UnknownKind(_))), "{outcome:?}");
        assert_eq!(asked, 1);
    }
}
