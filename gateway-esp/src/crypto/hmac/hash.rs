//! The hashes under HMAC, by their compression functions.

use zeroize::Zeroize;

use super::super::BATCH;
#[cfg(target_arch = "x86_64")]
use super::super::sha1_avx2::Sha1x8;
#[cfg(target_arch = "x86_64")]
use super::lanes;
use super::{Blocks, finish};

/// A hash of the MD4 family: words, blocks of `B` octets, the length at the end of the last.
pub(in crate::crypto) trait Hash<const B: usize>: Sized {
    type State: Copy + Zeroize;
    /// The state before the first block.
    const INITIAL: Self::State;
    /// Octets of the hash: all of the state, or what the definition leaves of it.
    const LEN: usize;
    fn compress(state: &mut Self::State, blocks: Blocks<'_, B>);
    /// Lets each state absorb its own blocks; there are as many of one as of the other, and at most [`BATCH`].
    fn compress_each(states: &mut [Self::State], inputs: &mut [Blocks<'_, B>]) {
        debug_assert!(states.len() <= BATCH);
        states
            .iter_mut()
            .zip(inputs)
            .for_each(|(state, blocks)| Self::compress(state, blocks));
    }
    /// Makes HMACs of inner hashes.
    fn finish_each(states: &mut [Self::State], outer: &Self::State) {
        states
            .iter_mut()
            .for_each(|state| finish::<Self, B>(state, outer));
    }
    /// The length field.
    fn length_octets(bits: u64) -> [u8; 8] {
        bits.to_be_bytes()
    }
    /// Writes the first words of the state, as many as fit and as there are.
    fn write(state: &Self::State, out: &mut [u8]);
}

/// MD5, RFC 1321.
pub(in crate::crypto) struct Md5;
/// SHA-1, RFC 3174.
pub(in crate::crypto) struct Sha1;
/// SHA-256, RFC 6234.
pub(in crate::crypto) struct Sha256;
/// SHA-384, RFC 6234.
pub(in crate::crypto) struct Sha384;
/// SHA-512, RFC 6234.
pub(in crate::crypto) struct Sha512;

fn write_words<T: Copy, const N: usize>(words: &[T], out: &mut [u8], octets: impl Fn(T) -> [u8; N]) {
    for (chunk, word) in out.as_chunks_mut().0.iter_mut().zip(words) {
        *chunk = octets(*word);
    }
}

impl Hash<64> for Md5 {
    type State = [u32; 4];
    const INITIAL: Self::State = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    const LEN: usize = 16;

    fn compress(state: &mut Self::State, blocks: Blocks<'_, 64>) {
        md5::block_api::compress(state, blocks);
    }
    fn length_octets(bits: u64) -> [u8; 8] {
        bits.to_le_bytes()
    }
    fn write(state: &Self::State, out: &mut [u8]) {
        write_words(state, out, u32::to_le_bytes);
    }
}

impl Hash<64> for Sha1 {
    type State = [u32; 5];
    const INITIAL: Self::State = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    const LEN: usize = 20;

    fn compress(state: &mut Self::State, blocks: Blocks<'_, 64>) {
        sha1::block_api::compress(state, blocks);
    }

    #[cfg(target_arch = "x86_64")]
    fn compress_each(states: &mut [Self::State], inputs: &mut [Blocks<'_, 64>]) {
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
        alone
            .iter_mut()
            .for_each(|state| finish::<Self, 64>(state, outer));
    }

    fn write(state: &Self::State, out: &mut [u8]) {
        write_words(state, out, u32::to_be_bytes);
    }
}

impl Hash<64> for Sha256 {
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
    const LEN: usize = 32;

    fn compress(state: &mut Self::State, blocks: Blocks<'_, 64>) {
        sha2::block_api::compress256(state, blocks);
    }
    fn write(state: &Self::State, out: &mut [u8]) {
        write_words(state, out, u32::to_be_bytes);
    }
}

impl Hash<128> for Sha384 {
    type State = [u64; 8];
    const INITIAL: Self::State = [
        0xcbbb_9d5d_c105_9ed8,
        0x629a_292a_367c_d507,
        0x9159_015a_3070_dd17,
        0x152f_ecd8_f70e_5939,
        0x6733_2667_ffc0_0b31,
        0x8eb4_4a87_6858_1511,
        0xdb0c_2e0d_64f9_8fa7,
        0x47b5_481d_befa_4fa4,
    ];
    const LEN: usize = 48;

    fn compress(state: &mut Self::State, blocks: Blocks<'_, 128>) {
        sha2::block_api::compress512(state, blocks);
    }
    fn write(state: &Self::State, out: &mut [u8]) {
        write_words(state, out, u64::to_be_bytes);
    }
}

impl Hash<128> for Sha512 {
    type State = [u64; 8];
    const INITIAL: Self::State = [
        0x6a09_e667_f3bc_c908,
        0xbb67_ae85_84ca_a73b,
        0x3c6e_f372_fe94_f82b,
        0xa54f_f53a_5f1d_36f1,
        0x510e_527f_ade6_82d1,
        0x9b05_688c_2b3e_6c1f,
        0x1f83_d9ab_fb41_bd6b,
        0x5be0_cd19_137e_2179,
    ];
    const LEN: usize = 64;

    fn compress(state: &mut Self::State, blocks: Blocks<'_, 128>) {
        sha2::block_api::compress512(state, blocks);
    }
    fn write(state: &Self::State, out: &mut [u8]) {
        write_words(state, out, u64::to_be_bytes);
    }
}
