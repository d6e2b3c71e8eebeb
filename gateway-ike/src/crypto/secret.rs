//! Octets that must not leak: zeroized on drop, redacted in `Debug`, never `Clone`, compared in constant time.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Secret octets: keys, SKEYIDs, KEYMAT.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes octets over. The caller's copies, if any, are the caller's to erase.
    pub const fn new(octets: Vec<u8>) -> Self {
        Self(octets)
    }

    /// The octets themselves, for a primitive.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// How many octets.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares in constant time. Lengths are public.
    pub fn ct_eq(&self, other: &[u8]) -> bool {
        ct_eq(&self.0, other)
    }

    /// A second copy. Explicit, because every copy is one more place to leak from.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }

    /// The first `at` octets and the rest, both at most what is there.
    #[must_use]
    pub fn split(self, at: usize) -> (Self, Self) {
        let (head, tail) = self.0.split_at(at.min(self.0.len()));
        (Self(head.to_vec()), Self(tail.to_vec()))
    }

    /// Starts empty with room for `capacity` octets, so that appending up to there leaves no copies behind.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// Appends octets; the capacity must suffice.
    pub(crate) fn append(&mut self, octets: &[u8]) {
        debug_assert!(
            self.0.capacity() - self.0.len() >= octets.len(),
            "growing would leave a copy behind"
        );
        self.0.extend_from_slice(octets);
    }

    /// Cuts to `len` octets.
    pub(crate) fn truncate(&mut self, len: usize) {
        if let Some(cut) = self.0.get_mut(len..) {
            cut.zeroize();
            self.0.truncate(len);
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} octets)", self.0.len())
    }
}

/// The result of a Diffie-Hellman agreement, padded to the length of the group.
#[derive(Debug)]
pub struct SharedSecret(Secret);

impl SharedSecret {
    /// Takes octets over.
    pub const fn new(octets: Vec<u8>) -> Self {
        Self(Secret::new(octets))
    }

    /// A copy in memory of its own, so that the caller's can be erased in the way of the caller.
    pub(crate) fn copy_of(octets: &[u8]) -> Self {
        Self::new(octets.to_vec())
    }

    /// The octets, for the key derivation.
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

/// Compares a received hash with ours in constant time. Lengths are public; different lengths are unequal.
pub fn ct_eq(ours: &[u8], received: &[u8]) -> bool {
    ours.ct_eq(received).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_print_themselves() {
        assert_eq!(
            format!("{:?}", Secret::new(b"hunter2".to_vec())),
            "Secret(7 octets)"
        );
        assert_eq!(
            format!("{:?}", SharedSecret::new(vec![1, 2])),
            "SharedSecret(Secret(2 octets))"
        );
    }

    #[test]
    fn secrets_equal_only_the_same_octets_of_the_same_length() {
        let secret = Secret::new(vec![1, 2, 3]);
        assert!(secret.ct_eq(&[1, 2, 3]));
        for other in [&[][..], &[1, 2], &[1, 2, 4], &[1, 2, 3, 0]] {
            assert!(!secret.ct_eq(other));
        }
    }

    #[test]
    fn a_secret_splits_within_its_length() {
        let (head, tail) = Secret::new(vec![1, 2, 3]).split(2);
        assert!(head.ct_eq(&[1, 2]) && tail.ct_eq(&[3]));
        let (head, tail) = Secret::new(vec![1]).split(2);
        assert!(head.ct_eq(&[1]) && tail.is_empty());
    }
}
