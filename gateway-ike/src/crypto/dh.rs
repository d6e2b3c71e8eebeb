//! Key exchange: the MODP groups, elliptic curves and ML-KEM under the numbers of IANA's registry.

mod curve;
mod job;
mod ml_kem;
mod modp;

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use super::{RandomSource, SharedSecret, UnknownAlgorithm};
use curve::Curve;
use modp::Modp;

pub use job::{KeyExchangeDone, KeyExchangeJob, Response};

/// Groups that a peer can be configured with (IANA "Transform Type 4 - Key Exchange Method").
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
    /// Group 17, 6144 bits.
    Modp6144,
    /// Group 18, 8192 bits.
    Modp8192,
    /// Group 19, NIST P-256.
    Ecp256,
    /// Group 20, NIST P-384.
    Ecp384,
    /// Group 21, NIST P-521.
    Ecp521,
    /// Group 24, 2048 bits with a subgroup of a 256-bit prime order; its prime has no known origin (RFC 8247 section 2.4).
    Modp2048_256,
    /// Group 31, Curve25519. IKEv2 only.
    X25519,
    /// Number 36, ML-KEM-768: safe from quantum computers. IKEv2 only, and only beside another group (RFC 9370).
    MlKem768,
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
    /// The peer's public value is 0, 1, p-1, p or more, outside the subgroup (RFC 6989 sections 2.1 and 2.2), not a point of the
    /// curve, or one of small order.
    #[error("public value out of range")]
    OutOfRange,
}

/// What a group is made of.
enum Family {
    Modp(&'static Modp),
    Curve(Curve),
    MlKem,
}

impl DhGroup {
    /// Every group, by number.
    pub const ALL: [Self; 14] = [
        Self::Modp768,
        Self::Modp1024,
        Self::Modp1536,
        Self::Modp2048,
        Self::Modp3072,
        Self::Modp4096,
        Self::Modp6144,
        Self::Modp8192,
        Self::Ecp256,
        Self::Ecp384,
        Self::Ecp521,
        Self::Modp2048_256,
        Self::X25519,
        Self::MlKem768,
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
            Self::Modp6144 => 17,
            Self::Modp8192 => 18,
            Self::Ecp256 => 19,
            Self::Ecp384 => 20,
            Self::Ecp521 => 21,
            Self::Modp2048_256 => 24,
            Self::X25519 => 31,
            Self::MlKem768 => 36,
        }
    }

    /// The group of a number from the wire. `None` for every number that we do not implement.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|group| u64::from(group.number()) == number)
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
            Self::Modp6144 => 768,
            Self::Modp8192 => 1024,
            Self::Ecp256 => 64,
            Self::Ecp384 => 96,
            Self::Ecp521 => 132,
            Self::X25519 => 32,
            Self::MlKem768 => ml_kem::ENCAPSULATION_KEY_LEN,
        }
    }

    /// Octets of what a responder sends.
    pub const fn response_len(self) -> usize {
        if matches!(self, Self::MlKem768) {
            ml_kem::CIPHERTEXT_LEN
        } else {
            self.public_len()
        }
    }

    /// Octets of the shared secret.
    pub const fn shared_len(self) -> usize {
        match self {
            Self::Ecp256 | Self::Ecp384 | Self::Ecp521 => self.public_len() / 2,
            Self::MlKem768 => ml_kem::SHARED_LEN,
            Self::Modp768
            | Self::Modp1024
            | Self::Modp1536
            | Self::Modp2048
            | Self::Modp3072
            | Self::Modp4096
            | Self::Modp6144
            | Self::Modp8192
            | Self::Modp2048_256
            | Self::X25519 => self.public_len(),
        }
    }

    /// Checks of an initiator's public value that cost next to nothing: its length, and the range of the MODP groups. What passes
    /// may still be refused by the agreement.
    ///
    /// # Errors
    /// The value has the wrong length or is one that would give the secret away.
    pub fn check(self, public: &[u8]) -> Result<(), DhError> {
        self.check_value(public, self.public_len())
    }

    /// The same for what a responder sent.
    ///
    /// # Errors
    /// As for [`DhGroup::check`].
    pub fn check_response(self, public: &[u8]) -> Result<(), DhError> {
        self.check_value(public, self.response_len())
    }

    fn check_value(self, public: &[u8], expected: usize) -> Result<(), DhError> {
        if public.len() != expected {
            return Err(DhError::WrongLength {
                expected,
                got: public.len(),
            });
        }
        match self.family() {
            Family::Modp(modp) => modp.check_range(public),
            Family::Curve(_) | Family::MlKem => Ok(()),
        }
    }

    /// Whether an operator should be warned (RFC 8247 section 2.4: MUST NOT or SHOULD NOT).
    pub const fn is_weak(self) -> bool {
        matches!(
            self,
            Self::Modp768 | Self::Modp1024 | Self::Modp1536 | Self::Modp2048_256
        )
    }

    /// Whether IKEv1 can use the group: it has no additional exchanges. Group 31 is in IKEv2's registry only, and peers
    /// (strongSwan) speak it in IKEv1 all the same.
    pub const fn is_for_ikev1(self) -> bool {
        !matches!(self, Self::MlKem768)
    }

    /// Whether the group stands by itself. ML-KEM-768 comes only as an additional key exchange of RFC 9370, with the messages of
    /// IKE_INTERMEDIATE, which may be fragmented.
    pub const fn stands_alone(self) -> bool {
        !matches!(self, Self::MlKem768)
    }

    fn family(self) -> Family {
        match self {
            Self::Modp768 => Family::Modp(&modp::MODP_768),
            Self::Modp1024 => Family::Modp(&modp::MODP_1024),
            Self::Modp1536 => Family::Modp(&modp::MODP_1536),
            Self::Modp2048 => Family::Modp(&modp::MODP_2048),
            Self::Modp3072 => Family::Modp(&modp::MODP_3072),
            Self::Modp4096 => Family::Modp(&modp::MODP_4096),
            Self::Modp6144 => Family::Modp(&modp::MODP_6144),
            Self::Modp8192 => Family::Modp(&modp::MODP_8192),
            Self::Modp2048_256 => Family::Modp(&modp::MODP_2048_256),
            Self::Ecp256 => Family::Curve(Curve::P256),
            Self::Ecp384 => Family::Curve(Curve::P384),
            Self::Ecp521 => Family::Curve(Curve::P521),
            Self::X25519 => Family::Curve(Curve::X25519),
            Self::MlKem768 => Family::MlKem,
        }
    }
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

