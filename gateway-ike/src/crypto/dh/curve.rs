//! Elliptic curves: the ECP groups (RFC 5903) and X25519 (RFC 8031), by aws-lc.
//!
//! Private keys are octets of our own random source; aws-lc's is never asked. aws-lc erases what it frees.

use aws_lc_rs::agreement::{
    Algorithm, ECDH_P256, ECDH_P384, ECDH_P521, PrivateKey, UnparsedPublicKey, X25519, agree,
};
use zeroize::Zeroizing;

use super::DhError;

/// A curve.
#[derive(Clone, Copy)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
    X25519,
}

/// What precedes the coordinates of an uncompressed point (SEC 1 section 2.3.3). IKE leaves it out.
const UNCOMPRESSED: u8 = 4;

impl Curve {
    /// Octets of a private key.
    pub(super) const fn private_len(self) -> usize {
        match self {
            Self::P256 | Self::X25519 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// Makes random octets a private key.
    ///
    /// On the ECP groups the highest bit is cleared and the next one set, as X25519 does by itself: the key is below the order
    /// of the group without a second draw, never 0, and no easier to find (the interval that it is from has 2^(n-2) numbers, which
    /// takes 2^(n/2) steps like the whole group).
    pub(super) fn clamp(self, private: &mut [u8]) {
        let (clear, set) = match self {
            Self::P256 | Self::P384 => (0x80, 0x40),
            // 521 bits: the first octet has one.
            Self::P521 => (0xff, 0x00),
            Self::X25519 => return,
        };
        if let Some(first) = private.first_mut() {
            *first = *first & !clear | set;
        }
        if let (Self::P521, Some(second)) = (self, private.get_mut(1)) {
            *second |= 0x80;
        }
    }

    /// The public value: `x || y` (RFC 5903 section 7), or `u` of X25519.
    pub(super) fn public(self, private: &[u8]) -> Result<Vec<u8>, DhError> {
        self.encode(&self.key(private)?)
    }

    /// The public value of `private` and the agreement with `peer`; the key is set up once.
    pub(super) fn respond(
        self,
        private: &[u8],
        peer: &[u8],
    ) -> Result<(Vec<u8>, Zeroizing<Vec<u8>>), DhError> {
        let key = self.key(private)?;
        Ok((self.encode(&key)?, self.agree_with(&key, peer)?))
    }

    /// The shared `x` (RFC 5903 section 7), or the shared `u`.
    pub(super) fn agree(self, private: &[u8], peer: &[u8]) -> Result<Zeroizing<Vec<u8>>, DhError> {
        self.agree_with(&self.key(private)?, peer)
    }

    /// Points that are not on the curve are refused by the library, and so is a shared `u` of zero, which is what points of small
    /// order give (RFC 8031 section 2.3).
    fn agree_with(self, key: &PrivateKey, peer: &[u8]) -> Result<Zeroizing<Vec<u8>>, DhError> {
        let encoded = match self {
            Self::X25519 => peer.to_vec(),
            Self::P256 | Self::P384 | Self::P521 => [&[UNCOMPRESSED], peer].concat(),
        };
        let peer = UnparsedPublicKey::new(self.algorithm(), encoded);
        agree(key, peer, DhError::OutOfRange, |shared| {
            Ok(Zeroizing::new(shared.to_vec()))
        })
    }

    fn encode(self, key: &PrivateKey) -> Result<Vec<u8>, DhError> {
        let public = key.compute_public_key().map_err(|_failed| DhError::OutOfRange)?;
        let encoded = public.as_ref();
        Ok(match self {
            Self::X25519 => encoded.to_vec(),
            Self::P256 | Self::P384 | Self::P521 => encoded.get(1..).unwrap_or_default().to_vec(),
        })
    }

    fn key(self, private: &[u8]) -> Result<PrivateKey, DhError> {
        PrivateKey::from_private_key(self.algorithm(), private).map_err(|_rejected| DhError::OutOfRange)
    }

    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::P256 => &ECDH_P256,
            Self::P384 => &ECDH_P384,
            Self::P521 => &ECDH_P521,
            Self::X25519 => &X25519,
        }
    }
}
