use aes::cipher::common::array::ArraySize;
use aes::cipher::common::{Block, BlockSizeUser};
use aes::cipher::consts::U16;
use aes::cipher::{
    Array, BlockCipherDecrypt, BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt,
    BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit,
};
use aes::{Aes128Dec, Aes128Enc, Aes192Dec, Aes192Enc, Aes256Dec, Aes256Enc};
use arrayvec::ArrayVec;
use des::{Des, TdesEde3};

use super::BATCH;
#[cfg(target_arch = "x86_64")]
use super::aes_vaes::{self, Lane};
use crate::{Cipher, KeyError};

/// A cipher that encrypts in CBC mode.
pub(super) struct Encryptor {
    cipher: EncryptingCipher,
    /// The fast way for many packets, where the processor has one.
    #[cfg(target_arch = "x86_64")]
    wide: Option<aes_vaes::Encryptor>,
}

/// A cipher that decrypts in CBC mode.
pub(super) struct Decryptor {
    cipher: DecryptingCipher,
    /// The fast way, where the processor has one.
    #[cfg(target_arch = "x86_64")]
    wide: Option<aes_vaes::Decryptor>,
}

enum EncryptingCipher {
    Des(Des),
    TripleDes(TdesEde3),
    Aes128(Aes128Enc),
    Aes192(Aes192Enc),
    Aes256(Aes256Enc),
}

enum DecryptingCipher {
    Des(Des),
    TripleDes(TdesEde3),
    Aes128(Aes128Dec),
    Aes192(Aes192Dec),
    Aes256(Aes256Dec),
}

impl Encryptor {
    pub(super) fn new(cipher: Cipher, key: &[u8]) -> Result<Self, KeyError> {
        use EncryptingCipher::{Aes128, Aes192, Aes256, Des, TripleDes};

        Ok(Self {
            cipher: match cipher {
                Cipher::Des => Des(keyed(key)?),
                Cipher::TripleDes => TripleDes(keyed(key)?),
                Cipher::Aes128Cbc => Aes128(keyed(key)?),
                Cipher::Aes192Cbc => Aes192(keyed(key)?),
                Cipher::Aes256Cbc => Aes256(keyed(key)?),
                Cipher::Aes128Gcm | Cipher::Aes192Gcm | Cipher::Aes256Gcm | Cipher::ChaCha20Poly1305 => {
                    return Err(KeyError::Refused);
                }
            },
            #[cfg(target_arch = "x86_64")]
            wide: is_aes(cipher).then(|| aes_vaes::Encryptor::new(key)).flatten(),
        })
    }

    /// Encrypts whole blocks in place.
    pub(super) fn encrypt(&self, iv: &[u8], payload: &mut [u8]) {
        match &self.cipher {
            EncryptingCipher::Des(cipher) => encrypt(cipher, iv, payload),
            EncryptingCipher::TripleDes(cipher) => encrypt(cipher, iv, payload),
            EncryptingCipher::Aes128(cipher) => encrypt(cipher, iv, payload),
            EncryptingCipher::Aes192(cipher) => encrypt(cipher, iv, payload),
            EncryptingCipher::Aes256(cipher) => encrypt(cipher, iv, payload),
        }
    }

    /// Encrypts up to [`BATCH`] packets, given as IV and payload.
    ///
    /// One CBC chain leaves an AES unit idle most of the time, since each block waits for the one before. The blocks of different
    /// packets do not wait for each other.
    pub(super) fn encrypt_lanes<'p>(&self, packets: impl Iterator<Item = (&'p [u8], &'p mut [u8])>) {
        if matches!(
            self.cipher,
            EncryptingCipher::Des(_) | EncryptingCipher::TripleDes(_)
        ) {
            return packets.for_each(|(iv, payload)| self.encrypt(iv, payload));
        }
        let mut lanes: ArrayVec<Lane<'p>, BATCH> = packets
            .map(|(iv, payload)| Lane {
                chain: block::<U16>(iv).into(),
                blocks: payload.as_chunks_mut().0,
            })
            .collect();
        #[cfg(target_arch = "x86_64")]
        if let Some(wide) = &self.wide {
            wide.encrypt_lanes(&mut lanes);
        }
        let lanes = Lanes { lanes };
        match &self.cipher {
            EncryptingCipher::Des(_) | EncryptingCipher::TripleDes(_) => {}
            EncryptingCipher::Aes128(cipher) => cipher.encrypt_with_backend(lanes),
            EncryptingCipher::Aes192(cipher) => cipher.encrypt_with_backend(lanes),
            EncryptingCipher::Aes256(cipher) => cipher.encrypt_with_backend(lanes),
        }
    }
}

