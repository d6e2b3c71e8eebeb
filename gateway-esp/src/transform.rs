use thiserror::Error;

use crate::mtu::{self, Shape};

/// ESP encryption algorithms, IANA "IKEv2 Transform Type 1"; the AEADs of RFC 4106 and RFC 7634 authenticate as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// DES-CBC, RFC 2405. Breakable in hours; for peers that have nothing else.
    Des,
    /// 3DES-CBC with three keys, RFC 2451. For old peers only.
    TripleDes,
    /// AES-CBC with a 128-bit key, RFC 3602.
    Aes128Cbc,
    /// AES-CBC with a 192-bit key, RFC 3602.
    Aes192Cbc,
    /// AES-CBC with a 256-bit key, RFC 3602.
    Aes256Cbc,
    /// AES-GCM with a 128-bit key and a 16-octet ICV, RFC 4106.
    Aes128Gcm,
    /// AES-GCM with a 192-bit key and a 16-octet ICV, RFC 4106.
    Aes192Gcm,
    /// AES-GCM with a 256-bit key and a 16-octet ICV, RFC 4106.
    Aes256Gcm,
    /// ChaCha20-Poly1305, RFC 7634.
    ChaCha20Poly1305,
}

impl Cipher {
    /// Whether the cipher authenticates by itself.
    pub const fn is_aead(self) -> bool {
        match self {
            Self::Aes128Gcm | Self::Aes192Gcm | Self::Aes256Gcm | Self::ChaCha20Poly1305 => true,
            Self::Des | Self::TripleDes | Self::Aes128Cbc | Self::Aes192Cbc | Self::Aes256Cbc => false,
        }
    }
}

/// ESP integrity algorithms, IANA "IKEv2 Transform Type 3".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Integrity {
    /// HMAC-MD5 truncated to 96 bits, RFC 2403. For old peers only.
    HmacMd5_96,
    /// HMAC-SHA1 truncated to 96 bits, RFC 2404.
    HmacSha1_96,
    /// HMAC-SHA2-256 truncated to 128 bits, RFC 4868.
    HmacSha2_256_128,
    /// HMAC-SHA2-384 truncated to 192 bits, RFC 4868.
    HmacSha2_384_192,
    /// HMAC-SHA2-512 truncated to 256 bits, RFC 4868.
    HmacSha2_512_256,
}

/// How the ESP packet travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encapsulation {
    /// Directly over IP, protocol 50.
    Esp,
    /// Inside UDP, RFC 3948.
    Udp,
}

/// A cipher together with the integrity that belongs to it, and the kind of sequence numbers (IANA "IKEv2 Transform Type 5").
///
/// There is no value of this type without authentication: a CBC cipher needs an [`Integrity`], an AEAD takes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transform {
    cipher: Cipher,
    integrity: Option<Integrity>,
    esn: bool,
}

/// Why a cipher and an integrity do not make a [`Transform`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TransformError {
    /// Encryption without authentication is open to active attacks, RFC 4303 section 2.
    #[error("{0:?} needs an integrity algorithm")]
    IntegrityMissing(Cipher),
    /// RFC 5282 section 8: an AEAD stands alone.
    #[error("{0:?} authenticates by itself and takes no integrity algorithm")]
    IntegrityNotAllowed(Cipher),
}

impl Transform {
    /// Pairs the two, with sequence numbers of 32 bits.
    ///
    /// # Errors
    /// Refuses a CBC cipher without integrity and an AEAD with one.
    pub const fn new(cipher: Cipher, integrity: Option<Integrity>) -> Result<Self, TransformError> {
        match (cipher.is_aead(), integrity) {
            (false, None) => Err(TransformError::IntegrityMissing(cipher)),
            (true, Some(_)) => Err(TransformError::IntegrityNotAllowed(cipher)),
            (true, None) | (false, Some(_)) => Ok(Self {
                cipher,
                integrity,
                esn: false,
            }),
        }
    }

    /// The same with extended sequence numbers (RFC 4303 section 2.2.1), or without.
    #[must_use]
    pub const fn with_esn(self, esn: bool) -> Self {
        Self { esn, ..self }
    }

    /// The encryption algorithm.
    pub const fn cipher(self) -> Cipher {
        self.cipher
    }

    /// The integrity algorithm; `None` for an AEAD.
    pub const fn integrity(self) -> Option<Integrity> {
        self.integrity
    }

    /// Whether sequence numbers have 64 bits, of which the lower half travels.
    pub const fn esn(self) -> bool {
        self.esn
    }

    /// The last sequence number that the sender may use.
    ///
    /// Without extended sequence numbers there are 2^32 - 1 (RFC 4303 section 3.3.3). With them we stop at 2^48 - 1: the number is also
    /// the counter of the AEAD's explicit IV, which has 48 bits (see [`crate::NonceSpace`]). At ten million packets per second that is
    /// most of a year.
    pub const fn last_sequence(self) -> u64 {
        if self.esn { (1 << 48) - 1 } else { u32::MAX as u64 }
    }

