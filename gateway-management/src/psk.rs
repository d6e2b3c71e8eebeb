//! Pre-shared keys.

use std::fmt;

use ring::rand::SecureRandom;
use zeroize::Zeroizing;

use crate::error::Error;

/// Longest key in octets, as in the configuration file.
const MAX_LEN: usize = 1024;

/// A pre-shared key: a Unicode string, the same on both sides. Redacted in `Debug`, zeroized on drop.
pub struct PresharedKey(Zeroizing<String>);

impl PresharedKey {
    /// Takes a key.
    ///
    /// # Errors
    /// [`Error::Invalid`], without the key in it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        const FIELD: &str = "pre-shared key";
        if text.is_empty() {
            return Err(Error::invalid(FIELD, "", "is not empty"));
        }
        if text.len() > MAX_LEN {
            return Err(Error::invalid(FIELD, "", format!("has at most {MAX_LEN} octets")));
        }
        if text.chars().any(char::is_control) {
            return Err(Error::invalid(FIELD, "", "has no control characters"));
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// Makes a key of 32 letters and digits that every vendor's device takes.
    pub fn generate(random: &dyn SecureRandom) -> Option<Self> {
        const LETTERS: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";
        let mut key = Zeroizing::new(String::with_capacity(32));
        while key.len() < 32 {
            let mut octet = [0];
            random.fill(&mut octet).ok()?;
            // Octets beyond the largest multiple would prefer the first letters.
            let index = usize::from(octet[0]);
            if index < LETTERS.len() * (256 / LETTERS.len()) {
                key.push(char::from(LETTERS[index % LETTERS.len()]));
            }
        }
        Some(Self(key))
    }

    /// The key itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_does_not_repeat_the_key() {
        let long = "hunter2".repeat(200);
        for wrong in ["", "hunter2\n", &long] {
            let error = PresharedKey::parse(wrong).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert_eq!(
            format!("{:?}", PresharedKey::parse("schlüssel").unwrap()),
            "PresharedKey(..)"
        );
    }

    #[test]
    fn generated_keys_have_32_letters_and_digits() {
        let key = PresharedKey::generate(&ring::rand::SystemRandom::new()).unwrap();
        assert!(key.expose().len() == 32 && key.expose().bytes().all(|octet| octet.is_ascii_alphanumeric()));
    }
}
