//! Diffie-Hellman over the MODP groups (RFC 2409 section 6, RFC 3526, RFC 5114).

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U256, U768, U1024, U1536, U2048, U3072, U4096, Uint};
use zeroize::{Zeroize, Zeroizing};

use super::{RandomSource, SharedSecret, UnknownAlgorithm, modp};

mod job;

pub use job::{KeyExchangeDone, KeyExchangeJob, Response};

/// Groups that a peer can be configured with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DhGroup {
    /// Group 1, 768 bits. Broken; for old peers only.
    Modp768,
    /// Group 2, 1024 bits. In reach of a state; for old peers only.
    Modp1024,
    /// Group 5, 1536 bits.
    Modp1536,
    /// Group 14, 2048 bits.
    Modp2048,
    /// Group 15, 3072 bits.
    Modp3072,
    /// Group 16, 4096 bits.
    Modp4096,
    /// Group 24, 2048 bits with a subgroup of a 256-bit prime order; its prime has no known origin (RFC 8247 section 2.4).
    Modp2048_256,
}

/// Why an agreement failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DhError {
    /// The peer's public value does not have the length of the group (RFC 2409 section 5 wants it padded).
    #[error("public value of {got} octets, the group has {expected}")]
    WrongLength {
        /// Octets of the group.
        expected: usize,
        /// Octets that came.
        got: usize,
    },
    /// The peer's public value is 0, 1, p-1, p or more, or outside the subgroup (RFC 6989 sections 2.1 and 2.2).
    #[error("public value out of range")]
    OutOfRange,
}

impl DhGroup {
    /// Every group, by number.
    pub const ALL: [Self; 7] = [
        Self::Modp768,
        Self::Modp1024,
        Self::Modp1536,
        Self::Modp2048,
        Self::Modp3072,
        Self::Modp4096,
        Self::Modp2048_256,
    ];

    /// The number in IANA's registry, the same for IKEv1 and IKEv2.
    pub const fn number(self) -> u16 {
        match self {
            Self::Modp768 => 1,
            Self::Modp1024 => 2,
            Self::Modp1536 => 5,
            Self::Modp2048 => 14,
            Self::Modp3072 => 15,
            Self::Modp4096 => 16,
            Self::Modp2048_256 => 24,
        }
    }

    /// The group of a number from the wire. `None` for every number that we do not implement.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|group| u64::from(group.number()) == number)
    }

    /// Octets of what a responder sends.
    pub const fn response_len(self) -> usize {
        self.public_len()
    }

    /// Octets of a public value, as an initiator sends it.
    pub const fn public_len(self) -> usize {
        match self {
            Self::Modp768 => 96,
            Self::Modp1024 => 128,
            Self::Modp1536 => 192,
            Self::Modp2048 | Self::Modp2048_256 => 256,
            Self::Modp3072 => 384,
            Self::Modp4096 => 512,
        }
    }

    /// Checks of an initiator's public value that cost next to nothing. What passes may still be refused by the agreement.
    ///
    /// # Errors
    /// The value has the wrong length.
    pub const fn check(self, public: &[u8]) -> Result<(), DhError> {
        check_length(public, self.public_len())
    }

    /// The same for what a responder sent.
    ///
    /// # Errors
    /// As for [`DhGroup::check`].
    pub const fn check_response(self, public: &[u8]) -> Result<(), DhError> {
        check_length(public, self.response_len())
    }

    /// Whether an operator should be warned (RFC 8247 section 2.4: MUST NOT or SHOULD NOT).
    pub const fn is_weak(self) -> bool {
        matches!(
            self,
            Self::Modp768 | Self::Modp1024 | Self::Modp1536 | Self::Modp2048_256
        )
    }
}

const fn check_length(public: &[u8], expected: usize) -> Result<(), DhError> {
    if public.len() == expected {
        return Ok(());
    }
    Err(DhError::WrongLength {
        expected,
        got: public.len(),
    })
}

impl fmt::Display for DhGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group{}", self.number())
    }
}

impl FromStr for DhGroup {
    type Err = UnknownAlgorithm;

    /// Reads "group14" and "14".
    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        let lower = name.to_ascii_lowercase();
        lower
            .strip_prefix("group")
            .unwrap_or(&lower)
            .parse()
            .ok()
            .and_then(Self::from_number)
            .ok_or_else(|| UnknownAlgorithm {
                what: "diffie-hellman group",
                name: name.to_owned(),
            })
    }
}

/// A private exponent, used for one agreement and erased.
///
/// Exponents have 256 bits in every group: the best generic attack on them costs 2^128, more than the discrete logarithm of any
/// group here, and a full-size exponent would be seven times slower at 2048 bits. The top bit is set, so that no source of
/// randomness, however broken, yields a public value of 1.
pub struct DhPrivate {
    group: DhGroup,
    exponent: Zeroizing<U256>,
}

impl DhPrivate {
    /// Draws a private value and computes the public one, [`DhGroup::public_len`] octets in network byte order.
    pub fn generate(group: DhGroup, random: &mut impl RandomSource) -> (Self, Vec<u8>) {
        let private = Self::draw(group, random);
        let public = private.public();
        (private, public)
    }

    /// Draws a private value.
    fn draw(group: DhGroup, random: &mut impl RandomSource) -> Self {
        let mut octets = Zeroizing::new([0; 32]);
        random.fill(octets.as_mut_slice());
        octets[0] |= 0x80;
        let exponent = Zeroizing::new(U256::from_be_slice(octets.as_slice()));
        Self { group, exponent }
    }

    /// The public value.
    fn public(&self) -> Vec<u8> {
        with_modp(self.group, PowerOfGenerator(&self.exponent))
    }

