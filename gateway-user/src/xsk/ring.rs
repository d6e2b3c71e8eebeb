//! Single-producer, single-consumer rings in memory shared with the kernel.
//!
//! Indices are free-running and wrap at 2^32; the distance of two indices is their wrapping difference. The side that owns an
//! index publishes it with release order and reads the other's with acquire order.

use std::sync::atomic::{AtomicU32, Ordering};

/// `XDP_RING_NEED_WAKEUP` of `linux/if_xdp.h`.
const NEED_WAKEUP: u32 = libc::XDP_RING_NEED_WAKEUP;

/// Where the parts of one ring are.
///
/// Whoever makes one vouches that the pointers are valid and aligned for as long as the ring lives, that `entries` leads to
/// `size` entries, and that `size` is a power of two.
#[derive(Clone, Copy, Debug)]
pub(super) struct RingParts<T> {
    pub(super) producer: *const AtomicU32,
    pub(super) consumer: *const AtomicU32,
    pub(super) flags: *const AtomicU32,
    pub(super) entries: *mut T,
    pub(super) size: u32,
}

// SAFETY: the memory behind the pointers is a mapping without thread affinity.
unsafe impl<T: Send> Send for RingParts<T> {}

impl<T: Copy> RingParts<T> {
    fn producer(&self) -> &AtomicU32 {
        // SAFETY: valid for the life of the ring, as the maker vouched.
        unsafe { &*self.producer }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: valid for the life of the ring, as the maker vouched.
        unsafe { &*self.consumer }
    }

    fn needs_wakeup(&self) -> bool {
        // SAFETY: valid for the life of the ring, as the maker vouched.
        let flags = unsafe { &*self.flags };
        flags.load(Ordering::Relaxed) & NEED_WAKEUP != 0
    }

    /// The entry of a free-running index.
    fn entry(&self, index: u32) -> *mut T {
        // SAFETY: the mask keeps the offset below `size`.
        unsafe { self.entries.add((index & (self.size - 1)) as usize) }
    }
}

/// The process's end of a ring that the kernel empties: fill and TX.
#[derive(Debug)]
pub struct Producer<T> {
    parts: RingParts<T>,
    /// Next index to write; published by [`Self::submit`].
    head: u32,
    /// The kernel's index as last read.
    tail: u32,
}

impl<T: Copy> Producer<T> {
    /// Takes over a ring at the indices it stands at.
    pub(super) fn new(parts: RingParts<T>) -> Self {
        let head = parts.producer().load(Ordering::Acquire);
        let tail = parts.consumer().load(Ordering::Acquire);
        Self { parts, head, tail }
    }

    /// Entries that can be pushed. Reads the kernel's index only when fewer than `wanted` are known to be free.
    pub fn free(&mut self, wanted: u32) -> u32 {
        let mut free = self.parts.size - self.head.wrapping_sub(self.tail);
        if free < wanted {
            self.tail = self.parts.consumer().load(Ordering::Acquire);
            free = self.parts.size - self.head.wrapping_sub(self.tail);
        }
        free
    }

    /// Writes one entry; `false`, and nothing written, when the ring is full. [`Self::submit`] shows it to the kernel.
    pub fn push(&mut self, value: T) -> bool {
        if self.free(1) == 0 {
            return false;
        }
        let entry = self.parts.entry(self.head);
        // SAFETY: the index is between the kernel's and one lap ahead of it, so the kernel does not read this entry.
        unsafe { entry.write(value) };
        self.head = self.head.wrapping_add(1);
        true
    }

    /// Publishes everything pushed so far.
    pub fn submit(&mut self) {
        self.parts.producer().store(self.head, Ordering::Release);
    }

    /// Entries that the kernel has not taken yet.
    pub fn pending(&mut self) -> u32 {
        self.tail = self.parts.consumer().load(Ordering::Acquire);
        self.head.wrapping_sub(self.tail)
    }

    /// Whether the kernel asks to be called before it looks at this ring again.
    pub fn needs_wakeup(&self) -> bool {
        self.parts.needs_wakeup()
    }
}

/// The process's end of a ring that the kernel fills: RX and completion.
#[derive(Debug)]
pub struct Consumer<T> {
    parts: RingParts<T>,
    /// The kernel's index as last read.
    head: u32,
    /// Next index to read; published by [`Self::release`].
    tail: u32,
}

