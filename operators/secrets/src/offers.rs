//! What a Project may have of the Secrets that it asks for. Pure.

use std::collections::BTreeSet;

use drover_crds::Project;
use drover_runtime::fan_out::Obstacle;
use kube::ResourceExt as _;

use crate::{
    SecretCause,
    content::{Digest, SecretType},
    source::SourceSecret,
};

/// Most that a Secret may hold to be copied, in bytes.
pub const SIZE_LIMIT: usize = 256 << 10;

/// A Secret that may be copied, without what it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    pub(crate) name: String,
    pub(crate) kind: SecretType,
    pub(crate) digest: Digest,
    /// Tells its content from another one; shows in the copy.
    pub(crate) revision: String,
}

/// What a Project asks for, as far as it may be copied.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offers {
    /// What should be in every namespace.
    pub offered: Vec<Offer>,
    /// What is not copied now; copies of before stay as they are.
    pub withheld: BTreeSet<String>,
    /// Why not.
    pub problems: Vec<Obstacle>,
}

impl Offer {
    /// What this Secret offers to the Project of this name.
    pub(crate) fn of(found: &SourceSecret, name: &str, project: &str) -> Result<Self, SecretCause> {
        match found.kind {
            _ if found.project() != Some(project) => Err(SecretCause::SecretOfAnotherProject),
            None => Err(SecretCause::SecretTypeNotAllowed),
            Some(_) if found.size > SIZE_LIMIT => Err(SecretCause::SecretTooLarge),
            Some(kind) => Ok(Self { name: name.to_owned(), kind, digest: found.digest, revision: found.revision() }),
        }
    }
}

impl Offers {
    /// Judges all that the Project asks for. `find` gives the labelled Secret of a name beside the Project.
    pub fn of<S: AsRef<SourceSecret>>(project: &Project, find: impl Fn(&str) -> Option<S>) -> Self {
        let mut offers = Self::default();
        for wanted in &project.spec.secrets {
            let name = &wanted.name;
            let found = find(name).ok_or(SecretCause::SecretNotFound);
            match found.and_then(|found| Offer::of(found.as_ref(), name, &project.name_any())) {
                Ok(offer) => offers.offered.push(offer),
                Err(cause) => {
                    if !is_withdrawn(cause) {
                        offers.withheld.insert(name.clone());
                    }
                    offers.problems.push(obstacle(cause, refused(cause, name, project)));
                }
            }
        }
        offers.offered.sort_by(|one, other| one.name.cmp(&other.name));
        offers
    }

    /// The installer does not let Drover read any: what was copied stays as it is.
    #[must_use]
    pub fn unreadable(project: &Project) -> Self {
        let withheld: BTreeSet<_> = project.spec.secrets.iter().map(|wanted| wanted.name.clone()).collect();
        let message = "Drover may not read the Secrets of Projects; ask its installer to set projectSecrets.enabled of \
                       the chart, or remove spec.secrets";
        let problem = obstacle(SecretCause::SecretsNotPermitted, message.to_owned());
        let problems = (!withheld.is_empty()).then_some(problem).into_iter().collect();
        Self { withheld, problems, ..Self::default() }
    }

    /// How many copies each namespace should have.
    #[must_use]
    pub fn count(&self) -> usize {
        self.offered.len()
    }
}

/// Whether what was copied goes: its owner took it back, whereas what cannot be copied as it is now leaves that of before.
fn is_withdrawn(cause: SecretCause) -> bool {
    matches!(cause, SecretCause::SecretNotFound | SecretCause::SecretOfAnotherProject)
}

fn obstacle(cause: SecretCause, message: String) -> Obstacle {
    Obstacle { namespace: None, cause: cause.into(), message }
}

fn refused(cause: SecretCause, name: &str, project: &Project) -> String {
    let (namespace, project) = (project.namespace().unwrap_or_default(), project.name_any());
    match cause {
        SecretCause::SecretOfAnotherProject => format!(
            "the label drover.dev/project of Secret {namespace}/{name} names another Project; correct it to {project}, or remove the Secret from spec.secrets"
        ),
        SecretCause::SecretTypeNotAllowed => format!(
            "Secret {namespace}/{name} is of a type that Drover does not copy; use Opaque, kubernetes.io/dockerconfigjson, dockercfg, tls, basic-auth or ssh-auth"
        ),
        SecretCause::SecretTooLarge => {
            format!("Secret {namespace}/{name} holds more than 256 KiB, so Drover does not copy it; make it smaller")
        }
        _ => format!(
            "namespace {namespace} has no Secret {name} with the label drover.dev/project: {project}; create it, or label the one that is there"
        ),
    }
}
