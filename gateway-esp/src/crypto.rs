//! The keyed algorithms, over the octets of ESP packets.
//!
//! Everything here works on one slice per packet, from the SPI to the end of the ICV, with the header and the IV already in place.
//! The callers checked its length: header, IV, at least one whole block, ICV.

#[cfg(target_arch = "x86_64")]
mod aes_vaes;
mod cbc;
mod gcm;
mod hmac;
#[cfg(target_arch = "x86_64")]
mod sha1_avx2;

use arrayvec::ArrayVec;
use subtle::ConstantTimeEq;

use crate::wire::ESP_HEADER_LEN;
use crate::{Cipher, KeyError, Keys, Transform};

/// How many packets are interleaved at most.
pub(crate) const BATCH: usize = 32;

/// The ESP octets of the packets of a batch.
pub(crate) type Batch<'p> = ArrayVec<&'p mut [u8], BATCH>;

/// What authenticates packets: an AEAD does it by itself.
enum Keyed<C> {
    Cbc { cipher: C, mac: hmac::Mac },
    Gcm(Box<gcm::GcmKey>),
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
        matches!(self.keyed, Keyed::Gcm(_))
    }

    /// Encrypts the payload in place and writes the ICV.
    pub(crate) fn seal(&self, esp: &mut [u8]) {
        let (head, payload, icv) = split(esp, self.iv_len, self.icv_len);
        match &self.keyed {
            Keyed::Gcm(key) => key.seal(head, payload, icv),
            Keyed::Cbc { cipher, mac } => {
                cipher.encrypt(&head[ESP_HEADER_LEN..], payload);
                self.write_icv(mac, esp);
            }
        }
    }

    /// The same for several packets.
    pub(crate) fn seal_batch(&self, batch: &mut Batch<'_>) {
        match &self.keyed {
            Keyed::Gcm(_) => batch.iter_mut().for_each(|esp| self.seal(esp)),
            Keyed::Cbc { cipher, mac } => {
                cipher.encrypt_lanes(batch.iter_mut().map(|esp| {
                    let (head, payload, _) = split(esp, self.iv_len, self.icv_len);
                    (&head[ESP_HEADER_LEN..], payload)
                }));
                let tags = mac.tags(&authenticated(batch, self.icv_len));
                for (esp, tag) in batch.iter_mut().zip(&tags) {
                    let at = esp.len() - self.icv_len;
                    esp[at..].copy_from_slice(&tag[..self.icv_len]);
                }
            }
        }
    }

    fn write_icv(&self, mac: &hmac::Mac, esp: &mut [u8]) {
        let (authenticated, icv) = esp.split_at_mut(esp.len() - self.icv_len);
        icv.copy_from_slice(&mac.tag(authenticated)[..self.icv_len]);
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
    pub(crate) fn open(&self, esp: &mut [u8]) -> Result<(), IcvMismatch> {
        match &self.keyed {
            Keyed::Gcm(key) => {
                let (head, payload, icv) = split(esp, self.iv_len, self.icv_len);
                key.open(head, payload, icv)
            }
            Keyed::Cbc { cipher, mac } => {
                let tag = mac.tag(&esp[..esp.len() - self.icv_len]);
                self.verify(esp, &tag)?;
                let (head, payload, _) = split(esp, self.iv_len, self.icv_len);
                cipher.decrypt(&head[ESP_HEADER_LEN..], payload);
                Ok(())
            }
        }
    }

    /// The same for several packets, with one result for each.
    pub(crate) fn open_batch(&self, batch: &mut Batch<'_>) -> ArrayVec<Result<(), IcvMismatch>, BATCH> {
        match &self.keyed {
            Keyed::Gcm(_) => batch.iter_mut().map(|esp| self.open(esp)).collect(),
            Keyed::Cbc { cipher, mac } => {
                let tags = mac.tags(&authenticated(batch, self.icv_len));
                let open_one = |(esp, tag): (&mut &mut [u8], &hmac::Tag)| {
                    self.verify(esp, tag)?;
                    let (head, payload, _) = split(esp, self.iv_len, self.icv_len);
                    cipher.decrypt(&head[ESP_HEADER_LEN..], payload);
                    Ok(())
                };
                batch.iter_mut().zip(&tags).map(open_one).collect()
            }
        }
    }

    fn verify(&self, esp: &[u8], tag: &hmac::Tag) -> Result<(), IcvMismatch> {
        let received = &esp[esp.len() - self.icv_len..];
        if bool::from(received.ct_eq(&tag[..self.icv_len])) {
            Ok(())
        } else {
            Err(IcvMismatch)
        }
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
        None => Keyed::Gcm(Box::new(gcm::GcmKey::new(transform.cipher(), encryption)?)),
        Some(algorithm) => Keyed::Cbc {
            cipher: cipher(transform.cipher(), encryption)?,
            mac: hmac::Mac::new(algorithm, integrity),
        },
    })
}

/// The octets of each packet that the ICV covers.
fn authenticated<'b>(batch: &'b Batch<'_>, icv_len: usize) -> ArrayVec<&'b [u8], BATCH> {
    batch.iter().map(|esp| &esp[..esp.len() - icv_len]).collect()
}

/// Header with IV, payload, ICV.
fn split(esp: &mut [u8], iv_len: usize, icv_len: usize) -> (&[u8], &mut [u8], &mut [u8]) {
    let icv_at = esp.len() - icv_len;
    let (authenticated, icv) = esp.split_at_mut(icv_at);
    let (head, payload) = authenticated.split_at_mut(ESP_HEADER_LEN + iv_len);
    (head, payload, icv)
}
