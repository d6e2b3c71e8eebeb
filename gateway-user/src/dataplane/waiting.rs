//! Packets that wait for the first SA of their tunnel, so that the first ping is answered and not lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::process::{BATCH, Received};
use super::tables::{Nanoseconds, Policy, Tables};

/// Packets of one policy that may wait, over all workers: what a few hosts send while two messages travel there and back.
const PER_POLICY: u32 = 16;
/// How long a packet waits: an exchange with one lost message takes less.
const PATIENCE: Nanoseconds = 5_000_000_000;

/// The waiting packets of one worker, oldest first. Their frames stay out of the pool.
#[derive(Debug)]
pub(super) struct Waiting {
    packets: VecDeque<Entry>,
    capacity: usize,
    /// [`Tables::changes`] at the last look.
    seen: u64,
}

#[derive(Debug)]
struct Entry {
    received: Received,
    policy: Arc<Policy>,
    deadline: Nanoseconds,
}

/// A packet whose wait is over.
#[derive(Debug)]
pub(super) enum Released {
    /// Its policy has an SA, or is gone: to be processed again.
    Ready(Received),
    /// It waited for too long.
    TimedOut(Received, Arc<Policy>),
}

impl Waiting {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            packets: VecDeque::with_capacity(capacity + BATCH),
            capacity,
            seen: 0,
        }
    }

    /// Whether one more packet of this policy may wait; if so, its place is taken.
    ///
    /// Packets are pushed at the end of their batch, so that the capacity can be exceeded by one batch.
    pub(super) fn admit(&self, policy: &Policy) -> bool {
        if self.packets.len() >= self.capacity {
            return false;
        }
        let below = |waiting: u32| (waiting < PER_POLICY).then_some(waiting + 1);
        policy
            .waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, below)
            .is_ok()
    }

    /// Keeps a packet that was admitted.
    pub(super) fn push(&mut self, received: Received, policy: Arc<Policy>, now: Nanoseconds) {
        self.packets.push_back(Entry {
            received,
            policy,
            deadline: now + PATIENCE,
        });
    }

    /// Ends the wait of up to `max` packets. Looks at all of them only after the tables changed.
    pub(super) fn release(
        &mut self,
        now: Nanoseconds,
        tables: &Tables,
        max: usize,
        mut each: impl FnMut(Released),
    ) {
        let mut room = max;
        while room > 0
            && let Some(entry) = self.packets.pop_front_if(|entry| entry.deadline <= now)
        {
            each(entry.leave(Released::TimedOut));
            room -= 1;
        }
        let changes = tables.changes();
        if changes == self.seen {
            return;
        }
        for _ in 0..self.packets.len() {
            let Some(entry) = self.packets.pop_front() else {
                break;
            };
            if room > 0 && entry.is_ready(tables) {
                each(entry.leave(|received, _| Released::Ready(received)));
                room -= 1;
            } else {
                self.packets.push_back(entry);
            }
        }
        // Without room left there may be more that are ready.
        if room > 0 {
            self.seen = changes;
        }
    }

    /// When the next packet has waited for too long.
    pub(super) fn next_deadline(&self) -> Option<Nanoseconds> {
        self.packets.front().map(|entry| entry.deadline)
    }

    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }
}

impl Entry {
    fn is_ready(&self, tables: &Tables) -> bool {
        let current = tables.policy(self.policy.index, self.policy.generation);
        current
            .is_none_or(|policy| !Arc::ptr_eq(&policy, &self.policy) || tables.outbound_of(&policy).is_some())
    }

    fn leave(self, how: impl FnOnce(Received, Arc<Policy>) -> Released) -> Released {
        self.policy.waiting.fetch_sub(1, Ordering::Relaxed);
        how(self.received, self.policy)
    }
}
