//! Digests, and HMAC as the pseudo-random function.

use std::fmt;
use std::str::FromStr;

use hmac::digest::Digest;
use hmac::{Hmac, KeyInit, Mac};

use super::{Secret, UnknownAlgorithm};

/// Hash algorithms that a peer can be configured with. In IKEv1 the hash decides the PRF too: its HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    /// MD5 (RFC 1321), for old peers only.
    Md5,
    /// SHA-1 (FIPS 180-4).
    Sha1,
    /// SHA2-256 (FIPS 180-4, RFC 4868).
    Sha2_256,
    /// SHA2-384.
    Sha2_384,
    /// SHA2-512.
    Sha2_512,
}

impl Hash {
    /// Every hash, weakest first.
    pub const ALL: [Self; 5] = [
        Self::Md5,
        Self::Sha1,
        Self::Sha2_256,
        Self::Sha2_384,
        Self::Sha2_512,
    ];

    /// Octets of a digest, which is also the length of keys of the PRF and of its output.
    pub const fn output_len(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha2_256 => 32,
            Self::Sha2_384 => 48,
            Self::Sha2_512 => 64,
        }
    }

    /// Octets of an input block; HMAC keys longer than it are hashed first (RFC 2104).
    pub const fn block_len(self) -> usize {
        match self {
            Self::Md5 | Self::Sha1 | Self::Sha2_256 => 64,
            Self::Sha2_384 | Self::Sha2_512 => 128,
        }
    }

    /// Whether an operator should be warned: collisions are known (RFC 8247 section 2.3).
    pub const fn is_weak(self) -> bool {
        matches!(self, Self::Md5 | Self::Sha1)
    }

    /// The digest of the concatenation of `parts`.
    pub fn digest(self, parts: &[&[u8]]) -> Vec<u8> {
        fn of<D: Digest>(parts: &[&[u8]]) -> Vec<u8> {
            let mut state = D::new();
            parts.iter().for_each(|part| state.update(part));
            state.finalize().to_vec()
        }
        match self {
            Self::Md5 => of::<md5::Md5>(parts),
            Self::Sha1 => of::<sha1::Sha1>(parts),
            Self::Sha2_256 => of::<sha2::Sha256>(parts),
            Self::Sha2_384 => of::<sha2::Sha384>(parts),
            Self::Sha2_512 => of::<sha2::Sha512>(parts),
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha2_256 => "sha2-256",
            Self::Sha2_384 => "sha2-384",
            Self::Sha2_512 => "sha2-512",
        })
    }
}

impl FromStr for Hash {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "md5" => Self::Md5,
            "sha1" => Self::Sha1,
            "sha2-256" | "sha256" => Self::Sha2_256,
            "sha2-384" | "sha384" => Self::Sha2_384,
            "sha2-512" | "sha512" => Self::Sha2_512,
            _ => {
                return Err(UnknownAlgorithm {
                    what: "hash",
                    name: name.to_owned(),
                });
            }
        })
    }
}

/// A keyed PRF: HMAC of a [`enum@Hash`] with the key already absorbed. The states are erased on drop.
pub struct Prf(State);

enum State {
    Md5(Hmac<md5::Md5>),
    Sha1(Hmac<sha1::Sha1>),
    Sha2_256(Hmac<sha2::Sha256>),
    Sha2_384(Hmac<sha2::Sha384>),
    Sha2_512(Hmac<sha2::Sha512>),
}

impl Prf {
    /// Absorbs `key`, which may have any length.
    pub fn new(hash: Hash, key: &[u8]) -> Self {
        Self(match hash {
            Hash::Md5 => State::Md5(keyed(key)),
            Hash::Sha1 => State::Sha1(keyed(key)),
            Hash::Sha2_256 => State::Sha2_256(keyed(key)),
            Hash::Sha2_384 => State::Sha2_384(keyed(key)),
            Hash::Sha2_512 => State::Sha2_512(keyed(key)),
        })
    }

