//! The keyed algorithms, over the octets of ESP packets.
//!
//! Everything here works on one slice per packet, from the SPI to the end of the ICV, with the header and the IV already in place.
//! The callers checked its length: header, IV, at least one whole block, ICV.

mod aead;
#[cfg(target_arch = "x86_64")]
mod aes_vaes;
mod cbc;
mod hmac;
#[cfg(target_arch = "x86_64")]
mod sha1_avx2;

use arrayvec::ArrayVec;
use subtle::ConstantTimeEq;

use crate::wire::ESP_HEADER_LEN;
use crate::{Cipher, KeyError, Keys, Transform};

/// How many packets are interleaved at most.
pub(crate) const BATCH: usize = 32;

/// The higher 32 bits of an extended sequence number. They are authenticated and do not travel (RFC 4303 section 2.2.1).
pub(crate) type HighHalf = [u8; 4];

/// One packet: its octets from the SPI to the end of the ICV.
pub(crate) struct Esp<'p> {
    pub(crate) octets: &'p mut [u8],
    /// `None` without extended sequence numbers.
    pub(crate) high: Option<HighHalf>,
}

/// The packets of a batch.
pub(crate) type Batch<'p> = ArrayVec<Esp<'p>, BATCH>;

/// What authenticates packets: an AEAD does it by itself.
enum Keyed<C> {
    Cbc { cipher: C, mac: hmac::Mac },
    Aead(Box<aead::AeadKey>),
}

/// Encrypts and authenticates.
pub(crate) struct Sealer {
    keyed: Keyed<cbc::Encryptor>,
    iv_len: usize,
    icv_len: usize,
}

/// Verifies and decrypts.
pub(crate) struct Opener {
    keyed: Keyed<cbc::Decryptor>,
    iv_len: usize,
    icv_len: usize,
}

/// The integrity check value is not the one of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IcvMismatch;

impl Sealer {
    pub(crate) fn new(transform: Transform, keys: &Keys) -> Result<Self, KeyError> {
        let keyed = keyed(transform, keys, cbc::Encryptor::new)?;
        Ok(Self {
            keyed,
            iv_len: transform.iv_len(),
            icv_len: transform.icv_len(),
        })
    }

    /// Whether the IV is a nonce (unique) or must be unpredictable.
    pub(crate) const fn iv_is_nonce(&self) -> bool {
        matches!(self.keyed, Keyed::Aead(_))
    }

    /// Encrypts the payload in place and writes the ICV.
    pub(crate) fn seal(&self, esp: &mut Esp<'_>) {
        let high = esp.high;
        let (head, payload, icv) = split(esp.octets, self.iv_len, self.icv_len);
        match &self.keyed {
            Keyed::Aead(key) => key.seal(head, high, payload, icv),
            Keyed::Cbc { cipher, mac } => {
                cipher.encrypt(&head[ESP_HEADER_LEN..], payload);
                let tag = mac.tag(authenticated(esp, self.icv_len));
                self.write_icv(esp, &tag);
            }
        }
    }

    /// The same for several packets.
    pub(crate) fn seal_batch(&self, batch: &mut Batch<'_>) {
        match &self.keyed {
            Keyed::Aead(_) => batch.iter_mut().for_each(|esp| self.seal(esp)),
            Keyed::Cbc { cipher, mac } => {
                cipher.encrypt_lanes(batch.iter_mut().map(|esp| {
                    let (head, payload, _) = split(esp.octets, self.iv_len, self.icv_len);
                    (&head[ESP_HEADER_LEN..], payload)
                }));
                let tags = mac.tags(&all_authenticated(batch, self.icv_len));
                for (esp, tag) in batch.iter_mut().zip(&tags) {
                    self.write_icv(esp, tag);
                }
            }
        }
    }

    fn write_icv(&self, esp: &mut Esp<'_>, tag: &hmac::Tag) {
        let at = esp.octets.len() - self.icv_len;
        esp.octets[at..].copy_from_slice(&tag[..self.icv_len]);
    }
}