    /// Octets of encryption key that IKE derives, with the 4-octet salt of RFC 4106 section 8.1 and RFC 7634 section 2.
    pub const fn encryption_key_len(self) -> usize {
        match self.cipher {
            Cipher::Des => 8,
            Cipher::Aes128Cbc => 16,
            Cipher::TripleDes | Cipher::Aes192Cbc => 24,
            Cipher::Aes256Cbc => 32,
            Cipher::Aes128Gcm => 16 + 4,
            Cipher::Aes192Gcm => 24 + 4,
            Cipher::Aes256Gcm | Cipher::ChaCha20Poly1305 => 32 + 4,
        }
    }

    /// Octets of integrity key that IKE derives; 0 for an AEAD.
    pub const fn integrity_key_len(self) -> usize {
        match self.integrity {
            None => 0,
            Some(Integrity::HmacMd5_96) => 16,
            Some(Integrity::HmacSha1_96) => 20,
            Some(Integrity::HmacSha2_256_128) => 32,
            Some(Integrity::HmacSha2_384_192) => 48,
            Some(Integrity::HmacSha2_512_256) => 64,
        }
    }

    /// Octets of the explicit IV in each packet.
    pub const fn iv_len(self) -> usize {
        match self.cipher {
            Cipher::Aes128Cbc | Cipher::Aes192Cbc | Cipher::Aes256Cbc => 16,
            Cipher::Des
            | Cipher::TripleDes
            | Cipher::Aes128Gcm
            | Cipher::Aes192Gcm
            | Cipher::Aes256Gcm
            | Cipher::ChaCha20Poly1305 => 8,
        }
    }

    /// Octets of the integrity check value at the end of each packet.
    pub const fn icv_len(self) -> usize {
        match self.integrity {
            Some(Integrity::HmacMd5_96 | Integrity::HmacSha1_96) => 12,
            None | Some(Integrity::HmacSha2_256_128) => 16,
            Some(Integrity::HmacSha2_384_192) => 24,
            Some(Integrity::HmacSha2_512_256) => 32,
        }
    }

    /// Octets to a multiple of which payload, padding and trailer are padded; never less than 4 (RFC 4303 section 2.4).
    pub const fn block_len(self) -> usize {
        match self.cipher {
            Cipher::Aes128Cbc | Cipher::Aes192Cbc | Cipher::Aes256Cbc => 16,
            Cipher::Des | Cipher::TripleDes => 8,
            Cipher::Aes128Gcm | Cipher::Aes192Gcm | Cipher::Aes256Gcm | Cipher::ChaCha20Poly1305 => 4,
        }
    }

    /// Octets that sealing adds to an inner packet on average, outer header included: for policing before the packet is sealed.
    pub const fn overhead(self, encapsulation: Encapsulation) -> usize {
        mtu::average_overhead(self.shape(), mtu::OUTER_IPV4, encapsulation)
    }

    /// The longest inner packet whose sealed form fits `link_mtu`, over IPv4; 0 if there is none.
    pub const fn inner_mtu(self, link_mtu: usize, encapsulation: Encapsulation) -> usize {
        mtu::inner_mtu(self.shape(), link_mtu, mtu::OUTER_IPV4, encapsulation)
    }

    /// The lengths that decide how much room a packet needs.
    pub const fn shape(self) -> Shape {
        Shape {
            iv_len: self.iv_len(),
            icv_len: self.icv_len(),
            block_len: self.block_len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CBC: [Cipher; 5] = [
        Cipher::Des,
        Cipher::TripleDes,
        Cipher::Aes128Cbc,
        Cipher::Aes192Cbc,
        Cipher::Aes256Cbc,
    ];
    const AEAD: [Cipher; 4] = [
        Cipher::Aes128Gcm,
        Cipher::Aes192Gcm,
        Cipher::Aes256Gcm,
        Cipher::ChaCha20Poly1305,
    ];

    #[test]
    fn there_is_no_transform_without_authentication() {
        for cipher in CBC {
            assert_eq!(
                Transform::new(cipher, None),
                Err(TransformError::IntegrityMissing(cipher))
            );
        }
    }

    #[test]
    fn an_aead_takes_no_second_integrity() {
        for cipher in AEAD {
            let refused = Transform::new(cipher, Some(Integrity::HmacSha1_96));
            assert_eq!(refused, Err(TransformError::IntegrityNotAllowed(cipher)));
            assert!(Transform::new(cipher, None).is_ok());
        }
    }

    #[test]
    fn the_average_overhead_lies_between_the_extremes() {
        let transform = Transform::new(Cipher::Aes128Cbc, Some(Integrity::HmacSha1_96)).unwrap();
        // 20 IP + 8 ESP + 16 IV + 2 trailer + 12 ICV = 58, and 0 to 15 of padding.
        assert_eq!(transform.overhead(Encapsulation::Esp), 58 + 8);
        assert_eq!(transform.overhead(Encapsulation::Udp), 58 + 8 + 8);
    }
}
