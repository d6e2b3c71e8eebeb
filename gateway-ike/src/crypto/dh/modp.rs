//! The MODP groups (RFC 2409 section 6, RFC 3526, RFC 5114).

mod fixed_base;
mod power;
pub(super) mod primes;

use std::sync::LazyLock;

use zeroize::Zeroizing;

use super::DhError;
use fixed_base::FixedBase;
use power::Modulus;

/// Octets of a private exponent, in every group.
///
/// The best generic attack on 256 bits costs 2^128. That is more than the discrete logarithm costs in the groups up to 3072 bits,
/// and in the larger ones it is the strength that the rest of a proposal has; a full-size exponent would be seven times slower at
/// 2048 bits.
pub(super) const EXPONENT_LEN: usize = 32;

/// A group.
pub(super) struct Modp {
    modulus: Modulus,
    p_minus_1: Vec<u8>,
    generator: FixedBase,
    /// Order of the subgroup, where it is not (p-1)/2.
    order: Option<[u8; 32]>,
}

pub(super) static MODP_768: LazyLock<Modp> = LazyLock::new(|| Modp::safe_prime(&primes::P768));
pub(super) static MODP_1024: LazyLock<Modp> = LazyLock::new(|| Modp::safe_prime(&primes::P1024));
pub(super) static MODP_1536: LazyLock<Modp> = LazyLock::new(|| Modp::safe_prime(&primes::P1536));
pub(super) static MODP_2048: LazyLock<Modp> = LazyLock::new(|| Modp::safe_prime(&primes::P2048));
pub(super) static MODP_3072: LazyLock<Modp> = LazyLock::new(|| Modp::safe_prime(&primes::P3072));
pub(super) static MODP_4096: LazyLock<Modp> = LazyLock::new(|| Modp::safe_prime(&primes::P4096));
pub(super) static MODP_6144: LazyLock<Modp> = LazyLock::new(|| Modp::safe_prime(&primes::P6144));
pub(super) static MODP_8192: LazyLock<Modp> = LazyLock::new(|| Modp::safe_prime(&primes::P8192));
pub(super) static MODP_2048_256: LazyLock<Modp> =
    LazyLock::new(|| Modp::new(&primes::P2048_256, &primes::G2048_256, Some(primes::Q2048_256)));

impl Modp {
    fn safe_prime(prime: &[u8]) -> Self {
        Self::new(prime, &[2], None)
    }

    fn new(prime: &[u8], generator: &[u8], order: Option<[u8; 32]>) -> Self {
        let mut p_minus_1 = prime.to_vec();
        if let Some(last) = p_minus_1.last_mut() {
            // The prime is odd.
            *last ^= 1;
        }
        let modulus = Modulus::new(prime);
        Self {
            generator: FixedBase::new(&modulus, generator),
            modulus,
            p_minus_1,
            order,
        }
    }

    /// `g^private`. `private` has [`EXPONENT_LEN`] octets.
    pub(super) fn public(&self, private: &[u8]) -> Vec<u8> {
        self.generator.power(&self.modulus, private).to_vec()
    }

    /// Whether `peer`, of the length of the group, is neither 0, 1, p-1 nor beyond (RFC 6989 section 2.1).
    pub(super) fn check_range(&self, peer: &[u8]) -> Result<(), DhError> {
        let small = match peer.split_last() {
            Some((last, rest)) => *last <= 1 && rest.iter().all(|octet| *octet == 0),
            None => true,
        };
        if small || peer >= self.p_minus_1.as_slice() {
            return Err(DhError::OutOfRange);
        }
        Ok(())
    }

    /// `peer^private`. `peer` has the length of the group.
    pub(super) fn agree(&self, private: &[u8], peer: &[u8]) -> Result<Zeroizing<Vec<u8>>, DhError> {
        self.check_range(peer)?;
        if let Some(order) = &self.order {
            // RFC 6989 section 2.2: this group has elements of small order besides p-1.
            let (last, rest) = (1, &*self.modulus.power(peer, order));
            let one = rest
                .split_last()
                .is_some_and(|(end, rest)| *end == last && rest.iter().all(|octet| *octet == 0));
            if !one {
                return Err(DhError::OutOfRange);
            }
        }
        Ok(self.modulus.power(peer, private))
    }
}
