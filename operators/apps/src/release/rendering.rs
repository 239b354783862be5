//! What a render takes from the cluster of a release, and what it would replace.

use std::sync::Arc;

use drover_crds::Release;
use drover_releases::Record;

use super::InCluster;
use crate::{
    brought::Brought,
    lookup::{LookupServer, Reach},
    seal::Seal,
};

impl InCluster<'_> {
    /// Answers what a chart looks up while it is rendered.
    pub(crate) async fn lookup_server(&self, brought: Brought) -> std::io::Result<LookupServer> {
        let reach = if self.app.spec.is_of_platform() {
            let (kinds, brought) = (Arc::clone(&self.kinds), Arc::new(brought));
            Reach::Cluster { held: self.held.clone(), kinds, brought }
        } else {
            Reach::Namespace
        };
        LookupServer::start(self.client.clone(), reach).await
    }

    /// By which the inputs of the app are told from others.
    pub(crate) fn seal(&self) -> &Seal {
        self.with.seal
    }

    /// The record of what is in the cluster; none if it is gone, or is not as the status noted it.
    #[must_use]
    pub fn released(&self) -> Option<&Record> {
        self.recorded(self.app.status.as_ref()?.applied.as_ref()?)
    }

    /// Another operator may have released since.
    pub(super) fn lacks_what_is_noted(&self) -> bool {
        let is_noted = self.app.status.as_ref().is_some_and(|status| status.applied.is_some());
        is_noted && self.released().is_none()
    }

    /// A revision of before with these inputs, as far as its record is there as it was noted: it would not be rendered again.
    #[must_use]
    pub fn repeated(&self, input_hash: &str) -> Option<(&Release, &Record)> {
        let status = self.app.status.as_ref()?;
        let noted = status.applied.iter().chain(&status.history).filter(|noted| noted.input_hash == input_hash);
        noted.filter_map(|noted| Some((noted, self.recorded(noted)?))).max_by_key(|(noted, _)| noted.revision)
    }

    fn recorded(&self, noted: &Release) -> Option<&Record> {
        let mut records = self.records.iter().map(|found| &found.record);
        let is_it = |record: &&Record| record.version == noted.revision && self.digest(record) == noted.manifest_digest;
        records.find(is_it)
    }
}
