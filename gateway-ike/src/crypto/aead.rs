//! AEAD ciphers of IKEv2 messages: AES-GCM-16 (RFC 5282) and ChaCha20-Poly1305 (RFC 7634).

use std::fmt;

use aes::{Aes128, Aes192, Aes256};
use aes_gcm::AesGcm;
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{AeadInOut, KeyInit, Nonce, Tag};
use chacha20poly1305::ChaCha20Poly1305;

use super::Encryption;

/// Octets of a nonce: the salt and the IV of the message.
const NONCE_LEN: usize = 12;

/// Why an AEAD refused its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AeadError {
    /// The tag does not belong to the data: forged, damaged, or another key.
    #[error("not authentic")]
    NotAuthentic,
    /// The key material or the nonce has a length that is not the cipher's, or the cipher is none. Never caused by the network.
    #[error("local misuse: key, salt or iv of the wrong length")]
    Misuse,
}

/// A cipher with its key schedule and its salt, erased on drop.
pub struct AeadKey {
    encryption: Encryption,
    cipher: Cipher,
    salt: [u8; 4],
}

enum Cipher {
    Gcm128(Box<AesGcm<Aes128, U12>>),
    Gcm192(Box<AesGcm<Aes192, U12>>),
    Gcm256(Box<AesGcm<Aes256, U12>>),
    ChaCha20Poly1305(Box<ChaCha20Poly1305>),
}

impl AeadKey {
    /// Octets of the tag (ICV) of every cipher.
    pub const TAG_LEN: usize = 16;

    /// Expands key material: the key with the salt behind it.
    ///
    /// # Errors
    /// [`AeadError::Misuse`] if there are not [`Encryption::key_len`] and [`Encryption::salt_len`] octets, or the cipher is no AEAD.
    pub fn new(encryption: Encryption, key_material: &[u8]) -> Result<Self, AeadError> {
        let (key, salt) = key_material
            .split_at_checked(encryption.key_len())
            .ok_or(AeadError::Misuse)?;
        let salt = salt.try_into().map_err(|_wrong_length| AeadError::Misuse)?;
        let cipher = match encryption {
            Encryption::Aes128Gcm16 => Cipher::Gcm128(expand(key)?),
            Encryption::Aes192Gcm16 => Cipher::Gcm192(expand(key)?),
            Encryption::Aes256Gcm16 => Cipher::Gcm256(expand(key)?),
            Encryption::ChaCha20Poly1305 => Cipher::ChaCha20Poly1305(expand(key)?),
            Encryption::Des
            | Encryption::TripleDes
            | Encryption::Aes128Cbc
            | Encryption::Aes192Cbc
            | Encryption::Aes256Cbc => return Err(AeadError::Misuse),
        };
        Ok(Self {
            encryption,
            cipher,
            salt,
        })
    }

    /// Encrypts `data` in place and returns the tag over it and `aad`. An IV must never come twice with one key.
    ///
    /// # Errors
    /// [`AeadError::Misuse`] if the IV does not have [`Encryption::iv_len`] octets, or for data beyond what the cipher can take.
    pub fn seal(&self, iv: &[u8], aad: &[u8], data: &mut [u8]) -> Result<[u8; Self::TAG_LEN], AeadError> {
        let nonce = self.nonce(iv)?;
        let tag = match &self.cipher {
            Cipher::Gcm128(cipher) => seal(&**cipher, &nonce, aad, data),
            Cipher::Gcm192(cipher) => seal(&**cipher, &nonce, aad, data),
            Cipher::Gcm256(cipher) => seal(&**cipher, &nonce, aad, data),
            Cipher::ChaCha20Poly1305(cipher) => seal(&**cipher, &nonce, aad, data),
        };
        tag.ok_or(AeadError::Misuse)
    }

