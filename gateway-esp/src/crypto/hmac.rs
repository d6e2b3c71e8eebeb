//! HMAC (RFC 2104) over the compression functions of the RustCrypto hashes.
//!
//! The crates' own HMAC copies its keyed state and buffers its input; over whole packets in memory neither is needed, and keeping the
//! states apart from the messages is what lets several packets be hashed side by side.

#[cfg(target_arch = "x86_64")]
mod lanes;

use arrayvec::ArrayVec;
use zeroize::Zeroize;

use super::BATCH;
#[cfg(target_arch = "x86_64")]
use super::sha1_avx2::Sha1x8;
use crate::Integrity;

/// Octets of the longest ICV.
const TAG_LEN: usize = 16;
/// A truncated HMAC. ICVs of 96 bits are its first 12 octets.
pub(super) type Tag = [u8; TAG_LEN];

/// The block length of MD5, SHA-1 and SHA-256.
const BLOCK: usize = 64;
/// Part of a message.
type Blocks<'m> = &'m [[u8; BLOCK]];

/// A keyed HMAC.
pub(super) enum Mac {
    Md5(Keyed<Md5>),
    Sha1(Keyed<Sha1>),
    Sha256(Keyed<Sha256>),
}

impl Mac {
    pub(super) fn new(algorithm: Integrity, key: &[u8]) -> Self {
        match algorithm {
            Integrity::HmacMd5_96 => Self::Md5(Keyed::new(key)),
            Integrity::HmacSha1_96 => Self::Sha1(Keyed::new(key)),
            Integrity::HmacSha2_256_128 => Self::Sha256(Keyed::new(key)),
        }
    }

    pub(super) fn tag(&self, message: &[u8]) -> Tag {
        match self {
            Self::Md5(keyed) => keyed.tag(message),
            Self::Sha1(keyed) => keyed.tag(message),
            Self::Sha256(keyed) => keyed.tag(message),
        }
    }

    /// The tags of up to [`BATCH`] messages, in order.
    pub(super) fn tags(&self, messages: &[&[u8]]) -> ArrayVec<Tag, BATCH> {
        match self {
            Self::Md5(keyed) => keyed.tags(messages),
            Self::Sha1(keyed) => keyed.tags(messages),
            Self::Sha256(keyed) => keyed.tags(messages),
        }
    }
}

