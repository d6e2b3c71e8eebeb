//! Ciphers of IKE messages, and CBC. The AEADs are in [`super::aead`].

use std::fmt;
use std::str::FromStr;

use aes::{Aes128, Aes192, Aes256};
use cbc::cipher::{
    Array, Block, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, BlockSizeUser,
    InnerIvInit, KeyInit,
};
use des::{Des, TdesEde3};

use super::UnknownAlgorithm;

/// Ciphers of IKE messages that a peer can be configured with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encryption {
    /// DES-CBC, 56-bit key. Broken; for old peers only.
    Des,
    /// 3DES-CBC, three keys.
    TripleDes,
    /// AES-CBC with a 128-bit key.
    Aes128Cbc,
    /// AES-CBC with a 192-bit key.
    Aes192Cbc,
    /// AES-CBC with a 256-bit key.
    Aes256Cbc,
    /// AES-GCM with a 128-bit key and an ICV of 16 octets (RFC 5282). IKEv2 only, as the other AEADs.
    Aes128Gcm16,
    /// AES-GCM with a 192-bit key.
    Aes192Gcm16,
    /// AES-GCM with a 256-bit key.
    Aes256Gcm16,
    /// ChaCha20-Poly1305 (RFC 7634).
    ChaCha20Poly1305,
}

impl Encryption {
    /// Every cipher: CBC ones, then AEADs, each weakest first.
    pub const ALL: [Self; 9] = [
        Self::Des,
        Self::TripleDes,
        Self::Aes128Cbc,
        Self::Aes192Cbc,
        Self::Aes256Cbc,
        Self::Aes128Gcm16,
        Self::Aes192Gcm16,
        Self::Aes256Gcm16,
        Self::ChaCha20Poly1305,
    ];

    /// The CBC ciphers, which IKEv1 is limited to.
    pub const CBC: [Self; 5] = [
        Self::Des,
        Self::TripleDes,
        Self::Aes128Cbc,
        Self::Aes192Cbc,
        Self::Aes256Cbc,
    ];

    /// Whether the cipher authenticates what it encrypts.
    pub const fn is_aead(self) -> bool {
        matches!(
            self,
            Self::Aes128Gcm16 | Self::Aes192Gcm16 | Self::Aes256Gcm16 | Self::ChaCha20Poly1305
        )
    }

    /// Octets of a key, without the salt of an AEAD. DES keys count their parity bits.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Des => 8,
            Self::Aes128Cbc | Self::Aes128Gcm16 => 16,
            Self::TripleDes | Self::Aes192Cbc | Self::Aes192Gcm16 => 24,
            Self::Aes256Cbc | Self::Aes256Gcm16 | Self::ChaCha20Poly1305 => 32,
        }
    }

    /// Octets of key material that follow the key and start every nonce (RFC 5282 section 7.1, RFC 7634 section 2): none for CBC.
    pub const fn salt_len(self) -> usize {
        if self.is_aead() { 4 } else { 0 }
    }

    /// Octets of a block, to which messages are padded. An AEAD pads nothing.
    pub const fn block_len(self) -> usize {
        match self {
            Self::Des | Self::TripleDes => 8,
            Self::Aes128Cbc | Self::Aes192Cbc | Self::Aes256Cbc => 16,
            Self::Aes128Gcm16 | Self::Aes192Gcm16 | Self::Aes256Gcm16 | Self::ChaCha20Poly1305 => 1,
        }
    }

    /// Octets of the IV that a message carries: a block for CBC, a counter for an AEAD.
    pub const fn iv_len(self) -> usize {
        if self.is_aead() { 8 } else { self.block_len() }
    }

    /// Whether an operator should be warned: the key is short or the block is 64 bits (RFC 8247 section 2.1, Sweet32).
    pub const fn is_weak(self) -> bool {
        matches!(self, Self::Des | Self::TripleDes)
    }
}

