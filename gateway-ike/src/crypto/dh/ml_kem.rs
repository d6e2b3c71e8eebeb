//! ML-KEM-768 (FIPS 203) as a key exchange of IKEv2 (draft-ietf-ipsecme-ikev2-mlkem): the initiator sends its encapsulation key,
//! the responder the ciphertext, both hold the shared key.

use ml_kem::kem::{Decapsulate, KeyExport};
use ml_kem::ml_kem_768::{Ciphertext, DecapsulationKey, EncapsulationKey};
use ml_kem::{B32, Seed};
use zeroize::{Zeroize, Zeroizing};

use super::DhError;

/// Octets of the seed `d || z` from which an initiator's keys are made.
pub(super) const SEED_LEN: usize = 64;
/// Octets of an encapsulation key.
pub(super) const ENCAPSULATION_KEY_LEN: usize = 1184;
/// Octets of a ciphertext.
pub(super) const CIPHERTEXT_LEN: usize = 1088;
/// Octets of the shared key.
pub(super) const SHARED_LEN: usize = 32;

/// The encapsulation key of a seed.
pub(super) fn public(seed: &[u8]) -> Result<Vec<u8>, DhError> {
    Ok(keys(seed)?.encapsulation_key().to_bytes().to_vec())
}

/// A ciphertext for the encapsulation key `peer`, and the shared key. The first 32 octets of the seed are the message `m`.
pub(super) fn respond(seed: &[u8], peer: &[u8]) -> Result<(Vec<u8>, Zeroizing<Vec<u8>>), DhError> {
    let mut message = seed
        .first_chunk::<32>()
        .map(|message| B32::from(*message))
        .ok_or(DhError::OutOfRange)?;
    let peer = peer
        .try_into()
        .map_err(|_length| wrong_length(ENCAPSULATION_KEY_LEN, peer))?;
    // FIPS 203 section 7.2: coefficients beyond the modulus are refused.
    let peer = EncapsulationKey::new(peer).map_err(|_invalid| DhError::OutOfRange)?;
    let (ciphertext, mut shared) = peer.encapsulate_deterministic(&message);
    let octets = Zeroizing::new(shared.to_vec());
    message.zeroize();
    shared.zeroize();
    Ok((ciphertext.to_vec(), octets))
}

/// The shared key of a ciphertext. One that was not made for our key gives a key that nobody knows (implicit rejection).
pub(super) fn agree(seed: &[u8], ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, DhError> {
    let ciphertext: &Ciphertext = ciphertext
        .try_into()
        .map_err(|_length| wrong_length(CIPHERTEXT_LEN, ciphertext))?;
    let mut shared = keys(seed)?.decapsulate(ciphertext);
    let octets = Zeroizing::new(shared.to_vec());
    shared.zeroize();
    Ok(octets)
}

fn keys(seed: &[u8]) -> Result<DecapsulationKey, DhError> {
    let mut seed: Seed = seed
        .first_chunk::<SEED_LEN>()
        .map(|seed| Seed::from(*seed))
        .ok_or(DhError::OutOfRange)?;
    let keys = DecapsulationKey::from_seed(seed);
    seed.zeroize();
    Ok(keys)
}

fn wrong_length(expected: usize, value: &[u8]) -> DhError {
    DhError::WrongLength {
        expected,
        got: value.len(),
    }
}
