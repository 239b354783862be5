//! Secrets that a Project brings into its namespaces: registry credentials, certificates, passwords.
//!
//! 1. A [`source`] lies beside the Project in the management cluster and names it in the label `drover.dev/project`. Drover reads no
//!    others.
//! 2. [`offers`] judges what a Project asks for: what is offered, what is withheld, and what is withdrawn.
//! 3. [`decide`] compares the [`copies`](copy) in a namespace with that, within what may be given there.
//! 4. [`act`] reads the source once more and writes its content, type and data only.
//!
//! Caches and decisions know the [`content`] by its digest only. It is in memory while one request reads it and the next one writes
//! it, and no error, log line or debug output can hold it.

pub mod act;
pub mod cause;
pub mod content;
pub mod copy;
pub mod decide;
pub mod offers;
pub mod source;

#[cfg(test)]
mod tests;

pub use cause::SecretCause;
pub use copy::SecretCopy;
pub use offers::{Offer, Offers};
pub use source::{SourceSecret, sources};