    /// The hash that this is the HMAC of.
    pub const fn hash(&self) -> Hash {
        match self.0 {
            State::Md5(_) => Hash::Md5,
            State::Sha1(_) => Hash::Sha1,
            State::Sha2_256(_) => Hash::Sha2_256,
            State::Sha2_384(_) => Hash::Sha2_384,
            State::Sha2_512(_) => Hash::Sha2_512,
        }
    }

    /// `prf(key, parts)`, parts concatenated, as a key.
    pub fn derive(&self, parts: &[&[u8]]) -> Secret {
        Secret::new(self.compute(parts))
    }

    /// `prf(key, parts)`, parts concatenated, as an authenticator that is sent or compared.
    pub fn compute(&self, parts: &[&[u8]]) -> Vec<u8> {
        match &self.0 {
            State::Md5(state) => finish(state, parts),
            State::Sha1(state) => finish(state, parts),
            State::Sha2_256(state) => finish(state, parts),
            State::Sha2_384(state) => finish(state, parts),
            State::Sha2_512(state) => finish(state, parts),
        }
    }

    /// `K1 | K2 | ...` with `K1 = prf(key, first)` and `Kn = prf(key, Kn-1 | rest)`, cut to `len` octets.
    ///
    /// RFC 2409 stretches SKEYID_e so with `first` one zero octet and `rest` empty (appendix B), and KEYMAT with both the same
    /// (section 5.5).
    pub fn feedback(&self, first: &[&[u8]], rest: &[&[u8]], len: usize) -> Secret {
        let output = self.hash().output_len();
        let mut stream = Secret::with_capacity(len.next_multiple_of(output));
        let mut block = self.derive(first);
        loop {
            stream.append(block.expose());
            if stream.len() >= len {
                stream.truncate(len);
                return stream;
            }
            let mut input = Vec::with_capacity(1 + rest.len());
            input.push(block.expose());
            input.extend_from_slice(rest);
            block = self.derive(&input);
        }
    }
}

impl fmt::Debug for Prf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prf(hmac-{})", self.hash())
    }
}

fn keyed<M: KeyInit>(key: &[u8]) -> M {
    // HMAC hashes long keys and pads short ones; no length is invalid.
    M::new_from_slice(key).unwrap_or_else(|_invalid_length| unreachable!("HMAC takes keys of any length"))
}

fn finish<M: Mac + Clone>(state: &M, parts: &[&[u8]]) -> Vec<u8> {
    let mut state = state.clone();
    parts.iter().for_each(|part| state.update(part));
    state.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hash_has_the_lengths_it_says_and_reads_its_own_name() {
        for hash in Hash::ALL {
            assert_eq!(hash.digest(&[]).len(), hash.output_len());
            assert_eq!(Prf::new(hash, b"").compute(&[]).len(), hash.output_len());
            assert_eq!(hash.to_string().parse(), Ok(hash));
        }
        assert_eq!(
            "sha3".parse::<Hash>().unwrap_err().to_string(),
            "unknown hash 'sha3'"
        );
    }

    #[test]
    fn parts_count_as_one_message() {
        for hash in Hash::ALL {
            assert_eq!(hash.digest(&[b"ab", b"", b"c"]), hash.digest(&[b"abc"]));
            let prf = Prf::new(hash, b"key");
            assert_eq!(prf.compute(&[b"ab", b"c"]), prf.compute(&[b"abc"]));
        }
    }

    /// RFC 2202 sections 2 and 3, RFC 4231 section 4.3: test case 2.
    #[test]
    fn hmac_matches_the_known_answers() {
        let cases = [
            (Hash::Md5, "750c783e6ab0b503eaa86e310a5db738"),
            (Hash::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (
                Hash::Sha2_256,
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
        ];
        for (hash, expected) in cases {
            let mac = Prf::new(hash, b"Jefe").compute(&[b"what do ya want ", b"for nothing?"]);
            let text: String = mac.iter().map(|octet| format!("{octet:02x}")).collect();
            assert_eq!(text, expected);
        }
    }
}
