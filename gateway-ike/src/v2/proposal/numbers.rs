//! Our algorithms as the registry's numbers.

use crate::config::{EspCipher, EspIntegrity, EspProposal, IkeProposal};
use crate::crypto::{DhGroup, Encryption, Hash};
use crate::wire::v2::{EncryptionId, Esn, IntegrityId, PrfId, Transform, TransformType};

/// A transform that a proposal must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) transform_type: TransformType,
    pub(super) id: u16,
    pub(super) key_bits: Option<u16>,
    /// A proposal without any transform of the type means this one.
    pub(super) implied: bool,
}

impl Wanted {
    const fn new(transform_type: TransformType, id: u16) -> Self {
        Self {
            transform_type,
            id,
            key_bits: None,
            implied: false,
        }
    }

    /// "None" of a type that has it, so that a proposal may leave the type out.
    pub(super) const fn none_of(transform_type: TransformType) -> Option<Self> {
        match transform_type {
            TransformType::INTEG
            | TransformType::KE
            | TransformType::ADDKE1
            | TransformType::ADDKE2
            | TransformType::ADDKE3
            | TransformType::ADDKE4
            | TransformType::ADDKE5
            | TransformType::ADDKE6
            | TransformType::ADDKE7 => Some(Self::new(transform_type, 0)),
            _ => None,
        }
    }

    /// Whether `transform` is exactly this: with the key length where the cipher has one, and without where it has none.
    pub(super) fn is(self, transform: &Transform) -> bool {
        transform.transform_type == self.transform_type
            && transform.id == self.id
            && transform.key_bits() == Ok(self.key_bits)
    }

    /// As we write it.
    pub(super) fn to_transform(self) -> Transform {
        match self.transform_type {
            TransformType::ENCR => Transform::encryption(EncryptionId(self.id), self.key_bits),
            other => Transform::new(other, self.id),
        }
    }
}

/// What an IKE proposal consists of.
pub(super) fn of_ike(proposal: &IkeProposal) -> Vec<Wanted> {
    let (cipher, key_bits) = ike_cipher(proposal.encryption);
    let mut wanted = vec![
        Wanted {
            key_bits,
            ..Wanted::new(TransformType::ENCR, cipher.0)
        },
        Wanted::new(TransformType::PRF, prf(proposal.hash).0),
    ];
    if !proposal.encryption.is_aead() {
        wanted.push(Wanted::new(TransformType::INTEG, integrity(proposal.hash).0));
    }
    wanted.push(group(proposal.group));
    wanted.extend(
        proposal
            .additional
            .map(|additional| Wanted::new(TransformType::ADDKE1, additional.number())),
    );
    wanted
}

/// What an ESP proposal consists of.
pub(super) fn of_esp(proposal: &EspProposal, pfs: Option<DhGroup>, esn: Esn) -> Vec<Wanted> {
    let (cipher, key_bits) = esp_cipher(proposal.cipher);
    let mut wanted = vec![Wanted {
        key_bits,
        ..Wanted::new(TransformType::ENCR, cipher.0)
    }];
    wanted.extend(
        proposal
            .integrity
            .map(|mac| Wanted::new(TransformType::INTEG, esp_integrity(mac).0)),
    );
    wanted.extend(pfs.map(group));
    wanted.push(Wanted {
        implied: esn == Esn::NO_ESN,
        ..Wanted::new(TransformType::ESN, esn.0)
    });
    wanted
}

const fn group(group: DhGroup) -> Wanted {
    Wanted::new(TransformType::KE, group.number())
}

pub(super) const fn ike_cipher(encryption: Encryption) -> (EncryptionId, Option<u16>) {
    match encryption {
        Encryption::Des => (EncryptionId::DES, None),
        Encryption::TripleDes => (EncryptionId::TRIPLE_DES, None),
        Encryption::Aes128Cbc => (EncryptionId::AES_CBC, Some(128)),
        Encryption::Aes192Cbc => (EncryptionId::AES_CBC, Some(192)),
        Encryption::Aes256Cbc => (EncryptionId::AES_CBC, Some(256)),
        Encryption::Aes128Gcm16 => (EncryptionId::AES_GCM_16, Some(128)),
        Encryption::Aes192Gcm16 => (EncryptionId::AES_GCM_16, Some(192)),
        Encryption::Aes256Gcm16 => (EncryptionId::AES_GCM_16, Some(256)),
        Encryption::ChaCha20Poly1305 => (EncryptionId::CHACHA20_POLY1305, None),
    }
}

pub(super) const fn prf(hash: Hash) -> PrfId {
    match hash {
        Hash::Md5 => PrfId::HMAC_MD5,
        Hash::Sha1 => PrfId::HMAC_SHA1,
        Hash::Sha2_256 => PrfId::HMAC_SHA2_256,
        Hash::Sha2_384 => PrfId::HMAC_SHA2_384,
        Hash::Sha2_512 => PrfId::HMAC_SHA2_512,
    }
}

pub(super) const fn integrity(hash: Hash) -> IntegrityId {
    match hash {
        Hash::Md5 => IntegrityId::HMAC_MD5_96,
        Hash::Sha1 => IntegrityId::HMAC_SHA1_96,
        Hash::Sha2_256 => IntegrityId::HMAC_SHA2_256_128,
        Hash::Sha2_384 => IntegrityId::HMAC_SHA2_384_192,
        Hash::Sha2_512 => IntegrityId::HMAC_SHA2_512_256,
    }
}

const fn esp_cipher(cipher: EspCipher) -> (EncryptionId, Option<u16>) {
    match cipher {
        EspCipher::Des => (EncryptionId::DES, None),
        EspCipher::TripleDes => (EncryptionId::TRIPLE_DES, None),
        EspCipher::Aes128Cbc => (EncryptionId::AES_CBC, Some(128)),
        EspCipher::Aes192Cbc => (EncryptionId::AES_CBC, Some(192)),
        EspCipher::Aes256Cbc => (EncryptionId::AES_CBC, Some(256)),
        EspCipher::Aes128Gcm16 => (EncryptionId::AES_GCM_16, Some(128)),
        EspCipher::Aes192Gcm16 => (EncryptionId::AES_GCM_16, Some(192)),
        EspCipher::Aes256Gcm16 => (EncryptionId::AES_GCM_16, Some(256)),
        EspCipher::ChaCha20Poly1305 => (EncryptionId::CHACHA20_POLY1305, None),
    }
}

const fn esp_integrity(integrity: EspIntegrity) -> IntegrityId {
    match integrity {
        EspIntegrity::HmacMd5 => IntegrityId::HMAC_MD5_96,
        EspIntegrity::HmacSha1 => IntegrityId::HMAC_SHA1_96,
        EspIntegrity::HmacSha2_256 => IntegrityId::HMAC_SHA2_256_128,
        EspIntegrity::HmacSha2_384 => IntegrityId::HMAC_SHA2_384_192,
        EspIntegrity::HmacSha2_512 => IntegrityId::HMAC_SHA2_512_256,
    }
}
