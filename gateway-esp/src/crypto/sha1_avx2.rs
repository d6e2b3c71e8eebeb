//! SHA-1 of eight messages side by side, one in each 32-bit lane of the AVX2 registers.
//!
//! The SHA extensions hash one message and mostly wait for the round before; eight lanes never wait. The code is the textbook's
//! (RFC 3174 section 6.1) with vectors in place of words.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_loadu_si256, _mm256_or_si256,
    _mm256_permute2x128_si256, _mm256_set1_epi32, _mm256_setr_epi8, _mm256_setr_epi32, _mm256_shuffle_epi8,
    _mm256_slli_epi32, _mm256_srli_epi32, _mm256_storeu_si256, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64,
    _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_si256,
};

const LANES: usize = Sha1x8::LANES;

type State = [u32; 5];
type Block = [u8; 64];

/// Proof that the processor has AVX2.
#[derive(Clone, Copy)]
pub(super) struct Sha1x8(());

impl Sha1x8 {
    /// Messages at once.
    pub(super) const LANES: usize = 8;

    /// Asks the processor; the answer is cached by the standard library.
    pub(super) fn detect() -> Option<Self> {
        std::arch::is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    /// Lets each state absorb its blocks; every message has at least `count` of them and only these are used.
    pub(super) fn compress(self, states: &mut [State; LANES], messages: &[&[Block]; LANES], count: usize) {
        let mut messages = *messages;
        for blocks in &mut messages {
            *blocks = &blocks[..count];
        }
        // SAFETY: a value of this type exists only where `detect` found AVX2.
        unsafe { compress(states, &messages, count) }
    }

    /// Makes an HMAC of each inner hash: `outer` absorbs the block that holds it.
    pub(super) fn finish(self, states: &mut [State; LANES], outer: &State) {
        // SAFETY: a value of this type exists only where `detect` found AVX2.
        unsafe { finish(states, outer) }
    }
}

/// One word of each message.
type Words = __m256i;

#[target_feature(enable = "avx2")]
fn compress(states: &mut [State; LANES], messages: &[&[Block]; LANES], count: usize) {
    let mut state = gather(states);
    for at in 0..count {
        state = round_80(state, schedule_start(messages, at));
    }
    scatter(state, states);
}

#[target_feature(enable = "avx2")]
fn finish(states: &mut [State; LANES], outer: &State) {
    // The words of the inner hash are the message; its rest is the same in every lane.
    let mut block = [_mm256_set1_epi32(0); 16];
    block[..5].copy_from_slice(&gather(states));
    block[5] = _mm256_set1_epi32(i32::MIN);
    block[15] = _mm256_set1_epi32((64 + 20) * 8);
    let mut state = [_mm256_set1_epi32(0); 5];
    for (words, word) in state.iter_mut().zip(outer) {
        *words = _mm256_set1_epi32(word.cast_signed());
    }
    scatter(round_80(state, block), states);
}

/// The states by word.
#[inline]
#[target_feature(enable = "avx2")]
fn gather(states: &[State; LANES]) -> [Words; 5] {
    let [s0, s1, s2, s3, s4, s5, s6, s7] = states;
    let mut words = [_mm256_set1_epi32(0); 5];
    for (i, words) in words.iter_mut().enumerate() {
        let (low, high) = ([s0[i], s1[i], s2[i], s3[i]], [s4[i], s5[i], s6[i], s7[i]]);
        let ([a, b, c, d], [e, f, g, h]) = (low, high);
        *words = _mm256_setr_epi32(
            a.cast_signed(),
            b.cast_signed(),
            c.cast_signed(),
            d.cast_signed(),
            e.cast_signed(),
            f.cast_signed(),
            g.cast_signed(),
            h.cast_signed(),
        );
    }
    words
}

/// The way back.
#[inline]
#[target_feature(enable = "avx2")]
fn scatter(words: [Words; 5], states: &mut [State; LANES]) {
    for (i, words) in words.into_iter().enumerate() {
        let mut lanes = [0; LANES];
        // SAFETY: the array has the 32 octets that are written; the instruction needs no alignment.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), words) };
        for (state, word) in states.iter_mut().zip(lanes) {
            state[i] = word;
        }
    }
}

/// The compression of one block in each lane.
#[inline]
#[target_feature(enable = "avx2")]
fn round_80(state: [Words; 5], mut w: [Words; 16]) -> [Words; 5] {
    let [mut a, mut b, mut c, mut d, mut e] = state;
    macro_rules! round {
        ($t:expr, $f:expr, $k:expr) => {{
            if $t >= 16 {
                let mixed = xor(
                    xor(w[($t + 13) % 16], w[($t + 8) % 16]),
                    xor(w[($t + 2) % 16], w[$t % 16]),
                );
                w[$t % 16] = rotate::<1, 31>(mixed);
            }
            let input = add(add(e, $k), w[$t % 16]);
            let next = add(add(input, $f(b, c, d)), rotate::<5, 27>(a));
            (e, d, c, b, a) = (d, c, rotate::<30, 2>(b), a, next);
        }};
    }
    macro_rules! rounds_20 {
        ($first:expr, $f:expr, $k:expr) => {{
            let k = _mm256_set1_epi32($k.cast_signed());
            round!($first, $f, k);
            round!($first + 1, $f, k);
            round!($first + 2, $f, k);
            round!($first + 3, $f, k);
            round!($first + 4, $f, k);
            round!($first + 5, $f, k);
            round!($first + 6, $f, k);
            round!($first + 7, $f, k);
            round!($first + 8, $f, k);
            round!($first + 9, $f, k);
            round!($first + 10, $f, k);
            round!($first + 11, $f, k);
            round!($first + 12, $f, k);
            round!($first + 13, $f, k);
            round!($first + 14, $f, k);
            round!($first + 15, $f, k);
            round!($first + 16, $f, k);
            round!($first + 17, $f, k);
            round!($first + 18, $f, k);
            round!($first + 19, $f, k);
        }};
    }
    rounds_20!(0, choose, 0x5a82_7999u32);
    rounds_20!(20, parity, 0x6ed9_eba1u32);
    rounds_20!(40, majority, 0x8f1b_bcdcu32);
    rounds_20!(60, parity, 0xca62_c1d6u32);
    let [old_a, old_b, old_c, old_d, old_e] = state;
    [
        add(a, old_a),
        add(b, old_b),
        add(c, old_c),
        add(d, old_d),
        add(e, old_e),
    ]
}

/// The first 16 words of each message's schedule, big-endian: a byte swap and two transpositions of 8 by 8 words.
///
/// Plain loops: a closure over vectors that is not inlined passes them through memory.
#[inline]
#[target_feature(enable = "avx2")]
fn schedule_start(messages: &[&[Block]; LANES], at: usize) -> [Words; 16] {
    let swap = _mm256_setr_epi8(
        3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14,
        13, 12,
    );
    let mut words = [swap; 16];
    for (half, words) in words.chunks_exact_mut(LANES).enumerate() {
        let mut rows = [swap; LANES];
        for (row, blocks) in rows.iter_mut().zip(messages) {
            *row = _mm256_shuffle_epi8(load(&blocks[at].as_chunks().0[half]), swap);
        }
        words.copy_from_slice(&transpose(rows));
    }
    words
}

/// Exchanges rows and columns: word `i` of row `j` becomes word `j` of row `i`.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(r: [Words; LANES]) -> [Words; LANES] {
    let (t0, t1) = (
        _mm256_unpacklo_epi32(r[0], r[1]),
        _mm256_unpackhi_epi32(r[0], r[1]),
    );
    let (t2, t3) = (
        _mm256_unpacklo_epi32(r[2], r[3]),
        _mm256_unpackhi_epi32(r[2], r[3]),
    );
    let (t4, t5) = (
        _mm256_unpacklo_epi32(r[4], r[5]),
        _mm256_unpackhi_epi32(r[4], r[5]),
    );
    let (t6, t7) = (
        _mm256_unpacklo_epi32(r[6], r[7]),
        _mm256_unpackhi_epi32(r[6], r[7]),
    );
    let lower = [
        _mm256_unpacklo_epi64(t0, t2),
        _mm256_unpackhi_epi64(t0, t2),
        _mm256_unpacklo_epi64(t1, t3),
        _mm256_unpackhi_epi64(t1, t3),
    ];
    let upper = [
        _mm256_unpacklo_epi64(t4, t6),
        _mm256_unpackhi_epi64(t4, t6),
        _mm256_unpacklo_epi64(t5, t7),
        _mm256_unpackhi_epi64(t5, t7),
    ];
    let mut columns = [t0; LANES];
    for i in 0..4 {
        columns[i] = _mm256_permute2x128_si256::<0x20>(lower[i], upper[i]);
        columns[i + 4] = _mm256_permute2x128_si256::<0x31>(lower[i], upper[i]);
    }
    columns
}

