//! AES-CBC with VAES: two blocks per instruction, eight instructions in flight.
//!
//! Encryption interleaves packets, since the blocks of one wait for each other; decryption interleaves the blocks of a packet. The
//! `aes` crate's own VAES code wants its blocks contiguous, which costs a gather, a scatter and a stalled load per step.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_aesimc_si128, _mm_aeskeygenassist_si128, _mm_cvtsi128_si32, _mm_loadu_si128,
    _mm_set1_epi32, _mm_storeu_si128, _mm256_aesdec_epi128, _mm256_aesdeclast_epi128, _mm256_aesenc_epi128,
    _mm256_aesenclast_epi128, _mm256_broadcastsi128_si256, _mm256_castsi256_si128, _mm256_extracti128_si256,
    _mm256_permute2x128_si256, _mm256_set_m128i, _mm256_setzero_si256, _mm256_xor_si256,
};

use zeroize::{Zeroize, ZeroizeOnDrop};

pub(super) type Block = [u8; 16];

/// Round keys of AES-256; shorter keys use the first ones.
const MAX_ROUND_KEYS: usize = 15;

/// One packet on its way through the cipher.
pub(super) struct Lane<'p> {
    /// The IV, then the last ciphertext block.
    pub(super) chain: Block,
    /// What is left to encrypt.
    pub(super) blocks: &'p mut [Block],
}

/// The round keys of one direction. A value exists only where the processor has AES-NI, AVX2 and VAES.
#[derive(Zeroize, ZeroizeOnDrop)]
struct RoundKeys {
    keys: [Block; MAX_ROUND_KEYS],
    /// 10, 12 or 14.
    rounds: usize,
}

/// Encrypts many packets at once.
pub(super) struct Encryptor(RoundKeys);

/// Decrypts one packet.
pub(super) struct Decryptor(RoundKeys);

impl Encryptor {
    /// `None` if the processor cannot, or the key has no AES length.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        RoundKeys::new(key).map(Self)
    }

    /// Encrypts in groups of 16 and 8 lanes, the longest first, until too few lanes have something left; those stay as they are.
    pub(super) fn encrypt_lanes(&self, mut lanes: &mut [Lane<'_>]) {
        loop {
            let finished = lanes.iter().take_while(|lane| lane.blocks.is_empty()).count();
            lanes = &mut lanes[finished..];
            if !lanes.is_sorted_by_key(|lane| std::cmp::Reverse(lane.blocks.len())) {
                lanes.sort_unstable_by_key(|lane| std::cmp::Reverse(lane.blocks.len()));
            }
            let active = lanes.partition_point(|lane| !lane.blocks.is_empty());
            if active >= 16
                && let Some(group) = lanes.first_chunk_mut::<16>()
            {
                self.encrypt_group::<16, 8>(group);
            } else if active >= 8
                && let Some(group) = lanes.first_chunk_mut::<8>()
            {
                self.encrypt_group::<8, 4>(group);
            } else {
                return;
            }
        }
    }

    /// All lanes of the group up to the end of the shortest.
    fn encrypt_group<const LANES: usize, const PAIRS: usize>(&self, group: &mut [Lane<'_>; LANES]) {
        let count = group.iter().map(|lane| lane.blocks.len()).min().unwrap_or(0);
        // SAFETY: `RoundKeys` exist only where `new` found every feature that the function is compiled for.
        unsafe { encrypt_group::<LANES, PAIRS>(&self.0, group, count) };
        for lane in group {
            lane.blocks = std::mem::take(&mut lane.blocks).split_at_mut(count).1;
        }
    }
}

impl Decryptor {
    /// `None` if the processor cannot, or the key has no AES length.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        let keys = RoundKeys::new(key)?;
        // SAFETY: `RoundKeys` exist only where `new` found every feature that the function is compiled for.
        Some(Self(unsafe { inverted(&keys) }))
    }

    pub(super) fn decrypt(&self, iv: &Block, blocks: &mut [Block]) {
        // SAFETY: `RoundKeys` exist only where `new` found every feature that the function is compiled for.
        unsafe { decrypt(&self.0, iv, blocks) }
    }
}

