use thiserror::Error;

/// Numbers per word of the bitmap.
const WORD: u64 = u64::BITS as u64;

/// The lower half of an extended sequence number.
const LOW: u64 = u32::MAX as u64;

/// The anti-replay window of RFC 4303 section 3.4.3, as the ring of words of RFC 6479.
///
/// Numbers have 64 bits, so the window serves extended sequence numbers as well once their upper half is known.
#[derive(Debug)]
pub struct ReplayWindow {
    /// The highest number accepted; 0 before the first.
    top: u64,
    /// How many numbers, `top` included, are remembered.
    size: u64,
    /// One bit per number. A power of two of words and at least one more than the window spans, so that advancing clears whole words.
    words: Box<[u64]>,
}

/// Why a sequence number is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReplayError {
    /// Numbers begin with 1.
    #[error("sequence number 0")]
    Zero,
    /// Left of the window: whether it was seen is not known.
    #[error("sequence number older than the replay window")]
    Old,
    /// Accepted before.
    #[error("sequence number seen before")]
    Duplicate,
}

impl ReplayWindow {
    /// The smallest window, RFC 4303 section 3.4.3.
    pub const MIN: u32 = 64;
    /// The largest window: 8 KiB of memory per SA.
    pub const MAX: u32 = 65_536;

    /// A window over the last `size` numbers; `None` outside of [`Self::MIN`] to [`Self::MAX`].
    pub fn new(size: u32) -> Option<Self> {
        if !(Self::MIN..=Self::MAX).contains(&size) {
            return None;
        }
        let words = (size.div_ceil(u64::BITS) + 1).next_power_of_two();
        Some(Self {
            top: 0,
            size: size.into(),
            words: vec![0; words as usize].into(),
        })
    }

    /// The highest number accepted; 0 before the first.
    pub const fn highest(&self) -> u64 {
        self.top
    }

    /// The extended sequence number of a packet that carries `low`: the one nearest to the window (RFC 4303 appendix A2.1). `None` if
    /// that would lie before the first.
    ///
    /// Nothing is changed, and the answer is a guess until the ICV, which covers the upper half, was verified.
    pub const fn infer(&self, low: u32) -> Option<u64> {
        let (top_high, top_low) = (self.top >> 32, self.top & LOW);
        let low = low as u64;
        let high = match top_low.checked_sub(self.size - 1) {
            // Case A: the window lies within one subspace. What is left of it has come round to the next.
            Some(bottom) if low >= bottom => top_high,
            Some(_) => top_high + 1,
            // Case B: the window begins in the subspace before.
            None if low >= (top_low + (1 << 32)) - (self.size - 1) => match top_high.checked_sub(1) {
                Some(high) => high,
                None => return None,
            },
            None => top_high,
        };
        // A top of 2^64 and more is out of reach, whatever the peer authenticates.
        if high >> 32 == 0 {
            Some(high << 32 | low)
        } else {
            None
        }
    }

    /// Whether `number` could be accepted. Changes nothing: the packet is not authenticated yet.
    ///
    /// # Errors
    /// The reason for which it would be refused.
    pub fn check(&self, number: u64) -> Result<(), ReplayError> {
        if number == 0 {
            Err(ReplayError::Zero)
        } else if number > self.top {
            Ok(())
        } else if self.top - number >= self.size {
            Err(ReplayError::Old)
        } else if self.words[self.index(number)] & bit(number) != 0 {
            Err(ReplayError::Duplicate)
        } else {
            Ok(())
        }
    }

    /// Records `number` after the ICV was verified.
    ///
    /// Checks again: another worker may have accepted the same number meanwhile.
    ///
    /// # Errors
    /// The reason for which it is refused; the window is unchanged then.
    pub fn accept(&mut self, number: u64) -> Result<(), ReplayError> {
        self.check(number)?;
        if number > self.top {
            self.clear_between(self.top, number);
            self.top = number;
        }
        let index = self.index(number);
        self.words[index] |= bit(number);
        Ok(())
    }

