//! The AEADs of ESP: AES-GCM with a 16-octet ICV (RFC 4106) and ChaCha20-Poly1305 (RFC 7634).
//!
//! Both build the nonce as salt | IV, and authenticate SPI and sequence number beside the payload.

use aes::Aes192;
use aes_gcm::AesGcm;
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{AeadInOut, KeyInit};
use ring::aead::{AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::{HighHalf, IcvMismatch};
use crate::wire::ESP_HEADER_LEN;
use crate::{Cipher, KeyError};

/// Octets of salt at the end of the key material, RFC 4106 section 4 and RFC 7634 section 2.
const SALT_LEN: usize = 4;
/// Octets of ICV; none of the algorithms is used with a shorter one.
const TAG_LEN: usize = 16;
/// The associated data with an extended sequence number.
const EXTENDED_AAD_LEN: usize = ESP_HEADER_LEN + 4;

/// A keyed AEAD.
pub(super) struct AeadKey {
    algorithm: Algorithm,
    salt: [u8; SALT_LEN],
}

enum Algorithm {
    Ring(LessSafeKey),
    /// `ring` leaves the middle key length out.
    Aes192Gcm(AesGcm<Aes192, U12>),
}

impl AeadKey {
    pub(super) fn new(cipher: Cipher, octets: &[u8]) -> Result<Self, KeyError> {
        let (key, salt) = octets.split_last_chunk::<SALT_LEN>().ok_or(KeyError::Refused)?;
        let ring = |algorithm| {
            let key = UnboundKey::new(algorithm, key).ok().ok_or(KeyError::Refused)?;
            Ok(Algorithm::Ring(LessSafeKey::new(key)))
        };
        let algorithm = match cipher {
            Cipher::Aes128Gcm => ring(&AES_128_GCM)?,
            Cipher::Aes256Gcm => ring(&AES_256_GCM)?,
            Cipher::ChaCha20Poly1305 => ring(&CHACHA20_POLY1305)?,
            Cipher::Aes192Gcm => {
                let key = AesGcm::new_from_slice(key).ok().ok_or(KeyError::Refused)?;
                Algorithm::Aes192Gcm(key)
            }
            Cipher::Des | Cipher::TripleDes | Cipher::Aes128Cbc | Cipher::Aes192Cbc | Cipher::Aes256Cbc => {
                return Err(KeyError::Refused);
            }
        };
        Ok(Self {
            algorithm,
            salt: *salt,
        })
    }

    /// `head` is the ESP header and the IV.
    pub(super) fn seal(&self, head: &[u8], high: Option<HighHalf>, payload: &mut [u8], icv: &mut [u8]) {
        let (esp_header, iv) = head.split_at(ESP_HEADER_LEN);
        let nonce = self.nonce(iv);
        let sealed = match high {
            None => self.algorithm.seal(nonce, esp_header, payload),
            Some(high) => self.algorithm.seal(nonce, &extended(esp_header, high), payload),
        };
        icv.copy_from_slice(&sealed.expect("AEADs refuse only plaintexts of 64 GiB"));
    }

    /// Verifies before any octet of the payload counts as plaintext; its octets are unspecified after an error.
    pub(super) fn open(
        &self,
        head: &[u8],
        high: Option<HighHalf>,
        payload: &mut [u8],
        icv: &[u8],
    ) -> Result<(), IcvMismatch> {
        let (esp_header, iv) = head.split_at(ESP_HEADER_LEN);
        let nonce = self.nonce(iv);
        let tag: &[u8; TAG_LEN] = icv.try_into().ok().ok_or(IcvMismatch)?;
        match high {
            None => self.algorithm.open(nonce, esp_header, payload, tag),
            Some(high) => self
                .algorithm
                .open(nonce, &extended(esp_header, high), payload, tag),
        }
    }

    fn nonce(&self, iv: &[u8]) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        nonce[..SALT_LEN].copy_from_slice(&self.salt);
        nonce[SALT_LEN..].copy_from_slice(iv);
        nonce
    }
}