impl fmt::Display for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Des => "des",
            Self::TripleDes => "3des",
            Self::Aes128Cbc => "aes-128",
            Self::Aes192Cbc => "aes-192",
            Self::Aes256Cbc => "aes-256",
            Self::Aes128Gcm16 => "aes-128-gcm",
            Self::Aes192Gcm16 => "aes-192-gcm",
            Self::Aes256Gcm16 => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        })
    }
}

impl FromStr for Encryption {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "des" => Self::Des,
            "3des" => Self::TripleDes,
            "aes-128" | "aes128" => Self::Aes128Cbc,
            "aes-192" | "aes192" => Self::Aes192Cbc,
            "aes-256" | "aes256" => Self::Aes256Cbc,
            "aes-128-gcm" => Self::Aes128Gcm16,
            "aes-192-gcm" => Self::Aes192Gcm16,
            "aes-256-gcm" => Self::Aes256Gcm16,
            "chacha20-poly1305" => Self::ChaCha20Poly1305,
            _ => {
                return Err(UnknownAlgorithm {
                    what: "encryption algorithm",
                    name: name.to_owned(),
                });
            }
        })
    }
}

/// Why a cipher refused its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CbcError {
    /// The data is empty or no multiple of the block.
    #[error("{len} octets are no whole number of {block_len}-octet blocks")]
    NotBlocks {
        /// Octets of the data.
        len: usize,
        /// Octets of a block.
        block_len: usize,
    },
    /// The key or the IV has a length that is not the cipher's. Never caused by the network.
    #[error("local misuse: key or iv of the wrong length")]
    Misuse,
}

/// A cipher with its key schedule, erased on drop.
pub struct CbcKey {
    encryption: Encryption,
    schedule: Schedule,
}

enum Schedule {
    Des(Box<Des>),
    TripleDes(Box<TdesEde3>),
    Aes128(Box<Aes128>),
    Aes192(Box<Aes192>),
    Aes256(Box<Aes256>),
}

impl CbcKey {
    /// Expands `key`.
    ///
    /// # Errors
    /// [`CbcError::Misuse`] if the key does not have [`Encryption::key_len`] octets, or the cipher is an AEAD.
    pub fn new(encryption: Encryption, key: &[u8]) -> Result<Self, CbcError> {
        let schedule = match encryption {
            Encryption::Des => Schedule::Des(expand(key)?),
            Encryption::TripleDes => Schedule::TripleDes(expand(key)?),
            Encryption::Aes128Cbc => Schedule::Aes128(expand(key)?),
            Encryption::Aes192Cbc => Schedule::Aes192(expand(key)?),
            Encryption::Aes256Cbc => Schedule::Aes256(expand(key)?),
            Encryption::Aes128Gcm16
            | Encryption::Aes192Gcm16
            | Encryption::Aes256Gcm16
            | Encryption::ChaCha20Poly1305 => return Err(CbcError::Misuse),
        };
        Ok(Self { encryption, schedule })
    }

    /// The cipher.
    pub const fn encryption(&self) -> Encryption {
        self.encryption
    }

    /// Encrypts whole blocks in place.
    ///
    /// # Errors
    /// The data is not whole blocks, or the IV is not one block.
    pub fn cbc_encrypt(&self, iv: &[u8], data: &mut [u8]) -> Result<(), CbcError> {
        match &self.schedule {
            Schedule::Des(cipher) => encrypt(&**cipher, iv, data),
            Schedule::TripleDes(cipher) => encrypt(&**cipher, iv, data),
            Schedule::Aes128(cipher) => encrypt(&**cipher, iv, data),
            Schedule::Aes192(cipher) => encrypt(&**cipher, iv, data),
            Schedule::Aes256(cipher) => encrypt(&**cipher, iv, data),
        }
    }

