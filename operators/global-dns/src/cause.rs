//! Why a name does not answer as it should.

use drover_runtime::causes;

causes! {
    /// Why a name is not as its spec wants it.
    pub enum DNSCause {
        /// There is no GlobalDNSProvider of this name.
        ProviderNotFound = "ProviderNotFound": Blocked; "Create the GlobalDNSProvider.",
        /// A text in spec.fqdns is no name that records can have.
        NameInvalid = "NameInvalid": Invalid stalls; "Correct spec.fqdns as the message says.",
        /// The provider does not grant a name to the namespace.
        NameNotGranted = "NameNotGranted": Blocked; "Choose another name, or have the name granted in spec.grants of the GlobalDNSProvider.",
        /// Another GlobalDNS has the name.
        NameTaken = "NameTaken": Blocked; "Choose another name, or remove it from the other GlobalDNS.",
        /// The records of a name belong to another owner.
        RecordConflict = "RecordConflict": Blocked; "Remove the records as the message says, or choose another name.",
        /// The provider grants every name.
        NamesGranted = "NamesGranted": Blocked expected; "",
        /// No cluster offers an address for a name.
        NoAddress = "NoAddress": Blocked; "Look at the Ingresses and Services of the app, and at status.excluded.",
        /// The name answers as before, as no address can be used now.
        KeptLast = "KeptLast": Blocked; "Look at the Ingresses and Services of the app, and at status.excluded.",
        /// The only addresses are of clusters that are to be taken out.
        OnlyDraining = "OnlyDraining": Blocked; "Set spec.drainTraffic of a Cluster to false, or bring the app to another cluster.",
        /// Clusters offer addresses for every name.
        AddressesFound = "AddressesFound": Blocked expected; "",
        /// Records are being written.
        Writing = "Writing": Blocked expected; "",
        /// The provider has the records that are wanted.
        Written = "Written": Blocked expected; "",
        /// spec.mode is Observe, and something would be written.
        Observing = "Observing": Blocked expected; "Set spec.mode to Enforce to have it written.",
        /// Some server does not answer as it should yet.
        Propagating = "Propagating": Blocked expected; "Wait, or look at the server that the message names.",
        /// Every server answers as it should.
        AllServersAnswer = "AllServersAnswer": Blocked expected; "",
        /// More addresses would leave at once than may, so some stay for now.
        TooManyRemovals = "TooManyRemovals": Blocked; "Look at the clusters; Drover removes half of the addresses a minute.",
        /// The cluster does not let Drover read what offers addresses.
        SourcesNotReadable = "SourcesNotReadable": Blocked; "Import the cluster again, which gives Drover the rights of this version.",
    }
}
