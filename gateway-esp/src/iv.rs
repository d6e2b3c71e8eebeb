use std::fmt;

use aes::Aes256Enc;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use zeroize::Zeroizing;

use crate::KeyError;

/// How many IVs are made at once; enough to keep the cipher's pipeline full.
const REFILL: usize = 32;

/// Source of unpredictable IVs for CBC, RFC 3602 section 3: AES-256 of a counter under a secret seed.
///
/// Each worker has its own, seeded by the caller from the operating system. Two generators with the same seed give the same IVs.
pub struct IvGenerator {
    cipher: Aes256Enc,
    counter: u128,
    ready: [aes::Block; REFILL],
    used: usize,
}

impl IvGenerator {
    /// Starts a generator; the seed must be uniformly random and used once.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        let cipher = Aes256Enc::new((&*seed).into());
        Self {
            cipher,
            counter: 0,
            ready: [Array::default(); REFILL],
            used: REFILL,
        }
    }

    /// The next IV. Ciphers with smaller blocks take its first octets.
    pub(crate) fn next_iv(&mut self) -> [u8; 16] {
        if let Some(iv) = self.ready.get(self.used) {
            self.used += 1;
            return (*iv).into();
        }
        for block in &mut self.ready {
            *block = self.counter.to_be_bytes().into();
            self.counter = self.counter.wrapping_add(1);
        }
        self.cipher.encrypt_blocks(&mut self.ready);
        self.used = 1;
        self.ready[0].into()
    }
}

impl fmt::Debug for IvGenerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IvGenerator(..)")
    }
}

/// The part of the AEAD explicit IV that is this sealer's alone: `node(1 bit) | epoch(15) | counter(48)`.
///
/// Two nodes that hold the same SA have different `node` bits, and a node that resumes an SA gets a fresh `epoch` together with the
/// keys. So the same key and nonce cannot meet twice, whatever the nodes know of each other's counters (RFC 6054 is the precedent).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NonceSpace {
    /// Which of the two nodes of a pair this is.
    pub node: bool,
    /// How often this node was given the keys of the SA; 15 bits.
    pub epoch: u16,
}

impl NonceSpace {
    /// The IV with a zero counter, in host order.
    pub(crate) fn base(self) -> Result<u64, KeyError> {
        if self.epoch >> 15 != 0 {
            return Err(KeyError::Epoch(self.epoch));
        }
        Ok(u64::from(self.node) << 63 | u64::from(self.epoch) << 48)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ivs_do_not_repeat_and_depend_on_the_seed() {
        let mut a = IvGenerator::from_seed([1; 32]);
        let mut b = IvGenerator::from_seed([2; 32]);
        let mut seen = BTreeSet::new();
        for _ in 0..5 * REFILL {
            assert!(seen.insert(a.next_iv()) && seen.insert(b.next_iv()));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_ivs() {
        let mut a = IvGenerator::from_seed([1; 32]);
        let mut b = IvGenerator::from_seed([1; 32]);
        assert!((0..3 * REFILL).all(|_| a.next_iv() == b.next_iv()));
    }

    #[test]
    fn nonce_spaces_do_not_overlap() {
        let base = |node, epoch| NonceSpace { node, epoch }.base();
        assert_eq!(base(false, 0), Ok(0));
        assert_eq!(base(false, 1), Ok(1 << 48));
        assert_eq!(base(false, 0x7fff), Ok(0x7fff << 48));
        assert_eq!(base(true, 0), Ok(1 << 63));
        assert_eq!(base(true, 0x8000), Err(KeyError::Epoch(0x8000)));
    }
}
