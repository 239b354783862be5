//! How many fetches run at a time for one namespace: servers that hang hold up those who named them, and nobody else.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use crate::{SourceCause, SourceError, kept::lock};

#[derive(Clone, Debug)]
pub(crate) struct Turns {
    running: Arc<Mutex<BTreeMap<String, usize>>>,
    /// Most at a time for one namespace.
    at_once: usize,
}

/// Ends with the fetch.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Turns,
    namespace: String,
}

impl Turns {
    pub(crate) fn new(at_once: usize) -> Self {
        Self { running: Arc::default(), at_once }
    }

    /// Begins a fetch, or says that there are too many.
    pub(crate) fn begin(&self, namespace: &str) -> Result<Turn, SourceError> {
        let mut running = lock(&self.running);
        let count = running.entry(namespace.to_owned()).or_default();
        if *count == self.at_once {
            let message = format!("other fetches of namespace {namespace} are under way; it is tried again");
            return Err(SourceError { is_transient: true, ..SourceError::new(SourceCause::TooManyFetches, message) });
        }
        *count += 1;
        Ok(Turn { turns: self.clone(), namespace: namespace.to_owned() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut running = lock(&self.turns.running);
        if let Some(count) = running.get_mut(&self.namespace) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                running.remove(&self.namespace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_with_servers_that_hang_holds_up_nobody_else() {
        let turns = Turns::new(2);
        let mut held: Vec<_> = (0..2).map(|_| turns.begin("a").unwrap()).collect();
        assert!(turns.begin("a").is_err() && turns.begin("b").is_ok());
        held.pop();
        assert!(turns.begin("a").is_ok());
        held.clear();
        assert!(lock(&turns.running).is_empty());
    }
}