    /// Verifies `tag` over `data` and `aad`, and decrypts `data` in place.
    ///
    /// # Errors
    /// [`AeadError::NotAuthentic`]; `data` is worthless then. [`AeadError::Misuse`] as for [`AeadKey::seal`].
    pub fn open(&self, iv: &[u8], aad: &[u8], data: &mut [u8], tag: &[u8]) -> Result<(), AeadError> {
        let nonce = self.nonce(iv)?;
        let tag: &[u8; Self::TAG_LEN] = tag.try_into().map_err(|_wrong_length| AeadError::NotAuthentic)?;
        let authentic = match &self.cipher {
            Cipher::Gcm128(cipher) => open(&**cipher, &nonce, aad, data, tag),
            Cipher::Gcm192(cipher) => open(&**cipher, &nonce, aad, data, tag),
            Cipher::Gcm256(cipher) => open(&**cipher, &nonce, aad, data, tag),
            Cipher::ChaCha20Poly1305(cipher) => open(&**cipher, &nonce, aad, data, tag),
        };
        if authentic {
            Ok(())
        } else {
            Err(AeadError::NotAuthentic)
        }
    }

    /// The cipher.
    pub const fn encryption(&self) -> Encryption {
        self.encryption
    }

    fn nonce(&self, iv: &[u8]) -> Result<[u8; NONCE_LEN], AeadError> {
        [&self.salt[..], iv]
            .concat()
            .try_into()
            .map_err(|_wrong_length| AeadError::Misuse)
    }
}

impl Drop for AeadKey {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.salt);
    }
}

impl fmt::Debug for AeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AeadKey({})", self.encryption)
    }
}

fn expand<C: KeyInit>(key: &[u8]) -> Result<Box<C>, AeadError> {
    C::new_from_slice(key)
        .map(Box::new)
        .map_err(|_invalid_length| AeadError::Misuse)
}

fn seal<C: AeadInOut>(
    cipher: &C,
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    data: &mut [u8],
) -> Option<[u8; AeadKey::TAG_LEN]> {
    let nonce = <&Nonce<C>>::try_from(&nonce[..]).ok()?;
    let tag = cipher.encrypt_inout_detached(nonce, aad, data.into()).ok()?;
    tag.as_slice().try_into().ok()
}

fn open<C: AeadInOut>(
    cipher: &C,
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    data: &mut [u8],
    tag: &[u8; AeadKey::TAG_LEN],
) -> bool {
    let (Ok(nonce), Ok(tag)) = (<&Nonce<C>>::try_from(&nonce[..]), <&Tag<C>>::try_from(&tag[..])) else {
        return false;
    };
    cipher
        .decrypt_inout_detached(nonce, aad, data.into(), tag)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_aead_opens_what_it_sealed_and_nothing_else() {
        for encryption in Encryption::ALL.into_iter().filter(|cipher| cipher.is_aead()) {
            let material: Vec<u8> = (0..).take(encryption.key_len() + 4).collect();
            let key = AeadKey::new(encryption, &material).unwrap();
            for len in [0, 1, 16, 100] {
                let plain = vec![9; len];
                let mut data = plain.clone();
                let tag = key.seal(&[1; 8], b"aad", &mut data).unwrap();
                let refused = |iv: &[u8], aad: &[u8], tag: &[u8]| {
                    assert_eq!(
                        key.open(iv, aad, &mut data.clone(), tag),
                        Err(AeadError::NotAuthentic)
                    );
                };
                refused(&[2; 8], b"aad", &tag);
                refused(&[1; 8], b"add", &tag);
                refused(&[1; 8], b"aad", &tag[..15]);
                refused(&[1; 8], b"aad", &[0; 16]);
                key.open(&[1; 8], b"aad", &mut data, &tag).unwrap();
                assert_eq!(data, plain);
            }
        }
    }

    #[test]
    fn wrong_lengths_and_other_ciphers_are_misuse() {
        for encryption in Encryption::ALL {
            let len = encryption.key_len() + encryption.salt_len();
            assert_eq!(
                AeadKey::new(encryption, &vec![1; len]).is_ok(),
                encryption.is_aead()
            );
            assert!(AeadKey::new(encryption, &vec![1; len + 1]).is_err());
            assert!(AeadKey::new(encryption, &vec![1; len - 1]).is_err());
        }
        let key = AeadKey::new(Encryption::Aes128Gcm16, &[1; 20]).unwrap();
        assert_eq!(key.seal(&[1; 7], b"", &mut []), Err(AeadError::Misuse));
    }
}
