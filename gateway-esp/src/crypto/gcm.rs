use ring::aead::{self, Aad, LessSafeKey, NONCE_LEN, Nonce, Tag, UnboundKey};

use super::IcvMismatch;
use crate::wire::ESP_HEADER_LEN;
use crate::{Cipher, KeyError};

/// Octets of salt at the end of the key material, RFC 4106 section 4.
const SALT_LEN: usize = 4;

/// AES-GCM with a 16-octet ICV as RFC 4106 uses it: nonce = salt | IV, AAD = SPI | sequence number.
pub(super) struct GcmKey {
    key: LessSafeKey,
    salt: [u8; SALT_LEN],
}

impl GcmKey {
    pub(super) fn new(cipher: Cipher, octets: &[u8]) -> Result<Self, KeyError> {
        let algorithm = match cipher {
            Cipher::Aes128Gcm => &aead::AES_128_GCM,
            Cipher::Aes256Gcm => &aead::AES_256_GCM,
            Cipher::TripleDes | Cipher::Aes128Cbc | Cipher::Aes192Cbc | Cipher::Aes256Cbc => {
                return Err(KeyError::Refused);
            }
        };
        let (key, salt) = octets.split_last_chunk::<SALT_LEN>().ok_or(KeyError::Refused)?;
        let key = UnboundKey::new(algorithm, key).ok().ok_or(KeyError::Refused)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            salt: *salt,
        })
    }

    /// `head` is the ESP header and the IV.
    pub(super) fn seal(&self, head: &[u8], payload: &mut [u8], icv: &mut [u8]) {
        let (aad, iv) = head.split_at(ESP_HEADER_LEN);
        let tag = self
            .key
            .seal_in_place_separate_tag(self.nonce(iv), Aad::from(aad), payload)
            .expect("GCM refuses only plaintexts of 64 GiB");
        icv.copy_from_slice(tag.as_ref());
    }

    /// Verifies before any octet of the payload counts as plaintext; on an error ring has wiped them.
    pub(super) fn open(&self, head: &[u8], payload: &mut [u8], icv: &[u8]) -> Result<(), IcvMismatch> {
        let (aad, iv) = head.split_at(ESP_HEADER_LEN);
        let tag = Tag::try_from(icv).ok().ok_or(IcvMismatch)?;
        let opened = self
            .key
            .open_in_place_separate_tag(self.nonce(iv), Aad::from(aad), tag, payload, 0..);
        opened.map(|_| ()).ok().ok_or(IcvMismatch)
    }

    fn nonce(&self, iv: &[u8]) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[..SALT_LEN].copy_from_slice(&self.salt);
        nonce[SALT_LEN..].copy_from_slice(iv);
        Nonce::assume_unique_for_key(nonce)
    }
}

#[cfg(test)]
mod tests {
    use aes_gcm::aead::{AeadInOut, KeyInit};
    use aes_gcm::{Aes128Gcm, Aes256Gcm};
    use proptest::prelude::*;

    use super::*;
    use crate::testing::hex;

    /// The RustCrypto implementation.
    fn second_opinion(cipher: Cipher, key: &[u8], head: &[u8], payload: &mut [u8]) -> Vec<u8> {
        let split = key.len() - SALT_LEN;
        let nonce: [u8; 12] = [&key[split..], &head[8..]].concat().try_into().unwrap();
        let tag = match cipher {
            Cipher::Aes128Gcm => Aes128Gcm::new_from_slice(&key[..split])
                .unwrap()
                .encrypt_inout_detached(&nonce.into(), &head[..8], payload.into()),
            Cipher::Aes256Gcm => Aes256Gcm::new_from_slice(&key[..split])
                .unwrap()
                .encrypt_inout_detached(&nonce.into(), &head[..8], payload.into()),
            Cipher::TripleDes | Cipher::Aes128Cbc | Cipher::Aes192Cbc | Cipher::Aes256Cbc => {
                unreachable!("not GCM")
            }
        };
        tag.unwrap().to_vec()
    }

    #[test]
    fn matches_the_esp_packet_of_draft_mcgrew_gcm_test() {
        let gcm = GcmKey::new(
            Cipher::Aes128Gcm,
            &hex("feffe9928665731c6d6a8f9467308308 cafebabe"),
        )
        .unwrap();
        let head = hex("0000a5f8 0000000a facedbaddecaf888");
        let plaintext = hex("4500003e698f000080114dccc0a80102 c0a801010a980035002a2343b2d00100
                             00010000000000000373697009637962 65726369747902646b00000100010001");
        let mut octets = plaintext.clone();
        let mut icv = [0; 16];
        gcm.seal(&head, &mut octets, &mut icv);
        let ciphertext = hex("deb22cd9b07c72c16e3a65beeb8df304 a5a5897d33ae530f1ba76d5d114d2a5c
                              3de81827c10e9a4f51330d0eec416642 cfbb85a5b47e48a4ec3b9ba95d918bd1");
        assert_eq!(octets, ciphertext);
        assert_eq!(icv[..], hex("83b70d3aa8bc6ee4c309e9d85a41ad4a"));
        assert_eq!(gcm.open(&head, &mut octets, &icv), Ok(()));
        assert_eq!(octets, plaintext);
    }

    proptest! {
        #[test]
        fn agrees_with_a_second_implementation(
            wide: bool,
            key: [u8; 36],
            head: [u8; 16],
            payload in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let (cipher, key) = if wide { (Cipher::Aes256Gcm, &key[..]) } else { (Cipher::Aes128Gcm, &key[..20]) };
            let mut expected = payload.clone();
            let expected_tag = second_opinion(cipher, key, &head, &mut expected);

            let gcm = GcmKey::new(cipher, key).unwrap();
            let mut sealed = payload.clone();
            let mut tag = [0; 16];
            gcm.seal(&head, &mut sealed, &mut tag);
            prop_assert_eq!(&sealed, &expected);
            prop_assert_eq!(&tag[..], &expected_tag[..]);
            prop_assert_eq!(gcm.open(&head, &mut sealed, &tag), Ok(()));
            prop_assert_eq!(&sealed, &payload);
        }
    }
}
