//! How much an outbound SA may carry, and the marks on the way there at which control is told.

/// How near an outbound SA is to its end. Each mark is reported once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum SaMark {
    /// Time for a successor (soft lifetime).
    Soft = 1,
    /// A successor that is there should be used, whether the peer said that it is ready or not.
    Last = 2,
    /// The SA carries nothing more (RFC 4303 section 3.3.3: an auditable event).
    End = 3,
}

/// The limits of one outbound SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaLimits {
    octets: u64,
    sequence: u64,
}

/// Octets that a negotiation may take at a gigabit per second and half a second.
const NEGOTIATION_OCTETS: u64 = 64 << 20;

impl SaLimits {
    /// `octets` of inner packets, if they are limited, and the last sequence number.
    pub const fn new(octets: Option<u64>, last_sequence: u64) -> Self {
        Self {
            octets: match octets {
                Some(octets) => octets,
                None => u64::MAX,
            },
            sequence: last_sequence,
        }
    }

    /// Octets after which a successor is asked for whatever the rate: a fifth is left, and of a small limit up to a half, since a
    /// burst can use it up within one exchange.
    pub fn soft_octets(self) -> u64 {
        self.octets - (self.octets / 5).max(NEGOTIATION_OCTETS.min(self.octets / 2))
    }

    /// The sequence number after which a successor is asked for: 1/64 of all are left, minutes at a million packets per second.
    pub const fn soft_sequence(self) -> u64 {
        self.sequence - self.sequence / 64
    }

    /// The octets, if they are limited.
    pub fn octets(self) -> Option<u64> {
        (self.octets < u64::MAX).then_some(self.octets)
    }

    /// Whether the SA carried all the octets it may.
    pub const fn is_over(self, octets: u64) -> bool {
        octets >= self.octets
    }

    /// The furthest mark that is reached.
    pub(super) fn mark(self, octets: u64, sequence: u64) -> Option<SaMark> {
        if self.is_over(octets) || sequence >= self.sequence {
            Some(SaMark::End)
        } else if octets >= self.octets - self.octets / 16 || sequence >= self.sequence - self.sequence / 1024
        {
            Some(SaMark::Last)
        } else if octets >= self.soft_octets() || sequence >= self.soft_sequence() {
            Some(SaMark::Soft)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    #[test]
    fn marks_come_in_order_before_each_limit() {
        let last = u32::MAX.into();
        let limits = SaLimits::new(Some(1000 * MB), last);
        let cases = [
            ((0, 0), None),
            ((799 * MB, 1), None),
            ((800 * MB, 1), Some(SaMark::Soft)),
            ((938 * MB, 1), Some(SaMark::Last)),
            ((1000 * MB, 1), Some(SaMark::End)),
            ((0, last - last / 64 - 1), None),
            ((0, last - last / 64), Some(SaMark::Soft)),
            ((0, last - last / 1024), Some(SaMark::Last)),
            ((0, last - 1), Some(SaMark::Last)),
            ((0, last), Some(SaMark::End)),
            ((800 * MB, last - 1), Some(SaMark::Last)),
        ];
        for ((octets, sequence), expected) in cases {
            assert_eq!(limits.mark(octets, sequence), expected, "{octets}, {sequence}");
        }
    }

    #[test]
    fn a_small_limit_leaves_a_larger_share_for_the_negotiation() {
        let soft = |octets| SaLimits::new(Some(octets), u32::MAX.into()).soft_octets();
        assert_eq!(soft(100 * MB), 50 * MB);
        assert_eq!(soft(200 * MB), 200 * MB - (64 << 20));
        assert_eq!(soft(10_000 * MB), 8_000 * MB);
    }

    #[test]
    fn without_a_limit_of_octets_only_the_sequence_numbers_end() {
        let limits = SaLimits::new(None, u32::MAX.into());
        assert_eq!((limits.mark(u64::MAX / 2, 1), limits.octets()), (None, None));
        assert_eq!(limits.mark(0, u32::MAX.into()), Some(SaMark::End));
    }
}