/// A private value, used for one agreement and erased.
pub struct DhPrivate {
    group: DhGroup,
    octets: Zeroizing<Vec<u8>>,
}

impl DhPrivate {
    /// Draws a private value and computes the public one, [`DhGroup::public_len`] octets in network byte order.
    pub fn generate(group: DhGroup, random: &mut impl RandomSource) -> (Self, Vec<u8>) {
        let private = Self::draw(group, random);
        let public = private.public();
        (private, public)
    }

    /// Draws a private value. No source of randomness, however broken, yields one that the group does not have.
    fn draw(group: DhGroup, random: &mut impl RandomSource) -> Self {
        let family = group.family();
        let len = match &family {
            Family::Modp(_) => modp::EXPONENT_LEN,
            Family::Curve(curve) => curve.private_len(),
            Family::MlKem => ml_kem::SEED_LEN,
        };
        let mut octets = Zeroizing::new(vec![0; len]);
        random.fill(&mut octets);
        match (family, octets.first_mut()) {
            // The public value is never 1.
            (Family::Modp(_), Some(first)) => *first |= 0x80,
            (Family::Curve(curve), _) => curve.clamp(&mut octets),
            (Family::Modp(_) | Family::MlKem, _) => {}
        }
        Self { group, octets }
    }

    /// The public value. A private value that was drawn always has one.
    fn public(&self) -> Vec<u8> {
        match self.group.family() {
            Family::Modp(modp) => modp.public(&self.octets),
            Family::Curve(curve) => curve.public(&self.octets).unwrap_or_default(),
            Family::MlKem => ml_kem::public(&self.octets).unwrap_or_default(),
        }
    }

    /// A responder's answer to the public value `peer` of an initiator.
    fn respond(self, peer: &[u8]) -> Result<Response, DhError> {
        self.group.check(peer)?;
        let (public, shared) = match self.group.family() {
            Family::Modp(modp) => {
                let shared = modp.agree(&self.octets, peer)?;
                (modp.public(&self.octets), shared)
            }
            Family::Curve(curve) => curve.respond(&self.octets, peer)?,
            Family::MlKem => ml_kem::respond(&self.octets, peer)?,
        };
        Ok(Response {
            public,
            shared: SharedSecret::copy_of(&shared),
        })
    }

    /// The group.
    pub const fn group(&self) -> DhGroup {
        self.group
    }

    /// The shared secret with the holder of the public value `peer`, [`DhGroup::shared_len`] octets.
    ///
    /// Time depends on the group alone, once the public value was found valid.
    ///
    /// # Errors
    /// The public value has the wrong length or is one that would give the secret away.
    pub fn agree(self, peer: &[u8]) -> Result<SharedSecret, DhError> {
        self.group.check_response(peer)?;
        let shared = match self.group.family() {
            Family::Modp(modp) => modp.agree(&self.octets, peer)?,
            Family::Curve(curve) => curve.agree(&self.octets, peer)?,
            Family::MlKem => ml_kem::agree(&self.octets, peer)?,
        };
        Ok(SharedSecret::copy_of(&shared))
    }
}

impl fmt::Debug for DhPrivate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DhPrivate({})", self.group)
    }
}

#[cfg(test)]
mod tests;