    /// Decrypts whole blocks in place.
    ///
    /// # Errors
    /// The data is not whole blocks, or the IV is not one block.
    pub fn cbc_decrypt(&self, iv: &[u8], data: &mut [u8]) -> Result<(), CbcError> {
        match &self.schedule {
            Schedule::Des(cipher) => decrypt(&**cipher, iv, data),
            Schedule::TripleDes(cipher) => decrypt(&**cipher, iv, data),
            Schedule::Aes128(cipher) => decrypt(&**cipher, iv, data),
            Schedule::Aes192(cipher) => decrypt(&**cipher, iv, data),
            Schedule::Aes256(cipher) => decrypt(&**cipher, iv, data),
        }
    }
}

impl fmt::Debug for CbcKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CbcKey({})", self.encryption)
    }
}

fn expand<C: KeyInit>(key: &[u8]) -> Result<Box<C>, CbcError> {
    C::new_from_slice(key)
        .map(Box::new)
        .map_err(|_invalid_length| CbcError::Misuse)
}

fn encrypt<C: BlockCipherEncrypt>(cipher: &C, iv: &[u8], data: &mut [u8]) -> Result<(), CbcError> {
    let iv = <&Block<C>>::try_from(iv).map_err(|_wrong_length| CbcError::Misuse)?;
    cbc::Encryptor::inner_iv_init(cipher, iv).encrypt_blocks(blocks::<C>(data)?);
    Ok(())
}

fn decrypt<C: BlockCipherDecrypt>(cipher: &C, iv: &[u8], data: &mut [u8]) -> Result<(), CbcError> {
    let iv = <&Block<C>>::try_from(iv).map_err(|_wrong_length| CbcError::Misuse)?;
    cbc::Decryptor::inner_iv_init(cipher, iv).decrypt_blocks(blocks::<C>(data)?);
    Ok(())
}

fn blocks<C: BlockSizeUser>(data: &mut [u8]) -> Result<&mut [Block<C>], CbcError> {
    let not_blocks = CbcError::NotBlocks {
        len: data.len(),
        block_len: C::block_size(),
    };
    let (blocks, rest) = Array::slice_as_chunks_mut(data);
    if rest.is_empty() && !blocks.is_empty() {
        Ok(blocks)
    } else {
        Err(not_blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cipher_reads_its_own_name() {
        for encryption in Encryption::ALL {
            assert_eq!(encryption.to_string().parse(), Ok(encryption));
            assert_eq!(encryption.is_aead(), !Encryption::CBC.contains(&encryption));
        }
        assert_eq!(
            "rot13".parse::<Encryption>().unwrap_err().to_string(),
            "unknown encryption algorithm 'rot13'"
        );
    }

    #[test]
    fn cbc_undoes_itself() {
        for encryption in Encryption::CBC {
            let bytes: Vec<u8> = (1..=32).collect();
            let key = CbcKey::new(encryption, &bytes[..encryption.key_len()]).unwrap();
            let iv = vec![7; encryption.block_len()];
            let plain: Vec<u8> = (0..64).collect();
            let mut data = plain.clone();
            key.cbc_encrypt(&iv, &mut data).unwrap();
            assert_ne!(data, plain);
            key.cbc_decrypt(&iv, &mut data).unwrap();
            assert_eq!(data, plain);
        }
    }

    #[test]
    fn part_blocks_and_wrong_lengths_are_refused() {
        for encryption in Encryption::CBC {
            let block_len = encryption.block_len();
            let key = CbcKey::new(encryption, &vec![1; encryption.key_len()]).unwrap();
            for len in [0, 1, block_len - 1, block_len + 1] {
                let refused = Err(CbcError::NotBlocks { len, block_len });
                assert_eq!(key.cbc_decrypt(&vec![0; block_len], &mut vec![0; len]), refused);
                assert_eq!(key.cbc_encrypt(&vec![0; block_len], &mut vec![0; len]), refused);
            }
            assert_eq!(
                key.cbc_decrypt(&[0; 3], &mut vec![0; block_len]),
                Err(CbcError::Misuse)
            );
            assert!(CbcKey::new(encryption, &vec![1; encryption.key_len() - 1]).is_err());
        }
        assert!(CbcKey::new(Encryption::Aes128Gcm16, &[1; 16]).is_err());
    }
}