#[inline]
#[target_feature(enable = "avx2")]
fn choose(b: Words, c: Words, d: Words) -> Words {
    xor(d, _mm256_and_si256(b, xor(c, d)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn parity(b: Words, c: Words, d: Words) -> Words {
    xor(xor(b, c), d)
}

#[inline]
#[target_feature(enable = "avx2")]
fn majority(b: Words, c: Words, d: Words) -> Words {
    _mm256_or_si256(_mm256_and_si256(b, c), _mm256_and_si256(d, _mm256_or_si256(b, c)))
}

/// Rotates every word left by `LEFT`; `RIGHT` is 32 less that.
#[inline]
#[target_feature(enable = "avx2")]
fn rotate<const LEFT: i32, const RIGHT: i32>(words: Words) -> Words {
    const { assert!(LEFT + RIGHT == 32) };
    _mm256_or_si256(
        _mm256_slli_epi32::<LEFT>(words),
        _mm256_srli_epi32::<RIGHT>(words),
    )
}

#[inline]
#[target_feature(enable = "avx2")]
fn add(a: Words, b: Words) -> Words {
    _mm256_add_epi32(a, b)
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor(a: Words, b: Words) -> Words {
    _mm256_xor_si256(a, b)
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(octets: &[u8; 32]) -> Words {
    // SAFETY: the reference covers the 32 octets that are read; the instruction needs no alignment.
    unsafe { _mm256_loadu_si256(octets.as_ptr().cast()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_the_sha1_crate_in_every_lane(
            states: [State; LANES],
            messages in prop::array::uniform8(prop::collection::vec(prop::array::uniform::<_, 64>(any::<u8>()), 0..4)),
        ) {
            let Some(kernel) = Sha1x8::detect() else {
                println!("no AVX2 here");
                return Ok(());
            };
            let count = messages.iter().map(Vec::len).min().unwrap();
            let mut expected = states;
            for (state, blocks) in expected.iter_mut().zip(&messages) {
                sha1::block_api::compress(state, &blocks[..count]);
            }
            let mut actual = states;
            kernel.compress(&mut actual, &messages.each_ref().map(Vec::as_slice), count);
            prop_assert_eq!(actual, expected);
        }
    }
}