impl Decryptor {
    pub(super) fn new(cipher: Cipher, key: &[u8]) -> Result<Self, KeyError> {
        use DecryptingCipher::{Aes128, Aes192, Aes256, Des, TripleDes};

        Ok(Self {
            cipher: match cipher {
                Cipher::Des => Des(keyed(key)?),
                Cipher::TripleDes => TripleDes(keyed(key)?),
                Cipher::Aes128Cbc => Aes128(keyed(key)?),
                Cipher::Aes192Cbc => Aes192(keyed(key)?),
                Cipher::Aes256Cbc => Aes256(keyed(key)?),
                Cipher::Aes128Gcm | Cipher::Aes192Gcm | Cipher::Aes256Gcm | Cipher::ChaCha20Poly1305 => {
                    return Err(KeyError::Refused);
                }
            },
            #[cfg(target_arch = "x86_64")]
            wide: is_aes(cipher).then(|| aes_vaes::Decryptor::new(key)).flatten(),
        })
    }

    /// Decrypts whole blocks in place.
    pub(super) fn decrypt(&self, iv: &[u8], payload: &mut [u8]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(wide) = &self.wide {
            return wide.decrypt(&block::<U16>(iv).into(), payload.as_chunks_mut().0);
        }
        self.decrypt_portably(iv, payload);
    }

    fn decrypt_portably(&self, iv: &[u8], payload: &mut [u8]) {
        match &self.cipher {
            DecryptingCipher::Des(cipher) => decrypt(cipher, iv, payload),
            DecryptingCipher::TripleDes(cipher) => decrypt(cipher, iv, payload),
            DecryptingCipher::Aes128(cipher) => decrypt(cipher, iv, payload),
            DecryptingCipher::Aes192(cipher) => decrypt(cipher, iv, payload),
            DecryptingCipher::Aes256(cipher) => decrypt(cipher, iv, payload),
        }
    }
}

#[cfg(target_arch = "x86_64")]
const fn is_aes(cipher: Cipher) -> bool {
    matches!(cipher, Cipher::Aes128Cbc | Cipher::Aes192Cbc | Cipher::Aes256Cbc)
}

fn keyed<C: KeyInit>(key: &[u8]) -> Result<C, KeyError> {
    C::new_from_slice(key).ok().ok_or(KeyError::Refused)
}

/// An IV as a block. Callers cut it to the block length of the cipher.
fn block<BS: ArraySize>(iv: &[u8]) -> Array<u8, BS> {
    let mut block = Array::default();
    block.copy_from_slice(iv);
    block
}

fn encrypt<C: BlockCipherEncrypt>(cipher: &C, iv: &[u8], payload: &mut [u8]) {
    let (blocks, _) = Array::slice_as_chunks_mut(payload);
    cbc::Encryptor::inner_iv_init(cipher, &block::<C::BlockSize>(iv)).encrypt_blocks(blocks);
}

fn decrypt<C: BlockCipherDecrypt>(cipher: &C, iv: &[u8], payload: &mut [u8]) {
    let (blocks, _) = Array::slice_as_chunks_mut(payload);
    cbc::Decryptor::inner_iv_init(cipher, &block::<C::BlockSize>(iv)).decrypt_blocks(blocks);
}

/// One packet on its way through the cipher.
#[cfg(not(target_arch = "x86_64"))]
struct Lane<'p> {
    /// The IV, then the last ciphertext block.
    chain: [u8; 16],
    /// What is left to encrypt.
    blocks: &'p mut [[u8; 16]],
}

/// The packets of a batch. The cipher calls back with its fastest implementation, compiled into the loop.
struct Lanes<'p> {
    lanes: ArrayVec<Lane<'p>, BATCH>,
}