/// A hash of the MD4 family: words of 32 bits, blocks of 64 octets, the length in the last 8.
pub(super) trait Hash: Sized {
    type State: Copy + Zeroize + AsRef<[u32]>;
    /// The state before the first block.
    const INITIAL: Self::State;
    fn compress(state: &mut Self::State, blocks: Blocks<'_>);
    /// Lets each state absorb its own blocks; there are as many of one as of the other, and at most [`BATCH`].
    fn compress_each(states: &mut [Self::State], inputs: &mut [Blocks<'_>]) {
        states
            .iter_mut()
            .zip(inputs)
            .for_each(|(state, blocks)| Self::compress(state, blocks));
    }
    /// Makes HMACs of inner hashes.
    fn finish_each(states: &mut [Self::State], outer: &Self::State) {
        states.iter_mut().for_each(|state| finish::<Self>(state, outer));
    }
    /// The length field, and a word of the result, as octets.
    fn length_octets(bits: u64) -> [u8; 8];
    fn word_octets(word: u32) -> [u8; 4];
}

/// The states of the inner and the outer hash after the key.
pub(super) struct Keyed<H: Hash> {
    inner: H::State,
    outer: H::State,
}

impl<H: Hash> Keyed<H> {
    /// `key` is at most a block, as all ESP keys are.
    fn new(key: &[u8]) -> Self {
        let after = |pad: u8| {
            let mut block = [pad; BLOCK];
            block.iter_mut().zip(key).for_each(|(octet, key)| *octet ^= key);
            let mut state = H::INITIAL;
            H::compress(&mut state, &[block]);
            block.zeroize();
            state
        };
        Self {
            inner: after(0x36),
            outer: after(0x5c),
        }
    }

    fn tag(&self, message: &[u8]) -> Tag {
        let (blocks, rest) = message.as_chunks();
        let mut state = self.inner;
        H::compress(&mut state, blocks);
        let mut tail = Tail::EMPTY;
        tail.fill::<H>(rest, message.len());
        H::compress(&mut state, tail.blocks());
        finish::<H>(&mut state, &self.outer);
        truncated::<H>(&state)
    }

    /// Step by step for all messages together: their whole blocks, their tails, the outer hashes.
    fn tags(&self, messages: &[&[u8]]) -> ArrayVec<Tag, BATCH> {
        let mut states = [self.inner; BATCH];
        let mut inputs = [Blocks::default(); BATCH];
        let mut tails = [Tail::EMPTY; BATCH];
        for ((message, input), tail) in messages.iter().zip(&mut inputs).zip(&mut tails) {
            let rest;
            (*input, rest) = message.as_chunks();
            tail.fill::<H>(rest, message.len());
        }
        let states = &mut states[..messages.len()];
        H::compress_each(states, &mut inputs[..messages.len()]);
        for (input, tail) in inputs.iter_mut().zip(&tails) {
            *input = tail.blocks();
        }
        H::compress_each(states, &mut inputs[..messages.len()]);
        H::finish_each(states, &self.outer);
        states.iter().map(truncated::<H>).collect()
    }
}

impl<H: Hash> Drop for Keyed<H> {
    fn drop(&mut self) {
        self.inner.zeroize();
        self.outer.zeroize();
    }
}

/// The last one or two blocks of the inner hash: what is left of the message, a one bit, zeros, the length.
struct Tail {
    blocks: [[u8; BLOCK]; 2],
    used: usize,
}

impl Tail {
    const EMPTY: Self = Self {
        blocks: [[0; BLOCK]; 2],
        used: 0,
    };

    /// Fills an empty tail. `rest` is less than a block; `message_len` does not count the key's block.
    fn fill<H: Hash>(&mut self, rest: &[u8], message_len: usize) {
        self.used = if rest.len() + 1 + 8 <= BLOCK { 1 } else { 2 };
        let octets = self.blocks.as_flattened_mut();
        octets[..rest.len()].copy_from_slice(rest);
        octets[rest.len()] = 0x80;
        let bits = (BLOCK as u64 + message_len as u64) * 8;
        octets[self.used * BLOCK - 8..self.used * BLOCK].copy_from_slice(&H::length_octets(bits));
    }

    fn blocks(&self) -> Blocks<'_> {
        &self.blocks[..self.used]
    }
}

/// The outer hash: one block with the inner hash, a one bit, zeros, the length.
fn finish<H: Hash>(state: &mut H::State, outer: &H::State) {
    let words = state.as_ref();
    let mut block = [0; BLOCK];
    for (octets, word) in block.chunks_exact_mut(4).zip(words) {
        octets.copy_from_slice(&H::word_octets(*word));
    }
    let hash_len = words.len() * 4;
    block[hash_len] = 0x80;
    block[BLOCK - 8..].copy_from_slice(&H::length_octets((BLOCK as u64 + hash_len as u64) * 8));
    *state = *outer;
    H::compress(state, &[block]);
}

fn truncated<H: Hash>(state: &H::State) -> Tag {
    let mut tag = [0; TAG_LEN];
    for (octets, word) in tag.chunks_exact_mut(4).zip(state.as_ref()) {
        octets.copy_from_slice(&H::word_octets(*word));
    }
    tag
}

/// MD5, RFC 1321.
pub(super) struct Md5;
/// SHA-1, RFC 3174.
pub(super) struct Sha1;
/// SHA-256, RFC 6234.
pub(super) struct Sha256;

impl Hash for Md5 {
    type State = [u32; 4];
    const INITIAL: Self::State = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

    fn compress(state: &mut Self::State, blocks: Blocks<'_>) {
        md5::block_api::compress(state, blocks);
    }
    fn length_octets(bits: u64) -> [u8; 8] {
        bits.to_le_bytes()
    }
    fn word_octets(word: u32) -> [u8; 4] {
        word.to_le_bytes()
    }
}

impl Hash for Sha1 {
    type State = [u32; 5];
    const INITIAL: Self::State = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

    fn compress(state: &mut Self::State, blocks: Blocks<'_>) {
        sha1::block_api::compress(state, blocks);
    }

