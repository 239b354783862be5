//! How many fetches run at a time for one namespace: servers that hang hold up those who named them, and nobody else.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use crate::{SourceCause, SourceError, kept::lock};

/// Most fetches at a time for one namespace.
const AT_ONCE: usize = 4;

#[derive(Clone, Debug, Default)]
pub(crate) struct Turns(Arc<Mutex<BTreeMap<String, usize>>>);

/// Ends with the fetch.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Turns,
    namespace: String,
}

impl Turns {
    /// Begins a fetch, or says that there are too many.
    pub(crate) fn begin(&self, namespace: &str) -> Result<Turn, SourceError> {
        let mut running = lock(&self.0);
        let count = running.entry(namespace.to_owned()).or_default();
        if *count == AT_ONCE {
            let message = format!("{AT_ONCE} other fetches of namespace {namespace} are under way; it is tried again");
            return Err(SourceError { is_transient: true, ..SourceError::new(SourceCause::TooManyFetches, message) });
        }
        *count += 1;
        Ok(Turn { turns: self.clone(), namespace: namespace.to_owned() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut running = lock(&self.turns.0);
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
        let turns = Turns::default();
        let mut held: Vec<_> = (0..AT_ONCE).map(|_| turns.begin("a").unwrap()).collect();
        assert!(turns.begin("a").is_err() && turns.begin("b").is_ok());
        held.pop();
        assert!(turns.begin("a").is_ok());
        held.clear();
        assert!(lock(&turns.0).is_empty());
    }
}