impl Algorithm {
    fn seal(&self, nonce: [u8; NONCE_LEN], aad: &[u8], payload: &mut [u8]) -> Option<[u8; TAG_LEN]> {
        match self {
            Self::Ring(key) => {
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, ring::aead::Aad::from(aad), payload);
                tag.ok()?.as_ref().try_into().ok()
            }
            Self::Aes192Gcm(key) => {
                let tag = key.encrypt_inout_detached(&nonce.into(), aad, payload.into());
                Some(tag.ok()?.into())
            }
        }
    }

    fn open(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        payload: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), IcvMismatch> {
        let opened = match self {
            Self::Ring(key) => {
                let nonce = Nonce::assume_unique_for_key(nonce);
                let aad = ring::aead::Aad::from(aad);
                key.open_in_place_separate_tag(nonce, aad, (*tag).into(), payload, 0..)
                    .is_ok()
            }
            Self::Aes192Gcm(key) => key
                .decrypt_inout_detached(&nonce.into(), aad, payload.into(), &(*tag).into())
                .is_ok(),
        };
        if opened { Ok(()) } else { Err(IcvMismatch) }
    }
}

/// SPI and the whole sequence number, RFC 4106 section 5:
///
/// ```text
/// |                               SPI                             |
/// |                     64-bit Extended Sequence Number           |
/// |                                                               |
/// ```
fn extended(esp_header: &[u8], high: HighHalf) -> [u8; EXTENDED_AAD_LEN] {
    let mut aad = [0; EXTENDED_AAD_LEN];
    let (spi, low) = esp_header.split_at(4);
    aad[..4].copy_from_slice(spi);
    aad[4..8].copy_from_slice(&high);
    aad[8..].copy_from_slice(low);
    aad
}

#[cfg(test)]
mod tests {
    use aes_gcm::{Aes128Gcm, Aes256Gcm};
    use chacha20poly1305::ChaCha20Poly1305;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::hex;

    /// The RustCrypto implementation of what `ring` does for us. Gives payload and ICV.
    fn second_opinion(
        cipher: Cipher,
        key: &[u8],
        head: &[u8],
        high: Option<HighHalf>,
        payload: &[u8],
    ) -> Vec<u8> {
        fn of<C: AeadInOut<NonceSize = U12> + KeyInit>(
            key: &[u8],
            nonce: [u8; 12],
            aad: &[u8],
            octets: &mut Vec<u8>,
        ) {
            let cipher = C::new_from_slice(key).unwrap();
            let tag = cipher
                .encrypt_inout_detached(&nonce.into(), aad, octets.as_mut_slice().into())
                .unwrap();
            octets.extend_from_slice(&tag);
        }
        let (key, salt) = key.split_at(key.len() - SALT_LEN);
        let nonce: [u8; 12] = [salt, &head[8..]].concat().try_into().unwrap();
        let high = high.map(|high| high.to_vec()).unwrap_or_default();
        let aad = [&head[..4], &high, &head[4..8]].concat();
        let mut octets = payload.to_vec();
        match cipher {
            Cipher::Aes128Gcm => of::<Aes128Gcm>(key, nonce, &aad, &mut octets),
            Cipher::Aes256Gcm => of::<Aes256Gcm>(key, nonce, &aad, &mut octets),
            Cipher::ChaCha20Poly1305 => of::<ChaCha20Poly1305>(key, nonce, &aad, &mut octets),
            Cipher::Aes192Gcm
            | Cipher::Des
            | Cipher::TripleDes
            | Cipher::Aes128Cbc
            | Cipher::Aes192Cbc
            | Cipher::Aes256Cbc => unreachable!("not of ring"),
        }
        octets
    }

    /// Seals to these octets, and opens them again.
    #[track_caller]
    fn check(cipher: Cipher, key: &str, head: &str, high: Option<HighHalf>, plaintext: &str, sealed: &str) {
        let aead = AeadKey::new(cipher, &hex(key)).unwrap();
        let (head, plaintext) = (hex(head), hex(plaintext));
        let mut octets = plaintext.clone();
        let mut icv = [0; 16];
        aead.seal(&head, high, &mut octets, &mut icv);
        assert_eq!([&octets[..], &icv].concat(), hex(sealed));
        assert_eq!(aead.open(&head, high, &mut octets, &icv), Ok(()));
        assert_eq!(octets, plaintext);
    }

