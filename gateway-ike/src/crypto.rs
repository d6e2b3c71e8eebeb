//! Cryptography of IKE: digests and their HMAC as PRF, CBC ciphers, AEADs, Diffie-Hellman, randomness as an argument, secrets as types.
//!
//! Primitives come from the RustCrypto crates; what is here is their combination as the RFCs want it. Algorithms are closed enums
//! of what we implement, so that a number from the wire reaches cryptography only through a match that knows it.

mod aead;
mod cipher;
mod dh;
mod digest;
mod random;
mod secret;

pub use aead::{AeadError, AeadKey};
pub use cipher::{CbcError, CbcKey, Encryption};
pub use dh::{DhError, DhGroup, DhPrivate, KeyExchangeDone, KeyExchangeJob, Response};
pub use digest::{Hash, Prf};
pub use random::{RandomSource, SeededRandom};
pub use secret::{Secret, SharedSecret, ct_eq};

/// The name of an algorithm that is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} '{name}'")]
pub struct UnknownAlgorithm {
    /// The kind of algorithm.
    pub what: &'static str,
    /// What was given.
    pub name: String,
}
