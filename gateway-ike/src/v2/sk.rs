//! The encrypted payload SK: sealing and opening messages (RFC 7296 section 3.14, AEADs by RFC 5282 and RFC 7634), and its
//! fragments SKF (RFC 7383).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Next Payload  |C|  RESERVED   |         Payload Length        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |        Fragment Number        |        Total Fragments        |   SKF only
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                     Initialization Vector                     |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                    Encrypted IKE Payloads                     ~
//! +               +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |               |             Padding (0-255 octets)            |
//! +-+-+-+-+-+-+-+-+                               +-+-+-+-+-+-+-+-+
//! |                                               |  Pad Length   |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                    Integrity Checksum Data                    ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

mod algorithms;
mod fragment;
#[cfg(test)]
mod tests;

pub use algorithms::SkAlgorithms;
pub use fragment::{MAX_FRAGMENTS, MAX_REASSEMBLED, Reassembly, ReassemblyError};

use crate::crypto::{AeadError, AeadKey, CbcError, CbcKey, Prf, RandomSource, ct_eq};
use crate::wire::v2::{Encrypted, Fragment, GENERIC_HEADER_LEN, MessageBuilder};
use crate::wire::{Header, PayloadType, WireError, Writer};

/// Why a message could not be sealed, or keys not be taken. Always our own fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SkError {
    /// The message is too large.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A key does not have the length of its algorithm.
    #[error(transparent)]
    Cbc(#[from] CbcError),
    /// A key does not have the length of its algorithm.
    #[error(transparent)]
    Aead(#[from] AeadError),
    /// The size that fragments must fit leaves no room for content, or there would be more than [`MAX_FRAGMENTS`].
    #[error("messages of {len} octets cannot be cut to datagrams of {limit}")]
    Unfragmentable {
        /// Octets of the content.
        len: usize,
        /// Octets that a datagram may have.
        limit: usize,
    },
}

/// Why an encrypted payload does not open. The message is dropped without an answer (RFC 7296 section 2.21).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// There is no room for IV, one block and ICV, or the ciphertext is no whole number of blocks.
    #[error("encrypted payload of impossible length")]
    Length,
    /// The ICV is wrong: forged, damaged, or the keys differ.
    #[error("not authentic")]
    NotAuthentic,
    /// Authentic, with a pad length beyond its content.
    #[error("impossible pad length")]
    Padding,
}

/// The content of an encrypted payload, authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Type of the first payload of the chain.
    pub first: PayloadType,
    /// The chain of payloads, or a piece of it.
    pub chain: Vec<u8>,
}

/// The keys that protect the messages of one end: SK_ei and SK_ai, or SK_er and SK_ar.
#[derive(Debug)]
pub struct SkKeys {
    algorithms: SkAlgorithms,
    cipher: Cipher,
}

#[derive(Debug)]
enum Cipher {
    Cbc {
        cipher: CbcKey,
        mac: Box<Prf>,
    },
    /// The IV counts, so that it never comes twice with one key.
    Aead {
        cipher: AeadKey,
        next_iv: u64,
    },
}

impl SkKeys {
    /// Expands SK_e (an AEAD's salt at its end) and SK_a (empty for an AEAD).
    ///
    /// # Errors
    /// A key does not have the length of its algorithm.
    pub fn new(algorithms: SkAlgorithms, sk_e: &[u8], sk_a: &[u8]) -> Result<Self, SkError> {
        let encryption = algorithms.encryption();
        if sk_a.len() != algorithms.integrity_key_len() {
            return Err(SkError::Cbc(CbcError::Misuse));
        }
        let cipher = match algorithms.integrity() {
            Some(hash) => Cipher::Cbc {
                cipher: CbcKey::new(encryption, sk_e)?,
                mac: Box::new(Prf::new(hash, sk_a)),
            },
            None => Cipher::Aead {
                cipher: AeadKey::new(encryption, sk_e)?,
                next_iv: 0,
            },
        };
        Ok(Self { algorithms, cipher })
    }

    /// Seals a message into one datagram, whatever its size.
    ///
    /// # Errors
    /// The message is larger than its length fields can say.
    pub fn seal(
        &mut self,
        message: MessageBuilder,
        random: &mut impl RandomSource,
    ) -> Result<Vec<u8>, SkError> {
        let (header, chain) = message.into_parts();
        self.seal_chain(&header, &chain, random)
    }

    /// Seals octets that are a chain of payloads, or are to look like one. The header's next payload is the type of the first.
    ///
    /// # Errors
    /// As [`SkKeys::seal`].
    pub fn seal_chain(
        &mut self,
        header: &Header,
        chain: &[u8],
        random: &mut impl RandomSource,
    ) -> Result<Vec<u8>, SkError> {
        self.seal_piece(header, header.next_payload, None, chain, random)
    }

    /// Seals a message into one datagram if it has at most `limit` octets then, else into fragments of at most `limit` octets.
    /// The non-ESP marker of port 4500 is not counted.
    ///
    /// # Errors
    /// [`SkError::Unfragmentable`], and as [`SkKeys::seal`].
    pub fn seal_fragmented(
        &mut self,
        message: MessageBuilder,
        limit: usize,
        random: &mut impl RandomSource,
    ) -> Result<Vec<Vec<u8>>, SkError> {
        let (header, chain) = message.into_parts();
        if self.algorithms.sealed_len(chain.len(), false) <= limit {
            return Ok(vec![self.seal_piece(
                &header,
                header.next_payload,
                None,
                &chain,
                random,
            )?]);
        }
        let unfragmentable = SkError::Unfragmentable {
            len: chain.len(),
            limit,
        };
        let room = self.algorithms.fragment_room(limit).ok_or(unfragmentable)?;
        let total = u16::try_from(chain.len().div_ceil(room)).map_err(|_too_many| unfragmentable)?;
        if total > MAX_FRAGMENTS {
            return Err(unfragmentable);
        }
        (1..=total)
            .zip(chain.chunks(room))
            .map(|(number, piece)| {
                let first = if number == 1 {
                    header.next_payload
                } else {
                    PayloadType::NONE
                };
                self.seal_piece(&header, first, Some(Fragment { number, total }), piece, random)
            })
            .collect()
    }