impl BlockSizeUser for Lanes<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Lanes<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(mut self, backend: &B) {
        loop {
            // All lanes go on together until the shortest ends, which then leaves.
            self.lanes.retain(|lane| !lane.blocks.is_empty());
            let Some(common) = self.lanes.iter().map(|lane| lane.blocks.len()).min() else {
                return;
            };
            for at in 0..common {
                for lane in &mut self.lanes {
                    let target = &mut lane.blocks[at];
                    // As one number: octet by octet the compiler would not use a vector.
                    let chained = u128::from_ne_bytes(lane.chain) ^ u128::from_ne_bytes(*target);
                    let mut block: Block<B> = chained.to_ne_bytes().into();
                    backend.encrypt_block_inplace(&mut block);
                    *target = block.into();
                    lane.chain = *target;
                }
            }
            for lane in &mut self.lanes {
                lane.blocks = std::mem::take(&mut lane.blocks).split_at_mut(common).1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::hex;

    proptest! {
        #[test]
        fn decryption_agrees_with_the_crate_at_every_length(
            wide in 0usize..3,
            key: [u8; 32],
            iv: [u8; 16],
            blocks in prop::collection::vec(any::<[u8; 16]>(), 0..70),
        ) {
            let cipher = [Cipher::Aes128Cbc, Cipher::Aes192Cbc, Cipher::Aes256Cbc][wide];
            let decryptor = Decryptor::new(cipher, &key[..16 + 8 * wide]).unwrap();
            let (mut fast, mut portable) = (blocks.clone(), blocks);
            decryptor.decrypt(&iv, fast.as_flattened_mut());
            decryptor.decrypt_portably(&iv, portable.as_flattened_mut());
            prop_assert_eq!(fast, portable);
        }
    }

    #[track_caller]
    fn check(cipher: Cipher, key: &str, iv: &str, plaintext: &[u8], ciphertext: &str) {
        let (key, iv, ciphertext) = (hex(key), hex(iv), hex(ciphertext));
        let mut octets = plaintext.to_vec();
        Encryptor::new(cipher, &key).unwrap().encrypt(&iv, &mut octets);
        assert_eq!(octets, ciphertext);
        Decryptor::new(cipher, &key).unwrap().decrypt(&iv, &mut octets);
        assert_eq!(octets, plaintext);
        Encryptor::new(cipher, &key)
            .unwrap()
            .encrypt_lanes([(&iv[..], &mut octets[..])].into_iter());
        assert_eq!(octets, ciphertext);
    }

    #[test]
    fn aes_128_matches_rfc_3602_section_4() {
        check(
            Cipher::Aes128Cbc,
            "06a9214036b8a15b512e03d534120006",
            "3dafba429d9eb430b422da802c9fac41",
            b"Single block msg",
            "e353779c1079aeb82708942dbe77181a",
        );
        check(
            Cipher::Aes128Cbc,
            "c286696d887c9aa0611bbb3e2025a45a",
            "562e17996d093d28ddb3ba695a2e6f58",
            &hex("000102030405060708090a0b0c0d0e0f 101112131415161718191a1b1c1d1e1f"),
            "d296cd94c2cccf8a3a863028b5e1dc0a 7586602d253cfff91b8266bea6d61ab1",
        );
        check(
            Cipher::Aes128Cbc,
            "6c3ea0477630ce21a2ce334aa746c2cd",
            "c782dc4c098c66cbd9cd27d825682c81",
            b"This is a 48-byte message (exactly 3 AES blocks)",
            "d0a02b3836451753d493665d33f0e886 2dea54cdb293abc7506939276772f8d5 021c19216bad525c8579695d83ba2684",
        );
        check(
            Cipher::Aes128Cbc,
            "56e47a38c5598974bc46903dba290349",
            "8ce82eefbea0da3c44699ed7db51b7d9",
            &hex("a0a1a2a3a4a5a6a7a8a9aaabacadaeaf b0b1b2b3b4b5b6b7b8b9babbbcbdbebf
                  c0c1c2c3c4c5c6c7c8c9cacbcccdcecf d0d1d2d3d4d5d6d7d8d9dadbdcdddedf"),
            "c30e32ffedc0774e6aff6af0869f71aa 0f3af07a9a31a9c684db207eb0ef8e4e
             35907aa632c3ffdf868bb7b29d3d46ad 83ce9f9a102ee99d49a53e87f4c3da55",
        );
    }

    #[test]
    fn des_matches_fips_81() {
        check(
            Cipher::Des,
            "0123456789abcdef",
            "1234567890abcdef",
            b"Now is the time for all ",
            "e5c7cdde872bf27c 43e934008c389c0f 683788499a7c05f6",
        );
    }

    /// The plaintext of the CBC examples in NIST SP 800-38A appendix F.2.
    const NIST: &str = "6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51
                        30c81c46a35ce411e5fbc1191a0a52ef f69f2445df4f9b17ad2b417be66c3710";

    #[test]
    fn aes_192_and_256_match_sp_800_38a() {
        check(
            Cipher::Aes192Cbc,
            "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
            "000102030405060708090a0b0c0d0e0f",
            &hex(NIST),
            "4f021db243bc633d7178183a9fa071e8 b4d9ada9ad7dedf4e5e738763f69145a
             571b242012fb7ae07fa9baac3df102e0 08b0e27988598881d920a9e64f5615cd",
        );
        check(
            Cipher::Aes256Cbc,
            "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
            "000102030405060708090a0b0c0d0e0f",
            &hex(NIST),
            "f58c4c04d6e5f1ba779eabfb5f7bfbd6 9cfc4e967edb808d679f777bc6702c7d
             39f23369a9d9bacfa530e26304231461 b2eb05e2c39be9fcda6c19078c6a9d1b",
        );
    }

    proptest! {
        #[test]
        fn lanes_of_any_lengths_equal_one_after_the_other(
            wide in 0usize..3,
            key: [u8; 32],
            lengths in prop::collection::vec(0usize..40, 0..=BATCH),
            iv: [u8; 16],
        ) {
            let cipher = [Cipher::Aes128Cbc, Cipher::Aes192Cbc, Cipher::Aes256Cbc][wide];
            let encryptor = Encryptor::new(cipher, &key[..16 + 8 * wide]).unwrap();
            let packets: Vec<Vec<u8>> =
                lengths.iter().enumerate().map(|(i, blocks)| vec![u8::try_from(i).unwrap(); blocks * 16]).collect();
            let mut lanes = packets.clone();
            encryptor.encrypt_lanes(lanes.iter_mut().map(|payload| (&iv[..], &mut payload[..])));
            for (mut expected, lane) in packets.into_iter().zip(lanes) {
                encryptor.encrypt(&iv, &mut expected);
                prop_assert_eq!(expected, lane);
            }
        }
    }
}
