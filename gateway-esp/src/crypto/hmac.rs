//! HMAC (RFC 2104) over the compression functions of the RustCrypto hashes, truncated as RFC 2403, RFC 2404 and RFC 4868 say.
//!
//! The crates' own HMAC copies its keyed state and buffers its input; over whole packets in memory neither is needed, and keeping the
//! states apart from the messages is what lets several packets be hashed side by side.

mod hash;
#[cfg(target_arch = "x86_64")]
mod lanes;

use arrayvec::ArrayVec;
use zeroize::Zeroize;

use self::hash::{Hash, Md5, Sha1, Sha256, Sha384, Sha512};
use super::BATCH;
use crate::Integrity;

/// Octets of the longest ICV.
const TAG_LEN: usize = 32;
/// The first octets of an HMAC; an ICV is the first of these. MD5 and SHA-1 fill only as many as they have.
pub(super) type Tag = [u8; TAG_LEN];

/// Part of a message, in blocks of `B` octets.
pub(super) type Blocks<'m, const B: usize> = &'m [[u8; B]];

/// What is authenticated: the octets of a packet, and behind them what both ends know without sending it.
#[derive(Clone, Copy)]
pub(super) struct Message<'m> {
    pub(super) octets: &'m [u8],
    /// At most four octets: the higher half of an extended sequence number (RFC 4303 section 2.2.1), or nothing.
    pub(super) suffix: &'m [u8],
}

/// A keyed HMAC.
pub(super) enum Mac {
    Md5(Keyed<Md5, 64>),
    Sha1(Keyed<Sha1, 64>),
    Sha256(Keyed<Sha256, 64>),
    Sha384(Keyed<Sha384, 128>),
    Sha512(Keyed<Sha512, 128>),
}

impl Mac {
    pub(super) fn new(algorithm: Integrity, key: &[u8]) -> Self {
        match algorithm {
            Integrity::HmacMd5_96 => Self::Md5(Keyed::new(key)),
            Integrity::HmacSha1_96 => Self::Sha1(Keyed::new(key)),
            Integrity::HmacSha2_256_128 => Self::Sha256(Keyed::new(key)),
            Integrity::HmacSha2_384_192 => Self::Sha384(Keyed::new(key)),
            Integrity::HmacSha2_512_256 => Self::Sha512(Keyed::new(key)),
        }
    }

    pub(super) fn tag(&self, message: Message<'_>) -> Tag {
        match self {
            Self::Md5(keyed) => keyed.tag(message),
            Self::Sha1(keyed) => keyed.tag(message),
            Self::Sha256(keyed) => keyed.tag(message),
            Self::Sha384(keyed) => keyed.tag(message),
            Self::Sha512(keyed) => keyed.tag(message),
        }
    }