    #[test]
    fn aes_128_gcm_matches_the_esp_packet_of_draft_mcgrew_gcm_test() {
        check(
            Cipher::Aes128Gcm,
            "feffe9928665731c6d6a8f9467308308 cafebabe",
            "0000a5f8 0000000a facedbaddecaf888",
            None,
            "4500003e698f000080114dccc0a80102 c0a801010a980035002a2343b2d00100
             00010000000000000373697009637962 65726369747902646b00000100010001",
            "deb22cd9b07c72c16e3a65beeb8df304 a5a5897d33ae530f1ba76d5d114d2a5c
             3de81827c10e9a4f51330d0eec416642 cfbb85a5b47e48a4ec3b9ba95d918bd1
             83b70d3aa8bc6ee4c309e9d85a41ad4a",
        );
    }

    #[test]
    fn chacha20_poly1305_matches_rfc_7634_appendix_a() {
        check(
            Cipher::ChaCha20Poly1305,
            "808182838485868788898a8b8c8d8e8f 909192939495969798999a9b9c9d9e9f a0a1a2a3",
            "01020304 00000005 1011121314151617",
            None,
            "45000054a6f200004001e778c6336405 c000020508005b7a3a080000553bec10
             0007362708090a0b0c0d0e0f10111213 1415161718191a1b1c1d1e1f20212223
             2425262728292a2b2c2d2e2f30313233 3435363701020204",
            "24039428b97f417e3c13753a4f05087b 67c352e6a7fab1b982d466ef407ae5c6
             14ee8099d52844eb61aa95dfab4c02f7 2aa71e7c4c4f64c9befe2facc638e8f3
             cbec163fac469b502773f6fb94e664da 9165b82829f641e0
             76aaa8266b7fb0f7b11b369907e1ad43",
        );
    }

    /// Made with OpenSSL 3 (EVP_aes_192_gcm), for want of a published ESP packet.
    #[test]
    fn aes_192_gcm_matches_openssl() {
        let (key, head) = (
            "feffe9928665731c6d6a8f9467308308feffe9928665731c cafebabe",
            "0000a5f8 0000000a facedbaddecaf888",
        );
        let plaintext = "4500003e698f000080114dccc0a80102 c0a801010a980035002a2343b2d00100
             00010000000000000373697009637962 65726369747902646b00000100010001";
        check(
            Cipher::Aes192Gcm,
            key,
            head,
            None,
            plaintext,
            "a5b1f810ad0beea4ce4ebecde87700cf c391b4b8b9432e6b4ce380ca34406aee
             614a3195542ccc7680ddfa4c888ff300 ccfaca17f197c0ea1db95c28b6033002
             72b7306b4afd7dedd8d66122afff49d0",
        );
        check(
            Cipher::Aes192Gcm,
            key,
            head,
            Some([0, 0, 0, 7]),
            plaintext,
            "a5b1f810ad0beea4ce4ebecde87700cf c391b4b8b9432e6b4ce380ca34406aee
             614a3195542ccc7680ddfa4c888ff300 ccfaca17f197c0ea1db95c28b6033002
             cf99b5fab6aacab714007e954d9945c0",
        );
    }

    proptest! {
        #[test]
        fn agrees_with_a_second_implementation(
            which in 0usize..3,
            key: [u8; 36],
            head: [u8; 16],
            high: Option<HighHalf>,
            payload in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let (cipher, key) = [
                (Cipher::Aes128Gcm, &key[..20]),
                (Cipher::Aes256Gcm, &key[..]),
                (Cipher::ChaCha20Poly1305, &key[..]),
            ][which];
            let expected = second_opinion(cipher, key, &head, high, &payload);
            let aead = AeadKey::new(cipher, key).unwrap();
            let mut sealed = payload.clone();
            let mut tag = [0; 16];
            aead.seal(&head, high, &mut sealed, &mut tag);
            prop_assert_eq!(&[&sealed[..], &tag].concat(), &expected);
            prop_assert_eq!(aead.open(&head, high, &mut sealed, &tag), Ok(()));
            prop_assert_eq!(&sealed, &payload);
        }
    }
}
