//! What a render takes from the cluster of a release.

use std::sync::Arc;

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
}