impl Opener {
    pub(crate) fn new(transform: Transform, keys: &Keys) -> Result<Self, KeyError> {
        let keyed = keyed(transform, keys, cbc::Decryptor::new)?;
        Ok(Self {
            keyed,
            iv_len: transform.iv_len(),
            icv_len: transform.icv_len(),
        })
    }

    /// Verifies the ICV in constant time, then decrypts the payload in place. The payload is unspecified after an error.
    pub(crate) fn open(&self, esp: &mut Esp<'_>) -> Result<(), IcvMismatch> {
        match &self.keyed {
            Keyed::Aead(key) => {
                let high = esp.high;
                let (head, payload, icv) = split(esp.octets, self.iv_len, self.icv_len);
                key.open(head, high, payload, icv)
            }
            Keyed::Cbc { cipher, mac } => {
                let tag = mac.tag(authenticated(esp, self.icv_len));
                self.verify_and_decrypt(cipher, esp, &tag)
            }
        }
    }

    /// The same for several packets, with one result for each.
    pub(crate) fn open_batch(&self, batch: &mut Batch<'_>) -> ArrayVec<Result<(), IcvMismatch>, BATCH> {
        match &self.keyed {
            Keyed::Aead(_) => batch.iter_mut().map(|esp| self.open(esp)).collect(),
            Keyed::Cbc { cipher, mac } => {
                let tags = mac.tags(&all_authenticated(batch, self.icv_len));
                let open_one = |(esp, tag): (&mut Esp<'_>, _)| self.verify_and_decrypt(cipher, esp, tag);
                batch.iter_mut().zip(&tags).map(open_one).collect()
            }
        }
    }

    fn verify_and_decrypt(
        &self,
        cipher: &cbc::Decryptor,
        esp: &mut Esp<'_>,
        tag: &hmac::Tag,
    ) -> Result<(), IcvMismatch> {
        let (head, payload, icv) = split(esp.octets, self.iv_len, self.icv_len);
        if !bool::from(icv.ct_eq(&tag[..self.icv_len])) {
            return Err(IcvMismatch);
        }
        cipher.decrypt(&head[ESP_HEADER_LEN..], payload);
        Ok(())
    }
}

fn keyed<C>(
    transform: Transform,
    keys: &Keys,
    cipher: impl FnOnce(Cipher, &[u8]) -> Result<C, KeyError>,
) -> Result<Keyed<C>, KeyError> {
    let encryption = keys.encryption(transform)?;
    let integrity = keys.integrity(transform)?;
    Ok(match transform.integrity() {
        None => Keyed::Aead(Box::new(aead::AeadKey::new(transform.cipher(), encryption)?)),
        Some(algorithm) => Keyed::Cbc {
            cipher: cipher(transform.cipher(), encryption)?,
            mac: hmac::Mac::new(algorithm, integrity),
        },
    })
}

/// What the ICV of a packet covers when it is an HMAC.
fn authenticated<'b>(esp: &'b Esp<'_>, icv_len: usize) -> hmac::Message<'b> {
    hmac::Message {
        octets: &esp.octets[..esp.octets.len() - icv_len],
        suffix: esp.high.as_ref().map_or(&[], |high| high),
    }
}

fn all_authenticated<'b>(batch: &'b Batch<'_>, icv_len: usize) -> ArrayVec<hmac::Message<'b>, BATCH> {
    batch.iter().map(|esp| authenticated(esp, icv_len)).collect()
}

/// Header with IV, payload, ICV.
fn split(esp: &mut [u8], iv_len: usize, icv_len: usize) -> (&[u8], &mut [u8], &mut [u8]) {
    let icv_at = esp.len() - icv_len;
    let (authenticated, icv) = esp.split_at_mut(icv_at);
    let (head, payload) = authenticated.split_at_mut(ESP_HEADER_LEN + iv_len);
    (head, payload, icv)
}
