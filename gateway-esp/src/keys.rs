use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::Transform;

/// The key material of one ESP SA, wiped when dropped.
///
/// The encryption octets of an AEAD end with its salt (RFC 4106 section 8.1); its integrity octets are empty.
pub struct Keys {
    encryption: Zeroizing<Vec<u8>>,
    integrity: Zeroizing<Vec<u8>>,
}

impl Keys {
    /// Takes what IKE derived; the lengths are checked when an SA is made of it.
    pub fn new(encryption: Vec<u8>, integrity: Vec<u8>) -> Self {
        Self {
            encryption: Zeroizing::new(encryption),
            integrity: Zeroizing::new(integrity),
        }
    }

    /// The encryption octets, if they are as long as the transform wants them.
    pub(crate) fn encryption(&self, transform: Transform) -> Result<&[u8], KeyError> {
        let (expected, got) = (transform.encryption_key_len(), self.encryption.len());
        if got == expected {
            Ok(&self.encryption)
        } else {
            Err(KeyError::EncryptionLength { expected, got })
        }
    }

    /// The integrity octets, if they are as long as the transform wants them.
    pub(crate) fn integrity(&self, transform: Transform) -> Result<&[u8], KeyError> {
        let (expected, got) = (transform.integrity_key_len(), self.integrity.len());
        if got == expected {
            Ok(&self.integrity)
        } else {
            Err(KeyError::IntegrityLength { expected, got })
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Keys({} + {} octets)",
            self.encryption.len(),
            self.integrity.len()
        )
    }
}

/// Why an SA cannot be made of what was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The encryption key does not fit the cipher.
    #[error("encryption key of {got} octets, the transform takes {expected}")]
    EncryptionLength {
        /// What the transform takes.
        expected: usize,
        /// What was given.
        got: usize,
    },
    /// The integrity key does not fit the integrity algorithm.
    #[error("integrity key of {got} octets, the transform takes {expected}")]
    IntegrityLength {
        /// What the transform takes.
        expected: usize,
        /// What was given.
        got: usize,
    },
    /// The epoch of a nonce space has 15 bits. One that overflowed must not be cut: it could repeat a nonce.
    #[error("nonce epoch {0} does not fit 15 bits")]
    Epoch(u16),
    /// The replay window is smaller than RFC 4303 section 3.4.3 recommends, or larger than memory per SA allows.
    #[error("replay window of {0} packets, allowed are 64 to 65536")]
    ReplayWindow(u32),
    /// The cryptographic library refused a key of the right length.
    #[error("the cipher refused the key")]
    Refused,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_not_show_in_debug_output() {
        let shown = format!("{:?}", Keys::new(vec![0xab; 16], vec![0xcd; 20]));
        assert_eq!(shown, "Keys(16 + 20 octets)");
    }
}
