//! Encryption for people who hold a private key: the format of age, version 1 (age-encryption.org/v1), with X25519 keys.
//!
//! What this writes, every implementation of age decrypts. Of what others write, it decrypts what names an X25519 recipient; passphrases,
//! keys of SSH and plugins are not read. The primitives are those of ring, but for X25519 with a key that lasts, which ring does not have.

mod header;
mod keys;
mod stream;
#[cfg(test)]
mod tests;

pub use header::AgeError;
pub use keys::{Identity, KeyError, Recipient};
pub use stream::{Decryptor, Encryptor};
pub(crate) use stream::{decrypted, encrypted};
