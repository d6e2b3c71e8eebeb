//! Which algorithms protect the messages of an IKE SA, and the lengths that follow from them.

use super::front_len;
use crate::config::IkeProposal;
use crate::crypto::{AeadKey, Encryption, Hash};

/// The algorithms of an IKE SA apart from its key exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkAlgorithms {
    encryption: Encryption,
    hash: Hash,
}

impl From<&IkeProposal> for SkAlgorithms {
    fn from(proposal: &IkeProposal) -> Self {
        Self::new(proposal.encryption, proposal.hash)
    }
}

impl SkAlgorithms {
    /// A cipher, and the hash whose HMAC is the PRF and, unless the cipher is an AEAD, the integrity algorithm.
    pub const fn new(encryption: Encryption, hash: Hash) -> Self {
        Self { encryption, hash }
    }

    /// The cipher.
    pub const fn encryption(self) -> Encryption {
        self.encryption
    }

    /// The hash of the PRF.
    pub const fn prf(self) -> Hash {
        self.hash
    }

    /// The hash of the integrity algorithm; `None` with an AEAD.
    pub const fn integrity(self) -> Option<Hash> {
        if self.encryption.is_aead() {
            None
        } else {
            Some(self.hash)
        }
    }

    /// Octets of SK_e: the key, and the salt of an AEAD.
    pub const fn encryption_key_len(self) -> usize {
        self.encryption.key_len() + self.encryption.salt_len()
    }

    /// Octets of SK_a.
    pub const fn integrity_key_len(self) -> usize {
        if self.encryption.is_aead() {
            0
        } else {
            self.hash.output_len()
        }
    }

    /// Octets of the ICV: HMACs are truncated (RFC 2403, 2404, 4868).
    pub const fn icv_len(self) -> usize {
        if self.encryption.is_aead() {
            return AeadKey::TAG_LEN;
        }
        match self.hash {
            Hash::Md5 | Hash::Sha1 => 12,
            Hash::Sha2_256 => 16,
            Hash::Sha2_384 => 24,
            Hash::Sha2_512 => 32,
        }
    }

    /// Octets of padding, which with the pad length complete the last block.
    pub(super) fn padding(self, content_len: usize) -> u8 {
        let unpadded = content_len + 1;
        let padding = unpadded.next_multiple_of(self.encryption.block_len()) - unpadded;
        u8::try_from(padding).unwrap_or(0)
    }

    /// Octets of the datagram that carries `content_len` octets in SK or SKF.
    pub(super) fn sealed_len(self, content_len: usize, fragment: bool) -> usize {
        let padded = content_len + usize::from(self.padding(content_len)) + 1;
        front_len(fragment) + self.encryption.iv_len() + padded + self.icv_len()
    }

    /// Octets of content that a fragment has room for in a datagram of `limit` octets. `None` if there is none.
    pub(super) fn fragment_room(self, limit: usize) -> Option<usize> {
        let around = front_len(true) + self.encryption.iv_len() + self.icv_len();
        let ciphertext = limit.checked_sub(around)?;
        let blocks = ciphertext - ciphertext % self.encryption.block_len();
        blocks.checked_sub(1).filter(|room| *room > 0)
    }
}
