//! Names of labels and annotations that Drover writes, and the namespaces that no tenant may own.

/// Says which tool wrote an object; Kubernetes' recommended label. On what Drover adopted it belongs to whoever wrote it.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`LABEL_MANAGED_BY`] on every object that Drover created.
pub const MANAGED_BY: &str = "drover";
/// Value of [`LABEL_MANAGED_BY`] on everything that `drover import` makes. Not Drover's own: the namespace must not look as if
/// Drover had made it.
pub const MANAGED_BY_IMPORT: &str = "drover-import";
/// Kind of the management object for which a downstream object exists.
pub const LABEL_OWNER_KIND: &str = "drover.dev/owner-kind";
/// Namespace of the management object for which a downstream object exists; absent for cluster-scoped owners.
pub const LABEL_OWNER_NAMESPACE: &str = "drover.dev/owner-namespace";
/// Name of the management object for which a downstream object exists.
pub const LABEL_OWNER_NAME: &str = "drover.dev/owner-name";
/// UID of the management object, so that a recreated owner of the same name differs from the former one.
pub const ANNOTATION_OWNER_UID: &str = "drover.dev/owner-uid";
/// On an object that Drover created: the installation, kind, namespace and name of its owner, and its own namespace and name. Only
/// what carries it, in agreement with its owner labels, is ever deleted.
pub const ANNOTATION_CREATED: &str = "drover.dev/created";
/// Present on an object that existed before Drover took it over; such an object is never deleted.
pub const ANNOTATION_ADOPTED: &str = "drover.dev/adopted";
/// Hash of what was last applied to the object.
pub const ANNOTATION_APPLIED: &str = "drover.dev/applied";
/// On an object of Drover's kinds: a new value asks for another try, and for a look at what nothing tells of a change. Any text will do,
/// such as the time.
pub const ANNOTATION_RECONCILE_AT: &str = "drover.dev/reconcile-at";
/// On a `MultiClusterApp`: name of the revision that may go on where a stage asks for approval.
pub const ANNOTATION_APPROVE: &str = "drover.dev/approve";
/// On a `MultiClusterApp`: name of the revision of which nothing is started, removed or taken back any more until the annotation is gone.
pub const ANNOTATION_HOLD: &str = "drover.dev/hold";
/// On an app of a `MultiClusterApp`: the inputs it is to release; it releases no others.
pub const ANNOTATION_INPUTS: &str = "drover.dev/inputs";
/// On an app of a `MultiClusterApp`: name of the revision that it has. On what Drover keeps of what a revision would change: of which.
pub const ANNOTATION_REVISION: &str = "drover.dev/revision";
/// On an app of a `MultiClusterApp`: since when its cluster is no target any more.
pub const ANNOTATION_DESELECTED_SINCE: &str = "drover.dev/deselected-since";
/// On an object that was released: namespace and name of its former owner, so that this owner may take it up again.
pub const ANNOTATION_RELEASED_BY: &str = "drover.dev/released-by";

/// On a namespace of a cluster: name of the Project that shall take it up. Whoever creates the namespace asks by it; it is no record.
/// On a Secret beside Projects: name of the one Project that may copy it into its namespaces.
pub const LABEL_PROJECT: &str = "drover.dev/project";
/// On a namespace of a cluster: namespace, in the management cluster, of the Project that shall take it up.
pub const LABEL_PROJECT_NAMESPACE: &str = "drover.dev/project-namespace";

/// On a Secret with a kubeconfig: name of the one Cluster that may use it.
pub const LABEL_CLUSTER: &str = "drover.dev/cluster";

/// On a `ConfigMap` or a Secret: for which kind of object Drover may read it, such as `catalog-app`. It reads no others.
pub const LABEL_USABLE_BY: &str = "drover.dev/usable-by";
/// Value of [`LABEL_USABLE_BY`] on charts and values of apps.
pub const USABLE_BY_APPS: &str = "catalog-app";
/// Value of [`LABEL_USABLE_BY`] on credentials and certificates of chart repositories.
pub const USABLE_BY_REPOSITORIES: &str = "chart-repository";
/// Value of [`LABEL_USABLE_BY`] on credentials of stores of backups.
pub const USABLE_BY_STORES: &str = "backup-store";
/// Value of [`LABEL_USABLE_BY`] on keys of providers of DNS.
pub const USABLE_BY_DNS_PROVIDERS: &str = "global-dns-provider";
/// On a Secret with credentials for URLs: the hosts that may get them, with commas or blanks between them.
pub const ANNOTATION_HOSTS: &str = "drover.dev/hosts";

/// Prefix of every label and annotation of Drover; people may not set these through Drover's API.
pub const PREFIX: &str = "drover.dev/";
/// Drover's own namespace in a downstream cluster.
pub const DROVER_NAMESPACE: &str = "drover-system";
/// Name of the one Cluster that is the management cluster itself.
pub const LOCAL_CLUSTER: &str = "local";
/// Patterns of the namespaces that are protected in every cluster, whatever its `protectedNamespaces` say.
pub const ALWAYS_PROTECTED: [&str; 3] = ["default", "kube-*", DROVER_NAMESPACE];