impl<T: Copy> Consumer<T> {
    /// Takes over a ring at the indices it stands at.
    pub(super) fn new(parts: RingParts<T>) -> Self {
        let head = parts.producer().load(Ordering::Acquire);
        let tail = parts.consumer().load(Ordering::Acquire);
        Self { parts, head, tail }
    }

    /// Reads one entry; `None` when the ring is empty. [`Self::release`] returns the entries to the kernel.
    pub fn pop(&mut self) -> Option<T> {
        if self.head == self.tail {
            self.head = self.parts.producer().load(Ordering::Acquire);
            if self.head == self.tail {
                return None;
            }
        }
        let entry = self.parts.entry(self.tail);
        // SAFETY: the index is behind the kernel's, so the entry is written and the kernel does not touch it before the release.
        let value = unsafe { entry.read() };
        self.tail = self.tail.wrapping_add(1);
        Some(value)
    }

    /// Whether an entry is there.
    pub fn is_empty(&mut self) -> bool {
        if self.head == self.tail {
            self.head = self.parts.producer().load(Ordering::Acquire);
        }
        self.head == self.tail
    }

    /// Returns everything popped so far to the kernel.
    pub fn release(&mut self) {
        self.parts.consumer().store(self.tail, Ordering::Release);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A ring in ordinary memory; the test plays the kernel.
    pub(in crate::xsk) struct FakeRing<T> {
        indices: Box<[AtomicU32; 3]>,
        entries: Box<[T]>,
    }

    impl<T: Copy> FakeRing<T> {
        pub(in crate::xsk) fn starting_at(index: u32, size: u32, empty: T) -> Self {
            let indices = Box::new([AtomicU32::new(index), AtomicU32::new(index), AtomicU32::new(0)]);
            Self {
                indices,
                entries: vec![empty; size as usize].into_boxed_slice(),
            }
        }

        pub(in crate::xsk) fn parts(&mut self) -> RingParts<T> {
            RingParts {
                producer: &raw const self.indices[0],
                consumer: &raw const self.indices[1],
                flags: &raw const self.indices[2],
                entries: self.entries.as_mut_ptr(),
                size: u32::try_from(self.entries.len()).expect("small"),
            }
        }
    }

    /// Both ends of one ring.
    fn pair(index: u32, size: u32) -> (FakeRing<u64>, Producer<u64>, Consumer<u64>) {
        let mut ring = FakeRing::starting_at(index, size, 0);
        let (producer, consumer) = (Producer::new(ring.parts()), Consumer::new(ring.parts()));
        (ring, producer, consumer)
    }

    #[test]
    fn values_come_out_in_order_across_the_wrap_of_the_index() {
        let (_ring, mut producer, mut consumer) = pair(u32::MAX - 5, 4);
        for value in 0..40u64 {
            assert!(producer.push(value));
            producer.submit();
            assert_eq!(consumer.pop(), Some(value));
            assert_eq!(consumer.pop(), None);
            consumer.release();
        }
    }

    #[test]
    fn a_full_ring_refuses_and_takes_again_after_the_release() {
        let (_ring, mut producer, mut consumer) = pair(u32::MAX - 1, 4);
        assert_eq!((0..6).filter(|value| producer.push(*value)).count(), 4);
        assert_eq!(consumer.pop(), None, "not submitted yet");
        producer.submit();
        assert_eq!((producer.free(1), producer.pending()), (0, 4));
        assert_eq!((consumer.pop(), consumer.pop()), (Some(0), Some(1)));
        assert_eq!(producer.free(1), 0, "not released yet");
        consumer.release();
        assert_eq!((producer.free(3), producer.pending()), (2, 2));
        assert!(producer.push(6) && producer.push(7) && !producer.push(8));
        producer.submit();
        assert_eq!(
            std::iter::from_fn(|| consumer.pop()).collect::<Vec<_>>(),
            [2, 3, 6, 7]
        );
    }

    #[test]
    fn the_wakeup_flag_is_read_from_the_ring() {
        let (ring, producer, _consumer) = pair(0, 4);
        assert!(!producer.needs_wakeup());
        ring.indices[2].store(NEED_WAKEUP, Ordering::Relaxed);
        assert!(producer.needs_wakeup());
    }
}