    /// Moves the right edge to `number` and counts everything up to it as seen; a window that is already further is unchanged.
    ///
    /// For a node that takes an SA over and does not know which of these numbers its predecessor accepted.
    pub fn skip_to(&mut self, number: u64) {
        if number > self.top {
            self.top = number;
            self.words.fill(u64::MAX);
            let index = self.index(number);
            self.words[index] = u64::MAX >> (WORD - 1 - number % WORD);
        }
    }

    /// Forgets the words that numbers right of `from`, up to `to`, begin to use.
    fn clear_between(&mut self, from: u64, to: u64) {
        let fresh = (to / WORD - from / WORD).min(self.words.len() as u64);
        for step in 1..=fresh {
            let index = self.index(from.saturating_add(step * WORD));
            self.words[index] = 0;
        }
    }

    fn index(&self, number: u64) -> usize {
        (number / WORD) as usize & (self.words.len() - 1)
    }
}

/// The bit of `number` in its word.
const fn bit(number: u64) -> u64 {
    1 << (number % WORD)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const DUPLICATE: Result<(), ReplayError> = Err(ReplayError::Duplicate);
    const OLD: Result<(), ReplayError> = Err(ReplayError::Old);

    /// Offers the numbers in order to a window of 64 and compares each answer.
    #[track_caller]
    fn check_script(script: &[(u64, Result<(), ReplayError>)]) {
        let mut window = ReplayWindow::new(64).unwrap();
        for (step, (number, expected)) in script.iter().enumerate() {
            assert_eq!(
                window.check(*number),
                *expected,
                "check of {number} in step {step}"
            );
            assert_eq!(window.accept(*number), *expected, "{number} in step {step}");
        }
    }

    #[test]
    fn accepts_each_number_once_in_any_order() {
        check_script(&[
            (1, Ok(())),
            (3, Ok(())),
            (2, Ok(())),
            (2, DUPLICATE),
            (1, DUPLICATE),
            (3, DUPLICATE),
        ]);
    }

    #[test]
    fn refuses_zero() {
        check_script(&[
            (0, Err(ReplayError::Zero)),
            (1, Ok(())),
            (0, Err(ReplayError::Zero)),
        ]);
    }

    #[test]
    fn refuses_what_is_left_of_the_window() {
        check_script(&[
            (65, Ok(())),
            (1, OLD),
            (2, Ok(())),
            (66, Ok(())),
            (2, OLD),
            (3, Ok(())),
        ]);
    }

    #[test]
    fn a_jump_beyond_the_whole_bitmap_forgets_all_of_it() {
        check_script(&[
            (1, Ok(())),
            (1 << 20, Ok(())),
            ((1 << 20) - 63, Ok(())),
            ((1 << 20) - 64, OLD),
            ((1 << 20) - 63, DUPLICATE),
            (u64::from(u32::MAX), Ok(())),
            (u64::from(u32::MAX) - 1, Ok(())),
            (1 << 20, OLD),
        ]);
    }

    #[test]
    fn numbers_reach_the_end_of_64_bits() {
        check_script(&[
            (u64::MAX - 1, Ok(())),
            (u64::MAX, Ok(())),
            (u64::MAX, DUPLICATE),
            (u64::MAX - 63, Ok(())),
        ]);
    }

    #[test]
    fn a_check_does_not_move_the_window() {
        let mut window = ReplayWindow::new(64).unwrap();
        window.accept(10).unwrap();
        assert_eq!(window.check(1 << 31), Ok(()));
        assert_eq!(window.highest(), 10);
        assert_eq!(window.accept(9), Ok(()));
    }

    #[test]
    fn after_a_skip_nothing_up_to_the_edge_is_accepted() {
        for edge in [1, 63, 64, 65, 127, 128, 1000] {
            let mut window = ReplayWindow::new(64).unwrap();
            window.skip_to(edge);
            assert!(
                (1..=edge).all(|number| window.check(number).is_err()),
                "edge {edge}"
            );
            for number in (edge + 1..edge + 200).rev().take(64) {
                assert_eq!(window.accept(number), Ok(()), "{number} after edge {edge}");
            }
            window.skip_to(edge);
            assert_eq!(window.highest(), edge + 199, "a skip never goes back");
        }
    }

    /// RFC 4303 appendix A2.1, for a window of 64.
    #[test]
    fn the_upper_half_is_the_one_nearest_to_the_window() {
        const SPACE: u64 = 1 << 32;
        let last = u32::MAX;
        #[rustfmt::skip]
        let cases = [
            // Case A, the window within one subspace: at its edges, behind and before it.
            (SPACE + 1000, 1000, Some(SPACE + 1000)),
            (SPACE + 1000, 937, Some(SPACE + 937)),
            (SPACE + 1000, 936, Some(2 * SPACE + 936)),
            (SPACE + 1000, 0, Some(2 * SPACE)),
            (SPACE + 1000, last, Some(SPACE + u64::from(last))),
            (SPACE + 63, 0, Some(SPACE)),
            (SPACE - 1, 0, Some(SPACE)),
            (SPACE - 1, last, Some(SPACE - 1)),
            // Case B, the window across two subspaces.
            (SPACE + 62, last, Some(SPACE - 1)),
            (SPACE + 62, last - 1, Some(2 * SPACE - 2)),
            (SPACE, last - 62, Some(SPACE - 63)),
            (SPACE, last - 63, Some(2 * SPACE - 64)),
            (SPACE, 0, Some(SPACE)),
            (SPACE, 1, Some(SPACE + 1)),
            (2 * SPACE + 5, last, Some(2 * SPACE - 1)),
            // Before the first number there is nothing.
            (0, 1, Some(1)),
            (0, last - 63, Some(u64::from(last - 63))),
            (0, last, None),
            (10, last, None),
            // At the end of everything.
            (u64::MAX, 0, None),
            (u64::MAX, last, Some(u64::MAX)),
        ];
        for (top, low, expected) in cases {
            let mut window = ReplayWindow::new(64).unwrap();
            window.skip_to(top);
            assert_eq!(window.infer(low), expected, "{low:#x} with top {top:#x}");
        }
    }

    #[test]
    fn sizes_outside_the_bounds_are_refused() {
        for size in [0, 1, 63, 65_537, u32::MAX] {
            assert!(ReplayWindow::new(size).is_none(), "{size}");
        }
    }

    proptest! {
        /// Whatever is in the window, or up to 2^32 minus the window ahead of it, is found by its lower half.
        #[test]
        fn every_number_in_reach_is_inferred(
            size in 64u32..=65_536,
            top in prop_oneof![0u64..200_000, (1u64 << 32) - 100_000..(1 << 32) + 100_000, 0u64..1 << 48],
            ahead: bool,
            distance in prop_oneof![0u64..70_000, 0u64..1 << 32],
        ) {
            let mut window = ReplayWindow::new(size).unwrap();
            window.skip_to(top);
            let reach = if ahead { (1 << 32) - u64::from(size) } else { u64::from(size) - 1 };
            let distance = distance.min(reach);
            let number = if ahead { top + distance } else { top.saturating_sub(distance) };
            let low = u32::try_from(number & LOW).unwrap();
            prop_assert_eq!(window.infer(low), Some(number));
        }

        /// The window against a set that remembers everything.
        #[test]
        fn agrees_with_a_set_of_all_accepted_numbers(
            size in prop_oneof![Just(64u32), Just(100), Just(128), Just(1024), Just(65_536), 64u32..=65_536],
            steps in prop::collection::vec((any::<bool>(), 0u64..400), 1..400),
        ) {
            let mut window = ReplayWindow::new(size).unwrap();
            let mut seen = BTreeSet::new();
            let mut top = 0u64;
            for (forward, distance) in steps {
                let number = if forward { top + distance } else { top.saturating_sub(distance) };
                let fits = number > 0 && (number > top || top - number < u64::from(size));
                let expected = fits && seen.insert(number);
                prop_assert_eq!(window.accept(number).is_ok(), expected, "{} with top {}", number, top);
                if expected {
                    top = top.max(number);
                }
                prop_assert_eq!(window.highest(), top);
            }
        }
    }
}
