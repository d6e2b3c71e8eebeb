//! Stateless cookies: who may be an attacker with a forged address must prove that it receives before it costs anything
//! (RFC 7296 section 2.6).

use std::net::IpAddr;

use crate::crypto::{Hash, Prf, RandomSource, ct_eq};
use crate::wire::IkeSpi;

/// Octets of a cookie: the number of its secret and half a SHA2-256. The RFC allows 1 to 64.
const COOKIE_LEN: usize = 1 + 16;

/// The secrets that cookies are made with: the current one and the one before, so that a cookie outlives one rotation.
///
/// ```text
/// Cookie = <VersionIDofSecret> | prf(<secret>, Ni | IPi | SPIi)
/// ```
#[derive(Debug)]
pub struct CookieSecrets {
    version: u8,
    current: Prf,
    previous: Option<Prf>,
}

impl CookieSecrets {
    /// Draws the first secret.
    pub fn new(random: &mut impl RandomSource) -> Self {
        Self {
            version: 0,
            current: draw(random),
            previous: None,
        }
    }

    /// Replaces the secret. Cookies of the one before the last become worthless; a minute or more between rotations lets an
    /// initiator with losses come through.
    pub fn rotate(&mut self, random: &mut impl RandomSource) {
        self.version = self.version.wrapping_add(1);
        self.previous = Some(std::mem::replace(&mut self.current, draw(random)));
    }

    /// The cookie that an initiator has to repeat.
    pub fn cookie(&self, nonce_i: &[u8], address: IpAddr, spi_i: IkeSpi) -> Vec<u8> {
        make(self.version, &self.current, nonce_i, address, spi_i)
    }

    /// Whether `cookie` is one that we have made for this initiator with one of the last two secrets.
    pub fn verify(&self, cookie: &[u8], nonce_i: &[u8], address: IpAddr, spi_i: IkeSpi) -> bool {
        let (secret, version) = match (cookie.first(), &self.previous) {
            (Some(version), _) if *version == self.version => (&self.current, *version),
            (Some(version), Some(previous)) if *version == self.version.wrapping_sub(1) => {
                (previous, *version)
            }
            _ => return false,
        };
        ct_eq(&make(version, secret, nonce_i, address, spi_i), cookie)
    }
}

fn draw(random: &mut impl RandomSource) -> Prf {
    let mut secret = zeroize::Zeroizing::new([0; 32]);
    random.fill(&mut *secret);
    Prf::new(Hash::Sha2_256, &*secret)
}

fn make(version: u8, secret: &Prf, nonce_i: &[u8], address: IpAddr, spi_i: IkeSpi) -> Vec<u8> {
    let mac = match address {
        IpAddr::V4(v4) => secret.compute(&[nonce_i, &v4.octets(), &spi_i.0]),
        IpAddr::V6(v6) => secret.compute(&[nonce_i, &v6.octets(), &spi_i.0]),
    };
    let mut cookie = vec![version];
    cookie.extend_from_slice(&mac);
    cookie.truncate(COOKIE_LEN);
    cookie
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SeededRandom;

    #[test]
    fn a_cookie_is_good_for_its_initiator_and_one_rotation() {
        let random = &mut SeededRandom::new([1; 32]);
        let mut secrets = CookieSecrets::new(random);
        let (nonce, address, spi) = ([1; 32], "192.0.2.1".parse().unwrap(), IkeSpi([5; 8]));
        let cookie = secrets.cookie(&nonce, address, spi);
        assert_eq!(cookie.len(), COOKIE_LEN);
        assert!(secrets.verify(&cookie, &nonce, address, spi));
        assert!(!secrets.verify(&cookie, &[2; 32], address, spi));
        assert!(!secrets.verify(&cookie, &nonce, "192.0.2.2".parse().unwrap(), spi));
        assert!(!secrets.verify(&cookie, &nonce, address, IkeSpi([6; 8])));
        for len in [0, 1, COOKIE_LEN - 1] {
            assert!(
                !secrets.verify(&cookie[..len], &nonce, address, spi),
                "{len} octets"
            );
        }
        let longer = [&cookie[..], &[0]].concat();
        assert!(!secrets.verify(&longer, &nonce, address, spi));
        secrets.rotate(random);
        assert!(secrets.verify(&cookie, &nonce, address, spi));
        assert_ne!(secrets.cookie(&nonce, address, spi), cookie);
        secrets.rotate(random);
        assert!(!secrets.verify(&cookie, &nonce, address, spi));
        for _ in 0..254 {
            secrets.rotate(random);
        }
        assert!(
            !secrets.verify(&cookie, &nonce, address, spi),
            "the version is used again, the secret is not"
        );
    }
}