    #[cfg(target_arch = "x86_64")]
    fn compress_each(states: &mut [Self::State], inputs: &mut [Blocks<'_>]) {
        match Sha1x8::detect() {
            Some(kernel) => {
                lanes::compress_each::<Self, { Sha1x8::LANES }>(states, inputs, |states, inputs, count| {
                    kernel.compress(states, inputs, count);
                })
            }
            None => states
                .iter_mut()
                .zip(inputs)
                .for_each(|(state, blocks)| Self::compress(state, blocks)),
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn finish_each(states: &mut [Self::State], outer: &Self::State) {
        let alone = match Sha1x8::detect() {
            Some(kernel) => {
                let (groups, rest) = states.as_chunks_mut();
                groups.iter_mut().for_each(|group| kernel.finish(group, outer));
                rest
            }
            None => states,
        };
        alone.iter_mut().for_each(|state| finish::<Self>(state, outer));
    }

    fn length_octets(bits: u64) -> [u8; 8] {
        bits.to_be_bytes()
    }
    fn word_octets(word: u32) -> [u8; 4] {
        word.to_be_bytes()
    }
}

impl Hash for Sha256 {
    type State = [u32; 8];
    const INITIAL: Self::State = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];

    fn compress(state: &mut Self::State, blocks: Blocks<'_>) {
        sha2::block_api::compress256(state, blocks);
    }
    fn length_octets(bits: u64) -> [u8; 8] {
        bits.to_be_bytes()
    }
    fn word_octets(word: u32) -> [u8; 4] {
        word.to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use ::hmac::{Hmac, KeyInit, Mac as _};
    use proptest::prelude::*;

    use super::*;

    const ALL: [Integrity; 3] = [
        Integrity::HmacMd5_96,
        Integrity::HmacSha1_96,
        Integrity::HmacSha2_256_128,
    ];

    fn reference(algorithm: Integrity, key: &[u8], message: &[u8]) -> Tag {
        let full = match algorithm {
            Integrity::HmacMd5_96 => Hmac::<md5::Md5>::new_from_slice(key)
                .unwrap()
                .chain_update(message)
                .finalize()
                .into_bytes()
                .to_vec(),
            Integrity::HmacSha1_96 => Hmac::<sha1::Sha1>::new_from_slice(key)
                .unwrap()
                .chain_update(message)
                .finalize()
                .into_bytes()
                .to_vec(),
            Integrity::HmacSha2_256_128 => Hmac::<sha2::Sha256>::new_from_slice(key)
                .unwrap()
                .chain_update(message)
                .finalize()
                .into_bytes()
                .to_vec(),
        };
        full[..TAG_LEN].try_into().unwrap()
    }

    #[test]
    fn matches_rfc_2202_and_rfc_4231() {
        let hi_there = b"Hi There".as_slice();
        let question = b"what do ya want for nothing?".as_slice();
        let fifty = [0xdd; 50];
        let cases: [(Integrity, &[u8], &[u8], u128); 7] = [
            (
                Integrity::HmacMd5_96,
                &[0x0b; 16],
                hi_there,
                0x9294727a3638bb1c13f48ef8158bfc9d,
            ),
            (
                Integrity::HmacMd5_96,
                b"Jefe",
                question,
                0x750c783e6ab0b503eaa86e310a5db738,
            ),
            (
                Integrity::HmacMd5_96,
                &[0xaa; 16],
                &fifty,
                0x56be34521d144c88dbb8c733f0e8b3f6,
            ),
            (
                Integrity::HmacSha1_96,
                &[0x0b; 20],
                hi_there,
                0xb617318655057264e28bc0b6fb378c8e,
            ),
            (
                Integrity::HmacSha1_96,
                b"Jefe",
                question,
                0xeffcdf6ae5eb2fa2d27416d5f184df9c,
            ),
            (
                Integrity::HmacSha2_256_128,
                &[0x0b; 20],
                hi_there,
                0xb0344c61d8db38535ca8afceaf0bf12b,
            ),
            (
                Integrity::HmacSha2_256_128,
                b"Jefe",
                question,
                0x5bdcc146bf60754e6a042426089575c7,
            ),
        ];
        for (algorithm, key, message, expected) in cases {
            assert_eq!(
                Mac::new(algorithm, key).tag(message),
                expected.to_be_bytes(),
                "{algorithm:?}"
            );
        }
    }

    #[test]
    fn agrees_with_the_hmac_crate_at_every_length() {
        let message: Vec<u8> = (0..300u32).map(|i| i.to_le_bytes()[0]).collect();
        for algorithm in ALL {
            let mac = Mac::new(algorithm, &[0x42; 20]);
            for len in 0..=message.len() {
                let expected = reference(algorithm, &[0x42; 20], &message[..len]);
                assert_eq!(mac.tag(&message[..len]), expected, "{algorithm:?}, {len} octets");
            }
        }
    }

    proptest! {
        #[test]
        fn a_batch_of_any_lengths_equals_one_after_the_other(
            which in 0usize..3,
            key: [u8; 32],
            lengths in prop::collection::vec(prop_oneof![0usize..300, Just(128), Just(120)], 0..=BATCH),
        ) {
            let mac = Mac::new(ALL[which], &key);
            let messages: Vec<Vec<u8>> =
                lengths.iter().enumerate().map(|(i, len)| vec![u8::try_from(i).unwrap(); *len]).collect();
            let tags = mac.tags(&messages.iter().map(Vec::as_slice).collect::<Vec<_>>());
            prop_assert_eq!(tags.len(), messages.len());
            for (message, tag) in messages.iter().zip(&tags) {
                prop_assert_eq!(mac.tag(message), *tag);
            }
        }
    }
}
