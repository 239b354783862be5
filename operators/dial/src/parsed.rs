//! What a kubeconfig says, read once for as long as it does not change: a cluster that is away is tried for weeks.

use std::sync::{Arc, Mutex, PoisonError};

use crate::kubeconfig::{self, Access, KubeconfigError};

/// The kubeconfig that was read last.
#[derive(Default)]
pub struct Parsed(Mutex<Option<Entry>>);

struct Entry {
    text: Arc<str>,
    context: Option<String>,
    outcome: Result<Arc<Access>, KubeconfigError>,
}

impl Parsed {
    /// What the `context` of the kubeconfig `text` says, as [`kubeconfig::parse`] reads it.
    pub async fn get(&self, text: &Arc<str>, context: Option<&str>) -> Result<Arc<Access>, KubeconfigError> {
        if let Some(known) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner)
            && known.text == *text
            && known.context.as_deref() == context
        {
            return known.outcome.clone();
        }
        let outcome = kubeconfig::parse(text, context).await.map(Arc::new);
        let entry = Entry { text: Arc::clone(text), context: context.map(str::to_owned), outcome: outcome.clone() };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(entry);
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{good_cluster, kubeconfig};

    #[tokio::test]
    async fn what_did_not_change_is_not_read_again() {
        let (parsed, text) = (Parsed::default(), Arc::from(kubeconfig(&good_cluster(), "token: t")));
        let first = parsed.get(&text, None).await.unwrap();
        assert!(Arc::ptr_eq(&first, &parsed.get(&text, None).await.unwrap()));
        let copy = Arc::from(text.to_string());
        assert!(Arc::ptr_eq(&first, &parsed.get(&copy, None).await.unwrap()));
        assert!(!Arc::ptr_eq(&first, &parsed.get(&text, Some("c")).await.unwrap()));
        assert_eq!(parsed.get(&text, Some("other")).await.unwrap_err(), KubeconfigError::NoContext("other".into()));
        assert!(parsed.get(&"kind: [".into(), None).await.is_err());
        assert!(!Arc::ptr_eq(&first, &parsed.get(&text, None).await.unwrap()));
    }
}
