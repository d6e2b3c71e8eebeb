//! Randomness as an argument: the engine never asks the operating system.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Where random octets come from. Whatever implements it must be fit for keys.
pub trait RandomSource {
    /// Fills `out`. Cannot fail: a source that may block or fail does so when it is made.
    fn fill(&mut self, out: &mut [u8]);
}

impl<R: RandomSource + ?Sized> RandomSource for &mut R {
    fn fill(&mut self, out: &mut [u8]) {
        (**self).fill(out);
    }
}

/// ChaCha20 from one seed: the driver seeds it from the operating system, tests from a constant.
///
/// The state is not erased on drop; it lives as long as the process.
pub struct SeededRandom(ChaCha20Rng);

impl SeededRandom {
    /// Starts the stream of `seed`.
    pub fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha20Rng::from_seed(seed))
    }
}

impl RandomSource for SeededRandom {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.fill_bytes(out);
    }
}

impl std::fmt::Debug for SeededRandom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SeededRandom")
    }
}
