//! Why a Secret of a Project is not in its namespaces.

use drover_runtime::causes;

causes! {
    /// Why a Secret of a Project is not copied, or not any more.
    pub enum SecretCause {
        /// Drover may not read Secrets of Projects in the management cluster.
        SecretsNotPermitted = "SecretsNotPermitted": Blocked stalls; "Set projectSecrets.enabled of the chart, or remove spec.secrets.",
        /// There is no Secret of this name beside the Project that carries the label drover.dev/project, so what was copied of it goes.
        SecretNotFound = "SecretNotFound": Blocked; "Create the Secret beside the Project, with the label drover.dev/project: NAME of the Project.",
        /// The label drover.dev/project of the Secret names another Project, so what was copied of it goes.
        SecretOfAnotherProject = "SecretOfAnotherProject": Blocked; "Correct the label of the Secret, or remove it from spec.secrets.",
        /// Secrets of this type are not copied. Copies of before stay as they are.
        SecretTypeNotAllowed = "SecretTypeNotAllowed": Invalid stalls; "Use a Secret of the type Opaque, docker, TLS, basic-auth or ssh-auth.",
        /// The Secret is larger than what is copied. Copies of before stay as they are.
        SecretTooLarge = "SecretTooLarge": Invalid stalls; "Bring the Secret to 256 KiB or less.",
        /// The credential of the cluster lacks rights on Secrets.
        CopiesNotPermitted = "CopiesNotPermitted": Blocked stalls; "Run `drover import --context CONTEXT --name NAME --apply` again.",
    }
}
