//! Why a cluster cannot be worked on.

use drover_runtime::causes;

pub use drover_dial::ConnectionCause;

causes! {
    /// Whether the owners of clusters admit an object.
    pub enum TenancyCause {
        /// The owner of a cluster that the object names does not admit its namespace.
        NotATenant = "NotATenant": Blocked; "Add the namespace to spec.tenants of the Cluster, or remove the cluster from spec.clusters.names; of an app, name another one in another app.",
        /// Every selected cluster that counts admits the object.
        Allowed = "Allowed": Blocked expected; "",
    }
}