impl RoundKeys {
    fn new(key: &[u8]) -> Option<Self> {
        let able = std::arch::is_x86_feature_detected!("aes")
            && std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("vaes");
        // SAFETY: the features that the function is compiled for were found just above.
        (able && matches!(key.len(), 16 | 24 | 32)).then(|| unsafe { expanded(key) })
    }
}

/// The key expansion of FIPS 197 section 5.2, with words in little endian.
#[target_feature(enable = "aes")]
fn expanded(key: &[u8]) -> RoundKeys {
    let key_words = key.len() / 4;
    let rounds = key_words + 6;
    let mut words = [0u32; 4 * MAX_ROUND_KEYS];
    for (word, octets) in words.iter_mut().zip(key.as_chunks().0) {
        *word = u32::from_le_bytes(*octets);
    }
    let mut constant = 1u8;
    for i in key_words..4 * (rounds + 1) {
        let mut word = words[i - 1];
        if i % key_words == 0 {
            word = substituted(word).rotate_right(8) ^ u32::from(constant);
            constant = (constant << 1) ^ if constant & 0x80 == 0 { 0 } else { 0x1b };
        } else if key_words == 8 && i % key_words == 4 {
            word = substituted(word);
        }
        words[i] = words[i - key_words] ^ word;
    }
    let mut keys = [[0; 16]; MAX_ROUND_KEYS];
    for (octets, word) in keys.as_flattened_mut().chunks_exact_mut(4).zip(&words) {
        octets.copy_from_slice(&word.to_le_bytes());
    }
    words.zeroize();
    RoundKeys { keys, rounds }
}

/// Each octet through the S-box.
#[inline]
#[target_feature(enable = "aes")]
fn substituted(word: u32) -> u32 {
    _mm_cvtsi128_si32(_mm_aeskeygenassist_si128::<0>(_mm_set1_epi32(word.cast_signed()))).cast_unsigned()
}

/// The keys of the equivalent inverse cipher, FIPS 197 section 5.3.5.
#[target_feature(enable = "aes")]
fn inverted(encrypting: &RoundKeys) -> RoundKeys {
    let rounds = encrypting.rounds;
    let mut keys = encrypting.keys;
    keys[..=rounds].reverse();
    for key in &mut keys[1..rounds] {
        store(key, _mm_aesimc_si128(load(key)));
    }
    RoundKeys { keys, rounds }
}

/// Two blocks.
type Pair = __m256i;

/// The round keys, each twice.
#[inline]
#[target_feature(enable = "aes,avx2,vaes")]
fn doubled(keys: &RoundKeys) -> [Pair; MAX_ROUND_KEYS] {
    let mut doubled = [_mm256_setzero_si256(); MAX_ROUND_KEYS];
    for (pair, key) in doubled.iter_mut().zip(&keys.keys) {
        *pair = _mm256_broadcastsi128_si256(load(key));
    }
    doubled
}

