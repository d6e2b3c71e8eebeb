//! Attempts of peers that have proven nothing yet, counted by source, so that what a limit costs does not grow with their number.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::ike_sa::SaKey;

/// The half-open IKE SAs that peers have initiated.
#[derive(Debug, Default)]
pub(crate) struct HalfOpen {
    /// Of each source, oldest first.
    by_source: BTreeMap<Ipv4Addr, Vec<SaKey>>,
    total: usize,
}

impl HalfOpen {
    pub(crate) fn insert(&mut self, source: Ipv4Addr, key: SaKey) {
        self.by_source.entry(source).or_default().push(key);
        self.total += 1;
    }

    /// The attempt succeeded or ended. Nothing happens when it was counted out before.
    pub(crate) fn remove(&mut self, source: Ipv4Addr, key: SaKey) {
        let Some(keys) = self.by_source.get_mut(&source) else {
            return;
        };
        let before = keys.len();
        keys.retain(|other| *other != key);
        self.total -= before - keys.len();
        if keys.is_empty() {
            self.by_source.remove(&source);
        }
    }

    /// The attempts of one source, oldest first.
    pub(crate) fn of(&self, source: Ipv4Addr) -> &[SaKey] {
        self.by_source.get(&source).map_or(&[], Vec::as_slice)
    }

    /// All attempts.
    pub(crate) const fn len(&self) -> usize {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attempt_counts_once_and_leaves_nothing_behind() {
        let (a, b) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
        let mut half_open = HalfOpen::default();
        for (source, key) in [(a, 1), (b, 2), (a, 3)] {
            half_open.insert(source, SaKey(key));
        }
        assert_eq!(half_open.of(a), [SaKey(1), SaKey(3)]);
        assert_eq!(half_open.len(), 3);
        half_open.remove(a, SaKey(1));
        half_open.remove(a, SaKey(1));
        half_open.remove(a, SaKey(2));
        assert_eq!((half_open.of(a).len(), half_open.len()), (1, 2));
        half_open.remove(a, SaKey(3));
        half_open.remove(b, SaKey(2));
        assert_eq!(half_open.len(), 0);
        assert!(half_open.by_source.is_empty());
    }
}