    /// A responder's answer to the public value `peer` of an initiator.
    fn respond(self, peer: &[u8]) -> Result<Response, DhError> {
        let public = self.public();
        let shared = self.agree(peer)?;
        Ok(Response { public, shared })
    }

    /// The group.
    pub const fn group(&self) -> DhGroup {
        self.group
    }

    /// The shared secret with the holder of the public value `peer`, padded to the length of the group.
    ///
    /// Time depends on the group alone, once the public value was found valid.
    ///
    /// # Errors
    /// The public value has the wrong length or is one that would give the secret away.
    pub fn agree(self, peer: &[u8]) -> Result<SharedSecret, DhError> {
        check_length(peer, self.group.response_len())?;
        with_modp(
            self.group,
            PowerOfPeer {
                peer,
                exponent: &self.exponent,
            },
        )
        .map(SharedSecret::new)
    }
}

impl fmt::Debug for DhPrivate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DhPrivate({})", self.group)
    }
}

/// A group with everything that does not change between agreements.
struct Modp<const LIMBS: usize> {
    params: FixedMontyParams<LIMBS>,
    generator: Uint<LIMBS>,
    /// Order of the subgroup, where it is not (p-1)/2.
    order: Option<U256>,
}

/// What is to be done with a group, whatever its size.
trait ModpTask {
    type Output;
    fn run<const LIMBS: usize>(self, modp: &Modp<LIMBS>) -> Self::Output;
}

struct PowerOfGenerator<'a>(&'a U256);

struct PowerOfPeer<'a> {
    peer: &'a [u8],
    exponent: &'a U256,
}

impl ModpTask for PowerOfGenerator<'_> {
    type Output = Vec<u8>;

    fn run<const LIMBS: usize>(self, modp: &Modp<LIMBS>) -> Vec<u8> {
        encode(modp.power(&modp.generator, self.0))
    }
}

impl ModpTask for PowerOfPeer<'_> {
    type Output = Result<Vec<u8>, DhError>;

    /// `peer` has the length of the group.
    fn run<const LIMBS: usize>(self, modp: &Modp<LIMBS>) -> Result<Vec<u8>, DhError> {
        let peer = Uint::<LIMBS>::from_be_slice(self.peer);
        let p_minus_1 = modp.params.modulus().as_ref().wrapping_sub(&Uint::ONE);
        if peer <= Uint::ONE || peer >= p_minus_1 {
            return Err(DhError::OutOfRange);
        }
        if modp
            .order
            .is_some_and(|order| modp.power(&peer, &order) != Uint::ONE)
        {
            return Err(DhError::OutOfRange);
        }
        Ok(encode(modp.power(&peer, self.exponent)))
    }
}

impl<const LIMBS: usize> Modp<LIMBS> {
    fn new(prime: &str, generator: Uint<LIMBS>, order: Option<U256>) -> Self {
        let prime = Odd::from_be_hex(prime);
        Self {
            params: FixedMontyParams::new_vartime(prime),
            generator,
            order,
        }
    }

    /// `base^exponent`, in a time that depends on neither. `base` is below the prime.
    fn power(&self, base: &Uint<LIMBS>, exponent: &U256) -> Uint<LIMBS> {
        FixedMontyForm::new(base, &self.params).pow(exponent).retrieve()
    }
}

/// Network byte order, with leading zeros; the number is erased.
fn encode<const LIMBS: usize>(mut number: Uint<LIMBS>) -> Vec<u8> {
    let octets = number
        .as_limbs()
        .iter()
        .rev()
        .flat_map(|limb| limb.0.to_be_bytes())
        .collect();
    number.zeroize();
    octets
}

static MODP_768: LazyLock<Modp<{ U768::LIMBS }>> = LazyLock::new(|| safe_prime(modp::P768));
static MODP_1024: LazyLock<Modp<{ U1024::LIMBS }>> = LazyLock::new(|| safe_prime(modp::P1024));
static MODP_1536: LazyLock<Modp<{ U1536::LIMBS }>> = LazyLock::new(|| safe_prime(modp::P1536));
static MODP_2048: LazyLock<Modp<{ U2048::LIMBS }>> = LazyLock::new(|| safe_prime(modp::P2048));
static MODP_3072: LazyLock<Modp<{ U3072::LIMBS }>> = LazyLock::new(|| safe_prime(modp::P3072));
static MODP_4096: LazyLock<Modp<{ U4096::LIMBS }>> = LazyLock::new(|| safe_prime(modp::P4096));
static MODP_2048_256: LazyLock<Modp<{ U2048::LIMBS }>> = LazyLock::new(|| {
    let generator = U2048::from_be_hex(modp::G2048_256);
    Modp::new(
        modp::P2048_256,
        generator,
        Some(U256::from_be_hex(modp::Q2048_256)),
    )
});

fn safe_prime<const LIMBS: usize>(prime: &str) -> Modp<LIMBS> {
    Modp::new(prime, Uint::from_u8(2), None)
}

fn with_modp<T: ModpTask>(group: DhGroup, task: T) -> T::Output {
    match group {
        DhGroup::Modp768 => task.run(&MODP_768),
        DhGroup::Modp1024 => task.run(&MODP_1024),
        DhGroup::Modp1536 => task.run(&MODP_1536),
        DhGroup::Modp2048 => task.run(&MODP_2048),
        DhGroup::Modp3072 => task.run(&MODP_3072),
        DhGroup::Modp4096 => task.run(&MODP_4096),
        DhGroup::Modp2048_256 => task.run(&MODP_2048_256),
    }
}

#[cfg(test)]
mod tests;