#[target_feature(enable = "aes,avx2,vaes")]
fn encrypt_group<const LANES: usize, const PAIRS: usize>(
    keys: &RoundKeys,
    group: &mut [Lane<'_>; LANES],
    count: usize,
) {
    const { assert!(LANES == 2 * PAIRS) };
    let (rounds, keys) = (keys.rounds, doubled(keys));
    let mut state = [_mm256_setzero_si256(); PAIRS];
    for (state, lanes) in state.iter_mut().zip(group.as_chunks::<2>().0) {
        *state = _mm256_set_m128i(load(&lanes[1].chain), load(&lanes[0].chain));
    }
    for at in 0..count {
        for (state, [low, high]) in state.iter_mut().zip(group.as_chunks::<2>().0) {
            let plain = _mm256_set_m128i(load(&high.blocks[at]), load(&low.blocks[at]));
            *state = _mm256_xor_si256(*state, _mm256_xor_si256(plain, keys[0]));
        }
        for key in &keys[1..rounds] {
            for state in &mut state {
                *state = _mm256_aesenc_epi128(*state, *key);
            }
        }
        for (state, [low, high]) in state.iter_mut().zip(group.as_chunks_mut::<2>().0) {
            *state = _mm256_aesenclast_epi128(*state, keys[rounds]);
            store(&mut low.blocks[at], _mm256_castsi256_si128(*state));
            store(&mut high.blocks[at], _mm256_extracti128_si256::<1>(*state));
        }
    }
    for (state, [low, high]) in state.into_iter().zip(group.as_chunks_mut::<2>().0) {
        store(&mut low.chain, _mm256_castsi256_si128(state));
        store(&mut high.chain, _mm256_extracti128_si256::<1>(state));
    }
}

#[target_feature(enable = "aes,avx2,vaes")]
fn decrypt(keys: &RoundKeys, iv: &Block, blocks: &mut [Block]) {
    let (rounds, keys) = (keys.rounds, &doubled(keys));
    let iv = load(iv);
    // The ciphertext before the next block stands in the upper half.
    let mut before = _mm256_set_m128i(iv, iv);
    let (groups, rest) = blocks.as_chunks_mut::<16>();
    for group in groups {
        before = decrypt_pairs::<8>(keys, rounds, before, group.as_chunks_mut().0);
    }
    let (groups, rest) = rest.as_chunks_mut::<4>();
    for group in groups {
        before = decrypt_pairs::<2>(keys, rounds, before, group.as_chunks_mut().0);
    }
    for block in rest {
        let mut pair = [*block; 2];
        let after = _mm256_set_m128i(load(block), load(block));
        decrypt_pairs::<1>(keys, rounds, before, std::slice::from_mut(&mut pair));
        *block = pair[0];
        before = after;
    }
}

/// Decrypts `PAIRS` pairs behind the ciphertext block in the upper half of `before`, and gives what the next ones need.
#[inline]
#[target_feature(enable = "aes,avx2,vaes")]
fn decrypt_pairs<const PAIRS: usize>(
    keys: &[Pair; MAX_ROUND_KEYS],
    rounds: usize,
    mut before: Pair,
    pairs: &mut [[Block; 2]],
) -> Pair {
    let mut state = [_mm256_setzero_si256(); PAIRS];
    for (state, pair) in state.iter_mut().zip(pairs.iter()) {
        *state = _mm256_xor_si256(load_pair(pair), keys[0]);
    }
    for key in &keys[1..rounds] {
        for state in &mut state {
            *state = _mm256_aesdec_epi128(*state, *key);
        }
    }
    for (state, pair) in state.into_iter().zip(pairs) {
        let ciphertext = load_pair(pair);
        let chain = _mm256_permute2x128_si256::<0x21>(before, ciphertext);
        let plain = _mm256_xor_si256(_mm256_aesdeclast_epi128(state, keys[rounds]), chain);
        let [low, high] = pair;
        store(low, _mm256_castsi256_si128(plain));
        store(high, _mm256_extracti128_si256::<1>(plain));
        before = ciphertext;
    }
    before
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_pair(pair: &[Block; 2]) -> Pair {
    _mm256_set_m128i(load(&pair[1]), load(&pair[0]))
}

#[inline]
#[target_feature(enable = "sse2")]
fn load(block: &Block) -> __m128i {
    // SAFETY: the reference covers the 16 octets that are read; the instruction needs no alignment.
    unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn store(block: &mut Block, value: __m128i) {
    // SAFETY: the reference covers the 16 octets that are written; the instruction needs no alignment.
    unsafe { _mm_storeu_si128(block.as_mut_ptr().cast(), value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;

    #[test]
    fn expands_the_keys_of_fips_197_appendix_a() {
        let cases = [
            (
                "2b7e151628aed2a6abf7158809cf4f3c",
                10,
                "d014f9a8c9ee2589e13f0cc8b6630ca6",
            ),
            (
                "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
                12,
                "e98ba06f448c773c8ecc720401002202",
            ),
            (
                "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
                14,
                "fe4890d1e6188d0b046df344706c631e",
            ),
        ];
        for (key, rounds, last) in cases {
            let Some(keys) = RoundKeys::new(&hex(key)) else {
                println!("no VAES here");
                return;
            };
            assert_eq!(keys.rounds, rounds);
            assert_eq!(keys.keys[rounds][..], hex(last));
        }
    }

    #[test]
    fn other_key_lengths_are_refused() {
        assert!(
            [0, 15, 17, 33]
                .into_iter()
                .all(|len| RoundKeys::new(&vec![0; len]).is_none())
        );
    }
}