    fn seal_piece(
        &mut self,
        header: &Header,
        first: PayloadType,
        fragment: Option<Fragment>,
        piece: &[u8],
        random: &mut impl RandomSource,
    ) -> Result<Vec<u8>, SkError> {
        let total = self.algorithms.sealed_len(piece.len(), fragment.is_some());
        let too_long = |_| WireError::BadLength {
            what: "encrypted payload",
            got: total,
        };
        let mut w = Writer::new();
        Header {
            next_payload: if fragment.is_some() {
                PayloadType::V2_ENCRYPTED_FRAGMENT
            } else {
                PayloadType::V2_ENCRYPTED
            },
            length: u32::try_from(total).map_err(too_long)?,
            ..*header
        }
        .emit(&mut w);
        w.u8(first.0);
        w.u8(0);
        w.u16(u16::try_from(total - Header::LEN).map_err(too_long)?);
        if let Some(fragment) = fragment {
            w.u16(fragment.number);
            w.u16(fragment.total);
        }
        let mut datagram = w.into_vec();
        let padding = self.algorithms.padding(piece.len());
        match &mut self.cipher {
            Cipher::Cbc { cipher, mac } => {
                let mut iv = vec![0; self.algorithms.encryption().iv_len()];
                random.fill(&mut iv);
                datagram.extend_from_slice(&iv);
                let start = datagram.len();
                push_padded(&mut datagram, piece, padding);
                cipher.cbc_encrypt(&iv, datagram.get_mut(start..).unwrap_or_default())?;
                let mut icv = mac.compute(&[&datagram]);
                icv.truncate(self.algorithms.icv_len());
                datagram.extend_from_slice(&icv);
            }
            Cipher::Aead { cipher, next_iv } => {
                let iv = next_iv.to_be_bytes();
                *next_iv = next_iv.checked_add(1).ok_or(AeadError::Misuse)?;
                let mut content = Vec::with_capacity(piece.len() + 1);
                push_padded(&mut content, piece, padding);
                let tag = cipher.seal(&iv, &datagram, &mut content)?;
                datagram.extend_from_slice(&iv);
                datagram.extend_from_slice(&content);
                datagram.extend_from_slice(&tag);
            }
        }
        debug_assert_eq!(datagram.len(), total, "the length fields were right");
        Ok(datagram)
    }

    /// Verifies and decrypts the encrypted payload of `datagram`, the whole message without non-ESP marker. Nothing is decrypted
    /// that is not authentic.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, datagram: &[u8], encrypted: &Encrypted<'_>) -> Result<Opened, OpenError> {
        let iv_len = self.algorithms.encryption().iv_len();
        let icv_len = self.algorithms.icv_len();
        let (iv, rest) = encrypted.body.split_at_checked(iv_len).ok_or(OpenError::Length)?;
        let content_len = rest.len().checked_sub(icv_len).ok_or(OpenError::Length)?;
        let (content, icv) = rest.split_at_checked(content_len).ok_or(OpenError::Length)?;
        if content.is_empty() || content.len() % self.algorithms.encryption().block_len() != 0 {
            return Err(OpenError::Length);
        }
        // The encrypted payload ends the datagram, so everything in front of its body is associated data.
        let associated_len = datagram
            .len()
            .checked_sub(encrypted.body.len())
            .ok_or(OpenError::Length)?;
        let authenticated_len = datagram.len().checked_sub(icv_len).ok_or(OpenError::Length)?;
        let mut chain = content.to_vec();
        match &self.cipher {
            Cipher::Cbc { cipher, mac } => {
                let mut ours = mac.compute(&[datagram.get(..authenticated_len).unwrap_or_default()]);
                ours.truncate(icv_len);
                if !ct_eq(&ours, icv) {
                    return Err(OpenError::NotAuthentic);
                }
                cipher
                    .cbc_decrypt(iv, &mut chain)
                    .map_err(|_not_blocks| OpenError::Length)?;
            }
            Cipher::Aead { cipher, .. } => {
                let associated = datagram.get(..associated_len).unwrap_or_default();
                cipher
                    .open(iv, associated, &mut chain, icv)
                    .map_err(|_not_authentic| OpenError::NotAuthentic)?;
            }
        }
        let padding = usize::from(chain.pop().ok_or(OpenError::Length)?);
        let len = chain.len().checked_sub(padding).ok_or(OpenError::Padding)?;
        chain.truncate(len);
        Ok(Opened {
            first: encrypted.first,
            chain,
        })
    }

    /// The algorithms.
    pub const fn algorithms(&self) -> SkAlgorithms {
        self.algorithms
    }
}

/// Appends content, padding and pad length. `padding` is below 256: it is less than a block.
fn push_padded(out: &mut Vec<u8>, piece: &[u8], padding: u8) {
    out.extend_from_slice(piece);
    out.resize(out.len() + usize::from(padding), 0);
    out.push(padding);
}

/// Octets in front of the IV: header, generic header, and the numbers of a fragment.
const fn front_len(fragment: bool) -> usize {
    Header::LEN + GENERIC_HEADER_LEN + if fragment { 4 } else { 0 }
}
