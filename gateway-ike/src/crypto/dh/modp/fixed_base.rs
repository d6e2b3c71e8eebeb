//! Powers of the generator, from a table of its powers.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::EXPONENT_LEN;
use super::power::{Modulus, Product};

/// Values of a digit: half an octet of the exponent.
const DIGITS: usize = 16;

/// What `base^exponent` is multiplied from: `base^(digit * 16^position)` for every position of a digit in the exponent (Brickell, Gordon,
/// McCurley and Wilson, "Fast exponentiation with precomputation", 1992). It saves the squarings, which are four fifths of the work, and
/// takes 1 KiB for each octet of the modulus: 256 KiB at 2048 bits.
pub(super) struct FixedBase {
    /// In Montgomery form, by position from the last digit, then by digit.
    powers: Vec<u8>,
}

impl FixedBase {
    /// Powers of `base`, which is below the modulus.
    pub(super) fn new(modulus: &Modulus, base: &[u8]) -> Self {
        let one = Product::new(modulus, &[1]).as_factor();
        let mut base = Product::new(modulus, base).as_factor();
        let mut powers = Vec::with_capacity(2 * EXPONENT_LEN * DIGITS * modulus.len());
        for _ in 0..2 * EXPONENT_LEN {
            let mut power = Product::new(modulus, &[1]);
            powers.extend_from_slice(&one);
            for _ in 1..DIGITS {
                power.times(&base);
                powers.extend_from_slice(&power.as_factor());
            }
            power.times(&base);
            base = power.as_factor();
        }
        Self { powers }
    }

    /// `base^exponent`, padded to the length of the modulus. The exponent has [`EXPONENT_LEN`] octets; neither the time nor the addresses
    /// read depend on them: every digit takes all its powers in hand.
    pub(super) fn power(&self, modulus: &Modulus, exponent: &[u8]) -> Zeroizing<Vec<u8>> {
        debug_assert_eq!(
            exponent.len(),
            EXPONENT_LEN,
            "digits of others have no powers here"
        );
        let mut product = Product::new(modulus, &[1]);
        let mut factor = Zeroizing::new(vec![0; modulus.len()]);
        let digits = exponent.iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
        for (digit, powers) in digits.zip(self.powers.chunks_exact(DIGITS * modulus.len())) {
            select(digit, powers, &mut factor);
            product.times(&factor);
        }
        product.finish()
    }
}

/// Copies the power that belongs to the digit, by looking at all.
fn select(digit: u8, powers: &[u8], chosen: &mut [u8]) {
    chosen.fill(0);
    for (value, power) in (0_u8..).zip(powers.chunks_exact(chosen.len())) {
        let mask = value.ct_eq(&digit).unwrap_u8().wrapping_neg();
        for (chosen, octet) in chosen.iter_mut().zip(power) {
            *chosen |= octet & mask;
        }
    }
}
