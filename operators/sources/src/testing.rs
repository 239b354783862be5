//! Attempts that nobody made, for tests of what is decided about them.

use drover_charts::{Digest, IndexCounts, IndexState};
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use crate::{Attempt, Content, SourceError};

impl Attempt {
    /// One that was made for `asked`, after so many that failed.
    #[must_use]
    pub fn of(outcome: Result<Content, SourceError>, asked: &str, failures: u32) -> Self {
        let (content, failure) = match outcome {
            Ok(content) => (Some(content), None),
            Err(failure) => (None, Some(failure)),
        };
        let (asked, ended) = (asked.to_owned(), Instant::now());
        Self { asked, ended, failures, failure, content, url: String::new(), told: None }
    }
}

impl Content {
    /// An index of this text, with one chart.
    #[must_use]
    pub fn of_index(text: &[u8], since: Timestamp) -> Self {
        let (digest, counts) = (Digest::of(text), IndexCounts { charts: 1, versions: 1 });
        let index = IndexState { digest, etag: None, bytes: text.len(), counts };
        Self { url: String::new(), index: Some(index), since }
    }
}
