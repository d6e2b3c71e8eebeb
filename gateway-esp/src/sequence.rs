use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

use crate::crypto::HighHalf;

/// A sequence number that no other packet of its SA has.
///
/// It cannot be copied: who seals a packet uses the number up. It also is the counter of the AEAD explicit IV, so a number must only
/// seal under the SA that gave it.
#[derive(Debug, PartialEq, Eq)]
pub struct SequenceNumber(u64);

impl SequenceNumber {
    /// The number; its upper half is 0 without extended sequence numbers.
    pub const fn get(&self) -> u64 {
        self.0
    }

    /// The 32 bits that travel in the packet.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the packet carries the lower half only"
    )]
    pub(crate) const fn low(&self) -> u32 {
        self.0 as u32
    }

    /// The 32 bits that are authenticated and do not travel.
    pub(crate) const fn high(&self) -> HighHalf {
        high_half(self.0)
    }
}

/// The higher half of an extended sequence number, as it is authenticated.
pub(crate) const fn high_half(number: u64) -> HighHalf {
    let [a, b, c, d, ..] = number.to_be_bytes();
    [a, b, c, d]
}

/// Consecutive sequence numbers, reserved together.
#[derive(Debug)]
pub struct SequenceBlock(Range<u64>);

impl Iterator for SequenceBlock {
    type Item = SequenceNumber;

    fn next(&mut self) -> Option<SequenceNumber> {
        self.0.next().map(SequenceNumber)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for SequenceBlock {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a block has at most 2^32 - 1 numbers"
    )]
    fn len(&self) -> usize {
        (self.0.end - self.0.start) as usize
    }
}

/// All sequence numbers are used; only a rekey helps. An auditable event of RFC 4303 section 3.3.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the sequence numbers of the SA are exhausted")]
pub struct SequenceExhausted;

/// The sender's counter, shared by workers.
#[derive(Debug)]
pub(crate) struct Counter {
    /// The first number that is free.
    next: AtomicU64,
    /// The last number that may be used.
    last: u64,
}

impl Counter {
    /// `last` is far below 2^64, so that the numbers asked for beyond it do not wrap the counter either.
    pub(crate) const fn new(last: u64) -> Self {
        Self {
            next: AtomicU64::new(1),
            last,
        }
    }

    /// Takes `count` numbers with one atomic add.
    ///
    /// The counter has 64 bits and stands still once it is past the last number, so it cannot wrap: every later call fails too.
    pub(crate) fn reserve(&self, count: u32) -> Result<SequenceBlock, SequenceExhausted> {
        if self.next.load(Ordering::Relaxed) > self.last {
            return Err(SequenceExhausted);
        }
        let first = self.next.fetch_add(count.into(), Ordering::Relaxed);
        let end = first.saturating_add(count.into());
        if end > self.last + 1 {
            Err(SequenceExhausted)
        } else {
            Ok(SequenceBlock(first..end))
        }
    }

    /// Continues after `highest`; a counter that is already further stays where it is.
    pub(crate) fn skip_to(&self, highest: u64) {
        self.next.fetch_max(highest.saturating_add(1), Ordering::Relaxed);
    }

    /// Leaves out numbers. Beyond the last one the counter is exhausted.
    pub(crate) fn raise(&self, by: u64) {
        // The bound keeps away from 2^64 what `reserve` adds blindly.
        let raised = |next: u64| Some(next.saturating_add(by).min(self.last.saturating_add(1)).max(next));
        self.next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, raised)
            .ok();
    }

    /// The highest number taken so far; 0 before the first.
    pub(crate) fn highest(&self) -> u64 {
        self.next.load(Ordering::Relaxed).saturating_sub(1).min(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4303 section 3.3.3, without extended sequence numbers.
    const LAST: u64 = u32::MAX as u64;
    const EXTENDED_LAST: u64 = (1 << 48) - 1;

    fn numbers(block: Result<SequenceBlock, SequenceExhausted>) -> Result<Vec<u64>, SequenceExhausted> {
        block.map(|block| block.map(|number| number.get()).collect())
    }

    #[test]
    fn starts_at_one_and_gives_each_number_once() {
        let counter = Counter::new(LAST);
        assert_eq!(counter.highest(), 0);
        assert_eq!(numbers(counter.reserve(3)), Ok(vec![1, 2, 3]));
        assert_eq!(numbers(counter.reserve(0)), Ok(vec![]));
        assert_eq!(numbers(counter.reserve(2)), Ok(vec![4, 5]));
        assert_eq!(counter.highest(), 5);
    }

    #[test]
    fn never_wraps_and_stays_exhausted() {
        for last in [LAST, EXTENDED_LAST] {
            let counter = Counter::new(last);
            counter.skip_to(last - 3);
            assert_eq!(numbers(counter.reserve(2)), Ok(vec![last - 2, last - 1]));
            assert_eq!(numbers(counter.reserve(1)), Ok(vec![last]));
            for count in [1, 2, u32::MAX, 1] {
                assert_eq!(numbers(counter.reserve(count)), Err(SequenceExhausted));
            }
            assert_eq!(counter.highest(), last);
        }
    }

    #[test]
    fn extended_numbers_go_on_beyond_32_bits() {
        let counter = Counter::new(EXTENDED_LAST);
        counter.skip_to(LAST - 1);
        let numbers: Vec<_> = counter.reserve(3).unwrap().collect();
        let halves: Vec<_> = numbers
            .iter()
            .map(|number| (number.high(), number.low()))
            .collect();
        assert_eq!(halves, [([0; 4], u32::MAX), ([0, 0, 0, 1], 0), ([0, 0, 0, 1], 1)]);
    }

    #[test]
    fn a_block_that_does_not_fit_is_refused_whole() {
        let counter = Counter::new(LAST);
        counter.skip_to(LAST - 3);
        assert_eq!(numbers(counter.reserve(4)), Err(SequenceExhausted));
        assert_eq!(numbers(counter.reserve(1)), Err(SequenceExhausted));
    }

    #[test]
    fn skipping_never_goes_back() {
        let counter = Counter::new(LAST);
        counter.skip_to(100);
        counter.skip_to(50);
        assert_eq!(numbers(counter.reserve(1)), Ok(vec![101]));
    }

    #[test]
    fn raising_leaves_numbers_out_and_exhausts_at_the_end() {
        let counter = Counter::new(LAST);
        assert_eq!(numbers(counter.reserve(1)), Ok(vec![1]));
        counter.raise(1000);
        assert_eq!(numbers(counter.reserve(1)), Ok(vec![1002]));
        counter.raise(0);
        assert_eq!(numbers(counter.reserve(1)), Ok(vec![1003]));
        counter.raise(u64::MAX);
        assert_eq!(numbers(counter.reserve(1)), Err(SequenceExhausted));
        assert_eq!(counter.highest(), LAST);
    }

    #[test]
    fn threads_share_the_numbers_without_repeating_one() {
        let counter = Counter::new(LAST);
        let mut all: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..=4u32)
                .map(|size| {
                    let counter = &counter;
                    scope.spawn(move || {
                        (0..500)
                            .flat_map(|_| numbers(counter.reserve(size)).unwrap())
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        all.sort_unstable();
        assert_eq!(all, (1..=5000).collect::<Vec<_>>());
    }
}
