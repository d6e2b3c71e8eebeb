//! The cipher of an ISAKMP SA and the chains of IVs that its messages form (RFC 2409 appendix B).

use crate::crypto::{CbcError, CbcKey, Hash};
use crate::wire::WireError;
use crate::wire::v1::MessageBuilder;

/// Why a message could not be encrypted. Always our own fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The message is too large.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The message is empty.
    #[error(transparent)]
    Cipher(#[from] CbcError),
}

/// The IV that the next message of one exchange uses.
///
/// Not a secret. Phase 1 has one chain for both directions; every phase 2 exchange has a chain of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Iv(Vec<u8>);

impl Iv {
    /// The octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Key and phase 1 chain of an ISAKMP SA.
///
/// Opening a message yields the IV that follows it and changes nothing: a forged message must not move the chain, so the caller
/// moves it ([`Phase1Cipher::commit`]) after the message was found authentic.
#[derive(Debug)]
pub struct Phase1Cipher {
    key: CbcKey,
    hash: Hash,
    iv: Iv,
}

impl Phase1Cipher {
    /// Starts the chain with the head of `first_iv`, `hash(g^xi | g^xr)`.
    ///
    /// # Errors
    /// [`CbcError::Misuse`] if the digest is shorter than a block; no hash is.
    pub(super) fn new(key: CbcKey, hash: Hash, first_iv: &[u8]) -> Result<Self, CbcError> {
        let iv = head(first_iv, key.encryption().block_len())?;
        Ok(Self { key, hash, iv })
    }

    /// Octets to pad messages to.
    pub const fn block_len(&self) -> usize {
        self.key.encryption().block_len()
    }

    /// The IV of the next phase 1 message: after phase 1, the last ciphertext block of its last message.
    pub const fn phase_1_iv(&self) -> &Iv {
        &self.iv
    }

    /// The first IV of a phase 2 (or Informational) exchange: `hash(last phase 1 block | M-ID)`.
    ///
    /// # Errors
    /// None in practice, as for [`Phase1Cipher::encrypt`].
    pub fn phase_2_iv(&self, message_id: u32) -> Result<Iv, CbcError> {
        let digest = self.hash.digest(&[&self.iv.0, &message_id.to_be_bytes()]);
        head(&digest, self.block_len())
    }

    /// Encrypts a padded body in place, beginning with `iv`, and returns the IV that follows.
    ///
    /// # Errors
    /// The body is empty or not padded: local misuse.
    pub fn encrypt(&self, iv: &Iv, body: &mut [u8]) -> Result<Iv, CbcError> {
        self.key.cbc_encrypt(&iv.0, body)?;
        tail(body, self.block_len())
    }

    /// Decrypts a received body, beginning with `iv`, and returns the plaintext with the IV that follows.
    ///
    /// # Errors
    /// The body is empty or not whole blocks.
    pub fn decrypt(&self, iv: &Iv, body: &[u8]) -> Result<(Vec<u8>, Iv), CbcError> {
        let mut plain = body.to_vec();
        self.key.cbc_decrypt(&iv.0, &mut plain)?;
        Ok((plain, tail(body, self.block_len())?))
    }

    /// Pads and encrypts a whole message, beginning with `iv`, and returns the datagram with the IV that follows.
    ///
    /// # Errors
    /// The message has no payload or is too large: local misuse.
    pub fn seal(&self, iv: &Iv, message: MessageBuilder) -> Result<(Vec<u8>, Iv), SealError> {
        message.encrypted(self.block_len(), |body| Ok(self.encrypt(iv, body)?))
    }

    /// Moves the phase 1 chain: after a message was sent, or after a received one was found authentic.
    pub fn commit(&mut self, next: Iv) {
        self.iv = next;
    }
}

fn head(octets: &[u8], len: usize) -> Result<Iv, CbcError> {
    octets
        .get(..len)
        .map(|head| Iv(head.to_vec()))
        .ok_or(CbcError::Misuse)
}

fn tail(octets: &[u8], len: usize) -> Result<Iv, CbcError> {
    let start = octets.len().checked_sub(len).ok_or(CbcError::Misuse)?;
    Ok(Iv(octets.get(start..).unwrap_or_default().to_vec()))
}