    /// The tags of up to [`BATCH`] messages, in order.
    pub(super) fn tags(&self, messages: &[Message<'_>]) -> ArrayVec<Tag, BATCH> {
        match self {
            Self::Md5(keyed) => keyed.tags(messages),
            Self::Sha1(keyed) => keyed.tags(messages),
            Self::Sha256(keyed) => keyed.tags(messages),
            Self::Sha384(keyed) => keyed.tags(messages),
            Self::Sha512(keyed) => keyed.tags(messages),
        }
    }
}

/// The states of the inner and the outer hash after the key.
pub(super) struct Keyed<H: Hash<B>, const B: usize> {
    inner: H::State,
    outer: H::State,
}

impl<H: Hash<B>, const B: usize> Keyed<H, B> {
    /// `key` is at most a block, as all ESP keys are.
    fn new(key: &[u8]) -> Self {
        let after = |pad: u8| {
            let mut block = [pad; B];
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

    fn tag(&self, message: Message<'_>) -> Tag {
        let (blocks, rest) = message.octets.as_chunks();
        let mut state = self.inner;
        H::compress(&mut state, blocks);
        let mut tail = Tail::EMPTY;
        tail.fill::<H>(rest, message);
        H::compress(&mut state, tail.blocks());
        finish::<H, B>(&mut state, &self.outer);
        truncated::<H, B>(&state)
    }

    /// Step by step for all messages together: their whole blocks, their tails, the outer hashes.
    fn tags(&self, messages: &[Message<'_>]) -> ArrayVec<Tag, BATCH> {
        let mut states = [self.inner; BATCH];
        let mut inputs = [Blocks::default(); BATCH];
        let mut tails = [Tail::EMPTY; BATCH];
        for ((message, input), tail) in messages.iter().zip(&mut inputs).zip(&mut tails) {
            let rest;
            (*input, rest) = message.octets.as_chunks();
            tail.fill::<H>(rest, *message);
        }
        let states = &mut states[..messages.len()];
        H::compress_each(states, &mut inputs[..messages.len()]);
        for (input, tail) in inputs.iter_mut().zip(&tails) {
            *input = tail.blocks();
        }
        H::compress_each(states, &mut inputs[..messages.len()]);
        H::finish_each(states, &self.outer);
        states.iter().map(truncated::<H, B>).collect()
    }
}

impl<H: Hash<B>, const B: usize> Drop for Keyed<H, B> {
    fn drop(&mut self) {
        self.inner.zeroize();
        self.outer.zeroize();
    }
}

/// The last one or two blocks of the inner hash: what is left of the message, a one bit, zeros, the length.
struct Tail<const B: usize> {
    blocks: [[u8; B]; 2],
    used: usize,
}

impl<const B: usize> Tail<B> {
    const EMPTY: Self = Self {
        blocks: [[0; B]; 2],
        used: 0,
    };
    /// Octets that the length takes at the end of the last block: 64 bits in MD5 to SHA-256, 128 in SHA-384 and SHA-512.
    const LENGTH: usize = B / 8;

    /// Fills an empty tail. `rest` is what the whole blocks of `message` leave, less than a block.
    fn fill<H: Hash<B>>(&mut self, rest: &[u8], message: Message<'_>) {
        let used = rest.len() + message.suffix.len();
        self.used = if used + 1 + Self::LENGTH <= B { 1 } else { 2 };
        let octets = self.blocks.as_flattened_mut();
        octets[..rest.len()].copy_from_slice(rest);
        octets[rest.len()..used].copy_from_slice(message.suffix);
        octets[used] = 0x80;
        // The key's block counts.
        let bits = (B + message.octets.len() + message.suffix.len()) as u64 * 8;
        octets[self.used * B - 8..self.used * B].copy_from_slice(&H::length_octets(bits));
    }

    fn blocks(&self) -> Blocks<'_, B> {
        &self.blocks[..self.used]
    }
}

/// The outer hash: one block with the inner hash, a one bit, zeros, the length.
fn finish<H: Hash<B>, const B: usize>(state: &mut H::State, outer: &H::State) {
    let mut block = [0; B];
    H::write(state, &mut block[..H::LEN]);
    block[H::LEN] = 0x80;
    block[B - 8..].copy_from_slice(&H::length_octets((B + H::LEN) as u64 * 8));
    *state = *outer;
    H::compress(state, &[block]);
}

fn truncated<H: Hash<B>, const B: usize>(state: &H::State) -> Tag {
    let mut tag = [0; TAG_LEN];
    H::write(state, &mut tag);
    tag
}

#[cfg(test)]
mod tests {
    use ::hmac::{EagerHash, Hmac, KeyInit, Mac as _};
    use proptest::prelude::*;

    use super::*;
    use crate::testing::hex;

    const ALL: [Integrity; 5] = [
        Integrity::HmacMd5_96,
        Integrity::HmacSha1_96,
        Integrity::HmacSha2_256_128,
        Integrity::HmacSha2_384_192,
        Integrity::HmacSha2_512_256,
    ];

    const fn whole(octets: &[u8]) -> Message<'_> {
        Message { octets, suffix: &[] }
    }

    /// The `hmac` crate.
    fn reference(algorithm: Integrity, key: &[u8], message: &[u8]) -> Tag {
        fn of<D: EagerHash>(key: &[u8], message: &[u8]) -> Tag {
            let mac = Hmac::<D>::new_from_slice(key).unwrap().chain_update(message);
            let full = mac.finalize().into_bytes();
            let mut tag = [0; TAG_LEN];
            let len = full.len().min(TAG_LEN);
            tag[..len].copy_from_slice(&full[..len]);
            tag
        }
        match algorithm {
            Integrity::HmacMd5_96 => of::<md5::Md5>(key, message),
            Integrity::HmacSha1_96 => of::<sha1::Sha1>(key, message),
            Integrity::HmacSha2_256_128 => of::<sha2::Sha256>(key, message),
            Integrity::HmacSha2_384_192 => of::<sha2::Sha384>(key, message),
            Integrity::HmacSha2_512_256 => of::<sha2::Sha512>(key, message),
        }
    }

    #[test]
    fn matches_rfc_2202_rfc_4231_and_rfc_4868() {
        let hi_there = b"Hi There".as_slice();
        let question = b"what do ya want for nothing?".as_slice();
        let fifty = [0xdd; 50].as_slice();
        use Integrity::{HmacMd5_96, HmacSha1_96, HmacSha2_256_128, HmacSha2_384_192, HmacSha2_512_256};
        let cases: [(Integrity, &[u8], &[u8], &str); 11] = [
            (
                HmacMd5_96,
                &[0x0b; 16],
                hi_there,
                "9294727a3638bb1c13f48ef8158bfc9d",
            ),
            (HmacMd5_96, b"Jefe", question, "750c783e6ab0b503eaa86e310a5db738"),
            (HmacMd5_96, &[0xaa; 16], fifty, "56be34521d144c88dbb8c733f0e8b3f6"),
            (
                HmacSha1_96,
                &[0x0b; 20],
                hi_there,
                "b617318655057264e28bc0b6fb378c8e",
            ),
            (HmacSha1_96, b"Jefe", question, "effcdf6ae5eb2fa2d27416d5f184df9c"),
            (
                HmacSha2_256_128,
                &[0x0b; 20],
                hi_there,
                "b0344c61d8db38535ca8afceaf0bf12b",
            ),
            (
                HmacSha2_256_128,
                b"Jefe",
                question,
                "5bdcc146bf60754e6a042426089575c7",
            ),
            (
                HmacSha2_384_192,
                &[0x0b; 48],
                hi_there,
                "b6a8d5636f5c6a7224f9977dcf7ee6c7fb6d0c48cbdee973",
            ),
            (
                HmacSha2_384_192,
                b"Jefe",
                question,
                "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47",
            ),
            (
                HmacSha2_512_256,
                &[0x0b; 64],
                hi_there,
                "637edc6e01dce7e6742a99451aae82df23da3e92439e590e43e761b33e910fb8",
            ),
            (
                HmacSha2_512_256,
                b"Jefe",
                question,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554",
            ),
        ];
        for (algorithm, key, message, expected) in cases {
            let expected = hex(expected);
            let tag = Mac::new(algorithm, key).tag(whole(message));
            assert_eq!(tag[..expected.len()], expected, "{algorithm:?}");
        }
    }

    #[test]
    fn agrees_with_the_hmac_crate_at_every_length_with_and_without_a_suffix() {
        let message: Vec<u8> = (0..300u32).map(|i| i.to_le_bytes()[0]).collect();
        for algorithm in ALL {
            let mac = Mac::new(algorithm, &[0x42; 20]);
            for len in 0..=message.len() - 4 {
                for suffix in [0, 4] {
                    let (octets, rest) = message.split_at(len);
                    let tag = mac.tag(Message {
                        octets,
                        suffix: &rest[..suffix],
                    });
                    let expected = reference(algorithm, &[0x42; 20], &message[..len + suffix]);
                    assert_eq!(tag, expected, "{algorithm:?}, {len} octets and {suffix}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_batch_of_any_lengths_equals_one_after_the_other(
            which in 0usize..ALL.len(),
            key: [u8; 32],
            lengths in prop::collection::vec(prop_oneof![0usize..300, Just(128), Just(120)], 0..=BATCH),
            suffix in prop_oneof![Just(vec![]), prop::collection::vec(any::<u8>(), 4)],
        ) {
            let mac = Mac::new(ALL[which], &key);
            let packets: Vec<Vec<u8>> =
                lengths.iter().enumerate().map(|(i, len)| vec![u8::try_from(i).unwrap(); *len]).collect();
            let messages: Vec<_> = packets.iter().map(|octets| Message { octets, suffix: &suffix }).collect();
            let tags = mac.tags(&messages);
            prop_assert_eq!(tags.len(), messages.len());
            for (message, tag) in messages.iter().zip(&tags) {
                prop_assert_eq!(mac.tag(*message), *tag);
            }
        }
    }
}
