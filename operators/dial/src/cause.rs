//! Why there is no connection to a cluster.

use drover_client::causes;

causes! {
    /// Why there is no connection to a cluster, or none that may be used.
    pub enum ConnectionCause {
        /// The host name of the API server does not resolve.
        DnsFailed = "DNSFailed": Unreachable; "Check `server` in the kubeconfig, and DNS.",
        /// The server or the proxy in the kubeconfig has a loopback, link-local or metadata address.
        AddressNotAllowed = "AddressNotAllowed": Unreachable stalls; "Name an address that other machines reach, or set the chart value allowLocalAddresses or the flag --allow-local-addresses.",
        /// No TCP connection to the API server or the proxy.
        DialFailed = "DialFailed": Unreachable; "Check `server` in the kubeconfig, firewalls, and whether the API server runs.",
        /// No trusted TLS session with the API server.
        TlsFailed = "TLSFailed": Unreachable; "Check the certificate authority in the kubeconfig and the certificate of the API server.",
        /// The API server, or what stands before it, does not speak HTTP/2.
        Http2Required = "HTTP2Required": Unreachable stalls; "Let HTTP/2 through to the API server, or TLS as a whole.",
        /// A web page or a redirect answers instead of an API server.
        NotAnApiServer = "NotAnAPIServer": Unreachable; "Name the API server itself in `server` of the kubeconfig; look at proxies before it.",
        /// The API server does not accept the credential.
        Unauthorized = "Unauthorized": Unreachable stalls; "Put a valid kubeconfig into the Secret.",
        /// The credential may not do what Drover needs to connect.
        Forbidden = "Forbidden": Unreachable stalls; "Grant the rights in config/rbac/downstream.yaml, or run `drover import` again.",
        /// The API server answers, but is not ready.
        ApiServerNotReady = "APIServerNotReady": Unreachable; "Look at the API server and its etcd.",
        /// The API server does not answer in time.
        Timeout = "Timeout": Unreachable; "Look at the load of the API server, and at the network.",
        /// Another cluster answers than the one that was imported under this name.
        IdentityMismatch = "IdentityMismatch": Unreachable stalls; "Fix the kubeconfig and spec.expectedUID, or make a new Cluster for the other one.",
        /// Another Cluster of this installation stands for the same cluster.
        DuplicateOf = "DuplicateOf": Unreachable stalls foreign; "Delete one of the two Clusters.",
        /// Another installation of Drover holds the claim on the cluster.
        ClaimedByOther = "ClaimedByOther": Unreachable stalls foreign; "Set spec.claim.takeFrom to take the cluster over.",
        /// The cluster refuses that Drover writes its claim: an admission webhook, an admission policy or a quota is in the way.
        ClaimRefused = "ClaimRefused": Unreachable; "Let Drover write the ConfigMap drover-system/drover-claim; the message says who refuses it.",
        /// The cluster sends more than Drover accepts.
        TooLarge = "TooLarge": Unreachable; "Remove what the cluster holds too much of, or raise --cache-memory-mib; Drover tries again after ten minutes.",
        /// The cluster runs a version of Kubernetes before 1.30.
        UnsupportedVersion = "UnsupportedVersion": Unreachable stalls; "Upgrade the cluster.",
        /// The Secret with the kubeconfig, or its key, does not exist, or the Secret has no label drover.dev/cluster and another name than the Cluster.
        SecretMissing = "SecretMissing": Blocked; "Create the Secret in the operator namespace, with the label drover.dev/cluster, or set this label on it.",
        /// The Secret names another Cluster.
        SecretNotAllowed = "SecretNotAllowed": Blocked stalls; "Set the label drover.dev/cluster of the Secret, or refer to another Secret.",
        /// The kubeconfig cannot be used.
        InvalidKubeconfig = "InvalidKubeconfig": Invalid stalls; "Put a valid kubeconfig into the Secret.",
        /// The kubeconfig asks Drover to run a program, read a file or skip a check.
        UnsafeKubeconfig = "UnsafeKubeconfig": Invalid stalls; "Write everything inline, or run `drover import`.",
        /// The kubeconfig uses something that this version does not support.
        NotYetImplemented = "NotYetImplemented": Invalid stalls; "Remove it from the kubeconfig, or upgrade Drover.",
        /// A defect in Drover ended the last attempt to connect.
        InternalError = "InternalError": Bug; "Report it with the log of Drover at that time.",
    }
}

impl ConnectionCause {
    /// Whether the credential is what keeps the cluster from being reached.
    #[must_use]
    pub fn is_about_the_credential(self) -> bool {
        matches!(
            self,
            Self::Unauthorized
                | Self::InvalidKubeconfig
                | Self::UnsafeKubeconfig
                | Self::SecretMissing
                | Self::SecretNotAllowed
        )
    }
}
