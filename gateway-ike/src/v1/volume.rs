//! How many octets an ISAKMP SA has protected, and how many it may (RFC 2409 appendix A, life type "kilobytes").

use super::proposal::smaller_kilobytes;
use crate::wire::v1::Lifetimes;

/// Octets of the messages of phase 2 in both directions, their headers included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Volume {
    octets: u64,
    kilobytes: Option<u64>,
    renewing: bool,
}

/// What the volume asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// A successor, ahead of the end.
    Renewal,
    /// The end.
    End,
}

impl Volume {
    pub(crate) const fn new(kilobytes: Option<u64>) -> Self {
        Self {
            octets: 0,
            kilobytes,
            renewing: false,
        }
    }

    /// The limit.
    pub(crate) const fn kilobytes(&self) -> Option<u64> {
        self.kilobytes
    }

    /// Octets so far and at most, if there is a limit.
    pub(crate) fn used_of(&self) -> Option<(u64, u64)> {
        Some((self.octets, self.limit()?))
    }

    fn limit(&self) -> Option<u64> {
        Some(self.kilobytes?.saturating_mul(1024))
    }

    /// The peer keeps the SA for fewer octets than we have offered; whether that changes anything.
    pub(crate) fn shorten(&mut self, announced: Lifetimes) -> bool {
        let before = self.kilobytes;
        self.kilobytes = smaller_kilobytes(before, announced);
        self.kilobytes != before
    }

    pub(crate) fn add(&mut self, octets: usize) {
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        self.octets = self.octets.saturating_add(octets);
    }

    /// What is due now; a renewal once only. The initiator's is due first, so that the responder steps in only when the other did not.
    pub(crate) fn due(&mut self, initiator: bool) -> Option<Due> {
        let limit = self.limit()?;
        if self.octets >= limit {
            return Some(Due::End);
        }
        let margin = if initiator { limit / 4 } else { limit / 8 };
        let renews = self.octets >= limit - margin && !self.renewing;
        self.renewing |= renews;
        renews.then_some(Due::Renewal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_is_due_once_and_the_end_from_the_limit_on() {
        for (initiator, first) in [(true, 75), (false, 88)] {
            let mut volume = Volume::new(Some(100));
            let mut renewals = Vec::new();
            for percent in 1..=110 {
                volume.add(1024);
                match volume.due(initiator) {
                    Some(Due::Renewal) => renewals.push(percent),
                    Some(Due::End) => assert!(percent >= 100, "{percent}"),
                    None => assert!(percent < 100, "{percent}"),
                }
            }
            assert_eq!(renewals, [first]);
        }
    }

    #[test]
    fn without_a_limit_nothing_is_due() {
        let mut volume = Volume::new(None);
        volume.add(usize::MAX);
        assert_eq!(volume.due(true), None);
    }

    #[test]
    fn an_announcement_only_shortens() {
        let announced = |kilobytes| Lifetimes {
            seconds: None,
            kilobytes,
        };
        for (ours, theirs, both) in [
            (Some(100), Some(200), Some(100)),
            (Some(200), Some(100), Some(100)),
            (None, Some(100), Some(100)),
            (Some(100), Some(0), Some(100)),
            (Some(100), None, Some(100)),
        ] {
            let mut volume = Volume::new(ours);
            assert_eq!(volume.shorten(announced(theirs)), both != ours);
            assert_eq!(volume.kilobytes(), both);
        }
    }
}
